"""What the tests of fleets have in common: fake gateways, each reached by its name, and a fleet of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs

from trio_gateway import Fleet, FleetGateway, GatewayConfig, GatewayEvent, GatewayStatus
from trio_gateway.testing import FakeFleet, FakeGateway, FakeKernel

__all__ = ["QUICK", "CountedFake", "Ground", "entry", "make_fakes", "open_ground", "start"]

QUICK = {"gateway_retry_interval": 0.1, "gateway_retry_max": 2}
"""Settings of sessions that soon give up."""


class CountedFake(FakeGateway):
    """A fake that knows how many kernels all fakes of its fleet had at most, together."""

    network: FakeFleet
    most = 0

    async def start_kernel(self, *args: Any, **arguments: Any) -> FakeKernel:
        kernel = await super().start_kernel(*args, **arguments)
        self.most = max(self.most, sum(len(fake.kernels) for fake in self.network.gateways.values()))
        return kernel


@attrs.define
class Ground:
    """Fakes, and a fleet of them."""

    fakes: dict[str, FakeGateway]
    network: FakeFleet
    fleet: Fleet
    events: list[GatewayEvent]

    def told(self, action: str) -> list[GatewayEvent]:
        """The fleet's events of one action."""
        return [event for event in self.events if (event.kind, event.action) == ("fleet", action)]

    def status(self, name: str) -> GatewayStatus:
        """What the fleet says of a gateway."""
        return next(status for status in self.fleet.gateways if status.name == name)

    def counts(self) -> dict[str, int]:
        """How many kernels each gateway has."""
        return {name: len(fake.kernels) for name, fake in self.fakes.items()}


def make_fakes(*names: str, **arguments: Any) -> dict[str, FakeGateway]:
    """Make a fake for each name; of one seed, so that nothing is left to chance."""
    return FakeFleet(names, **arguments).gateways


def entry(fake: FakeGateway, name: str, settings: Mapping[str, Any] | None = None, **fields: Any) -> FleetGateway:
    """Make what a fleet is told of a fake."""
    config = GatewayConfig.from_env({}, url=fake.url, auth_token=fake.token or None, **(settings or {}))
    return FleetGateway(config, name=name, **fields)


@asynccontextmanager
async def open_ground(
    fakes: dict[str, FakeGateway] | None = None,
    *,
    labels: Mapping[str, set[str]] | None = None,
    weights: Mapping[str, float] | None = None,
    down: tuple[str, ...] = (),
    settings: Mapping[str, Any] | None = None,
    left: bool = False,
    **arguments: Any,
) -> AsyncGenerator[Ground]:
    """Open a fleet of fakes; afterwards no kernel of it is left, unless that is expected."""
    fakes = make_fakes("a", "b") if fakes is None else fakes
    network = FakeFleet(fakes, labels=labels, weights=weights)
    for name in down:
        network.fall(name)
    events: list[GatewayEvent] = []
    async with network:
        given: Any = {**(settings or {}), **arguments}
        async with network.open(on_event=events.append, **given) as fleet:
            yield Ground(fakes, network, fleet, events)
        if not left:
            assert all(not fake.kernels for fake in fakes.values()), "a kernel is left (G2)"


async def start(ground: Ground, stack: AsyncExitStack, *args: Any, **arguments: Any) -> str:
    """Start a kernel for as long as the stack lasts; return the name of its gateway."""
    kernel = await stack.enter_async_context(ground.fleet.start_kernel(*args, **arguments))
    (name,) = [name for name, fake in ground.fakes.items() if kernel.id in fake.kernels]
    return name
