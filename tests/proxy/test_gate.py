"""Who may come in: tokens, Origins, Hosts, cookies and CORS; and what goes no further."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest

import trio_gateway
from trio_gateway.proxy import ProxyConfig
from trio_gateway.proxy._gate import Caller, Gate, Refused

from .proxy_kit import TOKEN


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
