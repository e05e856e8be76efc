"""One attempt: how an answer is read and judged, where a redirect leads, and what a failure says about another attempt."""

from __future__ import annotations

import gzip

import pytest
import trio

from tools.scripted_http import URL, Answer, Bench, bench, in_turn, response
from trio_gateway._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    ProtocolError,
)
from trio_gateway._transport.http.attempt import AttemptFailed, Call

# ------------------------------------------------------------------------------------------- what a failed attempt says


def a_call(
    method: str = "GET", path: str = "/x", limit: float = 5.0, headers: dict[str, str] | None = None, *, any_status: bool = False
) -> Call:
    return Call(
        method=method,
        path=path,
        url_at=lambda _: f"{URL}{path}",
        query="",
        headers=list((headers or {}).items()),
        content=None,
        limit=limit,
        setting="request_timeout",
        phase="request",
        started=trio.current_time(),
        any_status=any_status,
    )


async def failed(it: Bench, call: Call) -> AttemptFailed:
    with pytest.raises(AttemptFailed) as caught:
        await it.http._attempts.make(call, 0)
    return caught.value


@pytest.mark.parametrize(("status", "worth"), [(429, True), (502, True), (503, True), (504, True), (500, False), (404, False)])
async def test_which_answers_are_worth_another_attempt(status: int, worth: bool):
    async with bench(in_turn(response(status, b"", "Retry-After: 7"))) as it:
        call = a_call("POST")
        found = await failed(it, call)
    assert (found.worth, found.safe, found.after) == (worth, False, 7.0)
    assert isinstance(found.error, GatewayHTTPError)
    assert (call.attempts, call.status) == (1, status)
    assert found.response is not None
    assert found.response.status_code == status


@pytest.mark.parametrize("status", [401, 403])
async def test_a_refusal_is_told_apart(status: int):
    async with bench(in_turn(response(status))) as it:
        assert isinstance((await failed(it, a_call())).error, AuthenticationError)


async def test_where_no_connection_was_made_another_attempt_is_safe():
    async with bench(in_turn(response())) as it:
        it.server.refuse = 1
        found = await failed(it, a_call("POST"))
    assert (found.worth, found.safe) == (True, True)
    assert isinstance(found.error, GatewayConnectionError)
    assert not found.error.sent


async def test_a_connection_that_breaks_leaves_open_what_was_done():
    async with bench(in_turn(None)) as it:
        found = await failed(it, a_call("POST"))
    assert (found.worth, found.safe) == (True, False)
    assert isinstance(found.error, GatewayConnectionError)
    assert found.error.sent


async def test_the_limit_is_one_for_all_of_an_attempt(autojump_clock: object):
    async with bench(slow_redirects(2)) as it:
        call = a_call(limit=5)
        found = await failed(it, call)
    assert trio.current_time() == 5
    assert (found.worth, found.safe) == (False, False)
    assert isinstance(found.error, GatewayTimeoutError)
    assert (found.error.setting, found.error.limit, found.error.phase) == ("request_timeout", 5, "request")
    assert len(it.requests) == 3


def slow_redirects(seconds: float) -> Answer:
    async def answer(_: object) -> bytes:
        await trio.sleep(seconds)
        return response(302, b"", "Location: /x")

    return answer


async def test_every_attempt_counts_and_forgets_the_last_status():
    async with bench(in_turn(response(500), None)) as it:
        call = a_call()
        await failed(it, call)
        assert (call.attempts, call.status) == (1, 500)
        await failed(it, call)
        assert (call.attempts, call.status) == (2, None)


async def test_who_takes_any_status_gets_every_whole_answer_and_no_redirect():
    async with bench(in_turn(response(302, b"moved", "Location: /y"), response(404))) as it:
        answer = await it.http._attempts.make(a_call(any_status=True), 0)
        assert (answer.status_code, answer.content, answer.headers["location"]) == (302, b"moved", "/y")
        found = await failed(it, a_call(any_status=True))
        assert found.response is not None
        assert found.response.status_code == 404
    assert len(it.requests) == 2


async def test_what_a_user_gets_is_not_masked():
    async with bench(in_turn(response(200, b"token is t0ken-s3cret")), auth_token="t0ken-s3cret") as it:
        assert b"t0ken-s3cret" in (await it.http._attempts.make(a_call(any_status=True), 0)).content
        assert b"t0ken-s3cret" not in (await it.http._attempts.make(a_call(), 0)).content


async def test_headers_that_do_not_fit_the_request_are_named():  # G10
    async with bench(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="headers"):
            await it.http._attempts.make(a_call(headers={"Content-Length": "7"}), 0)
    assert it.requests == []


async def test_closed_attempts_refuse():
    async with bench(in_turn(response())) as it:
        it.http._attempts.close()
        with pytest.raises(trio.ClosedResourceError):
            await it.http._attempts.make(a_call(), 0)
    assert it.requests == []


@pytest.mark.parametrize(("method", "length"), [("GET", None), ("POST", "0"), ("PUT", "0"), ("DELETE", None)])
async def test_a_request_without_a_body_says_so_where_one_is_usual(method: str, length: str | None):
    async with bench(in_turn(response())) as it:
        await it.http._attempts.make(a_call(method), 0)
    assert it.requests[0].headers.get("content-length") == length


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
    async with bench(in_turn(response(304)), headers={"If-None-Match": "*"}) as it:
        with pytest.raises(ProtocolError, match=r"304 Not Modified .* headers .* If-None-Match"):
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
