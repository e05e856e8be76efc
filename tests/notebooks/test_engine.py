"""A notebook's run: which cells run, and what ends it; with a kernel that is faked, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from types import SimpleNamespace
from typing import Any

import nbformat.v4
import pytest
import trio

from tools.notebook_tools import FakeKernel, notebook_of
from trio_gateway import (
    Error,
    ExecuteResult,
    OutputGap,
    Stream,
)
from trio_gateway._notebooks.document import Document
from trio_gateway._notebooks.engine import Engine, _Request
from trio_gateway._notebooks.event_queue import Nobody
from trio_gateway._notebooks.events import CellFinished, CellOutput, CellStarted
from trio_gateway._notebooks.options import NotebookJob, RunOptions
from trio_gateway._protocol.execution import parse_output
from trio_gateway._protocol.messages import Message, MessageFactory
from trio_gateway.testing import Cell, CellError, FakeGateway, FakeKernelSpec
from trio_gateway.testing._process import DATE

from .notebook_kit import BOOM, RecordingFile, Run, plain

pytestmark = pytest.mark.usefixtures("threads")


async def test_code_cells_run_in_order_and_all_else_stays_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [ExecuteResult(1, plain("1"))], "b": [Stream("stdout", "two")]})
    run = Run(kernel, "a", "  \n", ("never", ["skip-execution"]), "b")
    run.document.current().cells[2].outputs = [nbformat.v4.new_output("stream", text="kept")]
    result = await run()
    assert kernel.executed == ["a", "b"]
    begun = [(event.cell.number, event.cell.title) for event in run.reader.events if isinstance(event, CellStarted)]
    assert begun == [(1, "a"), (2, "b")]
    assert run.final == [["1"], [], ["kept"], ["two"]]
    assert [cell.execution_count for cell in result.notebook.cells] == [1, None, None, 1]
    assert [(cell.number, cell.index, cell.status) for cell in result.cells] == [(1, 0, "ok"), (0, 2, "skipped"), (2, 3, "ok")]
    assert (result.status, result.failed_cell) == ("ok", None)


async def test_the_first_error_ends_the_run(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"b": [Stream("stdout", "before"), BOOM]})
    run = Run(kernel, "a", "b", "c")
    await run()
    assert kernel.executed == ["a", "b"]
    assert (run.result.status, run.result.failed_cell, run.result.error) == ("error", run.result.cells[1], BOOM)
    assert [cell.status for cell in run.result.cells] == ["ok", "error", "pending"]
    assert run.final == [[], ["before", "ValueError"], []]


@pytest.mark.parametrize("allowed_by", ["tag", "option"])
async def test_an_allowed_error_does_not(allowed_by: str, autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"b": [BOOM]})
    run = Run(
        kernel,
        ("b", ["raises-exception"] if allowed_by == "tag" else []),
        "c",
        on_error="continue" if allowed_by == "option" else "stop",
    )
    await run()
    assert kernel.executed == ["b", "c"]
    assert (run.result.status, run.result.failed_cell) == ("ok", None)
    assert [cell.status for cell in run.result.cells] == ["error", "ok"]
    assert run.final == [["ValueError"], []]


async def test_an_error_that_only_the_reply_tells_counts_and_is_saved(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": ["error"]}), "a")
    await run()
    assert run.result.error == Error("ReplyError", "told late")
    assert run.final == [["ReplyError"]]


async def test_a_shown_error_of_a_cell_that_ends_well_is_none(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [BOOM, "ok"]}), "a")
    await run()
    assert (run.result.status, run.result.cells[0].status) == ("ok", "ok")


async def test_gaps_are_remembered_with_their_cell(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"b": [OutputGap("lost", 3)]}), "a", "b")
    await run()
    assert run.gaps == [(2, (OutputGap("lost", 3),))]


@pytest.mark.parametrize("value", ["", "0", "None", "False"])
async def test_sys_exit_of_no_code_ends_the_run_as_a_success(value: str, autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [Stream("stdout", "before"), Error("SystemExit", value)]})
    run = Run(kernel, "a", "b", on_error="continue")
    await run()
    assert kernel.executed == ["a"]
    assert (run.result.status, run.result.failed_cell, run.result.ended_by) == ("ok", None, run.result.cells[0])
    assert [cell.status for cell in run.result.cells] == ["error", "pending"]
    assert run.final == [["before", "SystemExit"], []]


@pytest.mark.parametrize("value", ["3", "bad", "-1"])
async def test_sys_exit_of_another_code_is_an_error_as_any(value: str, autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [Error("SystemExit", value)]}), "a", "b")
    await run()
    assert (run.result.status, run.result.error, run.result.ended_by) == ("error", Error("SystemExit", value), None)


async def test_a_cell_that_is_tagged_to_raise_may_exit_and_the_run_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [Error("SystemExit", "0")]})
    run = Run(kernel, ("a", ["raises-exception"]), "b")
    await run()
    assert kernel.executed == ["a", "b"]
    assert (run.result.status, run.result.ended_by) == ("ok", None)


async def test_a_kernel_that_asks_to_leave_ends_the_run_after_that_cell(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel(
        {"a": [{"payload": [{"source": "set_next_input"}, {"source": "ask_exit"}]}, Stream("stdout", "to the end")]}
    )
    run = Run(kernel, "a", "b")
    await run()
    assert kernel.executed == ["a"]
    assert (run.result.status, run.result.ended_by) == ("ok", run.result.cells[0])
    assert run.final == [["to the end"], []]


@pytest.mark.parametrize("payload", [None, 5, "ask_exit", ["ask_exit"], [{"source": "page"}]])
async def test_another_payload_ends_nothing(payload: object, autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [{"payload": payload}]})
    await Run(kernel, "a", "b")()
    assert kernel.executed == ["a", "b"]


async def run_on_fake(
    script: Callable[[Cell], Awaitable[None]], *cells: Any, settings: Any = None, show: Any = None, **traits: Any
) -> Run:
    async with FakeGateway(script, **traits) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        file = next((cell for cell in cells if isinstance(cell, RecordingFile)), None)
        run = Run(kernel, *(cell for cell in cells if cell is not file), file=file, **(settings or {}))
        run.reader.show = show
        await run()
    return run


async def test_output_belongs_to_the_cell_that_caused_it_also_after_its_end(autojump_clock: trio.testing.MockClock) -> None:
    first: list[Cell] = []

    async def script(cell: Cell) -> None:
        first.append(cell)
        cell.stdout(f"{cell.code};")
        if cell.code == "b":
            for number in range(100):
                first[0].stdout(f"{number};")
                await cell.sleep(0.01)
            cell.stdout("end")

    run = await run_on_fake(script, "a", "b")
    assert run.final == [["a;" + "".join(f"{number};" for number in range(100))], ["b;end"]]
    assert run.gaps == []


async def test_what_is_on_its_way_when_the_last_cell_ends_is_collected(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def later(cell: Cell) -> None:
            await trio.sleep(0.1)
            cell.stdout("later")

        async def script(cell: Cell) -> None:
            cell.stdout("a;")
            nursery.start_soon(later, cell)

        run = await run_on_fake(script, "a")
    assert run.final == [["a;later"]]
    assert run.gaps == []


async def test_output_that_does_not_end_is_told_as_a_gap(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def for_ever(cell: Cell) -> None:
            while True:
                await trio.sleep(0.15)
                cell.stdout("x")

        async def script(cell: Cell) -> None:
            nursery.start_soon(for_ever, cell)

        run = await run_on_fake(script, "a", "b")
        nursery.cancel_scope.cancel()
    assert [(number, gap.kind) for number, gaps in run.gaps for gap in gaps] == [(1, "lost"), (2, "lost")]
    assert [gap.kind for gap in run.result.output_gaps] == ["lost", "lost"]


class GoneError(Exception):
    """The reader of what is told has gone."""


class SlowReader:
    """Takes its time for each output; or goes away."""

    def __init__(self, seconds: float = 0.0, *, gone_at: int | None = None) -> None:
        self.seconds, self.gone_at = seconds, gone_at
        self.shown: list[Any] = []

    async def __call__(self, output: Any) -> None:
        await trio.sleep(self.seconds)
        self.shown.append(output)
        if self.gone_at == len(self.shown):
            raise GoneError


async def test_who_is_slow_to_read_what_is_shown_costs_no_late_output(autojump_clock: trio.testing.MockClock) -> None:
    async with trio.open_nursery() as nursery:

        async def later(cell: Cell) -> None:
            for number in range(20):
                await trio.sleep(0.01)
                cell.stdout(f"{number};")

        async def script(cell: Cell) -> None:
            nursery.start_soon(later, cell)

        reader = SlowReader(seconds=0.5)
        run = await run_on_fake(script, "a", show=reader)
    assert run.final == [["".join(f"{number};" for number in range(20))]]
    assert "".join(output.text for output in reader.shown) == "".join(f"{number};" for number in range(20))
    assert run.gaps == []


@pytest.mark.parametrize("cancelled", [False, True])
async def test_what_comes_late_stands_behind_what_its_cell_put_out(
    cancelled: bool, autojump_clock: trio.testing.MockClock
) -> None:
    """The reader of what is told is slow: the cell has ended in the kernel long before all it put out is read."""
    async with trio.open_nursery() as nursery:

        async def later(cell: Cell) -> None:
            for number in range(3):
                await trio.sleep(0.01)
                cell.stdout(f"late {number};")

        async def script(cell: Cell) -> None:
            for number in range(3):
                cell.stdout(f"{number};")
            nursery.start_soon(later, cell)

        reader = SlowReader(seconds=10)
        with trio.move_on_after(15 if cancelled else 1000) as scope:
            await run_on_fake(script, "a", file := RecordingFile(), show=reader)
    assert scope.cancelled_caught == cancelled
    all_of_it = "0;1;2;late 0;late 1;late 2;"
    assert file.saves[-1][1] == [[all_of_it]]
    assert "".join(output.text for output in reader.shown) == ("0;" if cancelled else all_of_it)


async def test_late_output_is_shown_and_saved_while_another_cell_is_silent(autojump_clock: trio.testing.MockClock) -> None:
    first: list[Cell] = []
    seen: list[Any] = []
    file = RecordingFile()

    async def script(cell: Cell) -> None:
        first.append(cell)
        if cell.code == "b":
            first[0].stdout("late")
            await cell.sleep(60)
            seen.append(file.saves[-1][1])

    await run_on_fake(script, "a", "b", file)
    assert seen == [[["late"], []]]


async def test_a_reader_who_goes_away_while_late_output_is_shown_ends_the_run(autojump_clock: trio.testing.MockClock) -> None:
    first: list[Cell] = []
    ended: list[str] = []

    async def script(cell: Cell) -> None:
        first.append(cell)
        if cell.code == "b":
            first[0].stdout("late")
            await cell.sleep(1000)
        ended.append(cell.code)

    with pytest.raises(GoneError):
        await run_on_fake(script, "a", "b", "c", show=SlowReader(gone_at=1))
    assert trio.current_time() < 100
    assert ended == ["a"]


async def test_input_that_a_cell_asks_for_does_not_confuse_what_came_late(autojump_clock: trio.testing.MockClock) -> None:
    first: list[Cell] = []

    async def script(cell: Cell) -> None:
        first.append(cell)
        for number in range(3):
            cell.stdout(f"{number}{await cell.input()};")
            first[0].stdout("x")

    async def answer(prompt: str, password: bool) -> str:
        return "!"

    run = await run_on_fake(script, "a", "b", settings={"stdin": answer})
    assert run.final == [["0!;x1!;x2!;xxxx"], ["0!;1!;2!;"]]


async def test_who_is_asked_for_input_has_read_what_came_before(autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        for number in range(3):
            cell.stdout(f"{number};")
        cell.stdout(await cell.input())

    reader = SlowReader(seconds=1)
    asked: list[int] = []

    def answer(prompt: str, password: bool) -> str:
        asked.append(len(reader.shown))
        return "!"

    run = await run_on_fake(script, "a", show=reader, settings={"stdin": answer})
    assert run.final == [["0;1;2;!"]]
    assert asked == [3]


async def test_what_came_late_is_saved_when_the_run_is_cancelled(autojump_clock: trio.testing.MockClock) -> None:
    first: list[Cell] = []

    async def script(cell: Cell) -> None:
        first.append(cell)
        if cell.code == "b":
            for _ in range(300):
                first[0].stdout("late;")
            await cell.sleep(10)
            scope.cancel()
            await cell.sleep(1000)

    with trio.CancelScope() as scope:
        await run_on_fake(script, "a", "b", file := RecordingFile(), show=SlowReader(seconds=1000))
    assert scope.cancelled_caught
    assert file.saves[-1][1] == [["late;" * 300], []]


async def test_a_rate_limited_cell_keeps_each_output_once(autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        for number in range(20):
            cell.stdout(f"{number};")
        await cell.sleep(60)
        cell.stdout("after;")

    run = await run_on_fake(script, "a", "b", iopub_msg_rate_limit=5.0, rate_limit_window=1.0)
    shown = "".join(run.final[0])
    assert "exceeded" not in shown
    assert shown.count("0;") == shown.count("after;") == 1
    assert [(number, gap.kind) for number, gaps in run.gaps for gap in gaps if gap.kind == "rate_limited"] == [
        (1, "rate_limited"),
        (2, "rate_limited"),
    ]


def published(parent: str, text: str, *, session: str = "kernel") -> Message:
    content = {"name": "stdout", "text": text}
    parent_header = {"msg_id": parent, "msg_type": "execute_request"}
    return MessageFactory(session, "").make("iopub", "stream", content, date="", parent_header=parent_header)


async def test_whose_and_how_late_an_output_is(autojump_clock: trio.testing.MockClock) -> None:
    document = Document(notebook_of("a", "b"))
    engine = Engine(document, RunOptions(), job=NotebookJob({}), name="", saver=None, listener=Nobody())
    first, second = document.cells
    stream: Any = SimpleNamespace(request_id="2 again", process="kernel", read=parse_output)
    engine._requests["1"] = _Request(first, stream)
    engine._running = engine._requests["2"] = _Request(second, stream)
    came = [published("2", "a"), published("1", "b"), published("2 again", "c"), published("other", "d")]
    told = [engine._keep(message) for message in came]
    assert [event and (event.cell.number, event.output, event.late) for event in told] == [
        (2, Stream("stdout", "a"), False),
        (1, Stream("stdout", "b"), True),
        (2, Stream("stdout", "c"), False),
        None,
    ]
    for request in ("1", "1", "2", "other"):
        assert engine._keep(published(request, "IOPub message rate exceeded.", session="gateway")) is None
    assert [cell.output_gaps for cell in engine.cells] == [(OutputGap("rate_limited"),), ()]
    unreadable = Message.from_wire("iopub", b'{"msg_type":"stream"}', b'{"msg_id":"1"}', b"{}", b"[]", (), 0)
    assert engine._keep(unreadable) is None
    assert [gap.kind for gap in engine.cells[0].output_gaps] == ["rate_limited", "lost"]


ALL_TIMES = ["iopub.execute_input", "iopub.status.busy", "iopub.status.idle", "shell.execute_reply"]


@pytest.mark.parametrize("record_timing", [True, False])
async def test_each_cells_times_are_recorded_as_jupyter_does(record_timing: bool, autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        cell.stdout("x")
        await cell.sleep(1)
        if cell.code == "c":
            raise ValueError("c")

    run = await run_on_fake(script, "a", "b", "c", settings={"record_timing": record_timing})
    told = [cell.metadata.get("execution") for cell in run.result.notebook.cells]
    if record_timing:
        assert [sorted(times) for times in told] == [ALL_TIMES] * 3
        assert all(date == DATE for times in told for date in times.values()), "the dates are the kernel's own"
    else:
        assert told == [None, None, None]


async def test_what_ran_it_is_noted(autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()

    specs = [FakeKernelSpec(name="python3", display_name="The Python", language="python", script=script)]
    run = await run_on_fake(script, "a", kernelspecs=specs)
    metadata = run.result.notebook.metadata
    assert metadata.kernelspec == {"name": "python3", "display_name": "The Python", "language": "python"}
    assert metadata.language_info == {"name": "text", **metadata.language_info}


async def test_gaps_stand_in_the_cells_metadata(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [OutputGap("lost", 3)]}), "a", "b")
    await run()
    told = [cell.metadata.get("trio_gateway") for cell in run.result.notebook.cells]
    assert told == [{"output_gaps": [{"reason": "lost", "count": 3, "detail": ""}]}, None]


def overflow(count: int, limit: int) -> OutputGap:
    return OutputGap("overflow", count, f"outputs beyond {limit} bytes were not kept")


async def test_what_is_beyond_the_limit_is_cut_and_told(autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        for _ in range(100):
            cell.stdout("0123456789")
        if cell.code == "b":
            raise CellError("E", "v", ["x" * 5000])

    run = await run_on_fake(script, "a", "b", settings={"max_output_bytes": 25})
    assert run.final == [["0123456789012345678901234"], ["0123456789012345678901234", "E"]]
    assert run.gaps == [(1, (overflow(98, 25),)), (2, (overflow(98, 25),))]
    (told,) = run.result.notebook.cells[0].metadata.trio_gateway.output_gaps
    assert told == {"reason": "overflow", "count": 98, "detail": overflow(98, 25).detail}
    events = [event for event in run.reader.events if isinstance(event, CellOutput)]
    assert len(events) == 201, "events tell all of it"
    assert all(event.output == Stream("stdout", "0123456789") for event in events[:100])
    finished = [event.cell.output_gaps for event in run.reader.events if isinstance(event, CellFinished)]
    assert finished == [(overflow(98, 25),), (overflow(98, 25),)]


async def test_late_output_counts_for_its_cell(autojump_clock: trio.testing.MockClock) -> None:
    first: list[Cell] = []

    async def script(cell: Cell) -> None:
        first.append(cell)
        cell.stdout("0123456789")
        if cell.code == "b":
            first[0].stdout("0123456789")
        await cell.sleep(1)

    run = await run_on_fake(script, "a", "b", settings={"max_output_bytes": 15})
    assert run.final == [["012345678901234"], ["0123456789"]]
    assert run.gaps == [(1, (overflow(1, 15),))]


async def test_a_cell_that_shows_its_progress_stays_whole(autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        await trio.lowlevel.checkpoint()
        for number in range(100):
            cell.clear_output(wait=True)
            cell.stdout(f"{number:100}")
            cell.display({"text/plain": f"{number:10}"}, display_id="d")

    run = await run_on_fake(script, "a", settings={"max_output_bytes": 1000})
    assert run.final == [[f"{99:100}", f"{99:10}"]]
    assert run.gaps == []


async def test_what_is_cut_is_told_of_a_run_that_is_cancelled_too(autojump_clock: trio.testing.MockClock) -> None:
    async def script(cell: Cell) -> None:
        cell.stdout("0123456789")
        await cell.sleep(10)
        scope.cancel()
        await cell.sleep(1000)

    saved: list[Any] = []
    file = RecordingFile()
    write = file.write
    file.write = lambda content: (saved.append(b"".join(content)), write([saved[-1]]))[1]  # type: ignore[method-assign]
    with trio.CancelScope() as scope:
        await run_on_fake(script, "a", file, settings={"max_output_bytes": 5})
    (told,) = json.loads(saved[-1])["cells"][0]["metadata"]["trio_gateway"]["output_gaps"]
    assert told["count"] == 1
