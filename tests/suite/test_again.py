"""`.ci/again.py`: what failed runs once more, alone; flaky tests are named, broken ones are red, and the count adds up."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytest_plugins = ["pytester"]

TESTS = Path(__file__).parents[1]
AGAIN = TESTS.parent / ".ci" / "again.py"
PROGRAM = """
import pathlib, pytest

def test_flaky():
    seen = pathlib.Path("seen")
    if not seen.exists():
        seen.touch()
        pytest.fail("the first time")

def test_broken():
    assert 6 * 7 == 43

@pytest.mark.parametrize("number", range(3))
def test_good(number):
    pass
"""


def check(pytester: pytest.Pytester, *selection: str) -> tuple[int, str, str]:
    """Run the program's tests and what follows in `.ci/run`; return its exit code, its count and what it says."""
    failures = pytester.path / "failures"
    failures.mkdir()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    environment |= {"TRIO_GATEWAY_FAILURES": str(failures), "PYTHONPATH": str(TESTS)}
    environment["PYTEST_ADDOPTS"] = "-p suite.tiers -p suite.workers -p suite.failures -p no:schemathesis -p no:cacheprovider"
    tests = [sys.executable, "-m", "pytest", "-n", "2", *selection]
    first = subprocess.run(tests, cwd=pytester.path, env=environment, capture_output=True, check=False, timeout=200)
    (pytester.path / "first.log").write_bytes(first.stdout)
    command = [sys.executable, str(AGAIN), str(first.returncode), "first.log"]
    done = subprocess.run(command, cwd=pytester.path, env=environment, capture_output=True, text=True, check=False, timeout=200)
    return done.returncode, done.stdout, done.stderr


@pytest.mark.parametrize(
    ("selection", "status", "count", "said"),
    [
        ("good", 0, "3 passed, 0 failed, 0 skipped\n", []),
        ("good or flaky", 0, "4 passed, 0 failed, 0 skipped\n", ["flaky: test_it.py::test_flaky", "Failed: the first time"]),
        (
            "flaky or broken",
            1,
            "1 passed, 1 failed, 0 skipped\n",
            ["flaky: ", "failed: test_it.py::test_broken", "assert (6 * 7) == 43"],
        ),
    ],
)
def test_again(pytester: pytest.Pytester, selection: str, status: int, count: str, said: list[str]) -> None:
    pytester.makepyfile(test_it=PROGRAM)
    returned, counted, shown = check(pytester, "-k", selection)
    assert (returned, counted) == (status, count), shown
    assert [words for words in said if words not in shown] == []
    assert ("flaky" in shown) == ("flaky" in selection)


def test_a_run_that_ends_by_something_else_is_red(pytester: pytest.Pytester) -> None:
    pytester.makepyfile(test_it=PROGRAM)
    returned, counted, shown = check(pytester, "--no-such-option")
    assert (returned, counted) == (1, "0 passed, 0 failed, 0 skipped\n")
    assert "pytest ended with [4]" in shown
