"""Messages of which a part is left out, null or odd: what a front end sends, and what a kernel says.

To add a message, add a line to `SENT` or to `SAID`: what each part is, as JSON, or as bytes that are none; `LEFT_OUT` leaves it
out, which only the legacy framing can.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from .hostile_tools import BINARY, TEXT, v1_frame

__all__ = ["DEFAULTS", "LEFT_OUT", "NAMES", "SAID", "SENT", "Parts", "as_frame", "as_json", "lacking", "with_ids"]

LEFT_OUT: Any = object()
NAMES = ("header", "parent_header", "metadata", "content")

Parts = dict[str, Any]


def lacking(*names: str, **changes: object) -> Parts:
    """Return a header without these fields, and with others changed."""
    header = {"msg_id": "the-id", "msg_type": "odd_request", "session": "s", "username": "u", "date": "2026-01-01T00:00:00Z"}
    return {"header": {name: value for name, value in {**header, "version": "5.3", **changes}.items() if name not in names}}


SENT: dict[str, Parts] = {
    "nothing odd": {},
    "a header without a version": lacking("version"),
    "a header without a date": lacking("date"),
    "a header without a user name": lacking("username"),
    "a header without a session": lacking("session"),
    "a header with the id and the type alone": lacking("version", "date", "username", "session"),
    "a header without an id": lacking("msg_id"),
    "a header without a type": lacking("msg_type"),
    "a header whose id is a number": lacking(msg_id=5),
    "a header whose type is null": lacking(msg_type=None),
    "a header whose version is null": lacking(version=None),
    "a header whose version is empty": lacking(version=""),
    "a header whose session is null": lacking(session=None),
    "a header with more": lacking(more=[1, None]),
    "an empty header": {"header": {}},
    "a header that is a list": {"header": []},
    "a parent that is null": {"parent_header": None},
    "a parent that is left out": {"parent_header": LEFT_OUT},
    "a parent that is a list": {"parent_header": [1]},
    "a parent without an id": {"parent_header": {"msg_type": "x"}},
    "metadata that are null": {"metadata": None},
    "metadata that are left out": {"metadata": LEFT_OUT},
    "metadata that are a number": {"metadata": 5},
    "content that is null": {"content": None},
    "content that is left out": {"content": LEFT_OUT},
    "content that is a text": {"content": "text"},
    "content that is a list": {"content": [1]},
    "content with half a character": {"content": {"a": "\ud800"}},
    "content with NaN": {"content": {"a": float("nan")}},
    "a channel that is null": {"channel": None},
    "a channel that is left out": {"channel": LEFT_OUT},
    "metadata that are not JSON": {"metadata": b"nonsense"},
    "metadata of no bytes": {"metadata": b""},
    "content that is not UTF-8": {"content": b'{"a":"\xff"}'},
    "a header that is not JSON": {"header": b"nonsense"},
    "a parent that is not JSON": {"parent_header": b"nonsense"},
}

SAID: dict[str, Parts] = {
    **{name: parts for name, parts in SENT.items() if "left out" not in name and "channel" not in name},
    "an answer without a parent": {"channel": "shell", "parent_header": {}},
    "an answer whose parent is null": {"channel": "shell", "parent_header": None},
    "an answer whose header has no id": {"channel": "shell", **lacking("msg_id")},
    "an answer whose header is not JSON": {"channel": "shell", "header": b"nonsense"},
    "an answer whose content is null": {"channel": "shell", "content": None},
    "an answer whose metadata are not JSON": {"channel": "shell", "metadata": b"nonsense"},
}

DEFAULTS: Parts = {**lacking(), "parent_header": {}, "metadata": {}, "content": {}, "channel": "shell"}


def as_json(value: object) -> bytes:
    return value if isinstance(value, bytes) else json.dumps(value).encode()


def as_frame(parts: Parts, *, v1: bool) -> tuple[int, bytes] | None:
    """Return a message's opcode and payload; None where the framing can't say it."""
    if v1:
        if LEFT_OUT in parts.values() or parts["channel"] is None:
            return None
        return BINARY, v1_frame([parts["channel"].encode(), *[as_json(parts[name]) for name in NAMES]])
    there = {name: value for name, value in parts.items() if value is not LEFT_OUT}
    if any(isinstance(value, bytes) for value in there.values()):
        return None
    return TEXT, json.dumps(there).encode()


def with_ids(table: Mapping[str, Parts], **defaults: object) -> dict[str, Parts]:
    """Return whole messages, each with an id of its own where it is to have one."""
    whole = {name: {**DEFAULTS, **defaults, **parts} for name, parts in table.items()}
    for number, parts in enumerate(whole.values()):
        if isinstance(parts["header"], dict) and parts["header"].get("msg_id") == "the-id":
            parts["header"] = {**parts["header"], "msg_id": f"the-id-{number}"}
    return whole
