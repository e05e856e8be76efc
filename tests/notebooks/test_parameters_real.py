"""Parameters and papermill's record of a run, on a real gateway: what the kernel got, and what papermill's readers find."""

from __future__ import annotations

import copy
import json
import math
from collections.abc import AsyncGenerator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest
from papermill import inspection

import trio_gateway
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
