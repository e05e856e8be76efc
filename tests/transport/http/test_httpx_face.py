"""httpx as users get it from a gateway: its requests go the library's way, with its credentials, limits, errors and events."""

from __future__ import annotations

import gzip
import json
import logging
import re
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import httpx
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

import trio_gateway
from tools.scripted_http import URL, Answer, Bench, Request, Server, bench, in_turn, response, sent
from trio_gateway._config import GatewayConfig
from trio_gateway._errors import GatewayConnectionError, GatewayTimeoutError, InvalidInputError, ProtocolError
from trio_gateway._transport.http.client import open_http_client
from trio_gateway._transport.http.httpx_face import open_httpx_client

ELSEWHERE = [
    "http://evil.test:8888/Base/x",
    "https://gateway.test:8888/Base/x",
    "http://gateway.test/Base/x",
    "http://gateway.test:8888@evil.test/x",
    "http://gateway.test.evil.test:8888/x",
    "http://gateway.test:99999/x",
    "ws://evil.test:8888/x",
    "ftp://gateway.test/x",
    "http://[::1]:8888/x",
]


@attrs.define
class Face(Bench):
    """A bench with an httpx client on it."""

    client: httpx.AsyncClient


@asynccontextmanager
async def face(answer: Answer, **settings: Any) -> AsyncGenerator[Face]:
    async with bench(answer, **settings) as it, open_httpx_client(it.http) as client:
        yield Face(it.http, it.server, it.events, client)


# ------------------------------------------------------------------------------------------------------------- requests


async def test_a_request_goes_the_librarys_way():
    async with face(in_turn(response(200, {"a": "ä"})), auth_token="t0ken", headers={"X-One": "1"}) as it:
        answer = await it.client.get("/api/contents/a b", params={"type": "file"})
        await it.http.request("GET", "/api/kernels")
    assert answer.json() == {"a": "ä"}
    assert answer.http_version == "HTTP/1.1"
    assert answer.elapsed.total_seconds() >= 0
    theirs, ours = it.requests
    assert (theirs.method, theirs.target) == ("GET", "/Base/api/contents/a%20b?type=file")
    # The same headers, httpx's own left out, on the same connection.
    assert theirs.headers == ours.headers
    assert sent(theirs) == {"authorization": "token t0ken", "x-one": "1"}
    assert it.server.connections == 1
    assert [(event.kind, event.action, event.status, event.path) for event in it.events] == [
        ("request", "get", "success", "/api/contents/a%20b"),
        ("request", "get", "success", "/api/kernels"),
    ]


@pytest.mark.parametrize(
    ("url", "target"),
    [
        ("", "/Base/"),
        ("api", "/Base/api"),
        ("/api?x=1", "/Base/api?x=1"),
        ("http://gateway.test:8888/other/x#part", "/other/x"),
        ("http://GATEWAY.test:8888", "/"),
        ("/a%2Fb%2e/ü?q=ü&r=%20", "/Base/a%2Fb%2e/%C3%BC?q=%C3%BC&r=%20"),
    ],
)
async def test_where_a_url_leads(url: str, target: str):
    async with face(in_turn(response())) as it:
        await it.client.get(url)
    assert it.requests[0].target == target


async def test_case_and_escapes_of_the_base_url_are_kept():
    async with face(in_turn(response()), url="http://Gateway.test/User/Alice%2FHttp") as it:
        await it.client.get("/x")
    assert it.requests[0].target == "/User/Alice%2FHttp/x"


@pytest.mark.parametrize(
    ("arguments", "content_type", "body"),
    [
        ({"json": {"a": 1}}, "application/json", b'{"a":1}'),
        ({"data": {"a": "b c"}}, "application/x-www-form-urlencoded", b"a=b+c"),
        ({"content": b"\x00\xff"}, None, b"\x00\xff"),
        ({"content": b""}, None, b""),
        ({}, None, b""),
    ],
)
async def test_bodies(arguments: dict[str, Any], content_type: str | None, body: bytes):
    async with face(in_turn(response(201))) as it:
        await it.client.post("/x", **arguments)
    (request,) = it.requests
    assert request.body == body
    assert request.headers.get("content-type") == content_type
    assert request.headers["content-length"] == str(len(body))


