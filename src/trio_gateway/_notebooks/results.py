"""What came of a notebook's run, and of each of its cells, as values. Pure.

The one idea: an error in a cell, and a limit that ran out, are results; a caller that wants an exception asks for it.
"""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any, Final, Literal

import attrs

from .._errors import ExecutionError, GatewayError
from .._outputs import Error, OutputGap
from .options import NotebookJob

__all__ = ["CellError", "CellRun", "NotebookRun", "NotebookStoppedError", "NotebookTimeoutError"]

_LONGEST_TITLE: Final = 60


@attrs.frozen(kw_only=True)
class CellRun:
    """What came of one code cell, up to the moment that this value is of."""

    number: int
    """Its place among the cells that run, from 1; 0 for one that is tagged `skip-execution`."""
    index: int
    """Its place in the notebook's list of cells, from 0."""
    id: str | None
    """Its id in the notebook; None where the notebook's format has none."""
    source: str = attrs.field(repr=False)
    """Its code."""
    status: Literal["ok", "error", "timeout", "skipped", "pending"] = "pending"
    """How it ended: `"timeout"` by a limit. `"skipped"`: it was left as it is, for its tag, or for it had run when the run was
    resumed behind it. `"pending"`: it has not ended."""
    error: Error | None = None
    """The error that it ended with."""
    execution_count: int | None = None
    """The number that the kernel gave to its execution."""
    started: datetime | None = None
    """When it began, in UTC; None where it has not."""
    finished: datetime | None = None
    """When it had ended, in UTC; None where it has not."""
    seconds: float = 0.0
    """How long it took, in seconds."""
    output_gaps: tuple[OutputGap, ...] = ()
    """Why its output is not whole; empty when it is."""

    @property
    def title(self) -> str:
        """The first line of its code with something on it, shortened."""
        title = next((line.strip() for line in self.source.splitlines() if line.strip()), "")
        return title if len(title) <= _LONGEST_TITLE else f"{title[: _LONGEST_TITLE - 1]}…"


class CellError(ExecutionError):
    """A cell of a notebook raised an error, which ended the run. Raised by `NotebookRun.raise_for_error()`.

    Args:
        name: the notebook's name.
        number: the cell's number.
        title: its first line.
        error: its error.
    """

    number: int
    """The cell's place among those that run, from 1."""
    title: str
    """The first line of its code."""

    def __init__(self, name: str, number: int, title: str, error: Error) -> None:
        super().__init__(error.ename, error.evalue, error.traceback)
        self.name = name
        self.number = number
        self.title = title

    def __str__(self) -> str:
        return f"{self.name}: cell {self.number} ({self.title}) raised {super().__str__()}"


class NotebookTimeoutError(GatewayError, TimeoutError):
    """A limit of a notebook's run has run out: the cell was interrupted. Raised by `NotebookRun.raise_for_error()`.

    Args:
        name: the notebook's name.
        number: the number of the cell that ran.
        title: its first line.
        option: the limit's name: `"timeout"`, that of all cells together, or `"cell_timeout"`.
        limit: the limit, in seconds.
    """

    number: int
    """The place, among the cells that run, of the one that was interrupted, from 1."""
    title: str
    """The first line of its code."""
    option: Literal["timeout", "cell_timeout"]
    """Which limit it was."""
    limit: float
    """The limit, in seconds."""
    args: tuple[Any, ...]

    def __init__(self, name: str, number: int, title: str, option: Literal["timeout", "cell_timeout"], limit: float) -> None:
        super().__init__()
        self.args = (name, number, title, option, limit)  # OSError, a base, would take some of them for others
        self.name = name
        self.number = number
        self.title = title
        self.option = option
        self.limit = limit

    def __str__(self) -> str:
        return f"{self.name}: cell {self.number} ({self.title}) was interrupted: {self.option} is {self.limit:g} s"


class NotebookStoppedError(GatewayError):
    """A notebook's run was ended, or not begun, because another job did not end well and `stop_on_failure` was asked for.

    Raised by `NotebookRun.raise_for_error()`.

    Args:
        name: the notebook's name.
        other: the name of the job that did not end well.
    """

    other: str
    """The name of the job that did not end well."""

    def __init__(self, name: str, other: str) -> None:
        super().__init__(name, other)
        self.name = name
        self.other = other

    def __str__(self) -> str:
        return f"{self.name or 'notebook'}: it was stopped, for {self.other} did not end well"


@attrs.frozen(kw_only=True)
class NotebookRun:
    """What came of a notebook's run."""

    status: Literal["ok", "error", "timeout", "failed", "cancelled", "pending"]
    """How it ended: `"error"` by a cell's error, `"timeout"` by a limit, `"failed"` by its gateway, its kernel or its file.

    Of many jobs that `stop_on_failure` has ended: `"cancelled"`, or `"pending"` for one that had not begun."""
    cells: tuple[CellRun, ...] = ()
    """Its code cells in the notebook's order, but for empty ones, which don't run."""
    failed_cell: CellRun | None = None
    """The cell whose error or limit ended the run."""
    failure: GatewayError | None = None
    """What ended the run where no cell's error did: the gateway's or the kernel's failure, a limit that ran out, another job."""
    ended_by: CellRun | None = None
    """The cell that ended the run as a success before its last one, by `sys.exit()` or `exit()`."""
    notebook: Any = attrs.field(default=None, repr=False)
    """The notebook with the outputs, nbformat's node; None where none was read."""
    output: Path | None = None
    """Where it was saved; None: nowhere."""
    name: str = ""
    """The job's name, or that of the notebook's file; `""` where there is none."""
    job: NotebookJob = attrs.field(repr=False)
    """What was to be run."""
    kernel_id: str = ""
    """The id of the kernel that ran it; `""` where none could be started."""
    kernel_name: str = ""
    """The name of that kernel's kernelspec."""
    kernel_left: bool = False
    """Whether that kernel runs on, though nobody holds it: `keep_kernel` has left it, or `resume` has found one that is no run's.

    `gateway.kernels.shutdown(kernel_id)` ends it. One that was left ends too when a run that is resumed there ends well."""
    resumption: str = ""
    """Why the run began where it began, as a sentence without its full stop; `""` where it was not to be resumed."""
    started: datetime
    """When it began, in UTC."""
    finished: datetime
    """When it had ended, in UTC."""
    seconds: float = attrs.field(default=attrs.Factory(lambda run: (run.finished - run.started).total_seconds(), takes_self=True))
    """How long it took, in seconds."""

    @property
    def error(self) -> Error | None:
        """The error of the cell that ended the run; None where no cell's error did."""
        return None if self.failed_cell is None else self.failed_cell.error

    @property
    def output_gaps(self) -> tuple[OutputGap, ...]:
        """Why the outputs of cells are not whole, of all cells; empty when they are."""
        return tuple(gap for cell in self.cells for gap in cell.output_gaps)

    def raise_for_error(self) -> NotebookRun:
        """Return this result if the run was a success.

        Raises:
            CellError: a cell raised an error; it is an `ExecutionError` that names the cell.
            NotebookTimeoutError: a limit ran out.
            NotebookStoppedError: another job did not end well.
            GatewayError: the gateway, the kernel or the notebook's file failed.
        """
        if self.failure is not None:
            raise self.failure
        if self.failed_cell is not None and self.failed_cell.error is not None:
            raise CellError(self.name or "notebook", self.failed_cell.number, self.failed_cell.title, self.failed_cell.error)
        return self
