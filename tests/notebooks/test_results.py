"""What a result says of its run, and what it raises."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from trio_gateway import Error, ExecutionError, GatewayError, KernelDiedError, OutputGap
from trio_gateway._notebooks.options import NotebookJob
from trio_gateway._notebooks.results import CellError, CellRun, NotebookRun, NotebookTimeoutError

NOON = datetime(2026, 1, 1, 12, tzinfo=UTC)


def cell(number: int, source: str = "x = 1", **fields: Any) -> CellRun:
    return CellRun(number=number, index=number, id=f"c{number}", source=source, **fields)


def result(*cells: CellRun, **fields: Any) -> NotebookRun:
    given: dict[str, Any] = {"status": "ok", "name": "n.ipynb", **fields}
    return NotebookRun(cells=cells, notebook={}, job=NotebookJob("n.ipynb"), started=NOON, finished=NOON, seconds=0.0, **given)


@pytest.mark.parametrize(
    ("source", "title"), [("x", "x"), ("\n \n  x = 1 \ny", "x = 1"), ("", ""), ("y" * 61, "y" * 59 + "…"), ("y" * 60, "y" * 60)]
)
def test_a_cells_title_is_its_first_line_with_something_on_it(source: str, title: str) -> None:
    assert cell(1, source).title == title


def test_a_result_may_have_no_run() -> None:
    """Its job was not begun, or its notebook could not be read."""
    run = NotebookRun(status="pending", job=NotebookJob("n.ipynb"), started=NOON, finished=NOON + timedelta(seconds=3))
    assert (run.cells, run.notebook, run.output, run.kernel_id, run.output_gaps, run.seconds) == ((), None, None, "", (), 3)


def test_a_success_is_returned() -> None:
    run = result(cell(1, status="ok"))
    assert run.raise_for_error() is run
    assert run.error is None


def test_a_cells_error_is_raised_with_the_cell() -> None:
    failed = cell(2, "1 / 0", status="error", error=Error("ZeroDivisionError", "division by zero", ("Traceback",)))
    run = result(cell(1), failed, status="error", failed_cell=failed)
    assert run.error == failed.error
    with pytest.raises(CellError) as caught:
        run.raise_for_error()
    error = caught.value
    assert isinstance(error, ExecutionError)
    assert str(error) == "n.ipynb: cell 2 (1 / 0) raised ZeroDivisionError: division by zero"
    assert (error.number, error.title, error.traceback) == (2, "1 / 0", ("Traceback",))
    assert str(pickle.loads(pickle.dumps(error))) == str(error)


def test_a_limit_is_raised_with_the_cell() -> None:
    error = NotebookTimeoutError("n.ipynb", 1, "wait()", "cell_timeout", 2.5)
    failed = cell(1, "wait()", status="timeout")
    run = result(failed, status="timeout", failed_cell=failed, failure=error)
    with pytest.raises(TimeoutError) as caught:
        run.raise_for_error()
    assert isinstance(caught.value, GatewayError)
    assert str(caught.value) == "n.ipynb: cell 1 (wait()) was interrupted: cell_timeout is 2.5 s"
    again = pickle.loads(pickle.dumps(error))
    assert (str(again), again.number, again.option, again.limit) == (str(error), 1, "cell_timeout", 2.5)


def test_a_failure_is_raised_as_it_is() -> None:
    with pytest.raises(KernelDiedError, match="gone"):
        result(cell(1), status="failed", failure=KernelDiedError("id", "gone")).raise_for_error()


def test_gaps_are_those_of_all_cells() -> None:
    one, two = OutputGap("lost", 1), OutputGap("rate_limited")
    assert result(cell(1, output_gaps=(one,)), cell(2), cell(3, output_gaps=(two,))).output_gaps == (one, two)
