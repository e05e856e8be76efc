"""One WebSocket connection of either role, without I/O (RFC 6455): bytes in; messages, bytes to send, and how it ended, out.

The one idea: a client and a server differ in who asks for the connection and in who masks, and in nothing else. So one machine,
`WebSocketConnection`, has the rules of both: when a ping is answered, what is said at the end and what is not said after it, when
a connection is over. A shell of each role reads, writes and waits; it owns the stream, the lock of its writers, and the clock.

The handshake stands beside the machine, and nothing of it is kept while the connection lives: for a client `ClientHandshake`, for
a server `upgrade_request`, `accept_bytes` and `refusal_bytes`. No extension is spoken.
"""

from __future__ import annotations

import base64
import binascii
import enum
import hashlib
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from typing import Final, TypeAlias

import attrs
import h11

from .._secret import SecretBytes
from .frames import (
    BINARY,
    PING,
    PONG,
    TEXT,
    FrameParser,
    Mask,
    Ping,
    Pong,
    ServerFrameParser,
    close_frame,
    frame_head,
    no_mask,
    small_frame,
)
from .messages import Buffer

__all__ = [
    "Accepted",
    "Answer",
    "ClientHandshake",
    "HungUp",
    "Nonsense",
    "Outgoing",
    "Refused",
    "Role",
    "UpgradeRequest",
    "WebSocketConnection",
    "accept_bytes",
    "refusal_bytes",
    "upgrade_request",
]

_GUID: Final = b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11"  # RFC 6455, section 1.3
_MAX_HEAD: Final = 100 * 1024
"""How large the head of a server's answer may be, in bytes."""
_MAX_BODY: Final = 64 * 1024
"""So much is kept of a refusal's body, in bytes."""
_ONLY_ONCE: Final = (b"upgrade", b"sec-websocket-key", b"sec-websocket-version")
_AT_ONCE: Final = 256 * 1024
"""So many bytes of small frames are joined and sent together."""
_LARGE: Final = 32 * 1024
"""A payload of so many bytes is not copied to be joined with others."""
_PIECE: Final = 256 * 1024  # a multiple of the key's length
"""A large payload is masked in pieces: what is masked stays in the processor's cache, and no copy of the whole is made."""
_KEYS: Final = 32
_MOST_PONGS: Final = 64
"""So many pongs wait to be sent at most: who pings and reads nothing takes no more of our memory than some kilobytes."""

Outgoing: TypeAlias = bytes | str | Sequence[Buffer]
"""A message to be sent: a text, or a binary one, whole or in parts."""


class Role(enum.Enum):
    """Which end of the connection we are."""

    CLIENT = "client"
    SERVER = "server"


# The handshake, a client's side ------------------------------------------------------------------------------------------------


@attrs.frozen
class Accepted:
    """The server has switched to the WebSocket."""

    subprotocol: str | None
    """The one that it selected, or None."""
    headers: Sequence[tuple[str, str]] = attrs.field(repr=False)
    """The headers of its answer, names in lower case."""
    rest: bytes = attrs.field(repr=False)
    """What came behind it: the first frames."""


@attrs.frozen
class Refused:
    """The server answered with an ordinary response."""

    status_code: int
    """Its status."""
    headers: Sequence[tuple[str, str]] = attrs.field(repr=False)
    """Its headers, names in lower case."""
    body: bytes = attrs.field(repr=False)
    """Its body, as far as it is kept."""


@attrs.frozen
class Nonsense:
    """What came is no answer to this handshake."""

    reason: str = attrs.field(repr=False)
    """What is wrong with it; there may be words of the server's in it."""


@attrs.frozen
class HungUp:
    """The server hung up without an answer."""


Answer: TypeAlias = Accepted | Refused | Nonsense | HungUp
"""What came of a client's handshake. Values and no exceptions: an exception's context would show what came."""


