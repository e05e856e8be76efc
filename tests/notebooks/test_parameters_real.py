"""Parameters and papermill's record of a run, on a real gateway: what the kernel got, and what papermill's readers find."""

from __future__ import annotations

import copy
import json
import math
import re
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import nbformat
import pytest
import trio
from papermill import inspection

import trio_gateway
from neighbours.notebooks import run_all_with_neighbours
from tools import with_neighbours
from tools.notebook_tools import notebook_of, texts_of, write_notebook
from trio_gateway import notebooks

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway


@pytest.fixture
async def gateway(real_gateway: RunningGateway) -> AsyncGenerator[trio_gateway.Gateway]:
    """The real gateway, opened."""
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        yield gateway


VALUES: dict[str, Any] = {
    "text": 'ü λ😀 "quoted" it\'s \\ \n\t\0 {braces} %s $x',
    "numbers": [0, -1, 10**30, 1.5, -1e-300, math.inf, -math.inf],
    "nested": {"a": [{"b": None}, True, False], "": ["ü"]},
    "nothing": None,
    "flag": True,
    "empty": [[], {}, ""],
}


async def test_the_kernel_gets_the_values_and_a_run_again_gets_others(gateway: trio_gateway.Gateway, tmp_path: Path) -> None:
    names = ", ".join(VALUES)
    path = write_notebook(tmp_path / "in.ipynb", ("text = numbers = nested = 1", ["parameters"]), f"print(ascii([{names}]))")
    output = tmp_path / "out.ipynb"
    result = await notebooks.run(gateway, path, parameters=VALUES, output=output)
    result.raise_for_error()
    saved = json.loads(output.read_text())
    assert "".join(texts_of(saved["cells"][2])) == ascii(list(VALUES.values())) + "\n"
    again = await notebooks.run(gateway, output, parameters={**VALUES, "text": "other"})
    assert len(again.notebook.cells) == 3
    assert "".join(texts_of(again.notebook.cells[2])).startswith("['other', [0, -1,")
    kept = await notebooks.run(gateway, output)
    assert texts_of(kept.notebook.cells[2]) == texts_of(saved["cells"][2]), "without parameters it keeps those it has"
    assert kept.notebook.metadata.papermill.parameters == saved["metadata"]["papermill"]["parameters"]


async def test_papermills_readers_find_the_run(gateway: trio_gateway.Gateway, tmp_path: Path) -> None:
    """What scrapbook reads of a notebook is this: parameters, and each cell's duration beside its number."""
    markdown = nbformat.v4.new_markdown_cell("# Title", id="title")
    notebook = notebook_of(
        ("alpha: float = 0.1  # how fast", ["parameters"]), "alpha * 2", "import time\ntime.sleep(0.05)", "1/0", "2"
    )
    notebook.cells.insert(0, markdown)
    output = tmp_path / "out.ipynb"
    result = await notebooks.run(gateway, notebook, parameters={"alpha": 0.5}, output=output)
    assert result.status == "error"
    read = nbformat.read(output, as_version=4)
    nbformat.validate(read)
    record = read.metadata.papermill
    assert (record.parameters, record.input_path, record.output_path) == ({"alpha": 0.5}, None, str(output))
    assert (record.default_parameters, record.environment_variables, record.exception) == ({}, {}, True)
    assert record.duration == pytest.approx(result.seconds, abs=60)
    cells = [cell.metadata.papermill for cell in read.cells]
    assert [cell.status for cell in cells] == [*["completed"] * 5, "failed", "pending"]
    assert [cell.exception for cell in cells] == [*[False] * 5, True, None]
    timing = [cell.metadata.papermill.duration if cell.get("execution_count") else None for cell in read.cells]
    assert timing[0] is None
    assert timing[-1] is None
    assert timing[4] >= 0.05
    assert [cell.start_time for cell in cells[1:6]] == [run.started.isoformat() for run in result.cells[:5] if run.started]
    assert [cell.end_time for cell in cells[1:6]] == [run.finished.isoformat() for run in result.cells[:5] if run.finished]
    (parameter,) = inspection.inspect_notebook(str(output)).values()
    assert (parameter["name"], parameter["default"], parameter["help"]) == ("alpha", "0.1", "how fast")


async def test_a_kernel_that_is_open_says_its_language(gateway: trio_gateway.Gateway) -> None:
    notebook = notebook_of("print(x)", kernel=None)
    before = copy.deepcopy(notebook)
    async with gateway.start_kernel() as kernel:
        result = await notebooks.run(kernel, notebook, parameters={"x": "here"})
    assert texts_of(result.notebook.cells[1]) == ["here\n"]
    assert notebook == before


def tagged(source: str, *tags: str) -> Any:
    return nbformat.v4.new_code_cell(source, metadata={"tags": list(tags)} if tags else {})


