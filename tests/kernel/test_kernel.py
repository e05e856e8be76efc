"""A kernel as its user sees it: what it is asked, how it is, and what becomes of it."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import msgspec
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import ConnectionState, Kernel, KernelState, Status, Verdict
from trio_gateway._protocol.messages import Message
from trio_gateway.testing import FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock


@pytest.fixture
async def kernel() -> AsyncGenerator[Kernel]:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        yield kernel


@pytest.mark.parametrize(
    ("code", "status"), [("1 + 1", "complete"), ("for x in y:", "incomplete"), ("1 +* 1", "invalid"), ("", "complete")]
)
async def test_is_complete(autojump_clock: Clock, kernel: Kernel, code: str, status: str) -> None:
    reply = await kernel.is_complete(code)
    assert reply["status"] == status
    assert status != "incomplete" or reply["indent"] == "    "


async def test_replies_go_to_who_asked_in_whatever_order_they_come(autojump_clock: Clock, kernel: Kernel) -> None:
    """Requests of all kinds at once, each with an argument of its own that its reply shows."""
    await kernel.execute("".join(f"name_{index} = {index}\n" for index in range(20)))
    await kernel.execute("0")
    done = 0

    async def complete(index: int) -> None:
        nonlocal done
        assert (await kernel.complete(f"name_{index}.real"))["cursor_start"] <= len(f"name_{index}.")
        done += 1

    async def execute(index: int) -> None:
        nonlocal done
        assert (await kernel.execute(f"name_{index}")).text == str(index)
        done += 1

    async def history(index: int) -> None:
        nonlocal done
        assert len((await kernel.history(n=index % 2 + 1))["history"]) == index % 2 + 1
        done += 1

    async with trio.open_nursery() as nursery:
        for index in range(20):
            for ask in (complete, execute, history):
                nursery.start_soon(ask, index)
    assert done == 60


async def test_a_request_that_is_cancelled_leaves_the_session_in_order(autojump_clock: Clock, kernel: Kernel) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "import time; time.sleep(10)")
        await trio.sleep(1)
        with trio.move_on_after(1) as scope:
            await kernel.is_complete("1")  # it waits behind the code
        assert scope.cancelled_caught
    assert (await kernel.is_complete("1"))["status"] == "complete"


@pytest.mark.parametrize(
    ("ask", "field"),
    [
        (lambda kernel: kernel.complete("abc", 4), "cursor_pos"),
        (lambda kernel: kernel.complete("abc", -1), "cursor_pos"),
        (lambda kernel: kernel.complete(5), "code"),
        (lambda kernel: kernel.inspect("abc", detail_level=2), "detail_level"),
        (lambda kernel: kernel.history(hist_access_type="all"), "hist_access_type"),
        (lambda kernel: kernel.is_complete("\0"), "code"),
        (lambda kernel: kernel.wait_for(), "states"),
        (lambda kernel: kernel.wait_for("idle"), "states"),
    ],
)
async def test_a_question_that_is_none_is_named(autojump_clock: Clock, kernel: Kernel, ask: Any, field: str) -> None:  # G10
    async with kernel.shell.subscribe() as replies:
        with pytest.raises(trio_gateway.InvalidInputError) as caught:
            await ask(kernel)
        assert caught.value.field == field
        await kernel.kernel_info()
        assert [message.msg_type for message in replies.receive_ready()] == ["kernel_info_reply"], "nothing was sent before"


async def test_changes_are_how_it_is_now_and_after_each_change_until_the_end(autojump_clock: Clock) -> None:
    seen: list[Status] = []
    async with FakeGateway() as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        async with gateway.start_kernel() as kernel:
            await kernel.execute("1")

            async def watch() -> None:
                async for status in kernel.changes():
                    seen.append(status)
                    await trio.testing.wait_all_tasks_blocked()

            nursery.start_soon(watch)
            await trio.testing.wait_all_tasks_blocked()
            await kernel.execute("import time; time.sleep(0.5)")  # after a second the session asks the kernel, which is a change
            await trio.testing.wait_all_tasks_blocked()
            fake.kernels[kernel.id].cull()
            with pytest.raises(trio_gateway.KernelCulledError):
                await kernel.wait_for(KernelState.RESTARTING)
    connected = ConnectionState.CONNECTED
    assert seen[:3] == [Status(state, connected) for state in (KernelState.IDLE, KernelState.BUSY, KernelState.IDLE)]
    assert seen[-1] == Status(KernelState.CULLED, ConnectionState.CLOSED)


async def test_the_heartbeat_says_what_the_evidence_says(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        assert kernel.hb.is_beating()
        assert await kernel.hb.check() is Verdict.ALIVE
        evidence = kernel.hb.evidence
        assert evidence.answer is not None
        assert evidence.restarts == 0
        await kernel.restart()
        assert kernel.hb.evidence.restarts == 1
        fake.kernels[kernel.id].cull()
        await kernel.wait_for(KernelState.CULLED)
        assert not kernel.hb.is_beating()
        assert await kernel.hb.check() is Verdict.CULLED


async def test_a_subshell_is_deleted_with_its_block(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.subshell() as subshell:
            assert fake.kernels[kernel.id].subshells == [subshell.id]
            assert (await subshell.execute("1 + 1")).text == "2"
        assert fake.kernels[kernel.id].subshells == []


@pytest.mark.parametrize("control_at_work", [True, False])
async def test_a_subshell_opens_while_code_runs_in_the_main_shell(autojump_clock: Clock, *, control_at_work: bool) -> None:  # G3
    spec = FakeKernelSpec(name="python3", control_at_work=control_at_work)
    async with FakeGateway(kernelspecs=[spec]) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:
            ended = trio.Event()

            async def work() -> None:
                await kernel.execute("import time; time.sleep(1000)")
                ended.set()

            nursery.start_soon(work)
            await trio.testing.wait_all_tasks_blocked()
            async with kernel.subshell() as subshell:
                assert (await subshell.execute("1 + 1")).text == "2"
            assert ended.is_set() is not control_at_work, "where control does not answer, shell does when the code has ended"
        assert fake.kernels[kernel.id].subshells == []


@pytest.mark.parametrize("channel", ["shell", "control"])
async def test_a_subshell_opens_where_the_answer_on_one_of_the_two_channels_is_no_use(
    autojump_clock: Clock, channel: str
) -> None:
    other = "control" if channel == "shell" else "shell"
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.spoil(f"{channel} kernel_info_reply", times=1)
        fake.faults.reorder(f"{other} kernel_info_reply", times=1)  # a second late: the other answer comes first
        async with kernel.subshell() as subshell:
            assert (await subshell.execute("1 + 1")).text == "2"
        assert fake.faults.missed == []


async def test_a_subshell_waits_for_no_answer_that_may_never_come(autojump_clock: Clock) -> None:  # G3
    """Control answers no such question, and what shell answers is no use."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("control kernel_info_reply")
        fake.faults.spoil("shell kernel_info_reply", times=1)
        asked_at = trio.current_time()
        with pytest.raises(trio_gateway.ProtocolError):
            async with kernel.subshell():
                pytest.fail("there is none")
        assert trio.current_time() - asked_at <= 3


