"""`trio_gateway.blocking.python`: the names of `trio_gateway.python`, without `async`, on a real kernel."""

from __future__ import annotations

import inspect
import math
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway
import trio_gateway.blocking as tg
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from trio_gateway import python as trio_python
from trio_gateway._python.members import MEMBERS
from trio_gateway.blocking import python

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway

LARGE = bytes(range(256)) * 40_000
"""Three pieces."""


def names_of(module: Any) -> set[str]:
    return {name for name, value in vars(module).items() if not name.startswith("_") and not inspect.ismodule(value)}


def test_the_names_are_those_of_the_librarys_module() -> None:
    """What has no `async` in it is the same; the function has the same parameters and docstring."""
    names = names_of(trio_python)
    different = {name for name in names if getattr(python, name, None) is not getattr(trio_python, name)}
    assert different == {original.__name__ for original in MEMBERS} | {"open_python"}
    made = [inspect.signature(module.PythonPool).parameters for module in (python, trio_python)]
    assert made[0] == made[1]
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
        with pytest.raises(python.ValueTooLargeError):
            there.pull("'abc'", max_bytes=5)
        with pytest.raises(python.ValueTooLargeError):
            there.using(max_bytes=5).call(add, 1)
        with pytest.raises(python.FileAccessError, match="No such file"):
            there.download(tmp_path / "gone", tmp_path / "x")

        def fail(progress: Any) -> None:
            raise LookupError

        with pytest.raises(LookupError):
            there.using(on_progress=fail).push(x=LARGE)
        assert there.pull("'x' in globals()") is False


TRIED = """
def tried(*args, **kwargs):
    try:
        return fail(*args, **kwargs)
    except Exception as error:
        return repr(error)
"""


@pytest.fixture
def kernel(real_gateway: RunningGateway, real_kernel_id: str) -> Iterator[tg.Kernel]:
    with (
        tg.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.attach_kernel(real_kernel_id) as kernel,
    ):
        yield kernel


def text(kernel: tg.Kernel, code: str) -> str:
    result = kernel.execute(code)
    result.raise_for_error()
    return result.text


@pytest.mark.gateway
@pytest.mark.full
def test_code_calls_functions_here_in_the_blocks_thread(kernel: tg.Kernel) -> None:
    """Also in a block that is entered, in a step of an iteration, and where the function itself calls the library."""
    here = threading.current_thread()

    def lookup(key: str, *, times: int = 1) -> str:
        assert threading.current_thread() is here
        return key * times

    def fail(kind: str) -> None:
        raise {"key": KeyError("k"), "limit": ZeroDivisionError("z")}[kind]

    def interrupts() -> bool:
        kernel.interrupt()  # which waits for the gateway's answer, and ends the code that calls this
        return True

    async def a_later_one() -> None: ...

    def made() -> Any:
        return a_later_one()

    with python.open_python(kernel) as there:
        with there.tools({"fail": fail, "on_output": len}, lookup=lookup, interrupts=interrupts, made=made):
            shown = "<lookup(key, *, times), a function of the client's>"
            assert text(kernel, "print(lookup('ab', times=2), on_output('abc'), lookup)") == f"abab 3 {shown}\n"
            assert text(kernel, TRIED + "print(tried('key'), tried('limit'))") == "KeyError('k') ZeroDivisionError('z')\n"
            assert "missing a required argument: 'kind'" in text(kernel, "print(tried())")
            assert there.call(lambda function: function("x", times=3), there.name("lookup")) == "xxx"
            with there.stream(lambda function: (function(c) for c in "ab"), there.name("lookup")) as items:
                assert list(items) == ["a", "b"]
            with kernel.stream("for c in 'cd': print(lookup(c), flush=True)") as outputs:
                assert "".join(output.text for output in outputs if isinstance(output, tg.Stream)) == "c\nd\n"
            assert "KeyboardInterrupt" in str(kernel.execute("interrupts()").error)
            error = kernel.execute("made()").error
            assert error is not None
            assert "a plain function: nothing awaits it here" in error.evalue
        assert "NameError" in str(kernel.execute("lookup").error)
        with pytest.raises(tg.InvalidInputError, match="a plain function"), there.tools(later=a_later_one):
            pass
        with pytest.raises(tg.InvalidInputError, match="a function"), there.tools(lookup=5):  # type: ignore[arg-type]
            pass


@pytest.mark.gateway
@pytest.mark.full
def test_a_function_may_run_code_in_a_subshell_of_the_kernel_that_waits_for_it(kernel: tg.Kernel) -> None:
    """G3"""

    def look() -> str:
        with kernel.subshell() as subshell:
            return subshell.execute("print(x)").text

    with python.open_python(kernel) as there, there.tools(look=look):
        assert text(kernel, "x = 5; print(look(), look())") == "5\n 5\n\n"


