"""The two small machines: what a kernel and its connection can be doing, and what follows what."""

from __future__ import annotations

import pytest

from trio_gateway._protocol.kernel_state import (
    CONNECTION_TRANSITIONS,
    KERNEL_TRANSITIONS,
    ConnectionState,
    KernelState,
    StatusReader,
    next_kernel_state,
)

LIVING = [KernelState.STARTING, KernelState.IDLE, KernelState.BUSY, KernelState.RESTARTING]
FINAL = [KernelState.DEAD, KernelState.CULLED]
WIRE_STATES = ["starting", "idle", "busy", "restarting", "dead"]
"""What kernels and gateways say in `status` messages; `culled` is our own finding."""


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


@pytest.mark.parametrize("request_type", ["kernel_info_request", "debug_request", "create_subshell_request"])
def test_an_answer_beside_the_shell_does_not_make_a_busy_kernel_idle(request_type: str) -> None:
    reader = StatusReader()
    assert reader.read("busy", "1", "execute_request") == "busy"
    assert reader.read("busy", "2", request_type) == "busy"
    assert reader.read("idle", "2", request_type) == ""
    assert reader.read("idle", "1", "execute_request") == "idle"
    assert reader.read("busy", "3", request_type) == "busy"
    assert reader.read("idle", "3", request_type) == "idle"


def test_a_kernel_whose_shell_was_never_busy_is_idle() -> None:
    assert StatusReader().read("idle", "1", "kernel_info_request") == "idle"


def test_a_lost_idle_keeps_nobody_busy() -> None:
    reader = StatusReader()
    reader.read("busy", "1", "execute_request")
    # The idle of 1 is lost; a shell works in order, so what comes next says that 1 is done.
    assert reader.read("busy", "2", "complete_request") == "busy"
    assert reader.read("idle", "2", "complete_request") == "idle"
    reader.read("busy", "3", "execute_request")
    assert reader.read("idle", "4", "complete_request") == "idle"  # here the busy of 4 was lost too
    assert reader.read("idle", "5", "kernel_info_request") == "idle"


@pytest.mark.parametrize("state", ["starting", "restarting", "dead"])
def test_a_new_process_has_no_work_of_the_old_one(state: str) -> None:
    reader = StatusReader()
    reader.read("busy", "1", "execute_request")
    assert reader.read(state, "", "") == state
    assert reader.read("idle", "2", "kernel_info_request") == "idle"


def test_an_unknown_state_is_passed_on_and_changes_nothing() -> None:
    reader = StatusReader()
    assert next_kernel_state(KernelState.BUSY, reader.read("dreaming", "1", "execute_request")) is KernelState.BUSY
