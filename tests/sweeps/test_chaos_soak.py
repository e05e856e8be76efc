"""10,000 executions under seeded random faults in virtual time: G1 to G5 hold, whatever happens.

They are of the full tier; the quick one has two of its episodes.
"""

from __future__ import annotations

import os
from collections.abc import Callable

import attrs
import pytest

import trio_gateway
from tools.sweep_tools import run_seeded
from trio_gateway.testing import Chaos

from . import chaos_soak

EPISODES = int(os.environ.get("TRIO_GATEWAY_SOAK_EPISODES", "250"))
"""Of 40 executions each. `nox -s soak` sets more."""
FIRST_SEED = int(os.environ.get("TRIO_GATEWAY_SOAK_SEED", "0"))
PARTS = 5


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_soak(part: int, record_testsuite_property: Callable[[str, object], None]) -> None:
    """G1, G2, G3, G4, G5"""
    episodes = EPISODES // PARTS
    report = chaos_soak.soak(FIRST_SEED + part * episodes, episodes)
    print(report)
    record_testsuite_property(f"executions {part}", report.executions)
    assert report.executions >= episodes * chaos_soak.EXECUTIONS
    assert report.endings["whole"] > report.executions / 3
    assert len(report.faults) > 10


def result(text: str, *gaps: trio_gateway.OutputGap) -> trio_gateway.ExecutionResult:
    return trio_gateway.ExecutionResult("ok", (trio_gateway.Stream("stdout", text),), {}, output_gaps=gaps)


def test_the_model_knows_right_from_wrong() -> None:
    lost = trio_gateway.OutputGap("lost", 1)
    maybe = trio_gateway.OutputGap("reconnected", None)
    assert chaos_soak.check("s 2 0", result("s:0\ns:1\ns\n"), Chaos()) == "whole"
    assert chaos_soak.check("s 2 0", result("s:0\ns\n", lost), Chaos()) == "with gaps"
    assert chaos_soak.check("s 2 0", result("s\n", maybe), Chaos()) == "with gaps"
    for text, gaps in [("s:0\ns\n", ()), ("s\n", (lost,)), ("s:0\ns:0\ns:1\ns\n", (lost,)), ("s:1\ns:0\ns\n", ())]:
        with pytest.raises(chaos_soak.Violated):
            chaos_soak.check("s 2 0", result(text, *gaps), Chaos())
    assert chaos_soak.check("s 2 0", result("s:1\ns:0\ns\n"), Chaos(reorder=0.1)) == "whole"


def test_an_episode_can_be_had_again() -> None:
    first = run_seeded(chaos_soak.run_episode, 3, seed=3)
    assert attrs.asdict(first) == attrs.asdict(run_seeded(chaos_soak.run_episode, 3, seed=3))
    assert "--seed 3" in chaos_soak.replay_command(3)
