"""Both framings of a kernel's WebSocket: whole frames come back as they went, and whatever is not one is a ProtocolError."""

from __future__ import annotations

import contextlib
import json
import struct
import sys
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from suite.budgets import examples
from trio_gateway._errors import InvalidInputError, ProtocolError
from trio_gateway._protocol.codec import MAX_BUFFERS, V1_SUBPROTOCOL, Decoder, TooLargeError, decode, encode_legacy, encode_v1
from trio_gateway._protocol.frames import CutMessage
from trio_gateway._protocol.messages import CHANNELS, VIEW_BYTES, Header, Message

HEADER = b'{"msg_id":"m","msg_type":"t"}'


def v1(
    channel: bytes = b"iopub",
    header: bytes = HEADER,
    parent: bytes = b"{}",
    metadata: bytes = b"{}",
    content: bytes = b"{}",
    *buffers: bytes,
) -> bytes:
    """A v1 frame, built by the description in jupyter_server, and not by the code under test."""
    parts = [channel, header, parent, metadata, content, *buffers]
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return b"".join([struct.pack("<Q", len(offsets)), *(struct.pack("<Q", offset) for offset in offsets), *parts])


def v1_table(frame: bytes) -> tuple[int, list[int]]:
    (count,) = struct.unpack_from("<Q", frame)
    return count, list(struct.unpack_from(f"<{count}Q", frame, 8))


def legacy_binary(text: bytes, *buffers: bytes) -> bytes:
    """A legacy binary frame, likewise."""
    parts = [text, *buffers]
    offsets = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        offsets.append(offsets[-1] + len(part))
    return b"".join([struct.pack(">I", len(parts)), *(struct.pack(">I", offset) for offset in offsets), *parts])


def legacy_text(**fields: object) -> str:
    return json.dumps({"channel": "iopub", "header": {"msg_id": "m", "msg_type": "t"}, **fields})


# --- random messages, both ways

text = st.text(max_size=6)
scalars = st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats(allow_nan=False, allow_infinity=False) | text
values = scalars | st.lists(scalars, max_size=2) | st.dictionaries(text, scalars, max_size=2)
objects = st.dictionaries(text, values, max_size=3)
headers = st.builds(Header, text, text, text, subshell_id=st.none() | text)
messages = st.builds(
    Message,
    st.sampled_from(CHANNELS),
    headers,
    objects,
    parent_header=objects | st.fixed_dictionaries({"msg_id": text, "msg_type": text, "session": text}),
    metadata=objects,
    buffers=st.lists(st.binary(max_size=20), max_size=4),
)


ANSWER = Message(
    "iopub",
    Header("kernel_1_2", "display_data", "kernel", "bob", "2026-01-02T03:04:05Z", "5.4"),
    {"data": {"text/plain": "é", "image/png": "QUJD"}, "metadata": {}, "transient": {"display_id": "d"}},
    parent_header={"msg_id": "s_1", "msg_type": "execute_request", "session": "s", "date": "2026-01-02T03:04:05Z"},
    metadata={"m": [1, 2.5, None]},
)
SAMPLES = [
    Message("shell", Header("", "")),
    ANSWER,
    *[
        Message("iopub", ANSWER.header, ANSWER.content, parent_header=ANSWER.parent_header, buffers=buffers)
        for buffers in ([b""], [b"abc"], [b"", b"\x00\xff", b"", b"x" * 20], [b"ab", b""])
    ],
]
each_sample = pytest.mark.parametrize(
    "message", SAMPLES, ids=lambda message: f"{len(message.buffers)} buffers, {message.size} bytes"
)


def assert_same(decoded: Message, message: Message) -> None:
    assert decoded == message
    assert (decoded.parent_id, decoded.parent_type, decoded.parent_session) == (
        message.parent_id,
        message.parent_type,
        message.parent_session,
    )


