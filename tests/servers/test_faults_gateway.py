"""What a session does when its gateway is killed, stopped, or culls its kernel: gateways of the tests' own (G3, G4, G5)."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

import trio_gateway
from tools.gateway_tools import each_engine
from trio_gateway import ConnectionState, KernelState
from trio_gateway._local.process import run_local_gateway

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway
    from tools.gateway_tools import Wire

pytestmark = [pytest.mark.gateway, pytest.mark.full]

QUICK: dict[str, Any] = {"gateway_retry_interval": 0.05, "gateway_retry_interval_max": 0.2, "gateway_retry_max": 5}


@each_engine
async def test_a_gateway_that_is_killed_ends_what_waits_with_it(wire: Wire) -> None:
    async with run_local_gateway() as process:
        settings: dict[str, Any] = {**QUICK, "cleanup_timeout": 2}
        async with trio_gateway.open_gateway(process.url, auth_token=process.token, **settings) as gateway:
            with pytest.raises(trio_gateway.GatewayConnectionError):  # the kernel's shutdown can't be asked for
                async with gateway.start_kernel() as kernel:
                    await kernel.execute(wire.code)
                    async with trio.open_nursery() as nursery:

                        async def run() -> None:
                            with pytest.raises(trio_gateway.ConnectionLostError):
                                await kernel.execute("wire('go')")

                        nursery.start_soon(run)
                        call = await wire.hears("go")
                        kernels = psutil.Process(process.pid).children(recursive=True)
                        os.kill(process.pid, signal.SIGKILL)
                        await process.wait()
                        for child in kernels:
                            child.kill()
                        await call.hung_up()
                    assert kernel.connection_state is ConnectionState.CLOSED


@each_engine
async def test_a_gateway_that_is_stopped_and_continued_loses_nothing(wire: Wire) -> None:
    async with run_local_gateway() as process:
        settings: dict[str, Any] = {**QUICK, "ping_interval": 3.0, "handshake_timeout": 10.0, "gateway_retry_max": 100}
        async with (
            trio_gateway.open_gateway(process.url, auth_token=process.token, **settings) as gateway,
            gateway.start_kernel() as kernel,
        ):
            await kernel.execute(wire.code + "ran = 0")
            results = []
            async with trio.open_nursery() as nursery:

                async def run() -> None:
                    try:
                        results.append(await kernel.execute("ran += 1; wire('go'); print('after')"))
                    except trio_gateway.ConnectionLostError as lost:
                        results.append(lost)

                nursery.start_soon(run)
                call = await wire.hears("go")
                os.kill(process.pid, signal.SIGSTOP)
                try:
                    await kernel.wait_for(ConnectionState.RECONNECTING)
                    await call.answer()
                finally:
                    os.kill(process.pid, signal.SIGCONT)
            (result,) = results
            # The gateway has two connections of one session then, the one that it did not know to be gone and the new one,
            # and what the kernel says meanwhile can go to the wrong one: then it is counted, or the request says so.
            if isinstance(result, trio_gateway.ExecutionResult):
                lost = [gap.count for gap in result.output_gaps if gap.kind == "lost"]
                assert result.text == "after\n" or lost in ([1], [4], [None]), "with a question on control or without"
            await kernel.wait_for(ConnectionState.CONNECTED)
            assert (await kernel.execute("ran")).text == "1"


CULLS_WHEN_TOLD = """
import os
from jupyter_server.services.kernels.kernelmanager import AsyncMappingKernelManager

cull = AsyncMappingKernelManager.cull_kernels

async def cull_when_told(self):
    if os.path.exists({told!r}):
        await cull(self)

AsyncMappingKernelManager.cull_kernels = cull_when_told
manager = c.MappingKernelManager
manager.cull_idle_timeout = manager.cull_interval = 1
manager.cull_connected = True
"""
"""A gateway's configuration. By itself it would cull what a busy machine takes a second to start or to connect to."""


async def test_a_kernel_that_the_gateway_culls_is_said_to_be_culled(tmp_path: Path) -> None:
    told = tmp_path / "told"
    config = tmp_path / "config.py"
    config.write_text(CULLS_WHEN_TOLD.format(told=str(told)))
    async with run_local_gateway(extra_args=[f"--config={config}"]) as process:
        async with (
            trio_gateway.open_gateway(process.url, auth_token=process.token, **QUICK) as gateway,
            gateway.start_kernel() as kernel,
        ):
            await kernel.execute("1")
            told.touch()
            await kernel.wait_for(KernelState.CULLED)
            with pytest.raises(trio_gateway.KernelCulledError):
                await kernel.execute("1")
            assert not kernel.hb.is_beating()
            assert kernel.hb.verdict is trio_gateway.Verdict.CULLED


async def test_a_kernel_that_dies_in_a_cell_and_is_started_again_can_be_used_on(real_gateway: RunningGateway, wire: Wire) -> None:
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, **QUICK) as gateway,
        gateway.start_kernel() as kernel,
    ):
        pid = int((await kernel.execute(wire.code + "import os; os.getpid()")).text)
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(trio_gateway.KernelRestartedError):
                    await kernel.execute("wire('go')")

            nursery.start_soon(run)
            call = await wire.hears("go")
            os.kill(pid, signal.SIGKILL)
            await call.hung_up()
        assert int((await kernel.execute("import os; os.getpid()")).text) != pid


async def test_g2_a_kernel_that_is_just_being_started_again_is_shut_down_too(real_gateway: RunningGateway) -> None:
    """Kernel Gateway answers 500 to the first request for it, and leaves the kernel."""
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        for _ in range(3):
            with pytest.raises(trio_gateway.KernelRestartedError):
                async with gateway.start_kernel() as kernel:
                    await kernel.execute("import os; os._exit(1)")
            assert kernel.id not in [model.id for model in await gateway.kernels.list()]
