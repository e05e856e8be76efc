"""Who may come in: tokens, Origins, Hosts, cookies and CORS; and what goes no further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway.proxy import ProxyConfig, create_app
from trio_gateway.proxy._gate import Caller, Gate, Refused

from .proxy_kit import TOKEN, open_proxy, open_upstream, serve_gateway

if TYPE_CHECKING:
    from .proxy_kit import Behind


def caller(gate: Gate, method: str = "GET", query: bytes = b"", **headers: str) -> Caller | int:
    """By what a caller is known, or the status they get."""
    try:
        return gate.check_token(method, headers, query)
    except Refused as refused:
        return refused.status_code


NAME = Gate(ProxyConfig(token=TOKEN)).cookie_name()


@pytest.mark.parametrize(
    ("headers", "query", "found"),
    [
        ({"authorization": f"token {TOKEN}"}, b"", Caller.HEADER),
        ({"authorization": f"Bearer {TOKEN}"}, b"", Caller.HEADER),
        ({"authorization": f"TOKEN  {TOKEN}"}, b"", Caller.HEADER),
        ({"authorization": f"Basic {TOKEN}"}, b"", 401),
        ({"authorization": TOKEN}, b"", 401),
        ({"authorization": f"token {TOKEN}x"}, b"", 401),
        ({"authorization": "token "}, b"", 401),
        ({"authorization": "token \u00fc"}, b"", 401),
        ({}, b"token=" + TOKEN.encode(), Caller.QUERY),
        ({}, b"a=b&token=" + TOKEN.encode(), Caller.QUERY),
        ({}, b"token=", 401),
        ({}, b"token=x&token=" + TOKEN.encode(), 401),
        ({}, b"token=%ff%fe", 401),
        ({}, b"&".join([b"a=b"] * 101), 400),
        ({"authorization": "token wrong"}, b"token=" + TOKEN.encode(), 401),
        ({}, b"", 401),
        ({"cookie": f"{NAME}="}, b"", 401),
        ({"cookie": f"{NAME}={TOKEN}"}, b"", 401),
    ],
)
def test_the_token(headers: Mapping[str, str], query: bytes, found: Caller | int) -> None:
    assert caller(Gate(ProxyConfig(token=TOKEN)), query=query, **headers) == found


def test_the_cookie_is_not_the_token_and_ends_with_it() -> None:
    gate = Gate(ProxyConfig(token=TOKEN))
    header = gate.set_cookie(secure=True)
    cookie = header.partition(";")[0]
    assert TOKEN not in header
    assert {"HttpOnly", "SameSite=Strict", "Secure", "Path=/"} <= set(header.split("; "))
    assert "Secure" not in gate.set_cookie(secure=False)
    assert caller(gate, cookie=f"a=b; {cookie}; c") is Caller.COOKIE
    # A browser sends a cookie whoever asks: what changes something needs the Origin, which no page can choose.
    for method in ("POST", "DELETE", "PATCH", "WEBSOCKET"):
        assert caller(gate, method, cookie=cookie) == 403
        assert caller(gate, method, cookie=cookie, host="127.0.0.1", origin="http://127.0.0.1") is Caller.COOKIE
    gate.change_token("another")
    assert caller(gate, cookie=cookie) == 401
    assert caller(gate, authorization="token another") is Caller.HEADER


def test_two_proxies_on_one_host_have_cookies_of_their_own() -> None:
    """A browser has one cookie of a name for a host, whatever the port, and sends all it has."""
    gates = [Gate(ProxyConfig(token=token)) for token in (TOKEN, "another")]
    jar = dict(gate.set_cookie(secure=False).partition(";")[0].split("=", 1) for gate in gates)
    sent = "; ".join(f"{name}={value}" for name, value in jar.items())
    assert [caller(gate, cookie=sent) for gate in gates] == [Caller.COOKIE, Caller.COOKIE]
    assert TOKEN not in sent


@pytest.mark.parametrize("method", ["GET", "POST", "WEBSOCKET"])
def test_a_page_from_elsewhere_has_no_use_of_the_cookie_unless_it_is_named(method: str) -> None:
    """Also where every page may come in: a browser sends the cookie for pages on other ports of the proxy's host."""
    gate = Gate(ProxyConfig(token=TOKEN, allowed_origins=["*", "https://lab.example.org"]))
    cookie = gate.set_cookie(secure=False).partition(";")[0]
    ours = {"host": "localhost:8889", "cookie": cookie}
    assert caller(gate, method, origin="http://localhost:8889", **ours) is Caller.COOKIE
    assert caller(gate, method, origin="https://lab.example.org", **ours) is Caller.COOKIE
    for origin in ("http://localhost:3000", "http://evil.example", "null"):
        assert gate.check_origin({"host": "localhost:8889", "origin": origin}) == origin
        assert caller(gate, method, origin=origin, **ours) == 403
        assert caller(gate, method, origin=origin, authorization=f"token {TOKEN}", **ours) is Caller.HEADER


