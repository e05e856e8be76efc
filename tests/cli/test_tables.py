"""What scripts read: one JSON object, however a command ends."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tools.notebook_tools import FakeKernel, write_notebook
from trio_gateway import (
    KernelSpecNotFoundError,
)

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, here, run


def test_whatever_ends_a_command_its_json_says_so(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    fake_gateway(KernelSpecNotFoundError("x", available=["python3"]))
    assert run("run", write_notebook(tmp_path / "n.ipynb", "a"), "--json") == 2
    report = json.loads(capfd.readouterr().out)
    assert report == {
        "ok": False,
        "error": {
            "type": "KernelSpecNotFoundError",
            "message": "the gateway has no kernelspec 'x'; it has python3",
            "advice": "Choose a kernel with --kernel NAME; `trio-gateway kernelspecs` lists them.",
        },
        "runs": report["runs"],
        "results": [],
    }
    fake_gateway(FakeKernel({"a": [here(signal.SIGTERM)]}))
    assert run("run", write_notebook(tmp_path / "n.ipynb", "a"), "--json") == 143
    assert json.loads(capfd.readouterr().out)["error"] == {
        "type": "Interrupted",
        "message": "ended by SIGTERM: interrupted in cell 1 of 1 (a)",
        "advice": "",
    }
    assert run("run", tmp_path / "missing.ipynb", "--json") == 2
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "InvalidInputError"
    assert run("kernels", "--json") == 2
    assert json.loads(capfd.readouterr().out)["error"]["type"] == "UsageError"
