"""httpcore2's connection pool below httpx's client, with our connector below the pool.

httpx's own pool loses a connection for ever when a request is cancelled while it connects; this one was measured to survive.
TLS is made by our connector, in one go with the connection, so the pool sees plain streams. This module is imported only
when a client is opened.
"""

from __future__ import annotations

import logging
import re
import ssl
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Iterable
from contextvars import ContextVar
from http.cookiejar import CookieJar
from typing import Any, cast

import attrs
import httpcore2
import httpx
import trio

from .._config import GatewayConfig
from .._errors import GatewayConnectionError, GatewayTimeoutError
from .connector import Connector, close_now, describe_tls_error, open_stream, socket_of

__all__ = ["BodyOverflow", "ConnectFailed", "Exchange", "NoCookies", "PoolTransport", "exchange"]

KEEPALIVE = 30.0
"""How long a connection may be idle, in seconds, and still be used again: less than a network or a proxy forgets it in."""

MAX_HEAD = 256 * 1024
"""The most bytes that may come before a body, answers like `100 Continue` included."""

_HIDDEN = re.compile(r"^(receive_response_headers\.\w+) .*", re.DOTALL)


@attrs.define
class Exchange:
    """What happened on the wire in one attempt; pool and streams note it, whoever handles a failure reads it."""

    max_response_size: int
    """The most bytes of a body as it comes."""
    received: int = 0
    """How many bytes have come before the body."""
    in_body: bool = False
    """The headers are complete."""
    ended: bool = False
    """The other side has closed the connection."""


exchange: ContextVar[Exchange] = ContextVar("trio_gateway_exchange")
"""The attempt that this task makes. The pool has no tasks of its own, so each stream sees the attempt it works for."""


class ConnectFailed(Exception):
    """No connection was made, so nothing was sent.

    Args:
        error: what the caller will see.
    """

    def __init__(self, error: GatewayConnectionError | GatewayTimeoutError) -> None:
        super().__init__()
        self.error = error


class BodyOverflow(Exception):
    """The body is larger than allowed."""


class NoCookies(CookieJar):
    """Takes and gives nothing: httpx would keep cookies whether or not the configuration says so."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take nothing."""

    def add_cookie_header(self, request: Any) -> None:
        """Give nothing."""


class _HideResponseHeaders(logging.Filter):
    """Keeps the headers of answers, cookies among them, out of httpcore2's debug log."""

    def filter(self, record: logging.LogRecord) -> bool:
        if isinstance(record.msg, str):
            record.msg = _HIDDEN.sub(r"\1", record.msg)
        return True


_hide_response_headers = _HideResponseHeaders()


class _Stream(httpcore2.AsyncNetworkStream):
    def __init__(self, stream: trio.abc.Stream, where: str, streams: set[_Stream]) -> None:
        self._stream = stream
        self._where = where
        self._streams = streams
        self._last_use = trio.current_time()
        streams.add(self)

    async def read(self, max_bytes: int, timeout: float | None = None) -> bytes:  # noqa: ASYNC109
        del timeout  # limits are our own scopes
        try:
            data = await self._stream.receive_some(max_bytes)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            if isinstance(error.__cause__, ssl.SSLError):
                # With TLS 1.3 the other side's word on our certificate comes only now; it has not read the request.
                raise ConnectFailed(describe_tls_error(error, self._where)) from error
            raise httpcore2.ReadError(str(error)) from error
        self._last_use = trio.current_time()
        current = exchange.get()
        if not data:
            current.ended = True
        if not current.in_body:
            current.received += len(data)
            if current.received > MAX_HEAD:
                # h11 bounds one head; this bounds how many of them, 100 Continue and the like, come before the answer.
                raise httpcore2.RemoteProtocolError("too much before the answer")
        return bytes(data)

    async def write(self, buffer: bytes, timeout: float | None = None) -> None:  # noqa: ASYNC109
        del timeout
        if not buffer:
            await trio.lowlevel.checkpoint()
            return
        try:
            await self._stream.send_all(buffer)
        except (trio.BrokenResourceError, trio.ClosedResourceError, OSError) as error:
            raise httpcore2.WriteError(str(error)) from error

    async def aclose(self) -> None:
        self._streams.discard(self)
        await close_now(self._stream)

    def get_extra_info(self, info: str) -> Any:
        # The pool asks this of an idle connection: whatever can be read then is the other side's goodbye.
        if info == "is_readable":
            if trio.current_time() - self._last_use > KEEPALIVE:
                return True
            socket = socket_of(self._stream)
            return socket is not None and (socket.fileno() < 0 or socket.is_readable())
        return None


