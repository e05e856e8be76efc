"""Requests that wait for their answer: settled once, and never left waiting for an `idle` that was lost."""

from __future__ import annotations

import json
import math
from collections.abc import Callable

import pytest
import trio
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trio_gateway._errors import GatewayInternalError, KernelDiedError, KernelRestartedError, SlowConsumerError
from trio_gateway._kernel.inbox import Inbox, WhenFull
from trio_gateway._kernel.pending import Pending, PendingExecution, PendingProbe, PendingReply
from trio_gateway._outputs import OutputGap, Stream
from trio_gateway._protocol.execution import Execution
from trio_gateway._protocol.loss import UNNUMBERED, MessageLedger
from trio_gateway._protocol.messages import Header, Message

GRACE = 5.0


def answer(kind: str, content: dict[str, object] | None = None, *, channel: str = "iopub", number: int | None = None) -> Message:
    """A message of the kernel's to our request; without a number its id says nothing about its place."""
    msg_id = "kernel-x" if number is None else f"kernel_{number}"
    header = json.dumps({"msg_id": msg_id, "msg_type": kind, "session": "kernel"}).encode()
    raw = json.dumps(content or {}).encode()
    return Message.from_wire(channel, header, b'{"msg_id":"ours_1","session":"ours"}', b"{}", raw, (), len(raw))


def status(state: str, number: int | None = None) -> Message:
    return answer("status", {"execution_state": state}, number=number)


def stream(text: str, number: int | None = None) -> Message:
    return answer("stream", {"name": "stdout", "text": text}, number=number)


def reply(number: int | None = None) -> Message:
    return answer("execute_reply", {"status": "ok", "execution_count": 1}, channel="shell", number=number)


class Kernel:
    """What the session's reader does for one execution: count each message and feed it."""

    def __init__(self, pending: PendingExecution, ledger: MessageLedger) -> None:
        self.pending = pending
        self.ledger = ledger

    def sends(self, *messages: Message) -> None:
        for message in messages:
            number = self.ledger.observe(message)
            self.pending.feed(message, number)


def execution(
    *, inbox: bool = False, keep: bool = True, when_full: WhenFull = "spool", limit_messages: float = math.inf
) -> tuple[PendingExecution, Kernel]:
    ledger = MessageLedger()
    pending = PendingExecution(
        Message("shell", Header("ours_1", "execute_request", "ours"), {"code": "…"}),
        Execution(keep=keep, limit_bytes=math.inf),
        idle_grace=GRACE,
        ledger=ledger,
        inbox=Inbox(limit_messages=limit_messages, limit_bytes=math.inf, when_full=when_full) if inbox else None,
    )
    return pending, Kernel(pending, ledger)


def request(channel: str = "shell") -> PendingReply:
    return PendingReply(Message(channel, Header("ours_1", "kernel_info_request", "ours")))


def probe() -> PendingProbe:
    return PendingProbe(Message("control", Header("ours_1", "kernel_info_request", "ours")))


async def after(seconds: float, act: Callable[..., object], *args: object) -> None:
    await trio.sleep(seconds)
    act(*args)


def text_of(message: Message | None) -> object:
    return None if message is None else message.content["text"]


# --- any request

KINDS: list[Callable[[], Pending]] = [request, probe, lambda: execution()[0], lambda: execution(inbox=True)[0]]


@pytest.mark.parametrize("make", KINDS)
async def test_a_new_request(make: Callable[[], Pending]) -> None:
    pending = make()
    assert (pending.sent, pending.settled, pending.replied, pending.failure) == (False, False, False, None)
    assert pending.message.msg_id == "ours_1"
    pending.connection = 1
    assert pending.sent


@pytest.mark.parametrize("make", KINDS)
async def test_a_request_fails_once(make: Callable[[], Pending]) -> None:
    pending = make()
    first = KernelDiedError("k", "it ended")
    pending.fail(first)
    pending.fail(KernelRestartedError("k", "again"))
    assert pending.settled
    assert pending.failure is first


