"""One request and its answer: what goes over the wire, what comes back, and what is told about it."""

from __future__ import annotations

import gzip
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
    ProtocolError,
)
from trio_gateway._events import GatewayEvent
from trio_gateway._transport.http.client import HttpResponse, open_http_client

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


# -------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("status", [200, 201, 202, 204, 299, 304])
async def test_answers_of_success(status: int):
    content = b"" if status in {204, 304} else b"x"
    async with bench(in_turn(response(status, content, "ETag: 1"))) as it:
        answer = await it.http.request("GET", "/")
    assert (answer.status_code, answer.content) == (status, content)
    # lesson B36: 201 and 204 were told as 200
    assert it.events[0].status_code == status
    assert it.events[0].status == "success"


@pytest.mark.parametrize("status", [300, 305, 400, 404, 409, 410, 418, 424, 500, 501, 599, 600, 999])
async def test_every_other_answer_is_an_error(status: int):
    async with bench(in_turn(response(status, {"reason": "Because", "message": "of this"}))) as it:
        with pytest.raises(GatewayHTTPError) as caught:
            await it.http.request("GET", "/api/kernels/1", params={"secret": "1"})
    error = caught.value
    assert type(error) is GatewayHTTPError
    assert (error.status_code, error.reason, error.message) == (status, "Because", "of this")
    assert error.url == "http://gateway.test:8888/Base/api/kernels/1"
    assert error.method == "GET"
    assert error.attempts == 1  # 599 too has no meaning here
    assert str(error) == f"GET http://gateway.test:8888/Base/api/kernels/1 answered {status} Because: of this"


@pytest.mark.parametrize(
    ("content", "content_type", "message"),
    [
        # lesson B36: each of these once broke the error handler itself
        (b'["a list"]', "application/json", '["a list"]'),
        (b"caf\xe9", "text/plain", "caf\ufffd"),
        (b"<html><head><title>502 Bad Gateway</title></head><body>" + b"<p>" * 50_000, "text/html", "502 Bad Gateway"),
        (b"", "text/html", ""),
    ],
)
async def test_an_error_page_of_any_form(content: bytes, content_type: str, message: str):
    async with bench(in_turn(response(500, content, f"Content-Type: {content_type}"))) as it:
        with pytest.raises(GatewayHTTPError) as caught:
            await it.http.request("GET", "/")
    assert caught.value.message == message
    assert caught.value.reason == "Internal Server Error"


async def test_an_error_page_that_is_cut_short_is_still_that_error():
    cut = b"HTTP/1.1 400 No\r\nContent-Length: 1000\r\nConnection: close\r\n\r\nyou sent"
    async with bench(in_turn(cut)) as it:
        with pytest.raises(GatewayHTTPError, match="400 Bad Request: you sent"):
            await it.http.request("POST", "/")


async def test_an_error_page_that_is_too_large_is_still_that_error():
    async with bench(in_turn(response(400, b"x" * 1001)), max_response_size=1000) as it:
        with pytest.raises(GatewayHTTPError, match="400"):
            await it.http.request("POST", "/")


async def test_an_error_page_that_can_not_be_unpacked_is_still_that_error():
    async with bench(in_turn(response(400, b"x", "Content-Encoding: br"))) as it:
        with pytest.raises(GatewayHTTPError, match="400"):
            await it.http.request("POST", "/")


async def test_compressed_answers():
    body = gzip.compress(b'{"a": 1}')
    async with bench(in_turn(response(200, body, "Content-Encoding: gzip"))) as it:
        assert (await it.http.request("GET", "/")).json() == {"a": 1}


@pytest.mark.parametrize(
    "answer",
    [
        response(200, b"x" * 1001),
        response(200, gzip.compress(b"x" * 1001), "Content-Encoding: gzip"),
        response(200, gzip.compress(gzip.compress(b"x" * 10**8)), "Content-Encoding: gzip, gzip"),
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n64\r\n"
        + b"x" * 100
        + b"\r\n"
        + b"3e8\r\n"
        + b"x" * 1000
        + b"\r\n",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" + b"x" * 1001,
    ],
    ids=["plain", "packed", "bomb", "chunked", "without length"],
)
async def test_an_answer_that_is_too_large_names_the_setting(answer: bytes):  # G7
    async with bench(in_turn(answer, response()), max_response_size=1000) as it:
        with pytest.raises(ProtocolError, match=r"larger than 1000 bytes.*max_response_size"):
            await it.http.request("GET", "/")
        assert (await it.http.request("GET", "/")).json() == {}


