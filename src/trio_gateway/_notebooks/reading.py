"""A notebook from what its file holds: of any format that Jupyter's tools read, and mended where it breaks that format.

The one idea: a notebook that can be run is read, whatever else is wrong with it, and is valid from then on. What was wrong is
returned with it, so that its reader can say so. What can't be run is named before anything runs.
"""

from __future__ import annotations

import copy
import json
import re
import warnings
from pathlib import Path
from typing import Any, Final, cast

import attrs
import nbformat
import nbformat.v4

from .._errors import InvalidInputError
from .._values import as_object
from .mending import UnusableError, mend, mend_numbers, schema_errors

__all__ = ["ReadNotebook", "kernel_name_of", "language_name_of", "parse_notebook"]

_nbformat: Any = nbformat  # most of its functions have no annotations

_OLDEST: Final = 1
_NEWEST: Final = 4
_MAY_BE_NO_JSON: Final = re.compile(r"NaN|Infinity|\d[eE]\+?\d{3}")
"""What stands in a file for numbers that only Python takes for JSON, and maybe for others."""
_SHOWN: Final = 10
"""How many of the places that were mended are named."""


@attrs.frozen
class ReadNotebook:
    """A notebook, as it was read."""

    notebook: Any
    """nbformat's node of it, of format 4 and valid."""
    format: int
    """The major version of the format that its file has."""
    faults: tuple[str, ...] = ()
    """The places where it broke the format and was mended, each with what was wrong there."""
    path: Path | None = None
    """Its file; None where it came from no file."""

    @property
    def kernel_name(self) -> str | None:
        """The kernelspec that it names; None if it names none."""
        return kernel_name_of(self.notebook)

    @property
    def warning(self) -> str:
        """All that was mended in one sentence, of bounded length; `""` for nothing."""
        if not self.faults:
            return ""
        more = len(self.faults) - _SHOWN
        rest = f" and {more} more" if more > 0 else ""
        return f"mended what breaks the notebook format: {', '.join(self.faults[:_SHOWN])}{rest}"


def parse_notebook(data: bytes, name: str) -> ReadNotebook:
    """Read a notebook. One of format 1 to 3 is upgraded; any minor version of format 4 is kept, unless its cells say a later one.

    Args:
        data: what its file holds.
        name: the file's name, for errors.

    Raises:
        InvalidInputError: it is not JSON, not an object, not of a known format, or a cell lacks its type or its source.
    """
    try:
        text = data.decode("utf-8-sig")
        document: object = json.loads(text)
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise _wrong(name, f"a notebook, which is JSON ({error})") from None
    if not isinstance(document, dict) or "nbformat" not in document:
        raise _wrong(name, "a notebook, which is a JSON object with the key nbformat")
    fields = cast("dict[str, Any]", document)
    major: object = fields["nbformat"]
    if isinstance(major, bool) or not isinstance(major, (int, float)) or major not in range(_OLDEST, _NEWEST + 1):
        raise _wrong(name, f"a notebook of format {_OLDEST} to {_NEWEST}, not of format {major!r:.40}")
    fields["nbformat"] = int(major)
    try:
        faults = mend_numbers(fields) if _MAY_BE_NO_JSON.search(text) else []
        if major != _NEWEST:
            fields = _upgraded(fields, faults)
        faults += mend(fields)
        for left in schema_errors(fields):
            raise _wrong(name, f"a valid notebook ({left.message:.200})")
        # Each save copies it with a stack that JSON's reader does without: what is nested too deeply is refused now.
        notebook = copy.deepcopy(_nbformat.v4.to_notebook(fields))
    except UnusableError as error:
        raise _wrong(name, f"a valid notebook ({error.place} has to be {error.expected})") from None
    except InvalidInputError:
        raise
    except nbformat.ValidationError as error:
        raise _wrong(name, f"a valid notebook ({error.message:.200})") from None
    except (AssertionError, AttributeError, IndexError, KeyError, RecursionError, TypeError, ValueError) as error:
        # nbformat takes the shape of a notebook of an old format for granted.
        raise _wrong(name, f"a valid notebook ({type(error).__name__}: {error})") from None
    return ReadNotebook(notebook, int(major), tuple(faults))


def _upgraded(document: dict[str, Any], faults: list[str]) -> dict[str, Any]:
    """Return a document of an older format as one of format 4; what nbformat could not upgrade for want of it is added."""
    if not isinstance(document.get("metadata"), dict):
        faults.append(f"metadata ({'no object' if 'metadata' in document else 'missing'})")
        document["metadata"] = {}
    for sheet in document.get("worksheets", ()):
        for cell in sheet["cells"]:
            if cell["cell_type"] == "code" and not isinstance(cell.get("outputs"), list):
                faults.append("outputs (missing in a code cell)")
                cell["outputs"] = []
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        node = _nbformat.versions[document["nbformat"]].to_notebook_json(document, minor=document.get("nbformat_minor", 0))
        return cast("dict[str, Any]", _nbformat.convert(node, _NEWEST))


def kernel_name_of(notebook: Any) -> str | None:
    """Return the kernelspec that a notebook names; None if it names none."""
    spec = notebook.metadata.get("kernelspec")
    name: object = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) and name else None


def language_name_of(notebook: Any) -> str | None:
    """Return the language that a notebook says it is in, as its kernel calls it; None if it says none."""
    for place, key in (("language_info", "name"), ("kernelspec", "language")):
        told: object = as_object(notebook.metadata.get(place)).get(key)
        if isinstance(told, str) and told:
            return told
    return None


def _wrong(name: str, expected: str) -> InvalidInputError:
    return InvalidInputError("notebook", name, expected)
