"""A Kernel Gateway and two Enterprise Gateways with kernels on three hosts, and a balancer: each in a network of its own.

They need root and some programs. Where these are missing, the tests are skipped with what to do.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from tools.environments import CannotBeHad

from .gateways import Balancer, EnterpriseGateway, KernelGateway, accept_logins
from .hosts import Hosts, open_hosts
from .sites import Provisioned, Replicas

KERNEL_HOSTS = ("h1", "h2", "h3")

_shown: list[list[str]] = []
"""The rows of the table of faults."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip what takes longer than `.ci/run` can wait."""
    reason = "it takes minutes, and breaks what it uses: run nox -s cluster"
    for item in items:
        if item.get_closest_marker("cluster") is not None and not os.environ.get("TRIO_GATEWAY_CLUSTERS"):
            item.add_marker(pytest.mark.skip(reason=reason))


def pytest_configure(config: pytest.Config) -> None:
    """Make the marker known."""
    config.addinivalue_line("markers", "cluster: only `nox -s cluster` runs it")


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Keep the rows of the table of faults."""
    _shown.extend(json.loads(str(row)) for name, row in report.user_properties if name == "fault" and report.when == "call")


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Show the table of faults as this run has measured it."""
    if _shown:
        terminalreporter.section("the faults, as measured")
        for row in _shown:
            terminalreporter.line(f"| {' | '.join(row)} |")


def _opened(stack: ExitStack, names: Sequence[str]) -> Hosts:
    try:
        hosts = stack.enter_context(open_hosts(names))
    except CannotBeHad as error:
        pytest.skip(str(error))
    accept_logins(hosts, KERNEL_HOSTS)
    return hosts


@pytest.fixture(scope="module")
def provisioned() -> Iterator[Provisioned]:
    """A Kernel Gateway whose kernels gateway_provisioners starts on three hosts."""
    with ExitStack() as stack:
        hosts = _opened(stack, ["gw", *KERNEL_HOSTS])
        kernel_hosts = [hosts[name] for name in KERNEL_HOSTS]
        gateway = KernelGateway(hosts["gw"], kernel_hosts, hosts.folder)
        try:
            gateway.start()
        except CannotBeHad as error:
            pytest.skip(str(error))
        site = Provisioned(hosts, kernel_hosts, gateway)
        yield site
        site.until_no_kernel_is_left()


@pytest.fixture(scope="module")
def cluster() -> Iterator[Replicas]:
    """Two Enterprise Gateways in replication behind haproxy, with kernels on three hosts."""
    with ExitStack() as stack:
        hosts = _opened(stack, ["lb", "eg1", "eg2", *KERNEL_HOSTS])
        kernel_hosts = [hosts[name] for name in KERNEL_HOSTS]
        Path(hosts.folder, "shared").mkdir()
        first = EnterpriseGateway(hosts["eg1"], kernel_hosts, hosts.folder)
        gateways = {"eg1": first, "eg2": EnterpriseGateway(hosts["eg2"], kernel_hosts, hosts.folder, first.token)}
        try:
            for gateway in gateways.values():
                gateway.begin()
        except CannotBeHad as error:
            pytest.skip(str(error))
        for gateway in gateways.values():
            gateway.wait()
        balancer = Balancer(hosts["lb"], list(gateways.values()), hosts.folder)
        balancer.start()
        yield Replicas(hosts, kernel_hosts, gateways, balancer)


@pytest.fixture
def replicas(cluster: Replicas) -> Replicas:
    """The same, whole when the test begins."""
    cluster.mend()
    return cluster
