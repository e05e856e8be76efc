"""Kernels through several addresses of one gateway: sessions, starts and clean-ups go on where an address does not answer."""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway._transport.websocket import opening as websocket
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock
ONE, TWO = "http://one.test:8888", "http://two.test:8888/Base"


@pytest.fixture(params=["fast", "trio-websocket"], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for."""
    monkeypatch.setattr(websocket, "best_engine", lambda: request.param)
    return str(request.param)


@attrs.define
class Doors:
    """Two replicas with the same kernels, and a client that knows both."""

    gateway: trio_gateway.Gateway
    one: FakeGateway
    two: FakeGateway
    events: list[trio_gateway.GatewayEvent]
    shut: set[str]
    """The hosts where nobody listens."""

    async def shut_down(self, *hosts: str) -> None:
        """Replicas are gone: their connections break, which is noticed, and nobody listens there."""
        self.shut.update(hosts)
        for host in hosts:
            (self.one if host == "one.test" else self.two).cut_connections()
        await trio.testing.wait_all_tasks_blocked()

    def left(self) -> list[str]:
        return [event.gateway_url for event in self.events if event.kind == "address"]


@asynccontextmanager
async def doors(*shut: str, fake: dict[str, Any] | None = None, **settings: Any) -> AsyncGenerator[Doors]:
    """Open a gateway with two addresses, of which these do not answer yet."""
    async with FakeGateway(url=ONE, **(fake or {})) as one, one.replica(url=TWO) as two:
        closed = set(shut)

        async def connect(host: str, port: int) -> trio.abc.Stream:
            if host in closed:
                await trio.lowlevel.checkpoint()
                raise ConnectionRefusedError(111, "Connection refused")
            return await (one if host == "one.test" else two).connector(host, port)

        events: list[trio_gateway.GatewayEvent] = []
        async with trio_gateway.open_gateway(
            trio_gateway.GatewayConfig(url=[ONE, TWO], auth_token=one.token, **settings),
            connector=connect,
            on_event=events.append,
        ) as gateway:
            yield Doors(gateway, one, two, events, closed)


async def test_it_is_named_by_its_first_address_and_says_which_is_in_use(autojump_clock: Clock):
    async with doors("one.test") as it, it.gateway.start_kernel() as kernel:
        assert (it.gateway.url, it.gateway.address, repr(it.gateway)) == (ONE, TWO, f"<Gateway {ONE}>")
        assert (await kernel.execute("6 * 7")).text == "42"
        assert it.left() == [ONE]
    assert not it.one.requests
    assert not it.one.kernels, "the kernel was shut down, at the other address"


async def test_a_session_goes_on_at_the_next_address(autojump_clock: Clock):  # G4, G5
    async with doors() as it, it.gateway.start_kernel() as kernel:
        await kernel.execute("x = 1")
        await it.shut_down("one.test")
        assert (await kernel.execute("x += 1\nx")).text == "2"
        assert it.gateway.address == TWO
        actions = [event.action for event in it.events if event.kind == "connection"]
        assert actions == ["lost", "resume"], "at once, without an attempt more"
        assert trio.current_time() < 1
        it.shut.clear()
        await it.shut_down("two.test")
        assert (await kernel.execute("x += 1\nx")).text == "3"
        assert (it.gateway.address, it.left()) == (ONE, [ONE, TWO])


@pytest.mark.parametrize("raw", [False, True])
async def test_an_address_of_another_gateway_is_named_where_the_kernel_is_unknown(autojump_clock: Clock, raw: bool):
    """Nobody has culled it: it runs at the address that does not answer."""
    async with FakeGateway(url=ONE) as one, FakeGateway(url=TWO, token=one.token) as two:
        shut: set[str] = set()

        async def connect(host: str, port: int) -> trio.abc.Stream:
            if host in shut:
                await trio.lowlevel.checkpoint()
                raise ConnectionRefusedError(111, "Connection refused")
            return await (one if host == "one.test" else two).connector(host, port)

        config = trio_gateway.GatewayConfig(url=[ONE, TWO], auth_token=one.token)
        async with trio_gateway.open_gateway(config, connector=connect) as gateway:
            kernel_id = (await gateway.kernels.start()).id
            words = f"{TWO} does not share the kernels of {ONE}, where it was: several addresses have to be replicas"
            with pytest.raises(trio_gateway.KernelCulledError, match=words):
                if raw:
                    async with gateway.open_channels(kernel_id) as channels:
                        shut.add("one.test")
                        one.cut_connections()
                        while True:
                            await channels.receive()
                async with gateway.attach_kernel(kernel_id) as kernel:
                    shut.add("one.test")
                    one.cut_connections()
                    await kernel.wait_for(trio_gateway.KernelState.RESTARTING)
            assert list(one.kernels) == [kernel_id]


async def test_a_cell_that_runs_meanwhile_has_its_end_or_its_loss_told(autojump_clock: Clock):  # G4, G5
    """What one replica keeps for a session the other does not have: nothing of that is silent, and nothing runs twice."""
    async with doors() as it, it.gateway.start_kernel() as kernel:
        await kernel.execute("ran = 0")
        async with trio.open_nursery() as nursery:

            async def cut() -> None:
                await trio.sleep(1)
                await it.shut_down("one.test")

            nursery.start_soon(cut)
            try:
                result = await kernel.execute("import time\nran += 1\nprint('a')\ntime.sleep(3)\nprint('b')")
            except trio_gateway.ConnectionLostError:
                told = True
            else:
                told = bool(result.output_gaps) or result.text == "a\nb\n"
        assert told
        assert (await kernel.execute("ran")).text == "1"
        assert it.gateway.address == TWO


async def test_a_link_that_goes_silent_leads_to_the_next_address(autojump_clock: Clock):  # G3
    """Nothing refuses and nothing breaks: only the pings find out, and the next requests need not."""
    async with doors(ping_interval=5, connect_timeout=10) as it, it.gateway.start_kernel() as kernel:
        await kernel.execute("x = 1")
        it.one.swallow_connections()
        it.one.faults.black_hole()
        began = trio.current_time()
        await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
        assert trio.current_time() - began <= 10, "an interval, and a ping's patience"
        assert it.gateway.address == TWO
        assert (await kernel.execute("x")).text == "1"
        assert await it.gateway.kernels.list()
        assert next(event.message for event in it.events if event.kind == "address").startswith(
            "a kernel's connection there has gone"
        )


async def test_a_session_loses_a_share_of_connect_timeout_in_a_black_hole(autojump_clock: Clock):  # G3
    async with doors(connect_timeout=40) as it, it.gateway.start_kernel() as kernel:
        await kernel.execute("x = 1")
        it.one.faults.delay(math.inf)
        it.one.cut_connections()
        await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
        began = trio.current_time()
        await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
        assert trio.current_time() - began == pytest.approx(20)
        assert (await kernel.execute("x")).text == "1"


async def test_a_kernel_is_shut_down_where_an_address_is_a_black_hole(autojump_clock: Clock):  # G2
    """`cleanup_timeout` is shorter than `connect_timeout`, of which an address has a share only."""
    async with doors() as it:
        async with it.gateway.start_kernel():
            assert it.one.kernels
            it.one.cut_connections()
            it.one.faults.delay(math.inf)
        assert not it.one.kernels
    assert it.gateway.address == TWO


async def test_a_kernel_is_shut_down_at_the_next_address_when_its_own_is_gone(autojump_clock: Clock):  # G2
    async with doors() as it:
        async with it.gateway.start_kernel():
            await it.shut_down("one.test")
        assert not it.two.kernels


@pytest.mark.parametrize("gone", [True, False], ids=["gone", "cut"])
async def test_a_start_that_is_cut_is_not_sent_again_and_leaves_nothing(autojump_clock: Clock, gone: bool):  # G2, G4
    """The kernel is known at no address before its start has succeeded, seven seconds after the cut."""
    async with doors(fake={"start_seconds": 8}) as it, trio.open_nursery() as nursery:

        async def cut() -> None:
            await trio.sleep(1)
            if gone:
                await it.shut_down("one.test")
            else:
                it.one.cut_connections()

        nursery.start_soon(cut)
        with pytest.raises(trio_gateway.GatewayConnectionError, match=r"one\.test"):
            async with it.gateway.start_kernel():
                raise AssertionError
        await trio.sleep(120)
        starts = [request for door in (it.one, it.two) for request in door.requests if request.method == "POST"]
        assert len(starts) == 1
        assert not it.two.kernels
        assert it.gateway.address == (TWO if gone else ONE), "it is looked for where it was asked for, if that answers"


@pytest.mark.parametrize("fault", ["503", "cut", "stall"])
async def test_a_handshake_goes_on_at_the_next_address(autojump_clock: Clock, fault: str):
    async with doors(handshake_timeout=20) as it:
        model = await it.gateway.kernels.start()
        if fault == "503":
            it.one.faults.answer("GET .*/channels", 503, "<h1>503 Service Unavailable</h1>")
        elif fault == "stall":
            it.one.faults.stall_handshake()
        else:
            it.one.faults.lose_answer("GET .*/channels")
        async with it.gateway.attach_kernel(model.id) as kernel:
            assert (await kernel.execute("1")).text == "1"
        assert any(request.path.endswith("/channels") for request in it.two.requests)
        await it.gateway.kernels.shutdown(model.id)


async def test_a_refused_handshake_is_refused(autojump_clock: Clock):
    """A replica's word that there is no such kernel is its word; it shares them."""
    async with doors() as it:
        with pytest.raises(trio_gateway.KernelNotFoundError, match=r"."):
            async with it.gateway.attach_kernel("11111111-2222-4333-8444-555555555555"):
                raise AssertionError
        assert it.left() == []


async def test_all_down_is_told_with_each(autojump_clock: Clock):  # G3, G10
    async with doors("one.test", "two.test") as it:
        with pytest.raises(trio_gateway.GatewayConnectionError, match="no address of the gateway answers") as caught:
            async with it.gateway.start_kernel():
                raise AssertionError
        assert f"{ONE}: " in str(caught.value)
        assert f"{TWO}: " in str(caught.value)


async def test_all_down_ends_a_session_with_each_named(autojump_clock: Clock):  # G3
    async with doors() as it:
        with pytest.raises(trio_gateway.ConnectionLostError, match=f"no address of the gateway answers: {ONE}.*; {TWO}"):
            async with it.gateway.start_kernel() as kernel:
                await it.shut_down("one.test", "two.test")
                await kernel.execute("1")


async def test_one_that_comes_back_in_time_is_enough(autojump_clock: Clock):  # G3
    async with doors() as it, it.gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        await kernel.execute("x = 1")
        await it.shut_down("one.test", "two.test")

        async def come_back() -> None:
            await trio.sleep(5)
            it.shut.discard("one.test")

        nursery.start_soon(come_back)
        assert (await kernel.execute("x")).text == "1"
        assert it.gateway.address == ONE


async def test_a_kernelspec_s_files_are_found_at_each_address(autojump_clock: Clock):
    """The addresses' paths differ, and what a list says of files must lead to them wherever it came from."""
    async with doors() as it:
        specs = await it.gateway.kernelspecs.list()
        resources = next(iter(specs.kernelspecs.values())).resources
        await it.shut_down("one.test")
        again = await it.gateway.kernelspecs.list()
        assert next(iter(again.kernelspecs.values())).resources == resources
        assert it.gateway.address == TWO
