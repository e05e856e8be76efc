"""On which kernel a notebook runs, from which cell on, and what becomes of the kernel; in virtual time."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import nbformat
import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from tools.notebook_tools import texts_of, write_notebook
from trio_gateway import ConnectionLostError, GatewayHTTPError, InvalidInputError, KernelDiedError, notebooks
from trio_gateway.testing import FakeGateway, FakeKernelSpec

pytestmark = pytest.mark.usefixtures("threads")

CELLS = ("a = 1\nprint('made a')", "b = a + 1\nprint('made b')", "print(b / 0)", "print(a + b)")
MENDED = (*CELLS[:2], "print(b / 1)", CELLS[3])


@attrs.define
class Stage:
    """A gateway, and a notebook on it that is saved where it is."""

    fake: FakeGateway
    gateway: trio_gateway.Gateway
    path: Path

    async def run(self, **settings: Any) -> notebooks.NotebookRun:
        given: dict[str, Any] = {"output": self.path, "keep_kernel": "on_error", **settings}
        return await notebooks.run(self.gateway, self.path, **given)

    def edit(self, *sources: str) -> None:
        """Change the cells' code as an editor does, which leaves everything else as it is."""
        notebook = json.loads(self.path.read_text())
        for number, source in enumerate(sources):
            if number < len(notebook["cells"]):
                notebook["cells"][number]["source"] = source
        self.path.write_text(json.dumps(notebook))

    @property
    def saved(self) -> Any:
        return json.loads(self.path.read_text())

    @property
    def texts(self) -> list[list[str]]:
        return [texts_of(cell) for cell in self.saved["cells"]]


@pytest.fixture
async def stage(tmp_path: Path, threads: Any) -> AsyncGenerator[Stage]:
    specs = [FakeKernelSpec(name="python3"), FakeKernelSpec(name="other")]
    async with FakeGateway(kernelspecs=specs) as fake, fake.open() as gateway:
        yield Stage(fake, gateway, write_notebook(tmp_path / "n.ipynb", *CELLS, kernel=None))


def statuses(run: notebooks.NotebookRun) -> list[str]:
    return [cell.status for cell in run.cells]


# ------------------------------------------------------------------------------------------------- a kernel that is left


async def test_a_kernel_is_left_where_that_is_asked_for_and_the_run_does_not_end_well(
    stage: Stage, autojump_clock: MockClock
) -> None:
    failed = await stage.run()
    assert (failed.status, failed.kernel_left) == ("error", True)
    assert list(stage.fake.kernels) == [failed.kernel_id]


async def test_and_in_no_other_case(stage: Stage, autojump_clock: MockClock) -> None:
    failed = await stage.run(keep_kernel="never")
    assert (failed.status, failed.kernel_left) == ("error", False)
    assert "trio_gateway" not in stage.saved["metadata"]
    stage.edit(*MENDED)
    well = await stage.run()
    assert (well.status, well.kernel_left) == ("ok", False)
    assert "trio_gateway" not in stage.saved["metadata"]
    assert not stage.fake.kernels


async def test_a_kernel_is_left_at_a_limit_too(stage: Stage, autojump_clock: MockClock) -> None:
    stage.edit(CELLS[0], "import time\ntime.sleep(100)")
    late = await stage.run(cell_timeout=5)
    assert (late.status, late.kernel_left) == ("timeout", True)
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert (statuses(well), well.kernel_left) == (["skipped", "ok", "ok", "ok"], False)
    assert not stage.fake.kernels


async def test_a_run_that_is_cancelled_leaves_none(stage: Stage, autojump_clock: MockClock) -> None:
    """G2"""
    stage.edit(CELLS[0], "import time\ntime.sleep(100)")
    with trio.move_on_after(5) as scope:
        await stage.run()
    assert scope.cancelled_caught
    assert not stage.fake.kernels
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert "is gone" in well.resumption
    assert statuses(well) == ["ok"] * 4


async def test_a_kernel_that_has_died_is_not_left(stage: Stage, autojump_clock: MockClock) -> None:
    stage.edit(CELLS[0], "import os\nos._exit(1)")
    with pytest.raises(trio_gateway.KernelError):
        await stage.run()
    assert not stage.fake.kernels


async def test_a_kernel_that_can_not_be_reached_when_it_is_started_is_not_left(stage: Stage, autojump_clock: MockClock) -> None:
    """G2: it has run nothing."""
    stage.fake.faults.answer("GET .*/channels", 403)
    with pytest.raises(GatewayHTTPError):
        await stage.run()
    assert not stage.fake.kernels


