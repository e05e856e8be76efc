"""JSON values that a kernel sent, read as what they should be.

The one idea: kernels are sloppy, and what can be shown is shown. Where text should be and a number is, the number is the text;
what is missing or null is empty. Nothing here raises, whatever the value is. Which field of which message is read as what stands
in `_protocol.contents`.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, Final, cast

__all__ = [
    "MAX_DEPTH",
    "as_bundle",
    "as_count",
    "as_file_bundle",
    "as_flag",
    "as_lines",
    "as_object",
    "as_plain_json",
    "as_text",
    "is_json_type",
]

MAX_DEPTH: Final = 100
"""How deep lists and objects may be nested that are to be shown or saved: what takes them apart needs a stack for that."""
TOO_DEEP: Final = "(nested too deeply)"
"""What stands for those that are nested deeper."""
_LARGEST_COUNT: Final = 2**53
"""From here on not each reader of JSON distinguishes every number."""


def as_text(value: object) -> str:
    """Return a value as text: a list of texts joined, nothing for null, and anything else as its JSON."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, (list, tuple)):
        items = cast("list[object]", value)
        return "".join([item if isinstance(item, str) else "" if item is None else _as_json_text(item) for item in items])
    return _as_json_text(value)


def as_lines(value: object) -> tuple[str, ...]:
    """Return a value as lines: each item of a list as text, nothing for null, and anything else as one."""
    if isinstance(value, (list, tuple)):
        return tuple([as_text(item) for item in cast("list[object]", value)])
    return () if value is None else (as_text(value),)


def as_object(value: object) -> dict[str, Any]:
    """Return a value if it is an object, and else an empty one."""
    return cast("dict[str, Any]", value) if isinstance(value, dict) else {}


def as_bundle(value: object) -> dict[str, Any]:
    """Return a value as content by MIME type: what is no object, but can be shown, is plain text."""
    if isinstance(value, dict):
        return cast("dict[str, Any]", value)
    text = as_text(value)
    return {"text/plain": text} if text else {}


def as_count(value: object) -> int | None:
    """Return a value as a number that counts something; None if it is none. Decimal digits are one."""
    if isinstance(value, str) and value.isascii() and value.isdecimal() and len(value) < len(str(_LARGEST_COUNT)):
        value = int(value)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and 0 <= value < _LARGEST_COUNT else None


def as_flag(value: object) -> bool:
    """Return a value as yes or no: no is what is missing, empty or zero, and the words for it."""
    return value.strip().lower() not in ("", "0", "false", "no") if isinstance(value, str) else bool(value)


def is_json_type(mime: str) -> bool:
    """Whether nbformat lets content of this type be any JSON value; of all others it is text."""
    return mime == "application/json" or (mime.startswith("application/") and mime.endswith("+json"))


def as_plain_json(value: Any, depth: int = MAX_DEPTH) -> Any:
    """Return a value as each reader of JSON takes it, and not only Python's: a copy of what is not so already.

    Numbers that are none (NaN, infinities) become null, as in JavaScript. Lone surrogates, which have no UTF-8, become U+FFFD.

    Args:
        value: a value of Python's `json`.
        depth: how deep lists and objects may be nested in it; what is deeper becomes a text that says so.
    """
    match value:
        case str():
            return value if value.isascii() else value.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        case float():
            return value if math.isfinite(value) else None
        case dict() | list() | tuple() if depth == 0:
            return TOO_DEEP
        case dict():
            fields = cast("dict[str, Any]", value)
            return {as_plain_json(name): as_plain_json(item, depth - 1) for name, item in fields.items()}
        case list() | tuple():
            return [as_plain_json(item, depth - 1) for item in cast("list[Any]", value)]
        case _:
            return value


def as_file_bundle(data: Mapping[str, Any]) -> dict[str, Any]:
    """Return content by MIME type as a notebook may hold it: text, but for the types of JSON. No text is not there."""
    return {
        mime: value if is_json_type(mime) or _is_text(value) else as_text(value)
        for mime, value in data.items()
        if value is not None or is_json_type(mime)
    }


def _is_text(value: object) -> bool:
    return isinstance(value, str) or (
        isinstance(value, list) and all(isinstance(line, str) for line in cast("list[object]", value))
    )


def _as_json_text(value: object) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (TypeError, ValueError, RecursionError):
        return TOO_DEEP
