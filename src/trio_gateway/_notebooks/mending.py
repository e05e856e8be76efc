"""What breaks the notebook format in a document, and what becomes of it. Pure: a document in, the same document and places out.

The one idea: only what a run needs can make a document unusable, and that is a list of cells, each with a type and a source.
Everything else that the format's schema refuses is brought into the form that means the same. What has no place in the format
stays in the document, as metadata: `metadata.trio_gateway.set_aside`, of the notebook, the cell or the output.
"""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, Final, TypeGuard, cast

import nbformat.validator

from .._values import as_bundle, as_count, as_file_bundle, as_lines, as_text, is_json_type

__all__ = ["UnusableError", "mend", "mend_numbers", "schema_errors"]

_get_validator: Any = nbformat.validator.get_validator  # without annotations

_NEWEST_MINOR: Final = 5
"""The last minor version of format 4 that is known. What a later one brings is kept as it is."""
_WITH_IDS: Final = 5
"""The minor version from which on cells have ids."""
_UNKNOWN_MINOR: Final = 4
"""What a notebook is taken for that does not tell its minor version: the last one that needs no ids."""
_ROOT: Final = frozenset({"metadata", "nbformat", "nbformat_minor", "cells"})
_TEXT_CELL: Final = frozenset({"id", "cell_type", "metadata", "source", "attachments"})
_CODE_CELL: Final = frozenset({"id", "cell_type", "metadata", "source", "outputs", "execution_count"})
_CELL: Final = {"code": _CODE_CELL, "markdown": _TEXT_CELL, "raw": _TEXT_CELL}
_OUTPUT: Final = {
    "stream": frozenset({"output_type", "name", "text"}),
    "display_data": frozenset({"output_type", "data", "metadata"}),
    "execute_result": frozenset({"output_type", "data", "metadata", "execution_count"}),
    "error": frozenset({"output_type", "ename", "evalue", "traceback"}),
}
_ID: Final = re.compile(r"[a-zA-Z0-9_-]{1,64}")
_DEEPEST_HEADING: Final = 6
_LONG: Final = 40
"""How many characters of a key are shown."""
_NAMESPACE: Final = "trio_gateway"
_SET_ASIDE: Final = "set_aside"

_Object = dict[str, Any]


class UnusableError(Exception):
    """A document lacks what a run needs.

    Args:
        place: where in the document, such as `cells[1].source`.
        expected: what would be right there, as the end of the sentence "expected …".
    """

    def __init__(self, place: str, expected: str) -> None:
        super().__init__(place, expected)
        self.place = place
        self.expected = expected


def schema_errors(document: _Object) -> Iterator[Any]:
    """Give what the schema of the document's own minor version of format 4 refuses; nbformat's own order, at least one if any."""
    return iter(_get_validator(4, document["nbformat_minor"]).iter_errors(document))


def mend_numbers(document: _Object) -> list[str]:
    """Replace numbers that JSON has no form for (NaN, infinities) with null, as a browser does; return their places."""
    found: list[str] = []

    def mended(value: Any, place: str) -> Any:
        if isinstance(value, float) and not math.isfinite(value):
            found.append(f"{place} ({value}, which is no JSON)")
            return None
        if isinstance(value, dict):
            fields = cast("_Object", value)
            for key, item in fields.items():
                fields[key] = mended(item, _inside(place, key))
        elif isinstance(value, list):
            items: list[Any] = value
            for number, item in enumerate(items):
                items[number] = mended(item, f"{place}[{number}]")
        return value

    mended(document, "")
    return found


def mend(document: _Object) -> list[str]:
    """Make a document of format 4 a valid one, in place.

    Args:
        document: what the file's JSON says, an object whose `nbformat` is 4. A valid one stays as it is, to the letter.

    Returns:
        The places where it broke the format, each with what was wrong.

    Raises:
        UnusableError: it has no list of cells, or a cell without a type or a source.
    """
    minor = document.get("nbformat_minor")
    cells = document.get("cells")
    if not isinstance(cells, list):
        raise UnusableError("cells", "a list of cells")
    listed = cast("list[object]", cells)
    if _is_minor(minor) and not _repeats_an_id(listed, minor) and next(schema_errors(document), None) is None:
        return []
    return _Mending(document, listed).faults


