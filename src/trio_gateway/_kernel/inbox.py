"""A bounded buffer of messages between the one reader of a kernel's connection and one consumer.

The one idea: memory is bounded, in messages and in bytes, and what happens at the bound is the consumer's choice:

* `"spool"`, the default: more goes to a temporary file and comes back in order. Nothing is lost (G5), and a caller who awaits
  only a reply is not held up by output that nobody reads (G7).
* `"drop_oldest"`: the oldest messages go, and are counted.
* `"fail"`: this consumer gets `SlowConsumerError`; nobody else notices.
* `"pause"`: the session stops reading until there is room. That holds up everyone else on the same kernel, and moves the
  loss upstream, because a gateway neither slows its kernel nor bounds its own buffer; so it must be asked for.

In no case does a slow consumer look like a dead connection.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from typing import Final, Literal, TypeAlias

import attrs
import trio

from .._errors import InvalidInputError, SlowConsumerError, fresh
from .._protocol.codec import decode, encode_v1
from .._protocol.messages import Message
from .spool import Spool

__all__ = ["FAIRNESS", "READY_BYTES", "READY_ITEMS", "Inbox", "InboxStatistics", "WhenFull", "check_ready_limits"]

WhenFull: TypeAlias = Literal["spool", "drop_oldest", "fail", "pause"]

SPOOL_BYTES: Final = 4 * 1024**3
"""The most that may wait in one inbox's temporary files, in bytes; a consumer that is further behind fails."""
FAIRNESS: Final = 64
"""After so many messages that were there already, a consumer lets other tasks run."""
READY_ITEMS: Final = 64
"""How many items a consumer takes at once, where it says nothing else."""
READY_BYTES: Final = 1024**2
"""After how many bytes of messages it takes no more, where it says nothing else."""


@attrs.frozen
class InboxStatistics:
    """How full an inbox is and was."""

    messages: int
    """Messages in memory now."""
    memory_bytes: int
    """Their size in bytes."""
    spooled: int
    """Messages in the temporary file now."""
    peak_messages: int
    """The most messages that were in memory at once."""
    peak_memory_bytes: int
    """The most bytes that were in memory at once."""
    received: int
    """Messages taken in so far."""
    dropped: int = 0
    """Messages dropped so far, under `"drop_oldest"`."""
    blocked_seconds: float = 0.0
    """How long the session's reader has waited for room here so far, under `"pause"`."""


