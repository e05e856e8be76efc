"""The kernels and kernelspecs of all gateways of a fleet, and on which of them a kernel is."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
from trio.testing import MockClock

from trio_gateway import GatewayConnectionError, KernelNotFoundError, KernelSpecNotFoundError, NoGatewayError
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
