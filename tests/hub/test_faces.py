"""`open_hub` for asyncio and for synchronous code, with a hub on a loopback port."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from typing import Any

import anyio
import pytest
import trio

import trio_gateway.anyio
import trio_gateway.blocking
from tools.fake_hub import ALICE, open_fake_hub
from trio_gateway import GatewayEvent, HubSpawnError
from trio_gateway.testing import FakeHub

SERVER = "/hub/api/users/alice/server"


@pytest.fixture
def hub() -> Iterator[FakeHub]:
    found: list[FakeHub] = []
    listening, leave = threading.Event(), trio.Event()
    token: list[trio.lowlevel.TrioToken] = []

    async def main() -> None:
        token.append(trio.lowlevel.current_trio_token())
        async with open_fake_hub(spawn_seconds=1.0, stop_seconds=0.0) as made, made.listen() as made.url:
            found.append(made)
            listening.set()
            await leave.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    assert listening.wait(60)
    yield found[0]
    token[0].run_sync_soon(leave.set)
    thread.join()


def test_synchronous_code(hub: FakeHub) -> None:
    events: list[GatewayEvent] = []
    with trio_gateway.blocking.open_hub(hub.url, token=ALICE, on_event=events.append) as gateway:
        with gateway.start_kernel() as kernel:
            assert kernel.execute("6 * 7").text == "42"
        assert hub.servers["alice", ""].ready
    assert not hub.servers["alice", ""].ready
    actions = [event.action for event in events if event.kind == "hub"]
    assert "progress" in actions
    assert actions[-2:] == ["start", "stop"]
    hub.spawn_failure = "no such image"
    with pytest.raises(HubSpawnError, match="no such image"), trio_gateway.blocking.open_hub(hub.url, token=ALICE):
        pass


def test_a_command_gives_the_token_of_hub_and_server(hub: FakeHub) -> None:
    command = [sys.executable, "-c", f"print({ALICE!r})"]
    with trio_gateway.blocking.open_hub(hub.url, token_command=command) as gateway:
        assert gateway.kernels.list() == []
    assert not hub.servers["alice", ""].ready


def test_synchronous_code_that_is_cancelled_in_the_middle_of_a_start(hub: FakeHub) -> None:  # G2
    hub.spawn_seconds = 1000
    with trio_gateway.blocking.move_on_after(1) as scope, trio_gateway.blocking.open_hub(hub.url, token=ALICE):
        pass
    assert scope.cancelled_caught
    assert not hub.servers["alice", ""].pending
    assert hub.count(f"POST {SERVER}") == 1


def on_asyncio(function: Any) -> None:
    anyio.run(function, backend="asyncio")


def test_asyncio(hub: FakeHub) -> None:
    async def main() -> None:
        events: list[GatewayEvent] = []
        async with trio_gateway.anyio.open_hub(hub.url, token=ALICE, on_event=events.append) as gateway:
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
            assert hub.servers["alice", ""].ready
        assert not hub.servers["alice", ""].ready
        assert {"progress", "start"} <= {event.action for event in events if event.kind == "hub"}

    on_asyncio(main)


def test_asyncio_that_is_cancelled_in_the_middle_of_a_start(hub: FakeHub) -> None:  # G2
    hub.spawn_seconds = 1000

    async def main() -> None:
        with anyio.move_on_after(1) as scope:
            async with trio_gateway.anyio.open_hub(hub.url, token=ALICE):
                pass
        assert scope.cancelled_caught

    on_asyncio(main)
    assert not hub.servers["alice", ""].pending
    assert hub.count(f"POST {SERVER}") == 1
