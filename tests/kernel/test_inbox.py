"""The buffer between a connection's reader and a consumer: bounded, in order, and nothing lost that was not chosen to be."""

from __future__ import annotations

import errno
import itertools
import math
import tracemalloc
from collections import deque
from collections.abc import Iterator
from typing import Any

import attrs
import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock, assert_checkpoints, wait_all_tasks_blocked

from trio_gateway._errors import GatewayError, KernelDiedError, SlowConsumerError
from trio_gateway._kernel import inbox as inbox_module
from trio_gateway._kernel.inbox import FAIRNESS, Inbox, InboxStatistics, WhenFull
from trio_gateway._kernel.spool import Spool
from trio_gateway._protocol.messages import Header, Message


def message(number: int = 0, text: str = "", *, buffers: tuple[bytes, ...] = ()) -> Message:
    return Message("iopub", Header(f"{number:06}", "stream"), {"name": "stdout", "text": text}, buffers=buffers)


SIZE = message().size
"""The size of one small message; all numbers below a million make the same."""


@pytest.fixture
def inboxes() -> Iterator[Any]:
    """Makes inboxes and discards them: a temporary file that stays open is a warning, so an error."""
    made: list[Inbox] = []

    def make(limit_messages: float = math.inf, limit_bytes: float = math.inf, when_full: WhenFull = "spool") -> Inbox:
        made.append(Inbox(limit_messages=limit_messages, limit_bytes=limit_bytes, when_full=when_full))
        return made[-1]

    yield make
    for each in made:
        each.discard()


async def take_all(inbox: Inbox) -> list[int]:
    """Whatever is there, without waiting for more."""
    taken = []
    while inbox.ready:
        taken.append(int((await inbox.get()).msg_id))
    return taken


# --- within the bounds


async def test_messages_come_out_as_and_in_the_order_they_went_in(inboxes: Any) -> None:
    inbox = inboxes()
    messages = [message(number) for number in range(5)]
    for each in messages:
        inbox.put(each)
    assert [await inbox.get() for _ in messages] == messages
    assert not inbox.ready


async def test_a_consumer_waits_for_a_message(inboxes: Any, autojump_clock: MockClock) -> None:
    inbox = inboxes()

    async def put_later() -> None:
        await trio.sleep(3)
        inbox.put(message(1))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put_later)
        assert (await inbox.get()).msg_id == "000001"
    assert trio.current_time() == 3


def test_statistics(inboxes: Any) -> None:
    inbox = inboxes(2, math.inf)
    assert inbox.statistics() == InboxStatistics(0, 0, 0, 0, 0, 0, 0, 0.0)
    for number in range(5):
        inbox.put(message(number))
    assert inbox.statistics() == InboxStatistics(2, 2 * SIZE, 3, 2, 2 * SIZE, 5, 0, 0.0)
    inbox.take()
    assert inbox.statistics() == InboxStatistics(1, SIZE, 3, 2, 2 * SIZE, 5, 0, 0.0)
    for _ in range(4):
        inbox.take()
    assert inbox.statistics() == InboxStatistics(0, 0, 0, 2, 2 * SIZE, 5, 0, 0.0)
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        inbox.statistics().messages = 3


def test_ready_says_whether_get_would_return_at_once(inboxes: Any) -> None:
    inbox = inboxes(1)
    assert not inbox.ready
    inbox.put(message())
    assert inbox.ready  # in memory
    inbox.put(message())
    inbox.take()
    assert inbox.ready  # in the file
    inbox.take()
    assert not inbox.ready


# --- spool: the default


