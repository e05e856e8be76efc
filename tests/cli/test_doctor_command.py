"""`trio-gateway doctor`: on a real gateway, on ways to one that are broken, and with settings that are wrong."""

from __future__ import annotations

import json
import re

import pytest
import trio

from tools.ports import held_port
from trio_gateway import GatewayConfig, GatewayConnectionError, GatewayTimeoutError, KernelSpecNotFoundError
from trio_gateway._cli.doctor_command import _examine, _line
from trio_gateway._cli.options import Options
from trio_gateway._doctor.examine import STEPS
from trio_gateway._doctor.findings import Check
from trio_gateway_command.reading import run_app

from .cli_kit import CliHere


def statuses(text: str) -> dict[str, str]:
    """Read the lines of the checks in the command's output."""
    words = [line.split() for line in text.splitlines()]
    return {line[1]: line[0] for line in words if len(line) > 1 and line[0] in {"ok", "warning", "FAILED", "skipped"}}


# ------------------------------------------------------------------------------------------------------ a real gateway


@pytest.mark.gateway
def test_on_a_gateway_that_is_well_all_is_ok_and_no_secret_is_shown(cli_here: CliHere) -> None:
    done = cli_here.run("doctor")
    assert (done.code, done.err) == (0, "")
    found = statuses(done.out)
    assert tuple(found) == STEPS
    assert found.pop("tls") == "skipped"  # the gateway's URL is http://
    assert set(found.values()) == {"ok"}
    assert "python3 (default)" in done.out
    assert "framing v1" in done.out
    assert cli_here.environment["JUPYTER_GATEWAY_AUTH_TOKEN"] not in done.out
    rows = {line.split()[0]: line.split()[1:] for line in done.out.partition("\n\n")[0].splitlines()[1:]}
    assert rows == {
        "url": [cli_here.environment["JUPYTER_GATEWAY_URL"], "JUPYTER_GATEWAY_URL"],
        "auth_token": ["***", "JUPYTER_GATEWAY_AUTH_TOKEN"],
    }


@pytest.mark.gateway
def test_json_without_a_kernel_has_all_settings_and_says_what_was_left_out(cli_here: CliHere) -> None:
    done = cli_here.run("doctor", "--json", "--no-kernel", JUPYTER_GATEWAY_HEADERS='{"X-Key": "s3cret-value"}')
    assert (done.code, done.err) == (0, "")
    report = json.loads(done.out)
    assert (report["ok"], report["problems"]) == (True, [])
    checks = {check["name"]: check for check in report["checks"]}
    assert tuple(checks) == STEPS
    assert {name: checks[name]["detail"] for name in ("kernel", "reply", "shutdown")} == dict.fromkeys(
        ("kernel", "reply", "shutdown"), "not asked for"
    )
    assert checks["websocket"]["status"] == "ok"
    assert "as far as one without a kernel shows" in checks["websocket"]["detail"]
    settings = {row["name"]: row for row in report["settings"]}
    assert len(settings) == len(GatewayConfig(url="http://127.0.0.1").describe())
    assert (settings["headers"]["value"], settings["headers"]["source"]) == ("X-Key: ***", "JUPYTER_GATEWAY_HEADERS")
    assert settings["request_timeout"]["source"] == "default"
    assert "s3cret-value" not in done.out
    assert cli_here.environment["JUPYTER_GATEWAY_AUTH_TOKEN"] not in done.out


@pytest.mark.gateway
def test_a_wrong_token_fails_at_authentication_with_code_3(cli_here: CliHere) -> None:
    done = cli_here.run("doctor", JUPYTER_GATEWAY_AUTH_TOKEN="wr0ng-token")
    assert done.code == 3
    found = statuses(done.out)
    assert (found["http"], found["authentication"], found["kernelspecs"]) == ("ok", "FAILED", "skipped")
    assert "auth_token (from JUPYTER_GATEWAY_AUTH_TOKEN)" in done.out
    assert "wr0ng-token" not in done.out + done.err


@pytest.mark.gateway
def test_no_token_at_all_says_where_it_goes(cli_here: CliHere) -> None:
    done = cli_here.run("doctor", "-q", JUPYTER_GATEWAY_AUTH_TOKEN="")
    assert done.code == 3
    assert statuses(done.out) == {"authentication": "FAILED"}
    assert "Set the gateway's token in JUPYTER_GATEWAY_AUTH_TOKEN" in done.out


@pytest.mark.gateway
def test_a_kernel_that_the_gateway_has_not_gives_code_2_and_its_names(cli_here: CliHere) -> None:
    done = cli_here.run("doctor", "--kernel", "klingon")
    assert done.code == 2
    found = statuses(done.out)
    assert (found["kernelspecs"], found["kernel"], found["websocket"]) == ("FAILED", "skipped", "ok")
    assert "klingon" in done.out
    assert re.search(r"it has (\w+, )*python3", done.out)  # and what else is installed here


@pytest.mark.gateway
@pytest.mark.full
def test_without_a_gateway_a_local_one_is_examined(bare_cli_here: CliHere) -> None:
    done = bare_cli_here.run("doctor")
    assert done.code == 0
    assert "No gateway is configured" in done.err
    assert "the local gateway" in done.out
    assert "FAILED" not in done.out


# ------------------------------------------------------------------------------------------------------ wrong settings


