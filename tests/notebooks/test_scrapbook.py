"""scrapbook reads what our runs save: scraps, parameters, papermill's record. It needs pandas, and has an environment of its own.

`nox -s tools` makes that.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import nbformat
import pytest

import trio_gateway
from tools.notebook_tools import notebook_of, write_notebook
from trio_gateway import notebooks

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.filterwarnings("default")]
sb: Any = pytest.importorskip("scrapbook", reason="scrapbook needs an environment of its own: run nox -s tools")

CELLS = (
    ("region = 'north'\nweeks = 4", ["parameters"]),
    "import scrapbook as sb, pandas\nsb.glue('total', weeks * 100)",
    (
        "sb.glue('rows', [{'region': region, 'week': week} for week in range(weeks)])\n"
        "sb.glue('table', pandas.DataFrame({'w': [1, 2]}), 'pandas')"
    ),
    "sb.glue('shown', 'a picture', display=True)",
)


async def run_there(real_gateway: RunningGateway, *jobs: notebooks.NotebookJob) -> None:
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        for job in jobs:
            await notebooks.run(gateway, job)


async def test_a_notebook_is_read(real_gateway: RunningGateway, tmp_path: Path) -> None:
    output = tmp_path / "out.ipynb"
    source = write_notebook(tmp_path / "in.ipynb", *CELLS)
    await run_there(real_gateway, notebooks.NotebookJob(source, output, parameters={"region": "süd", "weeks": 3}))
    read = sb.read_notebook(str(output))
    assert read.parameters == {"region": "süd", "weeks": 3}
    assert read.scraps["total"].data == 300
    assert read.scraps["rows"].data == [{"region": "süd", "week": week} for week in range(3)]
    assert list(read.scraps["table"].data["w"]) == [1, 2]
    assert read.scraps["shown"].display["data"]["text/plain"] == "'a picture'"
    assert read.execution_counts == [1, 2, 3, 4, 5]
    assert all(seconds >= 0 for seconds in read.papermill_metrics["value"])
    assert [name.split()[0] for name in read.papermill_metrics["cell"]] == ["Out"] * 5
    frame = read.parameter_dataframe
    assert dict(zip(frame["name"], frame["value"], strict=True)) == {"region": "süd", "weeks": 3}
    # Together these are its `papermill_dataframe`, which asks pandas for what only pandas 1 has.
    assert set(read.papermill_record_dataframe["name"]) == {"total", "rows", "table"}
    assert set(read.scrap_dataframe["name"]) == {"total", "rows", "table", "shown"}
    nbformat.validate(nbformat.read(output, as_version=4))


async def test_a_folder_of_runs_is_read(real_gateway: RunningGateway, tmp_path: Path) -> None:
    """A sweep: also of a run that failed."""
    (tmp_path / "runs").mkdir()
    jobs = [
        notebooks.NotebookJob(
            notebook_of(*CELLS[:2], "1 / (weeks - 1)"), tmp_path / "runs" / f"{weeks}.ipynb", parameters={"weeks": weeks}
        )
        for weeks in (1, 2)
    ]
    await run_there(real_gateway, *jobs)
    book = sb.read_notebooks(str(tmp_path / "runs"))
    totals = {name: notebook.scraps["total"].data for name, notebook in book.items()}
    assert sorted(totals.values()) == [100, 200]
    assert {notebook.parameters["weeks"] for notebook in book.values()} == {1, 2}
    assert all(len(notebook.scrap_dataframe) == 1 for notebook in book.values())
