"""A fleet of fake gateways, in virtual time: where kernels start, what happens when a gateway falls, and draining."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from tools.notebook_tools import notebook_of
from trio_gateway import (
    ConfigError,
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    InvalidInputError,
    KernelCulledError,
    KernelDiedError,
    KernelSpecNotFoundError,
    NoGatewayError,
    notebooks,
    open_fleet,
)
from trio_gateway._fleet.member import look_at
from trio_gateway.testing import FakeFleet, FakeGateway, FakeKernelSpec

from .fleet_kit import QUICK, Ground, entry, make_fakes, open_ground, start

# ------------------------------------------------------------------------------------------------------------------ opening


async def test_a_fleet_asks_each_gateway_what_it_has(autojump_clock: MockClock) -> None:
    async with open_ground(labels={"a": {"gpu"}}, weights={"b": 2}) as ground:
        a, b = ground.fleet.gateways
        assert (a.name, a.url, a.labels, a.weight, a.state, a.reason, a.kernels) == (
            *("a", "http://a.invalid", {"gpu"}, 1, "up", "", 0),
        )
        assert (b.name, b.weight, b.labels) == ("b", 2, frozenset())
        assert repr(ground.fleet) == "<Fleet of 2 gateways, 2 up>"
        assert len(ground.told("up")) == 2


async def test_one_that_is_down_fails_nothing(autojump_clock: MockClock) -> None:
    async with open_ground(down=("a",)) as ground:
        assert ground.status("a").state == "down"
        assert "refused" in ground.status("a").reason
        async with ground.fleet.start_kernel() as kernel:
            assert (await kernel.execute("1")).text == "1"
            assert ground.counts() == {"a": 0, "b": 1}


async def test_one_that_does_not_answer_does_not_hold_up_the_others(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b")
    fakes["a"].faults.black_hole()
    began = trio.current_time()
    async with open_ground(fakes) as ground:
        assert trio.current_time() - began < 5
        assert ground.status("a").state == "unknown"
        async with ground.fleet.start_kernel():
            assert ground.status("a").state == "down"
            assert "not answered within 10 s" in ground.status("a").reason


async def test_all_down_is_an_error_that_names_each(autojump_clock: MockClock) -> None:
    with pytest.raises(NoGatewayError) as caught:
        async with open_ground(down=("a", "b")):
            pytest.fail("there is no gateway")
    assert set(caught.value.reasons) == {"a", "b"}
    assert all("refused" in reason for reason in caught.value.reasons.values())


async def test_bad_input_is_refused_before_anything_is_sent(autojump_clock: MockClock) -> None:
    """G10"""
    fakes = make_fakes("a")
    network = FakeFleet(fakes)

    async def refuse(gateways: Any, **arguments: Any) -> GatewayError:
        with pytest.raises(InvalidInputError) as caught:
            async with open_fleet(gateways, connector=network.connector, **arguments):
                pytest.fail("it can't be opened")
        return caught.value

    async with fakes["a"] as fake:
        a = entry(fake, "a")
        assert "one gateway or more" in str(await refuse([]))
        assert "different names" in str(await refuse([a, a]))
        assert "placement" in str(await refuse([a], placement="best"))
        assert "on_event" in str(await refuse([a], on_event=1))
        assert isinstance(await refuse([a], request_timeout=-1), ConfigError)
        assert fake.conversation.lines == []


async def test_what_can_t_be_opened_is_told_with_its_name(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b")
    gateways = [entry(fakes["a"], "a"), entry(fakes["b"], "b", {"gateway_token_renewer_class": "no.such.Renewer"})]
    with pytest.raises(ConfigError) as caught:
        async with open_fleet(gateways, connector=FakeFleet(fakes).connector):
            pytest.fail("it can't be opened")
    assert caught.value.gateway == "b"


# --------------------------------------------------------------------------------------------------------------- placement


async def hold(ground: Ground, *, task_status: trio.TaskStatus[str] = trio.TASK_STATUS_IGNORED, **arguments: Any) -> None:
    """Start a kernel and keep it until cancelled; say on which gateway."""
    async with AsyncExitStack() as stack:
        task_status.started(await start(ground, stack, **arguments))
        await trio.sleep_forever()


async def test_kernels_go_where_there_are_fewest(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b", "c")
    async with open_ground(fakes, left=True) as ground, AsyncExitStack() as stack:
        for _ in range(2):
            await fakes["a"].start_kernel("python3")  # somebody else's
        await trio.sleep(20)  # what is known grows old, and is asked for again
        assert [await start(ground, stack) for _ in range(7)] == ["b", "c", "b", "c", "a", "b", "c"]
        assert ground.status("a").kernels == 3


async def test_starts_at_the_same_time_are_spread_too(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b", start_seconds=1)
    async with open_ground(fakes) as ground, trio.open_nursery() as nursery:
        for _ in range(6):
            nursery.start_soon(hold, ground)
        await trio.sleep(0.5)
        assert [status.kernels for status in ground.fleet.gateways] == [3, 3]
        await trio.sleep(1)
        assert ground.counts() == {"a": 3, "b": 3}
        nursery.cancel_scope.cancel()


async def test_round_robin_and_weights(autojump_clock: MockClock) -> None:
    async with open_ground(placement="round-robin", weights={"a": 3}) as ground, AsyncExitStack() as stack:
        assert "".join([await start(ground, stack) for _ in range(8)]) == "aabaaaba"


async def test_a_function_of_the_users_own(autojump_clock: MockClock) -> None:
    async with open_ground(placement=lambda candidates: candidates[-1]) as ground, AsyncExitStack() as stack:
        assert [await start(ground, stack) for _ in range(3)] == ["b", "b", "b"]


async def test_what_a_function_raises_the_start_raises(autojump_clock: MockClock) -> None:
    def fail(candidates: Any) -> str:
        raise ZeroDivisionError

    async with open_ground(placement=fail) as ground:
        with pytest.raises(ZeroDivisionError):
            async with ground.fleet.start_kernel():
                pytest.fail("nobody placed it")


async def test_labels(autojump_clock: MockClock) -> None:
    async with open_ground(labels={"b": {"gpu", "large"}}) as ground, AsyncExitStack() as stack:
        assert [await start(ground, stack, require={"gpu"}) for _ in range(3)] == ["b", "b", "b"]
        assert await start(ground, stack, require=["gpu", "large"]) == "b"
        assert await start(ground, stack) == "a"
        with pytest.raises(InvalidInputError, match="a has none; b has gpu, large") as caught:
            ground.fleet.start_kernel(require={"tpu"})
        assert caught.value.field == "require"
        with pytest.raises(InvalidInputError, match="require"):
            ground.fleet.start_kernel(require="gpu")


async def test_only_where_there_is_the_kernelspec(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a") | {"b": FakeGateway(url="http://b.invalid", kernelspecs=[FakeKernelSpec(name="ir")])}
    async with open_ground(fakes) as ground, AsyncExitStack() as stack:
        assert [await start(ground, stack, "ir") for _ in range(3)] == ["b", "b", "b"]
        assert await start(ground, stack, "python3") == "a"
        with pytest.raises(KernelSpecNotFoundError) as caught:
            await start(ground, stack, "julia")
        assert caught.value.available == ("ir", "python3")
        # One that was installed meanwhile is found, whatever was known.
        fakes["a"].kernelspecs["julia"] = FakeKernelSpec(name="julia")
        assert await start(ground, stack, "julia") == "a"


async def test_a_kernelspec_that_a_gateway_which_is_down_may_have(autojump_clock: MockClock) -> None:
    async with open_ground(down=("b",)) as ground, AsyncExitStack() as stack:
        with pytest.raises(NoGatewayError) as caught:
            await start(ground, stack, "ir")
        assert "no kernelspec 'ir'" in caught.value.reasons["a"]
        assert "refused" in caught.value.reasons["b"]


async def test_arguments_are_checked_at_once(autojump_clock: MockClock) -> None:
    """G10"""
    async with open_ground() as ground:
        with pytest.raises(InvalidInputError, match="launch_timeout"):
            ground.fleet.start_kernel(launch_timeout=-1)
        with pytest.raises(InvalidInputError, match="size"):
            async with ground.fleet.open_pool(size=0):
                pytest.fail("it has no room")


# -------------------------------------------------------------------------------------------------------- starts that fail


async def test_a_start_that_fails_goes_to_the_next_gateway(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        ground.fakes["a"].faults.answer("POST /api/kernels$", status=403, times=1)
        assert await start(ground, stack) == "b"
        assert ground.status("a").state == "failing"
        assert "403" in ground.status("a").reason
        (moved,) = ground.told("moved")
        assert moved.message.startswith("a: ")
        assert await start(ground, stack) == "b", "starts go elsewhere for a while"
        await trio.sleep(1)
        assert await start(ground, stack) == "a"
        assert ground.status("a").state == "up"


async def test_one_that_fails_is_taken_where_there_is_no_other(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a")
    async with open_ground(fakes) as ground, AsyncExitStack() as stack:
        fakes["a"].faults.answer("POST /api/kernels$", status=403, times=1)
        with pytest.raises(NoGatewayError, match="403") as caught:
            await start(ground, stack)
        assert isinstance(caught.value.__cause__, GatewayHTTPError)
        assert caught.value.__cause__.gateway == "a"
        assert await start(ground, stack) == "a"


async def test_one_that_fell_unseen_is_found_out_by_the_start(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        ground.network.fall("a", kernels=False)
        await trio.sleep(5)  # it is asked first: what is known is too old
        assert await start(ground, stack) == "b"
        assert ground.status("a").state == "down"


@pytest.mark.parametrize("fault", ["lose_answer", "late"])
async def test_a_start_that_may_have_happened_goes_nowhere_else(autojump_clock: MockClock, fault: str) -> None:
    """G2, G4: the kernel may be there, so the caller learns of it, and what was started is ended."""
    fakes = make_fakes("a", "b", start_seconds=2.0)
    async with open_ground(fakes) as ground, AsyncExitStack() as stack:
        if fault == "lose_answer":
            fakes["a"].faults.lose_answer("POST /api/kernels$", times=1)
            expected: type[GatewayError] = GatewayConnectionError
        else:
            fakes["a"].start_seconds = 60.0
            expected = GatewayTimeoutError
        with pytest.raises(expected) as caught:
            await start(ground, stack)
        assert caught.value.gateway == "a"
        assert "gateway a" in caught.value.__notes__
        assert not fakes["b"].kernels
        await trio.sleep(200)
        assert not fakes["a"].kernels, "what was started is looked for, and ended (G2)"


async def test_a_start_that_failed_at_its_gateway_goes_on_once_that_says_that_there_is_no_kernel(
    autojump_clock: MockClock,
) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        ground.fakes["a"].faults.answer("POST /api/kernels$", status=500, body={"message": "no port", "reason": None}, times=1)
        assert await start(ground, stack) == "b"
        assert [line for line in map(str, ground.fakes["a"].conversation.lines) if "DELETE" in line], "it was asked"


async def test_what_is_wrong_with_the_request_is_tried_nowhere_else(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b")
    async with open_ground(fakes) as ground, AsyncExitStack() as stack:
        with pytest.raises(InvalidInputError):
            await start(ground, stack, env={"A": 1})
        assert not ground.told("moved")


# ------------------------------------------------------------------------------------------------------- kernels that are lost


async def test_a_kernel_never_moves_and_its_loss_names_its_gateway(autojump_clock: MockClock) -> None:
    async with open_ground(settings=QUICK) as ground:
        with pytest.raises(ConnectionLostError) as caught:
            async with ground.fleet.start_kernel() as kernel:
                ground.network.fall("a")
                await kernel.execute("1")
        assert caught.value.gateway == "a"
        assert "gateway a" in caught.value.__notes__
        await trio.sleep(2)
        assert ground.status("a").state == "down", "it is asked because a connection broke"
        ground.network.rise("a")


@pytest.mark.parametrize(("end", "expected"), [("die", KernelDiedError), ("cull", KernelCulledError)])
async def test_a_kernel_s_end_names_its_gateway(autojump_clock: MockClock, end: str, expected: type[GatewayError]) -> None:
    async with open_ground() as ground:
        async with ground.fleet.start_kernel() as kernel:
            getattr(ground.fakes["a"].kernels[kernel.id], end)()
            with pytest.raises(expected) as caught:
                await kernel.execute("1")
            assert caught.value.gateway == "a"


async def test_one_gateway_by_its_name(autojump_clock: MockClock) -> None:
    async with open_ground() as ground:
        assert ground.fleet.gateway("b").url == "http://b.invalid"
        with pytest.raises(InvalidInputError, match="'a', 'b'"):
            ground.fleet.gateway("c")


async def test_notebooks_on_a_fleet(autojump_clock: MockClock) -> None:
    async with open_ground() as ground:
        run = await notebooks.run(ground.fleet, notebook_of("print(1)"), parameters={"x": 1})
        assert run.status == "ok"
        jobs = [notebooks.NotebookJob(notebook_of("import time; time.sleep(1)"), name=str(number)) for number in range(4)]
        most: dict[str, int] = {"a": 0, "b": 0}
        async with notebooks.run_many(ground.fleet, jobs, limit=4) as runs, trio.open_nursery() as nursery:

            async def watch() -> None:
                while True:
                    most.update({name: max(most[name], count) for name, count in ground.counts().items()})
                    await trio.sleep(0.1)

            nursery.start_soon(watch)
            assert [run.status async for run in runs] == ["ok"] * 4
            nursery.cancel_scope.cancel()
        assert most == {"a": 2, "b": 2}
        with pytest.raises(InvalidInputError, match="keep_kernel"):
            await notebooks.run(ground.fleet, notebook_of("1"), keep_kernel="on_error")


# -------------------------------------------------------------------------------------------------------------------- draining


async def test_draining_waits_for_what_runs_and_takes_no_starts(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, trio.open_nursery() as nursery:
        drained: list[bool] = []

        async def drain() -> None:
            drained.append(await ground.fleet.drain("a"))
            assert not ground.fakes["a"].kernels, "it waits for their end"

        async with trio.open_nursery() as first:
            assert await first.start(hold, ground) == "a"
            nursery.start_soon(drain)
            await trio.sleep(1)
            assert ground.status("a").state == "draining"
            assert [await nursery.start(hold, ground) for _ in range(3)] == ["b", "b", "b"]
            assert not drained
            first.cancel_scope.cancel()
        await trio.sleep(1)
        assert drained == [True]
        assert ground.status("a").state == "draining"
        ground.fleet.resume("a")
        assert ground.status("a").state == "up"
        assert await nursery.start(hold, ground) == "a"
        nursery.cancel_scope.cancel()


async def test_a_drain_that_is_cancelled_leaves_off_waiting_and_can_be_taken_back(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, trio.open_nursery() as nursery:
        assert await nursery.start(hold, ground) == "a"
        with trio.move_on_after(5) as scope:
            await ground.fleet.drain("a")
        assert scope.cancelled_caught
        assert await nursery.start(hold, ground) == "b"
        told: list[bool] = []

        async def drain() -> None:
            told.append(await ground.fleet.drain("a"))

        nursery.start_soon(drain)
        await wait_all_tasks_blocked()
        ground.fleet.resume("a")
        await wait_all_tasks_blocked()
        assert told == [False]
        with pytest.raises(InvalidInputError, match="gateway"):
            await ground.fleet.drain("c")
        with pytest.raises(InvalidInputError, match="gateway"):
            ground.fleet.resume("c")
        nursery.cancel_scope.cancel()


async def test_a_fleet_that_is_drained_says_so(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        for name in "ab":
            assert await ground.fleet.drain(name)
        with pytest.raises(NoGatewayError) as caught:
            await start(ground, stack)
        assert all("drained" in reason for reason in caught.value.reasons.values())


async def test_a_start_that_is_under_way_counts(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b", start_seconds=5.0)
    async with open_ground(fakes) as ground, trio.open_nursery() as nursery:
        nursery.start_soon(hold, ground)
        await trio.sleep(1)
        with trio.move_on_after(10) as scope:
            await ground.fleet.drain("a")
        assert scope.cancelled_caught, "its kernel came"
        nursery.cancel_scope.cancel()


# ------------------------------------------------------------------------------------------------------------------------ pools


async def test_a_pool_on_all_gateways(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=4, warm=4, init="x = 1") as pool:
        await pool.wait_ready()
        assert ground.counts() == {"a": 2, "b": 2}
        assert (await pool.run("x")).text == "1"
        run = await notebooks.run(pool, notebook_of("print(1)"), parameters={"x": 1})
        assert run.status == "ok"


async def test_a_pool_needs_a_kernelspec_that_there_is(autojump_clock: MockClock) -> None:
    async with open_ground(labels={"b": {"gpu"}}) as ground:
        with pytest.raises(KernelSpecNotFoundError):
            async with ground.fleet.open_pool("ir", size=1):
                pytest.fail("there is none")
        with pytest.raises(InvalidInputError, match="require"):
            async with ground.fleet.open_pool(size=1, require={"tpu"}):
                pytest.fail("nobody has it")
        async with ground.fleet.open_pool("python3", size=2, warm=2, require={"gpu"}) as pool:
            await pool.wait_ready()
            assert ground.counts() == {"a": 0, "b": 2}


async def test_a_pool_goes_on_where_a_gateway_falls(autojump_clock: MockClock) -> None:
    """Each lease ends in a result or a typed error, and later ones are served by the other."""
    async with open_ground(settings=QUICK) as ground, ground.fleet.open_pool("python3", size=4, warm=4, reuse="as-is") as pool:
        await pool.wait_ready()
        await trio.sleep(2)  # a kernel that was heard of in the last second is handed out unasked
        ground.network.fall("a")
        outcomes = [result.ok async for _, result in pool.map(["1"] * 20)]
        assert outcomes == [True] * 20, "what was ready there is replaced before anybody has it"
        await pool.wait_ready()
        assert ground.counts() == {"a": 0, "b": 4}
        ground.network.rise("a")


async def test_warm_kernels_of_a_gateway_that_fell_hold_up_no_lease(autojump_clock: MockClock) -> None:
    """Before the fleet knows, those that have a connection come first; once it knows, the others are dropped."""
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=6, warm=4, reuse="as-is") as pool:
        await pool.wait_ready()
        await trio.sleep(30)
        ground.network.fall("a")
        await wait_all_tasks_blocked()
        assert ground.status("a").state == "up", "nobody was asked yet"
        began = trio.current_time()
        for _ in range(6):
            async with pool.kernel() as kernel:
                assert kernel.id in ground.fakes["b"].kernels
        assert trio.current_time() == began
        await trio.sleep(2)
        assert ground.status("a").state == "down"
        assert pool.statistics().lost == 2, "they are dropped without having been asked for"
        await trio.sleep(30)
        assert ground.counts() == {"a": 0, "b": 4}


async def test_a_lease_gets_whichever_is_ready_first_where_all_are_in_doubt(autojump_clock: MockClock) -> None:
    """One that has lost its connection is looked at, and another one started meanwhile."""
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=8, warm=2, reuse="as-is") as pool:
        await pool.wait_ready()
        assert ground.counts() == {"a": 1, "b": 1}
        await trio.sleep(30)
        async with pool.kernel() as first, AsyncExitStack() as stack:
            other = "b" if first.id in ground.fakes["a"].kernels else "a"
            await pool.wait_ready()
            ground.network.fall(other)
            await wait_all_tasks_blocked()
            began = trio.current_time()
            leased = [await stack.enter_async_context(pool.kernel()) for _ in range(2)]
            assert trio.current_time() - began < 1
            assert all(kernel.id not in ground.fakes[other].kernels for kernel in leased)
        ground.network.rise(other)


async def test_one_that_says_nothing_any_more_holds_up_one_lease(autojump_clock: MockClock) -> None:
    """Nobody knows until a kernel there was asked. From then on its other kernels come last."""
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=6, warm=6, reuse="as-is") as pool:
        await pool.wait_ready()
        await trio.sleep(30)
        hole = ground.fakes["a"].faults.black_hole()
        ground.fakes["a"].swallow_connections()
        waits: list[float] = []
        for _ in range(12):
            began = trio.current_time()
            async with pool.kernel() as kernel:
                waits.append(trio.current_time() - began)
                assert kernel.id in ground.fakes["b"].kernels
        assert sum(wait > 0.5 for wait in waits) <= 1, waits
        await trio.sleep(200)
        assert ground.status("a").state == "down"
        assert pool.statistics().lost == 3
        assert ground.counts() == {"a": 3, "b": 6}, "what nobody could shut down is there"
        hole.remove()
        await trio.sleep(60)
        assert ground.status("a").state == "up"
        assert ground.counts() == {"a": 0, "b": 6}, "and is shut down when its gateway is back (G2)"


async def test_a_question_to_a_kernel_is_given_up_when_its_gateway_proves_to_be_away(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b")
    async with open_ground(fakes) as ground, ground.fleet.open_pool("python3", size=1, warm=1, require=()) as pool:
        await pool.wait_ready()
        (place,) = [name for name, fake in fakes.items() if fake.kernels]
        await trio.sleep(30)
        fakes[place].swallow_connections()
        began = trio.current_time()

        async def fall() -> None:
            await trio.sleep(0.5)
            ground.network.fall(place)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(fall)
            async with pool.kernel() as kernel:
                assert kernel.id not in fakes[place].kernels
                assert trio.current_time() - began < 4, "it was asked, and would have had five seconds"
        ground.network.rise(place)


async def test_kernels_that_outlive_their_gateway_s_absence_are_shut_down_when_it_is_back(autojump_clock: MockClock) -> None:
    """G2: also where only the network was away, and the pool has gone on elsewhere."""
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=4, warm=4, reuse="as-is") as pool:
        await pool.wait_ready()
        ground.network.fall("a", kernels=False)
        await trio.sleep(100)
        assert ground.counts() == {"a": 2, "b": 4}
        ground.network.rise("a")
        await trio.sleep(60)
        assert ground.counts() == {"a": 0, "b": 4}
        assert (await pool.run("6 * 7")).text == "42"


async def test_a_kernel_that_is_just_made_ready_does_not_wait_for_its_gateway_either(autojump_clock: MockClock) -> None:
    init = "import time; time.sleep(20)"
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=2, warm=2, init=init) as pool:
        await trio.sleep(5)
        assert ground.counts() == {"a": 1, "b": 1}
        ground.network.fall("a")
        await trio.sleep(20)
        assert ground.status("a").state == "down"
        await trio.sleep(10)
        assert ground.counts() == {"a": 0, "b": 2}, "another was begun at once"
        await pool.wait_ready()
        assert trio.current_time() < 60


async def lose_a(ground: Ground, how: str) -> None:
    if how == "falls":
        ground.network.fall("a")
    else:
        await ground.fleet.drain("a")


async def regain_a(ground: Ground, how: str) -> None:
    if how == "is drained":
        ground.fleet.resume("a")
        return
    ground.network.rise("a")
    while ground.status("a").state != "up":  # noqa: ASYNC110 - in virtual time
        await trio.sleep(0.1)


@pytest.mark.parametrize("how", ["falls", "is drained"])
async def test_a_pool_starts_kernels_as_soon_as_there_is_a_gateway_again(autojump_clock: MockClock, how: str) -> None:
    """It does not wait for the end of the pause that grew while there was none."""
    async with open_ground(make_fakes("a")) as ground, ground.fleet.open_pool(size=2, warm=1, init="x = 1") as pool:
        for number in range(8):
            await pool.wait_ready()
            await lose_a(ground, how)
            await trio.sleep(300 + 7 * number)  # so that it is somewhere in its pause
            with pytest.raises(NoGatewayError):
                await pool.run("x")
            await regain_a(ground, how)
            began = trio.current_time()
            assert (await pool.run("x")).text == "1"
            assert trio.current_time() - began < 1


async def test_starts_that_fail_on_a_gateway_that_comes_and_goes_back_off(autojump_clock: MockClock) -> None:
    """That it answers again is no news of its starts: they are not tried each time."""
    fakes = make_fakes("a")
    async with open_ground(fakes) as ground, ground.fleet.open_pool(size=1, warm=1) as pool:
        await pool.wait_ready()
        fakes["a"].faults.lose_answer("POST /api/kernels$")
        for kernel in tuple(fakes["a"].kernels.values()):
            fakes["a"].remove_kernel(kernel)
        await trio.sleep(1000)
        assert len(ground.told("up")) > 5
        assert pool.statistics().starts_failed < 80
        fakes["a"].faults.clear()
        await trio.sleep(100)


@pytest.mark.parametrize("how", ["falls", "is drained"])
async def test_a_start_that_waits_for_one_gateway_takes_another_that_can_be_used_meanwhile(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    """All kernels of the pool may be starting then, so that no other start can take it."""
    reach = FakeFleet.connector
    asked_at = 0.0

    async def connect(self: FakeFleet, host: str, port: int) -> trio.abc.Stream:
        nonlocal asked_at
        if host.startswith("b"):
            asked_at = trio.current_time()
            await trio.sleep_forever()
        return await reach(self, host, port)

    monkeypatch.setattr(FakeFleet, "connector", connect)
    async with open_ground() as ground, ground.fleet.open_pool(size=4, warm=4) as pool:
        for number in range(8):
            await pool.wait_ready()
            await lose_a(ground, how)
            await trio.sleep(300 + 11 * number)
            while pool.statistics().starting < 4 or asked_at < trio.current_time() - 5:  # noqa: ASYNC110 - in virtual time
                await trio.sleep(0.1)
            failed = pool.statistics().starts_failed
            await regain_a(ground, how)
            began = trio.current_time()
            assert (await pool.run("1")).text == "1"
            assert trio.current_time() - began < 3
            assert pool.statistics().starts_failed <= failed + 4


@pytest.mark.parametrize("fits", [False, True])
async def test_starts_that_are_refused_are_not_tried_each_time_that_another_gateway_comes(
    autojump_clock: MockClock, fits: bool
) -> None:
    """One without the labels can't start them; and where one with them was tried, that it is there is no news of its starts."""
    fakes = make_fakes("a", "b")
    labels = {"a": {"x"}, "b": {"x"} if fits else {"y"}}
    async with open_ground(fakes, labels=labels) as ground, ground.fleet.open_pool(size=1, warm=1, require=["x"]) as pool:
        await pool.wait_ready()
        for fake in fakes.values():
            fake.faults.answer("POST /api/kernels$", 429)
            for kernel in tuple(fake.kernels.values()):
                fake.remove_kernel(kernel)
        while trio.current_time() < 1000:
            ground.network.fall("b")
            await look_at(member for member in ground.fleet._members if member.name == "b")
            await trio.sleep(1)
            ground.network.rise("b")
            await look_at(member for member in ground.fleet._members if member.name == "b")
            await trio.sleep(2)
        assert len(ground.told("up")) > 300
        assert pool.statistics().starts_failed < 80
        for fake in fakes.values():
            fake.faults.clear()
        await trio.sleep(100)
        assert pool.statistics().ready == 1


