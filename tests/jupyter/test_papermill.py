"""Papermill on a real gateway, as a user runs it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest

from tools.face_tools import kernel_ids

from .jupyter_tools import EXAMPLES, cell, outputs_of, run_tool

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.usefixtures("configured")]


def test_papermill_gives_the_same_outputs_as_locally(tmp_path: Path) -> None:
    """`papermill --engine trio_gateway`, found by its entry point."""
    plain = nbformat.read(EXAMPLES / "hello.ipynb", as_version=4)
    plain.cells = [
        cell for cell in plain.cells if "1 / 0" not in cell.source and "raises-exception" not in cell.metadata.get("tags", [])
    ]
    nbformat.write(plain, tmp_path / "in.ipynb")
    run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "there.ipynb", cwd=tmp_path)
    run_tool("papermill", "-k", "python3", "in.ipynb", "here.ipynb", cwd=tmp_path)
    there, here = (nbformat.read(tmp_path / name, as_version=4) for name in ("there.ipynb", "here.ipynb"))
    assert outputs_of(there) == outputs_of(here)
    assert sum(map(len, outputs_of(there))) >= 3


def test_papermill_and_a_cell_that_fails(tmp_path: Path, real_gateway: RunningGateway) -> None:
    """It ends with the cell's error, what was run before is saved, what comes after is not run: as locally. No kernel is left."""
    before = kernel_ids(real_gateway)
    notebook = nbformat.read(EXAMPLES / "hello.ipynb", as_version=4)
    failing = [number for number, found in enumerate(notebook.cells) if "raises-exception" in found.metadata.get("tags", [])]
    for number in failing:
        notebook.cells[number].metadata["tags"] = []
    notebook.cells += [nbformat.v4.new_code_cell(code) for code in ("print('before')", "{}['no such key']", "print('after')")]
    nbformat.write(notebook, tmp_path / "in.ipynb")
    said = run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "there.ipynb", cwd=tmp_path, status=1)
    assert "PapermillExecutionError" in said
    run_tool("papermill", "-k", "python3", "in.ipynb", "here.ipynb", cwd=tmp_path, status=1)
    there, here = (nbformat.read(tmp_path / name, as_version=4) for name in ("there.ipynb", "here.ipynb"))
    assert outputs_of(there) == outputs_of(here)
    assert "'output_type': 'error'" in str(outputs_of(there))
    assert "after" not in str(outputs_of(there))
    assert kernel_ids(real_gateway) == before


def test_papermill_and_a_kernel_that_is_killed(tmp_path: Path, real_gateway: RunningGateway) -> None:
    """Killed in the middle of a cell: papermill ends with DeadKernelError."""
    before = kernel_ids(real_gateway)
    code = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"
    nbformat.write(cell(code), tmp_path / "in.ipynb")
    said = run_tool("papermill", "--engine", "trio_gateway", "-k", "python3", "in.ipynb", "out.ipynb", cwd=tmp_path, status=138)
    assert "DeadKernelError" in said
    assert kernel_ids(real_gateway) == before
