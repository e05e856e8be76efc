"""Notebooks for synchronous code: the names of `trio_gateway.notebooks`, for gateways and kernels of `trio_gateway.blocking`.

Functions that a call is given (`stdin`, `on_event`) must be plain functions; they are called in the thread that calls `run`, and
with `open_run` and `run_many` in the one that iterates over what they give, while it waits for the next. So are iterators of
jobs. File objects are read there too. Ctrl-C, and a limit around the call, interrupt the code; that the notebook is saved and the
kernel gone is waited for.
"""

from __future__ import annotations

from typing import Any

from .. import notebooks as _trio
from .._notebooks.members import FUNCTIONS, MEMBERS
from .._portal.blocking_faces import Reader, function_like, like
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
from ..notebooks import ReadNotebook as ReadNotebook
from ..notebooks import RunEvent as RunEvent
from ..notebooks import RunFinished as RunFinished
from ..notebooks import RunOptions as RunOptions
from ..notebooks import RunSaved as RunSaved
from ..notebooks import RunSettings as RunSettings
from ..notebooks import RunStarted as RunStarted
from ..notebooks import read_notebook as read_notebook
from . import Fleet, Gateway, Kernel, KernelPool

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

# As in the package: a class and a function here say which names there are, for people, editors and type checkers.
# mypy: disable-error-code="empty-body"


class OpenRun(Reader[RunEvent], of=_trio.OpenRun, declared=MEMBERS[_trio.OpenRun]):
    @property
    def cells(self) -> tuple[CellRun, ...]: ...

    @property
    def notebook(self) -> Any: ...

    @property
    def result(self) -> NotebookRun: ...

    @like(_trio.OpenRun.stop_saving)
    def stop_saving(self) -> None: ...


class Runs(Reader[NotebookRun], of=_trio.Runs, declared=MEMBERS[_trio.Runs]):
    @like(_trio.Runs.stop_saving)
    def stop_saving(self) -> None: ...


@function_like(_trio.run, FUNCTIONS)
def run(where: Gateway | Fleet | KernelPool | Kernel) -> None: ...


@function_like(_trio.open_run, FUNCTIONS, OpenRun)
def open_run(where: Gateway | Fleet | KernelPool | Kernel) -> None: ...


@function_like(_trio.run_many, FUNCTIONS, Runs)
def run_many(where: Gateway | Fleet | KernelPool) -> None: ...
