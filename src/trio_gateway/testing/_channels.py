"""A WebSocket to a kernel's channels, from the server's side.

The one idea: what a kernel sends goes through the rate limiter, the faults and the framing into a queue, and one task writes it;
the queue is as unbounded as a gateway's, so a client that does not read holds nobody up until it misses its pings.
"""

from __future__ import annotations

import json
import struct
from collections import deque
from collections.abc import Sequence
from typing import Final

import attrs
import trio
import wsproto
import wsproto.events as ws_events
from wsproto.utilities import LocalProtocolError, RemoteProtocolError

from .._errors import GatewayError
from .._protocol import codec
from .._protocol.messages import Buffer, Message
from ._faults import Garbage, MessageAction, Spoilt
from ._kernel import FakeKernel
from ._rate_limit import RateLimiter
from ._sockets import Streams
from ._state import GatewayState
from ._streams import ServerStream

__all__ = ["Channels"]

_LATE: Final = 1.0
_PING_WAIT: Final = 3
_PING_WAIT_AT_LEAST: Final = 30.0


@attrs.define
class _Frame:
    """Something to be written: a message, or a frame of control."""

    event: ws_events.Event
    cut: float | None = None
    """How much of it is written before the connection is cut, from 0 to 1; None: all, and no cut."""
    last: bool = False
    """Whether the connection is closed after it."""


class Channels:
    """One client's WebSocket to a kernel. Made by the server when the handshake is done."""

    def __init__(
        self,
        gateway: GatewayState,
        stream: ServerStream,
        ws: wsproto.WSConnection,
        kernel: FakeKernel,
        session_id: str,
        *,
        v1: bool,
    ) -> None:
        self._gateway = gateway
        self._stream = stream
        self._ws = ws
        self._kernel = kernel
        self._session_id = session_id
        self._v1 = v1
        self._out: deque[_Frame] = deque()
        self._more = trio.Event()
        self._running = trio.CancelScope()
        self._limiter = RateLimiter(gateway.iopub_msg_rate_limit, gateway.iopub_data_rate_limit, gateway.rate_limit_window)
        self._pieces: list[bytes | str] = []
        self._held: list[Message] = []
        self._streams: Streams | None = None
        self._mute = False
        self.last_pong: float = trio.current_time()
        self.sent_messages: int = 0
        self.received_messages: int = 0

    @property
    def _name(self) -> str:
        return f"#{self._stream.number}"

    async def run(self) -> None:
        """Serve it to its end."""
        kernel = self._kernel
        with self._running:
            self._streams = streams = kernel.connect(self, self._session_id, self._gateway)
            self._gateway.faults.on_websocket(self._stream)
            self._mute = self._gateway.faults.silences(self._session_id)
            try:
                replay, streams.buffer = streams.buffer, []
                kernel.greet()
                for message in replay:
                    self.give(message)
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._write, name="fake.write")
                    nursery.start_soon(self._ping, name="fake.ping")
                    await self._read()
                    nursery.cancel_scope.cancel()
            finally:
                kernel.disconnect(streams, self)

    # To the client ----------------------------------------------------------------------------------------------------

    def give(self, message: Message) -> None:
        """Take a message for the client."""
        if self._mute and message.channel != "iopub":
            self._gateway.conversation.note(f"{self._name} x", f"mute: {message.msg_type} {message.msg_id[-8:]} went nowhere")
            return
        if message.channel == "iopub":
            passes, notice = self._limiter.judge(message, trio.current_time())
            if notice:
                told = {"name": "stderr", "text": notice}
                self._queue(self._kernel.server_message("stream", told, message))
            if not passes:
                return
        self._queue(message)

    def _queue(self, message: Message) -> None:
        actions = self._gateway.faults.on_message(self._kernel, message, to_client=True)
        if MessageAction.DROP in actions:
            self._gateway.conversation.note(f"{self._name} x", f"dropped {message.msg_type} {message.msg_id[-8:]}")
            return
        if MessageAction.HOLD in actions:
            self._held.append(message)
            self._gateway.spawn(self._release_late, "reorder")
            return
        spoils = [action for action in actions if isinstance(action, Spoilt)]
        for action in actions:
            if isinstance(action, Garbage):
                self._put(_as_event(action.frame))
        cut = 0.5 if MessageAction.CUT_INSIDE in actions else 0.0 if MessageAction.CUT_BEFORE in actions else None
        for _ in range(2 if MessageAction.DUPLICATE in actions else 1):
            self._send(message, cut, spoils)
        self._release()

    def _release(self) -> None:
        held, self._held = self._held, []
        for late in held:
            self._send(late)

    async def _release_late(self) -> None:
        """Late is not never: also what nothing follows is sent."""
        await trio.sleep(_LATE)
        self._release()

    def _send(self, message: Message, cut: float | None = None, spoils: Sequence[Spoilt] = ()) -> None:
        self._gateway.conversation.message(f"{self._name} >", message)
        if cut is not None:
            self._gateway.conversation.note(f"{self._name} x", f"lost, or a part of it: {message.msg_type} {message.msg_id[-8:]}")
        self.sent_messages += 1
        frame: bytes | str
        if spoils:
            frame = _spoilt(message, spoils, v1=self._v1)
        else:
            frame = codec.encode_v1(message) if self._v1 else codec.encode_legacy(message, as_server=True)
        self._put(_as_event(frame), cut=cut)

    def _put(self, event: ws_events.Event, *, cut: float | None = None, last: bool = False) -> None:
        self._out.append(_Frame(event, cut, last))
        self._more.set()

    def hang_up(self, reason: str, code: int = 1000) -> None:
        """Close the connection, with a goodbye for those who still listen."""
        self._gateway.conversation.note(f"{self._name} >", f"close {code} {reason}")
        self._put(ws_events.CloseConnection(code=code, reason=reason), last=True)

    async def _write(self) -> None:
        while True:
            while not self._out:
                await self._more.wait()
                self._more = trio.Event()
            frame = self._out.popleft()
            try:
                data = self._ws.send(frame.event)
            except LocalProtocolError:
                continue  # the closing handshake has begun
            if frame.cut is not None:
                await self._stream.send_all(data[: int(len(data) * frame.cut)])
                self._gateway.note_cut(self._stream.number)
                self._stream.reset(keep=True)
                self._running.cancel()
            elif not await self._stream.send_all(data) or frame.last:
                self._running.cancel()
            await trio.lowlevel.checkpoint()

    async def _ping(self) -> None:
        interval = self._gateway.ping_interval
        if not interval:
            return
        while True:
            await trio.sleep(interval)
            if trio.current_time() - self.last_pong > max(_PING_WAIT * interval, _PING_WAIT_AT_LEAST):
                self._gateway.conversation.note(f"{self._name} x", "WebSocket ping timeout")
                self._stream.reset()
                self._running.cancel()
                return
            self._put(ws_events.Ping(payload=b"fake"))

    # From the client --------------------------------------------------------------------------------------------------

    async def _read(self) -> None:
        while True:
            try:
                for event in self._ws.events():
                    if not self._take(event):
                        await self._flush_goodbye()
                        return
                data = await self._stream.receive_some()
                if not data:
                    return
                self._ws.receive_data(data)
            except (RemoteProtocolError, LocalProtocolError) as error:
                self._gateway.conversation.note(f"{self._name} x", f"not WebSocket: {error}")
                self._gateway.protocol_errors.append(str(error))
                return

    async def _flush_goodbye(self) -> None:
        # The writer ends it all after the goodbye.
        with trio.move_on_after(1):
            await trio.sleep_forever()

    def _take(self, event: ws_events.Event) -> bool:
        """Take what came; say whether the connection goes on."""
        if isinstance(event, ws_events.Message):
            self._pieces.append(bytes(event.data) if isinstance(event, ws_events.BytesMessage) else str(event.data))
            if sum(map(len, self._pieces)) > self._gateway.max_message_size:
                self.hang_up("message too big", 1009)
                return False
            if event.message_finished:
                pieces, self._pieces = self._pieces, []
                self._take_message(_join(pieces))
        elif isinstance(event, ws_events.Ping):
            self._put(event.response())
        elif isinstance(event, ws_events.Pong):
            self.last_pong = trio.current_time()
        elif isinstance(event, ws_events.CloseConnection):
            self._gateway.conversation.note(f"{self._name} <", f"close {event.code}")
            try:
                self._put(event.response(), last=True)
            except LocalProtocolError:
                return False
            return False
        return True

    def _take_message(self, frame: bytes | str) -> None:
        self.received_messages += 1
        try:
            message = codec.decode(frame, v1=self._v1)
        except GatewayError as error:
            self._gateway.conversation.note(f"{self._name} x", f"not a message: {error}")
            self._gateway.protocol_errors.append(str(error))
            return
        self._gateway.conversation.message(f"{self._name} <", message)
        if self._mute:
            self._gateway.conversation.note(f"{self._name} x", f"mute: {message.msg_type} {message.msg_id[-8:]} went nowhere")
            return
        actions = self._gateway.faults.on_message(self._kernel, message, to_client=False)
        if actions:
            self._gateway.conversation.note(f"{self._name} x", f"lost: {message.msg_type} {message.msg_id[-8:]}")
        assert self._streams is not None
        if MessageAction.CUT_BEFORE in actions or MessageAction.CUT_INSIDE in actions:
            self._gateway.note_cut(self._stream.number)
            self._stream.reset(keep=True)
            self._running.cancel()
            return
        if MessageAction.DROP not in actions:
            self._kernel.take(message, self._streams)


