"""Finds out what a silence means: what recovery wants is carried out here.

The one idea: `Recovery` decides and does nothing; this does and decides nothing. The connection is the owner's, a session or a
relay: it makes the questions in its own framing. What is asked of the gateway, or over another connection, is asked here.

What only a session asks after is here too: whether an `idle` that is overdue was lost, whether an answer to a request for input
was, and whether a kernel that said goodbye is gone.
"""

from __future__ import annotations

import abc
import logging
import math
import uuid
from collections.abc import Callable, Iterable
from typing import Final, Protocol

import trio

from .._api import KernelApi
from .._errors import (
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayTimeoutError,
    KernelNotFoundError,
    KernelUnresponsiveError,
    ProtocolError,
    name_gateway,
)
from .._models import KernelModel
from .._protocol import codec
from .._protocol.kernel_state import ConnectionState
from .._protocol.liveness import Verdict
from .._protocol.messages import Message
from .._protocol.recovery import (
    ANSWER_SECONDS,
    QUESTION,
    Action,
    AskElsewhere,
    AskGateway,
    AskKernel,
    GatewayWord,
    Lost,
    Recovery,
    ReplaceSession,
    SendBarrier,
    answers_beside,
)
from .._protocol.responsiveness import Again, Ask, Finding, Responsiveness, Unresponsive
from .._transport.http.client import HttpClient
from .._transport.timer import Alarm, raise_error
from .._transport.websocket.opening import HandshakeRejected, WebSocketClosed
from .channels import Channel
from .pending import Pending, PendingExecution, PendingProbe, PendingReply
from .requests import Requests
from .status import SessionStatus
from .supervisor import open_channels

__all__ = ["Carrier", "Checks", "answers_elsewhere"]

_logger = logging.getLogger("trio_gateway.session")