class _Backend(httpcore2.AsyncNetworkBackend):
    def __init__(self, config: GatewayConfig, connector: Connector, ssl_context: ssl.SSLContext | None) -> None:
        self._config = config
        self._connector = connector
        self._ssl_context = ssl_context
        self.streams: set[_Stream] = set()
        self.closed = False

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109
        local_address: str | None = None,
        socket_options: Iterable[Any] | None = None,
    ) -> httpcore2.AsyncNetworkStream:
        del timeout, local_address, socket_options
        limit = self._config.connect_timeout
        stream: trio.abc.Stream | None = None
        try:
            with trio.move_on_after(limit):
                stream = await open_stream(self._connector, host, port, ssl_context=self._ssl_context)
        except GatewayConnectionError as error:
            raise ConnectFailed(error) from error
        if stream is None:
            raise ConnectFailed(GatewayTimeoutError("connect", limit, "connect_timeout"))
        if self.closed:
            await close_now(stream)
            raise ConnectFailed(GatewayConnectionError("the client was closed while it was connecting"))
        return _Stream(stream, f"{host}:{port}", self.streams)


class _Body(httpx.AsyncByteStream):
    """A body as it comes. Too large a one fails in here, so that every generator around it ends with that error.

    An iterator of its own, because a generator that is left early is closed by nobody.
    """

    def __init__(self, stream: AsyncIterable[bytes], limit: int) -> None:
        self._stream = stream
        self._chunks = cast("AsyncGenerator[bytes]", stream.__aiter__())
        self._left = limit

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self

    async def __anext__(self) -> bytes:
        chunk = await anext(self._chunks)
        self._left -= len(chunk)
        if self._left < 0:
            await self.aclose()
            raise BodyOverflow
        return chunk

    async def aclose(self) -> None:
        await self._chunks.aclose()
        await cast("Any", self._stream).aclose()


class PoolTransport(httpx.AsyncBaseTransport):
    """What httpx's client sends through.

    Args:
        config: the settings.
        connector: opens raw streams.
        ssl_context: what to do TLS with; None for a plain connection.
    """

    def __init__(self, config: GatewayConfig, connector: Connector, ssl_context: ssl.SSLContext | None) -> None:
        self._backend = _Backend(config, connector, ssl_context)
        self.pool = httpcore2.AsyncConnectionPool(
            max_connections=config.max_connections, keepalive_expiry=None, network_backend=self._backend
        )
        logging.getLogger("httpcore2.http11").addFilter(_hide_response_headers)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request. Failures are httpcore2's, but for [ConnectFailed][]."""
        url = request.url
        port = url.port or (443 if url.scheme == "https" else 80)
        current = exchange.get()
        response = await self.pool.handle_async_request(
            httpcore2.Request(
                method=request.method,
                # The pool is to see a plain connection: TLS is the connector's work.
                url=httpcore2.URL(scheme=b"http", host=url.raw_host, port=port, target=url.raw_path),
                headers=request.headers.raw,
                content=cast("AsyncIterable[bytes]", request.stream),
                extensions=request.extensions,
            )
        )
        current.in_body = True
        return httpx.Response(
            status_code=response.status,
            stream=_Body(cast("AsyncIterable[bytes]", response.stream), current.max_response_size),
            # Not as headers: httpx would act on them, and a Location that it can't read ends in an exception of its own.
            extensions={"headers": response.headers},
        )

    async def aclose(self) -> None:
        """Close every connection, those in use and those that are just made included."""
        self._backend.closed = True
        with trio.CancelScope(shield=True):
            for stream in tuple(self._backend.streams):
                await stream.aclose()
            await self.pool.aclose()
