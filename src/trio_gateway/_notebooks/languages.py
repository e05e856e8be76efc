"""What the languages that papermill translates parameters to can express: which names, and which values. Pure.

The one idea: papermill's translators write something for every value, and for some values it is not that value: a character, a
number or a nested list that the language reads otherwise. What would come out changed, or as no code at all, is named here
before anything runs.
"""

from __future__ import annotations

import keyword
import math
import re
import sys
import unicodedata
from collections.abc import Callable, Mapping
from functools import reduce
from typing import Any, Final, TypeAlias, cast

import attrs

from .._errors import InvalidInputError
from .._values import MAX_DEPTH

__all__ = ["Language", "Place", "as_json_value", "language_of"]

_Rule: TypeAlias = Callable[[Any], str | None]
"""Says what a value would have to be that a language expresses; None for one that it does."""

_MOST_VALUES: Final = 1_000_000
"""How many values parameters may hold in all. YAML's aliases make exponentially many of a few lines."""
_LONGEST_PLACE: Final = 300  # characters
_LIKE_JSON: Final = "None, True or False, a number, text (str), or a list or dict of such values"


# What is JSON ---------------------------------------------------------------------------------------------------------


@attrs.frozen
class Place:
    """Where a value stands: for errors only, so it is put into words only there."""

    holder: Place | str
    """What it stands in, or the name of it all."""
    key: object
    """Its name or number there."""

    def __str__(self) -> str:
        keys: list[str] = []
        holder: Place | str = self
        while isinstance(holder, Place):
            keys.append(f"[{holder.key!r:.100}]")
            holder = holder.holder
        text = holder + "".join(reversed(keys))
        return text if len(text) <= _LONGEST_PLACE else f"{text[: _LONGEST_PLACE // 2]}…{text[-_LONGEST_PLACE // 2 :]}"


def as_json_value(value: object, place: Place) -> Any:
    """Return a value as JSON has it, as new objects of Python's own types; a tuple becomes a list. NaN and infinities stay.

    Args:
        value: the value.
        place: where it stands.

    Raises:
        InvalidInputError: it is none, or something in it; the error names the place.
    """
    return _Converter().convert(value, place)


class _Converter:
    """Converts one value, and counts what is in it."""

    def __init__(self) -> None:
        self._left = _MOST_VALUES
        self._around: set[int] = set()  # the ids of the lists and dicts that the value stands in

    def convert(self, value: object, place: Place) -> Any:
        self._left -= 1
        if self._left < 0:
            raise InvalidInputError(str(place), _type_of(value), f"at most {_MOST_VALUES} values in all")
        match value:
            case None | bool():
                return value
            case str():
                return str.__str__(value)  # of a subclass, such as an enumeration's member, the text itself
            case int():
                return _checked_int(value, place)
            case float():
                return float.__float__(value)
            case Mapping():
                fields = cast("Mapping[object, object]", value)
                return self._inside(
                    fields, place, lambda: {self._name(name, place): self._item(fields, name, place) for name in fields}
                )
            case list() | tuple():
                items = cast("list[object] | tuple[object, ...]", value)
                return self._inside(items, place, lambda: [self._item(items, number, place) for number in range(len(items))])
            case _:
                raise InvalidInputError(str(place), _type_of(value), _LIKE_JSON)

    def _item(self, holder: Any, key: object, place: Place) -> Any:
        return self.convert(holder[key], Place(place, key))

    def _name(self, name: object, place: Place) -> str:
        if isinstance(name, str):
            return str.__str__(name)
        raise InvalidInputError(str(place), name, "a dict whose keys are texts (str)")

    def _inside(self, holder: object, place: Place, convert: Callable[[], Any]) -> Any:
        if id(holder) in self._around:
            raise InvalidInputError(str(place), _type_of(holder), "a value that does not hold itself")
        if len(self._around) == MAX_DEPTH:
            raise InvalidInputError(str(place), _type_of(holder), f"lists and dicts nested at most {MAX_DEPTH} deep")
        self._around.add(id(holder))
        converted = convert()
        self._around.remove(id(holder))
        return converted


