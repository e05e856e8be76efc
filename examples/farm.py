"""A farm of notebooks with a report in HTML: `python examples/farm.py FOLDER`. Extras: `local`, `notebooks` and `html`.

Each region has a notebook of its own, as a file and as a page; `index.html` names them all, with what came of each.
"""

from __future__ import annotations

import html
import sys
from pathlib import Path

import nbconvert
import trio

import trio_gateway
from trio_gateway import notebooks

TEMPLATE = Path(__file__).with_name("report.ipynb")
REGIONS = ["north", "east", "south", "west"]


def write_page(run: notebooks.NotebookRun, path: Path) -> None:
    """Write a notebook that ran as a page."""
    exporter = nbconvert.HTMLExporter()  # type: ignore[no-untyped-call]
    body, _ = exporter.from_notebook_node(run.notebook)
    path.write_text(body, encoding="utf-8")


def write_index(rows: dict[str, str], path: Path) -> None:
    """Write the page that names all of them."""
    lines = [f'<li><a href="{name}.html">{name}</a>: {html.escape(status)}</li>' for name, status in sorted(rows.items())]
    path.write_text("<!doctype html><title>Regions</title><ul>" + "\n".join(lines) + "</ul>", encoding="utf-8")


async def main(folder: Path) -> None:
    """Run all notebooks, two at a time; one that fails takes nothing from the others."""
    jobs = [
        notebooks.NotebookJob(TEMPLATE, output=folder / f"{name}.ipynb", parameters={"region": name}, name=name)
        for name in REGIONS
    ]
    rows: dict[str, str] = {}
    async with trio_gateway.open_local_gateway() as gateway:
        async with notebooks.run_many(gateway, jobs, limit=2) as runs:
            async for run in runs:
                cell = run.failed_cell
                rows[run.name or ""] = run.status if cell is None else f"{run.status} in cell {cell.number}: {cell.title}"
                # nbconvert works for a second: in a thread, so that the other runs go on.
                await trio.to_thread.run_sync(write_page, run, folder / f"{run.name}.html")
    write_index(rows, folder / "index.html")
    for name, status in sorted(rows.items()):
        print(f"{name}: {status}")


if __name__ == "__main__":
    trio.run(main, Path(sys.argv[1] if len(sys.argv) > 1 else "."))
