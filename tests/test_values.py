"""JSON values that a kernel sent, read as what they should be: nothing raises, whatever the value is."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

from trio_gateway._values import (
    MAX_DEPTH,
    as_bundle,
    as_count,
    as_file_bundle,
    as_flag,
    as_lines,
    as_object,
    as_plain_json,
    as_text,
    is_json_type,
)

NAN = float("nan")


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


VALUES: dict[str, object] = {
    "text": "text",
    "no text": "",
    "null": None,
    "number": 5,
    "fraction": 1.5,
    "NaN": NAN,
    "huge": 10**400,
    "yes": True,
    "no": False,
    "list": ["a", 1, None, {"b": 2}],
    "empty list": [],
    "object": {"a": 1},
    "surrogate": "\ud800",
    "digits": "7",
    "deep": nested(900),
    "deeper": nested(100_000),
}
AS_TEXT = [
    "text",
    "",
    "",
    "5",
    "1.5",
    "NaN",
    str(10**400),
    "true",
    "false",
    'a1{"b": 2}',
    "",
    '{"a": 1}',
    "\ud800",
    "7",
    None,
    None,
]


@pytest.mark.parametrize(("name", "text"), list(zip(VALUES, AS_TEXT, strict=True)))
def test_any_value_is_some_text(name: str, text: str | None) -> None:
    value = VALUES[name]
    assert isinstance(as_text(value), str)
    if text is not None:
        assert as_text(value) == text
    lines = as_lines(value)
    assert all(isinstance(line, str) for line in lines)
    assert (value is None or value == []) == (lines == ())
    assert as_bundle(value) == (value if isinstance(value, dict) else {"text/plain": as_text(value)} if as_text(value) else {})
    assert as_object(value) == (value if isinstance(value, dict) else {})
    assert as_flag(value) == (name not in {"no text", "null", "no", "empty list"})


@pytest.mark.parametrize(
    ("value", "count"),
    [
        (0, 0), (7, 7), (7.0, 7), ("7", 7), (2**53 - 1, 2**53 - 1),
        (-1, None), (2**53, None), (10**400, None), (True, None), (7.5, None), (NAN, None), (math.inf, None), ("-7", None),
        ("7.0", None), ("9" * 5000, None), ("\u0667", None), ("\u00b2", None), ("", None), (None, None), ([7], None), ({}, None),
    ],
)  # fmt: skip
def test_what_counts_something_is_a_number_that_does(value: object, count: int | None) -> None:
    assert as_count(value) == count
    assert not isinstance(as_count(value), (bool, float))


@pytest.mark.parametrize("word", ["false", "False", " NO ", "0", ""])
def test_words_for_no_mean_no(word: str) -> None:
    assert not as_flag(word)


@pytest.mark.parametrize(
    ("value", "plain"),
    [
        (NAN, None), (-math.inf, None), (1.5, 1.5), ("a\ud800b", "a\ufffdb"), ("😀", "😀"), ("\ud83d\ude00", "😀"),
        (10**400, 10**400),
        ({"a\udfff": [NAN, (1, "\ud800")]}, {"a\ufffd": [None, [1, "\ufffd"]]}), (None, None), (True, True),
    ],
)  # fmt: skip
def test_plain_json_can_be_read_by_all(value: object, plain: object) -> None:
    assert as_plain_json(value) == plain


def test_plain_json_is_nested_so_deeply_and_no_deeper() -> None:
    assert as_plain_json(nested(MAX_DEPTH)) == nested(MAX_DEPTH)
    assert as_plain_json(nested(MAX_DEPTH + 1)) != nested(MAX_DEPTH + 1)
    assert "(nested too deeply)" in json.dumps(as_plain_json(nested(100_000)))
    assert as_plain_json({"a": {"b": {}}}, 2) == {"a": {"b": "(nested too deeply)"}}


@pytest.mark.parametrize(
    ("mime", "is_json"),
    [
        ("application/json", True), ("application/vnd.plotly.v1+json", True), ("application/geo+json", True),
        ("model/gltf+json", False), ("text/json", False), ("application/jsonp", False), ("text/plain", False), ("", False),
    ],
)  # fmt: skip
def test_content_of_a_type_of_json_is_any_value_in_a_file_and_of_others_text(mime: str, is_json: bool) -> None:
    assert is_json_type(mime) is is_json
    for value in VALUES.values():
        held = as_file_bundle({mime: value})
        if is_json:
            assert held == {mime: value} or value != value
        elif value is None:
            assert held == {}
        else:
            assert isinstance(held[mime], str) or all(isinstance(line, str) for line in held[mime])
    if not is_json:
        assert as_file_bundle({mime: ["a\n", "b"]}) == {mime: ["a\n", "b"]}
