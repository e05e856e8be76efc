"""G6 on a real gateway: cancelling interrupts."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import trio

from tools.gateway_tools import PATIENCE, Wire
from tools.guarantee_tools import (
    Boom,
    no_kernel_left,
    usable_at_once,
)
from tools.os_view import nothing_left_behind
from trio_gateway import (
    GatewayEvent,
    Kernel,
    Stream,
    open_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


def interrupts(events: list[GatewayEvent]) -> list[GatewayEvent]:
    """The requests to interrupt a kernel among these events."""
    return [event for event in events if event.path is not None and event.path.endswith("/interrupt")]


async def test_G6_cancelled_execute_interrupts(kernel: Kernel, wire: Wire) -> None:
    """Code that computes, code that waits in a system call, and code that has only just begun."""
    await kernel.execute(f"{wire.code}\nkept = 'state'")
    codes = {
        "computes": "wire('computes')\nwhile True: pass",
        "waits": "wire('waits')",
        "sleeps": "import time\nwire('sleeps')\ntime.sleep(1e6)",
    }
    for word, code in codes.items():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, code)
            call = await wire.hears(word)
            if word == "waits":
                nursery.cancel_scope.cancel()
                with trio.fail_after(PATIENCE, shield=True):
                    await call.hung_up()
            else:
                await call.answer()
                nursery.cancel_scope.cancel()
        await usable_at_once(kernel)


async def test_G6_the_callers_deadline(kernel: Kernel) -> None:
    """As in the README: the scope's deadline ends it, and is not turned into another error."""
    await kernel.execute("kept = 'state'")
    with trio.move_on_after(0.1) as scope:
        await kernel.execute("while True: pass")
    assert scope.cancelled_caught
    await usable_at_once(kernel)
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0.1):
            await kernel.execute("while True: pass")
    await usable_at_once(kernel)


async def test_G6_leaving_a_stream_interrupts(kernel: Kernel) -> None:
    await kernel.execute("kept = 'state'")
    endless = "i = 0\nwhile True:\n    print(i, flush=True)\n    i += 1"
    with nothing_left_behind(but="trio_gateway.recovery "):  # code that has run for a second has the session ask the kernel
        async with kernel.stream(endless) as outputs:
            async for output in outputs:
                assert isinstance(output, Stream)
                break
        await usable_at_once(kernel)

        with pytest.raises(Boom):
            async with kernel.stream(endless) as outputs:
                await anext(outputs)
                raise Boom
        await usable_at_once(kernel)

        with trio.CancelScope() as scope:
            async with kernel.stream(endless) as outputs:
                await anext(outputs)
                scope.cancel()
                await trio.sleep_forever()
        await usable_at_once(kernel)

        async with kernel.stream(endless):
            pass
        await usable_at_once(kernel)


async def test_G6_a_stream_read_to_its_end_is_not_interrupted(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    events: list[GatewayEvent] = []
    async with (
        open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        async with kernel.stream("print(1)") as outputs:
            async for _ in outputs:
                pass
        await kernel.execute("1 / 0")
    assert interrupts(events) == []


async def test_G6_abandon(real_gateway: RunningGateway, shared_kernel_id: str, wire: Wire) -> None:
    """The code runs on, and the next execution waits for it."""
    events: list[GatewayEvent] = []
    async with (
        open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        await kernel.execute(f"{wire.code}\ndone = []")
        async with trio.open_nursery() as nursery:

            async def execute() -> None:
                await kernel.execute("done.append(wire('first'))", on_cancel="abandon")

            nursery.start_soon(execute)
            first = await wire.hears("first")
            nursery.cancel_scope.cancel()
        async with kernel.stream("done.append(wire('second'))", on_cancel="abandon"):
            await first.answer("one")
            second = await wire.hears("second")
        await second.answer("two")
        assert (await kernel.execute("done")).text == "['one', 'two']"
    assert interrupts(events) == []


@pytest.mark.full
async def test_G6_code_that_refuses_to_be_interrupted_does_not_keep_its_caller(
    real_gateway: RunningGateway, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """Waiting for the end of the interrupted code is bounded by `interrupt_timeout`; its kernel can still be shut down."""
    stubborn = "while True:\n    try:\n        wire('again')\n    except KeyboardInterrupt:\n        pass"
    with no_kernel_left(real_gateway):
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token, interrupt_timeout=0.5) as gateway,
            gateway.start_kernel("python3") as kernel,
        ):
            await kernel.execute(wire.code)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.execute, stubborn)
                first = await wire.hears("again")
                nursery.cancel_scope.cancel()
                with trio.fail_after(PATIENCE, shield=True):
                    await first.hung_up()
            assert "still_busy" in caplog.text
            (await wire.hears("again")).over.set()
        while not wire.heard_nothing():
            (await wire.hears("again")).over.set()
        await trio.testing.wait_all_tasks_blocked()


async def test_G6_code_that_needs_two_interrupts(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(f"{wire.code}\nkept = 'state'")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "try:\n    wire('first')\nexcept KeyboardInterrupt:\n    wire('second')")
        first = await wire.hears("first")
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await first.hung_up()
            await (await wire.hears("second")).hung_up()
    await usable_at_once(kernel)
