"""What the systems of `jupyter_server.gateway` do for their users, on a real Kernel Gateway: kernelspecs, kernels, events.

A second gateway forbids listing its kernels, as gateways do by default.
"""

from __future__ import annotations

import json
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from io import StringIO
from typing import TYPE_CHECKING, Any

import pytest
import trio
from jupyter_events import EventLogger

import trio_gateway
from tools.gateway_tools import Wire, rest
from trio_gateway import (
    AuthenticationError,
    CullPolicy,
    GatewayEvent,
    KernelError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    events,
)

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway


class Told:
    """The events of a gateway object, as they come."""

    def __init__(self) -> None:
        self.send, self._receive = trio.open_memory_channel[GatewayEvent](10_000)

    async def wait_for(self, action: str) -> GatewayEvent:
        """Wait for the next event of this action."""
        while True:
            event = await self._receive.receive()
            if event.kind == "kernel" and event.action == action:
                return event

    def actions(self) -> list[tuple[str, str]]:
        """Take the kernel events that have come by now."""
        taken = []
        while True:
            try:
                event = self._receive.receive_nowait()
            except (trio.WouldBlock, trio.EndOfChannel):
                return taken
            if event.kind == "kernel":
                taken.append((event.action, event.status))


@asynccontextmanager
async def opened(real: RunningGateway, **arguments: Any) -> AsyncGenerator[tuple[trio_gateway.Gateway, Told]]:
    told = Told()
    async with trio_gateway.open_gateway(real.url, auth_token=real.token, on_event=told.send, **arguments) as gateway:
        yield gateway, told


# -------------------------------------------------------------------------------------------- GatewayKernelSpecManager


async def test_gateway_kernel_spec_manager(real_gateway: RunningGateway) -> None:
    """System: `GatewayKernelSpecManager`: list, one, a resource, the default name, resource paths of this side."""
    async with opened(real_gateway) as (gateway, _told):
        specs = await gateway.kernelspecs.list()
        spec = specs.kernelspecs["python3"]
        assert specs.default == await gateway.kernelspecs.default_name() == "python3"
        assert (spec.language, spec.interrupt_mode) == ("python", "signal")
        assert (await gateway.kernelspecs.get("python3")).argv == spec.argv
        with pytest.raises(KernelSpecNotFoundError):
            await gateway.kernelspecs.get("missing")
        for listed in spec.resources.values():
            found = await gateway.kernelspecs.resource("python3", listed)
            assert len(found.content) > 100
            assert found.media_type == ("image/svg+xml" if listed.endswith("svg") else "image/png")


# ------------------------------------------------------------------------------------------------ GatewayKernelManager


async def test_gateway_kernel_manager(real_gateway: RunningGateway, wire: Wire) -> None:
    """System: `GatewayKernelManager`: start or attach, its model, alive or not, interrupt, restart, shut down; all told."""
    async with opened(real_gateway) as (gateway, told):
        async with gateway.start_kernel("python3") as kernel:
            model = await gateway.kernels.get(kernel.id)
            assert (model.name, model.connections) == ("python3", 1)
            async with gateway.attach_kernel(kernel.id) as again:
                assert (await gateway.kernels.get(kernel.id)).connections == 2
                assert again.session_id != kernel.session_id
                await kernel.execute(f"x = 1\n{wire.code}")
                async with trio.open_nursery() as nursery:
                    results: list[trio_gateway.ExecutionResult] = []

                    async def run() -> None:
                        results.append(await kernel.execute("wire('runs')"))

                    nursery.start_soon(run)
                    call = await wire.hears("runs")
                    await gateway.kernels.interrupt(kernel.id)
                    await call.hung_up()
                assert results[0].error is not None
                assert results[0].error.ename == "KeyboardInterrupt"
                await again.restart()
                assert (await again.execute("'x' in dir()")).text == "False"
            assert kernel.hb.is_beating()
            await kernel.shutdown()
            with pytest.raises(KernelNotFoundError):
                await gateway.kernels.get(kernel.id)
        assert told.actions() == [
            ("start", "success"),
            ("interrupt", "success"),
            ("restart", "success"),
            ("shutdown", "success"),  # the user's
            ("shutdown", "success"),  # the block's: it was gone already, and that is fine
        ]


