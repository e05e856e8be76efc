"""How a run ended: in words, and as an exit code."""

from __future__ import annotations

from typing import Any

import pytest

from trio_gateway import ConnectionLostError, Error, InvalidInputError, KernelDiedError
from trio_gateway._cli.asking import SEVERAL_RUN
from trio_gateway._cli.outcomes import code_of_run, counts_of, failure_of_run
from trio_gateway.notebooks import NotebookRun, NotebookTimeoutError

from .report_kit import BOOM, cell, run_of

DIED = KernelDiedError("k", "the process ended")
RUNS = cell(2, "\n  slow()\nmore", "pending", finished=None)


def told(run: NotebookRun, **traits: Any) -> tuple[str, str] | None:
    failure = failure_of_run(run, **traits)
    return None if failure is None else (failure.type, failure.message)


def test_a_success_has_no_words_and_no_code() -> None:
    assert (failure_of_run(run_of(cell(1))), code_of_run(run_of(cell(1)))) == (None, 0)


def test_an_error_names_its_cell() -> None:
    run = run_of(
        cell(1), bad := cell(2, "b\x1b", "error", error=BOOM), cell(0, status="skipped", index=2), status="error", failed_cell=bad
    )
    assert told(run) == ("ExecutionError", "cell 2 of 2 (b\\x1b) raised ValueError: boom <b>")
    assert code_of_run(run) == 1


def test_input_that_nobody_gives_names_its_cell_and_says_what_to_do() -> None:
    asks = cell(2, "input()", "error", error=Error("StdinNotImplementedError", "no"))
    run = run_of(cell(1), asks, status="error", failed_cell=asks)
    kind, words = told(run) or ("", "")
    assert kind == "StdinNotImplementedError"
    assert words.startswith("cell 2 of 2 (input()): the code asks for input, and standard input is no terminal: ")
    assert SEVERAL_RUN in (told(run, asks_nobody=SEVERAL_RUN) or ("", ""))[1]


@pytest.mark.parametrize(("option", "words"), [("timeout", "--timeout"), ("cell_timeout", "--cell-timeout")])
def test_a_limit_names_the_cell_and_its_option(option: Any, words: str) -> None:
    slow = cell(1, "slow()", "timeout")
    run = run_of(slow, status="timeout", failed_cell=slow, failure=NotebookTimeoutError("n", 1, "slow()", option, 2.5))
    assert told(run) == ("OutOfTimeError", f"cell 1 of 1 (slow()) was interrupted: the limit is 2.5 s ({words})")
    assert code_of_run(run) == 4


@pytest.mark.parametrize(
    ("failure", "code"), [(DIED, 5), (ConnectionLostError("cut"), 5), (InvalidInputError("output", "o", "a file"), 2)]
)
def test_a_gateways_failure_names_the_cell_that_ran(failure: Any, code: int) -> None:
    run = run_of(cell(1), RUNS, cell(3, "c", "pending", started=None), status="failed", failure=failure)
    kind, words = told(run) or ("", "")
    assert kind == type(failure).__name__
    assert words.startswith("cell 2 of 3 (slow()): ")
    assert code_of_run(run) == code
    before = run_of(status="failed", failure=failure)
    assert "cell" not in (told(before) or ("", ""))[1].partition(":")[0]


def test_a_signal_names_the_cell_that_it_interrupted() -> None:
    status: Any = "cancelled"
    assert told(run_of(cell(1), RUNS, status=status)) == ("Interrupted", "interrupted in cell 2 of 2 (slow())")
    assert told(run_of(RUNS, status=status), total=9) == ("Interrupted", "interrupted in cell 2 of 9 (slow())")
    assert told(run_of(cell(1), status=status)) == ("Interrupted", "interrupted")
    assert code_of_run(run_of(cell(1), status=status)) == 0


def test_how_far_it_came_and_where_it_is() -> None:
    may = cell(1, status="error", error=BOOM)
    cells = [
        may,
        cell(2, status="timeout"),
        cell(0, status="skipped", index=2),
        cell(4, index=3),
        cell(5, status="pending", index=4),
    ]
    assert counts_of(run_of(*cells, ended_by=cells[3])) == (
        "Ran 3 of 4 cells in 12.3 s, 1 skipped, 1 raised an error, as allowed, 1 ran out of time, as allowed, "
        "cell 4 ended the run. Saved to out/n.ipynb."
    )
    assert counts_of(run_of(may, status="error", failed_cell=may, output=None)) == "Ran 1 of 1 cells in 12.3 s."
