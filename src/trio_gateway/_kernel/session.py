"""One kernel's session: what is asked of it, what comes of it, and how it is.

The one idea: callers meet the connection only through the outbox and through pending requests. A message that comes is
routed to the request that caused it, to every reader of its channel, and to what is known about the kernel, without ever
waiting for any of them.

What is asked to find out what a silence means is in `questions`, and how a new process is met after a restart in `meeting`.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final

import attrs
import trio

from .._api import KernelApi
from .._config import GatewayConfig
from .._errors import (
    ConnectionLostError,
    GatewayConnectionError,
    GatewayTimeoutError,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    ProtocolError,
    fresh,
)
from .._outputs import OutputGap
from .._protocol import contents
from .._protocol.codec import TooLargeError
from .._protocol.execution import OUTPUT_TYPES, may_be_rate_notice
from .._protocol.kernel_state import CONNECTION_TRANSITIONS, ConnectionState, KernelState, StatusReader, next_kernel_state
from .._protocol.liveness import Liveness, Verdict
from .._protocol.loss import DUPLICATE, MessageLedger
from .._protocol.messages import CHANNELS, Buffer, Message, MessageFactory
from .._services import Services
from .channels import Channel
from .comms import Comms
from .exchange import MessageExchange
from .inbox import Inbox
from .outbox import Outbox
from .pending import Pending, PendingExecution, PendingReply
from .questions import Questions
from .restart_gate import Meeting
from .supervisor import Supervisor

__all__ = ["KernelSession", "Status"]

_logger = logging.getLogger("trio_gateway.session")

INTERRUPT_SECONDS: Final = 2.0
"""How long a kernel may take to answer an `interrupt_request` before the gateway is asked to interrupt it, in seconds."""
ASK_AGAIN_SECONDS: Final = 5.0
"""After how long a restarted kernel that does not answer is asked again, in seconds."""


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
        api: the gateway's REST interface, with its HTTP client.
        services: the nursery that owns the session's tasks.
        interrupt_mode: asks what the kernelspec says of interrupts, `"signal"` or `"message"`.
    """

    def __init__(
        self,
        kernel_id: str,
        *,
        session_id: str,
        api: KernelApi,
        services: Services,
        interrupt_mode: Callable[[], Awaitable[str]],
    ) -> None:
        http = api.http
        self.kernel_id = kernel_id
        self.api: KernelApi = api
        self.status: Status = Status(KernelState.STARTING, ConnectionState.CONNECTING)
        self.connections: int = 0
        self.ended: Exception | None = None
        self.shutting_down: bool = False
        self.unheard: bool = False  # whether to ask for a word at once: the connection before this one brought nothing
        self.told_on: int = 0  # over which connection the kernel last said how it is
        self.ledger: MessageLedger = MessageLedger()
        self.takes_bytes: int | None = http.takes_bytes
        self.liveness: Liveness = Liveness(http.config.ping_interval, trio.current_time())
        self.outbox: Outbox = Outbox()
        self.channels: Mapping[str, Channel] = {name: Channel(self, name) for name in CHANNELS}
        self.comms: Comms = Comms(self)
        self.questions: Questions = Questions(self, http)
        self.meeting: Meeting = Meeting(self)
        self.status_changed: trio.lowlevel.ParkingLot = trio.lowlevel.ParkingLot()
        self._config = http.config
        self._services = services
        self._exchange = MessageExchange(self)
        self._supervisor = Supervisor(self, self._exchange, http)
        self._factory = MessageFactory(session_id, http.config.kernel_username or "trio_gateway")
        self._pending: dict[str, Pending] = {}
        self._reader = StatusReader()
        self._interrupt_mode = interrupt_mode
        self._own_restarts = self.api.own_restarts(kernel_id)
        self._running = trio.CancelScope()
        self._opened_once = trio.Event()

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
        if self.shutting_down:
            raise KernelDiedError(self.kernel_id, "it is being shut down")
        self.expect(pending)
        self.outbox.put(pending)

    def expect(self, pending: Pending) -> None:
        """Route the answers to a request to it from now on."""
        self._pending[pending.message.msg_id] = pending
        if pending.message.channel == "control":
            self.ledger.asked(pending.message.msg_id)

    def submit_again(self, pending: Pending, pause: float) -> None:
        """Queue a request that took another one's place, after a pause in seconds; never waits.

        If the kernel is being shut down by then, the request fails with KernelDiedError.
        """
        self.expect(pending)
        self._services.start_soon(self._send_again, pending, pause, name="trio_gateway.send_again")

    async def _send_again(self, pending: Pending, pause: float) -> None:
        await trio.sleep(pause)
        await self.meeting.wait()
        if self.shutting_down:
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
        await trio.lowlevel.checkpoint_if_cancelled()
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

    async def ask(self, channel: str, msg_type: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        """Send a request and return its reply's content.

        Raises:
            ProtocolError: the reply came, and its content can't be understood.
            GatewayError: as for `request`.

        Cancellation: as for `request`.
        """
        reply = await self.request(channel, msg_type, content)
        try:
            return reply.content
        except ProtocolError as error:
            text = f"kernel {self.kernel_id}: its {reply.msg_type} came and can't be understood: {error}"
            raise ProtocolError(text) from None

    @property
    def over(self) -> bool:
        """Whether there is nothing left to find out: it has ended, or the kernel is being shut down by us."""
        return self.ended is not None or self.shutting_down

    @property
    def watched(self) -> bool:
        """Whether someone waits for news of how it is."""
        return len(self.status_changed) > 0

    @property
    def waits(self) -> bool:
        """Whether someone waits for an answer of the kernel's."""
        return any(pending.sent and pending not in self.questions for pending in self._pending.values())

    def unanswered(self) -> Sequence[Pending]:
        """Return the requests that answers are routed to, in the order in which they were made."""
        return list(self._pending.values())

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
        self.questions.connected()
        self.unheard = self.connections > 1 and not self.liveness.progressed and not self._awaits_beginning()
        self.liveness.connected(trio.current_time())
        self._change(connection="opened")
        self._opened_once.set()
        if self.connections > 1:
            self.ledger.note_possible_drop()
            self.comms.find_lost()
        if self.connections == 1 or not self.waits:
            return
        for pending in self._pending.values():
            if isinstance(pending, PendingExecution) and pending.sent and not pending.settled:
                pending.execution.note_gap(
                    OutputGap("reconnected", None, "the connection broke; output in flight then may be missing")
                )
        self.questions.find_lost()
        self.questions.find_lost_input()

    def note_input(self, message: Message) -> None:
        """An answer to a request for input is being sent. For the exchange."""
        for pending in self._pending.values():
            if isinstance(pending, PendingExecution):
                pending.note_input(message.parent_id, trio.current_time())

    def _awaits_beginning(self) -> bool:
        """Whether code was sent of which nothing was heard: the kernel's next word may be about that.

        Its `busy` may be lost. What the kernel says to a question of ours would come between the hole that left and the code's
        first output, and the hole would not be taken for the code's.
        """
        return any(
            isinstance(pending, PendingExecution) and pending.sent and not pending.execution.started
            for pending in self._pending.values()
        )

    def lost(self, reason: Exception) -> None:
        """The connection broke, or could not be made; another attempt follows. For the supervisor."""
        self.liveness.lost()
        attempted = self.status.connection is not ConnectionState.CONNECTED
        if attempted and isinstance(reason, (GatewayConnectionError, GatewayTimeoutError)):
            self.liveness.unreachable()
        self._change(connection="lost")

    def refused(self, reason: str) -> bool:
        """What we sent was too large, so the gateway closed the connection; say whether it is known what. For the supervisor."""
        return self._exchange.refused(reason)

    def reconnect(self, *, as_another: bool = False) -> None:
        """Drop the connection, if there is one; a new one is made at once, with the same session id or, as another, a new one."""
        if as_another:
            self._factory = MessageFactory(uuid.uuid4().hex, self._factory.username)
        self._supervisor.reconnect()

    @property
    def paused(self) -> bool:
        """Whether a consumer that asked for that keeps us from reading."""
        return self._exchange.paused

    def pause_for(self, inbox: Inbox) -> None:
        """Read no more until this inbox has room: its consumer has asked for that."""
        self._exchange.pause_for(inbox)

    # Routing ----------------------------------------------------------------------------------------------------

    def route(self, message: Message) -> None:
        """Give a message to whoever it concerns. Never waits, and whatever a kernel has put into it ends nothing."""
        number = self.ledger.observe(message)
        if number == DUPLICATE:
            return
        pending = self._pending.get(message.parent_id)
        if pending is not None or message.header.msg_type != "status":
            # A gateway makes a kernel say how it is whenever someone connects: that alone leads nowhere.
            self.liveness.progressed = True
        if pending is not None:
            pending.feed(message, number)
            inbox = pending.inbox
            if inbox is not None and inbox.full:
                self.pause_for(inbox)
        elif not message.parent_id:
            self._note_unowned(message)
        elif message.header.msg_type == "stream" and may_be_rate_notice(message):
            self.ledger.note_possible_drop()  # it answers another client's request, and ours are dropped with it
        channel = self.channels.get(message.channel)
        if channel is not None:
            channel.publish(message)
            if message.channel == "iopub" and message.header.msg_type != "stream":
                self._observe(message)

    def _observe(self, message: Message) -> None:
        """Learn from a published message how the kernel is."""
        kind = message.header.msg_type
        if kind == "status":
            state = contents.execution_state(message)
            if not state:
                self.log_unread("a status does not say how the kernel is")
                return
            self.told_on = self.connections
            self._change(kernel=self._reader.read(state, message.parent_id, message.parent_type))
            if state == "restarting":
                self._note_restart("its process ended and the gateway started it again", told="restarted by the gateway")
            elif state == "dead":
                self.note_gone(dead=True)
        elif kind == "shutdown_reply" and not self.shutting_down:
            if not contents.look(message)["restart"]:
                self.start_soon(self.questions.ask_whether_gone, name="trio_gateway.check_gone")
            elif self.meeting.ours:
                self.meeting.farewell = True
            else:
                known, self._own_restarts = self._own_restarts, self.api.own_restarts(self.kernel_id)
                if known != self._own_restarts:
                    self._note_restart("it was restarted through this gateway object")
                else:
                    self._note_restart("someone restarted it", told="restarted by someone else")
        elif kind.startswith("comm_"):
            self.comms.observe(message)

    def _note_unowned(self, message: Message) -> None:
        """A message that has no parent is nobody's; but a reply always has one, and a parent that can't be read was one."""
        kind = message.header.msg_type
        error = ProtocolError(f"a {kind[:40]} does not say which request it is about")
        if kind in OUTPUT_TYPES and bytes(message.parent_raw).strip() not in (b"", b"{}", b"null"):
            self.note_garbage(error)
        elif kind.endswith("_reply") and message.channel in ("shell", "control"):
            asked = f"{kind.removesuffix('_reply')}_request"
            self.log_unread(str(error))
            for pending in self._pending.values():
                if pending.sent and not pending.replied and pending.message.msg_type == asked:
                    pending.note_unreadable(error)

    def note_garbage(self, error: ProtocolError) -> None:
        """A frame that can't be understood is skipped, and whoever waits is told that something is missing: it may be theirs."""
        self.ledger.note_possible_drop()
        self.log_unread(str(error))
        for pending in self._pending.values():
            if pending.sent:
                pending.note_unreadable(error)

    def log_unread(self, reason: str) -> None:
        """Log that a message, or what matters in it, could not be read."""
        _logger.warning("message_not_understood", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": reason})

    def note_too_large(self, error: TooLargeError) -> None:
        """A message was larger than `max_message_size` and has passed by: only the request that it belongs to is told."""
        message = error.message
        if message is None:
            self.note_garbage(error)
            return
        _logger.warning("message_too_large", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": str(error)})
        number = self.ledger.observe(message)
        pending = self._pending.get(message.parent_id)
        if pending is not None and number != DUPLICATE:
            pending.note_too_large(message, number, error)

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
        asked = False

        def note_sending() -> None:
            nonlocal asked
            asked = True
            self.meeting.farewell = False

        with self.meeting.asked():
            try:
                await self.api.restart(
                    self.kernel_id,
                    timeout=self._config.request_timeout_for(None),
                    on_sending=note_sending,
                    on_restarted=self._note_own_restart,
                )
            except BaseException:
                if asked and self.meeting.farewell:  # the gateway's answer did not come, but the old process has gone
                    self._note_own_restart()
                raise
        with trio.move_on_after(probe_seconds):
            await self.meeting.wait()
            return
        # The gateway's side of the connection may still be tied to the old process: a new one is not.
        self.reconnect()
        answered = False
        while not answered:
            # Again and again: what is asked while the old connection is dropped may go with that one, and nobody answers it.
            with trio.move_on_after(ASK_AGAIN_SECONDS):
                try:
                    await self.request("control", "kernel_info_request", {})
                    answered = True
                except ConnectionLostError:
                    if self.ended is not None:
                        raise
        await self.meeting.wait()

    def _note_own_restart(self) -> None:
        self._own_restarts = self.api.own_restarts(self.kernel_id)
        self._change(kernel="starting")
        self._note_restart("it was restarted by us")

    def _note_restart(self, reason: str, *, told: str = "") -> None:
        """A new process took the old one's place: end what the old one had, and tell of what was not our doing."""
        self.liveness.restarts += 1
        self.fail_sent(KernelRestartedError(self.kernel_id, reason))
        self.meeting.begin()
        if told:
            self.api.tell("restarted", kernel_id=self.kernel_id, message=told)

    def note_shutdown(self) -> None:
        """Note that the kernel is being shut down by us: what its goodbye says is no news then, and it is sent no more."""
        self.shutting_down = True

    def note_shutdown_failed(self) -> None:
        """Note that the shutdown did not come to its end: the kernel may be used on."""
        self.shutting_down = False

    def note_dead(self) -> None:
        """Note that the kernel was shut down by us: whatever still waits is failed, and the session has ended."""
        self._change(kernel="dead")
        self.liveness.ended(Verdict.DEAD)
        self.end(KernelDiedError(self.kernel_id, "it was shut down"))

    def note_gone(self, *, dead: bool) -> None:
        """Note that the gateway gave the kernel up as dead, or does not know it any more: the session has ended."""
        if dead:
            self._change(kernel="dead")
            self.liveness.ended(Verdict.DEAD)
        self.end(self.gone())

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
        self.meeting.give_up()
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