class _Mending:
    """One document, on its way to a valid one.

    Args:
        document: the document, which is changed in place.
        cells: its cells.
    """

    faults: list[str]
    """The places where it broke the format, each with what was wrong."""

    def __init__(self, document: _Object, cells: list[object]) -> None:
        self.faults = []
        self._field(document, "nbformat_minor", "", _is_minor, lambda value: as_count(value) or _UNKNOWN_MINOR)
        self._field(document, "metadata", "", _is_object, _no_object)
        usable = [self._usable(cell, f"cells[{number}]", document["nbformat_minor"]) for number, cell in enumerate(cells)]
        self._mend_ids(document, usable)
        self._minor: int = document["nbformat_minor"]
        self._knows_all = self._minor <= _NEWEST_MINOR
        self._mend_notebook_metadata(document["metadata"])
        if self._knows_all:
            self._set_unknown_aside(document, _ROOT, document["metadata"], "")
        for number, cell in enumerate(usable):
            self._mend_cell(cell, f"cells[{number}]")

    def _usable(self, cell: object, place: str, minor: int) -> _Object:
        """See that a cell has what a run needs, and bring its type and its metadata into form."""
        if not _is_object(cell):
            raise UnusableError(place, "a cell, which is an object")
        kind = cell.get("cell_type")
        if not isinstance(kind, str):
            raise UnusableError(f"{place}.cell_type", "the cell's type: code, markdown or raw")
        if (kind in _CELL or minor <= _NEWEST_MINOR) and not _is_text(cell.get("source")):
            raise UnusableError(f"{place}.source", "the cell's source: text, or a list of lines")
        self._field(cell, "metadata", place, _is_object, _no_object)
        if kind not in _CELL and minor <= _NEWEST_MINOR:
            self._mend_type(cell, kind, place)
        return cell

    def _mend_type(self, cell: _Object, kind: str, place: str) -> None:
        if kind == "heading":  # format 3 had those
            level = cell.pop("level", 1)
            marks = "#" * (level if isinstance(level, int) and 1 <= level <= _DEEPEST_HEADING else 1)
            cell["source"] = f"{marks} {' '.join(as_text(cell['source']).splitlines())}"
            cell["cell_type"] = "markdown"
        else:
            _set_aside(cell["metadata"], "cell_type", kind)
            cell["cell_type"] = "raw"
        self._note(_inside(place, "cell_type"), f"{kind!r:.40}, now {cell['cell_type']}")

    def _mend_ids(self, document: _Object, cells: list[_Object]) -> None:
        """See that each cell has an id of its own, or that none has one."""
        minor: int = document["nbformat_minor"]
        is_newer = minor < _WITH_IDS and any(_is_id(cell.get("id")) for cell in cells)
        if is_newer:
            # What wrote this has ids, and what points to a cell may use them: better a newer format than without.
            document["nbformat_minor"] = _WITH_IDS
        seen: set[str] = set()
        taken: set[str] = {cell["id"] for cell in cells if _is_id(cell.get("id"))}  # once: a notebook may have many cells
        for number, cell in enumerate(cells):
            place = f"cells[{number}].id"
            if minor < _WITH_IDS and "id" in cell:
                self._note(place, f"not in format 4.{minor}{f', now 4.{_WITH_IDS}' if is_newer else ''}")
            if minor < _WITH_IDS and not is_newer:
                if "id" in cell:
                    _set_aside(cell["metadata"], "id", cell.pop("id"))
                continue
            if "id" not in cell:
                if not is_newer:
                    self._note(place, "missing")
            elif not _is_id(cell["id"]):
                self._note(place, "no id")
            elif cell["id"] in seen:
                self._note(place, "used before")
            else:
                seen.add(cell["id"])
                continue
            cell["id"] = _new_id(number, cell, taken)
            seen.add(cell["id"])
            taken.add(cell["id"])

    def _mend_notebook_metadata(self, metadata: _Object) -> None:
        place = "metadata"
        spec = metadata.get("kernelspec")
        if "kernelspec" in metadata:
            if _is_object(spec) and isinstance(spec.get("name"), str):
                self._field(spec, "display_name", f"{place}.kernelspec", _is_string, lambda _: spec["name"])
            else:
                self._note(f"{place}.kernelspec", "names no kernel")
                _set_aside(metadata, "kernelspec", metadata.pop("kernelspec"))
        info = metadata.get("language_info")
        if _is_object(info):
            language = spec.get("language") if _is_object(spec) else None
            self._field(info, "name", f"{place}.language_info", _is_string, lambda _: as_text(language))
        self._mend_metadata(metadata, "#/properties/metadata", place)

    def _mend_metadata(self, metadata: _Object, schema: str, place: str) -> None:
        """Set aside what the schema refuses of a notebook's or a cell's metadata."""
        validator: Any = _get_validator(4, self._minor, name="jsonschema")
        for error in list(validator.iter_errors(metadata, {"$ref": schema})):
            path = list(error.absolute_path)
            holder: Any = metadata
            for step in path[:-1]:
                holder = holder.get(step) if isinstance(holder, dict) else None
            if not isinstance(holder, dict):  # in a list: all of it
                holder, path = metadata, path[:1]
            if path[-1] in holder:
                name = ".".join([str(step) for step in path])
                self._note(_inside(place, name), f"{error.message:.60}")
                _set_aside(metadata, name, holder.pop(path[-1]))

    def _mend_cell(self, cell: _Object, place: str) -> None:
        kind: str = cell["cell_type"]
        known = _CELL.get(kind)
        metadata = cell["metadata"]
        if "tags" in metadata:
            tags = metadata["tags"]
            if not _are_tags(tags):
                self._note(f"{place}.metadata.tags", "no list of tags")
                metadata["tags"] = _as_tags(tags)
        schema = f"{kind}_cell" if known else "unrecognized_cell"
        self._mend_metadata(metadata, f"#/definitions/{schema}/properties/metadata", f"{place}.metadata")
        if known is None:
            return
        if self._knows_all:
            self._set_unknown_aside(cell, known, metadata, place, f"not of a {kind} cell")
        if kind == "code":
            self._field(cell, "execution_count", place, _is_execution_count, as_count)
            self._field(cell, "outputs", place, _is_list, _no_list)
            cell["outputs"] = [
                output
                for number, found in enumerate(cell["outputs"])
                if (output := self._mended_output(found, f"{place}.outputs[{number}]")) is not None
            ]
        elif "attachments" in cell:
            self._mend_attachments(cell, place)

    def _mend_attachments(self, cell: _Object, place: str) -> None:
        attachments = cell["attachments"]
        if not _is_object(attachments):
            self._note(f"{place}.attachments", "no object")
            _set_aside(cell["metadata"], "attachments", cell.pop("attachments"))
            return
        for name in attachments:
            self._field(attachments, name, f"{place}.attachments", _is_bundle, _as_bundle)

    def _mended_output(self, output: object, place: str) -> _Object | None:
        """Return an output as the format has it; None for what is none."""
        kind = output.get("output_type") if _is_object(output) else None
        known = _OUTPUT.get(kind) if isinstance(kind, str) else None
        if not _is_object(output) or not isinstance(kind, str) or (known is None and self._knows_all):
            self._note(place, "no output")
            return None
        if known is None:
            return output
        if kind == "stream":
            self._field(output, "name", place, _is_string, lambda _: "stdout")
            self._field(output, "text", place, _is_text, as_text)
        elif kind == "error":
            self._field(output, "ename", place, _is_string, as_text)
            self._field(output, "evalue", place, _is_string, as_text)
            self._field(output, "traceback", place, _is_lines, lambda value: list(as_lines(value)))
        else:
            self._field(output, "data", place, _is_bundle, _as_bundle)
            self._field(output, "metadata", place, _is_object, _no_object)
        if kind == "execute_result":
            self._field(output, "execution_count", place, _is_execution_count, as_count)
        if self._knows_all:
            self._set_unknown_aside(output, known, output.get("metadata"), place)
        return output

    def _set_unknown_aside(
        self, holder: _Object, known: frozenset[str], metadata: _Object | None, place: str, what: str = "unknown"
    ) -> None:
        """Move what the format has no place for to the metadata, if there are any."""
        for key in [key for key in holder if key not in known]:
            self._note(_inside(place, key), what if key in _CODE_CELL | _TEXT_CELL else "unknown")
            value = holder.pop(key)
            if metadata is not None:
                _set_aside(metadata, key, value)

    def _field(
        self, holder: _Object, key: str, place: str, is_right: Callable[[Any], bool], make: Callable[[Any], object]
    ) -> None:
        """See that a field is there and right, or else make one of what is there."""
        if key in holder and is_right(holder[key]):
            return
        self._note(_inside(place, key), f"{holder[key]!r:.20}" if key in holder else "missing")
        holder[key] = make(holder.get(key))

    def _note(self, place: str, what: str) -> None:
        self.faults.append(f"{place} ({what})")