async def test_a_body_that_comes_in_pieces_is_sent_with_its_length():
    async def pieces() -> AsyncIterator[bytes]:
        yield b"ab"
        await trio.lowlevel.checkpoint()
        yield b"c"

    async with face(in_turn(response())) as it:
        await it.client.put("/x", content=pieces())
    assert it.requests[0].body == b"abc"
    assert "transfer-encoding" not in it.requests[0].headers


async def test_a_header_of_the_users_own_wins():
    async with face(in_turn(response()), auth_token="t0ken", headers={"X-One": "config", "X-Two": "2"}) as it:
        it.client.headers["X-Three"] = "3"
        await it.client.get("/", headers=[("x-one", "a"), ("X-One", "b"), ("Accept", "text/plain"), ("Authorization", "Mine")])
    assert sent(it.requests[0]) == {"x-one": "a, b", "x-two": "2", "x-three": "3", "authorization": "Mine"}
    assert it.requests[0].headers["accept"] == "text/plain"


@pytest.mark.parametrize("headers", [{"Host": "evil.test"}, {"X": "s3cret\r\nY: z"}])
async def test_headers_that_can_not_be_sent_are_refused(headers: dict[str, str]):
    async with face(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="headers") as caught:
            await it.client.get("/", headers=headers)
    assert "s3cret" not in str(caught.value)
    assert it.requests == []


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_another_server_gets_nothing(url: str):  # G8
    async with face(in_turn(response()), auth_token="t0ken") as it:
        with pytest.raises(InvalidInputError, match="url") as caught:
            await it.client.get(url + "?token=s3cret")
    assert it.server.addresses == []
    assert "s3cret" not in str(caught.value)
    assert it.events == []


@pytest.mark.parametrize("rest", ["/a b?s3cret", "/a?s3cret \xe4", "/a?s3cret\r\n", "/a?s3cret#b", ":x/?s3cret"])
async def test_a_url_that_is_not_escaped_is_refused_without_its_query(rest: str):
    async with bench(in_turn(response())) as it:
        with pytest.raises(InvalidInputError, match="url") as caught:
            await it.http.exchange("GET", "http://gateway.test:8888" + rest)
    assert "s3cret" not in str(caught.value)
    assert it.requests == []


@pytest.mark.parametrize("url", ELSEWHERE)
async def test_a_redirect_to_another_server_is_not_followed_there(url: str):  # G8
    async with face(in_turn(response(302, b"", f"Location: {url}")), auth_token="t0ken") as it:
        with pytest.raises(InvalidInputError, match="url"):
            await it.client.get("/", follow_redirects=True)
    assert len(it.requests) == 1
    assert {host for host, _ in it.server.addresses} == {"gateway.test"}


async def test_the_environment_is_not_looked_at(monkeypatch: pytest.MonkeyPatch):
    for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY", "all_proxy"):
        monkeypatch.setenv(name, "http://proxy.invalid:1")
    async with face(in_turn(response())) as it:
        await it.client.get("/")
    assert it.server.addresses == [("gateway.test", 8888)]


async def test_cookies_are_kept_where_the_configuration_says_so():
    setting = response(200, b"", "Set-Cookie: lb=node-1; Path=/", "Set-Cookie: other=2; Path=/")
    async with face(in_turn(setting), accept_cookies=True) as it:
        answer = await it.client.get("/")
        await it.client.get("/")
        await it.http.request("GET", "/")
        assert dict(it.client.cookies) == {}
    assert answer.headers.get_list("Set-Cookie") == ["lb=node-1; Path=/", "other=2; Path=/"]
    assert [sent(request).get("cookie") for request in it.requests] == [None, "lb=node-1; other=2", "lb=node-1; other=2"]


async def test_without_that_only_the_users_own_cookies_are_sent():
    async with face(in_turn(response(200, b"", "Set-Cookie: lb=node-1"))) as it:
        await it.client.get("/")
        await it.client.get("/")
        it.client.cookies.set("mine", "1")
        await it.client.get("/")
        await it.client.get("/", headers=[("Cookie", "a=1"), ("Cookie", "b=2")])
    assert [sent(request).get("cookie") for request in it.requests] == [None, None, "mine=1", "a=1; b=2"]


# -------------------------------------------------------------------------------------------------------------- answers


