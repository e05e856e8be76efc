"""What happens in a notebook's run, as values. Pure.

The one idea: a progress bar, a page or a log needs no more than these, in the order in which they happen.
"""

from __future__ import annotations

from pathlib import Path
from typing import TypeAlias

import attrs

from .._outputs import Output
from .results import CellRun, NotebookRun

__all__ = ["CellFinished", "CellOutput", "CellStarted", "RunEvent", "RunFinished", "RunSaved", "RunStarted"]


@attrs.frozen(kw_only=True)
class RunStarted:
    """The kernel is there, and the first cell is about to run."""

    name: str
    """The job's name, or that of the notebook's file; `""` where there is none."""
    cells: int
    """How many cells run, those included that have run when the run is resumed behind them."""
    kernel_id: str
    """The id of the kernel."""
    kernel_name: str
    """The name of its kernelspec."""
    first_cell: int = 1
    """The number of the cell that the run begins with: above 1 where it is resumed."""
    resumption: str = ""
    """Why it begins there, as a sentence without its full stop; `""` where it was not to be resumed."""


@attrs.frozen(kw_only=True)
class CellStarted:
    """A cell begins."""

    cell: CellRun
    """The cell."""


@attrs.frozen(kw_only=True)
class CellOutput:
    """Something came of a cell. It is in the notebook already, where the notebook shows such a thing and keeps so much."""

    cell: CellRun
    """The cell that caused it."""
    output: Output
    """What came, as the kernel sent it."""
    late: bool = False
    """Whether the cell had ended before."""


@attrs.frozen(kw_only=True)
class CellFinished:
    """A cell has ended, in whatever way. Output may still come of it."""

    cell: CellRun
    """The cell, with what came of it."""


@attrs.frozen(kw_only=True)
class RunSaved:
    """The notebook was saved, with all that had come until then. Several saves in a row are told as one."""

    path: Path
    """Where."""


@attrs.frozen(kw_only=True)
class RunFinished:
    """The run has ended, and the notebook is saved: this event is the last."""

    run: NotebookRun
    """What came of it."""


RunEvent: TypeAlias = RunStarted | CellStarted | CellOutput | CellFinished | RunSaved | RunFinished
"""Everything that `open_run` can tell of."""
