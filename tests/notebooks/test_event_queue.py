"""Events on their way: bounded, in order, none lost."""

from __future__ import annotations

from pathlib import Path

import pytest
import trio
from trio.testing import assert_checkpoints, wait_all_tasks_blocked

from trio_gateway._notebooks.event_queue import AHEAD, EventQueue, Nobody
from trio_gateway._notebooks.events import RunEvent, RunSaved, RunStarted


def event(number: int) -> RunEvent:
    return RunStarted(name=str(number), cells=0, kernel_id="", kernel_name="")


SAVED = RunSaved(path=Path("x"))


async def test_a_writer_is_a_few_events_ahead_of_the_reader_and_no_more() -> None:
    queue = EventQueue()
    put: list[int] = []

    async def write() -> None:
        for number in range(100):
            await queue.put(event(number))
            put.append(number)
        queue.close()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write)
        await wait_all_tasks_blocked()
        assert len(put) == AHEAD
        assert await queue.get() == event(0)
        await wait_all_tasks_blocked()
        assert len(put) == AHEAD + 1
        assert [await queue.get() for _ in range(99)] == [event(number) for number in range(1, 100)]
        with pytest.raises(trio.EndOfChannel):
            await queue.get()


async def test_what_told_an_event_may_be_cancelled_and_the_event_comes_all_the_same() -> None:
    queue = EventQueue()
    for number in range(AHEAD):
        await queue.put(event(number))
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.put(event(AHEAD))
    assert [await queue.get() for _ in range(AHEAD + 1)] == [event(number) for number in range(AHEAD + 1)]


async def test_a_reader_that_is_cancelled_loses_nothing() -> None:
    queue = EventQueue()
    await queue.put(event(1))
    with trio.CancelScope() as scope:
        scope.cancel()
        await queue.get()
    assert scope.cancelled_caught
    assert await queue.get() == event(1)


async def test_saves_that_nobody_has_read_of_are_told_once() -> None:
    queue = EventQueue()
    await queue.put(event(1))
    queue.put_saved(SAVED)
    await queue.put(event(2))
    queue.put_saved(SAVED)
    assert [await queue.get() for _ in range(3)] == [event(1), SAVED, event(2)]
    queue.put_saved(SAVED)
    assert await queue.get() == SAVED


async def test_a_failure_is_raised_where_the_events_end_and_once() -> None:
    queue = EventQueue()
    await queue.put(event(1))
    queue.close(ValueError("mine"))
    assert await queue.get() == event(1)
    with pytest.raises(ValueError, match="mine"):
        await queue.get()
    with pytest.raises(trio.EndOfChannel):
        await queue.get()
    assert queue.take_failure() is None


async def test_a_reader_has_caught_up_when_it_waits_for_more() -> None:
    queue = EventQueue()
    order: list[str] = []
    go_on = trio.Event()

    async def read() -> None:
        await queue.get()
        await go_on.wait()
        order.append("done with the first")
        await queue.get()

    async with trio.open_nursery() as nursery:
        await queue.put(event(1))
        nursery.start_soon(read)
        await wait_all_tasks_blocked()

        async def ask() -> None:
            await queue.caught_up()
            order.append("asked")

        nursery.start_soon(ask)
        await wait_all_tasks_blocked()
        assert order == []
        go_on.set()
        await wait_all_tasks_blocked()
        assert order == ["done with the first", "asked"]
        with assert_checkpoints():
            await queue.caught_up()
        await queue.put(event(2))


async def test_two_tasks_can_not_wait_at_once() -> None:
    queue = EventQueue()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(queue.get)
        await wait_all_tasks_blocked()
        with pytest.raises(trio.BusyResourceError):
            await queue.get()
        await queue.put(event(1))


async def test_a_reader_that_waits_is_told_of_the_end() -> None:
    queue = EventQueue()

    async def read() -> None:
        with pytest.raises(trio.EndOfChannel):
            await queue.get()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(read)
        await wait_all_tasks_blocked()
        queue.close()


async def test_nobody_waits_for_nothing() -> None:
    nobody = Nobody()
    for number in range(100):
        with assert_checkpoints():
            await nobody.put(event(number))
    nobody.put_saved(SAVED)
    with assert_checkpoints():
        await nobody.caught_up()


async def test_what_is_there_is_taken_at_once_and_wakes_the_writers() -> None:
    queue = EventQueue()
    assert queue.take_ready(5) == []
    put: list[int] = []

    async def write(first: int) -> None:
        for number in range(first, 100, 2):
            await queue.put(event(number))
            put.append(number)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(write, 0)
        nursery.start_soon(write, 1)
        seen: list[RunEvent] = []
        while len(seen) < 100:
            await wait_all_tasks_blocked()
            assert len(put) - len(seen) <= AHEAD
            taken = queue.take_ready(5)
            assert 1 <= len(taken) <= 5
            seen += taken
    assert sorted(map(str, seen)) == sorted(str(event(number)) for number in range(100))
    assert queue.take_ready(5) == []
