"""A kernel's channels: any number of readers, messages of one's own, and how each reader learns of the end."""

from __future__ import annotations

import sys
from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from kernel.kit import Parts, said, take_all, turns_while_sending
from trio_gateway import GatewayConfig, InvalidInputError, Kernel, Message, _limits
from trio_gateway._kernel import channels
from trio_gateway._kernel.channels import Channel, ChannelStatistics, Subscription
from trio_gateway._kernel.inbox import Inbox
from trio_gateway._protocol.messages import Header
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock


@pytest.fixture
async def kernel() -> AsyncGenerator[Kernel]:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        yield kernel


async def test_channels_have_any_number_of_readers(autojump_clock: Clock, kernel: Kernel) -> None:
    await kernel.execute("0")  # so what is said of its start has come
    async with kernel.iopub.subscribe() as one, kernel.iopub.subscribe() as two, kernel.shell.subscribe() as replies:
        assert kernel.iopub.statistics().subscriptions == 2
        await kernel.execute("print('hello', end='')")
        for reader in (one, two):
            kinds = []
            async for message in reader:
                assert isinstance(message, Message)
                kinds.append(message.msg_type)
                if kinds[-1] == "status" and message.content["execution_state"] == "idle":
                    break
            assert kinds == ["status", "execute_input", "stream", "status"]
        assert (await replies.receive()).msg_type == "execute_reply"
        with pytest.raises(trio.WouldBlock):
            replies.receive_nowait()
        statistics = one.statistics()
        assert (statistics.messages, statistics.received, statistics.dropped) == (0, 4, 0)
        assert statistics.peak_messages >= 1
    assert kernel.iopub.statistics().subscriptions == 0
    assert kernel.iopub.statistics().received >= 4


async def test_a_message_of_ones_own_is_answered_to_whoever_reads(autojump_clock: Clock, kernel: Kernel) -> None:
    async with kernel.shell.subscribe() as replies:
        request = await kernel.shell.send("kernel_info_request", {})
        reply = await replies.receive()
        assert (reply.msg_type, reply.parent_id) == ("kernel_info_reply", request.msg_id)
        assert kernel.shell.statistics().sent == 1


async def test_a_message_that_someone_else_made_goes_out_as_it_is(autojump_clock: Clock, kernel: Kernel) -> None:
    made = Message("shell", Header("theirs", "kernel_info_request", "their session"), {})
    async with kernel.shell.subscribe() as replies:
        await kernel.shell.forward(made)
        assert (await replies.receive()).parent_id == "theirs"
    with pytest.raises(InvalidInputError, match="the channel control"):
        await kernel.control.forward(made)
    assert kernel.control.statistics().sent == 0


async def test_an_id_of_the_callers_own_is_the_messages(autojump_clock: Clock, kernel: Kernel) -> None:
    async with kernel.shell.subscribe() as replies:
        sent = await kernel.shell.send("kernel_info_request", {}, msg_id="mine")
        assert sent.msg_id == "mine"
        assert (await replies.receive()).parent_id == "mine"


async def test_other_tasks_have_turns_while_the_connection_takes_all(autojump_clock: Clock) -> None:
    """A deadline, too, is noticed only where the scheduler has a turn."""
    async with FakeGateway() as fake, fake.open(websocket_engine="fast") as gateway, gateway.start_kernel() as kernel:
        take_all(fake)
        await trio.testing.wait_all_tasks_blocked()
        assert await turns_while_sending(lambda: kernel.shell.send("comm_msg", {}), 10_000) > 100
        outbox = kernel.shell._requests.outbox
        assert not len(outbox), "else it is the queue that makes it wait"


async def test_a_cancelled_send_has_sent_nothing(autojump_clock: Clock, kernel: Kernel) -> None:
    for _ in range(100):
        with trio.CancelScope() as scope:
            scope.cancel()
            await kernel.shell.send("comm_msg", {})
        assert scope.cancelled_caught
    assert kernel.shell.statistics().sent == 0


