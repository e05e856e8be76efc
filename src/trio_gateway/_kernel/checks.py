"""Carries out what recovery wants: its questions are asked, its deadlines kept, and its verdicts handed to the owner.

The one idea: `Recovery` decides and does nothing; this does and decides nothing. The connection is the owner's, a session or a
relay: it makes the questions in its own framing. What is asked of the gateway, or over another connection, is asked here.
"""

from __future__ import annotations

import logging
import math
import uuid
from collections.abc import Callable, Iterable
from typing import Final

import trio

from .._api import KernelApi
from .._errors import GatewayConnectionError, GatewayError, GatewayTimeoutError, KernelNotFoundError
from .._models import KernelModel
from .._protocol import codec
from .._protocol.messages import Message
from .._protocol.recovery import (
    Action,
    AskElsewhere,
    AskGateway,
    AskKernel,
    GatewayWord,
    Lost,
    Recovery,
    ReplaceSession,
    SendBarrier,
)
from .._transport.http.client import HttpClient
from .._transport.websocket.opening import HandshakeRejected, WebSocketClosed
from .supervisor import open_channels

__all__ = ["Carrier", "answers_elsewhere", "word_of"]

_logger = logging.getLogger("trio_gateway.session")

ELSEWHERE_SECONDS: Final = 5.0
"""How long asking a kernel over another connection may take, in seconds, the handshake included."""


class Carrier:
    """Carries out what one recovery machine wants. A base class: a session and a relay each have theirs.

    Args:
        recovery: the machine.
        api: the gateway's REST interface.
        kernel_id: the kernel.
        start_soon: starts a service that ends with the owner's block at the latest.
    """

    __slots__ = ("_api", "_changed", "_kernel_id", "_seeking", "_start_soon", "_ticking", "_timer", "recovery")

    recovery: Recovery
    """The machine. Whoever feeds it hands what it returns to `act`."""

    def __init__(self, recovery: Recovery, api: KernelApi, kernel_id: str, start_soon: Callable[..., trio.CancelScope]) -> None:
        self.recovery = recovery
        self._api = api
        self._kernel_id = kernel_id
        self._start_soon = start_soon
        self._timer: trio.CancelScope | None = None
        self._ticking = False
        self._seeking: trio.CancelScope | None = None
        self._changed: trio.lowlevel.ParkingLot | None = None  # most owners never wait

    # What the owner does --------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether a consumer keeps the owner from reading."""
        raise NotImplementedError

    def make_question(self) -> Message:
        """Make a question for the kernel's control channel."""
        raise NotImplementedError

    def put(self, action: AskKernel | SendBarrier) -> None:
        """Make this question, name it to the machine, and queue it."""
        raise NotImplementedError

    def lose(self, requests: Iterable[str]) -> None:
        """These requests, by their ids, will have no reply: tell those who wait."""
        raise NotImplementedError

    def replace_session(self) -> None:
        """Drop the connection, and make another one with another session id."""
        raise NotImplementedError

    def learn(self, model: KernelModel | None) -> None:
        """The gateway has this model of the kernel; None where it has no such kernel."""

    # What is done for it ---------------------------------------------------------------------------------------------

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what the machine wants. Never waits."""
        for action in actions:
            if isinstance(action, (AskKernel, SendBarrier)):
                self.put(action)
            elif isinstance(action, AskGateway):
                self._seeking = self._start_soon(self.ask_gateway, name="trio_gateway.ask_gateway")
            elif isinstance(action, AskElsewhere):
                question = self.make_question()
                self.recovery.seeks(question.msg_id)
                self._seeking = self._start_soon(self._ask_elsewhere, question, name="trio_gateway.ask_elsewhere")
            elif isinstance(action, Lost):
                self.lose(action.requests)
            elif isinstance(action, ReplaceSession):
                _logger.warning("connection_is_mute", extra={"gateway.kernel_id": self._kernel_id})
                self.replace_session()
        if self._seeking is not None and not self.recovery.suspect:
            self._seeking.cancel()  # the kernel has answered, or there is another connection: nobody wants to know any more
            self._seeking = None
        if self._changed is not None:
            self._changed.unpark_all()
        deadline = self.recovery.next_deadline()
        if self._timer is not None:
            self._timer.deadline = deadline
            if deadline == math.inf:
                self._timer.cancel()  # no task waits for nothing
        elif deadline < math.inf and not self._ticking:
            self._ticking = True
            self._start_soon(self._keep_time, name="trio_gateway.recovery")

    def must_wait(self, msg_id: str) -> bool:
        """Whether what is next to be sent must wait; then what may be sent before it is queued, first of all."""
        if self.recovery.may_send(msg_id):
            return False
        self.act(self.recovery.wants_to_send())
        return True

    async def wait_change(self) -> None:
        """Wait until something has changed. Cancellation: safe."""
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        await self._changed.park()

    async def _keep_time(self) -> None:
        """Call the machine at its deadlines, until it has none."""
        await trio.lowlevel.checkpoint()
        try:
            while (deadline := self.recovery.next_deadline()) < math.inf:
                with trio.CancelScope(deadline=deadline) as self._timer:
                    await trio.sleep_forever()
                self.act(self.recovery.timed_out(trio.current_time(), paused=self.paused))
        finally:
            self._timer = None
            self._ticking = False

    async def ask_gateway(self) -> None:
        """Ask the gateway about the kernel, and have the machine learn from its answer. Raises nothing."""
        await trio.lowlevel.checkpoint()
        try:
            model = await self._api.get(self._kernel_id)
        except KernelNotFoundError:
            self.learn(None)
            word = GatewayWord.UNKNOWN
        except (GatewayConnectionError, GatewayTimeoutError):
            word = GatewayWord.UNREACHABLE
        except GatewayError as error:
            self.note_failed("check_failed", error)
            word = GatewayWord.NO_ANSWER
        else:
            self.learn(model)
            word = word_of(model)
        self.act(self.recovery.gateway_said(word, trio.current_time(), paused=self.paused))

    async def _ask_elsewhere(self, question: Message) -> None:
        answered = await answers_elsewhere(self._api.http, self._kernel_id, question)
        self.act(self.recovery.elsewhere_said(answered, trio.current_time()))

    def note_failed(self, what: str, error: GatewayError) -> None:
        """Log that something was not found out."""
        _logger.debug(what, extra={"gateway.kernel_id": self._kernel_id, "gateway.reason": repr(error)})


def word_of(model: KernelModel) -> GatewayWord:
    """Return what the gateway's model of a kernel says."""
    if model.execution_state == "dead":
        return GatewayWord.UNKNOWN
    return GatewayWord.IDLE if model.execution_state == "idle" else GatewayWord.BUSY


