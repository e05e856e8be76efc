"""The server's side of a WebSocket with a front end: the shell around `WebSocketConnection`, and what pings all of them.

The one idea: frames come and go in batches. What one read held is given together, and what is ready goes out together, in one
call of the system's; a relay of many small messages costs a fraction of what it costs one by one.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import trio
import trio.abc

from .._protocol.websocket import Role, UpgradeRequest, WebSocketConnection, accept_bytes, refusal_bytes
from .._transport.websocket.engine import RECEIVE_BYTES, WebSocketClosed, find_mask
from .._transport.websocket.shell import FrameShell

__all__ = ["Pinger", "ServerWebSocket"]


class Pinger:
    """Pings many front ends from time to time, and sends the short frames that they are owed.

    One for all WebSockets of a server: a task for each that mostly waits would cost as much memory as the rest of it.

    Args:
        nursery: for what is sent; a front end that reads nothing holds nobody else up.
        ping_interval: how often each front end is pinged, in seconds.
    """

    def __init__(self, nursery: trio.Nursery, ping_interval: float) -> None:
        self._nursery = nursery
        self._ping_interval = ping_interval
        self._due: dict[ServerWebSocket, float] = {}  # the next one is first: the interval is the same for all
        self._added = trio.lowlevel.ParkingLot()

    async def run(self) -> None:
        """Ping, until cancelled."""
        while True:
            while not self._due:
                await self._added.park()
            websocket, due = next(iter(self._due.items()))
            await trio.sleep_until(due)
            if self._due.pop(websocket, None) is not None:
                self._due[websocket] = trio.current_time() + self._ping_interval
                websocket.have_pinged()

    def add(self, websocket: ServerWebSocket) -> None:
        """Ping a WebSocket from now on."""
        self._due[websocket] = trio.current_time() + self._ping_interval
        self._added.unpark_all()

    def discard(self, websocket: ServerWebSocket) -> None:
        """Ping it no more."""
        self._due.pop(websocket, None)

    def start_soon(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send something, in a task of its own."""
        self._nursery.start_soon(send)


class ServerWebSocket(FrameShell):
    """A WebSocket with a front end. One task may receive and several may send at a time.

    `receive` also says, before `accept`, that the front end has gone.

    Args:
        stream: to the front end.
        request: what it asked for.
        max_message_size: the largest message to accept, in bytes; a larger one closes the connection with code 1009.
        pinger: sends what no caller sends.
    """

    __slots__ = ("_key", "_pinger")

    def __init__(self, stream: trio.abc.Stream, request: UpgradeRequest, *, max_message_size: int, pinger: Pinger) -> None:
        connection = WebSocketConnection(Role.SERVER, max_message_size, find_mask(), secrets.token_bytes)
        self._begin(connection, stream, request.rest)
        self._key = request.key
        self._pinger = pinger

    async def accept(self, subprotocol: str | None, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer the handshake.

        Args:
            subprotocol: the one that was selected of those offered; None for none.
            headers: more headers.

        Raises:
            WebSocketClosed: the front end is gone.

        Cancellation: may leave half an answer; close the stream then.
        """
        async with self._writing:
            await self._put(accept_bytes(self._key, subprotocol, headers))
        self._connection.open()
        if self._connection.owes:
            self._have_owed_sent()

    async def refuse(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the handshake with an ordinary response; nothing comes after it.

        Args:
            status: its status.
            headers: its headers, without those that say how long it is and what becomes of the connection.
            body: its body.

        Raises:
            WebSocketClosed: the front end is gone.

        Cancellation: may leave half an answer; close the stream then.
        """
        async with self._writing:
            await self._put(refusal_bytes(status, headers, body))

    async def send(self, messages: Sequence[bytes | str]) -> None:
        """Send messages, small ones together.

        Raises:
            WebSocketClosed: the front end is gone; how many of them arrived is not known.

        Cancellation: may leave half a frame; close the connection then.
        """
        await self._write(self._connection.send(messages))

    def have_pinged(self) -> None:
        """Have the front end pinged, unless something is being sent or owed, which does the same."""
        if self._owed_sent is None:
            self._connection.owe_ping()
            if self._connection.owes:
                self._have_owed_sent()

    async def close(self, code: int, reason: str, linger: float) -> None:
        """Say goodbye if that was not done, and wait for the front end's: what is closed at once may be lost on its way.

        Args:
            code: the close code.
            reason: in words.
            linger: how long both may take together, in seconds.
        """
        self._connection.close(code, reason)
        with suppress(WebSocketClosed), trio.move_on_after(linger):
            await self._send_owed()
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                if self._connection.failed and isinstance(self._stream, trio.abc.HalfCloseableStream):
                    await self._stream.send_eof()  # its goodbye can't be told, so ours is the last word (RFC 6455, section 7.1.7)
                while not self._connection.heard_goodbye and (data := await self._stream.receive_some(RECEIVE_BYTES)):
                    self._connection.receive(bytes(data))

    def _start_soon(self, send: Callable[[], Awaitable[None]]) -> None:
        self._pinger.start_soon(send)
