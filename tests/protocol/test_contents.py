"""What is read of each message, and as what, whatever stands in its fields."""

from __future__ import annotations

import json
import math
from typing import Any

import nbformat
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suite.budgets import examples
from trio_gateway import ClearOutput, DisplayData, Error, ExecuteResult, Output, ProtocolError, Stream, UpdateDisplayData
from trio_gateway._protocol.codec import Decoder, encode_v1
from trio_gateway._protocol.contents import FIELDS, execution_state, look, metadata_of, parent_of, read
from trio_gateway._protocol.execution import OUTPUT_TYPES, Execution, parse_output
from trio_gateway._protocol.loss import MessageLedger
from trio_gateway._protocol.messages import Message
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
_nbformat: Any = nbformat  # most of its functions have no annotations


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


def message(kind: str, content: bytes = b"{}", *, metadata: bytes = b"{}", parent: bytes = b"{}") -> Message:
    return Message.from_wire("iopub", b'{"msg_type":"%s"}' % kind.encode(), parent, metadata, content, (), 0)


# ------------------------------------------------------------------------------------------------------------- values

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


# ----------------------------------------------------------------------------------------------------------- messages

# What stands in a field, and what each field that is read makes of it, by what it should be.
ODD: dict[str, bytes | None] = {
    "missing": None,
    "null": b"null",
    "text": b'"text"',
    "number": b"5",
    "list": b'["a",1]',
    "object": b'{"a":1}',
    "bool": b"true",
    "NaN": b"NaN",
    "surrogate": b'"\\ud800"',
    "latin-1": b'"caf\xe9"',
    "control": b'"a\nb\x00"',
    "digits": b"1" * 5000,
    "twice": b'{"a":1,"a":2}',
    "deep": b"[" * 500 + b"]" * 500,
}
TEXTS = {
    "missing": "", "null": "", "text": "text", "number": "5", "list": "a1", "object": '{"a": 1}', "bool": "true", "NaN": "NaN",
    "surrogate": "\ud800", "latin-1": "caf\ufffd", "control": "a\nb\0", "digits": "1" * 5000, "twice": '{"a": 2}',
}  # fmt: skip
OBJECTS: dict[str, object] = {"object": {"a": 1}, "twice": {"a": 2}}


def content_with(field: str, raw: bytes | None) -> bytes:
    return b"{}" if raw is None else b'{"%s":%s}' % (field.encode(), raw)


@pytest.mark.parametrize("odd", ODD)
@pytest.mark.parametrize(("kind", "field"), [(kind, field) for kind, fields in FIELDS.items() for field in fields])
def test_each_field_of_each_message_is_what_it_should_be(kind: str, field: str, odd: str) -> None:
    made = message(kind, content_with(field, ODD[odd]))
    fields = read(made)
    assert fields == look(made)
    assert fields.keys() == FIELDS[kind].keys()
    value, text = fields[field], TEXTS.get(odd)
    match field:
        case "name":
            assert value == "stdout"
        case "execution_count":
            assert value == (5 if odd == "number" else None)
        case "restart":
            assert value is (odd == "bool")
        case "wait" | "password":
            assert value is (odd not in {"missing", "null"})
        case "data" if kind.startswith("comm_"):
            assert value == OBJECTS.get(odd, {})
        case "data":
            shown = {"text/plain": text} if text else {}
            assert value == OBJECTS.get(odd, shown) or odd == "deep"
        case "metadata" | "transient" | "comms":
            assert value == OBJECTS.get(odd, {})
        case "status":
            assert value == (
                text if odd in {"text", "list", "surrogate", "latin-1", "control", "digits"} else "" if odd != "deep" else value
            )
        case "traceback" | "supported_features":
            assert value == (["a", "1"] if odd == "list" else [] if not text else [text]) or odd == "deep"
        case _:
            assert value == text or odd == "deep"
    assert all(isinstance(item, str) for item in value) if isinstance(value, list) else True


@pytest.mark.parametrize("odd", [name for name in ODD if name not in {"missing", "null", "object", "twice"}])
@pytest.mark.parametrize("kind", [*FIELDS, "debug_event", "complete_reply", ""])
def test_content_that_is_no_object_cant_be_read_and_can_be_looked_at(kind: str, odd: str) -> None:
    raw = ODD[odd]
    assert raw is not None
    made = message(kind, raw, metadata=raw)
    with pytest.raises(ProtocolError):
        read(made)
    assert look(made) == look(message(kind))
    assert metadata_of(made) == {}
    assert execution_state(made) == ""


@pytest.mark.parametrize("raw", [b"", b"null", b"{}"])
def test_content_that_is_missing_is_empty(raw: bytes) -> None:
    assert read(message("display_data", raw)) == {"data": {}, "metadata": {}, "transient": {}}
    assert metadata_of(message("display_data", metadata=raw)) == {}


def test_what_is_right_is_left_alone() -> None:
    content = {"data": {"text/plain": ["a", "b"]}, "metadata": {"x": 1}, "transient": {"display_id": "d"}, "more": [1]}
    made = message("display_data", json.dumps(content).encode(), metadata=b'{"m":1}', parent=b'{"msg_id":"p"}')
    assert read(made) == content
    assert (metadata_of(made), parent_of(made)) == ({"m": 1}, {"msg_id": "p"})
    assert parent_of(message("display_data", parent=b"[1,2]")) == {}


