"""One connection: what is left over from one answer never becomes part of another."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import trio
import trio.testing

from tools.scripted_http import bench, in_turn, response
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import GatewayConnectionError, GatewayHTTPError
from trio_gateway._transport.http.client import open_http_client
from trio_gateway._transport.http.connection import NotSendable


@pytest.mark.parametrize(
    ("method", "answer"),
    [
        ("GET", response(200, b"1") + response(200, b"not asked for")),
        ("GET", response(200, b"1") + b"x"),
        ("HEAD", response(200, b"a body in answer to HEAD")),
        ("DELETE", b"HTTP/1.1 204 No Content\r\nContent-Length: 4\r\n\r\nbody"),
        ("GET", b"HTTP/1.1 304 Not Modified\r\n\r\nbody"),
    ],
)
async def test_what_is_left_over_is_no_answer(method: str, answer: bytes):
    async with bench(in_turn(answer, response(200, b"2"))) as it:
        await it.http.request(method, "/")
        assert (await it.http.request("POST", "/")).content == b"2"
        assert it.server.connections == 2
        assert it.server.open == 1


async def test_an_answer_before_the_request_is_complete_is_an_answer():
    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.lockstep_stream_pair()
        it.server.nursery.start_soon(hang_up_at, ours)
        return theirs

    async def hang_up_at(stream: trio.StapledStream[Any, Any]) -> None:
        await stream.receive_some(10)
        await stream.receive_stream.aclose()
        await stream.send_all(response(413, {"message": "too much"}, "Connection: close"))
        await stream.send_stream.aclose()

    async with bench(in_turn(response())) as it:
        it.http._attempts._pool._connector = connect
        with pytest.raises(GatewayHTTPError, match=r"413 .*too much"):
            await it.http.request("POST", "/", json="x" * 100_000)


async def test_a_connection_closed_by_the_server_is_not_used_again():
    """On a real socket, where an idle connection can be looked at."""

    async def serve(stream: trio.SocketStream) -> None:
        nonlocal connections
        connections += 1
        await stream.receive_some()
        await stream.send_all(response())
        await stream.aclose()
        closed.set()

    connections, closed = 0, trio.Event()
    async with trio.open_nursery() as nursery:
        (listener, *_) = await nursery.start(partial(trio.serve_tcp, serve, 0, host="127.0.0.1"))
        async with open_http_client(GatewayConfig(url=f"http://127.0.0.1:{listener.socket.getsockname()[1]}")) as http:
            for number in range(1, 5):
                # A POST would not be repeated if it met a connection that is closed.
                await http.request("POST", "/")
                await closed.wait()
                closed = trio.Event()
                assert connections == number
        nursery.cancel_scope.cancel()


async def test_a_server_that_never_reads_and_hangs_up():
    """What it has not read whole it can't have acted on: even a POST is sent again, and the error says that nothing arrived."""
    connections = 0

    async def connect(host: str, port: int) -> trio.abc.Stream:
        nonlocal connections
        connections += 1
        ours, theirs = trio.testing.memory_stream_pair()
        await ours.aclose()
        return theirs

    async with bench(in_turn(response())) as it:
        it.http._attempts._pool._connector = connect
        with pytest.raises(GatewayConnectionError, match="closed the connection before the request was sent") as caught:
            await it.http.request("POST", "/")
        assert not caught.value.sent
        assert connections == caught.value.attempts > 1


async def test_a_server_that_reads_and_hangs_up():
    """It may have acted on what it read: a POST is not sent again."""
    connections = 0

    async def connect(host: str, port: int) -> trio.abc.Stream:
        nonlocal connections
        connections += 1
        ours, theirs = trio.testing.memory_stream_pair()
        assert theirs.send_stream is not None
        theirs.send_stream.send_all_hook = ours.aclose
        return theirs

    async with bench(in_turn(response())) as it:
        it.http._attempts._pool._connector = connect
        with pytest.raises(GatewayConnectionError, match="closed the connection before its answer was complete") as caught:
            await it.http.request("POST", "/")
        assert caught.value.sent
        assert connections == caught.value.attempts == 1


async def test_a_request_that_can_not_be_sent_shows_nothing():
    async with bench(in_turn(response())) as it:
        with pytest.raises(NotSendable) as caught:
            await it.http._attempts._pool.send("GET", "/", [(b"Host", b"h"), (b"X", b"s3cret\r\n")], None)
        assert "s3cret" not in repr(caught.value) + repr(caught.value.__cause__)
        assert caught.value.__suppress_context__
        await it.http.request("GET", "/")


async def test_a_request_in_one_piece():
    """Headers and body in one write: two would meet Nagle's algorithm and a delayed acknowledgement."""
    pieces: list[bytes] = []

    async def serve(stream: trio.abc.Stream) -> None:
        pieces.append(bytes(await stream.receive_some()))
        await stream.send_all(response())

    async def connect(host: str, port: int) -> trio.abc.Stream:
        ours, theirs = trio.testing.memory_stream_pair()
        it.server.nursery.start_soon(serve, ours)
        return theirs

    async with bench(lambda request: response()) as it:
        it.http._attempts._pool._connector = connect
        await it.http.request("POST", "/", json={"a": 1})
    assert pieces[0].endswith(b'\r\n\r\n{"a": 1}')
