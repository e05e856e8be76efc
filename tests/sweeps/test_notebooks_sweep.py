"""A notebook's run, cut at each message and at each byte: its document is whole or says what it lacks, and no cell runs twice.

A run takes every fourth point: see `suite.budgets`.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import attrs
import nbformat
import pytest
import trio
import trio.testing

from suite.budgets import strike, strike_until_it_ends
from tools.notebook_tools import Threads, notebook_of, texts_of
from tools.sweep_tools import run_seeded, service_tasks
from trio_gateway import ConnectionLostError, GatewayError, Stream, notebooks
from trio_gateway.testing import Cell, FakeGateway, Sleep

CELLS = ("a", "b")
WHOLE = {code: f"{code} begins\n{code} ends" for code in CELLS}


@pytest.fixture(autouse=True)
def _threads(monkeypatch: pytest.MonkeyPatch) -> None:
    """Threads in virtual time."""
    monkeypatch.setattr(trio.to_thread, "run_sync", Threads().run_sync)


def script(cell: Cell) -> Iterator[object]:
    """What the kernel does: short, for each byte of it is a run."""
    yield Stream("stdout", f"{cell.code} begins\n")
    yield Sleep(1)
    yield Stream("stdout", f"{cell.code} ends")


@attrs.define
class Ending:
    """How a run ended."""

    run: notebooks.OpenRun | None = None
    error: GatewayError | None = None
    sizes: dict[int, tuple[int, int]] = attrs.field(factory=dict)
    """How many bytes each connection carried: received and sent by the fake."""
    struck: bool = True
    """Whether the fault has struck."""

    @property
    def good(self) -> bool:
        return self.error is None


Fault = Callable[[FakeGateway], Any]


async def run(framing: Any, output: Path, fault: Fault | None) -> Ending:
    """Run a notebook with one fault; check what must hold in any case."""
    ending = Ending()
    with trio.fail_after(5_000):
        async with FakeGateway(script, framings=[framing], seed=1) as fake:
            before = service_tasks()
            rule = None if fault is None else fault(fake)
            try:
                async with fake.open(gateway_retry_interval=0.1) as gateway:
                    async with notebooks.open_run(gateway, notebook_of(*CELLS), output=output) as ending.run:
                        async for _ in ending.run:
                            ending.sizes = {stream.number: (stream.received, stream.sent) for stream in fake.connections.values()}
            except GatewayError as error:
                ending.error = error
            await trio.testing.wait_all_tasks_blocked()
            assert not service_tasks() - before, "tasks are left (G1)"
            assert not fake.connections, "connections are left (G1)"
            assert not fake.kernels, "a kernel is left (G2)"
            for ended in fake.ended_kernels:
                check_executions(list(ended.codes), ended.executed)
            ending.struck = rule is None or rule.hits > 0
    check_document(ending, output)
    return ending


def check_executions(codes: list[str], executed: dict[str, int]) -> None:
    ran = [code for code in codes if code]  # a barrier runs nothing
    assert ran == list(CELLS[: len(ran)]), "a cell was sent twice, or out of its turn (G4)"
    assert set(executed.values()) <= {1}, "something ran twice (G4)"


def check_document(ending: Ending, output: Path) -> None:
    """See that the run's document is its file's, and whole or says what it lacks; remove the file."""
    if ending.run is None:  # no kernel could be started
        assert ending.error is not None
        assert not output.exists()
        return
    cells = ending.run.cells
    saved = json.loads(output.read_text("utf-8"))
    output.unlink()
    nbformat.validate(saved)
    assert saved["cells"] == json.loads(nbformat.writes(ending.run.notebook))["cells"], "what is saved is what there is"
    if ending.good:
        assert [cell.status for cell in cells] == ["ok", "ok"]
        assert ending.run.result.status == "ok"
    for cell, node in zip(cells, saved["cells"], strict=True):
        told = node["metadata"].get("trio_gateway", {}).get("output_gaps", [])
        assert [gap.kind for gap in cell.output_gaps] == [gap["reason"] for gap in told], "the file says so too (G5)"
        text = "".join(texts_of(node))
        if cell.status == "ok":
            assert text == WHOLE[cell.source] or told, "output is missing, and nothing says so (G5)"
        else:
            assert cell.status == "pending", "a cut is no error of a cell"
            assert cell.started is not None or not text


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
def test_cut_in_steps_of_bytes(
    framing: str, connection: int, direction: str, tmp_path: Path, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G1, G2, G3, G4, G5. Every 13th byte: the bytes of one message differ little, and each message has some of them."""
    output = tmp_path / "out.ipynb"
    whole = run_seeded(run, framing, output, None, seed=0)
    assert whole.good
    assert all(cell.output_gaps == () for cell in whole.run.cells)
    length = whole.sizes[connection][direction == "sent"]
    struck = strike(range(0, length + 2, 13))
    good = 0
    for number in struck:
        at: dict[str, Any] = {f"after_{direction}": number}
        try:
            ending = run_seeded(run, framing, output, lambda fake, at=at: fake.faults.cut(**at, nth=connection), seed=number)
        except BaseException as error:
            error.add_note(f"the {connection}. connection was cut after {number} bytes {direction}, {framing}")
            raise
        good += ending.good
    record_testsuite_property(f"notebook_cut_points {framing} {connection} {direction}", len(struck))
    assert 0 < good < len(struck) or connection == 1


