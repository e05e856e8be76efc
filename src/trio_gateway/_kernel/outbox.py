"""What waits to be sent on one kernel's connection.

The one idea: a queue that many tasks fill and one task empties, bounded in messages and in bytes. Requests go in at once,
each from a task that then waits for its answer, so their number is the callers' own; bare messages wait for room. What is offered
while that one task waits for something to do passes the queue by, if the connection takes it there and then: a turn of the
scheduler less.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from typing import Final

import trio

from .._protocol.messages import Message
from .pending import Pending

__all__ = ["TURN_SENDS", "Outbox", "SendTurns", "message_of"]

LIMIT_MESSAGES: Final = 1_000
"""How many requests and messages may wait before a bare message has to wait for room."""
LIMIT_BYTES: Final = 64 * 1024**2
"""How many bytes may wait before it has to; what comes before that is taken whatever its size."""


TURN_SENDS: Final = 64
"""After so many messages that nobody waits for, their sender lets other tasks run: what is written at once costs no turn of the
scheduler, and a deadline is noticed only in one."""


class SendTurns:
    """Lets other tasks run at each 64th of one sender's messages, and none in between."""

    __slots__ = ("_sends",)

    def __init__(self) -> None:
        self._sends = 0  # since other tasks ran

    async def give(self) -> None:
        """Count a message that is to be sent; if it is the 64th, let other tasks run. Cancellation: safe, and noticed."""
        self._sends += 1
        if self._sends >= TURN_SENDS:
            self._sends = 0
            await trio.lowlevel.checkpoint()
        else:
            await trio.lowlevel.checkpoint_if_cancelled()


class Outbox:
    """A first-in first-out queue of requests and messages."""

    __slots__ = ("_bytes", "_filled", "_items", "_room", "_turns", "write_now")

    write_now: Callable[[Pending | Message], bool] | None
    """Writes something without waiting, and says whether it did; None where there is no connection. The task that empties the
    queue sets it."""

    def __init__(self) -> None:
        self._items: list[Pending | Message] = []  # few, mostly none: an empty deque takes 700 bytes more in each session
        self._bytes = 0
        self._filled = trio.lowlevel.ParkingLot()
        self._room = trio.lowlevel.ParkingLot()
        self._turns = SendTurns()
        self.write_now = None

    def __len__(self) -> int:
        return len(self._items)

    def offer(self, item: Pending | Message) -> None:
        """Have something written from this task, if the sender waits for something to send; else queue it."""
        if self._filled and self.write_now is not None and self.write_now(item):
            return
        self.put(item)

    def put(self, item: Pending | Message) -> None:
        """Queue something, whatever is there already."""
        self._items.append(item)
        self._bytes += message_of(item).size
        if self._filled:
            self._filled.unpark_all()

    def put_first(self, item: Pending) -> None:
        """Queue something before all that is there."""
        self._items.insert(0, item)
        self._bytes += item.message.size
        if self._filled:
            self._filled.unpark_all()

    async def wait_room(self) -> None:
        """Wait until there is room for a message; every 64th time other tasks run meanwhile. Cancellation: safe."""
        await self._turns.give()
        while self._items and (len(self._items) >= LIMIT_MESSAGES or self._bytes >= LIMIT_BYTES):
            await self._room.park()

    def withdraw(self, item: Pending) -> None:
        """Take something back, if it is still here."""
        with suppress(ValueError):
            self._items.remove(item)
            self._bytes -= item.message.size
            self._room.unpark()

    async def first(self) -> Pending | Message:
        """Wait for something to send; return it, and leave it here. Cancellation: safe."""
        while not self._items:
            await self._filled.park()
        return self._items[0]

    async def take(self) -> Pending | Message:
        """Wait for the next thing to send. Cancellation: safe."""
        while not self._items:
            await self._filled.park()
        item = self._items.pop(0)
        self._bytes -= message_of(item).size
        if self._room:
            self._room.unpark()
        return item

    def clear(self) -> None:
        """Forget everything."""
        self._items.clear()
        self._bytes = 0
        self._room.unpark_all()


def message_of(item: Pending | Message) -> Message:
    """Return the message of what waits in an outbox."""
    return item if isinstance(item, Message) else item.message