def _checked_int(value: int, place: Place) -> int:
    number = int.__index__(value)
    try:
        str(number)
    except ValueError:
        expected = f"an integer of at most {sys.get_int_max_str_digits()} digits"
        raise InvalidInputError(str(place), "an integer of more digits", expected) from None
    return number


def _type_of(value: object) -> str:
    kind = type(value)
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


# What a language has --------------------------------------------------------------------------------------------------


def _any(_: object) -> str | None:
    return None


@attrs.frozen(kw_only=True)
class Language:
    """A language, as one of papermill's translators writes it."""

    name: str
    """What it is called."""
    is_identifier: Callable[[str], object]
    """Whether a variable can have this name."""
    reserved: frozenset[str] = frozenset()
    """Names that look like one, and can't be set or mean something else."""
    as_variable: Callable[[str], str] = str
    """Gives the variable that a name stands for; two parameters of one variable are an error."""
    changed: re.Pattern[str] | None = None
    """What in a text the translated code would read as something else, or not at all."""
    integers: _Rule = _any
    """Which integers there are."""
    not_finite: frozenset[str] = frozenset()
    """Which of `nan`, `inf` and `-inf` the translated code is the number for."""
    has_none: bool = True
    """Whether there is something for None."""
    lists: _Rule = _any
    """Which lists there are, apart from what is in them."""
    dicts: _Rule = _any
    """Which dicts there are, apart from what is in them."""

    def check_names(self, names: Mapping[str, object]) -> None:
        """See that each name can be a variable's, and each a different one's.

        Raises:
            InvalidInputError: one can't; the error has the name.
        """
        variables: dict[str, str] = {}
        for name in names:
            variable = self.as_variable(name)
            if not self.is_identifier(variable):
                raise InvalidInputError("parameters", name, f"a name that a variable of {self.name} can have")
            if variable in self.reserved:
                raise InvalidInputError("parameters", name, f"a name that {self.name} does not keep for itself")
            if (other := variables.setdefault(variable, name)) != name:
                raise InvalidInputError("parameters", name, f"one name for each variable: {other!r} is the same in {self.name}")

    def check(self, value: Any, place: Place) -> None:
        """See that the translated code is a value, and that value.

        Args:
            value: the value, as `as_json_value` gives it.
            place: where it stands.

        Raises:
            InvalidInputError: it is not, or something in it; the error names the place.
        """
        match value:
            case None:
                if not self.has_none:
                    raise self._lacks(place, value, "anything but None")
            case bool():
                pass
            case int():
                self._apply(self.integers, value, place)
            case float():
                if not math.isfinite(value) and str(value) not in self.not_finite:
                    raise self._lacks(place, value, "a finite number")
            case str():
                self._check_text(value, place)
            case list():
                for number, item in enumerate(value):
                    self.check(item, Place(place, number))
                self._apply(self.lists, value, place)
            case _:
                self._apply(self.dicts, value, place)
                for name, item in value.items():
                    self._check_text(name, place)
                    self.check(item, Place(place, name))

    def _check_text(self, text: str, place: Place) -> None:
        if self.changed is not None and (found := self.changed.search(text)) is not None:
            raise self._lacks(place, text, f"text without {found[0]!a}")

    def _apply(self, rule: _Rule, value: object, place: Place) -> None:
        if (expected := rule(value)) is not None:
            raise self._lacks(place, value, expected)

    def _lacks(self, place: Place, value: object, expected: str) -> InvalidInputError:
        return InvalidInputError(str(place), value, f"{expected}, since papermill can't write this for {self.name}")


def _at_most_64_bits(number: int) -> str | None:
    return None if -(2**63) <= number < 2**63 else "an integer of at most 64 bits"


def _at_most_96_bits(number: int) -> str | None:
    return None if abs(number) < 2**96 else "an integer of at most 96 bits"


def _as_double(number: int) -> str | None:
    try:
        exact = int(float(number)) == number
    except OverflowError:
        exact = False
    return None if exact else "an integer that is a double-precision number too"


def _flat(items: list[Any]) -> str | None:
    if any(isinstance(item, list) for item in items):
        return "a list without lists in it"
    return "a list without None in it" if None in items else None


