"""A fleet of two real gateways: one is killed and started again while leases of a pool come and go, kernels are killed at random
and connections are cut."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from contextlib import AsyncExitStack, suppress
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import trio

import trio_gateway
from tools.fault_tools import channels_of
from tools.gateway_tools import PATIENCE, QUICK, rest
from tools.os_view import nothing_left_behind
from tools.tcp_proxy import TcpProxy, open_tcp_proxy
from trio_gateway._local.process import LocalGatewayProcess, run_local_gateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]

LEASES, SIZE = 200, 8
LOSSES = {"KernelDiedError", "KernelRestartedError", "KernelCulledError", "ConnectionLostError"}
"""What becomes of code whose kernel, gateway or connection goes while it runs."""


class OneToken(trio_gateway.TokenRenewer):
    """The token of whichever process is there."""

    def __init__(self, token: str) -> None:
        self.token = token

    def get_token(self, *args: Any, **kwargs: Any) -> str:
        return self.token


class Round:
    """Leases on one pool, what came of each, and how many kernels the gateways had."""

    def __init__(self, folder: Path, seed: int) -> None:
        self.processes = folder / "processes"
        self.processes.touch()
        self.chance = random.Random(seed)
        self.outcomes: Counter[str] = Counter()
        self.lost: Counter[str] = Counter()
        self.killed = self.cuts = self.most = 0
        self.changed = trio.Event()
        self.down = trio.Event()
        self.back = trio.Event()
        self.told: list[str] = []

    @property
    def init(self) -> str:
        """Has each new process note its id."""
        return f"import os\nwith open({str(self.processes)!r}, 'a') as file: print(os.getpid(), file=file)\nx = 1"

    def hear(self, event: trio_gateway.GatewayEvent) -> None:
        """Hear what becomes of the gateway that is killed."""
        if event.kind == "fleet" and event.message.startswith("a"):
            self.told.append(event.action)
            if event.action == "down":
                self.down.set()
            elif event.action == "up" and self.down.is_set():
                self.back.set()

    async def lease(self, pool: trio_gateway.KernelPool, number: int) -> None:
        try:
            async with pool.kernel() as kernel:
                result = await kernel.execute(f"import time; time.sleep(0.05); x + {number}")
                result.raise_for_error()
                assert result.text == str(number + 1) or result.output_gaps
                self.outcomes["done"] += 1
        except trio_gateway.GatewayError as error:
            self.outcomes[type(error).__name__] += 1
            self.lost[error.gateway] += 1
        self.changed.set()
        self.changed = trio.Event()

    async def wait_for(self, leases: int) -> None:
        while self.outcomes.total() < leases:
            await self.changed.wait()

    async def kill(self) -> None:
        """Kill one of the kernels whenever so many leases have ended, whatever it is doing."""
        for leases in range(8, LEASES, 16):
            await self.wait_for(leases)
            processes = [int(pid) for pid in self.processes.read_text().split()]
            with suppress(ProcessLookupError):
                os.kill(self.chance.choice(processes[-SIZE:]), signal.SIGKILL)
                self.killed += 1

    async def cut(self, *proxies: TcpProxy) -> None:
        for leases in range(4, LEASES, 8):
            await self.wait_for(leases)
            links = [link for proxy in proxies for link in channels_of(proxy) if not link.ended.is_set()]
            if links:
                self.chance.choice(links).reset()
                self.cuts += 1

    async def count(self, *processes: LocalGatewayProcess) -> None:
        """Ask the gateways again and again how many kernels there are; one that was killed counts none."""
        async with AsyncExitStack() as stack:
            opened = [
                await stack.enter_async_context(trio_gateway.open_gateway(process.url, auth_token=process.token))
                for process in processes
            ]
            while True:
                found = 0
                for gateway in opened:
                    # Kernel Gateway answers 500 while it is starting a kernel. And on a machine that has no time for it, not at
                    # all: a look that could not be taken says nothing, and the next one may.
                    with suppress(
                        trio_gateway.GatewayHTTPError, trio_gateway.GatewayConnectionError, trio_gateway.GatewayTimeoutError
                    ):
                        found += len(await gateway.kernels.list())
                self.most = max(self.most, found)
                await trio.sleep(0.2)


async def test_two_hundred_leases_while_kernels_and_a_gateway_are_killed_and_connections_cut(tmp_path: Path) -> None:
    """G1, G2, G3, G4: each lease ends in a result or in a typed error, and the gateways never have more kernels than the pool."""
    turn = Round(tmp_path, seed=14)
    with nothing_left_behind(), trio.fail_after(PATIENCE):
        async with (
            run_local_gateway() as first,
            run_local_gateway() as again,
            run_local_gateway() as other,
            open_tcp_proxy(first.url) as proxy,
            open_tcp_proxy(other.url) as beside,
        ):
            renewer = OneToken(first.token)
            gateways = [
                trio_gateway.FleetGateway(trio_gateway.GatewayConfig(url=proxy.url, token_renewer=renewer, **QUICK), name="a"),
                trio_gateway.FleetGateway(trio_gateway.GatewayConfig(url=beside.url, auth_token=other.token, **QUICK), name="b"),
            ]
            async with (
                trio_gateway.open_fleet(gateways, on_event=turn.hear) as fleet,
                fleet.open_pool("python3", size=SIZE, warm=2, init=turn.init, reuse="as-is", max_uses=50) as pool,
                trio.open_nursery() as background,
            ):
                background.start_soon(turn.count, first, again, other)
                background.start_soon(turn.kill)
                background.start_soon(turn.cut, proxy, beside)
                async with trio.open_nursery() as nursery:
                    for number in range(LEASES):
                        nursery.start_soon(turn.lease, pool, number)
                    await turn.wait_for(LEASES // 4)
                    os.kill(first.pid, signal.SIGKILL)
                    await first.wait()
                    for link in proxy.links:
                        link.reset()
                    proxy.target = ("127.0.0.1", 1)
                    await turn.down.wait()
                    assert fleet.gateways[0].state == "down"
                    await turn.wait_for(LEASES // 2)
                    renewer.token = again.token
                    proxy.target = ("127.0.0.1", urlsplit(again.url).port or 0)
                await turn.back.wait()
                assert fleet.gateways[0].state == "up"
                statistics = pool.statistics()
                background.cancel_scope.cancel()
            left = [await trio.to_thread.run_sync(rest, process, "GET", "/api/kernels") for process in (again, other)]
    print(f"{LEASES} leases: {dict(turn.outcomes)}; {turn.killed} kernels killed, {turn.cuts} cuts, {statistics.lost} lost")
    assert left == [[], []]
    assert turn.outcomes.total() == LEASES
    assert turn.outcomes["done"] > LEASES / 2, turn.outcomes
    assert set(turn.outcomes) <= {"done", *LOSSES}, turn.outcomes
    assert set(turn.lost) <= {"a", "b"}, turn.lost
    assert 0 < turn.most <= SIZE
    assert turn.killed >= 4
    assert turn.cuts >= 8
    assert statistics.hand_out.count == LEASES
    assert [action for action in turn.told if action in ("up", "down")][:3] == ["up", "down", "up"]
