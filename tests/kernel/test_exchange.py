"""What goes over a connection: requests go out once, and a consumer that asked for a pause gets it and loses nothing."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from kernel.kit import Parts, said
from trio_gateway import MessageTooLargeError
from trio_gateway._kernel import exchange as exchange_module
from trio_gateway._kernel.exchange import MessageExchange
from trio_gateway._kernel.inbox import Inbox
from trio_gateway._kernel.pending import PendingReply
from trio_gateway._kernel.status import SessionStatus
from trio_gateway._protocol import codec
from trio_gateway._protocol.loss import UNNUMBERED
from trio_gateway._protocol.messages import Header, Message
from trio_gateway._transport.websocket.opening import WebSocketClosed


class Socket:
    """A WebSocket that gives one read of many messages, and then nothing."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames

    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if not self.frames:
            await trio.sleep_forever()
        frames, self.frames = self.frames, []
        return frames


def stage(count: int, limit: int) -> tuple[MessageExchange, Socket, Inbox]:
    inbox = Inbox(limit_messages=limit, limit_bytes=1e9, when_full="pause")

    def route(message: Message) -> Sequence[Inbox]:
        inbox.put(message)
        return (inbox,) if inbox.full else ()

    status, router = SessionStatus("k", 30.0), SimpleNamespace(route=route, note_garbage=lambda error: None)
    exchange = MessageExchange(status, cast("Any", None), cast("Any", router), cast("Any", None), None)
    exchange.begin(v1=True)
    frames = [
        codec.encode_v1(Message("iopub", Header(f"k_{number}", "stream", "k"), {"name": "stdout", "text": str(number)}))
        for number in range(count)
    ]
    frames[count // 2 : count // 2] = [b"garbage"]
    return exchange, Socket(frames), inbox


async def numbers(inbox: Inbox, count: int) -> list[int]:
    return [int(json.loads(bytes((await inbox.get()).content_raw))["text"]) for _ in range(count)]


async def test_a_pause_holds_in_the_middle_of_a_read() -> None:
    exchange, socket, inbox = stage(300, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.receive_all, cast("Any", socket))
        await wait_all_tasks_blocked()
        assert exchange.paused
        assert inbox.statistics().messages == 10
        assert await numbers(inbox, 300) == list(range(300))
        assert inbox.statistics().peak_messages == 10
        await wait_all_tasks_blocked()
        assert not exchange.paused
        nursery.cancel_scope.cancel()


async def test_what_was_read_is_not_lost_with_the_connection() -> None:
    exchange, socket, inbox = stage(300, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.receive_all, cast("Any", socket))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await numbers(inbox, 300) == list(range(300))


async def test_a_large_read_lets_others_run_and_is_routed_whole() -> None:
    exchange, socket, inbox = stage(1000, 1e9)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.receive_all, cast("Any", socket))
        await inbox.get()
        assert inbox.statistics().received < 200
        nursery.cancel_scope.cancel()
    assert await numbers(inbox, 999) == list(range(1, 1000))


# Sending --------------------------------------------------------------------------------------------------------------


class Wire:
    """A WebSocket that takes what is sent, without waiting too if it is `prompt`."""

    def __init__(self, error: BaseException | None = None, *, prompt: bool = False) -> None:
        self.sent: list[Message] = []
        self.sent_now: list[Message] = []
        self.error = error
        self.prompt = prompt
        self.unfinished = False

    async def send(self, frame: Any) -> None:
        await trio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        self.sent.append(codec.decode(b"".join(map(bytes, frame)), v1=True))

    def send_now(self, frame: Any) -> bool:
        if self.prompt:
            self.sent_now.append(codec.decode(b"".join(map(bytes, frame)), v1=True))
        return self.prompt


class Checks:
    """A recovery that lets everything go, or holds all but what is its own."""

    def __init__(self) -> None:
        self.recovery = self
        self.holding = False
        self.held = 0
        self.order = 0
        self.released = trio.Event()

    def may_send(self, msg_id: str) -> bool:
        del msg_id
        return not self.holding

    async def hold(self) -> None:
        self.held += 1
        await self.released.wait()

    def sent(self, msg_id: str) -> tuple[int, float]:
        del msg_id
        self.order += 1
        return self.order, 7.0


