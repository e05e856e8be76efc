"""Paths from names, models from JSON, words from error pages."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._errors import InvalidInputError, KernelNotFoundError, KernelSpecNotFoundError, ProtocolError
from trio_gateway._protocol import rest

ANY_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=8), inner, max_size=4),
    max_leaves=20,
)


@pytest.fixture(autouse=True)
def _a_converter_of_our_own() -> None:
    """Else it is made once for all tests, and only the first one tests its making: mutations of it go unnoticed."""
    rest._converter.cache_clear()


# ----------------------------------------------------------------------------------------------------------------- paths


def test_paths():
    kernel_id = "0b0f5a0c-8b5e-4c61-9a0f-3f6f5f2f3a10"
    assert rest.kernels_path("/api/kernels") == "/api/kernels"
    assert rest.kernels_path("api/kernels/") == "/api/kernels"
    assert rest.kernel_path("/api/kernels", kernel_id) == f"/api/kernels/{kernel_id}"
    assert rest.kernel_path("/api/kernels", kernel_id, "interrupt") == f"/api/kernels/{kernel_id}/interrupt"
    assert rest.channels_path("/api/kernels", kernel_id) == f"/api/kernels/{kernel_id}/channels"
    assert rest.channels_path("/api/kernels", kernel_id, "a b&c") == f"/api/kernels/{kernel_id}/channels?session_id=a%20b%26c"
    assert rest.kernelspecs_path("/X/api/kernelspecsX/") == "/X/api/kernelspecsX"
    assert rest.kernels_path("/X/api/kernelsX/") == "/X/api/kernelsX"
    assert rest.resource_path("/X/kernelspecsX/", "X", "X") == "/X/kernelspecsX/X/X"
    assert rest.kernelspec_path("/api/kernelspecs", "ir") == "/api/kernelspecs/ir"
    assert rest.resource_path("/kernelspecs", "python3", "logo-64x64.png") == "/kernelspecs/python3/logo-64x64.png"
    assert rest.resource_path("/kernelspecs", "python3", "static/a b.js") == "/kernelspecs/python3/static/a%20b.js"


def test_what_is_escaped_already_is_escaped_again():
    assert rest.kernel_path("/api/kernels", "%2e%2e%2fsecret") == "/api/kernels/%252e%252e%252fsecret"
    assert rest.kernelspec_path("/api/kernelspecs", "a/b?c#d") == "/api/kernelspecs/a%2Fb%3Fc%23d"


NOT_EMPTY = 'text that is not empty, ".", or ".." between slashes'
PRINTABLE = "at most 1024 characters without control characters and backslashes"
UNICODE = "text that can be written in UTF-8"


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        *[(name, NOT_EMPTY) for name in ("", ".", "..")],
        *[(name, PRINTABLE) for name in ("a\0b", "a\nb", "..\\..", "x" * 1025)],
        ("\ud800", UNICODE),
        (5, "text (str)"),
    ],
)
def test_names_that_would_leave_their_segment_are_refused(name: Any, expected: str):  # lesson B39: `..` traversal
    calls: list[tuple[str, Callable[[], str]]] = [
        ("kernel_id", lambda: rest.kernel_path("/api/kernels", name)),
        ("action", lambda: rest.kernel_path("/api/kernels", "k", name)),
        ("name", lambda: rest.kernelspec_path("/api/kernelspecs", name)),
        ("name", lambda: rest.resource_path("/kernelspecs", name, "logo.png")),
    ]
    if isinstance(name, str):
        calls.append(("resource", lambda: rest.resource_path("/kernelspecs", "python3", name)))
    for field, call in calls:
        with pytest.raises(InvalidInputError) as caught:
            call()
        assert (caught.value.field, caught.value.value, caught.value.expected) == (field, name, expected)


def test_the_longest_name():
    assert rest.kernel_path("", "x" * 1024).endswith("/" + "x" * 1024)


@pytest.mark.parametrize("resource", ["../../secret", "/etc/passwd", "a//b", "a/", "a/./b", "a/../b"])
def test_resources_that_would_leave_their_folder_are_refused(resource: str):
    with pytest.raises(InvalidInputError) as caught:
        rest.resource_path("/kernelspecs", "python3", resource)
    assert (caught.value.field, caught.value.value) == ("resource", resource)


@given(st.text())
def test_a_name_stays_in_its_segment_or_is_refused(name: str):
    try:
        path = rest.kernelspec_path("/api/kernelspecs", name)
    except InvalidInputError:
        return
    prefix, _, segment = path.rpartition("/")
    assert prefix == "/api/kernelspecs"
    assert segment not in {"", ".", ".."}
    assert unquote(segment) == name
    assert path.isascii()
    assert "?" not in path
    assert "#" not in path


# ------------------------------------------------------------------------------------------------------------------ JSON


@pytest.mark.parametrize(
    ("content", "word"),
    [
        (b"", "is empty$"),
        (b"  \n", "is empty$"),
        (b"<html></html>", "is an HTML page$"),
        (b" <html> ", "is an HTML page$"),
        (b"{", "is not JSON$"),
        (b"\xff\xfe", "not JSON"),
        (b"\xff\xfe\x00\xd8", "not JSON"),
        (b"[" * 9_000, "nested"),
        (b"[" * 200_000, "has 200000 lists and objects"),
        (b"1" * 5000, "not JSON"),
    ],
)
def test_what_is_no_json_is_a_protocol_error(content: bytes, word: str):
    with pytest.raises(ProtocolError, match=word):
        rest.load_json(content)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-32"])
def test_json_comes_in_any_unicode(encoding: str):
    assert rest.load_json('{"a": "ä"}'.encode(encoding)) == {"a": "ä"}


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-01-02T03:04:05.678901Z", datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)),
        # lesson B17: the microseconds are left out when they are 0, and not every server writes Z
        ("2026-01-02T03:04:05Z", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05+00:00", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02T03:04:05.5+02:00", datetime(2026, 1, 2, 3, 4, 5, 500000, tzinfo=timezone(timedelta(hours=2)))),
        ("2026-01-02T03:04:05", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("2026-01-02 03:04:05.123456789Z", datetime(2026, 1, 2, 3, 4, 5, 123456, tzinfo=UTC)),
        (" 2026-01-02T03:04:05Z ", datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)),
        ("", None),
        ("yesterday", None),
        ("2026-13-01T00:00:00Z", None),
        ("0001-01-01T00:00:00+14:00", None),
        (None, None),
        (1767225600.0, None),
        ([], None),
    ],
)
def test_timestamps(text: object, expected: datetime | None):
    assert rest.parse_timestamp(text) == expected


@given(st.text() | st.datetimes(timezones=st.timezones() | st.none()).map(lambda time: time.isoformat()))
def test_any_timestamp_is_a_time_with_a_zone_or_nothing(text: str):
    time = rest.parse_timestamp(text)
    assert time is None or time.astimezone(UTC).tzinfo is UTC


KERNEL: dict[str, Any] = {
    "id": "k1",
    "name": "python3",
    "last_activity": "2026-01-02T03:04:05Z",
    "execution_state": "idle",
    "connections": 1,
}


def test_a_kernel():
    kernel = rest.parse_kernel({**KERNEL, "reason": "x", "extra": 1})
    assert (kernel.id, kernel.name, kernel.execution_state, kernel.connections) == ("k1", "python3", "idle", 1)
    assert kernel.last_activity == datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
    assert kernel.extra == {"reason": "x", "extra": 1}


def test_a_kernel_of_few_words():  # lesson B18: a gateway that omits `connections`
    kernel = rest.parse_kernel({"id": "k1", "name": None, "last_activity": "?", "connections": None})
    assert (kernel.name, kernel.execution_state, kernel.connections, kernel.last_activity) == ("", "unknown", None, None)


def test_null_is_an_unknown_kernel_where_one_was_asked_for():
    with pytest.raises(KernelNotFoundError) as caught:
        rest.parse_kernel(None, kernel_id="k1")
    assert (caught.value.kernel_id, caught.value.message) == ("k1", "it answered null")
    with pytest.raises(ProtocolError, match="expected an object, found null @"):
        rest.parse_kernel(None)


@pytest.mark.parametrize(
    ("body", "where"),
    [
        (5, r"expected an object, found a number @ \$$"),
        ("text", r"expected an object, found text @ \$$"),
        ([], r"expected an object, found a list @ \$$"),
        ({}, r"required field missing @ \$\.id"),
        ({**KERNEL, "id": 5}, r"expected text, found a number @ \$\.id"),
        ({**KERNEL, "id": None}, r"required field missing @ \$\.id"),
        ({**KERNEL, "connections": "1"}, r"expected a whole number, found text @ \$\.connections"),
        ({**KERNEL, "connections": True}, r"expected a whole number, found a truth value @ \$\.connections"),
        ({**KERNEL, "connections": 1.5}, r"expected a whole number, found a number @ \$\.connections"),
        ({**KERNEL, "execution_state": {}}, r"expected text, found an object @ \$\.execution_state"),
    ],
)
def test_a_kernel_of_wrong_types_names_the_place(body: object, where: str):
    with pytest.raises(ProtocolError, match=where):
        rest.parse_kernel(body)


def test_kernels():
    assert [kernel.id for kernel in rest.parse_kernels([KERNEL, {"id": "k2"}])] == ["k1", "k2"]
    assert rest.parse_kernels([]) == []
    with pytest.raises(ProtocolError, match=r"@ \$\[1\]\.id"):
        rest.parse_kernels([KERNEL, {"id": 1}])
    with pytest.raises(ProtocolError, match=r"expected a list, found an object @ \$$"):
        rest.parse_kernels({"a": 1})
    with pytest.raises(ProtocolError, match=r"expected a list, found text @ \$$"):
        rest.parse_kernels("abc")


def test_many_wrong_fields_are_one_short_error():
    with pytest.raises(ProtocolError) as caught:
        rest.parse_kernels([{"id": 1}] * 1000)
    assert len(str(caught.value)) < 600
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(("wrong", "end"), [(3, " @ $[2].id"), (4, " @ $[2].id; …")])
def test_three_wrong_fields_are_named(wrong: int, end: str):
    with pytest.raises(ProtocolError) as caught:
        rest.parse_kernels([{"id": 1}] * wrong)
    problems = str(caught.value).removeprefix("the gateway's answer should be a list of kernels: ").split("; ")
    assert problems[0] == "expected text, found a number @ $[0].id"
    assert str(caught.value).endswith(end)


@pytest.mark.parametrize(
    ("parse", "what", "kind"),
    [
        (rest.parse_kernel, "a kernel", "an object"),
        (rest.parse_kernels, "a list of kernels", "a list"),
        (rest.parse_kernelspecs, "a list of kernelspecs", "an object"),
        (lambda body: rest.parse_kernelspec(body, "python3"), "a kernelspec", "an object"),
        (rest.parse_session, "a session", "an object"),
        (rest.parse_sessions, "a list of sessions", "a list"),
    ],
)
def test_an_error_says_what_was_expected(parse: Callable[[object], object], what: str, kind: str):
    with pytest.raises(ProtocolError) as caught:
        parse(1.5)
    assert str(caught.value) == f"the gateway's answer should be {what}: expected {kind}, found a number @ $"


SPEC: dict[str, Any] = {
    "name": "python3",
    "spec": {
        "argv": ["python", "-m", "ipykernel_launcher"],
        "env": {"A": "1"},
        "display_name": "Python 3",
        "language": "python",
        "interrupt_mode": "signal",
        "metadata": {"debugger": True},
        "kernel_protocol_version": "5.5",
    },
    "resources": {"logo-svg": "/kernelspecs/python3/logo-svg.svg"},
    "more": 1,
}


def test_kernelspecs():
    specs = rest.parse_kernelspecs({"default": "python3", "kernelspecs": {"python3": SPEC, "bare": {"spec": {}}}})
    assert specs.default == "python3"
    spec = specs.kernelspecs["python3"]
    assert (spec.name, spec.display_name, spec.language) == ("python3", "Python 3", "python")
    assert spec.argv == ("python", "-m", "ipykernel_launcher")
    assert spec.env == {"A": "1"}
    assert spec.metadata == {"debugger": True}
    assert spec.resources == {"logo-svg": "/kernelspecs/python3/logo-svg.svg"}
    assert spec.extra == {"more": 1, "kernel_protocol_version": "5.5"}
    bare = specs.kernelspecs["bare"]
    assert (bare.name, bare.display_name, bare.argv, bare.interrupt_mode) == ("bare", "bare", (), "signal")


@pytest.mark.parametrize(("default", "listed"), [("python3", "python3"), ("PYTHON3", "python3"), ("julia", "julia"), ("", "")])
def test_the_default_is_named_as_it_is_listed(default: str, listed: str):
    assert rest.parse_kernelspecs({"default": default, "kernelspecs": {"python3": SPEC}}).default == listed


def test_wrong_entries_with_long_names_are_all_named():
    with pytest.raises(ProtocolError) as caught:
        rest.parse_kernelspecs({"kernelspecs": {letter * 10_000: 5 for letter in "abc"}})
    for letter in "abc":
        assert f"found a number @ $.kernelspecs['{letter * 90}" in str(caught.value)


def test_kernelspecs_without_a_default():
    assert rest.parse_kernelspecs({"kernelspecs": {}}).default is None


@pytest.mark.parametrize(
    ("body", "where"),
    [
        ({"kernelspecs": [["a", "b"]]}, r"expected an object, found a list @ \$\.kernelspecs"),
        (
            {"kernelspecs": {"a": {"spec": {"argv": "python"}}}},
            r"expected a list, found text @ \$\.kernelspecs\['a'\]\.spec\.argv",
        ),
        ({"kernelspecs": {"a": {"spec": {"env": {"X": 1}}}}}, r"found a number @ \$\.kernelspecs\['a'\]\.spec\.env\['X'\]"),
        ({"kernelspecs": {"a": {}}}, r"required field missing @ \$\.kernelspecs\['a'\]\.spec"),
        ({}, r"required field missing @ \$\.kernelspecs"),
    ],
)
def test_kernelspecs_of_wrong_types_name_the_place(body: object, where: str):
    with pytest.raises(ProtocolError, match=where):
        rest.parse_kernelspecs(body)


def test_one_kernelspec():
    assert rest.parse_kernelspec(SPEC, "python3").display_name == "Python 3"


def test_how_a_kernel_is_interrupted():
    assert rest.parse_kernelspec(SPEC, "python3").interrupt_mode == "signal"
    without_a_name = rest.parse_kernelspec({"spec": {"interrupt_mode": "message"}}, "x")
    assert (without_a_name.name, without_a_name.interrupt_mode) == ("x", "message")


def test_the_whole_list_in_place_of_one_kernelspec():  # lesson B38
    everything = {"default": "python3", "kernelspecs": {"python3": SPEC}}
    assert rest.parse_kernelspec(everything, "python3").display_name == "Python 3"
    with pytest.raises(KernelSpecNotFoundError) as caught:
        rest.parse_kernelspec(everything, "ir")
    assert (caught.value.name, caught.value.available) == ("ir", ("python3",))
    assert rest.parse_kernelspec({**SPEC, "kernelspecs": {}}, "python3").display_name == "Python 3"


def test_sessions():
    session = {"id": "s1", "path": "a.ipynb", "name": "", "type": "notebook", "kernel": KERNEL}
    assert rest.parse_session(session).kernel.id == "k1"
    assert rest.parse_sessions([session])[0].path == "a.ipynb"
    with pytest.raises(ProtocolError, match=r"@ \$\[0\]\.kernel\.id"):
        rest.parse_sessions([{**session, "kernel": {"id": 1}}])


@given(ANY_JSON)
def test_any_json_is_a_model_or_a_typed_error(body: object):
    for parse in (rest.parse_kernel, rest.parse_kernels, rest.parse_kernelspecs, rest.parse_session, rest.parse_sessions):
        with suppress(ProtocolError):
            parse(body)
    with suppress(ProtocolError, KernelSpecNotFoundError):
        rest.parse_kernelspec(body, "python3")


def test_json_has_so_many_lists_and_objects_at_most():
    assert len(rest.load_json(b"[" + b"[],{}," * 4_999 + b"[]]")) == 9_999  # and the one around them
    with pytest.raises(ProtocolError, match="10001 lists and objects"):
        rest.load_json(b"[" + b"[],{}," * 4_999 + b"[],{}]")
    # As many as its size allows, where it is large.
    assert len(rest.load_json(b"[" + b'[],"123456789012",{},"1234567890123",' * 9_999 + b"0]")) == 39_997


def test_deep_json_is_a_typed_error():
    deep: Any = "x"
    for _ in range(100_000):
        deep = [deep]
    with pytest.raises(ProtocolError):
        rest.parse_kernels(deep)


# ---------------------------------------------------------------------------------------------------------------- errors


def said(content: bytes, content_type: str = "application/json", status: int = 500, **more: Any) -> tuple[str, str]:
    return rest.parse_error(status, {"Content-Type": content_type}, content, **more)


def test_a_reason_of_the_gateways_own():
    assert said(b'{"reason": "Too many kernels"}') == ("Too many kernels", "")
    assert said(json.dumps({"reason": "r" * 300}).encode())[0] == "r" * 198 + " …"
    assert said(b'{"traceback": "one\\ntwo \\n"}') == ("Internal Server Error", '{"traceback": "one\\ntwo \\n"}: two')
    assert said(b'{"reason": "r", "traceback": "one\\ntwo\\nthree\\n\\n"}') == ("r", "three")
    assert said(b'{"message": "m", "traceback": "one\\ntwo\\nthree\\n\\n"}') == ("Internal Server Error", "m: three")


def test_a_gateways_error():
    body = {"reason": "Forbidden", "message": "A max kernels limit has been set to 1"}
    assert said(json.dumps(body).encode(), status=403) == ("Forbidden", "A max kernels limit has been set to 1")


def test_the_last_line_of_a_traceback_says_what_happened():
    body = {
        "reason": "Internal Server Error",
        "message": "Unknown server error",
        "traceback": "Traceback (most recent call last):\n  …\nNoSuchKernel: No such kernel named nope\n",
    }
    assert said(json.dumps(body).encode()) == (
        "Internal Server Error",
        "Unknown server error: NoSuchKernel: No such kernel named nope",
    )


@pytest.mark.parametrize(
    ("content", "content_type", "expected"),
    [
        (b"", "", ("Internal Server Error", "")),
        (b"null", "application/json", ("Internal Server Error", "")),
        # lesson B36: a list, bytes that are no UTF-8, a whole HTML page
        (b'["a", 1]', "application/json", ("Internal Server Error", '["a", 1]')),
        (b'"only text"', "application/json", ("Internal Server Error", "only text")),
        (b"5", "application/json", ("Internal Server Error", "5")),
        (b"caf\xe9", "text/plain; charset=ISO-8859-1", ("Internal Server Error", "caf\xe9")),
        (b"caf\xe9", "text/plain", ("Internal Server Error", "caf\ufffd")),
        (b"caf\xc3\xa9", "text/plain; charset=us-ascii", ("Internal Server Error", "caf\ufffd\ufffd")),
        (b"caf\xe9", "text/plain; charset=nonsense", ("Internal Server Error", "caf\ufffd")),
        (b"caf\xc3\xa9", "text/plain; charset=iso-8859-99", ("Internal Server Error", "caf\xe9")),
        (b"text", "text/plain; charset=zlib", ("Internal Server Error", "text")),
        (b"text", "text/plain; charset=idna", ("Internal Server Error", "text")),
        (b"text", "text/plain; charset=utf-7", ("Internal Server Error", "text")),
        (b"<html><head><title>502 Bad\n Gateway</title><body>x", "text/html", ("Internal Server Error", "502 Bad Gateway")),
        (b"<h1>Oh &amp; no</h1><script>evil()</script><p>gone", "text/html", ("Internal Server Error", "Oh & no gone")),
        (b"<!DOCTYPE html><title>x</title>", "", ("Internal Server Error", "x")),
        (b"a\x1b[31mred\r\nb\x00", "text/plain", ("Internal Server Error", "a [31mred b")),
        (b'{"reason": 5, "message": ["x"]}', "application/json", ("Internal Server Error", '{"reason": 5, "message": ["x"]}')),
        (b'{"detail": "Not allowed"}', "application/json", ("Internal Server Error", "Not allowed")),
        (b'{"error": "Not now"}', "application/json", ("Internal Server Error", "Not now")),
        (b'{"title": "Not here"}', "application/json", ("Internal Server Error", "Not here")),
        (b"<HTML><TITLE>x</TITLE><p>y", "", ("Internal Server Error", "x")),
        (b"<h1>a<SCRIPT>one\ntwo</SCRIPT>b", "text/html", ("Internal Server Error", "a b")),
        (b'{"reason": null, "message": "Unhandled error", "traceback": ""}', "", ("Internal Server Error", "Unhandled error")),
        (b'{"message": "a\\ud800"}', "application/json", ("Internal Server Error", "a")),
        (b'{"message": "trunc', "application/json", ("Internal Server Error", '{"message": "trunc')),
    ],
)
def test_error_pages(content: bytes, content_type: str, expected: tuple[str, str]):
    assert said(content, content_type) == expected


def test_a_status_without_a_phrase():
    assert said(b"", status=599) == ("Unknown Status", "")


def test_a_page_without_a_type():
    assert rest.parse_error(500, {}, b"caf\xc3\xa9") == ("Internal Server Error", "café")


@pytest.mark.parametrize(
    ("headers", "content", "its"),
    [
        ({}, b'{"message": "Kernel does not exist", "reason": null}', True),
        ({}, b'{"detail": "Not Found"}', True),
        ({"Server": "TornadoServer/6.5"}, b"<html>404</html>", True),
        ({}, b"", False),
        ({}, b"404 page not found", False),
        ({}, b"404", False),
        ({"Server": "nginx"}, b"<html><title>404 Not Found</title></html>", False),
        ({}, b"[" * 100_000, False),
    ],
)
def test_what_has_a_gateways_form(headers: dict[str, str], content: bytes, its: bool):
    assert rest.has_gateways_form(headers, content) is its


def test_a_long_page_is_cut():
    assert said(b"x" * 10**6, "text/plain") == ("Internal Server Error", "x" * 250)
    assert said(b"x" * 256 * 1024, "text/plain") == ("Internal Server Error", "x" * 498 + " …")
    assert said(json.dumps({"reason": "r" * 10**6, "message": "m" * 10**6}).encode())[1].endswith(" …")


def test_a_secret_is_hidden_before_the_page_is_cut():
    secret = "s3cret" * 10
    text = "x" * 480 + secret
    _, message = said(text.encode(), "text/plain", mask=lambda text: text.replace(secret, "[hidden]"))
    assert "s3cret" not in message


@given(st.binary(max_size=300), st.text(max_size=40), st.integers(100, 999))
def test_any_page_is_one_short_printable_line(content: bytes, charset: str, status: int):
    for line in rest.parse_error(status, {"Content-Type": f"text/html; charset={charset}"}, content):
        assert len(line) <= 500
        assert line.isprintable()
