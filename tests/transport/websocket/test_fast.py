"""What only the fast engine does; what both engines do is in `test_opening`."""

from __future__ import annotations

import pytest
import trio
import wsproto.events as wire
from trio.testing import MockClock, memory_stream_pair

from trio_gateway._errors import GatewayConnectionError
from trio_gateway._services import open_services
from trio_gateway._transport.websocket.engine import HandshakeRejected, PeerWords, Upgrade, WebSocketClosed
from trio_gateway._transport.websocket.fast import FastWebSocket

from .peer import opened, receive_whole, take


async def test_without_its_routine_in_c_it_works_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(__import__("sys").modules, "websockets.speedups", None)
    async with opened("fast") as (websocket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, b"abc" * 30_000)
        assert await receive_whole(peer) == b"abc" * 30_000


async def test_a_message_that_is_too_large_passes_by() -> None:
    async with opened("fast", max_message_size=1000) as (websocket, peer):
        await peer.send(wire.BytesMessage(b"x" * 1000), wire.BytesMessage(b"y" * 100_000), wire.TextMessage("z"))
        assert await take(websocket, 3) == [b"x" * 1000, b"y" * 16 * 1024, "z"]
        assert websocket.cut == 1


async def test_what_the_peer_does_wrong_it_hears_before_the_connection_closes() -> None:
    """Also where the block is left at once, which stops the task that would say it."""
    async with opened("fast", polite=False) as (websocket, peer):
        await peer.stream.send_all(b"\xff\xff\xff\xff")
        with pytest.raises(WebSocketClosed):
            await websocket.receive()
    goodbye = await peer.next()
    assert isinstance(goodbye, wire.CloseConnection)
    assert (goodbye.code, goodbye.reason) == (1002, "a server's frame is masked")


async def test_a_ping_that_is_given_up_is_forgotten(autojump_clock: MockClock) -> None:
    async with opened("fast") as (websocket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(take, websocket, 1)
        with trio.move_on_after(1):
            await websocket.ping()
        event = await peer.next()
        assert isinstance(event, wire.Ping)
        await peer.send(event.response(), wire.BytesMessage(b"m"))
        assert isinstance(websocket, FastWebSocket)
        assert websocket._pings == {}
        assert websocket._connection._pings == []


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (b"HTTP/1.1 403 the secret\r\nX-A: the secret\r\nContent-Length: 10\r\n\r\nthe secret", HandshakeRejected),
        (b"HTTP/1.1 101 X\r\nUpgrade: the secret\r\n\r\n", GatewayConnectionError),
        (b"the secret\r\n\r\n", GatewayConnectionError),
        (b"", GatewayConnectionError),
    ],
)
async def test_a_handshake_that_fails_shows_no_secret(answer: bytes, error: type[Exception]) -> None:
    """G8"""
    client, server = memory_stream_pair()
    words = PeerWords("ws://h/", lambda text: text.replace("the secret", "[hidden]"))
    async with open_services() as services:
        websocket = FastWebSocket(services)
        await server.send_all(answer)
        await server.send_eof()
        with pytest.raises(error) as caught:
            await websocket.open(client, Upgrade("h", "/", [("A", "the secret")], (), 1000, words))
        await websocket.end()
    assert "the secret" not in f"{caught.value!r} {vars(caught.value)}"
    assert caught.value.__context__ is None
    frames = [entry.frame.f_locals for entry in caught.traceback[1:]]
    assert frames
    assert "the secret" not in repr(frames)
