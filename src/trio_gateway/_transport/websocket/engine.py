"""The seam between the library and the WebSocket protocol: what an engine is, and how a connection ends.

The one idea: the rest of the library knows a `WebSocket`, four methods and two facts. Everything above is a message; everything
below is the connector's stream. Which engine speaks the protocol is chosen in `websocket`.

What the other end says beside messages (how it refuses a handshake, why it hangs up, what is wrong with its bytes) leaves an
engine by a `PeerWords` alone, which takes our secrets out: a server, or what stands before it, may echo what we log in with.

An engine promises: `receive` is cancel-safe (nothing is lost); `send`, `ping` and `pong` are not (a cancelled one may
leave half a frame, and everything after it is lost), so one task owns the sending side and ends only with the connection. Another
may `send_now` while that one has nothing to send: it does not wait.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final, Protocol
from urllib.parse import urlsplit

import attrs
import trio.abc

from ..._errors import GatewayConnectionError
from ..._protocol.frames import Mask, xor_mask
from ..._protocol.messages import Buffer
from ..._protocol.rest import reason_phrase
from ..connector import TLSRefusedError, certificate_alert, describe_tls_error

__all__ = [
    "RECEIVE_BYTES",
    "HandshakeRejected",
    "PeerWords",
    "Upgrade",
    "WebSocket",
    "WebSocketClosed",
    "WebSocketEngine",
    "WebSocketOptions",
    "find_mask",
]

RECEIVE_BYTES: Final = 256 * 1024
"""How much is read from the socket at once, in bytes: at 4 KiB, reading dominates a flood."""


def find_mask() -> Mask:
    """Return the fastest way to mask that there is: the C routine of `websockets`, or else our own."""
    try:
        from websockets.speedups import apply_mask
    except ImportError:
        return xor_mask
    return apply_mask


class WebSocketClosed(Exception):
    """The connection is over. Internal: the session turns it into what its user can act on.

    Args:
        code: the close code of RFC 6455; 1006 where the connection broke without a closing handshake.
        reason: the peer's words, or ours.
        too_large_for_us: whether we closed it, because of a message that was larger than we take: it is lost, and the next
            connection need not see it again.
    """

    def __init__(self, code: int, reason: str, *, too_large_for_us: bool = False) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason
        self.too_large_for_us = too_large_for_us

    def __str__(self) -> str:
        return f"WebSocket closed with code {self.code}" + (f": {self.reason}" if self.reason else "")


class HandshakeRejected(Exception):
    """The server answered the upgrade request with an ordinary HTTP response. Internal.

    Args:
        status_code: its status.
        headers: its headers, names in lower case.
        body: its body.
    """

    def __init__(self, status_code: int, headers: Sequence[tuple[str, str]], body: bytes) -> None:
        super().__init__(status_code)
        self.status_code = status_code
        self.headers = headers
        self.body = body
        self.token = ""
        """The token that was refused, where the caller notes it: a secret."""

    def __str__(self) -> str:
        return f"the WebSocket handshake was answered {self.status_code} {reason_phrase(self.status_code)}"


# What a header says to a browser or to our cookies; it is kept, and never shown.
_KEPT_AS_IT_IS: Final = frozenset({"set-cookie"})


@attrs.frozen(eq=False)
class PeerWords:
    """Makes every exception that holds words of the other end's, with our secrets taken out."""

    address: str
    """The URL without its query."""
    mask: Callable[[str], str] = attrs.field(repr=False)
    """Takes our secrets out of a text."""

    def closed(self, code: int, reason: str, *, too_large_for_us: bool = False) -> WebSocketClosed:
        """Make the exception for a connection that is over. Raise it outside of any `except`, whose error would go along."""
        return WebSocketClosed(code, self.mask(reason), too_large_for_us=too_large_for_us)

    def rejected(self, status_code: int, headers: Sequence[tuple[str, str]], body: bytes) -> HandshakeRejected:
        """Make the exception for a handshake that was answered with another status than 101; to be raised as `closed` is."""
        found = [(self.mask(name), value if name in _KEPT_AS_IT_IS else self.mask(value)) for name, value in headers]
        # In Latin-1 each byte is a character; a text in UTF-8 stays what it is.
        return HandshakeRejected(status_code, found, self.mask(body.decode("latin-1")).encode("latin-1"))

    def broken(self, why: str) -> GatewayConnectionError:
        """Make the exception for a handshake that came to nothing; to be raised as `closed` is.

        Args:
            why: what is wrong, with words of the other end's.
        """
        return GatewayConnectionError(self.mask(f"{self.address} broke the connection in the WebSocket handshake{why}"))

    def refuses_certificate(self, error: BaseException) -> GatewayConnectionError | None:
        """Make the exception for a server that does not take our certificate; None where an error is about something else.

        Args:
            error: what the stream raised in the handshake. With TLS 1.3 the server says so only there.
        """
        if certificate_alert(error.__cause__) is None:
            return None
        parts = urlsplit(self.address)
        told = describe_tls_error(error, parts.netloc if parts.port else f"{parts.netloc}:443")
        return TLSRefusedError(self.mask(f"can't connect to {self.address}: {told}"))

    def nonsense(self, why: str) -> GatewayConnectionError:
        """Make the exception for an answer to the handshake that came and is none: the connection did not break.

        Args:
            why: what is wrong with the answer, with words of the other end's.
        """
        return GatewayConnectionError(self.mask(f"the answer of {self.address} to the WebSocket handshake makes no sense: {why}"))