ELSEWHERE_SECONDS: Final = 5.0
"""How long asking a kernel over another connection may take, in seconds, the handshake included."""
INPUT_SECONDS: Final = 20.0
"""How long code that asked for input may say nothing after the connection broke that carried the answer, in seconds."""
GONE_CHECKS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Pauses, in seconds, before each look whether a kernel that said goodbye is gone: the gateway takes a moment for it."""


class Carrier(abc.ABC):
    """Carries out what one recovery machine wants. A base class: a session and a relay each have theirs.

    Args:
        recovery: the machine.
        api: the gateway's REST interface.
        kernel_id: the kernel.
        start_soon: starts a service that ends with the owner's block at the latest.
    """

    __slots__ = (
        "_alarm",
        "_api",
        "_changed",
        "_kernel_id",
        "_seeking",
        "_start_soon",
        "recovery",
        "responsiveness",
    )

    recovery: Recovery
    """The machine. The code that feeds it hands what it returns to `act`."""
    responsiveness: Responsiveness
    """Whether the kernel answers anybody."""

    def __init__(
        self,
        recovery: Recovery,
        responsiveness: Responsiveness,
        api: KernelApi,
        kernel_id: str,
        start_soon: Callable[..., trio.CancelScope],
    ) -> None:
        self.recovery = recovery
        self.responsiveness = responsiveness
        self._api = api
        self._kernel_id = kernel_id
        self._start_soon = start_soon
        self._alarm = Alarm(api.http.timer, self._look, self._have_raised)
        self._seeking: trio.CancelScope | None = None
        self._changed: trio.lowlevel.ParkingLot | None = None  # most owners never wait

    # What the owner does --------------------------------------------------------------------------------------------

    @property
    @abc.abstractmethod
    def paused(self) -> bool:
        """Whether a consumer keeps the owner from reading."""

    @abc.abstractmethod
    def make_question(self) -> Message:
        """Make a question for the kernel's control channel."""

    @abc.abstractmethod
    def put(self, action: AskKernel | SendBarrier) -> None:
        """Make this question, name it to the machine, and queue it."""

    @abc.abstractmethod
    def lose(self, requests: Iterable[str]) -> None:
        """These requests, by their ids, will have no reply: tell those who wait."""

    @abc.abstractmethod
    def give_up(self, requests: Iterable[str], seconds: float) -> None:
        """The kernel has been silent for that long: tell those who wait for these requests, by their ids, that they need not."""

    @abc.abstractmethod
    def replace_session(self) -> None:
        """Drop the connection, and make another one with another session id."""

    @property
    def may_be_asked(self) -> bool:
        """Whether a question that can be left out does no harm now."""
        return True

    def learn(self, model: KernelModel | None) -> None:  # noqa: B027 - a relay learns nothing from it
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
        self._set_alarm()

    def _next_deadline(self) -> float:
        return min(self.recovery.next_deadline(), self.responsiveness.look_at)

    def _set_alarm(self) -> None:
        self._alarm.set(self._next_deadline())

    def connected(self, actions: Iterable[Action]) -> None:
        """A connection was made.

        Args:
            actions: what the machine wants, which was told of it.
        """
        self.act(actions)
        self.responsiveness.sent(trio.current_time())
        self._set_alarm()

    def lost(self) -> None:
        """The connection is over, or could not be made."""
        self.responsiveness.lost()
        self.act(self.recovery.lost())

    def sent(self, msg_id: str) -> tuple[int, float]:
        """Something begins to be sent; return its place in the order of all that is, and the time."""
        now = trio.current_time()
        order = self.recovery.sent(msg_id, now)
        if msg_id == self.recovery.question:
            self.responsiveness.asked()
        self.responsiveness.sent(now)
        if self.responsiveness.look_at < math.inf:
            self._set_alarm()
        return order, now

    def answered(self, msg_id: str, reply: Message) -> None:
        """A question of the machine's has its reply."""
        now = trio.current_time()
        asked = msg_id == self.recovery.question
        actions = self.recovery.answered(msg_id, now, beside=answers_beside(reply), process=reply.header.session)
        if asked:
            self.responsiveness.answered(now)
            self._tell(self.responsiveness.news(now))
        self.act(actions)

    def _tell(self, findings: Iterable[Finding]) -> None:
        """Carry out what is found out about a kernel that answers nobody, or does again. Never waits."""
        for finding in findings:
            if isinstance(finding, Ask):
                if self.may_be_asked or not finding.learning:
                    self.act(self.recovery.ask(again=finding.again))
            elif isinstance(finding, Unresponsive):
                text = f"it has answered nothing for {finding.seconds:.3g} s, though it used to while code ran"
                _logger.warning("kernel_unresponsive", extra={"gateway.kernel_id": self._kernel_id, "gateway.reason": text})
                self._api.tell("unresponsive", kernel_id=self._kernel_id, message=text)
            elif isinstance(finding, Again):
                self._api.tell("responsive", kernel_id=self._kernel_id, message="it answers again", failed=False)
            else:
                self.give_up(finding.requests, finding.seconds)

    async def hold(self) -> None:
        """Wait, where the next thing may not be sent, until what is next may be another. Cancellation: safe."""
        actions = self.recovery.wants_to_send()
        self.act(actions)
        if actions:
            await trio.lowlevel.checkpoint()  # the question is the next
        else:
            await self.wait_change()

    async def wait_change(self) -> None:
        """Wait until something has changed. Cancellation: safe."""
        if self._changed is None:
            self._changed = trio.lowlevel.ParkingLot()
        await self._changed.park()

    def _look(self) -> None:
        """Call the machine, whose deadline has come."""
        now = trio.current_time()
        self.act(self.recovery.timed_out(now, paused=self.paused))
        if now >= self.responsiveness.look_at:
            self._tell(self.responsiveness.look(now, paused=self.paused))
        self._set_alarm()

    def _have_raised(self, error: Exception) -> None:
        """Have a defect end the owner's block, and nobody else's."""
        self._alarm.close()
        self._start_soon(raise_error, error, name="trio_gateway.recovery")

    def close(self) -> None:
        """Look no more: the session is over."""
        self._alarm.close()

    async def ask_gateway(self) -> None:
        """Ask the gateway about the kernel, and have the machine learn from its answer. Raises nothing."""
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
            word = _word_of(model)
        self.act(self.recovery.gateway_said(word, trio.current_time(), paused=self.paused))

    async def is_gone(self) -> bool:
        """Ask whether the gateway itself says that it does not know the kernel. Raises nothing."""
        try:
            await self._api.get(self._kernel_id)
        except KernelNotFoundError:
            return True
        except GatewayError as error:
            self.note_failed("check_failed", error)
        return False

    async def _ask_elsewhere(self, question: Message) -> None:
        answered = await answers_elsewhere(self._api.http, self._kernel_id, question)
        self.act(self.recovery.elsewhere_said(answered, trio.current_time()))

    def note_failed(self, what: str, error: GatewayError) -> None:
        """Log that something was not found out."""
        _logger.debug(what, extra={"gateway.kernel_id": self._kernel_id, "gateway.reason": repr(error)})


