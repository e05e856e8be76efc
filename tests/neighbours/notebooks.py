"""Runs other projects' example notebooks on a real gateway, and with nbclient on this machine, and compares: `nox -s neighbours`.

The one idea: the same file, run by both, gives the same document, cell by cell, and both end alike; `tools.likeness` says what
counts. What differs has a row in docs/neighbours.md, with its reason, or is a fault of ours. Then other tools read what was
written: nbformat, nbconvert, nbclient, papermill, and we ourselves.

The notebooks are nbclient's and papermill's, from their source distributions, and our own: `tests/notebooks/cases`, `examples`.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import warnings
from collections.abc import Iterable
from importlib.metadata import version
from pathlib import Path
from typing import Any

import attrs
import nbformat
import trio
from nbconvert import HTMLExporter

import trio_gateway
from neighbours.compare import documented, unexplained, unpack
from tools import with_neighbours
from tools.likeness import differences, normal
from trio_gateway import notebooks

TESTS = Path(__file__).parents[1]
FOLDERS: dict[str, str | Path] = {
    "nbclient": "tests/files",
    "papermill": "papermill/tests/notebooks",
    "cases": TESTS / "notebooks" / "cases",
    "examples": TESTS.parent / "examples",
}
"""Where the notebooks are: a text is a place in a source distribution, a path one here."""
LEFT_OUT = {
    "papermill: binder": "its one cell runs papermill, which shows a progress bar with its pace",
    "nbclient: Parallel Execute A": "it waits for B, in a folder that nbclient's tests name in the process's environment",
    "nbclient: Parallel Execute B": "it waits for A, in a folder that nbclient's tests name in the process's environment",
}
"""Which notebooks are not run, and why."""
INTERRUPTED = {"nbclient: Interrupt": 3, "papermill: keyboard_interrupt": 3}
"""Which never end: each cell's limit, in seconds."""
AT_ONCE = 2
PATIENCE = (30, 60, 150)
"""For how long a neighbour may run a notebook, in seconds: once in a while it waits for ever, so the first tries are short."""
NOT_STARTED = "refused: RuntimeError: Kernel "
"""What a neighbour says when two kernels of this machine have chosen the same port."""
SHOWN = 8
"""How many of a notebook's differences are printed."""


@attrs.frozen
class Job:
    """One notebook, and the folder where its documents go."""

    name: str
    path: Path
    folder: Path

    @property
    def limit(self) -> int | None:
        """For each cell, in seconds."""
        return INTERRUPTED.get(self.name)

    def written(self, by: str) -> Path:
        """Where a tool writes its document."""
        return self.folder / f"{by}.ipynb"

    def entry(self, by: str, notebook: Path, output: str) -> with_neighbours.Job:
        """Return what has a neighbour run a notebook of this one's."""
        return {
            "by": by,
            "notebook": str(notebook),
            "output": str(self.written(output)),
            "cwd": str(self.path.parent),
            "limit": self.limit,
            "parameters": {},
        }


def find_notebooks(cache: Path, whose: Iterable[str] = FOLDERS) -> list[Job]:
    """Return the notebooks that there are, but for those that are left out.

    Args:
        cache: where source distributions are unpacked, and documents are written.
        whose: keys of `FOLDERS`.
    """
    jobs = []
    for owner in whose:
        where = FOLDERS[owner]
        source = unpack(owner, cache) / where if isinstance(where, str) else where
        for path in sorted(source.rglob("*.ipynb")):
            name = f"{owner}: {path.stem}"
            if name not in LEFT_OUT:
                folder = cache / "written" / re.sub(r"\W+", "-", name)
                shutil.rmtree(folder, ignore_errors=True)
                folder.mkdir(parents=True)
                jobs.append(Job(name, path, folder))
    return jobs


def make_kernelspec(cache: Path) -> str:
    """Make a kernelspec of the sloppy kernel `odd`; return the value of JUPYTER_PATH with which it is found."""
    spec = cache / "jupyter" / "kernels" / "odd" / "kernel.json"
    spec.parent.mkdir(parents=True, exist_ok=True)
    argv = [sys.executable, str(TESTS / "tools" / "odd_kernel.py"), "{connection_file}"]
    spec.write_text(json.dumps({"argv": argv, "display_name": "Odd", "language": "odd"}), encoding="utf-8")
    return str(spec.parents[2])


