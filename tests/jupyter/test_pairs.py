"""Methods in pairs: the one that awaits, of a class or bound to its object, and the one that blocks."""

from __future__ import annotations

import asyncio

from trio_gateway.jupyter._pairs import awaiting, blocking


class Pair:
    """Has the half that awaits."""

    def __init__(self, value: int) -> None:
        self.value = value

    async def _async_add(self, more: int) -> int:
        await asyncio.sleep(0)
        return self.value + more


class Awaiting(Pair):
    """Its plain name awaits."""

    add = awaiting(Pair, "add")


class Blocking(Pair):
    """Its plain name blocks."""

    add = blocking(Pair, "add")


def test_the_plain_name_awaits() -> None:
    async def main() -> int:
        return int(await Awaiting(1).add(2))

    assert asyncio.run(main()) == 3


def test_that_of_an_object_is_bound() -> None:
    assert asyncio.run(awaiting(Pair(5), "add")(1)) == 6


def test_the_plain_name_blocks_also_while_a_loop_runs() -> None:
    assert Blocking(1).add(2) == 3

    async def main() -> int:
        return int(Blocking(3).add(4))

    assert asyncio.run(main()) == 7
