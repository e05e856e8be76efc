"""The words for each kind of error at a terminal, with advice."""

from __future__ import annotations

from typing import Any

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
    HubServerNotRunningError,
    HubSpawnError,
    InvalidInputError,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    KernelSpecNotFoundError,
    KernelUnresponsiveError,
    ProtocolError,
    TokenCommandError,
)
from trio_gateway._cli.exits import OutOfTimeError, OutputClosedError, exit_code_of
from trio_gateway._cli.wording import describe

CASES = [
    (ExecutionError("ValueError", "x"), 1, "", False),
    (InvalidInputError("code", 1, "text"), 2, "", False),
    (trio_gateway.ConfigError([trio_gateway.ConfigProblem("url", "x", "a URL")]), 2, "", True),
    (KernelNotFoundError("abc", url="http://h/wrong/api/kernels/abc"), 2, "http://h/wrong/", True),
    (KernelSpecNotFoundError("julia", available=["python3"]), 2, "--kernel NAME", False),
    (GatewayConnectionError("refused"), 3, "--url", True),
    (AuthenticationError(401, "Unauthorized", url="http://h"), 3, "--token-file", True),
    (GatewayHTTPError(500, "Internal Server Error", url="http://h"), 3, "", True),
    (HubServerNotRunningError(302, "Found", url="http://h/user/a/api"), 3, "Start it there", True),
    (HubSpawnError("alice", "", "no such image"), 3, "the hub's page", False),
    (AuthenticationError(403, "Forbidden", url="http://h/x/hub/api/user"), 3, "Make a token at http://h/x/hub/token,", False),
    (ProtocolError("garbage"), 3, "", True),
    (GatewayTimeoutError("request", 42, "request_timeout"), 4, "JUPYTER_GATEWAY_REQUEST_TIMEOUT", True),
    (TokenCommandError("vault", "ended with status 2"), 3, "Run the command by hand", False),
    (GatewayTimeoutError("x", 42, "no_such_setting"), 4, "", True),
    (OutOfTimeError(3), 4, "", False),
    (KernelDiedError("id", "gone"), 5, "", False),
    (KernelUnresponsiveError("id", 60), 4, "JUPYTER_GATEWAY_UNRESPONSIVE_TIMEOUT", False),
    (KernelRestartedError("id", "restarted"), 5, "", False),
    (KernelCulledError("id", "culled"), 5, "", False),
    (ConnectionLostError("lost"), 5, "not sent a second time", True),
    (GatewayInternalError("oops"), 70, "--debug", False),
    (GatewayError("a new kind"), 70, "", False),
    (RuntimeError("oops"), 70, "--debug", False),
    (OSError(24, "Too many open files"), 2, "", False),
]


@pytest.mark.parametrize(("error", "code", "advice", "doctor"), CASES, ids=[type(error).__name__ for error, *_ in CASES])
def test_each_error_has_its_code_and_its_advice(error: Exception, code: int, advice: str, doctor: bool) -> None:
    """And those whose cause `doctor` can find say so."""
    failure = describe(error)
    assert exit_code_of(error) == code
    assert failure.type == type(error).__name__
    assert failure.message
    assert advice in failure.advice
    assert ("trio-gateway doctor" in failure.advice) == doctor
    assert bool(failure.advice) == bool(advice or doctor)
    assert failure.lines[0] == failure.message.splitlines()[0]


def test_who_reads_no_more_is_no_defect() -> None:
    assert exit_code_of(OutputClosedError()) == 141


def settings_error(environ: dict[str, str], **settings: Any) -> trio_gateway.ConfigError:
    with pytest.raises(trio_gateway.ConfigError) as caught:
        trio_gateway.GatewayConfig.from_env(environ, **{"url": "http://h", **settings})
    return caught.value


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (settings_error({}, url="no-scheme"), "--url: 'no-scheme' can't be used"),
        (settings_error({"JUPYTER_GATEWAY_REQUEST_TIMEOUT": "soon"}), "JUPYTER_GATEWAY_REQUEST_TIMEOUT: 'soon' can't be used"),
        (settings_error({"JUPYTER_GATEWAY_HTTP_PWD": "s3cret"}), "expected JUPYTER_GATEWAY_HTTP_USER beside it"),
        (
            settings_error({"JUPYTER_GATEWAY_HTTP_USER": "u", "JUPYTER_GATEWAY_AUTH_TOKEN": "s3cret"}),
            "only one of JUPYTER_GATEWAY_AUTH_TOKEN and JUPYTER_GATEWAY_HTTP_USER",
        ),
        (
            settings_error({"JUPYTER_GATEWAY_HTTP_USER": "u"}, auth_token="s3cret"),
            "--token-file: the value (not shown: it is secret)",
        ),
        (GatewayTimeoutError("request", 42, "request_timeout"), "the limit is JUPYTER_GATEWAY_REQUEST_TIMEOUT"),
        (GatewayTimeoutError("gateway start", 60, "startup_timeout", detail="raise it on a slow machine; its log ends:"), "log"),
        (InvalidInputError("cwd", "/x", "an existing directory"), "--cwd: '/x' can't be used; expected an existing directory"),
        (InvalidInputError("env['KERNEL_X']", "a value with '$'", "no $"), "the variable KERNEL_X: "),
        (InvalidInputError("env['KERNEL_WORKING_DIR']", "a value with '$'", "no $"), "--cwd: "),
        (InvalidInputError("name", "", "a kernelspec's name"), "--kernel: "),
        (GatewayHTTPError(405, "No", "attach_kernel() takes one that runs"), "--attach takes one"),
    ],
)
def test_words_are_those_of_a_terminal(error: Exception, message: str) -> None:
    told = "\n".join(describe(error).lines)
    assert message in told
    for words in ("argument", "auth_token", "http_user", "client_cert", "startup_timeout", "request_timeout", "attach_kernel"):
        assert words not in told
    assert "s3cret" not in told
