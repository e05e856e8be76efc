"""One kernel's session: what is asked of it, what comes of it, and how it is.

The one idea: callers meet the connection only through the outbox and through pending requests. A message that comes is
routed to the request that caused it, to every reader of its channel, and to what is known about the kernel, without ever
waiting for any of them.

Where a reply does not come, a `kernel_info_request` is sent as a barrier: shell is first-in first-out, so when its reply is
there, an earlier request without a reply has lost it, and is failed rather than left waiting (guarantee G3).

A connection that was made again is greeted with a `kernel_info_request` on control before a request goes over it: the gateway may
have restored sockets that lead nowhere, and what is sent into those is lost. Then another session id gets new ones.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio

from .._config import GatewayConfig
from .._errors import (
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayTimeoutError,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    ProtocolError,
    fresh,
)
from .._models import KernelModel
from .._outputs import OutputGap
from .._protocol.kernel_state import CONNECTION_TRANSITIONS, ConnectionState, KernelState, StatusReader, next_kernel_state
from .._protocol.liveness import Liveness, Verdict
from .._protocol.loss import DUPLICATE, MessageLedger
from .._protocol.messages import CHANNELS, Buffer, Message, MessageFactory
from .._transport.api import KernelApi
from .._transport.http import HttpClient
from .._transport.services import Services
from .channels import Channel
from .comms import Comms
from .exchange import MessageExchange
from .inbox import Inbox
from .kernel_channels import ANSWER_SECONDS, answers_elsewhere
from .outbox import Outbox
from .pending import Pending, PendingExecution, PendingProbe, PendingReply
from .supervisor import Supervisor

__all__ = ["KernelSession", "Status"]

_logger = logging.getLogger("trio_gateway.session")

PROBE_AGAIN: Final = 0.25
"""How long a probe of a restarted kernel may take before the next one, in seconds; doubled each time, up to 2."""
PROBE_SECONDS: Final = 30.0
"""How long a restarted kernel is probed at most before it is sent code all the same, in seconds."""
INTERRUPT_SECONDS: Final = 2.0
"""How long a kernel may take to answer an `interrupt_request` before the gateway is asked to interrupt it, in seconds."""
OUT_OF_ORDER: Final = ("xeus", "async")
"""How the implementations begin that were measured to answer `kernel_info` beside code that runs: it is no barrier there."""
EMPTY_EXECUTION: Final[Mapping[str, Any]] = {
    "code": "",
    "silent": True,
    "store_history": False,
    "user_expressions": {},
    "allow_stdin": False,
    "stop_on_error": False,
}
"""The barrier for those: it runs nothing, and in its turn."""
GONE_CHECKS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Pauses, in seconds, before each look whether a kernel that said goodbye is gone: the gateway takes a moment for it."""


@attrs.frozen
class Status:
    """How a kernel and its connection are."""

    kernel: KernelState
    """What the kernel is doing."""
    connection: ConnectionState
    """How the connection is doing."""


