"""Both WebSocket engines, against a server of another implementation (wsproto) over streams in memory."""

from __future__ import annotations

import importlib.util
from contextlib import suppress

import pytest
import trio
import wsproto
import wsproto.events as wire
from trio.testing import MockClock, memory_stream_pair, wait_all_tasks_blocked

from trio_gateway._errors import GatewayConnectionError, GatewayTimeoutError
from trio_gateway._services import open_services
from trio_gateway._transport.websocket.engine import HandshakeRejected, WebSocket, WebSocketClosed
from trio_gateway._transport.websocket.opening import best_engine, open_websocket

from .peer import Peer, opened, options, receive_whole, take

ENGINES = ["fast", "trio-websocket"]


@pytest.fixture(params=ENGINES)
def engine(request: pytest.FixtureRequest) -> str:
    """The name of each engine."""
    return str(request.param)


def test_the_fast_one_is_taken_where_its_extra_is_installed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert best_engine() == "fast"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert best_engine() == "trio-websocket"


async def test_each_is_what_it_says(engine: str) -> None:
    async with opened(engine) as (websocket, _peer):
        assert type(websocket).__name__ == {"fast": "FastWebSocket", "trio-websocket": "TrioWebSocket"}[engine]


# The handshake ------------------------------------------------------------------------------------------------------


