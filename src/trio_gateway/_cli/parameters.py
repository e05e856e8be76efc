"""Notebooks' parameters, and kernels' resources, as they stand on a command line or in a file. Pure, but for reading the file.

The one idea: a value is what papermill's command makes of it, so that a line that was written for it means the same here; what a
command line can't say, lists and truth values of YAML, stands in a file.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, ClassVar, Final, cast

import attrs

from .._errors import InvalidInputError
from .._kernel_resources import KernelResources
from .sources import read_file

__all__ = ["parameters_of", "read_parameters", "resources_of"]

_PYTHONS: Final = {"True": True, "False": False, "None": None}
"""The words that are values; all others are text."""


def parameters_of(pairs: Sequence[str], *, raw: bool = False) -> dict[str, Any]:
    """Return the parameters of `-p NAME=VALUE`, or of `-r NAME=TEXT`, the last one of each name.

    Args:
        pairs: what was given.
        raw: whether each is text, whatever it looks like.

    Raises:
        InvalidInputError: a pair has no `=`, or no name before it.
    """
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInputError("--raw-parameter" if raw else "--parameter", pair, "NAME=TEXT" if raw else "NAME=VALUE")
        parameters[name] = value if raw else _value_of(value)
    return parameters


def resources_of(pairs: Sequence[str]) -> KernelResources | None:
    """Return the resources of `--resource NAME=VALUE`, the last one of each name; None where there are none.

    Raises:
        InvalidInputError: there is no such resource, or it can't have this value.
    """
    names = [field.name for field in attrs.fields(KernelResources)]
    given: dict[str, tuple[str, Any]] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        name = name.replace("-", "_")
        if not equals or name not in names:
            raise InvalidInputError("resources", pair, f"NAME=VALUE, with one of these names: {', '.join(names)}")
        given[name] = pair, _json_of(value) if name in _IN_JSON else value
    try:
        return KernelResources(**{name: value for name, (_, value) in given.items()}) if given else None
    except InvalidInputError as error:
        field = error.field.partition("[")[0]
        raise InvalidInputError("resources", given[field][0], error.expected) from None


_IN_JSON: Final = frozenset({"gpus", "uid", "gid", "driver_memory", "executor_memory", "volumes", "volume_mounts"})
"""Resources whose values are no texts."""


def _json_of(text: str) -> Any:
    """Return what JSON has here; text that is none is text."""
    try:
        return json.loads(text)
    except ValueError:
        return text


def _value_of(text: str) -> Any:
    if text in _PYTHONS:
        return _PYTHONS[text]
    for kind in (int, float):
        with suppress(ValueError):
            return kind(text)
    return text


def read_parameters(path: Path) -> dict[str, Any]:
    """Return the parameters that a file has: an object in JSON, or in YAML where the name ends so.

    Raises:
        InvalidInputError: it can't be read, or it has no names with values.
    """
    data = read_file(path, field="parameters")
    is_yaml = path.suffix.lower() in {".yaml", ".yml"}
    try:
        found = _yaml_of(data) if is_yaml else json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        raise InvalidInputError("parameters", str(path), f"a file in {'YAML' if is_yaml else 'JSON'} ({error})") from None
    if not isinstance(found, dict):
        raise InvalidInputError("parameters", str(path), "a file that has names with values")
    for name in cast("dict[object, object]", found):
        if not isinstance(name, str):
            raise InvalidInputError("parameters", str(path), f"a file whose names are text, unlike {name!r:.100}")
    return cast("dict[str, Any]", found)


def _yaml_of(data: bytes) -> object:
    """Read YAML as papermill does: a date is a text.

    Raises:
        ValueError: it is none; the text says in which line.
    """
    yaml: Any = importlib.import_module("yaml")  # comes with papermill, whose translators write parameters

    class Loader(yaml.SafeLoader):  # type: ignore[misc]
        yaml_implicit_resolvers: ClassVar = {
            first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:timestamp"]
            for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
        }

    try:
        return yaml.load(data, Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or str(error).splitlines()[0]
        where = "" if mark is None else f"line {mark.line + 1}, column {mark.column + 1}: "
        raise ValueError(f"{where}{problem}") from None
