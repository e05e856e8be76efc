"""A hostile front end: bytes that no honest client sends, on raw sockets, to the proxy.

To add an attack, add a line to `ATTACKS`: what is sent on one connection, and the statuses that may be answered (none: closed
without a word). Each time the proxy must close the connection by itself, and answer another front end meanwhile and afterwards.
In virtual time, in one process; what needs a process of its own, and what comes over WebSockets, is in
`test_hostile_front_end_process`.
"""

from __future__ import annotations

import errno
import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from trio_gateway.proxy import _server, create_app, serve
from trio_gateway.testing import FakeGateway

TOKEN = "the-proxys-own-token"
WHO = b"Host: localhost\r\nAuthorization: token " + TOKEN.encode() + b"\r\n"
GET = b"GET /api/status HTTP/1.1\r\n" + WHO
POST = b"POST /api/kernels HTTP/1.1\r\n" + WHO
PREFACE = b"PRI * HTTP/2.0\r\n\r\n"
CLOSE = b"Connection: close\r\n"
CHUNK = b"1000\r\n" + b"x" * 0x1000 + b"\r\n"
FORM = b"POST / HTTP/1.1\r\nHost: localhost\r\n" + CLOSE
HANDSHAKE = (
    GET.replace(b"/api/status", b"/api/kernels/x/channels")
    + b"Connection: Upgrade\r\nUpgrade: websocket\r\n"
    + b"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n"
)
H2C = b"Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAARAAAAAAAIAAAAA\r\n"

