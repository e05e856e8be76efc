"""One request and its answer: what goes over the wire, what comes back, and what is told about it."""

from __future__ import annotations

import logging
import re
from typing import Any

import pytest
import trio

from tools.scripted_http import URL, bench, in_turn, response, sent
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import (
    GatewayConnectionError,
    GatewayHTTPError,
    InvalidInputError,
)
from trio_gateway._events import GatewayEvent
from trio_gateway._transport.http.attempt import HttpResponse
from trio_gateway._transport.http.client import open_http_client

# ------------------------------------------------------------------------------------------------------------- requests


async def test_a_request_and_its_answer():
    async with bench(in_turn(response(200, {"a": "ä"}, "X-One: 1", "x-one: 2"))) as it:
        answer = await it.http.request("get", "/api/kernels", params={"user": "a b&c/ü"})
    assert answer.status_code == 200
    assert answer.json() == {"a": "ä"}
    assert answer.headers.get_list("X-ONE") == ["1", "2"]
    (request,) = it.requests
    assert request.method == "GET"
    assert request.target == "/Base/api/kernels?user=a%20b%26c%2F%C3%BC"
    assert request.headers["host"] == "gateway.test:8888"
    assert sent(request) == {}
    assert request.headers["accept-encoding"] == "gzip, deflate"
    assert it.server.addresses == [("gateway.test", 8888)]


async def test_case_and_escapes_of_the_url_are_kept():  # lesson B28
    url = "http://Http-Gateway.example/User/Alice%2FHttp"
    async with bench(in_turn(response()), url=url) as it:
        await it.http.request("GET", "/api/kernels/a%2F%2E%2E%2fb")
        assert it.http.config.ws_base_url == "ws://Http-Gateway.example/User/Alice%2FHttp"
        assert await it.http.handshake_headers(it.http.config.websocket_url("/api/kernels/1/channels")) == []
    assert it.requests[0].target == "/User/Alice%2FHttp/api/kernels/a%2F%2E%2E%2fb"
    assert it.requests[0].headers["host"].lower() == "http-gateway.example"


@pytest.mark.parametrize("value", [None, {}, [], "text", 5, {"a": "ä"}])
async def test_json_is_sent(value: Any):
    async with bench(in_turn(response(201, value))) as it:
        answer = await it.http.request("POST", "/api/kernels", json=value)
    assert answer.json() == value
    assert HttpResponse(200, answer.headers, it.requests[0].body).json() == value
    assert it.requests[0].headers["content-type"] == "application/json"


async def test_without_json_nothing_is_sent():
    async with bench(in_turn(response(204, b""))) as it:
        await it.http.request("POST", "/api/kernels/1/interrupt")
    assert it.requests[0].body == b""
    assert it.requests[0].headers["content-length"] == "0"
    assert "content-type" not in it.requests[0].headers


@pytest.mark.parametrize("value", [float("nan"), object(), {"a": b""}])
async def test_json_that_is_none_is_refused(value: Any):
    async with bench(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="json"):
            await it.http.request("POST", "/", json=value)
    assert it.requests == []


@pytest.mark.parametrize("path", ["", "api", "/ä", "/a b", "/a\r\nX: y", "/a#b"])
async def test_a_path_that_is_not_escaped_is_refused(path: str):
    async with bench(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="path"):
            await it.http.request("GET", path)
    assert it.requests == []


@pytest.mark.parametrize("headers", [{"a b": "s3cret"}, {"X": "a\r\nY: z"}, {"X": "\u20ac"}, {"Content-Length": "500"}])
async def test_headers_that_can_not_be_sent_are_refused_without_their_value(headers: dict[str, str]):
    async with bench(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="headers") as caught:
            await it.http.request("GET", "/", headers=headers)
    assert next(iter(headers.values())) not in str(caught.value)
    assert it.requests == []


@pytest.mark.parametrize("method", ["", "GET /", "G\u00cbT", "GET\r\n"])
async def test_a_method_that_is_none_is_refused(method: str):
    async with bench(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="method"):
            await it.http.request(method, "/")
    assert it.requests == []


async def test_headers_of_one_request_beat_the_configured_ones():
    async with bench(in_turn(response()), headers={"X-One": "config", "If-None-Match": "old"}) as it:
        await it.http.request("GET", "/", headers={"if-none-match": '"new"', "Accept": "image/png"})
    assert sent(it.requests[0]) == {"x-one": "config", "if-none-match": '"new"'}
    assert it.requests[0].headers["accept"] == "image/png"


async def test_a_closed_client_refuses():
    async with bench(in_turn(response())) as it:
        pass
    with pytest.raises(trio.ClosedResourceError, match="the gateway is closed: its block has ended"):
        await it.http.request("GET", "/")


async def test_requests_under_way_end_with_the_client():  # G1
    async def forever(_: object) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def request() -> None:
        with pytest.raises(trio.ClosedResourceError):
            await it.http.request("GET", "/")

    async with trio.open_nursery() as nursery:
        async with bench(forever) as it:
            nursery.start_soon(request)
            await trio.testing.wait_all_tasks_blocked()


