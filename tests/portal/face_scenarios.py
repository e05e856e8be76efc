"""How a scenario of the test kit is played on every face: each must find what Trio finds."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import TYPE_CHECKING

import trio
import uvloop

import trio_gateway
from tools.face_tools import ListeningFake, rest
from trio_gateway.testing.scenarios import Scenario, Stage, run_scenario

from .face_stage import FaceStage, LoopWorld, open_loop_stage, open_thread_stage

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = ["NOT_COMPARED", "kernels_on", "play_on_every_face"]

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


@contextmanager
def kernels_on(gateway: RunningGateway | ListeningFake) -> Iterator[Mapping[str, str]]:
    """Start a kernel for each face: its scenarios share it, where they don't want one of their own."""
    found = {face: rest(gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"] for face in FACES}
    yield found
    for kernel_id in found.values():
        rest(gateway, "DELETE", f"/api/kernels/{kernel_id}")


async def play_on_every_face(scenario: Scenario, gateway: RunningGateway | ListeningFake, kernels: Mapping[str, str]) -> None:
    """Each face says the same, and was really used."""
    config = trio_gateway.GatewayConfig(url=gateway.url, auth_token=gateway.token)
    found: dict[str, tuple[str, str]] = {}

    async def play(face: str) -> None:
        with open_stage(face, config) as stage:
            stage._shared = kernels[face]
            stage.patience = 8.0  # the machine may be busy
            finding = await run_scenario(scenario, stage, limit=250)
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
    assert {face: answer for face, answer in found.items() if answer != found["trio"]} == {}, found
