"""Where a run goes on that stopped: what its file tells of it, and what that is worth. Pure: values in, values out.

The one idea: a run goes on in the middle only where the kernel certainly still has what the cells before have made. So the file
names the *process* that ran them, which a restart replaces, and holds a digest of each cell that ran. The run goes on at the
first cell that has not run as it stands now: the one that stopped the last run, or one before it that was edited since. In any
other case it begins at the first cell, on a new kernel.

What can't be known: what the cell that stopped the run had done until then, and what else has run in the kernel meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, cast

import attrs

from .._values import as_object
from .document import NAMESPACE, Document

__all__ = [
    "NOT_RESUMED",
    "KernelProcess",
    "Resumption",
    "RunRecord",
    "StoppedRun",
    "forget_run",
    "resume_from",
    "stopped_run",
    "take_over",
]

_KEY: Final = "resume"
_DIGITS: Final = 16
"""How many hexadecimal digits of a cell's digest are kept: enough that no two versions of a cell agree by chance."""
_TAKEN_OVER: Final = ("outputs", "execution_count")
_TAKEN_OVER_METADATA: Final = ("execution", "papermill")
_GAPS: Final = "output_gaps"


@attrs.frozen
class KernelProcess:
    """One process of one kernel. A restart replaces it, and what was in its memory is gone."""

    kernel_id: str
    """The kernel's id."""
    process: str
    """The session that the process gives to its messages; `""` where the kernel gives them none of its own, as IRkernel."""


@attrs.frozen(kw_only=True)
class StoppedRun:
    """What a notebook tells of a run that has not come to its end."""

    kernel: KernelProcess
    """Which process of which kernel ran it."""
    is_left: bool
    """Whether a run started the kernel, and left it to be resumed: it is of no other use."""
    cells: tuple[str, ...]
    """The digests of the cells that ran to their end, in order."""


@attrs.frozen
class Resumption:
    """Where a run begins, and why."""

    begin: int
    """How many of the cells that run are left as they are, because they have run: 0 for none."""
    reason: str
    """Why, as a sentence for people, without its full stop; `""` where nobody has asked to resume anything."""


NOT_RESUMED: Final = Resumption(0, "")
"""A run that is not to be resumed."""


class RunRecord:
    """Keeps in a notebook how far its run has come, as `metadata.trio_gateway.resume`.

    Args:
        document: the notebook.
        kernel_id: the kernel.
        is_left: whether a run has started the kernel, and leaves it where the run does not end well.
    """

    has_begun: bool
    """Whether it was written that the run has begun."""

    def __init__(self, document: Document, kernel_id: str, *, is_left: bool) -> None:
        self._document = document
        self._kernel_id = kernel_id
        self._is_left = is_left
        self._process = ""
        self._cells: list[str] = []
        self.has_begun = False

    def begin(self, process: str) -> None:
        """Write that the run has begun, in this process of the kernel."""
        self._process = process
        self.has_begun = True
        self._write()

    def add(self, *sources: str) -> None:
        """Write that cells have run to their end, or that the run has gone past their errors."""
        self._cells += [_digest(source) for source in sources]
        self._write()

    def forget(self) -> None:
        """Take it out again: the run has ended well."""
        forget_run(self._document)

    def _write(self) -> None:
        told = {"kernel_id": self._kernel_id, "process": self._process, "is_left": self._is_left, "cells": list(self._cells)}
        space = self._document.metadata.get(NAMESPACE, {})
        if isinstance(space, dict):  # what else may stand there is not ours
            self._document.note(None, NAMESPACE, {**space, _KEY: told})


def forget_run(document: Document) -> None:
    """Take out of a notebook what `RunRecord` has written, if it has."""
    space = document.metadata.get(NAMESPACE)
    if isinstance(space, dict) and _KEY in space:
        rest = {key: value for key, value in cast("dict[str, Any]", space).items() if key != _KEY}
        document.note(None, NAMESPACE, rest or None)


def stopped_run(notebook: Any) -> StoppedRun | None:
    """Return what a notebook tells of a run that stopped; None where it tells nothing that can be used."""
    told = as_object(as_object(notebook.metadata.get(NAMESPACE)).get(_KEY))
    kernel_id, process, cells = told.get("kernel_id"), told.get("process"), told.get("cells")
    if not isinstance(kernel_id, str) or not kernel_id or not isinstance(process, str) or not isinstance(cells, list):
        return None
    digests = tuple([digest for digest in cast("list[object]", cells) if isinstance(digest, str)])
    return StoppedRun(kernel=KernelProcess(kernel_id, process), is_left=told.get("is_left") is True, cells=digests)


def resume_from(stopped: StoppedRun | None, sources: Sequence[str], kernel: KernelProcess | None) -> Resumption:
    """Find the cell at which a run goes on: the first that has not run as it stands now.

    Args:
        stopped: what the file tells of the run that stopped; None where it tells nothing.
        sources: the sources of the cells that are to run now, in order.
        kernel: the kernel that there is, as it says itself; None where the last run's is gone.
    """
    if stopped is None:
        return _anew("the file tells of no run that stopped")
    last = stopped.kernel
    if kernel is None:
        return _anew(f"the last run's kernel {last.kernel_id} is gone")
    if kernel.kernel_id != last.kernel_id:
        return _anew(f"the last run was on another kernel, {last.kernel_id}")
    if not last.process or not kernel.process:
        return _anew(f"kernel {last.kernel_id} does not tell whether it is the process that it was")
    if kernel.process != last.process:
        return _anew(f"kernel {last.kernel_id} was restarted since the last run")
    if not stopped.cells:
        return _anew("no cell of the last run came to its end")
    same = 0
    for digest, source in zip(stopped.cells, sources, strict=False):
        if digest != _digest(source):
            return Resumption(same, f"cell {same + 1} is not the one that the last run ran there")
        same += 1
    if same == len(sources):
        return Resumption(same, "all cells have run")
    return Resumption(same, f"the last run stopped at cell {same + 1}")


def take_over(cells: Sequence[Any], earlier: Sequence[Any]) -> None:
    """Give cells that have run what another file shows for them: the file that the last run wrote, where it is not their own.

    Args:
        cells: nbformat's cells that are left as they are; they are changed in place.
        earlier: the cells of that file which run, in order. One that was edited there gives nothing.
    """
    for cell, before in zip(cells, earlier, strict=False):
        if cell.source != before.source:
            continue
        for key in _TAKEN_OVER:
            cell[key] = before.get(key)
        for key in _TAKEN_OVER_METADATA:
            if key in before.metadata:
                cell.metadata[key] = before.metadata[key]
        gaps = as_object(before.metadata.get(NAMESPACE)).get(_GAPS)
        space: object = cell.metadata.setdefault(NAMESPACE, {}) if gaps else None
        if isinstance(space, dict):
            space[_GAPS] = gaps


def _anew(reason: str) -> Resumption:
    return Resumption(0, reason)


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
