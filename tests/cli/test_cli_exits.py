"""Exit codes and words for each kind of error."""

from __future__ import annotations

import pytest

import trio_gateway
from trio_gateway import (
    AuthenticationError,
    ConnectionLostError,
    ExecutionError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayInternalError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    KernelSpecNotFoundError,
    ProtocolError,
)
from trio_gateway._cli.exits import EXIT_CODES_HELP, ExitCode, OutOfTimeError, OutputClosedError, exit_code_of, explain, printable

CASES = [
    (ExecutionError("ValueError", "x"), 1, None),
    (InvalidInputError("code", 1, "text"), 2, None),
    (trio_gateway.ConfigError([trio_gateway.ConfigProblem("url", "x", "a URL")]), 2, None),
    (KernelNotFoundError("abc"), 2, None),
    (KernelSpecNotFoundError("julia", available=["python3"]), 2, "--kernel NAME"),
    (GatewayConnectionError("refused"), 3, "--url"),
    (AuthenticationError(401, "Unauthorized", url="http://h"), 3, "--token-file"),
    (GatewayHTTPError(500, "Internal Server Error", url="http://h"), 3, None),
    (ProtocolError("garbage"), 3, None),
    (GatewayTimeoutError("request", 42, "request_timeout"), 4, "JUPYTER_GATEWAY_REQUEST_TIMEOUT"),
    (GatewayTimeoutError("x", 42, "no_such_setting"), 4, None),
    (OutOfTimeError(3), 4, None),
    (KernelDiedError("id", "gone"), 5, None),
    (KernelRestartedError("id", "restarted"), 5, None),
    (KernelCulledError("id", "culled"), 5, None),
    (ConnectionLostError("lost"), 5, "not sent a second time"),
    (GatewayInternalError("oops"), 70, "--debug"),
    (GatewayError("a new kind"), 70, None),
    (RuntimeError("oops"), 70, "--debug"),
    (OSError(24, "Too many open files"), 2, None),
    (OutputClosedError(), 141, "--debug"),
]


@pytest.mark.parametrize(("error", "code", "hint"), CASES, ids=[type(error).__name__ for error, _, _ in CASES])
def test_each_error_has_its_code_and_its_hint(error: Exception, code: int, hint: str | None) -> None:
    lines = explain(error, {"request_timeout": "JUPYTER_GATEWAY_REQUEST_TIMEOUT"})
    assert exit_code_of(error) == code
    assert (str(error) or type(error).__name__) in lines[0]
    if hint is None:
        assert len(lines) == 1
    else:
        assert hint in lines[-1]


def test_each_exit_code_is_in_the_help() -> None:
    assert {code for code, _ in EXIT_CODES_HELP} == set(ExitCode)


def test_control_characters_are_shown_and_not_obeyed() -> None:
    assert printable("a\x1b[31mb\x07\u202e\ud800ü😀\t") == "a\\x1b[31mb\\x07\\u202e\\ud800ü😀\t"
