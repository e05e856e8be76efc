"""What is told of a run, and in which order."""

from __future__ import annotations

import typing
from pathlib import Path

import attrs
import pytest
import trio

from tools.notebook_tools import FakeKernel
from trio_gateway import Error, Stream
from trio_gateway._notebooks import events

from .notebook_kit import Run

pytestmark = pytest.mark.usefixtures("threads")


def test_each_event_is_one_of_the_union_and_does_not_change() -> None:
    kinds = {getattr(events, name) for name in events.__all__} - {events.RunEvent}
    assert set(typing.get_args(events.RunEvent)) == kinds
    with pytest.raises(attrs.exceptions.FrozenInstanceError):
        events.RunSaved(path=Path("x")).path = Path("y")  # type: ignore[misc]


async def test_events_come_in_the_order_of_what_happens(autojump_clock: trio.testing.MockClock) -> None:
    run = Run(FakeKernel({"a": [Stream("stdout", "1")], "b": [Error("E", "v")]}), "a", ("never", ["skip-execution"]), "b", "c")
    await run()
    told: list[tuple[object, ...]] = []
    for event in run.reader.events:
        match event:
            case events.RunStarted():
                told.append(("run", event.name, event.cells, event.kernel_id, event.kernel_name))
            case events.CellStarted():
                told.append(("begins", event.cell.number, event.cell.status, event.cell.started is not None))
            case events.CellOutput():
                told.append(("output", event.cell.number, event.output, event.late))
            case events.CellFinished():
                told.append(("ends", event.cell.number, event.cell.status, event.cell.finished is not None))
    assert told == [
        ("run", "n.ipynb", 3, "kernel-id", "python3"),
        ("begins", 1, "pending", True),
        ("output", 1, Stream("stdout", "1"), False),
        ("ends", 1, "ok", True),
        ("begins", 2, "pending", True),
        ("output", 2, Error("E", "v"), False),
        ("ends", 2, "error", True),
    ]
