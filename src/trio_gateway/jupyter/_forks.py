"""A process that is forked off after Jupyter's tools have run in its parent: it begins with event loops of its own.

The one idea: jupyter_core keeps one event loop for all synchronous calls (`run_sync`: nbclient, papermill, our blocking
manager), and it is still there in a child. But an event loop is woken through a pipe, and waits at an epoll; both are shared with
the parent and all its children, who take each other's wake-ups and wait for ever. So a child forgets that loop, and the threads
that ran others, which have stayed behind. (Since 3.12 Python does so with the loop that asyncio itself keeps.)
"""

from __future__ import annotations

import os
from contextvars import ContextVar
from typing import Any, Final

from jupyter_core import utils

__all__ = ["begin_anew"]

_kept: Final[list[Any]] = []
"""The parent's loops. One that is collected closes itself, and takes the parent's pipe out of the epoll that they share."""


def begin_anew() -> None:
    """Forget the event loops of the parent. For the child, right after the fork."""
    # jupyter_core's own names, of 5.9. Where it has others, its loop is refused when a gateway is opened in it (`check_loop`).
    current = getattr(utils, "_loop", None)
    if isinstance(current, ContextVar) and current.get() is not None:
        _kept.append(current.get())
        current.set(None)
    runners = getattr(utils, "_runner_map", {})
    _kept.extend(runners.values())
    runners.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=begin_anew)
