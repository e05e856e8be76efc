"""A state machine over everything, for Hypothesis: what users and the world do to a gateway, in any order, against a model.

The world: a gateway of two replicas behind a balancer, in virtual time. `World` says what may become of it; the model is in
`Kept` and `Run`, what was asked for and what came of it, and `World.check` and `World.finish` hold it against G1 to G7 and G9.
A rule begins something, lets a little time pass, and does not wait for the end, so that everything meets everything half-way.

A failing example is printed as a program of these rules: it runs as it stands below `from sweeps.machine import *`, with `tests`
in PYTHONPATH.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from typing import Any, ClassVar

import attrs
import trio
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, initialize, precondition, rule

import trio_gateway
from sweeps import chaos_soak
from sweeps.chaos_soak import Violated
from sweeps.stepped_machine import PAUSES, SteppedMachine
from tools.python_kernel import SCRIPTED, PythonProcess, python_spec, small_pieces
from tools.stepped_trio import SteppedTrio
from tools.sweep_tools import service_tasks
from trio_gateway import GatewayConfig, GatewayError, GatewayEvent, GatewayInternalError
from trio_gateway.python import open_python
from trio_gateway.testing import Cell, Chaos, FakeGateway, FakeKernel

__all__ = ["Kept", "Machine", "Run", "Violated", "World"]

SETTINGS: dict[str, Any] = {
    "buffer_messages": 4,
    "gateway_retry_max": 3,
    "cleanup_timeout": 20.0,
    "launch_timeout": 10.0,
    "request_timeout": 10.0,
    "connect_timeout": 10.0,
    "ping_interval": 10.0,
}
PIECE = 1000
POOL: dict[str, Any] = {"size": 2, "reuse": "restart", "init": "init 0 0"}
ENGINES = ["fast", "trio-websocket"]

LINES = st.sampled_from([0, 1, 3, 12])
SECONDS = st.sampled_from([0, 0, 0.5, 5])
"""How long a kernel waits after each line."""
ON_CANCEL = st.sampled_from(["interrupt", "interrupt", "abandon"])
WHEN_FULL = st.sampled_from(["spool", "drop_oldest", "fail", "pause"])


class MineError(Exception):
    """Raised by the body of a user's block."""


@attrs.define(eq=False)
class Kept:
    """A block with a kernel, as its user has it: started, attached, or leased."""

    how: str
    kernel: trio_gateway.Kernel | None = None
    raises: bool = False
    left: trio.Event = attrs.field(factory=trio.Event)
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: bool = False