def sender(takes_bytes: int | None = None) -> tuple[Parts, Checks, MessageExchange]:
    parts, checks = Parts(), Checks()
    parts.status.opened()
    exchange = MessageExchange(parts.status, parts.requests, cast("Any", None), cast("Any", checks), takes_bytes)
    exchange.begin(v1=True)
    return parts, checks, exchange


async def send_what_waits(exchange: MessageExchange, wire: Wire) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.send_all, cast("Any", wire))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()


def asked(parts: Parts, size: int = 1) -> PendingReply:
    pending = PendingReply(parts.requests.make("shell", "complete_request", {"code": "x" * size}))
    parts.requests.submit(pending)
    return pending


async def test_a_request_is_sent_once_and_knows_over_which_connection() -> None:  # G4
    parts, _, exchange = sender()
    first, second = asked(parts), asked(parts)
    wire = Wire()
    await send_what_waits(exchange, wire)
    await send_what_waits(exchange, wire)
    assert [message.msg_id for message in wire.sent] == [first.message.msg_id, second.message.msg_id]
    assert (first.connection, second.connection) == (1, 1)
    assert first.order < second.order
    assert first.sent_bytes > 0
    assert not first.cut


async def test_nothing_leaves_while_it_is_held() -> None:
    parts, checks, exchange = sender()
    checks.holding = True
    pending, wire = asked(parts), Wire()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.send_all, cast("Any", wire))
        await wait_all_tasks_blocked()
        assert (wire.sent, pending.sent, checks.held) == ([], False, 1)
        assert parts.requests.withdraw(pending), "its caller may still take it back"
        other = asked(parts)
        checks.holding = False
        checks.released.set()
        await wait_all_tasks_blocked()
        assert [message.msg_id for message in wire.sent] == [other.message.msg_id]
        nursery.cancel_scope.cancel()


async def test_a_request_that_the_cut_hit_in_the_middle_may_have_arrived() -> None:  # G4
    parts, _, exchange = sender()
    pending = asked(parts)
    with trio.fail_after(5):
        await exchange.send_all(cast("Any", Wire(WebSocketClosed(1006, "broke"))))
    assert (pending.sent, pending.cut, pending.settled) == (True, True, False)
    assert not exchange.sending


@pytest.mark.parametrize("waited_for", [True, False])
async def test_what_is_larger_than_a_gateway_is_known_to_take_is_not_sent(
    waited_for: bool, caplog: pytest.LogCaptureFixture
) -> None:
    parts, _, exchange = sender(takes_bytes=1_000)
    if waited_for:
        large = asked(parts, 2_000)
    else:
        await parts.requests.send(parts.requests.make("shell", "comm_msg", {"data": "x" * 2_000}))
    small, wire = asked(parts), Wire()
    await send_what_waits(exchange, wire)
    assert [message.msg_id for message in wire.sent] == [small.message.msg_id]
    if waited_for:
        assert isinstance(large.failure, MessageTooLargeError)
        assert not large.sent
    else:
        assert [record.message for record in caplog.records] == ["message_refused"]


async def test_the_largest_that_is_not_known_to_have_arrived_is_the_one_that_was_refused() -> None:  # G3
    parts, _, exchange = sender()
    small, large, answered = asked(parts), asked(parts, 30_000), asked(parts, 90_000)
    await send_what_waits(exchange, Wire())
    answered.reply = answered.message
    answered.settle()
    assert exchange.refused("too big")
    assert isinstance(large.failure, MessageTooLargeError)
    assert "too big" in str(large.failure)
    assert small.failure is None
    assert not exchange.refused("too big"), "no gateway has so small a limit"


async def test_a_message_that_nobody_waits_for_may_be_the_refused_one(caplog: pytest.LogCaptureFixture) -> None:
    parts, _, exchange = sender()
    pending = asked(parts, 30_000)
    await parts.requests.send(parts.requests.make("shell", "comm_msg", {"data": "x" * 60_000}))
    await send_what_waits(exchange, Wire())
    assert exchange.refused("too big")
    assert pending.failure is None
    assert [record.message for record in caplog.records] == ["message_refused"]