class KernelSession:
    """The life of one client's session with one kernel. Whoever makes it runs `run` and `beat` as services.

    Args:
        kernel_id: the kernel.
        session_id: this client's session, unique to it; the gateway buffers and replays by it.
        http: the gateway's HTTP client.
        services: the nursery that owns the session's tasks.
        interrupt_mode: asks what the kernelspec says of interrupts, `"signal"` or `"message"`.
    """

    def __init__(
        self,
        kernel_id: str,
        *,
        session_id: str,
        http: HttpClient,
        services: Services,
        interrupt_mode: Callable[[], Awaitable[str]],
    ) -> None:
        self.kernel_id = kernel_id
        self.api: KernelApi = KernelApi(http)
        self.status: Status = Status(KernelState.STARTING, ConnectionState.CONNECTING)
        self.connections: int = 0
        self.ended: Exception | None = None
        self.ledger: MessageLedger = MessageLedger()
        self.liveness: Liveness = Liveness(http.config.ping_interval, trio.current_time())
        self.outbox: Outbox = Outbox()
        self.channels: Mapping[str, Channel] = {name: Channel(self, name) for name in CHANNELS}
        self.comms: Comms = Comms(self)
        self.status_changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._config = http.config
        self._http = http
        self._services = services
        self._exchange = MessageExchange(self)
        self._supervisor = Supervisor(self, self._exchange, http, services)
        self._factory = MessageFactory(session_id, http.config.kernel_username or "trio_gateway")
        self._pending: dict[str, Pending] = {}
        self._reader = StatusReader()
        self._probed: Pending | None = None
        self._look_elsewhere_at = 0.0
        self._look_elsewhere_pause = http.config.ping_interval
        self._interrupt_mode = interrupt_mode
        self._shutting_down = False
        self._restarting = False
        self._restart_requests = 0
        self._own_restarts = self.api.own_restarts(kernel_id)
        self._barrier: Pending | None = None
        self._running = trio.CancelScope()
        self._opened_once = trio.Event()
        self._met = trio.Event()
        self._met.set()
        self._probing = False

    @property
    def config(self) -> GatewayConfig:
        """The gateway's configuration."""
        return self._config

    @property
    def session_id(self) -> str:
        """This client's session, unique to it; the gateway buffers and replays by it, and kernels route replies by it."""
        return self._factory.session

    @property
    def kernel_state(self) -> KernelState:
        """What the kernel is doing, as far as is known."""
        return self.status.kernel

    def start_soon(self, service: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Start a service that ends with the session's block at the latest."""
        self._services.start_soon(service, *args, name=name)

    # Requests ---------------------------------------------------------------------------------------------------

    def make(
        self,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        parent_header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        subshell_id: str | None = None,
    ) -> Message:
        """Make a message of this session. Raises InvalidInputError if it can't be written as JSON."""
        date = datetime.now(UTC).isoformat()  # noqa: TID251 - a header tells people when; nothing is decided by it
        return self._factory.make(
            channel,
            msg_type,
            content,
            date=date,
            parent_header=parent_header,
            metadata=metadata,
            buffers=buffers,
            subshell_id=subshell_id,
        )

    def submit(self, pending: Pending) -> None:
        """Queue a request and route its answers to it from now on. Raises what ended the session, if it has ended."""
        if self.ended is not None:
            raise fresh(self.ended)
        if self._shutting_down:
            raise KernelDiedError(self.kernel_id, "it is being shut down")
        self._expect(pending)
        self.outbox.put(pending)

    def _expect(self, pending: Pending) -> None:
        """Route the answers to a request to it from now on."""
        self._pending[pending.message.msg_id] = pending
        if pending.message.channel == "control":
            self.ledger.asked(pending.message.msg_id)

    def submit_again(self, pending: Pending, pause: float) -> None:
        """Queue a request that took another one's place, after a pause in seconds; never waits.

        If the kernel is being shut down by then, the request fails with KernelDiedError.
        """
        self._expect(pending)
        self._services.start_soon(self._send_again, pending, pause, name="trio_gateway.send_again")

    async def _send_again(self, pending: Pending, pause: float) -> None:
        await trio.sleep(pause)
        await self.wait_met()
        if self._shutting_down:
            pending.fail(KernelDiedError(self.kernel_id, "it is being shut down"))
        elif not pending.settled:
            self.outbox.put(pending)

    async def send(self, message: Message) -> None:
        """Queue a message that nobody waits for; wait for room first. Raises what ended the session, if it has ended."""
        await self.outbox.wait_room()
        if self.ended is not None:
            raise fresh(self.ended)
        self.outbox.put(message)

    def withdraw(self, pending: Pending) -> bool:
        """Take a request back if sending it has not begun; say whether that was so."""
        if pending.sent:
            return False
        self.outbox.withdraw(pending)
        return True

    def forget(self, pending: Pending) -> None:
        """Route nothing to this request any more."""
        self._pending.pop(pending.message.msg_id, None)

    async def request(
        self, channel: str, msg_type: str, content: Mapping[str, Any], *, subshell_id: str | None = None
    ) -> Message:
        """Send a request and wait for its reply.

        Raises:
            KernelError: the kernel ended or was restarted.
            ConnectionLostError: the answer was lost with the connection.

        Cancellation: the request is withdrawn if it was not sent yet; else its reply is ignored.
        """
        pending = PendingReply(self.make(channel, msg_type, content, subshell_id=subshell_id))
        self.submit(pending)
        try:
            await pending.wait_settled()
        finally:
            if not pending.settled:
                self.withdraw(pending)
            self.forget(pending)
        if pending.failure is not None:
            raise fresh(pending.failure)
        assert pending.reply is not None
        return pending.reply

    async def settle_without_idle(self, pending: PendingExecution) -> None:
        """End an execution that has its reply but whose `idle` is overdue: lost, as in a flood it can be.

        A `kernel_info_request` gives `idle` a last chance, for as long as the first one: whatever the kernel published
        for the execution comes before what it publishes for that.
        """
        with trio.move_on_after(self._config.idle_grace):
            try:
                await self.request("shell", "kernel_info_request", {})
            except GatewayError as error:
                _logger.debug("barrier_failed", extra={"gateway.reason": repr(error)})
        if not pending.settled:
            pending.give_up_idle()

    @property
    def watched(self) -> bool:
        """Whether someone waits for news of how it is."""
        return len(self.status_changed) > 0

    @property
    def waits(self) -> bool:
        """Whether someone waits for an answer of the kernel's."""
        return any(pending.sent and pending not in (self._probed, self._barrier) for pending in self._pending.values())

    # The life of the connection ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected until cancelled or until there is no hope; then the session has `ended`. A service."""
        try:
            with self._running:
                self.end(await self._supervisor.keep_connected())
        finally:
            self._close()

    async def wait_opened(self) -> None:
        """Wait for the first connection.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel.
            GatewayError: the connection could not be made.

        Cancellation: safe.
        """
        await self._opened_once.wait()
        if self.connections == 0 and self.ended is not None:
            raise fresh(self.ended)

    def opened(self) -> None:
        """A connection was made. For the supervisor."""
        self.connections += 1
        self._look_elsewhere_at, self._look_elsewhere_pause = 0.0, self._config.ping_interval
        self.liveness.connected(trio.current_time())
        self._change(connection="opened")
        self._opened_once.set()
        if self.connections == 1 or not self.waits:
            return
        for pending in self._pending.values():
            if isinstance(pending, PendingExecution) and pending.sent and not pending.settled:
                pending.execution.note_gap(
                    OutputGap("reconnected", None, "the connection broke; output in flight then may be missing")
                )
        self.find_lost()

    def lost(self, reason: Exception) -> None:
        """The connection broke, or could not be made; another attempt follows. For the supervisor."""
        self.liveness.lost()
        attempted = self.status.connection is not ConnectionState.CONNECTED
        if attempted and isinstance(reason, (GatewayConnectionError, GatewayTimeoutError)):
            self.liveness.unreachable()
        self._change(connection="lost")

    def reconnect(self) -> None:
        """Drop the connection, if there is one; a new one is made at once, with the same session."""
        self._supervisor.reconnect()

    def pause_for(self, inbox: Inbox) -> None:
        """Read no more until this inbox has room: its consumer has asked for that."""
        self._exchange.pause_for(inbox)

    # Routing ----------------------------------------------------------------------------------------------------

    def route(self, message: Message) -> None:
        """Give a message to whoever it concerns. Never waits."""
        try:
            number = self.ledger.observe(message)
            if number == DUPLICATE:
                return
            pending = self._pending.get(message.parent_id)
            if pending is not None:
                pending.feed(message, number)
                inbox = pending.inbox
                if inbox is not None and inbox.full:
                    self.pause_for(inbox)
            channel = self.channels.get(message.channel)
            if channel is not None:
                channel.publish(message)
                if message.channel == "iopub" and message.header.msg_type != "stream":
                    self._observe(message)
        except ProtocolError as error:
            self.note_garbage(error)

    def _observe(self, message: Message) -> None:
        """Learn from a published message how the kernel is."""
        kind = message.header.msg_type
        if kind == "status":
            state = message.content.get("execution_state")
            if not isinstance(state, str):
                return
            self._change(kernel=self._reader.read(state, message.parent_id, message.parent_type))
            if state == "restarting":
                self._note_restart("its process ended and the gateway started it again", told="restarted by the gateway")
            elif state == "dead":
                self.liveness.ended(Verdict.DEAD)
                self.end(self.gone())
        elif kind == "shutdown_reply" and not self._shutting_down:
            if not message.content.get("restart"):
                self._services.start_soon(self._check_gone, name="trio_gateway.check_gone")
            elif not self._restarting:
                known, self._own_restarts = self._own_restarts, self.api.own_restarts(self.kernel_id)
                if known != self._own_restarts:
                    self._note_restart("it was restarted through this gateway object")
                else:
                    self._note_restart("someone restarted it", told="restarted by someone else")
        elif kind.startswith("comm_"):
            self.comms.observe(message)

    async def _check_gone(self) -> None:
        """After a shutdown that we did not ask for: ask the gateway whether the kernel is gone. It leaves the socket open."""
        for pause in GONE_CHECKS:
            await trio.sleep(pause)
            if self._shutting_down or self.ended is not None:
                return
            await self.check_model()

    async def check_model(self, *, thoroughly: bool = False) -> None:
        """Ask the gateway about the kernel, and learn from its answer. Raises nothing.

        Args:
            thoroughly: whether to ask the kernel over another connection also if it seems busy; if idle, it is asked anyway.
        """
        try:
            model = await self.api.get(self.kernel_id)
        except KernelNotFoundError:
            self.note_model(None)
        except (GatewayConnectionError, GatewayTimeoutError):
            self.liveness.unreachable()
        except GatewayError as error:
            _logger.debug("check_failed", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": repr(error)})
        else:
            if self.note_model(model) or (thoroughly and self._owes_answer()):
                await self._replace_if_mute()

    def note_model(self, model: KernelModel | None) -> bool:
        """Learn from the gateway's model of the kernel; None where it says that there is no such kernel.

        Returns:
            Whether the model belies the kernel's silence: at rest, it would have answered.
        """
        if self.ended is not None or self._shutting_down:
            return False
        if model is None:
            self.end(self.gone())
        elif model.execution_state == "dead":
            self._change(kernel="dead")
            self.liveness.ended(Verdict.DEAD)
            self.end(self.gone())
        else:
            self.liveness.vouched_for(trio.current_time())
            return model.execution_state == "idle" and self._owes_answer()
        return False

    def note_garbage(self, error: ProtocolError) -> None:
        """A message that can't be understood is skipped, and whoever waits is told that something is missing."""
        _logger.warning("message_not_understood", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": str(error)})
        for pending in self._pending.values():
            if isinstance(pending, PendingExecution) and pending.sent:
                pending.execution.note_gap(OutputGap("lost", 1, f"a message could not be understood: {error}"))

    async def answers(self) -> bool:
        """Ask the kernel itself, on its control channel, which its process serves though it is busy; say whether it answered.

        A kernel that does not answer is not dead for that: not every one serves that channel while it runs code. Such a one is
        not asked again before it has answered.
        """
        asked = self._probed
        owes = asked is not None and not asked.settled and asked.connection == self.connections
        unasked = self.ended is not None or self._shutting_down or self.status.connection is not ConnectionState.CONNECTED
        if unasked or owes:
            return False
        if asked is not None:
            self.forget(asked)
        self._probed = asked = PendingReply(self.make("control", "kernel_info_request", {}))
        self.submit(asked)
        with trio.move_on_after(ANSWER_SECONDS):
            await asked.wait_settled()
        if asked.replied:
            self.liveness.answered(trio.current_time())
        return asked.replied

    def is_probe(self, item: Pending | Message) -> bool:
        """Whether something to be sent is a question of our own, which nothing is lost with."""
        return item is self._barrier or item is self._probed

    def greeting(self) -> Pending | None:
        """Make what a connection that was made again is greeted with, before anything is sent that matters; None for nothing.

        A gateway restores the sockets that it kept for our session. Those of a connection that broke early, or of one that it
        held for alive when we had long come back, may lead nowhere (jupyter_server 2.21, `_register_session` and `disconnect`).
        """
        if self._shutting_down:
            return None
        if self._probed is not None:
            self.forget(self._probed)
        self._probed = greeting = PendingReply(self.make("control", "kernel_info_request", {}))
        self._expect(greeting)
        return greeting

    async def hear(self, greeting: Pending) -> None:
        """Wait for the answer to the greeting, or find out why there is none; a connection that leads nowhere is replaced."""
        with trio.move_on_after(ANSWER_SECONDS):
            await greeting.wait_settled()
        if greeting.replied:
            self.liveness.answered(trio.current_time())
        else:
            await self.check_model(thoroughly=True)

    def _owes_answer(self) -> bool:
        """Whether a probe was sent over this connection and not answered."""
        asked = self._probed
        return asked is not None and asked.sent and not asked.settled and asked.connection == self.connections

    async def _replace_if_mute(self) -> None:
        """Give up our session id if the kernel answers over another connection, with another id, but not over ours.

        Its answer to us may only be on its way, behind much output, or unread while a consumer pauses us. So what counts is that
        what it publishes about the other question came over our connection, or that nothing at all came.
        """
        asked, connection, begun = self._probed, self.connections, trio.current_time()
        if asked is None or self._exchange.paused or begun < self._look_elsewhere_at:
            return
        # Each time after twice as long: a kernel that is stopped does not answer elsewhere either.
        self._look_elsewhere_at = begun + self._look_elsewhere_pause
        self._look_elsewhere_pause *= 2
        elsewhere = PendingProbe(self.make("control", "kernel_info_request", {}))
        self._expect(elsewhere)
        try:
            if not await answers_elsewhere(self._http, self.kernel_id, elsewhere.message):
                return
            with trio.move_on_after(ANSWER_SECONDS):
                await asked.wait_settled()  # it was asked first
        finally:
            self.forget(elsewhere)
        now = trio.current_time()
        nothing_came = not self._exchange.paused and self.liveness.quiet(now) >= now - begun
        over = asked.settled or connection != self.connections or self.ended is not None or self._shutting_down
        if over or not (elsewhere.published or nothing_came):
            return
        _logger.warning("connection_is_mute", extra={"gateway.kernel_id": self.kernel_id})
        self._factory = MessageFactory(uuid.uuid4().hex, self._factory.username)
        self.reconnect()

    def find_lost(self) -> None:
        """Find out, some time, whether a reply that does not come was lost while the connection held. For who watches.

        A barrier is sent behind what waits, and there is never more than one. Nothing waits for it: it may have to wait for
        hours behind code that runs.
        """
        barrier = self._barrier
        under_way = barrier is not None and not barrier.settled and barrier.connection in (0, self.connections)
        if self.ended is not None or self._shutting_down or under_way:
            return
        if any(self._may_be_lost(pending) for pending in self._pending.values()):
            self._services.start_soon(self._fail_what_is_overtaken, name="trio_gateway.find_lost")

    @staticmethod
    def _may_be_lost(pending: Pending) -> bool:
        """Whether a reply is owed that a barrier on shell would have to wait for."""
        return (
            pending.sent
            and not pending.replied
            and not pending.settled
            and pending.message.channel == "shell"
            and pending.message.header.subshell_id is None
        )

    async def _fail_what_is_overtaken(self) -> None:
        """Send a barrier, and fail what it overtakes."""
        earlier = list(self._pending.values())
        reply = await self._ask_in_line("kernel_info_request", {})
        try:
            if reply is not None and str(reply.content.get("implementation")).startswith(OUT_OF_ORDER):
                earlier = list(self._pending.values())
                reply = await self._ask_in_line("execute_request", EMPTY_EXECUTION)
        except ProtocolError as error:  # not understood: the next look sends another one
            _logger.debug("barrier_failed", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": repr(error)})
            return
        if reply is None:
            return
        for pending in earlier:
            held = pending.connection == self.connections
            # Code that a process was seen to begin with, and not to end, may still run: the kernel may answer beside it.
            if not self._may_be_lost(pending) or (held and pending.runs_in(reply.header.session)):
                continue
            why = "it has answered what it was asked later" if held else "the connection broke"
            pending.fail(
                ConnectionLostError(
                    f"kernel {self.kernel_id}: {why}, so the {pending.message.msg_type} or its reply was lost on the way; it may "
                    "have run, and was not sent again"
                )
            )

    async def _ask_in_line(self, msg_type: str, content: Mapping[str, Any]) -> Message | None:
        """Send a request to the main shell, behind all that was sent; wait for its reply, or None if there will be none."""
        if self.ended is not None or self._shutting_down:
            return None  # so it is since a moment ago
        self._barrier = barrier = PendingReply(self.make("shell", msg_type, content))
        self.submit(barrier)
        try:
            await barrier.wait_settled()
        finally:
            self.forget(barrier)
        return barrier.reply

    async def interrupt(self) -> None:
        """Interrupt the kernel, in the way its kernelspec says: by a message of ours, or by the gateway's signal.

        Where the message is not answered, the gateway, which knows both ways, is asked to.
        """
        if self.status.connection is ConnectionState.CONNECTED and await self._interrupt_mode() == "message":
            with trio.move_on_after(INTERRUPT_SECONDS):
                try:
                    await self.request("control", "interrupt_request", {})
                except ConnectionLostError as error:
                    _logger.debug("interrupt_failed", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": repr(error)})
                else:
                    return
        await self.api.interrupt(self.kernel_id)

    # Restarts and ends ------------------------------------------------------------------------------------------

    async def restart(self, probe_seconds: float) -> None:
        """Restart the kernel and see that it answers; whatever was sent before is failed.

        A restart says nothing on the wire to those who wait (the pending reply mostly never comes), so we say it here. Code that
        waits for its turn is not sent to the process that is about to end.
        """
        self._restarting = True  # until the new process is heard: the old one's goodbye may come after the gateway's answer
        self._restart_requests += 1
        if self._met.is_set():
            self._met = trio.Event()
        restarted = False
        try:
            await self.api.restart(self.kernel_id, timeout=self._config.request_timeout_for(None))
            restarted = True
        finally:
            self._restart_requests -= 1
            if not restarted:
                self._end_meeting()
        self._own_restarts = self.api.own_restarts(self.kernel_id)
        self._change(kernel="starting")
        self._note_restart("it was restarted by us")
        with trio.move_on_after(probe_seconds):
            await self._met.wait()
            return
        # The gateway's side of the connection may still be tied to the old process: a new one is not.
        self.reconnect()
        await self.request("control", "kernel_info_request", {})
        await self._met.wait()

    async def wait_met(self) -> None:
        """Wait until a kernel that was just restarted can be heard, so that nothing it publishes is lost. Mostly no wait."""
        if not self._met.is_set():
            await self._met.wait()

    def _note_restart(self, reason: str, *, told: str = "") -> None:
        """A new process took the old one's place: end what the old one had, and tell of what was not our doing."""
        self.liveness.restarts += 1
        self.fail_sent(KernelRestartedError(self.kernel_id, reason))
        self._meet_again()
        if told:
            self.api.tell("restarted", kernel_id=self.kernel_id, message=told)

    def _meet_again(self) -> None:
        """A new process took the kernel's place: see that it is heard before it is sent code."""
        if self._met.is_set():
            self._met = trio.Event()
        if not self._probing:
            self._probing = True
            self._services.start_soon(self._probe, name="trio_gateway.probe")

    def _end_meeting(self) -> None:
        """Let those who wait for the new process go on, unless another one is about to take its place."""
        if not self._probing and not self._restart_requests:
            self._restarting = False
            self._met.set()

    async def _probe(self) -> None:
        """Ask the new process until it both answers and is heard, for a while."""
        pause = PROBE_AGAIN
        try:
            with trio.move_on_after(PROBE_SECONDS):
                while self.ended is None and not self._shutting_down:
                    probe = PendingProbe(self.make("shell", "kernel_info_request", {}))
                    self.submit(probe)
                    with trio.move_on_after(pause):
                        await probe.wait_settled()
                    self.withdraw(probe)
                    self.forget(probe)
                    if probe.succeeded:
                        return
                    if probe.failure is not None:
                        await trio.sleep(pause)
                    pause = min(2 * pause, 2.0)
        finally:
            self._probing = False
            self._end_meeting()

    def note_shutdown(self) -> None:
        """Note that the kernel is being shut down by us: what its goodbye says is no news then, and it is sent no more."""
        self._shutting_down = True

    def note_shutdown_failed(self) -> None:
        """Note that the shutdown did not come to its end: the kernel may be used on."""
        self._shutting_down = False

    def note_dead(self) -> None:
        """Note that the kernel was shut down by us: whatever still waits is failed, and the session has ended."""
        self._change(kernel="dead")
        self.liveness.ended(Verdict.DEAD)
        self.end(KernelDiedError(self.kernel_id, "it was shut down"))

    def fail_sent(self, failure: Exception) -> None:
        """Fail every request that was sent: the kernel that had it is gone. Those still queued are for its successor."""
        for pending in list(self._pending.values()):
            if pending.sent:
                pending.fail(failure)
        self.comms.end(failure)

    def gone(self) -> Exception:
        """Note that the gateway does not know the kernel any more; return the error that says so."""
        if self.kernel_state is KernelState.DEAD:
            return KernelDiedError(self.kernel_id, "its process ended, and the gateway gave up restarting it")
        self.liveness.ended(Verdict.CULLED)
        if self.connections == 0:
            return KernelNotFoundError(self.kernel_id)
        self._change(kernel="culled")
        return KernelCulledError(self.kernel_id, "the gateway does not know it any more: it was culled, or shut down by someone")

    def end(self, reason: Exception) -> None:
        """End the session for a reason that everyone who waits is told."""
        if self.ended is None:
            self.ended = reason
            self._finish(reason)

    def _close(self) -> None:
        """End the session with its block: readers of channels see a clean end."""
        if self.ended is None:
            self.ended = ConnectionLostError(f"the session with kernel {self.kernel_id} was closed with its block")
            self._finish(None)

    def _finish(self, told: Exception | None) -> None:
        assert self.ended is not None
        self._change(connection="ended")
        self._opened_once.set()
        self._met.set()
        self.outbox.clear()
        for pending in list(self._pending.values()):
            pending.fail(self.ended)
        for channel in self.channels.values():
            channel.end(told)
        self.comms.end(told)
        self._running.cancel()

    def _change(self, *, kernel: str = "", connection: str = "") -> None:
        """Feed the two state machines, and wake who watches them if anything changed."""
        before = self.status
        kernel_after = next_kernel_state(before.kernel, kernel) if kernel else before.kernel
        connection_after = before.connection
        if connection:
            connection_after = CONNECTION_TRANSITIONS.get((before.connection, connection), before.connection)
        if kernel_after is not before.kernel or connection_after is not before.connection:
            self.status = Status(kernel_after, connection_after)
            if self.status_changed:
                self.status_changed.unpark_all()
