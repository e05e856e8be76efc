"""Requests that wait for their answer.

The one idea: a pending request is settled exactly once, by its answer, by a typed failure, or by being forgotten. The
session's reader feeds it messages without waiting; the caller's task waits for it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from contextlib import suppress

import trio

from .._errors import ConnectionLostError, GatewayInternalError, ProtocolError, fresh
from .._outputs import ExecutionResult
from .._protocol.codec import TooLargeError
from .._protocol.execution import OUTPUT_TYPES, Execution, ExecutionState
from .._protocol.loss import MessageLedger
from .._protocol.messages import Message
from .._protocol.recovery import Line, line_of
from .inbox import Inbox

__all__ = ["Pending", "PendingExecution", "PendingProbe", "PendingReply", "Remnant"]


class Pending:
    """A request that was made, and what has become of it.

    Args:
        message: the request.
    """

    __slots__ = (
        "_settled",
        "connection",
        "cut",
        "failure",
        "garbled",
        "inbox",
        "message",
        "order",
        "question",
        "sent_at",
        "sent_bytes",
    )

    message: Message
    """The request."""
    connection: int
    """The number of the connection that carried it to the gateway; 0 while it waits to be sent."""
    order: int
    """Its place in all that was sent; 0 while it waits to be sent."""
    sent_at: float
    """When it was sent, in seconds of Trio's clock; infinity while it waits to be sent."""
    sent_bytes: int
    """How many bytes it was sent as."""
    cut: bool
    """Whether the connection broke before it was written to its end."""
    failure: Exception | None
    """Why there will be no answer."""
    garbled: Exception | None
    """What was wrong with a message that came while this waited and could not be understood: it may have been the answer."""
    inbox: Inbox | None
    """Where what comes meanwhile goes, if someone wants it."""
    question: bool
    """Whether the session asks it of its own accord, to find something out: nobody waits for it, and nothing is lost with it."""

    def __init__(self, message: Message) -> None:
        self.message = message
        self.question = False
        self.connection = 0
        self.order = 0
        self.sent_at = math.inf
        self.sent_bytes = 0
        self.cut = False
        self.failure: Exception | None = None
        self.garbled: Exception | None = None
        self.inbox: Inbox | None = None
        self._settled = trio.Event()

    @property
    def sent(self) -> bool:
        """Whether sending it has begun: from then on it may run, and is never sent again (guarantee G4)."""
        return self.connection > 0

    @property
    def settled(self) -> bool:
        """Whether nothing more is to come."""
        return self._settled.is_set()

    @property
    def replied(self) -> bool:
        """Whether the kernel's reply is there."""
        raise NotImplementedError

    @property
    def owed(self) -> bool:
        """Whether it was sent, someone waits for its reply, and that has not come. For recovery."""
        return self.connection > 0 and not self._settled.is_set() and not self.replied

    @property
    def line(self) -> Line:
        """Where the kernel works on it. For recovery."""
        return line_of(self.message)

    @property
    def reached(self) -> bool:
        """Whether the kernel was heard to have it."""
        return self.replied

    def runs_in(self, process: str) -> bool:  # noqa: ARG002 - only code runs
        """Whether a process of the kernel, known by its session, was seen to begin with this and not to end it."""
        return False

    def feed(self, message: Message, number: int) -> None:
        """Take a message whose parent is this request, and the number that its sender gave it."""
        raise NotImplementedError

    def note_unreadable(self, error: ProtocolError) -> None:
        """Take in that a message could not be read which may have been this request's: its reply, or what it has caused."""
        if not self.replied:
            self.garbled = error

    def note_too_large(self, message: Message, number: int, error: TooLargeError) -> None:  # noqa: ARG002 - only executions count
        """Take in that a message whose parent is this request was too large to be taken: it is there without its content.

        Where the request can't be answered without it, that is its end.
        """
        if message.header.msg_type.endswith(("_reply", "_request")):
            self.fail(ProtocolError(str(error)))

    def settle(self) -> None:
        """Note that nothing more is to come."""
        self._settled.set()

    def fail(self, failure: Exception) -> None:
        """Settle with a failure, unless it is settled already."""
        if not self._settled.is_set():
            self.failure = failure
            self.settle()

    async def wait_settled(self) -> None:
        """Wait until nothing more is to come. Cancellation: safe."""
        await self._settled.wait()


