"""How a session's kernel and connection are: what is noted, what it changes, and who wakes."""

from __future__ import annotations

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from trio_gateway import ConnectionLostError, ConnectionState, GatewayConnectionError, KernelState, ProtocolError, Verdict
from trio_gateway._kernel.status import SessionStatus, Status


@pytest.fixture
async def status() -> SessionStatus:
    return SessionStatus("kernel-1", 30.0)


async def test_it_begins_with_nothing_known(status: SessionStatus) -> None:
    assert status.current == Status(KernelState.STARTING, ConnectionState.CONNECTING)
    assert (status.connections, status.ended, status.over, status.watched, status.told_on) == (0, None, False, False, 0)
    status.raise_if_ended()


async def test_a_change_wakes_all_who_wait_and_no_change_wakes_nobody(status: SessionStatus) -> None:
    seen: list[Status] = []

    async def wait() -> None:
        await status.wait_change()
        seen.append(status.current)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(wait)
        nursery.start_soon(wait)
        await wait_all_tasks_blocked()
        assert status.watched
        status.change(kernel="starting")
        status.change(kernel="a word that no table has")
        status.change(connection="lost")  # it was never there
        await wait_all_tasks_blocked()
        assert seen == []
        status.change(kernel="idle")
    assert seen == [Status(KernelState.IDLE, ConnectionState.CONNECTING)] * 2
    assert not status.watched


async def test_both_machines_may_change_at_once(status: SessionStatus) -> None:
    status.change(kernel="busy", connection="opened")
    assert status.current == Status(KernelState.BUSY, ConnectionState.CONNECTED)
    status.change(kernel="dead")
    status.change(kernel="idle")
    assert status.kernel is KernelState.DEAD, "nothing follows"


async def test_connections_are_counted_and_one_that_brought_nothing_is_noted(status: SessionStatus) -> None:
    status.opened()
    assert (status.connections, status.unheard, status.connection) == (1, False, ConnectionState.CONNECTED)
    status.lost(GatewayConnectionError("broke"))
    assert status.connection is ConnectionState.RECONNECTING
    status.opened()
    assert (status.connections, status.unheard) == (2, True)
    status.liveness.progressed = True
    status.lost(GatewayConnectionError("broke"))
    status.opened()
    assert (status.connections, status.unheard) == (3, False)


@pytest.mark.parametrize(
    ("reason", "verdict"),
    [(GatewayConnectionError("refused"), Verdict.UNREACHABLE), (ProtocolError("odd"), Verdict.SUSPECT)],
)
async def test_an_attempt_that_fails_may_say_that_the_gateway_is_away(
    status: SessionStatus, reason: Exception, verdict: Verdict
) -> None:
    """The break itself does not: only the next attempt tells."""
    status.opened()
    status.lost(GatewayConnectionError("broke"))
    assert status.liveness.verdict(trio.current_time()) is Verdict.SUSPECT
    status.lost(reason)
    assert status.liveness.verdict(trio.current_time()) is verdict


async def test_the_end_is_raised_anew_each_time_and_wakes(status: SessionStatus) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(status.wait_change)
        await wait_all_tasks_blocked()
        status.end(ConnectionLostError("gave up", attempts=3, seconds=2.0))
    assert status.connection is ConnectionState.CLOSED
    assert status.over
    errors = []
    for _ in range(2):
        with pytest.raises(ConnectionLostError, match="gave up") as caught:
            status.raise_if_ended()
        errors.append(caught.value)
    assert errors[0] is not errors[1]
    assert status.ended not in errors


async def test_a_shutdown_of_ours_leaves_nothing_to_find_out(status: SessionStatus) -> None:
    status.shutting_down = True
    assert status.over
    status.raise_if_ended()
