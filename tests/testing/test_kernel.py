"""A kernel as its gateway knows it: its processes, the sessions that are connected, and what it says of itself."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import Stream
from trio_gateway._protocol import codec
from trio_gateway.testing import FakeGateway, FakeKernel, FakeKernelSpec, Sleep
from trio_gateway.testing._process import KernelProcess
from trio_gateway.testing._world import World

from .kit_parts import Sunk, execute, request

Clock = trio.testing.MockClock


@attrs.define
class Settings:
    """What the gateway has set."""

    server_session: str = "server"
    restart_seconds: float = 2.0
    restarter_seconds: float = 3.0
    buffers: bool = True


@attrs.define
class Stage:
    """A kernel, and what its gateway hears of it."""

    kernel: FakeKernel
    settings: Settings
    gone: list[FakeKernel]
    orphans: list[KernelProcess]


@asynccontextmanager
async def started(*, launch: bool = True, **spec: object) -> AsyncGenerator[Stage]:
    """A kernel whose process runs."""
    world, settings, gone, orphans = World(0), Settings(), list[FakeKernel](), list[KernelProcess]()
    made = FakeKernelSpec(name="mine", script=spec.pop("script", lambda cell: cell.code), **spec)  # type: ignore[arg-type]
    async with world._running():
        kernel = FakeKernel(
            "a-b-c-d-e", made, {"A": "1"}, world=world, settings=settings, gone=gone.append, orphaned=orphans.append
        )
        if launch:
            await kernel.launch()
        await trio.testing.wait_all_tasks_blocked()
        yield Stage(kernel, settings, gone, orphans)


# By itself --------------------------------------------------------------------------------------------------------------


async def test_its_model(autojump_clock: Clock) -> None:
    async with started(startup_seconds=5) as stage:
        kernel = stage.kernel
        await kernel.wait_ready()
        assert kernel.model() == {
            "id": "a-b-c-d-e",
            "name": "mine",
            "last_activity": "2026-01-01T00:00:05Z",
            "execution_state": "idle",
            "connections": 0,
        }
        assert kernel.env == {"A": "1"}


async def test_what_a_session_sends_is_answered_to_it_and_published_to_all() -> None:
    async with started() as stage:
        mine, other = Sunk(), Sunk()
        streams = stage.kernel.connect(mine, "front")
        stage.kernel.connect(other, "other")
        stage.kernel.take(execute("42", msg_id="one"), streams)
        await trio.testing.wait_all_tasks_blocked()
        assert stage.kernel.connections == 2
        assert mine.types == ["status", "execute_input", "execute_result", "execute_reply", "status"]
        assert other.types == ["status", "execute_input", "execute_result", "status"]
        assert (stage.kernel.executed, stage.kernel.codes) == ({"one": 1}, ["42"])
        stage.kernel.publish("custom", {"a": 1})
        assert mine.types[-1] == other.types[-1] == "custom"


async def test_what_comes_before_its_process_waits(autojump_clock: Clock) -> None:
    async with started(launch=False) as stage:
        sink = Sunk()
        streams = stage.kernel.connect(sink, "front")
        stage.kernel.take(execute("42"), streams)
        await trio.testing.wait_all_tasks_blocked()
        assert sink.messages == []
        assert stage.kernel.execution_state == "starting"
        await stage.kernel.launch()
        await trio.testing.wait_all_tasks_blocked()
        assert "execute_reply" in sink.types


async def test_it_is_ready_when_it_could_answer(autojump_clock: Clock) -> None:
    async with started(launch=False, startup_seconds=5) as stage, trio.open_nursery() as nursery:
        nursery.start_soon(stage.kernel.launch)
        await stage.kernel.wait_ready()
        assert trio.current_time() == 5
        stage.kernel.stall_for(10)
        await stage.kernel.wait_ready()
        assert trio.current_time() == 15


async def test_a_greeting_is_the_servers_own_request() -> None:
    """A `busy` and an `idle`, numbered by the kernel, whose parent no client knows; one number is the reply's."""
    async with started() as stage:
        sink = Sunk()
        stage.kernel.connect(sink, "front")
        stage.kernel.greet()
        assert sink.states == ["busy", "idle"]
        first, second = sink.messages
        assert first.parent_id == second.parent_id
        assert first.parent_session == "server"
        numbers = [int(message.msg_id.rpartition("_")[2]) for message in sink.messages]
        assert numbers[1] - numbers[0] == 2
        stage.kernel.stall()
        stage.kernel.greet()
        stage.kernel.resume()
        assert len(sink.messages) == 2