class Neighbour:
    """A process that runs notebooks with nbclient and papermill, one after the other."""

    def __init__(self) -> None:
        self._process: trio.Process | None = None
        # A process that is killed leaves its kernels' connection files.
        self._folder = tempfile.TemporaryDirectory(prefix="tgw-", ignore_cleanup_errors=True)

    async def run(self, job: with_neighbours.Job) -> str:
        """Run a notebook; return what came of it. Once in a while either waits for ever, or two kernels choose the same port."""
        verdict = "hangs"
        for patience in PATIENCE:
            with trio.move_on_after(patience) as scope:
                verdict = await self._ask(job)
            if scope.cancelled_caught:
                await self.end()
            elif not verdict.startswith(NOT_STARTED):
                break
        return verdict

    async def _ask(self, job: with_neighbours.Job) -> str:
        if self._process is None:
            command = [sys.executable, with_neighbours.__file__]
            env = {**os.environ, "TMPDIR": self._folder.name}
            self._process = await trio.lowlevel.open_process(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, env=env)
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        await self._process.stdin.send_all(json.dumps(job).encode() + b"\n")
        answer = b""
        while not answer.endswith(b"\n"):
            more = await self._process.stdout.receive_some()
            if not more:
                raise RuntimeError("the process that runs nbclient and papermill has ended")
            answer += more
        return answer.decode().strip()

    async def end(self) -> None:
        """End the process. Its kernels notice."""
        if self._process is not None:
            process, self._process = self._process, None
            process.kill()
            await process.wait()

    def forget(self) -> None:
        """Remove what its processes have left."""
        self._folder.cleanup()


async def run_all_with_neighbours(jobs: list[with_neighbours.Job]) -> list[str]:
    """Run notebooks with nbclient and papermill, two at a time; return what came of each."""
    verdicts = ["" for _ in jobs]
    waiting = iter(range(len(jobs)))

    async def work() -> None:
        neighbour = Neighbour()
        try:
            for number in waiting:
                verdicts[number] = await neighbour.run(jobs[number])
        finally:
            with trio.move_on_after(10, shield=True):
                await neighbour.end()
            neighbour.forget()

    async with trio.open_nursery() as nursery:
        for _ in range(AT_ONCE):
            nursery.start_soon(work)
    return verdicts


async def run_with_ours(gateway: trio_gateway.Gateway, job: Job, notebook: Path, output: Path) -> str:
    """Run one notebook; return what came of it, in the words of `with_neighbours`."""
    try:
        run = await notebooks.run(gateway, notebook, output=output, cwd=job.path.parent, cell_timeout=job.limit)
    except trio_gateway.KernelSpecNotFoundError:
        return "no kernel"
    except (trio_gateway.KernelRestartedError, trio_gateway.KernelDiedError):
        return "died"
    return run.status if run.error is None else f"error {run.error.ename}"


async def run_all_with_ours(runs: list[tuple[Job, Path, Path]]) -> list[str]:
    """Run notebooks on one gateway, two at a time; return what came of each."""
    verdicts = ["" for _ in runs]
    limit = trio.CapacityLimiter(AT_ONCE)

    async def run(number: int) -> None:
        async with limit:
            verdicts[number] = await run_with_ours(gateway, *runs[number])

    async with trio_gateway.open_local_gateway() as gateway, trio.open_nursery() as nursery:
        for number in range(len(runs)):
            nursery.start_soon(run, number)
    return verdicts


def comparable(path: Path, outcome: str = "") -> Any:
    """Return a document as it is compared, None where none was written.

    Left out is what we write in each and nbclient in none, as docs/neighbours.md says; and, of a kernel that died, whether it
    said the numbers of its cells before.
    """
    if not path.exists():
        return None
    found = normal(json.loads(path.read_text("utf-8")))
    found["metadata"].pop("kernelspec", None)
    for part in [found, *found["cells"]]:
        part["metadata"].pop("papermill", None)
    for cell in found["cells"]:
        if outcome == "died":
            cell.pop("execution_count", None)
            cell["metadata"].pop("execution", None)
        if "execution" in cell["metadata"]:
            cell["metadata"]["execution"] = [
                name for name in cell["metadata"]["execution"] if name != "shell.execute_reply.started"
            ]
    return found


def faults_of_the_file(path: Path) -> list[str]:
    """Return what nbformat and nbconvert say against a document.

    That nbconvert has no colours for a kernel's language is not against the document.
    """
    try:
        notebook = nbformat.read(path, as_version=nbformat.NO_CONVERT)
        nbformat.validate(notebook)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "No lexer found for language", UserWarning)
            page, _ = HTMLExporter().from_notebook_node(notebook)
    except Exception as error:  # noqa: BLE001 - whatever it is, it is a finding
        return [f"{type(error).__name__}: {error}"]
    return [] if "</html>" in page else ["nbconvert made no page of it"]


