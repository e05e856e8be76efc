"""Each public operation, cancelled at every step until it completes: after each, G1, G2 and G9 hold and the kernel is of use.

A run takes every fourth step: see `suite.budgets`.
"""

from __future__ import annotations

import itertools
import tempfile
from collections.abc import AsyncGenerator, Awaitable, Callable, Collection, Iterator
from contextlib import aclosing, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import attrs
import nbformat
import pytest
import trio
import trio.testing

import trio_gateway
from suite.budgets import strike_until_it_ends
from tools.notebook_tools import Threads, notebook_of, write_notebook
from tools.sweep_tools import CancelAtStep, run_seeded, service_tasks
from trio_gateway import notebooks
from trio_gateway.testing import FakeComm, FakeGateway, FakeKernelSpec

MOST_STEPS = 3000
CELLS = ("import time\nprint('a', flush=True)\ntime.sleep(1)", "print('b')")


@attrs.frozen
class World:
    """What an operation is tried on."""

    fake: FakeGateway
    gateway: trio_gateway.Gateway
    kernel: trio_gateway.Kernel


async def execute(world: World) -> None:
    result = await world.kernel.execute("import time\nprint('a', flush=True)\ntime.sleep(1)\n1")
    assert result.text == "a\n1"
    assert result.output_gaps == ()


async def execute_with_input(world: World) -> None:
    async def answer(prompt: str, password: bool) -> str:
        await trio.sleep(1)
        return prompt

    assert (await world.kernel.execute("input('x')", stdin=answer)).text == "'x'"


async def execute_abandoned(world: World) -> None:
    await world.kernel.execute("import time; time.sleep(1)", on_cancel="abandon")


async def stream(world: World) -> None:
    async with world.kernel.stream("for i in range(3): print(i, flush=True)") as outputs:
        assert len([output async for output in outputs]) == 3


async def stream_left_early(world: World) -> None:
    async with world.kernel.stream("import time\nprint(1, flush=True)\ntime.sleep(1e6)") as outputs:
        async for _ in outputs:
            break


async def two_at_once(world: World) -> None:
    async with trio.open_nursery() as nursery:
        nursery.start_soon(world.kernel.execute, "import time; time.sleep(1)")
        nursery.start_soon(world.kernel.execute, "2")


async def complete(world: World) -> None:
    assert "print" in (await world.kernel.complete("prin"))["matches"]


async def inspect(world: World) -> None:
    await world.kernel.inspect("len")


async def history(world: World) -> None:
    await world.kernel.history()


async def is_complete(world: World) -> None:
    await world.kernel.is_complete("1")


async def comm_info(world: World) -> None:
    await world.kernel.comm_info()


async def kernel_info(world: World) -> None:
    await world.kernel.kernel_info()


async def debug(world: World) -> None:
    await world.kernel.debug("initialize")


async def interrupt(world: World) -> None:
    await world.kernel.interrupt()


async def restart(world: World) -> None:
    await world.kernel.restart()


async def shutdown(world: World) -> None:
    await world.kernel.shutdown()


async def heartbeat(world: World) -> None:
    await world.kernel.hb.check()


async def subscription(world: World) -> None:
    async with world.kernel.iopub.subscribe() as messages:
        await world.kernel.execute("print('x')")
        async for message in messages:
            if message.msg_type == "stream":
                break


async def comms(world: World) -> None:
    async with world.kernel.comms.open("echo") as comm:
        await comm.send({"a": 1}, buffers=[b"\x00"])
        assert (await comm.receive()).data == {"a": 1}


async def subshell(world: World) -> None:
    async with world.kernel.subshell() as beside:
        await beside.execute("1")


async def attach(world: World) -> None:
    async with world.gateway.attach_kernel(world.kernel.id) as other:
        await other.execute("1")


async def start_another(world: World) -> None:
    async with world.gateway.start_kernel() as other:
        await other.execute("1")


async def whole_gateway(world: World) -> None:
    async with world.fake.open() as gateway, gateway.start_kernel():
        pass


