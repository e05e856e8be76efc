"""Whatever a server sends, in whatever pieces: a value or a typed error, within the limits, and never a hang. G3."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from hypothesis import example, given
from hypothesis import strategies as st

from tools.scripted_http import URL, Dice
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    ProtocolError,
)
from trio_gateway._events import GatewayEvent
from trio_gateway._protocol import rest
from trio_gateway._transport.http.attempt import HttpResponse
from trio_gateway._transport.http.client import open_http_client

LIMIT = 5.0
RETRIES = 2
# Each attempt ends within its limit, and so does each pause between them.
LONGEST = (RETRIES + 1) * LIMIT + RETRIES * 1.0


@attrs.frozen
class Script:
    """What the server does on one connection, whatever it is asked."""

    pieces: tuple[bytes, ...]
    end: str
    """`"close"`, `"stall"` or `"endless"`, which repeats the last piece."""


async def play(script: Script, stream: trio.abc.Stream) -> None:
    try:
        async with stream:
            await stream.receive_some()
            for piece in script.pieces:
                await stream.send_all(piece)
                await trio.sleep(0.01)
            if script.end == "stall":
                await trio.sleep_forever()
            if script.end == "endless":
                for _ in range(100_000):
                    await stream.send_all(script.pieces[-1] * 1000)
                    await trio.sleep(0.01)
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        pass


async def ask(script: Script, method: str, read: Callable[[HttpResponse], Any]) -> tuple[object, float, list[GatewayEvent]]:
    """Ask such a server, and then one that is well, with the same client."""

    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        nursery.start_soon(play, scripts[-1], ours)
        return theirs

    scripts = [script]
    events: list[GatewayEvent] = []
    config = GatewayConfig(
        url=URL,
        auth_token="t0ken-s3cret",
        accept_cookies=True,
        request_timeout=LIMIT,
        connect_timeout=LIMIT,
        max_request_retries=RETRIES,
        gateway_retry_interval_max=1.0,
        max_response_size=10_000,
        max_connections=1,
    )
    async with trio.open_nursery() as nursery:
        async with open_http_client(config, connector=connect, emit=events.append, rng=Dice()) as http:  # type: ignore[arg-type]
            started = trio.current_time()
            try:
                found: object = read(await http.request(method, "/api/kernels"))
            except GatewayError as error:
                found = error
            seconds = trio.current_time() - started
            for connection in http._attempts._pool.connections:
                await connection.aclose()
            scripts.append(Script((b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",), "stall"))
            assert (await http.request("GET", "/")).json() == {}
        nursery.cancel_scope.cancel()
    return found, seconds, events


def ending(script: Script, method: str = "GET", read: Callable[[HttpResponse], Any] = HttpResponse.json) -> object:
    """How asking such a server ends, with what must hold in any case."""
    clock = trio.testing.MockClock(autojump_threshold=0)
    found, seconds, events = trio.run(partial(ask, script, method, read), clock=clock)
    assert seconds <= LONGEST + 0.1
    assert [event.status for event in events] == ["error" if _failed(found) else "success", "success"]
    assert "s3cret" not in f"{found!r} {found} {events}"
    if isinstance(found, GatewayError):
        # One line, and short enough to read.
        assert len(str(found)) < 1500
        assert str(found).isprintable()
        assert type(found) in {
            GatewayHTTPError,
            GatewayConnectionError,
            GatewayTimeoutError,
            ProtocolError,
            KernelNotFoundError,
            KernelSpecNotFoundError,
        } or isinstance(found, GatewayHTTPError)
    return found


def _failed(found: object) -> bool:
    # What is wrong with the JSON of an answer is found after the request.
    return isinstance(found, GatewayError) and not getattr(found, "after", False)


def json_later(response: HttpResponse) -> object:
    return _later(response.json)


def kernels_later(response: HttpResponse) -> object:
    return _later(lambda: rest.parse_kernels(response.json()))


def kernelspecs_later(response: HttpResponse) -> object:
    return _later(lambda: rest.parse_kernelspecs(response.json()))


def kernel_later(response: HttpResponse) -> object:
    return _later(lambda: rest.parse_kernel(response.json(), kernel_id="k1"))


def _later(read: Callable[[], object]) -> object:
    try:
        return read()
    except GatewayError as error:
        error.after = True  # type: ignore[attr-defined]
        return error


READERS = st.sampled_from([json_later, kernels_later, kernelspecs_later, kernel_later])
METHODS = st.sampled_from(["GET", "POST", "DELETE", "HEAD"])
ENDS = st.sampled_from(["close", "stall"])

STATUS_LINES = st.builds(
    lambda version, status, reason: b"%s %s %s\r\n" % (version, status, reason),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/2", b"http/1.1", b"ICY"]) | st.binary(max_size=10),
    st.integers(100, 599).map(lambda status: b"%d" % status) | st.binary(max_size=4),
    st.binary(max_size=20),
)
HEADER_LINES = st.builds(
    lambda name, value: b"%s: %s\r\n" % (name, value),
    st.sampled_from(
        [
            b"Content-Length",
            b"Transfer-Encoding",
            b"Content-Encoding",
            b"Content-Type",
            b"Connection",
            b"Set-Cookie",
            b"Location",
            b"Retry-After",
            b"Upgrade",
        ]
    )
    | st.binary(max_size=10),
    st.sampled_from(
        [
            b"0",
            b"5",
            b"99999999999999999999999",
            b"-1",
            b"chunked",
            b"gzip",
            b"gzip, gzip",
            b"br",
            b"close",
            b"keep-alive",
            b"text/html; charset=utf-16",
            b"application/json; charset=idna",
            b"a=1; Path=/; Max-Age=soon",
            b"http://[::1",
            b"//evil.test/",
            b"/there",
            b"websocket",
        ]
    )
    | st.binary(max_size=30),
)
BODIES = st.binary(max_size=200) | st.sampled_from(
    [
        b"{}",
        b"null",
        b"[]",
        b'[{"id": 5}]',
        b'{"id": "k1"}',
        b'{"kernelspecs": {"a": []}}',
        b'{"reason": ["x"], "message": 5}',
        b"<html><title>t0ken-s3cret</title>",
        "ä".encode("utf-16"),
        b"[" * 9000,
        b"x" * 20_000,
        gzip.compress(b"x" * 1_000_000, mtime=0),
        gzip.compress(b'{"id": "k1"}', mtime=0),
        b"5\r\nhello\r\n0\r\n\r\n",
        b"5;x=y\r\nhello\r\n0\r\nTrailer: x\r\n\r\n",
    ]
)


@st.composite
def almost_answers(draw: st.DrawFn) -> bytes:
    """Bytes that look like an answer: sometimes they are one, often something is wrong."""
    body = draw(BODIES)
    parts = [draw(STATUS_LINES), *draw(st.lists(HEADER_LINES, max_size=4))]
    if draw(st.booleans()):
        parts.append(b"Content-Length: %d\r\n" % (len(body) + draw(st.integers(-2, 2))))
    return b"".join([*parts, b"\r\n", body])


def in_pieces(data: bytes, size: int) -> tuple[bytes, ...]:
    return tuple(data[start : start + size] for start in range(0, len(data), size))


@given(
    data=st.lists(almost_answers() | st.binary(max_size=50), max_size=3),
    size=st.integers(1, 400),
    end=ENDS,
    method=METHODS,
    read=READERS,
)
@example(data=[], size=1, end="close", method="GET", read=json_later)
@example(data=[], size=1, end="stall", method="GET", read=json_later)
@example(data=[b"HTTP/1.1 204 No Content\r\n\r\n"], size=1, end="stall", method="DELETE", read=json_later)
@example(data=[b"HTTP/1.1 200 OK\r\n\r\nnull"], size=400, end="close", method="GET", read=kernel_later)
@example(
    data=[b"HTTP/1.1 302 x\r\nLocation: http://[::1\r\nContent-Length: 0\r\n\r\n"],
    size=400,
    end="stall",
    method="GET",
    read=json_later,
)
def test_almost_an_answer(data: list[bytes], size: int, end: str, method: str, read: Callable[[HttpResponse], Any]):
    ending(Script(in_pieces(b"".join(data), size), end), method, read)


@given(data=st.binary(max_size=300), end=ENDS, method=METHODS)
def test_any_bytes(data: bytes, end: str, method: str):
    ending(Script((data,), end), method, json_later)


@given(status=st.integers(200, 599), body=BODIES, content_type=st.binary(max_size=30), cut=st.integers(0, 3), read=READERS)
def test_any_body(status: int, body: bytes, content_type: bytes, cut: int, read: Callable[[HttpResponse], Any]):
    """A head that is right, and a body that is anything, or cut short."""
    content_type = content_type.translate(None, bytes(range(32)) + b"\x7f").strip()
    head = b"HTTP/1.1 %d X\r\nContent-Type: %s\r\nContent-Length: %d\r\n\r\n" % (status, content_type, len(body) + cut)
    found = ending(Script((head + body,), "close"), "GET", read)
    if status >= 400 and status not in {429, 502, 503, 504}:
        assert isinstance(found, GatewayHTTPError)
        assert found.status_code == status


@pytest.mark.parametrize(
    ("start", "again"),
    [
        (b"HTTP/1.1 200 OK\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\nX: ", b"y"),
        (b"HTTP/1.1 200 OK\r\n", b"Set-Cookie: a=1\r\n"),
        (b"", b"HTTP/1.1 100 Continue\r\n\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"1\r\nx\r\n"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1", b"0"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;", b"x"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n", b"X: y\r\n"),
        (b"HTTP/1.1 200 OK\r\n\r\n", b"x"),
        (b"HTTP/1.1 404 No\r\n\r\n", b"x"),
        (b"", b"\r\n"),
        (b"", b"x"),
    ],
)
def test_an_answer_without_end(start: bytes, again: bytes):
    found = ending(Script((start, again), "endless"), "GET", json_later)
    assert isinstance(found, (ProtocolError, GatewayHTTPError, GatewayTimeoutError))
