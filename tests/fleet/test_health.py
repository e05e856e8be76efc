"""Whether a gateway can be used, and when it is asked again."""

from __future__ import annotations

import pytest

from trio_gateway import (
    AuthenticationError,
    ConfigError,
    ConfigProblem,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    InvalidInputError,
    KernelSpecNotFoundError,
    ProtocolError,
    TokenCommandError,
)
from trio_gateway._fleet.health import Health, is_absent, is_of_the_gateway


class Half:
    def random(self) -> float:
        return 0.0  # no jitter: the whole pause


@pytest.mark.parametrize(
    ("error", "absent"),
    [
        (GatewayConnectionError("refused"), True),
        (GatewayTimeoutError("request", 1, "request_timeout"), True),
        (TokenCommandError("get-token", "failed"), True),
        (ProtocolError("no JSON"), True),
        (AuthenticationError(401, "Unauthorized"), True),
        (HubServerNotRunningError(424, "Failed Dependency"), True),
        (GatewayHTTPError(502, "Bad Gateway"), True),
        (GatewayHTTPError(500, "Internal Server Error", from_gateway=False), True),
        (GatewayHTTPError(500, "Internal Server Error"), False),
        (GatewayHTTPError(404, "Not Found"), False),
        (GatewayHTTPError(429, "Too Many Requests"), False),
    ],
)
def test_who_answers_with_an_error_of_its_own_is_there(error: GatewayError, absent: bool) -> None:
    assert is_absent(error) == absent


def test_what_the_caller_asked_for_is_wrong_everywhere() -> None:
    assert not is_of_the_gateway(InvalidInputError("env", "$", "no dollars"))
    assert not is_of_the_gateway(ConfigError([ConfigProblem("url", "x", "a URL")]))
    assert is_of_the_gateway(KernelSpecNotFoundError("ir"))
    assert is_of_the_gateway(GatewayHTTPError(403, "Forbidden", "no more kernels"))


def test_one_that_does_not_answer_is_asked_after_pauses_that_grow() -> None:
    health = Health(Half())
    assert health.state == "unknown"
    assert health.look_again_at < 0
    assert health.absent("refused", 100.0)
    assert (health.state, health.reason) == ("down", "refused")
    pauses = []
    now = 100.0
    for _ in range(9):
        pauses.append(health.look_again_at - now)
        now = health.look_again_at
        assert not health.absent("still", now), "no news"
    assert pauses == [0.5, 1, 2, 4, 8, 16, 30, 30, 30]
    assert health.answered(now)
    assert (health.state, health.reason) == ("up", "")
    assert not health.answered(now)
    health.absent("refused", now)
    assert health.look_again_at == now + 0.5, "it begins anew"


def test_where_a_start_failed_the_next_ones_go_elsewhere_for_a_while() -> None:
    health = Health(Half())
    health.answered(0.0)
    health.start_failed("no memory", 10.0)
    health.start_failed("no memory", 10.1)  # of those that ran side by side one counts
    assert health.is_failing(10.4)
    assert (health.state, health.reason) == ("up", "no memory")
    assert not health.is_failing(10.5)
    health.start_failed("no memory", 11.0)
    assert health.is_failing(11.9)
    health.answered(11.95)
    assert health.is_failing(11.95), "an answer to a question is no start"
    health.started()
    assert not health.is_failing(11.95)
    assert health.reason == ""


def test_what_is_known_grows_old() -> None:
    health = Health(Half())
    assert health.is_stale(0.0, 10)
    health.answered(5.0)
    assert not health.is_stale(15.0, 10)
    assert health.is_stale(15.1, 10)
