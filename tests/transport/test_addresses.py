"""Requests go on at the next address of a gateway where one does not answer, and only then: each fault, at most once."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
from trio.testing import MockClock

from tools.scripted_http import Answer, Dice, Server, in_turn, response, sent
from trio_gateway import (
    AuthenticationError,
    GatewayConfig,
    GatewayConnectionError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
)
from trio_gateway._events import GatewayEvent
from trio_gateway._transport.addresses import Addresses
from trio_gateway._transport.connector import TLSRefusedError
from trio_gateway._transport.http.client import HttpClient, open_http_client
from trio_gateway._transport.http.httpx_face import open_httpx_client

ONE, TWO, THREE = "http://one.test:8888/Base", "http://two.test:9999", "http://three.test:7777/x"
SILENT = object()


async def never(_: Any) -> bytes:
    await trio.sleep_forever()
    raise AssertionError


@attrs.define
class Replicas:
    """Servers by the names of their hosts, and the client that knows all of them."""

    http: HttpClient
    servers: dict[str, Server]
    events: list[GatewayEvent]
    down: dict[str, BaseException | object]
    """What connecting to a host ends in; `SILENT` for nothing."""
    connects: list[str]
    """The hosts that were connected to, in order."""

    def targets(self, host: str) -> list[str]:
        return [f"{request.method} {request.target}" for request in self.servers[host].requests]

    def left(self) -> list[str]:
        return [event.gateway_url for event in self.events if event.kind == "address"]


REFUSED = ConnectionRefusedError(111, "Connection refused")


@asynccontextmanager
async def replicas(
    *answers: Answer,
    urls: tuple[str, ...] = (ONE, TWO, THREE),
    down: dict[str, BaseException | object] | None = None,
    **settings: Any,
) -> AsyncGenerator[Replicas]:
    """Open a client of a gateway with an address for each of these servers' answers."""
    urls = urls[: len(answers)]
    config = GatewayConfig(**{"url": urls, "accept_cookies": True, **settings})
    events: list[GatewayEvent] = []
    failing = {} if down is None else down
    connects: list[str] = []
    async with trio.open_nursery() as nursery:
        servers = {
            url.partition("://")[2].partition(".")[0]: Server(nursery, answer) for url, answer in zip(urls, answers, strict=True)
        }

        async def connect(host: str, port: int) -> trio.abc.Stream:
            name = host.partition(".")[0]
            connects.append(name)
            fault = failing.get(name)
            if fault is SILENT:
                await trio.sleep_forever()
            if isinstance(fault, BaseException):
                await trio.lowlevel.checkpoint()
                raise fault
            return await servers[name].connect(host, port)

        try:
            async with open_http_client(config, connector=connect, emit=events.append, rng=Dice()) as http:  # type: ignore[arg-type]
                yield Replicas(http, servers, events, failing, connects)
        finally:
            nursery.cancel_scope.cancel()


OK = in_turn(response())
HANGS_UP = in_turn(None)


async def test_one_address_is_used_until_it_fails():
    async with replicas(OK, OK) as it:
        for _ in range(3):
            await it.http.request("GET", "/api")
        assert (it.connects, it.targets("one")) == (["one"], ["GET /Base/api"] * 3)
        assert it.http.addresses.url == ONE
        assert it.servers["one"].requests[0].headers["host"] == "one.test:8888"


@pytest.mark.parametrize("method", ["GET", "POST", "DELETE"])
async def test_what_was_not_sent_goes_to_the_next_at_once(method: str, autojump_clock: MockClock):  # G4
    async with replicas(OK, OK, down={"one": REFUSED}) as it:
        began = trio.current_time()
        await it.http.request(method, "/api/kernels", json={"name": "x"})
        assert trio.current_time() == began, "no pause"
        assert it.targets("two") == [f"{method} /api/kernels"], "with the base URL and the host of that address"
        assert it.servers["two"].requests[0].headers["host"] == "two.test:9999"
        assert (it.http.addresses.url, it.left()) == (TWO, [ONE])
        assert it.events[-1].gateway_url == TWO
        it.down.clear()
        await it.http.request(method, "/api/kernels", json={"name": "x"})
        assert it.connects == ["one", "two"], "it stays where it was answered"


async def test_what_was_sent_and_may_have_been_done_is_sent_nowhere_else():  # G4
    async with replicas(HANGS_UP, OK) as it:
        with pytest.raises(GatewayConnectionError, match=r"one.test") as caught:
            await it.http.request("POST", "/api/kernels", json={})
        assert caught.value.sent
        assert (it.connects, it.left()) == (["one"], [])


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_a_start_that_a_balancer_answers_is_sent_nowhere_else(status: int):  # G4
    async with replicas(in_turn(response(status)), OK) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("POST", "/api/kernels", json={})
        assert it.connects == ["one"]


