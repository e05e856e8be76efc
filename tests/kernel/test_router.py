"""Where what a kernel sends goes: to its request, to its channel's readers, to the status; and what is news."""

from __future__ import annotations

import json
import logging
import math
from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio

from kernel.kit import Parts, said
from trio_gateway import GatewayConfig, KernelState, ProtocolError, SlowConsumerError
from trio_gateway._kernel.channels import Channel
from trio_gateway._kernel.comms import Comms
from trio_gateway._kernel.inbox import Inbox
from trio_gateway._kernel.router import Dead, Goodbye, News, Restarted, Router
from trio_gateway._protocol.codec import TooLargeError
from trio_gateway._protocol.messages import CHANNELS, Message


class Stage(Parts):
    """A router with all that it gives to."""

    def __init__(self) -> None:
        super().__init__()
        config = GatewayConfig(url="http://gateway.test")
        self.channels = {name: Channel(name, self.requests, self.status, config) for name in CHANNELS}
        self.comms = Comms(self.channels["shell"], self.requests, self.status, config, self.start_soon)
        self.news: list[News] = []
        self.router = Router(self.requests, self.status, self.channels, self.comms, self.news.append)
        self.status.opened()

    def received(self) -> dict[str, int]:
        """How many messages each channel carried, but for those without."""
        counts = {name: channel.statistics().received for name, channel in self.channels.items()}
        return {name: count for name, count in counts.items() if count}


@pytest.fixture
async def stage() -> Stage:
    return Stage()


async def submitted(stage: Stage, **more: Any) -> Any:
    pending = stage.execution(**more)
    stage.requests.submit(pending)
    await stage.send_one()
    return pending


async def test_a_message_goes_to_its_request_and_to_its_channel(stage: Stage) -> None:
    pending, other = await submitted(stage), await submitted(stage)
    parent = pending.message.msg_id
    assert stage.router.route(said("status", {"execution_state": "busy"}, parent=parent)) == ()
    stage.router.route(said("stream", {"name": "stdout", "text": "x"}, parent=parent))
    stage.router.route(said("execute_reply", {"status": "ok"}, channel="shell", parent=parent))
    stage.router.route(said("status", {"execution_state": "idle"}, parent=parent))
    assert pending.result().text == "x"
    assert not other.execution.started
    assert stage.received() == {"iopub": 3, "shell": 1}
    assert stage.status.kernel is KernelState.IDLE
    assert stage.status.told_on == 1


async def test_a_message_for_nobody_still_has_its_channel_s_readers(stage: Stage) -> None:
    async with stage.channels["iopub"].subscribe() as messages:
        stage.router.route(said("stream", {"name": "stdout", "text": "x"}, parent="another client's"))
        assert (await messages.receive()).msg_type == "stream"


async def test_a_channel_that_there_is_not_ends_nothing(stage: Stage) -> None:
    assert stage.router.route(said("stream", {"name": "stdout", "text": "x"}, channel="no such", parent="p")) == ()
    assert stage.received() == {}


async def test_what_the_gateway_replays_is_taken_once(stage: Stage) -> None:  # G5
    pending = await submitted(stage)
    message = said("stream", {"name": "stdout", "text": "x"}, parent=pending.message.msg_id, number=1)
    stage.router.route(message)
    stage.requests.ledger.connected()
    stage.router.route(message)
    assert stage.received() == {"iopub": 1}


@pytest.mark.parametrize("readers", [0, 1, 2])
async def test_who_asked_for_a_pause_and_has_no_room_is_named(stage: Stage, readers: int) -> None:  # G7
    """All of them: an inbox of which nobody heard would grow without bound."""
    inbox = Inbox(limit_messages=1, limit_bytes=math.inf, when_full="pause")
    pending = await submitted(stage, inbox=inbox)
    async with AsyncExitStack() as stack:
        for _ in range(readers):
            await stack.enter_async_context(stage.channels["iopub"].subscribe(when_full="pause", limit_messages=1))
        await stack.enter_async_context(stage.channels["iopub"].subscribe(limit_messages=1))
        full = stage.router.route(said("stream", {"name": "stdout", "text": "x"}, parent=pending.message.msg_id))
        assert len(full) == readers + 1
        assert inbox in full
        assert all(found.full for found in full)
        assert stage.router.route(said("input_request", {}, channel="stdin", parent="p")) == ()


