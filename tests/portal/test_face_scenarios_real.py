"""The test kit's scenarios on every face, on a real gateway: what they find is what they find on Trio."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import pytest

from trio_gateway.testing.scenarios import SCENARIOS, Scenario

from .face_scenarios import kernels_on, play_on_every_face

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]


@pytest.fixture(scope="module")
def real_kernels(real_gateway: RunningGateway) -> Iterator[Mapping[str, str]]:
    with kernels_on(real_gateway) as kernels:
        yield kernels


@pytest.mark.parametrize("scenario", SCENARIOS, ids=lambda scenario: scenario.name)
async def test_a_real_scenario_on_every_face(
    scenario: Scenario, real_gateway: RunningGateway, real_kernels: Mapping[str, str]
) -> None:
    await play_on_every_face(scenario, real_gateway, real_kernels)
