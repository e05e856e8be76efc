"""The WebSocket to a kernel's channels, behind one narrow seam.

The one idea: the rest of the library knows a `WebSocket`, five methods and one way to open it; which engine speaks the
protocol is decided here. Everything above is a message; everything below is the connector's stream.

An engine promises: `receive` is cancel-safe (nothing is lost); `send`, `ping` and `pong` are not (a cancelled one may
leave half a frame, and everything after it is lost), so one task owns the sending side and ends only with the connection.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol, cast
from urllib.parse import urlsplit

import attrs
import trio
import trio_websocket
import wsproto.utilities

from .._errors import GatewayConnectionError, GatewayTimeoutError
from .connector import Connector, open_stream
from .services import Services, open_services

if TYPE_CHECKING:
    import ssl

__all__ = ["HandshakeRejected", "WebSocket", "WebSocketClosed", "WebSocketOptions", "open_websocket"]

RECEIVE_BYTES: Final = 256 * 1024
"""How much is read from the socket at once, in bytes: at 4 KiB, reading dominates a flood."""
CLOSE_SECONDS: Final = 1.0
"""How long a goodbye may take before the socket is closed without it."""


class WebSocketClosed(Exception):
    """The connection is over. Internal: the session turns it into what its user can act on.

    Args:
        code: the close code of RFC 6455; 1006 where the connection broke without a closing handshake.
        reason: the peer's words, or ours.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason

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


@attrs.frozen
class WebSocketOptions:
    """What an engine must know beyond the address."""

    max_message_size: int
    """The largest message to accept, in bytes; a larger one closes the connection with code 1009."""
    connect_timeout: float
    """How long opening the stream may take: name, TCP, TLS. Seconds."""
    handshake_timeout: float
    """How long the server may take to answer the upgrade request. Seconds; a gateway waits up to 60 for its kernel."""


class WebSocket(Protocol):
    """An open WebSocket connection of some engine."""

    @property
    def subprotocol(self) -> str | None:
        """The subprotocol that the server selected, or None."""
        ...

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        """The headers of the server's 101 response, names in lower case."""
        ...

    async def receive(self) -> Sequence[bytes | str]:
        """Wait for messages: at least one, and all that have come whole. Binary ones are bytes, text ones str.

        Raises:
            WebSocketClosed: the connection is over, and every message that came before its end was received.

        Cancellation: safe, nothing is lost.
        """
        ...

    async def send(self, data: bytes | str) -> None:
        """Send one message.

        Raises:
            WebSocketClosed: the connection is over; the message may or may not have arrived.

        Cancellation: may leave half a frame; close the connection then.
        """
        ...

    async def ping(self) -> None:
        """Send a ping and wait for its pong.

        Raises:
            WebSocketClosed: the connection is over.
        """
        ...

    async def pong(self) -> None:
        """Send an unsolicited pong, which tells the server that we are there (RFC 6455, section 5.5.3).

        Raises:
            WebSocketClosed: the connection is over.
        """
        ...


@asynccontextmanager
async def open_websocket(
    url: str,
    *,
    connector: Connector,
    ssl_context: ssl.SSLContext | None,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    options: WebSocketOptions,
) -> AsyncGenerator[WebSocket]:
    """Open a WebSocket; the block owns it. Leaving the block says goodbye, for at most a second, and closes the socket.

    Args:
        url: `ws://` or `wss://`, with path and query escaped.
        connector: opens the stream.
        ssl_context: for `wss://`.
        headers: more headers for the upgrade request. They may hold secrets; they are never logged.
        subprotocols: what to offer, best first. A server that selects none is fine.
        options: limits.

    Raises:
        GatewayConnectionError: no stream could be opened, or it broke in the handshake.
        GatewayTimeoutError: `connect_timeout` or `handshake_timeout` ran out.
        HandshakeRejected: the server answered with another status than 101.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "wss"
    port = parts.port or (443 if secure else 80)
    address = f"{parts.scheme}://{parts.netloc}{parts.path}"
    stream: trio.abc.Stream | None = None
    with trio.move_on_after(options.connect_timeout):
        try:
            stream = await open_stream(connector, host, port, ssl_context=ssl_context if secure else None, server_hostname=host)
        except (OSError, trio.BrokenResourceError) as error:
            raise GatewayConnectionError(f"can't connect to {address}: {error}") from error
    if stream is None:
        raise GatewayTimeoutError("connect", options.connect_timeout, "connect_timeout", detail=address)
    resource = parts.path + (f"?{parts.query}" if parts.query else "")
    try:
        async with open_services() as services:
            engine = _TrioWebSocket(services)
            with trio.move_on_after(options.handshake_timeout) as scope:
                await engine.open(stream, parts.netloc.rpartition("@")[2], resource, headers, subprotocols, options, address)
            if scope.cancelled_caught:
                raise GatewayTimeoutError(
                    "WebSocket handshake",
                    options.handshake_timeout,
                    "handshake_timeout",
                    detail=f"{address}; a gateway answers when its kernel does",
                )
            try:
                yield engine
            finally:
                with trio.move_on_after(CLOSE_SECONDS, shield=True):
                    await engine.aclose()
    finally:
        await trio.aclose_forcefully(stream)


# Sending on a connection whose closing handshake has begun is, for wsproto, the caller's mistake.
_OVER: Final = (trio_websocket.ConnectionClosed, wsproto.utilities.LocalProtocolError)


class _Reader:
    """Stands in for the nursery that trio-websocket wants, and hears of what its reader task raises."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.ended = trio.Event()
        self.error: Exception | None = None

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: object) -> None:
        self._services.start_soon(self._run, function, args, name="trio_gateway.websocket_reader")

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - it tells how the connection ended; the engine's users look
            self.error = error
        finally:
            self.ended.set()


