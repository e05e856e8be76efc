"""The fast WebSocket engine: frames cut straight out of what the stream gives, without a task or a queue in between.

The one idea: whoever receives reads the socket itself and gets every message that a read held. It answers the peer's pings
through a task of its own, for a receiver may be cancelled and half a frame must never be; every writer holds one lock.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import sys
from collections.abc import Sequence
from contextlib import suppress
from typing import Final

import h11
import trio
import trio.abc

from ..._errors import GatewayConnectionError
from ..._protocol.frames import (
    BINARY,
    PING,
    PONG,
    TEXT,
    FrameParser,
    Ping,
    Pong,
    close_frame,
    frame_head,
    small_frame,
)
from ..._protocol.messages import Buffer
from ..._secret import SecretBytes
from ..._services import Services
from .engine import RECEIVE_BYTES, HandshakeRejected, PeerWords, Upgrade, WebSocketClosed, find_mask

__all__ = ["FastWebSocket"]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_SEND_AT_ONCE: Final = 64 * 1024
"""A larger message is masked and sent in pieces: what is masked stays in the processor's cache, and no copy of it is made."""
_PIECE: Final = 256 * 1024  # a multiple of the key's length
_KEYS: Final = 32
_MAX_HEAD: Final = 100 * 1024
_MAX_BODY: Final = 64 * 1024
_NOBODY: Final = PeerWords("", str)