def _set_aside(metadata: _Object, key: str, value: object) -> None:
    """Keep a value in metadata, where the format lets anything stand. Nothing is kept of what holds nothing."""
    if value is None or value in ([], {}):
        return
    space: _Object = metadata.setdefault(_NAMESPACE, {})
    if not _is_object(space):
        metadata[_NAMESPACE] = space = {"": space}
    kept: _Object = space.setdefault(_SET_ASIDE, {})
    if not _is_object(kept):
        space[_SET_ASIDE] = kept = {"": kept}
    name, number = key, 1
    while name in kept and kept[name] != value:
        number += 1
        name = f"{key} {number}"
    kept[name] = value


def _inside(place: str, key: str) -> str:
    shown = key if key.isascii() and key.isprintable() and len(key) < _LONG else f"{key!a:.{_LONG}}"
    return f"{place}.{shown}" if place else shown


def _new_id(number: int, cell: _Object, taken: set[str]) -> str:
    """Return an id that no cell has: the same one whenever the same file is read."""
    text = f"{number}:{as_text(cell.get('source'))}"
    while True:
        text = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()
        if text[:8] not in taken:
            return text[:8]


def _repeats_an_id(cells: list[object], minor: int) -> bool:
    ids = [as_text(cell.get("id")) for cell in cells if _is_object(cell) and "id" in cell]
    return minor >= _WITH_IDS and len(set(ids)) < len(ids)


