"""What a pool has and has done, in numbers."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs

__all__ = ["HandOutTimes", "PoolStatistics", "Tally"]

_REMEMBERED: Final = 1000
"""Of how many leases the times are remembered."""


@attrs.frozen(kw_only=True)
class HandOutTimes:
    """How long callers waited for a kernel, in seconds: of the latest thousand leases."""

    count: int = 0
    """Of how many leases."""
    median: float = 0.0
    """Half of them waited no longer."""
    p99: float = 0.0
    """Of a hundred, 99 waited no longer."""
    longest: float = 0.0
    """The longest."""


@attrs.frozen(kw_only=True)
class PoolStatistics:
    """What a pool has now, and what it has done since it was opened."""

    ready: int
    """Kernels that can be handed out at once."""
    leased: int
    """Kernels that somebody has."""
    starting: int
    """Kernels that start, or that start again after a use."""
    ending: int
    """Kernels that are being shut down."""
    waiting: int
    """Callers that wait for a kernel."""
    hits: int
    """Leases that were given a kernel which was ready when they asked."""
    misses: int
    """Leases that had to wait for one."""
    started: int
    """Kernels that became ready, those that were restarted included."""
    starts_failed: int
    """Starts that failed, and runs of `init`."""
    lost: int
    """Kernels that were ready, and were found dead, restarted by others, or not answering."""
    hand_out: HandOutTimes
    """How long leases waited."""


@attrs.define(eq=False)
class Tally:
    """What a pool counts."""

    hits: int = 0
    misses: int = 0
    started: int = 0
    starts_failed: int = 0
    lost: int = 0
    waited: deque[float] = attrs.field(factory=lambda: deque(maxlen=_REMEMBERED))

    def times(self) -> HandOutTimes:
        """Sum up how long leases waited."""
        if not self.waited:
            return HandOutTimes()
        waited = sorted(self.waited)
        return HandOutTimes(count=len(waited), median=_share(waited, 0.5), p99=_share(waited, 0.99), longest=waited[-1])


def _share(ordered: Sequence[float], share: float) -> float:
    """Return the least of the numbers that so many of them do not exceed."""
    return ordered[max(math.ceil(share * len(ordered)) - 1, 0)]
