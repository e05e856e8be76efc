"""When a notebook is saved while it runs: soon, never for long, and at its end whatever ends it."""

from __future__ import annotations

import json
import tempfile
import threading
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import trio

from tools.notebook_tools import FakeKernel, Threads, texts_of
from trio_gateway import (
    InvalidInputError,
    KernelDiedError,
    Stream,
)
from trio_gateway._notebooks import saver as saving
from trio_gateway._notebooks.file import NotebookFile
from trio_gateway._notebooks.saver import Saver, stop_savers

from .notebook_kit import RecordingFile, Run

pytestmark = pytest.mark.usefixtures("threads")


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
    assert isinstance((await run()).failure, KernelDiedError)
    assert run.final == [["1"]]


async def test_a_file_that_can_not_be_written_is_told_once_and_fails_the_run_only_at_its_end(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written (No space left on device)")
    kernel = FakeKernel({"a": [Stream("stdout", "1"), partial(trio.sleep, 10)], "b": [Stream("stdout", "2")]})
    run = Run(kernel, "a", "b", file=file)
    result = await run()
    assert result.status == "failed"
    assert "No space left" in str(result.failure)
    assert kernel.executed == ["a", "b"]
    first, last = run.warnings
    assert "No space left" in first
    (saved,) = tmp_path.iterdir()  # noqa: ASYNC240
    assert saved.name.startswith("recorded-")
    assert f"it was saved as {saved} instead" in last
    assert [texts_of(cell) for cell in json.loads(saved.read_bytes())["cells"]] == [["1"], ["2"]]


async def test_a_notebook_that_can_be_saved_nowhere_is_told(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written")
    run = Run(FakeKernel({}), "a", file=file)
    assert (await run()).status == "failed"
    assert f"nor can it be saved in {tmp_path / 'gone'}: No such file or directory" in run.warnings[-1]


async def test_a_save_that_failed_is_tried_again(autojump_clock: trio.testing.MockClock) -> None:
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written")

    async def recover() -> None:
        await trio.sleep(1)
        file.failure = None

    run = Run(FakeKernel({"a": [Stream("stdout", "1"), recover, file.saved, KernelDiedError("id", "gone")]}), "a", file=file)
    assert isinstance((await run()).failure, KernelDiedError)
    assert file.saves[0] == (2, [["1"]])


async def test_a_failing_save_does_not_hide_what_ended_the_run(
    autojump_clock: trio.testing.MockClock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    file: Any = RecordingFile()
    file.failure = InvalidInputError("--output", "x", "a file that can be written")
    run = Run(FakeKernel({"a": [KernelDiedError("id", "gone")]}), "a", file=file)
    assert isinstance((await run()).failure, KernelDiedError)
    assert "instead" in run.warnings[-1]


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
    run = Run(FakeKernel({"a": [Stream("stdout", "1")]}), "a", file=NotebookFile(path))
    await run()
    assert [texts_of(cell) for cell in json.loads(path.read_text())["cells"]] == [["1"]]


def test_savers_are_stopped_when_what_they_write_is_written_and_write_no_more(monkeypatch: pytest.MonkeyPatch) -> None:
    """As at a second Ctrl-C: each save that has begun ends, none begins, and what they have is one limit for all."""
    monkeypatch.setattr(saving, "_LAST_SAVE", 200.0)
    began, go_on = threading.Event(), threading.Event()
    done: list[str] = []

    class Slow(Saver):
        def __init__(self, name: str) -> None:
            self._name = name
            self._lock = threading.Lock()

        def write(self) -> None:
            with self._lock:
                began.set()
                go_on.wait(200)
                done.append(self._name)

    first, idle = Slow("first"), Slow("idle")
    thread = threading.Thread(target=first.write)
    thread.start()
    began.wait(200)
    waker = threading.Timer(0, go_on.set)
    waker.start()
    stop_savers([idle, first])
    assert done == ["first"]
    for saver in (idle, first):
        assert not saver._lock.acquire(blocking=False)
    thread.join()
    waker.join()
