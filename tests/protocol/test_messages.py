"""Messages as values: what is decoded when, what can't be made, and what kernels in the field get away with."""

from __future__ import annotations

import array
import ctypes
import json
import mmap
import re
from collections import ChainMap, OrderedDict
from collections.abc import Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from trio_gateway._errors import InvalidInputError, ProtocolError
from trio_gateway._protocol.messages import (
    CHANNELS,
    VIEW_BYTES,
    Header,
    Message,
    MessageFactory,
    decode_json,
    encode_json,
    parse_header,
    parse_parent,
)

HEADER = Header("m-1", "stream", "s-1", "alice", "2026-01-02T03:04:05Z", "5.4")
DEEP = 100_000
"""Deeper than any decoder goes."""


def from_wire(
    header: bytes = b'{"msg_id":"m","msg_type":"t"}',
    parent: bytes = b"{}",
    metadata: bytes = b"{}",
    content: bytes = b"{}",
    buffers: tuple[memoryview, ...] = (),
) -> Message:
    return Message.from_wire("iopub", header, parent, metadata, content, buffers, 99)


# --- JSON

scalars = st.none() | st.booleans() | st.integers() | st.floats() | st.text(st.characters(categories=None))
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4), max_leaves=15
)


@given(values, st.booleans(), st.booleans())
@example(float("nan"), False, True)
@example("\ud800", True, True)
@example(2**63, False, False)
@example(10**40, False, False)
def test_json_is_decoded_as_python_would(value: object, ascii_only: bool, as_text: bool) -> None:
    text = json.dumps(value, ensure_ascii=ascii_only)
    data = text if as_text else text.encode(errors="surrogatepass")
    assert repr(decode_json(data)) == repr(json.loads(text))


@given(st.text() | st.binary())
@example("\ufeff{}")
@example("[" * DEEP)
@example(b"\xff")
@example(b'"\xed\xa0\x80"')
@example("")
def test_what_is_not_json_is_a_protocol_error(data: str | bytes) -> None:
    try:
        expected: object = json.loads(
            data if isinstance(data, str) else data.decode(json.detect_encoding(data), "replace"), strict=False
        )
    except (ValueError, RecursionError):
        with pytest.raises(ProtocolError, match="not JSON") as caught:
            decode_json(data)
        assert caught.value.__cause__ is None
        assert caught.value.__suppress_context__
    else:
        assert repr(decode_json(data)).replace("\\ud800", "\ufffd" * 3) == repr(expected)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'"caf\xe9"', "caf\ufffd"),
        (b'{"caf\xe9":"\xff"}', {"caf\ufffd": "\ufffd"}),
        (b'"caf\xc3"', "caf\ufffd"),
        (b'"two\nlines\x00"', "two\nlines\0"),
        ("1" * 5000, "1" * 5000),
        ("-" + "1" * 5000, "-" + "1" * 5000),
        ("1" * 4000, int("1" * 4000)),
        ("[1e999,-1e999]", [float("inf"), float("-inf")]),
        ('{"a":1,"a":2}', {"a": 2}),
        ('{"a":NaN,"a":2}', {"a": 2}),
        ('"\\ud800"', "\ud800"),
    ],
    ids=lambda value: repr(value)[:20].replace("\\", ""),
)
def test_what_kernels_take_for_json_is_read(data: str | bytes, expected: object) -> None:
    assert decode_json(data) == expected


def test_json_is_decoded_from_any_buffer() -> None:
    for data in (b'{"a":[NaN]}', bytearray(b'{"a":[NaN]}'), memoryview(b'{"a":[NaN]}'), '{"a":[NaN]}'):
        assert repr(decode_json(data)) == "{'a': [nan]}"


def test_json_is_encoded_compactly_as_utf8() -> None:
    value = {"text": "é\U0001f40d", "list": [1, 2.5, None, True], "when": datetime(2026, 1, 2, tzinfo=UTC), "tuple": (1,)}
    assert encode_json(value, "content").decode() == (
        '{"text":"é\U0001f40d","list":[1,2.5,null,true],"when":"2026-01-02T00:00:00Z","tuple":[1]}'
    )