def _not_unrolled(items: list[Any]) -> str | None:
    """`@(@(1, 2))` is `@(1, 2)`."""
    return "a list of more than one list" if len(items) == 1 and isinstance(items[0], list) else None


_Kind: TypeAlias = "str | tuple[_Kind | None] | None"
"""The type of a literal; a list's is a tuple of that of its items, None where it has none."""


def _kind_of(value: Any, join: Callable[[_Kind, _Kind], _Kind]) -> _Kind:
    match value:
        case list():
            return (reduce(join, [_kind_of(item, join) for item in value], None),)
        case int() if not isinstance(value, bool):
            return "int" if -(2**31) <= value < 2**31 else "int64"
        case _:
            return type(value).__name__


class _MixedError(Exception):
    """Two values have no type in common."""


def _fsharp_join(one: _Kind, other: _Kind) -> _Kind:
    if one is None or other is None or one == other:
        return other if one is None else one
    if isinstance(one, tuple) and isinstance(other, tuple):
        return (_fsharp_join(one[0], other[0]),)
    raise _MixedError


def _csharp_join(one: _Kind, other: _Kind) -> _Kind:
    """Numbers become the widest of their types; arrays stay what they are."""
    if one is None or one == other:
        return other
    numbers = ("int", "int64", "float")
    if one in numbers and other in numbers:
        return max(one, other, key=numbers.index)
    raise _MixedError


def _of_one_kind(join: Callable[[_Kind, _Kind], _Kind]) -> _Rule:
    def rule(items: list[Any]) -> str | None:
        try:
            _kind_of(items, join)
        except _MixedError:
            return "a list whose values are of one type"
        return None

    return rule


def _csharp_list(items: list[Any]) -> str | None:
    return _of_one_kind(_csharp_join)(items) if items else "a list with something in it"


def _no_dict(_: object) -> str:
    return "no dict"


def _keys_with_text(fields: dict[str, Any]) -> str | None:
    return "a dict without an empty key" if "" in fields else None


def _keys_apart(fields: dict[str, Any]) -> str | None:
    return None if len({name.lower() for name in fields}) == len(fields) else "a dict whose keys differ in more than case"


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# papermill escapes text as Python does: \t, \n, \r and \\ as these, others as \xNN, \uNNNN or \UNNNNNNNN.
_SURROGATES: Final = r"\ud800-\udfff"
_HEX_CONTROLS: Final = r"\x00-\x08\x0b\x0c\x0e-\x1f\x7f"
_HEX: Final = rf"{_HEX_CONTROLS}\x80-\xff"
_NOT_FINITE: Final = frozenset({"nan", "inf", "-inf"})
_WORD: Final = r"[^\W\d]\w*"

