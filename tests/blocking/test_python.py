"""`trio_gateway.blocking.python`: the names of `trio_gateway.python`, without `async`, on a real kernel."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway.blocking as tg
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from trio_gateway import python as trio_python
from trio_gateway._python.members import MEMBERS, TRIO_ONLY
from trio_gateway.blocking import python

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway

LARGE = bytes(range(256)) * 40_000
"""Three pieces."""


NOT_YET = {kind.__name__ for kind in TRIO_ONLY} | {"CallResult"}
"""What faces don't have yet, and what only that gives."""


def names_of(module: Any) -> set[str]:
    return {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_the_names_are_those_of_the_librarys_module() -> None:
    """What has no `async` in it is the same; the function has the same parameters and docstring. Pools are Trio's."""
    names = names_of(trio_python) - NOT_YET
    different = {name for name in names if getattr(python, name, None) is not getattr(trio_python, name)}
    assert different == {original.__name__ for original in MEMBERS} | {"open_python"}
    here, there = python.open_python, trio_python.open_python
    assert inspect.signature(here).parameters == inspect.signature(there).parameters
    assert "Async" not in str(inspect.signature(here))
    assert inspect.getdoc(here) == inspect.getdoc(there)


def add(one: Any, other: Any = 1) -> Any:
    print("adding")
    return one + other


async def later(value: Any) -> Any:
    return value


def count(n: float) -> Iterator[int]:
    number = 0
    while number < n:
        print(number)
        yield number
        number += 1


@pytest.mark.gateway
@pytest.mark.full
def test_all_of_it_on_a_real_kernel(real_gateway: RunningGateway, real_kernel_id: str, tmp_path: Path) -> None:
    """Handlers are called in the calling thread."""
    here = threading.current_thread()
    told: list[Any] = []

    def tell(what: Any) -> None:
        assert threading.current_thread() is here
        told.append(what)

    with (
        tg.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.attach_kernel(real_kernel_id) as kernel,
        python.open_python(kernel, on_progress=tell) as there,
    ):
        assert isinstance(there, python.Python)
        there.push(data=LARGE, on_output=[1])
        assert told[-1].done == told[-1].total > len(LARGE)
        assert there.pull("data", on_progress=told.append) == LARGE
        assert there.pull("on_output") == [1], "of names that are pushed none is an argument"
        using = there.using(on_output=tell)
        assert isinstance(using, python.Python)
        assert using.call(add, there.name("on_output"), other=[2]) == [1, 2]
        assert using.call(later, 5) == 5
        assert any(getattr(output, "text", "").startswith("adding") for output in told)
        del told[:]
        with using.stream(count, 500) as items:
            assert list(items) == list(range(500))
        assert len("".join(output.text for output in told if hasattr(output, "text")).split()) == 500
        with using.stream(count, math.inf) as items:
            assert [next(items) for _ in range(3)] == [0, 1, 2]
        (tmp_path / "in").mkdir()
        (tmp_path / "in/f").write_bytes(LARGE)
        del told[:]
        assert there.upload(tmp_path / "in/f", tmp_path / "there/f").size == len(LARGE)
        assert there.download(tmp_path / "there/f", tmp_path / "g").path == str(tmp_path / "g")
        assert len(told) > 6
        assert len(there.upload_all(tmp_path / "in", tmp_path / "more")) == 1
        assert len(there.download_all(tmp_path / "more", tmp_path / "back", within=tmp_path)) == 1
        assert (tmp_path / "back/f").read_bytes() == LARGE
        with pytest.raises(python.FileAccessError, match="No such file"):
            there.download(tmp_path / "gone", tmp_path / "x")

        def fail(progress: Any) -> None:
            raise LookupError

        with pytest.raises(LookupError):
            there.using(on_progress=fail).push(x=LARGE)
        assert there.pull("'x' in globals()") is False


def test_a_kernel_of_another_module_is_refused() -> None:
    with pytest.raises(tg.InvalidInputError, match=r"an open Kernel of trio_gateway\.blocking"):
        python.open_python(5)  # type: ignore[arg-type]