def test_all_wrong_settings_are_listed_and_no_secret_among_them(bare_cli_here: CliHere) -> None:
    wrong = {
        "JUPYTER_GATEWAY_REQUEST_TIMEOUT": "soon",
        "JUPYTER_GATEWAY_RETRY_MAX": "-1",
        "JUPYTER_GATEWAY_AUTH_TOKEN": "s3\ncret",
        "JUPYTER_GATEWAY_TOKN": "s3cret",
    }
    done = bare_cli_here.run("doctor", "--url", "http://127.0.0.1:1", **wrong)
    assert done.code == 2
    assert [name for name in ("request_timeout", "gateway_retry_max", "auth_token") if name not in done.out] == []
    assert "'soon'" in done.out
    assert "JUPYTER_GATEWAY_TOKN: is JUPYTER_GATEWAY_AUTH_TOKEN" in " ".join(done.out.split())
    assert "s3" not in done.out
    done = bare_cli_here.run("doctor", "--json", "--url", "http://127.0.0.1:1", **wrong)
    assert done.code == 2
    report = json.loads(done.out)
    assert report["ok"] is False
    assert {problem["source"] for problem in report["problems"]} == set(wrong) - {"JUPYTER_GATEWAY_TOKN"}
    assert next(problem["value"] for problem in report["problems"] if problem["name"] == "auth_token") is None
    assert "s3" not in done.out


def test_a_file_that_can_not_be_used_is_a_wrong_setting_too(bare_cli_here: CliHere) -> None:
    (bare_cli_here.cwd / "ca.pem").write_text("not PEM")
    done = bare_cli_here.run("doctor", "--url", "https://127.0.0.1:1", JUPYTER_GATEWAY_CA_CERTS=str(bare_cli_here.cwd / "ca.pem"))
    assert done.code == 2
    assert statuses(done.out)["settings"] == "FAILED"
    assert "ca_certs (from JUPYTER_GATEWAY_CA_CERTS)" in done.out


def test_variables_that_are_for_another_gateway_are_told(bare_cli_here: CliHere) -> None:
    done = bare_cli_here.run(
        "doctor", "--url", "http://127.0.0.1:1", JUPYTER_GATEWAY_URL="http://127.0.0.1:2", JUPYTER_GATEWAY_AUTH_TOKEN="s3cret"
    )
    assert done.code == 3
    assert statuses(done.out)["settings"] == "warning"
    assert "JUPYTER_GATEWAY_AUTH_TOKEN: not used" in done.out


# ----------------------------------------------------------------------------------------------------- the way is broken


def test_all_shows_the_defaults_and_a_refused_port_gives_code_3(bare_cli_here: CliHere) -> None:
    with held_port(shared=False) as port:
        done = bare_cli_here.run("doctor", "--all", "--url", f"http://127.0.0.1:{port}")
    assert done.code == 3
    assert statuses(done.out)["tcp"] == "FAILED"
    assert "More in the documentation: docs/errors.md#gatewayconnectionerror" in done.out
    assert "Connection refused" in done.out
    assert "request_timeout" in done.out


@pytest.mark.gateway
def test_https_to_a_real_gateway_without_tls(cli_here: CliHere) -> None:
    secure = cli_here.environment["JUPYTER_GATEWAY_URL"].replace("http://", "https://")
    done = cli_here.run("doctor", "-q", "--no-kernel", JUPYTER_GATEWAY_URL=secure)
    assert done.code == 3
    assert statuses(done.out) == {"tls": "FAILED"}
    assert "answers in plain HTTP" in done.out
    assert "Write http:// in url (from JUPYTER_GATEWAY_URL)" in done.out


# ----------------------------------------------------------------------------------------------------------- the command


@pytest.mark.parametrize("code", [2, 3, 4])
async def test_the_exit_code_is_that_of_the_first_failure(code: int, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: dict[int, Exception] = {
        2: KernelSpecNotFoundError("klingon"),
        3: GatewayConnectionError("gone"),
        4: GatewayTimeoutError("connect", 1, "connect_timeout"),
    }

    async def examine_nothing(*_: object, **__: object) -> list[Check]:
        await trio.lowlevel.checkpoint()
        return [Check("tcp", "warning", ""), Check("http", "failed", "", error=errors[code]), Check("kernel", "failed", "")]

    monkeypatch.setattr("trio_gateway._cli.doctor_command.examine", examine_nothing)
    config = GatewayConfig(url="http://127.0.0.1:1")
    assert await _examine(Options(quiet=True), config, show_all=False, with_kernel=True, as_json=False) == code


def test_a_line_has_no_codes_from_outside_and_colours_only_where_they_are_wanted() -> None:
    check = Check("tcp", "failed", "one\x1b[2J\ntwo", "do \x07 this", 1.5)
    plain = _line(check, coloured=False)
    assert plain.splitlines()[0].split() == ["FAILED", "tcp", "one\\x1b[2J"]
    assert "\x1b" not in plain
    assert "-> do \\x07 this" in plain
    assert "\x1b[31mFAILED" in _line(check, coloured=True)


def test_help_explains_it(capsys: pytest.CaptureFixture[str]) -> None:
    assert run_app(["doctor", "--help"]) == 0
    out = capsys.readouterr().out
    assert [
        option for option in ("--all", "--json", "--no-kernel", "--kernel", "--url", "--token-file") if option not in out
    ] == []
