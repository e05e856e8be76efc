"""What the tests of pools have in common: a pool on a fake gateway that watches how many kernels there are."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import trio

from trio_gateway import Gateway, GatewayEvent, KernelPool
from trio_gateway.testing import FakeGateway, FakeKernel


@attrs.define
class Ground:
    """A fake, a gateway opened on it, and a pool."""

    fake: FakeGateway
    gateway: Gateway
    pool: KernelPool
    events: list[GatewayEvent]

    @property
    def kernels(self) -> list[FakeKernel]:
        """The kernels that the gateway has."""
        return list(self.fake.kernels.values())

    def told(self, action: str) -> list[GatewayEvent]:
        """The pool's events of one action."""
        return [event for event in self.events if (event.kind, event.action) == ("pool", action)]


class CountingGateway(FakeGateway):
    """A fake that knows how many kernels it had at most, those that it had not forgotten included."""

    most = 0

    async def start_kernel(self, *args: Any, **arguments: Any) -> FakeKernel:
        kernel = await super().start_kernel(*args, **arguments)
        self.most = max(self.most, len(self.kernels))
        return kernel


@asynccontextmanager
async def open_ground(fake: FakeGateway | None = None, settings: Any = None, **pool: Any) -> AsyncGenerator[Ground]:
    """Open a pool of python3 on a fake; afterwards no kernel and no connection is left."""
    events: list[GatewayEvent] = []
    async with fake or CountingGateway() as fake_gateway:
        async with fake_gateway.open(on_event=events.append, **(settings or {})) as gateway:
            async with gateway.open_pool("python3", **{"size": 2, **pool}) as opened:
                yield Ground(fake_gateway, gateway, opened, events)
            assert fake_gateway.kernels == {}, "a kernel is left (G2)"
        if isinstance(fake_gateway, CountingGateway):
            assert fake_gateway.most <= pool.get("size", 2), "there were more kernels than the pool may have"
    await trio.lowlevel.checkpoint()