@attrs.define(eq=False)
class Run:
    """An execution, and what came of it."""

    code: str
    on_cancel: str
    disturbed: int
    """How often something had been broken when it began."""
    kept: Kept
    """In whose block."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    ended: str = ""


class World:
    """The gateways, and what their users have of them."""

    def __init__(self, engine: str, framing: str, *, tries: bool) -> None:
        self.tries = tries
        self.settings = SETTINGS | {"websocket_engine": engine}
        self.framing = framing
        self.down = False
        self.doors: list[FakeGateway] = []
        self.door = 0
        self.events: list[GatewayEvent] = []
        self.kept: list[Kept] = []
        self.runs: list[Run] = []
        self.theirs: set[str] = set()  # kernels that are not ours, and that nobody has ended
        self.undecided: set[str] = set()  # of these, those that may be there or not
        self.running: Counter[str] = Counter()  # code that a kernel is at
        self.disturbed = 0
        self.number = 0
        self.values: dict[str, bytes] = {}
        self.processes: list[PythonProcess] = []
        self.problems: list[str] = []
        self.pool: trio_gateway.KernelPool | None = None
        self.opened, self.pool_wanted, self.pooled = (trio.Event() for _ in range(3))
        self.closing, self.closed, self.ending, self.ended = (trio.Event() for _ in range(4))

    # What may happen ------------------------------------------------------------------------------------------------

    async def open(self, steps: SteppedTrio) -> None:
        self.before = service_tasks()
        steps.start_soon(self.hold)
        await self.opened.wait()

    async def hold(self) -> None:
        """Hold the blocks of all, in a task of its own."""
        spec = python_spec(self.processes, PIECE, self.script)
        async with FakeGateway(kernelspecs=[spec], framings=[self.framing]) as first, first.replica() as second:
            self.doors = [first, second]
            config = GatewayConfig.from_env({}, url=first.url, auth_token=first.token, **self.settings)
            opens = trio_gateway.open_gateway(config, connector=self.connect, on_event=self.events.append)
            async with opens as self.gateway:
                self.opened.set()
                await self.pool_wanted.wait()
                while not self.closing.is_set():
                    await self.hold_pool()
            self.closed.set()
            await self.ending.wait()
        self.ended.set()

    async def hold_pool(self) -> None:
        """Hold the pool's block, for all who lease."""
        try:
            async with self.gateway.open_pool("python3", **POOL) as self.pool:
                self.pooled.set()
                await self.closing.wait()
        except GatewayError as error:
            self.note(error, "a pool's block")

    @asynccontextmanager
    async def lease(self) -> AsyncGenerator[trio_gateway.Kernel]:
        """Lease a kernel of the pool, which the first who wants one brings about."""
        self.pool_wanted.set()
        await self.pooled.wait()
        assert self.pool is not None
        async with self.pool.kernel() as kernel:
            yield kernel

    async def connect(self, host: str, port: int) -> trio.abc.Stream:
        if self.down:
            await trio.lowlevel.checkpoint()
            raise ConnectionRefusedError(111, "Connection refused")
        return await self.doors[self.door].connector(host, port)

    def script(self, cell: Cell) -> Iterator[object]:
        """Print as many lines as the code says, with pauses as it says: `name lines pause`."""
        self.running[cell.code] += 1
        try:
            yield from chaos_soak.script(cell)
        finally:
            self.running[cell.code] -= 1

    def kernels(self) -> list[FakeKernel]:
        return list(self.doors[0].kernels.values())

    async def keep(self, kept: Kept, opens: Callable[[], AbstractAsyncContextManager[trio_gateway.Kernel]]) -> None:
        """Be the user of a kernel's block."""
        try:
            with kept.scope:
                async with opens() as kernel:
                    if kept.how == "lease" and any(
                        other.kernel is not None and other.kernel.id == kernel.id for other in self.live("lease")
                    ):
                        self.problems.append(f"{kernel.id} is leased to two")
                    kept.kernel = kernel
                    await kept.left.wait()
                    if kept.raises:
                        raise MineError
        except MineError:
            pass
        except GatewayError as error:
            self.note(error, f"a kernel's block ({kept.how})")
        except BaseExceptionGroup as group:
            self.problems.append(f"a group came out (G9): {group!r}")
        kept.ended = True
        if kept.how == "start" and kept.kernel is not None and kept.kernel.id in set(self.doors[0].kernels) - self.told():
            self.problems.append(f"{kept.kernel.id} is left, and nobody says so (G2)")

    def live(self, how: str) -> list[Kept]:
        return [kept for kept in self.kept if kept.how == how and not kept.ended]

    async def execute(self, run: Run, kernel: trio_gateway.Kernel) -> None:
        try:
            with run.scope:
                result = await kernel.execute(run.code, on_cancel=run.on_cancel)
                run.ended = chaos_soak.check(run.code, result, Chaos())
        except GatewayError as error:
            run.ended = self.note(error, run.code)
        except Violated as error:
            self.problems.append(str(error))
        run.ended = run.ended or "cancelled"

    async def stream(self, run: Run, kernel: trio_gateway.Kernel, when_full: str, takes: int, pause: float) -> None:
        try:
            with run.scope:
                async with kernel.stream(run.code, when_full=when_full, on_cancel=run.on_cancel) as outputs:
                    got: list[Any] = []
                    async for output in outputs:
                        got.append(output)
                        if len(got) == takes:
                            break
                        await trio.sleep(pause)
                    held = outputs._inbox.statistics()
                    if held.peak_messages > SETTINGS["buffer_messages"]:
                        self.problems.append(f"{run.code}: {held} is more than may be in memory (G7)")
                if len(got) != takes:
                    whole = attrs.evolve(outputs.result, outputs=tuple(got))
                    run.ended = chaos_soak.check(run.code, whole, Chaos())
        except GatewayError as error:
            run.ended = self.note(error, run.code)
        except Violated as error:
            self.problems.append(f"streamed: {error}")
        run.ended = run.ended or "left"

    async def carry(self, run: Run, kernel: trio_gateway.Kernel) -> None:
        """Push a value and pull it back."""
        name, pieces = run.code.split()
        self.values[name] = PIECE * int(pieces) * b"x"
        try:
            with run.scope:
                async with open_python(kernel) as python:
                    await python.push({name: self.values[name], f"{name}_too": 1})
                    if await python.pull(name) != self.values[name]:
                        self.problems.append(f"{name} came back as another value")
                    run.ended = "whole"
        except GatewayError as error:
            run.ended = self.note(error, run.code)
        run.ended = run.ended or "cancelled"

    def note(self, error: GatewayError, what: str) -> str:
        if isinstance(error, GatewayInternalError):
            self.problems.append(f"{what}: {error!r} from {error.__cause__!r}")
        return type(error).__name__

    def told(self) -> set[str]:
        """The kernels of which somebody was told that they may be left."""
        return {str(event.kernel_id) for event in self.events if (event.kind, event.action) == ("kernel", "cleanup")}

    # What must hold -------------------------------------------------------------------------------------------------

    def check(self) -> None:
        """At any moment."""
        everything = [*self.kernels(), *self.doors[0].ended_kernels]
        codes = Counter(code for kernel in everything for code in kernel.codes if SCRIPTED.fullmatch(code))
        del codes[POOL["init"]]
        twice = {code: count for code, count in codes.items() if count > 1}
        if twice or any(count > 1 for kernel in everything for count in kernel.executed.values()):
            raise Violated(f"ran twice (G4): {twice}")
        for process in self.processes:
            for name, value in self.values.items():
                there = process.namespace
                if (name in there) != (f"{name}_too" in there) or there.get(name, value) != value:
                    raise Violated(f"of {name} a part is there")
        if gone := self.theirs - set(self.doors[0].kernels):
            raise Violated(f"kernels of somebody else's are gone (G2): {gone}")
        for run in self.runs:
            if run.kept.ended or run.kept.left.is_set() or run.kept.scope.cancel_called:
                continue  # its user did not wait for it: it ends with the connection, and its code where the kernel is ours
            if run.ended == "KernelRestartedError":
                continue  # sent in the moment of the restart, it may have come to the new process: that is what the error says
            if run.ended and run.on_cancel == "interrupt" and self.running[run.code] and run.disturbed == self.disturbed:
                raise Violated(f"{run.code!r} has ended with {run.ended!r}, and the kernel is still at it (G6)")
        if self.pool is not None and self.pool.statistics().leased > POOL["size"]:
            raise Violated("the pool has leased more than it has")
        if self.problems:
            raise Violated("; ".join(self.problems))

    async def finish(self) -> None:
        """When nobody does anything any more, and what was broken stays so: all comes to its end, and nothing is left."""
        await self.wait_for("an execution has no end (G3)", lambda: all(run.ended for run in self.runs))
        self.down = False
        if self.tries:
            await trio.sleep(100)  # so that no connection is left of which nobody has noticed yet that it is broken
            async with self.gateway.start_kernel() as kernel:
                if (await kernel.execute("on 1 0")).text != "on:0\non":
                    raise Violated("it is of no use afterwards")
        for kept in self.kept:
            kept.left.set()
        await self.wait_for("a block has no end (G3)", lambda: all(kept.ended for kept in self.kept))
        self.closing.set()
        self.pool_wanted.set()
        await self.wait_for("the gateway's block has no end (G3)", self.closed.is_set)
        self.check()
        if left := set(self.doors[0].kernels) - self.theirs - self.undecided - self.told():
            raise Violated(f"kernels are left, and nobody says so (G2): {left}")
        if any(door.protocol_errors for door in self.doors):
            raise Violated(f"the library sent what is no protocol: {[door.protocol_errors for door in self.doors]}")
        await self.wait_for("connections are left (G1)", lambda: not any(door.connections for door in self.doors))
        self.ending.set()
        await self.ended.wait()
        if left := {name for name in service_tasks() - self.before if not name.startswith("steps.")}:
            raise Violated(f"tasks are left (G1): {left}")

    async def wait_for(self, problem: str, holds: Callable[[], bool]) -> None:
        began = trio.current_time()
        while not holds():
            self.check()
            if trio.current_time() - began > 2000:
                raise Violated(problem)
            await trio.sleep(5)