async def test_a_connection_that_comes_after_the_end_is_closed():  # G1
    async def request() -> None:
        with pytest.raises((trio.ClosedResourceError, GatewayConnectionError)):
            await it.http.request("GET", "/")

    arrived, let_go = trio.Event(), trio.Event()
    streams: list[trio.abc.Stream] = []

    async def connect(host: str, port: int) -> trio.abc.Stream:
        arrived.set()
        await let_go.wait()
        ours, theirs = trio.testing.memory_stream_pair()
        streams.append(ours)
        return theirs

    async with trio.open_nursery() as nursery:
        async with bench(in_turn(response())) as it, open_http_client(GatewayConfig(url=URL), connector=connect) as it.http:
            nursery.start_soon(request)
            await arrived.wait()
        let_go.set()
    assert await streams[0].receive_some() == b""


async def test_errors_of_the_body_come_out_as_they_are():  # G9
    with pytest.raises(KeyError, match="mine"):
        async with open_http_client(GatewayConfig(url=URL)):
            raise KeyError("mine")


async def test_the_environment_names_no_proxy(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:1")
    async with bench(in_turn(response())) as it:
        await it.http.request("GET", "/")
    assert it.server.addresses == [("gateway.test", 8888)]


# --------------------------------------------------------------------------------------------------------------- events


async def test_one_event_for_each_request(autojump_clock: object):
    async with bench(in_turn(response(503), response(201))) as it:
        await it.http.request("DELETE", "/api/kernels/1", params={"a": "s3cret"})
    assert it.events == [
        GatewayEvent(
            kind="request",
            action="delete",
            status="success",
            status_code=201,
            gateway_url=URL,
            method="DELETE",
            path="/api/kernels/1",
            attempts=2,
            seconds=0.1,
        )
    ]


async def test_the_event_of_a_failed_request():
    async with bench(in_turn(response(404, {"message": "Kernel does not exist"}))) as it:
        with pytest.raises(GatewayHTTPError) as caught:
            await it.http.request("GET", "/api/kernels/1")
    (event,) = it.events
    assert (event.status, event.status_code, event.message, event.attempts) == ("error", 404, str(caught.value), 1)


async def test_the_event_of_a_request_without_an_answer():
    async with bench(in_turn(None)) as it:
        with pytest.raises(GatewayConnectionError):
            await it.http.request("POST", "/")
    assert it.events[0].status == "error"
    assert it.events[0].status_code is None


async def test_the_event_of_a_cancelled_request():
    async def forever(_: object) -> bytes:
        scope.cancel()
        await trio.sleep_forever()
        raise AssertionError

    with trio.CancelScope() as scope:
        async with bench(forever) as it:
            await it.http.request("GET", "/")
    assert (it.events[0].status, it.events[0].message) == ("error", "cancelled")


async def test_nothing_is_swallowed_that_a_sink_raises():
    """That is the business of the one who hands events on: `EventFanOut`."""

    def sink(event: GatewayEvent) -> None:
        raise ZeroDivisionError

    async with bench(in_turn(response())) as it:
        it.http.emit = sink
        with pytest.raises(ZeroDivisionError):
            await it.http.request("GET", "/")


# -------------------------------------------------------------------------------------------------------------- secrets

SECRETS = {
    "auth_token": "t0ken-s3cret",
    "headers": {"X-Api-Key": "header-s3cret", "X-Flag": "1"},
    "accept_cookies": True,
}


async def test_secrets_are_shown_nowhere(caplog: pytest.LogCaptureFixture):  # G8
    caplog.set_level(logging.DEBUG)
    echo = "You sent Authorization: token t0ken-s3cret, X-Api-Key=header-s3cret and c=cookie-s3cret, 1"
    async with bench(
        in_turn(
            response(200, b"{}", "Set-Cookie: c=cookie-s3cret; Path=/"),
            response(418, {"reason": echo, "message": echo}),
            response(302, b"", "Location: http://t0ken-s3cret.evil.test/"),
        ),
        **SECRETS,
    ) as it:
        await it.http.request("GET", "/")
        with pytest.raises(GatewayHTTPError) as caught:
            await it.http.request("GET", "/")
        assert it.requests[1].headers["cookie"] == "c=cookie-s3cret"
        with pytest.raises(GatewayHTTPError) as redirected:
            await it.http.request("GET", "/")
    assert caught.value.message == "You sent Authorization: [hidden], X-Api-Key=[hidden] and c=[hidden], 1"
    shown = [repr(it.http), repr(it.http._identity._credentials), repr(it.http._identity._jars), caplog.text, repr(it.events)]
    for error in (caught.value, redirected.value):
        chain: BaseException | None = error
        while chain is not None:
            shown += [str(chain), repr(chain), repr(vars(chain))]
            chain = chain.__cause__ or chain.__context__
    assert not re.search("s3cret", "\n".join(shown))
    assert "request_answered" in caplog.text  # the logs were looked at


async def test_basic_authentication_is_masked():
    async with bench(
        lambda request: response(418, {"message": request.headers["authorization"]}), http_user="me", http_pwd="pw"
    ) as it:
        with pytest.raises(GatewayHTTPError) as caught:
            await it.http.request("GET", "/")
    assert it.requests[0].headers["authorization"] == "Basic bWU6cHc="
    assert "bWU6cHc=" not in str(caught.value)