async def several_addresses(world: World) -> None:
    """Of which the first does not answer."""

    async def connect(host: str, port: int) -> trio.abc.Stream:
        if host == "down.invalid":
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(111, "Connection refused")
        return await world.fake.connector(host, port)

    config = trio_gateway.GatewayConfig(url=["http://down.invalid", world.fake.url], auth_token=world.fake.token)
    async with trio_gateway.open_gateway(config, connector=connect) as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("1")


async def kernels_administration(world: World) -> None:
    await world.gateway.kernels.list()
    await world.gateway.kernels.get(world.kernel.id)
    await world.gateway.kernels.interrupt(world.kernel.id)
    await world.gateway.kernels.cull(trio_gateway.CullPolicy(idle_timeout=1e9, interval=1e9))


async def restart_by_id(world: World) -> None:
    await world.gateway.kernels.restart(world.kernel.id)


async def shutdown_by_id(world: World) -> None:
    await world.gateway.kernels.shutdown(world.kernel.id)


async def shutdown_all(world: World) -> None:
    await world.gateway.kernels.shutdown_all()


async def kernelspecs(world: World) -> None:
    await world.gateway.kernelspecs.list()
    await world.gateway.kernelspecs.get("python3")
    await world.gateway.kernelspecs.resource("python3", "logo.svg")


async def sessions(world: World) -> None:
    made = await world.gateway.sessions.create(path="a.ipynb", kernel_name="python3")
    await world.gateway.sessions.get(made.id)
    await world.gateway.sessions.update(made.id, path="b.ipynb")
    await world.gateway.sessions.list()
    await world.gateway.sessions.delete(made.id)


async def own_requests(world: World) -> None:
    async with world.gateway.http_client() as client:
        assert (await client.get("api")).status_code == 200


async def run_notebook(world: World) -> None:
    with notebook_folder() as folder:
        run = await notebooks.run(world.gateway, notebook_of(*CELLS), output=folder / "out.ipynb")
        assert run.raise_for_error().output is not None


async def run_notebooks(world: World) -> None:
    """Two at a time of three, of which one fails."""
    with notebook_folder() as folder:
        jobs = [
            notebooks.NotebookJob(notebook_of(*cells), output=folder / f"{number}.ipynb")
            for number, cells in enumerate([CELLS, ("1 / 0",), CELLS])
        ]
        async with notebooks.run_many(world.gateway, jobs, limit=2) as runs:
            async for run in runs:
                own = [kernel_id for kernel_id in world.fake.kernels if kernel_id != world.kernel.id]
                assert len(own) <= 2
                assert run.kernel_id not in own
                if run.failure is not None:
                    raise run.failure
                assert run.status == ("error" if run.job is jobs[1] else "ok")


async def resume_notebook(world: World) -> None:
    """On a kernel that is somebody else's, and stays."""
    with notebook_folder() as folder:
        path = write_notebook(folder / "n.ipynb", "a = 1", "print(a / b)")
        with trio.CancelScope(shield=True):  # what is tried is the run that goes on
            stopped = await notebooks.run(world.kernel, path, output=path, keep_kernel="on_error", grace=0)
            assert stopped.status == "error"
        path.write_text(path.read_text().replace("a / b", "a"))
        run = await notebooks.run(world.gateway, path, output=path, resume=True)
        assert ([cell.status for cell in run.cells], run.kernel_id) == (["skipped", "ok"], world.kernel.id)


async def pool(world: World) -> None:
    async with world.gateway.open_pool(size=2, warm=1, init="x = 1") as opened:
        async with opened.kernel() as kernel:
            assert (await kernel.execute("x")).text == "1"
        assert (await opened.run("x")).text == "1"


async def pool_with_reuse(world: World) -> None:
    async with world.gateway.open_pool(size=1, reuse="restart") as opened:
        await opened.run("1")
        await opened.run("1")
        await opened.drain()


async def pool_map(world: World) -> None:
    async with world.gateway.open_pool(size=2, reuse="as-is") as opened:
        await opened.wait_ready()
        async with aclosing(opened.map(["1", "import time; time.sleep(1)", "3"], limit=2)) as results:
            async for code, result in results:
                assert result.ok
                if code != "1":
                    break