async def answers_elsewhere(http: HttpClient, kernel_id: str, question: Message) -> bool:
    """Ask a kernel over a connection of its own, with another session id, for some seconds; say whether it answered.

    Args:
        http: the gateway's HTTP client.
        kernel_id: the kernel.
        question: for the control channel.

    Cancellation: safe.
    """
    with trio.move_on_after(ELSEWHERE_SECONDS):
        while True:
            await trio.lowlevel.checkpoint()
            try:
                return await _answers(http, kernel_id, question)
            except (GatewayConnectionError, GatewayTimeoutError, WebSocketClosed) as error:
                _logger.debug("check_failed", extra={"gateway.kernel_id": kernel_id, "gateway.reason": repr(error)})
                await trio.sleep(http.config.gateway_retry_interval)
            except (GatewayError, HandshakeRejected) as error:
                _logger.debug("check_failed", extra={"gateway.kernel_id": kernel_id, "gateway.reason": repr(error)})
                return False
    return False


async def _answers(http: HttpClient, kernel_id: str, question: Message) -> bool:
    async with open_channels(http, kernel_id, uuid.uuid4().hex, [codec.V1_SUBPROTOCOL]) as websocket:
        v1 = websocket.subprotocol == codec.V1_SUBPROTOCOL
        decode = codec.Decoder(v1=v1).decode
        await websocket.send(codec.parts_v1(question) if v1 else codec.encode_legacy(question))
        while True:
            for message in map(decode, await websocket.receive()):
                if message.channel == "control" and message.parent_id == question.msg_id:
                    return True
