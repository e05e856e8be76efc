"""The server's side of a WebSocket (RFC 6455), for whoever relays a kernel's channels: the request, the handshake, the frames.

The one idea: frames come and go in batches. What one read held is given together, and what is ready goes out together, in one
call of the system's; a relay of many small messages costs a fraction of what it costs one by one. No extension is spoken.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final

import attrs
import h11
import trio
import trio.abc

from .._protocol.frames import (
    BINARY,
    PING,
    PONG,
    TEXT,
    Close,
    Ping,
    Pong,
    ServerFrameParser,
    close_frame,
    frame_head,
    no_mask,
    small_frame,
)
from .websocket.engine import RECEIVE_BYTES, WebSocketClosed, find_mask

__all__ = ["Keeper", "ServerWebSocket", "UpgradeRequest", "parse_upgrade", "read_head", "response_bytes", "upgrade_request"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_UPGRADE: Final = re.compile(rb"\r\nupgrade:[ \t]*websocket", re.IGNORECASE)
_AT_ONCE: Final = 256 * 1024
"""So many bytes of small frames are joined and sent together."""
_LARGE: Final = 32 * 1024
"""A payload of so many bytes is not copied to be joined with others."""


@attrs.frozen
class UpgradeRequest:
    """A request that asks for a WebSocket as RFC 6455 wants it."""

    target: bytes
    """Path and query, as they came."""
    headers: Sequence[tuple[bytes, bytes]] = attrs.field(repr=False)
    """The headers, names in lower case."""
    key: bytes = attrs.field(repr=False)
    """What the answer must prove to have seen."""
    subprotocols: Sequence[str]
    """What is offered, best first."""
    rest: bytes = attrs.field(repr=False)
    """What came behind it."""


async def read_head(stream: trio.abc.Stream, limit: int) -> bytes:
    """Read until a request's headers are whole, or no more comes, or so many bytes have come without their end.

    Raises:
        trio.BrokenResourceError: the connection is gone.
        trio.ClosedResourceError: it was closed here.

    Cancellation: what was read is lost.
    """
    data = b""
    while b"\r\n\r\n" not in data and len(data) <= limit:
        more = await stream.receive_some(RECEIVE_BYTES)
        if not more:
            break
        data += more
    return data


def parse_upgrade(data: bytes) -> UpgradeRequest | None:
    """Return the request that this begins with, if it asks for a WebSocket and is right in every way; None for all else."""
    end = data.find(b"\r\n\r\n")
    if end < 0 or not _UPGRADE.search(data, 0, end):
        return None
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(data)
    try:
        request = connection.next_event()
        if not isinstance(request, h11.Request) or not isinstance(connection.next_event(), h11.EndOfMessage):
            return None
    except h11.RemoteProtocolError:
        return None
    return upgrade_request(request, connection.trailing_data[0])


def upgrade_request(request: h11.Request, rest: bytes) -> UpgradeRequest | None:
    """Return what a request asks for, if that is a WebSocket and it is right in every way; None for all else.

    Args:
        request: the request.
        rest: what came behind its headers.
    """
    headers = [(bytes(name), bytes(value)) for name, value in request.headers]
    known = dict(headers)
    words = [word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")]
    key = known.get(b"sec-websocket-key", b"").strip()
    right = (
        (request.method, request.http_version, known.get(b"sec-websocket-version")) == (b"GET", b"1.1", b"13")
        and known.get(b"upgrade", b"").lower() == b"websocket"
        and b"upgrade" in words
        and _is_key(key)
        and b"transfer-encoding" not in known
        and known.get(b"content-length", b"0") == b"0"
    )
    if not right:
        return None
    offered = b",".join([value for name, value in headers if name == b"sec-websocket-protocol"]).decode("latin-1")
    subprotocols = [word.strip() for word in offered.split(",") if word.strip()]
    return UpgradeRequest(bytes(request.target), headers, key, subprotocols, rest)


def _is_key(key: bytes) -> bool:
    with suppress(binascii.Error):
        return len(base64.b64decode(key, validate=True)) == 16
    return False


def response_bytes(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return an ordinary HTTP answer to a request for a WebSocket, after which the connection ends.

    Args:
        status: its status.
        headers: its headers, without those that say how long it is and what becomes of the connection.
        body: its body.
    """
    connection = h11.Connection(h11.SERVER)
    connection.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.next_event()
    length = (b"content-length", b"%d" % len(body))
    answer = h11.Response(status_code=status, headers=[*headers, length, (b"connection", b"close")])
    parts = [connection.send(answer), connection.send(h11.Data(body)), connection.send(h11.EndOfMessage())]
    return b"".join([part or b"" for part in parts])


