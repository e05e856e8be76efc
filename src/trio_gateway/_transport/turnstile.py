"""How many may begin something at the same time, first come, first served.

The one idea: who begins holds a place until it is done, and not for long: something that hangs keeps nobody out for good. So
what is bounded is how many begin at once, which is what a server that has just come back can't bear.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio

__all__ = ["Turnstile"]


class Turnstile:
    """Lets so many pass at the same time.

    Args:
        places: how many.
        seconds: how long one holds its place at most, in seconds.
    """

    def __init__(self, places: int, seconds: float) -> None:
        self._places = places
        self._seconds = seconds
        self._first = trio.Lock()  # it serves in the order in which it was asked
        self._held: dict[object, float] = {}
        self._freed = trio.lowlevel.ParkingLot()

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a place; it is given back with the block, or when its time is over.

        Cancellation: safe; gives up the place in the queue.
        """
        mine = object()
        async with self._first:
            await self._wait_for_room()
            self._held[mine] = trio.current_time() + self._seconds
        try:
            yield
        finally:
            self._held.pop(mine, None)
            self._freed.unpark_all()

    async def _wait_for_room(self) -> None:
        await trio.lowlevel.checkpoint()
        while True:
            now = trio.current_time()
            self._held = {holder: until for holder, until in self._held.items() if until > now}
            if len(self._held) < self._places:
                return
            with trio.move_on_at(min(self._held.values())):
                await self._freed.park()