@pytest.mark.gateway
@pytest.mark.full
def test_a_thread_that_waits_calls_what_the_blocks_thread_does_not(kernel: tg.Kernel) -> None:
    """So a program that only waits for its other threads does not wait for itself."""
    called: list[threading.Thread] = []

    def note(n: int) -> int:
        called.append(threading.current_thread())
        return n

    with python.open_python(kernel) as there, there.tools(note=note), ThreadPoolExecutor(2) as threads:
        results = list(threads.map(lambda n: text(kernel, f"note({n})"), range(4)))
        assert results == ["0", "1", "2", "3"]
    assert len(called) == 4
    assert threading.current_thread() not in called


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("how", ["the block ends", "a limit passes", "a signal comes"])
def test_a_function_that_runs_at_the_end(how: str, kernel: tg.Kernel, real_gateway: RunningGateway) -> None:
    """One that runs is not stopped; one that waits for its turn is not called; the code gets an error. G3, G9

    Each thread that waits for a gateway runs its functions. Where the block's thread is to run it, another executes the code.
    """
    called, goes_on, results = threading.Event(), threading.Event(), []
    ended: list[str] = []

    class Signal(BaseException):
        """What a signal's handler raises."""

    def ask() -> str:
        called.set()
        if how == "a limit passes":
            scope.cancel()
            kernel.comm_info()  # which does not come to its end
        if how == "a signal comes":
            raise Signal
        assert goes_on.wait(100)
        ended.append("the function")
        return "too late"

    def execute() -> None:
        with ExitStack() as stack:
            there = kernel
            if how != "the block ends":
                gateway = stack.enter_context(tg.open_gateway(url=real_gateway.url, auth_token=real_gateway.token))
                there = stack.enter_context(gateway.attach_kernel(kernel.id))
            results.append(text(there, "try: print(ask())\nexcept RuntimeError as e: print(e)"))

    thread = threading.Thread(target=execute)
    with python.open_python(kernel) as there:
        with tg.move_on_after(1000) as scope, suppress(Signal), there.tools(ask=ask):
            thread.start()
            if how == "the block ends":
                assert called.wait(100)
            else:
                with kernel.iopub.subscribe() as messages:
                    list(messages)  # there is no end of them
        goes_on.set()
        thread.join(100)
    assert ended == (["the function"] if how == "the block ends" else [])
    assert results in (["the client's block of tools has ended\n"], ["the client was interrupted while it ran this function\n"])


@pytest.mark.gateway
@pytest.mark.full
def test_a_function_that_was_not_called_when_its_block_is_left_is_not_called(
    kernel: tg.Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    called: list[int] = []
    put = threading.Event()
    desk: Any = kernel._portal.desk
    monkeypatch.setattr(desk, "put", lambda *args: (type(desk).put(desk, *args), put.set()))
    with python.open_python(kernel) as there, ExitStack() as stack:
        stack.enter_context(there.tools(ask=lambda: called.append(1)))
        with kernel.stream("try: ask()\nexcept RuntimeError as e: print(e)") as outputs:
            assert put.wait(100)
            stack.close()
            assert [str(output.text) for output in outputs if isinstance(output, tg.Stream)] in (
                ["the client's block of tools has ended\n"],
                ["the client leaves the block\n"],
            )
    assert called == []


def half(n: int) -> float:
    print("halving", n)
    if n == 3:
        raise ValueError("three")
    return n / 2


@pytest.mark.gateway
@pytest.mark.full
@pytest.mark.parametrize("whose", ["a gateway's", "a fleet's"])
def test_functions_on_a_pools_kernels(whose: str, real_gateway: RunningGateway) -> None:
    """In order, as they come, in chunks; handlers are called in the thread that calls, or iterates."""
    here = threading.current_thread()
    told: list[str] = []

    def tell(output: Any) -> None:
        assert threading.current_thread() is here
        told.append(output.text)

    config = tg.GatewayConfig(url=real_gateway.url, auth_token=real_gateway.token)
    nobody = tg.FleetGateway("http://127.0.0.1:1", name="nobody")

    def opened() -> Any:
        return tg.open_gateway(config) if whose == "a gateway's" else tg.open_fleet([tg.FleetGateway(config, name="a"), nobody])

    with opened() as place, place.open_pool("python3", size=2) as pool:
        pooled = python.PythonPool(pool, on_output=tell)
        assert isinstance(pooled.using(repeatable=True), python.PythonPool)
        assert repr(pooled).startswith("<PythonPool of <KernelPool")
        assert pooled.call(half, 5) == 2.5
        assert pooled.call(later, "x") == "x"
        assert told == ["halving 5\n"]
        del told[:]
        with pytest.raises(python.RemoteError, match="three"):
            pooled.using(on_output=None).call(half, n=3)
        assert told == []
        found = [(item, result.value if result.ok else str(result.error)) for item, result in pooled.map(half, range(6))]
        assert found == [(0, 0.0), (1, 0.5), (2, 1.0), (3, "ValueError: three"), (4, 2.0), (5, 2.5)]
        assert sorted(told) == [f"halving {n}\n" for n in range(6)]
        chunked = pooled.map(half, iter(range(7)), chunk=3, as_completed=True, limit=2)
        assert {item: result.ok for item, result in chunked} == {n: n != 3 for n in range(7)}
        with pooled.map(half, range(100), limit=1) as results:
            assert next(results)[1].raise_for_error() == 0.0
        assert list(results) == []
        with pytest.raises(tg.InvalidInputError, match=r"this one is of trio_gateway\.blocking"):
            trio_python.PythonPool(pool)  # type: ignore[arg-type]


def test_no_pool_is_refused() -> None:
    nothing: Any
    for nothing in (5, object.__new__(trio_gateway.KernelPool)):
        with pytest.raises(tg.InvalidInputError, match=r"an open KernelPool of trio_gateway\.blocking"):
            python.PythonPool(nothing)


def test_a_kernel_of_another_module_is_refused() -> None:
    with pytest.raises(tg.InvalidInputError, match=r"an open Kernel of trio_gateway\.blocking"):
        python.open_python(5)  # type: ignore[arg-type]
