"""Texts that must not be shown: what they are made of, and nothing about where they come from or go.

The one idea: a secret is the text that it is, wherever it is used, and hides itself wherever somebody shows the variables of a
program: a traceback with its frames' locals, as `pytest -l`, rich and services that collect errors make one, calls `repr`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, SupportsIndex, TypeVar, cast, overload

__all__ = ["Secret", "SecretBytes", "Unshown", "hide_arguments", "hide_values"]

_V = TypeVar("_V")


class Secret(str):
    """A text that is equal to the plain one, and whose `repr` hides it. What is made of it, such as `f"token {it}"`, is plain."""

    __slots__ = ()

    @classmethod
    def of(cls, text: str) -> Secret:
        """Return a text as a secret; itself where it is one."""
        return text if isinstance(text, cls) else cls(text)

    def __getitem__(self, key: SupportsIndex | slice) -> Secret:
        # rich cuts what is long before it shows it.
        return Secret(super().__getitem__(key))

    def __repr__(self) -> str:
        return "'***'" if self else "''"


class SecretBytes(bytes):
    """Bytes that are equal to the plain ones, and whose `repr` hides them."""

    __slots__ = ()

    @overload
    def __getitem__(self, key: SupportsIndex) -> int: ...
    @overload
    def __getitem__(self, key: slice) -> bytes: ...
    def __getitem__(self, key: SupportsIndex | slice) -> int | bytes:
        found = super().__getitem__(key)
        return found if isinstance(found, int) else SecretBytes(found)

    def __repr__(self) -> str:
        return "b'***'" if self else "b''"


class Unshown(Mapping[str, _V]):
    """A mapping whose `repr` shows nothing of it, such as an environment. It is a view: a change of the other is a change of it.

    Args:
        mapping: the mapping.
    """

    __slots__ = ("_mapping",)

    def __init__(self, mapping: Mapping[str, _V]) -> None:
        self._mapping = mapping

    def __getitem__(self, key: str) -> _V:
        return self._mapping[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._mapping)

    def __len__(self) -> int:
        return len(self._mapping)

    def __repr__(self) -> str:
        return f"<{len(self)} entries, not shown>"


def hide_values(mapping: Any) -> Any:
    """Return a mapping's copy in which texts hide themselves; itself where they do already, or where it is no mapping."""
    if not isinstance(mapping, Mapping):
        return mapping
    given = cast("Mapping[object, object]", mapping)
    if all(isinstance(value, Secret) or not isinstance(value, str) for value in given.values()):
        return given
    return {key: Secret.of(value) if isinstance(value, str) else value for key, value in given.items()}


def hide_arguments(cls: type, hide: Callable[[Mapping[str, Any]], dict[str, Any]]) -> None:
    """Have the arguments of a class hidden before its `__init__`, whose frame is in the traceback of what is wrong with them.

    Args:
        cls: the class, whose secrets are arguments by name.
        hide: returns the arguments in which secrets hide themselves.
    """
    plain: Any = cls.__init__  # type: ignore[misc]  # no instance is asked

    @functools.wraps(plain)
    def __init__(self: object, *positional: Any, **named: Any) -> None:
        named = hide(named)
        plain(self, *positional, **named)

    setattr(cls, "__init__", __init__)  # noqa: B010 - type checkers are to see the class's own