class ClientHandshake:
    """A client's side of the handshake: asks, and judges the answer.

    Args:
        nonce: 16 random bytes.
        subprotocols: what is offered, best first.
    """

    def __init__(self, nonce: bytes, subprotocols: Sequence[str]) -> None:
        self._key = base64.b64encode(nonce)
        self._subprotocols = subprotocols
        self._http = h11.Connection(h11.CLIENT, max_incomplete_event_size=_MAX_HEAD)
        self._refused: h11.Response | None = None
        self._body = bytearray()

    def request(self, host: str, resource: str, headers: Sequence[tuple[str, str]]) -> memoryview | None:
        """Return the request, in something that does not show it; None where a header can't be sent.

        Args:
            host: the `Host` header.
            resource: path and query, escaped.
            headers: more headers; they may hold secrets.
        """
        offered = ", ".join(self._subprotocols).encode("ascii")
        fields: list[tuple[bytes, bytes]] = [
            (b"Host", host.encode("ascii")),
            (b"Upgrade", b"websocket"),
            (b"Connection", b"Upgrade"),
            (b"Sec-WebSocket-Key", self._key),
            (b"Sec-WebSocket-Version", b"13"),
            *([(b"Sec-WebSocket-Protocol", offered)] if offered else []),
            *((name.encode("latin-1"), SecretBytes(value.encode("latin-1"))) for name, value in headers),
        ]
        try:
            head = self._http.send(h11.Request(method=b"GET", target=resource.encode("ascii"), headers=fields))
            self._http.send(h11.EndOfMessage())
        except h11.LocalProtocolError:
            return None  # its words would show a header
        return memoryview(head or b"")

    def receive(self, data: bytes) -> Answer | None:
        """Take what came of the answer; return it once it is whole, or as much of a refusal as is kept.

        Args:
            data: what came; `b""` where nothing more comes.
        """
        if not data and self._refused is None:
            return HungUp()
        try:
            self._http.receive_data(data)
            return self._next()
        except h11.RemoteProtocolError as error:
            return Nonsense(repr(error))

    def _next(self) -> Answer | None:
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                return None
            if isinstance(event, h11.InformationalResponse):
                if event.status_code == 101:
                    return self._judge(event)
            elif isinstance(event, h11.Response):
                self._refused = event
            elif isinstance(event, h11.Data):
                self._body += event.data[: _MAX_BODY - len(self._body)]
            over = isinstance(event, (h11.EndOfMessage, h11.ConnectionClosed)) or len(self._body) >= _MAX_BODY
            if over and self._refused is not None:
                return Refused(self._refused.status_code, _texts(self._refused), bytes(self._body))

    def _judge(self, answer: h11.InformationalResponse) -> Accepted | Nonsense:
        # Names are the same in each answer, and need not be there once for each connection.
        headers = tuple([(sys.intern(name), value) for name, value in _texts(answer)])
        found: dict[str, str] = dict(headers)
        words = [word.strip().lower() for name, value in headers if name == "connection" for word in value.split(",")]
        if found.get("upgrade", "").lower() != "websocket" or "upgrade" not in words:
            return Nonsense("its answer upgrades to something else")
        if found.get("sec-websocket-accept", "").strip() != _proof(self._key).decode():
            return Nonsense("its answer is not to our request")
        if found.get("sec-websocket-extensions", "").strip():
            return Nonsense("it uses an extension that was not offered")
        chosen = found.get("sec-websocket-protocol")
        if chosen is not None and chosen not in self._subprotocols:
            return Nonsense(f"it chose the subprotocol {chosen!r}, which was not offered")
        return Accepted(chosen, headers, self._http.trailing_data[0])


def _texts(event: h11.Response | h11.InformationalResponse) -> list[tuple[str, str]]:
    return [(name.decode("latin-1"), value.decode("latin-1")) for name, value in event.headers]


def _proof(key: bytes) -> bytes:
    """Return what shows that a request's key was seen."""
    return base64.b64encode(hashlib.sha1(key + _GUID, usedforsecurity=False).digest())


# The handshake, a server's side ------------------------------------------------------------------------------------------------


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


