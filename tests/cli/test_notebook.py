"""A notebook's run at the terminal: what is said at its end."""

from __future__ import annotations

from pathlib import Path

import pytest

from tools.notebook_tools import FakeKernel, write_notebook
from trio_gateway import Error, OutputGap, Stream
from trio_gateway._cli import notebook as module

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, run


def test_the_summary_counts_what_ran_what_was_skipped_and_what_was_tolerated(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(FakeKernel({"b": [Error("E", "v")], "c": [Error("SystemExit", "0")]}))
    path = write_notebook(tmp_path / "n.ipynb", "a", ("b", ["raises-exception"]), ("s", ["skip-execution"]), "c", "never")
    assert run("run", path, "-o", tmp_path / "out.ipynb") == 0
    said = " ".join(capfd.readouterr().err.split())
    assert "Ran 3 of 4 cells in" in said
    assert "1 skipped, 1 raised an error, as allowed, cell 3 ended the run. Saved to" in said


def test_each_cell_with_gaps_has_one_warning(fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    gaps = [OutputGap("lost", 3), OutputGap("rate_limited")]
    fake_gateway(FakeKernel({"a": [*gaps, Stream("stdout", "x")], "b": gaps[:1]}))
    assert run("run", "-q", write_notebook(tmp_path / "n.ipynb", "a", "b")) == 0
    err = capfd.readouterr().err
    assert [err.count(f"warning: cell {number}:") for number in (1, 2)] == [1, 1]


def test_it_runs_notebooks_by_public_names_alone() -> None:
    """`trio_gateway.notebooks` does the work: what the command can, a program can."""
    source = Path(module.__file__).read_text(encoding="utf-8")
    assert "_notebooks" not in source
