"""A pool on a fleet of two, as a state machine for Hypothesis, against a model.

Leases come and go while kernels are killed, connections are cut, and gateways fall, come back and are drained, in any order and
half-way through one another.

It is in virtual time what `fleet/test_fleet_real.py` is on real gateways.
"""

from __future__ import annotations

from functools import partial
from typing import Any, ClassVar

import attrs
import hypothesis
import pytest
import trio
from hypothesis import HealthCheck
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, consumes, initialize, precondition, rule, run_state_machine_as_test

from fleet.fleet_kit import CountedFake, open_ground
from suite.budgets import LONG
from sweeps.stepped_machine import PAUSES, SteppedMachine
from tools.stepped_trio import SteppedTrio
from tools.sweep_tools import service_tasks
from trio_gateway import GatewayError, Kernel, KernelPool, NoGatewayError

NAMES = ["a", "b"]
GATEWAYS = st.sampled_from(NAMES)
SETTINGS = {"cleanup_timeout": 60, "gateway_retry_interval": 0.1, "gateway_retry_max": 3}
OPTIONS: dict[str, Any] = {"size": 3, "warm": 1, "init": "x = 1", "idle_timeout": 5.0}
PARTS = 2
EXAMPLES = 8_000 if LONG else 100
"""Of all parts together."""


class MineError(Exception):
    """Raised by the body of a lease's block."""


@attrs.define(eq=False)
class Lease:
    """What somebody asked of the pool, and what became of it."""

    number: int
    raises: bool
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope)
    leave: trio.Event = attrs.field(factory=trio.Event)
    kernel: Kernel | None = None
    """The kernel, as long as it has one."""
    ended: str = ""


class Model:
    """What callers may see of a pool: each has a kernel of its own with `init`, and an end that is a result or a typed error."""

    def __init__(self, fakes: dict[str, CountedFake]) -> None:
        self.fakes = fakes
        self.leases: list[Lease] = []
        self.wrong: list[str] = []

    async def use(self, lease: Lease, pool: KernelPool, seconds: float) -> None:
        try:
            with lease.scope:
                async with pool.kernel() as lease.kernel:
                    result = await lease.kernel.execute(f"import time; time.sleep({seconds}); x + {lease.number}")
                    if result.text != str(lease.number + 1) and not result.output_gaps:
                        self.wrong.append(f"lease {lease.number} got {result}")
                    await lease.leave.wait()
                    if lease.raises:
                        raise MineError
        except MineError:
            pass
        except GatewayError as error:
            if error.gateway not in NAMES and not isinstance(error, NoGatewayError):
                self.wrong.append(f"the error of lease {lease.number} does not name its gateway: {error!r}")
        lease.kernel, lease.ended = None, "cancelled" if lease.scope.cancelled_caught else "over"

    def check(self) -> None:
        held = [lease.kernel.id for lease in self.leases if lease.kernel is not None]
        assert len(set(held)) == len(held) <= OPTIONS["size"], "two have the same kernel, or there are too many"
        assert max(fake.most for fake in self.fakes.values()) <= OPTIONS["size"], "there were more kernels than there may be"
        assert not self.wrong, "; ".join(self.wrong)


class World:
    """The fleet and its pool, held by a task."""

    def __init__(self) -> None:
        self.fakes = {name: CountedFake(seed=number, shutdown_seconds=0.5) for number, name in enumerate(NAMES)}
        self.model = Model(self.fakes)
        self.opened, self.closing, self.closed = trio.Event(), trio.Event(), trio.Event()

    async def open(self, steps: SteppedTrio, reuse: Any) -> None:
        self.before = service_tasks()
        steps.start_soon(self.hold, reuse)
        await self.opened.wait()

    async def hold(self, reuse: Any) -> None:
        async with open_ground(dict(self.fakes), settings=SETTINGS) as self.ground:
            for fake in self.fakes.values():
                fake.network = self.ground.network
            async with self.ground.fleet.open_pool("python3", reuse=reuse, **OPTIONS) as self.pool:
                self.opened.set()
                await self.closing.wait()
        self.closed.set()

    def check(self) -> None:
        self.model.check()

    async def finish(self) -> None:
        """When all is well again: each lease comes to its end, the pool is of use, and nothing is left."""
        for name, fake in self.fakes.items():
            self.ground.network.rise(name)
            self.ground.fleet.resume(name)
            fake.faults.clear()
            for kernel in fake.kernels.values():
                kernel.resume()
        for lease in self.model.leases:
            lease.leave.set()
        for _ in range(1000):
            if all(lease.ended for lease in self.model.leases):
                break
            await trio.sleep(10)
        assert all(lease.ended for lease in self.model.leases), "a lease never ended (G3)"
        await trio.sleep(200)
        with trio.fail_after(1000):
            assert (await self.pool.run("x")).text == "1", "it is of use afterwards"
            assert self.pool.statistics().waiting == self.pool.statistics().leased == 0
            await self.pool.drain()
        assert self.ground.counts() == dict.fromkeys(NAMES, 0), "a drained pool leaves no kernel (G2)"
        self.model.check()
        self.closing.set()
        await self.closed.wait()
        left = {name for name in service_tasks() - self.before if not name.startswith("steps.")}
        assert not left, "tasks are left (G1)"


