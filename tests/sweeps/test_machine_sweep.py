"""The state machine over everything, `sweeps/machine.py`, and the scenarios, each with ready tasks in orders that seeds say."""

from __future__ import annotations

import os
import re
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import HealthCheck, Phase
from hypothesis.internal.conjecture.engine import ConjectureRunner  # there is no public switch
from hypothesis.stateful import run_state_machine_as_test

import trio_gateway
from suite.budgets import LONG
from sweeps import chaos_soak, machine
from sweeps.machine import Machine, Violated
from tools.sweep_tools import run_seeded
from trio_gateway._kernel import executor
from trio_gateway.testing import FakeGateway
from trio_gateway.testing.scenarios import SCENARIOS, Stage, run_scenario

PARTS = 4 if LONG else 2
EXAMPLES = 20_000 if LONG else 2_000
"""Of all parts together."""
STEPS = 3
"""Rules of an example, at most, beside its beginning and its end; `nox -s soak` plays longer ones."""
ORDERS = 1_000 if LONG else 50
FLOOD = "no rate limit"
"""A scenario of six thousand messages: two thirds of the time that all of them take."""
FLOODS = 1 if LONG else 4
"""It is played in one of so many orders."""


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_what_users_and_the_world_do_in_any_order(
    part: int, monkeypatch: pytest.MonkeyPatch, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G1, G2, G3, G4, G5, G6, G7, G9"""
    steps = 0
    after = Machine._after

    def count(*arguments: Any) -> None:
        nonlocal steps
        steps += 1
        after(*arguments)

    monkeypatch.setattr(Machine, "_after", count)
    first = int(os.environ.get("TRIO_GATEWAY_SOAK_SEED", "0"))
    options = hypothesis.settings(
        max_examples=EXAMPLES // PARTS,
        stateful_step_count=50 if LONG else STEPS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    # It would play four fifths of the examples as copies of others, in which one rule stands twice; a fifth of them for nothing.
    monkeypatch.setattr(ConjectureRunner, "generate_mutations_from", lambda runner, data: None)
    run_state_machine_as_test(hypothesis.seed(first + part)(Machine), settings=options)
    print(f"{EXAMPLES // PARTS} examples, {steps} steps")
    record_testsuite_property(f"steps of the state machine {part}", steps)
    assert steps > EXAMPLES // PARTS


@pytest.mark.full
@pytest.mark.parametrize("part", range(PARTS))
def test_the_scenarios_in_any_order_of_tasks(part: int) -> None:
    """G3, G4, G5"""

    async def play(*, flood: bool) -> dict[str, str]:
        async with FakeGateway() as fake:
            config = trio_gateway.GatewayConfig(url=fake.url, auth_token=fake.token)
            stage = Stage(config, connector=fake.connector)
            async with stage.sharing():
                return {
                    scenario.name: (await run_scenario(scenario, stage)).outcome
                    for scenario in SCENARIOS
                    if flood or scenario.name != FLOOD
                }

    usual = run_seeded(partial(play, flood=True), seed=-1)
    assert len(usual) == len(SCENARIOS)
    for number in range(part, ORDERS, PARTS):
        found = run_seeded(partial(play, flood=number % FLOODS == 0), seed=4 * number)
        assert usual | found == usual, f"the seed is {4 * number}"
        assert len(usual) - len(found) == (0 if number % FLOODS == 0 else 1)


def test_a_failing_example_is_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """With code that is left running where its caller is cancelled: G6 does not hold, and the example shows it once more."""
    running = executor.Executor._running

    def abandons(self: Any, content: Any, on_cancel: Any, **options: Any) -> Any:
        del on_cancel
        return running(self, content, "abandon", **options)

    monkeypatch.setattr(executor.Executor, "_running", abandons)
    program = """
state = Machine()
blocks_0 = state.begin(seed=0, engine='trio-websocket', framing='v1', tries=True)
runs_0 = state.execute(kept=blocks_0, lines=3, seconds=5, on_cancel='interrupt', pause=0.5)
try:
    state.cancel(run=runs_0, pause=0.5)
finally:
    state.teardown()
"""
    with pytest.raises(Violated, match="still at it"):
        exec(program, vars(machine).copy())
    monkeypatch.undo()
    exec(program, vars(machine).copy())


@pytest.mark.full
def test_what_hypothesis_finds_is_printed_as_a_program(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing else can be found: an example ends without `finish`, and the first one that shows it is shrunk, whatever the time.

    (For ten seconds Hypothesis looks for more, and what is of another kind comes in a group with it.)
    """

    def never(self: machine.World) -> None:
        if self.runs:
            raise Violated("an execution")

    async def ends(self: machine.World) -> None:
        del self

    monkeypatch.setattr(machine.World, "check", never)
    monkeypatch.setattr(machine.World, "finish", ends)
    options = hypothesis.settings(
        max_examples=1000, stateful_step_count=5, deadline=None, database=None, phases=[Phase.generate, Phase.shrink],
        suppress_health_check=list(HealthCheck), report_multiple_bugs=False, print_blob=False,
    )  # fmt: skip
    with pytest.raises(Violated) as caught:
        run_state_machine_as_test(hypothesis.seed(0)(Machine), settings=options)
    notes = "\n".join(caught.value.__notes__)
    # Before and after it Hypothesis may say more.
    found = re.search(r"^state = Machine\(\)$.*^ *state\.teardown\(\)$", notes, re.DOTALL | re.MULTILINE)
    assert found is not None, notes
    names = vars(machine).copy()
    try:
        with pytest.raises(Violated, match="an execution"):
            exec(found[0], names)
    finally:
        names["state"].steps.close()  # it ended before its last line, and Trio runs once in a thread


def test_the_page_says_how_much_is_tried() -> None:
    """docs/guarantees.md has the numbers that stand in the tests."""
    page = (Path(__file__).parents[2] / "docs" / "guarantees.md").read_text(encoding="utf-8")
    if not LONG:  # it has the numbers of an ordinary run
        assert f"| {EXAMPLES:,} runs of at most {STEPS} rules each;" in page
        assert f"| {ORDERS} orders" in page
    assert f"| {250 * chaos_soak.EXECUTIONS:,} executions" in page
