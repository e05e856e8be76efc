"""What papermill's translators can express: for each language the names and values that come out right, and those that don't."""

from __future__ import annotations

import enum
import json
import math
import subprocess
from collections import OrderedDict
from pathlib import PurePosixPath
from types import MappingProxyType
from typing import Any

import pytest
from papermill import translators

from trio_gateway import InvalidInputError
from trio_gateway._notebooks.languages import Language, Place, as_json_value, language_of

HERE = Place("parameters", "x")
NAN, INF = math.nan, math.inf


class Colour(str, enum.Enum):  # noqa: UP042 - what str() makes of its members is not their text
    RED = "red"


class Size(enum.IntEnum):
    LARGE = 3


class Ratio(float):
    pass


# --------------------------------------------------------------------------------------------------------------- as JSON


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (None, None),
        (True, True),
        (0, 0),
        (-0.0, -0.0),
        ("ü\ud800", "ü\ud800"),
        ((1, (2,)), [1, [2]]),
        (OrderedDict(a=[]), {"a": []}),
        (MappingProxyType({"a": MappingProxyType({})}), {"a": {}}),
        ({Colour.RED: Colour.RED}, {"red": "red"}),
        (Size.LARGE, 3),
        (Ratio(1.5), 1.5),
    ],
)
def test_what_is_json_becomes_pythons_own_types(value: object, expected: object) -> None:
    converted = as_json_value(value, HERE)
    assert (repr(converted), type(converted)) == (repr(expected), type(expected))
    if isinstance(converted, dict):
        assert [type(name) for name in converted] == [str] * len(converted)


def test_the_value_is_a_copy() -> None:
    value: dict[str, Any] = {"a": [1]}
    converted = as_json_value(value, HERE)
    value["a"].append(2)
    assert converted == {"a": [1]}


