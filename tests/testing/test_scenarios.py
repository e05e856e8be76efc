"""The scenarios and what runs them. (That they end alike on the fake and on real servers is in `servers/test_verified_fake`.)"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway, FakeKernelSpec
from trio_gateway.testing.scenarios import SCENARIOS, Absent, Finding, Scenario, Stage, run_scenario, run_scenarios

Clock = trio.testing.MockClock
BY_NAME = {scenario.name: scenario for scenario in SCENARIOS}
NOWHERE = Stage(trio_gateway.GatewayConfig(url="http://x"))


WITHOUT_CHECKS = """
import trio
from trio_gateway import GatewayConfig
from trio_gateway.testing.scenarios import SCENARIOS, Stage, run_scenario

finding = trio.run(run_scenario, SCENARIOS[0], Stage(GatewayConfig(url="http://127.0.0.1")))
print(len(SCENARIOS), finding.outcome, finding.detail)
"""


@pytest.mark.parametrize("option", ["-O", "-OO"])
def test_where_python_leaves_the_checks_out_nothing_is_called_right(option: str) -> None:
    """Assertions are what a scenario checks by; docstrings, which `-OO` leaves out too, are what the command shows of it."""
    done = subprocess.run([sys.executable, option, "-c", WITHOUT_CHECKS], check=True, capture_output=True, text=True)
    assert (
        done.stdout == f"{len(SCENARIOS)} failed Python leaves out what a scenario checks: run it without -O and PYTHONOPTIMIZE\n"
    )


@asynccontextmanager
async def staged(fake: FakeGateway) -> AsyncGenerator[Stage]:
    async with fake:
        yield Stage(trio_gateway.GatewayConfig(url=fake.url, auth_token=fake.token), connector=fake.connector)


# Running them -----------------------------------------------------------------------------------------------------------


async def well(stage: Stage) -> None:
    await trio.sleep(3)


async def lacking(stage: Stage) -> None:
    raise Absent("405")


async def wrong(stage: Stage) -> None:
    raise ValueError("worse")


async def lacking_in_a_group(stage: Stage) -> None:
    raise ExceptionGroup("outer", [ExceptionGroup("inner", [Absent("405")])])


async def wrong_in_a_group(stage: Stage) -> None:
    raise ExceptionGroup("outer", [ValueError("worse")])


async def endless(stage: Stage) -> None:
    await trio.sleep_forever()


@pytest.mark.parametrize(
    ("play", "outcome", "detail", "seconds"),
    [
        (well, "yes", "", 3),
        (lacking, "no", "405", 0),
        (wrong, "failed", "ValueError: worse", 0),
        (lacking_in_a_group, "no", "405", 0),
        (wrong_in_a_group, "failed", "ValueError: worse", 0),
        (endless, "failed", "no end after 50 s", 50),
    ],
)
async def test_how_a_scenario_ends(autojump_clock: Clock, play: object, outcome: str, detail: str, seconds: float) -> None:
    scenario = Scenario("name", "about", play)  # type: ignore[arg-type]
    assert await run_scenario(scenario, NOWHERE, limit=50) == Finding(scenario, outcome, detail, seconds)  # type: ignore[arg-type]


async def test_all_are_played_in_order_on_one_kernel(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    few = [BY_NAME[name] for name in ("version", "execute", "errors")]
    monkeypatch.setattr("trio_gateway.testing.scenarios.SCENARIOS", few)
    reported: list[Finding] = []

    async def report(finding: Finding) -> None:
        reported.append(finding)

    fake = FakeGateway()
    async with staged(fake) as stage:
        findings = await run_scenarios(stage, report)
        assert len(fake.ended_kernels) == 1
    assert [finding.scenario for finding in findings] == few
    assert reported == findings
    assert {finding.outcome for finding in findings} == {"yes"}


def test_each_has_a_name_of_its_own_and_a_sentence() -> None:
    assert len(BY_NAME) == len(SCENARIOS) > 30
    assert all(scenario.about.endswith(".") for scenario in SCENARIOS)
    assert BY_NAME["wrong token is refused"].about == "A wrong token is refused with 401 or 403."


# What they find ---------------------------------------------------------------------------------------------------------


NO_RATE = {"iopub_msg_rate_limit": 0.0, "iopub_data_rate_limit": 0.0}


async def play(fake: FakeGateway, name: str) -> tuple[str, str]:
    async with staged(fake) as stage:
        finding = await run_scenario(BY_NAME[name], stage)
    return finding.outcome, finding.detail


@pytest.mark.parametrize(
    ("fake", "name", "found"),
    [
        (lambda: FakeGateway(token=""), "wrong token is refused", ("no", "no token is set")),
        (lambda: FakeGateway(token=""), "bearer token", ("no", "no token is set")),
        (FakeGateway, "bearer token", ("no", "401")),
        (lambda: FakeGateway(takes_bearer=True), "bearer token", ("yes", "")),
        (lambda: FakeGateway(list_kernels=False), "listing kernels", ("no", "403")),
        (lambda: FakeGateway(takes_kernel_id=False), "choosing the kernel id", ("no", "it chooses another")),
        (lambda: FakeGateway(lambda cell: "42"), "errors", ("failed", "AssertionError")),
        (lambda: FakeGateway(lambda cell: "41"), "execute", ("failed", "AssertionError")),
        (lambda: FakeGateway(lambda cell: cell.stdout("out err")), "streams", ("no", "both on stdout")),
        (lambda: FakeGateway(lambda cell: "7"), "restart", ("failed", "AssertionError")),
        (lambda: FakeGateway(lambda cell: "42"), "death", ("failed", "AssertionError: it lives")),
        (lambda: FakeGateway(lambda cell: "me?"), "asking for input", ("failed", "AssertionError")),
        (lambda: FakeGateway(lambda cell: ""), "input that nobody gives", ("failed", "AssertionError")),
        (lambda: FakeGateway(lambda cell: cell.publish("display_data", {"data": {}})), "silence", ("yes", "")),
        (FakeGateway, "no rate limit", ("no", "it drops some, and says so")),
        (lambda: FakeGateway(**NO_RATE), "no rate limit", ("yes", "")),
        (lambda: FakeGateway(lambda cell: "0", **NO_RATE), "no rate limit", ("failed", "AssertionError")),
        (lambda: FakeGateway(**NO_RATE), "a large message", ("yes", "")),
        (lambda: FakeGateway(lambda cell: ""), "complete", ("no", "an answer without what was asked for")),
        (lambda: FakeGateway(lambda cell: ""), "inspect", ("no", "an answer without what was asked for")),
        (FakeGateway, "complete", ("yes", "")),
        (
            lambda: FakeGateway(kernelspecs=[FakeKernelSpec(name="python3", subshells=False)]),
            "subshells",
            ("no", "the kernel offers none"),
        ),
        (lambda: FakeGateway(buffers=False, **NO_RATE), "replay", ("no", "ConnectionLostError")),
    ],
)
async def test_a_scenario_finds_what_is_otherwise(autojump_clock: Clock, fake: object, name: str, found: tuple[str, str]) -> None:
    outcome, detail = await play(fake(), name)  # type: ignore[operator]
    assert outcome == found[0], detail
    assert found[1] in detail


@pytest.mark.parametrize(
    ("pattern", "status", "name", "found"),
    [
        ("GET /api", 404, "version", ("no", "404")),
        ("GET /api/kernelspecs", 404, "kernelspecs", ("no", "404")),
        ("POST /api/kernels", 405, "starting kernels", ("no", "405: by POST /api/sessions only")),
        ("POST /api/kernels", 405, "choosing the kernel id", ("no", "405")),
        ("POST /api/sessions", 404, "sessions", ("no", "POST: 404")),
        ("PATCH /api/sessions/.*", 500, "sessions", ("no", "GET: 200, PATCH: 500")),
        ("POST /api/kernels/.*/interrupt", 204, "unknown kernel", ("no", "interrupt: answered as if it were there")),
        ("GET /api/kernels/.*-.*", 200, "start and shutdown", ("failed", "")),
    ],
)
async def test_a_scenario_finds_what_a_server_answers_otherwise(
    autojump_clock: Clock, pattern: str, status: int, name: str, found: tuple[str, str]
) -> None:
    fake = FakeGateway()
    fake.faults.answer(pattern, status)
    outcome, detail = await play(fake, name)
    assert outcome == found[0], detail
    assert found[1] in detail
