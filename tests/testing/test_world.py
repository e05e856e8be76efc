"""One fake's time, chance, tasks and log."""

from __future__ import annotations

import uuid

import pytest
import trio
import trio.testing

from trio_gateway.testing._world import World

Clock = trio.testing.MockClock


def test_chance_can_be_had_again() -> None:
    first, second, other = World(1), World(1), World(2)
    ids = [first.new_hex() for _ in range(3)]
    assert [second.new_hex() for _ in range(3)] == ids
    assert other.new_hex() not in ids
    assert len(set(ids)) == 3
    assert all(uuid.UUID(made).version == 4 for made in ids)


def test_a_world_made_of_another_can_be_had_again_too() -> None:
    assert World(1).new_seed() == World(1).new_seed() != World(2).new_seed()


def test_process_ids_are_in_a_row() -> None:
    world = World(0)
    assert [world.next_pid(), world.next_pid()] == [1001, 1002]
    assert World(0).next_pid() == 1001


async def test_times_count_from_when_it_began(autojump_clock: Clock) -> None:
    await trio.sleep(1000)
    world = World(0)
    async with world._running():
        assert world.timestamp(trio.current_time()) == "2026-01-01T00:00:00Z"
        await trio.sleep(90.5)
        assert world.timestamp(trio.current_time()) == "2026-01-01T00:01:30.500000Z"
        world.note_cut(7)
    assert str(world.conversation) == "      90.500  #7 x   connection cut"


async def test_what_it_runs_ends_with_it() -> None:
    world = World(0)
    ended = []

    async def wait() -> None:
        task = trio.lowlevel.current_task()
        try:
            await trio.sleep_forever()
        finally:
            ended.append(task.name)

    async with world._running():
        world.spawn(wait, "mine")
        await trio.testing.wait_all_tasks_blocked()
        assert ended == []
    assert ended == ["fake.mine"]


async def test_nothing_runs_outside_of_its_block() -> None:
    with pytest.raises(AssertionError, match="`async with` block"):
        World(0).spawn(trio.sleep_forever, "too early")


async def test_what_its_body_raises_comes_out_bare() -> None:
    with pytest.raises(ValueError, match="mine"):
        async with World(0)._running():
            raise ValueError("mine")