async def test_what_the_handshake_says_and_hears(engine: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.accept("b", [(b"set-cookie", b"a=1"), (b"Set-Cookie", b"c=2")])

    async with opened(engine, serve, headers=[("Authorization", "token t"), ("X-A", "\xe4")], subprotocols=["a", "b"]) as (
        websocket,
        peer,
    ):
        request = peer.request
        assert request is not None
        assert (request.host, request.target) == ("gateway.test", "/api/kernels/1/channels?session_id=2")
        assert request.subprotocols == ["a", "b"]
        assert request.extensions == []
        found = dict(request.extra_headers)
        assert (found[b"authorization"], found[b"x-a"]) == (b"token t", b"\xe4")
        assert websocket.subprotocol == "b"
        assert [value for name, value in websocket.response_headers if name == "set-cookie"] == ["a=1", "c=2"]


async def test_no_subprotocol_is_fine(engine: str) -> None:
    async with opened(engine) as (websocket, _peer):
        assert websocket.subprotocol is None


@pytest.mark.parametrize("chunked", [True, False])
async def test_a_refusal_is_given_whole(engine: str, chunked: bool) -> None:
    async def serve(peer: Peer) -> None:
        await peer.next()
        body = b'{"message": "no such kernel"}'
        framing = b"Transfer-Encoding: chunked" if chunked else b"Content-Length: %d" % len(body)
        await peer.stream.send_all(b"HTTP/1.1 404 Not Found\r\nX-Reason: gone\r\n" + framing + b"\r\n\r\n")
        await peer.stream.send_all(b"%x\r\n%b\r\n0\r\n\r\n" % (len(body), body) if chunked else body)

    with pytest.raises(HandshakeRejected) as caught:
        async with opened(engine, serve):
            pytest.fail("it was refused")
    assert (caught.value.status_code, caught.value.body) == (404, b'{"message": "no such kernel"}')
    assert dict(caught.value.headers)["x-reason"] == "gone"


ACCEPT = b"s3pPLMBiTxaQ9kYGzzhZRbK+xOo="


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 101",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: h2c\r\nSec-WebSocket-Accept: "
        + ACCEPT
        + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
        + ACCEPT
        + b"\r\n\r\n",
        b"HTTP/1.1 101 Switching Protocols\r\nConnection: close\r\nUpgrade: websocket\r\nSec-WebSocket-Accept: "
        + ACCEPT
        + b"\r\n\r\n",
    ],
)
async def test_an_answer_that_is_none(engine: str, answer: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.next()
        await peer.stream.send_all(answer)
        await peer.stream.send_eof()

    words = "makes no sense" if b"\r\n\r\n" in answer else "broke the connection"
    with pytest.raises(GatewayConnectionError, match=f"(?s)handshake.*{words}|{words}.*handshake"):
        async with opened(engine, serve):
            pytest.fail("that was no handshake")


@pytest.mark.parametrize("header", [b"Sec-WebSocket-Protocol: other", b"Sec-WebSocket-Extensions: permessage-deflate"])
async def test_what_was_not_offered_is_not_accepted(engine: str, header: bytes) -> None:
    async def serve(peer: Peer) -> None:
        await peer.next()
        answer = peer.protocol.send(wire.AcceptConnection())
        await peer.stream.send_all(answer[:-2] + header + b"\r\n\r\n")

    with pytest.raises(GatewayConnectionError, match=r"answer of .* to the WebSocket handshake makes no sense"):
        async with opened(engine, serve):
            pytest.fail("that was not offered")


async def silent(peer: Peer) -> None:
    await peer.next()


async def test_a_server_that_does_not_answer(engine: str, autojump_clock: MockClock) -> None:
    with pytest.raises(GatewayTimeoutError) as caught:
        async with opened(engine, silent):
            pytest.fail("nobody answered")
    assert caught.value.setting == "handshake_timeout"
    assert trio.current_time() == pytest.approx(9, abs=1.1)


async def test_what_comes_with_the_handshake_is_not_lost(engine: str) -> None:
    async def serve(peer: Peer) -> None:
        await peer.next()
        await peer.send(wire.AcceptConnection(), wire.BytesMessage(b"first"), wire.TextMessage("second"))

    async with opened(engine, serve) as (websocket, _peer):
        assert await take(websocket, 2) == [b"first", "second"]


async def test_one_that_accepts_and_says_goodbye_at_once_has_been_open(engine: str) -> None:
    """What it said is there, how it ended too, and its goodbye is answered."""
    heard: list[wire.Event] = []

    async def serve(peer: Peer) -> None:
        await peer.next()
        goodbye = wire.CloseConnection(1001, "going")
        await peer.send(wire.AcceptConnection(), wire.Ping(b"there?"), wire.BytesMessage(b"last"), goodbye)
        while not isinstance(event := await peer.next(), wire.CloseConnection):
            heard.append(event)
        heard.append(event)

    async with opened(engine, serve, polite=False) as (websocket, _peer):
        assert await take(websocket, 1) == [b"last"]
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert (caught.value.code, caught.value.reason) == (1001, "going")
    assert [type(event) for event in heard][-1] is wire.CloseConnection


# Messages -----------------------------------------------------------------------------------------------------------


async def test_messages_both_ways(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        await peer.send(wire.BytesMessage(b"\0\xff"), wire.TextMessage("ä"), wire.BytesMessage(b""))
        assert await take(websocket, 3) == [b"\0\xff", "ä", b""]
        for sent in (b"\0\xff", "ä", b"", "", b"x" * 126, b"y" * 70_000):
            await websocket.send(sent)
            assert (await receive_whole(peer)) == sent


@pytest.mark.parametrize("size", [65_536, 65_537, 262_144, 999_999])
async def test_large_messages(engine: str, size: int) -> None:
    data = bytes(index * 31 % 251 for index in range(size))
    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(peer.send, wire.BytesMessage(data))
        assert await take(websocket, 1) == [data]
        nursery.start_soon(websocket.send, data)
        assert await receive_whole(peer) == data


@pytest.mark.parametrize("sizes", [(1, 2, 3), (0,), (0, 7, 0), (65_535, 3, 2), (100_001, 1, 262_145, 2, 262_143)])
async def test_a_message_in_parts(engine: str, sizes: tuple[int, ...]) -> None:
    parts = [bytes((index * 31 + size) % 251 for index in range(size)) for size in sizes]
    views = [memoryview(part) if index % 2 else part for index, part in enumerate(parts)]
    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(websocket.send, views)
        assert await receive_whole(peer) == b"".join(parts)


async def test_many_messages_of_one_read_come_in_order(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        await peer.send(*(wire.BytesMessage(b"%d" % index) for index in range(1000)))
        assert await take(websocket, 1000) == [b"%d" % index for index in range(1000)]


async def test_messages_of_one_read_are_received_at_once(engine: str) -> None:
    received: list[bytes | str] = []

    async def receive(websocket: WebSocket) -> None:
        received.extend(await websocket.receive())

    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(receive, websocket)
        await wait_all_tasks_blocked()
        await peer.send(*[wire.BytesMessage(b"%d" % number) for number in range(10)])
    assert received == [b"%d" % number for number in range(10)]


async def test_what_nobody_receives_is_read_up_to_a_bound_only(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        sent = 0
        for _ in range(40):
            await peer.send(*[wire.BytesMessage(b"%d" % number) for number in range(sent, sent + 10)])
            sent += 10
        await wait_all_tasks_blocked()
        first = await websocket.receive()
        assert len(first) <= (20 if engine == "trio-websocket" else sent)  # the fast one reads when it is asked
        rest = await take(websocket, sent - len(first))
        assert [*first, *rest] == [b"%d" % number for number in range(sent)]


async def test_a_receiver_that_is_cancelled_loses_nothing(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        for index in range(20):
            with trio.CancelScope() as scope:
                scope.cancel()
                await websocket.receive()
            await peer.send(wire.BytesMessage(b"%d" % index))
            assert await take(websocket, 1) == [b"%d" % index]


async def test_a_large_message_and_a_pong_do_not_mix(engine: str) -> None:
    """The peer pings while a large message is under way: each frame comes whole."""
    data = b"z" * 500_000
    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:
        receiving = trio.CancelScope()

        async def receive() -> None:
            with receiving:
                await websocket.receive()

        nursery.start_soon(receive)
        nursery.start_soon(websocket.send, data)
        await peer.send(wire.Ping(b"there?"))
        pieces, pongs = [], []
        while sum(map(len, pieces)) < len(data) or not pongs:
            event = await peer.next()
            if isinstance(event, wire.Pong):
                pongs.append(bytes(event.payload))
            else:
                assert isinstance(event, wire.BytesMessage)
                pieces.append(bytes(event.data))
        assert b"".join(pieces) == data
        assert pongs == [b"there?"]
        receiving.cancel()


# Pings --------------------------------------------------------------------------------------------------------------


async def test_pings_are_answered_while_someone_receives(engine: str) -> None:
    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:
        nursery.start_soon(take, websocket, 1)
        await peer.send(wire.Ping(b"1"))
        pong = await peer.next()
        assert isinstance(pong, wire.Pong)
        assert bytes(pong.payload) == b"1"
        await peer.send(wire.BytesMessage(b""))


async def test_a_ping_waits_for_its_own_pong(engine: str) -> None:
    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:
        answered = trio.Event()

        async def ping() -> None:
            await websocket.ping()
            answered.set()

        receiving = trio.CancelScope()

        async def receive() -> None:
            with receiving:
                await websocket.receive()

        nursery.start_soon(receive)
        nursery.start_soon(ping)
        event = await peer.next()
        assert isinstance(event, wire.Ping)
        await peer.send(wire.Pong(b"another one's"))
        await wait_all_tasks_blocked()
        assert not answered.is_set()
        await peer.send(wire.Pong(event.payload))
        await answered.wait()
        receiving.cancel()


async def test_a_ping_without_waiting_tells_when_its_pong_has_come(engine: str) -> None:
    async with opened(engine, at_once=True) as (websocket, peer):
        answers: list[float] = []
        sent = websocket.ping_now(lambda: answers.append(trio.current_time()))
        assert sent == (engine == "fast")
        if not sent:
            return
        ping = await peer.next()
        assert isinstance(ping, wire.Ping)
        for payload, count in [(b"another one's", 0), (ping.payload, 1), (ping.payload, 1)]:
            await peer.send(wire.Pong(payload))
            await peer.send(wire.BytesMessage(b""))
            await websocket.receive()
            assert len(answers) == count


async def test_a_ping_without_waiting_whose_connection_ends_tells_nothing(engine: str) -> None:
    async with opened(engine, at_once=True) as (websocket, peer):
        answers: list[float] = []
        if not websocket.ping_now(lambda: answers.append(trio.current_time())):
            assert engine == "trio-websocket"
            return
        await peer.next()
        await peer.stream.aclose()
        with pytest.raises(WebSocketClosed):
            await websocket.receive()
        assert not answers
        assert not websocket.ping_now(lambda: answers.append(trio.current_time()))


async def test_an_unsolicited_pong(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        await websocket.pong()
        assert isinstance(await peer.next(), wire.Pong)


async def test_a_ping_whose_connection_ends(engine: str) -> None:
    async with opened(engine) as (websocket, peer), trio.open_nursery() as nursery:

        async def ping() -> None:
            with pytest.raises(WebSocketClosed):
                await websocket.ping()

        async def receive() -> None:
            with pytest.raises(WebSocketClosed):
                await websocket.receive()

        nursery.start_soon(receive)
        nursery.start_soon(ping)
        await peer.next()
        await peer.stream.aclose()


# Ends ---------------------------------------------------------------------------------------------------------------


async def test_leaving_says_goodbye(engine: str) -> None:
    said: list[wire.Event] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        goodbye = await peer.next()
        said.append(goodbye)
        assert isinstance(goodbye, wire.CloseConnection)
        await peer.send(goodbye.response())

    async with opened(engine, serve, polite=False) as (websocket, _peer):
        del websocket
    assert [event.code for event in said if isinstance(event, wire.CloseConnection)] == [1000]


async def test_a_peer_that_does_not_answer_the_goodbye_is_left_after_a_second(engine: str, autojump_clock: MockClock) -> None:
    async with opened(engine, polite=False) as (websocket, _peer):
        del websocket
        started = trio.current_time()
    assert trio.current_time() - started == pytest.approx(1, abs=0.01)


@pytest.mark.parametrize(("code", "reason"), [(1000, ""), (1001, "going away"), (1009, "too big"), (4321, "ä")])
async def test_what_the_peer_says_at_the_end(engine: str, code: int, reason: str) -> None:
    async with opened(engine) as (websocket, peer):
        await peer.send(wire.BytesMessage(b"last"), wire.CloseConnection(code, reason))
        assert await take(websocket, 1) == [b"last"]
        for _ in range(2):
            with pytest.raises(WebSocketClosed) as caught:
                await websocket.receive()
            assert (caught.value.code, caught.value.reason) == (code, reason)
        with pytest.raises(WebSocketClosed):
            await websocket.send(b"more")
        answer = await peer.next()
        assert isinstance(answer, wire.CloseConnection)
        assert answer.code == code


@pytest.mark.parametrize("how", ["eof", "broken"])
async def test_a_connection_that_breaks(engine: str, how: str) -> None:
    async with opened(engine) as (websocket, peer):
        await peer.send(wire.BytesMessage(b"last"))
        if how == "eof":
            await peer.stream.send_eof()
        else:
            await peer.stream.aclose()
        assert await take(websocket, 1) == [b"last"]
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert caught.value.code == 1006


async def test_in_the_middle_of_a_frame(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        frame = peer.protocol.send(wire.BytesMessage(b"x" * 1000))
        await peer.stream.send_all(frame[:500])
        await peer.stream.send_eof()
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert caught.value.code == 1006


async def test_a_message_that_is_too_large_closes_the_connection_of_trio_websocket() -> None:
    async with opened("trio-websocket", max_message_size=1000) as (websocket, peer):
        await peer.send(wire.BytesMessage(b"x" * 1000), wire.BytesMessage(b"x" * 1001))
        assert await take(websocket, 1) == [b"x" * 1000]
        assert websocket.cut == 0
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert caught.value.code == 1009
        assert caught.value.too_large_for_us
        goodbye = await peer.next()
        assert isinstance(goodbye, wire.CloseConnection)
        assert goodbye.code == 1009


async def test_garbage(engine: str) -> None:
    async with opened(engine) as (websocket, peer):
        await peer.stream.send_all(peer.protocol.send(wire.BytesMessage(b"good")) + b"\xff\xff\xff\xff")
        assert await take(websocket, 1) == [b"good"]
        with pytest.raises(WebSocketClosed) as caught:
            await websocket.receive()
        assert caught.value.code == 1002


async def test_a_body_that_is_cancelled_still_says_goodbye(engine: str) -> None:
    said: list[wire.Event] = []

    async def serve(peer: Peer) -> None:
        await peer.accept()
        goodbye = await peer.next()
        said.append(goodbye)
        assert isinstance(goodbye, wire.CloseConnection)
        await peer.send(goodbye.response())

    with trio.CancelScope() as scope:
        async with opened(engine, serve) as (websocket, _peer):
            scope.cancel()
            await websocket.receive()
    assert [event.code for event in said if isinstance(event, wire.CloseConnection)] == [1000]


@pytest.mark.parametrize("steps", range(1, 12))
async def test_opening_may_be_cancelled_anywhere(engine: str, steps: int, autojump_clock: MockClock) -> None:
    """Nothing stays open."""
    client, server = memory_stream_pair()
    peer = Peer(server)

    async def connector(host: str, port: int) -> trio.abc.Stream:
        await trio.lowlevel.checkpoint()
        return client

    async def serve(peer: Peer) -> None:
        with suppress(wsproto.utilities.RemoteProtocolError):
            await peer.accept()

    async def cancel(scope: trio.CancelScope) -> None:
        for _ in range(steps):
            await trio.lowlevel.checkpoint()
        scope.cancel()

    async with open_services() as services:
        services.start_soon(serve, peer, name="peer")
        with trio.CancelScope() as scope:
            services.start_soon(cancel, scope, name="cancel")
            async with open_websocket(
                "ws://gateway.test/", connector=connector, ssl_context=None, headers=(), subprotocols=(), options=options(engine)
            ):
                await trio.sleep_forever()
    with pytest.raises((trio.ClosedResourceError, trio.BrokenResourceError)):
        await client.send_all(b"x")
