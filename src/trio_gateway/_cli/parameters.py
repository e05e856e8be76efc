"""Notebooks' parameters, and kernels' resources, as they stand on a command line or in a file. Pure, but for reading the file.

The one idea: a value is what JSON makes of it, and else the text as it stands; so `7`, `true` and `[1, 2]` need no quotes, and a
date, a name or `007` stays what was typed.
"""

from __future__ import annotations

import importlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, cast

import attrs

from .._errors import InvalidInputError
from .._kernel_resources import KernelResources
from .sources import read_file

__all__ = ["parameters_of", "read_parameters", "resources_of"]

_PYTHONS: Final = {"True": True, "False": False, "None": None}
"""What people who know Python write; papermill takes these words for values, too."""


def parameters_of(pairs: Sequence[str]) -> dict[str, Any]:
    """Return the parameters of `-p NAME=VALUE`, the last one of each name.

    Raises:
        InvalidInputError: a pair has no `=`, or no name before it.
    """
    parameters: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or not name:
            raise InvalidInputError("parameters", pair, "NAME=VALUE")
        parameters[name] = _value_of(value)
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
        given[name] = pair, _value_of(value) if name in _IN_JSON else value
    try:
        return KernelResources(**{name: value for name, (_, value) in given.items()}) if given else None
    except InvalidInputError as error:
        field = error.field.partition("[")[0]
        raise InvalidInputError("resources", given[field][0], error.expected) from None


_IN_JSON: Final = frozenset({"gpus", "uid", "gid", "driver_memory", "executor_memory", "volumes", "volume_mounts"})
"""Resources whose values are no texts."""


def _value_of(text: str) -> Any:
    if text in _PYTHONS:
        return _PYTHONS[text]
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def read_parameters(path: Path) -> dict[str, Any]:
    """Return the parameters that a file has: an object in JSON, or in YAML where the name ends so.

    Raises:
        InvalidInputError: it can't be read, or it has no names with values.
    """
    data = read_file(path, field="parameters")
    try:
        if path.suffix.lower() in {".yaml", ".yml"}:
            yaml: Any = importlib.import_module("yaml")  # comes with papermill, whose translators write parameters
            try:
                found: object = yaml.safe_load(data)
            except yaml.YAMLError as error:
                raise ValueError(str(error)) from None
        else:
            found = json.loads(data.decode("utf-8-sig"))
    except (ValueError, RecursionError) as error:  # a UnicodeDecodeError is a ValueError
        kind = "YAML" if path.suffix.lower() in {".yaml", ".yml"} else "JSON"
        raise InvalidInputError("parameters", str(path), f"a file in {kind} ({error})") from None
    if not isinstance(found, dict):
        raise InvalidInputError("parameters", str(path), "a file that has names with values")
    for name in cast("dict[object, object]", found):
        if not isinstance(name, str):
            raise InvalidInputError("parameters", str(path), f"a file whose names are text, unlike {name!r:.100}")
    return cast("dict[str, Any]", found)
