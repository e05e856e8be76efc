"""What a session asks of its own accord, to find out what a silence means.

The one idea: a silence has four causes, and there is a question for each. A kernel that is at work answers on its control
channel. One that is gone is unknown to the gateway. Where a connection leads nowhere, because the gateway has restored sockets
that are tied to nothing, the kernel answers over another connection only: then another session id gets new ones. And a reply
that was lost is overtaken by a barrier, a `kernel_info_request` behind it: a place where a kernel works (main shell, subshell,
control) is first-in first-out, so when that has its reply, what was asked there before and has none is failed rather than left
waiting (guarantee G3).
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol, TypeAlias

import trio

from .._api import KernelApi
from .._errors import (
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayTimeoutError,
    KernelNotFoundError,
    ProtocolError,
)
from .._models import KernelModel
from .._protocol.kernel_state import ConnectionState
from .._protocol.messages import Message
from .._protocol.recovery import ANSWER_SECONDS
from .._values import as_text
from .channels import Channel
from .checks import answers_elsewhere
from .pending import Pending, PendingExecution, PendingProbe, PendingReply
from .requests import Requests
from .status import SessionStatus

__all__ = ["Questions"]

_logger = logging.getLogger("trio_gateway.session")

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
BESIDE_SECONDS: Final = 20.0
"""How long such a kernel gets for what it has not answered on control, in seconds: nothing there waits for its turn."""
INPUT_SECONDS: Final = 20.0
"""How long code that asked for input may say nothing after the connection broke that carried the answer, in seconds."""
GONE_CHECKS: Final = (0.1, 0.3, 1.0, 3.0, 10.0)
"""Pauses, in seconds, before each look whether a kernel that said goodbye is gone: the gateway takes a moment for it."""


Line: TypeAlias = tuple[str, str | None]
"""A place where a kernel works on one thing after the other: a channel, and on shell the subshell, or None for the main one."""


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


class Questions:
    """Asks after one session's kernel and connection.

    Args:
        requests: asks the kernel, and knows what was asked.
        status: how the session is; what is found out is noted there.
        api: asks the gateway; its HTTP client makes a connection of another session.
        iopub: counts what the kernel published.
        start_soon: starts a service that ends with the session's block at the latest.
        acts: what only the session does.
    """

    __slots__ = (
        "_acts",
        "_api",
        "_barriers",
        "_iopub",
        "_look_elsewhere_at",
        "_look_elsewhere_pause",
        "_probed",
        "_requests",
        "_start_soon",
        "_status",
    )

    def __init__(
        self,
        requests: Requests,
        status: SessionStatus,
        api: KernelApi,
        iopub: Channel,
        *,
        start_soon: Callable[..., object],
        acts: Acts,
    ) -> None:
        self._requests = requests
        self._status = status
        self._api = api
        self._iopub = iopub
        self._start_soon = start_soon
        self._acts = acts
        self._probed: Pending | None = None
        self._barriers: dict[Line, Pending] = {}
        self.connected()

    def connected(self) -> None:
        """A new connection was made: what was found out about the one before says nothing of it."""
        self._look_elsewhere_at = 0.0
        self._look_elsewhere_pause = self._api.config.ping_interval

    # Is the kernel there? ---------------------------------------------------------------------------------------

    async def ask_kernel(self) -> bool:
        """Ask the kernel itself, on its control channel, which its process serves though it is busy; say whether it answered.

        A kernel that does not answer is not dead for that: not every one serves that channel while it runs code. Such a one is
        not asked again before it has answered.
        """
        requests, status = self._requests, self._status
        asked = self._probed
        owes = asked is not None and not asked.settled and asked.connection == status.connections
        if status.over or status.connection is not ConnectionState.CONNECTED or owes:
            return False
        asked = self._make_probe()
        requests.submit(asked)
        await self._wait_answered(asked)
        return asked.replied

    def _make_probe(self) -> Pending:
        """Make a question to the kernel itself, which takes the last one's place."""
        if self._probed is not None:
            self._probed.question = False
            self._requests.forget(self._probed)
        self._probed = probe = PendingReply(self._requests.make("control", "kernel_info_request", {}))
        probe.question = True
        return probe

    async def ask_gateway(self, *, thoroughly: bool = False) -> None:
        """Ask the gateway about the kernel, and learn from its answer. Raises nothing.

        Args:
            thoroughly: whether to ask the kernel over another connection also if it seems busy; if idle, it is asked anyway.
        """
        status = self._status
        try:
            model = await self._api.get(status.kernel_id)
        except KernelNotFoundError:
            self.learn(None)
        except (GatewayConnectionError, GatewayTimeoutError):
            status.liveness.unreachable()
        except GatewayError as error:
            self._note_failed("check_failed", error)
        else:
            if self.learn(model) or (thoroughly and self._owes_answer()):
                await self._replace_if_mute()

    def learn(self, model: KernelModel | None) -> bool:
        """Learn from the gateway's model of the kernel; None where it says that there is no such kernel.

        Returns:
            Whether the model belies the kernel's silence: at rest, it would have answered.
        """
        status = self._status
        if status.over:
            return False
        if model is None or model.execution_state == "dead":
            self._acts.note_gone(dead=model is not None)
            return False
        status.liveness.vouched_for(trio.current_time())
        return model.execution_state == "idle" and self._owes_answer()

    async def ask_whether_gone(self) -> None:
        """After a shutdown that we did not ask for: ask the gateway whether the kernel is gone. It leaves the socket open."""
        for pause in GONE_CHECKS:
            await trio.sleep(pause)
            if self._status.over:
                return
            await self.ask_gateway()

    # Does this connection lead to it? ---------------------------------------------------------------------------

    def greeting(self) -> Pending | None:
        """Make what a connection that was made again is greeted with, before anything is sent that matters; None for nothing.

        A gateway restores the sockets that it kept for our session. Those of a connection that broke early, or of one that it
        held for alive when we had long come back, may lead nowhere (jupyter_server 2.21, `_register_session` and `disconnect`).
        """
        requests, status = self._requests, self._status
        if status.shutting_down:
            return None
        greeting = self._make_probe()
        requests.expect(greeting)
        return greeting

    async def hear(self, greeting: Pending) -> None:
        """Wait for the answer to the greeting, or find out why there is none; a connection that leads nowhere is replaced.

        Finding out ends when the answer comes after all: a gateway that is slow to tell holds nobody up.
        """
        await self._wait_answered(greeting)
        if greeting.replied:
            return
        async with trio.open_nursery() as nursery:

            async def settle() -> None:
                await greeting.wait_settled()
                nursery.cancel_scope.cancel(reason="the kernel has answered")

            nursery.start_soon(settle)
            await self.ask_gateway(thoroughly=True)
            nursery.cancel_scope.cancel()

    async def _wait_answered(self, asked: Pending) -> None:
        began = trio.current_time()
        with trio.move_on_after(ANSWER_SECONDS):
            await asked.wait_settled()
        if asked.replied:
            self._status.liveness.answered(trio.current_time(), began)

    def _owes_answer(self) -> bool:
        """Whether a probe was sent over this connection and not answered."""
        asked = self._probed
        return asked is not None and asked.sent and not asked.settled and asked.connection == self._status.connections

    async def _replace_if_mute(self) -> None:
        """Give up our session id if the kernel answers over another connection, with another id, but not over ours.

        Its answer to us may only be on its way, behind much output, or unread while a consumer pauses us. So what counts is that
        what it publishes about the other question came over our connection, or that nothing at all came.
        """
        requests, status = self._requests, self._status
        asked, connection, begun = self._probed, status.connections, trio.current_time()
        if asked is None or self._acts.paused or begun < self._look_elsewhere_at:
            return
        # Each time after twice as long: a kernel that is stopped does not answer elsewhere either.
        self._look_elsewhere_at = begun + self._look_elsewhere_pause
        self._look_elsewhere_pause *= 2
        elsewhere = PendingProbe(requests.make("control", "kernel_info_request", {}))
        requests.expect(elsewhere)
        try:
            if not await answers_elsewhere(self._api.http, status.kernel_id, elsewhere.message):
                return
            with trio.move_on_after(ANSWER_SECONDS):
                await asked.wait_settled()  # it was asked first
        finally:
            requests.forget(elsewhere)
        now = trio.current_time()
        nothing_came = not self._acts.paused and status.liveness.quiet(now) >= now - begun
        if asked.settled or connection != status.connections or status.over or not (elsewhere.published or nothing_came):
            return
        _logger.warning("connection_is_mute", extra={"gateway.kernel_id": status.kernel_id})
        self._acts.reconnect(as_another=True)

    # Was a reply lost? ------------------------------------------------------------------------------------------

    async def await_idle(self, pending: PendingExecution) -> None:
        """End an execution that has its reply but whose `idle` is overdue: lost, as in a flood it can be.

        A `kernel_info_request` gives `idle` a last chance, for as long as the first one: whatever the kernel published
        for the execution comes before what it publishes for that.
        """
        requests, status = self._requests, self._status
        came = self._iopub.statistics().received
        barrier = PendingProbe(requests.make("shell", "kernel_info_request", {}))
        try:
            requests.submit(barrier)
            with trio.move_on_after(pending.idle_grace):
                await barrier.wait_answered()
            if barrier.replied and status.told_on == status.connections:  # some kernels never tell
                await self._replace_if_deaf(pending, barrier, came)
        except GatewayError as error:
            self._note_failed("barrier_failed", error)
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
        others = any(other.sent and other not in (pending, barrier, self._probed) for other in self._requests.unanswered())
        if heard or others or pending.settled or self._acts.paused or status.over or connection != status.connections:
            return
        pending.give_up_idle()
        _logger.warning("connection_is_deaf", extra={"gateway.kernel_id": status.kernel_id})
        self._acts.reconnect(as_another=True)

    def find_lost(self) -> None:
        """Find out, some time, whether a reply that does not come was lost while the connection held. For who watches.

        A barrier is sent behind what waits, and in each place there is never more than one. Nothing waits for it: it may have to
        wait for hours behind code that runs.
        """
        requests, status = self._requests, self._status
        if status.over:
            return
        for line in {
            _line(pending.message) for pending in requests.unanswered() if not pending.question and _may_be_lost(pending)
        }:
            barrier = self._barriers.get(line)
            if barrier is None or barrier.settled or barrier.connection not in (0, status.connections):
                self._start_soon(self._fail_what_is_overtaken, line, name="trio_gateway.find_lost")

    async def _fail_what_is_overtaken(self, line: Line) -> None:
        """Send a barrier to a place, and fail what it overtakes there."""
        requests, status = self._requests, self._status
        earlier = requests.unanswered()
        reply = await self._ask_in_line(line, "kernel_info_request", {})
        beside = reply is not None and _may_be_out_of_order(reply)
        # An interrupt in the moment in which a kernel has begun with code and does not run it yet makes ipykernel drop the code:
        # it tells neither of a reply nor of an end. (Measured with ipykernel 7.4.) Code behind it shows that it is over.
        dropped = reply is not None and line[0] == "shell" and any(self._is_owed(pending, line, reply) for pending in earlier)
        if beside or dropped:
            earlier = requests.unanswered()
            if line[0] == "shell":
                reply = await self._ask_in_line(line, "execute_request", EMPTY_EXECUTION)
            else:
                await trio.sleep(BESIDE_SECONDS)
        if reply is None:
            return
        for pending in earlier:
            held = pending.connection == status.connections
            if _line(pending.message) != line or pending.question or not _may_be_lost(pending):
                continue
            # Code that a process was seen to begin with, and not to end, may still run where the kernel answers beside it.
            if held and beside and pending.runs_in(reply.header.session):
                continue
            why = "it has answered what it was asked later" if held else "the connection broke"
            kind, once = pending.message.msg_type, "it may have run, and was not sent again"
            if pending.cut and not held:
                # A network may lose the gateway's word that it is too large.
                why = f"the connection broke while it was being sent, {pending.sent_bytes} bytes"
            if pending.garbled is not None and isinstance(pending, PendingExecution) and pending.execution.saw_idle:
                pending.give_up_reply()
            elif pending.garbled is not None:
                text = f"no reply to the {kind} can be made out: a message came that can't be understood ({pending.garbled})"
                pending.fail(ProtocolError(f"kernel {status.kernel_id}: {text}, and {why}; {once}"))
            else:
                lost = f"the {kind} or its reply was lost on the way"
                pending.fail(ConnectionLostError(f"kernel {status.kernel_id}: {why}, so {lost}; {once}"))

    def _is_owed(self, pending: Pending, line: Line, barrier: Message) -> bool:
        """Whether the process that answered this barrier was seen to begin with this in that place, and not to end it."""
        here = _line(pending.message) == line and pending.connection == self._status.connections
        return here and not pending.question and _may_be_lost(pending) and pending.runs_in(barrier.header.session)

    async def _ask_in_line(self, line: Line, msg_type: str, content: Mapping[str, Any]) -> Message | None:
        """Send a request to a place, behind all that was sent there; wait for its reply, or None if there will be none."""
        requests, status = self._requests, self._status
        if status.over:
            return None  # so it is since a moment ago
        channel, subshell_id = line
        barrier = PendingReply(requests.make(channel, msg_type, content, subshell_id=subshell_id))
        if line in self._barriers:
            self._barriers[line].question = False  # it went with a connection that is no more, and may be lost itself
        barrier.question = True
        self._barriers[line] = barrier
        requests.submit(barrier)
        try:
            await barrier.wait_settled()
        finally:
            requests.forget(barrier)
            if self._barriers.get(line) is barrier:
                del self._barriers[line]
        return barrier.reply

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
                self._note_failed("interrupt_failed", error)
        if not pending.settled:
            pending.settle()

    def _note_failed(self, what: str, error: GatewayError) -> None:
        _logger.debug(what, extra={"gateway.kernel_id": self._status.kernel_id, "gateway.reason": repr(error)})


def _line(message: Message) -> Line:
    """Return where a kernel works on a request."""
    return message.channel, message.header.subshell_id if message.channel == "shell" else None


def _may_be_out_of_order(reply: Message) -> bool:
    """Whether the kernel that gave this `kernel_info_reply` may be one of those; one whose reply can't be read may."""
    try:
        return as_text(reply.content.get("implementation")).startswith(OUT_OF_ORDER)
    except ProtocolError:
        return True


def _may_be_lost(pending: Pending) -> bool:
    """Whether a reply is owed, which a barrier would have to wait for."""
    return pending.sent and not pending.replied and not pending.settled
