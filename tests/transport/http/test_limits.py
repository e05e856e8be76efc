"""Limits and repetitions, in virtual time: the exact seconds are part of the promise. G3."""

from __future__ import annotations

import socket

import pytest
import trio

from tools.scripted_http import Request, bench, in_turn, response
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import (
    GatewayConnectionError,
    GatewayHTTPError,
    GatewayTimeoutError,
    KernelNotFoundError,
    ProtocolError,
)
from trio_gateway._transport.http.client import open_http_client


async def never(_: Request) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


# --------------------------------------------------------------------------------------------------------------- limits


async def test_a_request_without_an_answer_times_out(autojump_clock: object):
    async with bench(never) as it:
        with pytest.raises(GatewayTimeoutError) as caught:
            await it.http.request("GET", "/")
        assert trio.current_time() == 42
    error = caught.value
    assert (error.phase, error.limit, error.setting, error.attempts, error.seconds) == ("request", 42, "request_timeout", 1, 42)
    assert len(it.requests) == 1


async def test_a_limit_of_the_caller_is_named_as_the_caller_says(autojump_clock: object):
    async with bench(never) as it:
        with pytest.raises(GatewayTimeoutError) as caught:
            await it.http.request("POST", "/", timeout=7, timeout_setting="launch_timeout", phase="launch")
        assert trio.current_time() == 7
    assert str(caught.value) == "launch took longer than 7 s; the limit is the setting launch_timeout"


async def test_connecting_has_a_limit_of_its_own(autojump_clock: object):
    async with bench(never, connect_timeout=3) as it:
        it.server.connect_delay = 1000
        with pytest.raises(GatewayTimeoutError) as caught:
            await it.http.request("GET", "/")
        assert trio.current_time() == 3
    assert (caught.value.phase, caught.value.setting) == ("connect", "connect_timeout")


async def test_a_tls_handshake_that_stalls_is_part_of_connecting(autojump_clock: object):
    async def connect(host: str, port: int) -> trio.abc.Stream:
        await trio.sleep(1)
        ours, theirs = trio.testing.memory_stream_pair()
        held.append(ours)
        return theirs

    held: list[trio.abc.Stream] = []
    async with open_http_client(GatewayConfig(url="https://gateway.test"), connector=connect) as http:
        started = trio.current_time()
        with pytest.raises(GatewayTimeoutError, match="connect"):
            await http.request("GET", "/")
        assert trio.current_time() - started == pytest.approx(40)
        hello = await held[0].receive_some()
        assert hello[:1] == b"\x16"  # TLS began
        assert await held[0].receive_some() == b""  # and was hung up on


async def test_waiting_for_a_free_connection_counts(autojump_clock: object):
    async with bench(never, max_connections=1) as it, trio.open_nursery() as nursery:
        nursery.start_soon(suppressing_timeout, it.http.request, "GET", "/")
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(GatewayTimeoutError):
            await it.http.request("GET", "/", timeout=5)
        assert trio.current_time() == 5
        nursery.cancel_scope.cancel()


async def suppressing_timeout(function, *args):
    with pytest.raises(GatewayTimeoutError):
        await function(*args)


async def test_a_body_that_stalls_counts(autojump_clock: object):
    async def answer(_: Request) -> bytes:
        return b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhalf"

    async with bench(answer, request_timeout=5) as it:
        with pytest.raises(GatewayTimeoutError):
            await it.http.request("GET", "/")
        assert trio.current_time() == 5
        await trio.testing.wait_all_tasks_blocked()
        assert it.server.open == 0


async def test_redirects_share_one_limit(autojump_clock: object):
    async def answer(request: Request) -> bytes:
        await trio.sleep(2)
        return response(302, b"", "Location: /next")

    async with bench(answer, request_timeout=5) as it:
        with pytest.raises(GatewayTimeoutError):
            await it.http.request("GET", "/")
        assert trio.current_time() == 5


async def test_no_limit(autojump_clock: object):
    async def answer(_: Request) -> bytes:
        await trio.sleep(10**6)
        return response()

    async with bench(answer, request_timeout=float("inf"), connect_timeout=float("inf")) as it:
        await it.http.request("GET", "/")
        assert trio.current_time() == 10**6


