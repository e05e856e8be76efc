"""The order in which processes get the tests: what takes longest first, and nothing long behind a long test."""

from __future__ import annotations

import os
from collections import OrderedDict

import attrs
import pytest

from suite import workers

BENCH = "tests/benchmarks/test_bench_notebooks.py"
"""One test, and a long one."""


@attrs.define(eq=False)
class Process:
    """A worker, as a scheduler sees it."""

    got: list[int] = attrs.Factory(list)

    def send_runtest_some(self, indices: list[int]) -> None:
        self.got += indices


def given(process: Process, before: str, *waiting: str) -> str:
    """Give a process that runs the one test of `before` another file; return which."""
    scheduling = object.__new__(workers.Scheduling)
    files = [before, *waiting]
    scheduling.registered_collections = {process: [f"{file}::test" for file in files]}  # type: ignore[dict-item]
    scheduling.assigned_work = {process: {before: {f"{before}::test": False}}}  # type: ignore[dict-item]
    scheduling.workqueue = OrderedDict((file, {f"{file}::test": False}) for file in waiting)
    scheduling._assign_work_unit(process)  # type: ignore[arg-type]
    (index,) = process.got
    return files[index]


def test_behind_a_long_test_waits_the_shortest() -> None:
    assert given(Process(), BENCH, "longest.py", "shorter.py", "shortest.py") == "shortest.py"


def test_behind_any_other_waits_the_longest() -> None:
    assert given(Process(), "tests/quick.py", "longest.py", "shorter.py", "shortest.py") == "longest.py"


def test_files_that_are_known_to_take_long_are_there() -> None:
    root = workers.__file__.rpartition("tests")[0]
    assert [name for name in (*workers._KNOWN, *workers._SWEEPS) if not os.path.exists(root + name)] == []  # noqa: PTH110


@pytest.mark.parametrize("names", [["cheap.py", BENCH, "other/cheap.py"]])
def test_what_takes_longest_begins_first_and_the_order_within_a_file_stays(names: list[str]) -> None:
    @attrs.frozen
    class Item:
        nodeid: str

    items = [Item(f"{name}::test_{number}") for number in range(3) for name in names]
    workers.pytest_collection_modifyitems(items)  # type: ignore[arg-type]
    assert [item.nodeid for item in items[:3]] == [f"{BENCH}::test_{number}" for number in range(3)]
    assert [item.nodeid for item in items if item.nodeid.startswith("cheap")] == [f"cheap.py::test_{n}" for n in range(3)]


def test_what_tests_start_keeps_what_it_compiles() -> None:
    assert "PYTHONDONTWRITEBYTECODE" not in os.environ
