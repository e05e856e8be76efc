"""What goes over one kernel session's connection: requests out of the outbox, and messages to the session.

The one idea: messages are encoded where they are written and decoded where they are read, and neither task waits for anybody, but
for a consumer that has asked for that. While the one that writes has nothing to do, a small message is written by the task that
asks for it: that does not wait, so no cancellation can cut it. How the connection is made and kept is the supervisor's business.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Sequence
from typing import Final

import trio

from .._errors import GatewayError, MessageTooLargeError, ProtocolError
from .._protocol import codec
from .._protocol.messages import Buffer, Message
from .._transport.websocket.opening import WebSocket, WebSocketClosed
from .checks import Checks
from .inbox import FAIRNESS, Inbox
from .outbox import message_of
from .pending import Pending
from .requests import Requests
from .router import Router
from .status import SessionStatus
from .supervisor import SMALLEST_LIMIT

__all__ = ["SMALL", "MessageExchange"]

_logger = logging.getLogger("trio_gateway.session")

NOTHING: Final = (0, "", -math.inf)
SMALL: Final = 16 * 1024
"""A message of less, in bytes, is written by the task that asks for it."""


class MessageExchange:
    """Sends a session's requests, and gives the messages that come to its router.

    Args:
        status: how the session is.
        requests: what waits to be sent, and what was.
        router: gets what comes.
        checks: finds out whether a connection that was made again leads to the kernel, before something is sent over it.
        takes_bytes: how many bytes a message may have at most, as far as the gateway's limit is known; else None.
    """

    __slots__ = (
        "_begun",
        "_checks",
        "_largest",
        "_requests",
        "_router",
        "_status",
        "_takes_bytes",
        "_v1",
        "_websocket",
        "_writing",
        "paused",
    )

    paused: bool
    """Whether nothing is read at the moment because a consumer that asked for that has no room."""

    def __init__(
        self, status: SessionStatus, requests: Requests, router: Router, checks: Checks, takes_bytes: int | None
    ) -> None:
        self._status = status
        self._requests = requests
        self._router = router
        self._checks = checks
        self._takes_bytes = takes_bytes
        self._v1 = True
        self._largest = NOTHING  # of those that nobody waits for: size, type, when it was sent
        self._writing = False
        self._websocket: WebSocket | None = None  # of the task that writes
        self._begun: Pending | None = None  # what was last written in part, without waiting
        self.paused = False

    @property
    def sending(self) -> bool:
        """Whether something is being written at the moment."""
        return self._writing or (self._websocket is not None and self._websocket.unfinished)

    def begin(self, *, v1: bool) -> None:
        """A connection was made, and this framing selected on it."""
        self._v1 = v1
        self._largest = NOTHING

    async def send_all(self, websocket: WebSocket) -> None:
        """The one task that writes messages."""
        outbox, checks, status = self._requests.outbox, self._checks, self._status
        recovery = checks.recovery
        self._websocket = websocket
        outbox.write_now = self._write_now
        try:
            while True:
                message = message_of(await outbox.first())
                # Looked at only now: it may have come to be held while nothing was there to be sent.
                if recovery.holding and not status.shutting_down and not recovery.may_send(message.msg_id):
                    await checks.hold()
                    continue
                await self._send(websocket, await outbox.take())
        except WebSocketClosed:
            return  # the receiver takes in what had come before the end, and tells how it ended
        finally:
            outbox.write_now = None
            if self._begun is not None and websocket.unfinished:
                self._begun.cut = True
            self._websocket = self._begun = None

    def _write_now(self, item: Pending | Message) -> bool:
        """Write something without waiting, if it is small and that can be done; say whether it needs no queue any more.

        The caller sees to it that nothing waits before it.
        """
        websocket, recovery = self._websocket, self._checks.recovery
        held = recovery.holding and not self._status.shutting_down
        if websocket is None or held or message_of(item).size >= SMALL:
            return False
        frame = self._encode(item)
        if frame is None:
            return True
        if not websocket.send_now(frame):
            return False
        self._note_sent(item, frame)
        if isinstance(item, Pending) and websocket.unfinished:
            self._begun = item
        return True

    async def _send(self, websocket: WebSocket, item: Pending | Message) -> None:
        frame = self._encode(item)
        if frame is None:
            return
        self._note_sent(item, frame)
        self._writing = True
        try:
            await websocket.send(frame)
        except BaseException:
            if isinstance(item, Pending):
                item.cut = True
            raise
        finally:
            self._writing = False

    def _encode(self, item: Pending | Message) -> bytes | str | Sequence[Buffer] | None:
        """Return the frame of something; None where it can't be sent, which its caller has learnt."""
        message = message_of(item)
        try:
            frame = codec.parts_v1(message) if self._v1 else codec.encode_legacy(message)
            size = codec.frame_size(frame)
            if self._takes_bytes is not None and size > self._takes_bytes:
                raise MessageTooLargeError(self._status.kernel_id, message.msg_type, size, self._takes_bytes)
        except GatewayError as error:
            if isinstance(item, Pending):
                item.fail(error)
            else:
                self._note_unsent(message, error)
            return None
        return frame

    def _note_sent(self, item: Pending | Message, frame: bytes | str | Sequence[Buffer]) -> None:
        """Note when something was sent, or begins to be, and how large it is."""
        status, size = self._status, codec.frame_size(frame)
        message = message_of(item)
        if isinstance(item, Pending):
            item.connection = status.connections
            item.order, item.sent_at = self._checks.sent(message.msg_id)
            item.sent_bytes = size
        elif item.msg_type == "input_reply":
            self._requests.note_input(item)
        if not isinstance(item, Pending) and (size >= self._largest[0] or status.liveness.carried > self._largest[2]):
            self._largest = (size, message.msg_type, trio.current_time())

    def refused(self, reason: str) -> bool:
        """The gateway closed the connection because a message is larger than it takes: find out which, and fail it.

        It is the largest one that was sent over this connection, and of which is not known that it came through.

        Args:
            reason: what the gateway said.

        Returns:
            Whether there is one that it can be.
        """
        status = self._status
        unanswered = [
            pending
            for pending in self._requests.unanswered()
            if pending.connection == status.connections and not pending.reached and not pending.settled
        ]
        found = max(unanswered, key=lambda pending: pending.sent_bytes, default=None)
        size, msg_type, when = self._largest
        self._largest = NOTHING
        if status.liveness.carried > when:
            size = 0
        if max(size, 0 if found is None else found.sent_bytes) < SMALLEST_LIMIT:
            return False
        if found is not None and found.sent_bytes >= size:
            found.fail(MessageTooLargeError(status.kernel_id, found.message.msg_type, found.sent_bytes, None, reason))
        else:
            error = MessageTooLargeError(status.kernel_id, msg_type, size, None, reason)
            _logger.warning("message_refused", extra={"gateway.kernel_id": status.kernel_id, "gateway.reason": str(error)})
        return True

    def _note_unsent(self, message: Message, error: GatewayError) -> None:
        """Say that a message that nobody waits for was not sent."""
        extra = {"gateway.kernel_id": self._status.kernel_id, "gateway.reason": f"{message.msg_type}: {error}"}
        _logger.warning("message_refused", extra=extra)

    async def receive_all(self, websocket: WebSocket) -> None:
        """The one task that reads messages. It waits for a consumer only where that one has asked for it."""
        liveness, router = self._status.liveness, self._router
        decode = codec.Decoder(v1=self._v1).decode
        route = router.route
        while True:
            frames = await websocket.receive()
            liveness.message(trio.current_time())
            for number, frame in enumerate(frames, 1):
                full: Sequence[Inbox] = ()
                try:
                    message = decode(frame)
                except codec.TooLargeError as error:
                    router.note_too_large(error)
                except ProtocolError as error:
                    router.note_garbage(error)
                else:
                    full = route(message)
                if full:
                    await self._wait_for_consumers(full, decode, frames[number:])
                elif number % FAIRNESS == 0:
                    # As many as a consumer takes in one go: so one that keeps up never falls behind a large read. Shielded:
                    # what has been read is routed, also if the connection is being dropped.
                    await trio.lowlevel.cancel_shielded_checkpoint()

    async def _wait_for_consumers(
        self, full: Sequence[Inbox], decode: Callable[[bytes | str], Message], rest: Sequence[bytes | str]
    ) -> None:
        """Wait until those who asked for it have room. If the connection is dropped meanwhile, they get the rest all the same."""
        self.paused = True
        try:
            for inbox in full:
                await inbox.wait_room()
        except BaseException:
            for frame in rest:
                try:
                    self._router.route(decode(frame))
                except codec.TooLargeError as error:
                    self._router.note_too_large(error)
                except ProtocolError as error:
                    self._router.note_garbage(error)
            raise
        finally:
            self.paused = False
