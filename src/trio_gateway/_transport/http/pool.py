"""The connections to one gateway: httpcore2's pool, with connections of our own in it.

httpx's and httpcore's pool loses a place for ever when a request is cancelled while it connects; httpcore2's was measured to
survive. TLS is made together with the connection, so the pool sees plain streams. Imported only when a client is opened.
"""

from __future__ import annotations

import ssl
from collections.abc import AsyncIterable, Callable
from typing import cast
from urllib.parse import urlsplit

import attrs
import httpcore2
import trio

from ..._config import GatewayConfig
from ..._errors import GatewayConnectionError, GatewayTimeoutError
from ..connector import Connector, open_stream
from .connection import ConnectFailed, Connection

__all__ = ["Answer", "ConnectionPool"]


@attrs.frozen
class Answer:
    """The head of an answer, and its body still to be read. Its owner must close it."""

    status: int
    """HTTP status, 200 or more."""
    headers: list[tuple[bytes, bytes]] = attrs.field(repr=False)
    """The headers as they came; what we have sent may be among them."""
    body: AsyncIterable[bytes]
    """The body in pieces."""
    _response: httpcore2.Response

    async def aclose(self) -> None:
        """Give the connection back. It does not wait."""
        await self._response.aclose()


class ConnectionPool(httpcore2.AsyncConnectionPool):
    """At most `max_connections` connections to a gateway, to all its addresses together; a request that finds none free waits.

    Args:
        config: the settings.
        connector: opens raw streams.
        ssl_context: what to do TLS with; None for a plain connection.
    """

    def __init__(self, config: GatewayConfig, connector: Connector, ssl_context: ssl.SSLContext | None) -> None:
        super().__init__(max_connections=config.max_connections)
        default = 443 if config.base_url.startswith("https:") else 80
        self._places = [
            ((parts.hostname or "").encode("ascii"), parts.port or default) for parts in map(urlsplit, config.addresses)
        ]
        self._config = config
        self._connector = connector
        self._tls = ssl_context

    def create_connection(self, origin: httpcore2.Origin) -> httpcore2.AsyncConnectionInterface:
        """Make one connection for the pool; it connects later."""
        return Connection(origin, self._connect, self._config.max_response_size)

    async def _connect(self, host: str, port: int) -> trio.abc.Stream:
        limit = self._config.connect_timeout / len(self._places)
        try:
            with trio.move_on_after(limit):
                return await open_stream(self._connector, host, port, ssl_context=self._tls)
        except GatewayConnectionError as error:
            raise ConnectFailed(error) from error
        raise ConnectFailed(GatewayTimeoutError("connect", limit, "connect_timeout"))

    async def send(
        self,
        method: str,
        target: str,
        headers: list[tuple[bytes, bytes]],
        body: bytes | None,
        on_sending: Callable[[], object] | None = None,
        *,
        address: int = 0,
    ) -> Answer:
        """Send a request and wait for the head of its answer. Failures are those of `connection`.

        Args:
            method: HTTP method.
            target: path and query, escaped.
            headers: all headers.
            body: the body, if there is one.
            on_sending: called when there is a connection and the first byte is about to be sent.
            address: where to: one of the gateway's addresses, by its number.
        """
        host, port = self._places[address]
        request = httpcore2.Request(
            method=method,
            # The pool is to see a plain connection: TLS is made with it.
            url=httpcore2.URL(scheme=b"http", host=host, port=port, target=target.encode("ascii")),
            headers=headers,
            extensions={"body": body, "on_sending": on_sending},
        )
        response = await self.handle_async_request(request)
        return Answer(response.status, response.headers, cast("AsyncIterable[bytes]", response.stream), response)
