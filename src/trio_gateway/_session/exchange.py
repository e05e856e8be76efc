"""What goes over one kernel session's connection: requests out of the outbox, and messages to the session.

The one idea: messages are encoded where they are written and decoded where they are read, and neither task waits for anybody, but
for a consumer that has asked for that. How the connection is made and kept is the supervisor's business.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import trio

from .._errors import GatewayError, ProtocolError
from .._protocol import codec
from .._protocol.messages import Message
from .._transport.websocket import WebSocket, WebSocketClosed
from .inbox import FAIRNESS, Inbox
from .pending import Pending

if TYPE_CHECKING:
    from .session import KernelSession

__all__ = ["MessageExchange"]


class MessageExchange:
    """Sends a session's requests, and gives it the messages that come.

    Args:
        session: the session.
    """

    def __init__(self, session: KernelSession) -> None:
        self._session = session
        self._v1 = True
        self._full: list[Inbox] = []
        self.sending: bool = False
        self.paused: bool = False

    def begin(self, *, v1: bool) -> None:
        """A connection was made, and this framing selected on it."""
        self._v1 = v1
        self._full.clear()

    def pause_for(self, inbox: Inbox) -> None:
        """Read no more until this inbox has room."""
        self._full.append(inbox)

    async def send_all(self, websocket: WebSocket) -> None:
        """The one task that writes messages."""
        session = self._session
        try:
            heard = session.connections == 1
            # The connection before this one brought nothing: ask for a word at once, for on that depends how long we go on.
            greeting = await self._greet(websocket) if session.unheard else None
            while True:
                if not heard and await session.outbox.first() not in session.questions:
                    greeting = greeting or await self._greet(websocket)
                    if greeting is not None:
                        await session.questions.hear(greeting)
                        await (
                            trio.lowlevel.checkpoint_if_cancelled()
                        )  # the connection may have been dropped: nothing is sent then
                    heard = True
                await self._send(websocket, await session.outbox.take())
        except WebSocketClosed:
            return  # the receiver takes in what had come before the end, and tells how it ended

    async def _greet(self, websocket: WebSocket) -> Pending | None:
        """Ask whether a connection that was made again leads somewhere, before something is sent that may be lost there."""
        greeting = self._session.questions.greeting()
        if greeting is not None:
            await self._send(websocket, greeting)
        return greeting

    async def _send(self, websocket: WebSocket, item: Pending | Message) -> None:
        encode = codec.parts_v1 if self._v1 else codec.encode_legacy
        try:
            frame = encode(item.message if isinstance(item, Pending) else item)
        except GatewayError as error:
            if isinstance(item, Pending):
                item.fail(error)
            return
        if isinstance(item, Pending):
            item.connection = self._session.connections
        elif item.msg_type == "input_reply":
            self._session.note_input(item)
        self.sending = True
        try:
            await websocket.send(frame)
        finally:
            self.sending = False

    async def receive_all(self, websocket: WebSocket) -> None:
        """The one task that reads messages. It waits for a consumer only where that one has asked for it."""
        session = self._session
        decode = codec.Decoder(v1=self._v1).decode
        route = session.route
        while True:
            frames = await websocket.receive()
            session.liveness.message(trio.current_time())
            for number, frame in enumerate(frames, 1):
                try:
                    message = decode(frame)
                except codec.TooLargeError as error:
                    session.note_too_large(error)
                except ProtocolError as error:
                    session.note_garbage(error)
                else:
                    route(message)
                if self._full:
                    await self._wait_for_consumers(decode, frames[number:])
                elif number % FAIRNESS == 0:
                    # As many as a consumer takes in one go: so one that keeps up never falls behind a large read. Shielded:
                    # what has been read is routed, also if the connection is being dropped.
                    await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wait_for_consumers(self, decode: Callable[[bytes | str], Message], rest: Sequence[bytes | str]) -> None:
        """Wait until those who asked for it have room. If the connection is dropped meanwhile, they get the rest all the same."""
        self.paused = True
        try:
            while self._full:
                await self._full[-1].wait_room()
                self._full.pop()
        except BaseException:
            for frame in rest:
                try:
                    self._session.route(decode(frame))
                except codec.TooLargeError as error:
                    self._session.note_too_large(error)
                except ProtocolError as error:
                    self._session.note_garbage(error)
            raise
        finally:
            self.paused = False
