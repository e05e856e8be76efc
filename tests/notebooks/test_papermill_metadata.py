"""papermill's record of a run, beside what papermill itself writes of the same run."""

from __future__ import annotations

import copy
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import nbformat
import pytest
from papermill import engines, execute, iorw, version

from trio_gateway._notebooks.papermill_metadata import PapermillRecord, remove_error_markers

BEGAN = datetime(2026, 2, 3, 4, 5, 6, 7, tzinfo=UTC)


def at(seconds: float) -> datetime:
    return BEGAN + timedelta(seconds=seconds)


def notebook_of(*types: str) -> Any:
    made = {"code": nbformat.v4.new_code_cell, "markdown": nbformat.v4.new_markdown_cell, "raw": nbformat.v4.new_raw_cell}
    cells = [made[kind](f"cell {number}", id=f"cell-{number}") for number, kind in enumerate(types)]
    return nbformat.v4.new_notebook(cells=cells)


def statuses(notebook: Any) -> list[tuple[str, bool | None]]:
    return [(cell.metadata.papermill.status, cell.metadata.papermill.exception) for cell in notebook.cells]


class Papermill:
    """The same run as papermill notes it, with times of ours."""

    def __init__(self, notebook: Any, monkeypatch: pytest.MonkeyPatch, **traits: Any) -> None:
        self.notebook = iorw.load_notebook_node(notebook)
        self.notebook.metadata.papermill["parameters"] = traits.pop("parameters")
        execute.prepare_notebook_metadata(self.notebook, **traits)
        self.now = BEGAN
        monkeypatch.setattr(engines.NotebookExecutionManager, "now", lambda _: self.now)
        self.manager = engines.NotebookExecutionManager(self.notebook, progress_bar=False)
        self.manager.notebook_start()

    def run(self, *steps: tuple[float, float, bool]) -> None:
        """Run the cells: when each began and ended, and whether it failed, which ends the run."""
        for cell, (began, ended, failed) in zip(self.notebook.cells, steps, strict=False):
            self.now = at(began)
            self.manager.cell_start(cell)
            self.now = at(ended)
            if failed:
                self.manager.cell_exception(cell)
            self.manager.cell_complete(cell)

    def end(self, seconds: float) -> None:
        self.now = at(seconds)
        self.manager.notebook_complete()


def records(notebook: Any) -> list[Any]:
    """Return all that stands under `papermill`, in the notebook's and in each cell's metadata, as their file has it."""
    saved = json.loads(nbformat.writes(notebook))
    assert saved["metadata"]["papermill"].pop("version")
    return [saved["metadata"]["papermill"], *(cell["metadata"]["papermill"] for cell in saved["cells"])]


TRAITS: dict[str, Any] = {"parameters": {"a": [1, None]}, "input_path": "in.ipynb", "output_path": "out.ipynb"}


def test_the_record_of_a_run_is_papermills(monkeypatch: pytest.MonkeyPatch) -> None:
    """At its beginning, while a cell runs, and in the end. papermill "runs" what is no code too, in no time."""
    notebook = notebook_of("markdown", "code", "raw", "code", "markdown")
    theirs = Papermill(copy.deepcopy(notebook), monkeypatch, **TRAITS)
    ours = PapermillRecord(notebook, BEGAN, **TRAITS)
    assert records(notebook) == records(theirs.notebook)

    theirs.run((1, 1, False))
    ours.cell_started(1, at(1))
    theirs.now = at(1)
    theirs.manager.cell_start(theirs.notebook.cells[1])
    assert records(notebook) == records(theirs.notebook)

    theirs.run((1, 1, False), (1, 3.5, False), (4, 4, False), (4, 4.25, False), (5, 5, False))
    ours.cell_finished(1, at(3.5), failed=False)
    ours.cell_started(3, at(4))
    ours.cell_finished(3, at(4.25), failed=False)
    theirs.end(5)
    ours.end(at(5), whole=True)
    assert records(notebook) == records(theirs.notebook)
    assert records(notebook)[2] == {
        "start_time": "2026-02-03T04:05:07.000007+00:00",
        "end_time": "2026-02-03T04:05:09.500007+00:00",
        "duration": 2.5,
        "exception": False,
        "status": "completed",
    }


def test_the_record_of_a_run_that_failed_is_papermills(monkeypatch: pytest.MonkeyPatch) -> None:
    notebook = notebook_of("code", "markdown", "code", "code", "markdown")
    theirs = Papermill(copy.deepcopy(notebook), monkeypatch, **TRAITS)
    ours = PapermillRecord(notebook, BEGAN, **TRAITS)
    theirs.run((0, 1, False), (2, 2, False), (2, 3, True))
    ours.cell_started(0, at(0))
    ours.cell_finished(0, at(1), failed=False)
    ours.cell_started(2, at(2))
    ours.cell_finished(2, at(3), failed=True)
    theirs.end(3)
    ours.end(at(3), whole=False)
    assert records(notebook) == records(theirs.notebook)
    assert notebook.metadata.papermill.exception is True


def test_the_record_says_of_which_papermill_it_is() -> None:
    """Its form has been the same since 2.0. Where a release changes it, the tests above say so."""
    notebook = notebook_of()
    PapermillRecord(notebook, BEGAN)
    major, _, rest = notebook.metadata.papermill.version.partition(".")
    assert major == version.version.partition(".")[0]
    assert rest


