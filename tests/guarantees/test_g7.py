"""G7 on a real gateway: buffers are bounded, and what happens at the bound is the reader's choice."""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trio_gateway
from tools.fault_tools import behind_proxy, channels_of
from tools.gateway_tools import each_engine
from trio_gateway import ConnectionState, KernelState

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


async def test_a_sleeping_consumer_holds_nobody_up(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id, buffer_messages=10) as (_proxy, gateway, kernel):
        async with gateway.attach_kernel(kernel.id) as sleeper, sleeper.iopub.subscribe() as never_read:
            for number in range(10):
                async with kernel.stream(f"for i in range(50): print({number}, i, flush=True)") as outputs:
                    text = "".join([output.text async for output in outputs if isinstance(output, trio_gateway.Stream)])
                assert text.split() == " ".join(f"{number} {i}" for i in range(50)).split()
            assert (await sleeper.execute("1 + 1")).text == "2"
            statistics = never_read.statistics()
            assert statistics.messages <= 10
            assert statistics.spooled > 400


@each_engine
@pytest.mark.parametrize("when_full", ["pause", "drop_oldest", "fail"])
async def test_what_happens_when_a_buffer_is_full_is_the_consumers_choice(
    real_gateway: RunningGateway, shared_kernel_id: str, when_full: Any
) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id, buffer_messages=5) as (_proxy, _gateway, kernel):
        code = "import sys\nfor i in range(200):\n    sys.stdout.write(f'{i}\\n'); sys.stdout.flush()"
        lines: list[int] = []
        async with kernel.iopub.subscribe() as published, kernel.stream(code, when_full=when_full) as outputs:
            if when_full != "pause":
                async for message in published:
                    # The last that the kernel says of it: the stream has seen it all. (A reply can overtake output.)
                    if message.parent_type == "execute_request" and message.content.get("execution_state") == "idle":
                        break
            else:
                while not outputs.statistics().messages >= 5:
                    await kernel.wait_for(KernelState.BUSY)
                    await trio.lowlevel.checkpoint()
            slow = pytest.raises(trio_gateway.SlowConsumerError) if when_full == "fail" else nullcontext()
            with slow:
                async for output in outputs:
                    assert isinstance(output, trio_gateway.Stream)
                    lines += map(int, output.text.split())
        if when_full == "fail":
            assert lines == list(range(5))
            return
        gaps = outputs.result.output_gaps
        if when_full == "pause":
            assert lines == list(range(200))
            assert gaps == ()
        else:
            assert lines == list(range(195, 200))
            assert [(gap.kind, gap.count) for gap in gaps] == [("overflow", 195)]
        assert kernel.connection_state is ConnectionState.CONNECTED


async def test_a_message_that_is_too_large_costs_that_output_only(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    settings = {"max_message_size": 100_000, "websocket_engine": "fast"}
    async with behind_proxy(real_gateway, shared_kernel_id, **settings) as (proxy, _gateway, kernel):
        before = len(channels_of(proxy))
        result = await kernel.execute("print('first', flush=True); print('x' * 1_000_000, end='', flush=True); print('last')")
        assert result.text == "first\nlast\n"
        assert [gap.kind for gap in result.output_gaps] == ["overflow"]
        assert "max_message_size" in result.output_gaps[0].detail
        with pytest.raises(trio_gateway.ProtocolError, match=r"'execute_reply' has \d+ bytes, more than max_message_size"):
            await kernel.execute("1", user_expressions={"large": "'x' * 1_000_000"})
        assert (await kernel.execute("'on'")).text == "'on'"
        assert len(channels_of(proxy)) == before


@pytest.mark.full
async def test_a_message_that_is_too_large_costs_the_connection_of_trio_websocket(
    real_gateway: RunningGateway, shared_kernel_id: str
) -> None:
    """What was under way is told as lost, or what it lacks; the session goes on."""
    settings = {"max_message_size": 100_000, "websocket_engine": "trio-websocket"}
    async with behind_proxy(real_gateway, shared_kernel_id, **settings) as (proxy, _gateway, kernel):
        before = len(channels_of(proxy))
        try:
            result = await kernel.execute("print('x' * 1_000_000)")
        except trio_gateway.ConnectionLostError:
            pass
        else:
            assert result.output_gaps
        assert (await kernel.execute("'on'")).text == "'on'"
        assert len(channels_of(proxy)) == before + 1
