"""WebSocket frames, pure: cut wherever you like, the messages are the same; what is no conversation is refused by its code."""

from __future__ import annotations

import re
from collections.abc import Iterable

import pytest
from hypothesis import given
from hypothesis import strategies as st
from websockets.frames import Frame, Opcode
from websockets.speedups import apply_mask

from trio_gateway._protocol.frames import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Close,
    CutMessage,
    FragmentCount,
    FrameError,
    FrameParser,
    Ping,
    Pong,
    close_frame,
    frame_head,
    small_frame,
    xor_mask,
)

LIMIT = 1_000_000


def server(opcode: Opcode, payload: bytes = b"", *, fin: bool = True) -> bytes:
    """A frame as a server sends it, made by another implementation."""
    return Frame(opcode, payload, fin=fin).serialize(mask=False)


def binary(payload: bytes) -> bytes:
    return server(Opcode.BINARY, payload)


def text(payload: str) -> bytes:
    return server(Opcode.TEXT, payload.encode())


def feed(parser: FrameParser, data: bytes, cuts: Iterable[int] = ()) -> list[bytes | str]:
    """Feed data in pieces that end at `cuts`."""
    messages: list[bytes | str] = []
    start = 0
    for cut in (*sorted(cuts), len(data)):
        messages += parser.feed(data[start:cut])
        start = max(start, cut)
    return messages


messages_of_any_kind = st.lists(
    st.one_of(
        st.binary(max_size=40),
        st.text(max_size=20),
        st.integers(120, 135).map(lambda size: b"x" * size),
        st.integers(120, 135).map(lambda size: "z" * size),
        st.integers(65_530, 65_540).map(lambda size: b"y" * size),
    ),
    max_size=6,
)


@given(messages_of_any_kind, st.data())
def test_messages_come_out_as_they_went_in_however_they_are_cut(messages: list[bytes | str], data: st.DataObject) -> None:
    wire = b"".join(text(message) if isinstance(message, str) else binary(message) for message in messages)
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=12))
    parser = FrameParser(LIMIT)
    assert feed(parser, wire, cuts) == messages
    assert parser.error is None


def test_each_byte_may_come_alone() -> None:
    wire = binary(b"one") + text("zwei") + binary(b"3" * 300) + text("4" * 300) + server(Opcode.PING, b"?" * 125) + binary(b"")
    parser = FrameParser(LIMIT)
    assert feed(parser, wire, range(len(wire))) == [b"one", "zwei", b"3" * 300, "4" * 300, b""]
    assert parser.controls == [Ping(b"?" * 125)]


def test_a_head_that_says_too_much_is_refused_at_once() -> None:
    parser = FrameParser(LIMIT)
    assert parser.feed(b"\x82\x7f" + (2**32 + 1).to_bytes(8, "big")) == []
    assert parser.error is not None
    assert parser.error.args == (1009, "a message of 4294967297 bytes")


def test_fragments_after_fragments() -> None:
    wire = server(Opcode.TEXT, b"a", fin=False) + server(Opcode.CONT, b"b")
    assert FrameParser(LIMIT).feed(wire * 2) == ["ab", "ab"]


@given(st.lists(st.binary(max_size=30), min_size=1, max_size=6), st.booleans(), st.data())
def test_fragments_are_joined_and_control_frames_come_between(pieces: list[bytes], is_text: bool, data: st.DataObject) -> None:
    if is_text:
        pieces = [piece.hex().encode() for piece in pieces]
    wire = b""
    for index, piece in enumerate(pieces):
        opcode = (Opcode.TEXT if is_text else Opcode.BINARY) if index == 0 else Opcode.CONT
        wire += server(opcode, piece, fin=index == len(pieces) - 1) + server(Opcode.PONG, bytes([index]))
    wire += binary(b"after")
    cuts = data.draw(st.lists(st.integers(0, len(wire)), max_size=12))
    parser = FrameParser(LIMIT)
    whole = b"".join(pieces)
    assert feed(parser, wire, cuts) == [whole.decode() if is_text else whole, b"after"]
    assert parser.controls == [Pong(bytes([index])) for index in range(len(pieces))]


@pytest.mark.parametrize(
    ("payload", "expected"),
    [
        (b"", Close(1005, "")),
        (b"\x03\xe8", Close(1000, "")),
        (b"\x03\xf1too big", Close(1009, "too big")),
        (b"\x0f\xa0\xc3\xa4", Close(4000, "ä")),
    ],
)
@pytest.mark.parametrize("cuts", [(), (8, 11)])
def test_a_goodbye_is_the_last_word(payload: bytes, expected: Close, cuts: tuple[int, ...]) -> None:
    parser = FrameParser(LIMIT)
    wire = binary(b"before") + server(Opcode.CLOSE, payload) + binary(b"after") + server(Opcode.PING)
    assert feed(parser, wire, cuts) == [b"before"]
    assert parser.controls == [expected]
    assert parser.feed(binary(b"later")) == []
    assert parser.error is None


