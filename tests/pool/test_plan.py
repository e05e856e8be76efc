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
    assert plan(**options).step(now, [0.0] * now.ready, [0.0] * now.ready, 0.0).start == starts


def test_a_start_that_failed_is_followed_by_a_pause_that_grows_and_ends() -> None:
    pool = plan(warm=1)
    now = 0.0
    for failures in range(1, 20):
        pool.failed(now, now)
        pool.failed(now, now - 1e-3)  # beside the other: it is the same failure
        assert pool.failures == failures
        assert pool.is_paused(now)
        step = pool.step(Counts(), (), (), now)
        longest = min(PAUSE_BASE * 2 ** (failures - 1), PAUSE_LIMIT)
        assert step.start == 0
        assert longest / 2 <= step.look_again <= longest
        now += step.look_again
        assert pool.step(Counts(), (), (), now).start == 1
        assert not pool.is_paused(now)
    pool.failed(now, now)
    pool.succeeded()
    assert pool.failures == 0
    assert pool.step(Counts(), (), (), now).start == 1


def starts_at_once(pool: Plan, now: float) -> bool:
    assert pool.is_paused(now) == (pool.step(Counts(), (), (), now).start == 0)
    return not pool.is_paused(now)


@pytest.mark.parametrize(("tried", "ends"), [(None, False), ((), True), (("b",), True), (("a",), False), (("a", "b"), False)])
def test_a_gateway_that_comes_ends_the_pause_after_a_start_that_found_none_and_was_not_tried_there(
    tried: tuple[str, ...] | None, ends: bool
) -> None:
    pool = plan(warm=1)
    for failures in range(1, 8):
        now = failures * 100.0
        pool.failed(now, now, tried)
        assert not starts_at_once(pool, now)
        pool.came("a", now)
        assert starts_at_once(pool, now) == ends
        assert pool.failures == failures


@pytest.mark.parametrize(("tried", "ends"), [(None, False), ((), True), (("b",), True), (("a",), False), (("a", "b"), False)])
def test_a_gateway_that_comes_while_a_start_runs_spares_it_the_pause_once(tried: tuple[str, ...] | None, ends: bool) -> None:
    pool = plan(warm=1)
    pool.came("a", 5.0)
    pool.failed(20.0, 0.0, tried)
    assert starts_at_once(pool, 20.0) == ends
    pool.failed(20.0, 0.0, tried)  # beside the other
    assert starts_at_once(pool, 20.0) == ends
    pool.failed(20.0, 20.0, tried)
    assert not starts_at_once(pool, 20.0)


def test_a_gateway_that_came_before_a_start_was_asked_for_is_no_news_to_it() -> None:
    pool = plan(warm=1)
    pool.came("a", 5.0)
    pool.failed(20.0, 6.0, ())
    assert not starts_at_once(pool, 20.0)


def test_those_that_nobody_uses_are_ended_down_to_warm() -> None:
    pool = plan(warm=1, idle_timeout=10.0)
    counts = Counts(ready=3)
    assert pool.step(counts, [0.0, 5.0, 9.0], (0.0,) * 3, 9.0) == Step(start=0, end=0, look_again=1.0)
    assert pool.step(counts, [0.0, 5.0, 9.0], (0.0,) * 3, 10.0) == Step(start=0, end=1, look_again=5.0)
    assert pool.step(counts, [0.0, 5.0, 9.0], (0.0,) * 3, 99.0) == Step(start=0, end=2, look_again=math.inf)
    assert plan(warm=0, idle_timeout=10.0).step(Counts(ready=1), [0.0], [0.0], 10.0).end == 1
    kept = plan(warm=0, idle_timeout=None)
    assert kept.step(Counts(ready=1), [0.0], [0.0], 1e9) == Step(start=0, end=0, look_again=math.inf)


