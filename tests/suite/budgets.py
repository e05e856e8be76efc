"""How much the property tests and the sweeps try in one run.

Property tests: the profile `ci` (the default) draws the same 25 examples in each run, whatever the process has imported;
`--hypothesis-profile=deep` draws 2,000 others, with no limit for a test: two thousand runs of a notebook take minutes. A test
that needs more than others says so with [examples][suite.budgets.examples].

Sweeps: a run takes every fourth point, and the commit's number says which, so that four consecutive commits take all of them;
TRIO_GATEWAY_LONG=1 (as `nox -s soak` sets) takes all, TRIO_GATEWAY_SWEEP_OFFSET=0..3 chooses.
"""

from __future__ import annotations

import functools
import itertools
import os
import subprocess
from collections.abc import Callable, Collection, Sequence
from pathlib import Path
from typing import TypeVar

import pytest
from hypothesis import HealthCheck, settings
from hypothesis.internal.conjecture import providers  # where constants come from: there is no public place
from hypothesis.internal.constants_ast import Constants

__all__ = ["STRIDE", "examples", "strike", "strike_until_it_ends", "sweep_offset", "sweep_offsets"]

Point = TypeVar("Point")

ROOT = Path(__file__).parents[2]
LONG = bool(os.environ.get("TRIO_GATEWAY_LONG"))
CLASSES = 4
STRIDE = 1 if LONG else CLASSES
"""A sweep takes each point whose number leaves `sweep_offset()` when divided by this."""

# What Hypothesis sets otherwise where it finds the variables of a CI is said: a failure then reads the same everywhere.
settings.register_profile(
    "ci",
    derandomize=True,
    max_examples=25,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
    print_blob=False,
)
settings.register_profile(
    "deep", derandomize=False, max_examples=2000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
settings.load_profile("ci")


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Let property tests take their time where they are to be deep; `--timeout` says otherwise.

    Else a seed says all that Hypothesis draws. It would also draw numbers and texts that stand in any module of ours, of those
    that this process has imported: what other tests run in it decides that.
    """
    if config.getoption("--hypothesis-profile", None) != "deep":
        providers._get_local_constants = Constants
    elif config.getoption("--timeout", None) is None:
        config.option.timeout = 0


def examples(factor: float) -> int:
    """Return this many times as many examples as the profile in force has: for a property whose inputs are wider than others'."""
    return int(settings().max_examples * factor)


@functools.cache
def sweep_offset() -> int:
    """Return where a sweep begins: below `STRIDE`, another one for each of that many consecutive commits."""
    if STRIDE == 1:
        return 0
    chosen = os.environ.get("TRIO_GATEWAY_SWEEP_OFFSET")
    if chosen is not None:
        return int(chosen) % STRIDE
    command = ["git", "-C", str(ROOT), "rev-list", "--count", "HEAD"]
    try:
        done = subprocess.run(command, capture_output=True, check=True, timeout=60)
    except (OSError, subprocess.SubprocessError):  # a source distribution has no commits
        return 0
    return int(done.stdout) % STRIDE


def sweep_offsets() -> Collection[int]:
    """Return which of the four quarters of a sweep's points this run takes: one, or all."""
    return range(CLASSES) if STRIDE == 1 else (sweep_offset(),)


def strike(points: Sequence[Point], offsets: Collection[int] | None = None) -> list[Point]:
    """Return those of a sweep's points that this run takes, or those of the quarters `offsets`."""
    chosen = sweep_offsets() if offsets is None else offsets
    return [point for number, point in enumerate(points) if number % CLASSES in chosen]


def strike_until_it_ends(attempt: Callable[[int], bool], offsets: Collection[int] | None = None) -> list[int]:
    """Strike an operation at its points 1, 2, 3 ... where nobody knows before how many it has.

    Each quarter ends by itself: where chance moves an operation's end, all four together still strike the same points whether
    they do so in one run or in four.

    Args:
        attempt: strikes at this point; whether the operation ended before it.
        offsets: which quarters, in place of those of this run.

    Returns:
        The points that were struck.
    """
    running = set(sweep_offsets() if offsets is None else offsets)
    struck: list[int] = []
    for point in itertools.count(1):
        if not running:
            break
        if point % CLASSES in running:
            if attempt(point):
                running.discard(point % CLASSES)
            else:
                struck.append(point)
    return struck
