"""A notebook's run: which cells run, and what ends it; with a kernel that is faked, in virtual time."""

from __future__ import annotations

import nbformat.v4
import pytest
import trio

from trio_gateway import (
    Error,
    ExecuteResult,
    OutputGap,
    Stream,
)

from .cli_kit import FakeKernel
from .notebook_kit import BOOM, Run, plain

pytestmark = pytest.mark.usefixtures("threads")


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