def _as_tags(value: object) -> list[str]:
    """Return tags of any form as the format has them: Jupyter's own tools find a tag also in a text of them."""
    items: list[object] = cast("list[object]", value) if isinstance(value, list) else [value]
    found = [tag.strip() for item in items if isinstance(item, str) for tag in item.split(",")]
    return list(dict.fromkeys([tag for tag in found if tag]))


def _are_tags(value: object) -> bool:
    if not _is_lines(value):
        return False
    tags = cast("list[str]", value)
    return all(tag and "," not in tag for tag in tags) and len(set(tags)) == len(tags)


def _as_bundle(value: object) -> _Object:
    return as_file_bundle(as_bundle(value))


def _is_bundle(value: object) -> bool:
    return _is_object(value) and all(is_json_type(mime) or _is_text(content) for mime, content in value.items())


def _is_object(value: object) -> TypeGuard[_Object]:
    return isinstance(value, dict)


def _is_list(value: object) -> bool:
    return isinstance(value, list)


def _is_string(value: object) -> bool:
    return isinstance(value, str)


def _is_text(value: object) -> bool:
    return isinstance(value, str) or _is_lines(value)


def _is_lines(value: object) -> bool:
    return isinstance(value, list) and all(isinstance(line, str) for line in cast("list[object]", value))


def _is_minor(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and not isinstance(value, bool) and value >= 0


def _is_execution_count(value: object) -> bool:
    return value is None or _is_minor(value)


def _is_id(value: object) -> bool:
    return isinstance(value, str) and _ID.fullmatch(value) is not None


def _no_object(_: object) -> _Object:
    return {}


def _no_list(_: object) -> list[object]:
    return []
