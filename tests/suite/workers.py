"""The tests run in several processes, each with a real gateway of its own.

A file's tests stay together in one process, so that they share what its fixtures start; but those of a sweep or a soak share
nothing and take long, and each of them goes where there is room. What takes longest begins first: nobody waits at the end for one
process that has just begun the longest file.
"""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
from xdist.scheduler import LoadFileScheduling

from .tiers import names_tests, tier_of

if TYPE_CHECKING:
    from xdist.remote import Producer
    from xdist.workermanage import WorkerController

_SPREAD = re.compile(r"_(sweep|soak)\.py::")
_KNOWN = {
    "tests/benchmarks/test_bench_notebooks.py": 40.0,
    "tests/benchmarks/test_smoke.py": 40.0,
    "tests/cli/test_real.py": 15.0,
    "tests/clusters/test_provisioners.py": 120.0,
    "tests/docs/test_examples.py": 15.0,
    "tests/docs/test_gallery.py": 35.0,
    "tests/jupyter/test_lab.py": 20.0,
    "tests/jupyter/test_saved_widgets.py": 20.0,
    "tests/kernel/test_sloppy_kernels.py": 25.0,
    "tests/notebooks/test_many_real.py": 100.0,
    "tests/notebooks/test_memory.py": 30.0,
    "tests/notebooks/test_parameters_kernels.py": 20.0,
    "tests/notebooks/test_parameters_real.py": 30.0,
    "tests/pool/test_faults_real.py": 45.0,
    "tests/portal/test_thread.py": 15.0,
    "tests/proxy/test_lab.py": 20.0,
    "tests/proxy/test_openapi.py": 25.0,
    "tests/proxy/test_page.py": 20.0,
    "tests/servers/test_enterprise_gateway.py": 35.0,
    "tests/servers/test_execute.py": 45.0,
    "tests/servers/test_kernel_life.py": 30.0,
    "tests/servers/test_notebooks_beside_nbclient.py": 90.0,
    "tests/servers/test_scenarios.py": 25.0,
}
"""How long a file takes whose fixtures do not show it, in seconds and roughly: what `--durations=0` says."""
_COSTS = {
    "enterprise_gateway": 3.0, "jupyter_server": 30.0, "driver": 20.0, "configured": 8.0, "balancer": 5.0, "real_kernels": 2.0,
    "provisioned": 20.0, "real_gateway": 1.0, "forbidding_gateway": 1.0,
}  # fmt: skip
"""How long a test takes that has this fixture, likewise."""
_SWEEPS = {
    "tests/hostile/test_echoing_sweep.py": 0.2, "tests/sweeps/test_cancel_sweep.py": 5.0,
    "tests/sweeps/test_machine_sweep.py": 45.0,
}  # fmt: skip
_COST_OF_A_SWEEP = 20.0
"""How long a test of a sweep takes, of these files and of any other, likewise."""
_COST = 0.05
_LONG = 10.0
"""A test that takes longer has nothing long queued behind it, in seconds."""


@pytest.hookimpl(tryfirst=True)
def pytest_configure() -> None:
    """Let what the tests start keep what it compiles, also where PYTHONDONTWRITEBYTECODE is set, as in many containers.

    Else each of some thousand interpreters compiles the library anew, and each gateway beside ours all of Jupyter.
    """
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """What `-n auto` is: more than the cores, for tests wait for kernels, the rest most; none where single tests are named."""
    if all("::" in argument for argument in config.args):
        return 0
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if names_tests(config):
        return min(len(config.args), cores)
    return 2 * cores if tier_of(config) == "rest" else cores + 1


class Scheduling(LoadFileScheduling):
    """By file, but sweeps and soaks by test."""

    def _split_scope(self, nodeid: str) -> str:
        return nodeid if _SPREAD.search(nodeid) else super()._split_scope(nodeid)

    def _assign_work_unit(self, node: WorkerController) -> None:
        """Give a process the longest that is left; behind a long test the shortest, for nobody else can take what waits there."""
        units = self.assigned_work[node]
        unfinished = [scope for scope, tests in units.items() if not all(tests.values())]
        if any(_seconds_of_one(scope, len(units[scope])) > _LONG for scope in unfinished):
            self.workqueue.move_to_end(next(reversed(self.workqueue)), last=False)
        super()._assign_work_unit(node)


def _seconds_of_one(scope: str, tests: int) -> float:
    return _cost_of_a_sweep(scope) if _SPREAD.search(scope) else _KNOWN.get(scope, 0.0) / tests


def pytest_xdist_make_scheduler(config: pytest.Config, log: Producer) -> Scheduling | None:
    """Give what `--dist loadfile` stands for here."""
    return Scheduling(config, log) if config.getoption("dist") == "loadfile" else None


def _cost(item: pytest.Item) -> float:
    return max((_COSTS.get(name, 0.0) for name in getattr(item, "fixturenames", ())), default=0.0) + _COST


def _cost_of_a_sweep(nodeid: str) -> float:
    return _SWEEPS.get(nodeid.partition("::")[0], _COST_OF_A_SWEEP)


def _unit(item: pytest.Item) -> str:
    return item.nodeid if _SPREAD.search(item.nodeid) else item.nodeid.partition("::")[0]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes longest; the order within a file stays."""
    costs: dict[str, float] = {}
    for item in items:
        unit = _unit(item)
        costs[unit] = costs.get(unit, 0.0) + _cost(item)
    for unit, estimate in costs.items():
        costs[unit] = _cost_of_a_sweep(unit) if _SPREAD.search(unit) else max(estimate, _KNOWN.get(unit, 0.0))
    items.sort(key=lambda item: costs[_unit(item)], reverse=True)
