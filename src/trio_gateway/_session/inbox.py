"""A bounded buffer of messages between the one reader of a kernel's connection and one consumer.

The one idea: the reader never waits for a consumer. Up to two bounds, in messages and in bytes, messages lie in memory;
beyond them they go to a temporary file and come back in order. So nothing is lost (G5), memory is bounded (G7), a slow
consumer never looks like a dead connection, and whoever awaits only a reply is not held up by output nobody reads.
"""

from __future__ import annotations

import struct
import tempfile
from collections import deque
from typing import IO, Final

import attrs
import trio

from .._protocol.codec import decode, encode_v1
from .._protocol.messages import Message

__all__ = ["Inbox", "InboxStatistics"]

_frame_length: Final = struct.Struct("<Q")
_FAIRNESS: Final = 64
"""After so many messages that were there already, a consumer lets other tasks run."""


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


class Inbox:
    """A first-in first-out buffer with one consumer.

    Args:
        limit_messages: how many messages may lie in memory.
        limit_bytes: how many bytes of messages may lie in memory; a single larger message goes to the file.
    """

    __slots__ = (
        "_bytes",
        "_closed",
        "_failure",
        "_file",
        "_limit_bytes",
        "_limit_messages",
        "_memory",
        "_peak_bytes",
        "_peak_messages",
        "_read_at",
        "_received",
        "_since_checkpoint",
        "_spooled",
        "_waiting",
        "_write_at",
    )

    def __init__(self, *, limit_messages: float, limit_bytes: float) -> None:
        self._limit_messages = limit_messages
        self._limit_bytes = limit_bytes
        self._memory: deque[Message] = deque()
        self._bytes = 0
        self._file: IO[bytes] | None = None
        self._spooled = 0
        self._read_at = 0
        self._write_at = 0
        self._waiting = trio.lowlevel.ParkingLot()
        self._closed = False
        self._failure: Exception | None = None
        self._received = 0
        self._peak_messages = 0
        self._peak_bytes = 0
        self._since_checkpoint = 0

    def put(self, message: Message) -> None:
        """Take a message; never waits. After `close` it is dropped."""
        if self._closed:
            return
        self._received += 1
        if self._spooled or len(self._memory) >= self._limit_messages or self._bytes + message.size > self._limit_bytes:
            self._spool(message)
        else:
            self._memory.append(message)
            self._bytes += message.size
            self._peak_bytes = max(self._peak_bytes, self._bytes)
            self._peak_messages = max(self._peak_messages, len(self._memory))
        self._waiting.unpark()

    def close(self, failure: Exception | None = None) -> None:
        """End the inbox: the consumer gets what is in it, then the end, or `failure`. A second close changes nothing."""
        if not self._closed:
            self._closed = True
            self._failure = failure
            self._waiting.unpark_all()

    def discard(self) -> None:
        """Forget everything and remove the temporary file; nobody will read any more."""
        self._closed = True
        self._memory.clear()
        self._bytes = 0
        self._spooled = 0
        if self._file is not None:
            self._file.close()
            self._file = None
        self._waiting.unpark_all()

    async def get(self) -> Message:
        """Wait for the next message.

        Raises:
            trio.EndOfChannel: the inbox was closed and is empty.
            Exception: what it was closed with.

        Cancellation: safe, no message is lost. A message that is there already costs no scheduling, but for every 64th.
        """
        while True:
            if self._memory or self._spooled:
                self._since_checkpoint += 1
                if self._since_checkpoint >= _FAIRNESS:
                    self._since_checkpoint = 0
                    await trio.lowlevel.checkpoint()
                    continue
                await trio.lowlevel.checkpoint_if_cancelled()
                return self._take()
            if self._closed:
                await trio.lowlevel.checkpoint()
                raise trio.EndOfChannel if self._failure is None else self._failure
            await self._waiting.park()
            self._since_checkpoint = 0

    def _take(self) -> Message:
        if not self._memory:
            return self._unspool()
        message = self._memory.popleft()
        self._bytes -= message.size
        return message

    @property
    def ready(self) -> bool:
        """Whether `get` would return at once."""
        return bool(self._memory) or self._spooled > 0

    def statistics(self) -> InboxStatistics:
        """Return how full it is and was."""
        return InboxStatistics(
            len(self._memory), self._bytes, self._spooled, self._peak_messages, self._peak_bytes, self._received
        )

    def _spool(self, message: Message) -> None:
        # Writing to a fresh temporary file goes to the page cache: microseconds, so no thread is paid for it.
        if self._file is None:
            self._file = tempfile.TemporaryFile(prefix="trio_gateway_")  # noqa: SIM115 - closed by discard()
        frame = encode_v1(message)
        self._file.seek(self._write_at)
        self._file.write(_frame_length.pack(len(frame)))
        self._file.write(frame)
        self._write_at += _frame_length.size + len(frame)
        self._spooled += 1

    def _unspool(self) -> Message:
        assert self._file is not None
        self._file.seek(self._read_at)
        (length,) = _frame_length.unpack(self._file.read(_frame_length.size))
        message = decode(self._file.read(length), v1=True)
        self._read_at += _frame_length.size + length
        self._spooled -= 1
        if not self._spooled:
            self._file.seek(0)
            self._file.truncate()
            self._read_at = self._write_at = 0
        return message
