"""The heartbeat's times, where floating point rounds."""

from __future__ import annotations

import random

import pytest

from trio_gateway._protocol.liveness import Liveness


@pytest.mark.parametrize("pinged", [False, True])
def test_the_next_check_finds_something_to_do(pinged: bool) -> None:
    """At the very moment that it names."""
    rng = random.Random(0)
    for _ in range(10_000):
        interval = rng.choice([0.1, 0.3, 1 / 3, 10.0, rng.random() * 30])
        heard = rng.random() * 10 ** rng.randint(0, 6)
        liveness = Liveness(interval, heard)
        liveness.connected(heard)
        if pinged:
            liveness.pinged(heard)
        now = liveness.due(sending=False)
        assert liveness.link_is_dead(now, sending=False) if pinged else liveness.wants_ping(now)
