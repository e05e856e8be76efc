"""One fault after the other on a real gateway: what the lease sees of it, and that the pool is as it was afterwards.

With `-rP` each test prints its row of the table in docs/pools.md: what was done, what the lease saw, and after how many seconds
there were as many warm kernels as before.
"""

from __future__ import annotations

import os
import signal
import urllib.error
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import attrs
import psutil
import pytest
import trio

import trio_gateway
from tools.fault_tools import channels_of
from tools.gateway_tools import PATIENCE, QUICK, rest
from tools.os_view import nothing_left_behind
from tools.tcp_proxy import TcpProxy, open_tcp_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]

SLEEP = "import time\nprint('begun', flush=True)\ntime.sleep(1e6)"


async def count(real_gateway: RunningGateway) -> int:
    """Ask for a gateway's kernels, until it tells: Kernel Gateway answers 500 while one of them starts or ends."""
    while True:
        try:
            return len(await trio.to_thread.run_sync(rest, real_gateway, "GET", "/api/kernels"))
        except urllib.error.HTTPError:
            await trio.sleep(0.1)


def children(real_gateway: RunningGateway) -> list[psutil.Process]:
    """Return the processes of its kernels, those too that have ended and that it has not waited for yet."""
    return psutil.Process(real_gateway.pid).children(recursive=True)


async def wait_ended(real_gateway: RunningGateway, processes: int) -> None:
    """Wait until a gateway has no more kernels than so many: nobody tells when another process has ended."""
    while True:
        if len(children(real_gateway)) <= processes:
            return
        await trio.sleep(0.05)


@attrs.define
class Ground:
    """A pool behind a proxy, on a gateway that is reached beside it too."""

    real_gateway: RunningGateway
    proxy: TcpProxy
    pool: trio_gateway.KernelPool
    processes: Path
    events: list[trio_gateway.GatewayEvent]
    changed: trio.Event

    @property
    def process(self) -> int:
        """The latest process that ran `init`: that of the one kernel, as long as none is leased."""
        return int(self.processes.read_text().split()[-1])

    @property
    def ready(self) -> str:
        """The kernel that became ready last."""
        return str([event.kernel_id for event in self.events if (event.kind, event.action) == ("pool", "ready")][-1])

    async def process_of(self, kernel: trio_gateway.Kernel) -> int:
        """The process of a kernel that is leased: its successor may have run `init` by now."""
        return int((await kernel.execute("os.getpid()")).text)

    async def kernels(self) -> int:
        """How many kernels its gateway has."""
        return await count(self.real_gateway)

    async def ask(self, method: str, path: str) -> None:
        """Do something to a kernel as somebody else does."""
        await trio.to_thread.run_sync(rest, self.real_gateway, method, path)

    async def wait_told(self, kind: str, action: str) -> None:
        """Wait for an event."""
        while not any((event.kind, event.action) == (kind, action) for event in self.events):
            await self.changed.wait()

    async def lease(self) -> str:
        """Lease a kernel, and say what came of code that needs `init`."""
        async with self.pool.kernel() as kernel:
            result = await kernel.execute("x")
            assert result.text == "1", result
            return "a kernel"

    async def disturb(self, how: Callable[[trio_gateway.Kernel], Awaitable[object]]) -> str:
        """Lease a kernel, do something to it while it runs code, and say what the lease sees."""
        async with self.pool.kernel() as kernel:
            await self.pool.wait_ready()  # a start that is cut in its middle is another fault than the one that is injected
            async with kernel.stream("import time\nprint('begun')\ntime.sleep(3)") as outputs:
                await anext(outputs)
                await how(kernel)
                async for _ in outputs:
                    pass
                assert outputs.result.status == "ok"
                return "its result"


@asynccontextmanager
async def open_ground(real_gateway: RunningGateway, folder: Path) -> AsyncGenerator[Ground]:
    """Open a pool with one warm kernel, which is asked each time before it is handed out."""
    processes = folder / "processes"
    processes.touch()
    init = f"import os\nwith open({str(processes)!r}, 'a') as file: print(os.getpid(), file=file)\nx = 1"
    async with open_tcp_proxy(real_gateway.url) as proxy:
        events: list[trio_gateway.GatewayEvent] = []

        def hear(event: trio_gateway.GatewayEvent) -> None:
            events.append(event)
            ground.changed.set()
            ground.changed = trio.Event()

        async with trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, on_event=hear, **QUICK) as gateway:
            pool: Any = None
            ground = Ground(real_gateway, proxy, pool, processes, events, trio.Event())
            async with gateway.open_pool("python3", size=2, warm=1, init=init) as ground.pool:
                await ground.pool.wait_ready()
                yield ground


async def warm_killed(ground: Ground) -> str:
    os.kill(ground.process, signal.SIGKILL)
    return await ground.lease()


async def warm_killed_and_started_again(ground: Ground) -> str:
    os.kill(ground.process, signal.SIGKILL)
    await ground.wait_told("pool", "lost")
    return await ground.lease()