def show(title: str, found: dict[str, list[str]]) -> None:
    """Print what was found of notebooks, by name."""
    for name, each in sorted(found.items()):
        if each:
            more = [f"… and {len(each) - SHOWN} more"] if len(each) > SHOWN else []
            print("\n    ".join([f"{title}: {name}", *each[:SHOWN], *more]))


def compare(jobs: list[Job]) -> dict[str, list[str]]:
    """Run each notebook with nbclient and with us; return how they differ, by name."""
    own = trio.run(run_all_with_neighbours, [job.entry("nbclient", job.path, "nbclient") for job in jobs])
    ours = trio.run(run_all_with_ours, [(job, job.path, job.written("ours")) for job in jobs])
    found = {}
    for job, theirs, verdict in zip(jobs, own, ours, strict=True):
        outcome = [] if theirs == verdict else [f"outcome: {theirs} | {verdict}"]
        found[job.name] = outcome + differences(*(comparable(job.written(by), verdict) for by in ("nbclient", "ours")))
    return found


def read_again(jobs: list[Job], known: dict[str, list[str]]) -> dict[str, list[str]]:
    """Have other tools read what we wrote, and run it again; return what is wrong, by name.

    Run by nbclient, it gives what it gave by us, but for how the two differ anyway. Run by papermill, it gives what the original
    gives, where papermill runs that. Run by us, it gives what it gave.
    """
    jobs = [job for job in jobs if job.written("ours").exists()]
    entries = [job.entry("papermill", job.path, "papermill") for job in jobs]
    entries += [job.entry(by, job.written("ours"), f"{by}-again") for by in ("papermill", "nbclient") for job in jobs]
    verdicts = trio.run(run_all_with_neighbours, entries)
    before, again = verdicts[: len(jobs)], verdicts[len(jobs) : 2 * len(jobs)]
    ours = trio.run(run_all_with_ours, [(job, job.written("ours"), job.written("ours-again")) for job in jobs])
    found = {}
    for job, papermill, then, verdict in zip(jobs, before, again, ours, strict=True):
        faults = found[job.name] = faults_of_the_file(job.written("ours"))
        written = {
            by: comparable(job.written(by), verdict)
            for by in ("ours", "ours-again", "nbclient-again", "papermill", "papermill-again")
        }
        pairs = {"ours": ("ours", "ours-again"), "nbclient": ("nbclient-again", "ours")}
        if papermill == "ok" or papermill.startswith("error"):
            pairs["papermill"] = ("papermill", "papermill-again")
        if "No kernel name" in then:  # in the original there may be none
            faults.append(f"by papermill: {then}")
        if verdict.startswith("refused"):
            faults.append(f"by ours: {verdict}")
        for by, (one, other) in pairs.items():
            seen = differences(written[one], written[other])
            faults += [f"by {by}: {each}" for each in seen if each not in known[job.name]]
    return found


def main() -> int:
    """Compare, and say what differs without a row, which row is about nothing, and what other tools can't read."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--cache", type=Path, required=True)
    parser.add_argument("-k", metavar="WORD", default="", help="only notebooks with this in their name")
    arguments = parser.parse_args()
    cache = arguments.cache.resolve()
    cache.mkdir(parents=True, exist_ok=True)
    os.environ["JUPYTER_PATH"] = make_kernelspec(cache)
    jobs = [job for job in find_notebooks(cache) if arguments.k in job.name]
    found = compare(jobs)
    different = {name for name, each in found.items() if each}
    without, stale = unexplained(different, {row for row in documented("notebooks") if arguments.k in row})
    show("documented", {name: each for name, each in found.items() if name not in without})
    show("NO ROW", {name: found[name] for name in without})
    show("NO DIFFERENCE, but a row", {name: [""] for name in stale})
    faults = read_again(jobs, found)
    show("NOT READ AS THE ORIGINAL IS", faults)
    wrong = len(without) + len(stale) + sum(map(bool, faults.values()))
    versions = ", ".join(f"{name} {version(name)}" for name in ("nbclient", "papermill"))
    print(
        f"\n{versions}: {len(jobs)} notebooks, {len(jobs) - len(different)} the same, {len(different)} different, {wrong} faults"
    )
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
