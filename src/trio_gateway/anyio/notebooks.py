"""Notebooks for every anyio program: the names of `trio_gateway.notebooks`, for gateways and kernels of `trio_gateway.anyio`.

On Trio this is that module itself. On asyncio, functions that a call is given (`stdin`, `on_event`) are called, and awaited, in
the task that calls `run`; with `open_run` and `run_many`, in the one that iterates over what they give, while it waits for the
next. So are iterators of jobs. File objects are read there too. A call that is cancelled waits until its code is interrupted, the
notebook is saved and the kernel is gone.
"""

from __future__ import annotations

from .. import notebooks as _trio
from .._notebooks.members import FUNCTIONS, MEMBERS
from .._portal.asyncio_faces import ASYNCIO, function_like
from ..notebooks import CellError as CellError
from ..notebooks import CellFinished as CellFinished
from ..notebooks import CellOutput as CellOutput
from ..notebooks import CellRun as CellRun
from ..notebooks import CellStarted as CellStarted
from ..notebooks import Jobs as Jobs
from ..notebooks import NotebookJob as NotebookJob
from ..notebooks import NotebookRun as NotebookRun
from ..notebooks import NotebookStoppedError as NotebookStoppedError
from ..notebooks import NotebookTimeoutError as NotebookTimeoutError
from ..notebooks import OnRunEvent as OnRunEvent
from ..notebooks import OpenRun as OpenRun
from ..notebooks import ReadNotebook as ReadNotebook
from ..notebooks import RunEvent as RunEvent
from ..notebooks import RunFinished as RunFinished
from ..notebooks import RunOptions as RunOptions
from ..notebooks import Runs as Runs
from ..notebooks import RunSaved as RunSaved
from ..notebooks import RunSettings as RunSettings
from ..notebooks import RunStarted as RunStarted
from ..notebooks import read_notebook as read_notebook

__all__ = [
    "CellError",
    "CellFinished",
    "CellOutput",
    "CellRun",
    "CellStarted",
    "Jobs",
    "NotebookJob",
    "NotebookRun",
    "NotebookStoppedError",
    "NotebookTimeoutError",
    "OnRunEvent",
    "OpenRun",
    "ReadNotebook",
    "RunEvent",
    "RunFinished",
    "RunOptions",
    "RunSaved",
    "RunSettings",
    "RunStarted",
    "Runs",
    "open_run",
    "read_notebook",
    "run",
    "run_many",
]

ASYNCIO.faces.update({original: ASYNCIO.derive(original, declared) for original, declared in MEMBERS.items()})


@function_like(_trio.run, FUNCTIONS)
def run() -> None:
    """What is decorated here only gives its name."""


@function_like(_trio.open_run, FUNCTIONS)
def open_run() -> None:
    """What is decorated here only gives its name."""


@function_like(_trio.run_many, FUNCTIONS)
def run_many() -> None:
    """What is decorated here only gives its name."""
