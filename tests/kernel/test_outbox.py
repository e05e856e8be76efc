"""What waits to be sent: in order, bounded for bare messages, and what is taken back goes out no more."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_gateway._kernel import outbox as module
from trio_gateway._kernel.outbox import TURN_SENDS, Outbox, SendTurns
from trio_gateway._kernel.pending import PendingReply
from trio_gateway._protocol.messages import Header, Message


def message(name: str = "m", size: int = 1) -> Message:
    return Message("shell", Header(name, "comm_msg", "s"), {"data": "x" * size})


def request(name: str = "r") -> PendingReply:
    return PendingReply(Message("shell", Header(name, "kernel_info_request", "s"), {}))


async def test_first_in_first_out_whatever_it_is() -> None:
    box = Outbox()
    items = [request("1"), message("2"), request("3"), message("4")]
    for item in items:
        box.put(item)
    assert len(box) == 4
    assert await box.first() is items[0]
    assert [await box.take() for _ in items] == items
    assert len(box) == 0


async def test_the_one_who_sends_waits_for_something_to_send() -> None:
    box, got = Outbox(), list[object]()

    async def send() -> None:
        got.append(await box.first())
        got.append(await box.take())

    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        assert got == []
        item = request()
        box.put(item)
    assert got == [item, item]


async def test_what_is_taken_back_goes_out_no_more_and_only_once() -> None:
    box, one, two = Outbox(), request("1"), request("2")
    box.put(one)
    box.put(two)
    box.withdraw(one)
    box.withdraw(one)
    assert await box.take() is two
    box.withdraw(two)
    assert len(box) == 0


@pytest.mark.parametrize("bound", ["messages", "bytes"])
async def test_a_bare_message_waits_for_room_and_a_request_does_not(monkeypatch: pytest.MonkeyPatch, bound: str) -> None:  # G7
    monkeypatch.setattr(module, "LIMIT_MESSAGES" if bound == "messages" else "LIMIT_BYTES", 2 if bound == "messages" else 100)
    box, sent = Outbox(), list[str]()
    await box.wait_room()
    box.put(message(size=1 if bound == "messages" else 200))
    if bound == "messages":
        await box.wait_room()
        box.put(message())

    async def put(name: str) -> None:
        await box.wait_room()
        box.put(message(name))
        sent.append(name)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(put, "waits")
        await wait_all_tasks_blocked()
        assert sent == []
        asked = request()
        box.put(asked)
        assert asked in [await box.take() for _ in range(len(box))]
    assert sent == ["waits"]


@pytest.mark.parametrize("how", ["withdraw", "clear"])
async def test_room_also_comes_of_what_is_not_sent(monkeypatch: pytest.MonkeyPatch, how: str) -> None:
    monkeypatch.setattr(module, "LIMIT_MESSAGES", 1)
    box, asked = Outbox(), request()
    box.put(asked)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(box.wait_room)
        await wait_all_tasks_blocked()
        if how == "clear":
            box.clear()
        else:
            box.withdraw(asked)
    assert len(box) == 0


async def test_the_bytes_of_what_left_are_room_again(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "LIMIT_BYTES", 1_000)
    box = Outbox()
    box.put(message("stays"))
    for _ in range(50):
        with trio.fail_after(1):
            await box.wait_room()
        large = request()
        box.put(message(size=2_000))
        box.put(large)
        box.withdraw(large)
        for _ in range(2):
            await box.take()
        box.put(message("stays"))


async def test_what_is_offered_is_written_at_once_while_the_one_who_sends_waits() -> None:
    box, written, taken = Outbox(), list[object](), list[object]()
    room = True

    def write_now(item: object) -> bool:
        if room:
            written.append(item)
        return room

    async def send() -> None:
        while True:
            taken.append(await box.take())
            await trio.lowlevel.checkpoint()

    items = [request(str(number)) for number in range(5)]
    box.write_now = write_now
    box.offer(items[0])
    assert len(box) == 1, "nobody waits for it: it may be that something is being sent"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send)
        await wait_all_tasks_blocked()
        box.offer(items[1])
        assert (written, taken) == ([items[1]], [items[0]])
        room = False
        box.offer(items[2])
        room = True
        box.offer(items[3])
        assert written == [items[1]], "what comes after one that waits, waits too"
        await wait_all_tasks_blocked()
        assert taken == [items[0], items[2], items[3]]
        box.write_now = None
        box.offer(items[4])
        await wait_all_tasks_blocked()
        assert taken[-1] is items[4]
        nursery.cancel_scope.cancel()


async def test_other_tasks_run_at_each_64th_message_and_not_in_between() -> None:
    turns, given = SendTurns(), list[int]()
    sent: list[int] = []
    sender = trio.lowlevel.current_task()

    class Watching(trio.abc.Instrument):
        def after_task_step(self, task: trio.lowlevel.Task) -> None:
            if task is sender:
                given.append(len(sent))

    trio.lowlevel.add_instrument(Watching())
    while len(sent) < 3 * TURN_SENDS - 1:
        sent.append(1)
        await turns.give()
    assert given == [TURN_SENDS, 2 * TURN_SENDS]


async def test_a_cancelled_sender_sees_it_at_each_message() -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        await SendTurns().give()
    assert scope.cancelled_caught
