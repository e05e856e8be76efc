"""The benchmark of notebooks runs, with tiny sizes: it is here so that it can't rot. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.full, pytest.mark.skipif(sys.platform != "linux", reason="it reads /proc")]


def test_the_benchmark_runs_each_tool_and_compares_what_came() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "benchmarks.bench_notebooks", "--quick", "--rounds=1", "--case=cells", "--case=printed"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    machine, *rest = done.stdout.splitlines()
    assert json.loads(machine)["rounds"] == 1
    assert [line for line in rest if line.startswith("**")] == ["**20 short cells**", "**2 MB printed in lines, by 10 cells**"]
    tables = [line.split("|")[1:-1] for line in rest if line.startswith("| ") and not line.startswith(("| |", "| ---"))]
    assert [row[0].strip() for row in tables[:6]] == [row[0].strip() for row in tables[6:]]
    assert all(float(number) > 0 for row in tables for number in row[1:])
