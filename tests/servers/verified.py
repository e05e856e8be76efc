"""How a real server is compared with the fake: the scenarios are played on both, and each difference has a name."""

from __future__ import annotations

from collections.abc import Mapping

import trio
import trio.testing

from trio_gateway import GatewayConfig
from trio_gateway.testing import FakeGateway
from trio_gateway.testing.scenarios import SCENARIOS, Stage, run_scenario, run_scenarios

__all__ = ["UNLIMITED", "WITHOUT_SUBSHELLS", "differences", "outcomes_of_the_fake", "play"]

NOT_COMPARED = {"no rate limit"}
"""Whether a real gateway drops some of many lines depends on how fast the machine prints them."""
PATIENCE = 8.0
"""The machine may be busy."""
UNLIMITED = {"a large message": "yes"}
"""A local gateway of ours limits no rates."""
WITHOUT_SUBSHELLS = {"subshells": "no", "subshells at a time": "no", "listing subshells": "no"}


async def _play_on_the_fake(framing: str) -> dict[str, str]:
    async with FakeGateway(framings=[framing]) as fake:  # type: ignore[list-item]
        stage = Stage(GatewayConfig(url=fake.url, auth_token=fake.token), connector=fake.connector)
        findings = await run_scenarios(stage)
        assert not fake.kernels
        assert fake.protocol_errors == []
    wrong = [(finding.scenario.name, finding.detail) for finding in findings if finding.outcome == "failed"]
    assert wrong == [], wrong
    return {finding.scenario.name: finding.outcome for finding in findings}


def outcomes_of_the_fake(framing: str = "v1") -> dict[str, str]:
    """Play the scenarios on the fake, in virtual time, and say how each ended."""
    found: dict[str, str] = trio.run(_play_on_the_fake, framing, clock=trio.testing.MockClock(autojump_threshold=0))
    return found


async def play(config: GatewayConfig) -> dict[str, str]:
    """Play the scenarios on a real server, and say how each ended."""
    stage = Stage(config)
    stage.patience = PATIENCE
    async with stage.sharing():
        findings = [await run_scenario(scenario, stage, limit=120 * PATIENCE) for scenario in SCENARIOS]
    wrong = [(finding.scenario.name, finding.detail) for finding in findings if finding.outcome == "failed"]
    assert wrong == [], wrong
    return {finding.scenario.name: finding.outcome for finding in findings}


def differences(real: Mapping[str, str], fake: Mapping[str, str]) -> dict[str, str]:
    """Where the server is another than the fake, and what it is there."""
    assert real.keys() == fake.keys()
    return {name: real[name] for name in real if real[name] != fake[name] and name not in NOT_COMPARED}
