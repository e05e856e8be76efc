"""A reply that never comes though the connection holds: found by a barrier, told, and never taken from code that runs (G3)."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway._protocol import codec
from trio_gateway._protocol.recovery import Hearing
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock
SOON = 120.0
"""Within so many seconds it is told: some intervals of 20."""


async def test_the_reply_to_an_execution(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell execute_reply", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError, match="execute_request or its reply was lost"):
            await kernel.execute("x = 1")
        assert trio.current_time() < SOON
        assert (await kernel.execute("x")).text == "1"


async def test_code_that_a_kernel_began_with_and_dropped(autojump_clock: Clock) -> None:
    """As ipykernel does when an interrupt comes before the code runs: it says `busy`, and then nothing (G3)."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell execute_reply", times=1)
        fake.faults.drop("iopub status", nth=2, times=1)
        with pytest.raises(trio_gateway.ConnectionLostError, match="execute_request or its reply was lost"):
            await kernel.execute("x = 1")
        assert trio.current_time() < SOON
        assert (await kernel.execute("x")).text == "1"


async def test_code_that_a_kernel_dropped_is_not_waited_for_where_nobody_wants_it(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open(interrupt_timeout=600) as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell execute_reply", times=1)
        fake.faults.drop("iopub status", nth=2, times=1)
        with trio.move_on_after(1):
            await kernel.execute("x = 1")
        assert trio.current_time() < 5
        assert (await kernel.execute("x")).text == "1"


async def test_the_reply_to_another_request(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell complete_reply", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError, match="complete_request"):
            await kernel.complete("impo")
        assert trio.current_time() < SOON
        assert "matches" in await kernel.complete("impo")


async def test_the_request_itself(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell execute_request", direction="to_kernel", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("x = 1")
        assert trio.current_time() < SOON
        assert (await kernel.execute("'x' in globals()")).text == "False"


async def test_a_restart_by_someone_else_of_which_nothing_is_heard(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        fake.faults.drop("iopub shutdown_reply")

        async def run() -> None:
            with pytest.raises(trio_gateway.GatewayError):
                await kernel.execute("import time\ntime.sleep(1e9)")

        nursery.start_soon(run)
        await trio.sleep(1)
        async with fake.open() as other:
            await other.kernels.restart(kernel.id)
        await trio.sleep(SOON)
        assert not nursery.child_tasks
        assert (await kernel.execute("6 * 7")).text == "42"


async def test_code_that_runs_for_hours_is_overtaken_by_nothing(autojump_clock: Clock) -> None:
    async with (
        FakeGateway() as fake,
        fake.open() as gateway,
        gateway.start_kernel() as kernel,
        kernel.shell.subscribe() as replies,
        trio.open_nursery() as nursery,
    ):
        results: list[str] = []

        async def run(code: str) -> None:
            results.append((await kernel.execute(code)).text)

        async def complete() -> None:
            results.append(str(len((await kernel.complete("impo"))["matches"]) >= 0))

        nursery.start_soon(run, "import time\ntime.sleep(36000)\n'slept'")
        await trio.sleep(1)
        nursery.start_soon(run, "'after'")
        nursery.start_soon(complete)
        await trio.sleep(35_000)
        assert not results
        await trio.sleep(2_000)
        assert sorted(results) == ["'after'", "'slept'", "True"]
        kinds: list[str] = []
        while len(kinds) < replies.statistics().received:
            kinds.append((await replies.receive()).msg_type)
        assert 0 < kinds.count("kernel_info_reply") <= 3, "one barrier waits at a time"


# A reply that came, and makes no sense --------------------------------------------------------------------------------------


async def test_a_reply_that_came_and_makes_no_sense_is_not_said_to_be_lost(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        spoilt = fake.faults.spoil("shell execute_reply", times=1)
        result = await kernel.execute("x = 1")
        assert (spoilt.hits, result.status, [(gap.kind, gap.count) for gap in result.output_gaps]) == (1, "ok", [("lost", 1)])
        assert trio.current_time() < 1, "it is said at once"
        fake.faults.spoil("shell complete_reply", times=1)
        with pytest.raises(trio_gateway.ProtocolError, match="its complete_reply came and can't be understood") as caught:
            await kernel.complete("impo")
        assert "lost" not in str(caught.value)
        assert (await kernel.execute("x")).text == "1"


async def test_a_reply_that_may_have_come_in_a_frame_that_makes_no_sense(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.garbage(b"\xff" * 40, "iopub execute_input", times=1)
        fake.faults.drop("shell execute_reply", times=1)
        result = await kernel.execute("print('x')\nx = 1")
        assert (result.status, result.text) == ("ok", "x\n")
        assert ("lost", 1) in [(gap.kind, gap.count) for gap in result.output_gaps]
        assert trio.current_time() < SOON
        assert (await kernel.execute("x")).text == "1"


async def test_a_relays_reply_that_came_and_makes_no_sense_is_not_said_to_be_lost(autojump_clock: Clock) -> None:
    async with FakeGateway(framings=["legacy"]) as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front", v1=True) as channels:
            fake.faults.garbage("{", "shell execute_reply", times=1)
            fake.faults.cut_at_message("shell execute_reply", times=1)
            header = trio_gateway.Header("asked", "execute_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
            await channels.send(codec.encode_v1(trio_gateway.Message("shell", header, {"code": "x = 1"})))
            replies: list[trio_gateway.Message] = []
            with trio.fail_after(60):
                while not replies:
                    messages = [codec.decode(frame, v1=True) for frame in await channels.receive()]
                    replies += [message for message in messages if message.msg_type == "execute_reply"]
            assert replies[0].content["ename"] == "ProtocolError"
            assert "could not be understood" in replies[0].content["evalue"]


# A connection that leads nowhere ------------------------------------------------------------------------------------------


async def test_a_connection_made_again_that_is_mute_is_replaced(autojump_clock: Clock) -> None:
    """What was asked meanwhile waits for one that is heard: it runs, once."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        before = kernel.session_id
        mute = fake.faults.mute(times=1)
        fake.faults.cut_at_message("shell complete_request", direction="to_kernel", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.complete("impo")
        assert mute.hits == 1
        assert kernel.session_id != before
        assert (await kernel.execute("n = globals().get('n', 0) + 1\nn")).text == "1"
        assert trio.current_time() < SOON


async def test_what_is_being_found_out_ends_with_the_connection(autojump_clock: Clock) -> None:
    """For a session and for a relay; `protocol/test_recovery` says what would come of it else."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with gateway.open_channels(kernel.id, session_id="front") as channels:
            for owner, recovery in ((kernel._session, kernel._session.checks.recovery), (channels, channels._recovery)):
                recovery._state = Hearing.DOUBTED
                owner.lost(OSError("cut"))
                assert recovery.state is Hearing.FRESH


async def test_code_that_runs_meanwhile_is_told_as_lost(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.mute(times=1)
        fake.faults.cut_at_message("iopub stream", nth=2)
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("import time\nfor i in range(6):\n    print(i)\n    time.sleep(10)")
        assert trio.current_time() < 60 + SOON
        assert (await kernel.execute("i")).text == "5"


async def test_a_kernel_that_is_stopped_is_not_taken_for_a_mute_connection(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        before = kernel.session_id
        fake.kernels[kernel.id].stall_for(1000)
        assert (await kernel.execute("6 * 7")).text == "42"
        assert trio.current_time() >= 1000
        assert kernel.session_id == before


async def test_a_barrier_that_makes_no_sense_costs_nothing(autojump_clock: Clock) -> None:
    """It is sent again at the next look, and the session goes on."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("shell execute_reply", times=1)
        fake.faults.spoil("shell kernel_info_reply", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError, match="execute_request or its reply was lost"):
            await kernel.execute("x = 1")
        assert trio.current_time() < SOON
        assert (await kernel.execute("x")).text == "1"


async def test_an_answer_behind_much_output_is_not_taken_for_a_mute_connection(autojump_clock: Clock) -> None:
    """Nor one that is not read because a consumer has asked for a pause; see test_long_times."""
    async with FakeGateway(iopub_msg_rate_limit=0, iopub_data_rate_limit=0) as fake:
        fake.faults.slow(2000)  # bytes a second
        async with fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
            before = kernel.session_id
            results: list[str] = []

            async def run() -> None:
                results.append((await kernel.execute("for i in range(100):\n    print('x' * 100, flush=True)")).text)

            nursery.start_soon(run)
            await kernel.wait_for(trio_gateway.KernelState.BUSY)
            handshakes = len(fake.requests)
            await kernel.hb.check()
            assert len(fake.requests) == handshakes + 2, "the gateway was asked, and the kernel over another connection"
            assert not results
        assert results == [100 * ("x" * 100 + "\n")]
        assert kernel.session_id == before


@pytest.mark.parametrize("theirs", [["v1"], ["legacy"]])
@pytest.mark.parametrize("v1", [True, False])
async def test_a_relay_whose_connection_leads_nowhere_gets_another(autojump_clock: Clock, v1: bool, theirs: list[str]) -> None:
    """What is lost with the connection is answered with an error, what comes afterwards runs, once."""
    async with FakeGateway(framings=theirs) as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front", v1=v1) as channels:
            replies: dict[str, str] = {}
            texts: list[str] = []

            async def ask(msg_type: str, content: dict[str, object]) -> None:
                header = trio_gateway.Header(msg_type, msg_type, "front", "ada", "2026-01-01T00:00:00Z", "5.4")
                message = trio_gateway.Message("shell", header, content)
                await channels.send(codec.encode_v1(message) if v1 else codec.encode_legacy(message))
                while msg_type not in replies:
                    for frame in await channels.receive():
                        message = codec.decode(frame, v1=v1)
                        if message.msg_type.endswith("_reply"):
                            replies[message.parent_id] = str(message.content["status"])
                        elif message.msg_type == "stream":
                            texts.append(message.content["text"])

            mute = fake.faults.mute(times=1)
            fake.faults.cut_at_message("shell complete_request", direction="to_kernel", times=1)
            with trio.fail_after(60):
                await ask("complete_request", {"code": "impo", "cursor_pos": 4})
                await ask("execute_request", {"code": "print('once')", "silent": False})
            assert mute.hits == 1
            assert replies == {"complete_request": "error", "execute_request": "ok"}
            assert texts == ["once\n"]
            assert channels.session_id != "front"


async def test_a_front_end_that_comes_back_to_a_session_that_leads_nowhere_gets_another(autojump_clock: Clock) -> None:
    """As JupyterLab does while it opens a notebook: the gateway restores for its second connection what the first one left."""
    async with FakeGateway() as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        for mute in (0, 1):
            fault = fake.faults.mute(times=mute)
            async with gateway.open_channels(kernel.id, session_id="front") as channels:
                header = trio_gateway.Header("hello", "kernel_info_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
                await channels.send(codec.encode_v1(trio_gateway.Message("shell", header, {})))
                seen: list[tuple[str, str]] = []
                with trio.fail_after(60):
                    while ("hello", "kernel_info_reply") not in seen:
                        messages = [codec.decode(frame, v1=True) for frame in await channels.receive()]
                        seen += [(message.parent_id, message.msg_type) for message in messages]
                assert seen.count(("hello", "kernel_info_reply")) == 1
                assert fault.hits == mute
                assert (channels.session_id == "front") == (not mute)


@pytest.mark.parametrize("pause", [0, 1])
async def test_what_a_relay_has_read_is_passed_on_also_if_its_connection_is_dropped(autojump_clock: Clock, pause: float) -> None:
    """What was still on its way then is lost, and the request's error says so."""
    async with FakeGateway() as fake, fake.open() as gateway:
        kernel = await gateway.kernels.start()
        async with gateway.open_channels(kernel.id, session_id="front") as channels:
            with trio.move_on_after(10):
                while True:
                    await channels.receive()  # what the kernel says of its start
            header = trio_gateway.Header("asked", "execute_request", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
            await channels.send(codec.encode_v1(trio_gateway.Message("shell", header, {"code": "print('lost')"})))
            await trio.sleep(10)  # nobody takes anything: one batch waits, and the next one is in hand
            assert channels.paused
            channels._supervisor.reconnect()
            await trio.sleep(pause)
            seen: list[str] = []
            while "execute_reply" not in seen:
                messages = [codec.decode(frame, v1=True) for frame in await channels.receive()]
                seen += [message.msg_type for message in messages if message.parent_id == "asked"]
            assert seen[:2] == ["status", "execute_input"]
            assert "stream" not in seen
