"""The kernels and kernelspecs of all gateways of a fleet, and on which of them a kernel is."""

from __future__ import annotations

from contextlib import AsyncExitStack
from typing import Any

import pytest
import trio
from trio.testing import MockClock

from trio_gateway import (
    AuthenticationError,
    CullPolicy,
    GatewayConnectionError,
    GatewayHTTPError,
    InvalidInputError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    NoGatewayError,
)
from trio_gateway.testing import FakeGateway, FakeKernelSpec

from .fleet_kit import make_fakes, open_ground, start


async def test_attaching_to_a_kernel_wherever_it_runs(autojump_clock: MockClock) -> None:
    async with open_ground(left=True) as ground:
        foreign = await ground.fakes["b"].start_kernel("python3")
        async with ground.fleet.attach_kernel(foreign.id) as kernel:
            assert (await kernel.execute("1")).text == "1"
            assert ground.status("b").kernels == 1
        assert foreign.id in ground.fakes["b"].kernels, "it is somebody else's"
        with pytest.raises(KernelNotFoundError):
            async with ground.fleet.attach_kernel("nowhere"):
                pytest.fail("there is none")
        ground.network.fall("b", kernels=False)
        with pytest.raises(NoGatewayError) as caught:
            async with ground.fleet.attach_kernel(foreign.id):
                pytest.fail("nobody can reach it")
        assert set(caught.value.reasons) == {"b"}


async def test_the_kernels_of_all_with_their_gateways(autojump_clock: MockClock) -> None:
    async with open_ground(left=True) as ground, AsyncExitStack() as stack:
        foreign = await ground.fakes["b"].start_kernel("python3")
        assert await start(ground, stack) == "a"
        listed = await ground.fleet.kernels.list()
        assert [(model.gateway, model.name) for model in listed] == [("a", "python3"), ("b", "python3")]
        assert listed[1].id == foreign.id
        assert (await ground.fleet.kernels.get(foreign.id)).gateway == "b"
        await ground.fleet.kernels.interrupt(foreign.id)
        assert (await ground.fleet.kernels.restart(foreign.id)).gateway == "b"
        await ground.fleet.kernels.shutdown(foreign.id)
        await ground.fleet.kernels.shutdown(foreign.id)
        assert foreign.id not in ground.fakes["b"].kernels
        ground.network.fall("a", kernels=False)
        (model,) = await ground.fleet.kernels.list()
        assert (model.gateway, model.execution_state) == ("a", "unknown")
        with pytest.raises(GatewayConnectionError) as caught:
            await ground.fleet.kernels.list(complete=True)
        assert caught.value.gateway == "a"
        ground.network.fall("b", kernels=False)
        with pytest.raises(NoGatewayError):
            await ground.fleet.kernels.list()
        for name in "ab":
            ground.network.rise(name)


