"""Values, calls and files, cancelled at every step and disturbed at every message: whole, as before, or a typed error.

The kernel runs the library's own side of it, in virtual time and in this process (`tools.python_kernel`). Values are some pieces
long, over two windows. A run takes every fourth point: see `suite.budgets`.
"""

from __future__ import annotations

import tempfile
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager, suppress
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from suite.budgets import strike_until_it_ends
from tools.notebook_tools import Threads
from tools.python_kernel import PythonProcess, python_spec, small_pieces
from tools.sweep_tools import CancelAtStep, run_seeded, service_tasks
from trio_gateway import _threads
from trio_gateway._python import file_side, transfer
from trio_gateway.python import Progress, Python, PythonPool, open_python
from trio_gateway.testing import FakeGateway

pytestmark = pytest.mark.full

PIECE = 1000
NEW = bytes(range(250)) * 14
"""Four pieces: more than a window."""
OLD = b"before"
MOST_POINTS = 3000


@attrs.frozen
class World:
    """What an operation is tried on."""

    fake: FakeGateway
    python: Python
    processes: list[PythonProcess]
    folder: Path

    @property
    def there(self) -> dict[str, Any]:
        """The kernel's names."""
        return self.processes[-1].namespace


async def push(world: World) -> None:
    await world.python.push(value=NEW, other=1)


async def pull(world: World) -> None:
    assert await world.python.pull("new") == NEW, "a wrong value"


async def call(world: World) -> None:
    assert await world.python.call(world.python.name("count"), NEW) == NEW, "a wrong value"


async def call_async(world: World) -> None:
    assert await world.python.call(world.python.name("count_async"), NEW) == NEW, "a wrong value"


async def stream(world: World) -> None:
    async with world.python.stream(world.python.name("items"), NEW) as items:
        found = [item async for item in items]
    assert found == [NEW, 1, 2], "wrong items"


async def leave_stream(world: World) -> None:
    async with world.python.stream(world.python.name("ItemsAsync"), NEW) as items:
        assert await anext(items) == NEW, "a wrong item"


async def upload(world: World) -> None:
    copy = await world.python.upload(world.folder / "new", world.folder / "value")
    assert copy.size == len(NEW)


async def download(world: World) -> None:
    copy = await world.python.download(world.folder / "new", world.folder / "value")
    assert copy.size == len(NEW)


async def download_all(world: World) -> None:
    copies = await world.python.download_all(world.folder, world.folder / "copies", "n*")
    assert len(copies) == 1


async def call_in_a_pool(world: World) -> None:
    """On kernels of its own, several calls on one lease."""
    length = world.python.name("length")
    try:
        async with world.fake.open() as gateway, gateway.open_pool(size=2, init=LENGTH, reuse="as-is") as pool:
            pooled = PythonPool(pool)
            async with aclosing(pooled.map(length, [NEW, OLD, b""], chunk=2)) as results:
                assert [result.value async for _, result in results] == [len(NEW), len(OLD), 0]
    finally:
        del world.processes[1:]  # the pool's: they are gone


OPERATIONS = [push, pull, call, call_async, stream, leave_stream, upload, download, download_all, call_in_a_pool]
DISTURBED = [push, pull, call, stream, leave_stream, upload, download]
LENGTH = "def length(value): return len(value)"
KERNEL = """
calls = 0
def count(value):
    global calls
    calls += 1
    return value
async def count_async(value):
    return count(value)
def items(value):
    yield value
    yield 1
    yield 2
class ItemsAsync:
    def __init__(self, value):
        self.values = iter([value, 1, 2])
    def __aiter__(self):
        return self
    async def __anext__(self):
        for value in self.values:
            return value
        raise StopAsyncIteration
    async def aclose(self):
        pass
"""


@contextmanager
def small() -> Iterator[Path]:
    """Have all sizes small, files in a directory of their own, and their threads here."""
    threads = Threads()
    with (
        tempfile.TemporaryDirectory() as folder,
        small_pieces(PIECE),
        mock.patch.object(_threads, "run_sync", threads.run_sync),
    ):
        (Path(folder) / "new").write_bytes(NEW)
        (Path(folder) / "value").write_bytes(OLD)
        yield Path(folder)