async def test_an_answer_just_not_too_large():
    async with bench(in_turn(response(200, b"x" * 1000)), max_response_size=1000) as it:
        assert len((await it.http.request("GET", "/")).content) == 1000


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.9\r\n\r\n", "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 abc\r\n\r\n", "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nbroken header s3cret\r\n\r\n", "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: x\r\n\r\n", "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 100_000, "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 200 OK\r\nX: " + b"y" * 1_000_000, "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 100 Continue\r\n\r\n" * 100_000, "does not answer in HTTP/1.1"),
        (b"HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n", "does not answer in HTTP/1.1"),
        (response(200, b"x", "Content-Encoding: br"), "content encoding"),
        (response(200, b"x", "Content-Encoding: gzip"), "compressed"),
    ],
)
async def test_what_is_no_answer_is_a_protocol_error(answer: bytes, words: str):
    async with bench(in_turn(answer, response())) as it:
        with pytest.raises(ProtocolError, match=words) as caught:
            await it.http.request("GET", "/")
        assert "s3cret" not in str(caught.value)
        assert len(it.requests) == 1
        # The client is as good as new.
        await it.http.request("GET", "/")


async def test_interim_answers_are_skipped():
    interim = b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"
    async with bench(in_turn(interim + response(200, [1]))) as it:
        assert (await it.http.request("GET", "/")).json() == [1]


async def test_head_has_no_body():
    async with bench(in_turn(b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\nContent-Encoding: gzip\r\n\r\n")) as it:
        assert (await it.http.request("HEAD", "/")).content == b""


async def test_json_of_an_answer_that_has_none():
    async with bench(in_turn(response(200, b"<html>"))) as it:
        with pytest.raises(ProtocolError, match="HTML"):
            (await it.http.request("GET", "/")).json()


# ------------------------------------------------------------------------------------------------------------ redirects


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/Base/new?a=1#f", "/Base/new?a=1"),
        ("new/", "/Base/api/new/"),
        ("http://gateway.test:8888/x", "/x"),
        ("//GATEWAY.test:8888/x", "/x"),
        ("http://me:pw@gateway.test:8888/x", "/x"),
        ("/caf\xe9 x%20y", "/caf%E9%20x%20y"),
    ],
)
async def test_redirects_within_the_server_are_followed(status: int, location: str, target: str):
    async with bench(in_turn(response(status, b"moved", f"Location: {location}"), response(200, [1])), auth_token="t0ken") as it:
        assert (await it.http.request("GET", "/api/old")).json() == [1]
    assert [request.target for request in it.requests] == ["/Base/api/old", target]
    assert [request.headers["authorization"] for request in it.requests] == ["token t0ken"] * 2
    assert it.requests[1].headers["host"] == "gateway.test:8888"
    assert len(it.events) == 1


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("http://evil.test/?token=x", "http://evil.test:80"),
        ("//evil.test:8888/x", "http://evil.test:8888"),
        ("http://gateway.test/x", "http://gateway.test:80"),
        ("https://gateway.test:8888/x", "https://gateway.test:8888"),
        ("http://gateway.test:8888@evil.test/", "http://evil.test:80"),
        ("http://[::1", "a place that can't be read"),
        ("http://gateway.test:99999/", "a place that can't be read"),
        ("javascript:alert(1)", "javascript://:80"),
    ],
)
async def test_credentials_go_to_no_other_server(location: str, where: str):  # G8
    async with bench(in_turn(response(302, b"", f"Location: {location}")), auth_token="t0ken") as it:
        with pytest.raises(GatewayHTTPError, match="302 Found") as caught:
            await it.http.request("GET", "/")
    assert f"redirects to {where};" in caught.value.message
    assert "token=x" not in str(caught.value)
    assert len(it.requests) == 1
    assert set(it.server.addresses) == {("gateway.test", 8888)}


async def test_only_reading_requests_are_redirected():
    async with bench(in_turn(response(307, b"", "Location: /x"))) as it:
        for method in ("POST", "DELETE", "PATCH"):
            with pytest.raises(GatewayHTTPError, match="only reading requests"):
                await it.http.request(method, "/")
    assert len(it.requests) == 3


async def test_a_redirect_to_nowhere():
    async with bench(in_turn(response(302))) as it:
        with pytest.raises(GatewayHTTPError, match="302 Found: it redirects to nowhere"):
            await it.http.request("GET", "/")


async def test_redirects_in_a_circle_end():  # G3
    async with bench(in_turn(response(302, b"", "Location: /x"))) as it:
        with pytest.raises(GatewayHTTPError, match="more than 5 times"):
            await it.http.request("GET", "/")
    assert len(it.requests) == 6


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
    shown = [repr(it.http), repr(it.http._credentials), repr(it.http._cookies), caplog.text, repr(it.events)]
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
