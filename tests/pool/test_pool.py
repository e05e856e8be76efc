"""A pool on a fake gateway, in virtual time: leases, failures, and what becomes of a kernel that was used."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_gateway import (
    AuthenticationError,
    GatewayError,
    GatewayEvent,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelError,
    KernelInitError,
    KernelPool,
    KernelRestartedError,
    KernelSpecNotFoundError,
    PoolClosedError,
)
from trio_gateway.testing import FakeGateway, FakeKernelSpec

from .pool_kit import CountingGateway, open_ground

# ------------------------------------------------------------------------------------------------------------ leases


async def test_a_warm_kernel_is_there_at_once_and_a_new_one_after_it(autojump_clock: MockClock) -> None:
    async with open_ground(size=3, warm=2, init="x = 5") as ground:
        await ground.pool.wait_ready()
        before = trio.current_time()
        async with ground.pool.kernel() as kernel:
            assert trio.current_time() == before
            assert (await kernel.execute("x + 1")).text == "6"
            (first,) = [kernel.id]
        await ground.pool.wait_ready()
        assert first not in ground.fake.kernels, "a used kernel is thrown away"
        statistics = ground.pool.statistics()
        assert (statistics.hits, statistics.misses, statistics.ready, statistics.leased) == (1, 0, 2, 0)
        assert [event.kernel_id for event in ground.told("lease")] == [first]


async def test_without_warm_ones_a_lease_waits_for_a_start(autojump_clock: MockClock) -> None:
    async with open_ground(size=1) as ground:
        async with ground.pool.kernel() as kernel:
            assert ground.pool.statistics().leased == 1
            assert (await kernel.execute("1")).text == "1"
        statistics = ground.pool.statistics()
        assert (statistics.hits, statistics.misses, statistics.hand_out.count) == (0, 1, 1)


async def test_callers_are_served_in_the_order_in_which_they_asked(autojump_clock: MockClock) -> None:
    served: list[int] = []

    async def lease(number: int) -> None:
        async with ground.pool.kernel() as kernel:
            served.append(number)
            await kernel.execute("import time; time.sleep(1)")

    async with open_ground(size=1, warm=1) as ground, trio.open_nursery() as nursery:
        for number in range(8):
            nursery.start_soon(lease, number)
            await wait_all_tasks_blocked()
    assert served == sorted(served)
    assert len(served) == 8


async def test_a_caller_that_gives_up_leaves_its_place_to_the_next(autojump_clock: MockClock) -> None:
    async with open_ground(size=1) as ground, AsyncExitStack() as stack:
        await stack.enter_async_context(ground.pool.kernel())
        with trio.move_on_after(5):
            async with ground.pool.kernel():
                pytest.fail("there is no kernel for this one")
        assert ground.pool.statistics().waiting == 0
        await stack.aclose()
        async with ground.pool.kernel() as kernel:
            await kernel.execute("1")


@pytest.mark.parametrize("is_awaited", [False, True])
async def test_a_kernel_that_a_caller_is_given_while_it_gives_up_goes_to_the_next(
    autojump_clock: MockClock, is_awaited: bool
) -> None:
    """Both in one moment: the caller is cancelled, and then its kernel becomes ready."""

    def listen(event: GatewayEvent) -> None:
        if (event.kind, event.action) == ("pool", "ready"):
            scope.cancel()

    async def give_up() -> None:
        with scope:
            async with pool.kernel():
                pytest.fail("it has given up")

    scope = trio.CancelScope()
    fake = CountingGateway(kernelspecs=[FakeKernelSpec(name="python3", startup_seconds=2)])
    async with (
        fake,
        fake.open(on_event=listen) as gateway,
        gateway.open_pool("python3", size=1) as pool,
        trio.open_nursery() as users,
    ):
        users.start_soon(give_up)
        if is_awaited:
            await wait_all_tasks_blocked()
        else:
            await trio.sleep(100)
        with trio.fail_after(100):
            assert (await pool.run("1")).text == "1"
        assert scope.cancelled_caught
        assert pool.statistics().started == 1


async def test_a_caller_whose_kernel_proved_dead_keeps_its_place(autojump_clock: MockClock) -> None:
    """The one that asked first finds out first that its kernel is dead, then the second: the first is still served first."""
    served: list[str] = []

    async def lease(name: str) -> None:
        async with ground.pool.kernel() as kernel:
            served.append(name)
            await kernel.execute("1")

    fake = CountingGateway(kernelspecs=[FakeKernelSpec(name="python3", startup_seconds=2)])
    async with open_ground(fake, size=2, warm=2) as ground, trio.open_nursery() as nursery:
        await ground.pool.wait_ready()
        await trio.sleep(10)
        for kernel in ground.kernels:
            kernel.stall()
        for name in ("first", "second", "third"):
            nursery.start_soon(lease, name)
            await trio.sleep(0.5)  # less than a start takes
    assert ground.pool.statistics().lost == 2
    assert served == ["first", "second", "third"]


async def test_more_are_never_started_than_there_may_be(autojump_clock: MockClock) -> None:
    """Those that are being shut down still count: `open_ground` looks at the gateway's own number."""
    async with open_ground(CountingGateway(shutdown_seconds=3), size=3, warm=3) as ground, trio.open_nursery() as nursery:
        for _ in range(12):
            nursery.start_soon(ground.pool.run, "1")
    assert ground.pool.statistics().hand_out.count == 12


