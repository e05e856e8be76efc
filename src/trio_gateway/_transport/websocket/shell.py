"""What surrounds a `WebSocketConnection` of either role: reads and writes of a stream, one writer at a time.

The one idea: the task that receives reads the stream itself and gets every message that a read held, without a task or a queue in
between. It does not write: it may be cancelled, and half a frame must never be. What the connection owes (a pong, a goodbye) is
sent by a task of its own, and every writer holds one lock. One who does not wait needs none: it writes when nobody holds it, and
what the stream did not take is owed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable, Sequence

import trio
import trio.abc

from ..._protocol.messages import Buffer
from ..._protocol.websocket import Outgoing, WebSocketConnection
from ..connector import send_now
from .engine import RECEIVE_BYTES, WebSocketClosed

__all__ = ["FrameShell"]


class FrameShell:
    """Base of the shells of both roles. One task may receive and several may send at a time."""

    # One for each front end.
    __slots__ = ("_connection", "_first", "_owed_sent", "_rest", "_stream", "_torn", "_writing", "unfinished")

    unfinished: bool
    """Whether a part of a message that was sent without waiting is not on its way yet."""

    def _begin(self, connection: WebSocketConnection, stream: trio.abc.Stream, first: bytes) -> None:
        """Begin; nothing else may be called before.

        Args:
            connection: speaks the protocol.
            stream: to the other end.
            first: what was read of it already, behind the handshake.
        """
        self._connection: WebSocketConnection = connection
        self._stream: trio.abc.Stream = stream
        self._first = first
        self._rest: Buffer = b""  # of a frame that was sent without waiting: before all else
        self.unfinished = False
        self._torn = False  # whether a write was cut short: what came behind it would be read as the rest of a frame
        self._writing = trio.StrictFIFOLock()
        self._owed_sent: trio.Event | None = None  # set when the task ends that sends what is owed

    async def receive(self) -> Sequence[bytes | str]:
        """Wait for messages: at least one, and all that have come whole. Binary ones are bytes, text ones str.

        Raises:
            WebSocketClosed: the connection is over, and every message that came before its end was received.

        Cancellation: safe, nothing is lost.
        """
        connection = self._connection
        while connection.closed is None:
            if self._first:
                data, self._first = self._first, b""
            else:
                try:
                    data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
            messages = connection.receive(data)
            if connection.news:
                self._heed()
            if messages:
                return messages
        raise self._ended()

    def _heed(self) -> None:
        """Do what has to be done about what came beside messages."""
        if self._connection.owes:
            self._have_owed_sent()
        answered = self._connection.take_answered()
        if answered:
            self._note_answered(answered)

    async def _write(self, pieces: Iterable[Buffer]) -> None:
        """Send the pieces of whole frames, with none of another in between.

        Raises:
            WebSocketClosed: the connection is over.

        Cancellation: may leave half a frame; nothing more is sent then. Close the connection.
        """
        await trio.lowlevel.checkpoint_if_cancelled()  # here it leaves none
        try:
            self._writing.acquire_nowait()  # mostly it is free; to acquire it the other way costs a turn of the scheduler
        except trio.WouldBlock:
            await self._writing.acquire()
        try:
            if self._torn or not self._connection.may_send:
                raise self._ended()
            for piece in pieces:
                await self._put(piece)
        finally:
            self._writing.release()

    def _write_now(self, messages: Sequence[Outgoing]) -> bool:
        """Send small messages without waiting, if nobody writes and the stream takes a part of them; say whether that was so.

        The rest is sent by a task of its own, before anything else is. A pong that is owed goes first.
        """
        if not self._may_write_now:
            return False
        taken = self._put_now(b"".join(self._connection.send(messages)))
        self.unfinished = bool(self._rest)
        return taken

    @property
    def _may_write_now(self) -> bool:
        """Whether nobody writes, and nothing is owed."""
        connection = self._connection
        return not (self._rest or self._torn or self._writing.locked() or connection.owes) and connection.may_send

    def _put_now(self, data: bytes) -> bool:
        """Send whole frames without waiting, as far as the stream takes them; say whether it took a part."""
        taken = send_now(self._stream, data)
        if 0 < taken < len(data):
            self._rest = memoryview(data)[taken:]
            self._have_owed_sent()
        return taken > 0

    async def _put(self, data: Buffer) -> None:
        """Send bytes, and before them the rest of a frame; the caller holds the lock. Cut short, it is the last that is sent."""
        self._torn = True  # until all of it has gone
        try:
            if self._rest:
                await self._stream.send_all(self._rest)
                self._rest = b""
                self.unfinished = False
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # what had come before the end may still be read: the receiver says how it ended
        else:
            self._torn = False
            return
        raise self._closed(1006, "")

    def _have_owed_sent(self) -> None:
        """Have what is owed sent by a task of its own, if none is at it."""
        if self._owed_sent is None:
            self._owed_sent = trio.Event()
            self._start_soon(self._send_all_owed)

    async def _send_all_owed(self) -> None:
        try:
            while self._rest or self._connection.owes:
                await self._send_owed()
        except WebSocketClosed:
            self._connection.take_owed()  # nobody is there to take it; the receiver says how it ended
        finally:
            sent, self._owed_sent = self._owed_sent, None
            if sent is not None:
                sent.set()

    async def _send_owed(self) -> None:
        """Send what is owed, if it was not sent by another task.

        Raises:
            WebSocketClosed: the connection is over.
        """
        async with self._writing:
            if self._torn:
                raise self._ended()
            frame = self._connection.take_owed()
            if frame is not None or self._rest:
                await self._put(frame or b"")

    def _ended(self) -> WebSocketClosed:
        return self._closed(*(self._connection.closed or (1006, "")))

    # What differs between the shells

    def _closed(self, code: int, reason: str) -> WebSocketClosed:
        """Make the exception for a connection that is over."""
        return WebSocketClosed(code, reason)

    def _note_answered(self, payloads: Sequence[bytes]) -> None:
        """Note that pings were answered, or never will be."""

    def _start_soon(self, send: Callable[[], Awaitable[None]]) -> None:
        """Have a task send something."""
        raise NotImplementedError
