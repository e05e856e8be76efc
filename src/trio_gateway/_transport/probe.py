"""Looks at the way to a gateway one step at a time: its name, the TLS it speaks, its WebSocket handshake.

The one idea: each function goes one step further than the one before and closes what it opened, so the caller learns which
step fails. What the answers mean is not decided here.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Iterable, Mapping

import attrs
import h11
import trio

from .._errors import GatewayConnectionError, GatewayError, GatewayTimeoutError
from .._protocol.headers import Headers
from .connector import Connector, close_now, describe_os_error, open_stream
from .http.client import HttpClient
from .websocket.opening import HandshakeRejected, WebSocketOptions, open_websocket

__all__ = [
    "Handshake",
    "PlainAnswer",
    "TLSFacts",
    "ask_plainly",
    "check_stream",
    "resolve",
    "shake_hands",
    "speaks_tls",
    "verification_failure",
]

_MOST_READ = 65_536  # bytes of an answer to `ask_plainly`


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


@attrs.frozen
class PlainAnswer:
    """How a server answered one request over a connection of its own."""

    status_code: int
    """Its status."""
    headers: Headers = attrs.field(repr=False)
    """Its headers."""
    body: bytes = attrs.field(repr=False)
    """The beginning of its body."""


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


async def speaks_tls(connector: Connector, host: str, port: int, limit: float) -> bool:
    """Tell whether a server completes a TLS handshake, whatever its certificate says.

    Args:
        connector: opens the raw stream.
        host: a name or a numeric address.
        port: the port.
        limit: how long it may take, in seconds.

    Cancellation: closes the stream.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE  # nothing is sent over it
    try:
        await check_stream(connector, host, port, limit, ssl_context=context)
    except GatewayError:
        return False
    return True


async def ask_plainly(
    connector: Connector,
    host: str,
    port: int,
    path: str,
    limit: float,
    *,
    ssl_context: ssl.SSLContext | None = None,
    headers: Iterable[tuple[str, str]] = (),
) -> PlainAnswer | None:
    """Ask a server for a path over a connection of its own, without following redirects.

    Args:
        connector: opens the raw stream.
        host: a name or a numeric address.
        port: the port.
        path: an escaped path.
        limit: how long all of it may take, in seconds.
        ssl_context: what to do TLS with; None for plain HTTP.
        headers: more headers, such as what logs in; none are sent by itself.

    Returns:
        The answer, its body cut after 64 KiB; None where there is none in HTTP, or not in time.

    Cancellation: closes the connection.
    """
    with trio.move_on_after(limit):
        try:
            stream = await open_stream(connector, host, port, ssl_context=ssl_context)
        except GatewayConnectionError:
            return None
        async with stream:
            try:
                return await _one_answer(stream, host, port, path, headers)
            except (h11.RemoteProtocolError, h11.LocalProtocolError, trio.BrokenResourceError, trio.ClosedResourceError):
                return None
    return None


async def _one_answer(
    stream: trio.abc.Stream, host: str, port: int, path: str, more: Iterable[tuple[str, str]]
) -> PlainAnswer | None:
    connection = h11.Connection(h11.CLIENT)
    authority = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
    headers = [("Host", authority), ("Accept", "application/json"), ("Connection", "close"), *more]
    await stream.send_all(
        (connection.send(h11.Request(method="GET", target=path, headers=headers)) or b"")
        + (connection.send(h11.EndOfMessage()) or b"")
    )
    answer: h11.Response | None = None
    body = bytearray()
    while len(body) < _MOST_READ:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(bytes(await stream.receive_some(16_384)))
        elif isinstance(event, h11.Response):
            answer = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif not isinstance(event, h11.InformationalResponse):
            break
    if answer is None:
        return None
    return PlainAnswer(
        answer.status_code,
        Headers((name.decode("latin-1"), value.decode("latin-1")) for name, value in answer.headers),
        bytes(body[:_MOST_READ]),
    )


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
            handshakes=http.handshakes,
            mask=http.mask,
        ) as websocket:
            return Handshake(101, websocket.subprotocol)
    except HandshakeRejected as rejected:
        return Handshake(rejected.status_code, None, dict(rejected.headers), rejected.body)
