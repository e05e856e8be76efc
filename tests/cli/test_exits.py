"""Exit codes: one for each kind of error, all in the help."""

from __future__ import annotations

import pytest

from trio_gateway import (
    GatewayConnectionError,
    GatewayError,
    KernelSpecNotFoundError,
)
from trio_gateway._cli.exits import EXIT_CODES_HELP, ExitCode, printable

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import Install, run


def test_each_exit_code_is_in_the_help() -> None:
    assert {code for code, _ in EXIT_CODES_HELP} == set(ExitCode)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[31mb\x07\u202e\ud800ü😀\t") == "a\\x1b[31mb\\x07\\u202e\\ud800ü😀\t"


def test_the_exit_codes_are_in_the_help(capsys: pytest.CaptureFixture[str]) -> None:
    run("--help")
    out = capsys.readouterr().out
    for code in (0, 1, 2, 3, 4, 5, 70, 130, 141, 143):
        assert f"\n{code:7}  " in out


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (GatewayConnectionError("nobody listens"), 3, "nobody listens"),
        (GatewayConnectionError("\x1b]0;title\x07"), 3, "\\x1b]0;title\\x07"),
        (KernelSpecNotFoundError("x", available=["python3"]), 2, "python3"),
        (RuntimeError("oops"), 70, "RuntimeError: oops"),
    ],
)
def test_each_error_becomes_a_code_and_a_few_lines(
    error: Exception, code: int, words: str, fake_gateway: Install, capfd: pytest.CaptureFixture[str]
) -> None:
    fake_gateway(error)
    assert run("exec", "-q", "1") == code
    err = capfd.readouterr().err
    assert words in err
    assert "Traceback" not in err
    known = isinstance(error, GatewayError)
    assert len(err.splitlines()) == 2 + known
    assert err.splitlines()[-1].startswith("More in the documentation: docs/errors.md#") == known
    assert run("exec", "-q", "--debug", "1") == code
    assert "Traceback" in capfd.readouterr().err


def test_of_a_local_gateway_that_does_not_start_nobody_is_asked_for_the_address(
    fake_gateway: Install, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_gateway(GatewayConnectionError("the local gateway ended with status 1"))
    assert run("exec", "-q", "1") == 3
    assert capfd.readouterr().err.splitlines()[1:] == [
        "A gateway that runs already is used where --url or JUPYTER_GATEWAY_URL names it.",
        "More in the documentation: docs/errors.md#gatewayconnectionerror",
    ]
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "http://127.0.0.1:1")
    assert run("exec", "-q", "1") == 3
    assert "Is the gateway running there?" in capfd.readouterr().err
