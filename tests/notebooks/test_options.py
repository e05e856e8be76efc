"""What a run's options may be, and what is said of those that can't."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_gateway import InvalidInputError
from trio_gateway._notebooks.options import RunOptions, RunSettings, as_path


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("output", 5),
        ("output", ""),
        ("cwd", b"x"),
        ("kernel_name", ""),
        ("kernel_name", 5),
        ("parameters", [1]),
        ("env", "A=b"),
        ("resources", {"cpu": 1}),
        ("timeout", 0),
        ("timeout", -1),
        ("timeout", "5"),
        ("timeout", True),
        ("timeout", math.nan),
        ("cell_timeout", 0.0),
        ("on_error", "ignore"),
        ("on_error", None),
        ("stdin", "ask"),
        ("grace", -0.1),
        ("grace", None),
        ("grace", math.inf),
        ("max_output_bytes", 0),
        ("max_output_bytes", 1e6),
        ("max_output_bytes", True),
        ("record_timing", 1),
        ("resume", "yes"),
    ],
)
def test_a_value_that_can_not_be_used_is_named(name: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        RunOptions(**{name: value})
    assert (caught.value.field, caught.value.value) == (name, value)


def test_values_that_can_be_used() -> None:
    options = RunOptions(output="a/b.ipynb", cwd=Path("c"), timeout=math.inf, cell_timeout=1, grace=0, stdin="channel")
    assert (options.output, options.cwd) == (Path("a/b.ipynb"), Path("c"))


def test_the_environments_values_show_nowhere() -> None:
    options = RunOptions(env={"TOKEN": "secret"}, parameters={"password": "secret"})
    assert "secret" not in repr(options)
    assert options.env == {"TOKEN": "secret"}
    assert "secret" not in repr(options.env)


def test_type_checkers_know_each_option() -> None:
    assert {field.name for field in attrs.fields(RunOptions)} == set(RunSettings.__annotations__)


def test_a_path_is_text_or_a_path() -> None:
    assert as_path("x", "a") == as_path("x", Path("a")) == Path("a")
    with pytest.raises(InvalidInputError, match="x: 5 can't be used; expected a path"):
        as_path("x", 5)
