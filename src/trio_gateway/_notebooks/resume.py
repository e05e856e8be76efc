"""Where a run goes on that stopped: what its file tells of it, and what that is worth. Pure: values in, values out.

The one idea: a run goes on in the middle only where the kernel certainly still has what the cells before have made. So the file
names the *process* that ran them, which a restart replaces, and holds a digest of each cell that ran. The run goes on at the
first cell that has not run as it stands now: the one that stopped the last run, or one before it that was edited since. In any
other case it begins at the first cell, on a new kernel.

What can't be known: what the cell that stopped the run had done until then, and what else has run in the kernel meanwhile.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Any, Final, cast

import attrs

from .._values import as_object

__all__ = ["KernelProcess", "Resumption", "StoppedRun", "forget_run", "note_run", "resume_from", "stopped_run", "take_over"]

_NAMESPACE: Final = "trio_gateway"
_KEY: Final = "resume"
_DIGITS: Final = 16
"""How many hexadecimal digits of a cell's digest are kept: enough that no two versions of a cell agree by chance."""
_TAKEN_OVER: Final = ("outputs", "execution_count")
_TAKEN_OVER_METADATA: Final = ("execution",)
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
    """Why, as a sentence for people, without its full stop."""


def note_run(notebook: Any, kernel: KernelProcess, sources: Iterable[str], *, is_left: bool) -> None:
    """Write into a notebook that a run has come so far and no farther, as `metadata.trio_gateway.resume`.

    Args:
        notebook: the notebook; it is changed in place.
        kernel: the process that runs it.
        sources: the sources of the cells that have run to their end, in order: those too whose error the run went past.
        is_left: whether a run started the kernel and leaves it to be resumed.
    """
    space: object = notebook.metadata.setdefault(_NAMESPACE, {})
    if isinstance(space, dict):  # what else may stand there is not ours
        cast("dict[str, Any]", space)[_KEY] = {
            "kernel_id": kernel.kernel_id,
            "process": kernel.process,
            "is_left": is_left,
            "cells": [_digest(source) for source in sources],
        }


def forget_run(notebook: Any) -> None:
    """Take out of a notebook what `note_run` has written, if it has."""
    space: object = notebook.metadata.get(_NAMESPACE)
    if isinstance(space, dict):
        ours = cast("dict[str, Any]", space)
        if ours.pop(_KEY, None) is not None and not ours:
            del notebook.metadata[_NAMESPACE]


def stopped_run(notebook: Any) -> StoppedRun | None:
    """Return what a notebook tells of a run that stopped; None where it tells nothing that can be used."""
    told = as_object(as_object(notebook.metadata.get(_NAMESPACE)).get(_KEY))
    kernel_id, process, cells = told.get("kernel_id"), told.get("process"), told.get("cells")
    if not isinstance(kernel_id, str) or not kernel_id or not isinstance(process, str) or not isinstance(cells, list):
        return None
    digests = tuple([digest for digest in cast("list[object]", cells) if isinstance(digest, str)])
    return StoppedRun(kernel=KernelProcess(kernel_id, process), is_left=told.get("is_left") is True, cells=digests)


def resume_from(stopped: StoppedRun | None, sources: Sequence[str], kernel: KernelProcess | None) -> Resumption:
    """Find the cell at which a run goes on.

    Args:
        stopped: what the file tells of the run that stopped; None where it tells nothing.
        sources: the sources of the cells that are to run now, in order.
        kernel: the kernel that there is, as it says itself; None where the last run's is gone.

    Returns:
        The place among these cells, from 0: the first cell that has not run as it stands now. It is their number where all have.
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
        gaps = as_object(before.metadata.get(_NAMESPACE)).get(_GAPS)
        space: object = cell.metadata.setdefault(_NAMESPACE, {}) if gaps else None
        if isinstance(space, dict):
            space[_GAPS] = gaps


def _anew(reason: str) -> Resumption:
    return Resumption(0, reason)


def _digest(source: str) -> str:
    return hashlib.sha256(source.encode("utf-8", "surrogatepass")).hexdigest()[:_DIGITS]
