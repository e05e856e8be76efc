"""A short conversation with two replicas, of which the first goes after each of its bytes: the second ends it (G1 to G5).

A run takes every fourth byte: see `suite.budgets`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from contextlib import suppress

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from suite.budgets import strike
from tools.sweep_tools import run_seeded, service_tasks
from trio_gateway import Stream
from trio_gateway.testing import Cell, FakeGateway, Sleep

TEXT = "begin\nend"
ONE, TWO = "http://one.test:8888", "http://two.test:8888/Base"


def script(cell: Cell) -> Iterator[object]:
    """What the kernel does: short, for each byte of it is a run."""
    yield Stream("stdout", "begin\n")
    yield Sleep(1)
    yield "end"


@attrs.define
class Ending:
    """How a conversation ended."""

    result: trio_gateway.ExecutionResult | None = None
    error: trio_gateway.GatewayError | None = None
    again: str | None = None
    """What the kernel said afterwards, at whichever address."""
    address: str = ""
    """The address in use at the end."""
    sizes: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    """How many bytes each connection to the first replica carried: received and sent by it."""


async def converse(connection: int, sent: int | None, received: int | None) -> Ending:
    """Start a kernel and run code in it; after so many bytes on a connection the first replica takes no connection any more."""
    ending = Ending()
    with trio.fail_after(5_000):
        async with FakeGateway(script, seed=1, url=ONE) as one, one.replica(url=TWO) as two:
            before = service_tasks()
            if sent is None and received is None:
                cut = one.faults.refuse(times=0)  # the conversation as it is
            else:
                cut = one.faults.cut(after_sent=sent, after_received=received, nth=connection)

            async def connect(host: str, port: int) -> trio.abc.Stream:
                if host == "two.test":
                    return await two.connector(host, port)
                if cut.hits:
                    await trio.lowlevel.checkpoint()
                    raise ConnectionRefusedError(111, "Connection refused")
                return await one.connector(host, port)

            try:
                config = trio_gateway.GatewayConfig(url=[ONE, TWO], auth_token=one.token, gateway_retry_interval=0.1)
                async with trio_gateway.open_gateway(config, connector=connect) as gateway, gateway.start_kernel() as kernel:
                    try:
                        ending.result = await kernel.execute("x")
                    except trio_gateway.GatewayError as error:
                        ending.error = error
                    for code in ("y", "z"):  # the replica may go with the first of them
                        if ending.again is None:
                            with suppress(trio_gateway.ConnectionLostError):
                                ending.again = (await kernel.execute(code)).text
                    ending.address = gateway.address
                    ending.sizes = {stream.number: (stream.received, stream.sent) for stream in one.connections.values()}
            except trio_gateway.GatewayError as error:
                ending.error = error
            await trio.testing.wait_all_tasks_blocked()
            assert not service_tasks() - before, "tasks are left (G1)"
            assert not {**one.connections, **two.connections}, "connections are left (G1)"
            assert not one.kernels, "a kernel is left (G2)"
            starts = [request for door in (one, two) for request in door.requests if request.method == "POST"]
            assert len(starts) <= 1, "a start was sent twice (G4)"
            for ended in one.ended_kernels:
                assert set(ended.executed.values()) <= {1}, "something ran twice (G4)"
                assert ended.codes.count("x") <= 1, "something was sent twice (G4)"
    if ending.result is not None:
        assert ending.result.text == TEXT or ending.result.output_gaps, "output is missing, and nobody says so (G5)"
    else:
        assert ending.error is not None
    return ending


def lengths() -> dict[int, tuple[int, int]]:
    """Return how many bytes the conversation has at the first replica, by connection: received and sent."""
    whole = run_seeded(converse, 0, None, None, seed=0)
    assert (whole.result.text, whole.address) == (TEXT, ONE)
    assert sorted(whole.sizes) == [1, 2], "one connection for HTTP, one for the WebSocket"
    return dict(whole.sizes)


@pytest.mark.parametrize(
    ("connection", "direction"),
    [
        pytest.param(
            *case,
            id=f"{'websocket' if case[0] == 2 else 'http'}-{case[1]}",
            marks=() if case == (2, "received") else pytest.mark.full,
        )
        for case in itertools.product((1, 2), ("received", "sent"))
    ],
)
def test_one_replica_goes_at_each_byte(
    connection: int, direction: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G1, G2, G3, G4, G5"""
    length = lengths()[connection][direction == "sent"]
    struck = strike(range(0, length + 2, 13))  # the bytes of one message differ little, and each has some of them
    good = 0
    for number in struck:
        sent, received = (number, None) if direction == "sent" else (None, number)
        try:
            ending = run_seeded(converse, connection, sent, received, seed=number)
            if connection == 2:
                assert ending.again == TEXT, "the kernel is of use, at the address that is left"
        except BaseException as error:
            error.add_note(f"the first replica went after {number} bytes {direction} on connection {connection}")
            raise
        good += ending.error is None
    record_testsuite_property(f"address_points {connection} {direction}", len(struck))
    assert length > 250
    assert good or connection == 1, "what is cut in the middle of a start is an error"
