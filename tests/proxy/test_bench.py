"""The proxy's benchmark runs, with tiny sizes: it is here so that it can't rot. No time is asserted."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(sys.platform != "linux", reason="it pins processes to cores and reads /proc"),
]


def test_the_benchmark_runs_without_the_peer() -> None:
    small = ["--rounds=1", "--executions=3", "--flood=200", "--connections=3", "--gateway=fast", "--without-peer"]
    root = Path(__file__).resolve().parent.parent.parent
    command = [sys.executable, "-m", "benchmarks.bench_proxy", *small]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert [line.get("target") for line in lines[1:3]] == ["direct", "ours"]
    assert lines[2]["messages_s"] > 0
    assert lines[2]["connection_kb"] > 0
    assert lines[3]["goals"] == "ours"
