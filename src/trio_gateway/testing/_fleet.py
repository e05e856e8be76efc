"""`FakeFleet`: several fake gateways inside the test process, and a fleet of them; each can fall, and rise again.

The one idea: the fakes know nothing of one another. What is one here is the network between them and the fleet, which leads to
each by its name.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, Collection, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager
from types import TracebackType
from typing import Any, Final, Self, Unpack, cast
from urllib.parse import urlsplit

import trio

from .._config import FleetSettings, GatewayConfig
from .._errors import InvalidInputError
from .._fleet.fleet import Fleet, open_fleet
from .._fleet.options import FleetGateway
from .._fleet.placement import Placement
from .._gateway.listeners import Listeners
from .._protocol.culling import CullPolicy
from .._transport.blocks import AsyncBlock, block, check_trio
from ._faults import Fault
from ._gateway import FakeGateway

__all__ = ["FakeFleet"]

_ON_ASYNCIO: Final = (
    "for asyncio, and for synchronous code, take the fixture fake_fleet_server, a list of fakes on loopback ports, and open it "
    "with trio_gateway.anyio or trio_gateway.blocking"
)
_NAME: Final = re.compile(r"[a-zA-Z0-9]([a-zA-Z0-9-]{0,61}[a-zA-Z0-9])?")


class FakeFleet(AsyncBlock):
    """Several fake gateways in memory, by name, which fall and rise on command; and a fleet of them.

    Example::

        async def test_mine(autojump_clock):
            async with FakeFleet(["a", "b"]) as fakes, fakes.open() as fleet, fleet.start_kernel() as kernel:
                fakes.fall("a" if kernel.id in fakes.gateways["a"].kernels else "b")

    Args:
        gateways: what they are called; or the fakes themselves, by name, where they differ. The URL of each becomes
            `http://NAME.invalid`.
        labels: the labels of those that have some, by name.
        weights: the weights of those whose weight is not 1, by name.
        **arguments: arguments of `FakeGateway`, for each; of `seed`, each has another one.

    Raises:
        InvalidInputError: a name can't be used, or labels or weights are of no gateway.
    """

    _block: AbstractAsyncContextManager[None] | None = None

    def __init__(
        self,
        gateways: Iterable[str] | Mapping[str, FakeGateway] = ("a", "b"),
        *,
        labels: Mapping[str, Collection[str]] | None = None,
        weights: Mapping[str, float] | None = None,
        **arguments: Any,
    ) -> None:
        if isinstance(gateways, Mapping):
            if arguments:
                raise InvalidInputError(next(iter(arguments)), "…", "nothing where the fakes are given: it is theirs")
            made = dict(gateways)
        else:
            seed = arguments.pop("seed", 0)
            names = [gateways] if isinstance(gateways, str) else list(gateways)
            made = {name: FakeGateway(seed=seed + number, **arguments) for number, name in enumerate(names)}
            if len(made) != len(names):
                raise InvalidInputError("gateways", names, "different names")
        if not made:
            raise InvalidInputError("gateways", [], "one name or more")
        for name, fake in made.items():
            if not isinstance(cast("object", name), str) or not _NAME.fullmatch(name):
                raise InvalidInputError("gateways", name, "names of letters, digits and hyphens: they stand in URLs")
            fake.url = f"http://{name}.invalid"
        for field, given in (("labels", labels), ("weights", weights)):
            for name in given or ():
                if name not in made:
                    raise InvalidInputError(field, name, f"names of gateways: {', '.join(map(repr, made))}")
        self.gateways: dict[str, FakeGateway] = made
        """The fakes, by name."""
        self._refusals: dict[str, Fault] = {}
        self._labels = {name: frozenset(some) for name, some in (labels or {}).items()}
        self._weights = dict(weights or {})

    @property
    def down(self) -> frozenset[str]:
        """Those that fell: they refuse connections."""
        return frozenset(self._refusals)

    def __repr__(self) -> str:
        told = ", ".join(f"{name} (down)" if name in self.down else name for name in self.gateways)
        return f"<FakeFleet {told}>"

    async def __aenter__(self) -> Self:
        check_trio("FakeFleet", _ON_ASYNCIO)
        self._block = self._running()
        await self._block.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._block is not None
        return await self._block.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - its services end when they are cancelled

    @asynccontextmanager
    async def _running(self) -> AsyncGenerator[None]:
        async with AsyncExitStack() as stack:
            for fake in self.gateways.values():
                _ = await stack.enter_async_context(fake)
            yield

    def entries(self, **settings: Unpack[FleetSettings]) -> list[FleetGateway]:
        """Return what `open_fleet` takes, with the token that each fake wants. The environment's settings are not looked at.

        Args:
            **settings: settings of `GatewayConfig`, for each.
        """
        return [self._entry(name, fake, fake.url, settings) for name, fake in self.gateways.items()]

    def _entry(self, name: str, fake: FakeGateway, url: str, settings: FleetSettings) -> FleetGateway:
        given: Any = {"url": url, "auth_token": fake.token or None, **settings}
        config = GatewayConfig.from_env({}, **given)
        return FleetGateway(config, name=name, labels=self._labels.get(name, frozenset()), weight=self._weights.get(name, 1.0))

    def open(
        self,
        *,
        placement: Placement = "least-kernels",
        on_event: Listeners = None,
        cull: CullPolicy | None = None,
        **settings: Unpack[FleetSettings],
    ) -> AbstractAsyncContextManager[Fleet]:
        """Open them as a `Fleet`, in memory.

        Args:
            placement: as for `open_fleet`.
            on_event: as for `open_fleet`.
            cull: as for `open_fleet`.
            **settings: settings of `GatewayConfig`, for each gateway.

        Returns:
            A context manager, as `open_fleet` gives.
        """
        entries = self.entries(**settings)
        return open_fleet(entries, placement=placement, connector=self.connector, on_event=on_event, cull=cull)

    async def connector(self, host: str, port: int) -> trio.abc.Stream:
        """Connect to the gateway of a host, in memory: give this to `open_fleet(connector=...)`.

        Raises:
            ConnectionRefusedError: it is down, or a fault says so.

        Cancellation: safe; no connection is left.
        """
        for name, fake in self.gateways.items():
            if urlsplit(fake.url).hostname == host.lower() and name not in self._refusals:
                return await fake.connector(host, port)
        await trio.lowlevel.checkpoint()
        raise ConnectionRefusedError(111, "Connection refused")

    @block("fake_fleet.listen")
    @asynccontextmanager
    async def listen(self, **settings: Unpack[FleetSettings]) -> AsyncGenerator[list[FleetGateway]]:
        """Listen on real ports of this machine too, one for each, for other event loops and processes.

        Args:
            **settings: settings of `GatewayConfig`, for each.

        Yields:
            What `open_fleet` takes.
        """
        async with AsyncExitStack() as stack:
            yield [
                self._entry(name, fake, await stack.enter_async_context(fake.listen()), settings)
                for name, fake in self.gateways.items()
            ]

    def fall(self, name: str, *, kernels: bool = True) -> None:
        """Have a gateway fall: nobody listens there any more, and its connections break.

        Args:
            name: what it is called.
            kernels: whether its kernels end with it; else they run on, as where only the network is away.
        """
        self._check(name)
        fake = self.gateways[name]
        if name not in self._refusals:
            self._refusals[name] = fake.faults.refuse()
        for kernel in list(fake.kernels.values()) if kernels else ():
            fake.remove_kernel(kernel, quietly=True)
        fake.cut_connections()

    def rise(self, name: str) -> None:
        """Have it listen again.

        Args:
            name: what it is called.
        """
        self._check(name)
        if name in self._refusals:
            self._refusals.pop(name).remove()

    def _check(self, name: str) -> None:
        if name not in self.gateways:
            raise InvalidInputError("name", name, f"the name of a gateway: {', '.join(map(repr, self.gateways))}")
