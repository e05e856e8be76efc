"""A fleet against a model, by chance: whatever happens to its gateways, its promises hold.

The model is the promise itself: a start ends in a kernel or a typed error that names a gateway or all of them, no kernel is on
two gateways, none starts on a gateway that is drained, what was cancelled is gone, those that fell come back, and at the end
nothing is left.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st

from fleet.fleet_kit import CountedFake, Ground, make_fakes, open_ground
from tools.sweep_tools import run_seeded, service_tasks
from trio_gateway import GatewayError, KernelPool, NoGatewayError

pytestmark = pytest.mark.full

NAMES = ["a", "b", "c"]
GATEWAY = st.sampled_from(NAMES)
ACTIONS = st.one_of(
    st.tuples(st.just("start"), st.floats(0, 20), st.booleans()),
    st.tuples(st.just("start"), st.floats(0, 20), st.booleans()),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["fall", "fall", "rise", "drain", "resume", "cut", "refuse", "fail", "lose", "slow"]), GATEWAY),
    st.tuples(st.sampled_from(["die", "cull", "restart"]), GATEWAY),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 10.0, 100.0])),
)
SETTINGS = {"cleanup_timeout": 60, "gateway_retry_interval": 0.1, "gateway_retry_max": 3}


class Model:
    """Which gateways are drained, and what came of the starts."""

    def __init__(self) -> None:
        self.drained: set[str] = set()
        self.scopes: list[trio.CancelScope] = []
        self.failures: list[tuple[GatewayError, bool]] = []

    async def start(self, ground: Ground, seconds: float, labelled: bool) -> None:
        before = set(self.drained)
        try:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                async with ground.fleet.start_kernel("python3", require={"gpu"} if labelled else ()) as kernel:
                    places = [name for name, fake in ground.fakes.items() if kernel.id in fake.kernels]
                    assert len(places) <= 1, "a kernel is on two gateways"
                    assert not labelled or places != ["a"], "it has not the label"
                    assert not (before & self.drained).intersection(places), (
                        "it started on a gateway that was drained all the while"
                    )
                    await kernel.execute(f"import time; time.sleep({seconds})")
        except GatewayError as error:
            self.failures.append((error, labelled))


async def play(placement: str, actions: list[tuple[Any, ...]]) -> None:
    model = Model()
    before = service_tasks()
    fakes = make_fakes(*NAMES)
    async with open_ground(fakes, labels={"b": {"gpu"}, "c": {"gpu"}}, settings=SETTINGS, placement=placement) as ground:
        async with trio.open_nursery() as nursery:
            for action, *given in actions:
                await act(action, given, ground, model, nursery)
            for name, fake in fakes.items():
                ground.network.rise(name)
                ground.fleet.resume(name)
                fake.faults.clear()
            nursery.cancel_scope.deadline = trio.current_time() + 100_000
        assert not nursery.cancel_scope.cancelled_caught, "a start never ended (G3)"
        for error, labelled in model.failures:
            if isinstance(error, NoGatewayError):
                assert set(error.reasons) == ({"b", "c"} if labelled else {"a", "b", "c"})
            else:
                assert error.gateway in NAMES, repr(error)
        await trio.sleep(200)
        assert [status.state for status in ground.fleet.gateways] == ["up"] * 3, "those that fell come back"
        assert ground.counts() == dict.fromkeys(NAMES, 0), "a kernel is left (G2)"
        assert [status.kernels for status in ground.fleet.gateways] == [0] * 3 or not actions
        async with ground.fleet.start_kernel() as kernel:
            assert (await kernel.execute("'on'")).text == "'on'", "it is of use afterwards"
    assert not service_tasks() - before, "tasks are left (G1)"


async def act(action: str, given: list[Any], ground: Ground, model: Model, nursery: trio.Nursery) -> None:
    if action == "start":
        nursery.start_soon(model.start, ground, *given)
    elif action == "cancel":
        if given[0] < len(model.scopes):
            model.scopes[given[0]].cancel()
    elif action == "wait":
        await trio.sleep(given[0])
    else:
        (name,) = given
        fake = ground.fakes[name]
        if action in ("fall", "rise"):
            getattr(ground.network, action)(name)
        elif action == "drain":
            model.drained.add(name)
            nursery.start_soon(ground.fleet.drain, name)
        elif action == "resume":
            model.drained.discard(name)
            ground.fleet.resume(name)
        elif action == "cut":
            fake.cut_connections()
        elif action in ("refuse", "fail"):
            body = {"message": action, "reason": None}
            fake.faults.answer("POST /api/kernels$", {"refuse": 403, "fail": 500}[action], body, times=2)
        elif action == "lose":
            fake.faults.lose_answer("POST /api/kernels$", times=1)
        elif action == "slow":
            fake.faults.delay_answer("GET /api/kernels$", 5, times=2)
        elif fake.kernels:
            getattr(next(iter(fake.kernels.values())), action)()
    await trio.sleep(0.001)


@given(
    placement=st.sampled_from(["least-kernels", "round-robin"]),
    actions=st.lists(ACTIONS, max_size=20),
    seed=st.integers(0, 2**16),
)
def test_a_fleet_keeps_its_promises(placement: str, actions: list[tuple[Any, ...]], seed: int) -> None:
    """G1, G2, G3, G4, G9"""
    run_seeded(play, placement, actions, seed=seed)


LEASES = st.one_of(
    st.tuples(st.just("lease"), st.floats(0, 20)),
    st.tuples(st.just("lease"), st.floats(0, 20)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["fall", "fall", "rise", "drain", "resume", "cut", "refuse", "fail", "slow"]), GATEWAY),
    st.tuples(st.sampled_from(["die", "cull", "restart"]), GATEWAY),
    st.tuples(st.just("wait"), st.sampled_from([0.1, 1.0, 10.0, 100.0])),
)
POOLS = st.fixed_dictionaries(
    {
        "size": st.integers(1, 4),
        "warm": st.integers(0, 1),
        "reuse": st.sampled_from(["never", "restart", "as-is"]),
        "init": st.sampled_from([None, "x = 1"]),
        "max_age": st.sampled_from([None, 20.0]),
    }
)


class Leases(Model):
    """What callers have, and what came of those that ended."""

    def __init__(self, pool: KernelPool) -> None:
        super().__init__()
        self.pool = pool
        self.held: set[str] = set()

    async def lease(self, seconds: float) -> None:
        try:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                async with self.pool.kernel() as kernel:
                    assert kernel.id not in self.held, "two callers have the same kernel"
                    self.held.add(kernel.id)
                    try:
                        await kernel.execute(f"import time; time.sleep({seconds})")
                    finally:
                        self.held.discard(kernel.id)
        except GatewayError as error:
            assert error.gateway in NAMES or isinstance(error, NoGatewayError), repr(error)  # noqa: PT017


async def play_pool(options: dict[str, Any], actions: list[tuple[Any, ...]]) -> None:
    before = service_tasks()
    fakes = {name: CountedFake(seed=number, shutdown_seconds=0.5) for number, name in enumerate(NAMES)}
    async with open_ground(dict(fakes), settings=SETTINGS) as ground:
        for fake in fakes.values():
            fake.network = ground.network
        async with ground.fleet.open_pool("python3", **options) as pool:
            model = Leases(pool)
            async with trio.open_nursery() as nursery:
                for action, *given in actions:
                    if action == "lease":
                        nursery.start_soon(model.lease, *given)
                        await trio.sleep(0.001)
                    else:
                        await act(action, given, ground, model, nursery)
                    assert pool.statistics().leased <= options["size"]
                for name, fake in fakes.items():
                    ground.network.rise(name)
                    ground.fleet.resume(name)
                    fake.faults.clear()
                nursery.cancel_scope.deadline = trio.current_time() + 100_000
            assert not nursery.cancel_scope.cancelled_caught, "a lease never ended (G3)"
            await trio.sleep(200)
            with trio.fail_after(1000):
                assert (await pool.run("'on'")).text == "'on'", "it is of use afterwards"
            await pool.drain()
            assert ground.counts() == dict.fromkeys(NAMES, 0), "a drained pool leaves no kernel (G2)"
        assert max(fake.most for fake in fakes.values()) <= options["size"], "there were more kernels than there may be"
    assert not service_tasks() - before, "tasks are left (G1)"


@given(options=POOLS, actions=st.lists(LEASES, max_size=20), seed=st.integers(0, 2**16))
def test_a_pool_on_a_fleet_keeps_its_promises(options: dict[str, Any], actions: list[tuple[Any, ...]], seed: int) -> None:
    """G1, G2, G3, G9"""
    run_seeded(play_pool, options, actions, seed=seed)
