"""How many may begin something at once, and who is next."""

from __future__ import annotations

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_gateway._transport.turnstile import Turnstile


async def test_so_many_at_once_in_the_order_in_which_they_came(autojump_clock: MockClock) -> None:
    turnstile = Turnstile(3, 100)
    inside: set[int] = set()
    order: list[int] = []
    most = 0

    async def pass_through(number: int) -> None:
        nonlocal most
        async with turnstile.place():
            order.append(number)
            inside.add(number)
            most = max(most, len(inside))
            await trio.sleep(1)
            inside.remove(number)

    async with trio.open_nursery() as nursery:
        for number in range(10):
            nursery.start_soon(pass_through, number)
            await wait_all_tasks_blocked()
    assert most == 3
    assert order == list(range(10))
    assert trio.current_time() == 4


async def test_one_that_hangs_keeps_nobody_out_for_good(autojump_clock: MockClock) -> None:
    turnstile = Turnstile(1, 5)
    passed: list[float] = []

    async def pass_through(seconds: float) -> None:
        async with turnstile.place():
            passed.append(trio.current_time())
            await trio.sleep(seconds)

    async with trio.open_nursery() as nursery:
        for seconds in (100, 1, 100, 0):
            nursery.start_soon(pass_through, seconds)
            await wait_all_tasks_blocked()
    assert passed == [0, 5, 6, 11]


async def test_who_is_cancelled_leaves_its_place(autojump_clock: MockClock) -> None:
    turnstile = Turnstile(1, 100)
    async with trio.open_nursery() as nursery:

        async def hold() -> None:
            async with turnstile.place():
                await trio.sleep(10)

        nursery.start_soon(hold)
        await wait_all_tasks_blocked()
        for _ in range(2):
            with trio.move_on_after(1) as scope:
                async with turnstile.place():
                    pytest.fail("there is no place")
            assert scope.cancelled_caught
        async with turnstile.place():
            assert trio.current_time() == 10
        with trio.CancelScope() as scope:
            async with turnstile.place():
                scope.cancel()
                await trio.sleep_forever()
        async with turnstile.place():
            assert trio.current_time() == 10
