"""The fake is verified: the scenarios end on it as they do on real servers, and each difference is named here."""

from __future__ import annotations

import json
import secrets
import subprocess
import sys
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING

import attrs
import pytest
import trio
import trio.testing

from servers.conftest import Server, end, free_port, wait_until_it_answers
from trio_gateway import GatewayConfig, GatewayHTTPError
from trio_gateway.testing import FakeGateway
from trio_gateway.testing.scenarios import SCENARIOS, Absent, Scenario, Stage, run_scenario, run_scenarios

if TYPE_CHECKING:
    from conftest import RunningGateway

NOT_COMPARED = {"no rate limit"}
"""Whether a real gateway drops some of many lines depends on how fast the machine prints them."""
UNLIMITED = {"a large message": "yes"}
"""A local gateway of ours limits no rates."""
KERNEL_GATEWAY = {**UNLIMITED, "sessions": "no"}
"""As measured: Kernel Gateway 3.0.1 answers 500 where sessions are asked for or moved."""
WITHOUT_SUBSHELLS = {"subshells": "no", "subshells at a time": "no", "listing subshells": "no"}
ENTERPRISE_GATEWAY = {
    **UNLIMITED, **WITHOUT_SUBSHELLS, "choosing the kernel id": "no", "sessions": "no",
}  # fmt: skip
"""It limits no rates; its kernels are ipykernel 6, which has no subshells; asked twice for an id it refuses; its sessions ask for
a user in a place where a client has none."""
JUPYTER_SERVER = {"bearer token": "yes"}


async def play_on_the_fake(framing: str) -> dict[str, str]:
    async with FakeGateway(framings=[framing]) as fake:  # type: ignore[list-item]
        stage = Stage(GatewayConfig(url=fake.url, auth_token=fake.token), connector=fake.connector)
        findings = await run_scenarios(stage)
        assert not fake.kernels
        assert fake.protocol_errors == []
    wrong = [(finding.scenario.name, finding.detail) for finding in findings if finding.outcome == "failed"]
    assert wrong == []
    return {finding.scenario.name: finding.outcome for finding in findings}


def outcomes_of_the_fake(framing: str = "v1") -> dict[str, str]:
    found: dict[str, str] = trio.run(play_on_the_fake, framing, clock=trio.testing.MockClock(autojump_threshold=0))
    return found


async def play(config: GatewayConfig) -> dict[str, str]:
    findings = await run_scenarios(Stage(config))
    wrong = [(finding.scenario.name, finding.detail) for finding in findings if finding.outcome == "failed"]
    assert wrong == []
    return {finding.scenario.name: finding.outcome for finding in findings}


def differences(real: Mapping[str, str], fake: Mapping[str, str]) -> dict[str, str]:
    """Where the server is another than the fake, and what it is there."""
    assert real.keys() == fake.keys()
    return {name: real[name] for name in real if real[name] != fake[name] and name not in NOT_COMPARED}


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
@pytest.mark.timeout(200)
async def test_kernel_gateway(real_gateway: RunningGateway) -> None:
    real = await play(GatewayConfig(url=real_gateway.url, auth_token=real_gateway.token))
    assert differences(real, await trio.to_thread.run_sync(outcomes_of_the_fake)) == KERNEL_GATEWAY


@pytest.mark.gateway
@pytest.mark.timeout(200)
async def test_enterprise_gateway(enterprise_gateway: Server) -> None:
    config = GatewayConfig(url=enterprise_gateway.url, auth_token=enterprise_gateway.token, kernel_username="alice")
    real = await play(config)
    assert differences(real, await trio.to_thread.run_sync(outcomes_of_the_fake)) == ENTERPRISE_GATEWAY


@pytest.fixture
def jupyter_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A Jupyter Server, which Kernel Gateway brings along."""
    folder = tmp_path_factory.mktemp("jupyter_server")
    server = Server(f"http://127.0.0.1:{free_port()}", secrets.token_hex(16), 0, folder / "log")
    command = [sys.executable, "-m", "jupyter_server", "--ServerApp.ip=127.0.0.1", f"--ServerApp.port={server.url[17:]}"]
    command += [f"--IdentityProvider.token={server.token}", "--no-browser", "--allow-root", f"--ServerApp.root_dir={folder}"]
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    try:
        server = attrs.evolve(server, pid=process.pid)
        wait_until_it_answers(server, process)
        yield server
    finally:
        end(process)


@pytest.mark.gateway
@pytest.mark.timeout(200)
def test_jupyter_server(jupyter_server: Server) -> None:
    real = trio.run(play, GatewayConfig(url=jupyter_server.url, auth_token=jupyter_server.token))
    assert differences(real, outcomes_of_the_fake()) == JUPYTER_SERVER


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
