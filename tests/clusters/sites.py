"""What the tests have: hosts that run kernels, and what leads to them. It says what is left, and mends what a test has broken."""

from __future__ import annotations

import signal
from collections.abc import Callable, Sequence
from contextlib import suppress

import attrs

from trio_gateway import GatewayConfig

from .gateways import LAUNCH_TIMEOUT, Balancer, EnterpriseGateway, KernelGateway, wait_until
from .hosts import Host, Hosts

__all__ = ["Provisioned", "Replicas"]


@attrs.define
class _Site:
    """Hosts, of which some run kernels."""

    hosts: Hosts
    kernel_hosts: Sequence[Host]

    def kernels(self) -> dict[str, set[str]]:
        """Return which kernels run on which host; hosts without any are left out."""
        return {host.name: found for host in self.kernel_hosts if (found := host.kernels())}

    def host_of(self, kernel_id: str) -> Host:
        """Return on which host a kernel runs."""
        return next(host for host in self.kernel_hosts if kernel_id in host.kernels())

    def until_no_kernel_is_left(self) -> None:
        """Wait until no kernel runs on any host.

        It takes ipykernel half a minute when it is asked to: a process of the launcher's that has ended is its child until then.
        """
        wait_until("no kernel on any host", lambda: not self.kernels())

    def give_kernels_time_to_end(self, but_for: Callable[[], set[str]]) -> None:
        """Wait likewise, but for these; those that have not ended then will not."""
        with suppress(AssertionError):
            wait_until("no kernel on any host", lambda: set().union(*self.kernels().values()) <= but_for(), patience=60.0)

    def until_a_kernel_starts(self) -> None:
        """Wait until there is a kernel's process on a host, whoever knows of it."""
        wait_until("a kernel on a host", self.kernels)

    def end_kernels(self) -> None:
        """End what the gateway has lost sight of."""
        self.signal_kernels(signal.SIGKILL)

    def signal_kernels(self, signum: signal.Signals) -> None:
        """Send a signal to the process of each kernel, wherever it is."""
        for host in self.kernel_hosts:
            host.signal("launch_ipykernel", signum)


@attrs.define
class Provisioned(_Site):
    """A Kernel Gateway with gateway_provisioners."""

    gateway: KernelGateway

    @property
    def config(self) -> GatewayConfig:
        """How to reach it."""
        return GatewayConfig(
            url=self.gateway.url, auth_token=self.gateway.token, kernel_username="bob", launch_timeout=LAUNCH_TIMEOUT
        )  # fmt: skip


@attrs.define
class Replicas(_Site):
    """Two Enterprise Gateways that share their kernels, and haproxy before them."""

    gateways: dict[str, EnterpriseGateway]
    balancer: Balancer

    @property
    def config(self) -> GatewayConfig:
        """How to reach them, through the balancer."""
        return GatewayConfig(
            url=self.balancer.url, auth_token=self.balancer.token, kernel_username="bob", launch_timeout=LAUNCH_TIMEOUT,
            accept_cookies=True,
        )  # fmt: skip

    def in_use(self) -> EnterpriseGateway:
        """Return that to which most connections lead."""
        return max(self.gateways.values(), key=lambda gateway: self.balancer.sessions(gateway.host.name))

    def kill_the_one_in_use(self) -> None:
        """Kill that to which most connections lead, as a power cut does."""
        self.in_use().host.kill()

    def mend(self) -> None:
        """Have all as it was in the beginning: each link up, both replicas, no kernel."""
        for host in self.hosts.values():
            host.set_link(up=True)
        for name, gateway in self.gateways.items():
            if not gateway.host.processes("enterprisegateway"):
                gateway.host.kill()
                gateway.start()
            self.balancer.set_state(name, "ready")
        self.balancer.wait_for(dict.fromkeys(self.gateways, "UP"))
        self.end_kernels()
