"""A short conversation, cut at each of its bytes, both ways: every end is a good one or a typed error (G1 to G5).

A run takes every fourth byte: see `suite.budgets`.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from suite.budgets import strike
from tools.sweep_tools import run_seeded, service_tasks
from trio_gateway import Stream
from trio_gateway.testing import Cell, FakeGateway, FakeKernel, Sleep

TEXT = "begin\nend"


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
    sizes: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    """How many bytes each connection carried: received and sent by the fake."""


async def converse(framing: Any, connection: int, sent: int | None, received: int | None) -> Ending:
    """Start a kernel, run code in it, shut it down, with one cut; check what must hold in any case."""
    ending = Ending()
    with trio.fail_after(5_000):
        async with FakeGateway(script, framings=[framing], seed=1) as fake:
            before = service_tasks()
            if sent is not None or received is not None:
                fake.faults.cut(after_sent=sent, after_received=received, nth=connection)
            try:
                async with fake.open(gateway_retry_interval=0.1) as gateway, gateway.start_kernel() as kernel:
                    try:
                        ending.result = await kernel.execute("x")
                    except trio_gateway.GatewayError as error:
                        ending.error = error
                    ending.sizes = {stream.number: (stream.received, stream.sent) for stream in fake.connections.values()}
            except trio_gateway.GatewayError as error:
                ending.error = error
            await trio.testing.wait_all_tasks_blocked()
            assert not service_tasks() - before, "tasks are left (G1)"
            assert not fake.connections, "connections are left (G1)"
            assert not fake.kernels, "a kernel is left (G2)"
            for ended in fake.ended_kernels:
                check_executions(ended)
    if ending.result is not None:
        assert ending.result.text == TEXT or ending.result.output_gaps, "output is missing, and nobody says so (G5)"
    else:
        assert ending.error is not None
    return ending


def check_executions(kernel: FakeKernel) -> None:
    assert set(kernel.executed.values()) <= {1}, "something ran twice (G4)"
    assert len(kernel.codes) <= 1, "something was sent twice (G4)"


def lengths(framing: str) -> dict[int, tuple[int, int]]:
    """Return how many bytes the conversation has, by connection: received and sent."""
    whole = run_seeded(converse, framing, 0, None, None, seed=0)
    assert whole.result.text == TEXT
    assert sorted(whole.sizes) == [1, 2], "one connection for HTTP, one for the WebSocket"
    return dict(whole.sizes)


def points(length: int) -> range:
    """Return where a direction of so many bytes is cut: before the first byte, after each, and where no byte comes any more."""
    return range(length + 2)


QUICK = ("v1", 2, "received")
"""What the quick tier has of it: what the library says on the WebSocket."""


@pytest.mark.parametrize(
    ("framing", "connection", "direction"),
    [
        pytest.param(
            *case,
            id=f"{framing}-{'websocket' if connection == 2 else 'http'}-{direction}",
            marks=() if case == QUICK else pytest.mark.full,
        )
        for case in itertools.product(("v1", "legacy"), (1, 2), ("received", "sent"))
        for framing, connection, direction in [case]
    ],
)
def test_cut_at_each_byte(
    framing: str, connection: int, direction: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G1, G2, G3, G4, G5"""
    length = lengths(framing)[connection][direction == "sent"]
    struck = strike(points(length))
    good = 0
    for number in struck:
        sent, received = (number, None) if direction == "sent" else (None, number)
        try:
            ending = run_seeded(converse, framing, connection, sent, received, seed=number)
        except BaseException as error:
            error.add_note(f"the {connection}. connection was cut after {number} bytes {direction}, {framing}")
            raise
        good += ending.error is None
    record_testsuite_property(f"cut_points {framing} {connection} {direction}", len(struck))
    assert length > 250
    assert 0 < good < len(struck) or connection == 1


def test_four_runs_cut_at_each_byte_once() -> None:
    """Four consecutive commits cut where `nox -s soak` does."""
    everywhere = points(lengths("v1")[2][1])
    quarters = [strike(everywhere, [offset]) for offset in range(4)]
    assert sorted(itertools.chain(*quarters)) == strike(everywhere, range(4)) == list(everywhere)
    assert max(map(len, quarters)) - min(map(len, quarters)) <= 1


def test_the_sweep_sees_what_it_looks_for() -> None:
    """A kernel that runs everything twice is noticed."""

    async def look() -> None:
        async with FakeGateway() as fake:
            kernel = await fake.start_kernel("python3")
            kernel.executed = {"one": 2}
            with pytest.raises(AssertionError, match="G4"):
                check_executions(kernel)

    trio.run(look)
