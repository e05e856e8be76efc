"""Running code: `execute` and `stream`, for a kernel and for its subshells.

The one idea: an execution holds its executor's *turn* while it is with the kernel, so at most one is there at a time. A
cancelled execution can therefore be interrupted without hitting another one (guarantee G6), and one that still waits for
its turn is simply never sent.
"""

from __future__ import annotations

import inspect
import logging
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from itertools import islice
from typing import Any, Final, Literal, TypeAlias

import trio

from .._errors import GatewayError, InvalidInputError, KernelNotFoundError, KernelUnresponsiveError, ProtocolError, fresh
from .._limits import points_to_limits
from .._outputs import ExecutionResult, Output
from .._protocol import contents
from .._protocol.code import Stdin, execute_content
from .._protocol.execution import Execution, parse_output
from .._protocol.messages import Message
from .._transport.blocks import block
from .._values import as_plain_json
from .channels import check_when_full
from .inbox import READY_BYTES, READY_ITEMS, Inbox, InboxStatistics, WhenFull, check_ready_limits
from .pending import PendingExecution, Remnant
from .session import KernelSession

__all__ = ["Executor", "OnCancel", "OutputStream"]

_logger = logging.getLogger("trio_gateway.kernel")

OnCancel: TypeAlias = Literal["interrupt", "abandon"]

INTERRUPT_AGAIN: Final = 1.0
"""How long to wait for `idle` after an interrupt before the next one, in seconds; doubled each time."""
SKIPS_SECONDS: Final = 1.0
"""How long after a failure a kernel may skip what it is asked to execute, in seconds, before that is taken for its answer."""
OVERTAKEN_SECONDS: Final = 0.25
"""How long a request for input waits for what its kernel has numbered before it, in seconds, before that is taken for lost."""
OVERTAKEN_PAUSE: Final = 0.02
"""How long it waits where the kernel numbers nothing, in seconds."""
SKIPPED_PAUSE: Final = 0.01
"""How long to wait before code is sent that was skipped a second time, in seconds; doubled each time."""


