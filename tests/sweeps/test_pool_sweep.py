"""A pool against a model, by chance: whatever is done to it and to its gateway, its promises hold.

The model is the promise itself: a lease ends in a result or a typed error, the kernels of leases are different ones, the gateway
never has more than `size`, what was cancelled is gone, and at the end nothing is left.
"""

from __future__ import annotations

from typing import Any

import pytest
import trio
from hypothesis import given
from hypothesis import strategies as st
from trio.testing import MockClock

from pool.pool_kit import CountingGateway
from tools.sweep_tools import run_seeded, service_tasks
from trio_gateway import GatewayError

pytestmark = pytest.mark.full

ACTIONS = st.one_of(
    st.tuples(st.just("lease"), st.floats(0, 5), st.booleans()),
    st.tuples(st.just("run"), st.floats(0, 5)),
    st.tuples(st.just("cancel"), st.integers(0, 5)),
    st.tuples(st.sampled_from(["kill", "die", "cull", "stall", "restart"]), st.integers(0, 3)),
    st.tuples(st.sampled_from(["cut", "fail", "drop_answer", "slow"])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.1, 1.0, 10.0, 100.0])),
)
POOLS = st.fixed_dictionaries(
    {
        "size": st.integers(1, 4),
        "warm": st.integers(0, 1),
        "reuse": st.sampled_from(["never", "restart", "as-is"]),
        "init": st.sampled_from([None, "x = 1"]),
        "max_age": st.sampled_from([None, 20.0]),
        "idle_timeout": st.sampled_from([5.0, None]),
        "starts_at_once": st.integers(1, 3),
    }
)


class Model:
    """What callers have, and what came of those that ended."""

    def __init__(self, init: str | None) -> None:
        self.init = init
        self.held: set[str] = set()
        self.scopes: list[trio.CancelScope] = []
        self.begun = self.ended = 0

    async def lease(self, pool: Any, seconds: float, fails: bool) -> None:
        self.begun += 1
        try:
            with trio.CancelScope() as scope:
                self.scopes.append(scope)
                async with pool.kernel() as kernel:
                    assert kernel.id not in self.held, "two callers have the same kernel"
                    self.held.add(kernel.id)
                    try:
                        if self.init is not None:
                            result = await kernel.execute("x")
                            assert result.text == "1" or result.output_gaps, "it was handed out without its init"
                        await kernel.execute(f"import time; time.sleep({seconds})")
                        if fails:
                            raise ZeroDivisionError
                    finally:
                        self.held.discard(kernel.id)
        except (GatewayError, ZeroDivisionError):
            pass
        self.ended += 1


async def play(options: dict[str, Any], actions: list[tuple[Any, ...]]) -> None:
    fake = CountingGateway(shutdown_seconds=0.5)
    model = Model(options["init"])
    async with fake:
        before = service_tasks()
        async with fake.open(cleanup_timeout=60) as gateway, gateway.open_pool("python3", **options) as pool:
            async with trio.open_nursery() as nursery:
                for action, *given in actions:
                    await act(action, given, fake, pool, model, nursery)
                    assert pool.statistics().leased <= options["size"]
                fake.faults.clear()
                for kernel in fake.kernels.values():
                    kernel.resume()
                nursery.cancel_scope.deadline = trio.current_time() + 100_000
            assert not nursery.cancel_scope.cancelled_caught, "a lease never ended (G3)"
            await trio.sleep(60)  # a kernel that was heard of in the last second is handed out unasked, though it has just died
            with trio.fail_after(1000):
                assert (await pool.run("'on'")).text == "'on'", "it is of use afterwards"
            await pool.drain()
            assert fake.kernels == {}, "a drained pool leaves no kernel"
        assert fake.most <= options["size"], "there were more kernels than there may be"
        assert not service_tasks() - before, "tasks are left (G1)"


async def act(action: str, given: list[Any], fake: CountingGateway, pool: Any, model: Model, nursery: trio.Nursery) -> None:
    if action == "lease":
        nursery.start_soon(model.lease, pool, *given)
    elif action == "run":
        nursery.start_soon(model.lease, pool, *given, False)
    elif action == "cancel":
        if given[0] < len(model.scopes):
            model.scopes[given[0]].cancel()
    elif action == "wait":
        await trio.sleep(given[0])
    elif action == "cut":
        fake.cut_connections()
    elif action == "fail":
        fake.faults.answer("POST /api/kernels$", status=500, times=2)
    elif action == "drop_answer":
        fake.faults.lose_answer("POST /api/kernels$", times=1)
    elif action == "slow":
        fake.faults.delay_answer("POST /api/kernels$", 5, times=2)
    else:
        kernels = list(fake.kernels.values())
        if given[0] < len(kernels):
            getattr(kernels[given[0]], action)()
    await trio.sleep(0.001)


@given(options=POOLS, actions=st.lists(ACTIONS, max_size=20), seed=st.integers(0, 2**16))
def test_a_pool_keeps_its_promises(options: dict[str, Any], actions: list[tuple[Any, ...]], seed: int) -> None:
    """G1, G2, G3, G4, G9"""
    run_seeded(play, options, actions, seed=seed)


def test_the_model_sees_what_it_looks_for() -> None:
    async def twice() -> None:
        class Same:
            def kernel(self) -> Any:
                raise AssertionError("two callers have the same kernel")

        model = Model(None)
        await model.lease(Same(), 0, False)

    with pytest.raises(AssertionError, match="two callers"):
        trio.run(twice, clock=MockClock(autojump_threshold=0))
