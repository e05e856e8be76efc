"""One task that keeps time for all connections of a gateway.

The one idea: a task for each moment that somebody waits for costs more than what is done at that moment. So who waits has an
`Alarm`, a function that is called when its time has come, and one task sleeps until the first of all alarms. The functions never
wait, and what one of them raises goes to its own owner.
"""

from __future__ import annotations

import logging
import math
from bisect import bisect_left, insort
from collections.abc import Callable
from contextvars import Context, copy_context
from typing import Final, TypeAlias

import trio

__all__ = ["Alarm", "Timer", "raise_error"]

FAIRNESS: Final = 32
"""After so many calls in a row others get their turn."""
_NO_CONTEXT: Final = Context()
_logger = logging.getLogger("trio_gateway.kernels")

_Entry: TypeAlias = "tuple[float, int, Alarm]"  # the number is unique, so alarms are never compared


class Timer:
    """Calls alarms when they are due, in the order of their moments. `run` is a service of the gateway's block."""

    def __init__(self) -> None:
        self._entries: list[_Entry] = []  # in order, the first one first
        self._made = 0
        self._sleep = trio.CancelScope()

    def __len__(self) -> int:
        """How many alarms are set."""
        return len(self._entries)

    async def run(self) -> None:
        """Call alarms, until cancelled."""
        while True:
            with trio.CancelScope(deadline=self._first()) as self._sleep:
                await trio.sleep_forever()
            called = 0
            while self._first() <= trio.current_time():
                self._entries.pop(0)[2].strike()
                called += 1
                if called % FAIRNESS == 0:
                    await trio.lowlevel.checkpoint()

    def _first(self) -> float:
        return self._entries[0][0] if self._entries else math.inf

    def number(self) -> int:
        """Return a number that no other alarm has."""
        self._made += 1
        return self._made

    def add(self, entry: _Entry) -> None:
        """Set an alarm. For alarms."""
        insort(self._entries, entry)
        self._sleep.deadline = min(self._sleep.deadline, entry[0])

    def discard(self, entry: _Entry) -> None:
        """Forget an alarm that is set. For alarms."""
        del self._entries[bisect_left(self._entries, entry)]


class Alarm:
    """Calls a function at a moment, which can be set anew again and again, until its block ends.

    Args:
        timer: calls it.
        act: what is called, in the context of the one who made the alarm; it must not wait.
        fail: gets what `act` raises, which nobody else does.
    """

    __slots__ = ("_act", "_context", "_entry", "_fail", "_number", "_timer")

    def __init__(self, timer: Timer, act: Callable[[], object], fail: Callable[[Exception], object]) -> None:
        self._timer: Timer | None = timer
        self._act: Callable[[], object] = act
        self._fail: Callable[[Exception], object] = fail
        self._number = timer.number()
        self._context = copy_context()
        self._entry: _Entry | None = None

    @property
    def moment(self) -> float:
        """When it is called, in seconds of Trio's clock; infinity for never."""
        return math.inf if self._entry is None else self._entry[0]

    def set(self, moment: float) -> None:
        """Set it, in place of any other moment.

        Args:
            moment: when, in seconds of Trio's clock; infinity for never. One that has passed is as good as now.
        """
        if self._timer is None or moment == self.moment:
            return
        if self._entry is not None:
            self._timer.discard(self._entry)
            self._entry = None
        if moment < math.inf:
            self._entry = (moment, self._number, self)
            self._timer.add(self._entry)

    def strike(self) -> None:
        """Call the function. For the timer, which has forgotten the alarm."""
        self._entry = None
        fail = self._fail  # the function may close the alarm
        try:
            self._context.run(self._act)
        except Exception as error:  # noqa: BLE001 - it is its owner's alone
            try:
                fail(error)
            except Exception:
                _logger.exception("alarm_failed")  # an owner that is gone: all others go on

    @property
    def closed(self) -> bool:
        """Whether it is never called again."""
        return self._timer is None

    def close(self) -> None:
        """Never call it again, and let go of its owner."""
        self.set(math.inf)
        self._timer = None
        self._act, self._fail, self._context = _nothing, _ignore, _NO_CONTEXT


def _nothing() -> None:
    """What an alarm calls that is closed."""


def _ignore(error: Exception) -> None:
    """What an alarm that is closed does with an error."""


async def raise_error(error: Exception) -> None:  # noqa: ASYNC124 - a nursery starts it
    """Raise what an alarm's function has raised: started in its owner's nursery, so that it ends its owner, and nobody else."""
    raise error