def _spoilt(message: Message, spoils: Sequence[Spoilt], *, v1: bool) -> bytes | str:
    """Make a frame of a message, some parts of which are something else."""
    parts = {
        "channel": message.channel.encode() if v1 else json.dumps(message.channel).encode(),
        "header": bytes(message.header_raw),
        "parent_header": bytes(message.parent_raw),
        "metadata": bytes(message.metadata_raw),
        "content": bytes(message.content_raw),
    }
    for spoilt in spoils:
        parts[spoilt.part] = spoilt.by(parts[spoilt.part])
    if v1:
        pieces: list[Buffer] = [*parts.values(), *message.buffers]
        offsets = [8 * (len(pieces) + 2)]
        for piece in pieces:
            offsets.append(offsets[-1] + len(piece))
        return b"".join([struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets), *pieces])
    text = ",".join([f'"{name}":{value.decode("utf-8", "replace")}' for name, value in parts.items()])
    if not message.buffers:
        return f"{{{text}}}"
    pieces = [f"{{{text}}}".encode(), *message.buffers]
    offsets = [4 * (len(pieces) + 1)]
    for piece in pieces[:-1]:
        offsets.append(offsets[-1] + len(piece))
    return b"".join([struct.pack(f">{len(offsets) + 1}I", len(pieces), *offsets), *pieces])


def _as_event(frame: bytes | str) -> ws_events.Event:
    return ws_events.BytesMessage(data=frame) if isinstance(frame, bytes) else ws_events.TextMessage(data=frame)


def _join(pieces: list[bytes | str]) -> bytes | str:
    if isinstance(pieces[0], bytes):
        return b"".join(piece for piece in pieces if isinstance(piece, bytes))
    return "".join(piece for piece in pieces if isinstance(piece, str))
