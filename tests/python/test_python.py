"""Values and calls on a real kernel behind a real gateway."""

from __future__ import annotations

import dataclasses
import math
import secrets
import sys
import types
from collections.abc import AsyncGenerator, AsyncIterator, Iterator
from typing import Any

import numpy as np
import pandas as pd
import pytest
import trio
from hypothesis import HealthCheck, given, settings

import trio_gateway
from python.values import arrays, frames, same, values
from trio_gateway import InvalidInputError, Kernel, ProtocolError, Stream
from trio_gateway._python import link
from trio_gateway._python import python as python_module
from trio_gateway._python.link import NAME
from trio_gateway.python import Progress, Python, RemoteError, TransferError, ValueNotCarriedError, open_python

pytestmark = [pytest.mark.gateway, pytest.mark.full]

SIDE = f"__import__('sys').modules['{NAME}.kernel_side']"


@pytest.fixture
async def python(kernel: Kernel) -> AsyncGenerator[Python]:
    async with open_python(kernel) as python:
        yield python
        assert (await kernel.execute(f"print(len({SIDE}._boxes), len({SIDE}._answers))")).text == "0 0\n", (
            "something is left there"
        )


async def test_a_reader_hears_that_the_kernel_has_taken_it_for_dead(kernel: Kernel, python: Python) -> None:
    """G5: no more items come, and the error says why."""
    async with python.stream(range, 5000) as items:
        assert await anext(items) == 0
        await kernel.execute(f"side = {SIDE}; kept = side.STREAMS, side.LEFT_SECONDS; side.STREAMS = 0; side.LEFT_SECONDS = -1")
        assert await python.pull("1") == 1
        await kernel.execute("side.STREAMS, side.LEFT_SECONDS = kept")
        told = [0]
        with pytest.raises(TransferError, match=r"^an item of range: the kernel has closed it, because nobody had asked"):
            async for item in items:
                told.append(item)  # noqa: PERF401 - those before the error count
        assert told == list(range(len(told)))
        assert 0 < len(told) < 5000
        assert [item async for item in items] == []


async def test_values_go_there_and_come_back(python: Python) -> None:
    frame = pd.DataFrame({"x": np.arange(5), "when": pd.date_range("2020", periods=5, tz="UTC")})
    await python.push(frame=frame, weights=np.eye(300), text="é")
    assert await python.pull("frame['x'].sum()") == 10
    assert same(await python.pull("(frame, weights, text)"), (frame, np.eye(300), "é"))
    await python.push({"name": 1}, values=2)
    assert await python.pull("name + values") == 3


async def test_generated_values_come_back(kernel: Kernel) -> None:
    """In a thread of Hypothesis' own there is no Trio: so its examples are drawn first."""
    drawn: list[Any] = []

    @settings(max_examples=15, database=None, suppress_health_check=list(HealthCheck))
    @given(values, arrays(), frames())
    def draw(value: Any, array: Any, frame: Any) -> None:
        drawn.append((value, array, frame))

    draw()
    async with open_python(kernel) as python:
        for value in drawn:
            await python.push(value=value)
            assert same(await python.pull("value"), value)


async def test_a_large_value_goes_in_pieces_and_tells_how_far_it_is(python: Python) -> None:
    weights = np.random.default_rng(1).random(4_000_000)
    told: list[Progress] = []

    async def tell(progress: Progress) -> None:
        await trio.lowlevel.checkpoint()
        told.append(progress)

    await python.using(on_progress=tell).push(weights=weights)
    assert [progress.done for progress in told] == sorted(progress.done for progress in told)
    assert len(told) > 7
    assert told[-1].done == told[-1].total > weights.nbytes
    told.clear()
    assert same(await python.pull("weights", on_progress=told.append), weights)
    assert len(told) > 7
    assert told[-1].done == told[-1].total


async def test_nothing_is_left_among_the_users_names(kernel: Kernel, python: Python) -> None:
    before = (
        await kernel.execute("print(get_ipython().execution_count, sorted(globals()), len(In), _ih[-1:])", store_history=False)
    ).text
    await python.push(x=np.zeros(100_000))
    await python.pull("x")
    await python.call(sum, [1, 2])
    with pytest.raises(RemoteError):
        await python.pull("1 / 0")
    await kernel.execute("del x", silent=True)
    after = (
        await kernel.execute("print(get_ipython().execution_count, sorted(globals()), len(In), _ih[-1:])", store_history=False)
    ).text
    assert after == before