class PendingReply(Pending):
    """A request that has ended when its reply is there, such as `kernel_info_request`."""

    __slots__ = ("reply",)

    reply: Message | None
    """The reply, once it is there."""

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self.reply = None

    @property
    def replied(self) -> bool:
        """Whether the kernel's reply is there."""
        return self.reply is not None

    def feed(self, message: Message, number: int) -> None:  # noqa: ARG002 - only executions count
        """Take a message whose parent is this request."""
        if message.channel == self.message.channel and message.header.msg_type.endswith("_reply"):
            self.reply = message
            self.settle()


class PendingProbe(PendingReply):
    """A request that has ended when both its reply and something that was published for it are there.

    A restarted kernel publishes on a new socket, which the gateway may subscribe to later than it reconnects the others:
    until then it answers, and what it publishes is lost.
    """

    __slots__ = ("_answered", "_published")

    def __init__(self, message: Message) -> None:
        super().__init__(message)
        self._answered = trio.Event()
        self._published = False

    @property
    def published(self) -> bool:
        """Whether something that was published for it is there."""
        return self._published

    @property
    def succeeded(self) -> bool:
        """Whether both are there."""
        return self._published and self.reply is not None

    def feed(self, message: Message, number: int) -> None:  # noqa: ARG002 - only executions count
        """Take a message whose parent is this request."""
        if message.channel == "iopub":
            self._published = True
        elif message.header.msg_type.endswith("_reply"):
            self.reply = message
            self._answered.set()
        if self.succeeded:
            self.settle()

    def settle(self) -> None:
        """Note that nothing more is to come."""
        super().settle()
        self._answered.set()

    async def wait_answered(self) -> None:
        """Wait for the reply, or until nothing more is to come. Cancellation: safe."""
        await self._answered.wait()


class Remnant(Pending):
    """What is left of an execution whose caller was told that the kernel answers nobody: code that may still run.

    Nobody waits for it. Its end matters all the same: where it fails, the kernel skips what was sent behind it.

    Args:
        message: the `execute_request`.
        on_end: called once with this and with whether it has failed in the kernel, when its reply is there or none will come.
    """

    __slots__ = ("_failed", "_on_end")

    def __init__(self, message: Message, on_end: Callable[[Remnant, bool], object]) -> None:
        super().__init__(message)
        self.question = True
        self._failed = False
        self._on_end = on_end

    @property
    def replied(self) -> bool:
        """Whether the kernel's reply is there, or is not wanted: it is not."""
        return True

    def feed(self, message: Message, number: int) -> None:  # noqa: ARG002 - only executions count
        """Take a message whose parent is this request."""
        if message.channel == "shell" and not self.settled:
            with suppress(ProtocolError):  # it may be anything
                self._failed = message.content.get("status") == "error"
            self.settle()

    def settle(self) -> None:
        """Note that nothing more is to come."""
        if not self.settled:
            super().settle()
            self._on_end(self, self._failed)


