"""The application: every request through one door; what is refused and what goes wrong is answered there, and logged."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trio_gateway
from tools.ports import held_port
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway.proxy import ProxyConfig, create_app
from trio_gateway.proxy._channels import Relays
from trio_gateway.proxy._gate import Gate
from trio_gateway.testing import FakeGateway

from .proxy_kit import FAKE_TOKEN, TOKEN, open_proxy, open_upstream, serve_gateway

if TYPE_CHECKING:
    from .proxy_kit import Behind


HOST, SIGNED_IN = (b"host", b"localhost"), (b"authorization", b"token " + TOKEN.encode())


async def test_methods_that_a_path_does_not_have() -> None:
    async with open_proxy(None) as proxy:
        refused = await proxy.ask("PUT", "/api/kernels")
        assert (refused.status, refused.json()["reason"]) == (405, "Method Not Allowed")
        assert refused.headers["allow"] == "GET, HEAD, OPTIONS, POST"
        options = await proxy.ask("OPTIONS", "/api/kernels", token=None)
        assert (options.status, options.headers["allow"]) == (204, "GET, HEAD, OPTIONS, POST")
        assert (await proxy.ask("OPTIONS", "/nothing")).status == 404
        assert (await proxy.ask("GET", "/nothing")).json() == {"message": "there is nothing here", "reason": "Not Found"}
        head = await proxy.ask("HEAD", "/api")
        assert (head.status, head.body) == (200, b"")


async def test_a_gateway_that_is_not_there_is_told_without_its_address() -> None:
    with held_port(shared=False) as port:
        async with (
            trio_gateway.open_gateway(f"http://127.0.0.1:{port}", auth_token="hush-hush", max_request_retries=0) as gateway,
            serve_gateway(gateway) as proxy,
        ):
            answer = await proxy.ask("GET", "/api/kernels")
            assert answer.status == 502
            assert answer.json() == {"message": "the gateway can't be reached", "reason": "Bad Gateway"}
            start = await proxy.ask("POST", "/api/kernels", {"name": "python3"})
            assert start.status == 502
            assert str(port).encode() not in start.body


async def test_a_gateway_that_refuses_us_is_no_401(behind: Behind) -> None:
    async with (
        open_upstream(behind) as upstream,
        trio_gateway.open_gateway(upstream.url, auth_token="wrong") as gateway,
        serve_gateway(gateway) as proxy,
    ):
        answer = await proxy.ask("GET", "/api/kernelspecs")
        assert answer.status == 502
        assert answer.json()["message"] == "the gateway refuses the proxy's credentials"


async def test_the_access_log_has_no_query(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with open_proxy(None) as proxy:
        assert (await proxy.ask("GET", f"/api?token={TOKEN}", token=None)).status == 200
    lines = [json.loads(r.getMessage()) for r in caplog.records if r.name == "trio_gateway.proxy.access"]
    assert [(line["method"], line["path"], line["status"]) for line in lines] == [("GET", "/api", 200)]
    assert TOKEN not in caplog.text
    assert FAKE_TOKEN not in caplog.text


async def test_a_defect_is_told_to_a_websocket_also_where_nobody_hears_it(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Servers may raise OSError then, as ASGI has it."""
    said: list[Any] = []

    async def fail(relays: Relays, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "websocket.accept"})
        raise ZeroDivisionError

    async def receive() -> Any:
        raise AssertionError

    async def send(message: Any) -> None:
        said.append(message)
        if message["type"] == "websocket.close":
            raise OSError

    monkeypatch.setattr(Relays, "serve", fail)
    headers = [(b"host", b"localhost"), (b"authorization", b"token " + TOKEN.encode())]
    scope = {"type": "websocket", "scheme": "ws", "path": "/x", "query_string": b"", "headers": headers}
    async with FakeGateway() as fake, fake.open() as gateway:
        await create_app(gateway, token=TOKEN)(scope, receive, send)
    assert said == [{"type": "websocket.accept"}, {"type": "websocket.close", "code": 1011, "reason": ""}]
    assert [record.getMessage() for record in caplog.records] == ["request_failed"]


GONE_AT = {
    "an answer": ("/api/status", "http.response.start"),
    "an answer's body": ("/api/status", "http.response.body"),
    "a refusal": ("/api/nothing", "http.response.start"),
    "a handshake": ("/api/kernels/{}/channels", "websocket.accept"),
    "a message": ("/api/kernels/{}/channels", "websocket.send"),
    "a goodbye": ("/api/kernels/{}/channels", "websocket.close"),
    "a refused handshake": ("/api/kernels/none/channels", "websocket.http.response.start"),
}


