"""What is read item by item, outputs and messages, taken over in bulk: all that is ready comes with one crossing.

The one idea: a reader outside of Trio pops from a deque and crosses into Trio only when that is empty; there, one call waits
for the next item and adds what came together with it. Items go into the deque before their reader is woken, and in Trio's
thread only. So a reader that is cancelled or interrupted in that very moment loses nothing: what it did not pop is the next
reader's, which is woken for it. Nothing is taken early while several readers wait, for each is to have its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Any, Final, Generic, Protocol, TypeVar, final

import attrs
import trio

from .._kernel.inbox import READY_BYTES, READY_ITEMS, InboxStatistics, check_ready_limits
from .._outputs import Output
from .._protocol.messages import Message
from .calls import Questions
from .portal import Portal

__all__ = ["Reading", "forget", "have_readers_answer", "read"]

T = TypeVar("T")
T_co = TypeVar("T_co", covariant=True)

LIMIT_ITEMS: Final = 64
"""How many items are handed over at once: as many more than the reader's own limit may wait."""
LIMIT_BYTES: Final = 1024**2
"""After so many bytes no more are added."""


class Ready(Protocol[T_co]):
    """A `receive_ready`: takes what is there already, without waiting."""

    def __call__(self, limit: int, /, *, limit_bytes: float) -> Iterable[T_co]:
        """Take at most so many items, and after so many bytes no more."""
        ...


def _nothing_ready(limit: int, /, *, limit_bytes: float) -> tuple[()]:
    del limit, limit_bytes
    return ()


@final
class Reading(Generic[T]):
    """What one object in Trio gives, on its way to its readers outside of Trio.

    Args:
        take: waits for the next item; cancellation loses none.
        ready: takes what is there already.
    """

    def __init__(self, take: Callable[[], Awaitable[T]], ready: Ready[T] = _nothing_ready) -> None:
        self._take = take
        self._ready = ready
        self._items: deque[T] = deque()
        self._waiting: set[trio.CancelScope] = set()
        self._failure: Exception | None = None
        self._questions: Questions | None = None

    # Outside of Trio ------------------------------------------------------------------------------------------------

    def pop(self) -> T:
        """Take an item that was handed over. From any thread.

        Raises:
            IndexError: there is none: `fill` first.
        """
        return self._items.popleft()

    def __bool__(self) -> bool:
        """Whether there is something to pop."""
        return bool(self._items)

    def have_answered(self, questions: Questions) -> None:
        """Have those who read answer these questions while they wait. Before anything is read."""
        self._questions = questions
        questions.wake = self._interrupt

    def give_up(self, portal: Portal) -> None:
        """Wake the other readers that wait, for what was meant for a reader that was cancelled. From any thread."""
        if self._items:
            with suppress(trio.RunFinishedError):
                portal.thread.post(self._wake)

    # In Trio --------------------------------------------------------------------------------------------------------

    async def fill(self) -> None:
        """Wait until there is something to pop; what is asked of the readers meanwhile, this call's caller answers.

        Raises:
            Exception: why there will be nothing.

        Cancellation: safe.
        """
        while not self._items:
            if self._failure is not None:
                failure, self._failure = self._failure, None
                raise failure
            with trio.CancelScope() as scope:
                self._waiting.add(scope)
                if self._questions:  # only what is there already is taken before one is answered
                    trio.lowlevel.current_trio_token().run_sync_soon(scope.cancel)
                try:
                    item = await self._take()
                finally:
                    self._waiting.discard(scope)
                self._items.append(item)
                if not self._waiting:
                    self.collect(LIMIT_ITEMS - 1)
            if self._questions and not self._items:
                await self._questions.have_answered()

    def collect(self, most: int = 1) -> None:
        """Take what is there already, without waiting.

        Args:
            most: how many at most.
        """
        try:
            self._items.extend(self._ready(most, limit_bytes=LIMIT_BYTES))
        except Exception as error:  # noqa: BLE001 - it is raised in its turn: after what came before
            self._failure = error
        self._wake()  # readers that wait for what was taken here

    def receive_ready(self, limit: int = READY_ITEMS, *, limit_bytes: float = READY_BYTES) -> list[T]:
        """Take what is there already, without waiting: first what was handed over.

        Args:
            limit: how many at most.
            limit_bytes: after so many bytes no more are taken; at least one item is.
        """
        check_ready_limits(limit, limit_bytes)
        items: list[T] = []
        while len(items) < limit and limit_bytes > 0:
            try:
                items.append(self._items.popleft())
            except IndexError:
                break
            limit_bytes -= _size(items[-1])
        if len(items) < limit and limit_bytes > 0:
            items += self._ready(limit - len(items), limit_bytes=limit_bytes)
        return items

    def clear(self) -> None:
        """Forget what was not popped: the object was closed."""
        self._items.clear()
        self._failure = None

    def count_in(self, statistics: InboxStatistics) -> InboxStatistics:
        """Add what was handed over and not popped to what still waits in Trio; of an output, its size in a notebook's file."""
        waiting = self._items.copy()
        return attrs.evolve(
            statistics,
            messages=statistics.messages + len(waiting),
            memory_bytes=statistics.memory_bytes + sum(map(_size, waiting)),
        )

    def _wake(self) -> None:
        if self._items:
            self._interrupt()

    def _interrupt(self) -> None:
        """Have those who wait for an item look again what there is to do."""
        for scope in self._waiting:
            scope.cancel(reason="there is something to pop, or to answer")


def read(original: Any) -> Reading[Any]:
    """Make the reading of an object that is iterated over, or received from."""
    take = original.receive if hasattr(original, "receive") else original.__anext__
    return Reading(take, getattr(original, "receive_ready", _nothing_ready))


def forget(face: object) -> None:
    """Forget what was handed over of an object and not popped, for its block has ended; `face` stands for the object."""
    reading = getattr(face, "_reading", None)
    if isinstance(reading, Reading):
        reading.clear()


def have_readers_answer(face: object, questions: Questions) -> None:
    """Have what a block's tasks ask answered by those who read from what it gave; `face` stands for that."""
    reading = getattr(face, "_reading", None)
    if isinstance(reading, Reading):
        reading.have_answered(questions)


def _size(item: object) -> int:
    """Return how much memory an item takes, in bytes, about."""
    if isinstance(item, Message):
        return item.size
    return len(str(item.to_nbformat())) if isinstance(item, Output) else 0
