"""A session: what a piece of news means for those who wait, and how it ends, once, for everyone."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import ConnectionState, Kernel, KernelState
from trio_gateway._kernel.router import Dead, Goodbye, Restarted
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock
SLEEP = "import time; time.sleep(1000)"


async def ends_with(kernel: Kernel, error: type[trio_gateway.GatewayError]) -> None:
    """Run code that ends with this error."""
    with pytest.raises(error):
        await kernel.execute(SLEEP)


@pytest.mark.parametrize("how", ["by the gateway", "by someone else", "through the same object"])
async def test_a_new_process_fails_what_the_old_one_had(autojump_clock: Clock, how: str) -> None:  # G3
    """Code that waits for its turn runs in the new one; and what was not our doing is told to who listens."""
    told: list[str] = []

    def listen(event: trio_gateway.GatewayEvent) -> None:
        if event.action == "restarted":
            told.append(event.message)

    async with (
        FakeGateway() as fake,
        fake.open(on_event=listen) as gateway,
        fake.open() as others,
        gateway.start_kernel() as kernel,
    ):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends_with, kernel, trio_gateway.KernelRestartedError)
            await trio.sleep(1)
            results: list[str] = []

            async def wait_for_turn() -> None:
                results.append((await kernel.execute("'new'")).text)

            nursery.start_soon(wait_for_turn)
            await trio.sleep(1)
            if how == "by the gateway":
                fake.kernels[kernel.id].kill()
            else:
                await (others if how == "by someone else" else gateway).kernels.restart(kernel.id)
        assert results == ["'new'"]
        assert kernel.hb.evidence.restarts == 1
    assert told == {"by the gateway": ["restarted by the gateway"], "by someone else": ["restarted by someone else"]}.get(how, [])


async def test_a_kernel_that_is_given_up_ends_the_session(autojump_clock: Clock) -> None:  # G3
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends_with, kernel, trio_gateway.KernelDiedError)
            await trio.sleep(1)
            fake.kernels[kernel.id].die()
        assert kernel.state is KernelState.DEAD
        await kernel.wait_for(ConnectionState.CLOSED)
        await ends_with(kernel, trio_gateway.KernelDiedError)


async def test_a_goodbye_is_the_end_when_the_gateway_says_so(autojump_clock: Clock) -> None:  # G3
    async with FakeGateway() as fake, fake.open() as gateway, fake.open() as others, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(ends_with, kernel, trio_gateway.KernelCulledError)
            await trio.sleep(1)
            await others.kernels.shutdown(kernel.id)
        assert kernel.state is KernelState.CULLED


async def test_a_kernel_that_says_goodbye_and_stays_is_used_on(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.kernels[kernel.id].publish("shutdown_reply", {"status": "ok", "restart": False})
        await trio.sleep(60)
        assert (await kernel.execute("1")).text == "1"


async def test_a_session_ends_once_and_everyone_gets_the_first_reason(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        session = kernel._session
        async with kernel.iopub.subscribe() as messages:
            session.end(trio_gateway.KernelDiedError(kernel.id, "first"))
            session.end(trio_gateway.KernelCulledError(kernel.id, "second"))
            session.note_gone(dead=False)
            with pytest.raises(trio_gateway.KernelDiedError, match="first"):
                while True:
                    await messages.receive()
        with pytest.raises(trio_gateway.KernelDiedError, match="first"):
            await kernel.execute("1")
        await trio.testing.wait_all_tasks_blocked()
        assert kernel.connection_state is ConnectionState.CLOSED
        assert not session.waits
        await trio.sleep(10)
        assert fake.kernels[kernel.id].model()["connections"] == 0, "nobody keeps connected"


async def test_only_a_first_connection_that_was_never_made_is_a_kernel_that_is_not_there(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        with pytest.raises(trio_gateway.KernelNotFoundError):
            async with gateway.attach_kernel("3b3b5a07-7fcc-4d54-9b0a-6d3f5b7b0000"):
                pytest.fail("there is none")
        async with gateway.start_kernel() as kernel:
            assert isinstance(kernel._session.gone(), trio_gateway.KernelCulledError)


async def test_another_session_id_takes_the_connection_and_what_is_asked_along(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        before = kernel.session_id
        kernel._session.reconnect(as_another=True)
        await kernel.wait_for(ConnectionState.RECONNECTING)
        assert (await kernel.execute("1")).text == "1"
        assert kernel.session_id != before
        kernel._session.reconnect()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        assert (await kernel.execute("1")).text == "1"
        assert kernel._session.connections == 3


@pytest.mark.parametrize("news", [Restarted(), Goodbye(restart=True), Goodbye(restart=False), Dead()])
async def test_no_news_of_a_session_that_has_ended_does_anything(autojump_clock: Clock, news: Restarted | Goodbye | Dead) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.shutdown()
        kernel._session._act_on(news)
        await trio.sleep(60)
        with pytest.raises(trio_gateway.KernelDiedError, match="shut down"):
            await kernel.execute("1")