@pytest.mark.full
async def test_a_kernel_that_someone_else_shut_down_is_told_of_once(real_gateway: RunningGateway) -> None:
    async with opened(real_gateway) as (gateway, told), gateway.start_kernel("python3") as kernel:
        async with gateway.attach_kernel(kernel.id):
            rest(real_gateway, "DELETE", f"/api/kernels/{kernel.id}")
            event = await told.wait_for("gone")
            assert (event.kernel_id, event.kernel_name, event.status) == (kernel.id, "python3", "error")
            assert kernel.id in event.message
        with pytest.raises(KernelError):
            await kernel.execute("1")
        assert "gone" not in dict(told.actions())


# ---------------------------------------------------------------------------------------- GatewayMappingKernelManager


async def test_gateway_mapping_kernel_manager(real_gateway: RunningGateway) -> None:
    """System: `GatewayMappingKernelManager`: start, list, model, interrupt, restart, shut down one and all."""
    async with opened(real_gateway) as (gateway, told):
        one, two = await gateway.kernels.start("python3"), await gateway.kernels.start()
        assert {model.id for model in await gateway.kernels.list()} == {one.id, two.id}
        assert (await gateway.kernels.get(two.id)).name == "python3"
        await gateway.kernels.interrupt(one.id)
        assert (await gateway.kernels.restart(one.id)).id == one.id
        await gateway.kernels.shutdown(one.id)
        await gateway.kernels.shutdown(one.id)
        for act in (gateway.kernels.get, gateway.kernels.interrupt, gateway.kernels.restart):
            with pytest.raises(KernelNotFoundError):  # also a restart, to which Kernel Gateway answers 500
                await act(one.id)
        three = await gateway.kernels.start()
        await gateway.kernels.shutdown_all()
        assert await gateway.kernels.list() == []
        for model in (two, three):
            with pytest.raises(KernelNotFoundError):
                await gateway.kernels.get(model.id)
    assert real_gateway.kernel_processes() == []
    assert [action for action, _ in told.actions()].count("start") == 3


@pytest.mark.full
async def test_a_gateway_that_forbids_listing(forbidding_gateway: RunningGateway) -> None:
    async with opened(forbidding_gateway) as (gateway, _told), opened(forbidding_gateway) as (other, _):
        theirs = await other.kernels.start()
        assert await gateway.kernels.list() == []
        with pytest.raises(AuthenticationError):
            await gateway.kernels.list(complete=True)
        mine = await gateway.kernels.start()
        async with gateway.attach_kernel(theirs.id):
            assert {model.id for model in await gateway.kernels.list()} == {mine.id, theirs.id}
        rest(forbidding_gateway, "DELETE", f"/api/kernels/{theirs.id}")
        assert [model.id for model in await gateway.kernels.list()] == [mine.id]
        session = await gateway.sessions.create("a.ipynb", kernel_id=mine.id)
        assert [found.id for found in await gateway.sessions.list()] == [session.id]
        await other.kernels.shutdown_all()
        assert await gateway.kernels.get(mine.id)
        await gateway.kernels.shutdown_all()
        assert await gateway.kernels.list() == []
        assert await gateway.sessions.list() == []
    assert forbidding_gateway.kernel_processes() == []