async def test_any_name_may_be_bound_and_any_argument_be_given(kernel: Kernel, python: Python) -> None:
    given = {"timeout": 1, "env": {"A": "b"}, "self": 2, "values": 3, "sum": 4}
    await python.push(**given)
    assert await python.pull("[timeout, env, self, values, sum]") == list(given.values())
    assert await python.call(dict, **given, function=5) == {**given, "function": 5}
    async with python.stream(dict, **given) as keys:
        assert [key async for key in keys] == list(given)
    # As Python reads names: the micro sign is the Greek letter.
    await python.push({"\u00b5": 6})
    assert await python.pull("\u00b5 + \u03bc") == 12
    assert await python.call(abs, python.name("\u00b5")) == 6
    with pytest.raises(InvalidInputError, match="twice"):
        await python.push({"\u00b5": 6, "\u03bc": 7})


# Calls ------------------------------------------------------------------------------------------------------------------


def add(one: Any, other: Any = 1) -> Any:
    print("adding")
    return one + other


async def later(value: Any) -> Any:
    import asyncio  # noqa: TID251 - it is what runs in the kernel

    await asyncio.sleep(0)
    return value * 2


def fail(text: str) -> None:
    error = ValueError(text)
    error.__notes__ = ["a note"]
    try:
        {}["missing"]
    except KeyError as first:
        raise error from first


def count(n: float) -> Iterator[Any]:
    number = 0
    while number < n:
        yield {"n": number}
        number += 1


async def count_later(n: float) -> AsyncIterator[int]:
    number = 0
    while number < n:
        yield number
        number += 1


def count_and_fail() -> Iterator[int]:
    yield 1
    yield 2
    raise ValueError("the third")


async def test_a_function_is_called_once_and_its_output_goes_to_a_handler(kernel: Kernel, python: Python) -> None:
    told: list[Any] = []
    await kernel.execute("x = 5")
    assert await python.using(on_output=told.append).call(add, python.name("x"), other=3) == 8
    assert "".join(output.text for output in told if isinstance(output, Stream)) == "adding\n"
    assert len(told) <= 2
    assert await python.call(add, [1], other=[2]) == [1, 2]


