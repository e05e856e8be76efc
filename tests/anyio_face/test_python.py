"""`trio_gateway.anyio.python`: the names of `trio_gateway.python`, on a real kernel, on each backend."""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import math
import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import anyio
import pytest
import sniffio

import trio_gateway.anyio
import trio_gateway.blocking
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, run
from trio_gateway import python as trio_python
from trio_gateway.anyio import python

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway

FUNCTIONS = {"open_python", "PythonPool"}
LARGE = bytes(range(256)) * 40_000
"""Three pieces."""


def names_of(module: Any) -> set[str]:
    return {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_the_names_are_those_of_the_librarys_module() -> None:
    """And are the same things, but for what users call, which has the same signature and docstring."""
    names = names_of(trio_python)
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
            with pytest.raises(python.ValueTooLargeError):
                await there.pull("'abc'", max_bytes=5)
            with pytest.raises(python.ValueTooLargeError):
                await there.using(max_bytes=5).call(add, 1)
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


class Odd(Exception):
    """No built-in one."""


TRIED = """
def tried(*args, **kwargs):
    try:
        return fail(*args, **kwargs)
    except Exception as error:
        return repr(error)
"""
WHO: contextvars.ContextVar[str] = contextvars.ContextVar("WHO", default="nobody")


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
def test_code_calls_functions_here(backend: str, real_gateway: RunningGateway, real_kernel_id: str) -> None:
    """Async ones and plain ones, in the event loop, with the context of their block, and beside each other."""
    here = threading.current_thread()
    seen: list[Any] = []

    async def lookup(key: str, *, times: int = 1) -> str:
        await anyio.lowlevel.checkpoint()
        seen.append((threading.current_thread() is here, WHO.get(), sniffio.current_async_library()))
        return key * times

    def fail(kind: str) -> None:
        """Fail somehow."""
        seen.append((threading.current_thread() is here, WHO.get()))
        raise {"key": KeyError("k"), "odd": Odd("so")}[kind]

    async def main() -> None:
        met, both = anyio.Event(), [0]

        async def meet(n: int) -> int:
            both[0] += 1
            if both[0] == 2:
                met.set()
            await met.wait()
            return n

        async def text(code: str) -> str:
            result = await kernel.execute(code)
            result.raise_for_error()
            return result.text

        async with (
            trio_gateway.anyio.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(real_kernel_id) as kernel,
            python.open_python(kernel) as there,
        ):
            WHO.set("the block")
            async with there.tools({"fail": fail, "on_output": len}, lookup=lookup, meet=meet):
                shown = "<lookup(key, *, times), a function of the client's>"
                assert await text("print(lookup('ab', times=2), lookup)") == f"abab {shown}\n"
                assert await text("print(fail.__doc__, on_output([1, 2]), lookup.__doc__)") == "Fail somehow. 2 None\n"
                assert await text(TRIED + "print(tried('key'))") == "KeyError('k')\n"
                assert "Odd: so')" in await text("print(tried('odd'))")
                assert "missing a required argument: 'kind'" in await text("print(tried())")
                assert await there.call(lambda function: function("x", times=3), there.name("lookup")) == "xxx"
                code = "from concurrent.futures import ThreadPoolExecutor as T\nwith T(2) as t: print(sum(t.map(meet, range(2))))"
                assert await text(code) == "1\n"
            assert "NameError" in str((await kernel.execute("lookup")).error)
            for wrong in ({"lookup": "no function"}, {}, {"no name": len}):
                with pytest.raises(trio_gateway.InvalidInputError):
                    async with there.tools(wrong):  # type: ignore[arg-type]
                        pass

    run(backend, main)
    library = "trio" if backend == "trio" else "asyncio"
    assert set(seen) == {(True, "the block", library), (True, "the block")}


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("how", ["the block ends", "the block is cancelled", "the code is interrupted"])
def test_a_function_that_runs_is_cancelled_and_waited_for(
    backend: str, how: str, real_gateway: RunningGateway, real_kernel_id: str
) -> None:
    """G3, G6, G9"""
    steps: list[str] = []
    results: list[Any] = []

    async def main() -> None:
        called = anyio.Event()

        async def ask() -> None:
            called.set()
            try:
                await anyio.sleep_forever()
            finally:
                with anyio.CancelScope(shield=True):
                    for _ in range(10):
                        await anyio.lowlevel.checkpoint()
                steps.append("ended")

        async with (
            trio_gateway.anyio.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(real_kernel_id) as kernel,
            python.open_python(kernel) as there,
            anyio.create_task_group() as group,
        ):
            code = anyio.CancelScope()

            async def execute() -> None:
                with code:
                    results.append((await kernel.execute("try: ask()\nexcept RuntimeError as e: print(e)")).text)

            with anyio.CancelScope() as scope:
                async with there.tools(ask=ask):
                    group.start_soon(execute)
                    await called.wait()
                    if how == "the block is cancelled":
                        scope.cancel()
                        await anyio.sleep_forever()
                    if how == "the code is interrupted":
                        code.cancel()
                        while not steps:
                            assert await there.pull("1") == 1
            steps.append("left")

    run(backend, main)
    assert steps == ["ended", "left"]
    assert results == ([] if how == "the code is interrupted" else ["the client's block of tools has ended\n"])


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_function_whose_task_is_cancelled_by_others_raises_in_the_kernel(
    backend: str, real_gateway: RunningGateway, real_kernel_id: str
) -> None:
    async def cancelled() -> None:
        task = asyncio.current_task()
        assert task is not None
        task.cancel()
        await anyio.sleep_forever()

    async def main() -> None:
        async with (
            trio_gateway.anyio.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(real_kernel_id) as kernel,
            python.open_python(kernel) as there,
            there.tools(cancelled=cancelled),
        ):
            result = await kernel.execute("try: cancelled()\nexcept RuntimeError as e: print(e)")
            assert result.text == "the function was cancelled\n"
            assert await there.pull("1") == 1

    run(backend, main)


def half(n: int) -> float:
    print("halving", n)
    if n == 3:
        raise ValueError("three")
    return n / 2


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("backend", BACKENDS)
@pytest.mark.parametrize("whose", ["a gateway's", "a fleet's"])
def test_functions_on_a_pools_kernels(backend: str, whose: str, real_gateway: RunningGateway) -> None:
    """In order, as they come, in chunks; handlers are called in the task that calls, or iterates."""
    here = threading.current_thread()
    told: list[str] = []

    async def tell(output: Any) -> None:
        assert threading.current_thread() is here
        await anyio.lowlevel.checkpoint()
        told.append(output.text)

    config = trio_gateway.GatewayConfig(url=real_gateway.url, auth_token=real_gateway.token)
    nobody = trio_gateway.FleetGateway("http://127.0.0.1:1", name="nobody")

    def opened() -> Any:
        if whose == "a gateway's":
            return trio_gateway.anyio.open_gateway(config)
        return trio_gateway.anyio.open_fleet([trio_gateway.FleetGateway(config, name="a"), nobody])

    async def main() -> None:
        async with opened() as place, place.open_pool("python3", size=2) as pool:
            pooled = python.PythonPool(pool, on_output=tell)
            assert isinstance(pooled, python.PythonPool)
            assert isinstance(pooled, trio_python.PythonPool)
            assert isinstance(pooled.using(repeatable=True), python.PythonPool)
            assert await pooled.call(half, 5) == 2.5
            assert told == ["halving 5\n"]
            del told[:]
            with pytest.raises(python.RemoteError, match="three"):
                await pooled.using(on_output=None).call(half, n=3)
            assert told == []
            results = pooled.map(half, range(6))
            found = [(item, result.value if result.ok else str(result.error)) async for item, result in results]
            assert found == [(0, 0.0), (1, 0.5), (2, 1.0), (3, "ValueError: three"), (4, 2.0), (5, 2.5)]
            assert sorted(told) == [f"halving {n}\n" for n in range(6)]
            chunked = pooled.map(half, iter(range(7)), chunk=3, as_completed=True, limit=2)
            assert {item: result.ok async for item, result in chunked} == {n: n != 3 for n in range(7)}
            results = pooled.map(half, range(100), limit=1)
            assert (await anext(results))[1].raise_for_error() == 0.0
            await results.aclose()
            assert [item async for item in results] == []
            if backend != "trio":
                with pytest.raises(trio_gateway.InvalidInputError, match=r"this one is of trio_gateway\.anyio"):
                    trio_python.PythonPool(pool)

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_no_pool_and_options_that_cant_be_used_are_refused(backend: str, fake_gateway: ListeningFake) -> None:
    async def main() -> None:
        with pytest.raises(trio_gateway.InvalidInputError, match="an open KernelPool"):
            python.PythonPool(5)  # type: ignore[arg-type]
        async with (
            trio_gateway.anyio.open_gateway(fake_gateway.url, auth_token=fake_gateway.token) as gateway,
            gateway.open_pool(size=1, warm=0) as pool,
        ):
            with pytest.raises(trio_gateway.InvalidInputError, match="repeatable"):
                python.PythonPool(pool=pool, repeatable="yes")  # type: ignore[arg-type]
            with pytest.raises(trio_gateway.InvalidInputError, match="chunk"):
                python.PythonPool(pool=pool).map(half, [1], chunk=0)
            with pytest.raises(TypeError, match="nothing"):
                python.PythonPool(pool, nothing=1)  # type: ignore[call-arg]
            other = trio_gateway.blocking.KernelPool._of(None, object.__new__(trio_gateway.KernelPool))  # type: ignore[arg-type]
            with pytest.raises(trio_gateway.InvalidInputError, match=r"import trio_gateway\.blocking\.python"):
                python.PythonPool(other)  # type: ignore[arg-type]

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_kernel_of_another_face_is_sent_to_its_module(backend: str) -> None:
    async def main() -> None:
        with pytest.raises(trio_gateway.InvalidInputError, match=r"an open Kernel of trio_gateway\.anyio"):
            python.open_python(5)  # type: ignore[arg-type]
        await anyio.lowlevel.checkpoint()

    run(backend, main)
