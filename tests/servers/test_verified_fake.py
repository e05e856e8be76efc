"""The fake is verified: the scenarios end on it as they do on real servers, and each difference is named here."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import pytest
import trio
import trio.testing

from servers.verified import UNLIMITED, differences, outcomes_of_the_fake, play
from trio_gateway import GatewayConfig, GatewayHTTPError
from trio_gateway.testing import FakeGateway
from trio_gateway.testing.scenarios import SCENARIOS, Absent, Scenario, Stage, run_scenario, run_scenarios

if TYPE_CHECKING:
    from conftest import RunningGateway

KERNEL_GATEWAY = {**UNLIMITED, "sessions": "no"}
"""As measured: Kernel Gateway 3.0.1 answers 500 where sessions are asked for or moved."""


def test_the_framings_make_no_difference() -> None:
    outcomes = outcomes_of_the_fake("v1")
    assert outcomes == outcomes_of_the_fake("legacy")
    lacking = {name for name, outcome in outcomes.items() if outcome == "no"}
    assert lacking == {"bearer token", "a large message", "no rate limit"}


def test_two_who_play_name_nothing_alike() -> None:
    """On a gateway that many use, nobody's scenario may meet another's kernel or document."""

    async def play() -> list[set[str]]:
        named: list[set[str]] = []
        for _ in range(2):
            async with FakeGateway() as fake:
                await run_scenarios(Stage(GatewayConfig(url=fake.url, auth_token=fake.token), connector=fake.connector))
            bodies = [json.loads(request.body) for request in fake.requests if request.body]
            named.append({body[key] for body in bodies for key in ("kernel_id", "path") if body.get(key)})
        return named

    first, second = trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert len(first) > 3
    assert first & second == set()


def test_a_server_that_starts_kernels_only_with_a_session() -> None:
    """As jupyverse does. The scenarios find it out, and play all the same."""

    async def play() -> dict[str, str]:
        async with FakeGateway() as fake:
            fake.faults.answer("POST .*/api/kernels$", 405)
            findings = await run_scenarios(Stage(GatewayConfig(url=fake.url, auth_token=fake.token), connector=fake.connector))
            assert not fake.kernels
        return {finding.scenario.name: finding.outcome for finding in findings}

    limited = trio.run(play, clock=trio.testing.MockClock(autojump_threshold=0))
    assert differences(limited, outcomes_of_the_fake()) == {"starting kernels": "no", "choosing the kernel id": "no"}


async def test_there_the_library_starts_none_and_says_what_can_be_done(autojump_clock: trio.testing.MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        fake.faults.answer("POST .*/api/kernels$", 405)
        with pytest.raises(GatewayHTTPError, match=r"405 Method Not Allowed: .* \(POST /api/sessions\), attach_kernel") as caught:
            async with gateway.start_kernel():
                pytest.fail("it started")
        assert caught.value.status_code == 405


@pytest.mark.gateway
@pytest.mark.timeout(900)
def test_kernel_gateway(real_gateway: RunningGateway) -> None:
    real = trio.run(play, GatewayConfig(url=real_gateway.url, auth_token=real_gateway.token))
    assert differences(real, outcomes_of_the_fake()) == KERNEL_GATEWAY


async def test_how_a_scenario_can_end(autojump_clock: trio.testing.MockClock) -> None:
    async def lacks(stage: Stage) -> None:
        raise Absent("no such thing")

    async def lacks_in_a_nursery(stage: Stage) -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(lacks, stage)
            nursery.start_soon(trio.sleep_forever)

    async def breaks(stage: Stage) -> None:
        raise ValueError("wrong")

    async def hangs(stage: Stage) -> None:
        await trio.sleep_forever()

    async def works(stage: Stage) -> None:
        await trio.sleep(1)

    stage = Stage(GatewayConfig(url="http://127.0.0.1:1"))
    endings = []
    for function in (lacks, lacks_in_a_nursery, breaks, hangs, works):
        finding = await run_scenario(Scenario(function.__name__, "", function), stage)
        endings.append((finding.outcome, finding.detail))
    assert endings == [
        ("no", "no such thing"),
        ("no", "no such thing"),
        ("failed", "ValueError: wrong"),
        ("failed", "no end after 120 s"),
        ("yes", ""),
    ]
    assert len({scenario.name for scenario in SCENARIOS}) == len(SCENARIOS) > 30
    assert all(scenario.about.endswith(".") for scenario in SCENARIOS)
