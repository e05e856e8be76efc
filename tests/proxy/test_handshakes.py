"""A front end that goes, or comes again, within the proxy's handshake with the gateway: Lab behind a Jupyter Server does."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

import attrs
import trio
import trio.testing
import trio_websocket

import trio_gateway
from trio_gateway.testing import FakeGateway, FakeKernel

from .front import PATIENCE, open_front
from .proxy_kit import FAKE, FAKE_TOKEN, Served, serve_gateway


@attrs.frozen
class Stage:
    """A proxy of a fake gateway that listens, and a kernel."""

    proxy: Served
    fake: FakeGateway
    kernel: FakeKernel

    async def handshakes(self, count: int) -> None:
        """Wait until there were so many with the gateway."""
        with trio.fail_after(PATIENCE):
            while sum(request.is_upgrade for request in self.fake.requests) < count:
                await trio.testing.wait_all_tasks_blocked(0.01)

    async def connections(self, count: int) -> None:
        """Wait until the gateway counts so many."""
        with trio.fail_after(PATIENCE):
            while self.kernel.connections != count:
                await trio.testing.wait_all_tasks_blocked(0.01)

    async def come(self, *, task_status: trio.TaskStatus[trio.CancelScope] = trio.TASK_STATUS_IGNORED) -> None:
        """Come as a front end, until cancelled."""
        with trio.CancelScope() as scope:
            task_status.started(scope)
            with suppress(trio_websocket.ConnectionRejected):  # a newer one took its place
                async with open_front(self.proxy, self.kernel.id, session="s"):
                    raise AssertionError("the gateway has not answered")

    async def check_replay(self) -> None:
        """What the session misses while its connection is cut comes when it is made again."""
        async with open_front(self.proxy, self.kernel.id, session="s") as front:
            asked = await front.execute("import time\nfor number in range(40):\n    print(number)\n    time.sleep(0.01)")
            await front.until("stream", asked)
            self.fake.cut_connections()
            seen = await front.whole(asked)
            assert [message.content["status"] for message in seen if message.msg_type == "execute_reply"] == ["ok"]


@asynccontextmanager
async def open_stage() -> AsyncGenerator[Stage]:
    async with (
        FakeGateway(token=FAKE_TOKEN, kernelspecs=[FAKE]) as fake,
        fake.listen() as url,
        trio_gateway.open_gateway(url, auth_token=FAKE_TOKEN, gateway_retry_interval=0.01) as gateway,
        serve_gateway(gateway) as proxy,
    ):
        kernel = await fake.start_kernel("python3")
        await kernel.wait_ready()
        kernel.stall()
        yield Stage(proxy, fake, kernel)
        assert fake.handshakes_abandoned == 0


async def test_a_front_end_that_goes_within_the_handshake_costs_no_replay(elastic_clock: trio.testing.MockClock) -> None:
    """G5"""
    async with open_stage() as stage, trio.open_nursery() as nursery:
        scope = await nursery.start(stage.come)
        await stage.handshakes(1)
        scope.cancel()
        await trio.testing.wait_all_tasks_blocked(0.02)
        while stage.proxy.app.channels:
            await trio.testing.wait_all_tasks_blocked(0.01)
        stage.kernel.resume()
        await stage.connections(0)
        await stage.check_replay()


async def test_a_front_end_that_comes_again_within_the_handshake_costs_no_replay(elastic_clock: trio.testing.MockClock) -> None:
    """G5: there is one handshake with the gateway, and what it kept for the session comes to the one who came last."""
    async with open_stage() as stage:
        async with trio.open_nursery() as nursery:
            await nursery.start(stage.come)
            await stage.handshakes(1)
            again = await nursery.start(stage.come)
            await trio.testing.wait_all_tasks_blocked(0.02)
            again.cancel()
            await trio.testing.wait_all_tasks_blocked(0.02)
            nursery.start_soon(stage.check_replay)
            await trio.testing.wait_all_tasks_blocked(0.02)
            stage.kernel.resume()
        await stage.connections(0)
        assert sum(request.is_upgrade for request in stage.fake.requests) == 2  # the one, and another after the cut


async def test_while_the_proxy_ends_a_handshake_is_seen_through(elastic_clock: trio.testing.MockClock) -> None:
    async with open_stage() as stage, trio.open_nursery() as nursery:
        await nursery.start(stage.come)
        await stage.handshakes(1)
        stage.proxy.app.drain()
        await trio.testing.wait_all_tasks_blocked(0.02)
        stage.kernel.resume()
        await stage.connections(0)
