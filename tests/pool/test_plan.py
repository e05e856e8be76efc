"""How many kernels a pool starts and ends: each rule by itself, without a clock."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._pool.options import PoolOptions
from trio_gateway._pool.plan import PAUSE_BASE, PAUSE_LIMIT, Counts, Plan, Step


def plan(**options: Any) -> Plan:
    return Plan(PoolOptions(**{"size": 4, "idle_timeout": 10.0, **options}), random.Random(0))


@pytest.mark.parametrize(
    ("options", "counts", "starts"),
    [
        ({}, {}, 0),
        ({"warm": 2}, {}, 2),
        ({"warm": 2}, {"ready": 1}, 1),
        ({"warm": 2}, {"starting": 2}, 0),
        ({"warm": 2}, {"leased": 2}, 2),
        ({"warm": 2}, {"leased": 3}, 1),
        ({"warm": 2}, {"leased": 4}, 0),
        ({}, {"waiting": 1}, 1),
        ({}, {"waiting": 9}, 4),
        ({"warm": 1}, {"waiting": 1}, 2),
        ({}, {"waiting": 2, "ending": 3}, 1),
        ({}, {"waiting": 2, "ending": 4}, 0),
        ({"starts_at_once": 1}, {"waiting": 3}, 1),
        ({"starts_at_once": 1}, {"waiting": 3, "starting": 1}, 0),
        ({"size": 9}, {"waiting": 9}, 4),
    ],
)
def test_so_many_are_started(options: dict[str, Any], counts: dict[str, int], starts: int) -> None:
    now = Counts(**counts)
    assert plan(**options).step(now, [0.0] * now.ready, 0.0).start == starts


def test_a_start_that_failed_is_followed_by_a_pause_that_grows_and_ends() -> None:
    pool = plan(warm=1)
    now = 0.0
    for failures in range(1, 20):
        pool.failed(now, now)
        pool.failed(now, now - 1e-3)  # beside the other: it is the same failure
        assert pool.failures == failures
        assert pool.is_paused(now)
        step = pool.step(Counts(), (), now)
        longest = min(PAUSE_BASE * 2 ** (failures - 1), PAUSE_LIMIT)
        assert step.start == 0
        assert longest / 2 <= step.look_again <= longest
        now += step.look_again
        assert pool.step(Counts(), (), now).start == 1
        assert not pool.is_paused(now)
    pool.failed(now, now)
    pool.succeeded()
    assert pool.failures == 0
    assert pool.step(Counts(), (), now).start == 1


def test_those_that_nobody_uses_are_ended_down_to_warm() -> None:
    pool = plan(warm=1, idle_timeout=10.0)
    counts = Counts(ready=3)
    assert pool.step(counts, [0.0, 5.0, 9.0], 9.0) == Step(start=0, end=0, look_again=1.0)
    assert pool.step(counts, [0.0, 5.0, 9.0], 10.0) == Step(start=0, end=1, look_again=5.0)
    assert pool.step(counts, [0.0, 5.0, 9.0], 99.0) == Step(start=0, end=2, look_again=math.inf)
    assert plan(warm=0, idle_timeout=10.0).step(Counts(ready=1), [0.0], 10.0).end == 1
    assert plan(warm=0, idle_timeout=None).step(Counts(ready=1), [0.0], 1e9) == Step(start=0, end=0, look_again=math.inf)


@given(
    size=st.integers(1, 6),
    warm=st.integers(0, 6),
    at_once=st.integers(1, 6),
    counts=st.builds(
        Counts,
        starting=st.integers(0, 6),
        ready=st.integers(0, 6),
        leased=st.integers(0, 6),
        ending=st.integers(0, 6),
        waiting=st.integers(0, 6),
    ),
)
def test_never_more_than_there_may_be(size: int, warm: int, at_once: int, counts: Counts) -> None:
    total = counts.starting + counts.ready + counts.leased + counts.ending
    step = plan(size=size, warm=min(warm, size), starts_at_once=at_once).step(counts, [0.0] * counts.ready, 1e6)
    assert step.start >= 0
    assert step.end <= counts.ready
    if step.start:
        assert total + step.start <= size
        assert counts.starting + step.start <= at_once
    if total < size and counts.starting < at_once and counts.starting + counts.ready < counts.waiting:
        assert step.start > 0, "somebody waits, and there is room"