@pytest.mark.parametrize(
    ("value", "place", "shown"),
    [
        (PurePosixPath("/data"), "parameters['x']", "'pathlib.PurePosixPath' can't be used; expected None, True or False"),
        ([1, b"bytes"], "parameters['x'][1]", "'bytes'"),
        ({"a": {"b": {1, 2}}}, "parameters['x']['a']['b']", "'set'"),
        ({"a": {2: 1}}, "parameters['x']['a']", "2 can't be used; expected a dict whose keys are texts"),
        (object(), "parameters['x']", "'object'"),
        (1j, "parameters['x']", "'complex'"),
    ],
)
def test_what_is_no_json_is_named_with_its_place(value: object, place: str, shown: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        as_json_value(value, HERE)
    assert caught.value.field == place
    assert shown in str(caught.value)


def test_an_integer_of_more_digits_than_python_reads_is_named() -> None:
    with pytest.raises(InvalidInputError, match="an integer of at most 4300 digits"):
        as_json_value(10**5000, HERE)


def test_a_value_that_holds_itself_is_named() -> None:
    value: list[object] = [1]
    value.append({"again": value})
    with pytest.raises(InvalidInputError, match=r"parameters\['x'\]\[1\]\['again'\].*hold itself"):
        as_json_value(value, HERE)
    shared: list[object] = []
    assert as_json_value([shared, shared], HERE) == [[], []]


def test_depth_and_number_have_bounds() -> None:
    deep: object = 1
    for _ in range(100):
        deep = [deep]
    assert json.dumps(as_json_value(deep, HERE)) == "[" * 100 + "1" + "]" * 100
    with pytest.raises(InvalidInputError, match="at most 100 deep") as caught:
        as_json_value([deep], HERE)
    assert len(caught.value.field) <= 301
    lines: object = "lol"
    for _ in range(30):  # as YAML's aliases make it of thirty lines: a billion texts
        lines = [lines, lines]
    with pytest.raises(InvalidInputError, match="at most 1000000 values"):
        as_json_value(lines, HERE)


# ------------------------------------------------------------------------------------------------------------- languages

CONTROL, LATIN, GREEK, SMILE, SURROGATE = "\x01", "é", "λ", "😀", "\ud800"
LARGE = 2**63

EXPRESSED: dict[str, list[Any]] = {
    "Python": [NAN, INF, -INF, None, 10**100, f'\0"\\{LATIN}{GREEK}{SMILE}{SURROGATE}$`', [1, "a", [], {}], {"": {"a": None}}],
    "R": [None, 2**53, 2**60, f"$`\\\n\t{GREEK}{SMILE}", [1, "a", [], [None]], {"a b": {}}],
    "Scala": [None, LARGE - 1, -LARGE, f"$`\\\n{GREEK}", [1, "a", [], [None]], {"": {}}],
    "Julia": [None, 10**100, f'"\\\0{CONTROL}`{GREEK}{SMILE}', [1, "a", [], [None]], {"": {}}],
    "Matlab": [NAN, INF, -INF, None, 2**53, "\"'$`[]^", [1, "a", [], [None]], {"a": [1]}],
    "C#": [
        LARGE - 1,
        -LARGE,
        f"$`\\\n{LATIN}g{GREEK}{SMILE}{CONTROL}",
        [1, 2**40, 2.5],
        [[1, 2.5], [2.5, 1]],
        {"": {}},
        [{}, {"a": 1}],
    ],
    "F#": [
        NAN,
        None,
        LARGE - 1,
        f"$`\\\n{LATIN}a{GREEK}{SMILE}",
        [1, 2],
        [[], [1], []],
        [[[]], [["a"]], []],
        {"": {"a": [True]}},
    ],
    "PowerShell": [NAN, INF, -INF, None, 2**96 - 1, "\"'[]^", [1, "a", [], [None]], [[], []], [{}], {"": {"a": 1}}],
    "Bash": [None, 10**100, 1.5, f"'\"$`\\\n{CONTROL}{LATIN}{SMILE}", [1, "a b", True, -1.5], []],
}
LACKING: dict[str, list[Any]] = {
    "Python": [],
    "R": [NAN, INF, 2**53 + 1, 10**400, "\0", CONTROL, LATIN, SURROGATE, {"": 1}, [{LATIN: 1}]],
    "Scala": [NAN, INF, LARGE, -LARGE - 1, CONTROL, LATIN, SMILE, SURROGATE, {"a": LATIN}],
    "Julia": [NAN, INF, "$x", LATIN, SURROGATE, {"$(exit())": 1}],
    "Matlab": [2**53 + 1, "\\", "\n", CONTROL, LATIN, GREEK, {"\\": 1}],
    "C#": [None, NAN, LARGE, f"{LATIN}a", f"{CONTROL}1", SURROGATE, [], [[]], [1, "a"], [True, 1], [[1], [2.5]], {"a": None}],
    "F#": [INF, -INF, LARGE, SURROGATE, [1, "a"], [1, 2.5], [1, 2**40], [True, 1], [[1], ["a"]], [1, None], {"a": [1, "a"]}],
    "PowerShell": [2**96, "$x", "`n", "\\", "\n", CONTROL, LATIN, [[1]], [[]], [1, [[1, 2]]], {"a": 1, "A": 2}],
    "Bash": [NAN, INF, "\0", SURROGATE, [None], [[]], {}, [{"a": 1}], {"a": 1}],
}
NAMES = {
    "Python": (["x", "_", "λ", "match", "ﬁ"], ["", "1x", "a-b", "a b", "for", "None", "__debug__", "x\ny", "x;y", "a.b"]),
    "R": (["x", "_x", "a.b", ".a", "λ", "T"], ["", "_", "_1", "1x", ".1a", "a-b", "NULL", "_if", "a\n", "if"]),
    "Scala": (["x", "_x", "a_1", "X"], ["", "_", "a.b", "val", "1x", "a\n"]),
    "Julia": (["x", "_x", "λ", "a!"], ["", "_", "__", "end", "1x", "a.b", "a\n"]),
    "Matlab": (["x", "a_1", "a" * 63], ["", "_x", "λ", "end", "a" * 64, "a\n"]),
    "C#": (["x", "_x", "λ"], ["", "_", "int", "1x", "a.b", "a\n"]),
    "F#": (["x", "_x", "x'"], ["", "_", "let", "1x", "a.b", "a\n"]),
    "PowerShell": (["x", "_x"], ["", "_", "True", "null", "1x", "a:b", "a\n"]),
    "Bash": (["x", "_x", "if"], ["", "_", "UID", "λ", "1x", "a-b", "a[0]", "a\n"]),
}
CLASHES = {"R": ("x", "__x"), "PowerShell": ("x", "X"), "Python": ("ﬁ", "fi")}

OF = {language_of(translator).name: translator for translator in translators.papermill_translators._translators.values()}


def pairs(table: dict[str, list[Any]]) -> list[Any]:
    return [
        pytest.param(name, value, id=f"{name}-{number}") for name, values in table.items() for number, value in enumerate(values)
    ]


def known(name: str) -> Language:
    return language_of(OF[name])


def test_each_of_papermills_languages_is_known() -> None:
    assert set(OF) == set(EXPRESSED) == set(LACKING) == set(NAMES)


@pytest.mark.parametrize(("name", "value"), pairs(EXPRESSED))
def test_what_a_language_has_is_expressed(name: str, value: Any) -> None:
    known(name).check(as_json_value(value, HERE), HERE)
    assert OF[name].codify({"x": value})


@pytest.mark.parametrize(("name", "value"), pairs(LACKING))
def test_what_a_language_lacks_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError, match=f"since papermill can't write this for {name}$") as caught:
        known(name).check(as_json_value(value, HERE), HERE)
    assert caught.value.field.startswith("parameters['x']")


