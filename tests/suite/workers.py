"""The tests run in several processes, each with a real gateway of its own.

A file's tests stay together in one process, so that they share what its fixtures start; but those of a sweep or a soak share
nothing and take long, and each of them goes where there is room. What takes longest begins first: nobody waits at the end for one
process that has just begun the longest file.
"""

from __future__ import annotations

import os
import re
import sys
from collections import Counter
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

from .tiers import names_tests

if TYPE_CHECKING:
    from xdist.remote import Producer

_SPREAD = re.compile(r"_(sweep|soak)\.py::")
_COSTS = {
    "enterprise_gateway": 20.0, "jupyter_server": 30.0, "driver": 20.0, "configured": 8.0, "balancer": 5.0, "real_kernels": 2.0,
    "provisioned": 20.0, "real_gateway": 1.0, "forbidding_gateway": 1.0,
}  # fmt: skip
"""How long a test takes that has this fixture, in seconds and roughly."""
_COST_OF_A_SWEEP = 20.0
_COST = 0.05


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Let what the tests start keep what it compiles, also where PYTHONDONTWRITEBYTECODE is set, as in many containers.

    Else each of some thousand interpreters compiles the library anew, and each gateway beside ours all of Jupyter.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` is: one more than the cores, for the tests often wait for kernels; none where single tests are named."""
    if all("::" in argument for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(len(config.args), cores) if names_tests(config) else cores + 1


class Scheduling(LoadFileScheduling):
    """By file, but sweeps and soaks by test."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if _SPREAD.search(nodeid) else super()._split_scope(nodeid)


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Give what `--dist loadfile` stands for here."""
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def _cost(item: pytest.Item) -> float:
    if _SPREAD.search(item.nodeid):
        return _COST_OF_A_SWEEP
    return max((_COSTS.get(name, 0.0) for name in getattr(item, "fixturenames", ())), default=0.0) + _COST


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the files that take longest; the order within a file stays."""
    costs: Counter[str] = Counter()
    for item in items:
        costs[item.path.name] += _cost(item)  # type: ignore[assignment]
    items.sort(key=lambda item: costs[item.path.name], reverse=True)
