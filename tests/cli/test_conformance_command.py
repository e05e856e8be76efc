"""`trio-gateway conformance`: a line for each scenario, and exit codes. On a fake gateway that listens on loopback."""

from __future__ import annotations

import io
from typing import Any

import pytest
from rich.console import Console

from trio_gateway import GatewayConfig
from trio_gateway._cli.conformance_command import _show
from trio_gateway._cli.options import Options
from trio_gateway.testing import FakeGateway
from trio_gateway.testing.scenarios import SCENARIOS

from .cli_kit import Cli


async def test_a_line_for_each_scenario(bare_cli: Cli) -> None:
    async with FakeGateway(restarter_seconds=0.2) as fake, fake.listen() as url:
        token = {"JUPYTER_GATEWAY_URL": url, "JUPYTER_GATEWAY_AUTH_TOKEN": fake.token}
        done = await bare_cli.run("conformance", url, **token)
        assert (done.code, done.err) == (0, "")
        lines = done.out.splitlines()
        assert len(lines) == len(SCENARIOS)
        for line, scenario in zip(lines, SCENARIOS, strict=True):
            assert line.startswith(("yes ", "no "))
            assert scenario.name in line
        assert any(line.startswith("no      bearer token") and line.endswith("401") for line in lines)
        assert "replay" in done.out
        assert fake.token not in done.out
        assert not fake.kernels


async def test_json_and_what_is_wrong(capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A server whose kernels can't be restarted: the scenario fails, and so does the command."""
    few = [scenario for scenario in SCENARIOS if scenario.name in {"execute", "restart"}]
    monkeypatch.setattr("trio_gateway.testing.scenarios.SCENARIOS", few)
    monkeypatch.setattr("trio_gateway._cli.conformance_command.SCENARIOS", few)
    async with FakeGateway(restarter_seconds=0.2) as fake, fake.listen() as url:
        fake.faults.answer("POST .*/restart", 418)
        options = Options(as_json=True)
        code = await _show(options, GatewayConfig(url=url, auth_token=fake.token))
        assert code == 3
        out, err = capfd.readouterr()
        assert (out, err.splitlines()) == ("", ["[1/2] restart", "[2/2] execute"])
        found: Any = options.report["scenarios"]
        assert {each["name"]: each["outcome"] for each in found} == {"execute": "yes", "restart": "failed"}


async def test_a_terminal_shows_how_far_it_is_beside_the_lines(
    capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    few = [scenario for scenario in SCENARIOS if scenario.name in {"execute", "restart"}]
    monkeypatch.setattr("trio_gateway.testing.scenarios.SCENARIOS", few)
    monkeypatch.setattr("trio_gateway._cli.conformance_command.SCENARIOS", few)
    file = io.StringIO()
    options = Options(console=Console(file=file, force_terminal=True, width=80))
    async with FakeGateway(restarter_seconds=0.2) as fake, fake.listen() as url:
        assert await _show(options, GatewayConfig(url=url, auth_token=fake.token)) == 0
    out, _ = capfd.readouterr()
    assert [line.split()[:2] for line in out.splitlines()] == [["yes", "restart"], ["yes", "execute"]]
    shown = file.getvalue()
    assert shown.index("0/2") < shown.index("1/2")
    assert "restart" in shown
    assert "execute" in shown


async def test_a_gateway_that_lets_us_not_in_is_no_gateway(bare_cli: Cli) -> None:
    async with FakeGateway() as fake, fake.listen() as url:
        done = await bare_cli.run("conformance", url)
        assert done.code == 3
        assert "401" in done.err
        assert done.out == ""