@given(messages)
@example(Message("shell", Header("m", "t"), buffers=[b""]))
@example(Message("shell", Header("m", "t"), buffers=[b"", b"", b"x", b""]))
@example(Message("shell", Header("", "")))
def test_messages_round_trip_in_v1(message: Message) -> None:
    frame = encode_v1(message)
    assert frame == v1(
        message.channel.encode(),
        bytes(message.header_raw),
        bytes(message.parent_raw),
        bytes(message.metadata_raw),
        bytes(message.content_raw),
        *map(bytes, message.buffers),
    )
    decoded = decode(frame, v1=True)
    assert_same(decoded, message)
    assert decoded.size == len(frame) + VIEW_BYTES * len(message.buffers)
    assert encode_v1(decoded) == frame


@given(messages)
@example(Message("shell", Header("m", "t"), buffers=[b""]))
@example(Message("shell", Header("m", "t"), buffers=[b"", b"", b"x", b""]))
@example(Message("shell", Header("", "")))
def test_messages_round_trip_in_the_legacy_framing(message: Message) -> None:
    frame = encode_legacy(message)
    assert isinstance(frame, bytes if message.buffers else str)
    fields = {
        "channel": message.channel,
        "header": json.loads(bytes(message.header_raw)),
        "parent_header": message.parent_header,
        "metadata": message.metadata,
        "content": message.content,
        "buffers": [],
    }
    if isinstance(frame, bytes):
        start, end = struct.unpack_from(">II", frame, 4)
        assert json.loads(frame[start:end]) == fields
        assert frame == legacy_binary(frame[start:end], *map(bytes, message.buffers))
    else:
        assert json.loads(frame) == fields
    decoded = decode(frame, v1=False)
    assert_same(decoded, message)
    assert decoded.size >= len(frame) + VIEW_BYTES * len(message.buffers)
    assert encode_legacy(decoded) == frame


@given(messages)
def test_framings_can_be_exchanged(message: Message) -> None:
    through = decode(encode_legacy(decode(encode_v1(message), v1=True)), v1=False)
    assert encode_v1(through) == encode_v1(message)


# --- whole frames


def test_the_live_frames_numbers() -> None:
    """N=6, offsets (56,61,268,484,486,513), length 513: parts of 5, 207, 216, 2 and 27 bytes."""
    header = json.dumps({"msg_id": "m", "msg_type": "status", "x": ""}).encode()
    header = json.dumps({"msg_id": "m", "msg_type": "status", "x": "-" * (207 - len(header))}).encode()
    parent = json.dumps({"msg_id": "p", "x": ""}).encode()
    parent = json.dumps({"msg_id": "p", "x": "-" * (216 - len(parent))}).encode()
    content = b'{"execution_state": "idle"}'
    frame = struct.pack("<7Q", 6, 56, 61, 268, 484, 486, 513) + b"iopub" + header + parent + b"{}" + content
    assert len(frame) == 513
    message = decode(frame, v1=True)
    assert (message.channel, message.msg_id, message.parent_id) == ("iopub", "m", "p")
    assert (message.metadata, message.content, message.buffers) == ({}, {"execution_state": "idle"}, ())
    assert encode_v1(message) == frame
    assert v1_table(encode_v1(message)) == (6, [56, 61, 268, 484, 486, 513])


def test_the_name_of_the_subprotocol() -> None:
    assert V1_SUBPROTOCOL == "v1.kernel.websocket.jupyter.org"


def test_a_legacy_binary_frame_as_described() -> None:
    """A count of buffers and JSON, offsets from the frame's start, the first 4·(n+1); the last part runs to the end."""
    frame = encode_legacy(Message("shell", Header("m", "t"), buffers=[b"abc", b"de"]))
    assert isinstance(frame, bytes)
    count, first, second, third = struct.unpack_from(">4I", frame)
    assert (count, first) == (3, 16)
    assert frame[second:third] == b"abc"
    assert frame[third:] == b"de"


def test_what_a_server_adds_in_the_legacy_framing_is_passed_over() -> None:
    message = decode(legacy_text(msg_id="m", msg_type="t", buffers=[], content={"a": 1}), v1=False)
    assert message == Message("iopub", Header("m", "t"), {"a": 1})


