"""Restarts on a real Kernel Gateway: however they overlap and are cancelled, no kernel is left (guarantee G2)."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.full, pytest.mark.gateway]


async def until_goodbye(published: AsyncIterator[trio_gateway.Message], *restarts: Callable[[], Awaitable[object]]) -> None:
    """Begin restarts and return, cancelling them, when the old process says goodbye; where that is lost, when they have ended."""
    async with trio.open_nursery() as outer:

        async def restart_all() -> None:
            async with trio.open_nursery() as nursery:
                for restart in restarts:
                    nursery.start_soon(restart)
            outer.cancel_scope.cancel()

        outer.start_soon(restart_all)
        async for message in published:
            if message.msg_type == "shutdown_reply":
                break
        outer.cancel_scope.cancel()


@pytest.mark.parametrize("tasks", [1, 4])
async def test_restarts_that_overlap_and_are_cancelled_leave_no_kernel(real_gateway: RunningGateway, tasks: int) -> None:
    """They are cancelled when the old process has said goodbye: the gateway is in the middle of it."""
    before = {process.pid for process in real_gateway.kernel_processes()}
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        for _ in range(2):
            async with gateway.start_kernel() as kernel, kernel.iopub.subscribe() as published:
                await until_goodbye(published, *[kernel.restart] * tasks)
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
        begun = trio.Event()

        async def restart() -> None:
            with suppress(trio_gateway.KernelNotFoundError):
                await gateway.kernels.restart(kernel.id)
            begun.set()

        async def listen() -> None:
            with suppress(trio_gateway.KernelDiedError):  # by the shutdown below
                async for message in published:
                    if message.msg_type == "shutdown_reply":
                        begun.set()

        nursery.start_soon(restart)
        nursery.start_soon(listen)
        await begun.wait()  # for the goodbye, or, where that is lost, for the restart's end
        await kernel.shutdown()
        assert {process.pid for process in real_gateway.kernel_processes()} <= before
