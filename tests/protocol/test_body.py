"""Bodies are unpacked up to a limit and not a byte further. G7."""

from __future__ import annotations

import gzip
import tracemalloc
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.body import BodyTooLarge, UnreadableBody, decode_body, parse_encodings

TEXT = b"hello " * 100


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


@pytest.mark.parametrize(
    ("content", "encodings"),
    [
        (TEXT, []),
        (gzip.compress(TEXT, mtime=0), ["gzip"]),
        (gzip.compress(TEXT[:50], mtime=0) + gzip.compress(TEXT[50:], mtime=0), ["gzip"]),
        (gzip.compress(TEXT, mtime=0) + b"\0\0\0", ["gzip"]),
        (b"".join(gzip.compress(part, mtime=0) for part in (TEXT[:200], TEXT[200:400], TEXT[400:])), ["gzip"]),
        (zlib.compress(TEXT), ["deflate"]),
        (raw_deflate(TEXT), ["deflate"]),
        (zlib.compress(gzip.compress(TEXT, mtime=0)), ["gzip", "deflate"]),
    ],
)
def test_encodings_are_undone(content: bytes, encodings: list[str]):
    assert decode_body(content, encodings, limit=len(TEXT)) == TEXT
    with pytest.raises(BodyTooLarge):
        decode_body(content, encodings, limit=len(TEXT) - 1)


def test_no_body_needs_no_decoding():
    assert decode_body(b"", ["gzip"], limit=10) == b""
    assert decode_body(b"", ["deflate"], limit=10) == b""


@pytest.mark.parametrize("layers", [1, 2])
def test_a_bomb_does_not_go_off(layers: int):
    bomb = b"\0" * 50_000_000
    for _ in range(layers):
        bomb = gzip.compress(bomb)
    tracemalloc.start()
    try:
        with pytest.raises(BodyTooLarge):
            decode_body(bomb, ["gzip"] * layers, limit=1_000_000)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < 5_000_000


def test_a_body_of_countless_parts_is_refused():
    with pytest.raises(UnreadableBody, match="parts"):
        decode_body(gzip.compress(b"") * 100_000, ["gzip"], limit=10_000_000)


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
@pytest.mark.parametrize("content", [b"x", b"no such thing" * 10, gzip.compress(TEXT, mtime=0)[:-9], zlib.compress(TEXT)[:-5]])
def test_broken_data(content: bytes, encoding: str):
    with pytest.raises(UnreadableBody, match=r"^its compressed data (are broken|end too early)$"):
        decode_body(content, [encoding], limit=10_000)


def test_the_header():
    assert parse_encodings([]) == []
    assert parse_encodings(["identity"]) == []
    assert parse_encodings(["GZip , identity", "x-gzip"]) == ["gzip", "gzip"]
    assert parse_encodings(["Deflate"]) == ["deflate"]
    with pytest.raises(UnreadableBody, match="gzip, deflate"):
        parse_encodings(["br"])
    with pytest.raises(UnreadableBody, match="3 times"):
        parse_encodings(["gzip, gzip, gzip"])


@given(st.binary(), st.lists(st.sampled_from(["gzip", "deflate"]), max_size=2))
def test_any_bytes_are_a_body_or_a_typed_error(content: bytes, encodings: list[str]):
    with suppress(BodyTooLarge, UnreadableBody):
        assert len(decode_body(content, encodings, limit=100)) <= 100