def test_what_a_server_repeats_beside_the_header() -> None:
    fields = json.loads(encode_legacy(Message("iopub", Header('m"', "t"), {"a": 1}), as_server=True))
    assert list(fields) == ["msg_id", "msg_type", "channel", "header", "parent_header", "metadata", "content", "buffers"]
    assert (fields["msg_id"], fields["msg_type"]) == ('m"', "t")
    assert "msg_id" not in json.loads(encode_legacy(Message("iopub", Header("m", "t"))))


@pytest.mark.parametrize("size", [4096, 4097])
def test_a_small_frame_is_not_kept_for_the_sake_of_its_content(size: int) -> None:
    frame = v1(content=b'"' + b"x" * (size - len(v1())) + b'"')
    assert len(frame) == size
    content = decode(frame, v1=True).content_raw
    assert isinstance(content, bytes if size <= 4096 else memoryview)


def test_buffers_are_views_into_the_frame() -> None:
    for frame, is_v1 in (
        (v1(b"iopub", HEADER, b"{}", b"{}", b"{}", b"abc"), True),
        (legacy_binary(legacy_text().encode(), b"abc"), False),
    ):
        (buffer,) = decode(frame, v1=is_v1).buffers
        assert buffer.obj is frame


# --- what is odd but taken


@pytest.mark.parametrize("is_v1", [True, False])
def test_text_is_taken_as_legacy_whatever_was_selected(is_v1: bool) -> None:
    assert decode(legacy_text(content={"a": 1}), v1=is_v1) == Message("iopub", Header("m", "t"), {"a": 1})


@pytest.mark.parametrize("fields", [{"channel": None}, {"channel": ""}, {"channel": None, "content": {"x": float("nan")}}])
def test_a_missing_channel_is_shell(fields: dict[str, Any]) -> None:
    assert decode(legacy_text(**fields), v1=False).channel == "shell"
    assert decode('{"header":{"msg_id":"m","msg_type":"t"}}', v1=False).channel == "shell"


def test_an_unknown_channel_is_kept_as_it_is_named() -> None:
    for frame in (
        v1("späti".encode()),
        v1(b""),
        legacy_text(channel="späti"),
        legacy_text(channel="späti", content={"x": float("nan")}),
    ):
        message = decode(frame, v1=True)
        assert message.channel in ("späti", "")
        assert decode(encode_v1(message), v1=True).channel == message.channel


@pytest.mark.parametrize("odd", ["", "NaN", '"\\ud800"'])
def test_null_and_missing_parts_are_empty_and_stay_what_they_are(odd: str) -> None:
    more = f',"odd":{odd}' if odd else ""
    for parts in ({"parent_header": None, "metadata": None, "content": None}, {}):
        text = json.dumps({"channel": "iopub", "header": {"msg_id": "m", "msg_type": "t"}, **parts})
        message = decode(text[:-1] + more + "}", v1=False)
        assert message == Message("iopub", Header("m", "t"))
        again = json.loads(encode_legacy(message))
        assert {name: again[name] for name in ("parent_header", "metadata", "content") if name in again} == parts
        # v1 has a place for each part.
        in_v1 = decode(encode_v1(message), v1=True)
        assert in_v1.content_raw == in_v1.metadata_raw == in_v1.parent_raw == (b"null" if parts else b"{}")
    assert decode(v1(parent=b"null", metadata=b"null", content=b"null"), v1=True) == Message("iopub", Header("m", "t"))


def test_four_characters_that_are_not_null_are_no_empty_part() -> None:
    message = decode('{"channel":"iopub","header":{"msg_id":"m","msg_type":"t"},"content":true}', v1=False)
    with pytest.raises(ProtocolError):
        _ = message.content