@pytest.mark.parametrize(
    ("limit_messages", "limit_bytes", "in_memory"),
    [
        (3, math.inf, 3),
        (math.inf, 3 * SIZE, 3),
        (math.inf, 3 * SIZE + SIZE - 1, 3),
        (5, 2 * SIZE, 2),
        (2, 5 * SIZE, 2),
        (0, math.inf, 0),
        (math.inf, SIZE - 1, 0),
        (10, 10 * SIZE, 10),
    ],
)
async def test_what_exceeds_a_bound_waits_in_a_file(
    inboxes: Any, limit_messages: float, limit_bytes: float, in_memory: int
) -> None:
    inbox = inboxes(limit_messages, limit_bytes)
    for number in range(10):
        inbox.put(message(number))
    statistics = inbox.statistics()
    assert (statistics.messages, statistics.spooled) == (in_memory, 10 - in_memory)
    assert statistics.peak_memory_bytes == in_memory * SIZE
    assert await take_all(inbox) == list(range(10))


async def test_a_message_larger_than_the_bound_goes_through_the_file(inboxes: Any) -> None:
    inbox = inboxes(100, 10 * SIZE)
    inbox.put(message(0))
    inbox.put(message(1, "x" * 100_000))
    inbox.put(message(2))
    assert inbox.statistics().spooled == 2  # the third too, or it would overtake
    large = [await inbox.get() for _ in range(3)][1]
    assert large.content["text"] == "x" * 100_000
    inbox.put(message(3))
    assert (inbox.statistics().messages, inbox.statistics().spooled) == (1, 0)


async def test_memory_is_used_again_only_when_the_file_is_read(inboxes: Any) -> None:
    inbox = inboxes(2)
    for number in range(4):
        inbox.put(message(number))
    assert [int((await inbox.get()).msg_id) for _ in range(3)] == [0, 1, 2]
    inbox.put(message(4))  # there is room in memory, and an older one in the file
    assert (inbox.statistics().messages, inbox.statistics().spooled) == (0, 2)
    assert await take_all(inbox) == [3, 4]
    inbox.put(message(5))
    assert (inbox.statistics().messages, inbox.statistics().spooled) == (1, 0)


@given(st.lists(st.none() | st.integers(0, 300), max_size=60), st.integers(0, 4), st.integers(0, 4 * SIZE))
def test_any_interleaving_keeps_the_order(steps: list[int | None], limit_messages: int, limit_bytes: int) -> None:
    """A number is a message with a text of that length; None reads one."""
    inbox = Inbox(limit_messages=limit_messages, limit_bytes=limit_bytes)
    expected: deque[Message] = deque()
    for number, step in enumerate(steps):
        if step is not None:
            expected.append(message(number, "x" * step, buffers=(b"b" * (step % 5),) * (step % 3)))
            inbox.put(expected[-1])
        elif expected:
            assert inbox.take() == expected.popleft()
        assert inbox.ready == bool(expected)
        statistics = inbox.statistics()
        assert statistics.messages + statistics.spooled == len(expected)
        assert statistics.messages <= limit_messages
        assert statistics.memory_bytes <= limit_bytes
    while expected:
        assert inbox.take() == expected.popleft()
    assert inbox.statistics().memory_bytes == 0
    inbox.discard()


async def test_buffers_survive_the_file(inboxes: Any) -> None:
    inbox = inboxes(0)
    original = message(1, "é", buffers=(b"", b"\x00\xff" * 100, b"x"))
    inbox.put(original)
    assert await inbox.get() == original


async def test_odd_content_survives_the_file(inboxes: Any) -> None:
    inbox = inboxes(0)
    odd = Message.from_wire(
        "späti", b'{"msg_id":"m","msg_type":"t","x":NaN}', b'{"msg_id":"\\ud800"}', b"not JSON", b"\xff", (memoryview(b"x"),), 99
    )
    inbox.put(odd)
    back = await inbox.get()
    assert (back.channel, back.header, back.parent_id, back.buffers) == ("späti", odd.header, "\ud800", (b"x",))
    assert (bytes(back.header_raw), bytes(back.metadata_raw), bytes(back.content_raw)) == (odd.header_raw, b"not JSON", b"\xff")


