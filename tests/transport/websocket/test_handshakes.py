"""WebSocket handshakes that nobody waits for any more, against the fake, which withholds its answer while a kernel is stalled.

A gateway that could not answer a handshake counts a connection less from then on, and keeps nothing for the kernel's sessions.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from tools.sweep_tools import CancelAtStep
from trio_gateway._transport.websocket import opening as websocket
from trio_gateway.testing import FakeGateway, FakeKernel

Clock = trio.testing.MockClock


@pytest.fixture(params=["fast", "trio-websocket"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for."""
    monkeypatch.setattr(websocket, "best_engine", lambda: request.param)
    return str(request.param)


@attrs.frozen
class Stage:
    """A gateway with a kernel that nobody owns."""

    fake: FakeGateway
    gateway: trio_gateway.Gateway
    kernel: FakeKernel

    def handshakes(self) -> int:
        """How many there were."""
        return sum(request.is_upgrade for request in self.fake.requests)

    async def give_up(self, opening: AbstractAsyncContextManager[Any], *, another: bool = True) -> None:
        """Cancel an opening in the middle of its handshake, which may be that of another one; that takes no time."""
        asked = self.handshakes() + another

        async def open_it() -> None:
            async with opening:
                raise AssertionError("the gateway has not answered")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(open_it)
            while self.handshakes() < asked:
                await trio.testing.wait_all_tasks_blocked()
            await trio.testing.wait_all_tasks_blocked()
            now = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() == now

    async def resume_soon(self) -> None:
        """Let the kernel go on in a second."""
        await trio.sleep(1)
        self.kernel.resume()

    async def check_replay(self) -> None:
        """Cut a session's connection in a cell of many lines: all of them are there in the end."""
        async with self.gateway.attach_kernel(self.kernel.id) as kernel:
            code = "import time\nfor number in range(400):\n    print(number)\n    time.sleep(0.01)"
            async with kernel.stream(code) as outputs:
                printed = ""
                async for output in outputs:
                    assert isinstance(output, trio_gateway.Stream)
                    if "100" in output.text:
                        self.fake.cut_connections()
                    printed += output.text
            assert printed.split() == [str(number) for number in range(400)]
            assert outputs.result.output_gaps == ()


@asynccontextmanager
async def open_stage(**settings: Any) -> AsyncGenerator[Stage]:
    async with FakeGateway() as fake:
        async with fake.open(**settings) as gateway:
            model = await gateway.kernels.start()
            await fake.kernels[model.id].wait_ready()
            yield Stage(fake, gateway, fake.kernels[model.id])
        await trio.testing.wait_all_tasks_blocked()
        assert not fake.connections
        assert fake.protocol_errors == []


WAYS: dict[str, Callable[[Stage], AbstractAsyncContextManager[Any]]] = {
    "attach_kernel": lambda stage: stage.gateway.attach_kernel(stage.kernel.id),
    "open_channels": lambda stage: stage.gateway.open_channels(stage.kernel.id, session_id="s"),
    "open_channels, legacy": lambda stage: stage.gateway.open_channels(stage.kernel.id, v1=False),
}


@pytest.mark.parametrize("way", WAYS)
async def test_a_handshake_that_is_given_up_is_seen_through_and_costs_no_replay(autojump_clock: Clock, way: str) -> None:
    """G5"""
    async with open_stage() as stage:
        stage.kernel.stall()
        await stage.give_up(WAYS[way](stage))
        stage.kernel.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.kernel.connections == 0
        await stage.check_replay()
        assert stage.fake.handshakes_abandoned == 0


@pytest.mark.parametrize("way", WAYS)
async def test_cancelled_at_each_step_no_handshake_is_cut_off(autojump_clock: Clock, way: str) -> None:
    """G1, G5"""
    async with open_stage() as stage:
        for step in range(1, 1000):
            with trio.CancelScope() as scope:
                canceller = CancelAtStep(scope, step)
                with canceller.watching():
                    async with WAYS[way](stage):
                        pass
            await trio.testing.wait_all_tasks_blocked()
            assert stage.kernel.connections == 0
            if canceller.steps < step:
                break
        else:
            raise AssertionError("it has no end")
        assert stage.fake.handshakes_abandoned == 0
        await stage.check_replay()


async def test_a_start_that_is_cancelled_in_the_handshake_leaves_with_its_kernel(autojump_clock: Clock) -> None:
    """G2: nothing is waited for where there is no kernel whose connections are counted."""
    async with open_stage() as stage:
        spec = stage.fake.kernelspecs["python3"]
        stage.fake.kernelspecs["python3"] = attrs.evolve(spec, startup_seconds=math.inf)
        await stage.give_up(stage.gateway.start_kernel())
        assert list(stage.fake.kernels) == [stage.kernel.id]
        now = trio.current_time()
    assert trio.current_time() == now
    assert stage.fake.handshakes_abandoned == 0


