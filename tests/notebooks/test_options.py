"""What a run's options may be, and what is said of those that can't."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import attrs
import pytest

from trio_gateway import ConfigError, InvalidInputError, notebooks
from trio_gateway._notebooks.many import run_many
from trio_gateway._notebooks.options import RunOptions, RunSettings, as_path, options_of
from trio_gateway.testing import FakeGateway


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


@pytest.mark.parametrize(
    ("name", "meant"),
    [("on_events", "on_event"), ("limits", "limit"), ("stop_on_failures", "stop_on_failure"), ("cell_timout", "cell_timeout")],
)
async def test_what_only_run_many_takes_may_have_been_meant_there(name: str, meant: str) -> None:
    settings: Any = {name: 1}
    async with FakeGateway() as fake, fake.open() as gateway:
        with pytest.raises(ConfigError, match=rf"{name}: there is no setting of this name; did you mean {meant}\?"):
            async with run_many(gateway, [], **settings):
                pytest.fail("it is refused")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("cell_timout", "cell_timout: there is no setting of this name; did you mean cell_timeout?"),
        ("execution_timeout", "did you mean cell_timeout?"),
        ("kernel", "did you mean kernel_name?"),
        ("xyzzy", "xyzzy: there is no setting of this name"),
    ],
)
async def test_an_option_that_there_is_not_is_named_with_what_may_have_been_meant(name: str, words: str) -> None:
    """G10: at each door, and no kernel is started."""
    settings: Any = {name: 1, "resume": True}
    with pytest.raises(ConfigError, match=words.replace("?", r"\?")):
        options_of(settings)
    async with FakeGateway() as fake, fake.open() as gateway:
        with pytest.raises(ConfigError):
            await notebooks.run(gateway, {}, **settings)
        with pytest.raises(ConfigError):
            async with notebooks.open_run(gateway, {}, **settings):
                pass
        with pytest.raises(ConfigError):
            async with notebooks.run_many(gateway, [{}], limit=1, **settings):
                pass
        assert fake.requests == []


def test_all_that_there_are_not_are_told_at_once() -> None:
    with pytest.raises(ConfigError) as caught:
        options_of({"a": 1, "b": 2})  # type: ignore[typeddict-unknown-key]
    assert [problem.field for problem in caught.value.problems] == ["a", "b"]
