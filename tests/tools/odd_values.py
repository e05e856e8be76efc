"""What sloppy kernels put into a field of a message, or in place of a whole part."""

from __future__ import annotations

__all__ = ["ODD"]

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
    "deep": b"[" * 500 + b"]" * 500,
}
"""JSON, and what is none, by what it is; None: nothing stands there."""