def upgrade_request(request: h11.Request, rest: bytes) -> UpgradeRequest | None:
    """Return what a request asks for, if that is a WebSocket and it is right in every way; None for all else.

    Args:
        request: the request.
        rest: what came behind its headers.
    """
    headers = [(bytes(name), bytes(value)) for name, value in request.headers]
    known = dict(headers)
    once = all(sum(name == wanted for name, _ in headers) == 1 for wanted in _ONLY_ONCE)
    words = [word.strip().lower() for name, value in headers if name == b"connection" for word in value.split(b",")]
    key = known.get(b"sec-websocket-key", b"").strip()
    right = (
        once
        and (request.method, request.http_version, known.get(b"sec-websocket-version")) == (b"GET", b"1.1", b"13")
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


def accept_bytes(key: bytes, subprotocol: str | None, headers: Sequence[tuple[bytes, bytes]] = ()) -> bytes:
    """Return the answer that takes a request.

    Args:
        key: the request's.
        subprotocol: the one that was selected of those offered; None for none.
        headers: more headers.
    """
    chosen = [] if subprotocol is None else [(b"Sec-WebSocket-Protocol", subprotocol.encode("latin-1"))]
    fixed = [(b"Upgrade", b"websocket"), (b"Connection", b"Upgrade"), (b"Sec-WebSocket-Accept", _proof(key))]
    lines = b"".join([b"%b: %b\r\n" % header for header in (*fixed, *chosen, *headers)])
    return b"HTTP/1.1 101 Switching Protocols\r\n" + lines + b"\r\n"


def refusal_bytes(status: int, headers: Sequence[tuple[bytes, bytes]], body: bytes) -> bytes:
    """Return an ordinary HTTP answer to a request for a WebSocket, after which the connection ends.

    Args:
        status: its status.
        headers: its headers, without those that say how long it is and what becomes of the connection.
        body: its body.
    """
    http = h11.Connection(h11.SERVER)
    http.receive_data(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    http.next_event()
    length = (b"content-length", b"%d" % len(body))
    answer = h11.Response(status_code=status, headers=[*headers, length, (b"connection", b"close")])
    parts = [http.send(answer), http.send(h11.Data(body)), http.send(h11.EndOfMessage())]
    return b"".join([part or b"" for part in parts])


# The connection ----------------------------------------------------------------------------------------------------------------


class WebSocketConnection:
    """One connection, from the bytes behind its handshake to its end.

    Each ping is answered, in order and before the next message; of more than `_MOST_PONGS` that wait to be sent the last is kept,
    which answers all before it (RFC 6455, section 5.5.3). The goodbye comes in their place, and nothing after it.

    Args:
        role: which end we are.
        max_message_size: the largest message to accept, in bytes. Of a larger one a client keeps the beginning, a `CutMessage`; a
            server says goodbye with code 1009.
        mask: puts masks on and takes them off.
        draw: returns so many random bytes, which nobody can foretell.
    """

    __slots__ = (
        "_answered",
        "_draw",
        "_is_open",
        "_keys",
        "_mask",
        "_owed",
        "_parser",
        "_pings",
        "_pongs",
        "closed",
        "heard_goodbye",
        "news",
        "said_goodbye",
    )

    closed: tuple[int, str] | None
    """How it ended, by code and reason; None while it has not. What came before the end was given. 1006 where nobody said
    goodbye. The reason may be the peer's words."""
    heard_goodbye: bool
    """Whether the peer has said goodbye."""
    news: bool
    """Whether anything but messages came with what `receive` took last: then look at `owes`, `take_answered` and `closed`."""
    said_goodbye: bool
    """Whether our own goodbye was said, or is owed: nothing is sent after it."""

    def __init__(self, role: Role, max_message_size: int, mask: Mask, draw: Callable[[int], bytes]) -> None:
        is_client = role is Role.CLIENT
        self._parser = FrameParser(max_message_size) if is_client else ServerFrameParser(max_message_size, mask)
        self._mask = mask if is_client else no_mask
        self._draw = draw if is_client else None
        self._keys = b""
        self._is_open = False
        self._owed: bytes | None = None  # frames, each whole
        self._pongs = 0  # so many of them are pongs
        self._pings: list[bytes] = []
        self._answered: Sequence[bytes] = ()
        self.closed = None
        self.heard_goodbye = False
        self.news = False
        self.said_goodbye = False

    @property
    def cut(self) -> int:
        """How many messages were larger than `max_message_size` so far, and cut."""
        return self._parser.cut

    @property
    def failed(self) -> bool:
        """Whether the peer broke the protocol: what comes after that is not understood, a goodbye neither."""
        return self._parser.error is not None

    def open(self) -> None:
        """Begin: the handshake is answered, and what is owed may be sent."""
        self._is_open = True

    # What comes

    def receive(self, data: bytes) -> list[bytes | str]:
        """Take what came; return the messages that are whole now, in order. `news` says whether there is more to look at.

        Args:
            data: what came, also before `open`; `b""` where nothing more comes.
        """
        parser = self._parser
        messages = parser.feed(data)
        self.news = not data or bool(parser.controls) or parser.error is not None
        if self.news:
            self._act(at_end=not data)
        return messages

    def _act(self, *, at_end: bool) -> None:
        """Act on the control frames that came, and on the end."""
        for control in self._parser.controls:
            if isinstance(control, Ping):
                if not self.said_goodbye:
                    self._owe_pong(control.payload)
            elif isinstance(control, Pong):
                self._note_pong(control.payload)
            else:
                self.heard_goodbye = True
                self._end(control.code, control.reason)
                self.close(control.code, "")  # the same code, as RFC 6455 has it
        self._parser.controls.clear()
        error = self._parser.error
        if error is not None:
            self._end(error.code, error.reason)
            self.close(error.code, error.reason)
        if at_end:
            self._end(1006, "")

    def _owe_pong(self, payload: bytes) -> None:
        pong = self._short(PONG, payload)
        if self._owed is None or not 0 < self._pongs < _MOST_PONGS:
            self._owed, self._pongs = pong, 1
        else:
            self._owed, self._pongs = self._owed + pong, self._pongs + 1

    def _note_pong(self, payload: bytes) -> None:
        if payload in self._pings:
            after = self._pings.index(payload) + 1
            # It answers those that were sent before as well.
            self._answered = [*self._answered, *self._pings[:after]]
            del self._pings[:after]

    def _end(self, code: int, reason: str) -> None:
        if self.closed is None:
            self.closed = (code, reason)
            self._answered = [*self._answered, *self._pings]
            self._pings.clear()

    def take_answered(self) -> Sequence[bytes]:
        """Return the payloads of those pings of ours that were answered, or failed with the connection; each of them once."""
        answered, self._answered = self._answered, ()
        return answered

    # What goes

    @property
    def may_send(self) -> bool:
        """Whether a message, a ping or a pong of ours may be sent."""
        return self.closed is None and not self.said_goodbye

    @property
    def owes(self) -> bool:
        """Whether short frames are to be sent."""
        return self._is_open and self._owed is not None

    def take_owed(self) -> bytes | None:
        """Return the short frames that are to be sent now; None where there are none. They are owed no more."""
        if not self._is_open:
            return None
        frames, self._owed, self._pongs = self._owed, None, 0
        return frames

    def close(self, code: int, reason: str) -> None:
        """Owe the goodbye, if it was not said yet.

        Args:
            code: the close code; one that may not be sent becomes none.
            reason: in words; what there is no room for is cut.
        """
        if not self.said_goodbye:
            self.said_goodbye = True
            self._owed = close_frame(code, reason, self._key(), self._mask)

    def owe_ping(self) -> None:
        """Owe a ping that nobody waits for, unless something is owed, which does the same: the peer shows that it is there."""
        if self._owed is None and self.may_send:
            self._owed = self._short(PING, b"")

    def ping(self, payload: bytes) -> bytes:
        """Return a ping to be sent; `take_answered` says when its pong has come.

        Args:
            payload: tells it from others.
        """
        self._pings.append(payload)
        return self._short(PING, payload)

    def forget_ping(self, payload: bytes) -> None:
        """Wait for a ping's answer no more."""
        if payload in self._pings:
            self._pings.remove(payload)

    def pong(self) -> bytes:
        """Return a pong that nobody asked for, to be sent: it says that we are there."""
        return self._short(PONG, b"")

    def send(self, messages: Sequence[Outgoing]) -> Iterator[Buffer]:
        """Yield what is to be sent, piece by piece, so that these messages are: small ones together, large ones without a copy.

        Pongs that are owed go first.

        Args:
            messages: the messages.
        """
        mask, draws = self._mask, self._draw is not None
        key = b""
        owed = self.take_owed() if self._owed is not None and not self.said_goodbye else None
        joined: list[Buffer] = [] if owed is None else [owed]
        size = 0
        for message in messages:
            kind = BINARY
            if isinstance(message, str):
                kind, message = TEXT, message.encode()  # noqa: PLW2901 - the same message
            length = len(message) if isinstance(message, bytes) else sum(map(len, message))
            if draws:
                key = self._key()
            joined.append(frame_head(kind, length, key))
            if length < _LARGE:
                payload = message if isinstance(message, bytes) else b"".join(message)
                joined.append(mask(payload, key) if draws else payload)
                size += length
                if size >= _AT_ONCE:
                    yield b"".join(joined)
                    joined, size = [], 0
                continue
            yield b"".join(joined)
            joined, size = [], 0
            for part in [message] if isinstance(message, bytes) else message:
                if not draws:
                    yield part
                    continue
                view = memoryview(part)
                for start in range(0, len(view), _PIECE):
                    yield mask(view[start : start + _PIECE], key)
                turn = len(view) % 4  # a piece is a whole number of keys, a part need not be
                key = key[turn:] + key[:turn]
        if joined:
            yield b"".join(joined)

    def _short(self, kind: int, payload: bytes) -> bytes:
        return small_frame(kind, payload, self._key(), self._mask)

    def _key(self) -> bytes:
        """Return the next mask's key, four random bytes; `b""` for a server. To draw many at a time saves system calls."""
        if self._draw is None:
            return b""
        if not self._keys:
            self._keys = self._draw(4 * _KEYS)
        key, self._keys = self._keys[:4], self._keys[4:]
        return key
