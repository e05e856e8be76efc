"""Which kernels are idle enough to go: each rule, and what is never culled."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway import CullPolicy, InvalidInputError, KernelModel
from trio_gateway._protocol.culling import judge, spec_idle_timeout

NOON = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
POLICY = CullPolicy(idle_timeout=60)


def kernel(idle: float | None = 100.0, state: str = "idle", connections: int | None = 0) -> KernelModel:
    last = None if idle is None else NOON - timedelta(seconds=idle)
    return KernelModel(id="k", last_activity=last, execution_state=state, connections=connections)


@pytest.mark.parametrize(
    ("model", "arguments", "cull", "reason"),
    [
        (kernel(60), {}, True, "idle for 60 s"),
        (kernel(59.9), {}, False, "active 60 s ago"),
        (kernel(-5), {}, False, "active 0 s ago"),
        (kernel(None), {}, False, "the gateway does not tell when"),
        (kernel(state="starting"), {}, True, "idle"),  # Kernel Gateway says so for ever of a kernel that nobody connected to
        (kernel(state="unknown"), {}, True, "idle"),
        (kernel(state="busy"), {}, False, "busy"),
        (kernel(state="restarting"), {}, False, "restarting"),
        (kernel(0, state="dead"), {}, True, "dead"),
        (kernel(0, state="dead"), {"in_use": True}, False, "in use"),
        (kernel(), {"in_use": True}, False, "in use"),
        (kernel(connections=1), {}, False, "1 others"),
        (kernel(connections=1), {"own_connections": 1}, True, "idle"),
        (kernel(connections=3), {"own_connections": 1}, False, "2 others"),
        (kernel(connections=0), {"own_connections": 1}, True, "idle"),
        (kernel(connections=None), {}, False, "the gateway does not tell who"),
        (kernel(), {"idle_timeout": 101}, False, "active"),
        (kernel(30), {"idle_timeout": 30}, True, "idle"),
    ],
)
def test_each_rule(model: KernelModel, arguments: dict[str, Any], cull: bool, reason: str) -> None:
    verdict = judge(model, POLICY, now=NOON, **arguments)
    assert (verdict.cull, verdict.reason.startswith(reason)) == (cull, True), verdict


def test_busy_and_connected_kernels_go_if_asked_for() -> None:
    busy = CullPolicy(idle_timeout=60, cull_busy=True)
    connected = CullPolicy(idle_timeout=60, cull_connected=True)
    assert judge(kernel(state="busy"), busy, now=NOON).cull
    assert not judge(kernel(state="busy"), connected, now=NOON).cull
    assert judge(kernel(connections=5), connected, now=NOON).cull
    assert judge(kernel(connections=None), connected, now=NOON).cull
    assert not judge(kernel(connections=5), busy, now=NOON).cull
    assert not judge(kernel(59, "busy", 5), CullPolicy(idle_timeout=60, cull_busy=True, cull_connected=True), now=NOON).cull


@given(
    st.floats(-1e6, 1e6) | st.none(),
    st.sampled_from(["starting", "idle", "busy", "restarting", "dead", "odd"]),
    st.none() | st.integers(0, 5),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 5),
)
def test_nothing_goes_that_is_in_use_or_was_active(
    idle: float | None, state: str, connections: int | None, busy: bool, connected: bool, in_use: bool, own: int
) -> None:
    policy = CullPolicy(idle_timeout=60, cull_busy=busy, cull_connected=connected)
    verdict = judge(kernel(idle, state, connections), policy, now=NOON, own_connections=own, in_use=in_use)
    if verdict.cull:
        assert not in_use
        assert state == "dead" or (idle is not None and idle >= 59.99)


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field in ("idle_timeout", "interval") for value in (0, -1, math.inf, math.nan, True, "5", None)]
    + [(field, value) for field in ("cull_busy", "cull_connected", "all_listed") for value in (1, "yes", None)]
    + [("only", 5)],
)
def test_a_wrong_policy_is_refused_by_name(field: str, value: Any) -> None:
    with pytest.raises(InvalidInputError) as caught:
        CullPolicy(**{"idle_timeout": 60, field: value})
    expected = {"cull_busy": "True or False", "cull_connected": "True or False", "all_listed": "True or False"}
    expected["only"] = "a function of a KernelModel, or None"
    assert (caught.value.field, caught.value.expected) == (field, expected.get(field, "seconds, more than 0"))
    assert caught.value.value is value


def test_a_policy_of_less_than_a_second_and_of_some_kernels() -> None:
    policy = CullPolicy(idle_timeout=0.5, interval=0.5, only=lambda model: model.id == "k")
    assert (policy.idle_timeout, policy.interval) == (0.5, 0.5)


@pytest.mark.parametrize(
    ("metadata", "limit"),
    [
        ({"cull_idle_timeout": 5}, 5.0),
        ({"cull_idle_timeout": 0.5}, 0.5),
        ({"cull_idle_timeout": 0}, None),
        ({"cull_idle_timeout": math.inf}, None),
        ({"cull_idle_timeout": True}, None),
        ({"cull_idle_timeout": "5"}, None),
        ({"cull_idle_timeout": math.nan}, None),
        ({}, None),
        (None, None),
        ([], None),
    ],
)
def test_the_limit_of_a_kernelspec(metadata: Any, limit: float | None) -> None:
    assert spec_idle_timeout(metadata) == limit
