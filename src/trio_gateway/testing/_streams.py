"""Byte streams of the fake: bounded pipes in memory, and the server's end of any stream, where connections break on command.

The one idea: every fault of a connection happens at the server's end, so one in memory and one over TCP break in the same way.
A pipe holds a bounded number of bytes, so a peer that does not read stops the other, as a socket's buffers do.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from typing import Final

import trio

__all__ = ["BUFFER_BYTES", "MemoryStream", "ServerStream", "memory_connection"]

BUFFER_BYTES: Final = 64 * 1024
"""How many bytes wait in one direction of a connection in memory before its sender waits."""


class _Pipe:
    """One direction of a connection: at most `limit` bytes between a sender and a receiver."""

    def __init__(self, limit: int) -> None:
        self._data = bytearray()
        self._limit = limit
        self._ended = False
        self._broken = False
        self._changed = trio.lowlevel.ParkingLot()

    async def send(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        rest = memoryview(data)
        while True:
            if self._broken or self._ended:
                raise trio.BrokenResourceError("the connection is over")
            taken = min(len(rest), self._limit - len(self._data))
            if taken:
                self._data += rest[:taken]
                rest = rest[taken:]
                self._changed.unpark_all()
            if not rest:
                return
            await self._changed.park()

    def send_now(self, data: bytes) -> int:
        taken = 0 if self._broken or self._ended else min(len(data), self._limit - len(self._data))
        if taken:
            self._data += data[:taken]
            self._changed.unpark_all()
        return taken

    async def receive(self, max_bytes: int | None) -> bytes:
        await trio.lowlevel.checkpoint()
        while not self._data:
            if self._broken:
                raise trio.BrokenResourceError("the connection was reset")
            if self._ended:
                return b""
            await self._changed.park()
        taken = bytes(self._data[:max_bytes])
        del self._data[: len(taken)]
        self._changed.unpark_all()
        return taken

    async def wait_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while len(self._data) >= self._limit and not self._broken:
            await self._changed.park()

    def end(self) -> None:
        """No more will be sent; what was sent can be read."""
        self._ended = True
        self._changed.unpark_all()

    def abandon(self) -> None:
        """Nobody reads any more: the sender learns it."""
        self._broken = True
        self._data.clear()
        self._changed.unpark_all()

    def cut(self, *, keep: bool) -> None:
        """Break both ends; what is on its way is still delivered if `keep`."""
        self._broken = True
        if not keep:
            self._data.clear()
        self._changed.unpark_all()


class MemoryStream(trio.abc.HalfCloseableStream):
    """One end of a connection in memory. Made by `memory_connection`."""

    def __init__(self, incoming: _Pipe, outgoing: _Pipe) -> None:
        self._incoming = incoming
        self._outgoing = outgoing
        self._closed = False

    def _check(self) -> None:
        if self._closed:
            raise trio.ClosedResourceError("this end is closed")

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        """Send, waiting for room. Cancellation: some of it may have been sent."""
        self._check()
        await self._outgoing.send(data)

    def send_now(self, data: bytes) -> int:
        """Send as much as there is room for, without waiting; return how many bytes that is. Nobody may be in `send_all`."""
        return 0 if self._closed else self._outgoing.send_now(data)

    async def wait_send_all_might_not_block(self) -> None:
        """Wait for room."""
        self._check()
        await self._outgoing.wait_room()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        """Receive what is there, at least one byte; none at the end. Cancellation: safe."""
        self._check()
        data = await self._incoming.receive(max_bytes)
        self._check()
        return data

    async def send_eof(self) -> None:
        """Say that no more will be sent."""
        self._check()
        self._outgoing.end()
        await trio.lowlevel.checkpoint()

    async def aclose(self) -> None:
        """Close this end. Twice is fine."""
        if not self._closed:
            self._closed = True
            self._outgoing.end()
            self._incoming.abandon()
        await trio.lowlevel.checkpoint()

    def reset(self, *, keep: bool) -> None:
        """Break the connection, both ways; the other end still reads what is on its way to it if `keep`."""
        self._outgoing.cut(keep=keep)
        self._incoming.cut(keep=False)


def memory_connection(limit: int = BUFFER_BYTES) -> tuple[MemoryStream, MemoryStream]:
    """Make a connection in memory and return its two ends.

    Args:
        limit: how many bytes wait in each direction before its sender waits.
    """
    there, back = _Pipe(limit), _Pipe(limit)
    return MemoryStream(back, there), MemoryStream(there, back)


class ServerStream:
    """The server's end of a connection, in memory or TCP: what a fault breaks.

    Args:
        stream: the stream itself.
        number: which connection it is; the first is 1.
    """

    def __init__(self, stream: trio.abc.Stream, number: int) -> None:
        self.number = number
        self.received: int = 0
        self.sent: int = 0
        self.cut_after_received: int | None = None
        self.cut_after_sent: int | None = None
        self.on_cut: Callable[[], object] = lambda: None
        self.bytes_per_second: float | None = None
        self.swallows: bool = False
        self.over: bool = False
        self._stream = stream

    async def receive_some(self) -> bytes:
        """Receive what is there; nothing at the end, also where the connection broke or was cut."""
        while True:
            limit = None if self.cut_after_received is None else self.cut_after_received - self.received
            if limit is not None and limit <= 0:
                await self._cut()
                return b""
            try:
                data = await self._stream.receive_some(limit)
            except (trio.BrokenResourceError, trio.ClosedResourceError):
                data = b""
            self.received += len(data)
            if self.swallows and data:
                continue
            if data and self.bytes_per_second is not None:
                await trio.sleep(len(data) / self.bytes_per_second)
            return bytes(data)

    async def send_all(self, data: bytes) -> bool:
        """Send; say whether the connection is still there."""
        if self.swallows:
            await trio.lowlevel.checkpoint()
            return True
        if self.cut_after_sent is not None and self.sent + len(data) >= self.cut_after_sent:
            await self._send(data[: max(self.cut_after_sent - self.sent, 0)])
            await self._cut()
            return False
        return await self._send(data)

    async def _send(self, data: bytes) -> bool:
        pieces = [data]
        if self.bytes_per_second is not None:
            step = max(int(self.bytes_per_second), 1)
            pieces = [data[start : start + step] for start in range(0, len(data), step)]
        try:
            for piece in pieces:
                if self.bytes_per_second is not None:
                    await trio.sleep(len(piece) / self.bytes_per_second)
                await self._stream.send_all(piece)
                self.sent += len(piece)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return True

    async def _cut(self) -> None:
        await trio.lowlevel.checkpoint()
        if not self.over:
            self.on_cut()
            self.reset(keep=True)

    def swallow(self) -> None:
        """From now on take what comes and say nothing."""
        self.swallows = True

    def reset(self, *, keep: bool = False) -> None:
        """Break the connection at once, as a peer that crashed does.

        Args:
            keep: let the client still read what was sent. Over TCP the kernel decides.
        """
        self.over = True
        if isinstance(self._stream, MemoryStream):
            self._stream.reset(keep=keep)
        elif isinstance(self._stream, trio.SocketStream):
            if not keep:
                # With no time to linger, closing sends a reset.
                self._stream.socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            self._stream.socket.close()

    async def aclose(self) -> None:
        """Close it. It does not wait."""
        self.over = True
        await trio.aclose_forcefully(self._stream)
