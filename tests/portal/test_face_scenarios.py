"""The test kit's scenarios on every face, on the fake: what they find is what they find on Trio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

import pytest

from tools.face_tools import ListeningFake
from trio_gateway.testing.scenarios import SCENARIOS, Scenario

from .face_scenarios import NOT_COMPARED, kernels_on, play_on_every_face

QUICK = [scenario for scenario in SCENARIOS if scenario.name not in NOT_COMPARED]
"""Thousands of lines on each face at once take as long here as on a real gateway, which has more to show."""


@pytest.fixture(scope="module")
def kernels(fake_gateway: ListeningFake) -> Iterator[Mapping[str, str]]:
    with kernels_on(fake_gateway) as kernels:
        yield kernels


@pytest.mark.parametrize("scenario", QUICK, ids=lambda scenario: scenario.name)
async def test_a_scenario_on_every_face(scenario: Scenario, fake_gateway: ListeningFake, kernels: Mapping[str, str]) -> None:
    await play_on_every_face(scenario, fake_gateway, kernels)