async def test_a_kernel_whose_connection_is_lost_is_left(stage: Stage, autojump_clock: MockClock) -> None:
    """What stopped the run has nothing to do with it, and hours of work may be in it."""
    stage.edit(CELLS[0], "import time\ntime.sleep(10)\nc = 1")
    async with stage.fake.open(reconnect_timeout=5) as gateway:
        fault = None
        with pytest.raises(ConnectionLostError):
            async with notebooks.open_run(gateway, stage.path, output=stage.path, keep_kernel="on_error") as run:
                async for event in run:
                    if isinstance(event, notebooks.CellStarted) and event.cell.number == 2:
                        stage.fake.cut_connections()
                        fault = stage.fake.faults.refuse()
        assert run.result.kernel_left
        assert list(stage.fake.kernels) == [run.result.kernel_id]
        assert fault is not None
        fault.remove()
    await trio.sleep(60)
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert (statuses(well), well.kernel_id) == (["skipped", "ok", "ok", "ok"], run.result.kernel_id)


async def test_in_a_block_too_and_what_its_body_raises_changes_nothing(stage: Stage, autojump_clock: MockClock) -> None:
    with pytest.raises(ZeroDivisionError):
        async with notebooks.open_run(stage.gateway, stage.path, keep_kernel="on_error") as run:
            events = [event async for event in run]
            assert isinstance(events[-1], notebooks.RunFinished)
            assert events[-1].run.kernel_left
            raise ZeroDivisionError
    assert list(stage.fake.kernels) == [run.result.kernel_id]


# ------------------------------------------------------------------------------------------------- going on


async def test_a_run_goes_on_at_the_failed_cell_on_the_kernel_that_is_still_there(
    stage: Stage, autojump_clock: MockClock
) -> None:
    failed = await stage.run()
    before = stage.saved["cells"]
    assert statuses(failed) == ["ok", "ok", "error", "pending"]
    stage.edit(*MENDED)
    events: list[Any] = []
    async with notebooks.open_run(stage.gateway, stage.path, output=stage.path, resume=True) as run:
        events = [event async for event in run]
    well = run.result
    assert (well.status, well.kernel_id, well.resumption) == ("ok", failed.kernel_id, "the last run stopped at cell 3")
    assert statuses(well) == ["skipped", "skipped", "ok", "ok"]
    assert [cell.execution_count for cell in well.cells] == [1, 2, 4, 5]
    assert stage.texts == [["made a\n"], ["made b\n"], ["2.0\n"], ["3\n"]]
    assert stage.saved["cells"][:2] == before[:2], "the cells that ran are as they were"
    assert "trio_gateway" not in stage.saved["metadata"]
    started = next(event for event in events if isinstance(event, notebooks.RunStarted))
    assert (started.cells, started.first_cell, started.resumption) == (4, 3, "the last run stopped at cell 3")
    assert [event.cell.number for event in events if isinstance(event, notebooks.CellStarted)] == [3, 4]


async def test_the_kernel_that_was_left_ends_with_the_run_that_ends_well_there(stage: Stage, autojump_clock: MockClock) -> None:
    """G2: it was left for nothing else."""
    await stage.run()
    stage.edit(*MENDED)
    well = await stage.run(resume=True, keep_kernel="never")
    assert not well.kernel_left
    assert not stage.fake.kernels


async def test_a_run_that_stops_again_leaves_it_again(stage: Stage, autojump_clock: MockClock) -> None:
    failed = await stage.run()
    for _ in range(3):
        again = await stage.run(resume=True, keep_kernel="never")
        assert (again.status, again.kernel_id, again.kernel_left) == ("error", failed.kernel_id, True)
        assert statuses(again) == ["skipped", "skipped", "error", "pending"]
    with trio.move_on_after(1):
        stage.edit(*CELLS[:2], "import time\ntime.sleep(100)")
        await stage.run(resume=True)
    assert list(stage.fake.kernels) == [failed.kernel_id], "this run did not start it"
    stage.edit(*MENDED)
    assert (await stage.run(resume=True)).status == "ok"
    assert not stage.fake.kernels


async def test_what_ran_before_an_edited_cell_is_left_as_it_is(stage: Stage, autojump_clock: MockClock) -> None:
    await stage.run()
    stage.edit(CELLS[0], "b = a + 10\nprint('made another b')", *MENDED[2:])
    well = await stage.run(resume=True)
    assert well.resumption == "cell 2 is not the one that the last run ran there"
    assert statuses(well) == ["skipped", "ok", "ok", "ok"]
    assert stage.texts == [["made a\n"], ["made another b\n"], ["11.0\n"], ["12\n"]]


