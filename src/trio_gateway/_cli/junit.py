"""What became of notebooks as JUnit's XML, which CI shows as tests: a suite for each notebook, a case for each cell. Pure.

The one idea: a cell's own error is a failure; what kept cells from running is an error; cells that did not run are skipped.
"""

from __future__ import annotations

import importlib
import io
import re
from collections.abc import Sequence
from typing import Any, Final

from .. import notebooks
from .control import plain_text
from .reports import RunReport, traceback_of

__all__ = ["as_junit"]

_NO_XML: Final = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")


def as_junit(reports: Sequence[RunReport], name: str) -> bytes:
    """Return runs as JUnit's XML.

    Args:
        reports: the runs.
        name: what they are called together.

    Raises:
        ModuleNotFoundError: junitparser is not installed, which the extra `cli` brings.
    """
    junit: Any = importlib.import_module("junitparser")  # few commands write such a report
    document = junit.JUnitXml(_text(name))
    for report in reports:
        document.append(_suite(junit, report))
    document.update_statistics()
    written = io.BytesIO()
    document.write(written)
    return written.getvalue()


def _suite(junit: Any, report: RunReport) -> Any:
    run = report.run
    suite = junit.TestSuite(_text(run.name))
    suite.timestamp = run.started.replace(microsecond=0).isoformat()
    known = {"notebook": report.path, "output": run.output, "kernel": run.kernel_name, "kernel_id": run.kernel_id}
    for key, value in known.items():
        if value:
            suite.add_property(key, _text(str(value)))
    cases = [_case(junit, cell, run) for cell in run.cells]
    if run.failed_cell is None and report.failure is not None:
        whole = junit.TestCase("the run", _text(run.name), 0)
        whole.result = [junit.Error(_text(report.failure.message), _text(report.failure.type))]
        cases.append(whole)
    elif run.status == "pending":
        whole = junit.TestCase("the run", _text(run.name), 0)
        whole.result = [junit.Skipped("did not run")]
        cases.append(whole)
    suite.add_testcases(cases)
    return suite


def _case(junit: Any, cell: notebooks.CellRun, run: notebooks.NotebookRun) -> Any:
    place = f"cell {cell.number}" if cell.number else f"cell at {cell.index}"
    case = junit.TestCase(_text(f"{place}: {cell.title}"), _text(run.name), round(cell.seconds, 3))
    ended_the_run = run.failed_cell is not None and run.failed_cell.index == cell.index
    match cell.status:
        case "error" if ended_the_run and cell.error is not None:
            failure = junit.Failure(_text(f"{cell.error.ename}: {cell.error.evalue}"), _text(cell.error.ename))
            failure.text = _text(traceback_of(cell.error))
            case.result = [failure]
        case "timeout":
            case.result = [junit.Error("interrupted: a limit ran out", "timeout")]
        case "skipped":
            case.result = [junit.Skipped("had run before" if cell.number else "tagged skip-execution")]
        case "pending":
            case.result = [junit.Skipped("did not run")]
        case _:
            pass
    if cell.output_gaps:
        case.system_err = f"the output is not whole: {', '.join([_text(gap.kind) for gap in cell.output_gaps])}"
    return case


def _text(text: str) -> str:
    """Return what XML can hold of a text; a kernel sends anything."""
    return _NO_XML.sub("\ufffd", plain_text(text))
