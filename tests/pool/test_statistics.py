"""What a pool counts."""

from __future__ import annotations

from trio_gateway import HandOutTimes
from trio_gateway._pool.statistics import Tally


def test_how_long_leases_waited() -> None:
    tally = Tally()
    assert tally.times() == HandOutTimes()
    tally.waited.extend(number / 100 for number in range(100, 0, -1))
    assert tally.times() == HandOutTimes(count=100, median=0.5, p99=0.99, longest=1.0)
    tally.waited.extend([0.0] * 2000)
    assert tally.times() == HandOutTimes(count=1000)