class _TrioWebSocket:
    """The engine trio-websocket. Each of its defaults is set on purpose: 1 MiB a message, 4 KiB a read."""

    def __init__(self, services: Services) -> None:
        self._reader = _Reader(services)
        self._connection: trio_websocket.WebSocketConnection | None = None

    async def open(
        self,
        stream: trio.abc.Stream,
        host: str,
        resource: str,
        headers: Sequence[tuple[str, str]],
        subprotocols: Sequence[str],
        options: WebSocketOptions,
        address: str,
    ) -> None:
        """Shake hands over an open stream."""
        opening = trio.CancelScope()

        async def give_up_with_reader() -> None:
            # When the reader ends before the handshake is done, trio-websocket leaves its caller waiting.
            await self._reader.ended.wait()
            opening.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up_with_reader)
            with opening:
                self._connection = await trio_websocket.wrap_client_stream(
                    cast("trio.Nursery", self._reader),
                    cast("trio.SocketStream", stream),
                    host,
                    resource,
                    subprotocols=subprotocols or None,
                    extra_headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers],
                    message_queue_size=16,
                    max_message_size=options.max_message_size,
                    receive_buffer_size=RECEIVE_BYTES,
                )
            nursery.cancel_scope.cancel()
        error = self._reader.error
        if isinstance(error, trio_websocket.ConnectionRejected):
            # trio-websocket gives (name, value) pairs of bytes.
            answered = [(_latin(name).lower(), _latin(value)) for name, value in error.headers or ()]
            raise HandshakeRejected(error.status_code, answered, bytes(error.body or b""))
        connection = self._connection
        if connection is None or connection.closed is not None or error is not None:
            why = f": {error!r}" if error is not None else ""
            raise GatewayConnectionError(f"{address} broke the connection in the WebSocket handshake{why}")

    @property
    def subprotocol(self) -> str | None:
        return self._open().subprotocol or None

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        return [(_latin(name).lower(), _latin(value)) for name, value in self._open().handshake_headers]

    async def receive(self) -> Sequence[bytes | str]:
        try:
            return (await self._open().get_message(),)
        except _OVER as error:
            raise self._closed(error) from None

    async def send(self, data: bytes | str) -> None:
        try:
            await self._open().send_message(data)
        except _OVER as error:
            raise self._closed(error) from None

    async def ping(self) -> None:
        try:
            await self._open().ping()
        except _OVER as error:
            raise self._closed(error) from None

    async def pong(self) -> None:
        try:
            await self._open().pong()
        except _OVER as error:
            raise self._closed(error) from None

    async def aclose(self) -> None:
        """Say goodbye; the caller bounds it and closes the stream."""
        if self._connection is not None and not self._reader.ended.is_set():
            await self._connection.aclose()

    def _open(self) -> trio_websocket.WebSocketConnection:
        assert self._connection is not None
        return self._connection

    def _closed(self, error: Exception) -> WebSocketClosed:
        if self._reader.error is not None:
            return WebSocketClosed(1002, repr(self._reader.error))
        reason = self._open().closed or getattr(error, "reason", None)
        return WebSocketClosed(1006, "") if reason is None else WebSocketClosed(reason.code, reason.reason or "")


def _latin(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