@pytest.mark.full
async def test_idle_kernels_are_culled_while_the_block_lasts(forbidding_gateway: RunningGateway) -> None:
    """System: `GatewayMappingKernelManager` culls idle kernels."""
    policy = CullPolicy(idle_timeout=0.5, interval=0.2)
    async with opened(forbidding_gateway) as (other, _), opened(forbidding_gateway, cull=policy) as (gateway, told):
        theirs = await other.kernels.start()
        mine = await gateway.kernels.start()
        event = await told.wait_for("cull")
        assert (event.kernel_id, event.kernel_name, event.status) == (mine.id, "python3", "success")
        assert "idle for" in event.message
        assert await gateway.kernels.list() == []
        assert (await other.kernels.get(theirs.id)).id == theirs.id, "nobody else's"
        await other.kernels.shutdown_all()


@pytest.mark.full
async def test_a_kernel_is_never_culled_while_an_execution_of_ours_runs(real_gateway: RunningGateway, wire: Wire) -> None:
    armed = False
    everything = CullPolicy(
        idle_timeout=0.001, interval=0.2, cull_busy=True, cull_connected=True, all_listed=True, only=lambda model: armed
    )
    async with opened(real_gateway, cull=everything) as (gateway, told), gateway.start_kernel("python3") as kernel:
        await kernel.execute(wire.code)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, "wire('runs')")
            call = await wire.hears("runs")
            bystander = await gateway.kernels.start()  # idle for a shorter time
            armed = True
            assert (await told.wait_for("cull")).kernel_id == bystander.id
            assert (await gateway.kernels.get(kernel.id)).execution_state == "busy"
            await call.answer()
        assert (await told.wait_for("cull")).kernel_id == kernel.id
        with pytest.raises(KernelError):
            await kernel.execute("1")


@pytest.mark.full
async def test_our_own_connection_does_not_keep_a_kernel_from_being_culled(real_gateway: RunningGateway) -> None:
    armed = False  # by then a busy machine may not have connected to it
    policy = CullPolicy(idle_timeout=0.5, interval=0.2, only=lambda model: armed)
    async with opened(real_gateway, cull=policy) as (gateway, told):
        async with gateway.start_kernel("python3") as kernel:
            armed = True
            event = await told.wait_for("cull")
            assert event.kernel_id == kernel.id
            with pytest.raises(KernelError):
                await kernel.execute("1")
        assert "gone" not in dict(told.actions()), "it was us"


@pytest.mark.full
async def test_another_connection_keeps_a_kernel_from_being_culled(real_gateway: RunningGateway) -> None:
    policy = CullPolicy(idle_timeout=0.5, interval=0.2)
    async with opened(real_gateway) as (other, _), other.start_kernel() as theirs:
        async with opened(real_gateway, cull=policy) as (gateway, told), gateway.attach_kernel(theirs.id):
            mine = await gateway.kernels.start()  # idle for a shorter time
            assert (await told.wait_for("cull")).kernel_id == mine.id
            assert (await gateway.kernels.get(theirs.id)).connections == 2
            assert told.actions() == []


# ------------------------------------------------------------------------------------------------- emit, event schema


async def test_emit_and_the_event_schema(real_gateway: RunningGateway) -> None:
    """System: `emit`, event schema `gateway_client/v1`: status, status code, message, gateway URL of each request."""
    text = StringIO()
    logger = EventLogger(handlers=[logging.StreamHandler(text)])
    async with trio_gateway.open_gateway(
        real_gateway.url, auth_token=real_gateway.token, on_event=events.to_jupyter_events(logger)
    ) as gateway:
        model = await gateway.kernels.start("python3")
        await gateway.kernels.shutdown(model.id)
        with pytest.raises(KernelNotFoundError):
            await gateway.kernels.get(model.id)
    written = [json.loads(line) for line in text.getvalue().splitlines()]
    assert [(event["status"], event["status_code"]) for event in written] == [
        ("success", 200),
        ("success", 201),
        ("success", 204),
        ("error", 404),
    ]
    assert {event["gateway_url"] for event in written} == {real_gateway.url}
    assert real_gateway.token not in text.getvalue()