async def test_the_callers_own_scope_wins(autojump_clock: object):
    async with bench(never) as it:
        with trio.move_on_after(1) as scope:
            await it.http.request("GET", "/")
        assert scope.cancelled_caught
        assert trio.current_time() == 1


async def test_the_callers_own_scope_wins_while_waiting_for_another_attempt(autojump_clock: object):
    async with bench(in_turn(response(503, b"", "Retry-After: 20"))) as it:
        with trio.move_on_after(10) as scope:
            await it.http.request("GET", "/")
        assert scope.cancelled_caught
        assert len(it.requests) == 1


# ---------------------------------------------------------------------------------------------------------- repetitions


@pytest.mark.parametrize("status", [429, 502, 503, 504])  # lesson B35: 429 too
@pytest.mark.parametrize("method", ["GET", "DELETE", "HEAD"])
async def test_a_busy_gateway_is_asked_again(autojump_clock: object, method: str, status: int):
    async with bench(in_turn(response(status, b""), response(status, b""), response(200, b""))) as it:
        assert (await it.http.request(method, "/")).status_code == 200
        assert trio.current_time() == pytest.approx(0.1 + 0.2)
    assert len(it.requests) == 3
    assert it.events[0].attempts == 3


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_in_the_end_it_is_an_error(autojump_clock: object, status: int):
    async with bench(in_turn(response(status))) as it:
        with pytest.raises(GatewayHTTPError) as caught:
            await it.http.request("GET", "/")
    assert (caught.value.status_code, caught.value.attempts) == (status, 3)
    assert caught.value.seconds == pytest.approx(0.3)
    assert "after 3 attempts in 0.3 s" in str(caught.value)


@pytest.mark.parametrize("status", [400, 401, 403, 404, 408, 409, 500, 501, 599])
async def test_other_errors_are_final(autojump_clock: object, status: int):
    async with bench(in_turn(response(status))) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("GET", "/")
    assert len(it.requests) == 1


