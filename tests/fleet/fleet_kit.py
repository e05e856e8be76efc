"""What the tests of fleets have in common: fake gateways, each reached by its name, and a fleet of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

import attrs
import trio

from trio_gateway import Fleet, FleetGateway, GatewayConfig, GatewayEvent, GatewayStatus, open_fleet
from trio_gateway.testing import FakeGateway

__all__ = ["QUICK", "Ground", "Network", "entry", "make_fakes", "open_ground", "start"]

QUICK = {"gateway_retry_interval": 0.1, "gateway_retry_max": 2}
"""Settings of sessions that soon give up."""


class Network:
    """Leads each name to its fake; a name that is down refuses connections."""

    def __init__(self, fakes: Mapping[str, FakeGateway]) -> None:
        self.fakes = fakes
        self.down: set[str] = set()

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        name = host.partition(".")[0]
        if name in self.down:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(111, "Connection refused")
        return await self.fakes[name].connector(host, port)

    def fall(self, name: str, *, kernels: bool = True) -> None:
        """Have a gateway fall: nobody listens there any more, its connections break, and mostly its kernels are gone."""
        self.down.add(name)
        fake = self.fakes[name]
        for kernel in list(fake.kernels.values()) if kernels else ():
            fake.remove_kernel(kernel, quietly=True)
        fake.cut_connections()

    def rise(self, name: str) -> None:
        """Have it listen again."""
        self.down.discard(name)


@attrs.define
class Ground:
    """Fakes, and a fleet of them."""

    fakes: dict[str, FakeGateway]
    network: Network
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
    return {name: FakeGateway(url=f"http://{name}.invalid", seed=number, **arguments) for number, name in enumerate(names)}


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
    network = Network(fakes)
    network.down.update(down)
    events: list[GatewayEvent] = []
    async with AsyncExitStack() as stack:
        for fake in fakes.values():
            await stack.enter_async_context(fake)
        gateways = [
            entry(fake, name, settings, labels=(labels or {}).get(name, set()), weight=(weights or {}).get(name, 1.0))
            for name, fake in fakes.items()
        ]
        async with open_fleet(gateways, connector=network.connect, on_event=events.append, **arguments) as fleet:
            yield Ground(fakes, network, fleet, events)
        if not left:
            assert all(not fake.kernels for fake in fakes.values()), "a kernel is left (G2)"


async def start(ground: Ground, stack: AsyncExitStack, *args: Any, **arguments: Any) -> str:
    """Start a kernel for as long as the stack lasts; return the name of its gateway."""
    kernel = await stack.enter_async_context(ground.fleet.start_kernel(*args, **arguments))
    (name,) = [name for name, fake in ground.fakes.items() if kernel.id in fake.kernels]
    return name