@pytest.mark.parametrize("method", ["GET", "DELETE"])
async def test_what_means_the_same_twice_is_asked_elsewhere_when_the_answer_breaks(method: str):
    async with replicas(HANGS_UP, OK) as it:
        await it.http.request(method, "/api/kernels/x")
        assert (it.targets("one"), it.targets("two")) == ([f"{method} /Base/api/kernels/x"], [f"{method} /api/kernels/x"])
        assert it.http.addresses.url == TWO


@pytest.mark.parametrize("status", [502, 503, 504])
async def test_an_address_whose_balancer_has_no_gateway_counts_as_silent(status: int, autojump_clock: MockClock):
    async with replicas(in_turn(response(status, {}, "Retry-After: 20")), OK) as it:
        await it.http.request("GET", "/api")
        assert (trio.current_time(), it.connects) == (0, ["one", "two"])


@pytest.mark.parametrize("status", [400, 404, 429, 500])
async def test_an_answer_is_an_answer(status: int):
    """Also one that says to come again later: it is for this client, wherever it asks."""
    async with replicas(in_turn(response(status)), OK, max_request_retries=0) as it:
        with pytest.raises(GatewayHTTPError):
            await it.http.request("GET", "/api")
        assert (it.connects, it.http.addresses.url) == (["one"], ONE)


async def test_a_refused_login_is_refused_at_all():
    async with replicas(in_turn(response(401)), OK) as it:
        with pytest.raises(AuthenticationError):
            await it.http.request("GET", "/api")
        assert it.connects == ["one"]


async def test_none_answers_and_the_error_says_what_came_of_each(autojump_clock: MockClock):  # G10
    down = {"one": REFUSED, "two": OSError(113, "No route to host"), "three": REFUSED}
    async with replicas(OK, OK, OK, down=down, max_request_retries=0) as it:
        with pytest.raises(GatewayConnectionError) as caught:
            await it.http.request("POST", "/api/kernels", json={})
        said = str(caught.value)
        assert said.startswith("no address of the gateway answers: http://one.test:8888/Base: can't connect to one.test:8888")
        assert "http://two.test:9999: can't connect to two.test:9999: No route to host" in said
        assert "http://three.test:7777/x: " in said
        assert (caught.value.attempts, caught.value.sent) == (3, False)
        assert it.connects == ["one", "two", "three"]
        assert it.events[-1].status == "error"


async def test_after_a_pause_all_are_asked_again(autojump_clock: MockClock):
    async with replicas(OK, OK, down={"one": REFUSED, "two": REFUSED}, max_request_retries=2) as it:
        with pytest.raises(GatewayConnectionError):
            await it.http.request("GET", "/api")
        assert it.connects == ["one", "two", "one", "two", "one", "two"]
        assert trio.current_time() == pytest.approx(0.3)


async def test_a_round_is_worth_repeating_for_any_of_its_addresses(autojump_clock: MockClock):
    """The last one's fault is one that waiting does not mend; the first one's may be over in a moment."""
    async with replicas(OK, OK, down={"one": REFUSED, "two": SILENT}, max_request_retries=1) as it:
        with pytest.raises(GatewayConnectionError):
            await it.http.request("GET", "/api")
        assert it.connects == ["one", "two"] * 2


async def test_one_that_comes_back_is_found(autojump_clock: MockClock):
    async with (
        replicas(OK, OK, down={"one": REFUSED, "two": REFUSED}, max_request_retries=5) as it,
        trio.open_nursery() as nursery,
    ):
        nursery.start_soon(it.http.request, "POST", "/api")
        await trio.sleep(0.5)
        del it.down["one"]
    assert it.targets("one") == ["POST /Base/api"]


async def test_a_black_hole_costs_its_share_of_connect_timeout(autojump_clock: MockClock):
    async with replicas(OK, OK, down={"one": SILENT}, connect_timeout=40) as it:
        await it.http.request("POST", "/api")
        assert trio.current_time() == 20
        await it.http.request("POST", "/api")
        assert trio.current_time() == 20, "the others do not pay again"


async def test_black_holes_cost_connect_timeout_in_all(autojump_clock: MockClock):  # G3
    async with replicas(OK, OK, down={"one": SILENT, "two": SILENT}, connect_timeout=40) as it:
        with pytest.raises(GatewayTimeoutError) as caught:
            await it.http.request("GET", "/api")
        assert (trio.current_time(), caught.value.limit, caught.value.setting) == (40, 20, "connect_timeout")
        assert str(caught.value) == (
            "connect took longer than 20 s, 2 attempts in 40 s (at each of http://one.test:8888/Base, http://two.test:9999, "
            "which share it); the limit is the setting connect_timeout"
        )


