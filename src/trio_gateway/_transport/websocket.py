"""Opens a WebSocket to a kernel's channels: the stream, the engine, the handshake, the goodbye.

The one idea: the block owns the connection, whichever engine speaks it, and each phase has its own limit.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from typing import TYPE_CHECKING, Final
from urllib.parse import urlsplit

import trio

from .._errors import GatewayConnectionError, GatewayTimeoutError
from .._protocol.masking import Masker
from .connector import Connector, open_stream
from .credentials import secrets_of
from .engine import HandshakeRejected, PeerWords, Upgrade, WebSocket, WebSocketClosed, WebSocketEngine, WebSocketOptions
from .services import Services, open_services

if TYPE_CHECKING:
    import ssl

__all__ = ["HandshakeRejected", "WebSocket", "WebSocketClosed", "WebSocketOptions", "best_engine", "open_websocket"]

CLOSE_SECONDS: Final = 1.0
"""How long a goodbye may take before the socket is closed without it."""


def best_engine() -> str:
    """Return the engine that `"auto"` stands for: the fast one where the package whose C routine it masks with is installed."""
    return "trio-websocket" if importlib.util.find_spec("websockets") is None else "fast"


def _make_engine(name: str, services: Services) -> WebSocketEngine:
    """Make an engine; imported here, so that nobody waits for the import of one that is not used."""
    if name == "fast":
        from .engine_fast import FastWebSocket

        return FastWebSocket(services)
    from .engine_trio import TrioWebSocket

    return TrioWebSocket(services)


@asynccontextmanager
async def open_websocket(
    url: str,
    *,
    connector: Connector,
    ssl_context: ssl.SSLContext | None,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    options: WebSocketOptions,
    services: Services | None = None,
    mask: Callable[[str], str] | None = None,
) -> AsyncGenerator[WebSocket]:
    """Open a WebSocket; the block owns it. Leaving the block says goodbye, for at most a second, and closes the socket;
    a connection that was given up is only closed.

    Args:
        url: `ws://` or `wss://`, with path and query escaped.
        connector: opens the stream.
        ssl_context: for `wss://`.
        headers: more headers for the upgrade request. They may hold secrets; they are never logged.
        subprotocols: what to offer, best first. A server that selects none is fine.
        options: limits.
        services: of a block around this one, for what an engine sends by itself. A block of its own, which an engine that reads
            by itself has all the same, takes memory in each connection.
        mask: takes our secrets out of what the server says; None: what the headers hold is taken out.

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
    upgrade = Upgrade(
        host=parts.netloc.rpartition("@")[2],
        resource=parts.path + (f"?{parts.query}" if parts.query else ""),
        headers=headers,
        subprotocols=subprotocols,
        max_message_size=options.max_message_size,
        words=PeerWords(address, mask or Masker(secrets_of(headers))),
    )
    name = best_engine() if options.engine == "auto" else options.engine
    try:
        async with nullcontext(services) if services is not None and name == "fast" else open_services() as around:
            engine = _make_engine(name, around)
            with trio.move_on_after(options.handshake_timeout) as scope:
                await engine.open(stream, upgrade)
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
                if not engine.given_up:
                    with trio.move_on_after(CLOSE_SECONDS, shield=True):
                        await engine.aclose()
    finally:
        await trio.aclose_forcefully(stream)