async def test_a_cell_whose_error_the_run_went_past_has_run(stage: Stage, autojump_clock: MockClock) -> None:
    notebook = nbformat.read(stage.path, as_version=4)
    notebook.cells[1].metadata["tags"] = ["raises-exception"]
    nbformat.write(notebook, stage.path)
    stage.edit("a, b = 1, 1", "1 / 0", "c", "print('end')")
    assert statuses(await stage.run()) == ["ok", "error", "error", "pending"]
    stage.edit("a, b = 1, 1", "1 / 0", "c = 1")
    assert statuses(await stage.run(resume=True)) == ["skipped", "skipped", "ok", "ok"]


async def test_where_all_cells_have_run_nothing_is_left_to_do(stage: Stage, autojump_clock: MockClock) -> None:
    await stage.run()
    notebook = stage.saved
    del notebook["cells"][2:]
    stage.path.write_text(json.dumps(notebook))
    well = await stage.run(resume=True)
    assert (well.status, statuses(well), well.resumption) == ("ok", ["skipped", "skipped"], "all cells have run")
    assert not stage.fake.kernels


async def test_a_run_that_wrote_another_file_goes_on_from_that(stage: Stage, autojump_clock: MockClock, tmp_path: Path) -> None:
    output = tmp_path / "out.ipynb"
    await stage.run(output=output)
    assert stage.texts == [[], [], [], []]
    stage.edit(*MENDED)
    well = await stage.run(output=output, resume=True)
    assert statuses(well) == ["skipped", "skipped", "ok", "ok"]
    saved = json.loads(output.read_text())
    assert [texts_of(cell) for cell in saved["cells"]] == [["made a\n"], ["made b\n"], ["2.0\n"], ["3\n"]]
    assert [cell["execution_count"] for cell in saved["cells"]] == [1, 2, 4, 5]
    assert [texts_of(cell) for cell in well.notebook.cells] == [["made a\n"], ["made b\n"], ["2.0\n"], ["3\n"]]


async def test_parameters_are_part_of_what_ran(stage: Stage, autojump_clock: MockClock, tmp_path: Path) -> None:
    write_notebook(stage.path, ("a = 1", ["parameters"]), "b = a", "print(b / 0)", kernel="python3")
    output = tmp_path / "out.ipynb"
    assert statuses(await stage.run(output=output, parameters={"a": 2})) == ["ok", "ok", "ok", "error"]
    stage.edit("a = 1", "b = a", "print(b / 1)")
    again = await stage.run(output=output, parameters={"a": 2}, resume=True)
    assert statuses(again) == ["skipped", "skipped", "skipped", "ok"]
    stage.edit("a = 1", "b = a", "print(b / 0)")
    await stage.run(output=output, parameters={"a": 2})
    stage.edit("a = 1", "b = a", "print(b / 1)")
    other = await stage.run(output=output, parameters={"a": 3}, resume=True)
    assert statuses(other) == ["skipped", "ok", "ok", "ok"]
    saved = json.loads(output.read_text())
    assert texts_of(saved["cells"][-1]) == ["3.0\n"]
    assert {cell["metadata"]["papermill"]["status"] for cell in saved["cells"]} == {"completed"}


async def test_a_file_to_write_that_is_no_notebook_tells_nothing(stage: Stage, autojump_clock: MockClock, tmp_path: Path) -> None:
    await stage.run()
    stage.edit(*MENDED)
    (tmp_path / "out.ipynb").write_text("nonsense")
    well = await stage.run(output=tmp_path / "out.ipynb", resume=True)
    assert statuses(well) == ["skipped", "skipped", "ok", "ok"]


# ------------------------------------------------------------------------------------------------- beginning anew


async def test_a_file_that_tells_of_no_run_is_run_from_the_first_cell(stage: Stage, autojump_clock: MockClock) -> None:
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert (well.status, well.resumption) == ("ok", "the file tells of no run that stopped")
    assert (await stage.run()).resumption == ""


async def test_the_kernel_is_gone(stage: Stage, autojump_clock: MockClock) -> None:
    failed = await stage.run()
    await stage.gateway.kernels.shutdown(failed.kernel_id)
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert (statuses(well), well.resumption) == (["ok"] * 4, f"the last run's kernel {failed.kernel_id} is gone")
    assert not stage.fake.kernels


