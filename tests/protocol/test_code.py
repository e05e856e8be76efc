"""What a kernel may be asked to run: what is wrong is named before anything is sent."""

from __future__ import annotations

from typing import Any

import pytest

from trio_gateway import InvalidInputError
from trio_gateway._protocol.code import check_code, execute_content


@pytest.mark.parametrize("code", ["", "print(1)", "é\n\t𝄞", "\x01"])
def test_text_is_taken_as_it_is(code: str) -> None:
    assert check_code(code) is code


@pytest.mark.parametrize(
    ("code", "wanted"),
    [
        (None, "not NoneType"),
        (b"1", "not bytes"),
        ("abc\x00def", r"no NUL character \(at 3\)"),
        ("é" * 50 + "\ud800", r"no lone surrogate \(at 50\)"),
    ],
)
def test_what_no_kernel_takes_is_named(code: object, wanted: str) -> None:  # G10
    with pytest.raises(InvalidInputError, match=wanted) as caught:
        check_code(code, field="mine")
    assert caught.value.field == "mine"


def test_a_long_code_is_not_shown_whole() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_code("a" * 100_000 + "\x00" + "b" * 100_000)
    assert caught.value.value == "a" * 20 + "\x00" + "b" * 19


@pytest.mark.parametrize("odd", ["\x00", "\ud800"])
@pytest.mark.parametrize("place", [0, 1, 19, 20, 21, 60, 80, 99])
def test_of_a_long_code_what_is_around_is_shown(odd: str, place: int) -> None:
    """20 characters before it and 19 behind it, as far as there are so many, and where it is: of several the first."""
    letters = "".join(map(chr, range(0x4E00, 0x4E00 + 100)))
    code = letters[:place] + odd + letters[place:] + odd
    with pytest.raises(InvalidInputError) as caught:
        check_code(code)
    assert caught.value.value == code[max(place - 20, 0) : place + 20]
    assert f"(at {place})" in caught.value.expected


def test_what_is_no_text_is_shown() -> None:
    with pytest.raises(InvalidInputError) as caught:
        check_code(17)
    assert caught.value.value == 17


def content(**more: Any) -> Any:
    arguments = {
        "code": "1",
        "silent": False,
        "store_history": True,
        "user_expressions": None,
        "stop_on_error": True,
        "stdin": None,
    }
    return execute_content(**{**arguments, **more})


def test_what_an_execution_asks_for() -> None:
    assert content() == {
        "code": "1",
        "silent": False,
        "store_history": True,
        "user_expressions": {},
        "allow_stdin": False,
        "stop_on_error": True,
    }


def test_silent_code_is_never_kept() -> None:
    assert content(silent=True)["store_history"] is False
    assert content(store_history=False)["store_history"] is False


@pytest.mark.parametrize("stdin", ["channel", lambda prompt, password: "x"])
def test_code_may_ask_where_somebody_answers(stdin: object) -> None:
    assert content(stdin=stdin)["allow_stdin"] is True


def test_expressions_are_copied() -> None:
    given = {"a": "1 + 1"}
    asked = content(user_expressions=given)["user_expressions"]
    assert asked == given
    assert asked is not given


FUNCTION = 'a function of a prompt and of whether it is for a password, "channel", or None'


@pytest.mark.parametrize(
    ("arguments", "field", "value", "expected"),
    [
        ({"code": 5}, "code", 5, "text (str), not int"),
        ({"stdin": "tty"}, "stdin", "tty", FUNCTION),
        ({"stdin": 5}, "stdin", 5, FUNCTION),
        ({"user_expressions": ["1"]}, "user_expressions", ["1"], "a mapping of names to expressions"),
        ({"user_expressions": {1: "1"}}, "user_expressions", 1, "names that are text (str)"),
        ({"user_expressions": {"a": "\x00"}}, r"user_expressions['a']", "\x00", "no NUL character (at 0)"),
        ({"user_expressions": {"a": None}}, r"user_expressions['a']", None, "text (str), not NoneType"),
    ],
)
def test_each_part_that_is_wrong_is_named(arguments: dict[str, Any], field: str, value: object, expected: str) -> None:  # G10
    with pytest.raises(InvalidInputError) as caught:
        content(**arguments)
    assert (caught.value.field, caught.value.value, caught.value.expected) == (field, value, expected)
