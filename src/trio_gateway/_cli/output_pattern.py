"""What files are called that come of notebooks: `out/{name}.ipynb` for each of them.

The one idea: a pattern says of all notebooks at once where what comes of them goes, and whatever is wrong with it, two notebooks
with one file included, is found before anything starts. Nothing is written here.
"""

from __future__ import annotations

import os
import string
from collections.abc import Sequence
from pathlib import Path, PurePath
from typing import Final

import attrs

from .._errors import InvalidInputError

__all__ = ["FIELDS", "Source", "expand", "makes_folders", "sources_of"]

FIELDS: Final = {
    "name": "the notebook's path below the folder that all FILEs share, without its ending: `2024/sales`",
    "stem": "its last part: `sales`",
    "n": "its number among the FILEs, from 1; `{n:03}` is `001`",
}
"""What may stand in braces, and what it stands for."""

_NOTEBOOK: Final = ".ipynb"
_STANDARD_INPUT: Final = Path("-")
_PIPED: Final = "stdin"
"""What a notebook is called that came on standard input."""


@attrs.frozen
class Source:
    """A notebook among those of one command, and what it is called there."""

    path: Path
    """Its file, as it was named; `-` is standard input."""
    name: str
    """Its path below the folder that they all share, without its ending, with slashes."""
    number: int
    """Its place among them, from 1."""

    @property
    def stem(self) -> str:
        """The last part of its name."""
        return PurePath(self.name).name

    @property
    def title(self) -> str:
        """Its path below the folder that they all share, as people know it: with its ending."""
        return self.name if self.path == _STANDARD_INPUT else f"{self.name}{self.path.name.removeprefix(self.stem)}"


def sources_of(paths: Sequence[Path]) -> list[Source]:
    """Name notebooks, each by what tells it from the others.

    Args:
        paths: their files.

    Raises:
        InvalidInputError: a file stands there twice.
    """
    seen: dict[str, Path] = {}
    for path in paths:
        place = _place_of(path)
        if place in seen:
            raise InvalidInputError("notebook", str(path), f"a file that stands there once: {seen[place]} is the same one")
        seen[place] = path
    folders = [os.path.dirname(os.path.abspath(path)) for path in paths if path != _STANDARD_INPUT]  # noqa: PTH100, PTH120 - keeps links
    try:
        shared = os.path.commonpath(folders) if folders else ""
    except ValueError:  # on several of Windows' drives
        shared = ""
    return [Source(path, _name_of(path, shared), number) for number, path in enumerate(paths, 1)]


def _name_of(path: Path, shared: str) -> str:
    if path == _STANDARD_INPUT:
        return _PIPED
    whole = PurePath(os.path.abspath(path))  # noqa: PTH100 - likewise
    stem = whole.stem if whole.suffix.lower() == _NOTEBOOK else whole.name
    return (whole.parent.relative_to(shared) / stem).as_posix() if shared else stem


def _place_of(path: Path) -> str:
    """Return what is equal for two paths to one file."""
    try:
        return os.path.normcase(os.path.realpath(path))
    except (OSError, ValueError):  # a NUL in the name; its reader says so
        return str(path)


def expand(pattern: str, sources: Sequence[Source], *, field: str, ending: str) -> list[Path]:
    """Return the file for each notebook.

    A pattern that ends in a slash is a folder, in which each has its own name. A brace itself is written twice.

    Args:
        pattern: the pattern.
        sources: the notebooks.
        field: the argument that it stands in, for errors.
        ending: what the names in a folder end in, such as `.ipynb`.

    Raises:
        InvalidInputError: what stands in braces is not known; or two notebooks get one file, or one gets another's.
    """
    parts = _parsed(pattern, field)
    if pattern.endswith(("/", os.sep)):
        parts = [*parts, ("", "name", ""), (ending, None, "")]
    paths = [Path("".join([text + _value(source, key, form, pattern, field) for text, key, form in parts])) for source in sources]
    taken: dict[str, Source] = {}
    read = {_place_of(source.path): source for source in sources if source.path != _STANDARD_INPUT}
    for source, path in zip(sources, paths, strict=True):
        place = _place_of(path)
        other = taken.setdefault(place, source)
        if other is not source:
            expected = (
                f"a name that differs between notebooks, such as out/{{name}}{ending}: {other.title} and {source.title} would "
            )
            raise InvalidInputError(field, pattern, f"{expected}both be {path}")
        if read.get(place, source) is not source:
            expected = f"a file that is no other notebook: {source.title} would be written to {read[place].title}"
            raise InvalidInputError(field, pattern, expected)
    return paths


def makes_folders(pattern: str) -> bool:
    """Say whether missing folders are to be made for a pattern: not for a plain name, in which one may be misspelt."""
    return pattern.endswith(("/", os.sep)) or "{" in pattern


def _parsed(pattern: str, field: str) -> list[tuple[str, str | None, str]]:
    """Return a pattern's parts: text, then what stands in braces behind it, and how that is written."""
    known = ", ".join([f"{{{name}}}" for name in FIELDS])
    try:
        parts = [(text, key, form or "") for text, key, form, _ in string.Formatter().parse(pattern)]
        flags = [flag for *_, flag in string.Formatter().parse(pattern)]
    except ValueError as error:  # a brace without the other
        raise InvalidInputError(field, pattern, f"a pattern ({error}; a brace itself is written twice)") from None
    for (_, key, _), flag in zip(parts, flags, strict=True):
        if key is not None and (key not in FIELDS or flag):
            raise InvalidInputError(field, pattern, f"a pattern with none but {known} in braces; a brace itself is written twice")
    return parts


def _value(source: Source, key: str | None, form: str, pattern: str, field: str) -> str:
    if key is None:
        return ""
    values: dict[str, str | int] = {"name": source.name, "stem": source.stem, "n": source.number}
    try:
        return format(values[key], form)
    except ValueError as error:
        raise InvalidInputError(field, pattern, f"a pattern whose {{{key}:{form}}} can be written ({error})") from None