async def try_once(
    operation: Callable[[World], Awaitable[None]], disturb: Callable[[World], Any], step: int | None, *, left: bool = False
) -> bool:
    """Try an operation once, disturbed or cancelled; check what holds in any case. Return whether it completed.

    Args:
        operation: what is tried.
        disturb: makes what goes wrong; it may return what ends that.
        step: at which step it is cancelled.
        left: whether something may be left in the kernel, since it could not be told.
    """
    processes: list[PythonProcess] = []
    completed = False
    with small() as folder, trio.fail_after(5_000):
        async with FakeGateway(kernelspecs=[python_spec(processes, PIECE)], seed=1) as fake:
            before = service_tasks()
            async with (
                fake.open(gateway_retry_interval=0.1) as gateway,
                gateway.start_kernel() as kernel,
                open_python(kernel) as made,
            ):
                world = World(fake, made, processes, folder)
                world.there.update(new=NEW, value=OLD)
                exec(KERNEL, world.there)
                undo = disturb(world)
                with trio.CancelScope() as scope:
                    cancel = CancelAtStep(scope, step or -1)
                    try:
                        with cancel.watching():
                            await operation(world)
                        completed = True
                    except trio_gateway.GatewayError:
                        assert step is None, "cancelled, it ended with something else (G9)"
                fake.faults.clear()
                if undo is not None:
                    undo()
                with trio.fail_after(500):
                    if left:  # what was sent before the end of the process was noticed is told here
                        with suppress(trio_gateway.GatewayError):
                            await made.pull("0")
                    assert await made.pull("6 * 7") == 42, "the kernel is of use afterwards"
                check(operation, world, completed=completed, left=left)
            await trio.testing.wait_all_tasks_blocked()
            assert not service_tasks() - before, "tasks are left (G1)"
            assert not fake.kernels, "a kernel is left (G2)"
    return completed


def check(operation: Any, world: World, *, completed: bool, left: bool) -> None:
    there = world.there
    restarted = len(world.processes) > 1
    assert restarted or there["value"] in (OLD, NEW), "half a value is under the name"
    assert restarted or (there["value"] == NEW) == ("other" in there), "some names are bound, and some are not"
    assert there.get("calls", 0) <= 1, "it was called twice (G4)"
    assert (world.folder / "value").read_bytes() in (OLD, NEW), "half a file is under the name"
    if completed and operation is push:
        assert restarted or there["value"] == NEW
    if completed and operation in (upload, download):
        assert (world.folder / "value").read_bytes() == NEW
    if not left:
        side = world.processes[-1].side
        assert (side._boxes, side._answers, side.file_side._writers) == ({}, {}, {}), "something is left in the kernel"
    assert file_side._writers == {}, "a file is open here"
    names = {path.name for path in world.folder.rglob("*")}
    allowed = {"new", "value", "copies"} | ({".value.part"} if left and operation is upload else set())
    assert names <= allowed, "something is beside the files"


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.__name__)
def test_cancelled_at_every_step(operation: Any, record_testsuite_property: Callable[[str, object], None]) -> None:
    """G1, G4, G6, G9"""

    def attempt(step: int) -> bool:
        assert step < MOST_POINTS
        try:
            return bool(run_seeded(try_once, operation, lambda world: None, step, seed=step))
        except BaseException as error:
            error.add_note(f"{operation.__name__} was cancelled at step {step}")
            raise

    struck = strike_until_it_ends(attempt)
    record_testsuite_property(f"cancel_points python.{operation.__name__}", len(struck))
    assert len(struck) > 5


