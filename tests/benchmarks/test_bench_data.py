"""The benchmark of values runs, with tiny numbers, so that it can't rot. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


def test_the_benchmark_measures_values(monkeypatch: pytest.MonkeyPatch) -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "benchmarks.bench_data", "--kind=array", "--megabytes=1", "--big=0", "--limited=0.1"]
    command += ["--calls=2", "--rounds=1", "--slow-rounds=1"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    lines = {(line["what"], line["gateway"]): line for line in found["lines"]}
    assert set(lines) == {
        (f"{direction} of an array", gateway) for direction in ("push", "pull") for gateway in ("without limits", "as it comes")
    }
    for line in lines.values():
        assert line["here"] > 0
        assert line["base64"] > 0
        assert line["times as fast"] > 0
        assert line["counted up"] == (line["gateway"] == "as it comes")
    assert found["floor"]["pull"]["seconds"] > 0
    assert found["call without arguments"]["ratio"] > 0