class Keeper:
    """Pings many clients from time to time, and sends the short frames that they are owed.

    One for all WebSockets of a server: a task for each that mostly waits would cost as much memory as the rest of it.

    Args:
        nursery: for what is sent; a client that reads nothing holds nobody else up.
        ping_interval: how often each client is pinged, in seconds.
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
        """Keep a WebSocket from now on."""
        self._due[websocket] = trio.current_time() + self._ping_interval
        self._added.unpark_all()

    def discard(self, websocket: ServerWebSocket) -> None:
        """Keep it no more."""
        self._due.pop(websocket, None)

    def start_soon(self, send: Callable[[], Awaitable[None]]) -> None:
        """Send something, in a task of its own."""
        self._nursery.start_soon(send)


class ServerWebSocket:
    """A WebSocket with a client. One task may receive and several may send at a time.

    Args:
        stream: to the client.
        request: what it asked for.
        max_message_size: the largest message to accept, in bytes; a larger one closes the connection with code 1009.
        keeper: sends what no caller sends.
    """

    def __init__(self, stream: trio.abc.Stream, request: UpgradeRequest, *, max_message_size: int, keeper: Keeper) -> None:
        self._stream = stream
        self._key = request.key
        self._keeper = keeper
        self._parser = ServerFrameParser(max_message_size, find_mask())
        self._first = request.rest
        self._writing = trio.StrictFIFOLock()
        self._accepted = False
        self._closed: tuple[int, str] | None = None
        self._said_goodbye = False
        self._heard_goodbye = False
        self._answer: bytes | None = None  # a short frame that a task of its own is to send
        self._answering = False

    async def accept(self, subprotocol: str | None, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Answer the handshake.

        Raises:
            WebSocketClosed: the client is gone.
        """
        proof = base64.b64encode(hashlib.sha1(self._key + _GUID, usedforsecurity=False).digest())
        chosen = [] if subprotocol is None else [(b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1"))]
        fixed = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", proof)]
        lines = b"".join([b"%b: %b\r\n" % header for header in (*fixed, *chosen, *headers)])
        await self._put_alone(b"HTTP/1.1 101 Switching Protocols\r\n" + lines + b"\r\n")
        self._accepted = True
        if self._answer is not None:
            self._have_sent(self._answer)

    async def refuse(self, status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> None:
        """Answer the handshake with an ordinary response; nothing comes after it.

        Raises:
            WebSocketClosed: the client is gone.
        """
        await self._put_alone(response_bytes(status, headers, body))

    async def receive(self) -> Sequence[bytes | str]:
        """Wait for messages: at least one, and all that have come whole. Also tells, before `accept`, that the client has gone.

        Raises:
            WebSocketClosed: the connection is over, and every message that came before its end was received.

        Cancellation: safe, nothing is lost.
        """
        while self._closed is None:
            if self._first:
                data, self._first = self._first, b""
            else:
                try:
                    data = bytes(await self._stream.receive_some(RECEIVE_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                if not data:
                    self._closed = (1006, "")
                    break
            messages = self._parser.feed(data)
            if self._parser.controls:
                self._act()
            error = self._parser.error
            if error is not None:
                self._end(error.code, error.reason)
            if messages:
                return messages
        raise WebSocketClosed(*self._closed)

    def _act(self) -> None:
        """Act on the control frames that came. A client's pongs need no thanks."""
        for control in self._parser.controls:
            if isinstance(control, Ping):
                if not self._said_goodbye:
                    self._have_sent(small_frame(PONG, control.payload, b"", no_mask))
            elif not isinstance(control, Pong):
                self._heard_goodbye = True
                self._end(control.code, "")
        self._parser.controls.clear()

    def _end(self, code: int, reason: str) -> None:
        """Note the end, and say goodbye if that was not done: the same code, as RFC 6455 has it."""
        if self._closed is None:
            self._closed = (code, reason)
        if not self._said_goodbye:
            self._said_goodbye = True
            self._have_sent(close_frame(code, reason, b"", no_mask))

    def _have_sent(self, frame: bytes) -> None:
        """Have a short frame sent, in place of one that still waits: one pong answers all pings before it."""
        self._answer = frame
        if self._accepted and not self._answering:
            self._answering = True
            self._keeper.start_soon(self._send_answers)

    def have_pinged(self) -> None:
        """Have the client pinged, unless it is owed something, which does the same."""
        if self._answer is None and not self._answering and not self._said_goodbye:
            self._have_sent(small_frame(PING, b"", b"", no_mask))

    def _take_answer(self) -> bytes | None:
        frame, self._answer = self._answer, None
        return frame

    async def _send_answers(self) -> None:
        try:
            while self._answer is not None:
                async with self._writing:
                    frame = self._take_answer()
                    if frame is not None:  # a goodbye may have gone out meanwhile
                        await self._put(frame)
        except WebSocketClosed:
            self._answer = None  # the receiver tells how it ended
        finally:
            self._answering = False

    async def send(self, messages: Sequence[bytes | str]) -> None:
        """Send messages, small ones together.

        Raises:
            WebSocketClosed: the client is gone; how many of them arrived is not known.

        Cancellation: may leave half a frame; close the connection then.
        """
        try:
            self._writing.acquire_nowait()
        except trio.WouldBlock:
            await self._writing.acquire()
        try:
            if self._said_goodbye:
                raise WebSocketClosed(*(self._closed or (1006, "")))
            parts: list[bytes] = []
            size = 0
            for message in messages:
                kind, payload = (TEXT, message.encode()) if isinstance(message, str) else (BINARY, message)
                length = len(payload)
                parts.append(frame_head(kind, length, b""))
                if length >= _LARGE:
                    await self._put(b"".join(parts))
                    await self._put(payload)
                    parts, size = [], 0
                    continue
                parts.append(payload)
                size += length
                if size >= _AT_ONCE:
                    await self._put(b"".join(parts))
                    parts, size = [], 0
            if parts:
                await self._put(b"".join(parts))
        finally:
            self._writing.release()

    async def close(self, code: int, reason: str, linger: float) -> None:
        """Say goodbye if that was not done, and wait for the client's: what is closed at once may be lost on its way.

        Args:
            code: the close code.
            reason: in words.
            linger: how long both may take together, in seconds.
        """
        if not self._said_goodbye:
            self._said_goodbye = True
            self._answer = close_frame(code, reason, b"", no_mask)
        with suppress(WebSocketClosed), trio.move_on_after(linger):
            async with self._writing:
                frame = self._take_answer()
                if frame is not None:
                    await self._put(frame)
            with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
                while not self._heard_goodbye and (data := bytes(await self._stream.receive_some(RECEIVE_BYTES))):
                    self._parser.feed(data)
                    self._heard_goodbye = any(isinstance(control, Close) for control in self._parser.controls)
                    self._parser.controls.clear()

    async def _put_alone(self, data: bytes) -> None:
        async with self._writing:
            await self._put(data)

    async def _put(self, data: bytes) -> None:
        """Send bytes; the caller holds the lock."""
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            raise WebSocketClosed(1006, "") from None
