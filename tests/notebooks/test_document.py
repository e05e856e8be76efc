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