async def test_a_subshell_of_which_no_channel_tells_behind_code_that_runs(autojump_clock: Clock) -> None:  # G3
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        fake.faults.spoil("control kernel_info_reply")
        nursery.start_soon(kernel.execute, "import time\ntime.sleep(4000)")
        await trio.testing.wait_all_tasks_blocked()
        asked_at = trio.current_time()
        with pytest.raises(trio_gateway.ProtocolError):
            async with kernel.subshell():
                pytest.fail("there is none")
        assert trio.current_time() - asked_at <= 3
        nursery.cancel_scope.cancel()


async def test_a_subshell_whose_answer_is_lost_with_the_connection(autojump_clock: Clock) -> None:  # G3
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        fake.faults.drop("control kernel_info_reply")
        fake.faults.drop("shell kernel_info_reply", times=1)

        async def open_one() -> None:
            with pytest.raises(trio_gateway.ConnectionLostError):
                async with kernel.subshell():
                    pytest.fail("there is none")

        nursery.start_soon(open_one)
        await trio.testing.wait_all_tasks_blocked()
        fake.cut_connections()


async def test_a_subshell_of_a_kernel_that_dies_meanwhile_says_so(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        fake.faults.drop("(shell|control) kernel_info_reply")

        async def open_one() -> None:
            with pytest.raises(trio_gateway.KernelDiedError):
                async with kernel.subshell():
                    pytest.fail("there is none")

        nursery.start_soon(open_one)
        await trio.testing.wait_all_tasks_blocked()
        fake.kernels[kernel.id].die()


async def test_a_kernel_without_subshells_says_so(autojump_clock: Clock) -> None:  # G10
    spec = FakeKernelSpec(name="python3", subshells=False)
    async with FakeGateway(kernelspecs=[spec]) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(trio_gateway.InvalidInputError, match="offers subshells"):
            async with kernel.subshell():
                pytest.fail("there is none")


async def test_a_shutdown_that_fails_leaves_a_kernel_that_can_be_used(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fault = fake.faults.answer("DELETE .*", status=403)
        with pytest.raises(trio_gateway.GatewayError):
            await kernel.shutdown()
        fault.remove()
        assert (await kernel.execute("1")).text == "1"
        await kernel.shutdown()
        await kernel.shutdown()
        assert kernel.state is KernelState.DEAD
        with pytest.raises(trio_gateway.KernelDiedError):
            await kernel.execute("1")


async def test_a_kernels_process_is_the_same_for_all_who_ask_until_it_is_restarted(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        process = await kernel.ask_process()
        assert process not in ("", kernel.session_id)
        async with fake.open() as other_gateway, other_gateway.attach_kernel(kernel.id) as other:
            assert await other.ask_process() == process
        async with kernel.stream("1") as outputs:
            assert [output async for output in outputs]
            assert outputs.process == process
        await kernel.restart()
        assert await kernel.ask_process() not in ("", process)


async def test_a_busy_kernel_says_which_process_it_is(autojump_clock: Clock, kernel: Kernel) -> None:
    process = await kernel.ask_process()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "import time; time.sleep(100)")
        await trio.sleep(1)
        assert await kernel.ask_process() == process
        assert trio.current_time() < 50


async def test_a_kernel_that_takes_over_its_clients_session_does_not_tell_its_process(
    autojump_clock: Clock, kernel: Kernel, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As IRkernel does."""
    request = kernel._session.requests.request

    async def echoed(*arguments: Any) -> Message:
        reply = await request(*arguments)
        header = msgspec.structs.replace(reply.header, session=kernel.session_id)
        return Message("control", header, reply.content, parent_header=reply.parent_header)

    monkeypatch.setattr(type(kernel._session.requests), "request", lambda self, *arguments: echoed(*arguments))
    assert await kernel.ask_process() == ""
