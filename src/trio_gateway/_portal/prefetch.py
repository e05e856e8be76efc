"""What is read item by item, outputs and messages, taken over in bulk: all that is ready comes with one crossing.

The one idea: a reader elsewhere claims from a deque and crosses into Trio only when that is empty; there, one call waits for the
next item and adds what came together with it. Items go into the deque before their reader is woken, and in Trio's thread only. So
a reader that is cancelled or interrupted in that very moment loses nothing: what it did not claim is the next one's, who is woken
for it. Nothing is taken early while several readers wait, for each is to have its own.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from contextlib import suppress
from typing import Any, Final, Generic, TypeVar, final

import attrs
import trio

from .._kernel.channels import Subscription
from .._kernel.comms import Comm, IncomingComms, comm_message
from .._kernel.executor import OutputStream
from .._kernel.inbox import Inbox, InboxStatistics
from .calls import Realm

__all__ = ["Reading", "forget", "messages_ready", "read"]

T = TypeVar("T")

LIMIT_ITEMS: Final = 64
"""How many items are handed over at once: as many more than the reader's own limit may wait."""
LIMIT_BYTES: Final = 1024**2
"""After so many bytes no more are added."""


@final
class Reading(Generic[T]):
    """What one object in Trio gives, on its way to its readers elsewhere.

    Args:
        take: waits for the next item; cancellation loses none.
        ready: takes, one by one, what is there already, and says how large each is, in bytes.
    """

    def __init__(self, take: Callable[[], Awaitable[T]], ready: Callable[[], Iterable[tuple[T, int]]] = tuple) -> None:
        self._take = take
        self._ready = ready
        self._items: deque[tuple[T, int]] = deque()
        self._waiting: set[trio.CancelScope] = set()
        self._failure: Exception | None = None

    # Elsewhere ------------------------------------------------------------------------------------------------------

    def claim(self) -> T:
        """Take an item that was handed over. From any thread.

        Raises:
            IndexError: there is none: `fill` first.
        """
        return self._items.popleft()[0]

    def __bool__(self) -> bool:
        """Whether there is something to claim."""
        return bool(self._items)

    def give_up(self, realm: Realm) -> None:
        """Have others who wait look at what was meant for a reader that was cancelled. From any thread."""
        if self._items:
            with suppress(trio.RunFinishedError):
                realm.thread.post(self._wake)

    # In Trio --------------------------------------------------------------------------------------------------------

    async def fill(self) -> None:
        """Wait until there is something to claim.

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
                try:
                    item = await self._take()
                finally:
                    self._waiting.discard(scope)
                self._items.append((item, 0))
                if not self._waiting:
                    self.collect(LIMIT_ITEMS - 1)

    def collect(self, most: int = 1) -> None:
        """Take what is there already, without waiting.

        Args:
            most: how many at most.
        """
        room = LIMIT_BYTES
        try:
            for item, size in self._ready():
                self._items.append((item, size))
                most -= 1
                room -= size
                if most <= 0 or room <= 0:
                    break
        except Exception as error:  # noqa: BLE001 - it is raised in its turn: after what came before
            self._failure = error
        self._wake()  # whoever waits for what was taken here

    def clear(self) -> None:
        """Forget what was not claimed: the object was closed."""
        self._items.clear()
        self._failure = None

    def count_in(self, statistics: InboxStatistics) -> InboxStatistics:
        """Add what was handed over and not claimed to what still waits in Trio."""
        waiting = self._items.copy()
        return attrs.evolve(
            statistics,
            messages=statistics.messages + len(waiting),
            memory_bytes=statistics.memory_bytes + sum(size for _, size in waiting),
        )

    def _wake(self) -> None:
        if self._items:
            for scope in self._waiting:
                scope.cancel(reason="there is something to claim")


def read(original: Any) -> Reading[Any]:
    """Make the reading of an object that is iterated over, or received from."""
    take = original.receive if hasattr(original, "receive") else original.__anext__
    match original:
        case OutputStream():
            return Reading(take, lambda: _outputs_ready(original))
        case Subscription():
            return Reading(take, lambda: messages_ready(original))
        case Comm():
            return Reading(take, lambda: ((comm_message(message), size) for message, size in _ready(original)))
        case IncomingComms():
            comms = original._comms  # noqa: SLF001
            return Reading(take, lambda: ((comms.adopt(message), size) for message, size in _ready(original)))
    return Reading(take)


def forget(face: object) -> None:
    """Forget what was not claimed of an object, for its block has ended; `face` is how the object is seen elsewhere."""
    reading = getattr(face, "_reading", None)
    if isinstance(reading, Reading):
        reading.clear()


def messages_ready(messages: Subscription) -> Iterator[tuple[Any, int]]:
    """Take the messages that wait in a subscription, with their sizes."""
    return _ready(messages)


def _inbox(original: Any) -> Inbox:
    inbox: Inbox = original._inbox  # noqa: SLF001 - the session's objects have no other way to say what is ready
    return inbox


def _ready(original: Any) -> Iterator[tuple[Any, int]]:
    inbox = _inbox(original)
    while inbox.ready:
        message = inbox.take()
        yield message, message.size


def _outputs_ready(outputs: OutputStream) -> Iterator[tuple[Any, int]]:
    """As far as the next request for input: that is answered when all that was printed before has been read."""
    inbox = _inbox(outputs)
    asked = outputs._stdin is not None  # noqa: SLF001
    while inbox.ready and not (asked and inbox.next_type() in {None, "input_request"}):
        message = inbox.take()
        output = outputs.read(message)
        if output is not None:
            yield output, message.size