async def test_run_gives_what_came_of_the_code(autojump_clock: MockClock) -> None:
    async with open_ground() as ground:
        assert (await ground.pool.run("6 * 7")).text == "42"
        assert (await ground.pool.run("1 / 0")).status == "error"
        assert (await ground.pool.run("input('?')", stdin=lambda prompt, password: "x")).text == "'x'"


async def test_map_runs_each_code_once(autojump_clock: MockClock) -> None:
    codes = [f"print({number})" for number in range(7)] + ["1 / 0"]
    async with open_ground(size=3, warm=1) as ground:
        read = [(code, result.ok) async for code, result in ground.pool.map(codes)]
    assert read == [(code, code != "1 / 0") for code in codes]


async def test_a_lease_ends_by_an_error_of_its_block(autojump_clock: MockClock) -> None:
    """G9"""
    async with open_ground(size=1, reuse="as-is") as ground:
        with pytest.raises(ZeroDivisionError):
            async with ground.pool.kernel():
                raise ZeroDivisionError
        assert (await ground.pool.run("1")).text == "1"


# ---------------------------------------------------------------------------------------------- what becomes of a used kernel


async def test_restarted_kernels_have_nothing_of_their_last_use(autojump_clock: MockClock) -> None:
    async with open_ground(size=1, reuse="restart", init="x = 1") as ground:
        async with ground.pool.kernel() as kernel:
            await kernel.execute("x = y = 2")
            first = kernel.id
        async with ground.pool.kernel() as kernel:
            assert kernel.id == first
            assert (await kernel.execute("x")).text == "1"
            assert (await kernel.execute("y")).status == "error"
        assert ground.pool.statistics().started == 2


async def test_restarted_kernels_without_init(autojump_clock: MockClock) -> None:
    async with open_ground(size=1, reuse="restart") as ground:
        for _ in range(3):
            assert (await ground.pool.run("y = 1; 'y'")).text == "'y'"
        assert ground.pool.statistics().starts_failed == 0
        assert ground.pool.statistics().started == 3


async def test_as_it_is(autojump_clock: MockClock) -> None:
    async with open_ground(size=1, reuse="as-is", max_uses=2) as ground:
        kernels = []
        for _ in range(3):
            async with ground.pool.kernel() as kernel:
                kernels.append(kernel.id)
                await kernel.execute("x = 2")
        assert kernels[0] == kernels[1] != kernels[2]


@pytest.mark.parametrize("leave", ["busy", "restarted", "dead"])
async def test_a_kernel_that_is_not_as_it_was_is_not_handed_on(autojump_clock: MockClock, leave: str) -> None:
    async with open_ground(size=1, reuse="as-is", init="x = 1") as ground:
        async with ground.pool.kernel() as kernel:
            first = kernel.id
            if leave == "busy":
                with trio.move_on_after(1):
                    await kernel.execute("import time; time.sleep(1e6)", on_cancel="abandon")
            elif leave == "restarted":
                await kernel.restart()
            else:
                await kernel.shutdown()
        async with ground.pool.kernel() as kernel:
            assert kernel.id != first
            assert (await kernel.execute("x")).text == "1"