def cyclic() -> list[object]:
    value: list[object] = []
    value.append(value)
    return value


@pytest.mark.parametrize(
    "value",
    [object(), {"a": object()}, {(1, 2): 3}, "lone \ud800 surrogate", {"lone \ud800": 1}, cyclic(), {"f": len}, 1 + 2j],
    ids=["object", "inside", "key", "surrogate", "surrogate key", "cycle", "function", "complex"],
)
def test_what_json_cant_hold_is_named(value: object) -> None:
    with pytest.raises(
        InvalidInputError, match=r"^metadata: '\w+' can't be used; expected something that JSON can hold"
    ) as caught:
        encode_json(value, "metadata")
    assert caught.value.field == "metadata"
    assert caught.value.value == type(value).__name__
    assert caught.value.__suppress_context__


# --- headers


def test_a_header_is_decoded_whole() -> None:
    raw = b'{"msg_id":"a","msg_type":"b","session":"c","username":"d","date":"e","version":"f","subshell_id":"g","more":[1]}'
    assert parse_header(raw) == Header("a", "b", "c", "d", "e", "f", "g")
    assert parse_header(memoryview(raw)) == parse_header(raw)
    assert parse_header(b'{"msg_id":"a","msg_type":"b"}') == Header("a", "b", "", "", "", "", None)


@pytest.mark.parametrize("odd", ["null", "5", "[]", '{"a": 1}', "NaN"])
@pytest.mark.parametrize("field", ["msg_id", "session", "username", "date", "version"])
def test_odd_fields_of_a_header_are_taken_as_absent(field: str, odd: str) -> None:
    raw = f'{{"msg_id":"a","msg_type":"b","session":"s","{field}":{odd}}}'.encode()
    expected = {"msg_id": "a", "session": "s", field: ""}
    assert parse_header(raw) == Header(msg_type="b", **expected)


def test_a_header_without_an_id_has_an_empty_one() -> None:
    assert parse_header(b'{"msg_type":"b"}') == Header("", "b")


def test_bytes_of_a_header_that_are_no_utf8_are_shown_as_such() -> None:
    assert parse_header(b'{"msg_id":"caf\xe9","msg_type":"b"}') == Header("caf\ufffd", "b")


def test_a_header_may_have_lone_surrogates() -> None:
    assert parse_header(b'{"msg_id":"a","msg_type":"b","username":"\\ud800"}').username == "\ud800"


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"null",
        b"[]",
        b"5",
        b"{}",
        b'{"msg_id":"a"}',
        b'{"msg_id":"a","msg_type":5}',
        b"\xff",
        b'{"msg_id":"a","msg_type":"b","more":' + b"[" * DEEP + b"]" * DEEP + b"}",
    ],
    ids=lambda raw: repr(raw[:40]).replace("\\", ""),  # pytest takes no id with backslashes on its command line
)
def test_a_header_without_its_type_is_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ProtocolError) as caught:
        parse_header(raw)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


# --- parents


@pytest.mark.parametrize("raw", [b"", b"{}", b"[]", b"null", b"[1]", b'"text"', b"12345", b'{"other":1}', b'{"msg_id":null}'])
def test_whatever_is_no_parent_counts_as_none(raw: bytes) -> None:
    parent = parse_parent(raw)
    assert (parent.msg_id, parent.msg_type, parent.session) == ("", "", "")


@pytest.mark.parametrize("extra", [b"", b',"date":null', b',"x":NaN', b',"x":"\\ud800"'])
def test_what_routing_needs_of_a_parent(extra: bytes) -> None:
    parent = parse_parent(b'{"msg_id":"p","msg_type":"execute_request","session":"s"' + extra + b"}")
    assert (parent.msg_id, parent.msg_type, parent.session) == ("p", "execute_request", "s")


def test_an_odd_field_of_a_parent_is_taken_as_absent() -> None:
    parent = parse_parent(b'{"msg_id":"p","msg_type":7,"session":null}')
    assert (parent.msg_id, parent.msg_type, parent.session) == ("p", "", "")