@pytest.mark.parametrize("status", [200, 204, 299, 300, 302, 304, 400, 401, 403, 404, 409, 500, 501, 599, 600, 999])
async def test_an_answer_of_any_status_comes_back(status: int):
    content = b"" if status in {204, 304} else b'{"reason": "Because"}'
    async with face(in_turn(response(status, content, "Location: /elsewhere", "X-One: \xe4"))) as it:
        answer = await it.client.get("/api", params={"token": "s3cret"})
    assert (answer.status_code, answer.content) == (status, content)
    assert answer.headers["x-one"] == "ä"
    assert answer.headers["location"] == "/elsewhere"
    assert str(answer.url) == f"{URL}/api?token=s3cret"
    (event,) = it.events
    assert (event.status_code, event.attempts) == (status, 1)
    assert event.status == ("success" if status < 400 else "error")
    assert ("Because" in event.message) is (status >= 400)
    assert len(it.requests) == 1


async def test_a_redirect_is_followed_where_the_user_says_so():
    async with face(in_turn(response(302, b"", "Location: ../c?x=1"), response(200, {"there": True}))) as it:
        answer = await it.client.get("/a/b?y=2", follow_redirects=True)
    assert answer.json() == {"there": True}
    assert [request.target for request in it.requests] == ["/Base/a/b?y=2", "/Base/c?x=1"]
    assert [str(each.url) for each in (*answer.history, answer)] == [f"{URL}/a/b?y=2", f"{URL}/c?x=1"]


@given(
    location=st.one_of(
        st.sampled_from(
            ["http://[", "http://h:x/", "//", ":", "mailto:x", "http:", "http://1.2.3.999/", "//[", "?", "http://\xfc-/"]
        ),
        st.text(st.characters(min_codepoint=33, max_codepoint=255, exclude_characters="\x7f"), min_size=1),
        st.from_regex(r"\A(https?:|//|/|\?)[:/a.@\[\]0-9%?#\xe4]{0,12}\Z"),
    )
)
def test_no_redirect_is_too_strange_to_come_back(location: str):
    async def main() -> None:
        async with face(in_turn(response(302, b"page", f"Location: {location}"))) as it:
            answer = await it.client.get("/")
        assert (answer.status_code, answer.content) == (302, b"page")

    trio.run(main)


@pytest.mark.parametrize("location", ["http://h:x", "mailto:x", "/" + 65_530 * "x"], ids=["port", "no host", "long"])
async def test_a_location_that_httpx_can_not_read_is_left_out(location: str):
    async with face(in_turn(response(302, b"", f"Location: {location}"), response(201, b"", f"Location: {location}"))) as it:
        assert "location" not in (await it.client.get("/")).headers
        assert (await it.client.post("/")).headers["location"] == location


async def test_a_compressed_answer_is_given_unpacked():
    packed = gzip.compress(b'{"a": 1}')
    async with face(in_turn(response(200, packed, "Content-Encoding: gzip", "ETag: 1"))) as it:
        answer = await it.client.get("/")
        assert (answer.json(), answer.headers["content-length"]) == ({"a": 1}, "8")
        assert answer.headers["etag"] == "1"
        assert "content-encoding" not in answer.headers


async def test_an_answer_to_head_says_how_long_it_would_be():
    head = b"HTTP/1.1 200 OK\r\nContent-Length: 5000\r\nContent-Encoding: gzip\r\n\r\n"
    async with face(in_turn(head)) as it:
        answer = await it.client.head("/")
    assert (answer.content, answer.headers["content-length"]) == (b"", "5000")


async def test_an_answer_can_be_read_in_pieces():
    async with face(in_turn(response(200, b"one\ntwo\n"))) as it, it.client.stream("GET", "/") as answer:
        assert [line async for line in answer.aiter_lines()] == ["one", "two"]


@pytest.mark.parametrize("status", [200, 404])
@pytest.mark.parametrize("packed", [False, True])
async def test_an_answer_that_is_too_large(status: int, packed: bool):  # G7
    body = b"x" * 1001
    large = response(status, gzip.compress(body), "Content-Encoding: gzip") if packed else response(status, body)
    async with face(in_turn(large), max_response_size=1000) as it:
        with pytest.raises(ProtocolError, match="max_response_size"):
            await it.client.get("/")


