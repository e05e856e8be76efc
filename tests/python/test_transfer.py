"""Large values on a line that breaks, on a gateway that limits rates, and given up in the middle."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import trio

import trio_gateway
from python.values import same
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway import Kernel
from trio_gateway._python import transfer
from trio_gateway._python.link import NAME
from trio_gateway.python import Progress, RemoteError, TransferError, open_python

pytestmark = [pytest.mark.gateway, pytest.mark.full]

SIDE = f"__import__('sys').modules['{NAME}.kernel_side']"
VALUE = np.random.default_rng(7).random(4_500_000)
"""36 MB: two windows."""


@pytest.mark.parametrize("direction", ["push", "pull"])
@pytest.mark.parametrize("at", [1, 5, 8])
async def test_a_connection_that_is_cut_in_the_middle_is_made_again_and_the_value_is_whole(
    real_gateway: Any, direction: str, at: int
) -> None:
    """G5"""
    cuts = 0
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, gateway_retry_interval=0.1) as gateway,
        gateway.start_kernel() as kernel,
        open_python(kernel) as python,
    ):

        def cut(progress: Progress) -> None:
            nonlocal cuts
            if not cuts and progress.done >= at * 4_000_000:
                cuts += 1
                proxy.reset_all()

        if direction == "push":
            await python.using(on_progress=cut).push(value=VALUE)
            assert same(await python.pull("value"), VALUE)
        else:
            await python.push(value=VALUE)
            assert same(await python.pull("value", on_progress=cut), VALUE)
    assert cuts == 1


@pytest.mark.parametrize("at", [1, 4, 8])
async def test_a_push_that_is_cancelled_leaves_nothing_half(kernel: Kernel, at: int) -> None:
    async with open_python(kernel) as python:
        with trio.CancelScope() as scope:

            def cancel(progress: Progress) -> None:
                if progress.done >= at * 4_000_000:
                    scope.cancel()

            await python.using(on_progress=cancel).push(value=VALUE)
        assert scope.cancelled_caught
        with pytest.raises(RemoteError, match="name 'value' is not defined"):
            await python.pull("value")
        assert (await kernel.execute(f"print({SIDE}._boxes)")).text == "{}\n"


@pytest.mark.parametrize("at", [1, 4, 8])
async def test_a_pull_that_is_cancelled_is_forgotten_there(kernel: Kernel, at: int) -> None:
    async with open_python(kernel) as python:
        await python.push(value=VALUE)
        with trio.CancelScope() as scope:

            def cancel(progress: Progress) -> None:
                if progress.done >= at * 4_000_000:
                    scope.cancel()

            await python.pull("value", on_progress=cancel)
        assert scope.cancelled_caught
        assert await python.pull("value.shape") == VALUE.shape
        assert (await kernel.execute(f"print({SIDE}._boxes)")).text == "{}\n"


async def test_what_a_handler_raises_comes_out_bare(kernel: Kernel) -> None:
    """G9"""
    async with open_python(kernel) as python:
        await python.push(value=VALUE)

        # Some of them are what a connection that breaks, or data that is none, raises too.
        for kind in (LookupError, TypeError, trio.BrokenResourceError, trio_gateway.ConnectionLostError, GeneratorExit):
            error = kind("the handler's")

            def fail(progress: Progress, error: BaseException = error) -> None:
                raise error

            for large in (True, False):
                with pytest.raises(kind) as caught:
                    await python.pull("value" if large else "1", on_progress=fail)
                assert caught.value is error
                with pytest.raises(kind) as caught:
                    await python.using(on_progress=fail).push(other=VALUE if large else 1)
                assert caught.value is error
        assert await python.pull("'other' in globals()") is False


async def test_a_value_that_changes_while_it_is_pushed_is_bound_to_nothing(kernel: Kernel) -> None:
    value = bytearray(10_000_000)

    def change(progress: Progress) -> None:
        value[9_999_999] = progress.done % 255 + 1

    async with open_python(kernel) as python:
        with pytest.raises(TransferError, match="checksum"):
            await python.using(on_progress=change).push(value=value)
        assert await python.pull("'value' in globals()") is False


async def test_pieces_that_are_lost_come_again(kernel: Kernel) -> None:
    """As a gateway's rate limit loses them: the kernel's side sends every thirteenth piece to nobody.

    No more often: a question is answered with up to twelve, and the first of them would never come.
    """
    async with open_python(kernel) as python:
        await python.push(value=VALUE)
        await kernel.execute(
            f"""
side, sent = {SIDE}, [0]
kept = side._opened
def opened(comm, message):
    kept(comm, message)
    send = comm.send
    def lossy(*args, **kwargs):
        sent[0] += 1
        if sent[0] % 13:
            send(*args, **kwargs)
    comm.send = lossy
import comm
comm.get_comm_manager().register_target(side.TARGET, opened)
"""
        )
        assert same(await python.pull("value"), VALUE)
        assert await python.pull("sent[0]") > 40
        await kernel.execute("comm.get_comm_manager().register_target(side.TARGET, kept)")


async def test_a_flood_of_output_costs_no_value(kernel: Kernel) -> None:
    """The gateway's limits on what kernels publish drop pieces too, while a thread of the user's prints."""
    async with open_python(kernel) as python:
        await python.push(value=VALUE)
        await kernel.execute(
            "import threading\nstop = threading.Event()\n"
            "def flood():\n    while not stop.wait(0.0001):\n        print('x' * 200, flush=True)\n"
            "thread = threading.Thread(target=flood, daemon=True)\nthread.start()"
        )
        assert same(await python.pull("value"), VALUE)
        await kernel.execute("stop.set(); thread.join()", silent=True)


async def test_where_the_kernel_hears_of_no_comms_pieces_go_in_the_steps(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(transfer, "STEP", 100_000)
    async with open_python(kernel) as python:
        python._link.has_comms = False
        value = VALUE[:50_000]
        told: list[Progress] = []
        await python.using(on_progress=told.append).push(value=value)
        assert same(await python.pull("value", on_progress=told.append), value)
        assert len(told) == 2 * 5
        assert (await kernel.execute(f"print({SIDE}._boxes)")).text == "{}\n"
