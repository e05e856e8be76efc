"""How a proxy is served: where it listens, how many connections there may be, and how all of them end."""

from __future__ import annotations

import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path
from typing import Any, cast

import pytest
import trio
import trio.testing
import trustme

from trio_gateway import InvalidInputError
from trio_gateway.proxy import Listening, Proxy, ProxyConfig, _server, serve
from trio_gateway.proxy._http1 import LET_IN

from .front import PATIENCE

GET = b"GET / HTTP/1.1\r\nHost: h\r\n\r\n"
CLOSE = b"GET / HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n"


class App:
    """An application in the proxy's place: answers requests when it may, and WebSockets until it drains."""

    def __init__(self, **settings: Any) -> None:
        self.config = ProxyConfig(token="t", **settings)
        self.asked = 0
        self.may_answer = trio.Event()
        self.may_answer.set()
        self.draining = trio.Event()
        self.lets_in = True

    def drain(self) -> None:
        self.draining.set()

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        self.asked += 1
        if self.lets_in:
            scope[LET_IN]()
        if scope["type"] == "websocket":
            await receive()
            await send({"type": "websocket.accept"})
            await self.draining.wait()
            await send({"type": "websocket.close", "code": 1001, "reason": "bye"})
            return
        await self.may_answer.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
        await send({"type": "http.response.body", "body": b"ok"})


class Served:
    """What is served, and how to end it."""

    def __init__(self, app: App, listening: Listening, end: trio.Event, nursery: trio.Nursery) -> None:
        self.app = app
        self.listening = listening
        self.end = end
        self._nursery = nursery

    @property
    def has_ended(self) -> bool:
        return not self._nursery.child_tasks

    async def ended(self) -> None:
        while not self.has_ended:
            await trio.testing.wait_all_tasks_blocked(0.001)

    async def connect(self, sent: bytes = b"") -> trio.SocketStream:
        stream = await trio.open_tcp_stream("127.0.0.1", self.listening.port)
        await stream.send_all(sent)
        return stream

    async def asked(self, count: int) -> None:
        """Wait until so many requests have come."""
        while self.app.asked < count:
            await trio.testing.wait_all_tasks_blocked(0.001)


@asynccontextmanager
async def served(app: App, **options: Any) -> AsyncGenerator[Served]:
    end = trio.Event()
    with trio.fail_after(PATIENCE):
        async with trio.open_nursery() as nursery:
            listening = await nursery.start(partial(serve, cast("Proxy", app), port=0, until=end.wait, **options))
            yield Served(app, listening, end, nursery)
            nursery.cancel_scope.cancel()


async def everything(stream: trio.abc.Stream) -> bytes:
    async with stream:
        return b"".join([data async for data in cast("Any", stream)])


# Where it listens ---------------------------------------------------------------------------------------------------


async def test_it_says_where_it_listens() -> None:
    async with served(App(base_path="/x/")) as proxy:
        assert proxy.listening.url == f"http://127.0.0.1:{proxy.listening.port}/x/"
        assert (await everything(await proxy.connect(CLOSE))).endswith(b"ok")


@pytest.mark.parametrize("port", [-1, 65536, True, "80"])
async def test_ports_that_are_none(port: Any) -> None:
    with pytest.raises(InvalidInputError, match="port"):
        await serve(cast("Proxy", App()), port=port)


async def test_a_port_that_is_taken() -> None:
    async with served(App()) as proxy:
        with pytest.raises(InvalidInputError, match="host"):
            await serve(cast("Proxy", App()), port=proxy.listening.port)


async def test_a_certificate_that_is_none(tmp_path: Path) -> None:
    (tmp_path / "a.pem").write_text("nothing")
    for name in ("a.pem", "b.pem"):
        with pytest.raises(InvalidInputError, match="certfile"):
            await serve(cast("Proxy", App()), port=0, certfile=tmp_path / name)


async def test_each_file_for_tls_that_is_wrong_is_named(tmp_path: Path) -> None:
    """Nothing listens then: least of all without TLS, where a key says that it was meant."""
    authority = trustme.CA()
    issued, another = (authority.issue_cert("127.0.0.1") for _ in range(2))
    (tmp_path / "cert.pem").write_bytes(issued.cert_chain_pems[0].bytes())
    issued.private_key_pem.write_to_path(str(tmp_path / "key.pem"))
    another.private_key_pem.write_to_path(str(tmp_path / "another.pem"))
    key = (tmp_path / "key.pem").read_text()
    cert = tmp_path / "cert.pem"
    for files, said in (
        ({"keyfile": tmp_path / "key.pem"}, f"keyfile: '{tmp_path}/key.pem' .* a certfile beside it"),
        ({"certfile": cert}, f"certfile: '{cert}' .* a certificate in PEM and its private key"),
        ({"certfile": cert, "keyfile": tmp_path / "another.pem"}, "keyfile: .* the private key that belongs to .* certfile"),
        ({"certfile": cert, "keyfile": tmp_path / "none.pem"}, r"keyfile: .*none\.pem' .* \(No such file or directory\)"),
        ({"certfile": cert, "keyfile": key}, r"keyfile: '\*\*\*' can't be used"),
        ({"certfile": key}, r"certfile: '\*\*\*' can't be used"),
    ):
        with pytest.raises(InvalidInputError, match=said):
            await serve(cast("Proxy", App()), port=0, **cast("Any", files))


