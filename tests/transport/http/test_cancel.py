"""A request may be cancelled anywhere: the client stays as good as new, and nothing stays open. G1: lesson of httpcore#1093."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial

import pytest
import trio
import trio.testing

from tools.scripted_http import Answer, Bench, Request, bench, in_turn, response
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import GatewayError
from trio_gateway._tokens import TokenRenewer
from trio_gateway._transport.http.client import HttpClient, open_http_client


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when one task has run so many steps: each place where that task waits, in turn."""

    def __init__(self, task: trio.lowlevel.Task, scope: trio.CancelScope, steps: int) -> None:
        self.task, self.scope, self.left = task, scope, steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        if task is self.task:
            self.left -= 1
            if self.left == 0:
                self.scope.cancel()


async def cancelled_at(step: int, function: Callable[[], Awaitable[object]]) -> bool:
    """Run a function, cancelled after so many steps; say whether that was before its end."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(trio.lowlevel.current_task(), scope, step)
        trio.lowlevel.add_instrument(instrument)
        try:
            with suppress(GatewayError):
                await function()
        finally:
            trio.lowlevel.remove_instrument(instrument)
    return scope.cancelled_caught


class Renewer(TokenRenewer):
    async def get_token(self, *args: object, **kwargs: object) -> str:  # type: ignore[override]
        await trio.sleep(0.1)
        return f"token-{trio.current_time()}"


async def slowly(request: Request) -> bytes:
    await trio.sleep(0.1)
    return response()


async def in_pieces(request: Request) -> bytes:
    await trio.sleep(0.1)
    return b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\n1\r\n1\r\n2\r\n0\r\n\r\n"


async def redirected(request: Request) -> bytes:
    await trio.sleep(0.1)
    return response(302, b"", "Location: /there") if request.target != "/there" else response()


@pytest.mark.parametrize(
    ("script", "requests"),
    [
        (lambda: slowly, 1),
        (lambda: in_pieces, 1),
        (lambda: redirected, 1),
        (lambda: in_turn(None, response(503), response(401), response()), 4),
        (lambda: in_turn(response(200, b"x" * 2000)), 1),
        (lambda: in_turn(b"nonsense\r\n\r\n"), 1),
    ],
    ids=["slow", "pieces", "redirect", "retries", "too large", "nonsense"],
)
@pytest.mark.parametrize("renewer", [None, Renewer()], ids=["", "renewer"])
@pytest.mark.parametrize("used", [False, True], ids=["new connection", "used connection"])
async def test_cancelled_at_each_step(
    script: Callable[[], Answer], requests: int, renewer: TokenRenewer | None, used: bool, autojump_clock: object
):
    async with bench(slowly, max_connections=1, token_renewer=renewer, max_response_size=1000) as it:
        it.server.connect_delay = 0.1
        step = 0
        while True:
            step += 1
            it.server.answer = slowly
            if used:
                await it.http.request("GET", "/")
            it.server.answer = script()
            caught = await cancelled_at(step, lambda: it.http.request("GET", "/"))
            it.server.answer = slowly
            # The only place in the pool is free, and what comes is this request's own answer.
            assert (await it.http.request("POST", "/")).json() == {}
            assert it.server.open <= 1
            assert len(it.http._attempts._pool.connections) == 1
            if not caught:
                break
        assert step > 3 * requests
    assert it.server.open == 0


async def test_cancelled_at_each_step_of_opening_and_closing(autojump_clock: object):
    async def use() -> None:
        async with open_http_client(GatewayConfig(url="http://gateway.test:8888"), connector=it.server.connect) as http:
            await http.request("GET", "/")

    async with bench(slowly) as it:
        step = 1
        while await cancelled_at(step, use):
            await trio.sleep(1)  # the server is slow to notice
            assert it.server.open == 0
            step += 1
    assert step > 5


async def test_cancelled_in_the_tls_handshake(autojump_clock: object):
    async def connect(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep(1)
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(ours)
        return theirs

    streams: list[trio.abc.Stream] = []
    async with open_http_client(GatewayConfig(url="https://gateway.test", max_connections=1), connector=connect) as http:
        for _ in range(3):
            with trio.move_on_after(2) as scope:
                await http.request("GET", "/")
            assert scope.cancelled_caught
    assert len(streams) == 3
    for stream in streams:
        assert (await stream.receive_some())[:1] == b"\x16"
        assert await stream.receive_some() == b""


async def test_many_at_once_cancelled_at_any_time(autojump_clock: object):
    async def ignoring_errors(it: Bench) -> None:
        with suppress(GatewayError):
            await it.http.request("GET", "/")

    async with bench(slowly, max_connections=2) as it:
        it.server.connect_delay = 0.1
        for round_ in range(60):
            async with trio.open_nursery() as nursery:
                for _ in range(5):
                    nursery.start_soon(ignoring_errors, it)
                await trio.sleep(round_ * 0.01)
                nursery.cancel_scope.cancel()
            with trio.fail_after(1):
                await it.http.request("GET", "/")
            assert it.server.open <= 2


ROUNDS = 80
DELAY = 0.004


async def test_the_pool_survives_cancellation_on_real_sockets():
    """As in httpcore#1093: with httpx's own pool the last request of an early round waits for ever for a place.

    The one test here with real time: what it looks for is a race between a socket that connects and a cancellation.
    """

    async def answer_slowly(stream: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            if await stream.receive_some():
                await trio.sleep(DELAY)
                await stream.send_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nok")
                await stream.aclose()

    async def ignoring_errors(http: HttpClient) -> None:
        with suppress(GatewayError):
            await http.request("GET", "/")

    async with trio.open_nursery() as servers:
        (listener, *_) = await servers.start(partial(trio.serve_tcp, answer_slowly, 0, host="127.0.0.1"))
        port = listener.socket.getsockname()[1]
        config = GatewayConfig(url=f"http://127.0.0.1:{port}", max_connections=1, connect_timeout=math.inf, request_timeout=30)
        async with open_http_client(config) as http:
            for number in range(ROUNDS):
                async with trio.open_nursery() as requests:
                    for _ in range(4):
                        requests.start_soon(ignoring_errors, http)
                    # Around the time at which one request ends and the next one connects.
                    await trio.sleep(DELAY * (0.5 + 2 * number / ROUNDS))
                    requests.cancel_scope.cancel()
                assert (await http.request("GET", "/")).content == b"ok"
        servers.cancel_scope.cancel()
