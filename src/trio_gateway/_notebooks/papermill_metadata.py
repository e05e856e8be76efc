"""What papermill records of a run in a notebook's metadata, for those who read it there. Pure.

The one idea: papermill's readers, such as scrapbook, find what papermill would have written at that moment. Where papermill
would write what did not happen (a cell that never ran is "completed" after an interrupt or a limit, and a cell that took too
long as well), what happened stands there in papermill's words.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Any, Final

__all__ = ["PapermillRecord", "remove_error_markers"]

_VERSION: Final = "2.7.0"
"""The release of papermill whose record this is."""
_MARKER_TAG: Final = "papermill-error-cell-tag"

_PENDING: Final = "pending"
_RUNNING: Final = "running"
_COMPLETED: Final = "completed"
_FAILED: Final = "failed"


def remove_error_markers(notebook: Any) -> None:
    """Remove the cells that papermill has put into its output to point to a cell that failed: they tell of another run."""
    notebook.cells = [cell for cell in notebook.cells if _MARKER_TAG not in _tags(cell)]


def _tags(cell: Any) -> list[Any]:
    tags = cell.metadata.get("tags")
    return tags if isinstance(tags, list) else []


class PapermillRecord:
    """papermill's record of one run: `metadata.papermill` of the notebook, and of each cell of whatever type.

    All its places are there from the beginning and only their values change, so that the notebook can be written in another
    thread meanwhile. Times are ISO 8601 texts, durations are in seconds.

    Args:
        notebook: nbformat's node, which is changed in place.
        now: when the run begins, in UTC.
        parameters: what the notebook was given; None or nothing: what its metadata have stays, as the injected cell does.
        input_path: where it was read from, as it was named; None where it was in no file.
        output_path: where it is saved, as it was named; None where it is not.
        first: the place, in the notebook's list of cells, of the first one that this run is for. The records of those before it
            stay.
    """

    def __init__(
        self,
        notebook: Any,
        now: datetime,
        *,
        parameters: Mapping[str, Any] | None = None,
        input_path: str | None = None,
        output_path: str | None = None,
        first: int = 0,
    ) -> None:
        record = _own(notebook.metadata)
        for name in ("default_parameters", "parameters", "environment_variables"):
            if not isinstance(record.get(name), dict):
                record[name] = {}
        record.setdefault("version", _VERSION)
        if parameters:
            record["parameters"] = dict(parameters)
        record.update(input_path=input_path, output_path=output_path)
        record.update(start_time=now.isoformat(), end_time=None, duration=None, exception=None)
        for cell in notebook.cells[first:]:
            cell.metadata["papermill"] = {
                "exception": None,
                "start_time": None,
                "end_time": None,
                "duration": None,
                "status": _PENDING,
            }
        self._record = record
        self._cells = notebook.cells
        self._next = first  # the first cell that the run has not come to
        self._running: int | None = None
        self._started: dict[int | None, datetime] = {None: now}  # by the cells' places; None: the run

    def cell_started(self, index: int, now: datetime) -> None:
        """Note that a cell runs. Those before it that the run has passed over, as they are no code, are done.

        Args:
            index: its place in the notebook's list of cells.
            now: when it began, in UTC.
        """
        self._pass_to(index, now)
        self._next = index + 1
        self._running = index
        self._started[index] = now
        self._of(index).update(start_time=now.isoformat(), status=_RUNNING, exception=False)

    def cell_finished(self, index: int, now: datetime, *, failed: bool) -> None:
        """Note that a cell has run.

        Args:
            index: its place in the notebook's list of cells.
            now: when it had, in UTC.
            failed: whether it raised an error that it may not raise, or was interrupted.
        """
        self._running = None
        self._end(self._of(index), index, now)
        self._of(index)["status"] = _FAILED if failed else _COMPLETED
        if failed:
            self._of(index)["exception"] = self._record["exception"] = True

    def end(self, now: datetime, *, whole: bool) -> None:
        """Note that the run has ended. A cell that still ran has failed.

        Args:
            now: when it had, in UTC.
            whole: whether it came to the notebook's end. If it did not, the cells that it has not come to stay pending.
        """
        if self._running is not None:
            self.cell_finished(self._running, now, failed=True)
        if whole:
            self._pass_to(len(self._cells), now)
        self._end(self._record, None, now)

    def _pass_to(self, index: int, now: datetime) -> None:
        for passed in range(self._next, index):
            self._started[passed] = now
            self._of(passed).update(start_time=now.isoformat(), status=_COMPLETED, exception=False)
            self._end(self._of(passed), passed, now)
        self._next = max(self._next, index)

    def _end(self, record: Any, index: int | None, now: datetime) -> None:
        seconds = (now - self._started[index]).total_seconds()
        record.update(end_time=now.isoformat(), duration=max(seconds, 0.0))  # the clock may have been set

    def _of(self, index: int) -> Any:
        return self._cells[index].metadata["papermill"]


def _own(metadata: Any) -> Any:
    """Return the notebook's record, which may be there already."""
    if not isinstance(metadata.get("papermill"), dict):
        metadata["papermill"] = {}
    return metadata["papermill"]
