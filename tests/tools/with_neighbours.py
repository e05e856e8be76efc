"""Runs notebooks with nbclient or papermill, on kernels of this machine, as those do it: a program, for they run on asyncio.

`python with_neighbours.py JOBS.json`: a list of objects like `Job`. On standard output, a JSON list of what came of each: "ok",
"error NAME" of the error that a cell raised, "died" with the kernel, "no kernel" of that name, or "refused" with the reason.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
import warnings
from collections.abc import Generator
from functools import partial
from pathlib import Path
from typing import Any, TypedDict

import nbclient
import nbclient.exceptions
import nbformat
import papermill  # type: ignore[import-untyped]
from jupyter_client.kernelspec import NoSuchKernel

__all__ = ["Job"]

AT_ONCE = 2
TRIES = 3
NOT_STARTED = "refused: RuntimeError: Kernel "
"""Two kernels of this machine have chosen the same port."""


class Job(TypedDict):
    """What to run, by whom and where to."""

    by: str
    """`nbclient` or `papermill`."""
    notebook: str
    output: str
    cwd: str
    limit: float | None
    """For each cell, in seconds; then it is interrupted."""
    parameters: dict[str, Any]
    """For papermill."""


@contextlib.contextmanager
def judged(verdicts: list[str]) -> Generator[None]:
    """Note what came of a run."""
    try:
        yield
    except nbclient.exceptions.CellExecutionError as error:
        verdicts.append(f"error {error.ename}")
    except papermill.PapermillExecutionError as error:
        verdicts.append(f"error {error.ename}")
    except nbclient.exceptions.DeadKernelError:
        verdicts.append("died")
    except NoSuchKernel:
        verdicts.append("no kernel")
    except Exception as error:  # noqa: BLE001 - whatever it is, it is what came of it
        verdicts.append(f"refused: {type(error).__name__}: {str(error).splitlines()[0]}")
    else:
        verdicts.append("ok")


def save(notebook: Any, path: str) -> None:
    """Save a notebook, whatever is in it."""
    Path(path).write_text(nbformat.v4.writes(notebook), encoding="utf-8")


async def run_nbclient(job: Job, verdicts: list[str]) -> None:
    """Run a notebook, and save what there is of it in the end."""
    notebook = nbformat.read(job["notebook"], as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=job["limit"], interrupt_on_timeout=True, resources={"metadata": {"path": job["cwd"]}}
    )
    with judged(verdicts):
        await client.async_execute()
    if verdicts[-1] != "no kernel":
        save(notebook, job["output"])


async def run_papermill(job: Job, verdicts: list[str]) -> None:
    """Run a notebook, which papermill saves."""
    run = partial(papermill.execute_notebook, cwd=job["cwd"], parameters=job["parameters"], execution_timeout=job["limit"])
    with judged(verdicts):
        await asyncio.to_thread(run, job["notebook"], job["output"], progress_bar=False)


async def run(job: Job, limit: asyncio.Semaphore) -> str:
    """Run a notebook; return what came of it."""
    verdicts: list[str] = []
    async with limit:
        for _ in range(TRIES):
            await (run_papermill if job["by"] == "papermill" else run_nbclient)(job, verdicts)
            if not verdicts[-1].startswith(NOT_STARTED):
                break
    return verdicts[-1]


async def main(jobs: list[Job]) -> list[str]:
    """Run notebooks, two at a time."""
    limit = asyncio.Semaphore(AT_ONCE)
    return await asyncio.gather(*(run(job, limit) for job in jobs))


if __name__ == "__main__":
    warnings.simplefilter("ignore")  # of ids that are missing in old notebooks
    print(json.dumps(asyncio.run(main(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))))))
