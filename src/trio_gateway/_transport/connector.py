"""Byte streams to the gateway, for HTTP and WebSocket alike: one function opens them, and here is where socket options live.

A [Connector][] is the seam: tests put a network of their own there, and TLS goes on top of whatever it opens. No limit is
enforced here; callers put their cancel scopes around.
"""

from __future__ import annotations

import math
import os
import socket
import ssl
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from typing import Final, TypeAlias

import trio

from .._errors import GatewayConnectionError
from .._threads import no_thread
from .tls import CERTIFICATE_EXPIRED, CERTIFICATE_OF_ANOTHER_HOST, CERTIFICATE_OF_THE_FUTURE

__all__ = [
    "Connector",
    "TLSRefusedError",
    "certificate_alert",
    "close_now",
    "connect_tcp",
    "describe_os_error",
    "describe_tls_error",
    "open_stream",
    "send_now",
    "socket_of",
]

Connector: TypeAlias = Callable[[str, int], Awaitable[trio.abc.Stream]]
"""Opens a stream of raw bytes to a host and port; raises `OSError` where it can't. It must be safe to cancel.

A stream may have a method `send_now(data)`, which sends what it takes without waiting and returns how many bytes that is."""

# Never reached: a stream that is closed forcefully does not wait. If it is somebody's own stream, this is where it stops.
_CLOSE_LIMIT = 10.0

TLS_PATIENCE = 2.0
"""A TLS handshake that takes longer than this makes us ask in plain HTTP what is spoken there, in seconds."""
_LOOK_LIMIT = 10.0
"""How long that may take, in seconds; the handshake goes on meanwhile."""

# Linux only. Read through getattr: type checkers know the constant on some platforms and not on others.
_TCP_QUICKACK: int | None = getattr(socket, "TCP_QUICKACK", None)


class TLSRefusedError(GatewayConnectionError):
    """The TLS handshake failed for a reason that trying again does not change, such as a certificate that is not trusted."""

    _entry = "GatewayConnectionError"


class _QuickStream(trio.abc.HalfCloseableStream):
    """A TCP stream that acknowledges at once what it reads.

    A gateway's small writes wait for the acknowledgement of the one before (Nagle), and the kernel here delays that by 40 ms:
    every peer pays this for each execution. The option holds only for a while, so it is set again after each read.
    """

    def __init__(self, stream: trio.SocketStream) -> None:
        self._stream = stream
        self.socket = stream.socket
        self._rearm()

    def _rearm(self) -> None:
        if _TCP_QUICKACK is not None:
            # If it fails the stream is slower, no more: the peer may have gone, which the next read tells.
            with suppress(OSError):
                self.socket.setsockopt(socket.IPPROTO_TCP, _TCP_QUICKACK, 1)

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        data = await self._stream.receive_some(max_bytes)
        self._rearm()
        return bytes(data)

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        try:
            await self._stream.send_all(data)
        except trio.BrokenResourceError:
            # A part of it may be gone, so no answer can follow. The task that reads is to see the end too: it would wait for ever
            # after an error that is not the peer's, such as ENOBUFS. What has come already can still be read.
            with suppress(OSError):
                self.socket.shutdown(socket.SHUT_RDWR)
            raise

    if os.name == "posix":  # elsewhere a socket is no file

        def send_now(self, data: bytes) -> int:
            """Send what the socket takes without waiting; return how many bytes. Nobody may be in `send_all`."""
            try:
                return os.write(self.socket.fileno(), data)
            except OSError:
                return 0  # it takes nothing now, or has broken, which `send_all` tells

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def connect_tcp(host: str, port: int) -> trio.abc.Stream:
    """Open a TCP connection without delayed sends and, where the platform can, without delayed acknowledgements.

    All addresses of the name are tried as RFC 8305 says (Happy Eyeballs).

    Args:
        host: a name or a numeric address.
        port: the port.

    Raises:
        OSError: the name does not resolve, or nobody answers there.

    Cancellation:
        Safe: nothing stays open. A look-up of a name runs in a thread, which ends by itself a little later.
    """
    try:
        stream = await trio.open_tcp_stream(host, port)  # it sets TCP_NODELAY
    except RuntimeError as error:
        if (found := no_thread(error)) is not None:
            raise found from error  # a thread was wanted for the look-up of the name
        raise
    return _QuickStream(stream)


