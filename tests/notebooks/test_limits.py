"""Limits of a run: for all cells together, and for each. What runs is interrupted, and what it had put out stays."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import trio

from tools.notebook_tools import notebook_of, texts_of
from trio_gateway import notebooks
from trio_gateway.testing import Cell, FakeGateway
from trio_gateway.testing._cell import Interrupted

pytestmark = pytest.mark.usefixtures("threads")
Clock = trio.testing.MockClock


class Sleepers:
    """Cells that print their code and sleep as many seconds; notes when each began, and when it was interrupted."""

    def __init__(self, *, ignore_interrupts: bool = False) -> None:
        self.began: list[tuple[str, float]] = []
        self.interrupted: list[float] = []
        self._ignore_interrupts = ignore_interrupts

    async def __call__(self, cell: Cell) -> None:
        self.began.append((cell.code, trio.current_time()))
        cell.ignores_interrupts = self._ignore_interrupts
        cell.stdout(f"{cell.code};")
        try:
            await cell.sleep(float(cell.code))
        except Interrupted:
            self.interrupted.append(trio.current_time())
            raise
        cell.stdout("end")


async def run_with(
    script: Callable[[Cell], Awaitable[None]], *cells: Any, settings: Any = None, **options: Any
) -> notebooks.NotebookRun:
    async with FakeGateway(script) as fake, fake.open(**(settings or {})) as gateway:
        result = await notebooks.run(gateway, notebook_of(*cells), **options)
        assert await gateway.kernels.list() == []
    return result


def shown(result: notebooks.NotebookRun) -> list[list[str]]:
    return [texts_of(cell) for cell in result.notebook.cells]


async def test_a_cell_that_takes_too_long_is_interrupted_and_what_it_put_out_stays(tmp_path: Path, autojump_clock: Clock) -> None:
    sleepers = Sleepers()
    output = tmp_path / "out.ipynb"
    result = await run_with(sleepers, "3", "1000", "1", cell_timeout=5, output=output)
    assert (result.status, [cell.status for cell in result.cells]) == ("timeout", ["ok", "timeout", "pending"])
    assert [code for code, _ in sleepers.began] == ["3", "1000"]
    assert len(sleepers.interrupted) == 1
    assert result.failed_cell is not None
    assert (result.failed_cell.number, result.failed_cell.error, result.error) == (2, None, None)
    assert result.failed_cell.seconds == pytest.approx(5, abs=0.1)
    assert shown(result) == [["3;end"], ["1000;", "KeyboardInterrupt"], []], "as Jupyter shows code that was interrupted"
    assert [texts_of(cell) for cell in json.loads(output.read_text())["cells"]] == shown(result)
    with pytest.raises(notebooks.NotebookTimeoutError) as caught:
        result.raise_for_error()
    assert caught.value is result.failure
    assert str(caught.value) == "notebook: cell 2 (1000) was interrupted: cell_timeout is 5 s"


async def test_all_cells_together_have_a_limit(autojump_clock: Clock) -> None:
    sleepers = Sleepers()
    result = await run_with(sleepers, "3", "3", "3", timeout=5, cell_timeout=4, on_error="continue")
    assert (result.status, [cell.status for cell in result.cells]) == ("timeout", ["ok", "timeout", "pending"])
    assert isinstance(result.failure, notebooks.NotebookTimeoutError)
    assert (result.failure.option, result.failure.limit, result.failure.number) == ("timeout", 5, 2)
    assert shown(result) == [["3;end"], ["3;", "KeyboardInterrupt"], []]


async def test_a_cell_that_took_too_long_may_be_gone_past(autojump_clock: Clock) -> None:
    result = await run_with(Sleepers(), "1000", "1", cell_timeout=5, on_error="continue")
    assert (result.status, [cell.status for cell in result.cells]) == ("ok", ["timeout", "ok"])
    assert shown(result) == [["1000;", "KeyboardInterrupt"], ["1;end"]]
    assert (result.failed_cell, result.failure) == (None, None)


async def test_a_cell_that_may_raise_may_not_take_too_long(autojump_clock: Clock) -> None:
    result = await run_with(Sleepers(), ("1000", ["raises-exception"]), "1", cell_timeout=5)
    assert (result.status, [cell.status for cell in result.cells]) == ("timeout", ["timeout", "pending"])


async def test_a_limit_interrupts_at_once_however_slow_the_reader_of_events_is(autojump_clock: Clock) -> None:
    sleepers = Sleepers()
    async with FakeGateway(sleepers) as fake, fake.open() as gateway:
        async with notebooks.open_run(gateway, notebook_of("1000"), cell_timeout=5) as run:
            async for _ in run:
                await trio.sleep(100)
    ((_, began),) = sleepers.began
    assert [when - began for when in sleepers.interrupted] == [pytest.approx(5, abs=0.1)]
    assert run.result.status == "timeout"
    assert shown(run.result) == [["1000;", "KeyboardInterrupt"]]


async def test_a_slow_reader_does_not_make_a_cell_take_too_long(autojump_clock: Clock) -> None:
    async with FakeGateway(Sleepers()) as fake, fake.open() as gateway:
        async with notebooks.open_run(gateway, notebook_of("1", "1"), cell_timeout=5) as run:
            async for _ in run:
                await trio.sleep(100)
    assert [cell.status for cell in run.result.cells] == ["ok", "ok"]


async def test_a_kernel_that_can_not_be_interrupted_holds_up_no_run(autojump_clock: Clock) -> None:
    sleepers = Sleepers(ignore_interrupts=True)
    began = trio.current_time()
    options: dict[str, Any] = {"cell_timeout": 5, "on_error": "continue"}
    result = await run_with(sleepers, "1000", "1", settings={"interrupt_timeout": 10}, **options)
    assert trio.current_time() - began < 100
    assert (result.status, [cell.status for cell in result.cells]) == ("ok", ["timeout", "timeout"])
    assert [code for code, _ in sleepers.began] == ["1000"], "the second cell was not sent"


async def test_a_kernel_that_works_for_somebody_else_is_waited_for_as_long_as_the_limit(autojump_clock: Clock) -> None:
    sleepers = Sleepers()
    async with FakeGateway(sleepers) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, "1000")
            await trio.sleep(1)
            result = await notebooks.run(kernel, notebook_of("1"), timeout=5)
            nursery.start_soon(kernel.execute, "2")
    assert (result.status, [cell.status for cell in result.cells]) == ("timeout", ["timeout"])
    assert [code for code, _ in sleepers.began] == ["1000", "2"]
    assert sleepers.interrupted == [], "it is not the run's to interrupt"


async def test_a_question_counts_too(autojump_clock: Clock) -> None:
    left: list[float] = []

    async def script(cell: Cell) -> None:
        cell.stdout("before;")
        cell.stdout(await cell.input("? "))

    async def think(prompt: str, password: bool) -> str:
        try:
            await trio.sleep_forever()
        finally:
            left.append(trio.current_time())
        return ""

    result = await run_with(script, "a", cell_timeout=5, stdin=think)
    assert (result.status, len(left)) == ("timeout", 1)
    assert shown(result) == [["before;", "KeyboardInterrupt"]]


async def test_a_limit_that_has_passed_costs_no_grace(autojump_clock: Clock) -> None:
    began = trio.current_time()
    result = await run_with(Sleepers(), "1000", timeout=5, grace=100)
    assert result.status == "timeout"
    assert trio.current_time() - began < 50


@pytest.mark.parametrize("limits", [{}, {"timeout": 10}, {"cell_timeout": 4}, {"timeout": float("inf")}])
async def test_a_limit_that_does_not_run_out_changes_nothing(limits: dict[str, float], autojump_clock: Clock) -> None:
    result = await run_with(Sleepers(), "3", "3", **limits)
    assert (result.status, shown(result)) == ("ok", [["3;end"], ["3;end"]])
