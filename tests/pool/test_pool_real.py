"""A pool on a real gateway whose kernels are killed and whose connections are cut; and on the other faces."""

from __future__ import annotations

import asyncio
import os
import random
import signal
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from tools.fault_tools import channels_of
from tools.gateway_tools import PATIENCE, QUICK, rest
from tools.os_view import nothing_left_behind
from tools.tcp_proxy import TcpProxy, open_tcp_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]

LEASES, SIZE = 200, 8


class Round:
    """Leases on one pool, and what came of each."""

    def __init__(self, folder: Path, real_gateway: RunningGateway) -> None:
        self.real_gateway = real_gateway
        self.processes = folder / "processes"
        self.processes.touch()
        self.outcomes: Counter[str] = Counter()
        self.most = self.killed = self.cuts = 0
        self.before = len(rest(real_gateway, "GET", "/api/kernels"))
        self.chance = random.Random(20)

    @property
    def init(self) -> str:
        """Has each new process note its id."""
        return f"import os\nwith open({str(self.processes)!r}, 'a') as file: print(os.getpid(), file=file)\nx = 1"

    async def lease(self, pool: trio_gateway.KernelPool, number: int) -> None:
        try:
            async with pool.kernel() as kernel:
                result = await kernel.execute(f"import time; time.sleep(0.05); x + {number}")
                result.raise_for_error()
                assert result.text == str(number + 1) or result.output_gaps
                self.outcomes["done"] += 1
        except trio_gateway.GatewayError as error:
            self.outcomes[type(error).__name__] += 1

    async def kill(self) -> None:
        """Kill one of the kernels now and then, whatever it is doing."""
        while True:
            await trio.sleep(1.5)
            processes = [int(pid) for pid in self.processes.read_text().split()]
            if processes:
                with suppress(ProcessLookupError):
                    os.kill(self.chance.choice(processes[-SIZE:]), signal.SIGKILL)
                    self.killed += 1

    async def cut(self, proxy: TcpProxy) -> None:
        while True:
            await trio.sleep(1)
            open_links = [link for link in channels_of(proxy) if not link.ended.is_set()]
            if open_links:
                self.chance.choice(open_links).reset()
                self.cuts += 1

    async def count(self) -> None:
        """Ask the gateway again and again how many kernels there are."""
        async with trio_gateway.open_gateway(self.real_gateway.url, auth_token=self.real_gateway.token) as gateway:
            while True:
                # Kernel Gateway answers 500 while it is starting a kernel. And on a machine that has no time for it, not at all:
                # a look that could not be taken says nothing, and the next one may.
                with suppress(trio_gateway.GatewayHTTPError, trio_gateway.GatewayTimeoutError):
                    self.most = max(self.most, len(await gateway.kernels.list()) - self.before)
                await trio.sleep(0.2)


async def test_two_hundred_leases_with_kernels_killed_and_connections_cut(real_gateway: RunningGateway, tmp_path: Path) -> None:
    """G1, G2, G3: each lease ends in a result or in a typed error, and the gateway never has more kernels than the pool may."""
    turn = Round(tmp_path, real_gateway)
    with nothing_left_behind(), trio.fail_after(PATIENCE):
        async with (
            open_tcp_proxy(real_gateway.url) as proxy,
            trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
            trio.open_nursery() as background,
        ):
            background.start_soon(turn.count)
            background.start_soon(turn.cut, proxy)
            background.start_soon(turn.kill)
            async with gateway.open_pool(
                "python3", size=SIZE, warm=2, init=turn.init, reuse="as-is", max_uses=20, idle_timeout=5
            ) as pool:
                async with trio.open_nursery() as nursery:
                    for number in range(LEASES):
                        nursery.start_soon(turn.lease, pool, number)
                statistics = pool.statistics()
            background.cancel_scope.cancel()
    print(f"{LEASES} leases: {dict(turn.outcomes)}; {turn.killed} killed, {turn.cuts} cuts, {statistics.lost} lost")
    assert sum(turn.outcomes.values()) == LEASES
    assert turn.outcomes["done"] > LEASES / 2, turn.outcomes
    assert set(turn.outcomes) <= {"done", "KernelDiedError", "KernelRestartedError", "ConnectionLostError"}, turn.outcomes
    assert 0 < turn.most <= SIZE
    assert statistics.hand_out.count == LEASES
    assert len(rest(real_gateway, "GET", "/api/kernels")) == turn.before


async def test_a_lease_runs_nothing_in_a_process_without_init(real_gateway: RunningGateway, tmp_path: Path) -> None:
    """G3: the kernel is killed between its hand-out and the lease's first execution, and the gateway starts it again."""
    turn = Round(tmp_path, real_gateway)
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.open_pool("python3", size=1, warm=1, init=turn.init) as pool,
        pool.kernel() as kernel,
    ):
        with trio.fail_after(PATIENCE):
            os.kill(int(turn.processes.read_text()), signal.SIGKILL)
            async for _ in kernel.changes():
                if kernel.hb.evidence.restarts:
                    break
            with pytest.raises(trio_gateway.KernelRestartedError):
                await kernel.execute("open('ran', 'w')")
            assert (await kernel.execute("import os; os.path.exists('ran') or 'x' in globals()")).text == "False"


def test_without_async(real_gateway: RunningGateway) -> None:
    tg = trio_gateway.blocking
    with (
        tg.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.open_pool("python3", size=2, warm=1, init="x = 5", reuse="restart") as pool,
    ):
        assert isinstance(pool, tg.KernelPool)
        pool.wait_ready()
        with pool.kernel() as kernel:
            assert kernel.execute("x").text == "5"
        assert pool.run("input('?')", stdin=lambda prompt, password: prompt).text == "'?'"
        with pool.map(iter(["x", "x + 1", "1 / 0"]), limit=2) as results:
            assert [(code, result.ok) for code, result in results] == [("x", True), ("x + 1", True), ("1 / 0", False)]
        assert pool.statistics().hand_out.count == 5
        pool.drain()
        with pytest.raises(tg.PoolClosedError):
            pool.run("1")
    assert rest(real_gateway, "GET", "/api/kernels") == []


def test_on_asyncio(real_gateway: RunningGateway) -> None:
    tg = trio_gateway.anyio

    async def main() -> None:
        async with (
            tg.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.open_pool("python3", size=2, warm=1, init="x = 5", reuse="as-is") as pool,
        ):
            assert isinstance(pool, tg.KernelPool)
            await pool.wait_ready()

            async def lease(number: int) -> str:
                async with pool.kernel() as kernel:
                    return (await kernel.execute(f"x + {number}")).text

            assert await asyncio.gather(*map(lease, range(6))) == [str(5 + number) for number in range(6)]
            async with pool.kernel(), pool.kernel():
                waiting = asyncio.create_task(lease(0))
                while not pool.statistics().waiting:
                    await asyncio.sleep(0.01)
                waiting.cancel()
                with pytest.raises(asyncio.CancelledError):
                    await waiting
                assert pool.statistics().waiting == 0
            read = {code async for code, result in pool.map(["1", "2", "3"], as_completed=True) if result.ok}
            assert read == {"1", "2", "3"}

    asyncio.run(main())
    assert rest(real_gateway, "GET", "/api/kernels") == []