@pytest.mark.parametrize("status", [200, 404])
async def test_an_answer_that_is_cut_short_is_no_answer(status: int):
    cut = f"HTTP/1.1 {status} Whatever\r\nContent-Length: 1000\r\nConnection: close\r\n\r\npart".encode()
    async with face(in_turn(cut)) as it:
        with pytest.raises(GatewayConnectionError, match="before its answer was complete"):
            await it.client.post("/")
    assert len(it.requests) == 1


# ------------------------------------------------------------------------------------------------- limits, retries, end


@pytest.mark.parametrize("status", [429, 502, 503, 504])
async def test_what_is_idempotent_is_repeated(status: int, autojump_clock: object):
    async with face(in_turn(response(status), response(200))) as it:
        assert (await it.client.put("/", json=1)).status_code == 200
        assert [request.body for request in it.requests] == [b"1", b"1"]
    async with face(in_turn(response(status, b"busy"))) as it:
        answer = await it.client.get("/")
        assert (answer.status_code, answer.content) == (status, b"busy")
        assert it.events[0].attempts == len(it.requests) == 3
    async with face(in_turn(response(status), response(200))) as it:
        assert (await it.client.post("/")).status_code == status
        assert len(it.requests) == 1


async def test_a_gateway_that_says_when_to_come_back_is_not_asked_before(autojump_clock: object):
    async with face(in_turn(response(503, b"", "Retry-After: 100000"))) as it:
        assert (await it.client.get("/")).status_code == 503
    assert len(it.requests) == 1


async def test_without_connection_nothing_was_sent_so_all_is_repeated(autojump_clock: object):
    async with face(in_turn(response())) as it:
        it.server.refuse = 3
        with pytest.raises(GatewayConnectionError):
            await it.client.post("/")
        it.server.refuse = 2
        assert (await it.client.post("/")).status_code == 200
        await it.client.aclose()
        await it.http.request("GET", "/")
        assert it.server.connections == 1  # it closed nothing of the library's


@pytest.mark.parametrize("status", [401, 403])
@pytest.mark.parametrize("renewed", [True, False])
async def test_the_token_is_renewed(status: int, renewed: bool):
    tokens = iter(["old", "new"] if renewed else ["old", "old"])

    class Renewer(trio_gateway.TokenRenewer):
        def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
            return next(tokens)

    def answer(request: Request) -> bytes:
        return response(200 if request.headers["authorization"] == "token new" else status)

    async with face(answer, auth_token="first", token_renewer=Renewer()) as it:
        assert (await it.client.post("/")).status_code == (200 if renewed else status)
    assert [request.headers["authorization"] for request in it.requests] == ["token old", "token new"][: 1 + renewed]


@pytest.mark.parametrize("limit", [httpx.USE_CLIENT_DEFAULT, None, 0.001])
async def test_the_gateways_limits_apply(limit: Any, autojump_clock: object):
    async def slow(request: Request) -> bytes:
        if request.target == "/Base/slow":
            await trio.sleep_forever()
        return response()

    async with face(slow, request_timeout=7, max_connections=1) as it:
        before = trio.current_time()
        with pytest.raises(GatewayTimeoutError, match="request_timeout"):
            await it.client.get("/slow", timeout=limit)
        assert trio.current_time() - before == 7
        with trio.move_on_after(1) as scope:
            await it.client.get("/slow", timeout=limit)
        assert scope.cancelled_caught
        assert (await it.client.get("/quick")).status_code == 200  # the one connection is free again


async def test_after_the_gateways_block_nothing_is_sent():
    async with bench(in_turn(response())) as it:
        context = open_httpx_client(it.http)
        client = await context.__aenter__()
    with pytest.raises(trio.ClosedResourceError):
        await client.get("/")
    await context.__aexit__(None, None, None)
    assert it.requests == []


async def test_errors_of_the_body_come_out_as_they_are():  # G9
    with pytest.raises(KeyError, match="mine"):
        async with open_http_client(GatewayConfig(url=URL)) as http, open_httpx_client(http):
            raise KeyError("mine")


# -------------------------------------------------------------------------------------------------------------- secrets


