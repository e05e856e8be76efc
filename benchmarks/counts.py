"""Counts what operations on the fake cost, in figures that a busy machine does not change: calls of Python functions, and memory.

    python -m benchmarks.counts            # count, and compare with the figures that were landed last: benchmarks/counts.json
    python -m benchmarks.counts --write    # put what is counted there

Time is virtual and tasks take turns in an order that a seed gives, so that two runs count the same. A call is a function of
Python that begins or, where it is a coroutine, goes on; those of the fake, and what it calls, don't
count, for nobody pays for them but tests.
Bytes are the most that was allocated at one moment above what was before, the fake's included.
"""

from __future__ import annotations

import argparse
import contextlib
import gc
import json
import os
import platform
import random
import sys
import tracemalloc
from collections.abc import Awaitable, Callable, Generator, Mapping
from contextlib import contextmanager
from importlib import metadata
from pathlib import Path
from types import FrameType
from typing import Final
from unittest import mock

import attrs
import trio
import trio._core._run as scheduler
import trio.testing

import trio_gateway.testing
from trio_gateway import ConnectionState, Gateway, Kernel
from trio_gateway.python import open_python
from trio_gateway.testing import FakeGateway

__all__ = ["LANDED", "MARGINS", "count_all", "exceeded"]

LANDED: Final = Path(__file__).parent / "counts.json"
"""Where the figures are that were landed last."""
MARGINS: Final[Mapping[str, float]] = {"calls": 1.2, "bytes": 1.4}
"""So many times as much is still well: another version of Python or of Trio counts a little otherwise."""
FLOOD: Final = 100
SIZE: Final = 100_000
_OF_THE_FAKE: Final = os.path.dirname(trio_gateway.testing.__file__) + os.sep  # noqa: PTH120 - compared with names of code


@attrs.frozen
class Stage:
    """What operations are done on."""

    fake: FakeGateway
    gateway: Gateway
    kernel: Kernel


Operation = Callable[[Stage], Awaitable[object]]


async def execute(stage: Stage) -> None:
    assert (await stage.kernel.execute("1 + 1")).text == "2"


async def stream(stage: Stage) -> None:
    async with stage.kernel.stream("1 + 1") as outputs:
        assert [output async for output in outputs]


async def flood(stage: Stage) -> None:
    async with stage.kernel.stream(f"for i in range({FLOOD}): display(i)") as outputs:
        assert len([None async for _ in outputs]) == FLOOD


async def flood_collected(stage: Stage) -> None:
    assert len((await stage.kernel.execute(f"for i in range({FLOOD}): display(i)")).outputs) == FLOOD


async def kernel_info(stage: Stage) -> None:
    assert await stage.kernel.kernel_info()


async def model(stage: Stage) -> None:
    assert (await stage.gateway.kernels.get(stage.kernel.id)).id == stage.kernel.id


async def start(stage: Stage) -> None:
    async with stage.gateway.start_kernel() as kernel:
        assert kernel.id


async def attach(stage: Stage) -> None:
    async with stage.gateway.attach_kernel(stage.kernel.id) as kernel:
        assert kernel.id == stage.kernel.id


async def reconnect(stage: Stage) -> None:
    stage.fake.cut_connections()
    await stage.kernel.wait_for(ConnectionState.RECONNECTING)
    await stage.kernel.wait_for(ConnectionState.CONNECTED)
    assert (await stage.kernel.kernel_info())["status"] == "ok"


async def fan_out(stage: Stage) -> None:
    async with contextlib.AsyncExitStack() as stack:
        kernels = [await stack.enter_async_context(stage.gateway.start_kernel()) for _ in range(4)]
        async with trio.open_nursery() as nursery:
            for kernel in kernels:
                nursery.start_soon(kernel.execute, "1 + 1")


async def lease(stage: Stage) -> None:
    async with stage.gateway.open_pool(size=1, warm=1, reuse="as-is") as pool:
        await pool.wait_ready()
        for _ in range(4):
            async with pool.kernel():
                pass


async def push(stage: Stage) -> None:
    async with open_python(stage.kernel) as python:
        await python.push({"value": b"x" * SIZE})


async def pull(stage: Stage) -> None:
    async with open_python(stage.kernel) as python:
        assert len(await python.pull("b'x' * 100_000")) == SIZE


OPERATIONS: Final[Mapping[str, tuple[Operation, str]]] = {
    "execute": (execute, "fast"),
    "execute, trio-websocket": (execute, "trio-websocket"),
    "stream": (stream, "fast"),
    "stream, trio-websocket": (stream, "trio-websocket"),
    "stream of 100 outputs": (flood, "fast"),
    "stream of 100 outputs, trio-websocket": (flood, "trio-websocket"),
    "execute with 100 outputs": (flood_collected, "fast"),
    "kernel_info": (kernel_info, "fast"),
    "a kernel's model": (model, "fast"),
    "start a kernel and shut it down": (start, "fast"),
    "attach": (attach, "fast"),
    "reconnect": (reconnect, "fast"),
    "4 kernels start, execute and end": (fan_out, "fast"),
    "a pool's start and 4 leases": (lease, "fast"),
    "push 100 kB": (push, "fast"),
    "pull 100 kB": (pull, "fast"),
}


