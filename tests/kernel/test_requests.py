"""What a session asks its kernel: queued once, known by its id until it is answered, failed when nobody can answer."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from kernel.kit import Parts, said
from trio_gateway import ConnectionLostError, KernelDiedError, KernelRestartedError, ProtocolError
from trio_gateway._kernel.outbox import Outbox
from trio_gateway._kernel.pending import PendingReply
from trio_gateway._protocol.loss import UNNUMBERED


@pytest.fixture
async def parts() -> AsyncGenerator[Parts]:
    async with trio.open_nursery() as nursery:
        yield Parts(nursery)
        nursery.cancel_scope.cancel()


def info(parts: Parts) -> PendingReply:
    return PendingReply(parts.requests.make("shell", "kernel_info_request", {}))


def info_reply(parent: str, content: object = None) -> Any:
    return said("kernel_info_reply", content, channel="shell", parent=parent, parent_type="kernel_info_request")


async def test_messages_are_the_sessions_and_each_has_an_id_of_its_own(parts: Parts) -> None:
    first, second = (parts.requests.make("shell", "kernel_info_request", {}) for _ in range(2))
    assert first.msg_id != second.msg_id
    assert (first.header.session, first.header.username) == ("s", "u")
    parts.requests.become("another")
    assert parts.requests.session_id == "another"
    assert parts.requests.make("shell", "kernel_info_request", {}).header.session == "another"


async def test_a_request_is_queued_and_its_answer_ends_it(parts: Parts) -> None:
    replies: list[object] = []

    async def ask() -> None:
        replies.append(await parts.requests.ask("shell", "kernel_info_request", {"who": "me"}))

    parts.status.opened()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert not parts.requests.waits, "it was not sent yet"
        sent = await parts.send_one()
        assert sent.content == {"who": "me"}
        assert parts.requests.waits
        parts.requests.pending[sent.msg_id].feed(info_reply(sent.msg_id, {"banner": "hello"}), UNNUMBERED)
    assert replies == [{"banner": "hello"}]
    assert parts.requests.unanswered() == []


async def test_a_reply_whose_content_cant_be_read_is_a_typed_error(parts: Parts) -> None:
    parts.status.opened()

    async def ask() -> None:
        with pytest.raises(ProtocolError, match="kernel-1: its kernel_info_reply came and can't be understood"):
            await parts.requests.ask("shell", "kernel_info_request", {})

    async with trio.open_nursery() as nursery:
        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        sent = await parts.send_one()
        parts.requests.pending[sent.msg_id].feed(info_reply(sent.msg_id, ["no object"]), UNNUMBERED)


@pytest.mark.parametrize("sent", [False, True])
async def test_a_caller_who_is_cancelled_leaves_nothing(parts: Parts, sent: bool) -> None:
    parts.status.opened()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(parts.requests.request, "shell", "kernel_info_request", {})
        await wait_all_tasks_blocked()
        if sent:
            await parts.send_one()
        nursery.cancel_scope.cancel()
    assert len(parts.requests.outbox) == 0, "withdrawn if it was not sent"
    assert parts.requests.unanswered() == []


async def test_a_caller_who_is_cancelled_already_asks_nothing(parts: Parts, monkeypatch: pytest.MonkeyPatch) -> None:
    """Not even for a moment: it could be sent before the cancellation is noticed."""
    put: list[object] = []
    monkeypatch.setattr(Outbox, "put", lambda _outbox, item: put.append(item))
    with trio.CancelScope() as scope:
        scope.cancel()
        await parts.requests.request("shell", "kernel_info_request", {})
    assert put == []


async def test_only_what_was_not_sent_can_be_withdrawn(parts: Parts) -> None:
    parts.status.opened()
    one, two = info(parts), info(parts)
    parts.requests.submit(one)
    await parts.send_one()
    parts.requests.submit(two)
    assert not parts.requests.withdraw(one)
    assert parts.requests.withdraw(two)
    assert len(parts.requests.outbox) == 0


async def test_nothing_is_asked_after_the_end(parts: Parts) -> None:
    parts.status.end(ConnectionLostError("gave up"))
    with pytest.raises(ConnectionLostError):
        parts.requests.submit(info(parts))
    with pytest.raises(ConnectionLostError):
        await parts.requests.send(parts.requests.make("shell", "comm_msg", {}))
    with pytest.raises(ConnectionLostError):
        await parts.requests.request("shell", "kernel_info_request", {})
    assert (len(parts.requests.outbox), parts.requests.unanswered()) == (0, [])


async def test_a_kernel_that_is_being_shut_down_is_asked_nothing(parts: Parts) -> None:
    parts.status.shutting_down = True
    with pytest.raises(KernelDiedError, match="shut down"):
        parts.requests.submit(info(parts))
    await parts.requests.send(parts.requests.make("stdin", "input_reply", {}))  # what runs may end
    assert len(parts.requests.outbox) == 1


async def test_the_sessions_own_questions_are_nobodys_wait(parts: Parts) -> None:
    parts.status.opened()
    question = info(parts)
    question.question = True
    parts.requests.submit(question)
    await parts.send_one()
    assert not parts.requests.waits
    assert parts.requests.unanswered() == [question]


async def test_code_of_which_nothing_was_heard_awaits_its_beginning(parts: Parts) -> None:
    parts.status.opened()
    pending = parts.execution()
    parts.requests.submit(pending)
    assert not parts.requests.awaits_beginning
    await parts.send_one()
    assert parts.requests.awaits_beginning
    pending.feed(said("status", {"execution_state": "busy"}, parent=pending.message.msg_id), UNNUMBERED)
    assert not parts.requests.awaits_beginning


async def test_a_replaced_process_fails_what_it_had_and_not_what_waits_for_its_successor(parts: Parts) -> None:
    parts.status.opened()
    had, waits = info(parts), info(parts)
    parts.requests.submit(had)
    await parts.send_one()
    parts.requests.submit(waits)
    parts.requests.fail_sent(KernelRestartedError("kernel-1", "why not"))
    assert isinstance(had.failure, KernelRestartedError)
    assert not waits.settled
    assert len(parts.requests.outbox) == 1


async def test_the_end_fails_everything_and_sends_nothing_more(parts: Parts) -> None:
    parts.status.opened()
    had, waits = info(parts), info(parts)
    parts.requests.submit(had)
    await parts.send_one()
    parts.requests.submit(waits)
    parts.requests.fail_all(ConnectionLostError("gave up"))
    assert all(isinstance(pending.failure, ConnectionLostError) for pending in (had, waits))
    assert len(parts.requests.outbox) == 0


async def test_output_may_be_missing_where_code_was_with_the_kernel_when_the_connection_broke(parts: Parts) -> None:  # G5
    parts.status.opened()
    ran, queued = parts.execution(), parts.execution()
    parts.requests.submit(ran)
    await parts.send_one()
    parts.requests.submit(queued)
    parts.requests.note_reconnected()
    await parts.send_one()
    for pending in (ran, queued):
        answer = {"status": "ok", "execution_count": 1}
        pending.feed(said("execute_reply", answer, channel="shell", parent=pending.message.msg_id), UNNUMBERED)
        pending.feed(said("status", {"execution_state": "idle"}, parent=pending.message.msg_id), UNNUMBERED)
    assert [gap.kind for gap in ran.result().output_gaps] == ["reconnected"]
    assert queued.result().output_gaps == ()


async def test_an_answer_to_a_request_for_input_is_noted_where_it_was_asked(autojump_clock: MockClock, parts: Parts) -> None:
    parts.status.opened()
    pending = parts.execution()
    parts.requests.submit(pending)
    await parts.send_one()
    await trio.sleep(7)
    parts.requests.note_input(parts.requests.make("stdin", "input_reply", {"value": "x"}))
    assert pending.input_sent is None, "nothing was asked for"
    pending.feed(said("input_request", {"prompt": "?"}, channel="stdin", parent=pending.message.msg_id), UNNUMBERED)
    parts.requests.note_input(parts.requests.make("stdin", "input_reply", {"value": "x"}))
    assert pending.input_sent == trio.current_time()


@pytest.mark.parametrize("meanwhile", ["nothing", "shut down", "settled"])
async def test_what_takes_anothers_place_is_sent_after_a_pause_when_there_is_a_process(
    autojump_clock: MockClock, parts: Parts, meanwhile: str
) -> None:
    ready = trio.Event()
    pending = info(parts)
    parts.requests.submit_again(pending, 3.0, ready.wait)
    assert parts.requests.unanswered() == [pending], "an answer to it would be its"
    await trio.sleep(10)
    assert len(parts.requests.outbox) == 0
    if meanwhile == "shut down":
        parts.status.shutting_down = True
    elif meanwhile == "settled":
        pending.settle()
    ready.set()
    await wait_all_tasks_blocked()
    assert len(parts.requests.outbox) == (meanwhile == "nothing")
    assert isinstance(pending.failure, KernelDiedError) == (meanwhile == "shut down")
    parts.status.shutting_down = False
    before = len(parts.requests.outbox)
    parts.requests.submit_again(info(parts), 3.0, ready.wait)
    await trio.sleep(2)
    assert len(parts.requests.outbox) == before
    await trio.sleep(2)
    assert len(parts.requests.outbox) == before + 1
