"""Jupyter's own tools on a real gateway, as a user runs them: nbconvert, jupyter_kernel_test."""

from __future__ import annotations

import subprocess
import sys
import unittest
from pathlib import Path

import nbformat
import pytest

from trio_gateway.jupyter import start_new_kernel

from .jupyter_tools import EXAMPLES, cell, run_tool

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.usefixtures("configured")]


def test_nbconvert_executes(tmp_path: Path) -> None:
    """`jupyter nbconvert --execute` with one option."""
    nbformat.write(cell("import os; print(os.environ['KERNEL_GATEWAY'], end='')"), tmp_path / "in.ipynb")
    run_tool(
        "nbconvert", "--to", "notebook", "--execute", "in.ipynb", "--output", "out.ipynb",
        "--ExecutePreprocessor.kernel_manager_class=trio_gateway.jupyter.GatewayKernelManager",
        cwd=tmp_path,
    )  # fmt: skip
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text == "1"


def test_a_command_that_asks_nobody_for_its_manager(tmp_path: Path) -> None:
    """`jupyter execute`, and what else takes nbclient's own: docs/jupyter.md has one line for them."""
    page = (EXAMPLES.parent / "docs" / "jupyter.md").read_text("utf-8")
    (line,) = [line for line in page.splitlines() if line.startswith("import jupyter_client, trio_gateway.jupyter;")]
    nbformat.write(cell("import os; print(os.environ['KERNEL_GATEWAY'], os.getcwd(), end='')"), tmp_path / "in.ipynb")
    code = f"{line}; from nbclient.cli import main; main()"
    command = [sys.executable, "-W", "ignore", "-c", code, "--kernel_name=python3", "--output", "out", "in.ipynb"]
    done = subprocess.run(command, cwd=tmp_path, check=False, capture_output=True, text=True, timeout=250)
    assert done.returncode == 0, done.stderr
    assert nbformat.read(tmp_path / "out.ipynb", as_version=4).cells[0].outputs[0].text == f"1 {tmp_path}"


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