async def pool_of_notebooks(world: World) -> None:
    with notebook_folder() as folder:
        jobs = [notebooks.NotebookJob(notebook_of(*CELLS), output=folder / f"{number}.ipynb") for number in range(2)]
        async with world.gateway.open_pool(size=1, reuse="restart") as opened, notebooks.run_many(opened, jobs) as runs:
            async for run in runs:
                run.raise_for_error()


@asynccontextmanager
async def open_fleet(world: World) -> AsyncGenerator[trio_gateway.Fleet]:
    """A fleet whose first gateway refuses starts, whose second is down, and whose third is the world's."""
    async with FakeGateway(url="http://refusing.invalid", seed=1) as refusing:
        refusing.faults.answer("POST /api/kernels$", status=403)

        async def connect(host: str, port: int) -> trio.abc.Stream:
            if host == "down.invalid":
                await trio.lowlevel.checkpoint()
                raise ConnectionRefusedError(111, "Connection refused")
            return await (refusing if host == "refusing.invalid" else world.fake).connector(host, port)

        gateways = [
            trio_gateway.FleetGateway(trio_gateway.GatewayConfig(url=url, auth_token=token), name=name)
            for name, url, token in [
                ("refusing", refusing.url, refusing.token),
                ("down", "http://down.invalid", ""),
                ("good", world.fake.url, world.fake.token),
            ]
        ]
        try:
            async with trio_gateway.open_fleet(gateways, connector=connect) as fleet:
                yield fleet
        finally:
            assert not refusing.kernels


async def fleet(world: World) -> None:
    """A start that goes on to another gateway."""
    async with open_fleet(world) as opened:
        async with opened.start_kernel("python3") as kernel:
            assert (await kernel.execute("1")).text == "1"
        async with opened.attach_kernel(world.kernel.id):
            pass
        assert [model.gateway for model in await opened.kernels.list()] == ["good"]


async def fleet_drain(world: World) -> None:
    async with open_fleet(world) as opened, trio.open_nursery() as nursery:
        async with opened.start_kernel() as kernel:
            nursery.start_soon(opened.drain, "good")
            await kernel.execute("import time; time.sleep(1)")


async def fleet_kernels(world: World) -> None:
    """A start that nothing owns, which goes on to another gateway; and channels of its kernel."""
    async with open_fleet(world) as opened:
        made = await opened.kernels.start("python3")
        try:
            assert made.gateway == "good"
            async with opened.open_channels(made.id) as channels:
                await channels.wait_opened()
        finally:
            with trio.CancelScope(shield=True):  # what is tried is the start: who has it owns it
                await world.gateway.kernels.shutdown(made.id)


async def fleet_administration(world: World) -> None:
    async with open_fleet(world) as opened:
        assert (await opened.kernels.get(world.kernel.id)).gateway == "good"
        await opened.kernels.interrupt(world.kernel.id)
        await opened.kernels.cull(trio_gateway.CullPolicy(idle_timeout=1e9, interval=1e9))
        await opened.kernelspecs.list()
        await opened.kernelspecs.get("python3")


async def fleet_restart(world: World) -> None:
    async with open_fleet(world) as opened:
        await opened.kernels.restart(world.kernel.id)


async def fleet_shutdown(world: World) -> None:
    async with open_fleet(world) as opened:
        await opened.kernels.shutdown(world.kernel.id)


async def fleet_pool(world: World) -> None:
    async with open_fleet(world) as opened, opened.open_pool(size=2, warm=1, reuse="as-is") as pool:
        assert (await pool.run("1")).text == "1"
        await opened.drain("good")


@contextmanager
def notebook_folder() -> Iterator[Path]:
    """A folder in which every file is whole at the end, and no other is left; what is done in threads is done in virtual time."""
    with tempfile.TemporaryDirectory() as name, mock.patch.object(trio.to_thread, "run_sync", Threads().run_sync):
        folder = Path(name)
        try:
            yield folder
        finally:
            for path in folder.iterdir():
                assert path.suffix == ".ipynb", "a temporary file is left (G1)"
                nbformat.validate(nbformat.read(path, as_version=4))


