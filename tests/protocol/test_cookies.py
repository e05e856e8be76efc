"""RFC 6265 as far as a gateway and the load balancer before it need it. lesson B37."""

from __future__ import annotations

import math
import time
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.cookies import MAX_COOKIES, CookieJar, parse_cookie, parse_cookie_date

NOW = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
URL = "https://gateway.example/user/alice/api/kernels"


def jar(*values: str, url: str = URL, now: float = NOW) -> CookieJar:
    found = CookieJar()
    found.store(values, url, now=now)
    return found


def test_a_sticky_cookie_comes_back():
    assert jar("AWSALB=abc; Path=/").header(URL, now=NOW) == "AWSALB=abc"


def test_a_cookie_goes_to_the_websocket_too():
    sticky = jar("s=1; Path=/; Secure")
    assert sticky.header("wss://gateway.example/api/kernels/x/channels", now=NOW) == "s=1"
    assert sticky.header("ws://gateway.example/api/kernels/x/channels", now=NOW) is None


def test_no_cookie_is_no_header():
    assert CookieJar().header(URL, now=NOW) is None


@pytest.mark.parametrize(
    ("attributes", "host", "sent"),
    [
        ("", "gateway.example", True),
        ("", "GATEWAY.example", True),
        ("", "a.gateway.example", False),
        ("", "example", False),
        ("; Domain=gateway.example", "a.gateway.example", True),
        ("; Domain=.gateway.example", "a.gateway.example", True),
        ("; Domain=GATEWAY.example", "gateway.example", True),
        ("; Domain=gateway.example", "evilgateway.example", False),
        ("; Domain=", "gateway.example", True),
        ("; Domain=", "a.gateway.example", False),
        ("; Domain=.", "gateway.example", True),
        ("; Domain=other.example", "gateway.example", False),
        ("; Domain=other.example", "other.example", False),
        ("; Domain=a.gateway.example", "a.gateway.example", False),
        ("; Domain=example", "gateway.example", False),
    ],
)
def test_a_cookie_goes_to_the_host_that_set_it(attributes: str, host: str, sent: bool):
    assert (jar("s=1" + attributes).header(f"https://{host}/user/alice/api/kernels", now=NOW) is not None) is sent


def test_a_cookie_may_be_set_for_the_domain_above():
    sticky = jar("s=1; Path=/; Domain=gateway.example", url="https://a.gateway.example/x")
    assert sticky.header("https://b.gateway.example", now=NOW) == "s=1"
    assert len(jar("s=1; Domain=example", url="https://a.example/x")) == 0


def test_a_host_with_a_dot_at_its_end_is_the_same_host():
    assert jar("s=1; Path=/", url="https://gateway.example./x").header("https://gateway.example", now=NOW) == "s=1"


def test_the_path_of_a_document_at_the_top():
    (cookie,) = jar("s=1", url="https://gateway.example/x")
    assert cookie.path == "/"


def test_a_cookie_of_an_address_goes_to_that_address_only():
    here = jar("s=1; Domain=127.0.0.1", url="http://127.0.0.1/x")
    assert here.header("http://127.0.0.1/y", now=NOW) == "s=1"
    assert here.header("http://1.127.0.0.1/y", now=NOW) is None
    assert jar("s=1; Domain=0.0.1", url="http://127.0.0.1/x").header("http://127.0.0.1/y", now=NOW) is None


@pytest.mark.parametrize(
    ("attributes", "path", "sent"),
    [
        ("", "/user/alice/api/kernels", True),
        ("", "/user/alice/api/kernelspecs", True),
        ("", "/user/alice/api", True),
        ("", "/user/alice", False),
        ("; Path=/", "/", True),
        ("; Path=/user/alice", "/user/alice/api", True),
        ("; Path=/user/alice", "/user/alice", True),
        ("; Path=/user/alice/", "/user/alice/x", True),
        ("; Path=/user/alice", "/user/alicia", False),
        ("; Path=/USER", "/user/alice", False),
        ("; Path=relative", "/user/alice/api/x", True),
        ("; Path=relative", "/user", False),
    ],
)
def test_a_cookie_goes_to_its_path(attributes: str, path: str, sent: bool):
    assert (jar("s=1" + attributes).header(f"https://gateway.example{path}", now=NOW) is not None) is sent