class Acts(Protocol):
    """What is done about answers: only the session does it."""

    @property
    def paused(self) -> bool:
        """Whether a consumer that asked for that keeps us from reading."""
        ...

    def reconnect(self, *, as_another: bool = False) -> None:
        """Drop the connection; a new one is made at once, with the same session id or, as another, a new one."""
        ...

    def note_gone(self, *, dead: bool) -> None:
        """The gateway gave the kernel up as dead, or does not know it any more."""
        ...

    async def interrupt(self) -> None:
        """Interrupt the kernel."""
        ...

    def note_answer(self, reply: Message) -> None:
        """The kernel has answered: this tells which process it is."""
        ...


class Question(PendingReply):
    """A question of recovery's, in its session's table.

    Args:
        message: the question.
        checks: gets what becomes of it.
    """

    __slots__ = ("_checks",)

    def __init__(self, message: Message, checks: Checks) -> None:
        super().__init__(message)
        self.question = True
        self._checks = checks

    def settle(self) -> None:
        """Note that nothing more is to come."""
        if not self.settled:
            super().settle()
            self._checks.settled(self)


class _Sought(PendingReply):
    """A question that goes over another connection: what the kernel publishes about it may come over this one."""

    __slots__ = ("_recovery",)

    def __init__(self, message: Message, recovery: Recovery) -> None:
        super().__init__(message)
        self._recovery = recovery

    def feed(self, message: Message, number: int) -> None:  # noqa: ARG002 - only executions count
        """Take a message whose parent is this request."""
        if message.channel == "iopub":
            self._recovery.published()


