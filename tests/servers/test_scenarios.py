"""The scenarios on a real Kernel Gateway over the other engine and the other framing: what goes over a connection is the same.

`servers/test_verified_fake` plays them over the first of each, and on the fake over both framings. So the tests of what code
does need not run over each of them.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tools.gateway_tools import open_framing_proxy
from trio_gateway import GatewayConfig
from trio_gateway.testing.scenarios import Stage, run_scenarios

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

LACKING = {"bearer token", "sessions"}
NOT_COMPARED = {"no rate limit"}
"""Whether it drops some of many lines depends on how fast the machine prints them."""


@pytest.mark.parametrize("engine", ["trio-websocket"], indirect=True)
async def test_scenarios_over_the_other_engine_and_the_other_framing(real_gateway: RunningGateway, engine: str) -> None:
    async with open_framing_proxy(real_gateway, "legacy") as (proxy, seen):
        findings = await run_scenarios(
            Stage(GatewayConfig(url=proxy.url, auth_token=real_gateway.token, websocket_engine=engine))
        )
    assert set(seen) == {"legacy"}
    assert [(finding.scenario.name, finding.detail) for finding in findings if finding.outcome == "failed"] == []
    assert {finding.scenario.name for finding in findings if finding.outcome == "no"} - NOT_COMPARED == LACKING
