"""One gateway of a fleet: when it is asked how it is, and what is known of it then."""

from __future__ import annotations

from contextlib import AsyncExitStack

import pytest
import trio
from trio.testing import MockClock

from trio_gateway import ConnectionLostError

from .fleet_kit import QUICK, Ground, make_fakes, open_ground, start


async def test_a_gateway_that_fell_comes_back(autojump_clock: MockClock) -> None:
    async with open_ground(settings=QUICK) as ground, AsyncExitStack() as stack:
        with pytest.raises(ConnectionLostError):
            async with ground.fleet.start_kernel() as kernel:
                ground.network.fall("a")
                await kernel.execute("1")
        await trio.sleep(600)
        asked = len(ground.fakes["a"].conversation.lines)
        assert ground.status("a").state == "down"
        assert await start(ground, stack) == "b"
        ground.network.rise("a")
        await trio.sleep(31)
        assert ground.status("a").state == "up"
        assert len(ground.fakes["a"].conversation.lines) > asked
        assert [event.action for event in ground.events if event.kind == "fleet" and event.gateway_url == "http://a.invalid"] == [
            *("up", "down", "up"),
        ]
        assert await start(ground, stack) == "a"


async def test_who_is_up_is_not_asked_for_nothing(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        await start(ground, stack)
        before = len([event for event in ground.events if event.kind == "request"])
        await trio.sleep(3600)
        assert len([event for event in ground.events if event.kind == "request"]) == before


async def test_one_whose_token_is_refused_is_left_out(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a", "b")
    async with open_ground(fakes) as ground, AsyncExitStack() as stack:
        fakes["a"].token = "another"
        await trio.sleep(20)
        assert await start(ground, stack) == "b"
        assert ground.status("a").state == "down"


async def test_one_that_a_start_found_down_comes_back_too(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        ground.network.fall("a")
        await trio.sleep(60)
        assert ground.status("a").state == "up", "nobody has noticed"
        assert await start(ground, stack) == "b"
        assert ground.status("a").state == "down"
        ground.network.rise("a")
        await trio.sleep(31)
        assert ground.status("a").state == "up"


async def test_a_connection_that_breaks_has_the_gateway_asked(autojump_clock: MockClock) -> None:
    """And many that break at once have it asked once."""
    async with open_ground() as ground, AsyncExitStack() as stack:
        for _ in range(4):
            await start(ground, stack)
        await trio.sleep(60)
        before = len([event for event in ground.events if event.path == "/api/kernels"])
        ground.fakes["a"].cut_connections()
        await trio.sleep(60)
        assert len([event for event in ground.events if event.path == "/api/kernels"]) == before + 1
        assert ground.status("a").state == "up"


async def test_an_error_of_the_gateway_s_own_is_an_answer(autojump_clock: MockClock) -> None:
    """Kernel Gateway says 500 to a list while a kernel starts."""
    async with open_ground() as ground, AsyncExitStack() as stack:
        said = {"message": "Internal Server Error", "reason": None}
        ground.fakes["a"].faults.answer("GET /api/kernels$", status=500, body=said)
        await trio.sleep(60)
        assert await start(ground, stack) == "a"
        ground.fakes["b"].faults.answer("GET /api/kernelspecs$", status=404, body=said)
        await trio.sleep(60)
        assert await start(ground, stack, "python3") == "b", "where kernelspecs are not told, the start tells"


async def test_a_balancer_s_error_is_none(autojump_clock: MockClock) -> None:
    async with open_ground() as ground, AsyncExitStack() as stack:
        ground.fakes["a"].faults.answer("GET /api/kernels$", status=503)
        await trio.sleep(60)
        assert await start(ground, stack) == "b"
        assert ground.status("a").state == "down"
        assert "503" in ground.status("a").reason


async def test_those_who_ask_at_once_ask_together(autojump_clock: MockClock) -> None:
    fakes = make_fakes("a")
    async with open_ground(fakes) as ground:
        await trio.sleep(60)
        before = len([event for event in ground.events if event.path == "/api/kernels" and event.method == "GET"])
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(start_and_end, ground)
        assert len([event for event in ground.events if event.path == "/api/kernels" and event.method == "GET"]) == before + 1


async def start_and_end(ground: Ground) -> None:
    async with ground.fleet.start_kernel():
        pass