class Checks(Carrier):
    """Finds out for one session what a silence means, and whether a reply was lost.

    Args:
        requests: asks the kernel, and knows what was asked.
        status: how the session is; what is found out is noted there.
        api: asks the gateway; its HTTP client makes a connection of another session.
        iopub: counts what the kernel published.
        start_soon: starts a service that ends with the session's block at the latest.
        acts: what only the session does.
    """

    __slots__ = ("_acts", "_asked", "_iopub", "_requests", "_seeks", "_status")

    def __init__(
        self,
        requests: Requests,
        status: SessionStatus,
        api: KernelApi,
        iopub: Channel,
        *,
        start_soon: Callable[..., trio.CancelScope],
        acts: Acts,
    ) -> None:
        recovery = Recovery(requests.pending, status.liveness, polled=True)
        responsiveness = Responsiveness(requests.pending, status.liveness, recovery=recovery, works_on=lambda: status.works_on)
        super().__init__(recovery, responsiveness, api, status.kernel_id, start_soon)
        self._requests = requests
        self._status = status
        self._iopub = iopub
        self._acts = acts
        self._asked: Question | None = None  # the latest one to the kernel itself
        self._seeks: _Sought | None = None

    # What recovery wants --------------------------------------------------------------------------------------------

    @property
    def paused(self) -> bool:
        """Whether a consumer that asked for that keeps the session from reading."""
        return self._acts.paused

    def make_question(self) -> Message:
        """Make a question for the kernel's control channel, which goes over another connection."""
        message = self._requests.make("control", QUESTION, {})
        self._seeks = _Sought(message, self.recovery)
        self._requests.expect(self._seeks)
        return message

    def put(self, action: AskKernel | SendBarrier) -> None:
        """Make this question, name it to the machine, and queue it; of a session that is over, it fails at once."""
        requests = self._requests
        if isinstance(action, AskKernel):
            if self._asked is not None and not self._asked.settled:
                requests.withdraw(self._asked)
                requests.forget(self._asked)
            question = self._asked = Question(requests.make("control", QUESTION, {}), self)
        else:
            channel, subshell_id = action.line
            question = Question(requests.make(channel, *action.request, subshell_id=subshell_id), self)
        self.recovery.asks(action, question.message.msg_id)
        if self._status.over:
            question.settle()
            return
        requests.expect(question)
        if isinstance(action, AskKernel):
            requests.outbox.put_first(question)
        else:
            requests.outbox.put(question)

    def settled(self, question: Question) -> None:
        """A question has its reply, or will have none. For the question."""
        self._requests.forget(question)
        msg_id, reply = question.message.msg_id, question.reply
        if reply is None:
            self.act(self.recovery.failed(msg_id))
        else:
            if reply.channel == "control":
                self._acts.note_answer(reply)  # first: what follows may have something sent to a process that is not the one
            self.answered(msg_id, reply)

    def lose(self, requests: Iterable[str]) -> None:
        """Fail these requests: they or their replies were lost."""
        for msg_id in requests:
            pending = self._requests.pending.get(msg_id)
            if pending is not None:
                self._fail(pending)

    def _fail(self, pending: Pending) -> None:
        kernel_id, held = self._kernel_id, pending.connection == self._status.connections
        why = "it has answered what it was asked later" if held else "the connection broke"
        kind, once = pending.message.msg_type, "it may have run, and was not sent again"
        if pending.cut and not held:
            # A network may lose the gateway's word that it is too large.
            why = f"the connection broke while it was being sent, {pending.sent_bytes} bytes"
        if pending.garbled is not None and isinstance(pending, PendingExecution) and pending.execution.saw_idle:
            pending.give_up_reply()
            return
        if pending.garbled is not None:
            text = f"no reply to the {kind} can be made out: a message came that can't be understood ({pending.garbled})"
            error: Exception = ProtocolError(f"kernel {kernel_id}: {text}, and {why}; {once}")
        else:
            lost = f"the {kind} or its reply was lost on the way"
            error = ConnectionLostError(f"kernel {kernel_id}: {why}, so {lost}; {once}")
        name_gateway(error, self._api.http.called)
        pending.fail(error)

    def give_up(self, requests: Iterable[str], seconds: float) -> None:
        """The kernel has been silent for that long: fail these requests."""
        error = KernelUnresponsiveError(self._kernel_id, self._status.liveness.limit, seconds=seconds)
        name_gateway(error, self._api.http.called)
        for msg_id in requests:
            pending = self._requests.pending.get(msg_id)
            if pending is not None:
                pending.fail(error)

    def raise_if_given_up(self, since: float) -> None:
        """Raise KernelUnresponsiveError where requests were given up since then, and the kernel has said nothing after that.

        Args:
            since: when a request began to wait for its turn; infinity if it never did.
        """
        found = self.responsiveness
        if found.gave_up and since <= found.gave_up_at:
            liveness = self._status.liveness
            seconds = trio.current_time() - liveness.quiet_since
            raise KernelUnresponsiveError(self._kernel_id, liveness.limit, seconds=seconds, unsent=True)

    @property
    def may_be_asked(self) -> bool:
        """Whether a question that can be left out does no harm now."""
        return not self._requests.awaits_beginning

    def replace_session(self) -> None:
        """Drop the connection, and make another one with another session id."""
        self._acts.reconnect(as_another=True)

    def act(self, actions: Iterable[Action]) -> None:
        """Carry out what the machine wants. Never waits."""
        super().act(actions)
        if self._seeks is not None and not self.recovery.sought:
            self._requests.forget(self._seeks)
            self._seeks = None

    def opened(self, *, quiet: bool) -> None:
        """A connection was made.

        Args:
            quiet: whether to ask for a word at once, for the connection before this one brought nothing.
        """
        number = self._status.connections
        actions = self.recovery.connected(number, first=number == 1, quiet=quiet)
        for pending in self._requests.unanswered():
            if pending.question and pending.message.msg_id not in self.recovery:  # it says nothing of this connection
                self._requests.withdraw(pending)
                self._requests.forget(pending)
        self.connected(actions)

    # Is the kernel there? -------------------------------------------------------------------------------------------

    async def ask_kernel(self, *, anew: bool = False) -> bool:
        """Ask the kernel itself, on its control channel, which its process serves though it is busy; say whether it answered.

        A kernel that does not answer is not dead for that: not every one serves that channel while it runs code. Such a one is
        not asked again before it has answered.

        Args:
            anew: whether an unresponsive kernel is asked again, where it was some time ago: the question may have been lost.
        """
        if self._status.over or self._status.connection is not ConnectionState.CONNECTED:
            return False
        liveness, now = self._status.liveness, trio.current_time()
        is_due = liveness.verdict(now) is Verdict.UNRESPONSIVE and now >= self.recovery.asked_at + liveness.patience
        actions = self.recovery.ask(again=anew and is_due)
        self.act(actions)
        if not actions or self._asked is None:
            return False
        asked = self._asked
        with trio.move_on_after(ANSWER_SECONDS):
            await asked.wait_settled()
        return asked.replied

    async def ask_gateway(self) -> None:
        """Ask the gateway about the kernel, and learn from its answer; wait for what follows from it. Raises nothing."""
        await super().ask_gateway()
        while self.recovery.seeking:
            await self.wait_change()

    def learn(self, model: KernelModel | None) -> None:
        """Learn from the gateway's model of the kernel; None where it says that there is no such kernel."""
        if not self._status.over and (model is None or model.execution_state == "dead"):
            self._acts.note_gone(dead=model is not None)

    def listed(self, model: KernelModel) -> bool:
        """Learn from the gateway's model of the kernel in a list, for which the session has not asked.

        Returns:
            Whether the model belies the kernel's silence: at rest, it would have answered.
        """
        self.learn(model)
        status = self._status
        if status.over:
            return False
        status.liveness.vouched_for(trio.current_time())
        return model.execution_state == "idle" and self.recovery.suspect

    async def ask_whether_gone(self) -> None:
        """After a shutdown that we did not ask for: ask the gateway whether the kernel is gone. It leaves the socket open."""
        for pause in GONE_CHECKS:
            await trio.sleep(pause)
            if self._status.over:
                return
            await self.ask_gateway()

    # Was a reply lost? ----------------------------------------------------------------------------------------------

    def find_lost(self) -> None:
        """Find out, some time, whether a reply that does not come was lost while the connection held.

        Nothing waits for that: it may take hours, behind code that runs.
        """
        if not self._status.over:
            self.act(self.recovery.find_lost())

    async def await_idle(self, pending: PendingExecution) -> None:
        """End an execution that has its reply but whose `idle` is overdue: lost, as in a flood it can be.

        A question gives `idle` a last chance, for as long as the first one: whatever the kernel published
        for the execution comes before what it publishes for that.
        """
        requests, status = self._requests, self._status
        came = self._iopub.statistics().received
        barrier = PendingProbe(requests.make("shell", QUESTION, {}))
        try:
            requests.submit(barrier)
            with trio.move_on_after(pending.idle_grace):
                await barrier.wait_answered()
            if barrier.replied and status.told_on == status.connections:  # some kernels never tell
                await self._replace_if_deaf(pending, barrier, came)
        except GatewayError as error:
            self.note_failed("barrier_failed", error)
        finally:
            requests.withdraw(barrier)
            requests.forget(barrier)
        if not pending.settled:
            pending.give_up_idle()

    async def _replace_if_deaf(self, pending: PendingExecution, barrier: PendingProbe, came: int) -> None:
        """Give up our session id if the kernel has answered and nothing that it publishes comes over this connection any more.

        So it is where a gateway reads the JSON of what it passes on, and a kernel has published what is none: jupyter_server 2.21
        may then leave what comes after that unread, as long as it keeps the session's sockets.
        """
        status, connection = self._status, self._status.connections
        iopub = self._iopub
        if iopub.statistics().received == came:
            with trio.move_on_after(ANSWER_SECONDS):
                await barrier.wait_settled()
        heard = iopub.statistics().received > came
        others = any(
            other.sent and not other.question and other not in (pending, barrier) for other in self._requests.unanswered()
        )
        if heard or others or pending.settled or self._acts.paused or status.over or connection != status.connections:
            return
        pending.give_up_idle()
        _logger.warning("connection_is_deaf", extra={"gateway.kernel_id": status.kernel_id})
        self._acts.reconnect(as_another=True)

    # Was an answer of ours lost? --------------------------------------------------------------------------------

    def find_lost_input(self) -> None:
        """See, when the connection was made again, that no code waits for ever for an answer that was lost with the last one."""
        requests, status = self._requests, self._status
        for pending in requests.unanswered():
            if not isinstance(pending, PendingExecution) or pending.input_sent is None or pending.settled:
                continue
            if status.liveness.carried > pending.input_sent:
                pending.input_sent = None
            else:
                self._start_soon(self._end_if_unanswered, pending, pending.input_sent, name="trio_gateway.find_lost_input")

    async def _end_if_unanswered(self, pending: PendingExecution, sent: float) -> None:
        """Interrupt code that may wait for an answer which does not come, unless it goes on; it ends with ConnectionLostError.

        The answer can't be sent again: if it did arrive, the code would take that for the answer to its next question (G4).
        """
        status = self._status
        with trio.move_on_after(INPUT_SECONDS):
            await pending.wait_settled()
        if pending.settled or pending.input_sent != sent or status.over:
            return
        lost = "the connection broke, and the answer to its request for input may have been lost with it"
        # Not settled yet: until it has ended over there, nothing else may be sent that the interrupt could hit.
        pending.failure = ConnectionLostError(f"kernel {status.kernel_id}: {lost}; it was interrupted")
        with trio.move_on_after(self._api.config.interrupt_timeout):
            try:
                if pending.message.header.subshell_id is None:
                    await self._acts.interrupt()
                    await pending.wait_settled()
            except GatewayError as error:
                self.note_failed("interrupt_failed", error)
        if not pending.settled:
            pending.settle()


def _word_of(model: KernelModel) -> GatewayWord:
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
    async with open_channels(http, kernel_id, uuid.uuid4().hex, [codec.V1_SUBPROTOCOL]) as (websocket, _):
        v1 = websocket.subprotocol == codec.V1_SUBPROTOCOL
        decode = codec.Decoder(v1=v1).decode
        await websocket.send(codec.parts_v1(question) if v1 else codec.encode_legacy(question))
        while True:
            for message in map(decode, await websocket.receive()):
                if message.channel == "control" and message.parent_id == question.msg_id:
                    return True
