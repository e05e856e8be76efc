"""G3 on a real gateway behind a proxy that cuts, holds and swallows: every wait ends."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
import trio
import trio.testing

import trio_gateway
from tools.fault_tools import another_way, behind_proxy, channels_of
from tools.gateway_tools import Wire, cut_off, each_engine, rest
from trio_gateway import ConnectionState, KernelState

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


@each_engine
async def test_giving_up_is_as_configured(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id, gateway_retry_max=3) as (proxy, _gateway, kernel):
        await proxy.refuse()
        channels_of(proxy)[-1].reset()
        with pytest.raises(trio_gateway.ConnectionLostError, match="gateway_retry_max") as caught:
            await kernel.wait_for(KernelState.DEAD)
        assert caught.value.attempts == 4
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("1")
        assert kernel.connection_state is ConnectionState.CLOSED


@each_engine
async def test_a_gateway_that_accepts_and_hangs_up_is_not_asked_for_ever(
    real_gateway: RunningGateway, shared_kernel_id: str
) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id, gateway_retry_max=4) as (proxy, _gateway, kernel):
        before = len(channels_of(proxy))

        def hang_up(link: Any, request: str) -> None:
            if "/channels" in request:
                link.to_client.cut_after(300)  # the 101, and not much more

        proxy.on_request = hang_up
        channels_of(proxy)[-1].reset()
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.wait_for(KernelState.DEAD)
        assert len(channels_of(proxy)) - before == 4


@pytest.mark.full
async def test_a_kernel_deleted_by_someone_else_ends_what_waits(real_gateway: RunningGateway, wire: Wire) -> None:
    async with behind_proxy(real_gateway, None) as (_proxy, _gateway, kernel):
        await kernel.execute(wire.code)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_off, trio_gateway.KernelCulledError, kernel, kernel.execute("wire('go')"))
            call = await wire.hears("go")
            await trio.to_thread.run_sync(rest, real_gateway, "DELETE", f"/api/kernels/{kernel.id}")
            await call.hung_up()
        await kernel.wait_for(KernelState.CULLED)
        with pytest.raises(trio_gateway.KernelCulledError):
            await kernel.complete("x")


@pytest.mark.full
async def test_a_kernel_restarted_by_someone_else_can_be_used_on(real_gateway: RunningGateway, wire: Wire) -> None:
    async with behind_proxy(real_gateway, None) as (_proxy, _gateway, kernel):
        await kernel.execute(wire.code + "x = 1")
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_off, trio_gateway.KernelRestartedError, kernel, kernel.execute("wire('go')"))
            call = await wire.hears("go")
            await trio.to_thread.run_sync(rest, real_gateway, "POST", f"/api/kernels/{kernel.id}/restart")
            await call.hung_up()
        result = await kernel.execute("x")
        assert result.error is not None
        assert result.error.ename == "NameError"


@each_engine
@pytest.mark.full
async def test_a_connection_that_the_gateway_ties_to_sockets_that_lead_nowhere_is_replaced(
    real_gateway: RunningGateway, shared_kernel_id: str
) -> None:
    """jupyter_server keeps the sockets of the connection that it lost last. Where that is a dead one, which it gave up only after
    the connection that took its place was gone too, those have lost their name to the other's, and no kernel hears them.
    """
    async with behind_proxy(real_gateway, shared_kernel_id, ping_interval=1.0) as (proxy, _gateway, kernel):
        await kernel.execute("ran = 0")
        session_id = kernel.session_id
        dead = channels_of(proxy)[-1]
        dead.swallow()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        await kernel.wait_for(ConnectionState.CONNECTED)
        await proxy.refuse()
        channels_of(proxy)[-1].reset()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        await dead.to_client.ended.wait()  # the gateway waits five seconds for the dead one's goodbye
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, "ran += 1")
            await trio.testing.wait_all_tasks_blocked()
            await proxy.listen()
        assert kernel.session_id != session_id
        async with another_way(real_gateway, kernel) as same:
            assert (await same.execute("ran")).text == "1"


async def test_what_is_cancelled_behind_another_clients_work_is_interrupted_when_its_time_comes(
    real_gateway: RunningGateway, shared_kernel_id: str, wire: Wire
) -> None:
    async with behind_proxy(real_gateway, shared_kernel_id, interrupt_timeout=0.1) as (_proxy, gateway, kernel):
        async with gateway.attach_kernel(kernel.id) as other:
            await other.execute(wire.code + "ran = []")
            async with trio.open_nursery() as nursery:

                async def work() -> None:
                    assert (await other.execute("wire('go'); ran.append('other')")).status == "ok"

                nursery.start_soon(work)
                call = await wire.hears("go")
                with trio.CancelScope() as scope:
                    async with kernel.stream("ran.append('begun')\nwire('never')\nran.append('unwanted')"):
                        await kernel.wait_for(KernelState.BUSY)
                        scope.cancel()
                        await trio.sleep_forever()
                await call.answer()
            await (await wire.hears("never")).hung_up()
            assert (await kernel.execute("ran")).text == "['other', 'begun']"
