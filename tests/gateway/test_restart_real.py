"""Restarts on a real Kernel Gateway: however they overlap and are cancelled, no kernel is left (guarantee G2)."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]


@pytest.mark.parametrize("tasks", [1, 4])
async def test_restarts_that_overlap_and_are_cancelled_leave_no_kernel(real_gateway: RunningGateway, tasks: int) -> None:
    """They are cancelled when the old process has said goodbye: the gateway is in the middle of it."""
    before = {process.pid for process in real_gateway.kernel_processes()}
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        for _ in range(2):
            async with gateway.start_kernel() as kernel, kernel.iopub.subscribe() as published, trio.open_nursery() as nursery:
                for _ in range(tasks):
                    nursery.start_soon(kernel.restart)
                async for message in published:
                    if message.msg_type == "shutdown_reply":
                        nursery.cancel_scope.cancel()
                        break
            with pytest.raises(trio_gateway.KernelNotFoundError):
                await gateway.kernels.get(kernel.id)
            assert {process.pid for process in real_gateway.kernel_processes()} <= before


async def test_a_kernel_is_not_shut_down_in_the_middle_of_its_restart(real_gateway: RunningGateway) -> None:
    before = {process.pid for process in real_gateway.kernel_processes()}
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        trio.open_nursery() as nursery,
        gateway.start_kernel() as kernel,
        kernel.iopub.subscribe() as published,
    ):
        nursery.start_soon(gateway.kernels.restart, kernel.id)  # noqa: ASYNC111 - its id outlives it
        async for message in published:
            if message.msg_type == "shutdown_reply":
                break
        await kernel.shutdown()
        assert {process.pid for process in real_gateway.kernel_processes()} <= before
