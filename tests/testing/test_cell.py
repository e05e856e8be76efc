"""Scripts of all kinds, and what they can do with their cell."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Iterator
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import ClearOutput, DisplayData, Error, ExecuteResult, Stream, UpdateDisplayData
from trio_gateway.testing import Ask, Cell, CellError, Crash, FakeGateway, Interrupted, Script, Sleep
from trio_gateway.testing._cell import CrashedError, run_script

from .kit_parts import cell

Clock = trio.testing.MockClock


def plain(cell: Cell) -> object:
    return [Stream("stdout", f"{cell.code}\n"), "done"]


def generator(cell: Cell) -> object:
    yield Stream("stdout", f"{cell.code}\n")
    yield Sleep(2)
    yield "done"


async def coroutine(cell: Cell) -> object:
    cell.stdout(f"{cell.code}\n")
    await trio.sleep(2)
    return "done"


async def agenerator(cell: Cell) -> AsyncGenerator[object]:
    yield Stream("stdout", f"{cell.code}\n")
    await cell.sleep(2)
    yield {"text/plain": "done"}


class _Items:
    def __init__(self, *items: object) -> None:
        self._items = list(items)

    def __iter__(self) -> Iterator[object]:
        return self

    def __next__(self) -> object:
        if not self._items:
            raise StopIteration
        return self._items.pop(0)


def iterator(cell: Cell) -> object:
    return _Items(Stream("stdout", f"{cell.code}\n"), "done")


SCRIPTS = [plain, generator, coroutine, agenerator, iterator]


@pytest.mark.parametrize("script", SCRIPTS)
async def test_all_kinds_of_scripts(autojump_clock: Clock, script: Any) -> None:
    running, publishes = cell("code")
    await run_script(script, running)
    assert publishes.types == ["stream", "execute_result"]
    assert publishes.text == "code\ndone"
    assert trio.current_time() == (0 if script in (plain, iterator) else 2)


@pytest.mark.parametrize("script", SCRIPTS)
async def test_all_kinds_of_scripts_with_a_client(autojump_clock: Clock, script: Any) -> None:
    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("code")).text == "code\ndone"


@pytest.mark.parametrize("script", [generator, coroutine, agenerator])
async def test_scripts_are_interrupted(autojump_clock: Clock, script: Any) -> None:
    running, publishes = cell("code")
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            with pytest.raises(Interrupted):
                await run_script(script, running)

        nursery.start_soon(run)
        await trio.sleep(1)
        assert running.interrupt()
    assert trio.current_time() == 1
    assert publishes.text == "code\n"


@pytest.mark.parametrize("script", [generator, coroutine, agenerator])
async def test_scripts_are_interrupted_by_a_client(autojump_clock: Clock, script: Any) -> None:
    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with trio.move_on_after(1) as scope:
            await kernel.execute("code")
        assert scope.cancelled_caught
        assert next(iter(fake.kernels.values())).execution_state == "idle"


async def test_a_script_may_catch_the_interrupt(autojump_clock: Clock) -> None:
    cleaned: list[str] = []

    def script(cell: Cell) -> object:
        try:
            yield Sleep(math.inf)
        except Interrupted:
            yield "caught"
            yield Sleep(2)
        finally:
            cleaned.append("cleaned")

    running, publishes = cell()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_script, script, running)
        await trio.sleep(1)
        running.interrupt()
    assert (publishes.text, cleaned, trio.current_time()) == ("caught", ["cleaned"], 3)


async def test_what_a_generator_returns_is_its_value() -> None:
    def script(cell: Cell) -> object:
        yield Stream("stdout", "first\n")
        return "last"

    running, publishes = cell()
    await run_script(script, running)
    assert publishes.text == "first\nlast"


async def test_a_cell_may_ignore_interrupts(autojump_clock: Clock) -> None:
    running, _ = cell()
    running.ignores_interrupts = True
    async with trio.open_nursery() as nursery:
        nursery.start_soon(running.sleep, 5)
        await trio.sleep(1)
        assert not running.interrupt()
    assert trio.current_time() == 5
    running.ignores_interrupts = False
    assert running.interrupt(), "what does not wait takes it too: it comes to nothing"


async def test_input(autojump_clock: Clock) -> None:
    asked: list[tuple[str, bool]] = []

    def script(cell: Cell) -> object:
        first = yield Ask("name? ")
        second = yield Ask("word? ", password=True)
        yield f"{first} {second}"

    running, publishes = cell(stdin=True, ask=lambda prompt, password: asked.append((prompt, password)))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run_script, script, running)
        await trio.testing.wait_all_tasks_blocked()
        assert asked == [("name? ", False)]
        running.answer("ada")
        await trio.testing.wait_all_tasks_blocked()
        assert asked == [("name? ", False), ("word? ", True)]
        running.answer("secret")
    assert publishes.text == "ada secret"


async def test_input_that_the_request_does_not_allow() -> None:
    running, _ = cell(ask=lambda prompt, password: pytest.fail("asked all the same"))
    with pytest.raises(CellError, match="StdinNotImplementedError"):
        await running.input("name? ")


@pytest.mark.parametrize(
    ("output", "msg_type", "content"),
    [
        (Stream("stderr", "e"), "stream", {"name": "stderr", "text": "e"}),
        (ExecuteResult(7, {"text/plain": "v"}), "execute_result", {"execution_count": 7}),
        (ExecuteResult(None, {"text/plain": "v"}), "execute_result", {"execution_count": 1}),
        (DisplayData({"text/plain": "v"}), "display_data", {"data": {"text/plain": "v"}, "transient": {}}),
        (
            UpdateDisplayData({"text/plain": "v"}, display_id="x"),
            "update_display_data",
            {"data": {"text/plain": "v"}, "transient": {"display_id": "x"}},
        ),
        (ClearOutput(wait=True), "clear_output", {"wait": True}),
    ],
)
async def test_every_output_of_the_library_is_published(output: Any, msg_type: str, content: dict[str, Any]) -> None:
    running, publishes = cell()
    await run_script(lambda cell: output, running)
    ((found, said),) = publishes.published
    assert found == msg_type
    assert content.items() <= said.items()


async def test_an_error_that_is_given_is_raised() -> None:
    running, publishes = cell()
    with pytest.raises(CellError) as caught:
        await run_script(lambda cell: Error("Oops", "bad", ("line 1",)), running)
    assert (caught.value.ename, caught.value.evalue, caught.value.traceback) == ("Oops", "bad", ["line 1"])
    assert CellError("Oops", "bad").traceback == ["Oops: bad"]
    assert publishes.published == []


@pytest.mark.parametrize("script", [lambda cell: Crash(), lambda cell: cell.crash(), lambda cell: iter([Crash()])])
async def test_a_crash(script: Script) -> None:
    running, _ = cell()
    with pytest.raises(CrashedError):
        await run_script(script, running)


async def test_what_is_no_output_is_named() -> None:
    running, _ = cell()
    with pytest.raises(TypeError, match="a script gave 42, which is no output"):
        await run_script(lambda cell: 42, running)


async def test_what_its_methods_publish() -> None:
    running, publishes = cell()
    running.display("a", display_id="x")
    running.display("b", display_id="x", update=True)
    running.display({"image/png": "AAAA"}, buffers=[b"\x00\xff"])
    running.clear_output()
    running.result({"text/html": "<b>"})
    running.publish("custom", {"a": 1}, metadata={"m": 2})
    assert publishes.published == [
        ("display_data", {"data": {"text/plain": "a"}, "metadata": {}, "transient": {"display_id": "x"}}),
        ("update_display_data", {"data": {"text/plain": "b"}, "metadata": {}, "transient": {"display_id": "x"}}),
        ("display_data", {"data": {"image/png": "AAAA"}, "metadata": {}, "transient": {}}),
        ("clear_output", {"wait": False}),
        ("execute_result", {"execution_count": 1, "data": {"text/html": "<b>"}, "metadata": {}}),
        ("custom", {"a": 1}),
    ]
    assert publishes.more[2][2] == [b"\x00\xff"]
    assert publishes.more[5][1] == {"m": 2}
    assert {parent.msg_id for parent, *_ in publishes.more if parent is not None} == {"asked"}


async def test_a_silent_cell_publishes_no_output() -> None:
    running, publishes = cell(silent=True)
    for publish in (running.stdout, running.stderr, running.display, running.result):
        publish("x")
    running.clear_output()
    running.publish("custom", {})
    assert publishes.types == ["custom"]


async def test_a_cell_knows_its_request() -> None:
    running, _ = cell("1 + 1", stdin=True)
    assert (running.code, running.msg_id, running.execution_count) == ("1 + 1", "asked", 1)
    assert (running.allow_stdin, running.silent) == (True, False)


async def test_what_becomes_of_it_at_a_client(autojump_clock: Clock) -> None:
    def script(cell: Cell) -> object:
        match cell.code:
            case "ask":
                answer = yield Ask("name? ")
                yield str(answer)
            case "crash":
                yield Crash()
            case "fail":
                raise CellError("Oops", "bad", ["line 1"])
            case "raise":
                raise ValueError("worse")
            case "show":
                cell.display("a", display_id="x")
                cell.display("b", display_id="x", update=True)
                cell.display({"image/png": "AAAA"}, buffers=[b"\x00\xff"])
                cell.stderr("e")

    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        assert (await kernel.execute("ask", stdin=lambda prompt, password: prompt * 2)).text == "name? name? "
        failed = await kernel.execute("fail")
        assert failed.error == trio_gateway.Error("Oops", "bad", ("line 1",))
        raised = await kernel.execute("raise")
        assert raised.error is not None
        assert (raised.error.ename, raised.error.evalue) == ("ValueError", "worse")
        shown = await kernel.execute("show")
        assert [getattr(output, "data", None) for output in shown.outputs] == [{"text/plain": "b"}, {"image/png": "AAAA"}, None]
        with pytest.raises(trio_gateway.KernelRestartedError):
            await kernel.execute("crash")
        assert (await kernel.execute("nothing")).outputs == ()
