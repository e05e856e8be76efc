"""What a setting is: the record that each field of the configuration carries, where a value came from, and how both are shown.

Nothing here knows which settings there are.
"""

from __future__ import annotations

import os
import reprlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple, cast

import attrs

from . import values
from .values import InText, Reader

__all__ = ["Given", "Setting", "SettingRow", "masked", "number", "readable", "setting", "setting_of", "whole"]

_KEY = "trio_gateway.setting"
_SHOWN: tuple[type, ...] = (str, int, float, tuple, list, os.PathLike, type(None))
_short = reprlib.Repr()
_short.maxstring = _short.maxother = 120


@attrs.frozen
class Given:
    """Where a value came from; by the value's identity we see later whether `attrs.evolve` has put another one in its place."""

    source: str
    value: object = attrs.field(repr=False)
    from_url: bool = False
    is_text: bool = True
    """Whether a text is what a variable holds, which may mean a number, and not a value as it is."""

    @property
    def from_env(self) -> bool:
        """Whether it came from an environment variable, or from the file of gateways: not from the program itself."""
        return self.source not in {"argument", "default"}


@attrs.frozen
class Setting:
    """What the machinery knows about one setting; kept in its field's metadata."""

    reader: Reader
    variable: str | None = None
    in_text: InText | None = None
    """Gives the value that the variable's text means; None where the text is the value."""
    secret: bool = False
    url: bool = False
    """Shown without user information and query when it is wrong."""
    command: bool = False
    """Of a secret row of texts the first is shown all the same: a command's program."""
    bound: bool = False
    """It belongs to one server: in the environment it is meant for the gateway that the environment names, and no other."""
    empty_counts: bool = False
    """A variable that is set and empty says something; for all others that is the same as not set."""

    def value_of(self, given: Given) -> object:
        """What to read: what was given, or what it means where it is a variable's text."""
        if given.from_env and given.is_text and self.in_text is not None and isinstance(given.value, str):
            return self.in_text(given.value)
        return given.value


def setting(reader: Reader, variable: str | None = None, in_text: InText | None = None, **traits: bool) -> dict[str, Any]:
    """Make the metadata of a field."""
    return {_KEY: Setting(reader, variable, in_text, **traits)}


def setting_of(field: attrs.Attribute[Any]) -> Setting | None:
    """Give the record of a field; None where the field is no setting."""
    return cast("Setting | None", field.metadata.get(_KEY))


def number(variable: str | None = None, **allowed: bool) -> dict[str, Any]:
    """Make the metadata of a field of seconds."""
    return setting(values.number(**allowed), variable, values.number_in_text)


def whole(unit: str, minimum: int, variable: str | None = None) -> dict[str, Any]:
    """Make the metadata of a field that counts something."""
    return setting(values.whole(unit, minimum=minimum), variable, values.whole_in_text)


class SettingRow(NamedTuple):
    """One setting as a person reads it."""

    name: str
    """The setting's name."""
    variable: str | None
    """Its environment variable; None where it has none."""
    value: str
    """Its value; `***` where it is secret and set."""
    source: str
    """`"argument"`, the environment variable's name, or `"default"`."""
    default: str
    """Its default."""
    help: str
    """What it does."""


def masked(setting: Setting, value: object) -> str:
    """A value, right or wrong, in Python's notation and without secrets."""
    if setting.command and isinstance(value, tuple) and value:
        return _short.repr((str(value[0]), *["***"] * (len(cast("tuple[str, ...]", value)) - 1)))
    if setting.secret:
        return "***" if value else repr(value)
    if isinstance(value, type):
        return f"{value.__module__}.{value.__qualname__}"
    if not isinstance(value, _SHOWN):
        return f"<{type(value).__name__}>"  # its own repr may tell anything
    try:
        return _short.repr(_hidden_urls(value) if setting.url else value)
    except ValueError:  # Python refuses to print whole numbers of more than 4300 digits
        return f"<{type(value).__name__}>"


def _hidden_urls(value: object) -> object:
    """A URL, or several, without user information and query."""
    if isinstance(value, str):
        return values.hidden_url(value)
    if isinstance(value, (list, tuple)):
        given = cast("Sequence[object]", value)
        return [values.hidden_url(one) if isinstance(one, str) else f"<{type(one).__name__}>" for one in given]
    return value


def readable(setting: Setting, value: object) -> str:
    """A right value as a person reads it, without secrets."""
    if isinstance(value, Mapping):
        return ", ".join(f"{header}: ***" for header in cast("Mapping[str, str]", value)) or "none"
    if value is None or (isinstance(value, (str, tuple)) and not value):
        return "none"
    if setting.command and isinstance(value, tuple):
        return f"{value[0]} ***" if len(cast("tuple[str, ...]", value)) > 1 else str(value[0])
    if setting.secret:
        return "***"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, tuple):
        return ", ".join(cast("tuple[str, ...]", value))
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (str, int)):
        return str(value)
    return masked(setting, value)
