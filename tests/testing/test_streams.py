"""Connections in memory, and the server's end of any connection, which breaks on command."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from trio_gateway.testing._streams import MemoryStream, ServerStream, memory_connection

Clock = trio.testing.MockClock


async def receive_all(stream: MemoryStream) -> bytes:
    return b"".join([data async for data in stream])


async def test_bytes_go_both_ways() -> None:
    here, there = memory_connection()
    await here.send_all(b"hello")
    await there.send_all(b"you")
    assert await there.receive_some(3) == b"hel"
    assert await there.receive_some() == b"lo"
    assert await here.receive_some() == b"you"


async def test_a_sender_waits_where_there_is_no_room() -> None:
    here, there = memory_connection(limit=4)
    done = []
    async with trio.open_nursery() as nursery:

        async def send() -> None:
            await here.send_all(b"0123456789")
            done.append("sent")

        async def wait() -> None:
            await here.wait_send_all_might_not_block()
            done.append("room")

        nursery.start_soon(send)
        await trio.testing.wait_all_tasks_blocked()
        nursery.start_soon(wait)
        await trio.testing.wait_all_tasks_blocked()
        assert done == []
        received = b""
        while len(received) < 10:
            received += await there.receive_some()
    assert received == b"0123456789"
    assert sorted(done) == ["room", "sent"]


async def test_the_end_comes_after_what_was_sent() -> None:
    here, there = memory_connection()
    await here.send_all(b"last")
    await here.send_eof()
    assert await receive_all(there) == b"last"
    await there.send_all(b"answer")  # the other way is still open
    assert await here.receive_some() == b"answer"
    with pytest.raises(trio.BrokenResourceError):
        await here.send_all(b"more")


async def test_a_closed_end() -> None:
    here, there = memory_connection()
    await here.send_all(b"last")
    await here.aclose()
    await here.aclose()
    assert await receive_all(there) == b"last"
    with pytest.raises(trio.BrokenResourceError):
        await there.send_all(b"nobody reads it")
    for use in (here.receive_some, here.send_eof, here.wait_send_all_might_not_block):
        with pytest.raises(trio.ClosedResourceError):
            await use()
    with pytest.raises(trio.ClosedResourceError):
        await here.send_all(b"")


async def test_a_receiver_learns_that_its_own_end_was_closed() -> None:
    here, _ = memory_connection()
    async with trio.open_nursery() as nursery:

        async def receive() -> None:
            with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
                await here.receive_some()

        nursery.start_soon(receive)
        await trio.testing.wait_all_tasks_blocked()
        await here.aclose()


@pytest.mark.parametrize("keep", [True, False])
async def test_a_reset_breaks_both_ways(keep: bool) -> None:
    client, server = memory_connection()
    await server.send_all(b"on its way")
    await client.send_all(b"lost")
    server.reset(keep=keep)
    if keep:
        assert await client.receive_some() == b"on its way"
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")
    with pytest.raises(trio.BrokenResourceError):
        await server.receive_some()


# The server's end -------------------------------------------------------------------------------------------------------


async def test_the_server_counts_what_goes_through() -> None:
    client, server = memory_connection()
    stream = ServerStream(server, 3)
    await client.send_all(b"12345")
    assert await stream.receive_some() == b"12345"
    assert await stream.send_all(b"123")
    assert (stream.number, stream.received, stream.sent) == (3, 5, 3)
    await client.aclose()
    assert await stream.receive_some() == b""
    assert not await stream.send_all(b"nobody reads it")


async def test_a_cut_after_so_many_bytes_received() -> None:
    client, server = memory_connection()
    stream = ServerStream(server, 1)
    cuts: list[str] = []
    stream.on_cut = lambda: cuts.append("cut")
    stream.cut_after_received = 3
    await client.send_all(b"12345")
    assert await stream.receive_some() == b"123"
    assert await stream.receive_some() == b""
    assert await stream.receive_some() == b""
    assert (cuts, stream.over) == (["cut"], True)
    with pytest.raises(trio.BrokenResourceError):
        await client.send_all(b"x")


async def test_a_cut_after_so_many_bytes_sent() -> None:
    client, server = memory_connection()
    stream = ServerStream(server, 1)
    cuts: list[str] = []
    stream.on_cut = lambda: cuts.append("cut")
    stream.cut_after_sent = 4
    assert await stream.send_all(b"12")
    assert not await stream.send_all(b"34567")
    assert (cuts, stream.sent) == (["cut"], 4)
    assert await client.receive_some() == b"1234"
    with pytest.raises(trio.BrokenResourceError):
        await client.receive_some()


async def test_a_slow_connection(autojump_clock: Clock) -> None:
    client, server = memory_connection()
    stream = ServerStream(server, 1)
    stream.bytes_per_second = 10
    await client.send_all(bytes(20))
    assert len(await stream.receive_some()) == 20
    assert trio.current_time() == pytest.approx(2)
    assert await stream.send_all(bytes(35))
    assert trio.current_time() == pytest.approx(2 + 3.5)
    assert stream.sent == 35


async def test_a_connection_that_swallows() -> None:
    client, server = memory_connection()
    stream = ServerStream(server, 1)
    stream.swallow()
    await client.send_all(b"lost")
    await client.send_eof()
    assert await stream.receive_some() == b""
    assert stream.received == 4
    assert await stream.send_all(b"goes nowhere")
    assert stream.sent == 0
    await stream.aclose()
    assert await receive_all(client) == b""


async def test_a_reset_over_tcp_is_one_for_the_client() -> None:
    (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    async with listener:
        client = await trio.open_tcp_stream("127.0.0.1", listener.socket.getsockname()[1])
        async with client:
            stream = ServerStream(await listener.accept(), 1)
            await client.send_all(b"x")
            assert await stream.receive_some() == b"x"
            stream.reset()
            assert stream.over
            with pytest.raises(trio.BrokenResourceError):
                await client.receive_some()
            await stream.aclose()


async def test_what_there_is_room_for_goes_without_waiting() -> None:
    here, there = memory_connection(limit=4)
    assert here.send_now(b"0123456789") == 4
    assert here.send_now(b"4") == 0
    assert await there.receive_some() == b"0123"
    async with trio.open_nursery() as nursery:
        nursery.start_soon(receive_all, there)  # it is woken
        await trio.testing.wait_all_tasks_blocked()
        assert here.send_now(b"45") == 2
        await trio.testing.wait_all_tasks_blocked()
        assert here.send_now(b"6789") == 4
        await here.aclose()
    assert here.send_now(b"x") == 0
    assert there.send_now(b"x") == 0