@pytest.mark.parametrize("make", KINDS)
async def test_what_was_settled_does_not_fail(make: Callable[[], Pending]) -> None:
    pending = make()
    pending.settle()
    pending.settle()
    pending.fail(KernelDiedError("k", "it ended"))
    assert pending.failure is None


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.parametrize("how", ["settle", "fail"])
async def test_whoever_waits_is_woken(make: Callable[[], Pending], how: str, autojump_clock: MockClock) -> None:
    pending = make()
    act = pending.settle if how == "settle" else lambda: pending.fail(KernelDiedError("k", "it ended"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 3, act)
        await pending.wait_settled()
    assert trio.current_time() == 3
    with assert_checkpoints():
        await pending.wait_settled()


# --- a request for a reply


@pytest.mark.parametrize("channel", ["shell", "control"])
async def test_a_reply_settles(channel: str) -> None:
    pending = request(channel)
    other = "control" if channel == "shell" else "shell"
    for message in (
        status("busy"),
        answer("kernel_info_reply"),  # on iopub: not for us
        answer("kernel_info_reply", channel=other),
        answer("comm_msg", channel=channel),
        answer("kernel_info_reply_x", channel=channel),
        status("idle"),
    ):
        pending.feed(message, UNNUMBERED)
        assert not pending.settled
    expected = answer("kernel_info_reply", channel=channel)
    pending.feed(expected, UNNUMBERED)
    assert pending.settled
    assert pending.replied
    assert pending.reply is expected


async def test_a_failed_request_has_no_reply() -> None:
    pending = request()
    pending.fail(KernelDiedError("k", "it ended"))
    assert not pending.replied
    assert pending.reply is None


# --- a probe of a restarted kernel


@pytest.mark.parametrize("reply_first", [True, False])
async def test_a_probe_needs_a_reply_and_something_published(reply_first: bool) -> None:
    pending = probe()
    both = [answer("kernel_info_reply", channel="control"), status("busy")]
    first, second = both if reply_first else reversed(both)
    pending.feed(first, UNNUMBERED)
    pending.feed(answer("comm_msg", channel="shell"), UNNUMBERED)
    assert (pending.settled, pending.succeeded, pending.replied) == (False, False, reply_first)
    pending.feed(second, UNNUMBERED)
    assert (pending.settled, pending.succeeded, pending.replied) == (True, True, True)
    assert pending.reply is both[0]


async def test_what_is_published_is_no_reply_to_a_probe() -> None:
    pending = probe()
    for message in (answer("kernel_info_reply"), answer("shutdown_reply")):
        pending.feed(message, UNNUMBERED)
    assert (pending.settled, pending.succeeded, pending.reply) == (False, False, None)


async def test_a_probe_that_failed_did_not_succeed() -> None:
    pending = probe()
    pending.feed(status("busy"), UNNUMBERED)
    pending.fail(KernelDiedError("k", "it ended"))
    assert (pending.settled, pending.succeeded) == (True, False)


# --- an execution's end


async def test_it_ends_with_reply_and_idle(autojump_clock: MockClock) -> None:
    for last in (reply, lambda: status("idle")):
        pending, kernel = execution()
        first = status("idle") if last is reply else reply()
        kernel.sends(status("busy"), stream("a"), first)
        assert not pending.settled
        kernel.sends(last())
        assert pending.settled
        assert await pending.wait_answered()
        assert pending.result().outputs == (Stream("stdout", "a"),)
    assert trio.current_time() == 0


async def test_replied_says_whether_the_reply_is_there() -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"))
    assert not pending.replied
    kernel.sends(reply())
    assert pending.replied
    assert not pending.settled


async def test_a_failure_is_raised_to_each_who_asks() -> None:
    pending, _ = execution()
    pending.fail(KernelDiedError("k", "it ended"))
    raised = []
    for _ in range(2):
        with pytest.raises(KernelDiedError, match="it ended") as caught:
            pending.result()
        raised.append(caught.value)
    assert len({id(each) for each in (pending.failure, *raised)}) == 3


async def test_a_result_before_the_end_is_a_defect() -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"), reply())
    pending.settle()
    with pytest.raises(GatewayInternalError, match="settled before it had ended"):
        pending.result()


# --- the grace for idle, in virtual time


async def test_idle_may_be_as_late_as_the_grace(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 10, kernel.sends, reply())
        nursery.start_soon(after, 10 + GRACE - 0.001, kernel.sends, status("idle"))
        assert await pending.wait_answered()
    assert trio.current_time() == 10 + GRACE - 0.001


async def test_an_idle_that_never_comes_is_waited_for_no_longer(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 10, kernel.sends, reply())
        assert not await pending.wait_answered()
    assert trio.current_time() == 10 + GRACE
    assert not pending.settled


async def test_the_grace_is_from_the_reply_and_not_from_what_comes_after(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 10, kernel.sends, reply())
        nursery.start_soon(after, 10 + GRACE - 1, kernel.sends, stream("late"))
        assert not await pending.wait_answered()
    assert trio.current_time() == 10 + GRACE


async def test_a_reply_that_is_there_already_starts_the_grace_at_once(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"), reply())
    assert not await pending.wait_answered()
    assert trio.current_time() == GRACE


async def test_without_a_reply_there_is_no_limit(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"), stream("a"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 1_000_000, kernel.sends, reply(), status("idle"))
        assert await pending.wait_answered()
    assert trio.current_time() == 1_000_000


@pytest.mark.parametrize("at_once", [True, False])
async def test_a_request_that_took_its_place_has_a_grace_of_its_own(at_once: bool, autojump_clock: MockClock) -> None:
    def again(pending: PendingExecution) -> bool:
        pending.renew(Message("shell", Header("ours_1", "execute_request", "ours"), {"code": "…"}))
        return True

    pending, kernel = execution()
    pending.on_skipped = again
    answered: list[bool] = []

    async def wait() -> None:
        answered.append(await pending.wait_answered())

    begun = trio.current_time()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        kernel.sends(answer("execute_reply", {"status": "aborted"}, channel="shell"))
        if not at_once:
            await wait_all_tasks_blocked()
        kernel.sends(status("idle"))
        await trio.sleep(10 * GRACE)  # it runs
        assert not answered
        kernel.sends(reply())
        await trio.sleep(GRACE / 2)
        assert not answered
    assert trio.current_time() == pytest.approx(begun + 11 * GRACE)
    assert answered == [False]


async def test_a_failure_ends_the_grace(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"), reply())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 1, pending.fail, KernelDiedError("k", "it ended"))
        assert await pending.wait_answered()
    assert trio.current_time() == 1


async def test_waiting_after_the_end_is_only_a_checkpoint(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    kernel.sends(reply(), status("idle"))
    with assert_checkpoints():
        assert await pending.wait_answered()
    assert trio.current_time() == 0


async def test_the_callers_own_deadline_wins(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"), reply())
    with trio.move_on_after(GRACE - 1) as scope:
        await pending.wait_answered()
    assert scope.cancelled_caught
    assert trio.current_time() == GRACE - 1
    assert not pending.settled


async def test_a_message_after_the_grace_ran_out_is_still_taken(autojump_clock: MockClock) -> None:
    """The barrier gives `idle` a last chance: meanwhile nobody waits inside the scope of the grace."""
    pending, kernel = execution()
    kernel.sends(status("busy"), reply())
    assert not await pending.wait_answered()
    kernel.sends(stream("late"), status("idle"))
    assert pending.settled
    assert pending.result().outputs == (Stream("stdout", "late"),)


async def test_giving_up_idle_ends_it(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"), stream("a"), reply())
    pending.give_up_idle()
    assert pending.settled
    result = pending.result()
    assert (result.status, result.outputs) == ("ok", (Stream("stdout", "a"),))
    assert [(gap.kind, gap.count) for gap in result.output_gaps] == [("lost", None)]


async def test_giving_up_idle_without_a_reply_is_no_result() -> None:
    pending, kernel = execution()
    kernel.sends(status("busy"))
    pending.give_up_idle()
    with pytest.raises(GatewayInternalError):
        pending.result()


# --- what is missing


async def test_numbers_that_were_never_seen_are_told_where_messages_can_have_been_dropped() -> None:
    pending, kernel = execution()
    kernel.ledger.note_possible_drop()
    kernel.sends(
        status("busy", 1), answer("execute_input", number=2), stream("a", 3), stream("d", 6), reply(7), status("idle", 8)
    )
    assert [(gap.kind, gap.count) for gap in pending.result().output_gaps] == [("lost", 2)]


async def test_numbers_that_were_never_seen_are_no_loss_where_nothing_can_drop() -> None:
    pending, kernel = execution()
    kernel.sends(
        status("busy", 1), answer("execute_input", number=2), stream("a", 3), stream("d", 6), reply(7), status("idle", 8)
    )
    assert pending.result().output_gaps == ()


async def test_nothing_is_told_when_nothing_is_missing() -> None:
    pending, kernel = execution()
    pending.execution.note_gap(OutputGap("reconnected", None, "the connection broke"))
    kernel.sends(status("busy", 1), answer("execute_input", number=2), stream("a", 3), reply(4), status("idle", 5))
    assert pending.result().output_gaps == ()


async def test_a_silent_request_has_no_echo_of_its_input() -> None:
    for silent, missing in ((True, 1), (False, 0)):
        ledger = MessageLedger()
        pending = PendingExecution(
            Message("shell", Header("ours_1", "execute_request", "ours")),
            Execution(keep=True, limit_bytes=math.inf),
            idle_grace=GRACE,
            ledger=ledger,
            silent=silent,
        )
        ledger.note_possible_drop()
        Kernel(pending, ledger).sends(status("busy", 1), stream("b", 3), reply(4), status("idle", 5))
        assert sum(gap.count or 0 for gap in pending.result().output_gaps) == missing


async def test_the_ledger_is_left_once() -> None:
    """Each execution opens it and closes it, whatever becomes of the execution; then it forgets what was before."""
    ledger = MessageLedger()

    def another() -> PendingExecution:
        message = Message("shell", Header("ours_1", "execute_request", "ours"))
        return PendingExecution(message, Execution(keep=True, limit_bytes=1), idle_grace=GRACE, ledger=ledger)

    first, second = another(), another()
    assert ledger._open == 2
    first.fail(KernelDiedError("k", "it ended"))
    first.settle()
    first.fail(KernelDiedError("k", "it ended"))
    assert ledger._open == 1
    Kernel(second, ledger).sends(reply(), status("idle"), stream("late"))
    second.settle()
    assert ledger._open == 0


# --- outputs as they come


async def test_outputs_go_to_the_inbox_and_nothing_else_does(autojump_clock: MockClock) -> None:
    pending, kernel = execution(inbox=True, keep=False)
    kernel.sends(
        status("busy"),
        answer("execute_input"),
        stream("a"),
        answer("comm_msg"),
        answer("input_request", {"prompt": "?"}, channel="stdin"),
        answer("display_data"),
        reply(),
        status("idle"),
    )
    kinds = []
    with pytest.raises(trio.EndOfChannel):
        while True:
            message = await pending.next_output()
            assert message is not None
            kinds.append(message.msg_type)
    assert kinds == ["stream", "input_request", "display_data"]
    assert pending.result().outputs == ()
    assert trio.current_time() == 0


async def test_an_output_is_waited_for(autojump_clock: MockClock) -> None:
    pending, kernel = execution(inbox=True)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 1000, kernel.sends, status("busy"), stream("a"))
        assert text_of(await pending.next_output()) == "a"
    assert trio.current_time() == 1000


async def test_without_idle_an_iteration_is_told_in_time(autojump_clock: MockClock) -> None:
    pending, kernel = execution(inbox=True)
    kernel.sends(status("busy"))
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 10, kernel.sends, reply())
        assert await pending.next_output() is None
    assert trio.current_time() == 10 + GRACE
    assert await pending.next_output() is None  # asked again, it waits again
    assert trio.current_time() == 10 + 2 * GRACE
    pending.give_up_idle()
    with pytest.raises(trio.EndOfChannel):
        await pending.next_output()


async def test_outputs_that_are_there_are_given_before_anything_is_overdue(autojump_clock: MockClock) -> None:
    pending, kernel = execution(inbox=True)
    kernel.sends(status("busy"), stream("a"), stream("b"), reply())
    assert [text_of(await pending.next_output()) for _ in range(2)] == ["a", "b"]
    assert trio.current_time() == 0
    assert await pending.next_output() is None
    assert trio.current_time() == GRACE


async def test_a_slow_reader_finds_idle_in_time(autojump_clock: MockClock) -> None:
    """The reader was away for longer than the grace; what it missed is no loss."""
    pending, kernel = execution(inbox=True)
    kernel.sends(status("busy"), stream("a"))
    assert text_of(await pending.next_output()) == "a"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(after, 1, kernel.sends, reply())
        nursery.start_soon(after, 2, kernel.sends, stream("b"), status("idle"))
        await trio.sleep(3 * GRACE)
    assert text_of(await pending.next_output()) == "b"
    with pytest.raises(trio.EndOfChannel):
        await pending.next_output()


async def test_a_failure_comes_after_the_outputs() -> None:
    pending, kernel = execution(inbox=True)
    kernel.sends(status("busy"), stream("a"))
    pending.fail(KernelDiedError("k", "it ended"))
    kernel.sends(stream("too late"))
    assert text_of(await pending.next_output()) == "a"
    with pytest.raises(KernelDiedError):
        await pending.next_output()


async def test_cancelling_a_reader_loses_no_output(autojump_clock: MockClock) -> None:
    pending, kernel = execution(inbox=True)
    kernel.sends(status("busy"))
    with trio.move_on_after(1) as scope:
        await pending.next_output()
    assert scope.cancelled_caught
    kernel.sends(stream("a"))
    with trio.CancelScope() as scope:
        scope.cancel()
        await pending.next_output()
    assert scope.cancelled_caught
    assert text_of(await pending.next_output()) == "a"


async def test_a_reader_that_is_cancelled_while_idle_is_overdue_is_cancelled(autojump_clock: MockClock) -> None:
    pending, kernel = execution(inbox=True)
    kernel.sends(status("busy"), reply())
    with trio.move_on_after(GRACE) as scope:  # both run out at once
        await pending.next_output()
        await trio.sleep_forever()
    assert scope.cancelled_caught
    assert trio.current_time() == GRACE


async def test_outputs_that_were_dropped_are_a_gap() -> None:
    pending, kernel = execution(inbox=True, keep=False, when_full="drop_oldest", limit_messages=2)
    kernel.sends(status("busy"), *map(stream, "abcde"), reply(), status("idle"))
    assert [text_of(await pending.next_output()) for _ in range(2)] == ["d", "e"]
    (gap,) = pending.result().output_gaps
    assert (gap.kind, gap.count) == ("overflow", 3)
    assert "drop_oldest" in gap.detail


async def test_a_reader_that_chose_to_fail_does_and_the_execution_goes_on() -> None:
    pending, kernel = execution(inbox=True, keep=False, when_full="fail", limit_messages=2)
    kernel.sends(status("busy"), *map(stream, "abc"))
    assert [text_of(await pending.next_output()) for _ in range(2)] == ["a", "b"]
    with pytest.raises(SlowConsumerError):
        await pending.next_output()
    assert not pending.settled
    kernel.sends(reply(), status("idle"))
    assert pending.result().status == "ok"


# --- its beginning


async def test_waiting_for_the_beginning(autojump_clock: MockClock) -> None:
    for first in (status("busy"), stream("a"), reply()):
        pending, kernel = execution()
        start = trio.current_time()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(pending.wait_started)
            nursery.start_soon(pending.wait_started)
            await wait_all_tasks_blocked()
            nursery.start_soon(after, 3, kernel.sends, answer("comm_msg"))
            nursery.start_soon(after, 5, kernel.sends, first)
        assert trio.current_time() == start + 5
        with assert_checkpoints():
            await pending.wait_started()


async def test_what_never_begins_is_waited_for_until_it_is_settled(autojump_clock: MockClock) -> None:
    pending, _ = execution()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(pending.wait_started)
        nursery.start_soon(after, 3, pending.fail, KernelDiedError("k", "it ended"))
    assert trio.current_time() == 3
    with assert_checkpoints():
        await pending.wait_started()
    settled, _ = execution()
    settled.settle()
    with assert_checkpoints():
        await settled.wait_started()


async def test_waiting_for_the_beginning_can_be_cancelled(autojump_clock: MockClock) -> None:
    pending, kernel = execution()
    with trio.move_on_after(1) as scope:
        await pending.wait_started()
    assert scope.cancelled_caught
    kernel.sends(status("busy"))
    await pending.wait_started()