SHAPES: dict[str, tuple[list[Any], dict[str, Any]]] = {
    "a tagged cell": ([tagged("a = 1\nb = 'x'", "parameters"), tagged("print(a, b)"), tagged("a")], {"a": 2, "b": 'ü "q" \\'}),
    "a tagged cell behind text": (
        [nbformat.v4.new_markdown_cell("# Title"), tagged("import math"), tagged("a = 1", "parameters", "mine"), tagged("a * 2")],
        {"a": [1.5, {"k": None}], "unknown": True},
    ),
    "no tagged cell": ([nbformat.v4.new_markdown_cell("text"), tagged("print(a)")], {"a": -3}),
    "parameters of an earlier run": (
        [tagged("a = 1", "parameters"), tagged("# Parameters\na = 7\n", "injected-parameters", "kept?"), tagged("a")],
        {"a": 8},
    ),
    "of an earlier run, and no tagged cell": ([tagged("a = 7", "injected-parameters"), tagged("a")], {"a": 8}),
    "two tagged cells": ([tagged("a = 1", "parameters"), tagged("a = 2", "parameters"), tagged("a")], {"a": 3}),
    "a cell that is skipped, and raw text": (
        [tagged("a = 1", "parameters"), nbformat.v4.new_raw_cell("raw"), tagged("1/0", "skip-execution"), tagged("a")],
        {"a": 2},
    ),
    "a cell that fails": ([tagged("a = 1", "parameters"), tagged("1 / a"), tagged("'never'")], {"a": 0}),
    "a cell that may fail": ([tagged("a = 1", "parameters"), tagged("1 / a", "raises-exception"), tagged("'next'")], {"a": 0}),
    "none are given": ([tagged("a = 1", "parameters"), tagged("a")], {}),
}
"""Notebooks, and what they are given."""
TIMES = ("start_time", "end_time", "duration")


@attrs.frozen
class ByPapermill:
    """What papermill made of a notebook."""

    source: Path
    output: Path
    verdict: str
    """In the words of `tools.with_neighbours`."""


@pytest.fixture(scope="module")
def by_papermill(tmp_path_factory: pytest.TempPathFactory) -> dict[str, ByPapermill]:
    """Run all notebooks with papermill itself, on kernels of this machine: two processes run them all."""
    kernelspec = {"name": "python3", "display_name": "Python 3", "language": "python"}
    jobs: list[with_neighbours.Job] = []
    for cells, parameters in SHAPES.values():
        folder = tmp_path_factory.mktemp("papermill")
        source = folder / "in.ipynb"
        nbformat.write(nbformat.v4.new_notebook(cells=copy.deepcopy(cells), metadata={"kernelspec": kernelspec}), source)
        jobs.append(
            {
                "by": "papermill",
                "notebook": str(source),
                "output": str(folder / "theirs.ipynb"),
                "cwd": str(folder),
                "limit": None,
                "parameters": parameters,
            }
        )
    verdicts = trio.run(run_all_with_neighbours, jobs)
    return {
        shape: ByPapermill(Path(job["notebook"]), Path(job["output"]), verdict)
        for shape, job, verdict in zip(SHAPES, jobs, verdicts, strict=True)
    }


def comparable(path: Path) -> Any:
    """Return what a file holds, without what differs from run to run, and what docs/notebooks.md says of the differences."""
    document = json.loads(path.read_text("utf-8"))
    record = document["metadata"]["papermill"]
    assert set(TIMES) <= set(record)
    assert record.pop("output_path") == str(path)
    del document["metadata"]["kernelspec"], document["metadata"]["language_info"]
    cells = []
    for cell in document["cells"]:
        metadata = cell["metadata"]
        if metadata.get("papermill", {}).get("status") is None or "papermill-error-cell-tag" in metadata.get("tags", ()):
            continue  # papermill points to a cell that failed
        assert set(TIMES) <= set(metadata["papermill"])
        metadata.pop("execution", None)
        if not metadata.get("tags"):
            metadata.pop("tags", None)
        if "injected-parameters" in metadata.get("tags", ()):
            del cell["id"]  # it is made at random
        for output in cell.get("outputs", ()):
            if output["output_type"] == "error":
                output["traceback"] = len(output["traceback"])
        cells.append(cell)
    document["cells"] = cells
    for each in (record, *(cell["metadata"]["papermill"] for cell in cells)):
        for name in TIMES:
            each[name] = each[name] is not None
    return document


@pytest.mark.full
@pytest.mark.parametrize("shape", SHAPES)
async def test_the_document_is_the_one_that_papermill_makes(
    shape: str, by_papermill: dict[str, ByPapermill], gateway: trio_gateway.Gateway
) -> None:
    """papermill runs it on a kernel of this machine: the same cells, tags, outputs and records."""
    theirs = by_papermill[shape]
    assert re.fullmatch(r"ok|error \w+", theirs.verdict)
    failed = theirs.verdict != "ok"
    folder = theirs.source.parent
    ours = folder / "ours.ipynb"
    result = await notebooks.run(gateway, theirs.source, output=ours, parameters=SHAPES[shape][1], cwd=folder)
    assert failed == any(cell.status == "error" for cell in result.cells), "papermill raises an error in the end that may be"
    assert (result.status == "error") == (failed and shape != "a cell that may fail")
    assert comparable(ours) == comparable(theirs.output)