async def test_memory_is_really_bounded(inboxes: Any) -> None:
    limit = 1024**2
    inbox = inboxes(math.inf, limit)
    text = "x" * 50_000
    tracemalloc.start()
    try:
        for number in range(400):  # 20 MB
            inbox.put(message(number, text))
        held, _ = tracemalloc.get_traced_memory()
        assert held < 1.5 * limit
        tracemalloc.reset_peak()
        assert await take_all(inbox) == list(range(400))
        _, peak = tracemalloc.get_traced_memory()
        assert peak < 2 * limit
    finally:
        tracemalloc.stop()


# --- closing


async def test_a_closed_inbox_gives_what_is_in_it_and_then_the_end(inboxes: Any) -> None:
    inbox = inboxes(1)
    for number in range(3):
        inbox.put(message(number))
    inbox.close()
    inbox.put(message(99))  # dropped
    assert inbox.statistics().received == 3
    assert await take_all(inbox) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(trio.EndOfChannel):
            await inbox.get()


async def test_a_failure_comes_after_what_was_in_it(inboxes: Any) -> None:
    inbox = inboxes(1)
    for number in range(3):
        inbox.put(message(number))
    inbox.close(KernelDiedError("k", "it ended"))
    inbox.close()  # changes nothing
    inbox.close(ValueError("another"))
    assert await take_all(inbox) == [0, 1, 2]
    for _ in range(2):
        with pytest.raises(KernelDiedError, match="it ended"):
            await inbox.get()


async def test_an_end_is_not_turned_into_a_failure(inboxes: Any) -> None:
    inbox = inboxes()
    inbox.close()
    inbox.close(KernelDiedError("k", "it ended"))
    with pytest.raises(trio.EndOfChannel):
        await inbox.get()


async def test_each_consumer_gets_a_failure_of_its_own(inboxes: Any) -> None:
    """One failure ends many inboxes: a traceback and a context of one task would show in the others."""
    inbox = inboxes()
    failure = KernelDiedError("k", "it ended")
    failure.__cause__ = cause = OSError("reset")
    inbox.close(failure)
    raised = []
    for _ in range(2):
        with pytest.raises(KernelDiedError) as caught:
            await inbox.get()
        raised.append(caught.value)
    assert len({id(each) for each in (failure, *raised)}) == 3
    assert failure.__traceback__ is None
    assert [each.__cause__ for each in raised] == [cause, cause]


@pytest.mark.parametrize("how", ["close", "fail", "discard"])
async def test_whoever_waits_is_woken_by_the_end(inboxes: Any, how: str) -> None:
    inbox = inboxes()
    ends: list[type[BaseException]] = []

    async def consume() -> None:
        try:
            await inbox.get()
        except (trio.EndOfChannel, GatewayError) as error:
            ends.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume)
        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        {"close": inbox.close, "fail": lambda: inbox.close(KernelDiedError("k", "it ended")), "discard": inbox.discard}[how]()
    assert ends == ([KernelDiedError] * 2 if how == "fail" else [trio.EndOfChannel] * 2)


# --- discarding


async def test_discarding_forgets_everything(inboxes: Any) -> None:
    inbox = inboxes(2)
    for number in range(5):
        inbox.put(message(number))
    inbox.discard()
    statistics = inbox.statistics()
    assert (statistics.messages, statistics.memory_bytes, statistics.spooled) == (0, 0, 0)
    assert not inbox.ready
    inbox.put(message(6))
    assert not inbox.ready
    with pytest.raises(trio.EndOfChannel):
        await inbox.get()
    inbox.discard()


def test_discarding_closes_the_files(monkeypatch: pytest.MonkeyPatch) -> None:
    closed = []
    monkeypatch.setattr(Spool, "close", lambda spool, close=Spool.close: (closed.append(len(spool)), close(spool)))
    inbox = Inbox(limit_messages=2, limit_bytes=math.inf)
    for number in range(5):
        inbox.put(message(number))
    inbox.discard()
    assert closed == [3]


async def test_discarding_after_a_failure_keeps_the_failure(inboxes: Any) -> None:
    inbox = inboxes()
    inbox.close(KernelDiedError("k", "it ended"))
    inbox.discard()
    with pytest.raises(KernelDiedError):
        await inbox.get()


