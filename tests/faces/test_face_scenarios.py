"""The test kit's scenarios on every face, on a real gateway: what they find is what they find on Trio."""

from __future__ import annotations

import asyncio
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING

import pytest
import trio
import uvloop
from face_stage import FaceStage, LoopWorld, open_loop_stage, open_thread_stage

import trio_gateway
from trio_gateway.testing.scenarios import SCENARIOS, Scenario, Stage, run_scenario

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway

FACES = ["trio", "asyncio", "uvloop", "blocking"]
NOT_BLOCKING = {
    "interrupt": "nothing cancels a blocking call but Ctrl-C, which has tests of its own",
}
NOT_COMPARED = {"no rate limit"}
"""Whether a gateway drops some of many lines depends on how fast the machine prints them: it only must not fail anywhere."""


def open_stage(face: str, config: trio_gateway.GatewayConfig) -> AbstractContextManager[Stage]:
    """Open a stage on a face."""
    match face:
        case "trio":
            return nullcontext(Stage(config))
        case "blocking":
            return open_thread_stage(config)
        case _:
            return open_loop_stage(uvloop.new_event_loop if face == "uvloop" else asyncio.new_event_loop, config)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_a_scenario_on_every_face(scenario: Scenario, real_gateway: RunningGateway) -> None:
    """Each face says the same, and was really used."""
    config = trio_gateway.GatewayConfig(url=real_gateway.url, auth_token=real_gateway.token)
    found: dict[str, tuple[str, str]] = {}

    async def play(face: str) -> None:
        with open_stage(face, config) as stage:
            finding = await run_scenario(scenario, stage, limit=60)
        found[face] = (finding.outcome, finding.detail)
        if isinstance(stage, FaceStage):
            assert isinstance(stage.world, LoopWorld) == (face != "blocking")
            assert stage.world.calls > 0

    async with trio.open_nursery() as nursery:
        for face in FACES:
            if face != "blocking" or scenario.name not in NOT_BLOCKING:
                nursery.start_soon(play, face)
    assert "failed" not in {outcome for outcome, _ in found.values()}, found
    if scenario.name in NOT_COMPARED:
        return
    assert {face: answer for face, answer in found.items() if answer != found["trio"]} == {}