async def test_kernels_that_nobody_uses_are_shut_down_to_warm(autojump_clock: MockClock) -> None:
    async with open_ground(size=3, warm=0, reuse="as-is", idle_timeout=60) as ground:
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(ground.pool.kernel())
        await trio.sleep(59)
        assert ground.pool.statistics().ready == 3
        await trio.sleep(3)
        assert (ground.pool.statistics().ready, ground.kernels) == (0, [])


@pytest.mark.parametrize(("size", "least"), [(4, 3), (3, 2)])
async def test_kernels_of_one_age_are_replaced_one_after_the_other(autojump_clock: MockClock, size: int, least: int) -> None:
    """Where there is room, a new one is there before an old one goes; else one of them lacks meanwhile."""
    fake = CountingGateway(kernelspecs=[FakeKernelSpec(name="python3", startup_seconds=2)])
    async with open_ground(fake, size=size, warm=3, max_age=100) as ground:
        await ground.pool.wait_ready()
        first = {kernel.id for kernel in ground.kernels}
        fewest = 3
        for _ in range(400):
            await trio.sleep(0.25)
            fewest = min(fewest, ground.pool.statistics().ready)
        assert first.isdisjoint(kernel.id for kernel in ground.kernels)
        assert fewest == least
        assert ground.pool.statistics().started == 6


async def test_kernels_that_are_old_are_replaced(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, warm=1, max_age=100) as ground:
        await ground.pool.wait_ready()
        (first,) = ground.kernels
        await trio.sleep(120)
        (second,) = ground.kernels
        assert first.id != second.id
        assert ground.pool.statistics().lost == 0


# --------------------------------------------------------------------------------------------------- what dies while it waits


@pytest.mark.parametrize("how", ["kill", "die", "cull", "restart", "remove"])
async def test_nobody_sees_a_kernel_that_died_while_it_was_warm(autojump_clock: MockClock, how: str) -> None:
    """G3"""
    async with open_ground(size=2, warm=1, init="x = 1") as ground:
        await ground.pool.wait_ready()
        await trio.sleep(10)
        (first,) = ground.kernels
        if how == "remove":
            ground.fake.remove_kernel(first)
        else:
            getattr(first, how)()
        # In the same moment, and when the gateway has noticed.
        for _ in range(2):
            async with ground.pool.kernel() as kernel:
                assert (await kernel.execute("x")).text == "1"
            await trio.sleep(30)
        assert ground.pool.statistics().lost >= 1


async def test_kernels_that_are_lost_again_and_again_are_replaced_ever_more_slowly(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, warm=1) as ground:
        await ground.pool.wait_ready()
        with trio.move_on_after(300):
            while True:
                for kernel in ground.kernels:
                    ground.fake.remove_kernel(kernel)
                await trio.sleep(0.1)
        assert 8 <= ground.pool.statistics().lost <= 40
        await trio.sleep(31)
        assert (await ground.pool.run("1")).text == "1"


