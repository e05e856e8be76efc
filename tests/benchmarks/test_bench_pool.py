"""The benchmark of pools runs, with tiny numbers, so that it can't rot. No time is asserted; what a warm kernel weighs is."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.full


def test_the_benchmark_measures_leases() -> None:
    root = Path(__file__).resolve().parents[2]
    command = [sys.executable, "-m", "benchmarks.bench_pool", "--leases=2", "--asked=1", "--cold=1", "--kernels=20"]
    done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert all(found[name]["median_ms"] > 0 for name in ("start_kernel", "lease, heard of lately", "lease, asked first"))
    assert found["lease on the fake"]["leases a second"] > 0
    assert 10_000 < found["bytes of a warm kernel"] <= 60_000, "what is promised, counted in bytes and not in time"
