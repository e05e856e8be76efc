"""What is read of each message, and as what, whatever stands in its fields."""

from __future__ import annotations

import json
from typing import Any

import nbformat
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suite.budgets import examples
from tools import odd_values
from trio_gateway import ClearOutput, DisplayData, Error, ExecuteResult, Output, ProtocolError, Stream, UpdateDisplayData
from trio_gateway._protocol.codec import Decoder, encode_v1
from trio_gateway._protocol.contents import FIELDS, execution_state, look, metadata_of, parent_of, read
from trio_gateway._protocol.execution import OUTPUT_TYPES, Execution, parse_output
from trio_gateway._protocol.loss import MessageLedger
from trio_gateway._protocol.messages import Message
from trio_gateway._values import (
    as_plain_json,
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


# ----------------------------------------------------------------------------------------------------------- messages

ODD: dict[str, bytes | None] = {**odd_values.ODD, "twice": b'{"a":1,"a":2}'}
# What each field that is read makes of what stands there, by what it should be.
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
