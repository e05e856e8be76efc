"""A restart by the client's own hand: what waits for its turn meanwhile is for the new process, and never waits for ever."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable

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
    async with FakeGateway() as fake, fake.open(cleanup_timeout=SLOW) as gateway, gateway.start_kernel() as kernel:
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


async def cancelled_after(seconds: float, act: Callable[[], Awaitable[object]]) -> None:
    """Do something and have no patience."""
    with trio.move_on_after(seconds):
        await act()


async def test_restarts_that_overlap_are_sent_one_after_the_other(autojump_clock: Clock) -> None:  # G2
    async with FakeGateway(restart_seconds=SLOW) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.restart)
            nursery.start_soon(gateway.kernels.restart, kernel.id)
            nursery.start_soon(kernel.restart)
        assert fake.kernels[kernel.id].restarts == 3
        assert fake.orphans == []
        assert (await kernel.execute("1")).text == "1"


@pytest.mark.parametrize("seconds", [0.0, 0.1, 0.5, 0.99, 1.01])
async def test_restarts_that_overlap_and_are_cancelled_leave_no_kernel(autojump_clock: Clock, seconds: float) -> None:  # G2
    """The gateway goes on with a restart when its client has hung up: one that was asked for is seen through."""
    async with FakeGateway(restart_seconds=1.0) as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(cancelled_after, seconds, kernel.restart)
        assert fake.kernels == {}
        assert fake.orphans == []
        assert len([request for request in fake.requests if request.path.endswith("/restart")]) == (seconds > 0) + (seconds > 1)


async def test_a_shutdown_waits_for_a_restart(autojump_clock: Clock) -> None:  # G2
    async with FakeGateway(restart_seconds=SLOW) as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        async with gateway.start_kernel() as kernel:
            nursery.start_soon(gateway.kernels.restart, kernel.id)  # noqa: ASYNC111 - its id outlives it
            await trio.sleep(SLOW / 2)
            await kernel.shutdown()
            assert trio.current_time() >= SLOW
        assert fake.kernels == {}
        assert fake.orphans == []


async def test_code_that_ran_is_told_of_a_restart_though_its_caller_was_cancelled(autojump_clock: Clock) -> None:  # G3
    async with FakeGateway(restart_seconds=1.0) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cancelled_after, 0.5, kernel.restart)
            with pytest.raises(trio_gateway.KernelRestartedError):
                await kernel.execute("import time; time.sleep(1000)")
        assert (await kernel.execute("1")).text == "1"


async def test_a_kernel_that_comes_back_after_its_end_is_shut_down_again(autojump_clock: Clock) -> None:  # G2
    """The answer to a restart never came, so it may still be under way when the kernel is shut down."""
    ended = trio.Event()

    def listen(event: trio_gateway.GatewayEvent) -> None:
        if event.action == "shutdown":
            ended.set()

    async with FakeGateway() as fake, fake.open(request_timeout=SLOW, on_event=listen) as gateway, trio.open_nursery() as nursery:

        async def come_back() -> None:
            await ended.wait()
            await trio.sleep(0.5)
            await fake.start_kernel("python3", kernel_id=kernel.id)

        async with gateway.start_kernel() as kernel:
            fake.faults.delay_answer("POST .*/restart", math.inf)
            with pytest.raises(trio_gateway.GatewayTimeoutError):
                await kernel.restart()
            nursery.start_soon(come_back)
        assert fake.kernels == {}
        assert len(fake.ended_kernels) == 2