@attrs.frozen
class WebSocketOptions:
    """What an engine must know beyond the address."""

    max_message_size: int
    """The largest message to accept, in bytes; what becomes of a larger one is the engine's choice."""
    connect_timeout: float
    """How long opening the stream may take: name, TCP, TLS. Seconds."""
    handshake_timeout: float
    """How long the server may take to answer the upgrade request. Seconds; a gateway waits up to 60 for its kernel."""
    engine: str = "auto"
    """The setting `websocket_engine`."""


@attrs.frozen
class Upgrade:
    """What an engine asks a server for."""

    host: str
    """The `Host` header."""
    resource: str
    """Path and query, escaped."""
    headers: Sequence[tuple[str, str]] = attrs.field(repr=False)
    """More headers; they may hold secrets."""
    subprotocols: Sequence[str]
    """What to offer, best first."""
    max_message_size: int
    """The largest message to accept, in bytes."""
    words: PeerWords
    """Makes the exceptions that hold words of the server's."""


class WebSocket(Protocol):
    """An open WebSocket connection of some engine."""

    given_up: bool
    """To be set where the other end has not answered for too long: leaving the block then closes without a goodbye."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server selected, or None."""
        ...

    @property
    def cut(self) -> int:
        """How many messages were larger than `max_message_size` so far, of those that were received."""
        ...

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        """The headers of the server's 101 response, names in lower case."""
        ...

    async def receive(self) -> Sequence[bytes | str]:
        """Wait for messages: at least one, and all that have come whole. Binary ones are bytes, text ones str.

        In place of one that is larger than `max_message_size` the engine gives its beginning, a `CutMessage`, or it closes the
        connection with code 1009.

        Raises:
            WebSocketClosed: the connection is over, and every message that came before its end was received.

        Cancellation: safe, nothing is lost.
        """
        ...

    async def send(self, data: bytes | str | Sequence[Buffer]) -> None:
        """Send one message.

        Args:
            data: a text message, or a binary one, whole or in parts.

        Raises:
            WebSocketClosed: the connection is over; the message may or may not have arrived.

        Cancellation: may leave half a frame; close the connection then.
        """
        ...

    def send_now(self, data: bytes | str | Sequence[Buffer]) -> bool:
        """Send one small message without waiting, if the stream takes it now and nobody else writes; say whether that was so.

        What of it the stream did not take is sent by a task of the engine's, before anything else is: see `unfinished`. If this
        gives False, nothing was sent; `send` raises what is wrong.

        Args:
            data: as for `send`.
        """
        ...

    @property
    def unfinished(self) -> bool:
        """Whether a part of what `send_now` has sent is not on its way yet."""
        ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong.

        Raises:
            WebSocketClosed: the connection is over.

        Cancellation: may leave half a frame, unless the ping is sent and only the pong is waited for; close the connection then.
        """
        ...

    def ping_now(self, answered: Callable[[], object]) -> bool:
        """Send a ping without waiting, if the stream takes it now and nobody else writes; say whether that was so.

        Args:
            answered: called when its pong has come, by the task that receives. It must not wait or raise.
        """
        ...

    async def pong(self) -> None:
        """Send an unsolicited pong, which tells the server that we are there (RFC 6455, section 5.5.3).

        Raises:
            WebSocketClosed: the connection is over.

        Cancellation: may leave half a frame; close the connection then.
        """
        ...


class WebSocketEngine(WebSocket, Protocol):
    """What an engine shows to the one who opens and closes it."""

    async def open(self, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        """Shake hands over an open stream.

        Args:
            stream: to the server.
            upgrade: what to ask for.

        Raises:
            HandshakeRejected: the server answered with another status than 101.
            GatewayConnectionError: the connection broke, or the answer is not to be accepted.
        """
        ...

    async def aclose(self) -> None:
        """Say goodbye; the caller bounds it and closes the stream."""
        ...

    async def end(self) -> None:
        """Wait for the end of what it does by itself; the stream was closed before."""
        ...
