"""What failed, for a second look: each failed test leaves its name and its report in the folder TRIO_GATEWAY_FAILURES.

`.ci/run` sets it, and runs each of them once more, alone.
"""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path

import pytest

__all__ = ["note_failure"]


def note_failure(name: str, report: str) -> None:
    """Write down that a test failed, if anybody wants to know."""
    folder = os.environ.get("TRIO_GATEWAY_FAILURES")
    if folder:
        text = json.dumps({"test": name, "report": report})
        Path(folder, f"{secrets.token_hex(8)}.json").write_text(text, encoding="utf-8")


@pytest.hookimpl(trylast=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Write down what failed: in the controller, where a worker that crashed is known, too."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        sections = "".join(f"\n--- {title}\n{text}" for title, text in report.sections)
        note_failure(report.nodeid, f"{report.longreprtext}{sections}")


def pytest_collectreport(report: pytest.CollectReport) -> None:
    """A module that can't be imported is no flake: it is written down as what it is, and fails again."""
    if report.failed and "PYTEST_XDIST_WORKER" not in os.environ:
        note_failure(report.nodeid, report.longreprtext)
