"""A kernel, as its user sees it.

The one idea: `execute` and `stream` run in the caller's task and hold one *turn* while they do, so at most one execution
of this session is with the kernel at a time. A cancelled execution can therefore be interrupted without hitting another
one (guarantee G6), and one that still waits for its turn is simply never sent.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from typing import Any, Final, Literal, TypeAlias

import trio

from .._errors import GatewayError, GatewayInternalError, InvalidInputError, KernelNotFoundError, fresh
from .._outputs import ExecutionResult, Output
from .._protocol.execution import Execution, parse_output
from .._protocol.kernel_state import ConnectionState, KernelState
from .inbox import Inbox, InboxStatistics
from .pending import PendingExecution
from .session import KernelSession

__all__ = ["Kernel", "OnCancel", "OutputStream"]

_logger = logging.getLogger("trio_gateway.kernel")

OnCancel: TypeAlias = Literal["interrupt", "abandon"]

INTERRUPT_AGAIN: Final = 1.0
"""How long to wait for `idle` after an interrupt before the next one, in seconds; doubled each time."""
RESTART_PROBE: Final = 5.0
"""How long a restarted kernel may take to answer on the old connection before a new one is made, in seconds."""


class Kernel:
    """A kernel behind a gateway: run code in it, interrupt it, restart it. Made by `Gateway.start_kernel` and `attach_kernel`.

    All methods may be called from any number of tasks at once. Executions run one after the other, in the order in which
    they were asked for; everything else does not wait for them.
    """

    def __init__(self, session: KernelSession, name: str) -> None:
        self._session = session
        self._name = name
        self._turn = trio.Lock()

    @property
    def id(self) -> str:
        """The kernel's id, a UUID."""
        return self._session.kernel_id

    @property
    def name(self) -> str:
        """The name of its kernelspec."""
        return self._name

    @property
    def session_id(self) -> str:
        """This client's session with the kernel: the gateway replays missed messages to it."""
        return self._session.session_id

    @property
    def state(self) -> KernelState:
        """What the kernel is doing, as far as its messages tell."""
        return self._session.kernel_state

    @property
    def connection_state(self) -> ConnectionState:
        """How the connection is doing."""
        return self._session.connection_state

    def __repr__(self) -> str:
        return f"<Kernel {self._name} {self.id} {self.state.value}, {self.connection_state.value}>"

    async def execute(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
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
            on_cancel: `"interrupt"` the code when the caller is cancelled, or `"abandon"` it: leave it running.

        Raises:
            InvalidInputError: the code is no text, or has NUL bytes or lone surrogates; nothing was sent.
            KernelRestartedError: the kernel was restarted while this ran. The kernel can be used again.
            KernelDiedError: the kernel ended for good.
            KernelCulledError: someone else shut the kernel down.
            ConnectionLostError: the answer was lost with the connection. The code may have run; it was not sent again.

        Cancellation: code that was not sent yet is withdrawn. Code that runs is interrupted, and this waits until the
            kernel is idle, for at most the setting `interrupt_timeout`; with `on_cancel="abandon"` it does neither.
        """
        content = _execute_content(code, silent, store_history, user_expressions, stop_on_error)
        async with self._running(content, on_cancel, keep=True, inbox=None) as pending:
            if not await pending.wait_answered():
                await self._session.settle_without_idle(pending)
        return _result(pending)

    def stream(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stop_on_error: bool = True,
        on_cancel: OnCancel = "interrupt",
    ) -> AbstractAsyncContextManager[OutputStream]:
        """Run code and give its outputs as they come.

        Example::

            async with kernel.stream("for i in range(3): print(i)") as outputs:
                async for output in outputs:
                    print(output)

        Outputs that come faster than they are read are kept: in memory up to the settings `buffer_messages` and
        `buffer_bytes`, then in a temporary file. Leaving the block before the end interrupts the code.

        Args:
            code: the code, in the kernel's language.
            silent: ask the kernel to publish no output and to keep its counter.
            store_history: whether the kernel keeps the code in its history.
            user_expressions: expressions to evaluate afterwards, by name; their values are in `outputs.result.reply`.
            stop_on_error: whether the kernel drops what waits in its queue if this code fails.
            on_cancel: what to do with code that still runs when the block is left: `"interrupt"` or `"abandon"` it.

        Returns:
            A context manager; it gives an `OutputStream`. Entering it waits for the session's earlier executions.

        Raises:
            InvalidInputError: the code is no text, or has NUL bytes or lone surrogates; nothing was sent.

        Cancellation: as for `execute`.
        """
        content = _execute_content(code, silent, store_history, user_expressions, stop_on_error)
        return self._stream(content, on_cancel)

    async def interrupt(self) -> None:
        """Interrupt what the kernel is doing, as its kernelspec says: by signal or by message; the gateway knows.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel any more.
            GatewayError: as for each request to the gateway.

        Cancellation: leaves open whether the kernel is interrupted.
        """
        await self._session.api.interrupt(self.id)

    async def restart(self) -> None:
        """Restart the kernel: its memory is lost, its id stays. Executions that ran end with `KernelRestartedError`.

        Returns when the kernel answers again.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel any more.
            GatewayError: as for each request to the gateway.

        Cancellation: leaves open whether the kernel is restarted.
        """
        await self._session.restart(RESTART_PROBE)

    async def shutdown(self) -> None:
        """Shut the kernel down now, before its block ends. What still runs ends with `KernelDiedError`. Twice is fine.

        Raises:
            GatewayError: as for each request to the gateway.

        Cancellation: leaves open whether the kernel is shut down; for a kernel of `start_kernel`, the block's end sees to it.
        """
        self._session.note_shutdown()
        with suppress(KernelNotFoundError):
            await self._session.api.shutdown(self.id)
        self._session.note_dead()

    @asynccontextmanager
    async def _stream(self, content: Mapping[str, Any], on_cancel: OnCancel) -> AsyncGenerator[OutputStream]:
        config = self._session.config
        inbox = Inbox(limit_messages=config.buffer_messages, limit_bytes=config.buffer_bytes)
        try:
            async with self._running(content, on_cancel, keep=False, inbox=inbox) as pending:
                yield OutputStream(self._session, pending, inbox)
        finally:
            inbox.discard()

    @asynccontextmanager
    async def _running(
        self, content: Mapping[str, Any], on_cancel: OnCancel, *, keep: bool, inbox: Inbox | None
    ) -> AsyncGenerator[PendingExecution]:
        """Hold the turn and an execution; whatever is unfinished at the end is withdrawn, interrupted or abandoned."""
        if on_cancel not in ("interrupt", "abandon"):
            raise InvalidInputError("on_cancel", on_cancel, '"interrupt" or "abandon"')
        session = self._session
        try:
            self._turn.acquire_nowait()
        except trio.WouldBlock:
            await self._turn.acquire()
        try:
            execution = Execution(keep=keep, limit_bytes=session.config.max_output_bytes)
            message = session.make("shell", "execute_request", content)
            pending = PendingExecution(
                message,
                execution,
                idle_grace=session.config.idle_grace,
                ledger=session.ledger,
                silent=bool(content["silent"]),
                inbox=inbox,
            )
            session.submit(pending)
            try:
                yield pending
            finally:
                if not pending.settled and not session.withdraw(pending) and on_cancel == "interrupt":
                    await self._interrupt_until_settled(pending)
                session.forget(pending)
                pending.settle()
        finally:
            self._turn.release()

    async def _interrupt_until_settled(self, pending: PendingExecution) -> None:
        """Interrupt our own execution and wait for its end. Shielded, and bounded by `interrupt_timeout`."""
        limit = self._session.config.interrupt_timeout
        with trio.move_on_after(limit, shield=True):
            # An interrupt that comes before the kernel has begun hits nobody: kernels ignore it while they are idle.
            await pending.wait_started()
            pause = INTERRUPT_AGAIN
            while not pending.settled:
                try:
                    await self.interrupt()
                except KernelNotFoundError:
                    break
                except GatewayError as error:
                    _logger.debug("interrupt_failed", extra={"gateway.kernel_id": self.id, "gateway.reason": repr(error)})
                with trio.move_on_after(pause):
                    await pending.wait_answered()
                if pending.replied:
                    break
                pause *= 2  # code may catch KeyboardInterrupt and go on
        if not pending.settled and not pending.replied:
            _logger.warning("still_busy", extra={"gateway.kernel_id": self.id, "gateway.seconds": limit})


class OutputStream:
    """The outputs of one execution, in order, as they come. Iterate over it once; `result` tells how it ended."""

    def __init__(self, session: KernelSession, pending: PendingExecution, inbox: Inbox) -> None:
        self._session = session
        self._pending = pending
        self._inbox = inbox

    def __aiter__(self) -> OutputStream:
        return self

    async def __anext__(self) -> Output:
        """Wait for the next output.

        Raises:
            StopAsyncIteration: the execution has ended.
            KernelError: the kernel ended or was restarted while it ran.
            ConnectionLostError: the answer was lost with the connection.

        Cancellation: safe, no output is lost.
        """
        while True:
            try:
                message = await self._pending.next_output()
            except trio.EndOfChannel:
                raise StopAsyncIteration from None
            except GatewayError as error:
                raise fresh(error) from error.__cause__
            if message is None:
                await self._session.settle_without_idle(self._pending)
                continue
            output = parse_output(message)
            if output is not None:
                return output

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
        return _result(self._pending)

    def statistics(self) -> InboxStatistics:
        """Return how many outputs wait to be read, in memory and in the temporary file."""
        return self._inbox.statistics()


def _result(pending: PendingExecution) -> ExecutionResult:
    if pending.failure is not None:
        raise fresh(pending.failure)
    if not pending.execution.done:
        raise GatewayInternalError("an execution was settled before it had ended")
    return pending.execution.result()


def check_code(code: object) -> str:
    """Return the code if a kernel can be asked to run it; raise InvalidInputError if not."""
    if not isinstance(code, str):
        raise InvalidInputError("code", code, f"text (str), not {type(code).__name__}")
    position = code.find("\x00")
    if position >= 0:
        raise InvalidInputError("code", code[max(position - 20, 0) : position + 20], f"no NUL character (at {position})")
    if not code.isascii():
        try:
            code.encode()
        except UnicodeEncodeError as error:
            around = code[max(error.start - 20, 0) : error.start + 20]
            raise InvalidInputError("code", around, f"no lone surrogate (at {error.start})") from None
    return code


def _execute_content(
    code: str, silent: bool, store_history: bool, user_expressions: Mapping[str, str] | None, stop_on_error: bool
) -> Mapping[str, Any]:
    return {
        "code": check_code(code),
        "silent": silent,
        "store_history": store_history and not silent,
        "user_expressions": dict(user_expressions or {}),
        "allow_stdin": False,
        "stop_on_error": stop_on_error,
    }