async def test_the_kernel_was_restarted(stage: Stage, autojump_clock: MockClock) -> None:
    """Somebody has a use for it, so it stays, and that is said."""
    failed = await stage.run()
    await stage.gateway.kernels.restart(failed.kernel_id)
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert statuses(well) == ["ok"] * 4
    assert well.resumption == f"kernel {failed.kernel_id} was restarted since the last run; it runs on"
    assert (list(stage.fake.kernels), well.kernel_left) == ([failed.kernel_id], False)


async def test_the_first_cell_was_edited(stage: Stage, autojump_clock: MockClock) -> None:
    """G2: the kernel that was left is of no use any more."""
    failed = await stage.run()
    stage.edit("a = 5", *MENDED[1:])
    well = await stage.run(resume=True)
    assert (statuses(well), well.resumption) == (["ok"] * 4, "cell 1 is not the one that the last run ran there")
    assert well.kernel_id != failed.kernel_id
    assert not stage.fake.kernels


async def test_another_kernelspec_is_asked_for(stage: Stage, autojump_clock: MockClock) -> None:
    failed = await stage.run()
    stage.edit(*MENDED)
    assert statuses(await stage.run(resume=True, kernel_name="PYTHON3")) == ["skipped", "skipped", "ok", "ok"]
    stage.edit(*CELLS)
    failed = await stage.run()
    stage.edit(*MENDED)
    well = await stage.run(resume=True, kernel_name="other")
    assert (statuses(well), well.kernel_name) == (["ok"] * 4, "other")
    assert well.resumption == f"the last run's kernel {failed.kernel_id} is python3, not other"
    assert not stage.fake.kernels


