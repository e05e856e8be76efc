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

    def hold_start(self) -> None:
        """Wait until there is a kernel's process on a host, whoever knows of it, and stop it, as on a busy host."""
        wait_until("a kernel on a host", self.kernels)
        self.signal_kernels(signal.SIGSTOP)

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

    def lead_to(self, name: str) -> None:
        """Have the balancer lead new clients to this replica alone; the others stay for those that they know."""
        for other in self.gateways:
            self.balancer.set_state(other, "ready" if other == name else "drain")

    def kill(self, name: str) -> None:
        """Kill a replica, as a power cut does; the balancer goes on with the other one."""
        for other in self.gateways:
            self.balancer.set_state(other, "ready")
        self.gateways[name].host.kill()

    def start_again(self, *options: str) -> None:
        """Have those replicas run that do not, with these options, and wait until the balancer leads to all."""
        killed = [gateway for gateway in self.gateways.values() if not gateway.host.processes("enterprisegateway")]
        for gateway in killed:
            gateway.host.kill()
            gateway.begin(*options)
        for gateway in killed:
            gateway.wait()
        for name in self.gateways:
            self.balancer.set_state(name, "ready")
        self.balancer.wait_for(dict.fromkeys(self.gateways, "UP"))

    def mend(self) -> None:
        """Have all as it was in the beginning: each link up, both replicas, no kernel."""
        for host in self.hosts.values():
            host.set_link(up=True)
        self.end_kernels()
        self.start_again()