def test_a_secure_cookie_goes_only_over_tls():
    sticky = jar("s=1; Path=/; secure")
    assert sticky.header("http://gateway.example/", now=NOW) is None
    assert sticky.header("https://gateway.example/", now=NOW) == "s=1"


def test_a_plain_connection_sets_no_secure_cookie():
    assert len(jar("s=1; Path=/; Secure", url="http://gateway.example/")) == 0


@pytest.mark.parametrize(
    ("attributes", "lifetime"),
    [
        ("", math.inf),
        ("; Max-Age=10", 10),
        ("; max-age = 10", 10),
        ("; Max-Age=0", -math.inf),
        ("; Max-Age=-1", -math.inf),
        # lesson B37: each of these once broke every request that followed
        ("; Max-Age=soon", math.inf),
        ("; Max-Age=1.5", math.inf),
        ("; Max-Age=", math.inf),
        ("; Max-Age", math.inf),
        ("; Max-Age=" + "9" * 12, 999_999_999_999),
        ("; Max-Age=" + "9" * 13, math.inf),
        ("; Max-Age=" + "9" * 5000, math.inf),
        ("; Max-Age=-" + "9" * 5000, -math.inf),
        ("; Max-Age=" + "0" * 5000, -math.inf),
        ("; Expires=Thu, 01 Jan 2026 00:00:20 GMT", 20),
        ("; Expires=Thu, 01 Jan 2026 00:00:20 GMT; Max-Age=10", 10),
        ("; Max-Age=10; Expires=Thu, 01 Jan 2026 00:00:20 GMT", 10),
        ("; Max-Age=soon; Expires=Thu, 01 Jan 2026 00:00:20 GMT", 20),
        ("; Expires=tomorrow", math.inf),
        ("; Expires=tomorrow; Max-Age=3", 3),
    ],
)
def test_how_long_a_cookie_lasts(attributes: str, lifetime: float):
    cookie = parse_cookie("s=1" + attributes, URL, now=NOW)
    assert cookie is not None
    assert cookie.expires - NOW == lifetime


def test_a_cookie_ends():
    sticky = jar("s=1; Max-Age=10")
    assert sticky.header(URL, now=NOW + 9.9) == "s=1"
    assert sticky.header(URL, now=NOW + 10) is None


def test_a_cookie_is_taken_back():
    sticky = jar("s=1")
    sticky.store(["s=; Max-Age=0"], URL, now=NOW + 1)
    assert len(sticky) == 0
    sticky.store(["s=2"], URL, now=NOW + 2)
    sticky.store(["s=2; Expires=Thu, 01 Jan 1970 00:00:00 GMT"], URL, now=NOW + 3)
    assert sticky.header(URL, now=NOW + 3) is None


def test_a_cookie_that_ends_now_has_ended():
    assert len(jar("s=1; Expires=Thu, 01 Jan 2026 00:00:00 GMT")) == 0


def test_a_changed_cookie_replaces_the_old_one_and_keeps_its_place():
    sticky = jar("a=1", "b=1")
    sticky.store(["a=2"], URL, now=NOW)
    assert sticky.header(URL, now=NOW) == "a=2; b=1"


def test_longer_paths_come_first():
    assert jar("a=1; Path=/", "b=1; Path=/user/alice", "c=1; Path=/").header(URL, now=NOW) == "b=1; a=1; c=1"


@pytest.mark.parametrize(
    "value",
    [
        "",
        "novalue",
        "=1",
        "a b=1",
        "a=1\r\nX: y",
        "a=1\n",
        "\na=1",
        "a=\x00",
        "ä=1",
        "a=ä",
        "a\t=\x7f",
        "a=" + "x" * 4096,
        "=",
        ";",
        ";;Path=/",
    ],
)
def test_a_cookie_that_is_none_is_left_out(value: str):
    assert [cookie.name for cookie in jar(value, "good=1")] == ["good"]


