"""The events of a run on their way to their one reader.

The one idea: a run is at most a few events ahead of its reader, so that a slow one slows the run and takes no memory (G7); and
what was told once is never lost, also when a limit or a cancellation ends what told it.
"""

from __future__ import annotations

import abc
from collections import deque
from typing import Final

import trio

from .events import RunEvent, RunSaved

__all__ = ["EventQueue", "Listener", "Nobody"]

AHEAD: Final = 16
"""How many events may wait for their reader before the run does."""


class Listener(abc.ABC):
    """What takes a run's events."""

    @abc.abstractmethod
    async def put(self, event: RunEvent) -> None:
        """Tell of an event; wait while the reader is far behind. Cancellation: the event is told all the same."""

    @abc.abstractmethod
    def put_saved(self, event: RunSaved) -> None:
        """Tell of a save without waiting; one that was told and not read counts for it."""

    @abc.abstractmethod
    async def caught_up(self) -> None:
        """Wait until all that was told is read and done with. Cancellation: safe."""


class Nobody(Listener):
    """Nobody listens."""

    async def put(self, event: RunEvent) -> None:  # noqa: ARG002
        """Forget the event."""
        await trio.lowlevel.checkpoint()

    def put_saved(self, event: RunSaved) -> None:
        """Forget the event."""

    async def caught_up(self) -> None:
        """Return: there is nothing to read."""
        await trio.lowlevel.checkpoint()


class EventQueue(Listener):
    """Events on their way to one reader."""

    def __init__(self) -> None:
        self._events: deque[RunEvent] = deque()
        self._closed = False
        self._cut_off = False  # whether the run was ended before it had told all
        self._failure: BaseException | None = None
        self._parked = trio.lowlevel.ParkingLot()  # the reader, while there is nothing to read
        self._writers = trio.lowlevel.ParkingLot()
        self._askers = trio.lowlevel.ParkingLot()  # those who wait for the reader to catch up
        self._waiting = False  # whether the reader waits

    async def put(self, event: RunEvent) -> None:
        """Tell of an event; wait while the reader is far behind. Cancellation: the event is told all the same."""
        self._add(event)
        await trio.lowlevel.checkpoint()
        while len(self._events) > AHEAD:
            await self._writers.park()

    def put_saved(self, event: RunSaved) -> None:
        """Tell of a save without waiting; one that was told and not read counts for it."""
        if not any(isinstance(waiting, RunSaved) for waiting in self._events):
            self._add(event)

    def _add(self, event: RunEvent) -> None:
        self._events.append(event)
        self._parked.unpark()

    def close(self, failure: BaseException | None = None) -> None:
        """Note that there are no more events; the failure is raised where they end, once."""
        self._closed = True
        self._failure = failure
        self._parked.unpark_all()

    def cut_off(self) -> None:
        """Note that the run's block is over: unless it was closed before, the run was ended early, and tells nothing more."""
        if not self._closed:
            self._cut_off = True
            self.close()

    def take_failure(self) -> BaseException | None:
        """Return the failure that was not raised yet, if there is one; it counts as raised."""
        failure, self._failure = self._failure, None
        return failure

    async def caught_up(self) -> None:
        """Wait until all that was told is read and done with: the reader waits for more. Cancellation: safe."""
        await trio.lowlevel.checkpoint()
        while not (self._waiting and not self._events):
            await self._askers.park()

    async def get(self) -> RunEvent:
        """Wait for the next event.

        Raises:
            trio.EndOfChannel: there are no more.
            trio.ClosedResourceError: there are no more, for the run's block was left before the run had ended.
            trio.BusyResourceError: another task waits.
            BaseException: what the run failed with, where the events end.

        Cancellation: safe, no event is lost.
        """
        if self._waiting:
            raise trio.BusyResourceError("another task reads this run's events")
        await trio.lowlevel.checkpoint_if_cancelled()
        if self._events:
            await trio.lowlevel.cancel_shielded_checkpoint()
        else:
            self._waiting = True
            try:
                while not (self._events or self._closed):
                    self._askers.unpark_all()
                    await self._parked.park()
            finally:
                self._waiting = False
        if not self._events:
            failure = self.take_failure()
            if failure is not None:
                raise failure
            if self._cut_off:
                raise trio.ClosedResourceError("the block of this run was left before the run had ended")
            raise trio.EndOfChannel
        event = self._events.popleft()
        self._writers.unpark()
        return event

    def take_ready(self, limit: int) -> list[RunEvent]:
        """Take the events that are there, so many at most, without waiting."""
        taken = [self._events.popleft() for _ in range(min(limit, len(self._events)))]
        self._writers.unpark(count=len(taken))
        return taken