@pytest.mark.parametrize(
    ("options", "counts", "started_at", "start", "renew"),
    [
        ({"warm": 2}, {"ready": 2}, [26.0, 26.0], 0, 0),
        ({"warm": 2}, {"ready": 2}, [25.0, 25.0], 1, 0),
        ({"warm": 2}, {"ready": 2, "starting": 1}, [25.0, 25.0], 0, 0),
        ({"warm": 2}, {"ready": 3}, [25.0, 25.0, 99.0], 0, 1),
        ({"warm": 2}, {"ready": 2, "ending": 1}, [25.0, 99.0], 0, 0),
        ({"warm": 2}, {"ready": 2}, [25.0, 99.0], 1, 0),
        ({"warm": 2, "size": 2}, {"ready": 2}, [25.0, 25.0], 0, 1),
        ({"warm": 2, "size": 2}, {"ready": 1, "ending": 1}, [25.0], 0, 0),
        ({"warm": 2, "size": 2}, {"ready": 1}, [25.0], 1, 0),
        ({"warm": 2, "size": 2}, {"ready": 1, "starting": 1}, [25.0], 0, 0),
        ({"warm": 2, "size": 3}, {"ready": 2, "leased": 1}, [25.0, 25.0], 0, 1),
        ({"warm": 1, "size": 1}, {"ready": 1}, [25.0], 0, 0),
        ({"warm": 0}, {"ready": 2}, [25.0, 25.0], 0, 0),
        ({"warm": 1, "idle_timeout": 50.0}, {"ready": 2}, [25.0, 99.0], 0, 1),
    ],
)
def test_those_that_get_old_are_replaced_one_after_the_other(
    options: dict[str, Any], counts: dict[str, int], started_at: list[float], start: int, renew: int
) -> None:
    """At 100, with a `max_age` of 100: from 75 on a kernel is due."""
    pool = plan(**{"max_age": 100.0, "idle_timeout": None, **options})
    step = pool.step(Counts(**counts), sorted(started_at), started_at, 100.0)
    assert (step.start, step.renew, step.end) == (start, renew, 0)


def test_it_looks_again_when_the_next_is_due_and_takes_no_place_while_starts_fail() -> None:
    pool = plan(max_age=100.0, warm=2, size=2, idle_timeout=None)
    both = Counts(ready=2)
    assert pool.step(both, [0.0, 0.0], [0.0, 5.0], 10.0) == Step(start=0, end=0, look_again=65.0)
    pool.failed(70.0, 70.0)
    assert pool.step(both, [0.0, 0.0], [0.0, 5.0], 75.0).renew == 0
    pool.succeeded()
    assert pool.step(both, [0.0, 0.0], [0.0, 5.0], 75.0) == Step(start=0, end=0, renew=1, look_again=5.0)


def test_those_that_are_lost_again_and_again_are_replaced_after_a_pause_that_grows() -> None:
    pool = plan(warm=1)
    now = 0.0
    pool.lost(now, now, now)
    assert pool.step(Counts(), (), (), now).start == 1, "one may be lost by chance"
    for losses in range(1, 20):
        pool.lost(now, now, now)
        pool.lost(now, now - 1e-3, now)  # beside the other
        assert not pool.is_paused(now), "no start has failed"
        step = pool.step(Counts(), (), (), now)
        longest = min(PAUSE_BASE * 2 ** (losses - 1), PAUSE_LIMIT)
        assert step.start == 0
        assert longest / 2 <= step.look_again <= longest
        pool.succeeded()
        assert pool.step(Counts(), (), (), now) == step, "that it starts is not what it lacks"
        now += step.look_again
        assert pool.step(Counts(), (), (), now).start == 1
    pool.lost(now, now, now - PAUSE_LIMIT)
    pool.lost(now, now, now)
    assert pool.step(Counts(), (), (), now).look_again <= PAUSE_BASE, "one that was ready for long begins the count anew"
    pool.leased()
    assert pool.step(Counts(), (), (), now).start == 1


@given(
    size=st.integers(1, 6),
    warm=st.integers(0, 6),
    at_once=st.integers(1, 6),
    max_age=st.none() | st.just(1e6),
    counts=st.builds(
        Counts,
        starting=st.integers(0, 6),
        ready=st.integers(0, 6),
        leased=st.integers(0, 6),
        ending=st.integers(0, 6),
        waiting=st.integers(0, 6),
    ),
)
def test_never_more_than_there_may_be(size: int, warm: int, at_once: int, max_age: float | None, counts: Counts) -> None:
    total = counts.starting + counts.ready + counts.leased + counts.ending
    step = plan(size=size, warm=min(warm, size), starts_at_once=at_once, max_age=max_age).step(
        counts, [0.0] * counts.ready, [0.0] * counts.ready, 9e5
    )
    assert step.start >= 0
    assert step.end + step.renew <= counts.ready
    if step.start:
        assert total + step.start <= size
        assert counts.starting + step.start <= at_once
    if total < size and counts.starting < at_once and counts.starting + counts.ready < counts.waiting:
        assert step.start > 0, "somebody waits, and there is room"