async def test_a_black_hole_and_a_refusal_are_both_told(autojump_clock: MockClock):
    async with replicas(OK, OK, down={"one": SILENT, "two": REFUSED}, max_request_retries=0) as it:
        with pytest.raises(GatewayConnectionError, match=r"connect took longer than 20 s.*Connection refused") as caught:
            await it.http.request("POST", "/api")
        assert not caught.value.sent


async def test_a_request_that_is_never_answered_is_asked_elsewhere_if_it_may_be(autojump_clock: MockClock):
    async with replicas(never, OK, request_timeout=42) as it:
        await it.http.request("GET", "/api")
        assert (trio.current_time(), it.http.addresses.url) == (42, TWO)
    async with replicas(never, OK, request_timeout=42) as it:
        with pytest.raises(GatewayTimeoutError):
            await it.http.request("POST", "/api")
        assert (it.connects, it.http.addresses.url) == (["one"], ONE)  # a slow start says nothing about its address


async def test_never_answered_anywhere_is_a_timeout_that_names_all(autojump_clock: MockClock):  # G3
    async with replicas(never, never, request_timeout=42) as it:
        with pytest.raises(GatewayTimeoutError, match=r"at each of http://one.test:8888/Base, http://two.test:9999\)") as caught:
            await it.http.request("GET", "/api")
        assert (trio.current_time(), caught.value.setting) == (84, "request_timeout")


async def test_an_address_that_answers_others_stays_in_use(autojump_clock: MockClock):
    async def answer(request: Any) -> bytes:
        if request.target.endswith("slow"):
            await trio.sleep_forever()
        return response()

    async with replicas(answer, OK, request_timeout=42) as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.http.request, "GET", "/slow")
        await trio.sleep(1)
        await it.http.request("GET", "/quick")
        await trio.sleep(50)
        assert (it.targets("two"), it.http.addresses.url) == (["GET /slow"], ONE)


async def test_each_is_answered_by_a_broken_round_and_the_last_answer_counts():
    """An answer of a balancer is more than nothing: it is what the caller gets."""
    async with replicas(
        OK, in_turn(response(503, {"message": "no servers"})), down={"one": REFUSED}, max_request_retries=0
    ) as it:
        with pytest.raises(GatewayHTTPError, match="503"):
            await it.http.request("GET", "/api")
    async with replicas(in_turn(response(503)), OK, down={"two": REFUSED}, max_request_retries=0) as it:
        with pytest.raises(GatewayConnectionError, match=r"one.test:8888/Base: GET .* answered 503.*two.test:9999.*refused"):
            await it.http.request("GET", "/api")


async def test_a_redirect_stays_at_its_address():  # G8
    async with replicas(in_turn(response(302, b"", "Location: http://two.test:9999/api")), OK) as it:
        with pytest.raises(GatewayHTTPError, match="only within one server"):
            await it.http.request("GET", "/api")
        assert it.connects == ["one"]


# ------------------------------------------------------------------------------------------------- identity, and httpx


async def test_each_address_gets_the_token_and_its_own_cookies_alone():  # G8
    urls = ("http://one.gw.test:8888/Base", "http://two.gw.test:9999")
    set_cookie = in_turn(response(200, b"{}", "Set-Cookie: node=first; Path=/; Domain=gw.test"))
    async with replicas(set_cookie, OK, urls=urls, auth_token="t0ken-s3cret") as it:
        for _ in range(2):
            await it.http.request("GET", "/api")
        assert sent(it.servers["one"].requests[1])["cookie"] == "node=first"
        handshake = await it.http.handshake_headers("ws://two.gw.test:9999/api")
        assert handshake == [("Authorization", "token t0ken-s3cret")]
        it.down["one"] = REFUSED
        for connection in list(it.http._attempts._pool.connections):
            await connection.aclose()
        await it.http.request("GET", "/api")
        assert sent(it.servers["two"].requests[0]) == {"authorization": "token t0ken-s3cret"}
        with pytest.raises(
            InvalidInputError, match=r"ws://one.gw.test:8888/Base or ws://two.gw.test:9999; credentials go nowhere else"
        ):
            await it.http.handshake_headers("ws://four.test/api")


async def test_cookies_stay_apart_on_one_host_too():  # G8
    """Cookies know no ports, and addresses may differ in nothing but their path."""
    urls = ("http://one.test:8888/a/b", "http://one.test:8888/a", "http://one.test:8888/ab", "http://one.test:9999")
    config = GatewayConfig(url=urls, accept_cookies=True)
    async with open_http_client(config) as http:
        for number, url in enumerate(urls):
            http.store_cookies([f"node=n{number}; Path=/"], f"{url}/api")
        found = [await http.handshake_headers(f"ws{url.removeprefix('http')}/api") for url in urls]
    assert [dict(headers)["Cookie"] for headers in found] == ["node=n0", "node=n1", "node=n2", "node=n3"]


