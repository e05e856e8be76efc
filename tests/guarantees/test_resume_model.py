"""The model of the resume protocol, docs/resume.pml, in the checker Spin: all orders in which cuts and restarts can come.

It speaks of the protocol, not of its code: that plays the same cases in tests/protocol/test_recovery.py and in the sweeps.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

MODEL = Path(__file__).parents[2] / "docs" / "resume.pml"
LONG = os.environ.get("TRIO_GATEWAY_LONG") == "1"
"""With three requests: some 22 million states, 7 GB and some minutes a variant."""

pytestmark = [
    pytest.mark.full,
    pytest.mark.skipif(shutil.which("spin") is None, reason="needs the model checker: install Debian's spin"),
    pytest.mark.skipif(shutil.which("cc") is None, reason="Spin's checkers are C: install Debian's gcc and libc6-dev"),
]


@pytest.fixture
def check(tmp_path: Path, record_property: Callable[[str, object], None]) -> Callable[..., tuple[str, str]]:
    """Explore a variant of the model; give what was violated first, or `""`, and the steps that led there."""

    def call(*command: str) -> str:
        return subprocess.run(command, cwd=tmp_path, check=True, capture_output=True, text=True).stdout

    def explore(*variant: str, cycles: bool = False) -> tuple[str, str]:
        names = [f"-D{name}" for name in variant]
        shutil.copy(MODEL, tmp_path)
        call("spin", "-a", *names, MODEL.name)
        call("cc", "-O2", "-DNP" if cycles else "-DSAFETY", "-DCOLLAPSE", "-o", "pan", "pan.c")
        report = call(str(tmp_path / "pan"), "-m100000", "-w24", *(["-l"] if cycles else []))
        assert "max search depth too small" not in report
        assert "Search not completed" not in report or "errors: 1" in report
        states = re.search(r"(\d+) states, stored", report)
        assert states is not None, report
        record_property("states", int(states[1]))
        print(f"{' '.join(variant) or 'the protocol'}: {states[1]} states")
        found = re.search(r"pan:1: (.*) \(at depth", report)
        assert (found is None) == ("errors: 0" in report), report
        return ("", "") if found is None else (found[1], call("spin", "-t", "-p", *names, MODEL.name))

    return explore


@pytest.mark.parametrize("variant", [(), ("BESIDE",), ("NEW_SESSION",), ("BESIDE", "NEW_SESSION")], ids=" ".join)
def test_each_request_ends_once_and_truly(check: Callable[..., tuple[str, str]], variant: tuple[str, ...]) -> None:
    """G3, G4"""
    assert check(*variant, *(["REQUESTS=3"] if LONG else [])) == ("", "")


def test_nothing_goes_on_for_ever(check: Callable[..., tuple[str, str]]) -> None:
    """G3"""
    assert check("RESTARTS=1" if LONG else "RESTARTS=0", cycles=True) == ("", "")


@pytest.mark.parametrize(
    ("wrong", "found"),
    [
        (("RESEND",), "assertion violated (runs[number]==1)"),
        (("NO_BARRIER",), "invalid end state"),
        (("NO_REPLACEMENT",), "invalid end state"),
        (("BESIDE", "TRUST_ANSWER"), "assertion violated (state[number]!="),
    ],
    ids=" ".join,
)
def test_a_wrong_protocol_is_found(check: Callable[..., tuple[str, str]], wrong: tuple[str, ...], found: str) -> None:
    violated, steps = check(*wrong)
    assert violated.startswith(found)
    assert "proc" in steps
