"""Tools for tests of the proxy: one that serves on loopback, and HTTP without the library under test."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import attrs
import h11
import trio

import trio_gateway
from trio_gateway.proxy import Proxy, create_app, serve
from trio_gateway.testing import FakeGateway, FakeKernelSpec

if TYPE_CHECKING:
    from typing import TypeAlias

    from conftest import RunningGateway
    from trio_gateway import Message
    from trio_gateway.testing import FakeComm

    Behind: TypeAlias = RunningGateway | None

__all__ = ["FAKE_TOKEN", "TOKEN", "V1", "Answer", "Behind", "Served", "Upstream", "open_proxy", "open_upstream", "serve_gateway"]

TOKEN = "the-proxys-own-token"
FAKE_TOKEN = "the-fake-gateways-token"
V1 = "v1.kernel.websocket.jupyter.org"


@attrs.frozen
class Answer:
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


@attrs.frozen
class Served:
    """A proxy that listens."""

    app: Proxy
    url: str
    port: int
    gateway: trio_gateway.Gateway

    async def ask(
        self,
        method: str,
        path: str,
        body: object = None,
        *,
        token: str | None = TOKEN,
        headers: Mapping[str, str] | None = None,
        raw: bytes | None = None,
    ) -> Answer:
        """Send one request on a connection of its own."""
        sent = {"Host": f"127.0.0.1:{self.port}", "Connection": "close"}
        if token is not None:
            sent["Authorization"] = f"token {token}"
        content = raw if raw is not None else (b"" if body is None else json.dumps(body).encode())
        if content:
            sent["Content-Length"] = str(len(content))
        sent.update(headers or {})
        connection = h11.Connection(h11.CLIENT)
        async with await trio.open_tcp_stream("127.0.0.1", self.port) as stream:
            request = h11.Request(method=method, target=path, headers=[(k, v) for k, v in sent.items() if v])
            data = connection.send(request) or b""
            data += connection.send(h11.Data(content)) or b"" if content else b""
            await stream.send_all(data + (connection.send(h11.EndOfMessage()) or b""))
            return await read_answer(connection, stream)


async def read_answer(connection: h11.Connection, stream: trio.SocketStream) -> Answer:
    response: h11.Response | None = None
    body = b""
    while True:
        event = connection.next_event()
        if event is h11.NEED_DATA:
            connection.receive_data(await stream.receive_some())
        elif isinstance(event, h11.Response):
            response = event
        elif isinstance(event, h11.Data):
            body += event.data
        elif isinstance(event, h11.EndOfMessage):
            assert response is not None
            return Answer(response.status_code, {k.decode(): v.decode() for k, v in response.headers}, body)


@asynccontextmanager
async def serve_gateway(gateway: trio_gateway.Gateway, **settings: Any) -> AsyncGenerator[Served]:
    """Serve a proxy of a gateway that is open."""
    app = create_app(gateway, **{"token": TOKEN, **settings})
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve, app, port=0))
        yield Served(app, listening.url.rstrip("/"), listening.port, gateway)
        nursery.cancel_scope.cancel()


@attrs.frozen
class Upstream:
    """A gateway to have a proxy for."""

    url: str
    token: str


def open_echo(comm: FakeComm, message: Message) -> None:
    """Send back the buffers of each message of a comm, of its first one too, each reversed."""

    def echo(comm: FakeComm, message: Message) -> None:
        comm.send({"got": len(message.buffers)}, buffers=[bytes(buffer)[::-1] for buffer in message.buffers])

    comm.on_message = echo
    echo(comm, message)


FAKE = FakeKernelSpec(name="python3", resources={"logo-64x64.png": b"\x89PNG\r\n"}, comm_targets={"echo": open_echo})


@asynccontextmanager
async def open_upstream(behind: Behind) -> AsyncGenerator[Upstream]:
    """Give the real gateway, or open a fake one that listens and, like the real one of the tests, limits no output's rate."""
    if behind is not None:
        yield Upstream(behind.url, behind.token)
        return
    async with FakeGateway(token=FAKE_TOKEN, kernelspecs=[FAKE], iopub_msg_rate_limit=0.0, iopub_data_rate_limit=0.0) as fake:
        async with fake.listen() as url:
            yield Upstream(url, fake.token)


@asynccontextmanager
async def open_proxy(behind: Behind, **settings: Any) -> AsyncGenerator[Served]:
    """Serve a proxy of the real gateway, or of a fake one."""
    async with (
        open_upstream(behind) as upstream,
        trio_gateway.open_gateway(upstream.url, auth_token=upstream.token) as gateway,
        serve_gateway(gateway, **settings) as served,
    ):
        yield served
