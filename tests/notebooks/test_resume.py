"""Where a run goes on that stopped: at a cell of which everything before has run in this very process, or at the first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import nbformat
import nbformat.v4
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tools.notebook_tools import notebook_of
from trio_gateway._notebooks.document import Document, cells_that_run
from trio_gateway._notebooks.file import to_json
from trio_gateway._notebooks.reading import parse_notebook
from trio_gateway._notebooks.resume import (
    KernelProcess,
    RunRecord,
    StoppedRun,
    forget_run,
    resume_from,
    stopped_run,
    take_over,
)

HERE = KernelProcess("the-kernel", "its process")
SOURCES = ("a = 1", "b = 2", "1 / 0", "c = 3")


def note(notebook: Any, ran: Sequence[str], *, kernel: KernelProcess = HERE, is_left: bool = False) -> RunRecord:
    """Note in a notebook that a run has come so far."""
    document = Document(notebook)
    record = RunRecord(document, kernel.kernel_id, is_left=is_left)
    record.begin(kernel.process)
    for source in ran:
        record.add(source)
    notebook.metadata = document.current().metadata
    return record


def stopped_after(ran: Sequence[str], *, kernel: KernelProcess = HERE, is_left: bool = False) -> StoppedRun | None:
    """What a file tells of a run in which these cells came to their end."""
    notebook = notebook_of(*SOURCES)
    note(notebook, ran, kernel=kernel, is_left=is_left)
    return stopped_run(parse_notebook(to_json(notebook), "n").notebook)


def forget(notebook: Any) -> None:
    document = Document(notebook)
    forget_run(document)
    notebook.metadata = document.current().metadata


def test_a_run_goes_on_at_the_cell_that_stopped_it() -> None:
    found = resume_from(stopped_after(SOURCES[:2]), SOURCES, HERE)
    assert (found.begin, found.reason) == (2, "the last run stopped at cell 3")


@pytest.mark.parametrize(
    ("sources", "begin", "reason"),
    [
        pytest.param(("a = 1", "b = 2", "1 / 1", "c = 3"), 2, "the last run stopped at cell 3", id="the failed cell is mended"),
        pytest.param(("a = 1", "b = 7", "1 / 0"), 1, "cell 2 is not the one that the last run ran there", id="edited before it"),
        pytest.param(("a = 0", "b = 2"), 0, "cell 1 is not the one that the last run ran there", id="the first edited"),
        pytest.param(("a = 1", "new", "b = 2"), 1, "cell 2 is not the one that the last run ran there", id="one put in"),
        pytest.param(("b = 2", "1 / 0"), 0, "cell 1 is not the one that the last run ran there", id="one taken out"),
        pytest.param(("a = 1", "b = 2"), 2, "all cells have run", id="the failed cell taken out"),
        pytest.param(("a = 1",), 1, "all cells have run", id="others too"),
        pytest.param((), 0, "all cells have run", id="nothing left"),
    ],
)
def test_a_run_goes_on_at_the_first_cell_that_has_not_run_as_it_stands(sources: Sequence[str], begin: int, reason: str) -> None:
    found = resume_from(stopped_after(SOURCES[:2]), sources, HERE)
    assert (found.begin, found.reason) == (begin, reason)


@pytest.mark.parametrize(
    ("ran", "last", "kernel", "reason"),
    [
        (SOURCES[:2], HERE, None, "the last run's kernel the-kernel is gone"),
        (SOURCES[:2], HERE, KernelProcess("another", "its process"), "the last run was on another kernel, the-kernel"),
        (SOURCES[:2], HERE, KernelProcess("the-kernel", "a new one"), "kernel the-kernel was restarted since the last run"),
        ((), HERE, HERE, "no cell of the last run came to its end"),
        *[
            (SOURCES[:2], last, kernel, "kernel the-kernel does not tell whether it is the process that it was")
            for last, kernel in [
                (KernelProcess("the-kernel", ""), KernelProcess("the-kernel", "")),
                (HERE, KernelProcess("the-kernel", "")),
                (KernelProcess("the-kernel", ""), HERE),
            ]
        ],
    ],
)
def test_where_the_kernel_has_not_what_was_made_a_run_begins_anew(
    ran: Sequence[str], last: KernelProcess, kernel: KernelProcess | None, reason: str
) -> None:
    found = resume_from(stopped_after(ran, kernel=last), SOURCES, kernel)
    assert (found.begin, found.reason) == (0, reason)


def test_a_file_that_tells_of_no_run_is_run_from_the_first_cell() -> None:
    assert stopped_run(notebook_of(*SOURCES)) is None
    found = resume_from(None, SOURCES, HERE)
    assert (found.begin, found.reason) == (0, "the file tells of no run that stopped")


@pytest.mark.parametrize("is_left", [True, False])
def test_what_is_noted_is_read_back_and_the_latest_counts(is_left: bool) -> None:
    notebook = notebook_of(*SOURCES)
    note(notebook, SOURCES, kernel=KernelProcess("earlier", "e"), is_left=not is_left)
    note(notebook, SOURCES[:1], is_left=is_left)
    found = stopped_run(notebook)
    assert found is not None
    assert (found.kernel, found.is_left, len(found.cells)) == (HERE, is_left, 1)
    assert found == stopped_after(SOURCES[:1], is_left=is_left)


def test_several_cells_are_noted_as_one_after_the_other() -> None:
    document = Document(notebook_of(*SOURCES))
    record = RunRecord(document, HERE.kernel_id, is_left=False)
    assert not record.has_begun
    record.begin(HERE.process)
    assert record.has_begun
    record.add(*SOURCES[:2])
    assert stopped_run(document.current()) == stopped_after(SOURCES[:2])


def test_it_is_small_and_tells_nothing_of_the_code() -> None:
    notebook = notebook_of()
    note(notebook, [f"secret = {number}\n" * 100 for number in range(200)], is_left=True)
    assert len(to_json(notebook)) < 200 * 40
    assert b"secret" not in to_json(notebook)


def test_nothing_is_left_of_it_when_it_is_forgotten() -> None:
    notebook = notebook_of(*SOURCES)
    before = to_json(notebook)
    forget(notebook)
    assert to_json(notebook) == before
    note(notebook, SOURCES)
    forget(notebook)
    assert to_json(notebook) == before
    document = Document(notebook)
    record = RunRecord(document, HERE.kernel_id, is_left=False)
    record.begin(HERE.process)
    assert to_json(document.current()) != before
    record.forget()
    assert to_json(document.current()) == before


def test_what_else_stands_there_stays() -> None:
    notebook = notebook_of(*SOURCES)
    notebook.metadata["trio_gateway"] = nbformat.from_dict({"set_aside": {"x": 1}})
    note(notebook, SOURCES)
    assert stopped_run(notebook) is not None
    forget(notebook)
    assert notebook.metadata.trio_gateway == {"set_aside": {"x": 1}}
    notebook.metadata["trio_gateway"] = "somebody's"
    note(notebook, SOURCES)
    forget(notebook)
    assert (notebook.metadata.trio_gateway, stopped_run(notebook)) == ("somebody's", None)


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)
)
told = st.fixed_dictionaries({}, optional=dict.fromkeys(("kernel_id", "process", "is_left", "cells"), json_values))


@given(json_values | st.fixed_dictionaries({"resume": json_values | told}))
def test_whatever_stands_there_is_a_run_or_none(value: Any) -> None:
    notebook = notebook_of(*SOURCES)
    notebook.metadata["trio_gateway"] = nbformat.from_dict(value)
    found = stopped_run(notebook)
    assert resume_from(found, SOURCES, HERE).begin == 0
    forget(notebook)
    assert stopped_run(notebook) is None


@given(st.lists(st.sampled_from("abc")), st.lists(st.sampled_from("abc")))
def test_only_cells_are_left_out_that_ran_in_this_order_and_nothing_else_before_them(ran: list[str], sources: list[str]) -> None:
    begin = resume_from(stopped_after(ran), sources, HERE).begin
    assert sources[:begin] == ran[:begin]
    assert begin == min(len(ran), len(sources)) or sources[begin] != ran[begin]


def test_what_another_file_shows_for_the_cells_that_ran_is_taken_over() -> None:
    earlier = notebook_of("a = 1", "print(2)", "edited there")
    for number, cell in enumerate(earlier.cells, 1):
        cell.outputs = [nbformat.v4.new_output("stream", text=str(number))]
        cell.execution_count = number
    earlier.cells[0].metadata["execution"] = {"shell.execute_reply": "then"}
    earlier.cells[0].metadata["collapsed"] = True
    earlier.cells[1].metadata["trio_gateway"] = {"output_gaps": [{"reason": "lost"}], "set_aside": 1}
    notebook = notebook_of("a = 1", "print(2)", "as it was", "more")
    notebook.cells[0].metadata["tags"] = ["mine"]
    take_over(notebook.cells[:3], cells_that_run(earlier))
    shown = [[output.text for output in cell.outputs] for cell in notebook.cells]
    assert shown == [["1"], ["2"], [], []]
    assert [cell.execution_count for cell in notebook.cells] == [1, 2, None, None]
    assert notebook.cells[0].metadata == {"tags": ["mine"], "execution": {"shell.execute_reply": "then"}}
    assert notebook.cells[1].metadata == {"trio_gateway": {"output_gaps": [{"reason": "lost"}]}}
    assert notebook.cells[2].metadata == {}


def test_gaps_are_not_written_over_what_is_somebodys() -> None:
    earlier, notebook = notebook_of("1"), notebook_of("1")
    earlier.cells[0].metadata["trio_gateway"] = {"output_gaps": [{"reason": "lost"}]}
    notebook.cells[0].metadata["trio_gateway"] = "somebody's"
    take_over(notebook.cells, earlier.cells)
    assert notebook.cells[0].metadata.trio_gateway == "somebody's"