class Machine(SteppedMachine):
    """Its rules are what users and the world do; after each of them what must hold is checked."""

    blocks: ClassVar[Bundle[Kept]] = Bundle("blocks")
    runs: ClassVar[Bundle[Run]] = Bundle("runs")
    world: World

    @initialize(
        target=blocks, seed=st.integers(0, 2**32), engine=st.sampled_from(ENGINES), framing=st.sampled_from(["v1", "legacy"]),
        tries=st.sampled_from([False] * 7 + [True]),
    )  # fmt: skip
    def begin(self, seed: int, engine: str, framing: str, tries: bool) -> Kept:
        """Begin with a gateway and a user who is attached to a kernel.

        Args:
            seed: says in which order tasks that are ready run.
            engine: the WebSocket engine.
            framing: of the gateway's messages.
            tries: whether at the end connections may come back, and a kernel is started and used; else all leave at once.
        """
        self.pieces = small_pieces(PIECE)
        self.pieces.__enter__()
        self.steps = SteppedTrio(seed)
        self.world = World(engine, framing, tries=tries)
        self.steps.call(self.world.open, self.steps)
        return self._attach(0.001)

    # What users do --------------------------------------------------------------------------------------------------

    def _keep(self, how: str, opens: Callable[[], AbstractAsyncContextManager[trio_gateway.Kernel]], pause: float) -> Kept:
        kept = Kept(how)
        self.world.kept.append(kept)
        self._after(pause, lambda: self.steps.start_soon(self.world.keep, kept, opens))
        return kept

    @rule(target=blocks, pause=PAUSES)
    def start(self, pause: float) -> Kept:
        return self._keep("start", self.world.gateway.start_kernel, pause)

    @rule(target=blocks, pause=PAUSES)
    def attach(self, pause: float) -> Kept:
        """To a kernel that somebody else has started, maybe just now."""
        return self._attach(pause)

    def _attach(self, pause: float) -> Kept:
        kernel = self.steps.call(partial(self.world.doors[0].start_kernel, "python3"))
        self.world.theirs.add(kernel.id)
        return self._keep("attach", partial(self.world.gateway.attach_kernel, kernel.id), pause)

    @rule(target=blocks, kept=blocks, pause=PAUSES)
    def attach_too(self, kept: Kept, pause: float) -> Kept:
        """To a kernel that one of us has; or had, if it is there."""
        kernel_id = kept.kernel.id if kept.kernel is not None else "0" * 32
        return self._keep("attach", partial(self.world.gateway.attach_kernel, kernel_id), pause)

    @rule(target=blocks, pause=PAUSES)
    def lease(self, pause: float) -> Kept:
        return self._keep("lease", self.world.lease, pause)

    @rule(kept=consumes(blocks), raises=st.booleans(), pause=PAUSES)
    def leave(self, kept: Kept, raises: bool, pause: float) -> None:
        """Leave a block, or a wait for it; with an error of one's own, if one is there already."""

        def act() -> None:
            kept.raises = raises
            kept.left.set()

        self._after(pause, act)

    @rule(kept=consumes(blocks), pause=PAUSES)
    def cancel_block(self, kept: Kept, pause: float) -> None:
        self._after(pause, kept.scope.cancel)

    def _run(self, kept: Kept, code: str, on_cancel: str, pause: float, how: Any) -> Run:
        world = self.world
        world.number += 1
        run = Run(f"r{world.number} {code}", on_cancel, world.disturbed, kept)
        if kept.kernel is None or kept.ended or kept.left.is_set():
            run.ended = "no kernel"
            self._after(pause)
        else:
            world.runs.append(run)
            self._after(pause, lambda: self.steps.start_soon(how, run, kept.kernel))
        return run

    @rule(target=runs, kept=blocks, lines=LINES, seconds=SECONDS, on_cancel=ON_CANCEL, pause=PAUSES)
    def execute(self, kept: Kept, lines: int, seconds: float, on_cancel: str, pause: float) -> Run:
        return self._run(kept, f"{lines} {seconds}", on_cancel, pause, self.world.execute)

    @rule(target=runs, kept=blocks, pieces=st.sampled_from([0, 1, 4]), pause=PAUSES)
    def carry(self, kept: Kept, pieces: int, pause: float) -> Run:
        """Push a value of so many pieces, and pull it back."""
        return self._run(kept, f"{pieces}", "", pause, self.world.carry)

    @rule(
        target=runs, kept=blocks, lines=LINES, seconds=SECONDS, on_cancel=ON_CANCEL, when_full=WHEN_FULL,
        takes=st.sampled_from([100, 100, 2]), reading=st.sampled_from([0.0, 1.0]), pause=PAUSES,
    )  # fmt: skip
    def stream(
        self, kept: Kept, lines: int, seconds: float, on_cancel: str, when_full: str, takes: int, reading: float, pause: float
    ) -> Run:
        """Read some outputs or all, each in so many seconds."""
        how = partial(self.world.stream, when_full=when_full, takes=takes, pause=reading)
        return self._run(kept, f"{lines} {seconds}", on_cancel, pause, how)

    @rule(run=consumes(runs), pause=PAUSES)
    def cancel(self, run: Run, pause: float) -> None:
        self._after(pause, run.scope.cancel)

    @rule(kept=blocks, ask=st.sampled_from(["interrupt", "restart", "shutdown", "kernel_info"]), pause=PAUSES)
    def ask(self, kept: Kept, ask: str, pause: float) -> None:
        world = self.world

        async def act() -> None:
            kernel = kept.kernel
            if kernel is None or kept.ended:
                return
            is_theirs = kernel.id in world.theirs
            if ask == "shutdown":
                world.theirs.discard(kernel.id)
            if ask != "kernel_info":
                world.disturbed += 1
            run = Run(f"{ask} {kernel.id}", "", 0, kept)
            world.runs.append(run)
            try:
                await getattr(kernel, ask)()
            except GatewayError as error:
                run.ended = world.note(error, ask)
                if ask == "shutdown" and is_theirs:
                    world.undecided.add(kernel.id)
            run.ended = run.ended or "done"

        self._after(pause, lambda: self.steps.start_soon(act))

    # What the world does --------------------------------------------------------------------------------------------

    def _break(self, act: Callable[[], object], pause: float) -> None:
        self.world.disturbed += 1
        self._after(pause, act)

    @rule(quietly=st.booleans(), pause=PAUSES)
    def cut(self, quietly: bool, pause: float) -> None:
        """Break all connections; quietly: nothing comes through them any more, and nobody learns of it."""
        doors = self.world.doors
        self._break(lambda: [door.swallow_connections() if quietly else door.cut_connections() for door in doors], pause)

    @rule(pause=PAUSES)
    def switch(self, pause: float) -> None:
        """The replica in use is gone, and the balancer leads to the other one."""
        world = self.world

        def act() -> None:
            gone, world.door = world.door, 1 - world.door
            world.doors[gone].cut_connections()

        self._break(act, pause)

    @rule(kernels=st.booleans(), pause=PAUSES)
    def kill_gateway(self, kernels: bool, pause: float) -> None:
        """Both replicas are gone, and their kernels, or not; until `revive_gateway`."""
        world = self.world

        def act() -> None:
            world.down = True
            for kernel in world.kernels() if kernels else ():
                self._end(kernel, lambda kernel: world.doors[0].remove_kernel(kernel, quietly=True))
            for door in world.doors:
                door.cut_connections()

        self._break(act, pause)

    @precondition(lambda self: self.world.down)
    @rule(pause=PAUSES)
    def revive_gateway(self, pause: float) -> None:
        self.world.down = False
        self._after(pause)

    def _end(self, kernel: FakeKernel, how: Callable[[FakeKernel], object]) -> None:
        self.world.theirs.discard(kernel.id)
        how(kernel)

    @rule(number=st.integers(0, 3), how=st.sampled_from(["kill", "restart", "die", "cull"]), pause=PAUSES)
    def break_kernel(self, number: int, how: str, pause: float) -> None:
        """Its process is killed or restarted behind our back; or it dies, or is culled."""
        kernels = self.world.kernels()
        if not kernels:
            return
        kernel = kernels[number % len(kernels)]
        if how in ("die", "cull") and kernel.id in self.world.theirs:
            self.world.theirs.discard(kernel.id)
            self.world.undecided.add(kernel.id)  # the next break may be that its gateway starts it again
        self._break(getattr(kernel, how), pause)

    def teardown(self) -> None:
        """Come to the end, as the last rule."""
        try:
            super().teardown()
        finally:
            if hasattr(self, "pieces"):
                self.pieces.__exit__(None, None, None)
