"""Runs of notebooks as values, for the tests of what is made of them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import nbformat.v4

from tools.notebook_tools import notebook_of
from trio_gateway import Error, GatewayError, OutputGap
from trio_gateway._cli.reports import RunReport
from trio_gateway._cli.wording import Failure
from trio_gateway.notebooks import CellRun, NotebookJob, NotebookRun

__all__ = ["BEGAN", "BOOM", "cell", "failed", "finished", "in_time", "run_of", "shown"]

BEGAN = datetime(2026, 1, 2, 3, 4, 5, 678000, UTC)
BOOM = Error("ValueError", "boom <b>", ("\x1b[31mTraceback\x1b[0m", "ValueError: boom <b>\x00\ud800"))


def cell(number: int, source: str = "x", status: Any = "ok", **traits: Any) -> CellRun:
    """A cell's result; its place in the notebook is its number."""
    traits = {"index": number - 1, "id": f"cell-{number - 1}", "seconds": 1.5, "started": BEGAN, "finished": BEGAN, **traits}
    return CellRun(number=number, source=source, status=status, **traits)


def run_of(*cells: CellRun, status: Any = "ok", name: str = "n.ipynb", outputs: Any = (), **traits: Any) -> NotebookRun:
    """A run's result; `outputs` are those of its cells."""
    notebook = notebook_of(*[each.source for each in cells])
    for node, shown in zip(notebook.cells, outputs, strict=False):
        node.outputs = [nbformat.from_dict(output) for output in shown]
    traits = {"kernel_id": "k-1", "kernel_name": "python3", "output": Path("out", name), **traits}
    return NotebookRun(
        status=status,
        cells=cells,
        notebook=notebook,
        name=name,
        job=NotebookJob(name),
        started=BEGAN,
        finished=BEGAN + timedelta(seconds=12.3456),
        seconds=12.3456,
        **traits,
    )


def shown(data: dict[str, Any]) -> dict[str, Any]:
    """An output as a notebook has it."""
    return {"output_type": "display_data", "data": data, "metadata": {}}


def finished(**traits: Any) -> RunReport:
    """A run that was a success, though something is missing of a cell's output."""
    gap = (OutputGap("lost", 3),)
    run = run_of(cell(1, "import this"), cell(2, "x\ny", output_gaps=gap), cell(0, "z", "skipped", index=2), **traits)
    return RunReport(run=run, path=Path("in", run.name))


def failed(**traits: Any) -> RunReport:
    """A run that a cell's error ended."""
    bad = cell(2, "\n<b> & 'boom'\nmore", "error", error=BOOM)
    rest = cell(3, "after", "pending", seconds=0.0, started=None, finished=None)
    run = run_of(cell(1), bad, rest, status="error", failed_cell=bad, **traits)
    return RunReport(run=run, path=Path(run.name), failure=Failure("ExecutionError", "cell 2 of 3 raised ValueError: boom <b>"))


def in_time(status: Any = "timeout", **traits: Any) -> RunReport:
    """A run that a limit ended, or that could not begin."""
    cells = [cell(1, "slow", "timeout")] if status == "timeout" else []
    more = (
        {"failed_cell": cells[0]}
        if cells
        else {"failure": GatewayError("no"), "kernel_id": "", "kernel_name": "", "output": None}
    )
    run = run_of(*cells, status=status, **more, **traits)
    return RunReport(run=run, path=Path(run.name), failure=Failure("OutOfTimeError", "too slow\x1b[2J"))