async def pull_slowly() -> None:
    """Pull four pieces, two a question, and take the second only when the kernel has been asked for those after it."""
    processes: list[PythonProcess] = []
    with small(), mock.patch.object(transfer, "WINDOW", 4 * PIECE):
        async with (
            FakeGateway(kernelspecs=[python_spec(processes, PIECE)], seed=1) as fake,
            fake.open() as gateway,
            gateway.start_kernel() as kernel,
            open_python(kernel) as made,
        ):
            process = processes[-1]
            process.namespace["new"] = NEW
            steps, asked = process.side._STEPS, []
            send, asked_again = steps["send"], trio.Event()

            def noted(token: str, start: int, stop: int) -> Any:
                asked.append((start, stop))
                if len(asked) == 2:
                    asked_again.set()
                return send(token, start, stop)

            async def wait(progress: Progress) -> None:
                if progress.done == 2 * PIECE:
                    await asked_again.wait()

            steps["send"] = noted
            with trio.fail_after(100):
                assert await made.pull("new", on_progress=wait) == NEW
            assert [start for start, _ in asked] == [0, 2 * PIECE], "each piece is asked for once"
            assert all(stop - start <= 2 * PIECE for start, stop in asked), "half a window at a time"


def test_the_kernel_is_asked_for_the_next_pieces_while_these_come() -> None:
    run_seeded(pull_slowly, seed=1)


FAULTS: dict[str, Callable[[World, int], Any]] = {
    "cut before a message": lambda world, nth: world.fake.faults.cut_at_message(".*", nth=nth),
    "cut inside of one": lambda world, nth: world.fake.faults.cut_at_message(".*", inside=True, nth=nth),
    "cut before one to the kernel": lambda world, nth: world.fake.faults.cut_at_message(".*", direction="to_kernel", nth=nth),
    "lose a piece to the kernel": lambda world, nth: world.fake.faults.drop("shell comm_.*", direction="to_kernel", nth=nth),
    "two pieces of three": lambda world, nth: world.fake.faults.drop("iopub comm_msg", nth=range(nth, 60, 2)),
}
"""What goes wrong at the nth message of a kind."""


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("operation", DISTURBED, ids=lambda operation: operation.__name__)
def test_disturbed_at_every_message(operation: Any, fault: str, record_testsuite_property: Callable[[str, object], None]) -> None:
    """G3, G4, G5"""
    hits: list[Any] = []

    def attempt(number: int) -> bool:
        assert number < MOST_POINTS
        try:
            run_seeded(
                lambda: try_once(operation, lambda world: hits.append(FAULTS[fault](world, number)), None, left=True), seed=number
            )
        except BaseException as error:
            error.add_note(f"{operation.__name__}: {fault}, the {number}.")
            raise
        return not hits[-1].hits

    struck = strike_until_it_ends(attempt)
    record_testsuite_property(f"fault_points python.{operation.__name__} {fault}", len(struck))


async def end_process(operation: Any, number: int, how: str) -> bool:
    """Have the kernel's process replaced when the nth message goes to the client or the kernel; return whether there was one."""
    seen = 0

    def disturb(world: World) -> Callable[[], None]:
        (kernel,) = world.fake.kernels.values()
        on_message = world.fake.faults.on_message

        def count(*given: Any, **more: Any) -> Any:
            nonlocal seen
            seen += 1
            if seen == number:
                getattr(kernel, how)()
            return on_message(*given, **more)

        def undo() -> None:
            world.fake.faults.on_message = on_message  # type: ignore[method-assign]

        world.fake.faults.on_message = count  # type: ignore[method-assign]
        return undo

    await try_once(operation, disturb, None, left=True)
    return seen < number


@pytest.mark.parametrize("how", ["kill", "restart"])
@pytest.mark.parametrize("operation", DISTURBED, ids=lambda operation: operation.__name__)
def test_a_process_that_ends_at_every_message(
    operation: Any, how: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G3, G4"""

    def attempt(number: int) -> bool:
        assert number < MOST_POINTS
        try:
            return bool(run_seeded(end_process, operation, number, how, seed=number))
        except BaseException as error:
            error.add_note(f"{operation.__name__}: {how} at message {number}")
            raise

    struck = strike_until_it_ends(attempt)
    record_testsuite_property(f"process_points python.{operation.__name__} {how}", len(struck))
