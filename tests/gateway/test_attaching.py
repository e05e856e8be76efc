"""A session with a kernel that is there: what its block opens, and that the kernel is left."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager

import attrs
import pytest
import trio
from trio.testing import MockClock

from trio_gateway import ConnectionState, GatewayConfig, GatewayEvent, Kernel, KernelCulledError, KernelNotFoundError
from trio_gateway._api import KernelApi, open_kernel_api
from trio_gateway._gateway.attaching import open_kernel
from trio_gateway._gateway.known_kernels import KnownKernels
from trio_gateway._gateway.starting import new_kernel_id
from trio_gateway._kernel.poller import KernelWatch
from trio_gateway.testing import FakeGateway


async def by_signal() -> str:
    await trio.lowlevel.checkpoint()
    return "signal"


@attrs.frozen
class Scene:
    """A fake gateway with a kernel, and what a session is opened with."""

    fake: FakeGateway
    api: KernelApi
    known: KnownKernels
    events: list[GatewayEvent]
    kernel_id: str
    watch: KernelWatch

    def open(self, kernel_id: str | None = None) -> AbstractAsyncContextManager[Kernel]:
        return open_kernel(self.api, self.watch, self.known, kernel_id or self.kernel_id, "python3", interrupt_mode=by_signal)


@asynccontextmanager
async def open_scene() -> AsyncGenerator[Scene]:
    events: list[GatewayEvent] = []
    known = KnownKernels()
    async with FakeGateway() as fake:
        config = GatewayConfig(url=fake.url, auth_token=fake.token)
        async with open_kernel_api(config, connector=fake.connector, emit=events.append, notes=known) as api:
            model = await api.start(kernel_id=new_kernel_id(), name="python3", env={}, path=None, timeout=10)
            yield Scene(fake, api, known, events, model.id, KernelWatch(api, config.ping_interval))


async def test_the_block_owns_the_session_and_leaves_the_kernel(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        async with scene.open() as kernel:
            assert (kernel.id, kernel.name) == (scene.kernel_id, "python3")
            assert kernel.connection_state is ConnectionState.CONNECTED
            assert scene.known.connections(kernel.id) == 1
            assert (await kernel.execute("6 * 7")).text == "42"
        assert scene.known.connections(scene.kernel_id) == 0
        assert scene.kernel_id in scene.fake.kernels
        assert scene.kernel_id in scene.known


async def test_each_session_has_an_id_of_its_own(autojump_clock: MockClock) -> None:
    async with open_scene() as scene, scene.open() as one, scene.open() as two:
        assert one.session_id != two.session_id
        assert scene.known.connections(scene.kernel_id) == 2


async def test_a_kernel_that_the_gateway_does_not_know(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        with pytest.raises(KernelNotFoundError):
            async with scene.open(new_kernel_id()):
                pytest.fail("there is none")
        assert [event for event in scene.events if event.action in ("died", "gone")] == [], "it was never known"


async def test_a_kernel_that_goes_is_told_once_and_known_no_more(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        with pytest.raises((KernelCulledError, KernelNotFoundError)):
            async with scene.open() as kernel, scene.open():
                scene.fake.kernels[kernel.id].cull()
                await kernel.execute("1")
        told = [event for event in scene.events if event.action in ("died", "gone")]
        assert [(event.kernel_id, event.kernel_name, event.status) for event in told] == [(scene.kernel_id, "python3", "error")]
        assert scene.kernel_id not in scene.known


async def test_who_shuts_a_kernel_down_is_told_nothing_of_its_end(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        async with scene.open() as kernel:
            await kernel.shutdown()
        assert [event.action for event in scene.events if event.kind == "kernel"] == ["start", "shutdown"]