def test_a_run_that_is_cut_off_does_not_say_that_all_has_run(monkeypatch: pytest.MonkeyPatch) -> None:
    """papermill does."""
    notebook = notebook_of("code", "markdown", "code", "code", "markdown")
    theirs = Papermill(copy.deepcopy(notebook), monkeypatch, **TRAITS)
    theirs.run((0, 1, False), (2, 2, False))
    theirs.manager.cell_start(theirs.notebook.cells[2])
    theirs.manager.cell_complete(theirs.notebook.cells[2])
    theirs.end(3)
    assert [status for status, _ in statuses(theirs.notebook)] == ["completed"] * 5
    ours = PapermillRecord(notebook, BEGAN)
    ours.cell_started(0, at(0))
    ours.cell_finished(0, at(1), failed=False)
    ours.cell_started(2, at(2))
    ours.end(at(3), whole=False)
    assert statuses(notebook) == [
        ("completed", False),
        ("completed", False),
        ("failed", True),
        ("pending", None),
        ("pending", None),
    ]
    assert notebook.cells[2].metadata.papermill.duration == 1.0
    assert (notebook.metadata.papermill.exception, notebook.metadata.papermill.duration) == (True, 3.0)


def test_a_run_that_ended_itself_leaves_the_rest_pending() -> None:
    notebook = notebook_of("code", "code", "markdown")
    ours = PapermillRecord(notebook, BEGAN)
    ours.cell_started(0, at(0))
    ours.cell_finished(0, at(1), failed=False)
    ours.end(at(1), whole=False)
    assert statuses(notebook) == [("completed", False), ("pending", None), ("pending", None)]
    assert notebook.metadata.papermill.exception is None


def test_what_the_metadata_have_already_stays_where_papermill_keeps_it() -> None:
    """The parameters too, if there are no others: the cell that sets them is still there."""
    notebook = notebook_of("code", "code")
    ours = PapermillRecord(notebook, BEGAN, **TRAITS)
    notebook.metadata.papermill.update(version="1.0", own="kept", environment_variables={"A": "b"})
    ours.end(at(1), whole=True)
    PapermillRecord(notebook, at(10), parameters={}, input_path=None)
    assert notebook.metadata.papermill == {
        "default_parameters": {},
        "parameters": {"a": [1, None]},
        "environment_variables": {"A": "b"},
        "version": "1.0",
        "own": "kept",
        "input_path": None,
        "output_path": None,
        "start_time": at(10).isoformat(),
        "end_time": None,
        "duration": None,
        "exception": None,
    }
    assert statuses(notebook) == [("pending", None)] * 2


@pytest.mark.parametrize("odd", [None, [], "x", {"parameters": [], "default_parameters": 1}])
def test_what_can_be_no_record_is_replaced(odd: object) -> None:
    notebook = notebook_of("code")
    notebook.metadata["papermill"] = odd
    notebook.cells[0].metadata["papermill"] = odd
    PapermillRecord(notebook, BEGAN).end(at(1), whole=True)
    assert (notebook.metadata.papermill.parameters, notebook.metadata.papermill.default_parameters) == ({}, {})
    assert statuses(notebook) == [("completed", False)]


def test_cells_before_the_first_keep_their_records() -> None:
    """Of a run that goes on where another one stopped."""
    notebook = notebook_of("code", "markdown", "code", "code")
    one = PapermillRecord(notebook, BEGAN)
    one.cell_started(0, at(0))
    one.cell_finished(0, at(1), failed=False)
    one.cell_started(2, at(1))
    one.cell_finished(2, at(2), failed=True)
    one.end(at(2), whole=False)
    kept = copy.deepcopy([cell.metadata for cell in notebook.cells[:2]])
    other = PapermillRecord(notebook, at(60), first=2)
    assert notebook.metadata.papermill.exception is None
    other.cell_started(2, at(61))
    other.cell_finished(2, at(62), failed=False)
    other.end(at(63), whole=True)
    assert [cell.metadata for cell in notebook.cells[:2]] == kept
    assert statuses(notebook) == [("completed", False)] * 4
    assert notebook.metadata.papermill.duration == 3.0


def test_the_places_are_there_from_the_beginning() -> None:
    """So that a thread that writes the notebook meanwhile meets no dict whose size changes."""
    notebook = notebook_of("markdown", "code", "code")
    ours = PapermillRecord(notebook, BEGAN)
    places = [notebook.metadata.papermill, *(cell.metadata.papermill for cell in notebook.cells)]
    before = [list(place) for place in places]
    ours.cell_started(1, at(0))
    ours.cell_finished(1, at(1), failed=True)
    ours.end(at(1), whole=False)
    assert [list(place) for place in places] == before
    assert all(place is cell.metadata.papermill for place, cell in zip(places[1:], notebook.cells, strict=True))


def test_a_clock_that_is_set_back_makes_no_negative_duration() -> None:
    notebook = notebook_of("code")
    ours = PapermillRecord(notebook, BEGAN)
    ours.cell_started(0, at(0))
    ours.cell_finished(0, at(-5), failed=False)
    ours.end(at(-5), whole=True)
    assert (notebook.cells[0].metadata.papermill.duration, notebook.metadata.papermill.duration) == (0.0, 0.0)


def test_papermills_marks_of_a_run_that_failed_are_removed() -> None:
    notebook = notebook_of("code", "code")
    notebook.cells[0].metadata["tags"] = ["other"]
    notebook.cells[1].outputs = [nbformat.v4.new_output("error", ename="E", evalue="", traceback=[])]
    marked = iorw.load_notebook_node(copy.deepcopy(notebook))
    with pytest.raises(Exception, match="Exception encountered"):
        execute.raise_for_execution_errors(marked, None)
    assert len(marked.cells) == 4
    remove_error_markers(marked)
    assert [cell.source for cell in marked.cells] == ["cell 0", "cell 1"]
    remove_error_markers(notebook)
    assert [cell.source for cell in notebook.cells] == ["cell 0", "cell 1"]
