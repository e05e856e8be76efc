"""What tests of Jupyter's own tools share: the example notebook, and what of its outputs can be compared."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import nbformat
from nbconvert.preprocessors import CoalesceStreamsPreprocessor

__all__ = ["EXAMPLES", "cell", "outputs_of", "run_tool"]

EXAMPLES = Path(__file__).parents[2] / "examples"


def outputs_of(notebook: Any) -> list[Any]:
    """Return a notebook's outputs, without what differs from one run to the next, such as into how many pieces a line was cut."""
    notebook, _ = CoalesceStreamsPreprocessor().preprocess(notebook, {})
    return [
        [
            re.sub(r"File <ipython-input-[^>]*>|/tmp/ipykernel_\d+/\d+\.py|0x[0-9a-f]+|at 0x\w+", "…", str(dict(output)))
            for output in cell.get("outputs", [])
        ]
        for cell in notebook.cells
    ]


def cell(code: str) -> Any:
    """Make a notebook of one cell."""
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(code)])


def run_tool(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Run a command of Jupyter's, as a user would, and see how it ends."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments], cwd=cwd, check=False, capture_output=True, text=True, timeout=250,
        env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stderr
