"""How a notebook's run ended: in words, and as an exit code. Pure: no printing here.

The one idea: whatever ended a run, the words name the cell and where what there is was saved.
"""

from __future__ import annotations

from typing import Final

import attrs

from .. import notebooks
from .asking import NO_TERMINAL, nobody_to_ask, wanted_input
from .exits import ExitCode, exit_code_of
from .progress import title_of
from .wording import Failure, describe

__all__ = ["code_of_run", "counts_of", "failure_of_run", "place_of", "running_cell"]

_OPTIONS: Final = {"timeout": "--timeout", "cell_timeout": "--cell-timeout"}


def place_of(cell: notebooks.CellRun, total: int) -> str:
    """Return which cell this is, in words."""
    return f"cell {cell.number} of {total} ({title_of(cell.source)})"


def running_cell(run: notebooks.NotebookRun) -> notebooks.CellRun | None:
    """Return the cell that had begun and not ended, if there is one."""
    return next((cell for cell in run.cells if cell.status == "pending" and cell.started is not None), None)


def failure_of_run(
    run: notebooks.NotebookRun, *, total: int | None = None, asks_nobody: str = NO_TERMINAL, local: bool = False
) -> Failure | None:
    """Say why a run was no success; None if it was one.

    Args:
        run: what came of it.
        total: how many cells were to run, where its cells don't tell.
        asks_nobody: why nobody is asked for input, where it asks.
        local: whether the gateway is one that was started for the command.
    """
    total = _total(run) if total is None else total
    match run.status:
        case "error" if run.failed_cell is not None and run.error is not None:
            place, error = place_of(run.failed_cell, total), run.error
            if wanted_input(error):
                in_vain = nobody_to_ask(asks_nobody)
                return attrs.evolve(in_vain, message=f"{place}: {in_vain.message}")
            return Failure("ExecutionError", f"{place} raised {error.ename}: {error.evalue}")
        case "timeout" if run.failed_cell is not None and isinstance(run.failure, notebooks.NotebookTimeoutError):
            limit = f"{run.failure.limit:g} s ({_OPTIONS[run.failure.option]})"
            return Failure("OutOfTimeError", f"{place_of(run.failed_cell, total)} was interrupted: the limit is {limit}")
        case "ok":
            return None
        case _:
            cell = running_cell(run)
            if run.status == "cancelled" or run.failure is None:
                return Failure("Interrupted", "interrupted" if cell is None else f"interrupted in {place_of(cell, total)}")
            failure = describe(run.failure, local=local)
            return failure if cell is None else attrs.evolve(failure, message=f"{place_of(cell, total)}: {failure.message}")


def code_of_run(run: notebooks.NotebookRun) -> int:
    """Return the exit code for a run. One that a signal ended has none of its own."""
    match run.status:
        case "error":
            return ExitCode.CODE_FAILED
        case "timeout":
            return ExitCode.TIMEOUT
        case "failed" if run.failure is not None:
            return exit_code_of(run.failure)
        case _:
            return ExitCode.OK


def counts_of(run: notebooks.NotebookRun) -> str:
    """Say in one sentence how far a run came, and where it was saved."""
    ended = [cell for cell in run.cells if cell.status in ("ok", "error", "timeout")]
    counts = [f"Ran {len(ended)} of {_total(run)} cells in {run.seconds:.1f} s"]
    skipped = [cell.number > 0 for cell in run.cells if cell.status == "skipped"]
    if any(skipped):
        counts.append(f"{sum(skipped)} had run before")
    if not all(skipped):
        counts.append(f"{len(skipped) - sum(skipped)} skipped")
    own = {cell.index for cell in (run.failed_cell, run.ended_by) if cell is not None}
    for status, words in {"error": "raised an error, as allowed", "timeout": "ran out of time, as allowed"}.items():
        tolerated = sum(cell.status == status and cell.index not in own for cell in ended)
        if tolerated:
            counts.append(f"{tolerated} {words}")
    if run.ended_by is not None:
        counts.append(f"cell {run.ended_by.number} ended the run")
    saved = "" if run.output is None else f" Saved to {run.output}."
    return f"{', '.join(counts)}.{saved}"


def _total(run: notebooks.NotebookRun) -> int:
    return sum(cell.number > 0 for cell in run.cells)