async def test_httpx_goes_the_same_way():
    async with replicas(OK, OK, down={"one": REFUSED}) as it, open_httpx_client(it.http) as client:
        assert str(client.base_url) == f"{ONE}/"
        assert (await client.get("api/x", params={"q": "1"})).status_code == 200
        assert (await client.post("/api/x", content=b"1")).status_code == 200
        assert (await client.get("http://one.test:8888/elsewhere")).status_code == 200
        assert (await client.get("http://one.test:8888/Base")).status_code == 200
        assert (await client.get(f"{TWO}/api/y")).status_code == 200, "the URL of any address is one of the gateway"
        assert it.targets("two") == ["GET /api/x?q=1", "POST /api/x", "GET /elsewhere", "GET /", "GET /api/y"]
        with pytest.raises(InvalidInputError, match=r"http://one.test:8888 or http://two.test:9999; credentials go nowhere else"):
            await client.get("http://three.test:7777/x")


async def test_httpx_gets_the_last_answer_where_none_is_one_of_a_gateway():
    async with replicas(in_turn(response(503, b"a")), in_turn(response(502, b"b")), max_request_retries=0) as it:
        async with open_httpx_client(it.http) as client:
            assert (await client.get("api")).content == b"b"
            with pytest.raises(GatewayConnectionError):
                it.down["one"] = it.down["two"] = REFUSED
                for connection in list(it.http._attempts._pool.connections):
                    await connection.aclose()
                await client.get("api")


async def test_connections_to_all_addresses_count_together(autojump_clock: MockClock):  # G7
    async with replicas(never, OK, max_connections=1, request_timeout=30) as it, trio.open_nursery() as nursery:
        nursery.start_soon(it.http.request, "GET", "/one")
        await trio.sleep(1)
        nursery.start_soon(it.http.request, "GET", "/two")
        await trio.sleep(10)
        assert it.connects == ["one"]
    assert sorted(it.targets("two")) == ["GET /one", "GET /two"]


# ---------------------------------------------------------------------------------------------------------------- rounds


def way_of(*errors: Exception, emit: Callable[[GatewayEvent], object] = lambda _: None) -> tuple[Addresses, Exception]:
    addresses = Addresses(GatewayConfig(url=[f"https://h{number}" for number in range(len(errors))]), emit)
    way = addresses.start_round()
    for error in errors[:-1]:
        assert way.failed(error)
    assert not way.failed(errors[-1])
    return addresses, way.error()


async def test_a_round_over_one_gives_what_came():
    error = GatewayConnectionError("x")
    addresses, found = way_of(error)
    assert found is error
    assert (len(addresses), addresses.current, addresses.url) == (1, 0, "https://h0")


async def test_what_all_have_in_common_is_the_error_s_type():
    refused, broke = TLSRefusedError("no"), GatewayConnectionError("gone")
    refused.sent = broke.sent = False
    assert isinstance(way_of(refused, TLSRefusedError("no"))[1], TLSRefusedError)
    _, mixed = way_of(refused, broke)
    assert type(mixed) is GatewayConnectionError
    assert (mixed.sent, mixed.__cause__, str(mixed)) == (
        False,
        broke,
        "no address of the gateway answers: https://h0: no; https://h1: gone",
    )
    late = GatewayTimeoutError("WebSocket handshake", 75, "handshake_timeout")
    _, found = way_of(late, broke)
    assert isinstance(found, GatewayConnectionError)
    assert found.sent, "what timed out there had a connection"
    assert isinstance(way_of(late, late)[1], GatewayTimeoutError)
    assert isinstance(way_of(GatewayTimeoutError("connect", 1, "connect_timeout"), late)[1], GatewayConnectionError)


async def test_a_change_is_told_once(caplog: pytest.LogCaptureFixture):
    events: list[GatewayEvent] = []
    caplog.set_level("INFO", "trio_gateway.http")
    addresses = Addresses(GatewayConfig(url=["http://u:p@a", "http://b"]), events.append)
    ways = [addresses.start_round() for _ in range(3)]
    for way in ways:
        way.failed(GatewayConnectionError("no answer"))
    (event,) = events
    assert (event.kind, event.action, event.status, event.gateway_url) == ("address", "leave", "error", "http://a")
    assert event.message == "no answer; http://b is asked from now on"
    assert [record.message for record in caplog.records] == ["address_left"]
    assert "u:p" not in repr((events, caplog.records[0].__dict__))
