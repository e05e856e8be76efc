"""Opens a WebSocket to a kernel's channels: the stream, the engine, the handshake, the goodbye.

The one idea: the block owns the connection, whichever engine speaks it, and each phase has its own limit. Only a handshake that
has begun is not its own: see `handshakes`.
"""

from __future__ import annotations

import importlib.util
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, nullcontext
from functools import partial
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import trio

from ..._errors import GatewayConnectionError, GatewayTimeoutError
from ..._protocol.masking import Masker, secrets_of
from ..._services import Services
from ..connector import Connector, TLSRefusedError, open_stream
from .engine import HandshakeRejected, PeerWords, Upgrade, WebSocket, WebSocketClosed, WebSocketEngine, WebSocketOptions
from .handshakes import Connection, Handshakes, open_handshakes

if TYPE_CHECKING:
    import ssl

__all__ = [
    "Connection",
    "HandshakeRejected",
    "WebSocket",
    "WebSocketClosed",
    "WebSocketOptions",
    "best_engine",
    "connect_websocket",
    "open_websocket",
]


def best_engine() -> str:
    """Return the engine that `"auto"` stands for: the fast one where the package whose C routine it masks with is installed."""
    return "trio-websocket" if importlib.util.find_spec("websockets") is None else "fast"


def _make_engine(name: str, services: Services) -> WebSocketEngine:
    """Make an engine; imported here, so that nobody waits for the import of one that is not used."""
    if name == "fast":
        from .fast import FastWebSocket

        return FastWebSocket(services)
    from .trio_websocket import TrioWebSocket

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
    handshakes: Handshakes | None = None,
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
        handshakes: of a block around this one, the gateway's: a handshake that has begun goes on there. Without it the wait for
            that is here.
        mask: takes our secrets out of what the server says; None: what the headers hold is taken out.

    Raises:
        GatewayConnectionError: no stream could be opened, or it broke in the handshake.
        GatewayTimeoutError: `connect_timeout` or `handshake_timeout` ran out.
        HandshakeRejected: the server answered with another status than 101.

    Cancellation: leaves at once. A handshake that has begun goes on, as `Handshakes` says.
    """
    limit = min(options.connect_timeout, options.handshake_timeout)
    async with nullcontext(handshakes) if handshakes is not None else open_handshakes(limit) as owner:
        connection = await connect_websocket(
            url,
            connector=connector,
            ssl_context=ssl_context,
            headers=headers,
            subprotocols=subprotocols,
            options=options,
            handshakes=owner,
            mask=mask,
        )
        try:
            yield connection.engine
        finally:
            await connection.close()  # noqa: ASYNC102 - it is shielded, and bounded


async def connect_websocket(
    url: str,
    *,
    connector: Connector,
    ssl_context: ssl.SSLContext | None,
    headers: Sequence[tuple[str, str]],
    subprotocols: Sequence[str],
    options: WebSocketOptions,
    handshakes: Handshakes,
    mask: Callable[[str], str] | None = None,
) -> Connection:
    """Make the connection of `open_websocket`, with its arguments and errors. It is the caller's, who closes it.

    Cancellation: leaves at once. A handshake that has begun goes on, as `Handshakes` says.
    """
    parts = urlsplit(url)
    host = parts.hostname or ""
    secure = parts.scheme == "wss"
    address = f"{parts.scheme}://{parts.netloc}{parts.path}"
    upgrade = Upgrade(
        host=parts.netloc.rpartition("@")[2],
        resource=parts.path + (f"?{parts.query}" if parts.query else ""),
        headers=headers,
        subprotocols=subprotocols,
        max_message_size=options.max_message_size,
        words=PeerWords(address, mask or Masker(secrets_of(headers))),
    )
    connect = partial(
        open_stream,
        connector,
        host,
        parts.port or (443 if secure else 80),
        ssl_context=ssl_context if secure else None,
        server_hostname=host,
    )
    return await handshakes.shake(
        url, partial(_connect, connect, address, options), partial(_shake_hands, upgrade, options, handshakes.services)
    )


async def _connect(connect: Callable[[], Awaitable[trio.abc.Stream]], address: str, options: WebSocketOptions) -> trio.abc.Stream:
    with trio.move_on_after(options.connect_timeout):
        try:
            return await connect()
        except TLSRefusedError as error:
            raise TLSRefusedError(f"can't connect to {address}: {error}") from error
        except (OSError, trio.BrokenResourceError) as error:
            raise GatewayConnectionError(f"can't connect to {address}: {error}") from error
    raise GatewayTimeoutError("connect", options.connect_timeout, "connect_timeout", detail=address)


async def _shake_hands(upgrade: Upgrade, options: WebSocketOptions, services: Services, stream: trio.abc.Stream) -> Connection:
    engine = _make_engine(best_engine() if options.engine == "auto" else options.engine, services)
    connection = Connection(engine, stream)
    try:
        with trio.move_on_after(options.handshake_timeout):
            await engine.open(stream, upgrade)
            return connection
        raise GatewayTimeoutError(
            "WebSocket handshake",
            options.handshake_timeout,
            "handshake_timeout",
            detail=f"{upgrade.words.address}; a gateway answers when its kernel does",
        )
    except BaseException:
        await connection.drop()  # noqa: ASYNC102 - it is shielded, and bounded
        raise
