"""A notebook's run: which cells, which outputs where, saved when; with a kernel that is faked, in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
import trio

from trio_gateway import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    InvalidInputError,
    KernelDiedError,
    OutputGap,
    Stream,
    UpdateDisplayData,
)
from trio_gateway._cli.notebook import NotebookRun
from trio_gateway._cli.notebook_file import NotebookFile, read_notebook
from trio_gateway._cli.notebook_model import LiveNotebook
from trio_gateway._cli.notebook_saver import Saver
from trio_gateway._cli.progress import title_of

from .cli_kit import FakeKernel, notebook_of, texts_of

BOOM = Error("ValueError", "boom", ("Traceback", "ValueError: boom"))


def plain(text: str) -> dict[str, Any]:
    return {"text/plain": text}


class RecordingFile:
    """Stands for the notebook's file, and notes when it was written and what."""

    def __init__(self, *, is_special: bool = False) -> None:
        self.is_special = is_special
        self.saves: list[tuple[float, list[list[str]]]] = []
        self.failure: Exception | None = None
        self._saved = trio.Event()

    def write(self, content: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.saves.append((trio.current_time(), [texts_of(cell) for cell in json.loads(content)["cells"]]))
        self._saved.set()
        self._saved = trio.Event()

    async def saved(self) -> None:
        """Wait for the next save."""
        await self._saved.wait()


class Threads:
    """What stands for threads, which a virtual clock does not wait for: each call is made here and takes so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def run_sync(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with trio.CancelScope(shield=True):  # a thread can't be cancelled
            await trio.sleep(self.seconds)
        return function(*arguments)


@pytest.fixture(autouse=True)
def threads(monkeypatch: pytest.MonkeyPatch) -> Threads:
    """Threads in virtual time."""
    threads = Threads()
    monkeypatch.setattr(trio.to_thread, "run_sync", threads.run_sync)
    return threads


class Run:
    """A run with everything around it."""

    def __init__(self, kernel: FakeKernel, *cells: Any, allow_errors: bool = False, file: RecordingFile | None = None) -> None:
        self.kernel: Any = kernel
        self.file: Any = RecordingFile() if file is None else file
        self.warnings: list[str] = []
        self.titles: list[tuple[int, str]] = []
        self.notebook = notebook_of(*cells)
        self.live = LiveNotebook(self.notebook)
        self.saver = Saver(self.live, self.file, self.warnings.append)
        self.run = NotebookRun(self.live, saver=self.saver, renderer=None, allow_errors=allow_errors)

    async def __call__(self) -> None:
        async def work() -> None:
            await self.run.run(self.kernel, lambda number, title: self.titles.append((number, title)))

        await self.saver.beside(work)

    @property
    def final(self) -> list[list[str]]:
        """What the file holds in the end."""
        return self.file.saves[-1][1]


# ------------------------------------------------------------------------------------------------------ which cells run


async def test_code_cells_run_in_order_and_all_else_stays_as_it_is(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [ExecuteResult(1, plain("1"))], "b": [Stream("stdout", "two")]})
    run = Run(kernel, "a", "  \n", ("never", ["skip-execution"]), "b")
    run.notebook.cells[2].outputs = [nbformat.v4.new_output("stream", text="kept")]
    await run()
    assert kernel.executed == ["a", "b"]
    assert run.titles == [(1, "a"), (2, "b")]
    assert run.final == [["1"], [], ["kept"], ["two"]]
    assert [cell.execution_count for cell in run.notebook.cells] == [1, None, None, 1]
    assert (run.run.done, run.live.skipped, run.run.failure) == (2, 1, None)


def test_old_outputs_of_cells_that_will_run_are_gone_before_the_first_runs() -> None:
    notebook = notebook_of("a", "b")
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    notebook.cells[1].execution_count = 7
    live = LiveNotebook(notebook)
    assert [(cell.outputs, cell.execution_count) for cell in live.current().cells] == [([], None), ([], None)]


@pytest.mark.parametrize("metadata", [{"tags": "raises-exception"}, {"tags": None}, {}])
def test_tags_of_another_form_count_as_none(metadata: dict[str, Any]) -> None:
    notebook = notebook_of("a")
    notebook.cells[0].metadata.update(metadata)
    assert not LiveNotebook(notebook).cells[0].may_fail


# ------------------------------------------------------------------------------------------------------------- failures


async def test_the_first_error_ends_the_run(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"b": [Stream("stdout", "before"), BOOM]})
    run = Run(kernel, "a", "b", "c")
    await run()
    assert kernel.executed == ["a", "b"]
    assert run.run.failure == (run.live.cells[1], BOOM)
    assert run.final == [[], ["before", "ValueError"], []]


@pytest.mark.parametrize("allowed_by", ["tag", "option"])
async def test_an_allowed_error_does_not(allowed_by: str, autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"b": [BOOM]})
    run = Run(kernel, ("b", ["raises-exception"] if allowed_by == "tag" else []), "c", allow_errors=allowed_by == "option")
    await run()
    assert kernel.executed == ["b", "c"]
    assert (run.run.failure, run.run.tolerated, run.run.done) == (None, 1, 2)
    assert run.final == [["ValueError"], []]


async def test_an_error_that_only_the_reply_tells_counts_and_is_saved(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": ["error"]}), "a")
    await run()
    assert run.run.failure == (run.live.cells[0], Error("ReplyError", "told late"))
    assert run.final == [["ReplyError"]]


async def test_a_shown_error_of_a_cell_that_ends_well_is_none(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [BOOM, "ok"]}), "a")
    await run()
    assert run.run.failure is None


async def test_gaps_are_remembered_with_their_cell(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"b": [OutputGap("lost", 3)]}), "a", "b")
    await run()
    assert run.run.gaps == [(2, (OutputGap("lost", 3),))]


# --------------------------------------------------------------------------------------------- outputs as a notebook has them


async def test_a_display_is_updated_where_it_stands_also_in_earlier_cells(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel(
        {
            "a": [DisplayData(plain("old"), display_id="d"), DisplayData(plain("other"), display_id="o")],
            "b": [Stream("stdout", "x"), ExecuteResult(2, plain("old"), display_id="d")],
            "c": [UpdateDisplayData(plain("new"), display_id="d"), UpdateDisplayData(plain("?"), display_id="unknown")],
        }
    )
    run = Run(kernel, "a", "b", "c")
    await run()
    assert run.final == [["new", "other"], ["x", "new"], []]


async def test_clear_output_clears_the_cell(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [Stream("stdout", "1"), ClearOutput(wait=True), Stream("stdout", "2"), Stream("stdout", "3")]})
    run = Run(kernel, "a")
    await run()
    assert run.final == [["23"]]


# --------------------------------------------------------------------------------------------------------------- saving


async def test_outputs_are_saved_while_the_cell_runs_first_at_once_then_at_intervals(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file: Any = RecordingFile()
    one, two, three, four = [Stream("stdout", text) for text in "1234"]
    run = Run(FakeKernel({"a": [one, file.saved, two, three, file.saved, four]}), "a", file=file)
    await run()
    assert file.saves[:2] == [(0, [["1"]]), (2, [["123"]])]
    assert run.final == [["1234"]]


async def test_each_cell_is_saved_at_its_end_without_waiting_for_the_interval(autojump_clock: trio.testing.MockClock) -> None:
    file: Any = RecordingFile()
    kernel = FakeKernel({"a": [Stream("stdout", "1"), file.saved, Stream("stdout", "2")], "b": [partial(trio.sleep, 1)]})
    run = Run(kernel, "a", "b", file=file)
    await run()
    assert (0, [["12"], []]) in file.saves


async def test_saving_takes_but_a_share_of_the_time(threads: Threads, autojump_clock: trio.testing.MockClock) -> None:
    file: Any = RecordingFile()
    threads.seconds = 5
    kernel = FakeKernel({str(number): [Stream("stdout", "x"), partial(trio.sleep, 1)] for number in range(60)})
    run = Run(kernel, *[str(number) for number in range(60)], file=file)
    await run()
    times = [time for time, _ in file.saves[:-1]]
    assert times[:2] == [5, 55]  # began at 0 and 50


async def test_what_has_come_is_saved_when_cancelled_before_the_interrupted_kernel_ends(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file: Any = RecordingFile()
    saved_by_then: list[int] = []

    kernel = FakeKernel({"a": [Stream("stdout", "1"), file.saved, Stream("stdout", "2"), trio.sleep_forever]})
    kernel.on_leaving = lambda: saved_by_then.append(len(file.saves))
    run = Run(kernel, "a", "b", file=file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await file.saved()
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert kernel.interrupted == ["a"]
    assert saved_by_then == [2]
    assert file.saves[1][1] == [["12"], []]
    assert run.final == [["12"], []]


async def test_what_has_come_is_saved_when_the_kernel_dies(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [Stream("stdout", "1"), KernelDiedError("id", "gone")]}), "a")
    with pytest.raises(KernelDiedError):
        await run()
    assert run.final == [["1"]]


async def test_a_file_that_can_not_be_written_is_told_once_and_fails_the_run_only_at_its_end(
    autojump_clock: trio.testing.MockClock,
) -> None:
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written (No space left on device)")
    kernel = FakeKernel({"a": [Stream("stdout", "1"), partial(trio.sleep, 10)], "b": [Stream("stdout", "2")]})
    run = Run(kernel, "a", "b", file=file)
    with pytest.raises(InvalidInputError, match="No space left"):
        await run()
    assert kernel.executed == ["a", "b"]
    assert len(run.warnings) == 1


async def test_a_save_that_failed_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written")

    async def recover() -> None:
        await trio.sleep(1)
        file.failure = None

    run = Run(FakeKernel({"a": [Stream("stdout", "1"), recover, file.saved, KernelDiedError("id", "gone")]}), "a", file=file)
    with pytest.raises(KernelDiedError):
        await run()
    assert file.saves[0] == (2, [["1"]])


async def test_a_failing_save_does_not_hide_what_ended_the_run(autojump_clock: trio.testing.MockClock) -> None:
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written")
    run = Run(FakeKernel({"a": [KernelDiedError("id", "gone")]}), "a", file=file)
    with pytest.raises(KernelDiedError):
        await run()
    assert len(run.warnings) == 1


async def test_a_device_or_pipe_is_written_to_once(autojump_clock: trio.testing.MockClock) -> None:
    file: Any = RecordingFile(is_special=True)
    kernel = FakeKernel({"a": [Stream("stdout", "1"), partial(trio.sleep, 10)]})
    run = Run(kernel, "a", "b", file=file)
    await run()
    assert [content for _, content in file.saves] == [[["1"], []]]


async def test_a_device_or_pipe_is_written_to_once_when_cancelled_too() -> None:
    file: Any = RecordingFile(is_special=True)
    run = Run(FakeKernel({"a": [Stream("stdout", "1"), trio.sleep_forever]}), "a", file=file)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(run)
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert [content for _, content in file.saves] == [[["1"]]]


async def test_the_real_file_holds_what_the_recording_one_would(tmp_path: Path) -> None:
    path = tmp_path / "out.ipynb"
    run = Run(FakeKernel({"a": [Stream("stdout", "1")]}), "a", file=NotebookFile(path))  # type: ignore[arg-type]
    await run()
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["1"]]


# --------------------------------------------------------------------------------------------------------------- titles


@pytest.mark.parametrize(
    ("source", "title"),
    [("\n\n  x = 1  \ny", "x = 1"), ("a" * 61, "a" * 59 + "…"), ("a" * 60, "a" * 60), ("", ""), ("\x1b[31m", "\\x1b[31m")],
)
def test_a_title_is_one_short_harmless_line(source: str, title: str) -> None:
    assert title_of(source) == title


# --------------------------------------------------------------------------------------------- what sloppy kernels send


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


ODD_OUTPUTS: dict[str, tuple[Any, Any]] = {
    "lone surrogate": (Stream("stdout", "a\ud800b"), {"text": ["a\ufffdb"]}),
    "NaN": (
        DisplayData({"application/json": {"x": [1.5, float("nan"), float("inf")]}}),
        {"data": {"application/json": {"x": [1.5, None, None]}}},
    ),
    "null for text": (ExecuteResult(1, {"text/plain": None, "text/html": "<b>"}), {"data": {"text/html": ["<b>"]}}),
    "object for text": (DisplayData({"text/plain": {"a": [1, None]}}), {"data": {"text/plain": ['{"a": [1, null]}']}}),
    "numbers for lines": (DisplayData({"text/plain": ["a", 5]}), {"data": {"text/plain": ["a5"]}}),
    "odd metadata": (DisplayData(plain("x"), {"\ud800": float("nan")}), {"metadata": {"\ufffd": None}}),
    "surrogate for an error": (Error("E\udfff", "v", ("\ud800",)), {"ename": "E\ufffd", "traceback": ["\ufffd"]}),
    "a huge number": (DisplayData({"application/json": 10**400}), {"data": {"application/json": 10**400}}),
}


@pytest.mark.parametrize("name", ODD_OUTPUTS)
async def test_whatever_a_kernel_sent_the_file_can_be_read_by_all(
    name: str, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    output, saved = ODD_OUTPUTS[name]
    path = tmp_path / "n.ipynb"
    await Run(FakeKernel({"a": [output, "ok"]}), "a", file=NotebookFile(path))()  # type: ignore[arg-type]

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    notebook = json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)
    told = notebook["cells"][0]["outputs"][0]
    assert {key: told[key] for key in saved} == saved
    read_notebook(path)


@pytest.mark.parametrize("depth", [40, 200, 400, 2000])
async def test_what_is_nested_so_deeply_that_it_cant_be_saved_is_cut_off(
    depth: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "n.ipynb"
    output = DisplayData({"application/json": nested(depth), **plain("shown")}, nested(depth))
    await Run(FakeKernel({"a": [output, Stream("stdout", "after")]}), "a", file=NotebookFile(path))()  # type: ignore[arg-type]
    notebook, _ = read_notebook(path)
    assert notebook.cells[0].outputs[0].data["text/plain"] == "shown"
    assert notebook.cells[0].outputs[1].text == "after"
    assert ("nested too deeply" in path.read_text(encoding="utf-8")) is (depth > 40)