KINDS = ("shell execute_reply", "iopub status", "iopub execute_input", "iopub stream")
FAULTS: dict[str, Callable[[FakeGateway, str, int], Any]] = {
    "cut before": lambda fake, kind, number: fake.faults.cut_at_message(kind, nth=number),
    "cut inside": lambda fake, kind, number: fake.faults.cut_at_message(kind, nth=number, inside=True),
    "drop": lambda fake, kind, number: fake.faults.drop(kind, nth=number),
    "duplicate": lambda fake, kind, number: fake.faults.duplicate(kind, nth=number),
    "reorder": lambda fake, kind, number: fake.faults.reorder(kind, nth=number),
}


BY_DESIGN = {(how, "iopub stream") for how in ("drop", "duplicate", "reorder")}
"""Over a connection that holds nothing drops a short output or lets one overtake another, and what comes twice was sent twice:
see `_protocol.loss`."""


@pytest.mark.parametrize("how", FAULTS)
@pytest.mark.parametrize("framing", ["v1", "legacy"])
def test_each_message_is_struck(framing: str, how: str, tmp_path: Path) -> None:
    """G1, G2, G3, G4, G5: the connection breaks at it, it is lost on the way, comes twice, or behind the next one."""
    output = tmp_path / "out.ipynb"
    endings: list[Ending] = []

    def strike_at(kind: str, number: int) -> bool:
        try:
            ending = run_seeded(run, framing, output, lambda fake: FAULTS[how](fake, kind, number), seed=number)
        except BaseException as error:
            error.add_note(f"{how}: {kind}, number {number}, {framing}")
            raise
        if ending.struck:
            endings.append(ending)
        return not ending.struck

    for kind in KINDS:
        if (how, kind) not in BY_DESIGN:
            strike_until_it_ends(partial(strike_at, kind))
    assert endings
    if how in ("duplicate", "reorder"):
        assert all(ending.good for ending in endings)


@pytest.mark.parametrize("inside", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_request_that_the_connection_breaks_at_is_not_sent_twice(inside: bool, number: int, tmp_path: Path) -> None:
    """G4. What had not left is sent over the next connection; whether the rest has run nobody knows, and the run ends there."""

    def fault(fake: FakeGateway) -> Any:
        return fake.faults.cut_at_message("shell execute_request", direction="to_kernel", nth=number, inside=inside)

    ending = run_seeded(run, "v1", tmp_path / "out.ipynb", fault, seed=number)
    assert ending.struck
    assert isinstance(ending.error, ConnectionLostError | None)


def test_the_sweep_sees_what_it_looks_for() -> None:
    """A cell that runs twice, or out of its turn, is noticed."""
    for codes, executed in ((["a", "a"], {"1": 1}), (["b"], {"1": 1}), (["a"], {"1": 2})):
        with pytest.raises(AssertionError, match="G4"):
            check_executions(codes, executed)
    check_executions(["a", "", "b"], {"1": 1, "2": 1})