@pytest.mark.parametrize("method", ["POST", "PATCH"])
@pytest.mark.parametrize("answer", [response(429), response(503), None, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"])
async def test_what_may_have_happened_is_not_repeated(autojump_clock: object, method: str, answer: bytes | None):  # G4
    async def answer_once(_: Request) -> bytes | None:
        return None if answer is None else answer + b"" if b"Content-Length: 5" not in answer else cut

    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    async with bench(answer_once) as it:
        with pytest.raises((GatewayHTTPError, GatewayConnectionError)):
            await it.http.request(method, "/", json={})
    assert len(it.requests) == 1


@pytest.mark.parametrize("method", ["GET", "POST", "PATCH"])
async def test_a_connection_that_was_never_made_is_tried_again_for_any_method(autojump_clock: object, method: str):
    async with bench(in_turn(response(201))) as it:
        it.server.refuse = 2
        assert (await it.http.request(method, "/", json={})).status_code == 201
    assert len(it.requests) == 1
    assert it.events[0].attempts == 3


async def test_nobody_listens(autojump_clock: object):
    async with bench(in_turn(response())) as it:
        it.server.refuse = 100
        with pytest.raises(GatewayConnectionError, match=r"can't connect to gateway\.test:8888: Connection refused") as caught:
            await it.http.request("GET", "/")
    assert caught.value.attempts == 3
    assert caught.value.seconds == pytest.approx(0.3)
    assert isinstance(caught.value, ConnectionError)


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_a_connection_that_breaks_is_tried_again(autojump_clock: object, method: str):
    cut = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\n"
    async with bench(in_turn(None, cut, response(204, b""))) as it:
        await it.http.request(method, "/")
    assert len(it.requests) == 3
    assert it.server.connections == 3


async def test_what_can_not_be_understood_is_not_asked_for_again(autojump_clock: object):
    async with bench(in_turn(b"nonsense\r\n\r\n")) as it:
        with pytest.raises(ProtocolError):
            await it.http.request("GET", "/")
    assert len(it.requests) == 1


async def test_a_limit_that_ran_out_is_not_tried_again(autojump_clock: object):
    async with bench(never, request_timeout=5, max_request_retries=9) as it:
        with pytest.raises(GatewayTimeoutError):
            await it.http.request("GET", "/")
        it.server.connect_delay = 1000
        with pytest.raises(GatewayTimeoutError):
            await it.http.request("GET", "/")
        assert trio.current_time() == 10


async def test_the_last_attempt_may_run_into_its_limit(autojump_clock: object):
    answers = [response(503)]

    async def answer(request: Request) -> bytes:
        return answers.pop() if answers else await never(request)

    async with bench(answer, request_timeout=5) as it:
        with pytest.raises(GatewayTimeoutError) as caught:
            await it.http.request("GET", "/")
    assert (caught.value.attempts, caught.value.seconds) == (2, pytest.approx(5.1))
    assert it.events[0].status_code is None


@pytest.mark.parametrize("retries", [0, 1, 4])
async def test_how_often_is_a_setting_of_each_gateway(
    autojump_clock: object, retries: int
):  # lesson B34: it was read once, at import
    config = GatewayConfig.from_env(
        {"JUPYTER_GATEWAY_URL": "http://gateway.test:8888", "JUPYTER_GATEWAY_MAX_REQUEST_RETRIES": str(retries)}
    )
    async with bench(in_turn(response(503)), config) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("GET", "/")
    assert len(it.requests) == 1 + retries


async def test_a_caller_may_know_better(autojump_clock: object):
    async with bench(in_turn(response(503), response())) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("GET", "/", retry=False)
        it.server.requests.clear()
        await it.http.request("GET", "/", retry=False)
    async with bench(in_turn(response(503), None, response())) as it:
        await it.http.request("POST", "/", retry=True)
        assert len(it.requests) == 3


async def test_no_repetition_at_all_is_possible(autojump_clock: object):
    async with bench(in_turn(response())) as it:
        it.server.refuse = 1
        with pytest.raises(GatewayConnectionError):
            await it.http.request("POST", "/", retry=False)


async def test_retry_after_is_honoured(autojump_clock: object):  # lesson B35
    async with bench(in_turn(response(503, b"", "Retry-After: 7"), response())) as it:
        await it.http.request("GET", "/")
        assert trio.current_time() == pytest.approx(7.1)


async def test_retry_after_as_a_date_is_honoured(autojump_clock: object):
    async with bench(in_turn(response(429, b"", "Retry-After: Thu, 01 Jan 2026 00:00:09 GMT"), response())) as it:
        it.http._identity._epoch = 1767225600 - trio.current_time()  # it is the beginning of 2026
        await it.http.request("GET", "/")
        assert trio.current_time() == pytest.approx(9.1)


async def test_a_retry_after_beyond_the_limit_ends_it(autojump_clock: object):
    async with bench(in_turn(response(503, b"", "Retry-After: 31"))) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("GET", "/")
        assert trio.current_time() == 0
    assert len(it.requests) == 1


async def test_pauses_are_limited(autojump_clock: object):
    async with bench(in_turn(response(503)), max_request_retries=6, gateway_retry_interval_max=0.5) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("GET", "/")
        assert trio.current_time() == pytest.approx(0.1 + 0.2 + 0.4 + 0.5 + 0.5 + 0.5)


# ----------------------------------------------------------------------------------------------------------- name look-up


async def test_a_name_that_does_not_resolve_is_no_404(autojump_clock: object):  # lesson B10
    async def connect(host: str, port: int) -> trio.abc.Stream:
        tries.append(host)
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    tries: list[str] = []
    async with open_http_client(GatewayConfig(url="http://nowhere.test"), connector=connect) as http:
        with pytest.raises(GatewayConnectionError, match=r"the name nowhere\.test does not resolve") as caught:
            await http.request("GET", "/api/kernels/1")
    assert not isinstance(caught.value, (GatewayHTTPError, KernelNotFoundError))
    assert len(tries) == 3  # lesson B35: one hiccup of the name service is no reason to fail


async def test_one_hiccup_of_the_name_service(autojump_clock: object):
    async def connect(host: str, port: int) -> trio.abc.Stream:
        if not tries:
            tries.append(host)
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return await it.server.connect(host, port)

    tries: list[str] = []
    async with bench(in_turn(response())) as it, open_http_client(it.http.config, connector=connect) as http:
        await http.request("POST", "/")
    assert len(tries) == 1