_LANGUAGES: Final = {
    "PythonTranslator": Language(
        name="Python",
        is_identifier=str.isidentifier,
        reserved=frozenset([*keyword.kwlist, "__debug__"]),
        as_variable=lambda name: unicodedata.normalize("NFKC", name),
        not_finite=_NOT_FINITE,
    ),
    "RTranslator": Language(
        name="R",
        is_identifier=re.compile(r"(?:[^\W\d_]|\.(?!\d))[\w.]*").fullmatch,
        reserved=_words(
            """
            if else repeat while function for next break TRUE FALSE NULL Inf NaN NA NA_integer_ NA_real_ NA_complex_ NA_character_
            in ...
            """
        ),
        as_variable=lambda name: name.lstrip("_"),  # as papermill writes it
        changed=re.compile(f"[{_HEX}{_SURROGATES}]"),  # \x is a byte there
        integers=_as_double,
        dicts=_keys_with_text,
    ),
    "ScalaTranslator": Language(
        name="Scala",
        is_identifier=re.compile(_WORD).fullmatch,
        reserved=_words(
            """
            _ abstract case catch class def do else enum export extends false final finally for forSome given if implicit import
            lazy macro match new null object override package private protected return sealed super then this throw trait true try
            type val var while with yield
            """
        ),
        changed=re.compile(rf"[{_HEX}{_SURROGATES}\U00010000-\U0010ffff]"),  # there are neither \x nor \U
        integers=_at_most_64_bits,
    ),
    "JuliaTranslator": Language(
        name="Julia",
        is_identifier=re.compile(r"(?!_+$)[^\W\d][\w!]*").fullmatch,
        reserved=_words(
            """
            baremodule begin break catch const continue do else elseif end export false finally for function global if import in
            isa let local macro module quote return struct true try using where while
            """
        ),
        changed=re.compile(rf"[$\x80-\xff{_SURROGATES}]"),  # $ interpolates; \x is a byte there
    ),
    "MatlabTranslator": Language(
        name="Matlab",
        is_identifier=re.compile(r"[A-Za-z][A-Za-z0-9_]{0,62}").fullmatch,
        reserved=_words(
            """
            break case catch classdef continue else elseif end for function global if otherwise parfor persistent return spmd
            switch try while
            """
        ),
        changed=re.compile(r"[^ -\[\]-~]"),  # nothing is escaped there but the quote
        integers=_as_double,
        not_finite=_NOT_FINITE,
    ),
    "CSharpTranslator": Language(
        name="C#",
        is_identifier=re.compile(_WORD).fullmatch,
        reserved=_words(
            """
            _ abstract as base bool break byte case catch char checked class const continue decimal default delegate do double
            else enum event explicit extern false finally fixed float for foreach goto if implicit in int interface internal is
            lock long namespace new null object operator out override params private protected public readonly ref return sbyte
            sealed short sizeof stackalloc static string struct switch this throw true try typeof uint ulong unchecked unsafe
            ushort using virtual void volatile while
            """
        ),
        changed=re.compile(rf"[{_HEX}](?=[0-9A-Fa-f])|[{_SURROGATES}]"),  # \x takes up to four digits there
        integers=_at_most_64_bits,
        has_none=False,
        lists=_csharp_list,
    ),
    "FSharpTranslator": Language(
        name="F#",
        is_identifier=re.compile(r"[^\W\d][\w']*").fullmatch,
        reserved=_words(
            """
            _ abstract and as asr assert base begin break checked class component const constraint continue default delegate do
            done downcast downto elif else end event exception extern external false finally fixed for fun function global if in
            include inherit inline interface internal land lazy let lor lsl lsr lxor match member mixin mod module mutable
            namespace new null of open or override parallel private process protected public pure rec return sealed select sig
            static struct tailcall then to trait true try type upcast use val virtual void when while with yield
            """
        ),
        changed=re.compile(f"[{_SURROGATES}]"),
        integers=_at_most_64_bits,
        not_finite=frozenset({"nan"}),
        lists=_of_one_kind(_fsharp_join),
    ),
    "PowershellTranslator": Language(
        name="PowerShell",
        is_identifier=re.compile(_WORD).fullmatch,
        reserved=_words("_ true false null"),
        as_variable=str.lower,
        changed=re.compile(r"[^ -#%-\[\]-_a-~]"),  # what escapes there is `, what interpolates is $
        integers=_at_most_96_bits,
        not_finite=_NOT_FINITE,
        lists=_not_unrolled,
        dicts=_keys_apart,
    ),
    "BashTranslator": Language(
        name="Bash",
        is_identifier=re.compile(r"[A-Za-z_][A-Za-z0-9_]*").fullmatch,
        reserved=_words("_ BASHOPTS BASH_VERSINFO EUID PPID SHELLOPTS UID"),
        changed=re.compile(rf"[\x00{_SURROGATES}]"),
        lists=_flat,
        dicts=_no_dict,
    ),
}
"""By the names of papermill's classes."""


_OTHER: Final = Language(
    name="that language", is_identifier=lambda name: name.strip() and name.isprintable(), not_finite=_NOT_FINITE
)
"""Of what a program has registered with papermill itself nothing is known."""


def language_of(translator: object) -> Language:
    """Return what is known of the language that one of papermill's translators writes."""
    kind = translator if isinstance(translator, type) else type(translator)
    return next((known for base in kind.__mro__ if (known := _LANGUAGES.get(base.__name__)) is not None), _OTHER)
