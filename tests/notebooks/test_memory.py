"""G7 A notebook that prints much takes the memory of its file, and little beside it; where a limit is set, of that."""

from __future__ import annotations

import gc
import json
import math
import tracemalloc
from pathlib import Path
from typing import Any

import pytest
import trio

from tools.notebook_tools import notebook_of
from trio_gateway import notebooks
from trio_gateway.testing import Cell, FakeGateway

pytestmark = pytest.mark.usefixtures("threads")
PIECE = ("x" * 99 + "\n") * 100
PIECES = 2_000
PRINTED = PIECES * len(PIECE)
BESIDE = 3_000_000
"""What all else may take: messages on their way, the fake's, the file's pieces."""


async def prints(cell: Cell) -> None:
    for _ in range(PIECES):
        cell.stdout(PIECE)
        await cell.sleep(0.001)  # until the client has it


async def memory_of(output: Path, *, reads: bool, **options: Any) -> tuple[int, notebooks.NotebookRun]:
    """Return the most memory that running the notebook took, in bytes."""
    unlimited: dict[str, Any] = {"iopub_msg_rate_limit": math.inf, "iopub_data_rate_limit": math.inf}
    async with FakeGateway(prints, **unlimited) as fake, fake.open(buffer_bytes=1_000_000) as gateway:
        gc.collect()
        tracemalloc.start()
        try:
            if reads:
                async with notebooks.open_run(gateway, notebook_of("a"), output=output, **options) as run:
                    async for event in run:
                        if isinstance(event, notebooks.CellOutput):
                            await trio.sleep(0.01)  # slower than the kernel prints
                result = run.result
            else:
                result = await notebooks.run(gateway, notebook_of("a"), output=output, **options)
            return tracemalloc.get_traced_memory()[1], result
        finally:
            tracemalloc.stop()


@pytest.mark.parametrize("reads", [False, True])
async def test_memory_grows_with_the_file_and_not_with_how_it_came(
    reads: bool, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    output = tmp_path / "out.ipynb"
    taken, result = await memory_of(output, reads=reads)
    assert result.output_gaps == ()
    (shown,) = json.loads(output.read_text())["cells"][0]["outputs"]
    assert "".join(shown["text"]) == PIECE * PIECES
    assert taken < 2 * PRINTED + BESIDE, "the text in pieces, and while it is joined the whole"


@pytest.mark.parametrize("reads", [False, True])
async def test_memory_is_bounded_where_a_limit_is_set(
    reads: bool, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    output = tmp_path / "out.ipynb"
    taken, result = await memory_of(output, reads=reads, max_output_bytes=100_000)
    (gap,) = result.output_gaps
    assert (gap.kind, gap.count) == ("overflow", PIECES - 10)
    (shown,) = json.loads(output.read_text())["cells"][0]["outputs"]
    assert "".join(shown["text"]) == PIECE * 10
    assert taken < BESIDE


async def prints_and_is_counted(cell: Cell) -> None:
    for _ in range(MANY_PIECES):
        cell.stdout(LARGE_PIECE)
        await cell.sleep(0.001)


LARGE_PIECE = PIECE * 5
MANY, AT_A_TIME, MANY_PIECES = 40, 4, 20
"""Forty notebooks that print a megabyte each, in few messages: what many take is in the tests above."""


@pytest.mark.parametrize("reads", [True, pytest.param(False, marks=pytest.mark.full)])
async def test_memory_of_many_is_that_of_those_that_run(
    reads: bool, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    """Also where their results are read late: then few wait, and no other job begins."""
    unlimited: dict[str, Any] = {"iopub_msg_rate_limit": math.inf, "iopub_data_rate_limit": math.inf}
    jobs = [notebooks.NotebookJob(notebook_of("a"), output=tmp_path / f"{number}.ipynb") for number in range(MANY)]
    async with FakeGateway(prints_and_is_counted, **unlimited) as fake, fake.open(buffer_bytes=1_000_000) as gateway:
        gc.collect()
        tracemalloc.start()
        try:
            async with notebooks.run_many(gateway, jobs, limit=AT_A_TIME) as runs:
                if not reads:
                    await trio.sleep(1000)
                done = 0
                async for run in runs:
                    assert (run.status, run.output_gaps) == ("ok", ())
                    done += 1
                    del run
            taken = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert done == MANY
    printed = MANY_PIECES * len(LARGE_PIECE)
    held = AT_A_TIME * (2 if reads else 3)  # those that run, their results, and those that wait for their reader
    assert taken < held * 2 * printed + BESIDE < MANY * printed
