"""A WebSocket client of another implementation than the library's, for the tests of the fake's wire."""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import trio
import wsproto
import wsproto.events as ws_events

from trio_gateway import Message
from trio_gateway._protocol import codec
from trio_gateway.testing import FakeGateway


class WebSocket:
    """One connection to a kernel's channels."""

    def __init__(self, stream: trio.abc.Stream, *, v1: bool) -> None:
        self.stream = stream
        self.ws = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        self.v1 = v1
        self._events: deque[ws_events.Event] = deque()
        self._pieces: list[bytes | str] = []

    async def next_event(self) -> ws_events.Event | None:
        """Return what comes next; None at the end, also where the connection broke."""
        while not self._events:
            try:
                data = await self.stream.receive_some()
            except trio.BrokenResourceError:
                return None
            if not data:
                return None
            self.ws.receive_data(data)
            self._events.extend(self.ws.events())
        return self._events.popleft()

    async def send(self, event: ws_events.Event) -> None:
        await self.stream.send_all(self.ws.send(event))

    async def say(self, message: Message) -> None:
        """Send a message."""
        frame = codec.encode_v1(message) if self.v1 else codec.encode_legacy(message)
        event = ws_events.BytesMessage(data=bytes(frame)) if isinstance(frame, bytes) else ws_events.TextMessage(data=frame)
        await self.send(event)

    async def next_frame(self) -> bytes | str | ws_events.Event | None:
        """Return the next message's frame, whole, or what comes in its place."""
        while isinstance(event := await self.next_event(), ws_events.Message):
            self._pieces.append(bytes(event.data) if isinstance(event, ws_events.BytesMessage) else event.data)
            if event.message_finished:
                pieces, self._pieces = self._pieces, []
                return b"".join(pieces) if isinstance(event, ws_events.BytesMessage) else "".join(pieces)  # type: ignore[arg-type]
        return event

    async def messages_until(self, msg_type: str) -> list[Message]:
        """Return the messages up to one of a type."""
        found: list[Message] = []
        while not found or found[-1].msg_type != msg_type:
            frame = await self.next_frame()
            assert isinstance(frame, bytes | str), frame
            found.append(codec.decode(frame, v1=self.v1))
        return found


@asynccontextmanager
async def websocket(
    fake: FakeGateway, kernel_id: str, *, session_id: str = "front", v1: bool = True, query: str = ""
) -> AsyncGenerator[WebSocket]:
    """Open a WebSocket to a kernel of a fake."""
    async with await fake.connector("fake", 1) as stream:
        made = WebSocket(stream, v1=v1)
        target = f"{fake.base_path}/api/kernels/{kernel_id}/channels?session_id={session_id}{query}"
        headers = [(b"Authorization", f"token {fake.token}".encode())]
        offered = [codec.V1_SUBPROTOCOL] if v1 else []
        await made.send(ws_events.Request(host="fake", target=target, subprotocols=offered, extra_headers=headers))
        accepted = await made.next_event()
        assert isinstance(accepted, ws_events.AcceptConnection), accepted
        assert accepted.subprotocol == (codec.V1_SUBPROTOCOL if v1 else None)
        yield made
