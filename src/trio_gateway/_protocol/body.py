"""From the bytes of an answer's body to the bytes it stands for, never more of them than allowed.

A few kilobytes can unpack to gigabytes, and to more still where encodings are stacked: each step here is bounded.
"""

from __future__ import annotations

import zlib

__all__ = ["ACCEPT_ENCODING", "BodyTooLarge", "UnreadableBody", "decode_body", "parse_encodings"]

ACCEPT_ENCODING = "gzip, deflate"
"""What is asked for: what `decode_body` can undo."""

_MAX_ENCODINGS = 2
# Each further member costs a copy of the rest: a body of a million empty ones would take hours.
_MAX_MEMBERS = 16


class UnreadableBody(Exception):
    """The body is not what its headers say; the message says how."""


class BodyTooLarge(Exception):
    """The body is larger than allowed."""


def parse_encodings(values: list[str]) -> list[str]:
    """Read the `Content-Encoding` headers.

    Returns:
        The encodings in the order in which they were applied, without `identity`.

    Raises:
        UnreadableBody: there is an unknown one, or too many.
    """
    names = [name.strip().lower().removeprefix("x-") for value in values for name in value.split(",")]
    names = [name for name in names if name and name != "identity"]
    for name in names:
        if name not in {"gzip", "deflate"}:
            raise UnreadableBody(f"its content encoding is not one of those asked for ({ACCEPT_ENCODING})")
    if len(names) > _MAX_ENCODINGS:
        raise UnreadableBody(f"it is encoded {len(names)} times over")
    return names


def decode_body(content: bytes, encodings: list[str], *, limit: int) -> bytes:
    """Undo the content encodings of a body.

    Args:
        content: the body as it came.
        encodings: what `parse_encodings` found.
        limit: the most bytes, before and after each step.

    Raises:
        UnreadableBody: the body is not encoded as it says, or is cut short.
        BodyTooLarge: it is larger than `limit`.
    """
    if len(content) > limit:
        raise BodyTooLarge
    # An answer to HEAD and a 304 name an encoding and have no body.
    for encoding in reversed(encodings if content else []):
        content = _gunzip(content, limit) if encoding == "gzip" else _inflate(content, limit)
    return content


def _gunzip(content: bytes, limit: int) -> bytes:
    parts: list[bytes] = []
    size = 0
    while content:
        if len(parts) == _MAX_MEMBERS:
            raise UnreadableBody(f"its compressed data have more than {_MAX_MEMBERS} parts")
        unpacker = zlib.decompressobj(zlib.MAX_WBITS | 16)
        part = _unpack(unpacker, content, limit - size)
        parts.append(part)
        size += len(part)
        # A gzip file may have several members. What follows the last one is padding, which gzip itself ignores.
        content = unpacker.unused_data if unpacker.unused_data[:2] == b"\x1f\x8b" else b""
    return b"".join(parts)


def _inflate(content: bytes, limit: int) -> bytes:
    try:
        return _unpack(zlib.decompressobj(), content, limit)
    except UnreadableBody:
        # Some servers send raw deflate data and call it "deflate".
        return _unpack(zlib.decompressobj(-zlib.MAX_WBITS), content, limit)


def _unpack(unpacker: zlib._Decompress, content: bytes, limit: int) -> bytes:
    try:
        # One more byte than allowed tells "exactly the limit" from "more".
        unpacked = unpacker.decompress(content, limit + 1)
    except zlib.error:
        raise UnreadableBody("its compressed data are broken") from None
    if len(unpacked) > limit:
        raise BodyTooLarge
    if not unpacker.eof:
        raise UnreadableBody("its compressed data end too early")
    return unpacked