@pytest.mark.parametrize(
    "raw", [b"{{{", b"\xff\xff\xff", b'{"x":' + b"[" * DEEP + b"]" * DEEP + b"}"], ids=["text", "bytes", "deep"]
)
def test_a_parent_that_is_not_json_is_a_protocol_error(raw: bytes) -> None:
    with pytest.raises(ProtocolError):
        parse_parent(raw)


# --- messages


def test_a_message_of_ours() -> None:
    parent = {"msg_id": "p", "msg_type": "execute_request", "session": "s-1"}
    message = Message(
        "shell", HEADER, {"code": "1"}, parent_header=parent, metadata={"m": 1}, buffers=[b"ab", bytearray(b"c"), memoryview(b"")]
    )
    assert (message.channel, message.header, message.msg_id, message.msg_type) == ("shell", HEADER, "m-1", "stream")
    assert (message.content, message.metadata, message.parent_header) == ({"code": "1"}, {"m": 1}, parent)
    assert (message.parent_id, message.parent_type, message.parent_session) == ("p", "execute_request", "s-1")
    assert message.buffers == (b"ab", b"c", b"")
    assert all(isinstance(buffer, memoryview) for buffer in message.buffers)
    assert json.loads(bytes(message.header_raw)) == {
        "msg_id": "m-1",
        "msg_type": "stream",
        "session": "s-1",
        "username": "alice",
        "date": "2026-01-02T03:04:05Z",
        "version": "5.4",
    }
    parts = (message.header_raw, message.parent_raw, message.metadata_raw, message.content_raw, b"ab", b"c", b"")
    assert message.size == sum(map(len, parts)) + 3 * VIEW_BYTES


def test_an_empty_message_of_ours() -> None:
    message = Message("control", HEADER)
    assert (message.content, message.metadata, message.parent_header, message.buffers) == ({}, {}, {}, ())
    assert (message.content_raw, message.metadata_raw, message.parent_raw) == (b"{}", b"{}", b"{}")
    assert (message.parent_id, message.parent_type, message.parent_session) == ("", "", "")


def test_a_subshell_stands_in_the_header_only_if_there_is_one() -> None:
    assert b"subshell_id" not in bytes(Message("shell", HEADER).header_raw)
    message = Message("shell", Header("m", "execute_request", subshell_id="sub"))
    assert json.loads(bytes(message.header_raw))["subshell_id"] == "sub"
    assert parse_header(message.header_raw).subshell_id == "sub"


