"""Secrets are taken out of what others wrote. G8."""

from __future__ import annotations

import html
import json
from urllib.parse import quote, quote_plus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.headers import Headers
from trio_gateway._protocol.masking import MASK, Masker, shorten, tidy

SECRET = 'a&b/ <c>"ä'


@pytest.mark.parametrize(
    "form",
    [
        SECRET,
        quote(SECRET, safe=""),
        quote_plus(SECRET),
        html.escape(SECRET),
        json.dumps(SECRET)[1:-1],
        json.dumps(SECRET, ensure_ascii=False)[1:-1],
    ],
)
def test_a_secret_is_hidden_however_it_is_written(form: str):
    assert Masker([SECRET])(f"You sent x{form}y!") == f"You sent x{MASK}y!"


def test_a_secret_that_begins_with_another_one():
    assert Masker(["abc", "abcdef"])("abcdef abc") == f"{MASK} {MASK}"


def test_nothing_to_hide():
    assert Masker([])("text") == "text"
    assert Masker([""])("text") == "text"
    assert Masker([" "])("text") == "text"


def test_a_masker_shows_nothing():
    assert repr(Masker(["s3cret"])) == "<Masker>"


@given(st.text(min_size=1), st.text(), st.text())
def test_no_secret_is_left(secret: str, before: str, after: str):
    # The mark itself may hold a short secret.
    assert secret not in Masker([secret])(before + secret + after).replace(MASK, "\0") or secret == "\0"


def test_tidy_and_shorten():
    assert tidy(" a\x1b[1m\r\n\u202eb\ud800 \u074b\u200bc\u00e4 ") == "a [1m b c\u00e4"
    assert shorten("abcdef", 6) == "abcdef"
    assert shorten("abcdefg", 6) == "abcd …"
    assert shorten("x" * 501) == "x" * 498 + " …"


def test_headers_ignore_case_and_keep_repeated_ones():
    headers = Headers([("Set-Cookie", "a=1"), ("set-cookie", "b=2"), ("X", "y")])
    assert headers["SET-COOKIE"] == "a=1, b=2"
    assert headers.get_list("set-Cookie") == ["a=1", "b=2"]
    assert headers.get_list("none") == []
    assert "x" in headers
    assert 5 not in headers
    assert list(headers) == ["set-cookie", "x"]
    assert len(headers) == 2
    assert repr(headers) == "<Headers set-cookie, x>"