@pytest.mark.parametrize(
    ("raw", "value"), [("NaN", "nan"), ("-Infinity", "-inf"), ('"\\ud83d"', "'\\ud83d'"), ('"\\udc0d x"', "'\\udc0d x'")]
)
def test_what_strict_json_forbids_and_kernels_send(raw: str, value: str) -> None:
    content = f'{{"v":{raw}}}'
    frames: list[str | bytes] = [
        v1(content=content.encode()),
        f'{{"header":{HEADER.decode()},"metadata":{content},"content":{content},"channel":"iopub"}}',
        v1(header=f'{{"msg_id":"m","msg_type":"t","v":{raw}}}'.encode(), content=content.encode()),
        v1(parent=f'{{"msg_id":"p","v":{raw}}}'.encode(), content=content.encode()),
    ]
    for frame in frames:
        message = decode(frame, v1=True)
        assert message.msg_id == "m"
        assert repr(message.content["v"]) == value
        # The spool and a gateway get the same again.
        for again in (decode(encode_v1(message), v1=True), decode(encode_legacy(message), v1=False)):
            assert repr(again.content["v"]) == value
            assert again.channel == "iopub"


def test_odd_legacy_json_keeps_every_part_and_its_buffers() -> None:
    head = '{"channel":"stdin","header":{"msg_id":"m","msg_type":"t","session":"\\ud800"},'
    tail = '"parent_header":{"msg_id":"p"},"metadata":{"a":1},"content":{"b":2}}'
    frame = legacy_binary((head + tail).encode(), b"x", b"")
    message = decode(frame, v1=False)
    assert (message.channel, message.header.session, message.parent_id) == ("stdin", "\ud800", "p")
    assert (message.metadata, message.content, message.buffers) == ({"a": 1}, {"b": 2}, (b"x", b""))
    assert message.size == len(frame) + 2 * VIEW_BYTES


def test_gaps_between_parts_are_no_harm() -> None:
    """Nothing says that the table is followed by the first part at once."""
    frame = bytearray(v1(content=b'{"a":1}'))
    for index in range(1, 7):
        struct.pack_into("<Q", frame, 8 * index, struct.unpack_from("<Q", frame, 8 * index)[0] + 3)
    frame[56:56] = b"???"
    assert decode(bytes(frame), v1=True).content == {"a": 1}


# --- what is refused


@given(st.binary(max_size=200) | st.text(st.characters(categories=None), max_size=100), st.booleans())
@example(b"", True)
@example("", True)
@example("\ud800", False)
@example(struct.pack("<Q", 2**64 - 1), True)
@example(struct.pack(">I", 2**32 - 1), False)
@example("[" * 100_000, False)
@example(legacy_text(channel="\ud800"), True)
@example(legacy_text(channel=5), True)
def test_any_bytes_and_any_text_make_a_message_or_a_protocol_error(frame: bytes | str, is_v1: bool) -> None:
    try:
        message = decode(frame, v1=is_v1)
    except ProtocolError:
        return
    look_at_everything(message)


def look_at_everything(message: Message) -> None:
    """What can be decoded can be looked at, kept and sent, or says that it can't."""
    for part in ("content", "metadata", "parent_header"):
        with contextlib.suppress(ProtocolError):
            assert isinstance(getattr(message, part), dict)
    assert isinstance(message.parent_id, str)
    repr(message)
    assert decode(encode_v1(message), v1=True).header == message.header
    with contextlib.suppress(ProtocolError):
        encode_legacy(message)


@given(st.sampled_from(SAMPLES), st.booleans(), st.data())
@settings(max_examples=examples(4))  # any byte of any sample
def test_a_frame_with_changed_bytes_makes_a_message_or_a_protocol_error(
    message: Message, is_v1: bool, data: st.DataObject
) -> None:
    frame = encode_v1(message) if is_v1 else encode_legacy(message)
    changed = bytearray(frame.encode() if isinstance(frame, str) else frame)
    table = 8 * (7 + len(message.buffers)) if is_v1 else 4 * (2 + len(message.buffers))
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, min(table, len(changed) - 1)) | st.integers(0, len(changed) - 1))
        changed[position] = data.draw(st.integers(0, 255))
    mutants: list[bytes | str] = [bytes(changed)]
    if isinstance(frame, str):
        mutants.append(bytes(changed).decode(errors="replace"))
    for mutant in mutants:
        try:
            decoded = decode(mutant, v1=is_v1)
        except ProtocolError:
            continue
        look_at_everything(decoded)


