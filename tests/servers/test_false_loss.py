"""What a real kernel numbers and never sends is no loss; what a cut or a full queue took is (G5)."""

from __future__ import annotations

import os
import signal
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
from tools.gateway_tools import without_connections
from tools.tcp_proxy import open_tcp_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway
    from tools.gateway_tools import Wire

pytestmark = pytest.mark.gateway

SHOWS_ITSELF = "class Shows:\n    def _ipython_display_(self):\n        print('mine')\n\nShows()"
SWALLOWED = """
hook = lambda message: None
get_ipython().display_pub.register_hook(hook)
display(1)
get_ipython().display_pub.unregister_hook(hook)
print('after')
"""
KEPT = """
kept = [get_ipython().kernel.session.msg('stream', {'name': 'stdout', 'text': 'x'}) for _ in range(5)]
print('after')
"""
CODES = {
    "a value that shows itself": (SHOWS_ITSELF, "mine\n"),
    "a hook that swallows a message": (SWALLOWED, "after\n"),
    "a message that is made and kept": (KEPT, "after\n"),
}


@pytest.mark.parametrize("name", CODES)
async def test_a_number_that_is_never_sent_is_no_loss(gateway: trio_gateway.Gateway, shared_kernel_id: str, name: str) -> None:
    code, text = CODES[name]
    async with gateway.attach_kernel(shared_kernel_id) as kernel:
        for _ in range(3):
            result = await kernel.execute(code)
            assert (result.text, result.output_gaps) == (text, ())
        async with kernel.stream(code) as outputs:
            assert [output async for output in outputs] != []
        assert outputs.result.output_gaps == ()


async def test_where_the_connection_broke_it_may_be_one(real_gateway: RunningGateway, shared_kernel_id: str, wire: Wire) -> None:
    """Nobody can tell then: "at most" is what is known. When an execution has come whole, the next hole is no loss again."""
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        # The code goes on when the gateway knows that its connection is gone.
        # Else its end would come over the old one, or be lost with it.
        async with kernel.stream(f"{wire.code}\nprint('begun', flush=True)\nwire('go on')\n{SHOWS_ITSELF}") as outputs:
            async for output in outputs:
                if isinstance(output, trio_gateway.Stream) and "begun" in output.text:
                    call = await wire.hears("go on")
                    await proxy.refuse()
                    proxy.reset_all()
                    await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
                    await without_connections(real_gateway, kernel)
                    await call.answer()
                    await proxy.listen()
        gaps = outputs.result.output_gaps
        assert [gap.kind for gap in gaps] == ["lost"]
        assert gaps[0].count is None or gaps[0].count >= 1
        assert (await kernel.execute("1")).output_gaps == ()
        assert (await kernel.execute(SHOWS_ITSELF)).output_gaps == ()


async def test_what_a_full_queue_dropped_is_told(gateway: trio_gateway.Gateway, real_gateway: RunningGateway, wire: Wire) -> None:
    """The gateway stands still while the kernel prints 20 MB: what its socket can't hold, it drops."""
    lines = 7_000
    code = f"{wire.code}\nwire('ready')\nfor number in range({lines}): print(number, 'x' * 3000, flush=True)\nwire('printed')"
    async with gateway.start_kernel() as kernel, trio.open_nursery() as nursery:

        async def stop_the_gateway_meanwhile() -> None:
            ready = await wire.hears("ready")
            os.kill(real_gateway.pid, signal.SIGSTOP)
            try:
                await ready.answer()
                printed = await wire.hears("printed")
            finally:
                os.kill(real_gateway.pid, signal.SIGCONT)
            await printed.answer()

        nursery.start_soon(stop_the_gateway_meanwhile)
        result = await kernel.execute(code)
        came = len(result.text.splitlines())
        told = sum(gap.count or 0 for gap in result.output_gaps if gap.kind == "lost")
        assert came < lines
        assert came + told >= lines  # at most: a line may have been two messages
