"""A notebook while it runs: which output stands where, whatever a kernel sends."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import nbformat.v4
import pytest
import trio

from tools.notebook_tools import FakeKernel, notebook_of
from trio_gateway import (
    ClearOutput,
    DisplayData,
    ExecuteResult,
    KernelSpec,
    OutputGap,
    Stream,
    UpdateDisplayData,
)
from trio_gateway._notebooks.document import Document
from trio_gateway._notebooks.file import NotebookFile, read_notebook

from .notebook_kit import ODD_OUTPUTS, Run, nested, plain

pytestmark = pytest.mark.usefixtures("threads")


def test_old_outputs_of_cells_that_will_run_are_gone_before_the_first_runs() -> None:
    notebook = notebook_of("a", "b")
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="old")]
    notebook.cells[1].execution_count = 7
    live = Document(notebook)
    assert [(cell.outputs, cell.execution_count) for cell in live.current().cells] == [([], None), ([], None)]


@pytest.mark.parametrize("metadata", [{"tags": "raises-exception"}, {"tags": None}, {}])
def test_tags_of_another_form_count_as_none(metadata: dict[str, Any]) -> None:
    notebook = notebook_of("a")
    notebook.cells[0].metadata.update(metadata)
    assert not Document(notebook).cells[0].may_fail


async def test_a_display_is_updated_where_it_stands_also_in_earlier_cells(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel(
        {
            "a": [DisplayData(plain("old"), display_id="d"), DisplayData(plain("other"), display_id="o")],
            "b": [Stream("stdout", "x"), ExecuteResult(2, plain("old"), display_id="d")],
            "c": [UpdateDisplayData(plain("new"), display_id="d"), UpdateDisplayData(plain("?"), display_id="unknown")],
        }
    )
    run = Run(kernel, "a", "b", "c")
    await run()
    assert run.final == [["new", "other"], ["x", "new"], []]


async def test_what_is_shown_under_an_id_that_is_there_updates_all_its_places(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel(
        {
            "a": [
                DisplayData(plain("first"), display_id="d"),
                Stream("stdout", "x"),
                DisplayData(plain("other"), display_id="o"),
            ],
            "b": [ExecuteResult(2, plain("second"), {"k": 1}, display_id="d")],
            "c": [DisplayData(plain("a"), display_id="y"), DisplayData(plain("b"), display_id="y")],
        }
    )
    run = Run(kernel, "a", "b", "c")
    await run()
    assert run.final == [["second", "x", "other"], ["second"], ["b", "b"]]
    assert [cell.outputs[0].metadata for cell in run.result.notebook.cells] == [{"k": 1}, {"k": 1}, {}]


async def test_what_was_cleared_is_not_brought_back_by_its_display_id(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel(
        {
            "a": [DisplayData(plain("old"), display_id="d"), ClearOutput(wait=True), DisplayData(plain("new"), display_id="d")],
            "b": [DisplayData(plain("gone"), display_id="e"), ClearOutput()],
            "c": [DisplayData(plain("last"), display_id="d"), DisplayData(plain("alone"), display_id="e")],
        }
    )
    run = Run(kernel, "a", "b", "c")
    await run()
    assert run.final == [["last"], [], ["last", "alone"]]


async def test_clear_output_clears_the_cell(autojump_clock: trio.testing.MockClock) -> None:
    kernel = FakeKernel({"a": [Stream("stdout", "1"), ClearOutput(wait=True), Stream("stdout", "2"), Stream("stdout", "3")]})
    run = Run(kernel, "a")
    await run()
    assert run.final == [["23"]]


@pytest.mark.parametrize("name", ODD_OUTPUTS)
async def test_whatever_a_kernel_sent_the_file_can_be_read_by_all(
    name: str, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    output, saved = ODD_OUTPUTS[name]
    path = tmp_path / "n.ipynb"
    await Run(FakeKernel({"a": [output, "ok"]}), "a", file=NotebookFile(path))()

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    notebook = json.loads(path.read_bytes().decode("utf-8"), parse_constant=refuse)
    told = notebook["cells"][0]["outputs"][0]
    assert {key: told[key] for key in saved} == saved
    assert read_notebook(path).faults == ()


@pytest.mark.parametrize("depth", [40, 200, 400, 2000])
async def test_what_is_nested_so_deeply_that_it_cant_be_saved_is_cut_off(
    depth: int, tmp_path: Path, autojump_clock: trio.testing.MockClock
) -> None:
    path = tmp_path / "n.ipynb"
    output = DisplayData({"application/json": nested(depth), **plain("shown")}, nested(depth))
    await Run(FakeKernel({"a": [output, Stream("stdout", "after")]}), "a", file=NotebookFile(path))()
    notebook = read_notebook(path).notebook
    assert notebook.cells[0].outputs[0].data["text/plain"] == "shown"
    assert notebook.cells[0].outputs[1].text == "after"
    assert ("nested too deeply" in path.read_text(encoding="utf-8")) is (depth > 40)


def noted(notebook: Any, name: str, spec: KernelSpec | None, language_info: object) -> Any:
    document = Document(notebook)
    document.note_kernel(name, spec, language_info)
    return document.current().metadata


def test_what_ran_it_is_told_as_jupyterlab_does() -> None:
    notebook = notebook_of("a", kernel="old")
    notebook.metadata.kernelspec["mine"] = 1
    spec = KernelSpec(name="ir", display_name="R", language="R")
    metadata = noted(notebook, "ir", spec, {"name": "R", "version": "4.3"})
    assert metadata.kernelspec == {"name": "ir", "display_name": "R", "language": "R", "mine": 1}
    assert metadata.language_info == {"name": "R", "version": "4.3"}
    assert notebook.metadata == {"kernelspec": {"name": "old", "display_name": "old", "mine": 1}}


@pytest.mark.parametrize(
    ("name", "language_info", "kernelspec"),
    [
        ("old", {"name": "R"}, {"name": "old", "display_name": "old"}),
        ("", {"name": "R"}, {"name": "old", "display_name": "old"}),
        ("ir", {"name": "R"}, {"name": "ir", "display_name": "ir", "language": "R"}),
        ("ir", None, {"name": "ir", "display_name": "ir"}),
    ],
)
def test_a_gateway_may_tell_of_no_kernelspecs(name: str, language_info: object, kernelspec: Any) -> None:
    assert noted(notebook_of("a", kernel="old"), name, None, language_info).kernelspec == kernelspec


@pytest.mark.parametrize("language_info", [None, 5, [], {}, {"name": None}, {"name": 5}, {"version": "1"}])
def test_a_language_without_a_name_is_not_told(language_info: object) -> None:
    """The format wants a name. What was there stays: it is better than nothing."""
    notebook = notebook_of("a")
    notebook.metadata["language_info"] = {"name": "python"}
    metadata = noted(notebook, "python3", None, language_info)
    assert metadata.language_info == {"name": "python"}


def test_what_a_language_is_said_to_be_can_be_saved() -> None:
    metadata = noted(notebook_of("a"), "python3", None, {"name": "x", "version": float("nan"), "deep": nested(2000)})
    assert metadata.language_info["version"] is None
    assert "too deeply" in json.dumps(metadata.language_info)


def test_times_and_gaps_stand_in_the_cells_metadata() -> None:
    notebook = notebook_of("a", "b")
    for cell in notebook.cells:
        cell.metadata.update(execution={"old": "x"}, mine=1, trio_gateway={"output_gaps": [], "set_aside": {"x": 1}})
    notebook.cells[1].metadata["tags"] = ["skip-execution"]
    document = Document(notebook)
    (cell,) = document.cells
    assert [cell.metadata for cell in document.current().cells] == [
        {"mine": 1, "trio_gateway": {"set_aside": {"x": 1}}},
        notebook.cells[1].metadata,  # it is of an earlier run, as its outputs are
    ]
    before = document.current().cells[0].metadata
    document.note_time(cell, "iopub.status.busy", "2026-01-01T12:00:00Z")
    document.note_time(cell, "iopub.status.idle", "2026-01-01T12:00:01Z")
    document.note_gaps(cell, [OutputGap("lost", 3, "why"), OutputGap("rate_limited")])
    assert document.current().cells[0].metadata == {
        "mine": 1,
        "execution": {"iopub.status.busy": "2026-01-01T12:00:00Z", "iopub.status.idle": "2026-01-01T12:00:01Z"},
        "trio_gateway": {
            "set_aside": {"x": 1},
            "output_gaps": [
                {"reason": "lost", "count": 3, "detail": "why"},
                {"reason": "rate_limited", "count": None, "detail": ""},
            ],
        },
    }
    assert "execution" not in before, "another thread may be writing it"
    assert notebook.cells[0].metadata["execution"] == {"old": "x"}


@pytest.mark.parametrize("odd", [None, 5, "x", ["output_gaps"], {"output_gaps": 5}, {}])
def test_what_stands_in_our_place_may_be_anything(odd: object) -> None:
    notebook = notebook_of("a")
    notebook.cells[0].metadata["trio_gateway"] = odd
    document = Document(notebook)
    document.note_gaps(document.cells[0], [OutputGap("lost")])
    told = document.current().cells[0].metadata.trio_gateway
    assert told == {"output_gaps": [{"reason": "lost", "count": None, "detail": ""}]}