async def test_functions_that_the_kernel_has_are_imported(python: Python, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(python_module, "_cloudpickle", lambda: pytest.fail("nothing has to go by value"))
    assert await python.call(math.hypot, 3, 4) == 5
    assert await python.call(str.upper, "a") == "A"
    assert (await python.call(np.linspace, 0, 1, 3)).tolist() == [0, 0.5, 1]


async def test_a_function_of_the_kernels_own(kernel: Kernel, python: Python) -> None:
    await kernel.execute("def twice(x): return 2 * x\nasync def thrice(x): return 3 * x")
    assert await python.call(python.name("twice"), 4) == 8
    assert await python.call(python.name("thrice"), [python.name("twice"), 1][1]) == 3
    with pytest.raises(RemoteError, match="name 'nothing' is not defined"):
        await python.call(python.name("nothing"))


async def test_an_async_function_is_awaited_there(python: Python) -> None:
    assert await python.call(later, "ab") == "abab"
    assert await python.call(later, bytes(200_000)) == bytes(400_000)


async def test_closures_and_large_arguments_go_by_value(python: Python) -> None:
    factor = np.full(100_000, 2.0)
    assert (await python.call(lambda array: array * factor, np.ones(100_000))).sum() == 200_000


async def test_an_exception_there_is_a_remote_error_here(python: Python) -> None:
    with pytest.raises(RemoteError) as caught:
        await python.call(fail, "so")
    error = caught.value
    assert (error.type_name, error.text, error.notes) == ("ValueError", "so", ("a note",))
    assert "KeyError: 'missing'" in "".join(error.traceback)
    assert ", in fail\n" in "".join(error.traceback)
    assert "kernel_side" not in "".join(error.traceback)
    assert error.__cause__ is None


async def test_with_trust_the_exception_itself_is_the_cause(python: Python) -> None:
    with pytest.raises(RemoteError) as caught:
        await python.using(trust="pickle").call(fail, "so")
    assert isinstance(caught.value.__cause__, ValueError)
    assert caught.value.__cause__.args == ("so",)


async def test_what_calls_sys_exit_ends_neither_side(python: Python) -> None:
    with pytest.raises(RemoteError, match="SystemExit"):
        await python.call(sys.exit, 3)
    assert await python.pull("1") == 1


async def test_cancelling_interrupts_the_function(kernel: Kernel, python: Python) -> None:
    """G6"""
    started = trio.Event()

    def told(output: object) -> None:
        started.set()

    def run() -> None:
        print("begun", flush=True)
        while True:
            pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(python.using(on_output=told).call, run)
        await started.wait()
        nursery.cancel_scope.cancel()
    assert await python.pull("2") == 2
    assert (await kernel.execute("print(3)")).text == "3\n"


@pytest.mark.parametrize("function", [count, count_later])
async def test_a_generators_items_come_in_order(python: Python, function: Any) -> None:
    async with python.stream(function, 3000) as items:
        found = [item async for item in items]
    assert len(found) == 3000
    assert found[-1] in (2999, {"n": 2999})


@pytest.mark.parametrize("function", [count, count_later])
async def test_leaving_the_block_early_closes_the_generator(python: Python, function: Any) -> None:
    async with python.stream(function, math.inf) as items:
        async for item in items:
            if item in (5, {"n": 5}):
                break


async def test_items_before_an_exception_are_given_first(python: Python) -> None:
    found = []
    async with python.stream(count_and_fail) as items:
        with pytest.raises(RemoteError, match="the third"):
            async for item in items:
                found.append(item)  # noqa: PERF401 - what came before the error counts
        with pytest.raises(StopAsyncIteration):
            await anext(items)
    assert found == [1, 2]


async def test_after_a_cancelled_wait_no_items_are_passed_over(python: Python) -> None:
    """What the kernel had ready then is lost: so nothing that comes after it is given."""

    def stop(output: object) -> None:
        scope.cancel()

    def count_loudly() -> Iterator[int]:
        for number in range(10_000):
            print(number)
            yield number

    async with python.using(on_output=stop).stream(count_loudly) as items:
        with trio.CancelScope() as scope:
            await anext(items)
        assert scope.cancelled_caught
        with pytest.raises(StopAsyncIteration):
            await anext(items)


@pytest.mark.parametrize("function", [count, count_later])
async def test_a_generator_whose_items_did_not_come_is_closed(python: Python, function: Any) -> None:
    """G1"""

    def fail(output: object) -> None:
        raise LookupError("the handler's")

    async with python.stream(function, math.inf) as items:
        await anext(items)
        items._ready.clear()
        items._python = python.using(on_progress=fail)
        with pytest.raises(LookupError):
            await anext(items)
        with pytest.raises(StopAsyncIteration):
            await anext(items)


async def test_steps_leave_no_text_of_theirs_in_the_kernel(kernel: Kernel, python: Python) -> None:
    """G7: IPython keeps each cell's for tracebacks."""
    kept = "import linecache; sum(len(str(entry)) for entry in linecache.cache.values())"
    before = int((await kernel.execute(kept)).text)
    for _ in range(5):
        await python.push(x=bytes(30_000))
        await python.call(later, 1)
    assert int((await kernel.execute(kept)).text) < before + 10_000


async def test_a_kernel_that_never_has_what_is_brought_there_is_a_typed_error(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(link, "_INSTALL", "pass")
    await kernel.execute(f"import sys; [sys.modules.pop(name) for name in list(sys.modules) if name.startswith('{NAME}')]")
    with pytest.raises(RemoteError, match="KeyError"):
        async with open_python(kernel):
            pass


async def test_what_has_no_items_is_said_to_have_none(python: Python) -> None:
    with pytest.raises(RemoteError, match="int, which has no items"):
        async with python.stream(len, "abc"):
            pass


# What can't be, and bad input -------------------------------------------------------------------------------------------


async def test_what_cannot_be_carried_is_named_and_nothing_is_bound(kernel: Kernel, python: Python) -> None:
    with pytest.raises(ValueNotCarriedError) as caught:
        await python.push(first=1, frame={"when": [1, 2, 3, (item for item in ())]})
    assert caught.value.place == "frame['when'][3]"
    with pytest.raises(RemoteError, match="name 'first' is not defined"):
        await python.pull("first")
    with pytest.raises(ValueNotCarriedError) as caught:
        await python.pull("{'a': [1, object()]}")
    assert caught.value.place == "{'a': [1, object()]}['a'][1]"
    with pytest.raises(ValueNotCarriedError) as caught:
        await python.call(add, 1, other=[(item for item in ())])
    assert caught.value.place == "add: named arguments['other'][0]"


@dataclasses.dataclass
class Point:
    x: float
    y: float


async def test_dataclasses_come_by_name_where_they_are_known(
    kernel: Kernel, python: Python, monkeypatch: pytest.MonkeyPatch
) -> None:
    shapes = types.ModuleType("shapes")
    monkeypatch.setitem(sys.modules, "shapes", shapes)
    monkeypatch.setattr(Point, "__module__", "shapes")
    shapes.Point = Point  # type: ignore[attr-defined]
    with pytest.raises(ValueNotCarriedError, match="No module named 'shapes'"):
        await python.push(p=Point(1, 2))
    await kernel.execute(
        "import sys, types, dataclasses\nshapes = sys.modules['shapes'] = types.ModuleType('shapes')\n"
        "shapes.Point = dataclasses.make_dataclass('Point', ['x', 'y'], namespace={'__module__': 'shapes'})\n"
        "shapes.Point.__module__ = 'shapes'"
    )
    await python.push(p=Point(1, 2))
    assert await python.pull("[p, shapes.Point(p.y, 3)]") == [Point(1, 2), Point(2, 3)]
    async with open_python(kernel) as other:
        with pytest.raises(ValueNotCarriedError, match="none of those that the reader knows"):
            await other.pull("p")
    async with open_python(kernel, dataclasses=[Point]) as other:
        assert await other.pull("p") == Point(1, 2)


async def test_a_pickle_comes_only_where_the_kernel_is_trusted(python: Python) -> None:
    with pytest.raises(ValueNotCarriedError, match="none of those that are carried as data"):
        await python.pull("__import__('collections').Counter('aab')")
    assert await python.pull("__import__('collections').Counter('aab')", trust="pickle") == {"a": 2, "b": 1}


@pytest.mark.parametrize("name", ["", "a b", "1", "class", 5, "a.b"])
async def test_a_name_has_to_be_one(python: Python, name: Any) -> None:
    with pytest.raises(InvalidInputError):
        await python.push({name: 1})
    with pytest.raises(InvalidInputError):
        python.name(name)


async def test_bad_arguments_are_named(kernel: Kernel, python: Python) -> None:
    with pytest.raises(InvalidInputError, match="kernel"):
        open_python("no kernel")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="trust"):
        open_python(kernel, trust="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="dataclasses"):
        open_python(kernel, dataclasses=[int])
    with pytest.raises(InvalidInputError, match="on_output"):
        python.using(on_output=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="expression"):
        await python.pull(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="function"):
        await python.call(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="by name: a dictionary"):
        await python.push(5)  # type: ignore[arg-type]
    with pytest.raises(InvalidInputError, match="twice"):
        await python.push({"a": 1}, a=2)


# A kernel that is replaced, and a hostile one -----------------------------------------------------------------------------


async def test_after_a_restart_it_goes_on(gateway: trio_gateway.Gateway) -> None:
    async with gateway.start_kernel() as kernel, open_python(kernel) as python:
        await python.push(x=1)
        assert await python.call(add, 1) == 2
        await kernel.restart()
        with pytest.raises(RemoteError, match="name 'x' is not defined"):
            await python.pull("x")
        assert await python.call(add, 1) == 2
        await python.push(x=np.zeros(100_000))
        assert (await python.pull("x")).sum() == 0


async def test_a_restart_in_the_middle_of_a_value_is_an_error_and_binds_nothing(gateway: trio_gateway.Gateway) -> None:
    async with gateway.start_kernel() as kernel, open_python(kernel) as python:
        await python.push(x=np.zeros(8_000_000))

        async def restart(progress: Progress) -> None:
            if progress.done > 20_000_000:
                await kernel.restart()

        with pytest.raises((TransferError, trio_gateway.KernelError)):
            await python.pull("x", on_progress=restart)
        assert await python.pull("'x' in globals()") is False


HOSTILE = {
    "a pickle": "{'data': side.base64.b64encode(pickled.joined()).decode(), 'check': pickled.checksum()}",
    "a dataclass": "{'data': side.base64.b64encode(made.joined()).decode(), 'check': made.checksum()}",
    "no value": "{}",
    "no base64": "{'data': '???', 'check': 0}",
    "text beyond ASCII as data": "{'data': 'é', 'check': 0}",
    "a number as data": "{'data': 5, 'check': 0}",
    "a length below nothing": "{'total': -1, 'check': 0}",
    "a length that is none": "{'total': '1', 'check': 0}",
    "a huge length": "{'total': 2**60, 'check': 0}",
    "the wrong check": "{'data': side.base64.b64encode(side.codec.encode(1).joined()).decode(), 'check': 1}",
    "an exception that is none": "{'error': 5}",
    "no answer": "[]",
}
"""What a hostile kernel answers in place of a value."""


@pytest.mark.parametrize("kind", HOSTILE)
async def test_a_hostile_kernel_gets_a_typed_error_and_runs_nothing_here(kernel: Kernel, kind: str) -> None:
    mark = f"ran_{secrets.token_hex(4)}"
    async with open_python(kernel) as python:
        await kernel.execute(
            f"""
import sys
side = {SIDE}
class Evil:
    def __reduce__(self):
        return exec, ("import sys; sys.{mark} = True",)
pickled = side.codec.encode(Evil(), pickled=side._pickled)
made = side.codec.Encoded({{"value": {{"dataclass": ["os", "system", {{}}]}}}}, [])
kept = side.told
side.told = lambda token: (side._answers.pop(token, None), side.Answer({HOSTILE[kind]}))[1]
"""
        )
        try:
            with pytest.raises((ProtocolError, TransferError)):
                await python.pull("1")
        finally:
            await kernel.execute("side.told = kept")  # noqa: ASYNC102 - the test's own limit bounds it
        assert not hasattr(sys, mark)
        assert await python.pull("1") == 1


@pytest.mark.parametrize(
    "send",
    [
        "comm.send({'start': 0}, buffers=[bytes(box.encoded.total + 1)])",
        "comm.send({'start': 0}, buffers=[b'x' * box.encoded.total])",
        "comm.send({'start': 7}, buffers=[b'x'])",
        "comm.send({'start': 'x'}, buffers=[])",
        "comm.send({}, buffers=[b'abc'])",
        "comm.close()",
        "None",
    ],
)
async def test_wrong_pieces_are_a_typed_error(kernel: Kernel, send: str) -> None:
    async with open_python(kernel) as python:
        await python.push(x=np.zeros(100_000))
        await kernel.execute(
            f"side = {SIDE}\nkept = side._STEPS['send']\n"
            f"def send(token, **_):\n    box = side._boxes[token]\n    comm = box.comm\n    {send}\n    return {{'sent': True}}\n"
            "side._STEPS['send'] = send"
        )
        with pytest.raises((ProtocolError, TransferError)):
            await python.pull("x")
        await kernel.execute("side._STEPS['send'] = kept")
        assert (await python.pull("x")).shape == (100_000,)


async def test_a_value_that_changes_while_it_is_carried_is_an_error(kernel: Kernel) -> None:
    async with open_python(kernel) as python:
        await python.push(x=np.zeros(8_000_000))

        async def change(progress: Progress) -> None:
            if 4_000_000 < progress.done < 9_000_000:
                await kernel.execute("x += 1")

        with pytest.raises(TransferError, match="checksum"):
            await python.pull("x", on_progress=change)


async def test_a_kernel_that_is_none_of_pythons_is_said_to_be_none(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(link, "_INSTALL", "raise SyntaxError('this is bash')")
    with pytest.raises(ProtocolError, match=r"can't be loaded there.*this is bash"):
        async with open_python(kernel):
            pass