# --- tasks


async def test_get_lets_others_run(inboxes: Any) -> None:
    """A consumer of a full inbox would never let go otherwise: the reader, and the ping, are other tasks."""
    inbox = inboxes(50)
    for number in range(1000):
        inbox.put(message(number))
    turns: list[int] = []
    taken = 0

    async def other() -> None:
        while taken < 1000:
            turns.append(taken)
            await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        while inbox.ready:
            assert int((await inbox.get()).msg_id) == taken
            taken += 1
    # Within one round of the scheduler either may come first, so two of its turns may be next to each other.
    assert max(b - a for a, b in itertools.pairwise(turns)) <= 2 * 64
    assert len(turns) >= 1000 // (2 * 64)


async def test_a_message_that_is_there_costs_no_turn(inboxes: Any) -> None:
    inbox = inboxes()
    for number in range(63):
        inbox.put(message(number))
    turns = 0

    async def other() -> None:
        nonlocal turns
        turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await take_all(inbox)
        assert turns == 0


async def test_the_end_costs_no_turn_but_one_who_asks_for_it_again_and_again_lets_others_run(inboxes: Any) -> None:
    inbox = inboxes()
    inbox.close()
    turns = []

    async def other() -> None:
        turns.append(1)

    async def ask(times: int) -> None:
        for _ in range(times):
            with pytest.raises(trio.EndOfChannel):
                await inbox.get()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(other)
        await ask(FAIRNESS - 1)
        assert not turns
        await ask(1 + FAIRNESS)  # of two tasks that are ready at the same time, either may be first
        assert turns


async def test_the_end_can_be_cancelled(inboxes: Any) -> None:
    inbox = inboxes()
    inbox.close()
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.get()
    assert scope.cancelled_caught


async def test_one_who_waits_for_anything_is_woken_by_it(inboxes: Any) -> None:
    inbox = inboxes()
    happens = {"a message": lambda: inbox.put(message(1)), "a call": inbox.wake, "the end": inbox.close}
    for name, happen in happens.items():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(inbox.wait_woken)
            await wait_all_tasks_blocked()
            assert inbox.waits
            happen()
            await wait_all_tasks_blocked()
            assert not nursery.child_tasks, name
        if inbox.ready:
            assert not inbox.waits
            await inbox.get()
        assert inbox.waits == (name != "the end")


@pytest.mark.parametrize("count", [1, 64, 100])
async def test_cancellation_loses_nothing(inboxes: Any, count: int) -> None:
    inbox = inboxes(2)
    for number in range(count):
        inbox.put(message(number))
    taken = []
    with trio.CancelScope() as scope:
        scope.cancel()
        await inbox.get()
    assert scope.cancelled_caught
    for _ in range(count):  # cancelled before every one of them, where the fairness checkpoint is too
        with trio.CancelScope() as scope:
            scope.cancel()
            await inbox.get()
        assert scope.cancelled_caught
        taken.append(int((await inbox.get()).msg_id))
    assert taken == list(range(count))


async def test_cancelling_a_consumer_that_waits_loses_nothing(inboxes: Any) -> None:
    inbox = inboxes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.get)
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
        inbox.put(message(1))
    assert (await inbox.get()).msg_id == "000001"


async def test_a_consumer_that_is_woken_and_cancelled_at_once_leaves_the_message(inboxes: Any) -> None:
    inbox = inboxes()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.get)
        await wait_all_tasks_blocked()
        inbox.put(message(1))  # wakes it
        nursery.cancel_scope.cancel()  # before it runs
    assert await take_all(inbox) == [1]


