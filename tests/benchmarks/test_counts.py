"""What operations on the fake cost is counted, and is no more than what was landed last, with a wide margin."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from trio_gateway import Kernel

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT))  # the benchmarks are not installed

from benchmarks import counts  # noqa: E402

LANDED = json.loads(counts.LANDED.read_text(encoding="utf-8"))["operations"]


def test_no_operation_costs_much_more_than_when_it_was_landed_last() -> None:
    command = [sys.executable, "-m", "benchmarks.counts", "--json"]  # in a process in which nothing else was done
    environment = {**os.environ, "PYTHONHASHSEED": "0"}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=280, check=False)
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found.keys() == LANDED.keys() == counts.OPERATIONS.keys()
    assert counts.exceeded(found, LANDED) == [], "if that is meant: python -m benchmarks.counts --write"


def test_two_counts_are_alike_and_one_call_more_shows(monkeypatch: pytest.MonkeyPatch) -> None:
    def calls() -> int:
        return counts.count_all(["kernel_info"])["kernel_info"]["calls"]

    calls()  # what is made once in a process
    before = calls()
    assert calls() == before > 100
    ask = Kernel.kernel_info

    def ask_by_the_way(kernel: Kernel) -> object:
        return ask(kernel)

    monkeypatch.setattr(Kernel, "kernel_info", ask_by_the_way)
    assert calls() == before + 1


def test_more_than_the_margin_is_told_with_its_figures() -> None:
    landed = {"wait": {"calls": 1_000, "bytes": 1_000}, "ask": {"calls": 1_000, "bytes": 1_000}}
    found = {"wait": {"calls": 1_200, "bytes": 1_400}, "ask": {"calls": 1_201, "bytes": 10}}
    assert counts.exceeded(found, landed) == ["ask: 1,201 calls, 1.20 × the 1,000 that were landed last"]
