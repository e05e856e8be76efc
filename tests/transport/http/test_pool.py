"""The pool: connections that are used again, how many there are, and how a request is sent over one."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from tools.scripted_http import Server, bench, in_turn, response
from trio_gateway import GatewayConfig, GatewayConnectionError, GatewayTimeoutError
from trio_gateway._transport.http.connection import ConnectFailed
from trio_gateway._transport.http.pool import ConnectionPool

HEADERS = [(b"Host", b"gateway.test:8888")]


async def test_a_request_is_sent_as_it_is_and_its_answer_read_in_pieces():
    async with trio.open_nursery() as nursery:
        server = Server(nursery, in_turn(response(201, b"made", "X-One: 1")))
        pool = ConnectionPool(GatewayConfig(url="http://gateway.test:8888/Base"), server.connect, None)
        sending: list[int] = []
        answer = await pool.send("POST", "/a%20b?c=d", [*HEADERS, (b"Content-Length", b"2")], b"{}", lambda: sending.append(1))
        assert (answer.status, dict(answer.headers)[b"X-One"]) == (201, b"1")
        assert b"".join([part async for part in answer.body]) == b"made"
        await answer.aclose()
        (request,) = server.requests
        assert (request.method, request.target, request.body) == ("POST", "/a%20b?c=d", b"{}")
        assert server.addresses == [("gateway.test", 8888)]
        assert sending == [1]
        await pool.aclose()
        nursery.cancel_scope.cancel()


@pytest.mark.parametrize(("url", "port"), [("http://h", 80), ("https://h", 443), ("http://h:81", 81)])
async def test_the_port_is_the_urls_or_its_schemes(url: str, port: int):
    addresses: list[tuple[str, int]] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        addresses.append((host, port))
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError(111, "Connection refused")

    pool = ConnectionPool(GatewayConfig(url=url), connect, None)
    with pytest.raises(ConnectFailed) as caught:
        await pool.send("GET", "/", HEADERS, None)
    assert isinstance(caught.value.error, GatewayConnectionError)
    assert addresses == [("h", port)]


async def test_connecting_has_its_limit(autojump_clock: object):  # G3
    async def connect(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep_forever()
        raise AssertionError

    pool = ConnectionPool(GatewayConfig(url="http://h", connect_timeout=3), connect, None)
    with pytest.raises(ConnectFailed) as caught:
        await pool.send("GET", "/", HEADERS, None)
    assert isinstance(caught.value.error, GatewayTimeoutError)
    assert caught.value.error.setting == "connect_timeout"
    assert trio.current_time() == 3


async def test_connections_are_used_again():
    async with bench(in_turn(response())) as it:
        for _ in range(5):
            await it.http.request("GET", "/")
        assert it.server.connections == 1
        assert it.server.open == 1
    assert it.server.open == 0  # G1


async def test_a_connection_that_was_idle_for_long_is_not_used_again(autojump_clock: object):
    async with bench(in_turn(response())) as it:
        await it.http.request("GET", "/")
        await trio.sleep(29)
        await it.http.request("POST", "/")
        assert it.server.connections == 1
        await trio.sleep(31)
        await it.http.request("POST", "/")
        assert it.server.connections == 2


async def test_no_more_connections_than_configured():
    release = trio.Event()

    async def answer(_: object) -> bytes:
        await release.wait()
        return response()

    async with bench(answer, max_connections=3) as it:
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(it.http.request, "GET", "/")
            await trio.testing.wait_all_tasks_blocked()
            assert it.server.connections == 3
            release.set()
        assert it.server.connections == 3
        assert len(it.requests) == 10
