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

import attrs
import trio

from .._errors import InvalidInputError

__all__ = ["CancelScope", "Cancelled", "TooSlowError", "check_limits", "fail_after", "move_on_after", "seconds_left", "waking"]


class TooSlowError(trio.TooSlowError, TimeoutError):
    """The limit of `fail_after` has passed: Trio's error, and the `TimeoutError` that synchronous code catches.

    A limit of the library's own is a `GatewayTimeoutError`, which is a `TimeoutError` too.
    """


@final
class Cancelled(BaseException):
    """A call was cancelled because the limit around it has passed. Let it out: its scope's block catches it, as in Trio."""


@final
class CancelScope:
    """A block of synchronous code whose calls are cancelled after so many seconds. Made by `move_on_after` and `fail_after`.

    Can be entered once. It holds for the thread, and the task, that entered it, and for no other.
    """

    def __init__(self, seconds: float) -> None:
        self._limit = _Limit(seconds)
        self._caught = False

    @property
    def cancel_called(self) -> bool:
        """Whether its time has passed while its block lasted, or `cancel` was called."""
        return self._limit.passed()

    @property
    def cancelled_caught(self) -> bool:
        """Whether its block was left because a call in it was cancelled."""
        return self._caught

    def cancel(self) -> None:
        """Cancel the calls in its block now. From any thread."""
        self._limit.cancelled = True
        wake = self._limit.wake
        if wake is not None:
            wake()

    def __enter__(self) -> Self:
        limit = self._limit
        if limit.thread:
            raise RuntimeError("this scope was entered before")
        limit.thread = threading.get_ident()
        limit.deadline = _now() + limit.seconds
        _entered.set((*_entered.get(), limit))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        _entered.set(tuple([limit for limit in _entered.get() if limit is not self._limit]))
        ours = self.cancel_called
        self._limit.deadline = None
        # As in Trio: where a scope around this one has been cancelled too, that one catches it.
        self._caught = isinstance(error, Cancelled) and ours and not any(limit.passed() for limit in _limits())
        return self._caught


@attrs.define(eq=False)
class _Limit:
    """What a scope says to the calls in its block."""

    seconds: float
    deadline: float | None = None
    """When its time has passed, while its block lasts."""
    thread: int = 0
    """The thread that entered it; 0 before."""
    cancelled: bool = False
    wake: Callable[[], None] | None = None
    """Wakes the call that waits."""

    def passed(self) -> bool:
        """Say whether its time has passed while its block lasted, or it was cancelled."""
        if self.deadline is not None and not self.cancelled:
            self.cancelled = _now() >= self.deadline
        return self.cancelled


_entered: ContextVar[tuple[_Limit, ...]] = ContextVar("trio_gateway.scopes", default=())


def _now() -> float:
    # Scopes outlive the shared thread, and with it Trio's clock, which each run of Trio begins anew.
    return time.monotonic()


def _limits() -> tuple[_Limit, ...]:
    """Return the limits around the caller, outermost first. (A context may have been copied to another thread.)"""
    entered = _entered.get()
    if not entered:
        return entered
    here = threading.get_ident()
    return tuple([limit for limit in entered if limit.thread == here])


def seconds_left() -> float | None:
    """Return how long the caller may wait, in seconds; 0 if its time has passed, None for as long as it takes."""
    limits = _limits()
    if not limits:
        return None
    if any(limit.passed() for limit in limits):
        return 0.0
    left = min(limit.deadline for limit in limits if limit.deadline is not None) - _now()
    return None if left == math.inf else min(max(left, 0.0), threading.TIMEOUT_MAX)


def check_limits() -> None:
    """Raise Cancelled if the caller's time has passed."""
    if seconds_left() == 0:
        raise Cancelled


@contextmanager
def waking(wake: Callable[[], None]) -> Generator[None]:
    """Have a function called when a scope around the caller is cancelled while the block lasts."""
    before = [(limit, limit.wake) for limit in _limits()]
    for limit, _ in before:
        limit.wake = wake
    try:
        yield
    finally:
        for limit, other in before:
            limit.wake = other


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
    """Limit the calls of a block, as `trio.fail_after` does: as `move_on_after`, and then an error is raised.

    Args:
        seconds: how long, from when the block is entered; 0 or more, `math.inf` for ever.

    Yields:
        The scope.

    Raises:
        TooSlowError: a call was cancelled because the time had passed. It is a `trio.TooSlowError` and a `TimeoutError`.
        InvalidInputError: that is no such number.
    """
    with move_on_after(seconds) as scope:
        yield scope
    if scope.cancelled_caught:
        raise TooSlowError(f"a call was cancelled by the fail_after({seconds:g}) around it")
