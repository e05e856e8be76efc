"""How many kernels a pool starts and ends, and when: pure, `now` and chance come in as arguments.

The one idea: the plan looks at counts and at the time alone. What starts, is ready or ends is the pool's; so each rule (never
more than `size`, starts a few at a time, a pause after a failure, fewer when nobody asks) is a line here, and a test's line.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final

import attrs

from .._protocol.retry import RandomSource, backoff
from .options import PoolOptions

__all__ = ["Counts", "Plan", "Step"]

PAUSE_BASE: Final = 0.5
"""The longest pause after the first start that failed, in seconds; it doubles with each further one."""
PAUSE_LIMIT: Final = 30.0
"""The longest pause of all, in seconds."""


@attrs.frozen(kw_only=True)
class Counts:
    """How many kernels a pool has, by what they are doing, and how many callers wait for one."""

    starting: int = 0
    """Those that start, or start again after a use."""
    ready: int = 0
    """Those that can be handed out."""
    leased: int = 0
    """Those that somebody has."""
    ending: int = 0
    """Those that are being shut down: the gateway may still have them."""
    waiting: int = 0
    """Callers that wait."""


@attrs.frozen(kw_only=True)
class Step:
    """What to do now."""

    start: int
    """How many kernels to start."""
    end: int
    """How many of those that are ready to end, the one that was used longest ago first."""
    look_again: float
    """After how many seconds to ask again, though nothing has happened; infinity for never."""


class Plan:
    """Decides for one pool.

    Args:
        options: what the pool is.
        rng: gives the pauses their jitter.
    """

    def __init__(self, options: PoolOptions, rng: RandomSource) -> None:
        self._options = options
        self._rng = rng
        self._failures = 0
        self._failed_at = -math.inf
        self._not_before = -math.inf

    @property
    def failures(self) -> int:
        """How many starts have failed since one succeeded."""
        return self._failures

    def is_paused(self, now: float) -> bool:
        """Whether no start is tried now, because the last one failed."""
        return now < self._not_before

    def failed(self, now: float, asked_at: float) -> None:
        """A start has failed: there is a pause before the next. Of starts that ran side by side one counts.

        Args:
            now: the time.
            asked_at: when the start was asked for.
        """
        if asked_at < self._failed_at:
            return
        self._failures += 1
        self._failed_at = now
        pause = backoff(self._failures, base=PAUSE_BASE, limit=PAUSE_LIMIT, rng=self._rng)
        self._not_before = max(self._not_before, now + pause)

    def succeeded(self) -> None:
        """A kernel has become ready."""
        self._failures = 0
        self._not_before = -math.inf

    def step(self, counts: Counts, idle_since: Sequence[float], now: float) -> Step:
        """Decide what to do.

        Args:
            counts: how many kernels there are.
            idle_since: since when those that are ready were not used, the oldest first.
            now: the time, in seconds.
        """
        options = self._options
        alive = counts.starting + counts.ready + counts.leased
        wanted = min(counts.leased + counts.waiting + options.warm, options.size)
        missing = min(wanted - alive, options.size - alive - counts.ending, options.starts_at_once - counts.starting)
        look_again = math.inf
        if missing > 0 and now < self._not_before:
            missing, look_again = 0, self._not_before - now
        spare = counts.ready - options.warm
        end = 0
        if options.idle_timeout is not None:
            for since in idle_since[: max(spare, 0)]:
                due = since + options.idle_timeout
                if now < due:
                    look_again = min(look_again, due - now)
                    break
                end += 1
        return Step(start=max(missing, 0), end=end, look_again=look_again)