async def test_a_caller_that_finds_only_kernels_that_are_lost_learns_it(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    """G3"""
    monkeypatch.setattr("trio_gateway._pool.member.HEARD_LATELY", -1.0)  # each is asked before it is handed out

    def listen(event: GatewayEvent) -> None:
        if (event.kind, event.action) == ("pool", "ready"):
            fake.remove_kernel(fake.kernels[event.kernel_id or ""])

    async with FakeGateway() as fake, fake.open(on_event=listen) as gateway, gateway.open_pool("python3", size=2) as pool:
        with pytest.raises(KernelError, match="as 2 before it, it was lost as soon as it was ready"):
            await pool.run("1")
        assert pool.statistics().lost == 3


async def test_a_kernel_that_does_not_answer_is_not_handed_out(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, warm=1) as ground:
        await ground.pool.wait_ready()
        await trio.sleep(10)
        (first,) = ground.kernels
        first.stall()
        async with ground.pool.kernel() as kernel:
            assert kernel.id != first.id
        assert [event.message for event in ground.told("lost")] == ["no answer in 5 s"]
        first.resume()


async def test_callers_with_short_limits_do_not_all_get_the_one_that_does_not_answer(autojump_clock: MockClock) -> None:
    async with open_ground(size=3, warm=2) as ground:
        await ground.pool.wait_ready()
        await trio.sleep(10)
        for kernel in ground.kernels:
            kernel.stall()
        served = 0
        for _ in range(4):
            with trio.move_on_after(3):
                async with ground.pool.kernel():
                    served += 1
        assert served >= 2
        assert ground.pool.statistics().lost == 2


async def test_a_pool_that_ends_while_a_kernel_is_asked(autojump_clock: MockClock) -> None:
    """G3"""
    ended: list[Any] = []

    async def lease(pool: KernelPool) -> None:
        with pytest.raises(GatewayError) as caught:
            async with pool.kernel():
                pass
        ended.append(caught.type)

    async with trio.open_nursery() as nursery:
        async with open_ground(size=1, warm=1) as ground:
            await ground.pool.wait_ready()
            await trio.sleep(10)
            (kernel,) = ground.kernels
            kernel.stall()
            nursery.start_soon(lease, ground.pool)  # noqa: ASYNC111 - what is tested
            await wait_all_tasks_blocked(0.001)
    assert len(ended) == 1


async def test_results_that_are_read_after_the_pool_s_block(autojump_clock: MockClock) -> None:
    """G3"""
    async with open_ground() as ground:
        results = ground.pool.map(["1", "2", "3"])
    assert [type(result.error) async for _, result in results] == [PoolClosedError] * 3


async def test_a_connection_that_broke_meanwhile_is_waited_for(autojump_clock: MockClock) -> None:
    async with open_ground(size=1, warm=1) as ground:
        await ground.pool.wait_ready()
        await trio.sleep(10)
        (first,) = ground.kernels
        ground.fake.cut_connections()
        async with ground.pool.kernel() as kernel:
            assert (kernel.id, (await kernel.execute("1")).text) == (first.id, "1")


async def test_a_lease_whose_kernel_is_killed_takes_nothing_from_the_others(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, reuse="as-is") as ground, trio.open_nursery() as nursery:

        async def killed() -> None:
            with pytest.raises(KernelError):
                async with ground.pool.kernel() as kernel:
                    ground.fake.kernels[kernel.id].kill_soon(1)
                    await kernel.execute("import time; time.sleep(1e6)")

        nursery.start_soon(killed)
        for _ in range(4):
            nursery.start_soon(ground.pool.run, "import time; time.sleep(2)")


@pytest.mark.parametrize("how", ["kill", "restart"])
@pytest.mark.parametrize("reuse", ["never", "restart", "as-is"])
async def test_a_lease_runs_nothing_in_a_process_without_init(autojump_clock: MockClock, how: str, reuse: str) -> None:
    """G3: the kernel is killed between its hand-out and the lease's first execution, and started again."""
    async with open_ground(size=1, warm=1, init="x = 1", reuse=reuse) as ground:
        async with ground.pool.kernel() as kernel:
            theirs = ground.fake.kernels[kernel.id]
            getattr(theirs, how)()
            await trio.sleep(30)
            with pytest.raises(KernelRestartedError):
                await kernel.execute("x + 1")
            assert theirs.codes == ["x = 1"]
            assert (await kernel.execute("x")).status == "error", "the lease knows, and may go on"
        for _ in range(2):
            async with ground.pool.kernel() as kernel:
                assert (await kernel.execute("x")).text == "1"


async def test_a_lease_of_a_kernel_that_was_restarted_for_it_is_safe_too(autojump_clock: MockClock) -> None:
    """The pool's own restart is no loss; one after it is."""
    async with open_ground(size=1, reuse="restart", init="x = 1") as ground:
        for number in range(3):
            async with ground.pool.kernel() as kernel:
                theirs = ground.fake.kernels[kernel.id]
                assert (await kernel.execute("x")).text == "1"
                theirs.kill()
                await trio.sleep(30)
                with pytest.raises(KernelRestartedError):
                    async with kernel.stream("x"):
                        pytest.fail("it is not sent")
                assert theirs.codes == ["x = 1", "x"] * (number + 1)


async def test_a_lease_may_restart_its_kernel(autojump_clock: MockClock) -> None:
    """It has asked for it, so it is told of nothing; `init` is the pool's, and does not run."""
    async with open_ground(size=1, reuse="as-is", init="x = 1") as ground:
        async with ground.pool.kernel() as kernel:
            await kernel.restart()
            assert (await kernel.execute("'x' in globals()")).text == "False"
            assert ground.fake.kernels[kernel.id].codes == ["x = 1", "'x' in globals()"]


# ------------------------------------------------------------------------------------------------------------ starts that fail


async def test_an_init_that_fails_is_told_and_its_kernel_is_never_handed_out(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, warm=1, init="1 / 0") as ground:
        with pytest.raises(KernelInitError, match="ZeroDivisionError") as caught:
            async with ground.pool.kernel():
                pytest.fail("a kernel without its init was handed out")
        assert caught.value.traceback
        with pytest.raises(KernelInitError):
            await ground.pool.wait_ready()
        with pytest.raises(KernelInitError):
            await ground.pool.run("1")
        assert ground.pool.statistics().starts_failed >= 1


async def test_an_init_that_hangs_has_a_limit(autojump_clock: MockClock) -> None:
    async with open_ground(size=1, init="import time; time.sleep(1e6)", init_timeout=7) as ground:
        with pytest.raises(GatewayTimeoutError, match="init_timeout") as caught:
            await ground.pool.run("1")
        assert caught.value.limit == 7


async def test_a_gateway_that_fails_for_a_moment_is_not_noticed(autojump_clock: MockClock) -> None:
    async with open_ground(size=1) as ground:
        ground.fake.faults.answer("POST /api/kernels", status=500, times=2)
        assert (await ground.pool.run("1")).text == "1"
        assert ground.pool.statistics().starts_failed == 2


async def test_a_gateway_that_keeps_failing_is_the_reason_and_is_left_alone_in_between(autojump_clock: MockClock) -> None:
    """G3"""
    async with open_ground(size=4, warm=2) as ground:
        await ground.pool.wait_ready()
        fault = ground.fake.faults.answer("POST /api/kernels$", status=500)
        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(ground.pool.kernel())
            with pytest.raises(GatewayHTTPError, match="500"):
                await ground.pool.run("1")
            # At once, in the pause before the next start is tried.
            at = trio.current_time()
            with pytest.raises(GatewayHTTPError, match="500"):
                await ground.pool.run("1")
            assert trio.current_time() == at
            failed = ground.pool.statistics().starts_failed
            await trio.sleep(300)
            assert ground.pool.statistics().starts_failed - failed <= 2 * 300 / 15 + 2, "it backs off"
        fault.remove()
        await trio.sleep(31)
        assert (await ground.pool.run("1")).text == "1"


async def test_kernels_that_are_ready_are_handed_out_though_starts_fail(autojump_clock: MockClock) -> None:
    async with open_ground(size=4, warm=3) as ground:
        await ground.pool.wait_ready()
        ground.fake.faults.answer("POST /api/kernels$", status=403)
        async with AsyncExitStack() as stack:
            for _ in range(3):
                await stack.enter_async_context(ground.pool.kernel())
                await trio.sleep(1)
            with pytest.raises(GatewayError):
                await ground.pool.run("1")


async def test_starts_that_fail_side_by_side_are_one_failure(autojump_clock: MockClock) -> None:
    async with open_ground(size=4) as ground, trio.open_nursery() as nursery:
        ground.fake.faults.answer("POST /api/kernels$", status=500, times=4)
        for _ in range(4):
            nursery.start_soon(ground.pool.run, "1")
    assert ground.pool.statistics().starts_failed == 4


async def test_all_that_wait_are_told_of_what_would_fail_again(autojump_clock: MockClock) -> None:
    async with open_ground(CountingGateway(kernelspecs=[FakeKernelSpec(name="python3")]), size=1) as ground:
        errors: list[Exception] = []

        async def lease() -> None:
            try:
                await ground.pool.run("1")
            except GatewayError as error:
                errors.append(error)

        ground.fake.faults.answer("POST /api/kernels$", status=403)
        async with trio.open_nursery() as nursery:
            for _ in range(3):
                nursery.start_soon(lease)
        assert len(set(map(id, errors))) == 3, "each has a traceback of its own"
        assert {type(error).__name__ for error in errors} == {"AuthenticationError"}


@pytest.mark.parametrize("reuse", ["as-is", "restart"])
async def test_starts_that_fail_for_now_end_no_wait_while_a_kernel_serves_one_caller_after_the_other(
    autojump_clock: MockClock, reuse: str
) -> None:
    """Many callers beside a gateway that comes and goes: a handful of kernels serves them all."""
    texts: list[str] = []

    async def lease() -> None:
        texts.append((await ground.pool.run("import time; time.sleep(5); 1")).text)

    async with open_ground(size=4, reuse=reuse) as ground, trio.open_nursery() as nursery:
        async with ground.pool.kernel():
            ground.fake.faults.answer("POST /api/kernels$", status=503)
            for _ in range(20):
                nursery.start_soon(lease)
            await trio.sleep(100)
            assert ground.pool.statistics().starts_failed >= 3
        await trio.sleep(1000)
        assert texts == ["1"] * 20


async def test_starts_that_fail_now_and_then_do_not_add_up(autojump_clock: MockClock) -> None:
    """Only those that fail one after the other end a wait."""
    done: list[str] = []

    async def lease() -> None:
        async with ground.pool.kernel():
            ground.fake.faults.answer("POST /api/kernels$", status=500, times=1)  # the next start fails, and the one after it not
        done.append("done")

    async with open_ground(size=1) as ground:
        async with trio.open_nursery() as nursery:
            for _ in range(8):
                nursery.start_soon(lease)
        assert done == ["done"] * 8
        assert ground.pool.statistics().starts_failed >= 7


@pytest.mark.parametrize("reuse", ["as-is", "restart"])
async def test_a_caller_that_a_kernel_in_use_can_serve_waits_for_it_though_starts_fail(
    autojump_clock: MockClock, reuse: str
) -> None:
    """As many callers as there are kernels that come back; the others get the reason, and so do all when none comes back."""
    outcomes: dict[str, str] = {}

    async def lease(name: str) -> None:
        try:
            outcomes[name] = (await ground.pool.run("'done'")).text
        except GatewayError as error:
            outcomes[name] = type(error).__name__

    async with open_ground(size=4, reuse=reuse) as ground, trio.open_nursery() as nursery:
        async with ground.pool.kernel():
            ground.fake.faults.answer("POST /api/kernels$", status=403)
            for name in ("first", "second", "third"):
                nursery.start_soon(lease, name)
                await wait_all_tasks_blocked()
            await trio.sleep(100)
            assert outcomes == {"second": "AuthenticationError", "third": "AuthenticationError"}
            await lease("late")
            assert outcomes.pop("late") == "AuthenticationError"
        await trio.sleep(10)
        assert outcomes.pop("first") == "'done'"
        async with ground.pool.kernel() as kernel:
            nursery.start_soon(lease, "last")
            await trio.sleep(100)
            assert "last" not in outcomes
            ground.fake.remove_kernel(ground.fake.kernels[kernel.id])
        await trio.sleep(60)
        assert outcomes["last"] == "AuthenticationError"


async def test_nobody_waits_for_a_kernel_that_is_in_use_for_the_last_time(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, reuse="as-is", max_uses=1) as ground, ground.pool.kernel():
        ground.fake.faults.answer("POST /api/kernels$", status=403)
        with pytest.raises(AuthenticationError):
            await ground.pool.run("1")


# -------------------------------------------------------------------------------------------------------------------- events


async def test_what_is_told_has_happened_and_stands_in_order(autojump_clock: MockClock) -> None:
    """As docs/events.md says: a kernel's start, ready, lease, restart, ready, and what ended it, then its shutdown."""
    seen: list[tuple[str, str, str | None]] = []
    counts: list[tuple[str, int, int]] = []
    pools: list[KernelPool] = []

    def listen(event: GatewayEvent) -> None:
        if event.kind in ("kernel", "pool"):
            seen.append((event.kind, event.action, event.kernel_id))
        if event.kind == "pool":
            statistics = pools[0].statistics()
            counts.append((event.action, statistics.ready, statistics.leased))

    async with FakeGateway() as fake, fake.open(on_event=listen) as gateway:
        async with gateway.open_pool("python3", size=1, reuse="restart") as pool:
            pools.append(pool)
            async with pool.kernel() as kernel:
                first = kernel.id
            await trio.sleep(10)
            fake.remove_kernel(fake.kernels[first])
            async with pool.kernel() as kernel:
                second = kernel.id
    told = [(kind, action) for kind, action, kernel_id in seen if kernel_id == first]
    assert told == [
        ("kernel", "start"),
        ("pool", "ready"),
        ("pool", "lease"),
        ("kernel", "restart"),
        ("pool", "ready"),
        ("kernel", "gone"),
        ("pool", "lost"),
        ("kernel", "shutdown"),
    ]
    told = [(kind, action) for kind, action, kernel_id in seen if kernel_id == second]
    assert told == [("kernel", "start"), ("pool", "ready"), ("pool", "lease"), ("kernel", "shutdown")]
    assert counts == [("ready", 1, 0), ("lease", 0, 1), ("ready", 1, 0), ("lost", 0, 0), ("ready", 1, 0), ("lease", 0, 1)]


# ------------------------------------------------------------------------------------------------------------------- its end


async def test_draining_waits_for_what_is_leased(autojump_clock: MockClock) -> None:
    drained: list[float] = []
    async with open_ground(size=2, warm=2) as ground, trio.open_nursery() as nursery:
        await ground.pool.wait_ready()

        async def drain() -> None:
            await ground.pool.drain()
            drained.append(trio.current_time())
            assert ground.kernels == []
            await ground.pool.drain()

        async with AsyncExitStack() as stack:
            for _ in range(2):
                await stack.enter_async_context(ground.pool.kernel())
            waiting = trio.Event()

            async def wait() -> None:
                waiting.set()
                with pytest.raises(PoolClosedError, match="drained"):
                    await ground.pool.run("1")

            nursery.start_soon(wait)
            await waiting.wait()
            await wait_all_tasks_blocked()
            nursery.start_soon(drain)
            await trio.sleep(100)
            assert drained == []
            with pytest.raises(PoolClosedError):
                await ground.pool.run("1")
        await wait_all_tasks_blocked()
    assert len(drained) == 1


async def test_draining_ends_what_is_being_started(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, warm=2, init="import time; time.sleep(1000)", init_timeout=1e9) as ground:
        await trio.sleep(5)
        await ground.pool.drain()
        assert trio.current_time() < 100


async def test_the_block_s_end_ends_all(autojump_clock: MockClock) -> None:
    """G1, G2: also callers in tasks of their own, whose kernels go with the pool."""
    ended: list[Any] = []

    async def lease(pool: KernelPool) -> None:
        try:
            async with pool.kernel() as kernel:
                await kernel.execute("import time; time.sleep(1e6)")
        except (GatewayError, trio.ClosedResourceError) as error:
            ended.append(type(error))

    async with trio.open_nursery() as nursery:
        async with open_ground(size=1) as ground:
            nursery.start_soon(lease, ground.pool)  # noqa: ASYNC111 - what is tested
            nursery.start_soon(lease, ground.pool)  # noqa: ASYNC111
            await trio.sleep(10)
        assert ground.fake.kernels == {}
    assert len(ended) == 2
    assert PoolClosedError in ended


async def test_the_end_of_the_gateway_s_block_is_no_error_of_the_pool(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake:
        with trio.move_on_after(10) as scope:
            async with fake.open() as gateway, gateway.open_pool(size=4, warm=4) as pool:
                await pool.wait_ready()
                await trio.sleep_forever()
        assert scope.cancelled_caught
        assert fake.kernels == {}


# ------------------------------------------------------------------------------------------------------------- what is wrong


@pytest.mark.parametrize(
    ("error", "arguments"),
    [
        (KernelSpecNotFoundError, {"name": "nosuch"}),
        (InvalidInputError, {"size": 0}),
        (InvalidInputError, {"warm": 3}),
        (InvalidInputError, {"init": 7}),
        (InvalidInputError, {"env": {"A": 1}}),
        (InvalidInputError, {"launch_timeout": "soon"}),
        (InvalidInputError, {"name": 5}),
    ],
)
async def test_what_is_wrong_is_named_before_anything_starts(
    autojump_clock: MockClock, error: type[Exception], arguments: dict[str, Any]
) -> None:
    """G10"""
    async with CountingGateway() as fake, fake.open() as gateway:
        with pytest.raises(error):
            async with gateway.open_pool(**{"name": "python3", "size": 2, "warm": 1, **arguments}):
                pytest.fail("the pool was opened")
        assert fake.most == 0


async def test_what_it_says_of_itself(autojump_clock: MockClock) -> None:
    async with open_ground(size=2, warm=1) as ground:
        await ground.pool.wait_ready()
        assert repr(ground.pool) == "<KernelPool python3: 1 ready, 0 leased, of 2>"
        assert (ground.pool.size, ground.pool.warm) == (2, 1)
        assert ground.told("ready")[0].gateway_url == ground.gateway.url
