"""One act on a kernel at a time, and each seen through to its end."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

import pytest
import trio
from trio.testing import MockClock, Sequencer, wait_all_tasks_blocked

from trio_gateway._transport.turns import Turns, see_through

# ------------------------------------------------------------------------------------------------------------- turns


@asynccontextmanager
async def held(turns: Turns, kernel_id: str) -> AsyncGenerator[None]:
    """Have another task hold a turn while the block lasts."""
    taken, enough = trio.Event(), trio.Event()

    async def hold() -> None:
        async with turns.take(kernel_id):
            taken.set()
            await enough.wait()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(hold)
        await taken.wait()
        yield
        enough.set()


async def test_turns_of_one_kernel_come_one_after_the_other_in_order() -> None:
    turns, order, steps = Turns(), [], Sequencer()

    async def act(number: int) -> None:
        async with steps(number):
            pass
        async with turns.take("a") as ours:
            order.append((number, ours))
            await trio.lowlevel.checkpoint()
            order.append((number, ours))

    async with trio.open_nursery() as nursery:
        for number in range(3):
            nursery.start_soon(act, number)
    assert order[::2] == order[1::2], "nobody came between"
    assert sorted(order[::2]) == [(0, True), (1, True), (2, True)]


async def test_kernels_do_not_wait_for_each_other() -> None:
    turns = Turns()
    async with turns.take("a") as one, turns.take("b") as two:
        assert (one, two) == (True, True)


async def test_patience_ends_and_it_is_not_ones_turn(autojump_clock: MockClock) -> None:
    turns = Turns()
    async with held(turns, "a"):
        async with turns.take("a", patience=3) as ours:
            assert not ours
            assert trio.current_time() == 3
        with trio.move_on_after(1):
            async with turns.take("a"):
                pytest.fail("it is another's turn still")
    async with turns.take("a") as ours:
        assert ours


async def test_who_is_cancelled_while_waiting_takes_nothing(autojump_clock: MockClock) -> None:
    turns = Turns()
    async with held(turns, "a"):
        with trio.move_on_after(1):
            async with turns.take("a"):
                pytest.fail("it is another's turn still")
    assert trio.current_time() == 1
    async with turns.take("a", patience=0.1) as ours:
        assert ours


async def test_nothing_is_kept_of_kernels_that_nobody_waits_for() -> None:  # G7
    turns = Turns()
    for number in range(100):
        async with turns.take(str(number)):
            assert len(turns._locks) == 1
    assert turns._locks == {}
    assert turns.unsettled == {}


async def test_who_waits_keeps_the_turn_of_a_kernel(autojump_clock: MockClock) -> None:
    """One that gives up must not take away what another one holds."""
    turns = Turns()
    async with held(turns, "a"):
        async with turns.take("a", patience=1):
            pass
        async with turns.take("a", patience=1) as ours:
            assert not ours


# ----------------------------------------------------------------------------------------------------- seen through


async def test_what_it_returns_and_raises_comes_out() -> None:
    async def act(begin: Callable[[], object]) -> int:
        begin()
        await trio.lowlevel.checkpoint()
        return 5

    async def fail(begin: Callable[[], object]) -> int:
        await trio.lowlevel.checkpoint()
        raise ZeroDivisionError

    assert await see_through(act, limit=1, name="act") == 5
    with pytest.raises(ZeroDivisionError):
        await see_through(fail, limit=1, name="fail")


async def test_who_is_cancelled_before_it_begins_has_done_nothing(autojump_clock: MockClock) -> None:
    reached: list[str] = []

    async def act(begin: Callable[[], object]) -> None:
        await trio.sleep(5)
        begin()
        reached.append("begun")

    with trio.move_on_after(1):
        await see_through(act, limit=100, name="act")
    assert (trio.current_time(), reached) == (1, [])


async def test_what_has_begun_is_seen_through_to_its_end(autojump_clock: MockClock) -> None:
    reached: list[str] = []

    async def act(begin: Callable[[], object]) -> None:
        begin()
        await trio.sleep(5)
        reached.append("done")

    with trio.move_on_after(1) as scope:
        await see_through(act, limit=100, name="act")
    assert (trio.current_time(), reached, scope.cancelled_caught) == (5, ["done"], True)


async def test_but_not_for_longer_than_the_limit(autojump_clock: MockClock) -> None:  # G3
    reached: list[str] = []

    async def act(begin: Callable[[], object]) -> None:
        begin()
        try:
            await trio.sleep_forever()
        finally:
            reached.append("cancelled")

    with trio.move_on_after(1):
        await see_through(act, limit=10, name="act")
    assert (trio.current_time(), reached) == (11, ["cancelled"])


async def test_its_task_has_the_name_that_was_given() -> None:
    names: list[str] = []

    async def act(begin: Callable[[], object]) -> None:
        names.append(trio.lowlevel.current_task().name)
        await wait_all_tasks_blocked()

    await see_through(act, limit=1, name="trio_gateway.restart[abc]")
    assert names == ["trio_gateway.restart[abc]"]
