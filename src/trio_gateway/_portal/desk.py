"""Questions that no call has asked: a kernel's code wants a function of the program's called, and some thread has to do it.

The one idea: a thread that waits for a call may do that meanwhile. The thread for which a question was put here does it; only
while that one does something else, another that waits. So a program with one thread sees its functions called in that thread.
"""

from __future__ import annotations

from collections import deque
from contextlib import suppress
from typing import Protocol, final

import attrs

from .messages import Asked

__all__ = ["Desk", "Waiter"]


class Waiter(Protocol):
    """A thread that waits, in one of its calls."""

    @property
    def thread(self) -> int:
        """Which thread: its `threading.get_ident()`."""
        ...

    def wake(self) -> None:
        """Have it look again what there is to do. From any thread; neither blocks nor raises."""
        ...


@attrs.frozen(eq=False)
class _Put:
    asked: Asked
    thread: int


@final
class Desk:
    """Where the questions of one gateway's tasks wait for a thread. All of it may be called in any thread, and nothing blocks."""

    def __init__(self) -> None:
        # Each step on these is one of the interpreter's, so there is no lock that a signal could leave locked.
        self._waiters: dict[Waiter, None] = {}
        self._questions: deque[_Put] = deque()

    def put(self, asked: Asked, thread: int) -> None:
        """Have a question answered: by this thread, or by another while this one does not wait."""
        self._questions.append(_Put(asked, thread))
        self._wake()

    def take_back(self, asked: Asked) -> None:
        """Have a question not answered any more, if nobody has begun."""
        for put in self._questions.copy():
            if put.asked is asked:
                with suppress(ValueError):
                    self._questions.remove(put)

    def join(self, waiter: Waiter) -> None:
        """Take note that a thread waits; it has to look by itself what there is to do."""
        self._waiters[waiter] = None

    def leave(self, waiter: Waiter) -> None:
        """Take note that it waits no more. What was left to it, others may do."""
        if self._waiters.pop(waiter, self) is None and self._questions:
            self._wake()

    def take(self, waiter: Waiter) -> Asked | None:
        """Return the oldest question that a thread is to answer; nobody else gets it."""
        if not self._questions:
            return None
        waiting = {other.thread for other in list(self._waiters)}
        for put in self._questions.copy():
            if put.thread == waiter.thread or put.thread not in waiting:
                with suppress(ValueError):  # another has taken it
                    self._questions.remove(put)
                    return put.asked
        return None

    def _wake(self) -> None:
        for waiter in list(self._waiters):
            waiter.wake()
