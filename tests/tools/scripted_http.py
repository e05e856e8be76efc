"""An HTTP server in memory that does exactly what a test says, reached through the client's own connector.

No sockets and no threads, so that Trio's clock may be a virtual one.
"""

from __future__ import annotations

import inspect
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio
import trio.testing

from trio_gateway._config import GatewayConfig
from trio_gateway._events import GatewayEvent
from trio_gateway._transport.http.client import HttpClient, open_http_client

URL = "http://gateway.test:8888/Base"


@attrs.define
class Request:
    """A request as it came over the wire."""

    method: str
    target: str
    headers: dict[str, str]
    """Names in lower case."""
    body: bytes
    connection: int
    """The number of its connection, from 1."""


Answer = Callable[[Request], "bytes | Awaitable[bytes] | None"]
"""Makes the bytes to answer with, at once or after a while; None for hanging up. After a `Connection: close` it hangs up too."""


def response(status: int = 200, body: object = b"{}", *headers: str, reason: str = "Whatever") -> bytes:
    """Write an answer. A body that is not bytes is sent as JSON."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    lines = [f"HTTP/1.1 {status} {reason}", f"Content-Length: {len(content)}", *headers, "", ""]
    return "\r\n".join(lines).encode("latin-1") + content


@attrs.define
class Server:
    """The server, and what it has seen."""

    nursery: trio.Nursery
    answer: Answer
    requests: list[Request] = attrs.field(factory=list)
    connections: int = 0
    """How many were made."""
    open: int = 0
    """How many are open now."""
    refuse: int = 0
    """Refuse the next so many connections."""
    connect_delay: float = 0
    """Seconds that connecting takes."""
    addresses: list[tuple[str, int]] = attrs.field(factory=list)
    """What the client wanted to connect to."""

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        """Be the client's connector."""
        self.addresses.append((host, port))
        await trio.sleep(self.connect_delay)
        if self.refuse:
            self.refuse -= 1
            raise ConnectionRefusedError(111, "Connection refused")
        ours, theirs = trio.testing.memory_stream_pair()
        self.connections += 1
        self.nursery.start_soon(self._serve, ours, self.connections)
        return theirs

    async def _serve(self, stream: trio.abc.Stream, number: int) -> None:
        self.open += 1
        buffer = b""
        try:
            async with stream:
                while True:
                    while b"\r\n\r\n" not in buffer:
                        data = await stream.receive_some()
                        if not data:
                            return
                        buffer += data
                    head, _, buffer = buffer.partition(b"\r\n\r\n")
                    first, *lines = head.decode("latin-1").split("\r\n")
                    method, target, _ = first.split(" ")
                    headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
                    while len(buffer) < int(headers.get("content-length", 0)):
                        data = await stream.receive_some()
                        if not data:
                            return
                        buffer += data
                    length = int(headers.get("content-length", 0))
                    request = Request(method, target, headers, buffer[:length], number)
                    buffer = buffer[length:]
                    self.requests.append(request)
                    answer = self.answer(request)
                    content = await answer if inspect.isawaitable(answer) else answer
                    if content is None:
                        return
                    await stream.send_all(content)
                    if b"connection: close" in content.lower():
                        return
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            pass
        finally:
            self.open -= 1


def in_turn(*answers: bytes | None) -> Answer:
    """Give one answer after the other, and the last one for ever."""
    left = list(answers)
    return lambda _: left.pop(0) if len(left) > 1 else left[0]


class Dice:
    """Gives no jitter, so that virtual times are exact."""

    def random(self) -> float:
        return 0.0


@attrs.define
class Bench:
    """A client and the server it talks to."""

    http: HttpClient
    server: Server
    events: list[GatewayEvent]

    @property
    def requests(self) -> list[Request]:
        return self.server.requests


@asynccontextmanager
async def bench(answer: Answer, config: GatewayConfig | None = None, **settings: Any) -> AsyncGenerator[Bench]:
    """Open a client whose network is a server with these answers."""
    if config is None:
        config = GatewayConfig(**{"url": URL, **settings})
    events: list[GatewayEvent] = []
    async with trio.open_nursery() as nursery:
        server = Server(nursery, answer)
        try:
            async with open_http_client(config, connector=server.connect, emit=events.append, rng=Dice()) as http:  # type: ignore[arg-type]
                yield Bench(http, server, events)
        finally:
            nursery.cancel_scope.cancel()


def sent(request: Request) -> Mapping[str, str]:
    """What a request carries, without what every request carries."""
    usual = {"host", "connection", "user-agent", "accept", "accept-encoding"}
    return {name: value for name, value in request.headers.items() if name not in usual}
