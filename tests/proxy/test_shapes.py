"""What front ends are told, as JSON: models, and errors of which nothing shows what is the proxy's own business."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from trio_gateway import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    InvalidInputError,
    KernelModel,
    KernelNotFoundError,
    KernelSpec,
    KernelSpecNotFoundError,
    KernelSpecs,
    ProtocolError,
    SessionModel,
    TokenCommandError,
)
from trio_gateway.proxy._shapes import error_of, kernel_json, kernelspec_json, kernelspecs_json, session_json, time_text

SECRET = "http://user:secret@gateway.internal:8888"


def test_times_are_utc_with_microseconds() -> None:
    assert time_text(datetime(2030, 1, 2, 3, 4, 5, 6, UTC)) == "2030-01-02T03:04:05.000006Z"
    assert time_text(datetime(2030, 1, 2, 3, 4, 5, tzinfo=timezone(timedelta(hours=2)))) == "2030-01-02T01:04:05.000000Z"


def test_a_kernel_has_what_is_known_of_it() -> None:
    model = KernelModel(
        id="a", name="python3", execution_state="busy", connections=2, last_activity=datetime(2030, 1, 2, tzinfo=UTC)
    )
    assert kernel_json(model) == {
        "id": "a",
        "name": "python3",
        "execution_state": "busy",
        "connections": 2,
        "last_activity": "2030-01-02T00:00:00.000000Z",
    }
    assert kernel_json(KernelModel(id="a", extra={"secret": 1})) == {
        "id": "a",
        "name": "",
        "execution_state": "unknown",
        "connections": 0,
    }


def test_a_kernelspecs_files_are_the_proxys() -> None:
    spec = KernelSpec(
        name="my spec",
        language="python",
        argv=("python",),
        resources={"logo": "/hub/kernelspecs/my%20spec/logo.png", "else": "http://gateway.internal/logo.png"},
    )
    told = kernelspec_json(spec, "/proxy/", "/hub/kernelspecs")
    assert told["resources"] == {"logo": "/proxy/kernelspecs/my%20spec/logo.png"}
    assert told["spec"]["display_name"] == "my spec"
    assert "internal" not in str(told)


@pytest.mark.parametrize(("default", "told"), [("b", "b"), (None, "a")])
def test_a_front_end_always_finds_a_default(default: str | None, told: str) -> None:
    specs = KernelSpecs(default=default, kernelspecs={"b": KernelSpec(name="b"), "a": KernelSpec(name="a")})
    assert kernelspecs_json(specs, "/", "/")["default"] == told
    assert kernelspecs_json(KernelSpecs(), "/", "/") == {"default": "", "kernelspecs": {}}


@pytest.mark.parametrize("kind", ["notebook", "console"])
def test_old_front_ends_look_for_a_notebook(kind: str) -> None:
    told = session_json(SessionModel(id="s", path="a/b.ipynb", name="b", type=kind, kernel=KernelModel(id="k")))
    assert told["kernel"]["id"] == "k"
    assert told.get("notebook") == ({"path": "a/b.ipynb", "name": "b"} if kind == "notebook" else None)


@pytest.mark.parametrize(
    ("error", "status", "words"),
    [
        (KernelNotFoundError("abc", url=SECRET), 404, "Kernel does not exist: abc"),
        (KernelSpecNotFoundError("julia", available=["python3"]), 404, "julia"),
        (InvalidInputError("path", "x", "a path"), 400, "path"),
        (AuthenticationError(401, "Unauthorized", url=SECRET), 502, "refuses the proxy's credentials"),
        (AuthenticationError(403, "Forbidden", url=SECRET), 403, "forbids"),
        (HubServerNotRunningError(302, "Found", url=SECRET), 503, "not running"),
        (GatewayHTTPError(409, "Conflict", "it is taken", url=SECRET), 409, "it is taken"),
        (GatewayHTTPError(418, "I'm a teapot", url=SECRET), 418, "I'm a teapot"),
        (GatewayHTTPError(500, "Internal Server Error", "Traceback: secret", url=SECRET), 502, "the gateway answered 500"),
        (GatewayHTTPError(503, "Service Unavailable", url=SECRET), 502, "503"),
        (GatewayTimeoutError("request", 42, "request_timeout"), 504, "42 s"),
        (TokenCommandError("vault", "ended with status 2", stderr="sealed"), 502, "the proxy has no token"),
        (GatewayTimeoutError("token_command", 30, "token_command_timeout", detail="vault"), 502, "the proxy has no token"),
        (GatewayConnectionError(f"refused by {SECRET}"), 502, "can't be reached"),
        (ProtocolError(f"odd answer of {SECRET}"), 502, "can't be understood"),
        (GatewayError(f"a new kind, {SECRET}"), 502, "can't be understood"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_an_error_is_a_status_and_words_without_what_is_the_proxys_own(error: GatewayError, status: int, words: str) -> None:
    told = error_of(error)
    assert told[0] == status
    assert words in told[1]
    assert "secret" not in told[1]
    assert "internal" not in told[1]
