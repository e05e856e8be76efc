"""A notebook as the bytes of its file, piece by piece. Pure.

The one idea: they are the bytes that nbformat writes, and a caller that writes each piece before it asks for the next has little
more than that piece in memory, however large the notebook is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator, Mapping
from operator import itemgetter
from typing import Any, Final

from .._values import as_plain_json

__all__ = ["pieces_of"]

_PIECE: Final = 1 << 18  # characters that are given at once, about
_DEEPEST: Final = 1000  # deeper than any notebook that could be read
_TRANSIENT: Final = frozenset({"orig_nbformat", "orig_nbformat_minor", "signature"})  # of a notebook's metadata, in no file
_TRUST: Final = frozenset({"trusted"})  # of a cell's
_TEXTS: Final = frozenset({"application/javascript", "image/svg+xml"})  # what is written line by line, beside text/*

_encode = json.JSONEncoder(ensure_ascii=False).encode
_encode_flat = json.JSONEncoder(ensure_ascii=False, allow_nan=False).encode  # in C, which knows no indentation
_encode_indented = json.JSONEncoder(indent=1, sort_keys=True, separators=(",", ": "), ensure_ascii=False, allow_nan=False).encode
_Give = Callable[[str, Any, str], Iterator[str]]
"""Gives the JSON of what stands under a key, at an indentation."""


def pieces_of(notebook: Any) -> Iterator[bytes]:
    """Give a notebook's file: JSON that each reader of JSON takes, with a line break at its end.

    A number that JSON has no form for is null. A lone surrogate, which UTF-8 has no form for, is an escape.

    Args:
        notebook: nbformat's node, of format 4. Where another thread changes it meanwhile, each value is given as it was at some
            moment.
    """
    waiting: list[str] = []
    size = 0
    for text in _object(notebook, "", _part_of_notebook):
        waiting.append(text)
        size += len(text)
        if size >= _PIECE:
            yield "".join(waiting).encode("utf-8", "backslashreplace")
            waiting.clear()
            size = 0
    yield f"{''.join(waiting)}\n".encode("utf-8", "backslashreplace")


def _part_of_notebook(key: str, value: Any, indent: str) -> Iterator[str]:
    if key == "cells":
        return _list((_object(cell, indent + " ", _part_of_cell) for cell in value), indent)
    if key == "metadata":
        return _object(_without(value, _TRANSIENT), indent, _part_of_metadata)
    return _value(value, indent)


def _part_of_metadata(key: str, value: Any, indent: str) -> Iterator[str]:
    return _part_of_widgets(key, value, indent) if key == "widgets" else _value(value, indent)


def _part_of_widgets(key: str, value: Any, indent: str) -> Iterator[str]:
    """Give what may be as large as all outputs: the state of widgets, with their buffers."""
    if isinstance(value, list) and key in ("buffers", "outputs"):
        return _list((_object(item, indent + " ", _part_of_widgets) for item in value), indent)
    return _object(value, indent, _part_of_widgets)


def _part_of_cell(key: str, value: Any, indent: str) -> Iterator[str]:
    if key == "source":
        return _lines(value, indent)
    if key == "metadata":
        return _value(_without(value, _TRUST), indent)
    if key == "outputs" and isinstance(value, list):
        return _list((_object(output, indent + " ", _part_of_output) for output in value), indent)
    if key == "attachments":
        return _object(value, indent, lambda _, bundle, indent: _object(bundle, indent, _part_of_bundle))
    return _value(value, indent)


def _part_of_output(key: str, value: Any, indent: str) -> Iterator[str]:
    if key == "text":
        return _lines(value, indent)
    if key == "data":
        return _object(value, indent, _part_of_bundle)
    return _value(value, indent)


def _part_of_bundle(key: str, value: Any, indent: str) -> Iterator[str]:
    return _lines(value, indent) if key.startswith("text/") or key in _TEXTS else _value(value, indent)


def _without(metadata: Any, names: frozenset[str]) -> Any:
    if not isinstance(metadata, Mapping):
        return metadata
    return {name: each for name, each in list(metadata.items()) if name not in names}


def _object(value: Any, indent: str, give: _Give) -> Iterator[str]:
    """Give the JSON of an object, whose values are given by a function of their own."""
    if not isinstance(value, Mapping) or not value:
        yield from _value(value, indent)
        return
    between = "{\n"
    for key, each in sorted(value.items(), key=itemgetter(0)):
        yield f"{between}{indent} {_encode(key)}: "
        yield from give(key, each, f"{indent} ")
        between = ",\n"
    yield f"\n{indent}}}"


def _list(items: Iterable[Iterator[str]], indent: str) -> Iterator[str]:
    """Give the JSON of a list, whose items are given already."""
    between = "[\n"
    for item in items:
        yield f"{between}{indent} "
        yield from item
        between = ",\n"
    yield "[]" if between == "[\n" else f"\n{indent}]"


def _lines(value: Any, indent: str) -> Iterator[str]:
    """Give the JSON of a text, which is a list of its lines, each with its end."""
    if not isinstance(value, str) or not value:
        yield from _value([] if value == "" else value, indent)
        return
    following = f",\n{indent} "
    between = f"[\n{indent} "
    for part in _parts(value):
        lines = part.splitlines(keepends=True)
        if len(part) <= 2 * _PIECE:
            yield between + following.join(map(_encode, lines))
            between = following
        else:
            for line in lines:
                yield between
                yield from _value(line, indent)
                between = following
    yield f"\n{indent}]"


def _parts(text: str) -> Iterator[str]:
    """Give a text in parts that end with a line: of about one piece each, or one line that is longer."""
    start = 0
    while start < len(text):
        end = text.find("\n", start + _PIECE) + 1 or len(text)
        yield text[start:end]
        start = end


def _value(value: Any, indent: str) -> Iterator[str]:
    """Give the JSON of a value."""
    if isinstance(value, str):
        if len(value) <= _PIECE:
            yield _encode(value)
            return
        yield '"'
        for start in range(0, len(value), _PIECE):
            yield _encode(value[start : start + _PIECE])[1:-1]
        yield '"'
        return
    try:
        text = _dump(value)
    except ValueError:  # a number that JSON has no form for
        text = _dump(as_plain_json(value, _DEEPEST))
    yield text.replace("\n", f"\n{indent}")


def _dump(value: Any) -> str:
    return (_encode_indented if isinstance(value, (Mapping, list, tuple)) and value else _encode_flat)(value)
