"""What became of notebooks, for people and for other programs: JSON and a page. Pure: nothing is written here.

The one idea: one value for each run, whatever ended it, from which all forms are made; so they never say different things.
"""

from __future__ import annotations

import html
import os
from collections import Counter
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import attrs

from .. import notebooks
from .._outputs import Error
from .control import plain_text
from .wording import Failure

__all__ = ["RunReport", "as_dict", "as_page", "as_report", "counted", "summary_of", "traceback_of"]

_WORDS: Final = {
    "ok": "succeeded",
    "error": "failed",
    "timeout": "ran out of time",
    "failed": "could not go on",
    "cancelled": "was interrupted",
    "pending": "did not run",
}
"""What each status is to a person."""


@attrs.frozen(kw_only=True)
class RunReport:
    """One notebook's run, and what is known of it beside its result."""

    run: notebooks.NotebookRun
    """What came of it."""
    path: Path
    """The notebook's file, as it was named."""
    failure: Failure | None = None
    """Why it was no success, in words."""
    page: Path | None = None
    """The page that was made of it."""

    @property
    def ended(self) -> int:
        """How many cells have run."""
        return sum(cell.status in ("ok", "error", "timeout") for cell in self.run.cells)

    @property
    def total(self) -> int:
        """How many cells were to run."""
        return sum(cell.number > 0 for cell in self.run.cells)


def counted(number: int, what: str) -> str:
    """Return a number and what it is of."""
    return f"{number:,} {what}{'' if number == 1 else 's'}"


def summary_of(reports: Sequence[RunReport], seconds: float) -> str:
    """Say in one line what became of several runs.

    Args:
        reports: the runs, those too that did not begin.
        seconds: how long it took.
    """
    counts: Counter[str] = Counter([report.run.status for report in reports])
    pieces = [f"{counts[status]} {words}" for status, words in _WORDS.items() if counts[status]]
    return f"{counted(len(reports), 'notebook')} in {seconds:.1f} s: {', '.join(pieces)}."


def as_dict(report: RunReport) -> dict[str, object]:
    """Return a run as JSON has it: the schema is docs/command.schema.json, `$defs/run`."""
    run = report.run
    began = run.status != "pending"
    return {
        "name": run.name,
        "notebook": str(report.path),
        "output": None if run.output is None else str(run.output),
        "page": None if report.page is None else str(report.page),
        "status": run.status,
        "error": None if report.failure is None else attrs.asdict(report.failure),
        "kernel_id": run.kernel_id or None,
        "kernel_name": run.kernel_name or None,
        "kernel_left": run.kernel_left,
        "resumption": run.resumption or None,
        "started": _iso(run.started) if began else None,
        "finished": _iso(run.finished) if began else None,
        "seconds": round(run.seconds, 3),
        "failed_cell": None if run.failed_cell is None else run.failed_cell.number,
        "ended_by": None if run.ended_by is None else run.ended_by.number,
        "cells": [_cell_as_dict(cell) for cell in run.cells],
    }


def _cell_as_dict(cell: notebooks.CellRun) -> dict[str, object]:
    return {
        "cell": cell.number or None,
        "index": cell.index,
        "id": cell.id,
        "title": cell.title,
        "status": cell.status,
        "execution_count": cell.execution_count,
        "started": _iso(cell.started),
        "finished": _iso(cell.finished),
        "seconds": round(cell.seconds, 3),
        "error": None if cell.error is None else attrs.asdict(cell.error),
        "output_gaps": [attrs.asdict(gap) for gap in cell.output_gaps],
    }


def _iso(moment: datetime | None) -> str | None:
    return None if moment is None else moment.isoformat()


# The page -------------------------------------------------------------------------------------------------------------

_STYLE: Final = """
:root { color-scheme: light dark; --line: #8884; --good: #1a7f37; --bad: #cf222e; --odd: #9a6700 }
@media (prefers-color-scheme: dark) { :root { --good: #3fb950; --bad: #f85149; --odd: #d29922 } }
body { font: 1rem/1.45 system-ui, sans-serif; max-width: 70rem; margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.3rem }
table { border-collapse: collapse; width: 100% }
th, td { text-align: left; vertical-align: top; padding: .3rem .6rem; border-bottom: 1px solid var(--line) }
td.number, th.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap }
.ok { color: var(--good) } .error, .timeout, .failed { color: var(--bad) } .skipped, .pending, .gap { color: var(--odd) }
details { margin: .8rem 0 } summary { cursor: pointer }
pre { overflow-x: auto; border-left: 3px solid var(--line); padding: .4rem .8rem; white-space: pre-wrap; overflow-wrap: anywhere }
"""


