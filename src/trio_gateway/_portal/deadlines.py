"""Limits that synchronous code puts around its calls: Trio's `move_on_after` and `fail_after`, for a thread.

The one idea: a scope is a deadline that the waiting thread itself looks at. When it has passed, the call is cancelled in Trio as
by a signal, its clean-up is waited for, and an exception that no `except Exception` catches leads out of the scope's block.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from contextvars import ContextVar
from types import TracebackType
from typing import Self, final

import trio

from .._errors import InvalidInputError

__all__ = ["CancelScope", "Cancelled", "check_limits", "fail_after", "move_on_after", "seconds_left", "waking"]


@final
class Cancelled(BaseException):
    """A call was cancelled because the limit around it has passed. Let it out: its scope's block catches it, as in Trio."""


@final
class CancelScope:
    """A block of synchronous code whose calls are cancelled after so many seconds. Made by `move_on_after` and `fail_after`.

    Can be entered once. It holds for the thread, and the task, that entered it, and for no other.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._deadline: float | None = None
        self._thread = 0
        self._cancelled = False
        self._caught = False
        self._wake: Callable[[], None] | None = None

    @property
    def cancel_called(self) -> bool:
        """Whether its time has passed while its block lasted, or `cancel` was called."""
        if self._deadline is not None and not self._cancelled:
            self._cancelled = _now() >= self._deadline
        return self._cancelled

    @property
    def cancelled_caught(self) -> bool:
        """Whether its block was left because a call in it was cancelled."""
        return self._caught

    def cancel(self) -> None:
        """Cancel the calls in its block now. From any thread."""
        self._cancelled = True
        wake = self._wake
        if wake is not None:
            wake()

    def __enter__(self) -> Self:
        if self._thread:
            raise RuntimeError("this scope was entered before")
        self._thread = threading.get_ident()
        self._deadline = _now() + self._seconds
        _entered.set((*_entered.get(), self))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        _entered.set(tuple([scope for scope in _entered.get() if scope is not self]))
        ours = self.cancel_called
        self._deadline = None
        # As in Trio: where a scope around this one has been cancelled too, that one catches it.
        self._caught = isinstance(error, Cancelled) and ours and not any(scope.cancel_called for scope in _scopes())
        return self._caught


_entered: ContextVar[tuple[CancelScope, ...]] = ContextVar("trio_gateway.scopes", default=())


def _now() -> float:
    # Scopes outlive the shared thread, and with it Trio's clock, which each run of Trio begins anew.
    return time.monotonic()


def _scopes() -> tuple[CancelScope, ...]:
    """Return the scopes around the caller, outermost first. (A context may have been copied to another thread.)"""
    entered = _entered.get()
    if not entered:
        return entered
    here = threading.get_ident()
    return tuple([scope for scope in entered if scope._thread == here])  # noqa: SLF001 - of this module


def seconds_left() -> float | None:
    """Return how long the caller may wait, in seconds; 0 if its time has passed, None for as long as it takes."""
    scopes = _scopes()
    if not scopes:
        return None
    if any(scope.cancel_called for scope in scopes):
        return 0.0
    left = min(scope._deadline for scope in scopes if scope._deadline is not None) - _now()  # noqa: SLF001
    return None if left == math.inf else min(max(left, 0.0), threading.TIMEOUT_MAX)


def check_limits() -> None:
    """Raise Cancelled if the caller's time has passed."""
    if seconds_left() == 0:
        raise Cancelled


@contextmanager
def waking(wake: Callable[[], None]) -> Generator[None]:
    """Have a function called when a scope around the caller is cancelled while the block lasts."""
    before = [(scope, scope._wake) for scope in _scopes()]  # noqa: SLF001
    for scope, _ in before:
        scope._wake = wake  # noqa: SLF001
    try:
        yield
    finally:
        for scope, other in before:
            scope._wake = other  # noqa: SLF001


def move_on_after(seconds: float) -> CancelScope:
    """Limit the calls of a block, as `trio.move_on_after` does: after so many seconds the block is left.

    Example::

        with trio_gateway.move_on_after(10) as scope:
            kernel.execute("while True: pass")
        if scope.cancelled_caught:
            print("it took too long")

    The call that is under way is cancelled: code that runs is interrupted, and this waits, within the settings, until the kernel
    is idle. It covers every call of this thread in the block, and each iteration; blocks that are left do their clean-up. Limits
    may be nested in any way. Code of your own, between calls, runs on to its next call.

    Args:
        seconds: how long, from when the block is entered; 0 or more, `math.inf` for ever.

    Returns:
        The block's context manager, which gives itself. `cancelled_caught` tells afterwards whether it was left early.

    Raises:
        InvalidInputError: that is no such number.
    """
    if isinstance(seconds, bool) or not isinstance(seconds, (int, float)) or not seconds >= 0:
        raise InvalidInputError("seconds", seconds, "a number of seconds, 0 or more")
    return CancelScope(float(seconds))


@contextmanager
def fail_after(seconds: float) -> Generator[CancelScope]:
    """Limit the calls of a block, as `trio.fail_after` does: as `move_on_after`, and then `trio.TooSlowError` is raised.

    Args:
        seconds: how long, from when the block is entered; 0 or more, `math.inf` for ever.

    Yields:
        The scope.

    Raises:
        trio.TooSlowError: a call was cancelled because the time had passed.
        InvalidInputError: that is no such number.
    """
    with move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise trio.TooSlowError