async def test_a_last_session_is_kept_for(autojump_clock: Clock) -> None:
    async with started() as stage:
        kernel = stage.kernel
        first, again = Sunk(), Sunk()
        streams = kernel.connect(first, "front")
        kernel.disconnect(streams, first)
        assert kernel.connections == 0
        kernel.publish("custom", {})
        assert kernel.connect(again, "front") is streams
        assert [message.msg_type for message in streams.buffer] == ["custom"]
        kernel.disconnect(streams, again)
        kernel.connect(other := Sunk(), "other")  # another session has it discarded
        kernel.publish("custom", {})
        assert [message.msg_type for message in streams.buffer] == ["custom"]
        assert other.types == ["custom"]


async def test_only_the_last_session_is_kept_for_and_only_if_it_is_set() -> None:
    async with started() as stage:
        kernel = stage.kernel
        one, two = Sunk(), Sunk()
        first, second = kernel.connect(one, "one"), kernel.connect(two, "two")
        kernel.disconnect(first, one)
        assert not first.open
        stage.settings.buffers = False
        kernel.disconnect(second, two)
        assert not second.open


async def test_a_connection_that_is_replaced() -> None:
    """The session's sockets pass to the new one, and the end of the old one changes nothing."""
    async with started() as stage:
        kernel = stage.kernel
        old, new = Sunk(), Sunk()
        streams = kernel.connect(old, "front")
        assert kernel.connect(new, "front") is streams
        assert old.goodbyes == ["Replacing stale connection"]
        kernel.disconnect(streams, old)
        assert kernel.connections == 1
        kernel.publish("custom", {})
        assert (old.types, new.types) == ([], ["custom"])


async def test_a_process_that_dies_is_started_again(autojump_clock: Clock) -> None:
    async with started(startup_seconds=1) as stage:
        sink = Sunk()
        stage.kernel.connect(sink, "front")
        before = stage.kernel.process
        stage.kernel.kill()
        assert stage.kernel.process is None
        await trio.sleep(2.9)
        assert sink.messages == []
        await trio.sleep(1.2)
        assert stage.kernel.process not in (None, before)
        assert (stage.kernel.restarts, stage.kernel.execution_state) == (1, "idle")
        assert sink.states == ["restarting", "starting", "busy", "idle"]
        assert sink.messages[0].msg_id.startswith("server_1_")


async def test_a_kernel_that_is_given_up(autojump_clock: Clock) -> None:
    async with started() as stage:
        sink = Sunk()
        stage.kernel.connect(sink, "front")
        stage.kernel.die()
        await trio.sleep(4)
        assert sink.states == ["dead"]
        assert stage.gone == [stage.kernel]
        assert (stage.kernel.execution_state, stage.kernel.process) == ("dead", None)


async def test_after_five_deaths_it_is_given_up(autojump_clock: Clock) -> None:
    async with started() as stage:
        for _ in range(5):
            stage.kernel.kill()
            await trio.sleep(4)
        assert stage.gone == []
        stage.kernel.kill()
        await trio.sleep(4)
        assert stage.gone == [stage.kernel]
        assert stage.kernel.restarts == 5


async def test_a_restart(autojump_clock: Clock) -> None:
    async with started() as stage:
        sink = Sunk()
        streams = stage.kernel.connect(sink, "front")
        before = stage.kernel.process
        stage.kernel.restart()
        await trio.testing.wait_all_tasks_blocked()
        assert sink.types == ["shutdown_reply", "status"]
        assert stage.kernel.execution_state == "restarting"
        stage.kernel.take(execute("42"), streams)
        await trio.sleep(2.1)
        assert stage.kernel.process not in (None, before)
        assert stage.kernel.restarts == 1
        assert "execute_reply" in sink.types
        assert stage.orphans == []


async def test_two_restarts_at_a_time_forget_a_process(autojump_clock: Clock) -> None:
    async with started() as stage:
        stage.kernel.restart()
        stage.kernel.restart()
        await trio.sleep(3)
        assert len(stage.orphans) == 1
        assert stage.orphans[0] is not stage.kernel.process


@pytest.mark.parametrize("end", ["cull", "quiet"])
async def test_its_end(autojump_clock: Clock, end: str) -> None:
    """With a farewell, unless it is a quiet one; the connections stay, and hear nothing more."""
    async with started() as stage:
        sink = Sunk()
        streams = stage.kernel.connect(sink, "front")
        finish: Callable[[], object] = stage.kernel.cull if end == "cull" else lambda: stage.kernel.end(quietly=True)
        finish()
        finish()
        assert stage.gone == [stage.kernel]
        assert sink.types == (["shutdown_reply", "status"] if end == "cull" else [])
        assert sink.goodbyes == []
        assert not streams.open
        stage.kernel.publish("custom", {})
        stage.kernel.take(execute("42"), streams)
        await trio.testing.wait_all_tasks_blocked()
        assert "custom" not in sink.types
        assert stage.kernel.executed == {}
        stage.kernel.disconnect(streams, sink)
        assert stage.kernel.connections == 0