@pytest.mark.parametrize("when", GONE_AT)
async def test_a_front_end_that_is_gone_is_no_defect(when: str, caplog: pytest.LogCaptureFixture) -> None:
    """Servers tell of it by an OSError, as ASGI has it: nothing is logged, and no connection with the gateway is left."""
    path, at = GONE_AT[when]
    said: list[str] = []
    gone = trio.Event()

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        said.append(message["type"])
        if message["type"] == at:
            gone.set()
            raise OSError
        if message["type"] == "websocket.accept" and at == "websocket.send":
            await kernel.execute("1")
        if message["type"] == "websocket.accept" and at == "websocket.close":
            app.drain()

    began = False

    async def receive() -> Any:
        nonlocal began
        await trio.lowlevel.checkpoint()
        if at.startswith("http"):
            return {"type": "http.request", "body": b"", "more_body": False}
        if began:
            await trio.sleep_forever()  # such a server says nothing here
        began = True
        return {"type": "websocket.connect"}

    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        app = create_app(gateway, token=TOKEN)
        websocket = at.startswith("websocket")
        scope = {
            "type": "websocket" if websocket else "http", "scheme": "http", "method": "GET", "path": path.format(kernel.id),
            "query_string": b"session_id=front", "headers": [HOST, SIGNED_IN], "subprotocols": [],
            "extensions": {"websocket.http.response": {}},
        }  # fmt: skip
        with trio.fail_after(60):
            await app(scope, receive, send)
        assert gone.is_set()
        assert app.channels == 0
        while fake.kernels[kernel.id].connections != 1:
            await trio.testing.wait_all_tasks_blocked(0.01)
    assert said[-1] == at
    assert [record.getMessage() for record in caplog.records if record.levelname in {"ERROR", "WARNING"}] == []


NAME = Gate(ProxyConfig(token=TOKEN)).cookie_name()
COOKIE = f"{NAME}={Gate(ProxyConfig(token=TOKEN)).cookie_value()}".encode()


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ([HOST, SIGNED_IN], 200),
        ([HOST, HOST, SIGNED_IN], 400),
        ([HOST, SIGNED_IN, SIGNED_IN], 400),
        ([HOST, SIGNED_IN, (b"origin", b"http://localhost"), (b"Origin", b"http://localhost")], 400),
        ([HOST, SIGNED_IN, (b"accept", b"a/b"), (b"accept", b"c/d")], 200),
        ([HOST, (b"cookie", COOKIE), (b"cookie", b"other=1")], 200),
        ([HOST, (b"cookie", b"other=1"), (b"cookie", COOKIE)], 200),
        ([HOST, (b"cookie", b"other=1"), (b"cookie", b"another=2")], 401),
    ],
)
async def test_what_decides_who_comes_in_may_be_there_once(headers: list[tuple[bytes, bytes]], status: int) -> None:
    """Also where another server than ours hands it over. Cookies may come in parts, as from HTTP/2."""
    said: list[Any] = []

    async def receive() -> Any:
        await trio.lowlevel.checkpoint()
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Any) -> None:
        await trio.lowlevel.checkpoint()
        said.append(message)

    scope = {"type": "http", "scheme": "http", "method": "GET", "path": "/api/status", "query_string": b"", "headers": headers}
    async with FakeGateway() as fake, fake.open() as gateway:
        await create_app(gateway, token=TOKEN)(scope, receive, send)
    assert said[0]["status"] == status


async def test_http_is_guarded() -> None:
    async with open_proxy(None) as proxy:
        for path in (
            "/api/me",
            "/api/terminals",
            "/api/",
            "/api/kernels",
            "/kernelspecs/python3/logo-64x64.png",
            "/metrics",
            "/nothing",
        ):
            refused = await proxy.ask("GET", path, token=None)
            assert refused.status == 401
            assert refused.headers["www-authenticate"] == "token"
            assert set(refused.json()) == {"message", "reason"}
        assert (await proxy.ask("GET", "/api", headers={"Host": "rebound.example"})).status == 403
        foreign = await proxy.ask("GET", "/api", headers={"Origin": "https://evil.example"})
        assert foreign.status == 403
        assert "access-control-allow-origin" not in foreign.headers
        own = await proxy.ask("GET", "/api", headers={"Origin": f"http://127.0.0.1:{proxy.port}"})
        assert own.status == 200


