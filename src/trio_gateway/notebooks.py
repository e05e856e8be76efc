"""Notebooks, run as Jupyter shows them, from a Trio program.

    result = await trio_gateway.notebooks.run(gateway, "report.ipynb", output="out.ipynb")
    result.raise_for_error()

`run` runs one to its end; `open_run` tells what happens as it happens; `run_many` runs many, a few at a time. Needs the extra
`notebooks`. This module re-exports names and holds nothing else.
"""

from ._errors import missing_extra

try:
    from ._notebooks.events import CellFinished as CellFinished
    from ._notebooks.events import CellOutput as CellOutput
    from ._notebooks.events import CellStarted as CellStarted
    from ._notebooks.events import RunEvent as RunEvent
    from ._notebooks.events import RunFinished as RunFinished
    from ._notebooks.events import RunSaved as RunSaved
    from ._notebooks.events import RunStarted as RunStarted
    from ._notebooks.file import read_notebook as read_notebook
    from ._notebooks.many import Jobs as Jobs
    from ._notebooks.many import OnRunEvent as OnRunEvent
    from ._notebooks.many import Runs as Runs
    from ._notebooks.many import run_many as run_many
    from ._notebooks.options import NotebookJob as NotebookJob
    from ._notebooks.options import RunOptions as RunOptions
    from ._notebooks.options import RunSettings as RunSettings
    from ._notebooks.reading import ReadNotebook as ReadNotebook
    from ._notebooks.results import CellError as CellError
    from ._notebooks.results import CellRun as CellRun
    from ._notebooks.results import NotebookRun as NotebookRun
    from ._notebooks.results import NotebookStoppedError as NotebookStoppedError
    from ._notebooks.results import NotebookTimeoutError as NotebookTimeoutError
    from ._notebooks.runs import OpenRun as OpenRun
    from ._notebooks.runs import open_run as open_run
    from ._notebooks.runs import run as run
except ModuleNotFoundError as _missing:
    raise missing_extra(_missing, "trio_gateway.notebooks", "notebooks") from None

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
