"""jupyter_client's methods in pairs: `_async_start_kernel` awaits, and `start_kernel` is that, or blocks until it is done.

The one idea: a class that serves both worlds writes each method once, under the name with `_async_`, as jupyter_client's own do;
the classes that derive from it say which of both the plain name is. jupyter_client calls either.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any

from jupyter_core.utils import run_sync

__all__ = ["awaiting", "blocking"]


def awaiting(owner: object, name: str) -> Callable[..., Coroutine[Any, Any, Any]]:
    """Return the method of a pair that awaits.

    Args:
        owner: the class that has it, or an object of it, whose bound method it is then.
        name: the plain name, such as `"start_kernel"`.
    """
    method: Callable[..., Coroutine[Any, Any, Any]] = getattr(owner, f"_async_{name}")
    return method


def blocking(owner: type, name: str) -> Callable[..., Any]:
    """Make the method of a pair that blocks.

    Args:
        owner: the class that has the one that awaits.
        name: the plain name.
    """
    method: Callable[..., Any] = run_sync(awaiting(owner, name))
    return method