def test_a_look_keeps_nothing() -> None:
    made = message("display_data", b'{"data":{}}')
    assert look(made) is not look(made)
    assert made._content is None


@pytest.mark.parametrize(("raw", "display_id"), [("5", "5"), ('"d"', "d"), ("null", None), ('["a","b"]', "ab"), ('""', "")])
def test_a_display_is_known_by_any_id(raw: str, display_id: str | None) -> None:
    output = parse_output(message("display_data", b'{"transient":{"display_id":%s}}' % raw.encode()))
    assert isinstance(output, DisplayData)
    assert output.display_id == display_id


# ----------------------------------------------------------------------------------------------------------- anything

json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(exclude_categories=())),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["text/plain", "application/json", "name", "a"]), inner)
    ),
    max_leaves=8,
)
field_names = sorted({field for fields in FIELDS.values() for field in fields} | {"display_id", "code"})
odd_contents = (
    st.dictionaries(st.sampled_from(field_names), json_values).map(json.dumps).map(str.encode)
    | json_values.map(json.dumps).map(str.encode)
    | st.sampled_from([raw for raw in ODD.values() if raw is not None])
    | st.binary(max_size=20)
)


def valid(output: Output) -> bool:
    """Whether a notebook may hold this output, or it is none of a notebook's."""
    fields = as_plain_json(output.to_nbformat())
    text = json.dumps(fields, allow_nan=False)
    if not isinstance(output, (UpdateDisplayData, ClearOutput)):
        nbformat.validate(
            nbformat.from_dict(json.loads(text)), ref=output.to_nbformat()["output_type"], version=4, version_minor=5
        )  # type: ignore[no-untyped-call]
    return True


@settings(max_examples=examples(8))
@given(
    kind=st.sampled_from(sorted(FIELDS)),
    content=odd_contents,
    damage=st.none() | st.tuples(st.integers(0, 60), st.binary(max_size=3)),
)
@example("execute_result", b'{"execution_count":-1,"data":{"text/plain":null,"x/y":{"a":[NaN]}}}', None)
@example("error", b'{"traceback":{"a":"\\ud800"}}', None)
@example("stream", b'{"text":' + b"[" * 900 + b"]" * 900 + b"}", None)
def test_no_content_raises_anything_else_and_each_output_is_one(
    kind: str, content: bytes, damage: tuple[int, bytes] | None
) -> None:
    if damage is not None:
        content = content[: damage[0]] + damage[1] + content[damage[0] :]
    made = message(kind, content)
    ledger, execution = MessageLedger(), Execution(keep=True, limit_bytes=1e9)
    ledger.observe(made)
    execution.feed(message("status", b'{"execution_state":"busy"}'))
    is_output = execution.feed(made)
    for name, value in look(made).items():
        if name in FIELDS[kind]:
            assert not isinstance(value, float)
    try:
        output = parse_output(made)
    except ProtocolError:
        output = None
        assert kind in OUTPUT_TYPES
        assert not is_output
        assert len(execution.result().output_gaps) == 1
    if output is not None:
        assert isinstance(output, (Stream, DisplayData, UpdateDisplayData, ExecuteResult, Error, ClearOutput))
        assert valid(output)
        assert repr(output)
    result = execution.result()
    assert repr(result)
    assert isinstance(result.text, str)
    assert result.status in {"ok", "error", "aborted"}
    result.to_nbformat()
    result._repr_mimebundle_()


@settings(max_examples=examples(4))
@given(
    parts=st.tuples(st.sampled_from([b"iopub", b"shell", b"", b"x"]), odd_contents, odd_contents, odd_contents, odd_contents),
    header=st.dictionaries(st.sampled_from(["msg_id", "msg_type", "session", "username", "date", "version"]), json_values),
)
def test_no_frame_raises_anything_else(parts: tuple[bytes, ...], header: dict[str, Any]) -> None:
    """In both framings, and what was read can be sent on."""
    channel, parent, metadata, content, more = parts
    own = json.dumps(header).encode() if header else more
    frame = encode_v1(Message.from_wire("iopub", b'{"msg_type":"x"}', b"{}", b"{}", b"{}", (), 0))
    assert Decoder(v1=True).decode(frame).msg_type == "x"
    names = ("header", "parent_header", "metadata", "content")
    text = ",".join(
        [f'"{name}":{raw.decode("utf-8", "replace")}' for name, raw in zip(names, (own, parent, metadata, content), strict=True)]
    )
    for made in (
        lambda: Message.from_wire(channel.decode(), own, parent, metadata, content, (), 0),
        lambda: Decoder(v1=False).decode(f"{{{text}}}"),
    ):
        try:
            one = made()
        except ProtocolError:
            continue
        assert isinstance(one.msg_id, str)
        assert isinstance(one.parent_id, str)
        assert isinstance(look(one), dict)
        assert repr(one)
