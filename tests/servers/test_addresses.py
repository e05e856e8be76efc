"""A real gateway behind two relays, like two replicas that share their kernels: one of them dies, and work goes on."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
from tools.gateway_tools import QUICK, each_engine
from tools.tcp_proxy import TcpProxy, open_tcp_proxy
from trio_gateway import ConnectionState

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, each_engine]


async def die(relay: TcpProxy) -> None:
    """Refuse what comes, and reset what is there."""
    await relay.refuse()
    relay.reset_all()


CELL = """
import os, time
print("before", flush=True)
while not os.path.exists({go!r}):
    time.sleep(0.01)
ran = globals().get("ran", 0) + 1
print("after", flush=True)
open({done!r}, "x").close()
"""


@pytest.mark.parametrize("gap", [False, True], ids=["at once", "while no address answers"])
async def test_one_dies_in_the_middle_of_a_cell_and_nothing_is_lost(
    real_gateway: RunningGateway, tmp_path: Path, gap: bool
) -> None:  # G4, G5
    go, done = tmp_path / "go", tmp_path / "done"
    async with (
        open_tcp_proxy(real_gateway.url) as one,
        open_tcp_proxy(real_gateway.url) as two,
        trio_gateway.open_gateway([one.url, two.url], auth_token=real_gateway.token, **QUICK) as gateway,
        gateway.start_kernel() as kernel,
    ):
        await kernel.execute("1")
        assert gateway.address == one.url
        if gap:
            await two.refuse()
        texts: list[str] = []
        async with kernel.stream(CELL.format(go=str(go), done=str(done))) as outputs:
            async for output in outputs:
                assert isinstance(output, trio_gateway.Stream)
                texts.append(output.text)
                if "".join(texts) == "before\n" and not go.exists():
                    await die(one)
                    await kernel.wait_for(ConnectionState.RECONNECTING)
                    if not gap:
                        await kernel.wait_for(ConnectionState.CONNECTED)
                    go.touch()
                    if gap:
                        while not done.exists():  # noqa: ASYNC110 - the kernel is another process
                            await trio.sleep(0.01)
                        await two.listen()
        assert "".join(texts) == "before\nafter\n"
        assert outputs.result.output_gaps == ()
        assert outputs.result.status == "ok"
        assert gateway.address == two.url
        handshakes = {request for relay in (one, two) for request in relay.requests if "/channels" in request}
        assert len(handshakes) == 1, "the same session at both"
        await one.listen()
        await die(two)
        await kernel.wait_for(ConnectionState.RECONNECTING)
        assert (await kernel.execute("ran")).text == "1"
        assert gateway.address == one.url


async def test_a_kernel_starts_where_the_first_is_down_and_ends_where_the_second_is(real_gateway: RunningGateway) -> None:  # G2
    async with (
        open_tcp_proxy(real_gateway.url) as one,
        open_tcp_proxy(real_gateway.url) as two,
        trio_gateway.open_gateway([one.url, two.url], auth_token=real_gateway.token, **QUICK) as gateway,
    ):
        await one.refuse()
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            assert one.requests == []
            assert len([request for request in two.requests if request.startswith("POST ")]) == 1
            await one.listen()
            await die(two)
        with pytest.raises(trio_gateway.KernelNotFoundError):
            await gateway.kernels.get(kernel.id)
        assert gateway.address == one.url


async def test_all_down_is_told_with_each(real_gateway: RunningGateway) -> None:  # G3, G10
    async with (
        open_tcp_proxy(real_gateway.url) as one,
        open_tcp_proxy(real_gateway.url) as two,
        trio_gateway.open_gateway([one.url, two.url], auth_token=real_gateway.token, **QUICK) as gateway,
    ):
        await one.refuse()
        await two.refuse()
        with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
            await gateway.kernels.list()
        assert f"{one.url}: can't connect to " in str(caught.value)
        assert f"{two.url}: can't connect to " in str(caught.value)