async def open_stream(
    connector: Connector,
    host: str,
    port: int,
    *,
    ssl_context: ssl.SSLContext | None,
    server_hostname: str | None = None,
) -> trio.abc.Stream:
    """Open a stream and, with an `ssl_context`, make it a TLS connection.

    A server of plain HTTP may answer nothing to a TLS hello: tornado waits for the end of a line that never comes. Where the
    handshake takes long, it is found out over a second connection, on which nothing secret is said.

    Args:
        connector: opens the raw stream.
        host: a name or a numeric address.
        port: the port.
        ssl_context: what to do TLS with; None for a plain connection.
        server_hostname: the name that the certificate must have; `host` when it is None.

    Raises:
        GatewayConnectionError: it can't be opened; the message says why. TLSRefusedError where trying again is in vain.

    Cancellation:
        Safe: nothing stays open.
    """
    where = _address(host, port)
    try:
        stream = await connector(host, port)
    except (OSError, UnicodeError, trio.BrokenResourceError, trio.ClosedResourceError) as error:
        raise GatewayConnectionError(f"can't connect to {where}: {describe_os_error(error, host)}") from error
    if ssl_context is None:
        return stream
    try:
        stand_in = _PatientStream(stream, host, port, partial(_speaks_plainly, connector, host, port))
        return await _handshake(stream, stand_in, ssl_context, (server_hostname or host).rstrip("."))
    except TLSRefusedError:
        raise
    except (trio.BrokenResourceError, OSError, ValueError) as error:
        raise describe_tls_error(error, where) from error