async def test_tls_is_spoken_where_there_is_a_certificate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    authority = trustme.CA()
    authority.issue_cert("127.0.0.1").private_key_and_cert_chain_pem.write_to_path(str(tmp_path / "server.pem"))
    context = ssl.create_default_context()
    authority.configure_trust(context)
    monkeypatch.setenv("SSLKEYLOGFILE", str(tmp_path / "none" / "keys"))  # there the keys of all connections would be written
    async with served(App(), certfile=tmp_path / "server.pem") as proxy:
        assert proxy.listening.url.startswith("https://")
        stream = trio.SSLStream(await proxy.connect(), context, server_hostname="127.0.0.1", https_compatible=True)
        await stream.send_all(GET + CLOSE)
        assert (await everything(stream)).count(b"ok") == 2
        assert await everything(await proxy.connect(GET)) == b""


# How many there may be ----------------------------------------------------------------------------------------------


async def test_who_comes_when_all_are_taken_takes_the_place_of_one_that_asks_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "EXTRA_CONNECTIONS", 1)
    async with served(App(max_channels=1)) as proxy:
        first, second = await proxy.connect(), await proxy.connect(GET)
        await proxy.asked(1)
        third = await proxy.connect(CLOSE)
        assert await everything(first) == b""
        assert (await everything(third)).endswith(b"ok")
        await second.aclose()


async def test_who_comes_when_all_are_answered_is_sent_away(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "EXTRA_CONNECTIONS", 1)
    app = App(max_channels=1)
    app.may_answer = trio.Event()
    async with served(app) as proxy:
        working = [await proxy.connect(CLOSE) for _ in range(2)]
        await proxy.asked(2)
        assert await everything(await proxy.connect()) == b""
        app.may_answer.set()
        assert [(await everything(stream))[-2:] for stream in working] == [b"ok", b"ok"]


async def test_who_is_answered_without_being_let_in_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "EXTRA_CONNECTIONS", 1)
    app = App(max_channels=1)
    app.lets_in = False
    app.may_answer = trio.Event()
    async with served(app) as proxy:
        first, second = await proxy.connect(CLOSE), await proxy.connect(CLOSE)
        await proxy.asked(2)
        third = await proxy.connect(CLOSE)
        assert await everything(first) == b""
        app.may_answer.set()
        assert [(await everything(stream))[-2:] for stream in (second, third)] == [b"ok", b"ok"]


def test_a_process_with_few_files_has_few_connections(monkeypatch: pytest.MonkeyPatch) -> None:
    resource = pytest.importorskip("resource")
    config = ProxyConfig(token="t", max_channels=10)
    assert _server.files_needed(config) == 2 * 110 + 64
    for files, allowed in [(284, 110), (283, 109), (66, 1), (10, 1), (resource.RLIM_INFINITY, 110)]:
        monkeypatch.setattr(resource, "getrlimit", lambda _, files=files: (files, files))
        assert _server._connections_allowed(config) == allowed


# How they end -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("lets_in", [True, False])
async def test_at_the_end_what_runs_is_answered_and_what_is_idle_is_closed(lets_in: bool) -> None:
    app = App()
    app.lets_in = lets_in
    async with served(app) as proxy:
        idle = await proxy.connect(GET)
        await idle.receive_some()
        half = await proxy.connect(GET[:10])
        app.may_answer = trio.Event()
        working = await proxy.connect(GET + GET)
        await proxy.asked(2)
        proxy.end.set()
        await app.draining.wait()
        assert await everything(idle) == b""
        assert await everything(half) == b""
        with pytest.raises(OSError, match=r"."):
            await proxy.connect()
        assert not proxy.has_ended
        app.may_answer.set()
        answer = await everything(working)
        assert answer.count(b"ok") == 1
        assert b"connection: close" in answer.lower()
        await proxy.ended()


async def test_at_the_end_websockets_are_told() -> None:
    async with served(App()) as proxy:
        stream = await proxy.connect(
            GET[:-2] + b"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
        )
        assert (await stream.receive_some()).startswith(b"HTTP/1.1 101")
        proxy.end.set()
        assert await stream.receive_some() == b"\x88\x05\x03\xe9bye"
        await stream.send_all(b"\x88\x80mask")
        assert await everything(stream) == b""
        await proxy.ended()


async def test_what_does_not_end_is_cut() -> None:
    app = App()
    app.may_answer = trio.Event()
    async with served(app, drain_seconds=0.01) as proxy:
        stream = await proxy.connect(GET)
        await proxy.asked(1)
        proxy.end.set()
        await proxy.ended()
        assert await everything(stream) == b""


async def test_cancelling_cuts_all() -> None:
    """G1"""
    app = App()
    async with trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve, cast("Proxy", app), port=0))
        stream = await trio.open_tcp_stream("127.0.0.1", listening.port)
        await stream.send_all(GET)
        assert (await stream.receive_some()).endswith(b"ok")
        nursery.cancel_scope.cancel()
    assert await everything(stream) == b""
