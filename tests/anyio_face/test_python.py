"""`trio_gateway.anyio.python`: the names of `trio_gateway.python`, on a real kernel, on each backend."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio
import pytest

import trio_gateway.anyio
import trio_gateway.blocking
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_tools import ASYNCIO, BACKENDS, run
from trio_gateway import python as trio_python
from trio_gateway._python.members import TRIO_ONLY
from trio_gateway.anyio import python

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway

FUNCTIONS = {"open_python"}
NOT_YET = {kind.__name__ for kind in TRIO_ONLY} | {"CallResult"}
"""What faces don't have yet, and what only that gives."""
LARGE = bytes(range(256)) * 40_000
"""Three pieces."""


def names_of(module: Any) -> set[str]:
    return {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_the_names_are_those_of_the_librarys_module() -> None:
    """And are the same things, but for the function, which has the same signature and docstring. Pools are Trio's."""
    names = names_of(trio_python) - NOT_YET
    assert {name for name in names if getattr(python, name, None) is not getattr(trio_python, name)} == FUNCTIONS
    for name in FUNCTIONS:
        here, there = getattr(python, name), getattr(trio_python, name)
        assert inspect.signature(here) == inspect.signature(there)
        assert here.__doc__ == there.__doc__


def add(one: Any, other: Any = 1) -> Any:
    print("adding")
    return one + other


def count(n: float) -> Iterator[int]:
    number = 0
    while number < n:
        print(number)
        yield number
        number += 1


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
def test_all_of_it_on_a_real_kernel(backend: str, real_gateway: RunningGateway, real_kernel_id: str, tmp_path: Path) -> None:
    """Handlers are called, and awaited, in the calling task."""
    here = threading.current_thread()
    told: list[Any] = []

    async def tell(what: Any) -> None:
        assert threading.current_thread() is here
        await anyio.lowlevel.checkpoint()
        told.append(what)

    async def main() -> None:
        async with (
            trio_gateway.anyio.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(real_kernel_id) as kernel,
            python.open_python(kernel, on_progress=tell) as there,
        ):
            await there.push(data=LARGE, on_output=[1])
            assert told[-1].done == told[-1].total > len(LARGE)
            assert await there.pull("data", on_progress=told.append) == LARGE
            assert await there.pull("on_output") == [1], "of names that are pushed none is an argument"
            using = there.using(on_output=tell)
            assert await using.call(add, there.name("on_output"), other=[2]) == [1, 2]
            assert any(getattr(output, "text", "").startswith("adding") for output in told)
            del told[:]
            async with using.stream(count, 500) as items:
                assert [item async for item in items] == list(range(500))
            assert len("".join(output.text for output in told if hasattr(output, "text")).split()) == 500
            async with using.stream(count, math.inf) as items:
                assert [await anext(items) for _ in range(3)] == [0, 1, 2]
            (tmp_path / "in").mkdir()
            (tmp_path / "in/f").write_bytes(LARGE)
            del told[:]
            assert (await there.upload(tmp_path / "in/f", tmp_path / "there/f")).size == len(LARGE)
            assert (await there.download(tmp_path / "there/f", tmp_path / "g")).path == str(tmp_path / "g")
            assert len(told) > 6
            assert len(await there.upload_all(tmp_path / "in", tmp_path / "more")) == 1
            assert len(await there.download_all(tmp_path / "more", tmp_path / "back", within=tmp_path)) == 1
            assert (tmp_path / "back/f").read_bytes() == LARGE
            with pytest.raises(python.RemoteError, match="division"):
                await there.pull("1 / 0")

            def fail(progress: Any) -> None:
                raise LookupError

            with pytest.raises(LookupError):
                await there.using(on_progress=fail).push(x=LARGE)
            assert await there.pull("'x' in globals()") is False

    run(backend, main)


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_call_that_is_cancelled_is_interrupted(backend: str, real_gateway: RunningGateway, real_kernel_id: str) -> None:
    """G6"""

    async def main() -> None:
        async with (
            trio_gateway.anyio.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(real_kernel_id) as kernel,
            python.open_python(kernel) as there,
            anyio.create_task_group() as group,
        ):
            using = there.using(on_output=lambda output: group.cancel_scope.cancel())

            def run_on() -> None:
                print("begun", flush=True)
                while True:
                    pass

            await using.call(run_on)

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_kernel_of_another_face_is_sent_to_its_module(backend: str) -> None:
    async def main() -> None:
        with pytest.raises(trio_gateway.InvalidInputError, match=r"an open Kernel of trio_gateway\.anyio"):
            python.open_python(5)  # type: ignore[arg-type]
        await anyio.lowlevel.checkpoint()

    run(backend, main)