async def test_a_reconnect_that_is_cancelled_in_the_handshake_is_seen_through(autojump_clock: Clock) -> None:
    async with open_stage() as stage:
        with trio.CancelScope() as scope:
            async with stage.gateway.attach_kernel(stage.kernel.id) as kernel:
                await kernel.execute("1")
                stage.kernel.stall()
                stage.fake.cut_connections()
                await trio.testing.wait_all_tasks_blocked()
                assert stage.handshakes() == 2
                scope.cancel()
        stage.kernel.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.kernel.connections == 0
        await stage.check_replay()
        assert stage.fake.handshakes_abandoned == 0


async def test_a_reconnect_that_is_given_up_in_the_handshake_is_seen_through(autojump_clock: Clock) -> None:
    async with open_stage(reconnect_timeout=5.0) as stage:
        async with stage.gateway.attach_kernel(stage.kernel.id) as kernel:
            await kernel.execute("1")
            stage.kernel.stall()
            stage.fake.cut_connections()
            with pytest.raises(trio_gateway.ConnectionLostError):
                await kernel.execute("2")
        stage.kernel.resume()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.kernel.connections == 0
        assert stage.fake.handshakes_abandoned == 0


async def test_who_comes_again_within_the_handshake_takes_it_over(autojump_clock: Clock) -> None:
    """What the gateway kept for the session comes over that connection, and over no other."""
    async with open_stage() as stage:
        async with stage.gateway.open_channels(stage.kernel.id, session_id="s"):
            pass
        await trio.testing.wait_all_tasks_blocked()
        stage.kernel.publish("stream", {"name": "stdout", "text": "kept"})
        stage.kernel.stall()
        for number in range(3):
            await stage.give_up(stage.gateway.open_channels(stage.kernel.id, session_id="s"), another=number == 0)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.resume_soon)
            async with stage.gateway.open_channels(stage.kernel.id, session_id="s") as channels:
                while not any(b"kept" in bytes(frame) for frame in await channels.receive() if not isinstance(frame, str)):
                    pass
        assert stage.handshakes() == 2
        assert stage.fake.handshakes_abandoned == 0


async def test_the_next_connection_comes_after_one_that_was_given_up(autojump_clock: Clock) -> None:
    async with open_stage() as stage:
        stage.kernel.stall()
        await stage.give_up(stage.gateway.attach_kernel(stage.kernel.id))
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stage.resume_soon)
            async with stage.gateway.attach_kernel(stage.kernel.id) as kernel:
                assert stage.kernel.connections == 1
                assert (await kernel.execute("1")).text == "1"
        assert stage.handshakes() == 2
        assert stage.fake.handshakes_abandoned == 0


@pytest.mark.parametrize("session", ["s", "another"])
async def test_one_that_is_not_answered_holds_the_next_up_for_five_seconds(autojump_clock: Clock, session: str) -> None:
    """G3: its way to the gateway may lead nowhere."""
    async with open_stage() as stage:
        stage.fake.faults.stall_handshake(times=1)
        await stage.give_up(stage.gateway.open_channels(stage.kernel.id, session_id="s"))
        began = trio.current_time()
        async with stage.gateway.open_channels(stage.kernel.id, session_id=session):
            assert trio.current_time() - began == pytest.approx(5.0)
            assert stage.handshakes() == 2


@pytest.mark.parametrize(
    ("settings", "seconds"),
    [({}, 30.0), ({"connect_timeout": 3.0}, 3.0), ({"connect_timeout": math.inf, "cleanup_timeout": 7.0}, 7.0)],
)
async def test_a_handshake_that_is_never_answered_ends_with_the_gateways_block(
    autojump_clock: Clock, settings: dict[str, float], seconds: float
) -> None:
    """G1, G3: what cancelling waits for, at most."""
    async with open_stage(**settings) as stage:
        stage.kernel.stall()
        await stage.give_up(stage.gateway.attach_kernel(stage.kernel.id))
        now = trio.current_time()
    assert trio.current_time() - now == pytest.approx(seconds)
    assert stage.fake.handshakes_abandoned == 1


async def test_the_fake_does_as_kernel_gateway_with_one_that_its_client_cuts_off(autojump_clock: Clock) -> None:
    """The count of connections goes to -1, and what a session misses is not kept."""
    async with open_stage(connect_timeout=1.0) as stage:
        stage.kernel.stall()
        await stage.give_up(stage.gateway.attach_kernel(stage.kernel.id))
        await trio.sleep(2)
        assert stage.fake.handshakes_abandoned == 1
        assert stage.kernel.connections == -1
        stage.kernel.resume()
        with pytest.raises(trio_gateway.ConnectionLostError):
            await stage.check_replay()
        assert stage.kernel.connections == -1


async def test_of_a_kernel_that_has_gone_no_handshake_is_given_up(autojump_clock: Clock) -> None:
    async with open_stage() as stage:
        stage.kernel.stall()
        await stage.give_up(stage.gateway.attach_kernel(stage.kernel.id))
        await stage.gateway.kernels.shutdown(stage.kernel.id)
        now = trio.current_time()
    assert trio.current_time() == now
    assert stage.fake.handshakes_abandoned == 0