async def test_the_kernelspecs_of_all(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a") | {"b": FakeGateway(url="http://b.invalid", kernelspecs=[FakeKernelSpec(name="ir")])}
    async with open_ground(fakes) as ground:
        specs = ground.fleet.kernelspecs
        assert set((await specs.list()).kernelspecs) == {"python3", "ir"}
        assert (await specs.get("IR")).name == "ir"
        assert await specs.default_name() == "python3"
        with pytest.raises(KernelSpecNotFoundError, match="ir, python3"):
            await specs.get("julia")
        assert await specs.check("PYTHON3") == await specs.check("python") == "python3"
        with pytest.raises(KernelSpecNotFoundError, match="ir, python3"):
            await specs.check("julia")


async def test_a_name_that_nobody_may_tell_of(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b")
    fakes["b"].faults.answer("GET /api/kernelspecs$", status=404, body={"message": "none", "reason": None})
    async with open_ground(fakes) as ground:
        assert await ground.fleet.kernelspecs.check("julia") == "julia", "the start will tell"
        assert await ground.fleet.kernelspecs.check("PYTHON3") == "python3"


async def test_a_file_comes_from_the_gateway_whose_kernelspec_is_listed(autojump_clock: MockClock) -> None:
    files = {name: {"logo-64x64.png": name.encode()} for name in "abc"}
    fakes = {
        "a": FakeGateway(),
        "b": FakeGateway(kernelspecs=[FakeKernelSpec(name="ir", resources=files["b"])]),
        "c": FakeGateway(kernelspecs=[FakeKernelSpec(name="ir", resources=files["c"])]),
    }
    async with open_ground(fakes) as ground:
        specs = ground.fleet.kernelspecs
        assert (await specs.resource("IR", "logo-64x64.png")).content == b"b"
        with pytest.raises(GatewayHTTPError) as caught:
            await specs.resource("ir", "other.png")
        assert (caught.value.status_code, caught.value.gateway) == (404, "b")
        with pytest.raises(KernelSpecNotFoundError):
            await specs.resource("julia", "logo-64x64.png")
        with pytest.raises(InvalidInputError, match="secret"):
            await specs.resource("ir", "../secret")


async def test_a_kernel_that_nothing_owns(autojump_clock: MockClock) -> None:
    """It is placed as any other is, and on the next gateway where the first has started nothing; a drain does not wait for it."""
    async with open_ground(labels={"b": {"gpu"}}) as ground:
        kernels = ground.fleet.kernels
        made = [await kernels.start("python3") for _ in range(2)]
        assert [model.gateway for model in made] == ["a", "b"]
        assert [status.kernels for status in ground.fleet.gateways] == [1, 1]
        made.append(await kernels.start(require={"gpu"}))
        ground.fakes["a"].faults.answer("POST /api/kernels$", status=403, times=1)
        made.append(await kernels.start())
        assert [model.gateway for model in made[2:]] == ["b", "b"]
        assert len(ground.told("moved")) == 1
        assert await ground.fleet.drain("b")
        assert ground.counts() == {"a": 1, "b": 3}
        ground.fleet.resume("b")
        with pytest.raises(InvalidInputError, match="require"):
            await kernels.start(require={"tpu"})
        with pytest.raises(KernelSpecNotFoundError):
            await kernels.start("julia")
        await kernels.shutdown_all()


async def test_a_start_of_one_that_is_cancelled_leaves_none(autojump_clock: MockClock) -> None:
    """G2"""
    fakes = make_fakes("a", "b", start_seconds=5.0)
    async with open_ground(fakes) as ground:
        with trio.move_on_after(2) as scope:
            await ground.fleet.kernels.start()
        assert scope.cancelled_caught
        assert ground.counts() == {"a": 0, "b": 0}
        assert [status.kernels for status in ground.fleet.gateways] == [0, 0]
        assert await ground.fleet.drain("a"), "no place is left taken"


async def test_shutting_all_down(autojump_clock: MockClock) -> None:
    async with open_ground() as ground:
        for name in "aabb":
            await ground.fakes[name].start_kernel("python3")  # somebody else's
        await ground.fleet.kernels.start()
        await ground.fleet.kernels.shutdown_all()
        assert ground.counts() == {"a": 0, "b": 0}
        await ground.fleet.kernels.shutdown_all()


async def test_shutting_down_what_can_be(autojump_clock: MockClock) -> None:
    async with open_ground() as ground:
        for name in "aabb":
            await ground.fakes[name].start_kernel("python3")
        ground.network.fall("a", kernels=False)
        ground.fakes["b"].faults.answer("DELETE /api/kernels/.*", status=403, times=1)
        told = "failed 2 times on 2 gateways"
        with pytest.RaisesGroup(GatewayConnectionError, AuthenticationError, match=told) as caught:
            await ground.fleet.kernels.shutdown_all()
        assert {(type(error), getattr(error, "gateway", "")) for error in caught.value.exceptions} == {
            (GatewayConnectionError, "a"),
            (AuthenticationError, "b"),
        }
        assert ground.counts() == {"a": 2, "b": 1}
        ground.network.rise("a")
        await ground.fleet.kernels.shutdown_all()
        assert ground.counts() == {"a": 0, "b": 0}


async def test_culling_on_all(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        policy = CullPolicy(idle_timeout=100, all_listed=True)
        foreign = await ground.fakes["b"].start_kernel("python3")
        assert await ground.fleet.kernels.cull(policy) == []
        await trio.sleep(200)
        (culled,) = await ground.fleet.kernels.cull(policy)
        assert (culled.id, culled.gateway) == (foreign.id, "b")
        await start(ground, stack)
        ground.network.fall("b", kernels=False)
        with pytest.RaisesGroup(GatewayConnectionError) as caught:
            await ground.fleet.kernels.cull(policy)
        assert [getattr(error, "gateway", None) for error in caught.value.exceptions] == ["b"]
        with pytest.raises(InvalidInputError, match="policy"):
            await ground.fleet.kernels.cull("all")  # type: ignore[arg-type]
        ground.network.rise("b")


async def test_culling_as_long_as_the_fleet_is_open(autojump_clock: MockClock) -> None:
    policy = CullPolicy(idle_timeout=100, interval=50, all_listed=True)
    async with open_ground(cull=policy) as ground:
        for fake in ground.fakes.values():
            await fake.start_kernel("python3")
        await trio.sleep(90)
        assert ground.counts() == {"a": 1, "b": 1}
        await trio.sleep(90)
        assert ground.counts() == {"a": 0, "b": 0}


async def test_channels_wherever_the_kernel_runs(autojump_clock: MockClock) -> None:
    async with open_ground(left=True) as ground:
        foreign = await ground.fakes["b"].start_kernel("python3")
        async with ground.fleet.open_channels(foreign.id) as channels:
            await channels.wait_opened()
            assert ground.status("b").kernels == 1
            with trio.move_on_after(1) as scope:
                await ground.fleet.drain("b")
            assert scope.cancelled_caught, "it waits for those that use a kernel there"
        with pytest.raises(KernelNotFoundError):
            async with ground.fleet.open_channels("nowhere"):
                pytest.fail("there is none")


@pytest.mark.parametrize("wrong", ["", "a\n", None, 5])
async def test_what_is_no_id_or_name_is_said_before_anything_is_sent(autojump_clock: MockClock, wrong: Any) -> None:
    """G10"""
    async with open_ground() as ground:
        fleet = ground.fleet
        sent = len([event for event in ground.events if event.kind == "request"])
        for act in (fleet.kernels.get, fleet.kernels.interrupt, fleet.kernels.restart, fleet.kernels.shutdown):
            with pytest.raises(InvalidInputError, match="kernel_id"):
                await act(wrong)
        for act in (fleet.kernelspecs.get, fleet.kernelspecs.check):
            with pytest.raises(InvalidInputError, match="name"):
                await act(wrong)
        for block in (fleet.attach_kernel, fleet.open_channels):
            with pytest.raises(InvalidInputError, match="kernel_id"):
                async with block(wrong):
                    pytest.fail("there is none")
        with pytest.raises(InvalidInputError, match="session_id"):
            async with fleet.open_channels("one", session_id=""):
                pytest.fail("there is none")
        assert len([event for event in ground.events if event.kind == "request"]) == sent
