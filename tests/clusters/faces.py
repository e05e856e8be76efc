"""The same program on each face, at the same time: written as a Trio program, and carried over to the face call by call."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any, TypeVar

import pytest
import trio

from portal.face_stage import open_loop_stage, open_thread_stage
from trio_gateway import GatewayConfig
from trio_gateway.testing.scenarios import Stage

__all__ = ["FACES", "Meeting", "each_face", "on_a_face", "on_each_face", "stage_on"]

T = TypeVar("T")

FACES = ("trio", "asyncio", "blocking")

each_face = pytest.mark.parametrize("face", FACES)


@contextmanager
def stage_on(face: str, config: GatewayConfig) -> Iterator[Stage]:
    """Give what opens the gateway on a face."""
    if face == "trio":
        yield Stage(config)
    elif face == "asyncio":
        with open_loop_stage(asyncio.new_event_loop, config) as stage:
            yield stage
    else:
        with open_thread_stage(config) as stage:
            yield stage


async def on_a_face(face: str, config: GatewayConfig, play: Callable[[Any], Awaitable[T]]) -> dict[str, T]:
    """Play something on one face; return what came of it, as `on_each_face` does."""
    with stage_on(face, config) as stage:
        async with stage.open() as gateway:
            return {face: await play(gateway)}


async def on_each_face(config: GatewayConfig, play: Callable[[Any], Awaitable[T]]) -> dict[str, T]:
    """Play the same on all faces at once, each with a gateway of its own; return what came of it on each.

    Args:
        config: how the gateway is reached.
        play: gets the gateway of a face.
    """
    found: dict[str, T] = {}

    async def one(face: str) -> None:
        found.update(await on_a_face(face, config, play))

    async with trio.open_nursery() as nursery:
        for face in FACES:
            nursery.start_soon(one, face)
    return {face: found[face] for face in FACES}


class Meeting:
    """Where those who play wait for each other, before something happens to all of them.

    Args:
        faults: what the last to come does, one after the other, in a thread; a number is a pause in seconds.
        parties: how many come.
    """

    def __init__(self, *faults: Callable[[], object] | float, parties: int = len(FACES)) -> None:
        self.at = 0.0
        """When the last one came, and things broke, in Trio's time; 0 before, and where nothing breaks."""
        self._faults = faults
        self._left = parties
        self._all_here = trio.Event()

    async def arrive(self) -> None:
        """Come, and break things if all others are here."""
        self._left -= 1
        if self._left == 0:
            self.at = trio.current_time() if self._faults else 0.0
            self._all_here.set()
            for fault in self._faults:
                if callable(fault):
                    await trio.to_thread.run_sync(fault)
                else:
                    await trio.sleep(fault)

    async def wait(self) -> None:
        """Come, and wait for all others."""
        await self.arrive()
        await self._all_here.wait()
