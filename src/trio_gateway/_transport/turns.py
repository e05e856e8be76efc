"""One restart or shutdown of a kernel at a time, and each seen through to its end.

The one idea: a gateway goes on with a restart when its client has hung up, and takes only one at a time. Of two that overlap it
starts two processes and forgets one; a shutdown in the middle of one ends the old process and leaves the new one, which nobody
can find any more (measured with Kernel Gateway 3 on jupyter_client 8). So each action waits for its turn, and a turn ends with
the gateway's answer, not with the patience of the one who asked.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar

import trio

from .._services import open_services

__all__ = ["Turns", "see_through"]

_T = TypeVar("_T")


class Turns:
    """Whose turn it is to act on each kernel of one gateway."""

    def __init__(self) -> None:
        self._locks: dict[str, trio.Lock] = {}
        self.unsettled: dict[str, float] = {}
        """Kernels of which a restart was asked and not answered, and until when it may go on, on Trio's clock."""

    @asynccontextmanager
    async def take(self, kernel_id: str, *, patience: float = math.inf) -> AsyncGenerator[bool]:
        """Wait for one's turn; it ends with the block.

        Args:
            kernel_id: the kernel.
            patience: how long to wait at most, in seconds.

        Yields:
            Whether it is one's turn; False where patience was not enough.

        Cancellation: safe.
        """
        lock = self._locks.setdefault(kernel_id, trio.Lock())
        ours = False
        try:
            with trio.move_on_after(patience):
                await lock.acquire()
                ours = True
            yield ours
        finally:
            if ours:
                lock.release()
            if not lock.locked() and self._locks.get(kernel_id) is lock:
                del self._locks[kernel_id]


async def see_through(act: Callable[[Callable[[], object]], Awaitable[_T]], *, limit: float, name: str) -> _T:
    """Do something that its other end goes on with when we hang up.

    Args:
        act: does it. It is given a function, to be called when it begins: a caller cancelled before that has done nothing.
        limit: how long a caller who is cancelled after that waits for its end, shielded, in seconds.
        name: of the task that does it.

    Returns:
        What it returned.

    Raises:
        Exception: what it raised.

    Cancellation: waits as said; then it is cancelled too.
    """
    outcome: list[_T | Exception] = []
    begun = trio.Event()
    done = trio.Event()

    async def run() -> None:
        try:
            outcome.append(await act(begun.set))
        except Exception as error:  # noqa: BLE001 - it is raised again where the end is awaited
            outcome.append(error)
        done.set()

    async with open_services() as services:
        services.start_soon(run, name=name)
        try:
            await done.wait()
        except BaseException:
            if begun.is_set():
                with trio.move_on_after(limit, shield=True):
                    await done.wait()
            raise
    if isinstance(outcome[0], Exception):
        raise outcome[0]
    return outcome[0]
