"""What is missing of a run's output is told: what comes when the run has ended, and what is lost on the way."""

from __future__ import annotations

import json
import uuid
from collections.abc import Callable
from typing import Any

import pytest
import trio

from tools.notebook_tools import notebook_of, texts_of
from trio_gateway import ConnectionLostError, OutputGap, notebooks
from trio_gateway._notebooks.engine import REPLY_LOST
from trio_gateway.testing import Cell, FakeGateway

pytestmark = pytest.mark.usefixtures("threads")
Clock = trio.testing.MockClock
AT_WORK = OutputGap("lost", None, "it was still at work in the background when the run ended")


class Background:
    """Each cell begins to print in the background, so many times, every so many seconds; and ends after so many."""

    def __init__(self, nursery: trio.Nursery, *, times: int, every: float, cell_takes: float = 0.0) -> None:
        self._nursery = nursery
        self._times, self._every, self._cell_takes = times, every, cell_takes

    async def __call__(self, cell: Cell) -> None:
        self._nursery.start_soon(self._print, cell)
        await cell.sleep(self._cell_takes)

    async def _print(self, cell: Cell) -> None:
        for number in range(self._times):
            await trio.sleep(self._every)
            cell.stdout(f"{number};")


def numbers(count: int) -> str:
    return "".join(f"{number};" for number in range(count))


async def run_in_background(*cells: str, times: int, every: float, cell_takes: float = 0.0, **options: Any) -> tuple[Any, float]:
    """Return the result, and how long the run took."""
    async with trio.open_nursery() as nursery:
        script = Background(nursery, times=times, every=every, cell_takes=cell_takes)
        async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
            began = trio.current_time()
            result = await notebooks.run(kernel, notebook_of(*cells), **options)
            took = trio.current_time() - began
            nursery.cancel_scope.cancel()
    return result, took


@pytest.mark.parametrize(("grace", "times", "every"), [(0.2, 4, 0.15), (1, 4, 0.9), (0.01, 3, 0.009)])
async def test_what_comes_within_the_grace_is_collected(grace: float, times: int, every: float, autojump_clock: Clock) -> None:
    result, took = await run_in_background("a", times=times, every=every, grace=grace)
    assert [texts_of(cell) for cell in result.notebook.cells] == [[numbers(times)]]
    assert result.output_gaps == ()
    assert times * every + grace <= took <= 5 * grace + 0.1


@pytest.mark.parametrize("grace", [0.2, 1])
async def test_what_does_not_end_within_five_times_the_grace_is_told(grace: float, autojump_clock: Clock) -> None:
    result, took = await run_in_background("a", times=1000, every=grace * 0.7, grace=grace)
    assert took == pytest.approx(5 * grace, abs=0.1)
    assert result.output_gaps == (AT_WORK,)
    assert result.cells[0].output_gaps == (AT_WORK,)
    told = result.notebook.cells[0].metadata.trio_gateway.output_gaps
    assert told == [{"reason": "lost", "count": None, "detail": AT_WORK.detail}]


async def test_without_a_grace_nothing_is_waited_for(autojump_clock: Clock) -> None:
    result, took = await run_in_background("a", "b", times=1000, every=0.05, cell_takes=1, grace=0)
    assert took == pytest.approx(2, abs=0.01)
    assert [cell.output_gaps for cell in result.cells] == [(AT_WORK,), ()], "the second was not seen to go on: it may be"
    result, took = await run_in_background("a", "b", times=3, every=0.05, cell_takes=1, grace=0)
    assert took == pytest.approx(2, abs=0.01)
    assert [texts_of(cell) for cell in result.notebook.cells] == [[numbers(3)], [numbers(3)]]
    assert result.output_gaps == ()


async def test_a_limit_that_ran_out_leaves_no_time_for_what_goes_on(autojump_clock: Clock) -> None:
    result, took = await run_in_background("a", "b", times=1000, every=0.1, cell_takes=3, timeout=4)
    assert (result.status, took) == ("timeout", pytest.approx(4, abs=0.1))
    assert AT_WORK in result.cells[0].output_gaps


