"""Runs notebooks with nbclient or papermill, on kernels of this machine, as those do it: a process of its own.

Each line of standard input is a `Job` as JSON; each line of standard output says what came of it: "ok", "error NAME" of the
error that a cell raised, "died" with the kernel, "no kernel" of that name, or "refused" with the reason.
"""

from __future__ import annotations

import json
import os
import sys
import warnings
from pathlib import Path
from typing import Any, TypedDict

import nbclient
import nbclient.exceptions
import nbformat
import papermill  # type: ignore[import-untyped]
from jupyter_client.kernelspec import NoSuchKernel

__all__ = ["Job"]


class Job(TypedDict):
    """What to run, by whom and where to."""

    by: str
    """`nbclient` or `papermill`."""
    notebook: str
    output: str
    cwd: str
    limit: float | None
    """For each cell, in seconds; nbclient interrupts it then."""
    parameters: dict[str, Any]
    """For papermill."""


def run_nbclient(job: Job) -> None:
    """Run a notebook, and save what there is of it in the end."""
    notebook = nbformat.read(job["notebook"], as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=job["limit"], interrupt_on_timeout=True, resources={"metadata": {"path": job["cwd"]}}
    )
    failure: Exception | None = None
    try:
        client.execute()
    except NoSuchKernel:
        raise
    except Exception as error:  # noqa: BLE001 - raised below
        failure = error
    Path(job["output"]).write_text(nbformat.v4.writes(notebook), encoding="utf-8")
    if failure is not None:
        raise failure


def run_papermill(job: Job) -> None:
    """Run a notebook, which papermill saves."""
    papermill.execute_notebook(
        job["notebook"],
        job["output"],
        parameters=job["parameters"],
        cwd=job["cwd"],
        execution_timeout=job["limit"],
        progress_bar=False,
    )


def run(job: Job) -> str:
    """Run a notebook; return what came of it."""
    try:
        (run_papermill if job["by"] == "papermill" else run_nbclient)(job)
    except (nbclient.exceptions.CellExecutionError, papermill.PapermillExecutionError) as error:
        return f"error {error.ename}"
    except nbclient.exceptions.DeadKernelError:
        return "died"
    except NoSuchKernel:
        return "no kernel"
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of it
        return f"refused: {type(error).__name__}: {str(error).splitlines()[0]}"
    return "ok"


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of ids that are missing in old notebooks
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # kernels print to it
    for line in sys.stdin:
        print(run(json.loads(line)), file=answers, flush=True)