async def test_a_kernel_that_dies_while_it_is_looked_at_is_gone(
    stage: Stage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = await stage.run()

    async def die(kernel: trio_gateway.Kernel) -> str:
        await kernel.shutdown()
        raise KernelDiedError(kernel.id, "just now")

    monkeypatch.setattr(trio_gateway.Kernel, "ask_process", die)
    stage.edit(*MENDED)
    well = await stage.run(resume=True, keep_kernel="never")
    assert (statuses(well), well.resumption) == (["ok"] * 4, f"the last run's kernel {failed.kernel_id} is gone")


async def test_a_kernel_that_does_not_tell_its_process(
    stage: Stage, autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As IRkernel: it may have been restarted, by somebody who has a use for it."""

    async def tell_nothing(kernel: trio_gateway.Kernel) -> str:
        await trio.lowlevel.checkpoint()
        return ""

    monkeypatch.setattr(trio_gateway.Kernel, "ask_process", tell_nothing)
    failed = await stage.run()
    stage.edit(*MENDED)
    well = await stage.run(resume=True)
    assert statuses(well) == ["ok"] * 4
    told = f"kernel {failed.kernel_id} does not tell whether it is the process that it was; it runs on"
    assert (well.resumption, list(stage.fake.kernels)) == (told, [failed.kernel_id])


async def test_what_a_file_tells_can_not_lead_anywhere_else(stage: Stage, autojump_clock: MockClock) -> None:
    notebook = stage.saved
    notebook["metadata"]["trio_gateway"] = {
        "resume": {"kernel_id": "../kernelspecs/x?y", "process": "p", "is_left": True, "cells": []}
    }
    stage.path.write_text(json.dumps(notebook))
    stage.edit(*MENDED)
    assert (await stage.run(resume=True)).status == "ok"
    assert "GET /api/kernelspecs/x" not in str(stage.fake.conversation)


# ------------------------------------------------------------------------------------------------- open kernels


@asynccontextmanager
async def open_kernel(stage: Stage) -> AsyncGenerator[trio_gateway.Kernel]:
    async with stage.gateway.start_kernel() as kernel:
        yield kernel


async def test_an_open_kernel_is_gone_on_with_and_stays(stage: Stage, autojump_clock: MockClock) -> None:
    async with open_kernel(stage) as kernel:
        failed = await notebooks.run(kernel, stage.path, output=stage.path, keep_kernel="on_error")
        assert (failed.status, failed.kernel_left) == ("error", False), "its caller has it"
        stage.edit(*MENDED)
        well = await notebooks.run(kernel, stage.path, output=stage.path, resume=True)
        assert (statuses(well), well.kernel_left) == (["skipped", "skipped", "ok", "ok"], False)
        assert (await kernel.execute("b")).text == "2"


async def test_an_open_kernel_that_was_restarted_is_begun_with_anew(stage: Stage, autojump_clock: MockClock) -> None:
    async with open_kernel(stage) as kernel:
        await notebooks.run(kernel, stage.path, output=stage.path, keep_kernel="on_error")
        await kernel.restart()
        stage.edit(*MENDED)
        well = await notebooks.run(kernel, stage.path, output=stage.path, resume=True)
        assert statuses(well) == ["ok"] * 4
        assert well.resumption == f"kernel {kernel.id} was restarted since the last run"
    async with open_kernel(stage) as another:
        stage.edit(*CELLS)
        await notebooks.run(another, stage.path, output=stage.path, keep_kernel="on_error")
        async with open_kernel(stage) as third:
            again = await notebooks.run(third, stage.path, output=stage.path, resume=True)
            assert again.resumption == f"the last run was on another kernel, {another.id}"


async def test_somebodys_kernel_is_gone_on_with_through_the_gateway_and_stays(stage: Stage, autojump_clock: MockClock) -> None:
    """G2: it was not started for the notebook."""
    async with open_kernel(stage) as kernel:
        await notebooks.run(kernel, stage.path, output=stage.path, keep_kernel="on_error")
        stage.edit(*MENDED)
        well = await stage.run(resume=True, keep_kernel="never")
        assert (statuses(well), well.kernel_left) == (["skipped", "skipped", "ok", "ok"], True)
        stage.edit(*CELLS)
        await notebooks.run(kernel, stage.path, output=stage.path, keep_kernel="on_error")
        stage.edit("a = 3", *MENDED[1:])
        anew = await stage.run(resume=True)
        assert anew.resumption == "cell 1 is not the one that the last run ran there; it runs on"
        assert (await kernel.execute("b")).text == "2"


async def test_of_a_run_on_an_open_kernel_nothing_is_noted_unless_it_is_asked_for(
    stage: Stage, autojump_clock: MockClock
) -> None:
    async with open_kernel(stage) as kernel:
        await notebooks.run(kernel, stage.path, output=stage.path)
        assert "trio_gateway" not in stage.saved["metadata"]
        await notebooks.run(kernel, stage.path, output=stage.path, resume=True)
        assert stage.saved["metadata"]["trio_gateway"]["resume"]["kernel_id"] == kernel.id


# ------------------------------------------------------------------------------------------------- what can't be used


async def test_options_that_make_no_sense_are_named_before_anything_runs(stage: Stage, autojump_clock: MockClock) -> None:
    with pytest.raises(InvalidInputError, match="keep_kernel"):
        await stage.run(keep_kernel="always")
    with pytest.raises(InvalidInputError, match="keep_kernel"):
        async with notebooks.run_many(stage.gateway, [stage.path], keep_kernel="on_error"):
            pytest.fail("it was entered")

    class Pool:
        start_kernel = stage.gateway.start_kernel

    pool: Any = Pool()
    with pytest.raises(InvalidInputError, match="keep_kernel"):
        await notebooks.run(pool, stage.path, keep_kernel="on_error")
    with pytest.raises(InvalidInputError, match="resume"):
        await notebooks.run(pool, stage.path, resume=True)
    stage.edit(*MENDED)
    assert (await notebooks.run(pool, stage.path)).status == "ok"
    async with notebooks.run_many(pool, [stage.path]) as runs:
        assert [run.status async for run in runs] == ["ok"]
    async with open_kernel(stage) as kernel:
        with pytest.raises(InvalidInputError, match="cwd"):
            await notebooks.run(kernel, stage.path, cwd=stage.path.parent)


async def test_many_may_be_resumed(stage: Stage, autojump_clock: MockClock, tmp_path: Path) -> None:
    paths = [write_notebook(tmp_path / f"{number}.ipynb", *CELLS, kernel=None) for number in range(3)]
    for path in paths[:2]:
        await notebooks.run(stage.gateway, path, output=path, keep_kernel="on_error")
        path.write_text(path.read_text().replace("b / 0", "b / 1"))
    jobs = [notebooks.NotebookJob(path, path) for path in paths]
    async with notebooks.run_many(stage.gateway, jobs, limit=2, resume=True) as runs:
        found = {run.name: statuses(run) async for run in runs}
    resumed = ["skipped", "skipped", "ok", "ok"]
    assert found == {"0.ipynb": resumed, "1.ipynb": resumed, "2.ipynb": ["ok", "ok", "error", "pending"]}
    assert not stage.fake.kernels


async def test_a_new_run_forgets_the_last_one(stage: Stage, autojump_clock: MockClock) -> None:
    failed = await stage.run()
    assert stage.saved["metadata"]["trio_gateway"]["resume"]["kernel_id"] == failed.kernel_id
    again = await notebooks.run(stage.gateway, stage.path, output=stage.path)
    assert (again.status, "trio_gateway" in stage.saved["metadata"]) == ("error", False)