ENDS_THE_KERNEL = {shutdown, shutdown_by_id, shutdown_all, fleet_shutdown}
RESTARTS = {restart, restart_by_id, fleet_restart}
"""Cancelled, they leave open whether the kernel is restarted: it may be so after they have returned."""
LEAVES_KERNELS = {sessions}
"""A session's kernel is nobody's: cancelled halfway, it stays with its session, as documented."""
ABOVE_KERNELS = {
    run_notebook,
    run_notebooks,
    resume_notebook,
    pool,
    pool_with_reuse,
    pool_map,
    pool_of_notebooks,
    fleet,
    fleet_drain,
    fleet_kernels,
    fleet_administration,
    fleet_restart,
    fleet_shutdown,
    fleet_pool,
}
"""They don't know which framing their kernels' messages have: one of them is enough. Both are tried by what they are made of."""
OPERATIONS = [
    execute,
    execute_with_input,
    execute_abandoned,
    stream,
    stream_left_early,
    two_at_once,
    complete,
    inspect,
    history,
    is_complete,
    comm_info,
    kernel_info,
    debug,
    interrupt,
    restart,
    shutdown,
    heartbeat,
    subscription,
    comms,
    subshell,
    attach,
    start_another,
    whole_gateway,
    several_addresses,
    kernels_administration,
    restart_by_id,
    shutdown_by_id,
    shutdown_all,
    kernelspecs,
    sessions,
    own_requests,
    run_notebook,
    run_notebooks,
    resume_notebook,
    pool,
    pool_with_reuse,
    pool_map,
    pool_of_notebooks,
    fleet,
    fleet_drain,
    fleet_kernels,
    fleet_administration,
    fleet_restart,
    fleet_shutdown,
    fleet_pool,
]


def echo(comm: FakeComm, message: trio_gateway.Message) -> None:
    comm.on_message = lambda comm, message: comm.send(message.content["data"])


@asynccontextmanager
async def open_world(framing: Any) -> AsyncGenerator[World]:
    spec = FakeKernelSpec(name="python3", comm_targets={"echo": echo}, resources={"logo.svg": b"<svg/>"})
    async with FakeGateway(kernelspecs=[spec], framings=[framing]) as fake:
        before = service_tasks()
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            yield World(fake, gateway, kernel)
        await trio.testing.wait_all_tasks_blocked()
        assert not service_tasks() - before, "tasks are left (G1)"
        assert not fake.connections, "connections are left (G1)"
        assert fake.protocol_errors == []


async def try_once(operation: Callable[[World], Awaitable[None]], framing: str, step: int) -> bool:
    """Cancel the operation before the nth step; say whether it completed before that."""
    with trio.fail_after(10_000):
        async with open_world(framing) as world:
            before = set(world.fake.kernels)
            with trio.CancelScope() as scope:
                canceller = CancelAtStep(scope, step)
                with canceller.watching():
                    await operation(world)
            # G9: nothing came out but the cancellation.
            if operation not in LEAVES_KERNELS:
                assert set(world.fake.kernels) <= before, "a kernel is left (G2)"
            if operation not in ENDS_THE_KERNEL:
                assert set(world.fake.kernels) >= before, "somebody else's kernel is gone"
                with trio.fail_after(1000):
                    try:
                        result = await world.kernel.execute("'on'")
                    except trio_gateway.KernelRestartedError:
                        assert operation in RESTARTS, "nobody asked for a restart"
                        result = await world.kernel.execute("'on'")
                    assert result.text == "'on'"
                (running,) = [kernel for kernel in world.fake.kernels.values() if kernel.id == world.kernel.id]
                assert set(running.executed.values()) <= {1}, "something ran twice (G4)"
                assert running.subshells == [], "a subshell is left"
            if operation in LEAVES_KERNELS:
                await world.gateway.kernels.shutdown_all()
    return not scope.cancel_called


def sweep(attempt: Callable[[int], bool], named: str, offsets: Collection[int] | None = None) -> list[int]:
    """Cancel at the steps that this run takes, until the operation completes before one; return them."""

    def try_step(step: int) -> bool:
        assert step < MOST_STEPS, f"{named} never completed"
        try:
            completed = attempt(step)
        except BaseException as error:
            error.add_note(f"cancelled at step {step} of {named}")
            raise
        assert not completed or step > 2, f"{named} is no operation"
        return completed

    return strike_until_it_ends(try_step, offsets)