@each_sample
def test_every_truncation_of_a_v1_frame_is_refused(message: Message) -> None:
    frame = encode_v1(message)
    for length in range(len(frame)):
        with pytest.raises(ProtocolError):
            decode(frame[:length], v1=True)


@each_sample
def test_every_truncation_of_a_legacy_frame_is_refused_or_cuts_the_last_buffer(message: Message) -> None:
    """The legacy binary framing has no length of its last part, so only there a cut can't be seen."""
    frame = encode_legacy(message)
    last = len(message.buffers[-1]) if message.buffers else 0
    for length in range(len(frame)):
        if message.buffers and length >= len(frame) - last:
            assert decode(frame[:length], v1=False).header == message.header
        else:
            with pytest.raises(ProtocolError):
                decode(frame[:length], v1=False)


@pytest.mark.parametrize("is_v1", [True, False])
@each_sample
def test_a_frame_of_the_other_framing_is_refused(message: Message, is_v1: bool) -> None:
    frame = encode_legacy(message) if is_v1 else encode_v1(message)
    if isinstance(frame, bytes):
        with pytest.raises(ProtocolError):
            decode(frame, v1=is_v1)


def with_v1_word(index: int, value: int) -> bytes:
    """A good frame, 81 bytes long, with one word of its table replaced; word 0 is the count."""
    frame = bytearray(v1(b"iopub", HEADER, b"{}", b"{}", b"{}", b"ab"))
    assert len(frame) == 64 + 5 + 29 + 2 + 2 + 2 + 2
    struct.pack_into("<Q", frame, 8 * index, value)
    return bytes(frame)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"", "of 0 bytes has no room for its offset count"),
        (bytes(7), "of 7 bytes has no room for its offset count"),
        (bytes(8), "of 8 bytes claims 0 offsets"),
        (with_v1_word(0, 5), "claims 5 offsets"),
        (with_v1_word(0, 13), "claims 13 offsets"),  # 8 * (13 + 1) > 106
        (with_v1_word(0, 2**61), "claims 2305843009213693952 offsets"),
        (with_v1_word(0, 2**64 - 1), "claims 18446744073709551615 offsets"),
        (with_v1_word(1, 0), "^a v1 frame has a part that starts at 0, before 64$"),
        (with_v1_word(1, 63), "a part that starts at 63, before 64"),
        (with_v1_word(1, 70), "a part that starts at 69, before 70"),
        (with_v1_word(3, 50), "a part that starts at 50, before 69"),
        (with_v1_word(7, 105), "of 106 bytes ends its last part at 105"),
        (with_v1_word(7, 107), "a part that reaches to 107"),
        (with_v1_word(7, 2**64 - 1), "a part that reaches to 18446744073709551615"),
        (v1()[:16] + struct.pack("<Q", 50) + v1()[24:], "^a v1 frame has a part that starts at 50, before 56$"),
        (v1(b"\xff\xfe"), "not UTF-8"),
        (v1(header=b"{}"), "no msg_type"),
        (v1(header=b""), "not JSON"),
        (v1(parent=b"{x}"), "not JSON"),
    ],
)
def test_a_broken_v1_frame_says_what_is_broken(frame: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode(frame, v1=True)


def test_the_smallest_table_that_fits_is_taken() -> None:
    assert decode(with_v1_word(7, 106), v1=True).buffers == (b"ab",)
    assert decode(v1(b"", HEADER, b"", b"", b""), v1=True).channel == ""


TEXT = legacy_text().encode()
AT = 12 + len(TEXT)  # where the one buffer of the frames below starts


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        (b"", "of 0 bytes has no room for its part count"),
        (bytes(3), "of 3 bytes has no room for its part count"),
        (bytes(4), "of 4 bytes claims 0 parts"),
        (struct.pack(">II", 2, 8), "of 8 bytes claims 2 parts"),
        (struct.pack(">I", 2**32 - 1) + bytes(100), "claims 4294967295 parts"),
        (struct.pack(">III", 2, 11, AT) + TEXT + b"ab", "^a legacy binary frame has a part that starts at 11, before 12$"),
        (struct.pack(">III", 2, 12, 11) + TEXT + b"ab", "^a legacy binary frame has a part that starts at 11, before 12$"),
        (struct.pack(">III", 2, 12, AT + 3) + TEXT + b"ab", f"a part that starts at {AT + 2}, before {AT + 3}"),
        (struct.pack(">III", 2, 12, AT - 1) + TEXT + b"ab", "not JSON"),
        (legacy_binary(b""), "not JSON"),
        (legacy_binary(b"\xff"), "not JSON"),
    ],
)
def test_a_broken_legacy_binary_frame_says_what_is_broken(frame: bytes, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode(frame, v1=False)


def test_a_legacy_binary_frame_may_have_no_buffers_and_an_empty_last_one() -> None:
    assert decode(legacy_binary(TEXT), v1=False).buffers == ()
    assert decode(struct.pack(">III", 2, 12, AT) + TEXT, v1=False).buffers == (b"",)


@pytest.mark.parametrize(
    ("frame", "says"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        (legacy_text() + "x", "not JSON"),
        ("5", "not a JSON object with a header"),
        ("null", "not a JSON object with a header"),
        ("[]", "not a JSON object with a header"),
        ("{}", "not a JSON object with a header"),
        ('{"header":NaN}', "not a JSON object with a header"),
        ('{"header":null}', "not a JSON object with a header"),
        ('{"header":{"msg_id":"m"}}', "no msg_type"),
        (legacy_text(channel="\ud800"), "names its channel with something that is not text"),
    ],
)
def test_broken_legacy_text_says_what_is_broken(frame: str, says: str) -> None:
    with pytest.raises(ProtocolError, match=says):
        decode(frame, v1=False)


@pytest.mark.parametrize("part", [b"", b"nonsense", b'{},"channel":"shell"', b'{"a":1', b"{}{}"])
def test_a_part_that_is_not_json_spoils_no_other_in_the_legacy_framing(part: bytes) -> None:
    for buffers in ((), (b"x",)):
        with pytest.raises(ProtocolError, match="a part that is not JSON"):
            encode_legacy(decode(v1(b"iopub", HEADER, b"{}", part, b"{}", *buffers), v1=True))


@pytest.mark.parametrize("header", [b"nonsense", b"[]", b"null", b"{}", b'{"msg_id":"m","msg_type":5}', b"", b"\xff"])
def test_what_is_only_passed_on_needs_no_header_that_says_something(header: bytes) -> None:
    for is_parent in (False, True):
        frame = v1(**({"parent": header} if is_parent else {"header": header}))
        message = Decoder(v1=True, relayed=True).decode(frame)
        assert encode_v1(message) == frame
        assert message.msg_type == ("t" if is_parent else "")
    with pytest.raises(ProtocolError):
        decode(v1(header=header), v1=True)


@pytest.mark.parametrize("binary", [False, True])
def test_what_is_only_passed_on_in_the_older_framing_needs_no_type(binary: bool) -> None:
    text = '{"channel":"iopub","header":{"msg_id":"m"}}'
    frame = legacy_binary(text.encode(), b"x") if binary else text
    message = Decoder(v1=False, relayed=True).decode(frame)
    assert (message.msg_id, message.msg_type, len(message.buffers)) == ("m", "", int(binary))
    with pytest.raises(ProtocolError):
        decode(frame, v1=False)


@pytest.mark.parametrize("odd", ["", ',"y":NaN'])
@pytest.mark.parametrize("part", ["header", "parent", "metadata", "content"])
def test_no_depth_of_nesting_is_an_error_of_another_kind(part: str, odd: str) -> None:
    """Around the depth at which one decoder gives up and the other does not, and far beyond."""
    name = "parent_header" if part == "parent" else part
    outcomes = set()
    for depth in [*range(sys.getrecursionlimit() - 80, sys.getrecursionlimit() + 5), 100_000]:
        deep = f'{{"msg_id":"m","msg_type":"t","x":{"[" * depth}{"]" * depth}{odd}}}'
        for frame in (v1(**{part: deep.encode()}), f'{{"header":{HEADER.decode()},"{name}":{deep}}}'):
            try:
                message = decode(frame, v1=True)
                assert getattr(message, name)
                outcomes.add("taken")
            except ProtocolError:
                outcomes.add("refused")
    assert "refused" in outcomes


# --- what can't be encoded


def test_a_part_that_is_not_utf8_is_no_legacy_text() -> None:
    message = decode(v1(content=b'{"a":"\xff"}'), v1=True)  # nobody has looked at it yet
    with pytest.raises(ProtocolError, match="a part that is not UTF-8"):
        encode_legacy(message)
    assert decode(encode_v1(message), v1=True).content_raw == b'{"a":"\xff"}'


class Vast(bytes):
    """As long as the legacy framing's offsets can't say; not worth its memory here."""

    def __len__(self) -> int:
        return 2**32


def test_more_than_four_gib_are_no_legacy_frame() -> None:
    message = Message("shell", Header("m", "t"))
    message.buffers = (Vast(), memoryview(b"x"))  # type: ignore[assignment]
    with pytest.raises(
        InvalidInputError, match=r"^buffers: '2 buffers' can't be used; expected less than 4 GiB in all"
    ) as caught:
        encode_legacy(message)
    assert caught.value.__suppress_context__


# --- against the gateways' own implementation


@given(messages)
def test_what_jupyter_server_makes_and_takes(message: Message) -> None:
    from jupyter_server.services.kernels.connection import base

    # the server's parts of a message, as they come from ZeroMQ
    parts = [bytes(part) for part in (message.header_raw, message.parent_raw, message.metadata_raw, message.content_raw)]
    parts += [bytes(buffer) for buffer in message.buffers]
    frame = base.serialize_msg_to_ws_v1(parts, message.channel)
    assert encode_v1(message) == frame
    assert decode(frame, v1=True) == message
    assert base.deserialize_msg_from_ws_v1(encode_v1(message)) == (message.channel, parts)

    fields = {
        "channel": message.channel,
        "header": json.loads(parts[0]),
        "parent_header": message.parent_header,
        "metadata": message.metadata,
        "content": message.content,
    }
    if message.buffers:
        assert decode(base.serialize_binary_message({**fields, "buffers": parts[4:]}), v1=False) == message
        taken = base.deserialize_binary_message(encode_legacy(message))
        assert taken["buffers"] == parts[4:]
        assert (taken["channel"], taken["metadata"], taken["content"]) == (message.channel, message.metadata, message.content)
        assert (taken["header"]["msg_id"], taken["header"]["msg_type"]) == (message.msg_id, message.msg_type)


# --- what is too large, or made of nothing

HEAD = b'{"msg_id":"k_1_2","msg_type":"%s","session":"k"}'
ABOVE = b'{"msg_id":"request","msg_type":"execute_request","session":"ours"}'


@pytest.mark.parametrize("kept", [400, 16 * 1024])
@pytest.mark.parametrize(("kind", "channel"), [(b"display_data", "iopub"), (b"execute_reply", "shell")])
@pytest.mark.parametrize("framing", ["v1", "text", "binary"])
def test_the_beginning_of_a_message_tells_what_it_was(framing: str, kind: bytes, channel: str, kept: int) -> None:
    content = b'{"header":{},"parent_header":{},"x":"' + b"x" * 100_000 + b'"}'
    if framing == "v1":
        frame = v1(channel.encode(), HEAD % kind, ABOVE, b"{}", content, b"buffer")
    else:
        # In the order in which jupyter_server writes them.
        fields = b'{"header": %s, "msg_id": "k_1_2", "parent_header": %s, "metadata": {}, "content": %s, "channel": "%s"}'
        frame = fields % (HEAD % kind, ABOVE, content, channel.encode())
        if framing == "binary":
            frame = legacy_binary(frame, b"buffer" * 1000)
    cut = CutMessage(frame[:kept], len(frame), is_text=framing == "text")
    with pytest.raises(TooLargeError, match=f"'{kind.decode()}' has {len(frame)} bytes") as caught:
        decode(cut, v1=framing == "v1")
    message = caught.value.message
    assert message is not None
    assert (message.channel, message.msg_id, message.msg_type, message.parent_id) == (channel, "k_1_2", kind.decode(), "request")
    assert (message.content, message.buffers, caught.value.length) == ({}, (), len(frame))


@given(st.binary(max_size=200), st.booleans(), st.booleans())
@example(v1(b"iopub", HEAD % b"x", ABOVE, b"{}", b"{}")[:90], True, False)
@example(b"\xff" * 100, True, False)
@example(b'{"header": {"msg_id": ', False, True)
@example(b'{"header": ' + b'{"a":' * 3_000, False, True)
def test_any_beginning_is_a_message_that_was_too_large(kept: bytes, is_v1: bool, is_text: bool) -> None:
    with pytest.raises(TooLargeError, match="has 1000 bytes, more than max_message_size allows"):
        decode(CutMessage(kept, 1000, is_text=is_text), v1=is_v1)


def test_a_message_has_so_many_buffers_at_most() -> None:
    header = HEAD % b"display_data"
    text = b'{"header": %s}' % header
    assert len(decode(v1(b"iopub", header, b"{}", b"{}", b"{}", *[b""] * MAX_BUFFERS), v1=True).buffers) == MAX_BUFFERS
    assert len(decode(legacy_binary(text, *[b""] * MAX_BUFFERS), v1=False).buffers) == MAX_BUFFERS
    with pytest.raises(ProtocolError, match="10001 buffers"):
        decode(v1(b"iopub", header, b"{}", b"{}", b"{}", *[b""] * (MAX_BUFFERS + 1)), v1=True)
    with pytest.raises(ProtocolError, match="10001 buffers"):
        decode(legacy_binary(text, *[b""] * (MAX_BUFFERS + 1)), v1=False)


def test_a_text_counts_as_what_it_takes() -> None:
    plain = '{"header":' + (HEAD % b"stream").decode() + ',"content":{"x":"' + "x" * 10_000 + '"}}'
    wide = plain.replace("xx", "x\U0001f600")
    assert decode(plain, v1=False).size == len(plain)
    assert decode(wide, v1=False).size > 8 * len(wide)


# --- at the edges of a beginning


def told(frame: bytes, *, v1: bool, is_text: bool = False) -> Message | None:
    with pytest.raises(TooLargeError) as caught:
        decode(CutMessage(frame, 1_000_000, is_text=is_text), v1=v1)
    return caught.value.message


@pytest.mark.parametrize("binary", [False, True])
def test_a_beginning_that_ends_inside_of_a_character_tells_what_it_was(binary: bool) -> None:
    text = b'{"header": %s, "parent_header": %s, "metadata": {}, "content": {"x": "%s' % (HEAD % b"stream", ABOVE, "é".encode())
    frame = legacy_binary(text + b"x" * 1000, b"buffer") if binary else text
    message = told(frame[: frame.index("é".encode()) + 1], v1=False, is_text=not binary)
    assert message is not None
    assert message.msg_type == "stream"


def test_a_beginning_that_ends_with_the_headers_tells_what_it_was() -> None:
    header = HEAD % b"stream"
    for channel, parent in ((b"iopub", ABOVE), (b"", ABOVE), (b"iopub", b"")):
        frame = v1(channel, header, parent, b"{}", b"{}")
        end = 56 + len(channel + header + parent)
        message = told(frame[:end], v1=True)
        assert message is not None
        assert (message.channel, message.msg_type) == (channel.decode(), "stream")
        assert (message.metadata, message.content) == ({}, {})
        assert message.size == len(header + parent)
        assert told(frame[: end - 1], v1=True) is None


@pytest.mark.parametrize("at", [48, 55])
def test_a_beginning_whose_table_is_among_its_parts_tells_nothing(at: int) -> None:
    frame = bytearray(v1(b"iopub", HEAD % b"stream", ABOVE))
    struct.pack_into("<Q", frame, 8, at)  # where the channel would be
    struct.pack_into("<Q", frame, 16, 61)
    frame[at:56] = b"x" * (56 - at)
    assert told(bytes(frame), v1=True) is None