async def test_a_slow_reader_is_no_background_work(autojump_clock: Clock) -> None:
    """What it has not read yet came long before."""
    async with trio.open_nursery() as nursery:
        script = Background(nursery, times=10, every=0.01)
        async with FakeGateway(script) as fake, fake.open() as gateway:
            async with notebooks.open_run(gateway, notebook_of("a", "b")) as run:
                async for _ in run:
                    await trio.sleep(0.5)
    assert run.result.output_gaps == ()
    assert [texts_of(cell) for cell in run.result.notebook.cells] == [[numbers(10)], [numbers(10)]]


async def test_a_slow_reader_hides_no_background_work(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        script = Background(nursery, times=10_000, every=0.1)
        async with FakeGateway(script) as fake, fake.open() as gateway:
            async with notebooks.open_run(gateway, notebook_of("a")) as run:
                async for _ in run:
                    await trio.sleep(0.5)
        nursery.cancel_scope.cancel()
    assert run.result.output_gaps == (AT_WORK,)


def lose_second_and_third(fake: FakeGateway) -> None:
    """Lose two messages with the connection: one before it breaks, and the one that it breaks at."""
    fake.faults.drop("iopub stream", nth=2)
    fake.faults.cut_at_message("iopub stream", nth=3)


def cut_at_second_idle(fake: FakeGateway) -> None:
    """Break the connection while nothing is on its way but an `idle`."""
    fake.faults.cut_at_message("iopub status", nth=2)


async def lose(script: Any, fault: Callable[[FakeGateway], None], *cells: str, **options: Any) -> notebooks.NotebookRun:
    async with FakeGateway(script) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.kernel_info()
        fault(fake)
        async with notebooks.open_run(kernel, notebook_of(*cells), **options) as run:
            async for event in run:
                if isinstance(event, notebooks.CellFinished):
                    await trio.sleep(1)
    return run.result


async def test_late_output_that_is_lost_with_the_connection_is_counted(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        result = await lose(Background(nursery, times=5, every=0.1), lose_second_and_third, "a", grace=1)
    assert [texts_of(cell) for cell in result.notebook.cells] == [["0;3;4;"]]
    assert [(gap.kind, gap.count) for gap in result.output_gaps] == [("lost", 2)]
    assert [(gap.reason, gap.count) for gap in result.notebook.cells[0].metadata.trio_gateway.output_gaps] == [("lost", 2)]


@pytest.mark.parametrize("grace", [0, 1])
async def test_what_is_lost_between_two_cells_is_counted(grace: float, autojump_clock: Clock) -> None:
    """The reader of events takes its time between them."""
    async with trio.open_nursery() as nursery:
        background = Background(nursery, times=5, every=0.1)

        async def script(cell: Cell) -> None:
            if cell.code == "a":
                await background(cell)

        result = await lose(script, lose_second_and_third, "a", *"bcdefghijklmnopqrstuvwxyz", grace=grace)
    assert texts_of(result.notebook.cells[0]) == ["0;3;4;"]
    assert [(cell.number, gap.kind, gap.count) for cell in result.cells for gap in cell.output_gaps] == [(1, "lost", 2)]


async def test_a_connection_that_broke_and_lost_no_output_is_no_gap(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        result = await lose(Background(nursery, times=5, every=0.1), cut_at_second_idle, "a", "b", grace=1)
    assert [texts_of(cell) for cell in result.notebook.cells] == [[numbers(5)], [numbers(5)]]
    assert result.output_gaps == ()


async def test_the_account_of_a_kernel_that_stays_open_is_closed(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await notebooks.run(kernel, notebook_of("1", "2"))
        with trio.move_on_after(5):
            await notebooks.run(kernel, notebook_of("while True: pass"))
        assert kernel._session.requests.ledger._open == 0


async def prints_and_fails(cell: Cell) -> None:
    """Print, and raise where the code says so."""
    cell.stdout(f"{cell.code} prints")
    await cell.sleep(1)
    if cell.code.startswith("fail"):
        raise ValueError("mine")


def without_number(header: bytes) -> bytes:
    return json.dumps({**json.loads(header), "msg_id": uuid.uuid4().hex}).encode()


async def run_and_lose(*patterns: str, cells: tuple[str, ...] = ("a", "b"), numbers: bool = True, **options: Any) -> Any:
    """Lose the first message of each pattern; return the result, and the codes that ran."""
    async with FakeGateway(prints_and_fails) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.kernel_info()
        if not numbers:
            for pattern in ("iopub .*", "shell .*"):
                fake.faults.spoil(pattern, part="header", by=without_number)
        for pattern in patterns:
            fake.faults.drop(pattern, nth=1)
        try:
            result: Any = await notebooks.run(kernel, notebook_of(*cells), **options)
        except ConnectionLostError as error:
            result = error
        (faked,) = fake.kernels.values()
        return result, [code for code in faked.codes if code]


async def test_a_run_goes_on_where_only_a_reply_was_lost(autojump_clock: Clock) -> None:
    """G4, G5. The kernel was heard to end the cell, and nothing that it put out is missing: that says how it ended, but for what
    a reply tells alone."""
    result, codes = await run_and_lose("shell execute_reply")
    assert codes == ["a", "b"]
    assert (result.status, [cell.status for cell in result.cells]) == ("ok", ["ok", "ok"])
    assert [cell.execution_count for cell in result.cells] == [1, 2]
    assert [cell.output_gaps for cell in result.cells] == [(REPLY_LOST,), ()]
    told = result.notebook.cells[0].metadata.trio_gateway.output_gaps
    assert told == [{"reason": "lost", "count": None, "detail": REPLY_LOST.detail}]


async def test_an_error_is_the_cells_though_its_reply_was_lost(autojump_clock: Clock) -> None:
    result, codes = await run_and_lose("shell execute_reply", cells=("fail", "b"))
    assert codes == ["fail"]
    assert (result.status, result.error.ename, result.failed_cell.number) == ("error", "ValueError", 1)
    assert result.output_gaps == (REPLY_LOST,)
    result, codes = await run_and_lose("shell execute_reply", cells=("fail", "b"), on_error="continue")
    assert codes == ["fail", "b"]
    assert [cell.status for cell in result.cells] == ["error", "ok"]


@pytest.mark.parametrize("also", ["iopub stream", "iopub error", "iopub status", "iopub execute_input"])
async def test_where_more_was_lost_than_a_reply_the_run_ends(also: str, autojump_clock: Clock) -> None:
    """What is missing may be an error, or the end itself."""
    failed, codes = await run_and_lose("shell execute_reply", also, cells=("fail", "b"))
    if also in ("iopub status", "iopub execute_input"):  # each request has these, so they are no output; this status is its busy
        assert failed.error.ename == "ValueError"
    else:
        assert isinstance(failed, ConnectionLostError)
    assert codes == ["fail"]


async def test_a_kernel_that_numbers_nothing_may_have_lost_more(autojump_clock: Clock) -> None:
    failed, codes = await run_and_lose("shell execute_reply", numbers=False)
    assert isinstance(failed, ConnectionLostError)
    assert codes == ["a"]


async def test_where_the_end_of_a_cell_was_not_heard_the_run_ends(autojump_clock: Clock) -> None:
    async with FakeGateway(prints_and_fails) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.kernel_info()
        fake.faults.drop("shell execute_reply", nth=1)
        fake.faults.drop("iopub status")
        with pytest.raises(ConnectionLostError, match=r"resume=True.*--resume") as caught:
            await notebooks.run(kernel, notebook_of("a", "b"), record_timing=False)
        assert isinstance(caught.value.__cause__, ConnectionLostError)
