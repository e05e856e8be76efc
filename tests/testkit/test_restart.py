"""A restart by the client's own hand: what waits for its turn meanwhile is for the new process, and never waits for ever."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock
SLOW = 5.0
"""How long the gateway takes for it, in seconds."""


async def test_code_that_comes_during_a_restart_runs_in_the_new_process(autojump_clock: Clock) -> None:
    async with FakeGateway(restart_seconds=SLOW) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("old = True")
        for _ in range(2):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.restart)
                await trio.sleep(SLOW / 2)
                result = await kernel.execute("print('old' in globals())")
                assert (result.status, result.text) == ("ok", "False\n")
        assert trio.current_time() < 4 * SLOW


async def test_code_that_comes_during_two_restarts_runs_after_both(autojump_clock: Clock) -> None:
    """The process of the first one answers while the second one is on its way."""
    async with FakeGateway(restart_seconds=SLOW) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.restart)
            await trio.sleep(SLOW + 0.001)
            nursery.start_soon(kernel.restart)
            await trio.sleep(SLOW / 2)
            assert (await kernel.execute("'new'")).text == "'new'"
        assert fake.kernels[kernel.id].restarts == 2


@pytest.mark.parametrize("how", ["refused", "cancelled"])
async def test_code_that_comes_during_a_restart_that_does_not_happen_runs(autojump_clock: Clock, how: str) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("kept = 1")
        fake.faults.delay_answer("POST .*/restart", SLOW if how == "refused" else math.inf)
        fake.faults.answer("POST .*/restart", status=403)

        async def restart() -> None:
            with trio.move_on_after(SLOW if how == "cancelled" else 4 * SLOW) as scope:  # a 403 is asked about twice
                with pytest.raises(trio_gateway.GatewayError):
                    await kernel.restart()
            assert scope.cancelled_caught == (how == "cancelled")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(restart)
            await trio.sleep(SLOW / 2)
            with trio.fail_after(4 * SLOW):
                assert (await kernel.execute("kept")).text == "1"


async def test_code_that_comes_during_a_restart_ends_with_the_kernel(autojump_clock: Clock) -> None:
    """Someone shuts it down while the gateway has not answered yet."""
    async with FakeGateway() as fake, fake.open() as gateway, fake.open() as others, gateway.start_kernel() as kernel:
        fake.faults.delay_answer("POST .*/restart", math.inf)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.restart)
            await trio.sleep(SLOW)

            async def shut_down() -> None:
                await trio.sleep(SLOW)
                await others.kernels.shutdown(kernel.id)

            nursery.start_soon(shut_down)
            with trio.fail_after(4 * SLOW), pytest.raises(trio_gateway.KernelCulledError):
                await kernel.execute("'never'")
            nursery.cancel_scope.cancel()


async def test_a_question_to_the_new_process_that_is_lost_is_asked_again(autojump_clock: Clock) -> None:  # G3
    """A process that is slow gets a new connection; what is asked at that moment may go with the old one."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell kernel_info_request", direction="to_kernel", times=5)
        lost = fake.faults.drop("control kernel_info_request", direction="to_kernel", nth=2)  # the first one is a greeting
        with trio.fail_after(60):
            await kernel.restart()
        assert lost.hits == 1
        assert (await kernel.execute("'new'")).text == "'new'"