@pytest.mark.parametrize(
    ("wire", "code", "reason"),
    [
        (b"\x82\x81\x01\x02\x03\x04y", 1002, "a server's frame is masked"),
        (b"\x82\x80\x01\x02\x03\x04", 1002, "a server's frame is masked"),
        (b"\xc2\x01x", 1002, "a frame has a bit set that means nothing here"),  # of an extension that was not agreed on
        (b"\x83\x01x", 1002, "a frame is of the unknown kind 3"),
        (b"\x8b\x00", 1002, "a frame is of the unknown kind 11"),
        (server(Opcode.CONT, b"x"), 1002, "a fragment continues nothing"),
        (server(Opcode.TEXT, b"x", fin=False) + binary(b"y"), 1002, "a message begins in the middle of another one"),
        (server(Opcode.BINARY, b"x", fin=False) + text("y"), 1002, "a message begins in the middle of another one"),
        (b"\x09\x01x", 1002, "a control frame is fragmented or too long"),
        (b"\x89\x7e\x00\x7e" + b"x" * 126, 1002, "a control frame is (fragmented or )?too long"),
        (b"\x89\x7e\x40\x00", 1002, "a control frame is too long"),
        (b"\x88\x01\x03", 1002, "a close frame has the code 3"),
        (b"\x88\x02\x03\xed", 1002, "a close frame has the code 1005"),  # which is none to send
        (b"\x88\x02\x00\x05", 1002, "a close frame has the code 5"),
        (b"\x88\x03\x03\xe8\xff", 1007, "a text message is not UTF-8"),
        (server(Opcode.TEXT, b"\xff"), 1007, "a text message is not UTF-8"),
        (server(Opcode.TEXT, b"\xff", fin=False) + server(Opcode.CONT, b""), 1007, "a text message is not UTF-8"),
        (b"\xc2\x7f" + (LIMIT + 1).to_bytes(8, "big"), 1002, "a frame has a bit set that means nothing here"),
        (b"\x83\x7f" + (LIMIT + 1).to_bytes(8, "big"), 1002, "a frame is of the unknown kind 3"),
        (b"\x82\x7f" + (2**63).to_bytes(8, "big"), 1009, f"a message of {2**63} bytes"),
    ],
)
@pytest.mark.parametrize("cut", [True, False])
def test_what_is_no_conversation(wire: bytes, code: int, reason: str, cut: bool) -> None:
    """What came before is given, nothing that comes after is, and the error says which close code that is, and why."""
    parser = FrameParser(LIMIT)
    before = binary(b"before")
    cuts = range(len(before) + 14) if cut else ()
    assert feed(parser, before + wire + binary(b"after"), cuts) == [b"before"]
    assert parser.error is not None
    assert parser.error.code == code
    assert re.fullmatch(reason, parser.error.reason)
    assert parser.error.args == (code, parser.error.reason)
    assert parser.feed(binary(b"later")) == []


def test_a_message_of_just_the_limit_is_let_in() -> None:
    parser = FrameParser(100)
    assert parser.feed(binary(b"x" * 100)) == [b"x" * 100]
    assert parser.feed(server(Opcode.TEXT, b"x" * 60, fin=False) + server(Opcode.CONT, b"x" * 40)) == ["x" * 100]
    (cut,) = parser.feed(binary(b"x" * 101))
    assert isinstance(cut, CutMessage)