class FastWebSocket:
    """An engine of ours; see `WebSocket` for what it promises."""

    def __init__(self, services: Services) -> None:
        self.given_up: bool = False
        self._services = services
        self._stream: trio.abc.Stream | None = None
        self._words = _NOBODY
        self._subprotocol: str | None = None
        self._headers: Sequence[tuple[str, str]] = ()
        self._mask = find_mask()
        self._keys = b""
        self._parser = FrameParser(0)
        self._first = b""  # what came with the end of the handshake
        self._writing = trio.StrictFIFOLock()
        self._closed: tuple[int, str] | None = None
        self._said_goodbye = False
        self._pings: dict[bytes, trio.Event] = {}
        self._answer: bytes | None = None  # a short frame that a task of its own is to send
        self._answered: trio.Event | None = None  # set when that task ends

    async def open(self, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        """Shake hands over an open stream."""
        self._stream = stream
        self._parser = FrameParser(upgrade.max_message_size)
        self._words = upgrade.words
        key = base64.b64encode(secrets.token_bytes(16))
        connection = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        head = _request(connection, key, upgrade)
        if head is None:
            raise GatewayConnectionError(f"{upgrade.words.address} can't be asked: a header can't be sent")
        broke: str | None = None
        nonsense: str | None = None
        refusal: HandshakeRejected | None = None
        try:
            await stream.send_all(head)
            refusal = await self._receive_answer(connection, stream)
        except h11.RemoteProtocolError as error:
            nonsense = upgrade.words.mask(repr(error))
        except (trio.BrokenResourceError, trio.ClosedResourceError) as error:
            broke = upgrade.words.mask(repr(error))
        # Here, where no error is handled: it would go along, with all that it knows of what came. And no local holds that now.
        if refusal is not None:
            try:
                raise refusal
            finally:
                del refusal  # else this frame and its own traceback keep each other
        if broke is not None:
            raise upgrade.words.broken(f": {broke}")
        if nonsense is None:
            nonsense = self._judge(key, upgrade.subprotocols)
        if nonsense is not None:
            raise upgrade.words.nonsense(nonsense)
        self._first = connection.trailing_data[0]

    async def _receive_answer(self, connection: h11.Connection, stream: trio.abc.Stream) -> HandshakeRejected | None:
        """Read the answer to the upgrade request: keep the headers of a 101, return what another one says."""
        refused: h11.Response | None = None
        body = bytearray()
        while True:
            event = connection.next_event()
            if event is h11.NEED_DATA:
                data = await stream.receive_some(RECEIVE_BYTES)
                if not data and refused is None:
                    raise trio.BrokenResourceError("it was closed")
                connection.receive_data(bytes(data))
            elif isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    # Names are the same in each answer, and need not be there once for each connection.
                    self._headers = tuple([(sys.intern(name), value) for name, value in _texts(event)])
                    return None
            elif isinstance(event, h11.Response):
                refused = event
            elif isinstance(event, h11.Data):
                body += event.data[: _MAX_BODY - len(body)]
            if refused is not None and (len(body) >= _MAX_BODY or isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed))):
                return self._words.rejected(refused.status_code, _texts(refused), bytes(body))

    def _judge(self, key: bytes, subprotocols: Sequence[str]) -> str | None:
        """Say what is wrong with the 101 that came; None if nothing is."""
        found: dict[str, str] = dict(self._headers)
        accept = base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest()).decode()
        connection = [word.strip().lower() for word in found.get("connection", "").split(",")]
        if found.get("upgrade", "").lower() != "websocket" or "upgrade" not in connection:
            return "its answer upgrades to something else"
        if found.get("sec-websocket-accept", "").strip() != accept:
            return "its answer is not to our request"
        if found.get("sec-websocket-extensions", "").strip():
            return "it uses an extension that was not offered"
        chosen = found.get("sec-websocket-protocol")
        if chosen is not None and chosen not in subprotocols:
            return self._words.mask(f"it chose the subprotocol {chosen!r}, which was not offered")
        self._subprotocol = chosen
        return None

    @property
    def subprotocol(self) -> str | None:
        return self._subprotocol

    @property
    def cut(self) -> int:
        return self._parser.cut

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        return self._headers

    async def receive(self) -> Sequence[bytes | str]:
        stream = self._stream
        assert stream is not None
        while self._closed is None:
            if self._first:
                data, self._first = self._first, b""
            else:
                try:
                    data = bytes(await stream.receive_some(RECEIVE_BYTES))
                except (trio.BrokenResourceError, trio.ClosedResourceError):
                    data = b""
                if not data:
                    self._end(1006, "")
                    break
            messages = self._parser.feed(data)
            if self._parser.controls:
                self._act()
            error = self._parser.error
            if error is not None:
                self._end(error.code, error.reason)
                self._say_goodbye(error.code, error.reason)
            if messages:
                return messages
        raise self._ended()

    def _act(self) -> None:
        """Act on the control frames that came."""
        for control in self._parser.controls:
            if isinstance(control, Ping):
                if not self._said_goodbye:
                    # A flood of pings wants one answer, to the last of them (RFC 6455, section 5.5.3).
                    self._have_sent(small_frame(PONG, control.payload, self._key(), self._mask))
            elif isinstance(control, Pong):
                self._note_pong(control.payload)
            else:
                self._end(control.code, control.reason)
                self._say_goodbye(control.code, "")
        self._parser.controls.clear()

    async def send(self, data: bytes | str | Sequence[Buffer]) -> None:
        kind = BINARY
        if isinstance(data, str):
            kind, data = TEXT, data.encode()
        parts: Sequence[Buffer] = [data] if isinstance(data, bytes) else data
        length = sum(map(len, parts))
        key = self._key()
        if length <= _SEND_AT_ONCE:
            await self._write(small_frame(kind, b"".join(parts), key, self._mask))
            return
        async with self._writing:
            await self._put(frame_head(kind, length, key))
            for part in parts:
                view = memoryview(part)
                for start in range(0, len(view), _PIECE):
                    await self._put(self._mask(view[start : start + _PIECE], key))
                turn = len(view) % 4  # a piece is a whole number of keys, a part need not be
                key = key[turn:] + key[:turn]

    async def ping(self) -> None:
        payload = secrets.token_bytes(8)
        answered = self._pings[payload] = trio.Event()
        try:
            await self._write(small_frame(PING, payload, self._key(), self._mask))
            await answered.wait()
        finally:
            self._pings.pop(payload, None)
        if self._closed is not None:
            raise self._ended()

    async def pong(self) -> None:
        await self._write(small_frame(PONG, b"", self._key(), self._mask))

    async def aclose(self) -> None:
        """Say goodbye and wait for the answer; the caller bounds it and closes the stream."""
        with suppress(WebSocketClosed):
            if not self._said_goodbye:
                self._said_goodbye = True
                # Not by a task: the services around may have been stopped already.
                await self._write(close_frame(1000, "", self._key(), self._mask))
            while self._closed is None:
                await self.receive()
        async with self._writing:
            pass  # what is being said is said to its end

    async def end(self) -> None:
        """Wait for the end of what it does by itself; the stream was closed before."""
        if self._answered is not None:
            await self._answered.wait()

    def _key(self) -> bytes:
        """Return the next mask's key, four random bytes that nobody can foretell. Reading many at a time saves system calls."""
        if not self._keys:
            self._keys = secrets.token_bytes(4 * _KEYS)
        key, self._keys = self._keys[:4], self._keys[4:]
        return key

    async def _write(self, frame: bytes) -> None:
        try:
            self._writing.acquire_nowait()  # mostly it is free; to acquire it the other way costs a turn of the scheduler
        except trio.WouldBlock:
            await self._writing.acquire()
        try:
            await self._put(frame)
        finally:
            self._writing.release()

    async def _put(self, data: bytes) -> None:
        """Send bytes; the caller holds the lock."""
        assert self._stream is not None
        if self._closed is not None:
            raise self._ended()
        try:
            await self._stream.send_all(data)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # what had come before the end may still be read: the receiver tells how it ended
        else:
            return
        raise self._words.closed(1006, "")

    def _have_sent(self, frame: bytes) -> None:
        """Have a short frame sent by a task of its own, in place of one that still waits."""
        self._answer = frame
        if self._answered is None:
            self._answered = trio.Event()
            self._services.start_soon(self._send_answers, name="trio_gateway.websocket_answers")

    async def _send_answers(self) -> None:
        try:
            while self._answer is not None:
                async with self._writing:
                    frame, self._answer = self._answer, None
                    assert self._stream is not None
                    await self._stream.send_all(frame)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            self._answer = None  # the receiver tells how it ended
        finally:
            answered, self._answered = self._answered, None
            if answered is not None:
                answered.set()

    def _note_pong(self, payload: bytes) -> None:
        if payload not in self._pings:
            return
        for sent in list(self._pings):  # it answers those that were sent before as well
            self._pings.pop(sent).set()
            if sent == payload:
                return

    def _say_goodbye(self, code: int, reason: str) -> None:
        if not self._said_goodbye:
            self._said_goodbye = True
            self._have_sent(close_frame(code, reason, self._key(), self._mask))

    def _end(self, code: int, reason: str) -> None:
        if self._closed is None:
            self._closed = (code, self._words.mask(reason))
            for answered in self._pings.values():
                answered.set()

    def _ended(self) -> WebSocketClosed:
        return self._words.closed(*(self._closed or (1006, "")))


def _request(connection: h11.Connection, key: bytes, upgrade: Upgrade) -> memoryview | None:
    """Return the upgrade request, in something that does not show it; None where a header can't be sent."""
    headers: list[tuple[bytes, bytes]] = [
        (b"Host", upgrade.host.encode("ascii")),
        (b"Upgrade", b"websocket"),
        (b"Connection", b"Upgrade"),
        (b"Sec-WebSocket-Key", key),
        (b"Sec-WebSocket-Version", b"13"),
        *([(b"Sec-WebSocket-Protocol", ", ".join(upgrade.subprotocols).encode("ascii"))] if upgrade.subprotocols else []),
        *((name.encode("latin-1"), SecretBytes(value.encode("latin-1"))) for name, value in upgrade.headers),
    ]
    try:
        head = connection.send(h11.Request(method=b"GET", target=upgrade.resource.encode("ascii"), headers=headers))
        connection.send(h11.EndOfMessage())
    except h11.LocalProtocolError:
        return None  # its words would show a header
    return memoryview(head or b"")


def _texts(event: h11.Response | h11.InformationalResponse) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]