@points_to_limits
class Executor:
    """Runs code in one place of a kernel: its main shell, or a subshell."""

    def __init__(self, session: KernelSession, *, subshell_id: str | None = None) -> None:
        self._session = session
        self._subshell_id = subshell_id
        self._turn = trio.Semaphore(1, max_value=1)  # first come, first served; no lock, for it may change hands
        self._failed_at = -math.inf
        self._skips = 0

    async def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        stdin: Stdin | None = None,
        on_cancel: OnCancel = "interrupt",
    ) -> ExecutionResult:
        """Run code and return all that came of it, once the kernel is idle again.

        An exception in the code does not raise here: look at `result.status`, or call `result.raise_for_error()`.

        Args:
            code: the code, in the kernel's language.
            silent: ask the kernel to publish no output and to keep its counter.
            store_history: whether the kernel keeps the code in its history.
            user_expressions: expressions to evaluate afterwards, by name; their values are in `result.reply`.
            stop_on_error: whether the kernel drops what waits in its queue if this code fails.
            stdin: answers the code's requests for input, such as Python's `input()`: a function or async function of the
                prompt and of whether it is for a password. Or `"channel"`: the requests are for a reader of `kernel.stdin`, which
                answers there with an `input_reply`. Without either, asking for input is an error in the kernel.
            on_cancel: `"interrupt"` the code when the caller is cancelled, or `"abandon"` it: leave it running.

        Raises:
            InvalidInputError: the code is no text, or has NUL bytes or lone surrogates, or another argument can't be used;
                nothing was sent.
            KernelRestartedError: the kernel was restarted while this ran; or, of a pool's kernel, before this was sent, and its
                caller did not know. The kernel can be used again. (A gateway interrupts a kernel before it restarts it or shuts
                it down: if the kernel answers in time, that is the result, and its error is `KeyboardInterrupt`.)
            KernelDiedError: the kernel ended for good.
            KernelCulledError: someone else shut the kernel down.
            ConnectionLostError: the answer was lost with the connection. The code may have run; it was not sent again.
            KernelUnresponsiveError: the kernel has answered nobody for as long as the setting `unresponsive_timeout` says. The
                code may run; what is executed next waits behind it in the kernel.

        Cancellation: code that was not sent yet is withdrawn. Code that runs is interrupted, and this waits until the
            kernel is idle, for at most the setting `interrupt_timeout`; with `on_cancel="abandon"` it does neither.
        """
        content = execute_content(code, silent, store_history, user_expressions, stop_on_error, stdin)
        if stdin is None or stdin == "channel":
            async with self._running(content, on_cancel, keep=True, inbox=None) as pending:
                if not await pending.wait_answered():
                    await self._session.checks.await_idle(pending)
            return self._result(pending)
        inbox = self._inbox("spool")
        try:
            async with self._running(content, on_cancel, keep=True, inbox=inbox) as pending:
                async for _ in OutputStream(self._session, pending, inbox, stdin):
                    pass  # collected for the result; what matters here are the requests for input in between
            return self._result(pending)
        finally:
            inbox.discard()

    def stream(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        stdin: Stdin | None = None,
        on_cancel: OnCancel = "interrupt",
        when_full: WhenFull = "spool",
    ) -> AbstractAsyncContextManager[OutputStream]:
        """Run code and give its outputs as they come.

        Example::

            async with kernel.stream("for i in range(3): print(i)") as outputs:
                async for output in outputs:
                    print(output)

        Leaving the block before the end interrupts the code.

        Args:
            code: the code, in the kernel's language.
            silent: ask the kernel to publish no output and to keep its counter.
            store_history: whether the kernel keeps the code in its history.
            user_expressions: expressions to evaluate afterwards, by name; their values are in `outputs.result.reply`.
            stop_on_error: whether the kernel drops what waits in its queue if this code fails.
            stdin: answers the code's requests for input, as in `execute`; it is called while you iterate, when all that was
                printed before has been given. (A request comes over another of the kernel's sockets and may overtake output. It
                waits for that, as the kernel numbers what it sends; where it does not, for a moment.)
            on_cancel: what to do with code that still runs when the block is left: `"interrupt"` or `"abandon"` it.
            when_full: what to do when outputs come faster than they are read and fill the settings `buffer_messages` or
                `buffer_bytes`: `"spool"` them to a temporary file, `"drop_oldest"` and count them in
                `outputs.result.output_gaps`, `"fail"` this stream, or `"pause"` reading for the whole session.

        Returns:
            A context manager; it gives an `OutputStream`. Entering it waits for the executor's earlier executions.

        Raises:
            InvalidInputError: the code is no text, or has NUL bytes or lone surrogates, or another argument can't be used;
                nothing was sent.

        Cancellation: as for `execute`.
        """
        check_when_full(when_full)
        content = execute_content(code, silent, store_history, user_expressions, stop_on_error, stdin)
        return self._stream(content, on_cancel, stdin, when_full)

    @block("kernel.stream")
    @asynccontextmanager
    async def _stream(
        self, content: Mapping[str, Any], on_cancel: OnCancel, stdin: Stdin | None, when_full: WhenFull
    ) -> AsyncGenerator[OutputStream]:
        inbox = self._inbox(when_full)
        try:
            async with self._running(content, on_cancel, keep=False, inbox=inbox) as pending:
                yield OutputStream(self._session, pending, inbox, stdin)
        finally:
            inbox.discard()

    def _inbox(self, when_full: WhenFull) -> Inbox:
        config = self._session.config
        return Inbox(limit_messages=config.buffer_messages, limit_bytes=config.buffer_bytes, when_full=when_full)

    @asynccontextmanager
    async def _running(
        self, content: Mapping[str, Any], on_cancel: OnCancel, *, keep: bool, inbox: Inbox | None
    ) -> AsyncGenerator[PendingExecution]:
        """Hold the turn and an execution; whatever is unfinished at the end is withdrawn, interrupted or abandoned."""
        if on_cancel not in ("interrupt", "abandon"):
            raise InvalidInputError("on_cancel", on_cancel, '"interrupt" or "abandon"')
        session = self._session
        kept = session.kept
        known = kept.known
        try:
            self._turn.acquire_nowait()
            since = math.inf
        except trio.WouldBlock:
            since = trio.current_time()
            await self._turn.acquire()
        unwanted = False
        try:
            session.checks.raise_if_given_up(since)
            kept.raise_if_lost(known)
            await session.gate.wait()
            await trio.lowlevel.checkpoint_if_cancelled()  # else it would be sent before the cancellation is noticed
            kept.raise_if_lost(known)
            message = session.requests.make("shell", "execute_request", content, subshell_id=self._subshell_id)
            pending = PendingExecution(
                message,
                Execution(keep=keep, limit_bytes=session.config.max_output_bytes),
                idle_grace=session.config.idle_grace,
                ledger=session.requests.ledger,
                silent=bool(content["silent"]),
                inbox=inbox,
                on_skipped=self._send_again,
                on_begun=session.note_begun,
            )
            self._skips = 0
            session.requests.submit(pending)
            try:
                yield pending
            finally:
                pending.on_skipped = None  # nobody wants it any more
                unfinished = not pending.settled and not session.requests.withdraw(pending)
                if unfinished and on_cancel == "interrupt" and self._subshell_id is None:
                    with trio.move_on_after(session.config.interrupt_timeout, shield=True):
                        await self._interrupt_until_settled(pending)
                    if not pending.settled and not pending.replied:
                        _logger.warning("still_busy", extra={"gateway.kernel_id": session.kernel_id})
                        if not pending.execution.started:
                            # It waits behind someone else's work, which must not be hit: interrupt it when its time comes.
                            session.start_soon(self._end_unwanted, pending, name="trio_gateway.end_unwanted")
                            unwanted = True
                if not unwanted:
                    self._end(pending)
        finally:
            if not unwanted:
                self._turn.release()

    def _result(self, pending: PendingExecution) -> ExecutionResult:
        """Give the user the result of an execution, or raise what it failed with."""
        self._session.kept.note_known(pending.failure)
        return pending.result()

    async def _end_unwanted(self, pending: PendingExecution) -> None:
        """Interrupt an execution that nobody wants any more as soon as it begins. A service of the session."""
        try:
            await self._interrupt_until_settled(pending)
        finally:
            self._end(pending)
            self._turn.release()  # not before: a kernel drops what is in its queue when an execution fails

    def _end(self, pending: PendingExecution) -> None:
        """Be done with an execution."""
        self._session.requests.forget(pending)
        pending.settle()
        if pending.replied and pending.execution.status == "error":
            self._failed_at = trio.current_time()
        elif isinstance(pending.failure, KernelUnresponsiveError) and not self._session.status.over:
            self._session.requests.expect(Remnant(pending.message, self._note_late_end))

    def _note_late_end(self, remnant: Remnant, failed: bool) -> None:
        """Code that was given up has ended, or will be heard of no more."""
        self._session.requests.forget(remnant)
        if failed:
            self._failed_at = trio.current_time()

    def _send_again(self, pending: PendingExecution) -> bool:
        """Send code again that the kernel has skipped, though what failed had ended before it was sent; say whether it is sent.

        ipykernel skips what is in its queue when an execution fails. It stops a moment after it has told of the failure, longer
        with its setting `stop_on_error_timeout`, and what we are quick to send falls into that. No code runs twice: the kernel
        itself says that it has not run this.
        """
        session = self._session
        if trio.current_time() >= self._failed_at + SKIPS_SECONDS:
            return False
        pause = SKIPPED_PAUSE * (2**self._skips - 1)
        self._skips += 1
        session.requests.forget(pending)
        pending.renew(session.requests.make("shell", "execute_request", pending.message.content, subshell_id=self._subshell_id))
        session.requests.submit_again(pending, pause, session.gate.wait)
        return True

    async def _interrupt_until_settled(self, pending: PendingExecution) -> None:
        """Interrupt our own execution and wait for its end. The caller shields and bounds it."""
        session = self._session
        # An interrupt that comes before the kernel has begun hits nobody: kernels ignore it while they are idle.
        await pending.wait_started()
        pause = INTERRUPT_AGAIN
        while not pending.settled:
            try:
                await session.process.interrupt()
            except KernelNotFoundError:
                break
            except GatewayError as error:
                extra = {"gateway.kernel_id": session.kernel_id, "gateway.reason": repr(error)}
                _logger.debug("interrupt_failed", extra=extra)
            with trio.move_on_after(pause):
                await pending.wait_answered()
            if pending.replied:
                break
            session.checks.find_lost()  # a kernel that was interrupted before the code ran may have dropped it
            pause *= 2  # code may catch KeyboardInterrupt and go on