ATTACKS: dict[str, tuple[bytes, tuple[int, ...]]] = {
    "nothing at all": (b"", ()),
    "half of a request line": (b"GET /api", ()),
    "headers without end": (GET + b"X-A: 1\r\n", ()),
    "HTTP/2 by prior knowledge": (PREFACE, (505,)),
    "HTTP/2's whole preface and settings": (PREFACE + b"SM\r\n\r\n" + bytes(9), (505,)),
    "HTTP/2 as the second request": (GET + b"\r\n" + PREFACE, (200, 505)),
    "an upgrade to HTTP/2": (GET + H2C + b"\r\n", (200,)),
    "an upgrade to HTTP/2 as the second request": (GET + b"\r\n" + GET + H2C + b"\r\n", (200, 200)),
    "an upgrade to HTTP/2 in other letters": (GET + H2C.replace(b"h2c", b" H2C ") + b"\r\n", (200,)),
    "HTTP/3.0": (GET.replace(b"1.1", b"3.0") + b"\r\n", (505,)),
    "headers of 70,000 bytes": (GET + b"X-A: " + b"a" * 70_000 + b"\r\n\r\n", (431,)),
    "headers of 17,000 bytes": (GET + b"X-A: " + b"a" * 17_000 + b"\r\n\r\n", (431,)),
    "headers of 17,000 bytes, mostly blanks": (GET + b"X-A: " + b" " * 17_000 + b"a\r\n\r\n", (431,)),
    "headers of 17,000 bytes in the second request": (GET + b"\r\n" + GET + b"X-A: " + b"a" * 17_000 + b"\r\n\r\n", (200, 431)),
    "headers of 70,000 bytes without end": (GET + b"X-A: " + b"a" * 70_000, (431,)),
    "a path of 70,000 bytes": (b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n" + WHO + b"\r\n", (431,)),
    "two kinds of length": (POST + b"Content-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n" + GET + b"\r\n", (400,)),
    "two lengths that differ": (POST + b"Content-Length: 5\r\nContent-Length: 6\r\n\r\nabcdef", (400,)),
    "a negative length": (POST + b"Content-Length: -1\r\n\r\n", (400,)),
    "an unknown transfer coding": (POST + b"Transfer-Encoding: gzip, chunked\r\n\r\n", (501,)),
    "a blank before the colon": (GET + b"Content-Length : 5\r\n\r\n", (400,)),
    "a null byte in a header": (GET + b"X-A: a\0b\r\n\r\n", (400,)),
    "a carriage return alone in a header": (GET + b"X-A: a\rb\r\n\r\n", (400,)),
    "two origins": (GET + b"Origin: http://other.example\r\nOrigin: http://localhost\r\n\r\n", (400,)),
    "two tokens": (GET.replace(TOKEN.encode(), b"another") + WHO.partition(b"\r\n")[2] + b"\r\n", (400,)),
    "a handshake with two origins": (HANDSHAKE + b"Origin: http://other.example\r\nOrigin: http://localhost\r\n\r\n", (400,)),
    "a handshake with two tokens": (HANDSHAKE + b"Authorization: token another\r\n\r\n", (400,)),
    "a handshake with two keys": (HANDSHAKE + b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n", (400,)),
    "a handshake with two versions": (HANDSHAKE + b"Sec-WebSocket-Version: 13\r\n\r\n", (400,)),
    "a form that is larger than a token": (FORM + b"Content-Length: 20000\r\n\r\ntoken=" + b"x" * 19_994, (413,)),
    "a form in chunks that is larger": (FORM + b"Transfer-Encoding: chunked\r\n\r\n" + CHUNK * 5 + b"0\r\n\r\n", (413,)),
    "a method in lower case": (GET.replace(b"GET", b"head") + b"\r\n", (501,)),
    "no host": (b"GET /api/status HTTP/1.1\r\n\r\n", (400,)),
    "a folded header (RFC 9112: may be read as one line)": (GET + CLOSE + b"X-A: a\r\n b\r\n\r\n", (200,)),
    "no HTTP": (bytes(range(256)) * 4 + b"\r\n\r\n", (400,)),
    "a huge length and no body": (POST + b"Content-Length: 99999999999\r\n\r\n", (413,)),
    "a body that is deep": (POST + CLOSE + b"Content-Length: 20000\r\n\r\n" + b"[" * 20_000, (400,)),
}


@asynccontextmanager
async def open_proxy(**settings: Any) -> AsyncGenerator[int]:
    """Serve a proxy of a fake gateway; give its port."""
    async with FakeGateway() as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        listening = await nursery.start(partial(serve, create_app(gateway, token=TOKEN, **settings), port=0))
        yield listening.port
        nursery.cancel_scope.cancel()


async def converse(port: int, sent: bytes) -> bytes:
    """Send this, and nothing more; return all that comes until the proxy closes."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        await stream.send_all(sent)
        got = b""
        while data := await stream.receive_some():
            got += data
        return got


def statuses(answer: bytes) -> tuple[int, ...]:
    return tuple(int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:])


async def assert_served(port: int) -> None:
    answer = await converse(port, GET + CLOSE + b"\r\n")
    assert statuses(answer) == (200,)
    assert "connections" in json.loads(answer.partition(b"\r\n\r\n")[2])


@pytest.fixture
def autojump_clock() -> trio.testing.MockClock:
    """Time that passes only while nothing happens: both ends of each socket are in this process."""
    return trio.testing.MockClock(autojump_threshold=0.05)


@pytest.mark.parametrize("name", ATTACKS)
async def test_an_attack_is_answered_and_closed(name: str, autojump_clock: trio.testing.MockClock) -> None:
    sent, expected = ATTACKS[name]
    async with open_proxy() as port:
        with trio.fail_after(60):
            answer = await converse(port, sent)
        assert statuses(answer) == expected
        await assert_served(port)


@pytest.mark.parametrize("sent", [b"", PREFACE, GET + H2C + b"\r\n", GET], ids=["silent", "preface", "upgrade", "half"])
async def test_many_connections_keep_nobody_out_for_long(sent: bytes, autojump_clock: trio.testing.MockClock) -> None:
    async with open_proxy() as port:
        await assert_served(port)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(150):
                    nursery.start_soon(converse, port, sent)
        await assert_served(port)


@pytest.mark.parametrize("asked", ["/", "/healthz", "/api"])
async def test_who_shows_no_token_and_reads_nothing_keeps_no_place(
    asked: str, monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """Neither for long, nor at all where somebody else wants it."""
    monkeypatch.setattr(_server, "EXTRA_CONNECTIONS", 9)
    sent = f"GET {asked} HTTP/1.1\r\nHost: localhost\r\nAccept: text/html\r\n\r\n".encode() * 400

    async def ask(served: trio.Event, *, task_status: trio.TaskStatus[None]) -> None:
        with trio.socket.socket() as plain:
            plain.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_RCVBUF, 2048)
            await plain.connect(("127.0.0.1", port))
            stream = trio.SocketStream(plain)
            await stream.send_all(sent)
            await trio.testing.wait_all_tasks_blocked(0.01)  # the answers fit nowhere any more
            await stream.send_all(sent)  # who hangs up without having read all, resets the connection
            task_status.started()
            await served.wait()
            await trio.sleep(60)
            assert plain.getsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_ERROR) == errno.ECONNRESET

    async with open_proxy(max_channels=1) as port:
        with trio.fail_after(120):
            async with trio.open_nursery() as nursery:
                served = trio.Event()
                for _ in range(10):
                    await nursery.start(ask, served)
                for _ in range(3):
                    await assert_served(port)
                served.set()
        await assert_served(port)


async def test_no_connection_is_held_for_long_that_was_forgotten(
    monkeypatch: pytest.MonkeyPatch, autojump_clock: trio.testing.MockClock
) -> None:
    """A connection has its own limit, whatever else limits it."""

    async def forget(*_: object, **__: object) -> None:
        await trio.sleep_forever()

    async with open_proxy() as port:
        monkeypatch.setattr(_server, "serve_http1", forget)
        with trio.fail_after(60):
            assert await converse(port, b"") == b""