async def test_an_end_in_the_middle_of_a_restart_leaves_an_orphan(autojump_clock: Clock) -> None:
    async with started() as stage:
        stage.kernel.restart()
        await trio.testing.wait_all_tasks_blocked()
        stage.kernel.end(quietly=True)
        await trio.sleep(3)
        assert len(stage.orphans) == 1
        assert stage.kernel.process is None


async def test_an_end_before_it_is_revived(autojump_clock: Clock) -> None:
    async with started() as stage:
        stage.kernel.kill()
        stage.kernel.end(quietly=True)
        await trio.sleep(10)
        assert (stage.kernel.process, stage.kernel.restarts) == (None, 0)


async def test_killed_soon_and_stalled_for_a_while(autojump_clock: Clock) -> None:
    async with started() as stage:
        stage.kernel.stall_for(5)
        assert stage.kernel.process is not None
        assert stage.kernel.process.stalled
        await trio.sleep(5.1)
        assert not stage.kernel.process.stalled
        stage.kernel.kill_soon(1)
        assert stage.kernel.process is not None
        await trio.sleep(1.1)
        assert stage.kernel.process is None


async def test_an_interrupt_and_the_state_meanwhile(autojump_clock: Clock) -> None:
    def script(cell: object) -> object:
        yield Sleep(100)

    async with started(script=script) as stage:
        sink = Sunk()
        streams = stage.kernel.connect(sink, "front")
        stage.kernel.take(execute("x"), streams)
        await trio.sleep(7)
        assert stage.kernel.execution_state == "busy"
        assert stage.kernel.last_activity == 0
        stage.kernel.interrupt()
        await trio.testing.wait_all_tasks_blocked()
        assert stage.kernel.execution_state == "idle"
        assert stage.kernel.last_activity == 7
        assert "error" in sink.types


async def test_what_its_kernelspec_says() -> None:
    def target(comm: object, message: object) -> None: ...

    debugger = {"a": 1}
    async with started(
        subshells=False, stop_on_error_timeout=2.5, comm_targets={"echo": target}, debugger=lambda command, arguments: debugger
    ) as stage:
        kernel = stage.kernel
        assert (kernel.has_subshells, kernel.stop_on_error_timeout, kernel.subshells) == (False, 2.5, [])
        assert kernel.comm_target("echo") is target
        assert kernel.comm_target("other") is None
        assert kernel.debug("any", {}) is debugger
    async with started() as stage:
        assert stage.kernel.has_subshells
        assert stage.kernel.debug("any", {}) is None
        sink = Sunk()
        stage.kernel.take(request("create_subshell_request", channel="control"), stage.kernel.connect(sink, "front"))
        await trio.testing.wait_all_tasks_blocked()
        assert len(stage.kernel.subshells) == 1


# With a client ----------------------------------------------------------------------------------------------------------


async def test_replay(autojump_clock: Clock, fake: FakeGateway) -> None:
    """What is missed while nobody is connected comes later; what was in the socket does not, and is counted."""
    code = "import time\nfor i in range(20):\n    print(i, flush=True)\n    time.sleep(1)"
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        refused = fake.faults.refuse(nth=[1, 2])
        async with kernel.stream(code) as outputs:
            text = ""
            async for output in outputs:
                assert isinstance(output, Stream)
                text += output.text
                if text == "0\n1\n2\n":
                    fake.cut_connections()
        assert text == "".join(f"{i}\n" for i in range(20))
        assert refused.hits == 2
        assert trio.current_time() == pytest.approx(20, abs=1)
        assert outputs.result.output_gaps == ()  # all were read before the cut, or came after it


async def test_another_session_discards_the_buffer(autojump_clock: Clock, fake: FakeGateway) -> None:
    async with fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.cut_connections()
        fake.faults.refuse()
        with pytest.raises(trio_gateway.ConnectionLostError), trio.fail_after(10_000):
            await kernel.execute("1")
        fake.faults.clear()


async def test_a_connection_that_takes_anothers_place_keeps_what_it_got(autojump_clock: Clock) -> None:
    """Also when the one before ends later: what it had is the new one's, and so is what the kernel says from then on."""
    header = trio_gateway.Header("asked", "execute_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
    async with FakeGateway() as fake, fake.open() as gateway, fake.open(gateway_retry_max=0) as other:
        kernel = await gateway.kernels.start()
        async with other.open_channels(kernel.id, session_id="front"):  # it does not come back
            async with gateway.open_channels(kernel.id, session_id="front") as channels:
                await trio.sleep(5)  # by then the fake is done with the first one
                assert fake.kernels[kernel.id].connections == 1
                await channels.send(codec.encode_v1(trio_gateway.Message("shell", header, {"code": "print(1)"})))
                seen: set[str] = set()
                with trio.fail_after(10):
                    while not {"stream", "execute_reply"} <= seen:
                        seen |= {codec.decode(frame, v1=True).msg_type for frame in await channels.receive()}