@points_to_limits
class OutputStream:
    """The outputs of one execution, in order, as they come. Iterate over it once; `result` tells how it ended."""

    def __init__(self, session: KernelSession, pending: PendingExecution, inbox: Inbox, stdin: Stdin | None = None) -> None:
        self._session = session
        self._pending = pending
        self._inbox = inbox
        self._stdin = None if stdin == "channel" else stdin
        self._reads = True
        self._question: Message | None = None  # asked next, when all that was printed before is given
        self._ask_by = 0.0  # when that is not waited for any longer
        self._asked_after: int | None = None  # how many messages are given before; None where some may still come
        self._whole_from = 0  # before this number nothing is waited for: it was once, in vain

    def __aiter__(self) -> OutputStream:
        return self

    async def __anext__(self) -> Output:
        """Wait for the next output.

        Raises:
            StopAsyncIteration: the execution has ended.
            KernelError: the kernel ended or was restarted while it ran.
            ConnectionLostError: the answer was lost with the connection.
            SlowConsumerError: the buffer was full, and the stream had chosen to fail then.

        Cancellation: safe, no output is lost.
        """
        while True:
            message: Message | None
            if self._question is not None and await self._ask_in_turn():
                continue
            if self._inbox.at_hand():
                await trio.lowlevel.checkpoint_if_cancelled()
                message = self._inbox.take()
            else:
                try:
                    message = await self._pending.next_output()
                except trio.EndOfChannel:
                    raise StopAsyncIteration from None
                except GatewayError as error:
                    self._session.kept.note_known(self._pending.failure)
                    raise fresh(error) from error.__cause__
            if message is None:
                await self._session.checks.await_idle(self._pending)
            elif message.header.msg_type == "input_request" and self._stdin is not None:
                before = self._hold(message)
                if before is not None:
                    await self._answer(before)
            else:
                output = self.read(message) if self._reads else None
                if output is not None:
                    return output

    def _hold(self, question: Message) -> Message | None:
        """Keep a request for input until all that was printed before it has been given; return one that was kept before."""
        before, self._question = self._question, question
        known = self._pending.is_whole_before(question, since=self._whole_from) is not None
        self._ask_by = trio.current_time() + (OVERTAKEN_SECONDS if known else OVERTAKEN_PAUSE)
        self._asked_after = None
        return before

    async def _ask_in_turn(self) -> bool:
        """Ask what is to be asked, if all that was printed before has been given; or wait for that, or for the time to ask.

        Returns:
            Whether there may be something else to do now than to take the next message. (It is a step of `__anext__`, which
            checkpoints.)
        """
        question = self._question
        assert question is not None
        if self._pending.settled:  # nobody waits for the answer any more
            self._question = None
            return True  # noqa: ASYNC910
        statistics = self._inbox.statistics()
        if self._asked_after is None and self._is_turn(question):
            self._asked_after = statistics.received
        waiting = statistics.messages + statistics.spooled
        if self._asked_after is not None and waiting <= statistics.received - self._asked_after:
            self._question = None
            await self._answer(question)
            return True
        if waiting:
            return False  # noqa: ASYNC910
        with trio.CancelScope(deadline=self._ask_by) as scope:
            self._pending.on_heard = scope.cancel
            try:
                await self._inbox.wait_ready()
            finally:
                self._pending.on_heard = None
        return True

    def _is_turn(self, question: Message) -> bool:
        """Whether all that the kernel sent before a request for input is there, or is not waited for any longer."""
        whole = self._pending.is_whole_before(question, since=self._whole_from)
        if whole or trio.current_time() < self._ask_by:
            return bool(whole)
        if whole is False:
            self._whole_from = int(question.msg_id.rpartition("_")[2])
        return True

    def receive_ready(self, limit: int = READY_ITEMS, *, limit_bytes: float = READY_BYTES) -> list[Output]:
        """Take the outputs that are there already, without waiting. Iterating waits for the next, and raises what the end is.

        It stops where the code has asked for input: the handler of `stdin` is called when the stream is iterated over.

        Args:
            limit: how many at most.
            limit_bytes: after so many bytes of their messages no more are taken; at least one message is.

        Returns:
            The outputs in order; none if none is there.

        Raises:
            InvalidInputError: a limit is no such number.
            SlowConsumerError: the next one lies in a temporary file that can't be read back.
        """
        check_ready_limits(limit, limit_bytes)
        if self._question is not None:
            return []
        ready = self._inbox.take_ready(limit_bytes, stop_before=None if self._stdin is None else "input_request")
        return list(islice((output for message in ready if (output := self.read(message)) is not None), limit))

    def read(self, message: Message) -> Output | None:
        """Make an output of a message; None where it is none, or can't be read: that is a gap in the result."""
        try:
            return parse_output(message)
        except ProtocolError as error:
            self._pending.execution.note_unreadable(error)
            return None

    async def run_out(self) -> None:
        """Wait for the end, call the handler of `stdin` in between, and give no outputs. For those who read them on iopub.

        Raises:
            GatewayError: as where the stream is iterated over.
            Exception: what the handler raises.

        Cancellation: as where it is iterated over.
        """
        self._reads = False
        async for _ in self:
            pass

    @property
    def request_id(self) -> str:
        """The request's id. Code that the kernel has skipped is asked for again, under another."""
        return self._pending.message.msg_id

    @property
    def process(self) -> str:
        """The session of the kernel's process that runs the code; `""` before it has begun."""
        return self._pending.execution.kernel_session

    @property
    def result(self) -> ExecutionResult:
        """How the execution ended: status, reply, gaps. Its `outputs` are empty: they were given one by one.

        Raises:
            RuntimeError: it has not ended yet.
            KernelError: the kernel ended or was restarted while it ran.
            ConnectionLostError: the answer was lost with the connection.
        """
        if not self._pending.settled:
            raise RuntimeError("the execution has not ended yet: read its outputs to the end first")
        self._session.kept.note_known(self._pending.failure)
        return self._pending.result()

    def told_end(self) -> ExecutionResult | None:
        """Return how the execution ended where only its reply was lost, as far as the kernel has published that.

        Its `reply` is empty then. None where the reply is there, or where the kernel was not heard to end the code, or where
        output is missing, so that an error may be.
        """
        return self._pending.told_end()

    def statistics(self) -> InboxStatistics:
        """Return how many outputs wait to be read, in memory and in the temporary file."""
        return self._inbox.statistics()

    async def _answer(self, request: Message) -> None:
        """Ask the handler, and send its answer. What the handler raises comes out here, and the code is interrupted."""
        assert self._stdin is not None  # without a handler the request forbids the kernel to ask
        asked = contents.look(request)
        answer = self._stdin(asked["prompt"], asked["password"])
        if inspect.isawaitable(answer):
            answer = await answer
        if not isinstance(answer, str):
            raise InvalidInputError("stdin", type(answer).__name__, "a handler that returns text (str)")
        await self._session.channels["stdin"].send(
            "input_reply", {"status": "ok", "value": answer}, parent_header=as_plain_json(request.own_header)
        )
