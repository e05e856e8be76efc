"""The front ends' side of the WebSocket, byte by byte: pings, goodbyes, nonsense, and the ways to ask for one; and who pings."""

from __future__ import annotations

import base64
import hashlib
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import h11
import pytest
import trio
import trio.testing
from hypothesis import given, settings
from hypothesis import strategies as st

from suite.budgets import examples
from trio_gateway._protocol import codec
from trio_gateway._protocol.frames import (
    BINARY,
    CLOSE,
    PING,
    PONG,
    TEXT,
    Close,
    FrameParser,
    Ping,
    Pong,
    no_mask,
    small_frame,
    xor_mask,
)
from trio_gateway._protocol.messages import MessageFactory
from trio_gateway._protocol.websocket import UpgradeRequest
from trio_gateway.proxy import _server
from trio_gateway.proxy._websocket import Pinger, ServerWebSocket
from trio_gateway.testing import FakeGateway

from .front import PATIENCE
from .proxy_kit import TOKEN, V1, Served, read_answer, serve_gateway

KEY = base64.b64encode(b"0123456789abcdef").decode()
INFO = codec.encode_v1(MessageFactory("s", "ada").make("shell", "kernel_info_request", {}, date=""))


def masked(kind: int, payload: bytes) -> bytes:
    return small_frame(kind, payload, b"\x00\x01\x02\xff", xor_mask)


def request(kernel_id: str, **headers: str | None) -> bytes:
    lines = {
        "Host": "127.0.0.1",
        "Authorization": f"token {TOKEN}",
        "Connection": "keep-alive, Upgrade",
        "Upgrade": "websocket",
        "Sec-WebSocket-Version": "13",
        "Sec-WebSocket-Key": KEY,
        "Sec-WebSocket-Protocol": f"other, {V1}",
        **{name.replace("_", "-"): value for name, value in headers.items()},
    }
    told = "".join(f"{name}: {value}\r\n" for name, value in lines.items() if value is not None)
    return f"GET /api/kernels/{kernel_id}/channels HTTP/1.1\r\n{told}\r\n".encode()


class Raw:
    """A connection as bytes."""

    def __init__(self, stream: trio.SocketStream) -> None:
        self.stream = stream
        self.parser = FrameParser(2**20)
        self.messages: list[bytes | str] = []

    async def head(self) -> bytes:
        data = b""
        while b"\r\n\r\n" not in data:
            more = await self.stream.receive_some()
            assert more, data
            data += more
        head, _, rest = data.partition(b"\r\n\r\n")
        self.messages += self.parser.feed(rest)
        return head

    async def control(self) -> Any:
        """Receive until a control frame comes; None where the connection ends without one."""
        while not self.parser.controls:
            data = await self.stream.receive_some()
            if not data:
                return None
            self.messages += self.parser.feed(bytes(data))
        return self.parser.controls.pop(0)

    async def message(self) -> bytes | str:
        while not self.messages:
            self.messages += self.parser.feed(bytes(await self.stream.receive_some()))
        return self.messages.pop(0)


@asynccontextmanager
async def a_proxy(**settings: Any) -> AsyncGenerator[tuple[Served, str]]:
    with trio.fail_after(PATIENCE):
        async with FakeGateway() as fake, fake.open() as gateway, serve_gateway(gateway, **settings) as proxy:
            yield proxy, (await gateway.kernels.start("python3")).id


@asynccontextmanager
async def connected(**settings: Any) -> AsyncGenerator[tuple[Served, Raw]]:
    async with a_proxy(**settings) as (proxy, kernel_id), await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        raw = Raw(stream)
        await stream.send_all(request(kernel_id))
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        yield proxy, raw


async def test_the_handshake_is_the_rfcs() -> None:
    async with a_proxy() as (proxy, kernel_id), await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        # In pieces, and with the first frame right behind it.
        data = request(kernel_id) + masked(PING, b"early")
        for start in range(0, len(data), 50):
            await stream.send_all(data[start : start + 50])
            await trio.testing.wait_all_tasks_blocked()
        raw = Raw(stream)
        lines = (await raw.head()).decode().split("\r\n")
        chosen = f"Sec-WebSocket-Protocol: {V1}"
        proof = base64.b64encode(hashlib.sha1(KEY.encode() + b"258EAFA5-E914-47DA-95CA-C5AB0DC85B11").digest()).decode()
        assert lines[0] == "HTTP/1.1 101 Switching Protocols"
        assert {"Upgrade: websocket", "Connection: Upgrade", f"Sec-WebSocket-Accept: {proof}", chosen} <= set(lines)
        assert await raw.control() == Pong(b"early")


