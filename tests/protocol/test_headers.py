"""An answer's headers: names without case, repeated ones joined or told apart, values never shown."""

from __future__ import annotations

import pytest

from trio_gateway._protocol.headers import Headers

HEADERS = Headers(
    [
        ("Content-Type", "text/plain"),
        ("Set-Cookie", "a=1, b"),
        ("VARY", "Origin"),
        ("set-cookie", "c=secret"),
        ("vary", "Cookie"),
    ]
)


@pytest.mark.parametrize("name", ["content-type", "Content-Type", "CONTENT-TYPE"])
def test_names_compare_without_case(name: str) -> None:
    assert HEADERS[name] == "text/plain"
    assert name in HEADERS
    assert HEADERS.get(name) == "text/plain"


def test_repeated_ones_are_joined_in_the_order_of_the_wire() -> None:
    assert HEADERS["vary"] == "Origin, Cookie"
    assert list(HEADERS) == ["content-type", "set-cookie", "vary"]
    assert len(HEADERS) == 3


def test_what_must_not_be_joined_can_be_had_one_by_one() -> None:
    assert HEADERS.get_list("Set-Cookie") == ["a=1, b", "c=secret"]
    assert HEADERS.get_list("etag") == []
    HEADERS.get_list("set-cookie").clear()
    assert len(HEADERS.get_list("set-cookie")) == 2, "the list is the caller's"


def test_what_is_not_there() -> None:
    assert "etag" not in HEADERS
    assert 5 not in HEADERS
    with pytest.raises(KeyError):
        HEADERS["etag"]
    assert list(Headers()) == []


def test_only_names_are_shown() -> None:
    assert repr(HEADERS) == "<Headers content-type, set-cookie, vary>"
