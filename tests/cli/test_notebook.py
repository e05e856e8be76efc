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


@pytest.mark.parametrize("value", ["", "0", "None", "False"])
async def test_sys_exit_of_no_code_ends_the_run_as_a_success(value: str, autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [Stream("stdout", "before"), Error("SystemExit", value)]})
    run = Run(kernel, "a", "b", allow_errors=True)
    await run()
    assert kernel.executed == ["a"]
    assert (run.run.failure, run.run.ended_by, run.run.done, run.run.tolerated) == (None, run.live.cells[0], 1, 0)
    assert run.final == [["before", "SystemExit"], []]


@pytest.mark.parametrize("value", ["3", "bad", "-1"])
async def test_sys_exit_of_another_code_is_an_error_as_any(value: str, autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [Error("SystemExit", value)]}), "a", "b")
    await run()
    assert (run.run.failure, run.run.ended_by) == ((run.live.cells[0], Error("SystemExit", value)), None)


async def test_a_cell_that_is_tagged_to_raise_may_exit_and_the_run_goes_on(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [Error("SystemExit", "0")]})
    run = Run(kernel, ("a", ["raises-exception"]), "b")
    await run()
    assert kernel.executed == ["a", "b"]
    assert (run.run.ended_by, run.run.tolerated) == (None, 1)


async def test_a_kernel_that_asks_to_leave_ends_the_run_after_that_cell(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel(
        {"a": [{"payload": [{"source": "set_next_input"}, {"source": "ask_exit"}]}, Stream("stdout", "to the end")]}
    )
    run = Run(kernel, "a", "b")
    await run()
    assert kernel.executed == ["a"]
    assert (run.run.failure, run.run.ended_by) == (None, run.live.cells[0])
    assert run.final == [["to the end"], []]


@pytest.mark.parametrize("payload", [None, 5, "ask_exit", ["ask_exit"], [{"source": "page"}]])
async def test_another_payload_ends_nothing(payload: object, autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [{"payload": payload}]})
    await Run(kernel, "a", "b")()
    assert kernel.executed == ["a", "b"]
