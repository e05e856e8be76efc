"""The server's end of a WebSocket for tests of the client's: another implementation (wsproto) over streams in memory."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any

import trio
import wsproto
import wsproto.events as wire
from trio.testing import memory_stream_pair

from trio_gateway._services import open_services
from trio_gateway._transport.websocket.engine import WebSocket, WebSocketOptions
from trio_gateway._transport.websocket.opening import open_websocket

__all__ = ["Peer", "opened", "options", "receive_whole", "take"]


class Peer:
    """The server's side of one connection."""

    def __init__(self, stream: trio.abc.HalfCloseableStream) -> None:
        self.stream = stream
        self.protocol = wsproto.WSConnection(wsproto.ConnectionType.SERVER)
        self.request: wire.Request | None = None
        self._events: Iterator[wire.Event] = iter(())

    async def next(self) -> wire.Event:
        """Wait for what the client says next."""
        while True:
            for event in self._events:
                return event
            data = await self.stream.receive_some(65_536)
            self.protocol.receive_data(bytes(data) or None)
            self._events = self.protocol.events()

    async def send(self, *events: wire.Event) -> None:
        """Say something."""
        await self.stream.send_all(b"".join(self.protocol.send(event) for event in events))

    async def farewell(self) -> None:
        """Answer the client's goodbye, whatever it still says before it, so that it does not wait for that."""
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError, wsproto.utilities.ProtocolError):
            while not isinstance(event := await self.next(), wire.CloseConnection):
                pass
            await self.send(event.response())

    async def accept(self, subprotocol: str | None = None, headers: Sequence[tuple[bytes, bytes]] = ()) -> None:
        """Take the handshake."""
        request = await self.next()
        assert isinstance(request, wire.Request)
        self.request = request
        await self.send(wire.AcceptConnection(subprotocol=subprotocol, extra_headers=list(headers)))


def options(engine: str, **changes: Any) -> WebSocketOptions:
    """Options with some changes."""
    return WebSocketOptions(
        **{"max_message_size": 1_000_000, "connect_timeout": 5, "handshake_timeout": 9, "engine": engine, **changes}
    )


@asynccontextmanager
async def opened(
    engine: str,
    serve: Callable[[Peer], Any] | None = None,
    *,
    headers: Sequence[tuple[str, str]] = (),
    subprotocols: Sequence[str] = ("v1.kernel.websocket.jupyter.org",),
    polite: bool = True,
    at_once: bool = False,
    **changes: Any,
) -> AsyncGenerator[tuple[WebSocket, Peer]]:
    """A WebSocket and its peer, which takes the handshake unless it is told otherwise.

    Where it is `at_once`, its stream takes what is sent without waiting.
    """
    client, server = memory_stream_pair()

    def send_now(data: bytes) -> int:
        server.receive_stream.put_data(data)
        return len(data)

    if at_once:
        client.send_now = send_now  # type: ignore[attr-defined]
    peer = Peer(server)

    async def connector(host: str, port: int) -> trio.abc.Stream:
        assert (host, port) == ("gateway.test", 80)
        await trio.lowlevel.checkpoint()
        return client

    async with open_services() as services:  # unlike a nursery, it lets what the body raises out as it is
        services.start_soon(serve or Peer.accept, peer, name="peer")
        async with open_websocket(
            "ws://gateway.test/api/kernels/1/channels?session_id=2",
            connector=connector,
            ssl_context=None,
            headers=headers,
            subprotocols=subprotocols,
            options=options(engine, **changes),
        ) as websocket:
            yield websocket, peer
            if polite:
                services.start_soon(peer.farewell, name="farewell")


async def take(websocket: WebSocket, count: int) -> list[bytes | str]:
    """Receive so many messages."""
    messages: list[bytes | str] = []
    while len(messages) < count:
        messages += await websocket.receive()
    return messages


async def receive_whole(peer: Peer) -> bytes | str:
    """The client's next message."""
    pieces: list[Any] = []
    while True:
        event = await peer.next()
        assert isinstance(event, wire.Message)
        pieces.append(bytes(event.data) if isinstance(event.data, (bytes, bytearray)) else event.data)
        if event.message_finished:
            return type(pieces[0])().join(pieces)  # type: ignore[no-any-return]