def test_the_largest_cookie():
    assert len(jar("a=" + "x" * 4095)) == 1


def test_names_of_attributes_have_no_white_space_but_blanks_around_them():
    (cookie,) = jar("s=1;\x0bSecure;XSecure;Path \t=\t /userX ")
    assert (cookie.secure, cookie.path) == (False, "/userX")
    (cookie,) = jar("s=1;Path=\x0b/user")
    assert cookie.path == "/user/alice/api"


def test_what_is_not_quite_allowed_is_kept_as_it_came():
    assert jar('a="x, y"; Path=/').header(URL, now=NOW) == 'a="x, y"'
    assert jar("a=b=c==").header(URL, now=NOW) == "a=b=c=="
    assert jar(" Xa = bX ").header(URL, now=NOW) == "Xa=bX"


def test_a_jar_does_not_grow_without_end():  # G7
    sticky = jar(*(f"c{number}=1; Path=/" for number in range(10 * MAX_COOKIES)))
    assert len(sticky) == MAX_COOKIES
    assert f"c{10 * MAX_COOKIES - 1}=1" in (sticky.header(URL, now=NOW) or "")


def test_what_has_ended_makes_room():
    sticky = jar("old=1; Max-Age=1")
    sticky.store(["new=1"], URL, now=NOW + 2)
    assert [cookie.name for cookie in sticky] == ["new"]


def test_no_value_is_shown():  # G8
    sticky = jar("s=hush-hush")
    assert "hush" not in repr(sticky) + repr(list(sticky))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Thu, 01 Jan 2026 00:00:20 GMT", (2026, 1, 1, 0, 0, 20)),
        ("Thursday, 01-Jan-26 00:00:20 GMT", (2026, 1, 1, 0, 0, 20)),
        ("Thu Jan  1 00:00:20 2026", (2026, 1, 1, 0, 0, 20)),
        ("1 jan 70 0:0:0", (1970, 1, 1, 0, 0, 0)),
        ("1 jan 99 0:0:0", (1999, 1, 1, 0, 0, 0)),
        ("1 jan 1601 0:0:0", (1601, 1, 1, 0, 0, 0)),
        ("1 January 2030 1:2:3+0200", (2030, 1, 1, 1, 2, 3)),
    ],
)
def test_dates_are_read_leniently(text: str, expected: tuple[int, int, int, int, int, int]):
    assert parse_cookie_date(text) == datetime(*expected, tzinfo=UTC).timestamp()


def test_a_date_is_the_same_wherever_we_are(monkeypatch: pytest.MonkeyPatch):
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "UTC+7")
        time.tzset()
        found = parse_cookie_date("1 jan 70 0:0:0")
    time.tzset()
    assert found == 0.0


@pytest.mark.parametrize(
    "text",
    [
        "",
        "1 jan 2026",
        "00:00:00",
        "0:0:0 jan 2026",
        "0:0:0 1 2026",
        "0:0:0 1 jan",
        "1 jan 100 0:0:0",
        "31 feb 2026 0:0:0",
        "1 jan 1500 0:0:0",
        "1 jan 2026 25:00:00",
        "1 jan 2026 0:60:00",
        "x" * 10**6,
    ],
)
def test_what_is_no_date_is_none(text: str):
    assert parse_cookie_date(text) is None


@given(
    st.lists(st.text(), max_size=5), st.lists(st.sampled_from(["Path=", "Domain=", "Max-Age=", "Expires=", "Secure", "; ", "="]))
)
def test_no_cookie_breaks_the_jar(texts: list[str], words: list[str]):
    sticky = jar("good=1")
    sticky.store(["a=b;" + ";".join(texts), "".join(words + texts), *texts], URL, now=NOW)
    header = sticky.header(URL, now=NOW) or ""
    assert header.isascii()
    assert header.isprintable()