def count_all(names: list[str] | None = None) -> dict[str, dict[str, int]]:
    """Count, and return calls and bytes for each operation.

    Args:
        names: which; None for all.
    """
    return {name: _count(*OPERATIONS[name]) for name in names or OPERATIONS}


def _count(operation: Operation, engine: str) -> dict[str, int]:
    async def main() -> dict[str, int]:
        async with FakeGateway() as fake, fake.open(websocket_engine=engine) as gateway, gateway.start_kernel() as kernel:
            stage = Stage(fake, gateway, kernel)
            await operation(stage)  # what is made once is there then
            await trio.testing.wait_all_tasks_blocked()
            gc.collect()
            gc.disable()  # what it finds, and when, is another matter
            try:
                calls = await _calls(operation, stage)
                await trio.testing.wait_all_tasks_blocked()
                gc.collect()
                return {"calls": calls, "bytes": await _bytes(operation, stage)}
            finally:
                gc.enable()

    with _one_order():
        return trio.run(main, clock=trio.testing.MockClock(autojump_threshold=0))


async def _calls(operation: Operation, stage: Stage) -> int:
    count = depth = 0  # how deep we are in calls of the fake's

    def note(frame: FrameType, event: str, argument: object) -> None:  # noqa: ARG001
        nonlocal count, depth
        if event == "call":
            if depth or frame.f_code.co_filename.startswith(_OF_THE_FAKE):
                depth += 1
            else:
                count += 1
        elif event == "return" and depth:
            depth -= 1

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        await operation(stage)
    finally:
        sys.setprofile(before)
    return count


async def _bytes(operation: Operation, stage: Stage) -> int:
    tracemalloc.start()
    try:
        await operation(stage)  # what is traced has its own first time
        gc.collect()
        tracemalloc.reset_peak()
        before, _ = tracemalloc.get_traced_memory()
        await operation(stage)
        _, most = tracemalloc.get_traced_memory()
        return most - before
    finally:
        tracemalloc.stop()


@contextmanager
def _one_order() -> Generator[None]:
    """Have the tasks take turns in the same order each time. There is no public way to ask Trio for it."""
    dice = random.Random(0)
    with mock.patch.object(scheduler, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True), mock.patch.object(scheduler, "_r", dice):
        yield


def exceeded(found: Mapping[str, Mapping[str, int]], landed: Mapping[str, Mapping[str, int]]) -> list[str]:
    """Say of which operations more was counted than the margin allows; a line for each figure.

    Args:
        found: what was counted, for each operation.
        landed: what was landed last.
    """
    lines = []
    for name, figures in found.items():
        for kind, figure in figures.items():
            before = landed[name][kind]
            if figure > before * MARGINS[kind]:
                lines.append(f"{name}: {figure:,} {kind}, {figure / before:.2f} × the {before:,} that were landed last")
    return lines


def main() -> None:
    """Count, and compare or write."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--write", action="store_true", help=f"put the figures into {LANDED.name}")
    parser.add_argument("--case", metavar="WORD", default="", help="only operations with this in their names")
    parser.add_argument("--json", action="store_true", help="print the figures as JSON, and compare nothing")
    given = parser.parse_args()
    if os.environ.get("PYTHONHASHSEED") != "0":  # sets of tasks have an order too
        os.environ["PYTHONHASHSEED"] = "0"
        os.execv(sys.executable, [sys.executable, "-m", "benchmarks.counts", *sys.argv[1:]])
    names = [name for name in OPERATIONS if given.case in name]
    found = count_all(names)
    if given.json:
        print(json.dumps(found))
        return
    known = json.loads(LANDED.read_text(encoding="utf-8")) if LANDED.exists() else {"operations": {}}
    landed = known["operations"]
    for name, figures in found.items():
        told = []
        for kind, figure in figures.items():
            before = landed.get(name, {}).get(kind)
            told.append(f"{figure:>9,} {kind}" + (f" ({figure / before:.2f} ×)" if before else ""))
        print(f"{name:42}", *told)
    if given.write:
        versions = {"python": platform.python_version(), "trio": metadata.version("trio")}
        written = {"counted with": versions, "operations": {**landed, **found}}
        LANDED.write_text(json.dumps(written, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    elif lines := exceeded({name: figures for name, figures in found.items() if name in landed}, landed):
        sys.exit("\n".join(["", "more than the margin allows:", *lines, "if that is meant: python -m benchmarks.counts --write"]))


if __name__ == "__main__":
    main()
