"""URLs of requests: which server one leads to, what may be shown of it, and where a redirect leads."""

from __future__ import annotations

from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway import InvalidInputError
from trio_gateway._protocol.urls import origin_of, request_target, resolve_redirect, split_url, without_query


@pytest.mark.parametrize(
    ("url", "origin"),
    [
        ("http://Host.Test/x", ("http", "host.test", 80)),
        ("https://host.test./", ("https", "host.test", 443)),
        ("ws://host.test", ("http", "host.test", 80)),
        ("wss://host.test:8443", ("https", "host.test", 8443)),
        ("http://me:pw@[::1]:81/", ("http", "::1", 81)),
        ("/only/a/path", ("", "", 80)),
    ],
)
def test_a_server_is_scheme_host_and_port_however_they_are_written(url: str, origin: tuple[str, str, int]):
    assert origin_of(urlsplit(url)) == origin


@pytest.mark.parametrize(
    "url", ["http://h/caf\xe9", "http://h/a b", "http://h/#f", "http://[::1", "http://h:99999/", "http://h:0/"]
)
def test_a_url_that_can_not_be_sent_is_refused_and_not_shown(url: str):  # G8, G10
    with pytest.raises(InvalidInputError, match=r"url: .* expected an escaped URL without fragment") as caught:
        split_url(url)
    assert caught.value.value is None


def test_a_url_is_split():
    assert split_url("http://h:1/a?b=c")[:4] == ("http", "h:1", "/a", "b=c")


@pytest.mark.parametrize(("url", "target"), [("http://h", "/"), ("http://h?a=b", "/?a=b"), ("http://h/x%20y?a", "/x%20y?a")])
def test_what_stands_in_the_request_line(url: str, target: str):
    assert request_target(url) == target


def test_neither_query_nor_user_is_shown():  # G8
    assert without_query("wss://me:pw@h:1/a?token=s3cret#f") == "wss://h/a"


HERE = "http://gateway.test:8888/Base/api/old?q=1"


@pytest.mark.parametrize(
    ("location", "target"),
    [
        ("/Base/new?a=1#f", "http://gateway.test:8888/Base/new?a=1"),
        ("new/", "http://gateway.test:8888/Base/api/new/"),
        ("?b", "http://gateway.test:8888/Base/api/old?b"),
        ("//GATEWAY.test.:8888/x", "http://gateway.test:8888/x"),
        ("http://me:pw@gateway.test:8888/x", "http://gateway.test:8888/x"),
        ("/caf\xe9 x%20y", "http://gateway.test:8888/caf%E9%20x%20y"),
    ],
)
def test_a_redirect_within_the_server(location: str, target: str):
    assert resolve_redirect(HERE, location) == (target, "http://gateway.test:8888")


@pytest.mark.parametrize(
    ("location", "where"),
    [
        ("http://evil.test/", "http://evil.test:80"),
        ("https://gateway.test:8888/", "https://gateway.test:8888"),
        ("http://gateway.test:8888@evil.test/", "http://evil.test:80"),
        ("http://gateway.test:99999/", "a place that can't be read"),
        ("http://[::1", "a place that can't be read"),
        ("javascript:alert(1)", "javascript://:80"),
    ],
)
def test_a_redirect_to_another_place_has_no_target(location: str, where: str):  # G8
    assert resolve_redirect(HERE, location) == (None, where)


@given(st.text(st.characters(max_codepoint=255)))
def test_no_redirect_leaves_the_server(location: str):  # G8
    target, _ = resolve_redirect(HERE, location)
    if target is not None:
        assert origin_of(split_url(target)) == ("http", "gateway.test", 8888)
        assert "@" not in urlsplit(target).netloc