async def test_an_answer_for_input_is_noted_with_the_code_that_asked() -> None:
    parts, _, exchange = sender()
    pending = parts.execution()
    parts.requests.submit(pending)
    await send_what_waits(exchange, Wire())
    pending.feed(said("input_request", {}, channel="stdin", parent=pending.message.msg_id), UNNUMBERED)
    await parts.requests.send(parts.requests.make("stdin", "input_reply", {"value": "x"}))
    await send_what_waits(exchange, Wire())
    assert pending.input_sent is not None


# Without waiting ------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def sending(exchange: MessageExchange, wire: Wire) -> AsyncGenerator[None]:
    """Have something wait for what is to be sent."""
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.send_all, cast("Any", wire))
        await wait_all_tasks_blocked()
        yield
        nursery.cancel_scope.cancel()


def ids(messages: Sequence[Message]) -> list[str]:
    return [message.msg_id for message in messages]


async def test_a_small_request_is_written_from_the_task_that_makes_it() -> None:  # G4
    parts, _, exchange = sender()
    wire = Wire(prompt=True)
    async with sending(exchange, wire):
        first, second = asked(parts), asked(parts)
        assert ids(wire.sent_now) == ids([first.message, second.message])
        assert (first.connection, second.connection) == (1, 1)
        assert 0 < first.order < second.order
        assert first.sent_bytes > 0
        assert not parts.requests.withdraw(first), "it is sent"
        await wait_all_tasks_blocked()
    assert wire.sent == []
    assert not first.cut


async def test_what_does_not_go_at_once_is_queued_and_keeps_its_place() -> None:  # G4
    parts, _, exchange = sender()
    wire = Wire(prompt=True)
    async with sending(exchange, wire):
        large, small = asked(parts, exchange_module.SMALL), asked(parts)
        assert wire.sent_now == []
        await wait_all_tasks_blocked()
        assert ids(wire.sent) == ids([large.message, small.message])
        wire.prompt = False
        waits = asked(parts)
        wire.prompt = True
        behind = asked(parts)
        await wait_all_tasks_blocked()
        assert ids(wire.sent[2:]) == ids([waits.message, behind.message])
        assert wire.sent_now == []
    after = asked(parts)
    assert not after.sent, "the connection is over"


async def test_what_comes_to_be_held_while_nothing_was_to_be_sent_is_held() -> None:
    parts, checks, exchange = sender()
    wire = Wire()
    async with sending(exchange, wire):
        checks.holding = True
        held = asked(parts)
        await wait_all_tasks_blocked()
        assert (wire.sent, held.sent, checks.held) == ([], False, 1)


async def test_nothing_is_written_at_once_while_it_is_held() -> None:
    parts, checks, exchange = sender()
    checks.holding = True
    wire = Wire(prompt=True)
    async with sending(exchange, wire):
        held = asked(parts)
        await wait_all_tasks_blocked()
        assert not held.sent
        assert wire.sent_now == []


async def test_what_can_not_be_sent_fails_at_once() -> None:  # G10
    parts, _, exchange = sender(takes_bytes=1_000)
    wire = Wire(prompt=True)
    async with sending(exchange, wire):
        large = asked(parts, 2_000)
        assert isinstance(large.failure, MessageTooLargeError)
    assert not large.sent
    assert wire.sent == wire.sent_now == []


async def test_a_request_of_which_a_part_was_written_when_the_connection_broke_was_cut() -> None:  # G4
    parts, _, exchange = sender()
    wire = Wire(prompt=True)
    async with sending(exchange, wire):
        whole = asked(parts)
        assert not exchange.sending
        wire.unfinished = True
        part = asked(parts)
        assert exchange.sending
    assert (part.sent, part.cut, whole.cut) == (True, True, False)
    assert not exchange.sending
    async with sending(exchange, wire):  # another connection: what the first one left is none of its business
        later = asked(parts)
        wire.unfinished = False
    assert not later.cut