def as_page(reports: Sequence[RunReport], *, title: str, summary: str, folder: Path) -> str:
    """Return a page that shows runs, to look at by itself: nothing is loaded from anywhere, and nothing in it is run.

    Args:
        reports: the runs.
        title: what the page is called.
        summary: what became of them all.
        folder: where the page will be, from which it links to the notebooks.
    """
    rows = "".join([_row(number, report, folder) for number, report in enumerate(reports, 1)])
    details = "".join([_details(number, report) for number, report in enumerate(reports, 1)])
    return f"""<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'">
<title>{_text(title)}</title>
<style>{_STYLE}</style>
</head>
<body>
<h1>{_text(title)}</h1>
<p>{_text(summary)}</p>
<table>
<thead><tr><th>Notebook</th><th>Status</th><th class="number">Cells</th><th class="number">Seconds</th><th></th></tr></thead>
<tbody>
{rows}</tbody>
</table>
{details}</body>
</html>
"""


def _row(number: int, report: RunReport, folder: Path) -> str:
    run = report.run
    links = [_link(report.page, "page", folder), _link(run.output, "notebook", folder)]
    why = "" if report.failure is None else _text(report.failure.message)
    gaps = sum(bool(cell.output_gaps) for cell in run.cells)
    gap = f'<div class="gap">the output of {counted(gaps, "cell")} is not whole</div>' if gaps else ""
    return (
        f'<tr><td><a href="#run{number}">{_text(run.name)}</a></td><td class="{run.status}">{_WORDS[run.status]}</td>'
        f'<td class="number">{report.ended} of {report.total}</td><td class="number">{run.seconds:.1f}</td>'
        f"<td>{why}{gap} {' · '.join(filter(None, links))}</td></tr>\n"
    )


def _details(number: int, report: RunReport) -> str:
    run = report.run
    cells = "".join([_cell_row(cell) for cell in run.cells])
    opened = "" if run.status == "ok" else " open"
    error = "" if run.error is None else f"<pre>{_text(traceback_of(run.error))}</pre>\n"
    kernel = f" on {_text(run.kernel_name)}" if run.kernel_name else ""
    return (
        f'<details id="run{number}"{opened}><summary>{_text(run.name)}: {_text(_iso(run.started) or "")}{kernel}</summary>\n'
        f'{error}<table><thead><tr><th class="number">Cell</th><th>Code</th><th>Status</th><th class="number">Seconds</th></tr>'
        f"</thead><tbody>\n{cells}</tbody></table></details>\n"
    )


def _cell_row(cell: notebooks.CellRun) -> str:
    status = cell.status if cell.error is None else f"{cell.status}: {cell.error.ename}: {cell.error.evalue}"
    gap = ' <span class="gap">output is missing</span>' if cell.output_gaps else ""
    return (
        f'<tr><td class="number">{cell.number or ""}</td><td><code>{_text(cell.title)}</code></td>'
        f'<td class="{cell.status}">{_text(status)}{gap}</td><td class="number">{cell.seconds:.1f}</td></tr>\n'
    )


def traceback_of(error: Error) -> str:
    """Return a cell's error as people read it, without colours."""
    return plain_text("\n".join(error.traceback) or f"{error.ename}: {error.evalue}")


def _link(path: Path | None, what: str, folder: Path) -> str:
    if path is None:
        return ""
    try:
        place = Path(os.path.relpath(path, folder)).as_posix()
    except ValueError:  # on another of Windows' drives
        return _text(str(path))
    return f'<a href="{html.escape(quote(place))}">{what}</a>'


def _text(text: str) -> str:
    return html.escape(plain_text(text))


def as_report(reports: Sequence[RunReport], *, ok: bool, error: Failure | None) -> Mapping[str, Any]:
    """Return what `--report FILE.json` holds: as `--json` has it, without the outputs."""
    return {"ok": ok, "error": None if error is None else attrs.asdict(error), "runs": [as_dict(report) for report in reports]}
