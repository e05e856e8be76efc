"""Looks at the way to a gateway one step at a time: its name, the TLS it speaks, its WebSocket handshake.

The one idea: each function goes one step further than the one before and closes what it opened, so whoever asks learns which
step fails. What the answers mean is not decided here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Mapping

import attrs
import trio

from .._errors import GatewayConnectionError, GatewayTimeoutError
from .connector import Connector, close_now, describe_os_error, open_stream
from .http import HttpClient
from .websocket import HandshakeRejected, WebSocketOptions, open_websocket

__all__ = ["Handshake", "TLSFacts", "check_stream", "resolve", "shake_hands", "verification_failure"]


@attrs.frozen
class TLSFacts:
    """What a TLS connection tells about itself."""

    version: str
    """The protocol, such as `"TLSv1.3"`."""
    expires: float | None
    """When the server's certificate expires, in seconds since the epoch; None where it was not checked."""


@attrs.frozen
class Handshake:
    """How a server answered a WebSocket handshake."""

    status_code: int
    """101 where the connection was made."""
    subprotocol: str | None = None
    """What the server selected; None where it selected none."""
    headers: Mapping[str, str] = attrs.field(factory=dict[str, str], repr=False)
    """Its headers where it refused; names in lower case."""
    body: bytes = attrs.field(default=b"", repr=False)
    """Its body where it refused."""


async def resolve(host: str, port: int, limit: float) -> list[str]:
    """Return the addresses of a host.

    Args:
        host: a name or a numeric address.
        port: the port.
        limit: how long it may take, in seconds: `connect_timeout`.

    Raises:
        GatewayConnectionError: it has none.
        GatewayTimeoutError: there was no answer in time.

    Cancellation: leaves at once; the look-up ends by itself a little later.
    """
    with trio.move_on_after(limit):
        try:
            found = await trio.socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        except (OSError, UnicodeError) as error:
            raise GatewayConnectionError(describe_os_error(error, host)) from error
        return list(dict.fromkeys(str(address[0]) for *_, address in found))
    raise GatewayTimeoutError("name resolution", limit, "connect_timeout", detail=host)


async def check_stream(
    connector: Connector, host: str, port: int, limit: float, *, ssl_context: ssl.SSLContext | None = None
) -> TLSFacts | None:
    """Open a stream and close it again.

    Args:
        connector: opens the raw stream.
        host: a name or a numeric address.
        port: the port.
        limit: how long it may take, in seconds: `connect_timeout`.
        ssl_context: what to do TLS with; None for the raw stream alone.

    Returns:
        What TLS tells; None without TLS.

    Raises:
        GatewayConnectionError: it can't be opened.
        GatewayTimeoutError: it took too long.

    Cancellation: closes the stream.
    """
    with trio.move_on_after(limit):
        stream = await open_stream(connector, host, port, ssl_context=ssl_context)
        facts = _facts(stream) if isinstance(stream, trio.SSLStream) else None
        await close_now(stream)
        return facts
    raise GatewayTimeoutError("connect" if ssl_context is None else "TLS handshake", limit, "connect_timeout")


def _facts(stream: trio.SSLStream[trio.abc.Stream]) -> TLSFacts:
    # Where nothing is checked, Python does not read the certificate either.
    end = (stream.getpeercert() or {}).get("notAfter")
    return TLSFacts(stream.version() or "TLS", ssl.cert_time_to_seconds(end) if isinstance(end, str) else None)


def verification_failure(error: BaseException | None) -> ssl.SSLCertVerificationError | None:
    """Return OpenSSL's own word on why a certificate was not accepted; None where that is not what happened."""
    while error is not None and not isinstance(error, ssl.SSLCertVerificationError):
        error = error.__cause__
    return error


async def shake_hands(http: HttpClient, url: str, headers: list[tuple[str, str]], subprotocol: str) -> Handshake:
    """Try a WebSocket handshake, and close the connection again if there is one.

    Args:
        http: the gateway's client.
        url: the WebSocket's URL.
        headers: what logs in there, of `HttpClient.handshake_headers`.
        subprotocol: what to offer.

    Raises:
        GatewayConnectionError: there is no connection, or it broke.
        GatewayTimeoutError: it took too long.

    Cancellation: closes the connection.
    """
    config = http.config
    try:
        async with open_websocket(
            url,
            connector=http.connector,
            ssl_context=http.ssl_context,
            headers=headers,
            subprotocols=[subprotocol],
            options=WebSocketOptions(
                config.max_message_size, config.connect_timeout, config.handshake_timeout, config.websocket_engine
            ),
            mask=http.mask,
        ) as websocket:
            return Handshake(101, websocket.subprotocol)
    except HandshakeRejected as rejected:
        return Handshake(rejected.status_code, None, dict(rejected.headers), rejected.body)
