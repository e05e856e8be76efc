"""One task pings all clients of a server, each in its time, and none waits for another. In virtual time."""

from __future__ import annotations

import math

import pytest
import trio
import trio.testing

from trio_gateway._protocol.frames import PING, FrameParser, Ping, no_mask, small_frame
from trio_gateway._transport.websocket_server import Keeper, ServerWebSocket, UpgradeRequest

Clock = trio.testing.MockClock
REQUEST = UpgradeRequest(b"/", [], b"AAAAAAAAAAAAAAAAAAAAAA==", [], b"")


class Client:
    """One client: when it was pinged."""

    def __init__(self, keeper: Keeper) -> None:
        self._stream, far = trio.testing.memory_stream_pair()
        self.websocket = ServerWebSocket(far, REQUEST, max_message_size=1000, keeper=keeper)
        self.pinged: list[float] = []

    async def read(self) -> None:
        """Read until the end, and note pings."""
        head = b""
        while b"\r\n\r\n" not in head:
            head += await self._stream.receive_some()
        parser = FrameParser(1000)
        while data := await self._stream.receive_some():
            parser.feed(data)
            self.pinged += [trio.current_time() for control in parser.controls if isinstance(control, Ping)]
            parser.controls.clear()

    async def ping(self) -> None:
        """Ping the server."""
        await self._stream.send_all(small_frame(PING, b"x", b"", no_mask))


async def test_each_client_is_pinged_in_its_time_until_it_is_discarded(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, 10)
        nursery.start_soon(keeper.run)
        clients = [Client(keeper) for _ in range(3)]
        begun = trio.current_time()
        for client in clients:
            await client.websocket.accept(None)
            keeper.add(client.websocket)
            nursery.start_soon(client.read)
            await trio.sleep(3)
        await trio.sleep(16)
        keeper.discard(clients[0].websocket)
        keeper.discard(clients[1].websocket)
        await trio.sleep(10)
        told = [[round(time - begun) for time in client.pinged] for client in clients]
        assert told == [[10, 20], [13, 23], [16, 26]]
        await trio.sleep(100)
        assert [len(client.pinged) for client in clients] == [2, 2, 12]
        nursery.cancel_scope.cancel()


async def test_a_client_that_takes_nothing_holds_up_no_other_and_gets_one_ping_at_a_time(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, 10)
        nursery.start_soon(keeper.run)
        clogged, other = trio.testing.lockstep_stream_pair(), Client(keeper)
        lazy = ServerWebSocket(clogged[0], REQUEST, max_message_size=1000, keeper=keeper)
        nursery.start_soon(lazy.accept, None)
        while b"\r\n\r\n" not in await clogged[1].receive_some():
            pass
        keeper.add(lazy)
        await other.websocket.accept(None)
        keeper.add(other.websocket)
        nursery.start_soon(other.read)
        before = len(nursery.child_tasks)
        await trio.sleep(1005)
        assert len(other.pinged) == 100
        assert len(nursery.child_tasks) == before + 1
        nursery.cancel_scope.cancel()


async def test_a_goodbye_to_a_client_that_takes_nothing_has_a_limit(autojump_clock: Clock) -> None:
    async with trio.open_nursery() as nursery:
        keeper = Keeper(nursery, math.inf)
        clogged = trio.testing.lockstep_stream_pair()
        lazy = ServerWebSocket(clogged[0], REQUEST, max_message_size=1000, keeper=keeper)
        nursery.start_soon(lazy.accept, None)
        while b"\r\n\r\n" not in await clogged[1].receive_some():
            pass
        lazy.have_pinged()
        await trio.testing.wait_all_tasks_blocked()
        begun = trio.current_time()
        await lazy.close(1000, "", 2)
        assert trio.current_time() - begun == pytest.approx(2)
        nursery.cancel_scope.cancel()