async def test_several_consumers_share_the_messages(inboxes: Any) -> None:
    inbox = inboxes(3)
    taken: list[int] = []

    async def consume() -> None:
        with pytest.raises(trio.EndOfChannel):
            while True:
                taken.append(int((await inbox.get()).msg_id))

    async with trio.open_nursery() as nursery:
        for _ in range(3):
            nursery.start_soon(consume)
        for number in range(10):
            inbox.put(message(number))
            if number % 4 == 0:
                await wait_all_tasks_blocked()
        await wait_all_tasks_blocked()
        assert sorted(taken) == list(range(10)), "nobody waits while there is a message"
        inbox.close()


async def test_what_another_took_while_one_let_others_run_is_not_taken_twice(inboxes: Any) -> None:
    inbox = inboxes()
    for number in range(64):
        inbox.put(message(number))
    taken = [(await inbox.get()).msg_id for _ in range(63)]

    async def second() -> None:
        taken.append((await inbox.get()).msg_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(second)
        with trio.move_on_after(0) as scope:  # lets the second run first: it is its 64th
            await inbox.get()
            taken.append("taken twice, or the second got nothing")
        if not scope.cancelled_caught:
            nursery.cancel_scope.cancel()
    assert taken[63:] == ["000063"]


async def test_a_message_is_passed_on_when_the_one_who_was_woken_for_it_is_cancelled(inboxes: Any) -> None:
    inbox = inboxes()
    taken: list[str] = []
    scope = trio.CancelScope()

    async def first() -> None:
        with scope:
            await inbox.get()

    async def second() -> None:
        taken.append((await inbox.get()).msg_id)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(first)
        await wait_all_tasks_blocked()
        nursery.start_soon(second)
        await wait_all_tasks_blocked()
        inbox.put(message(1))  # wakes the first
        scope.cancel()
        await wait_all_tasks_blocked()
        assert taken == ["000001"]


# --- drop_oldest


async def test_the_oldest_are_dropped_and_counted(inboxes: Any) -> None:
    inbox = inboxes(3, math.inf, "drop_oldest")
    for number in range(10):
        inbox.put(message(number))
    assert inbox.statistics() == InboxStatistics(3, 3 * SIZE, 0, 3, 3 * SIZE, 10, dropped=7)
    assert inbox.dropped == 7
    assert await take_all(inbox) == [7, 8, 9]
    inbox.put(message(10))
    assert inbox.dropped == 7
    assert await take_all(inbox) == [10]


async def test_as_many_are_dropped_as_a_large_one_needs(inboxes: Any) -> None:
    inbox = inboxes(math.inf, 4 * SIZE, "drop_oldest")
    for number in range(4):
        inbox.put(message(number))
    large = message(4, "x" * (SIZE // 2))
    inbox.put(large)
    assert inbox.dropped == 2
    assert inbox.statistics().memory_bytes == 2 * SIZE + large.size
    assert await take_all(inbox) == [2, 3, 4]


async def test_one_message_is_kept_whatever_its_size(inboxes: Any) -> None:
    inbox = inboxes(math.inf, 4 * SIZE, "drop_oldest")
    inbox.put(message(0))
    inbox.put(message(1, "x" * 10 * SIZE))
    assert (inbox.dropped, inbox.statistics().messages) == (1, 1)
    inbox.put(message(2))
    assert await take_all(inbox) == [2]
    empty = inboxes(0, math.inf, "drop_oldest")
    for number in range(3):
        empty.put(message(number))
    assert await take_all(empty) == [2]
    assert empty.dropped == 2


# --- fail


async def test_a_consumer_may_choose_to_fail(inboxes: Any) -> None:
    inbox = inboxes(2, 1000, "fail")
    for number in range(5):
        inbox.put(message(number))
    assert await take_all(inbox) == [0, 1]
    with pytest.raises(SlowConsumerError) as caught:
        await inbox.get()
    assert (caught.value.limit_messages, caught.value.limit_bytes, caught.value.detail) == (2, 1000, "")
    assert inbox.statistics().received == 3  # then it was closed


async def test_whoever_waits_is_told_of_a_message_that_fits_nowhere(inboxes: Any) -> None:
    inbox = inboxes(10, SIZE - 1, "fail")
    async with trio.open_nursery() as nursery:

        async def consume() -> None:
            with pytest.raises(SlowConsumerError):
                await inbox.get()

        nursery.start_soon(consume)
        await wait_all_tasks_blocked()
        inbox.put(message())


# --- pause


@pytest.mark.parametrize(("limit_messages", "limit_bytes"), [(3, math.inf), (math.inf, 3 * SIZE), (math.inf, 2 * SIZE + 1)])
async def test_the_reader_may_be_asked_to_wait(
    inboxes: Any, autojump_clock: MockClock, limit_messages: float, limit_bytes: float
) -> None:
    await trio.sleep(100)
    inbox = inboxes(limit_messages, limit_bytes, "pause")
    for number in range(3):
        assert not inbox.full
        inbox.put(message(number))
    assert inbox.full

    async def consume_later() -> None:
        await trio.sleep(7)
        assert (await inbox.get()).msg_id == "000000"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(consume_later)
        await inbox.wait_room()
    assert trio.current_time() == 107
    assert not inbox.full
    assert inbox.statistics().blocked_seconds == 7
    inbox.put(message(3))
    inbox.put(message(4))  # one that comes all the same is kept
    assert await take_all(inbox) == [1, 2, 3, 4]
    assert inbox.statistics().spooled == 0


async def test_waiting_for_room_that_is_there_is_only_a_checkpoint(inboxes: Any, autojump_clock: MockClock) -> None:
    inbox = inboxes(1, math.inf, "pause")
    with assert_checkpoints():
        await inbox.wait_room()
    assert inbox.statistics().blocked_seconds == 0


async def test_waiting_goes_on_while_a_large_message_fills_it(inboxes: Any, autojump_clock: MockClock) -> None:
    inbox = inboxes(math.inf, SIZE, "pause")
    inbox.put(message(0))
    inbox.put(message(1, "x" * 10 * SIZE))
    finished = trio.Event()

    async def wait() -> None:
        await inbox.wait_room()
        finished.set()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        await trio.sleep(1)
        await inbox.get()
        await trio.sleep(1)
        assert not finished.is_set()
        await inbox.get()
    assert inbox.statistics().blocked_seconds == 2


@pytest.mark.parametrize("how", ["close", "discard"])
async def test_the_reader_goes_on_when_nobody_reads_any_more(inboxes: Any, how: str) -> None:
    inbox = inboxes(1, math.inf, "pause")
    inbox.put(message())
    async with trio.open_nursery() as nursery:
        nursery.start_soon(inbox.wait_room)
        await wait_all_tasks_blocked()
        getattr(inbox, how)()
    assert not inbox.full


async def test_a_reader_that_is_cancelled_while_it_waits_is_accounted_for(inboxes: Any, autojump_clock: MockClock) -> None:
    inbox = inboxes(1, math.inf, "pause")
    inbox.put(message())
    with trio.move_on_after(5):
        await inbox.wait_room()
    assert inbox.statistics().blocked_seconds == 5
    assert inbox.full


@pytest.mark.parametrize("when_full", ["spool", "drop_oldest", "fail"])
def test_only_pause_asks_the_reader_to_wait(inboxes: Any, when_full: WhenFull) -> None:
    inbox = inboxes(1, math.inf, when_full)
    for number in range(3):
        inbox.put(message(number))
        assert not inbox.full


# --- a disk that is full or gone


async def test_what_fits_on_no_disk_fails_the_consumer_after_what_it_has(inboxes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbox_module, "SPOOL_BYTES", 4 * SIZE)
    inbox = inboxes(2)
    for number in range(10):
        inbox.put(message(number))
    received = inbox.statistics().received
    taken = await take_all(inbox)
    assert taken == list(range(len(taken)))
    assert 3 <= len(taken) < 6
    assert received == len(taken) + 1
    with pytest.raises(SlowConsumerError, match="more can't be written to a temporary file") as caught:
        await inbox.get()
    assert isinstance(caught.value.__cause__, OSError)
    assert caught.value.__cause__.errno == errno.EFBIG
    assert (caught.value.limit_messages, caught.value.limit_bytes) == (2, math.inf)


async def test_a_long_life_is_no_backlog(inboxes: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A consumer that is always a little behind may be so for ever: what counts is what waits."""
    monkeypatch.setattr(inbox_module, "SPOOL_BYTES", 10 * SIZE)
    inbox = inboxes(1)
    for number in range(3):
        inbox.put(message(number))
    for number in range(3, 200):
        inbox.put(message(number))
        assert int((await inbox.get()).msg_id) == number - 3


async def test_a_file_that_cant_be_read_back_fails_the_consumer(inboxes: Any) -> None:
    inbox = inboxes(1)
    for number in range(3):
        inbox.put(message(number))
    inbox._spool._segments[0].file.truncate(10)
    await inbox.get()
    for _ in range(2):
        with pytest.raises(SlowConsumerError, match="can't be read back") as caught:
            await inbox.get()
        assert isinstance(caught.value.__cause__, OSError)
    assert inbox.statistics().spooled == 0


# --- taking what is ready


async def test_ready_messages_are_taken_up_to_a_number_of_bytes(inboxes: Any) -> None:
    """From memory and from the file; one is taken whatever its size."""
    inbox = inboxes(2)
    for number in range(5):
        inbox.put(message(number))
    assert [int(each.msg_id) for each in inbox.take_ready(2 * SIZE + 1)] == [0, 1, 2]
    assert [int(each.msg_id) for each in inbox.take_ready(0)] == [3]
    assert [int(each.msg_id) for each in inbox.take_ready(math.inf)] == [4]
    assert list(inbox.take_ready(math.inf)) == []


async def test_taking_stops_before_a_type_of_message(inboxes: Any) -> None:
    """Also at the file, for of what lies there the type is not known."""
    inbox = inboxes(3)
    inbox.put(message(0))
    inbox.put(Message("stdin", Header("000001", "input_request"), {"prompt": "", "password": False}))
    inbox.put(message(2))
    inbox.put(message(3))
    assert [int(each.msg_id) for each in inbox.take_ready(math.inf, stop_before="input_request")] == [0]
    assert (await inbox.get()).msg_type == "input_request"
    assert [int(each.msg_id) for each in inbox.take_ready(math.inf, stop_before="input_request")] == [2]
    assert [int(each.msg_id) for each in inbox.take_ready(math.inf)] == [3]


@pytest.mark.parametrize("ended", [False, True])
async def test_g5_what_was_taken_before_a_file_that_cant_be_read_is_given(inboxes: Any, ended: bool) -> None:
    """The error comes in its turn, also where the end was to come next."""
    inbox = inboxes(1)
    for number in range(3):
        inbox.put(message(number))
    if ended:
        inbox.close()
    inbox._spool._segments[0].file.truncate(10)
    assert [int(each.msg_id) for each in inbox.take_ready(math.inf)] == [0]
    assert list(inbox.take_ready(math.inf)) == []
    with pytest.raises(SlowConsumerError, match="can't be read back"):
        await inbox.get()


async def test_the_first_that_cant_be_read_back_is_said_at_once(inboxes: Any) -> None:
    inbox = inboxes(1)
    for number in range(2):
        inbox.put(message(number))
    await inbox.get()
    inbox._spool._segments[0].file.truncate(10)
    with pytest.raises(SlowConsumerError, match="can't be read back"):
        list(inbox.take_ready(math.inf))


# --- what is held, not what was sent


async def test_buffers_count_though_they_are_empty(inboxes: Any) -> None:
    """A view of a buffer takes as much as a short message."""
    inbox = inboxes(limit_bytes=100_000)
    for number in range(3):
        inbox.put(message(number, buffers=(b"",) * 400))
    assert inbox.statistics().messages == 1
    assert inbox.statistics().spooled == 2
    assert await take_all(inbox) == [0, 1, 2]