class Inbox:
    """A first-in first-out buffer. Several consumers may share it: each message goes to one of them.

    Args:
        limit_messages: how many messages may lie in memory.
        limit_bytes: how many bytes of messages may lie in memory. Under `"spool"` a single larger message goes to the
            file; else one message is taken in whatever its size, when nothing else is there.
        when_full: what to do at the bound.
    """

    __slots__ = (
        "_blocked",
        "_bytes",
        "_closed",
        "_dropped",
        "_failure",
        "_limit_bytes",
        "_limit_messages",
        "_memory",
        "_peak_bytes",
        "_peak_messages",
        "_received",
        "_room",
        "_since_checkpoint",
        "_spool",
        "_waiting",
        "_when_full",
    )

    def __init__(self, *, limit_messages: float, limit_bytes: float, when_full: WhenFull = "spool") -> None:
        self._when_full = when_full
        self._room = trio.lowlevel.ParkingLot()
        self._dropped = 0
        self._blocked = 0.0
        self._limit_messages = limit_messages
        self._limit_bytes = limit_bytes
        self._memory: deque[Message] = deque()
        self._bytes = 0
        self._spool = Spool(limit_bytes=SPOOL_BYTES)
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False
        self._failure: Exception | None = None
        self._received = 0
        self._peak_messages = 0
        self._peak_bytes = 0
        self._since_checkpoint = 0

    def put(self, message: Message) -> None:
        """Take a message; never waits. After `close` it is dropped. Under `"pause"`, look at `full` afterwards."""
        if self._closed:
            return
        self._received += 1
        if self._spool:
            self._write(message)
        elif self._fits(message):
            self._keep(message)
        elif self._when_full == "spool":
            self._write(message)
        elif self._when_full == "drop_oldest":
            while self._memory and not self._fits(message):
                self._bytes -= self._memory.popleft().size
                self._dropped += 1
            self._keep(message)
        elif self._when_full == "fail":
            self.close(SlowConsumerError(self._limit_messages, self._limit_bytes))
            return
        else:
            self._keep(message)
        if self._waiting:
            self._waiting.unpark()

    def _fits(self, message: Message) -> bool:
        return len(self._memory) < self._limit_messages and self._bytes + message.size <= self._limit_bytes

    def _keep(self, message: Message) -> None:
        self._memory.append(message)
        self._bytes += message.size
        if self._bytes > self._peak_bytes:  # noqa: PLR1730 - for each message of a flood; a call of max() takes three times as long
            self._peak_bytes = self._bytes
        if len(self._memory) > self._peak_messages:  # noqa: PLR1730
            self._peak_messages = len(self._memory)

    @property
    def full(self) -> bool:
        """Whether the session should pause reading: only under `"pause"`, when a bound is reached."""
        return (
            self._when_full == "pause"
            and not self._closed
            and (len(self._memory) >= self._limit_messages or self._bytes >= self._limit_bytes)
        )

    async def wait_room(self) -> None:
        """Wait until `full` is no more. Cancellation: safe."""
        await trio.lowlevel.checkpoint()
        started = trio.current_time()
        try:
            while self.full:
                await self._room.park()
        finally:
            self._blocked += trio.current_time() - started

    @property
    def dropped(self) -> int:
        """How many messages were dropped so far, under `"drop_oldest"`."""
        return self._dropped

    def close(self, failure: Exception | None = None) -> None:
        """End the inbox: the consumer gets what is in it, then the end, or `failure`. A second close changes nothing."""
        if not self._closed:
            self._closed = True
            self._failure = failure
            self._let_go()

    def discard(self) -> None:
        """Forget everything and remove the temporary file; nobody will read any more."""
        self._closed = True
        self._memory.clear()
        self._bytes = 0
        self._spool.close()
        self._let_go()

    def _let_go(self) -> None:
        if self._waiting:  # mostly nobody does, and to ask the lot costs more than all else here
            self._waiting.unpark_all()
        if self._room:
            self._room.unpark_all()

    async def get(self) -> Message:
        """Wait for the next message.

        Raises:
            trio.EndOfChannel: the inbox was closed and is empty.
            SlowConsumerError: what did not fit into memory fits on no disk either, or can't be read back from it.
            Exception: a copy of what it was closed with.

        Cancellation: safe, no message is lost. What is there already, a message or the end, costs no scheduling, but for every
            64th time.
        """
        try:
            while True:
                if self._memory or self._spool or self._closed:
                    self._since_checkpoint += 1
                    if self._since_checkpoint >= FAIRNESS:
                        self._since_checkpoint = 0
                        await trio.lowlevel.checkpoint()
                        continue
                    await trio.lowlevel.checkpoint_if_cancelled()
                    if self.ready:
                        return self.take()
                    if self._failure is None:
                        raise trio.EndOfChannel
                    raise fresh(self._failure)
                await self._waiting.park()
                self._since_checkpoint = 0
        except trio.Cancelled:
            if self.ready:
                self._waiting.unpark()  # we may have been woken for it, and it is another consumer's now
            raise

    @property
    def waits(self) -> bool:
        """Whether `get` would wait: nothing is there, and it is not the end."""
        return not (self._memory or self._spool or self._closed)

    async def wait_woken(self) -> None:
        """Wait for a message, the end or `wake`, where `get` would wait; what it was may be another consumer's by then.

        Cancellation: safe.
        """
        await self._waiting.park()
        self._since_checkpoint = 0

    def wake(self) -> None:
        """Have those look around who wait in `wait_woken`."""
        if self._waiting:
            self._waiting.unpark_all()

    async def wait_ready(self) -> None:
        """Wait until `get` would not wait: a message is there, or the end. Cancellation: safe."""
        await trio.lowlevel.checkpoint()
        while not (self.ready or self._closed):
            await self._waiting.park()
            self._waiting.unpark()  # what we were woken for is still there, for another consumer

    def at_hand(self) -> bool:
        """Whether a message is in memory and may be taken without a turn of the scheduler; count it as one that is."""
        if not self._memory or self._since_checkpoint >= FAIRNESS - 1:
            return False
        self._since_checkpoint += 1
        return True

    def take(self) -> Message:
        """Return the next message; only when `ready`."""
        if not self._memory:
            return self._read()
        message = self._memory.popleft()
        self._bytes -= message.size
        if self._when_full == "pause":
            self._room.unpark_all()
        return message

    def take_ready(self, limit_bytes: float, *, stop_before: str | None = None) -> Iterator[Message]:
        """Take the messages that are there already, one by one, without waiting.

        Args:
            limit_bytes: after so many bytes no more are taken; at least one message is.
            stop_before: a type of message to stop at, or None. Of one that lies in the temporary file the type is not known, so
                this stops there too.

        Yields:
            The messages, each of which is out of the inbox by then.

        Raises:
            SlowConsumerError: the first one can't be read back from the temporary file. Where others came before it this just
                ends, and `get` raises the error.
        """
        taken = 0
        while self.ready and (not taken or limit_bytes > 0):
            if stop_before is not None and (not self._memory or self._memory[0].header.msg_type == stop_before):
                return
            try:
                message = self.take()
            except SlowConsumerError:
                if not taken:
                    raise
                return
            taken += 1
            limit_bytes -= message.size
            yield message

    @property
    def ready(self) -> bool:
        """Whether `get` would return at once."""
        return bool(self._memory) or bool(self._spool)

    def statistics(self) -> InboxStatistics:
        """Return how full it is and was."""
        return InboxStatistics(
            messages=len(self._memory),
            memory_bytes=self._bytes,
            spooled=len(self._spool),
            peak_messages=self._peak_messages,
            peak_memory_bytes=self._peak_bytes,
            received=self._received,
            dropped=self._dropped,
            blocked_seconds=self._blocked,
        )

    def _write(self, message: Message) -> None:
        try:
            self._spool.append(encode_v1(message))
        except OSError as error:
            self._fail_with(error, "can't be written to a temporary file")

    def _read(self) -> Message:
        try:
            return decode(self._spool.popleft(), v1=True)
        except OSError as error:
            self._spool.close()
            failure = self._fail_with(error, "can't be read back from a temporary file")
            self._failure = failure  # also where the end was to come next: it is not the end of what came
            raise failure from error

    def _fail_with(self, error: OSError, problem: str) -> Exception:
        failure = SlowConsumerError(self._limit_messages, self._limit_bytes, f"more {problem}: {error}")
        failure.__cause__ = error
        self.close(failure)
        return failure


def check_ready_limits(limit: object, limit_bytes: object) -> None:
    """Raise InvalidInputError if a consumer can't take so much at once."""
    if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
        raise InvalidInputError("limit", limit, "a number of items, 1 or more")
    if isinstance(limit_bytes, bool) or not isinstance(limit_bytes, (int, float)) or not limit_bytes > 0:
        raise InvalidInputError("limit_bytes", limit_bytes, "a number of bytes, more than 0")
