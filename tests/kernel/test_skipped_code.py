"""Code that a kernel skips because it comes in the moment after a failure: it is sent again, and runs once."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock


def a_gateway(seconds: float) -> FakeGateway:
    """One whose kernels skip code for so long after a failure."""
    return FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", stop_on_error_timeout=seconds)])


@pytest.mark.parametrize("seconds", [0.005, 0.1, 0.5])
async def test_code_that_follows_a_failure_runs_once(autojump_clock: Clock, seconds: float) -> None:
    async with a_gateway(seconds) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("runs = 0")
        assert (await kernel.execute("1 / 0")).status == "error"
        result = await kernel.execute("runs += 1; print(runs)")
        assert (result.status, result.text, result.output_gaps) == ("ok", "1\n", ())
        assert (await kernel.execute("runs")).text == "1"


async def test_a_stream_that_follows_a_failure_is_whole(autojump_clock: Clock) -> None:
    async with a_gateway(0.1) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1 / 0")
        async with kernel.stream("print('once')") as outputs:
            texts = [output.text async for output in outputs if isinstance(output, trio_gateway.Stream)]
        assert (texts, outputs.result.status, outputs.result.output_gaps) == (["once\n"], "ok", ())


async def test_code_that_follows_an_interrupt_runs(autojump_clock: Clock) -> None:
    async with a_gateway(0.1) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with trio.move_on_after(5):
            await kernel.execute("import time; time.sleep(3600)")
        assert (await kernel.execute("print('after')")).text == "after\n"


async def test_a_kernel_that_goes_on_skipping_has_the_last_word(autojump_clock: Clock) -> None:
    async with a_gateway(30) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1 / 0")
        begun = trio.current_time()
        assert (await kernel.execute("print('never')")).status == "aborted"
        assert trio.current_time() - begun < 3
        with pytest.raises(trio_gateway.ExecutionError):
            (await kernel.execute("print('never')")).raise_for_error()
        await trio.sleep(31)
        assert (await kernel.execute("print('late')")).text == "late\n"


async def test_what_another_clients_failure_skips_is_not_sent_again(autojump_clock: Clock) -> None:
    """That is what `stop_on_error` is for: it was in the queue when the other's code failed."""
    async with a_gateway(0.1) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with gateway.attach_kernel(kernel.id) as other, trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, "import time; time.sleep(5); 1 / 0")
            await trio.sleep(1)
            assert (await other.execute("print('never')")).status == "aborted"


@pytest.mark.parametrize(
    ("bytes_per_second", "after"),
    [(1e9, after) for after in (0.004, 0.02, 0.05, 0.15)] + [(20_000, after) for after in (0.005, 0.015, 0.025, 0.035, 0.045)],
)
async def test_a_caller_who_is_cancelled_meanwhile_leaves_nothing_to_be_sent(
    autojump_clock: Clock, bytes_per_second: float, after: float
) -> None:
    """Whether the code waits to be sent again just then, or is with the kernel; or, on a slow line, on its way there or back."""
    async with a_gateway(0.5) as fake:
        fake.faults.slow(bytes_per_second)
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("runs = 0")
            await kernel.execute("1 / 0")
            with trio.move_on_after(after) as scope:
                await kernel.execute("runs += 1")
            assert scope.cancelled_caught
            await trio.sleep(10)
            assert (await kernel.execute("runs")).text == "0"


async def test_a_kernel_that_is_shut_down_meanwhile_ends_the_wait(autojump_clock: Clock) -> None:
    async with a_gateway(0.5) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1 / 0")
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(trio_gateway.KernelDiedError):
                    await kernel.execute("print('never')")

            nursery.start_soon(run)
            await trio.sleep(0.05)
            await kernel.shutdown()
