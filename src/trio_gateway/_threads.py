"""Work in a thread, also on a machine that gives none.

The one idea: some work is in a thread only in order not to hold up other tasks. Where the system has no thread left (a limit on
processes, or memory), it is done in the task's own thread. That holds up others for a moment; but what must be done is done, such
as shutting down kernels, or saving a notebook.
"""

from __future__ import annotations

import errno
from collections.abc import Callable
from typing import Final, TypeVar, TypeVarTuple

import trio

__all__ = ["NO_THREAD", "no_thread", "run_sync"]

T = TypeVar("T")
Args = TypeVarTuple("Args")

NO_THREAD: Final = "can't start new thread"
"""What CPython's `RuntimeError` says where the system gives no thread."""


def no_thread(error: RuntimeError) -> OSError | None:
    """Return the system's error where there was no thread to be had; None for another error."""
    return OSError(errno.EAGAIN, NO_THREAD) if str(error) == NO_THREAD else None


async def run_sync(function: Callable[[*Args], T], *args: *Args, limiter: trio.CapacityLimiter | None = None) -> T:
    """Run a function that ends soon in a thread, or in this one if there is no other.

    Args:
        function: what to run. It must end by itself, since it can't be cancelled, and may block the event loop.
        args: its arguments.
        limiter: how many may run at once, as for `trio.to_thread.run_sync`.

    Cancellation: before it has begun; then it is waited for.
    """
    started = False

    def run() -> T:
        nonlocal started
        started = True
        return function(*args)

    try:
        return await trio.to_thread.run_sync(run, limiter=limiter)
    except RuntimeError as error:
        if started or no_thread(error) is None:
            raise
    await trio.lowlevel.checkpoint()
    return run()