class PoolMachine(SteppedMachine):
    """Its rules are what callers and the world do; after each of them the model is looked at."""

    leases: ClassVar[Bundle[Lease]] = Bundle("leases")
    world: World

    @initialize(seed=st.integers(0, 2**32), reuse=st.sampled_from(["never", "restart", "as-is"]))
    def begin(self, seed: int, reuse: str) -> None:
        """The seed says in which order tasks that are ready run."""
        self.steps = SteppedTrio(seed)
        self.world = World()
        self.steps.call(self.world.open, self.steps, reuse)
        self.fine = True

    @rule(target=leases, seconds=st.sampled_from([0.0, 0.1, 5.0, 60.0]), stays=st.booleans(), raises=st.booleans(), pause=PAUSES)
    def lease(self, seconds: float, stays: bool, raises: bool, pause: float) -> Lease:
        """Ask for a kernel and run code there; leave it after that, or keep it until `leave`."""
        model = self.world.model
        lease = Lease(len(model.leases), raises)
        if not stays:
            lease.leave.set()
        model.leases.append(lease)
        self._after(pause, lambda: self.steps.start_soon(model.use, lease, self.world.pool, seconds))
        return lease

    @rule(lease=consumes(leases), pause=PAUSES)
    def leave(self, lease: Lease, pause: float) -> None:
        self._after(pause, lease.leave.set)

    @rule(lease=consumes(leases), pause=PAUSES)
    def cancel(self, lease: Lease, pause: float) -> None:
        self._after(pause, lease.scope.cancel)

    @precondition(lambda self: any(fake.kernels for fake in self.world.fakes.values()))
    @rule(number=st.integers(0, 3), how=st.sampled_from(["kill", "kill", "die", "cull", "restart", "stall"]), pause=PAUSES)
    def break_kernel(self, number: int, how: str, pause: float) -> None:
        kernels = [kernel for fake in self.world.fakes.values() for kernel in fake.kernels.values()]
        self._after(pause, getattr(kernels[number % len(kernels)], how))

    @rule(name=GATEWAYS, quietly=st.booleans(), pause=PAUSES)
    def cut(self, name: str, quietly: bool, pause: float) -> None:
        """Break all connections of one; quietly: nothing comes through them any more, and nobody learns of it."""
        fake = self.world.fakes[name]
        self._after(pause, fake.swallow_connections if quietly else fake.cut_connections)

    @rule(name=GATEWAYS, pause=PAUSES)
    def fall(self, name: str, pause: float) -> None:
        """One is gone, and its kernels with it, until `rise`. (Kernels that outlive it nobody can count.)"""
        self._after(pause, partial(self.world.ground.network.fall, name))

    @rule(name=GATEWAYS, pause=PAUSES)
    def rise(self, name: str, pause: float) -> None:
        self._after(pause, partial(self.world.ground.network.rise, name))

    @rule(name=GATEWAYS, pause=PAUSES)
    def drain(self, name: str, pause: float) -> None:
        self._after(pause, lambda: self.steps.start_soon(self.world.ground.fleet.drain, name))

    @rule(name=GATEWAYS, pause=PAUSES)
    def resume(self, name: str, pause: float) -> None:
        self._after(pause, partial(self.world.ground.fleet.resume, name))

    @rule(name=GATEWAYS, status=st.sampled_from([403, 500, 503]), pause=PAUSES)
    def refuse_starts(self, name: str, status: int, pause: float) -> None:
        faults = self.world.fakes[name].faults
        self._after(pause, lambda: faults.answer("POST /api/kernels$", status, {"message": "no", "reason": None}, times=2))


@pytest.mark.full
@pytest.mark.timeout(0)
@pytest.mark.parametrize("part", range(PARTS))
def test_what_callers_and_the_world_do_in_any_order(part: int) -> None:
    """G1, G2, G3, G4, G9"""
    options = hypothesis.settings(
        max_examples=EXAMPLES // PARTS,
        stateful_step_count=50 if LONG else 15,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    run_state_machine_as_test(hypothesis.seed(part)(PoolMachine), settings=options)


def test_the_model_sees_what_it_looks_for() -> None:
    """A kernel that two have, an answer that is wrong, and more kernels than there may be."""

    def model() -> Model:
        made = Model({"a": CountedFake()})
        made.leases = [Lease(number, raises=False) for number in range(2)]
        return made

    model().check()
    kernel: Any = attrs.make_class("Same", {"id": attrs.field(default="k")})()
    twice = model()
    for lease in twice.leases:
        lease.kernel = kernel
    with pytest.raises(AssertionError, match="the same kernel"):
        twice.check()
    crowded = model()
    crowded.fakes["a"].most = 4
    with pytest.raises(AssertionError, match="more kernels"):
        crowded.check()
    wrong = model()
    wrong.wrong.append("x")
    with pytest.raises(AssertionError, match="x"):
        wrong.check()
