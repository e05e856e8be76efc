"""httpcore2's connection pool below httpx's client, with connections of our own in it.

httpx's own pool loses a place for ever when a request is cancelled while it connects; this one was measured to survive. TLS is
made together with the connection, so the pool sees plain streams. This module is imported only when a client is opened.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, AsyncIterator
from http.cookiejar import CookieJar
from typing import Any, cast

import httpcore2
import httpx
import trio

from .._config import GatewayConfig
from .._errors import GatewayConnectionError, GatewayTimeoutError
from .connector import Connector, open_stream
from .http1 import ConnectFailed, Connection

__all__ = ["NoCookies", "PoolTransport"]


class NoCookies(CookieJar):
    """Takes and gives nothing: httpx would keep cookies whether or not the configuration says so."""

    def extract_cookies(self, response: Any, request: Any) -> None:
        """Take nothing."""

    def add_cookie_header(self, request: Any) -> None:
        """Give nothing."""


class _Pool(httpcore2.AsyncConnectionPool):
    """httpcore2's pool, which asks this method for each new connection."""

    def __init__(self, config: GatewayConfig, connector: Connector, ssl_context: ssl.SSLContext | None) -> None:
        super().__init__(max_connections=config.max_connections)
        self._config = config
        self._connector = connector
        self._tls = ssl_context

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        return Connection(origin, self._connect, self._config.max_response_size)

    async def _connect(self, host: str, port: int) -> trio.abc.Stream:
        limit = self._config.connect_timeout
        try:
            with trio.move_on_after(limit):
                return await open_stream(self._connector, host, port, ssl_context=self._tls)
        except GatewayConnectionError as error:
            raise ConnectFailed(error) from error
        raise ConnectFailed(GatewayTimeoutError("connect", limit, "connect_timeout"))


class _Body(httpx.AsyncByteStream):
    def __init__(self, stream: AsyncIterable[bytes]) -> None:
        self._stream = stream

    def __aiter__(self) -> AsyncIterator[bytes]:
        return self._stream.__aiter__()

    async def aclose(self) -> None:
        await cast("Any", self._stream).aclose()


class PoolTransport(httpx.AsyncBaseTransport):
    """What httpx's client sends through. Its failures are those of `http1`.

    Args:
        config: the settings.
        connector: opens raw streams.
        ssl_context: what to do TLS with; None for a plain connection.
    """

    def __init__(self, config: GatewayConfig, connector: Connector, ssl_context: ssl.SSLContext | None) -> None:
        self.pool = _Pool(config, connector, ssl_context)

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send one request; the headers of its answer are in the extension `headers`."""
        url = request.url
        response = await self.pool.handle_async_request(
            httpcore2.Request(
                method=request.method,
                # The pool is to see a plain connection: TLS is made with it.
                url=httpcore2.URL(
                    scheme=b"http",
                    host=url.raw_host,
                    port=url.port or (443 if url.scheme == "https" else 80),
                    target=request.extensions["target"],
                ),
                headers=request.headers.raw,
                extensions={"body": request.content},
            )
        )
        return httpx.Response(
            status_code=response.status,
            stream=_Body(cast("AsyncIterable[bytes]", response.stream)),
            # Not as headers: httpx would act on them, and a Location that it can't read ends in an exception of its own.
            extensions={"headers": response.headers},
        )

    async def aclose(self) -> None:
        """Close every connection, those in use and those that are just made included."""
        await self.pool.aclose()