async def test_a_reader_of_a_session_that_was_left_sees_its_end(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel:
            reading = kernel.iopub.subscribe()
            messages = await reading.__aenter__()
        with pytest.raises(trio.EndOfChannel):
            while True:
                await messages.receive()
        await reading.__aexit__(None, None, None)
        with pytest.raises(trio_gateway.GatewayError):
            await kernel.execute("1")


async def test_a_reader_of_a_session_that_ended_learns_why(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.iopub.subscribe() as messages:
            fake.kernels[kernel.id].cull()
            with pytest.raises(trio_gateway.KernelCulledError):
                async for _ in messages:
                    pass
            with pytest.raises(trio_gateway.KernelCulledError):
                await kernel.shell.send("kernel_info_request", {})
            with pytest.raises(trio_gateway.KernelCulledError):
                async with kernel.iopub.subscribe():
                    pytest.fail("there is nothing to read")


@pytest.mark.parametrize("name", ["limit_messages", "limit_bytes"])
@pytest.mark.parametrize("limit", [0, -1, float("nan"), True, "5"])
async def test_a_reader_without_room_is_refused(autojump_clock: Clock, kernel: Kernel, name: str, limit: Any) -> None:
    """With "pause" it would hold up the whole session for ever."""
    limits: dict[str, Any] = {name: limit}
    with pytest.raises(InvalidInputError, match=name):
        async with kernel.iopub.subscribe(when_full="pause", **limits):
            pytest.fail("it was opened")
    assert kernel.iopub.statistics().subscriptions == 0
    assert (await kernel.execute("1")).text == "1"


@pytest.mark.parametrize("when_full", ["", None, "block", 5])
async def test_a_way_to_treat_a_full_buffer_that_there_is_not(
    autojump_clock: Clock, kernel: Kernel, when_full: Any
) -> None:  # G10
    with pytest.raises(InvalidInputError, match="when_full"):
        async with kernel.iopub.subscribe(when_full=when_full):
            pytest.fail("there is no such way")


async def test_a_publisher_names_the_readers_without_room() -> None:  # G7
    parts = Parts()
    channel = Channel("iopub", parts.requests, parts.status, GatewayConfig(url="http://gateway.test"))
    message = said("stream", {"name": "stdout", "text": "x"})
    assert channel.publish(message) == ()
    async with (
        channel.subscribe(when_full="pause", limit_messages=2) as one,
        channel.subscribe(when_full="pause", limit_messages=1) as two,
        channel.subscribe(limit_messages=1),
    ):
        assert len(channel.publish(message)) == 1
        assert len(channel.publish(message)) == 2
        for reader in (one, two):
            while reader.receive_ready():
                pass
        assert len(channel.publish(message)) == 1
    assert channel.publish(message) == ()
    assert channel.statistics() == ChannelStatistics(received=5, sent=0, subscriptions=0)


async def test_a_step_of_a_loop_pays_for_no_advice() -> None:
    """What `receive` says to those who give it a `timeout` costs a coroutine, which a loop over many messages need not pay."""
    inbox = Inbox(limit_messages=10, limit_bytes=1e6)
    message = said("stream", {"name": "stdout", "text": "x"})
    for _ in range(3):
        inbox.put(message)
    inbox.close(None)
    messages = Subscription(inbox)
    called: list[str] = []
    before = sys.getprofile()
    sys.setprofile(lambda frame, event, _: called.append(frame.f_code.co_filename) if event == "call" else None)
    try:
        await anext(messages)
    finally:
        sys.setprofile(before)
    assert channels.__file__ in called
    assert _limits.__file__ not in called
    assert await messages.receive() is message
    assert [each async for each in messages] == [message]
    with pytest.raises(TypeError, match=r"trio.fail_after"):
        await messages.receive(timeout=1)  # type: ignore[call-arg]
    with pytest.raises(trio.EndOfChannel):
        await messages.receive()