async def test_the_version_is_told_to_who_has_no_token() -> None:
    """Clients of Jupyter servers wait for it; Host and Origin are checked as everywhere."""
    async with open_proxy(None) as proxy:
        for method, wrong in (("GET", None), ("HEAD", None), ("GET", "wrong")):
            answer = await proxy.ask(method, "/api", token=wrong)
            assert (answer.status, answer.headers.get("set-cookie")) == (200, None)
            assert answer.body == b"" or answer.json() == {"version": trio_gateway.__version__, "proxy": "trio_gateway"}
        assert (await proxy.ask("GET", "/api?token=wrong", token=None)).status == 200
        assert (await proxy.ask("POST", "/api", token=None)).status == 401
        for headers in ({"Host": "rebound.example"}, {"Origin": "https://evil.example"}):
            assert (await proxy.ask("GET", "/api", token=None, headers=headers)).status == 403


async def test_who_comes_with_the_token_in_the_url_gets_a_cookie() -> None:
    async with open_proxy(None) as proxy:
        came = await proxy.ask("GET", f"/api?token={TOKEN}", token=None)
        cookie = came.headers["set-cookie"].partition(";")[0]
        assert "set-cookie" not in (await proxy.ask("GET", "/api")).headers
        with_cookie = {"Cookie": cookie}
        assert (await proxy.ask("GET", "/api/kernels", token=None, headers=with_cookie)).status == 200
        assert (await proxy.ask("POST", "/api/kernels", token=None, headers=with_cookie)).status == 403
        proxy.app.change_token("another")
        assert (await proxy.ask("GET", "/api/kernels", token=None, headers=with_cookie)).status == 401


async def test_cors_is_as_configured() -> None:
    lab = {"Origin": "https://lab.example.org"}
    ask = {**lab, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "authorization"}
    async with open_proxy(None, allowed_origins="https://lab.example.org") as proxy:
        preflight = await proxy.ask("OPTIONS", "/api/kernels", token=None, headers=ask)
        assert preflight.status == 204
        assert preflight.headers["access-control-allow-origin"] == "https://lab.example.org"
        assert preflight.headers["access-control-allow-credentials"] == "true"
        assert "Authorization" in preflight.headers["access-control-allow-headers"]
        answer = await proxy.ask("GET", "/api", headers=lab)
        assert (answer.status, answer.headers["access-control-allow-origin"]) == (200, "https://lab.example.org")
        assert answer.headers["vary"] == "Origin"
        # An error can be read by that page too.
        assert "access-control-allow-origin" in (await proxy.ask("GET", "/api", token=None, headers=lab)).headers
        other = {"Origin": "https://other.example", "Access-Control-Request-Method": "POST"}
        refused = await proxy.ask("OPTIONS", "/api/kernels", token=None, headers=other)
        assert refused.status == 403
        assert "access-control-allow-origin" not in refused.headers
    async with open_proxy(None, allowed_origins="*") as proxy:
        answer = await proxy.ask("GET", "/api", headers=lab)
        assert answer.headers["access-control-allow-origin"] == "https://lab.example.org"
        assert "access-control-allow-credentials" not in answer.headers


async def test_credentials_stay_on_their_side(behind: Behind, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    sent: list[bytes] = []

    def note(data: bytes) -> bytes:
        sent.append(data)
        return data

    async with open_upstream(behind) as upstream, open_tcp_proxy(upstream.url) as between:
        between.on_link = lambda link: setattr(link.to_server, "rewrite", note)
        async with (
            trio_gateway.open_gateway(between.url, auth_token=upstream.token) as gateway,
            serve_gateway(gateway) as proxy,
        ):
            headers = {"Cookie": "secret-cookie=1", "X-Secret": "secret-header", "User-Agent": "secret-agent"}
            answer = await proxy.ask("GET", f"/api/kernelspecs?token={TOKEN}&user=secret-query", headers=headers)
            assert answer.status == 200
            missing = await proxy.ask("GET", "/api/kernels/none", headers=headers)
            assert missing.status == 404
    asked = b"".join(sent)
    assert upstream.token.encode() in asked
    assert TOKEN.encode() not in asked
    assert b"secret" not in asked
    for told in (answer, missing):
        assert upstream.token.encode() not in told.body
        assert upstream.token not in str(told.headers)
    assert TOKEN not in caplog.text
    assert "secret" not in caplog.text
    assert upstream.token not in caplog.text


def test_an_application_is_made_from_a_configuration_and_settings() -> None:
    async def main() -> None:
        async with trio_gateway.open_gateway("http://127.0.0.1:1") as gateway:
            app = create_app(gateway, ProxyConfig(token=TOKEN), base_path="/x/")
            assert (app.token, app.config.base_path, app.channels) == (TOKEN, "/x/", 0)
            assert TOKEN not in repr(app)
            with pytest.raises(trio_gateway.InvalidInputError, match="max_body_size"):
                create_app(gateway, max_body_size=0)

    trio.run(main)