async def _speaks_plainly(connector: Connector, host: str, port: int) -> bool:
    """Whether a server answers in plain HTTP."""
    with trio.move_on_after(_LOOK_LIMIT):
        try:
            stream = await connector(host, port)
            async with stream:
                await stream.send_all(f"GET / HTTP/1.1\r\nHost: {_address(host, port)}\r\nConnection: close\r\n\r\n".encode())
                head = b""
                while len(head) < len(b"HTTP/1.1 200") and (more := await stream.receive_some(64)):
                    head += more
        except (OSError, UnicodeError, trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        return head.startswith(b"HTTP/1.") and head[9:12] != b"400"  # which is how a server of TLS answers that
    return False


class _PatientStream(trio.abc.Stream):
    """Stands in for a stream while the TLS handshake goes over it: where that takes long, it asks whether it is in vain."""

    def __init__(self, stream: trio.abc.Stream, host: str, port: int, is_vain: Callable[[], Awaitable[bool]]) -> None:
        self._stream = stream
        self._where = _address(host, port)
        self._is_vain = is_vain
        self._until = trio.current_time() + TLS_PATIENCE

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        with trio.move_on_at(self._until):
            return await self._stream.receive_some(max_bytes)
        self._until = math.inf
        received: bytes | bytearray | None = None
        failure: Exception | None = None
        async with trio.open_nursery() as nursery:

            async def look_aside() -> None:
                if await self._is_vain():
                    nursery.cancel_scope.cancel(reason="plain HTTP is spoken there")

            nursery.start_soon(look_aside, name="trio_gateway.tls.look_aside")
            try:
                received = await self._stream.receive_some(max_bytes)
            except Exception as error:  # noqa: BLE001 - bare, and not in the nursery's group
                failure = error
            nursery.cancel_scope.cancel(reason="the server has answered")
        if failure is not None:
            raise failure
        if received is None:
            raise TLSRefusedError(
                f"{self._where} does not speak TLS: it answers in plain HTTP; use http:// in its URL, or ws:// in ws_url"
            )
        return received

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self._stream.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def aclose(self) -> None:
        await self._stream.aclose()


async def _handshake(
    stream: trio.abc.Stream, stand_in: trio.abc.Stream, ssl_context: ssl.SSLContext, server_hostname: str
) -> trio.SSLStream[trio.abc.Stream]:
    try:
        secure = trio.SSLStream(stand_in, ssl_context, server_hostname=server_hostname, https_compatible=True)
        await secure.do_handshake()
    except BaseException:
        with trio.move_on_after(_CLOSE_LIMIT, shield=True):
            await trio.aclose_forcefully(stream)
        raise
    secure.transport_stream = stream
    return secure


async def close_now(stream: trio.abc.AsyncResource) -> None:
    """Close a stream without saying goodbye, also in a cancelled scope. It does not wait for anything."""
    with trio.move_on_after(_CLOSE_LIMIT, shield=True):
        await trio.aclose_forcefully(stream)


def send_now(stream: object, data: bytes) -> int:
    """Send what a stream takes without waiting, where it has a `send_now` for that; return how many bytes it has taken.

    Nobody else may be sending. One that can't, such as one with TLS, takes none.

    Args:
        stream: a stream of a connector's.
        data: what to send.
    """
    take: Callable[[bytes], int] | None = getattr(stream, "send_now", None)
    return 0 if take is None else take(data)


def socket_of(stream: object) -> trio.socket.SocketType | None:
    """Return the socket below a stream, or None where there is none, as in memory."""
    while isinstance(stream, trio.SSLStream):
        stream = stream.transport_stream
    found = getattr(stream, "socket", None)
    return found if isinstance(found, trio.socket.SocketType) else None


def _address(host: str, port: int) -> str:
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def describe_os_error(error: BaseException, host: str) -> str:
    """Say in a few words why a connection could not be made.

    Args:
        error: what the connector raised.
        host: the name that it was asked for.
    """
    if isinstance(error, socket.gaierror):
        return f"the name {host} does not resolve ({error.strerror or error})"
    if isinstance(error, UnicodeError):
        return f"{host} is no name of a host"
    if isinstance(error.__cause__, BaseExceptionGroup):
        # Trio's summary of several addresses does not say what was wrong with each.
        reasons = dict.fromkeys(describe_os_error(one, host) for one in error.__cause__.exceptions)
        return ", ".join(reasons)
    if isinstance(error, OSError) and error.errno and error.strerror:
        # Trio's own text repeats the address.
        return os.strerror(error.errno)
    return str(error) or type(error).__name__


_WANTED: Final = "CERTIFICATE_REQUIRED"
_CERTIFICATE_ALERTS: Final = (
    _WANTED,
    "BAD_CERTIFICATE",
    "UNSUPPORTED_CERTIFICATE",
    "CERTIFICATE_REVOKED",
    "CERTIFICATE_EXPIRED",
    "CERTIFICATE_UNKNOWN",
    "UNKNOWN_CA",
    "ACCESS_DENIED",
)
"""What a server may say to a client's certificate (RFC 8446, 6.2), as OpenSSL calls it."""


def certificate_alert(error: BaseException | None) -> str | None:
    """Return what a server says to our certificate, in OpenSSL's word; None where an error is not about that.

    With TLS 1.3 that comes after the handshake, in place of an answer, and whatever was sent has not been read.
    """
    reason: str | None = error.reason if isinstance(error, ssl.SSLError) else None  # None too where OpenSSL has no word for it
    _, alert, word = (reason or "").partition("ALERT_")
    return word if alert and word in _CERTIFICATE_ALERTS else None


def _cure(code: int) -> str:
    if code == CERTIFICATE_EXPIRED:
        return "the server's has to be renewed; or else this machine's clock is wrong"
    if code == CERTIFICATE_OF_THE_FUTURE:
        return "is this machine's clock right?"
    if code in CERTIFICATE_OF_ANOTHER_HOST:
        return "the URL's host must be one that the certificate is for"
    return "its CA belongs into ca_certs; validate_cert=False accepts any certificate"


def describe_tls_error(error: BaseException, where: str) -> GatewayConnectionError:
    """Make the error for a TLS connection that failed.

    Args:
        error: what came out of the stream.
        where: host and port.
    """
    cause = error if isinstance(error, ssl.SSLError) else error.__cause__
    if isinstance(cause, ssl.SSLCertVerificationError):
        said = cause.verify_message.rstrip(".")
        return TLSRefusedError(f"{where} shows a certificate that is not accepted: {said} ({_cure(cause.verify_code)})")
    if (alert := certificate_alert(cause)) is not None:
        asked = "asks for a certificate of ours, which belongs into client_cert"
        refused = "refuses the certificate in client_cert, or that there is none"
        return TLSRefusedError(f"{where} {asked if alert == _WANTED else refused}: {alert.replace('_', ' ').lower()}")
    if isinstance(cause, ssl.SSLError):
        reason = (cause.reason or str(cause)).replace("_", " ").lower()
        if reason.endswith("alert handshake failure"):  # what servers of TLS 1.2 say to a client without a certificate, too
            reason += " (does it ask for a certificate of ours? That belongs into client_cert)"
        if "wrong version number" in reason or "http request" in reason:
            return TLSRefusedError(f"{where} does not speak TLS: is its URL http:// or ws://?")
        return TLSRefusedError(f"the TLS handshake with {where} failed: {reason}")
    if isinstance(error, ValueError):
        return TLSRefusedError(f"the TLS handshake with {where} can't begin: {error}")
    return GatewayConnectionError(f"{where} closed the connection in the TLS handshake")