@pytest.mark.parametrize("fragments", [1, 2, 7])
@pytest.mark.parametrize("is_text", [True, False])
@pytest.mark.parametrize("cuts", [(), range(0, 40_000, 5_000), range(40)])
def test_of_a_message_that_is_too_large_the_beginning_is_given(fragments: int, is_text: bool, cuts: Iterable[int]) -> None:
    """What comes before it and after it is whole, and so are control frames between its fragments."""
    size = 14_000 * fragments
    content = bytes(range(97, 117)) * (size // 20)
    pieces = [content[14_000 * index : 14_000 * (index + 1)] for index in range(fragments)]
    wire = binary(b"before")
    for index, piece in enumerate(pieces):
        opcode = (Opcode.TEXT if is_text else Opcode.BINARY) if index == 0 else Opcode.CONT
        wire += server(opcode, piece, fin=index == fragments - 1) + server(Opcode.PONG, bytes([index]))
    parser = FrameParser(13_999)
    before, cut, after = feed(parser, wire + binary(b"after"), cuts)
    assert (before, after) == (b"before", b"after")
    assert isinstance(cut, CutMessage)
    assert (cut, cut.length, cut.is_text) == (content[: 16 * 1024], size, is_text)
    assert parser.cut == 1
    assert parser.error is None
    assert parser.controls == [Pong(bytes([index])) for index in range(fragments)]


def test_many_fragments_with_little_in_them_are_no_message() -> None:
    parser = FrameParser(LIMIT)
    wire = server(Opcode.BINARY, b"x", fin=False) + server(Opcode.CONT, b"", fin=False) * 998 + server(Opcode.CONT, b"y")
    assert parser.feed(wire) == [b"xy"]
    assert parser.feed(server(Opcode.BINARY, b"x" * 32_000, fin=False) + server(Opcode.CONT, b"", fin=False) * 999) == []
    assert parser.error is None
    parser.feed(server(Opcode.CONT, b"", fin=False))
    assert parser.error is not None
    assert parser.error.args == (1008, "a message in 1001 fragments with 32000 bytes in all")


@given(st.binary(max_size=2000))
def test_garbage_raises_nothing(wire: bytes) -> None:
    parser = FrameParser(500)
    for message in parser.feed(wire):
        assert len(message) <= 500


# What we send ------------------------------------------------------------------------------------------------------


@given(st.binary(max_size=70_000), st.binary(min_size=4, max_size=4))
def test_masks_agree(data: bytes, key: bytes) -> None:
    assert xor_mask(data, key) == apply_mask(data, key)
    assert xor_mask(memoryview(data), key) == apply_mask(memoryview(data), key)


@pytest.mark.parametrize("size", [0, 1, 125, 126, 127, 65_535, 65_536, 200_000])
def test_a_frame_is_what_another_implementation_reads(size: int) -> None:
    key = b"\x01\x80\xff\x00"
    payload = bytes(index * 7 % 256 for index in range(size))
    frame = small_frame(BINARY, payload, key, xor_mask)
    head = frame_head(BINARY, size, key)
    assert frame[: len(head)] == head
    assert xor_mask(frame[len(head) :], key) == payload
    reference = Frame(Opcode.BINARY, payload).serialize(mask=False)
    assert head[0] == reference[0]
    assert head[1] == reference[1] | 0x80
    assert head[2:-4] == reference[2 : len(reference) - size]


@pytest.mark.parametrize(
    ("code", "reason", "payload"),
    [
        (1000, "", b"\x03\xe8"),
        (1009, "ä" * 100, b"\x03\xf1" + ("ä" * 61).encode()),
        (1009, "x" * 200, b"\x03\xf1" + b"x" * 123),
        (1005, "none was given", b""),
        (1006, "", b""),
    ],
)
def test_goodbyes(code: int, reason: str, payload: bytes) -> None:
    frame = close_frame(code, reason, b"\0\0\0\0", xor_mask)
    assert frame[0] == 0x80 | CLOSE
    assert frame[6:] == payload


def test_kinds() -> None:
    assert [TEXT, BINARY, CLOSE, PING] == [Opcode.TEXT, Opcode.BINARY, Opcode.CLOSE, Opcode.PING]


# --- at the limits


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("cut_at", [(), (30_000,), (10_000, 30_000)])
def test_a_large_message_of_just_the_limit_is_whole(fragments: int, cut_at: tuple[int, ...]) -> None:
    content = bytes(range(250)) * 160
    size = len(content) // fragments
    wire = b"".join(
        server(Opcode.CONT if start else Opcode.BINARY, content[start : start + size], fin=start + size == len(content))
        for start in range(0, len(content), size)
    )
    parser = FrameParser(len(content))
    assert feed(parser, wire, cut_at) == [content]
    assert parser.cut == 0


@pytest.mark.parametrize("fragments", [1, 2])
@pytest.mark.parametrize("cut_at", [(), range(0, 50_000, 10_000), (5_000, 16_387, 16_388, 16_389)])
def test_of_messages_that_are_too_large_no_more_than_the_beginning_is_kept(fragments: int, cut_at: Iterable[int]) -> None:
    content = bytes(range(250)) * 160
    size = len(content) // fragments
    wire = b"".join(
        server(Opcode.CONT if start else Opcode.BINARY, content[start : start + size], fin=start + size == len(content))
        for start in range(0, len(content), size)
    )
    parser = FrameParser(22_000)
    assert feed(parser, wire + wire, cut_at) == [content[: 16 * 1024]] * 2
    assert parser.cut == 2


def test_how_much_may_pass_in_fragments() -> None:
    count = FragmentCount()
    count.add(4 * 1024**3)
    with pytest.raises(FrameError, match="more than 4294967296 bytes") as caught:
        count.add(1)
    assert caught.value.code == 1009


def test_how_little_may_be_in_many_fragments() -> None:
    count = FragmentCount()
    for _ in range(1_001):
        count.add(32)
    with pytest.raises(FrameError, match="1002 fragments") as caught:
        count.add(31)
    assert caught.value.code == 1008