class PendingExecution(Pending):
    """A request to execute: it has ended when both its reply and its `idle` are there.

    Args:
        message: the `execute_request`.
        execution: its state machine.
        idle_grace: how long `idle` may be later than the reply, in seconds.
        ledger: counts what the kernel sent.
        silent: whether the request is silent.
        inbox: where outputs and requests for input go as they come, if someone wants them.
        on_skipped: called when the kernel has skipped it; says whether another request was made in its place.
        on_begun: called with this when the kernel has begun with it, and maybe again. It may fail this.
    """

    __slots__ = (
        "_answered",
        "_idle_scope",
        "_is_whole",
        "_ledger",
        "_on_begun",
        "_silent",
        "_started",
        "_window",
        "execution",
        "idle_grace",
        "input_asked",
        "input_sent",
        "on_heard",
        "on_skipped",
    )

    execution: Execution
    """Its state machine."""
    idle_grace: float
    """How long `idle` may be later than the reply, in seconds."""
    on_skipped: Callable[[PendingExecution], bool] | None
    """Called when the kernel has skipped it; says whether another request was made in its place."""
    input_asked: tuple[str, int] | None
    """The id and the number of the code's latest request for input, if nothing later was heard of it."""
    input_sent: float | None
    """When an answer to that began to be sent; None if none was."""
    on_heard: Callable[[], object] | None
    """Called when something comes that is neither output nor a request for input."""

    def __init__(
        self,
        message: Message,
        execution: Execution,
        *,
        idle_grace: float,
        ledger: MessageLedger,
        silent: bool = False,
        inbox: Inbox | None = None,
        on_skipped: Callable[[PendingExecution], bool] | None = None,
        on_begun: Callable[[PendingExecution], object] | None = None,
    ) -> None:
        super().__init__(message)
        self._ledger = ledger
        self.on_skipped = on_skipped
        self._on_begun = on_begun
        self._silent = silent
        self._window = ledger.open()
        self.execution = execution
        self.idle_grace = idle_grace
        self.inbox = inbox
        self.input_asked = None
        self.input_sent = None
        self.on_heard = None
        self._started: trio.Event | None = None
        self._answered = trio.Event()
        self._idle_scope: trio.CancelScope | None = None
        self._is_whole = False  # whether all but its reply is known to be there

    @property
    def replied(self) -> bool:
        """Whether the kernel's reply is there."""
        return self.execution.replied

    @property
    def reached(self) -> bool:
        """Whether the kernel was heard to have it."""
        return self.execution.started

    def runs_in(self, process: str) -> bool:
        """Whether a process of the kernel, known by its session, was seen to begin with this and not to end it."""
        return self.execution.state is ExecutionState.RUNNING and self.execution.kernel_session == process

    def feed(self, message: Message, number: int) -> None:
        """Take a message whose parent is this request."""
        execution = self.execution
        self._ledger.note(self._window, message, number)
        asks = message.header.msg_type == "input_request"
        if asks or (self.input_asked is not None and not 0 <= number < self.input_asked[1]):
            # (What was printed before it asked comes another way, and may come after.)
            self.input_asked = (message.msg_id, number) if asks else None
            self.input_sent = None
        if execution.feed(message) or asks:
            if self.inbox is not None:
                self.inbox.put(message)
        else:
            if self.on_heard is not None:
                self.on_heard()
            if self._on_begun is not None and execution.kernel_session and message.header.msg_type == "status":
                self._on_begun(self)
            if execution.done:
                if execution.status != "aborted" or self.on_skipped is None or not self.on_skipped(self):
                    self._account()
                    self.settle()
            elif execution.replied:
                self._note_reply()
        if self._started is not None and execution.started:
            self._started.set()

    def note_unreadable(self, error: ProtocolError) -> None:
        """Take in that a message could not be read which may have been this request's."""
        super().note_unreadable(error)
        self.execution.note_unreadable(error)

    def note_too_large(self, message: Message, number: int, error: TooLargeError) -> None:
        """Take in that a message whose parent is this request was too large to be taken."""
        self._ledger.note(self._window, message, number)
        if message.header.msg_type in OUTPUT_TYPES:
            self.execution.note_too_large(error.length)
        super().note_too_large(message, number, error)

    def is_whole_before(self, question: Message, *, since: int) -> bool | None:
        """Say whether all is there that the kernel sent before a request for input; None for a kernel that numbers nothing.

        Args:
            question: the request.
            since: from which number on that is wanted, if that is later than where the execution began.
        """
        return self._ledger.is_whole_before(self._window, question.msg_id, since=since)

    def note_input(self, parent: str, now: float) -> None:
        """Take in that an answer to a request for input is being sent.

        Args:
            parent: the id of the request that it names; `""` if it names none.
            now: the time.
        """
        if self.input_asked is not None and parent in ("", self.input_asked[0]):
            self.input_sent = now

    def renew(self, message: Message) -> None:
        """Begin anew with another request: the kernel has skipped the one before."""
        self._ledger.close()
        self._window = self._ledger.open()
        self.message = message
        self.connection = self.order = 0
        self.execution = Execution(keep=self.execution.keep, limit_bytes=self.execution.limit_bytes)
        if self._idle_scope is not None:
            self._idle_scope.deadline = math.inf

    def _note_reply(self) -> None:
        """From now on `idle` may be overdue: the caller waits for so long only."""
        self._answered.set()
        if self.inbox is not None:
            self.inbox.wake()
        if self._idle_scope is not None and self._idle_scope.deadline == math.inf:
            self._idle_scope.deadline = trio.current_time() + self.idle_grace

    def fail(self, failure: Exception) -> None:
        """Settle with a failure, unless it is settled already; where the code was heard to end, account for what it put out."""
        if not self.settled and self.execution.saw_idle:
            self._ledger.note_possible_drop()  # whatever took the reply may have taken more
            self._is_whole = self._account() == 0
        super().fail(failure)

    def told_end(self) -> ExecutionResult | None:
        """Return what came of it where its reply was lost, and what the kernel published tells all else; None where it does not.

        The kernel said `idle` for it, and nothing that it published for it is missing: if its code has raised an error that the
        kernel publishes, that is there.
        """
        if not (isinstance(self.failure, ConnectionLostError) and self._is_whole):
            return None
        told = self.execution.result()
        return None if told.output_gaps else told

    def give_up_idle(self) -> None:
        """End without `idle`, which never came."""
        self.execution.give_up_idle()
        self._account()
        self.settle()

    def give_up_reply(self) -> None:
        """End without the reply, which may have come in a message that could not be read."""
        self.execution.give_up_reply()
        self._account()
        self.settle()

    def _account(self) -> int | None:
        """Tell the execution how many of its outputs never came; return that: see `Execution.note_missing`."""
        execution = self.execution
        if execution.limited:
            self._ledger.note_possible_drop()
        missing = self._ledger.lost_outputs(self._window, silent=self._silent, saw_idle=execution.saw_idle)
        execution.note_missing(missing)
        return missing

    def settle(self) -> None:
        """Note that nothing more is to come."""
        if not self.settled:
            self._ledger.close()
        super().settle()
        self._answered.set()
        if self._started is not None:
            self._started.set()
        if self.inbox is not None:
            self.inbox.close(self.failure)

    async def wait_answered(self) -> bool:
        """Wait for the end, or for the reply and then `idle_grace` more; say whether it is the end. Cancellation: safe."""
        await self._answered.wait()
        if not self.settled:  # mostly it is: `idle` comes with the reply, and a scope costs more than all else here
            with self._until_idle_is_overdue():
                await self._settled.wait()
        return self.settled

    async def next_output(self) -> Message | None:
        """Wait for the next output; None when `idle` is overdue.

        Raises:
            trio.EndOfChannel: the execution has ended and every output was given.
            Exception: what it failed with.

        Cancellation: safe, no output is lost.
        """
        inbox = self.inbox
        assert inbox is not None
        while inbox.waits:
            if self.execution.replied:
                with self._until_idle_is_overdue():
                    return await inbox.get()
                return None
            await inbox.wait_woken()  # without a scope, which costs more than all else here: the reply wakes us
        return await inbox.get()

    def result(self) -> ExecutionResult:
        """Return what came of it, or raise what it failed with; call it when it is settled."""
        if self.failure is not None:
            raise fresh(self.failure)
        if not self.execution.done:
            raise GatewayInternalError("an execution was settled before it had ended")
        return self.execution.result(dropped=0 if self.inbox is None else self.inbox.dropped)

    def _until_idle_is_overdue(self) -> trio.CancelScope:
        """Make a scope that `feed` gives a deadline once the reply is there: no task has to watch for it."""
        scope = self._idle_scope = trio.CancelScope()
        if self.execution.replied and not self.settled:
            scope.deadline = trio.current_time() + self.idle_grace
        return scope

    async def wait_started(self) -> None:
        """Wait until the kernel has begun with it, or it is settled. Cancellation: safe."""
        if self.execution.started or self.settled:
            await trio.lowlevel.checkpoint()
            return
        if self._started is None:
            self._started = trio.Event()
        await self._started.wait()