def attempts(operation: Callable[[World], Awaitable[None]], framing: str) -> Callable[[int], bool]:
    """Return what cancels an operation at a step; from the step comes all that is left to chance."""
    return lambda step: run_seeded(try_once, operation, framing, step, seed=step)


@pytest.mark.parametrize(
    ("operation", "framing"),
    [
        pytest.param(operation, framing, id=f"{operation.__name__}-{framing}", marks=() if small else pytest.mark.full)
        for framing in ("v1", "legacy")
        for operation in OPERATIONS
        if framing == "v1" or operation not in ABOVE_KERNELS
        for small in [(operation, framing) == (execute, "v1")]
    ],
)
def test_cancelled_at_every_step(
    operation: Callable[[World], Awaitable[None]], framing: str, record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G1, G2, G9"""
    struck = sweep(attempts(operation, framing), f"{operation.__name__}, {framing}")
    record_testsuite_property(f"cancel_points {operation.__name__} {framing}", len(struck))


def test_four_runs_strike_each_step_once() -> None:
    """Four consecutive commits cancel at the steps at which `nox -s soak` does: none is left out, none is tried twice."""
    attempt = attempts(is_complete, "v1")
    quarters = [sweep(attempt, "is_complete", [offset]) for offset in range(4)]
    assert sorted(itertools.chain(*quarters)) == sweep(attempt, "is_complete", range(4))
    assert all(quarters)


def test_the_sweep_sees_what_it_looks_for() -> None:
    """It fails for an operation that leaves a kernel, or breaks with something else than Cancelled."""

    async def leaves_a_kernel(world: World) -> None:
        await world.fake.start_kernel("python3")

    async def wraps(world: World) -> None:
        try:
            await trio.sleep(1)
        except trio.Cancelled:
            raise ValueError("wrapped") from None  # noqa: ASYNC104 - the mistake to be seen

    with pytest.raises(AssertionError, match="G2"):
        run_seeded(try_once, leaves_a_kernel, "v1", 1000, seed=0)
    with pytest.raises(ValueError, match="wrapped"):
        run_seeded(try_once, wraps, "v1", 2, seed=0)


async def try_in_silence(operation: Callable[[World], Awaitable[None]], step: int) -> bool:
    """The same on a gateway from which nothing comes any more: only what is on our side can be promised."""
    completed = False
    with trio.fail_after(10_000):
        async with FakeGateway() as fake:
            before = service_tasks()
            try:
                async with fake.open(request_timeout=50) as gateway, gateway.start_kernel() as kernel:
                    fake.swallow_connections()
                    fake.faults.black_hole()
                    with trio.CancelScope() as scope:
                        canceller = CancelAtStep(scope, step)
                        with canceller.watching():
                            try:
                                await operation(World(fake, gateway, kernel))
                            except trio_gateway.GatewayError:
                                completed = True  # a typed error is an end (G3)
                    cancelled_at = trio.current_time()
            except trio_gateway.GatewayError:
                pass  # the block says that its kernel may be left
            assert trio.current_time() - cancelled_at <= gateway.config.cleanup_timeout + 2
            await trio.testing.wait_all_tasks_blocked()
            assert not service_tasks() - before, "tasks are left (G1)"
    return completed or not scope.cancel_called


IN_SILENCE = [
    execute,
    stream_left_early,
    complete,
    interrupt,
    restart,
    shutdown,
    attach,
    start_another,
    shutdown_all,
    own_requests,
    run_notebooks,
]


@pytest.mark.parametrize(
    "operation",
    [
        pytest.param(operation, id=operation.__name__, marks=() if operation is interrupt else pytest.mark.full)
        for operation in IN_SILENCE
    ],
)
def test_cancelled_at_every_step_while_nothing_comes(
    operation: Callable[[World], Awaitable[None]], record_testsuite_property: Callable[[str, object], None]
) -> None:
    """G1, G3, G9"""
    struck = sweep(lambda step: run_seeded(try_in_silence, operation, step, seed=step), f"{operation.__name__}, in silence")
    record_testsuite_property(f"cancel_points {operation.__name__} silence", len(struck))
