"""The two small machines: what a kernel and its connection can be doing, and what follows what."""

from __future__ import annotations

import pytest

from trio_gateway._protocol.kernel_state import (
    CONNECTION_TRANSITIONS,
    KERNEL_TRANSITIONS,
    ConnectionState,
    KernelState,
    next_kernel_state,
)

LIVING = [KernelState.STARTING, KernelState.IDLE, KernelState.BUSY, KernelState.RESTARTING]
FINAL = [KernelState.DEAD, KernelState.CULLED]
WIRE_STATES = ["starting", "idle", "busy", "restarting", "dead"]
"""What kernels and gateways say in `status` messages (WIRE 7); `culled` is our own finding."""


def test_the_states_are_those_of_the_wire_and_culled() -> None:
    assert [state.value for state in KernelState] == [*WIRE_STATES, "culled"]
    assert [state for state in KernelState if state.final] == FINAL


@pytest.mark.parametrize("before", LIVING)
@pytest.mark.parametrize("event", [*WIRE_STATES, "culled"])
def test_a_living_kernel_takes_any_news(before: KernelState, event: str) -> None:
    assert next_kernel_state(before, event) is KernelState(event)


@pytest.mark.parametrize("before", FINAL)
@pytest.mark.parametrize("event", [*WIRE_STATES, "culled"])
def test_nothing_follows_a_final_state(before: KernelState, event: str) -> None:
    assert next_kernel_state(before, event) is before


@pytest.mark.parametrize("before", KernelState)
@pytest.mark.parametrize("event", ["", "Idle", "autorestarting", "terminating", "unknown"])
def test_unknown_news_changes_nothing(before: KernelState, event: str) -> None:
    assert next_kernel_state(before, event) is before


def test_the_kernels_table_has_no_other_entry() -> None:
    assert set(KERNEL_TRANSITIONS) == {(state, event) for state in LIVING for event in (*WIRE_STATES, "culled")}


def test_the_connections_table() -> None:
    connecting, connected, reconnecting, closed = ConnectionState
    assert [state.value for state in ConnectionState] == ["connecting", "connected", "reconnecting", "closed"]
    assert {
        (connecting, "opened"): connected,
        (connected, "lost"): reconnecting,
        (reconnecting, "opened"): connected,
        (connecting, "ended"): closed,
        (connected, "ended"): closed,
        (reconnecting, "ended"): closed,
    } == CONNECTION_TRANSITIONS


def test_a_closed_connection_stays_closed() -> None:
    assert [event for state, event in CONNECTION_TRANSITIONS if state is ConnectionState.CLOSED] == []