def test_a_token_is_needed_unless_that_is_switched_off_by_name() -> None:
    first, second = Gate(ProxyConfig()), Gate(ProxyConfig())
    assert first.token is not None
    assert len(first.token) == 48
    assert first.token != second.token
    assert caller(first) == 401
    assert caller(first, authorization=f"token {first.token}") is Caller.HEADER
    anyone = Gate(ProxyConfig(allow_anyone=True))
    assert anyone.token is None
    assert caller(anyone) is Caller.ANYONE


@pytest.mark.parametrize(
    ("host", "status"),
    [
        ("localhost:8888", None),
        ("LOCALHOST", None),
        ("127.0.0.1:1", None),
        ("192.0.2.7", None),
        ("[::1]:8888", None),
        ("proxy.example.org:443", None),
        ("rebound.example", 403),
        ("proxy.example.org.evil.example", 403),
        ("localhost.evil.example", 403),
        ("evil.example@localhost", 400),
        ("localhost/evil", 400),
        ("", 400),
        (":80", 400),
        ("localhost:http", 400),
        ("[::1", 400),
    ],
)
def test_the_host(host: str, status: int | None) -> None:
    gate = Gate(ProxyConfig(allowed_hosts="proxy.example.org"))
    if status is None:
        gate.check_host({"host": host})
    else:
        with pytest.raises(Refused) as refused:
            gate.check_host({"host": host})
        assert refused.value.status_code == status


@pytest.mark.parametrize(
    ("origin", "host", "found"),
    [
        (None, "localhost:1", None),
        ("http://localhost:1", "localhost:1", None),
        ("http://LOCALHOST:1", "localhost:1", None),
        ("https://localhost", "localhost", None),
        ("https://localhost", "localhost:443", None),
        ("http://[::1]:8", "[::1]:8", None),
        ("https://lab.example.org", "localhost:1", "https://lab.example.org"),
        ("http://localhost:2", "localhost:1", Refused),
        ("http://localhost", "localhost:1", Refused),
        ("https://lab.example.org.evil", "localhost:1", Refused),
        ("null", "localhost:1", Refused),
        ("", "localhost:1", Refused),
        ("file://localhost:1", "localhost:1", Refused),
        ("http://localhost:x", "localhost:1", Refused),
    ],
)
def test_the_origin(origin: str | None, host: str, found: Any) -> None:
    gate = Gate(ProxyConfig(allowed_origins=["https://lab.example.org"]))
    headers = {"host": host} | ({} if origin is None else {"origin": origin})
    if found is Refused:
        with pytest.raises(Refused):
            gate.check_origin(headers)
    else:
        assert gate.check_origin(headers) == found


@pytest.mark.parametrize(
    ("setting", "value"),
    [
        ("token", ""),
        ("token", "two words"),
        ("token", 7),
        ("allow_anyone", "yes"),
        ("allowed_origins", ["lab.example.org"]),
        ("allowed_origins", ["https://lab.example.org/"]),
        ("allowed_hosts", ["host:80"]),
        ("base_path", "lab"),
        ("base_path", "/lab"),
        ("base_path", "/a b/"),
        ("max_body_size", 0),
        ("max_message_size", -1),
        ("max_channels", True),
        ("body_seconds", float("inf")),
        ("header_seconds", 0),
    ],
)
def test_a_wrong_setting_is_named_and_a_token_is_never_shown(setting: str, value: object) -> None:
    with pytest.raises((trio_gateway.InvalidInputError, TypeError), match=setting) as wrong:
        ProxyConfig(**{setting: value})  # type: ignore[arg-type]
    assert "two words" not in str(wrong.value)
    assert "two words" not in repr(wrong.value)


def test_the_token_shows_nowhere() -> None:
    config = ProxyConfig(token=TOKEN)
    assert TOKEN not in repr(config)
    assert TOKEN not in repr(Gate(config))


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