async def warm_deleted(ground: Ground) -> str:
    await ground.ask("DELETE", f"/api/kernels/{ground.ready}")
    return await ground.lease()


async def warm_restarted(ground: Ground) -> str:
    await ground.ask("POST", f"/api/kernels/{ground.ready}/restart")
    return await ground.lease()


async def warm_stopped(ground: Ground) -> str:
    process = ground.process
    os.kill(process, signal.SIGSTOP)
    try:
        return await ground.lease()
    finally:
        os.kill(process, signal.SIGCONT)


async def warm_cut(ground: Ground) -> str:
    for link in channels_of(ground.proxy):
        link.reset()
    return await ground.lease()


async def leased_killed(ground: Ground) -> str:
    async with ground.pool.kernel() as kernel:
        process = await ground.process_of(kernel)
        async with kernel.stream(SLEEP) as outputs:
            await anext(outputs)
            os.kill(process, signal.SIGKILL)
            async for _ in outputs:
                pass
    return "its result"


async def leased_killed_idle(ground: Ground) -> str:
    async with ground.pool.kernel() as kernel:
        os.kill(await ground.process_of(kernel), signal.SIGKILL)
        async for _ in kernel.changes():
            if kernel.hb.evidence.restarts:
                break
        return (await kernel.execute("x")).text


async def leased_deleted(ground: Ground) -> str:
    return await ground.disturb(lambda kernel: ground.ask("DELETE", f"/api/kernels/{kernel.id}"))


async def leased_restarted(ground: Ground) -> str:
    return await ground.disturb(lambda kernel: ground.ask("POST", f"/api/kernels/{kernel.id}/restart"))


async def leased_cut(ground: Ground) -> str:
    async def cut(kernel: trio_gateway.Kernel) -> None:
        for link in channels_of(ground.proxy):
            link.reset()

    return await ground.disturb(cut)


async def cancelled(ground: Ground) -> str:
    with trio.CancelScope() as scope:
        async with ground.pool.kernel() as kernel, kernel.stream(SLEEP) as outputs:
            await anext(outputs)
            scope.cancel()
            await anext(outputs)
    assert scope.cancelled_caught
    return "Cancelled"


async def raised(ground: Ground) -> str:
    try:
        async with ground.pool.kernel() as kernel, kernel.stream(SLEEP) as outputs:
            await anext(outputs)
            raise ZeroDivisionError
    except ZeroDivisionError:
        return "its own error"


FAULTS: dict[str, tuple[Callable[[Ground], Awaitable[str]], str]] = {
    "a warm kernel is killed, and a lease asks in that moment": (warm_killed, "a kernel"),
    "a warm kernel is killed, and its gateway starts it again": (warm_killed_and_started_again, "a kernel"),
    "a warm kernel is deleted by somebody else": (warm_deleted, "a kernel"),
    "a warm kernel is restarted by somebody else": (warm_restarted, "a kernel"),
    "a warm kernel stands still": (warm_stopped, "a kernel"),
    "the connection of a warm kernel is reset": (warm_cut, "a kernel"),
    "a leased kernel is killed while code runs": (leased_killed, "KernelRestartedError"),
    "a leased kernel is killed while it is idle": (leased_killed_idle, "KernelRestartedError"),
    "a leased kernel is deleted by somebody else while code runs": (leased_deleted, "KernelCulledError"),
    "a leased kernel is restarted by somebody else while code runs": (leased_restarted, "KernelRestartedError"),
    "the connection of a leased kernel is reset while code runs": (leased_cut, "its result"),
    "a lease is cancelled while code runs": (cancelled, "Cancelled"),
    "a lease's block raises while code runs": (raised, "its own error"),
}


@pytest.mark.parametrize("injected", FAULTS)
async def test_what_the_lease_sees_and_that_the_pool_settles(
    injected: str, real_gateway: RunningGateway, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G1, G2, G3"""
    monkeypatch.setattr("trio_gateway._pool.member.HEARD_LATELY", -1.0)  # else what was heard of lately is handed out unasked
    inject, expected = FAULTS[injected]
    before = await count(real_gateway)
    processes = len(children(real_gateway))
    with nothing_left_behind(), trio.fail_after(PATIENCE):
        async with open_ground(real_gateway, tmp_path) as ground:
            began = trio.current_time()
            try:
                seen = await inject(ground)
            except trio_gateway.GatewayError as error:
                seen = type(error).__name__
            saw_after = trio.current_time() - began
            assert seen == expected
            await ground.pool.wait_ready()
            settled_after = trio.current_time() - began
            assert await ground.lease() == "a kernel", "it is of use afterwards"
            assert await ground.kernels() - before <= 2
            print(f"| {injected} | {seen}, after {saw_after:.1f} s | {settled_after:.1f} s |")
        # A kernel that was shut down while its gateway started it again ends a moment after the answer.
        await wait_ended(real_gateway, processes)
    assert await count(real_gateway) == before
