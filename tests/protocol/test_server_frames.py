"""Frames as a server takes them: masked, in whatever pieces they come, and refused where they are wrong."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.frames import (
    BINARY,
    CLOSE,
    PING,
    TEXT,
    Close,
    FrameParser,
    Ping,
    ServerFrameParser,
    close_frame,
    frame_head,
    no_mask,
    small_frame,
    xor_mask,
)

KEY = b"\x01\x80\xfe\x00"


def masked(kind: int, payload: bytes, key: bytes = KEY) -> bytes:
    return small_frame(kind, payload, key, xor_mask)


def fed(data: bytes, size: int, limit: int = 1000) -> tuple[list[bytes | str], ServerFrameParser]:
    """Feed a parser in pieces of one size."""
    parser = ServerFrameParser(limit, xor_mask)
    found: list[bytes | str] = []
    for start in range(0, len(data), size):
        found += parser.feed(data[start : start + size])
    return found, parser


@given(
    messages=st.lists(st.binary(max_size=300) | st.text(max_size=100), max_size=6),
    key=st.binary(min_size=4, max_size=4),
    size=st.integers(1, 400),
)
def test_messages_come_out_as_they_went_in(messages: list[bytes | str], key: bytes, size: int) -> None:
    data = b"".join(masked(TEXT, m.encode(), key) if isinstance(m, str) else masked(BINARY, m, key) for m in messages)
    found, parser = fed(data, size)
    assert found == messages
    assert parser.error is None


@pytest.mark.parametrize("size", [1, 7, 100_000])
def test_messages_of_every_length_and_of_just_the_limit(size: int) -> None:
    messages: list[bytes | str] = [b"x" * 126, "y" * 1000, b"", b"z" * 70_000]
    data = b"".join(masked(TEXT, m.encode()) if isinstance(m, str) else masked(BINARY, m) for m in messages)
    found, parser = fed(data + masked(PING, b"p" * 125), size, limit=70_000)
    assert found == messages
    assert parser.controls == [Ping(b"p" * 125)]


@pytest.mark.parametrize(("limit", "found", "code"), [(3, ["abc"], None), (2, [], 1009)])
def test_fragments_of_just_the_limit(limit: int, found: list[str], code: int | None) -> None:
    data = masked(TEXT, b"ab")
    parser = ServerFrameParser(limit, xor_mask)
    assert parser.feed(bytes([data[0] & 0x7F]) + data[1:] + masked(0, b"c")) == found
    assert (parser.error and parser.error.code) == code


def test_an_empty_message_is_there_with_its_last_byte() -> None:
    assert ServerFrameParser(0, xor_mask).feed(masked(BINARY, b"")) == [b""]


@pytest.mark.parametrize("size", [1, 2, 3, 1000])
def test_fragments_and_what_comes_between_them(size: int) -> None:
    first, last = masked(TEXT, b"ab"), masked(0, b"c")
    data = bytes((first[0] & 0x7F,)) + first[1:] + masked(PING, b"p") + last + masked(CLOSE, b"\x03\xe8bye")
    found, parser = fed(data, size)
    assert found == ["abc"]
    assert parser.controls == [Ping(b"p"), Close(1000, "bye")]


def begun(payload: bytes) -> bytes:
    """The first fragment of a message."""
    frame = masked(BINARY, payload)
    return bytes((frame[0] & 0x7F,)) + frame[1:]


@pytest.mark.parametrize(
    ("data", "code", "reason"),
    [
        (small_frame(BINARY, b"x", b"", no_mask), 1002, "a client's frame is not masked"),
        (masked(BINARY, b"x" * 1001), 1009, "a message of 1001 bytes"),
        (frame_head(BINARY, 1 << 40, KEY), 1009, "a message of 1099511627776 bytes"),
        (frame_head(PING, 126, KEY), 1002, "a control frame is too long"),
        (masked(TEXT, b"\xff"), 1007, "a text message is not UTF-8"),
        (masked(0, b"x"), 1002, "a fragment continues nothing"),
        (b"\xf2" + masked(BINARY, b"x")[1:], 1002, "a frame has a bit set that means nothing here"),
        (masked(3, b"x"), 1002, "a frame is of the unknown kind 3"),
        (masked(CLOSE, b"\x03\xed"), 1002, "a close frame has the code 1005"),
        (begun(b"x" * 600) + masked(0, b"y" * 600), 1009, "a message of more than 1000 bytes"),
        (
            begun(b"") + bytes((0,)) + masked(0, b"")[1:] + (bytes((0,)) + masked(0, b"")[1:]) * 1_000,
            1008,
            "a message in 1001 .*",
        ),
    ],
)
@pytest.mark.parametrize("size", [1, 5000])
def test_what_is_wrong_is_told_by_its_code(data: bytes, code: int, reason: str, size: int) -> None:
    found, parser = fed(masked(BINARY, b"before") + data + masked(BINARY, b"after"), size)
    assert found == [b"before"]
    assert parser.error is not None
    assert parser.error.code == code
    assert re.fullmatch(reason, parser.error.reason)


@given(data=st.binary(max_size=200), size=st.integers(1, 50))
def test_nothing_that_comes_is_more_than_an_error(data: bytes, size: int) -> None:
    fed(data, size, limit=100)


@given(payload=st.binary(max_size=70_000))
def test_what_a_server_sends_is_not_masked_and_a_client_reads_it(payload: bytes) -> None:
    frame = small_frame(BINARY, payload, b"", no_mask)
    assert frame.endswith(payload)
    assert FrameParser(100_000).feed(frame) == [payload]


def test_a_servers_goodbye() -> None:
    parser = FrameParser(100)
    assert parser.feed(close_frame(1001, "later", b"", no_mask)) == []
    assert parser.controls == [Close(1001, "later")]