async def test_a_connection_that_is_cut_costs_no_kernel(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=4, warm=4, reuse="as-is") as pool:
        await pool.wait_ready()
        for _ in range(3):
            for fake in ground.fakes.values():
                fake.cut_connections()
            assert [result.ok async for _, result in pool.map(["1"] * 8)] == [True] * 8
            await trio.sleep(5)
        assert pool.statistics().lost == 0
        assert [status.state for status in ground.fleet.gateways] == ["up", "up"]


async def test_a_pool_s_kernels_leave_a_gateway_that_is_drained(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, ground.fleet.open_pool("python3", size=4, warm=3, reuse="as-is") as pool:
        await pool.wait_ready()
        before = ground.counts()["a"]
        assert before in (1, 2)
        async with trio.open_nursery() as nursery:
            async with AsyncExitStack() as stack:
                leased = [await stack.enter_async_context(pool.kernel()) for _ in range(3)]
                assert sum(kernel.id in ground.fakes["a"].kernels for kernel in leased) == before
                nursery.start_soon(ground.fleet.drain, "a")
                await trio.sleep(30)
                assert ground.counts()["a"] >= before, "those that are leased stay"
        await pool.wait_ready()
        assert ground.counts()["a"] == 0
        assert ground.counts()["b"] >= 3
