"""Jupyter's own tools on a real gateway, as a user runs them: papermill, nbconvert, jupyter_kernel_test."""

from __future__ import annotations

import os
import subprocess
import sys
import unittest
from pathlib import Path
from typing import TYPE_CHECKING

import nbformat
import pytest
from face_tools import kernel_ids
from jupyter_tools import EXAMPLES, cell, outputs_of

from trio_gateway.jupyter import start_new_kernel

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]


@pytest.fixture(autouse=True)
def configured(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of configuration: which gateway."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", real_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", real_gateway.token)


def run_tool(*arguments: str, cwd: Path, status: int = 0) -> str:
    """Run a command of Jupyter's, as a user would, and see how it ends."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", *arguments], cwd=cwd, check=False, capture_output=True, text=True, timeout=250,
        env=dict(os.environ),
    )  # fmt: skip
    assert done.returncode == status, done.stderr
    return done.stderr


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


def test_nbconvert_executes(tmp_path: Path) -> None:
    """`jupyter nbconvert --execute` with one option."""
    nbformat.write(cell("import os; print(os.environ['KERNEL_GATEWAY'], end='')"), tmp_path / "in.ipynb")
    run_tool(
        "nbconvert", "--to", "notebook", "--execute", "in.ipynb", "--output", "out.ipynb",
        "--ExecutePreprocessor.kernel_manager_class=trio_gateway.jupyter.GatewayKernelManager",
        cwd=tmp_path,
    )  # fmt: skip
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text == "1"


def test_jupyter_kernel_test() -> None:
    """Jupyter's own conformance tests of a kernel, whose every message comes through the gateway."""
    import jupyter_kernel_test

    class Python(jupyter_kernel_test.KernelTests):
        kernel_name = "python3"
        language_name = "python"
        file_extension = ".py"
        code_hello_world = "print('hello, world')"
        code_stderr = "import sys; print('test', file=sys.stderr)"
        completion_samples = [{"text": "zi", "matches": {"zip"}}]
        complete_code_samples = ["1", "print('hello, world')"]
        incomplete_code_samples = ["for i in range(2):"]
        invalid_code_samples = ["import = 7q"]
        code_execute_result = [{"code": "6 * 7", "result": "42"}]
        code_display_data = [
            {"code": "from IPython.display import HTML, display; display(HTML('<b>b</b>'))", "mime": "text/html"}
        ]
        code_generate_error = "raise RuntimeError('no')"
        code_inspect_sample = "zip"
        supported_history_operations = ("tail",)

        @classmethod
        def setUpClass(cls) -> None:  # the line of configuration
            cls.km, cls.kc = start_new_kernel(kernel_name=cls.kernel_name)

    result = unittest.TestResult()
    unittest.defaultTestLoader.loadTestsFromTestCase(Python).run(result)
    assert (result.errors, result.failures) == ([], [])
    assert result.testsRun >= 12
    assert len(result.skipped) < 5
