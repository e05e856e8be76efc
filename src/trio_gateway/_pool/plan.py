"""How many kernels a pool starts and ends, and when: pure, `now` and chance come in as arguments.

The one idea: the plan looks at counts and at the time alone. What starts, is ready or ends is the pool's; so each rule (never
more than `size`, starts a few at a time, a pause after a failure, old ones replaced one after the other, fewer when nobody asks)
is a line here, and a test's line.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from typing import Final

import attrs

from .._protocol.retry import RandomSource, backoff
from .options import PoolOptions

__all__ = ["Counts", "Plan", "Step"]

PAUSE_BASE: Final = 0.5
"""The longest pause after the first start that failed, in seconds; it doubles with each further one."""
PAUSE_LIMIT: Final = 30.0
"""The longest pause of all, in seconds. A kernel that was ready for so long before it was lost is replaced without a pause."""
RENEWED_FROM: Final = 0.75
"""From this share of `max_age` on a warm kernel is replaced, so that the next one is there before the old one can't be used."""


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
    renew: int = 0
    """How many of those that are ready to end, the one that was started longest ago first."""
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
        self._tried: Collection[str] | None = None
        self._came: dict[str, float] = {}  # since the last failure: which gateways can be used now and could not, and since when
        self._losses = 0
        self._lost_at = -math.inf
        self._not_before_lost = -math.inf

    @property
    def failures(self) -> int:
        """How many starts have failed since one succeeded."""
        return self._failures

    def is_paused(self, now: float) -> bool:
        """Whether no start is tried now, because the last one failed."""
        return now < self._not_before

    def failed(self, now: float, asked_at: float, tried: Collection[str] | None = None) -> None:
        """A start has failed: there is a pause before the next. Of starts that ran side by side one counts.

        There is no pause where a gateway came while it ran, and it was not tried there; once each time that one comes.

        Args:
            now: the time.
            asked_at: when the start was asked for.
            tried: the gateways where it was tried, if no gateway could take it; None if it failed in another way.
        """
        self._tried = tried
        if asked_at < self._failed_at:
            return
        self._failures += 1
        self._failed_at = now
        # What is asked for from now on has seen them.
        came, self._came = self._came, {}
        if tried is not None and any(came_at >= asked_at and name not in tried for name, came_at in came.items()):
            return
        pause = backoff(self._failures, base=PAUSE_BASE, limit=PAUSE_LIMIT, rng=self._rng)
        self._not_before = max(self._not_before, now + pause)

    def succeeded(self) -> None:
        """A kernel has become ready."""
        self._failures = 0
        self._not_before = -math.inf

    def came(self, gateway: str, now: float) -> None:
        """A gateway that could not be used can be used now. Where the last start found none, the next may be tried at once.

        Not if it was tried at this one: that it is there is no news of its starts. Should the next fail too, its pause is longer.

        Args:
            gateway: its name.
            now: the time.
        """
        self._came[gateway] = now
        if self._tried is not None and gateway not in self._tried:
            self._not_before = -math.inf

    def lost(self, now: float, asked_at: float, ready_at: float) -> None:
        """A kernel that was ready is of no use any more. One is replaced at once; one after the other, after a pause that grows.

        Those that were lost side by side count once. One that was ready for as long as the longest pause counts as the first.

        Args:
            now: the time.
            asked_at: when its start was asked for.
            ready_at: when it became ready.
        """
        if asked_at < self._lost_at:
            return
        self._losses = 1 if now - ready_at >= PAUSE_LIMIT else self._losses + 1
        self._lost_at = now
        if self._losses > 1:
            self._not_before_lost = now + backoff(self._losses - 1, base=PAUSE_BASE, limit=PAUSE_LIMIT, rng=self._rng)

    def leased(self) -> None:
        """A kernel was well when it was handed out: they are not lost again and again."""
        self._losses = 0
        self._not_before_lost = -math.inf

    def step(self, counts: Counts, idle_since: Sequence[float], started_at: Sequence[float], now: float) -> Step:
        """Decide what to do.

        Args:
            counts: how many kernels there are.
            idle_since: since when those that are ready were not used, the oldest first.
            started_at: when those that are ready became so for the first time, the oldest first.
            now: the time, in seconds.
        """
        options = self._options
        alive = counts.starting + counts.ready + counts.leased
        wanted = min(counts.leased + counts.waiting + options.warm, options.size)
        missing = min(wanted - alive, options.size - alive - counts.ending, options.starts_at_once - counts.starting)
        look_again = math.inf
        renew = 0
        if options.max_age is not None and options.warm > 0:
            old = sum(1 for since in started_at if now >= since + options.max_age * RENEWED_FROM)
            if old < len(started_at):
                look_again = max(started_at[old] + options.max_age * RENEWED_FROM - now, 0.0)
            if old and counts.ready > options.warm:
                renew = min(old, counts.ready - options.warm)  # the next one is ready
            elif old and missing <= 0 and not (counts.starting or counts.ending or counts.waiting):
                if alive < options.size:
                    missing = 1
                elif counts.ready > 1 and not self._failures:
                    renew = 1  # no room for one more: its place is needed
        pause = max(self._not_before, self._not_before_lost) - now
        if missing > 0 and pause > 0:
            missing, look_again = 0, min(look_again, pause)
        spare = 0 if renew else counts.ready - options.warm
        end = 0
        if options.idle_timeout is not None:
            for since in idle_since[: max(spare, 0)]:
                due = since + options.idle_timeout
                if now < due:
                    look_again = min(look_again, due - now)
                    break
                end += 1
        return Step(start=max(missing, 0), end=end, renew=renew, look_again=look_again)