@pytest.mark.parametrize(("name", "value"), pairs({name: good for name, (good, _) in NAMES.items()}))
def test_names_of_variables(name: str, value: str) -> None:
    known(name).check_names({value: 1, "other": 2})


@pytest.mark.parametrize(("name", "value"), pairs({name: bad for name, (_, bad) in NAMES.items()}))
def test_names_that_no_variable_can_have(name: str, value: str) -> None:
    with pytest.raises(InvalidInputError, match=name) as caught:
        known(name).check_names({"other": 1, value: 2})
    assert (caught.value.field, caught.value.value) == ("parameters", value)


@pytest.mark.parametrize("name", CLASHES)
def test_two_names_of_one_variable(name: str) -> None:
    one, other = CLASHES[name]
    with pytest.raises(InvalidInputError, match=f"{one!r} is the same in {name}") as caught:
        known(name).check_names({one: 1, other: 2})
    assert caught.value.value == other


def test_the_place_within_a_value_is_named() -> None:
    with pytest.raises(InvalidInputError) as caught:
        known("Julia").check({"a": [1, {"b": "$5"}]}, HERE)
    assert str(caught.value) == (
        "parameters['x']['a'][1]['b']: '$5' can't be used; expected text without '$', since papermill can't write this for Julia"
    )


def test_of_another_translator_nothing_is_known_but_what_no_name_is() -> None:
    class Lisp(translators.Translator):
        pass

    class Sage(translators.PythonTranslator):
        pass

    language_of(Lisp).check_names({"my-name": 1})
    language_of(Lisp()).check({"a": [NAN, None]}, HERE)
    for name in ("", " ", "a\nb"):
        with pytest.raises(InvalidInputError):
            language_of(Lisp).check_names({name: 1})
    assert language_of(Sage).name == "Python"


def test_python_reads_what_is_expressed() -> None:
    for value in EXPRESSED["Python"]:
        variables: dict[str, Any] = {}
        exec(translators.PythonTranslator.codify({"x": value}), variables)
        assert repr(variables["x"]) == repr(value)


def test_bash_reads_what_is_expressed() -> None:
    for value in EXPRESSED["Bash"]:
        code = translators.BashTranslator.codify({"x": value})
        done = subprocess.run(
            ["bash", "-c", code + 'printf "%s\\0" "${x[@]}"'], capture_output=True, check=True, timeout=100, encoding="utf-8"
        )
        items = [value] if not isinstance(value, list) else value or [""]
        assert done.stdout.split("\0")[:-1] == ["" if item is None else "true" if item is True else str(item) for item in items]
