"""The guarantees G2 and G6 cancelled at each step on a real gateway: every fourth in a run, all in four (`suite.budgets`).

`sweeps/test_cancel_sweep` does the same, and more, on the fake.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import pytest
import trio

from suite.budgets import STRIDE, sweep_offset
from tools.guarantee_tools import no_kernel_left, usable_at_once
from tools.os_view import nothing_left_behind
from trio_gateway import Kernel, open_gateway

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope when tasks have taken so many steps: each step ends at a checkpoint, so a sweep meets every one of them."""

    def __init__(self, scope: trio.CancelScope, steps: int) -> None:
        self._scope = scope
        self._steps = steps

    def after_task_step(self, task: trio.lowlevel.Task) -> None:
        self._steps -= 1
        if self._steps == 0:
            self._scope.cancel()


@contextmanager
def cancelled_at_step(steps: int) -> Iterator[trio.CancelScope]:
    """Cancel the body when tasks have taken so many steps in it."""
    with trio.CancelScope() as scope:
        instrument = CancelAtStep(scope, steps)
        trio.lowlevel.add_instrument(instrument)
        try:
            yield scope
        finally:
            trio.lowlevel.remove_instrument(instrument)


async def sweep(attempt: Callable[[int], Awaitable[bool]], *, every: int = 1) -> int:
    """Call `attempt(1)`, `attempt(1 + every)`, ... until one says that it came to its end; return how many steps there are.

    Of these, a run takes its share.
    """
    step = 1 + every * sweep_offset()
    while await attempt(step):
        step += every * STRIDE
    return step


async def test_G2_cancelled_at_each_step_of_a_start(real_gateway: RunningGateway) -> None:
    """From opening the gateway to the start's last step."""

    async def attempt(step: int) -> bool:
        with no_kernel_left(real_gateway), cancelled_at_step(step) as scope:
            async with (
                open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
                gateway.start_kernel("python3"),
            ):
                # Started: the sweep is over.
                return False
        assert scope.cancelled_caught
        return True

    assert await sweep(attempt) > 20


async def test_G2_cancelled_at_steps_of_leaving(real_gateway: RunningGateway) -> None:
    async def attempt(step: int) -> bool:
        with no_kernel_left(real_gateway), trio.CancelScope() as scope:
            instrument = CancelAtStep(scope, step)
            try:
                async with (
                    open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
                    gateway.start_kernel("python3"),
                ):
                    trio.lowlevel.add_instrument(instrument)
            finally:
                trio.lowlevel.remove_instrument(instrument)
        return scope.cancel_called

    assert await sweep(attempt, every=9) > 18


async def test_G6_cancelled_at_each_step_of_an_execution(kernel: Kernel) -> None:
    """However far it came, the next execution is neither interrupted nor does it get the last one's output."""
    await kernel.execute("kept = 'state'\nruns = 0")
    # With pauses, so that what it says does not come all at once.
    speaks_slowly = "runs += 1\nimport time\nfor _ in range(8):\n    print('old', flush=True)\n    time.sleep(0.02)"

    async def attempt(step: int) -> bool:
        with nothing_left_behind(
            but="trio_gateway.recovery "
        ):  # on a busy machine it runs for a second: the session asks the kernel
            with cancelled_at_step(step) as scope:
                await kernel.execute(speaks_slowly)
        await usable_at_once(kernel)
        return scope.cancelled_caught

    assert await sweep(attempt) > 5