@pytest.mark.parametrize("part", ["content", "parent_header", "metadata"])
def test_a_part_that_json_cant_hold_is_named(part: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Message("shell", HEADER, **{part: {"x": object()}})
    assert caught.value.field == part


@pytest.mark.parametrize("part", ["content", "parent_header", "metadata"])
@pytest.mark.parametrize("value", [[], [1], "", "text", 0, False, [("a", 1)]])
def test_a_part_that_is_no_object_is_refused(part: str, value: object) -> None:
    with pytest.raises(InvalidInputError, match=r"expected an object: a dictionary, or None$") as caught:
        Message("shell", HEADER, **{part: value})
    assert (caught.value.field, caught.value.value) == (part, type(value).__name__)


@pytest.mark.parametrize("mapping", [MappingProxyType({"a": 1}), OrderedDict(a=1), ChainMap({"a": 1}, {"a": 2})])
def test_any_mapping_is_an_object(mapping: Mapping[str, int]) -> None:
    message = Message("shell", HEADER, mapping, parent_header=mapping, metadata=mapping)
    assert message.content_raw == message.parent_raw == message.metadata_raw == b'{"a":1}'
    empty = Message("shell", HEADER, MappingProxyType({}), metadata=None, parent_header={})
    assert empty.content_raw == empty.parent_raw == empty.metadata_raw == b"{}"


def test_a_header_that_utf8_cant_hold_is_named() -> None:
    # A user name from the environment may hold any bytes, which Python gives as lone surrogates.
    with pytest.raises(InvalidInputError) as caught:
        Message("shell", Header("m", "t", username="\udcff"))
    assert caught.value.field == "header"


@pytest.mark.parametrize("channel", ["", "Shell", "hb", "she\ud800ll"])
def test_a_channel_that_does_not_exist_is_named(channel: str) -> None:
    # Gateways drop such a message without a word.
    with pytest.raises(InvalidInputError, match="expected one of shell, iopub, stdin, control") as caught:
        Message(channel, HEADER)
    assert (caught.value.field, caught.value.value) == ("channel", channel)
    assert [Message(name, HEADER).channel for name in CHANNELS] == ["shell", "iopub", "stdin", "control"]


# --- buffers

EMPTY_GRID = ((ctypes.c_int * 0) * 3)()


@pytest.mark.parametrize(
    ("buffer", "content"),
    [
        (b"abc", b"abc"),
        (b"", b""),
        (memoryview(b"abc")[1:2], b"b"),
        (array.array("H", [1, 2]), array.array("H", [1, 2]).tobytes()),
        (array.array("d"), b""),
        (memoryview(b"abcdef").cast("B", (2, 3)), b"abcdef"),
        (memoryview(bytes(4)).cast("i", ()), bytes(4)),
        ((ctypes.c_int * 2)(1, 2), bytes((ctypes.c_int * 2)(1, 2))),
        (EMPTY_GRID, b""),  # has a zero in its shape, which memoryview.cast refuses
    ],
    ids=["bytes", "empty", "slice", "shorts", "no doubles", "grid", "scalar", "ctypes", "empty grid"],
)
def test_any_contiguous_buffer_becomes_bytes(buffer: Any, content: bytes) -> None:
    (view,) = Message("shell", HEADER, buffers=[buffer]).buffers
    assert (view.format, view.ndim, view.nbytes, len(view)) == ("B", 1, len(content), len(content))
    assert view == content


def test_a_buffer_is_not_copied() -> None:
    data = bytearray(b"abc")
    (view,) = Message("shell", HEADER, buffers=[data]).buffers
    data[0] = ord("x")
    assert view == b"xbc"


def closed_map() -> mmap.mmap:
    closed = mmap.mmap(-1, 8)
    closed.close()
    return closed


def released_view() -> memoryview:
    view = memoryview(b"abc")
    view.release()
    return view


@pytest.mark.parametrize(
    "buffer",
    ["text", 5, memoryview(b"abcdef")[::2], memoryview(b"abcdef")[::-1], memoryview(array.array("H", [1, 2, 3]))[::2],
     closed_map(), released_view()],
    ids=["text", "number", "strided", "reversed", "strided shorts", "closed", "released"],
)  # fmt: skip
def test_a_buffer_that_is_not_contiguous_bytes_is_named(buffer: Any) -> None:
    with pytest.raises(InvalidInputError, match="expected C-contiguous bytes") as caught:
        Message("shell", HEADER, buffers=[b"fine", buffer])
    assert caught.value.field == "buffers"
    assert re.fullmatch(rf"{type(buffer).__name__}|a view of \d bytes with gaps", str(caught.value.value))


# --- messages from the wire


def test_parts_from_the_wire_are_decoded_when_looked_at() -> None:
    message = from_wire(metadata=b"not JSON", content=b"not JSON either", buffers=(memoryview(b"x"),))
    assert (message.size, message.buffers) == (99, (b"x",))
    with pytest.raises(ProtocolError, match="not JSON"):
        message.content  # noqa: B018 - looking is what decodes
    with pytest.raises(ProtocolError, match="not JSON"):
        message.metadata  # noqa: B018


def test_the_own_header_has_all_its_fields() -> None:
    """It is the parent header of an answer, and servers route by fields that we may not know."""
    message = from_wire(header=b'{"msg_id":"m","msg_type":"t","session":"s","more":[1,null]}')
    assert message.own_header == {"msg_id": "m", "msg_type": "t", "session": "s", "more": [1, None]}
    assert Message("shell", Header("m", "t")).own_header["msg_id"] == "m"


def test_parts_are_decoded_once() -> None:
    message = from_wire(metadata=b'{"a":1}', content=b'{"b":2}')
    assert message.content is message.content
    assert message.metadata is message.metadata


@pytest.mark.parametrize("part", ["content", "metadata", "parent_header"])
@pytest.mark.parametrize(("raw", "kind"), [(b"[1]", "list"), (b'"text"', "str"), (b"5000", "int"), (b"true", "bool")])
def test_a_part_that_is_no_object_is_named(part: str, raw: bytes, kind: str) -> None:
    message = from_wire(**{"parent" if part == "parent_header" else part: raw})
    with pytest.raises(ProtocolError, match=f"^a message's {part} is a {kind}, not an object$"):
        getattr(message, part)


def test_null_parts_are_empty() -> None:
    message = from_wire(parent=b"null", metadata=b"null", content=b"null")
    assert (message.parent_header, message.metadata, message.content, message.parent_id) == ({}, {}, {}, "")


def test_a_broken_header_is_noticed_at_once() -> None:
    with pytest.raises(ProtocolError):
        from_wire(header=b"{}")
    with pytest.raises(ProtocolError):
        from_wire(parent=b"broken")


# --- equality and repr


def test_messages_are_equal_when_all_parts_are() -> None:
    def make(
        channel: str = "shell",
        header: Header = HEADER,
        content: int = 1,
        parent: int = 2,
        metadata: int = 3,
        buffer: bytes = b"x",
    ) -> Message:
        return Message(channel, header, {"c": content}, parent_header={"p": parent}, metadata={"m": metadata}, buffers=[buffer])

    message = make()
    assert message == make()
    assert hash(message) == hash(make()) != hash(make(header=Header("other", "t")))
    assert message == Message.from_wire(
        "shell", memoryview(message.header_raw), b'{"p": 2}', b'{ "m":2e0, "m":3}', b'{"c":1 }', (memoryview(b"x"),), 0
    )
    others = [
        make(channel="control"),
        make(header=Header("other", "stream")),
        make(content=0),
        make(parent=0),
        make(metadata=0),
        make(buffer=b"y"),
    ]
    assert [other for other in others if other == message] == []
    assert message != "message"


def test_repr_tells_what_and_where_and_no_content() -> None:
    assert repr(Message("shell", HEADER, {"code": "s3cret"})) == "<Message stream on shell, id m-1>"
    answer = Message("iopub", HEADER, parent_header={"msg_id": "p"}, buffers=[b"", b""])
    assert repr(answer) == "<Message stream on iopub, id m-1, parent p, 2 buffers>"


# --- the factory


def test_a_session_numbers_its_messages() -> None:
    factory = MessageFactory("s-1", "alice")
    first = factory.make("shell", "execute_request", {"code": "1"}, date="2026-01-02T03:04:05Z")
    assert first.header == Header("s-1-1", "execute_request", "s-1", "alice", "2026-01-02T03:04:05Z", "5.4", None)
    assert (first.channel, first.content, first.parent_header, first.metadata, first.buffers) == (
        "shell",
        {"code": "1"},
        {},
        {},
        (),
    )
    second = factory.make(
        "stdin",
        "input_reply",
        {"value": "x"},
        date="d",
        parent_header={"msg_id": "p"},
        metadata={"m": 1},
        buffers=[b"b"],
        subshell_id="sub",
    )
    assert second == Message(
        "stdin",
        Header("s-1-2", "input_reply", "s-1", "alice", "d", "5.4", "sub"),
        {"value": "x"},
        parent_header={"msg_id": "p"},
        metadata={"m": 1},
        buffers=[b"b"],
    )


def test_a_look_at_the_content_keeps_nothing() -> None:
    message = Message("iopub", Header("m", "comm_msg"), {"comm_id": "c", "data": [[]] * 10})
    assert message.peek_content() == {"comm_id": "c", "data": [[]] * 10}
    assert message.peek_content() is not message.peek_content()
    assert message.content is message.content
    assert message.peek_content() is message.content