async def test_pings_are_answered_and_the_goodbye_is_too() -> None:
    async with connected() as (proxy, raw):
        await raw.stream.send_all(masked(PING, b"a"))
        assert await raw.control() == Pong(b"a")
        await raw.stream.send_all(masked(PONG, b"unasked") + masked(BINARY, INFO) + masked(CLOSE, b"\x0f\xa0gone"))
        assert await raw.control() == Close(4000, "")
        assert await raw.control() is None
        assert proxy.app._metrics.channels_closed == {4000: 1}


async def test_front_ends_are_pinged(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_server, "PING_SECONDS", 0.01)
    async with connected() as (_, raw):
        assert await raw.control() == Ping(b"")
        assert await raw.control() == Ping(b"")


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"\x82\x01x", 1002),
        (masked(BINARY, b"x" * 1001), 1009),
        (masked(TEXT, b"\xff"), 1007),
        (masked(11, b""), 1002),
        (b"GET / HTTP/1.1\r\n\r\n", 1002),
    ],
)
async def test_frames_that_are_wrong_are_told_by_their_code(data: bytes, code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The proxy hangs up first: a front end that breaks the protocol has said its last word that counts."""
    monkeypatch.setattr(_server, "LINGER_SECONDS", 1000)
    async with connected(max_message_size=1000) as (proxy, raw):
        await raw.stream.send_all(data)
        closed = await raw.control()
        assert isinstance(closed, Close)
        assert closed.code == code
        assert await raw.control() is None
        await raw.stream.aclose()
        while proxy.app.channels:
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert proxy.app._metrics.channels_closed == {code: 1}


async def test_a_message_in_fragments_and_a_large_one_arrive() -> None:
    async with connected() as (_, raw):
        start, end = masked(BINARY, INFO[:20]), masked(0, INFO[20:])
        await raw.stream.send_all(bytes((start[0] & 0x7F,)) + start[1:] + end)
        assert codec.decode(await raw.message(), v1=True).msg_type == "status"  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "headers",
    [
        {"Sec_WebSocket_Version": "8"},
        {"Sec_WebSocket_Key": None},
        {"Sec_WebSocket_Key": "short"},
        {"Connection": "keep-alive"},
        {"Upgrade": "websocket2"},
        {"Content_Length": "5"},
    ],
)
async def test_a_request_that_is_not_right_is_no_websocket(headers: dict[str, str | None]) -> None:
    async with a_proxy() as (proxy, kernel_id), await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(request(kernel_id, **headers) + b"12345")
        head = await Raw(stream).head()
        assert head.startswith((b"HTTP/1.1 4", b"HTTP/1.1 5")), head
        assert (await proxy.ask("GET", "/api")).status == 200


async def test_a_connection_that_was_used_before_can_become_a_websocket() -> None:
    """Clients that keep connections in a pool do so."""
    async with a_proxy() as (proxy, kernel_id), await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        connection = h11.Connection(h11.CLIENT)
        headers = [("Host", "127.0.0.1"), ("Authorization", f"token {TOKEN}")]
        await stream.send_all(connection.send(h11.Request(method="GET", target="/api", headers=headers)) or b"")
        connection.send(h11.EndOfMessage())
        assert (await read_answer(connection, stream)).status == 200
        raw = Raw(stream)
        await stream.send_all(request(kernel_id))
        assert (await raw.head()).startswith(b"HTTP/1.1 101")
        await stream.send_all(masked(BINARY, INFO))
        assert codec.decode(await raw.message(), v1=True).msg_type == "status"  # type: ignore[arg-type]
        await stream.send_all(masked(CLOSE, b"\x03\xe8"))
        while isinstance(told := await raw.control(), Ping):
            pass
        assert isinstance(told, Close)


async def test_who_says_nothing_is_not_waited_for() -> None:
    async with a_proxy(header_seconds=0.01) as (proxy, _):
        for begun in (b"", b"GET /api HTTP/1.1\r\nHost: 127.0.0.1\r\n"):
            async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
                await stream.send_all(begun)
                assert await stream.receive_some() == b""


async def test_headers_without_end_are_refused() -> None:
    async with a_proxy() as (proxy, _), await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(b"GET /api HTTP/1.1\r\n" + b"X: y\r\n" * 20_000)
        assert (await Raw(stream).head()).startswith(b"HTTP/1.1 4")


@given(
    pieces=st.lists(
        st.binary(max_size=60) | st.sampled_from([masked(BINARY, INFO), masked(PING, b"x"), masked(TEXT, b"{}")]), max_size=4
    )
)
@settings(max_examples=examples(2))
def test_whatever_is_sent_ends_its_own_connection_at_most(pieces: list[bytes]) -> None:
    async def main() -> None:
        async with connected() as (proxy, raw):
            await raw.stream.send_all(b"".join(pieces))
            await raw.stream.send_eof()
            while await raw.control() is not None:
                pass
            while proxy.app.channels:
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert (await proxy.ask("GET", "/api")).status == 200

    trio.run(main)


# Who pings, in virtual time ------------------------------------------------------------------------------------------

Clock = trio.testing.MockClock
REQUEST = UpgradeRequest(b"/", [], b"AAAAAAAAAAAAAAAAAAAAAA==", [], b"")


class Client:
    """One front end in memory: when it was pinged."""

    def __init__(self, pinger: Pinger) -> None:
        self._stream, far = trio.testing.memory_stream_pair()
        self.websocket = ServerWebSocket(far, REQUEST, max_message_size=1000, pinger=pinger)
        self.pinged: list[float] = []

    async def read(self) -> None:
        """Read until the end, and note pings."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self._stream.receive_some()
        parser = FrameParser(1000)
        while data := await self._stream.receive_some():
            parser.feed(data)
            self.pinged += [trio.current_time() for control in parser.controls if isinstance(control, Ping)]
            parser.controls.clear()

    async def ping(self) -> None:
        """Ping the server."""
        await self._stream.send_all(small_frame(PING, b"x", b"", no_mask))


async def test_each_client_is_pinged_in_its_time_until_it_is_discarded(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        pinger = Pinger(nursery, 10)
        nursery.start_soon(pinger.run)
        clients = [Client(pinger) for _ in range(3)]
        begun = trio.current_time()
        for client in clients:
            await client.websocket.accept(None)
            pinger.add(client.websocket)
            nursery.start_soon(client.read)
            await trio.sleep(3)
        await trio.sleep(16)
        pinger.discard(clients[0].websocket)
        pinger.discard(clients[1].websocket)
        await trio.sleep(10)
        told = [[round(time - begun) for time in client.pinged] for client in clients]
        assert told == [[10, 20], [13, 23], [16, 26]]
        await trio.sleep(100)
        assert [len(client.pinged) for client in clients] == [2, 2, 12]
        nursery.cancel_scope.cancel()


async def test_a_client_that_takes_nothing_holds_up_no_other_and_gets_one_ping_at_a_time(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        pinger = Pinger(nursery, 10)
        nursery.start_soon(pinger.run)
        clogged, other = trio.testing.lockstep_stream_pair(), Client(pinger)
        lazy = ServerWebSocket(clogged[0], REQUEST, max_message_size=1000, pinger=pinger)
        nursery.start_soon(lazy.accept, None)
        while b"\r\n\r\n" not in await clogged[1].receive_some():
            pass
        pinger.add(lazy)
        await other.websocket.accept(None)
        pinger.add(other.websocket)
        nursery.start_soon(other.read)
        before = len(nursery.child_tasks)
        await trio.sleep(1005)
        assert len(other.pinged) == 100
        assert len(nursery.child_tasks) == before + 1
        nursery.cancel_scope.cancel()


async def test_a_goodbye_to_a_client_that_takes_nothing_has_a_limit(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        pinger = Pinger(nursery, math.inf)
        clogged = trio.testing.lockstep_stream_pair()
        lazy = ServerWebSocket(clogged[0], REQUEST, max_message_size=1000, pinger=pinger)
        nursery.start_soon(lazy.accept, None)
        while b"\r\n\r\n" not in await clogged[1].receive_some():
            pass
        lazy.have_pinged()
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        await lazy.close(1000, "", 2)
        assert trio.current_time() - begun == pytest.approx(2)
        nursery.cancel_scope.cancel()