@pytest.mark.parametrize(
    ("message", "news"),
    [
        (said("status", {"execution_state": "restarting"}), [Restarted()]),
        (said("status", {"execution_state": "dead"}), [Dead()]),
        (said("status", {"execution_state": "busy"}), []),
        (said("shutdown_reply", {"restart": True}), [Goodbye(restart=True)]),
        (said("shutdown_reply", {"restart": False}), [Goodbye(restart=False)]),
        (said("shutdown_reply", {"restart": True}, channel="control"), []),  # the answer to whoever asked: no word to all
        (said("stream", {"name": "stdout", "text": "restarting"}), []),
    ],
)
async def test_news_of_the_kernels_life_is_handed_on(stage: Stage, message: Message, news: list[News]) -> None:
    stage.router.route(message)
    assert stage.news == news


async def test_what_a_kernel_says_while_we_shut_it_down_is_no_news(stage: Stage) -> None:
    stage.status.shutting_down = True
    stage.router.route(said("shutdown_reply", {"restart": False}))
    assert stage.news == []


async def test_progress_is_more_than_what_is_said_to_everyone_who_connects(stage: Stage) -> None:
    stage.router.route(said("status", {"execution_state": "busy"}, parent="the gateway's", parent_type="kernel_info_request"))
    assert not stage.status.liveness.progressed
    stage.router.route(said("stream", {"name": "stdout", "text": "x"}, parent="another client's"))
    assert stage.status.liveness.progressed


async def test_a_status_of_our_request_is_progress(stage: Stage) -> None:
    pending = await submitted(stage)
    stage.router.route(said("status", {"execution_state": "busy"}, parent=pending.message.msg_id))
    assert stage.status.liveness.progressed


async def test_a_comm_message_that_names_no_comm_is_logged(stage: Stage, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "trio_gateway"):
        stage.router.route(said("comm_msg", {"data": {}}))
    assert [record.message for record in caplog.records] == ["message_not_understood"]
    assert "for which comm" in vars(caplog.records[0])["gateway.reason"]
    assert stage.received() == {"iopub": 1}


async def test_garbage_may_have_been_anybodys(stage: Stage) -> None:  # G5
    """Each request that was sent learns of it; one that was not can't be meant."""
    sent = await submitted(stage)
    queued = stage.execution()
    stage.requests.submit(queued)
    stage.router.note_garbage(ProtocolError("no frame"))
    assert sent.garbled is not None
    assert queued.garbled is None


async def test_a_reply_that_does_not_say_whose_it_is_may_be_any_of_its_kind(stage: Stage) -> None:
    execution = await submitted(stage)
    stage.router.route(said("complete_reply", {"status": "ok"}, channel="shell"))
    assert execution.garbled is None
    stage.router.route(said("execute_reply", {"status": "ok"}, channel="shell"))
    assert execution.garbled is not None


async def test_output_without_a_parent_is_nobodys(stage: Stage) -> None:
    """A thread of the kernel's prints so; but a parent that is there and can't be read was one."""
    execution = await submitted(stage)
    stage.router.route(said("stream", {"name": "stdout", "text": "x"}))
    assert execution.garbled is None
    header, content = json.dumps({"msg_id": "m", "msg_type": "stream", "session": "k"}).encode(), b'{"name":"stdout","text":"x"}'
    stage.router.route(Message.from_wire("iopub", header, b'["odd"]', b"{}", content, (), 10))
    assert execution.garbled is not None


@pytest.mark.parametrize("known", [True, False])
async def test_what_was_too_large_costs_the_request_that_it_belongs_to(stage: Stage, known: bool) -> None:
    mine, other = await submitted(stage), await submitted(stage)
    message = said("execute_reply", {}, channel="shell", parent=mine.message.msg_id) if known else None
    stage.router.note_too_large(TooLargeError(10_000, message))
    assert isinstance(mine.failure, ProtocolError) == known
    assert other.failure is None
    assert (other.garbled is None) == known


async def test_a_router_never_waits(stage: Stage) -> None:
    """Also where a reader's buffer is full."""
    async with stage.channels["iopub"].subscribe(when_full="fail", limit_messages=1) as messages:
        for _ in range(5):
            stage.router.route(said("stream", {"name": "stdout", "text": "x"}, parent="p"))
        await messages.receive()
        with pytest.raises(SlowConsumerError):
            await messages.receive()
    await trio.lowlevel.checkpoint()