async def test_nothing_secret_is_logged(caplog: pytest.LogCaptureFixture):  # G8
    caplog.set_level(logging.DEBUG)
    answers = in_turn(response(302, b"", "Location: /next?token=s3cret"), response(404, {"message": "no s3cret-t0ken"}))
    async with face(answers, auth_token="s3cret-t0ken", accept_cookies=True) as it:
        seen: list[str] = []

        async def hook(answer: httpx.Response) -> None:
            seen.append(str(answer.url))

        it.client.event_hooks["response"].append(hook)
        answer = await it.client.get("http://user:s3cret@gateway.test:8888/x?token=s3cret", follow_redirects=True)
        assert answer.status_code == 404
        with pytest.raises(trio_gateway.InvalidInputError):
            await it.client.get("http://user:s3cret@evil.test/?token=s3cret")
        assert "s3cret" not in repr(it.client.headers) + repr(answer.request.headers)
    assert seen == [
        "http://user:s3cret@gateway.test:8888/x?token=s3cret",
        "http://user:s3cret@gateway.test:8888/next?token=s3cret",
    ]
    assert "http://gateway.test:8888/next " in caplog.text, "httpx logs no more: then this test proves nothing"
    assert "s3cret" not in caplog.text
    assert "s3cret" not in repr(it.events)


async def test_who_replaces_the_hooks_still_logs_nothing_secret(caplog: pytest.LogCaptureFixture):  # G8
    caplog.set_level(logging.DEBUG)
    async with face(in_turn(response())) as it:
        it.client.event_hooks = {}
        assert (await it.client.get("/x?token=s3cret")).status_code == 200
    assert it.requests[0].target == "/Base/x?token=s3cret"
    assert "s3cret" not in caplog.text


# ---------------------------------------------------------------------------------------------------------- the gateway


async def test_a_gateway_gives_the_client():
    async with trio.open_nursery() as nursery:
        server = Server(nursery, in_turn(response(200, {"version": "1"})))
        async with trio_gateway.open_gateway(URL, connector=server.connect, auth_token="t") as gateway:
            async with gateway.http_client() as client, gateway.http_client() as other:
                assert isinstance(client, httpx.AsyncClient)
                assert (await client.get("/api")).json() == (await other.get("/api")).json() == {"version": "1"}
            with pytest.raises(RuntimeError, match="closed"):
                await client.get("/api")
        nursery.cancel_scope.cancel()
    assert [sent(request) for request in server.requests] == [{"authorization": "token t"}] * 2
    assert server.connections == 1


def test_only_the_face_imports_httpx():
    package = Path(trio_gateway.__file__).parent
    importing = [
        path.name
        for path in package.rglob("*.py")
        if re.search(r"^\s*(import|from) httpx\b", path.read_text("utf-8"), re.MULTILINE)
    ]
    assert importing == ["httpx_face.py"]


def test_what_sends_requests_is_imported_when_a_client_opens_and_httpx_when_it_is_asked_for():
    """Importing the library stays quick. One fresh interpreter answers both."""
    program = """if True:
        import sys, trio, trio_gateway._transport.http.client
        def loaded():
            print(*sorted({"httpcore2", "cattrs", "httpx", "anyio", "certifi"} & set(sys.modules)))
        async def main():
            loaded()
            async with trio_gateway.open_gateway("http://127.0.0.1:9") as gateway:
                loaded()
                async with gateway.http_client():
                    loaded()
        trio.run(main)
    """
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True)
    at_import, when_open, when_asked = (set(line.split()) for line in done.stdout.splitlines())
    assert at_import == set()
    assert "httpx" not in when_open
    assert {"httpcore2", "httpx"} <= when_asked


@pytest.mark.gateway
async def test_a_real_gateway(real_gateway: Any):
    events: list[trio_gateway.GatewayEvent] = []
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
        async with gateway.http_client() as client:
            assert "version" in (await client.get("/api")).raise_for_status().json()
            assert isinstance((await client.get("/api/kernels")).raise_for_status().json(), list)
            logo = await client.get("/kernelspecs/python3/logo-64x64.png")
            assert logo.content[:4] == b"\x89PNG"
            missing = await client.get("/api/kernels/00000000-0000-0000-0000-000000000000")
            assert missing.status_code == 404
            assert "message" in json.loads(missing.text)
            started = (await client.post("/api/kernels", json={"name": "python3"})).raise_for_status().json()
            assert (await client.delete(f"/api/kernels/{started['id']}")).status_code == 204
    assert [event.status_code for event in events if event.kind == "request"] == [200, 200, 200, 404, 201, 204]
