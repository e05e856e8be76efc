"""A kernel, as its user sees it.

The one idea: everything here is one line on top of the session: what to send, on which channel, and what its answer is
called. How code runs is `executor`'s business.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from typing import Any, Final

import trio

from .._errors import ConnectionLostError, GatewayError, InvalidInputError, KernelNotFoundError, ProtocolError, fresh
from .._limits import points_to_limits
from .._models import KernelSpec
from .._protocol.code import check_code
from .._protocol.kernel_state import ConnectionState, KernelState
from .._protocol.liveness import Evidence, Verdict
from .._protocol.loss import LossAccount
from .._protocol.messages import Buffer
from .._protocol.recovery import ANSWER_SECONDS
from .._transport.blocks import block
from .._values import as_lines
from .channels import Channel
from .comms import Comms
from .executor import Executor
from .pending import PendingReply
from .session import KernelSession, process_of
from .status import SessionStatus, Status

__all__ = ["HeartbeatChannel", "Kernel", "Subshell"]

_logger = logging.getLogger("trio_gateway.kernel")

RESTART_PROBE: Final = 5.0
"""How long a restarted kernel may take to answer on the old connection before a new one is made, in seconds."""


@points_to_limits
class HeartbeatChannel:
    """A kernel's fifth channel: is it there? Reached as `kernel.hb`.

    The verdict is made of evidence: messages, WebSocket pings, the kernel's answer on its control channel, the gateway's
    model, its 404.
    """

    def __init__(self, session: KernelSession) -> None:
        self._session = session

    @property
    def _now(self) -> float:
        """The time; of a session that has ended, that of its end: it may be read where Trio runs no more."""
        ended_at = self._session.status.ended_at
        return trio.current_time() if ended_at is None else ended_at

    @property
    def verdict(self) -> Verdict:
        """What the evidence says now."""
        return self._session.liveness.verdict(self._now)

    def is_beating(self) -> bool:
        """Whether the kernel is there, as far as anyone can tell: a kernel that is busy for hours is.

        One that is unresponsive is, until it has been so for as long as the setting `unresponsive_timeout` says.
        """
        liveness, now = self._session.liveness, self._now
        verdict = liveness.verdict(now)
        return verdict is Verdict.ALIVE or (verdict is Verdict.UNRESPONSIVE and not liveness.is_given_up(now))

    @property
    def evidence(self) -> Evidence:
        """What the verdict is made of: when the kernel was last heard of in each way, and how often it was restarted.

        Of a session that has ended, as of its end.
        """
        return self._session.liveness.evidence(self._now)

    @property
    def silence(self) -> float:
        """How long nothing was heard over the connection, in seconds; of a session that has ended, until its end."""
        return self._session.liveness.silence(self._now)

    async def check(self) -> Verdict:
        """Ask the kernel itself now, or, if it does not answer within two seconds, the gateway; return the verdict.

        Raises nothing: what can't be asked is part of the verdict.

        Cancellation: safe.
        """
        if not await self._session.checks.ask_kernel(anew=True):
            await self._session.checks.ask_gateway()
        return self.verdict


@points_to_limits
class Subshell(Executor):
    """A second place in the same kernel where code can run at the same time (JEP 91). Made by `Kernel.subshell`.

    An interrupt hits a kernel's main shell only, so a cancelled execution in a subshell is abandoned, not interrupted.
    """

    def __init__(self, session: KernelSession, subshell_id: str) -> None:
        super().__init__(session, subshell_id=subshell_id)

    @property
    def id(self) -> str:
        """The subshell's id."""
        assert self._subshell_id is not None
        return self._subshell_id


@points_to_limits
class Kernel(Executor):
    """A kernel behind a gateway: run code in it, interrupt it, restart it. Made by `Gateway.start_kernel` and `attach_kernel`.

    All methods may be called from any number of tasks at once. Executions run one after the other, in the order in which
    they were asked for; everything else does not wait for them, though the kernel's main shell may.
    """

    def __init__(self, session: KernelSession, name: str) -> None:
        super().__init__(session)
        self._name = name
        self._hb = HeartbeatChannel(session)
        self._debug_requests = 0

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

    def __repr__(self) -> str:
        return f"<Kernel {self._name} {self.id} {self.state.value}, {self.connection_state.value}>"

    # How it is --------------------------------------------------------------------------------------------------

    @property
    def state(self) -> KernelState:
        """What the kernel is doing, as far as its messages tell."""
        return self._session.status.kernel

    @property
    def connection_state(self) -> ConnectionState:
        """How the connection is doing."""
        return self._session.status.connection

    @property
    def verdict(self) -> Verdict:
        """What the evidence says of the kernel now: the same as `kernel.hb.verdict`.

        It may be read after the kernel's block, and when Trio runs no more. A kernel that the block has shut down is `DEAD` then.
        Of one that was attached to nothing is heard any more, so what was `ALIVE` is `SUSPECT`.
        """
        return self._hb.verdict

    async def wait_for(self, *states: KernelState | ConnectionState) -> None:
        """Wait until the kernel or its connection is in one of these states.

        Raises:
            InvalidInputError: no state was given.
            GatewayError: the session has ended in another state, and this is why.

        Cancellation: safe.
        """
        if not states or not all(isinstance(state, (KernelState, ConnectionState)) for state in states):
            raise InvalidInputError("states", states, "one or more of KernelState and ConnectionState")
        async for status in self.changes():
            if status.kernel in states or status.connection in states:
                return
        ended = self._session.ended
        assert ended is not None
        raise fresh(ended)

    def changes(self) -> AsyncIterator[Status]:
        """Iterate over how the kernel and its connection are: now, and after each change, until the session ends.

        A reader that is slow gets the latest state, not each one between.
        """
        return _Changes(self._session.status)

    # Channels ---------------------------------------------------------------------------------------------------

    @property
    def shell(self) -> Channel:
        """Requests and their replies."""
        return self._session.channels["shell"]

    @property
    def iopub(self) -> Channel:
        """What the kernel publishes to everyone: outputs, states, comms."""
        return self._session.channels["iopub"]

    @property
    def stdin(self) -> Channel:
        """The kernel's requests for input, and the answers."""
        return self._session.channels["stdin"]

    @property
    def control(self) -> Channel:
        """Requests that do not wait behind those on shell."""
        return self._session.channels["control"]

    @property
    def hb(self) -> HeartbeatChannel:
        """Whether the kernel is there."""
        return self._hb

    @property
    def comms(self) -> Comms:
        """Two-way messages with objects in the kernel, such as widgets."""
        return self._session.comms

    # Requests ---------------------------------------------------------------------------------------------------

    async def complete(self, code: str, cursor_pos: int | None = None) -> Mapping[str, Any]:
        """Ask how code could go on at the cursor.

        Args:
            code: the code.
            cursor_pos: where the cursor is, in characters; its end if None.

        Returns:
            The reply's content: `matches`, `cursor_start`, `cursor_end`, `metadata`, `status`.

        Raises:
            InvalidInputError: the code is no text, or the cursor is not in it.
            KernelError: the kernel ended or was restarted.
            ConnectionLostError: the answer was lost with the connection.
            KernelUnresponsiveError: the kernel has answered nobody for as long as the setting `unresponsive_timeout` says.

        Cancellation: the request is withdrawn if it was not sent yet; else its reply is ignored. So for all requests.
        """
        return await self._ask("complete_request", {"code": check_code(code), "cursor_pos": _cursor(code, cursor_pos)})

    async def inspect(self, code: str, cursor_pos: int | None = None, *, detail_level: int = 0) -> Mapping[str, Any]:
        """Ask for documentation of what is at the cursor.

        Args:
            code: the code.
            cursor_pos: where the cursor is, in characters; its end if None.
            detail_level: 0, or 1 for more, such as source code.

        Returns:
            The reply's content: `found`, `data` by MIME type, `metadata`, `status`.

        Raises:
            GatewayError: as for `complete`.
        """
        if detail_level not in (0, 1):
            raise InvalidInputError("detail_level", detail_level, "0 or 1")
        content = {"code": check_code(code), "cursor_pos": _cursor(code, cursor_pos), "detail_level": detail_level}
        return await self._ask("inspect_request", content)

    async def history(
        self,
        *,
        hist_access_type: str = "tail",
        n: int = 10,
        session: int = 0,
        start: int = 0,
        stop: int | None = None,
        pattern: str = "",
        unique: bool = False,
        raw: bool = True,
        output: bool = False,
    ) -> Mapping[str, Any]:
        """Ask for earlier inputs.

        Args:
            hist_access_type: `"tail"` for the last `n`, `"range"` for `session`, `start`, `stop`, or `"search"` for `pattern`.
            n: how many.
            session: which of the kernel's sessions; 0 is the present one, -1 the one before.
            start: the first line.
            stop: the line after the last.
            pattern: a glob.
            unique: each input once.
            raw: as typed, not as transformed.
            output: the outputs too.

        Returns:
            The reply's content: `history`, a list of (session, line, input) or (session, line, (input, output)).

        Raises:
            GatewayError: as for `complete`.
        """
        if hist_access_type not in ("tail", "range", "search"):
            raise InvalidInputError("hist_access_type", hist_access_type, '"tail", "range" or "search"')
        content: dict[str, Any] = {"output": output, "raw": raw, "hist_access_type": hist_access_type}
        if hist_access_type == "range":
            content |= {"session": session, "start": start, "stop": stop}
        else:
            content |= {"n": n}
        if hist_access_type == "search":
            content |= {"pattern": pattern, "unique": unique}
        return await self._ask("history_request", content)

    async def is_complete(self, code: str) -> Mapping[str, Any]:
        """Ask whether code could run as it is.

        Returns:
            The reply's content: `status` is `"complete"`, `"incomplete"` (then `indent` is a proposal), `"invalid"` or
            `"unknown"`.

        Raises:
            GatewayError: as for `complete`.
        """
        return await self._ask("is_complete_request", {"code": check_code(code)})

    async def comm_info(self, target_name: str | None = None) -> Mapping[str, Any]:
        """Ask which comms are open in the kernel.

        Returns:
            The reply's content: `comms`, by comm id, each with its `target_name`.

        Raises:
            GatewayError: as for `complete`.
        """
        return await self._ask("comm_info_request", {} if target_name is None else {"target_name": target_name})

    async def kernel_info(self) -> Mapping[str, Any]:
        """Ask what the kernel is: its language, versions and features.

        Returns:
            The reply's content: `protocol_version`, `implementation`, `language_info`, `banner`, `supported_features`.

        Raises:
            GatewayError: as for `complete`.
        """
        return await self._ask("kernel_info_request", {})

    async def ask_process(self) -> str:
        """Ask which process this is, which a restart replaces: the session that it gives to its messages. For notebooks.

        Returns:
            Its session; `""` for a kernel that gives its messages none of its own, but that of the request, as IRkernel does.

        Raises:
            GatewayError: as for `complete`.
        """
        return await self._ask_process("control")

    async def ask_shell(self) -> str:
        """Ask the same where code runs, behind what runs there: what answers could take code. For pools.

        Raises:
            GatewayError: as for `complete`.
        """
        return await self._ask_process("shell")

    async def _ask_process(self, channel: str) -> str:
        reply = await self._session.requests.request(channel, "kernel_info_request", {})
        self._session.note_answer(reply)
        return process_of(reply)

    def keep_process(self) -> None:
        """From now on let executions fail that were asked for before it is known that the process was replaced. For pools.

        When the process is replaced, and not by `restart` of this kernel, each of them ends with KernelRestartedError, also if it
        was not sent yet; the next one runs in the new process. Where nothing tells of it, because the connection was away, the
        next answer to `ask_process` or `ask_shell` shows it, or code that begins in another process.
        """
        self._session.kept.keep()

    async def ask_control(
        self, msg_type: str, content: Mapping[str, Any], *, buffers: Sequence[Buffer] = ()
    ) -> Mapping[str, Any]:
        """Ask something on the control channel, which does not wait behind code that runs. For tools.

        Raises:
            GatewayError: as for `complete`.
        """
        return await self._session.requests.ask("control", msg_type, content, buffers=buffers)

    async def ask_spec(self) -> KernelSpec | None:
        """Ask the gateway for the kernel's kernelspec; None where it tells of none. For notebooks.

        Cancellation: safe.
        """
        config = self._session.config
        try:
            return await self._session.api.kernelspec(self._name, user=config.kernel_username)
        except GatewayError as error:
            extra = {"gateway.kernel_name": self._name, "gateway.reason": repr(error)}
            _logger.debug("kernelspec_unknown", extra=extra)
            await trio.lowlevel.checkpoint()
            return None

    def account_for_losses(self) -> LossAccount:
        """Account for what the kernel sends from now on and never comes, until the next execution. For notebooks."""
        return LossAccount(self._session.requests.ledger)

    async def debug(self, command: str, arguments: Mapping[str, Any] | None = None) -> Mapping[str, Any]:
        """Send a request of the Debug Adapter Protocol; it does not wait behind code that runs.

        Args:
            command: the command, such as `"debugInfo"` or `"initialize"`.
            arguments: its arguments.

        Returns:
            The response, an object of that protocol. The kernel's debug events come on iopub.

        Raises:
            GatewayError: as for `complete`.
        """
        self._debug_requests += 1
        content = {"type": "request", "seq": self._debug_requests, "command": command, "arguments": dict(arguments or {})}
        return await self._session.requests.ask("control", "debug_request", content)

    @block("kernel.subshell")
    @asynccontextmanager
    async def subshell(self) -> AsyncGenerator[Subshell]:
        """Open a second place in this kernel where code can run beside its main shell (JEP 91), also while code runs there.

        Yields:
            The subshell, with `execute` and `stream`; it is deleted with the block.

        Raises:
            InvalidInputError: the kernel offers no subshells.
            GatewayError: as for `complete`.
        """
        if "kernel subshells" not in as_lines((await self._ask_either()).get("supported_features")):
            raise InvalidInputError("kernel", self._name, "a kernel that offers subshells, as ipykernel 7 and later do")
        reply = await self._create_subshell()
        subshell_id = reply.get("subshell_id")
        if not isinstance(subshell_id, str):
            raise InvalidInputError("kernel", self._name, f"a kernel that makes subshells; it said {reply.get('evalue', reply)}")
        try:
            yield Subshell(self._session, subshell_id)
        finally:
            with trio.move_on_after(self._session.config.interrupt_timeout, shield=True), suppress(GatewayError):
                await self._delete_subshell(subshell_id)

    async def _ask_either(self) -> Mapping[str, Any]:
        """Ask what the kernel is on both channels, and return the reply that comes first.

        Where one can't be understood, the other has `ANSWER_SECONDS` more; any other failure is one of both.

        The one on shell waits behind code that runs, which may itself wait for what its caller does (as code that calls a tool
        does). Control waits for nothing, but there some kernels answer no such question.
        """
        replies: list[Mapping[str, Any]] = []
        failures: list[GatewayError] = []
        async with trio.open_nursery() as nursery:

            async def ask(channel: str) -> None:
                try:
                    replies.append(await self._session.requests.ask(channel, "kernel_info_request", {}))
                except GatewayError as error:
                    failures.append(error)
                    alone = isinstance(error, ProtocolError) and len(failures) == 1
                    nursery.cancel_scope.deadline = trio.current_time() + (ANSWER_SECONDS if alone else 0)
                    await trio.lowlevel.checkpoint()
                else:
                    nursery.cancel_scope.cancel(reason="one of the two channels has answered")

            nursery.start_soon(ask, "shell")
            nursery.start_soon(ask, "control")
        if not replies:
            raise failures[0]
        return replies[0]

    async def _create_subshell(self) -> Mapping[str, Any]:
        """Have a subshell made, and return the reply. Cancellation: one that is made all the same is deleted."""
        requests = self._session.requests
        pending = PendingReply(requests.make("control", "create_subshell_request", {}))
        requests.submit(pending)
        try:
            await pending.wait_settled()
        except trio.Cancelled:
            if not requests.withdraw(pending):
                with trio.move_on_after(self._session.config.interrupt_timeout, shield=True), suppress(GatewayError):
                    await pending.wait_settled()
                    if pending.reply is not None:
                        await self._delete_subshell(pending.reply.content.get("subshell_id"))
            raise
        finally:
            requests.forget(pending)
        if pending.failure is not None:
            raise fresh(pending.failure)
        assert pending.reply is not None
        return pending.reply.content

    async def _delete_subshell(self, subshell_id: object) -> None:
        content = {"subshell_id": subshell_id}
        try:
            await self._session.requests.request("control", "delete_subshell_request", content)
        except ConnectionLostError:
            # Asked again, because that does no harm: what is deleted already can't be deleted once more.
            await self._session.requests.request("control", "delete_subshell_request", content)

    # Its life ---------------------------------------------------------------------------------------------------

    async def interrupt(self) -> None:
        """Interrupt what the kernel is doing, as its kernelspec's `interrupt_mode` says: by signal, or by message.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel any more.
            GatewayError: as for each request to the gateway.

        Cancellation: leaves open whether the kernel is interrupted.
        """
        await self._session.process.interrupt()

    async def restart(self) -> None:
        """Restart the kernel: its memory is lost, its id stays. Executions that ran end with `KernelRestartedError`.

        Those that wait for their turn meanwhile run in the new process. Returns when the kernel answers again.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel any more.
            KernelUnresponsiveError: the new process has not answered for as long as the setting `unresponsive_timeout` says.
            GatewayError: as for each request to the gateway.

        Cancellation: while another restart of the kernel is under way, nothing was asked for. Then it waits, shielded and at most
            for the setting `cleanup_timeout`, for the gateway's answer: a gateway goes on with a restart when its client hangs
            up, and takes one at a time.
        """
        await self._session.process.restart(RESTART_PROBE)

    async def shutdown(self) -> None:  # noqa: ASYNC910 - the request checkpoints, whatever comes of it
        """Shut the kernel down now, before its block ends. Twice is fine.

        What waits is not sent any more and ends with `KernelDiedError`. What runs does too, unless it ends by itself, or by the
        interrupt with which a gateway begins a shutdown, before the kernel is gone.

        Raises:
            GatewayError: as for each request to the gateway. The kernel can be used on.

        Cancellation: leaves open whether the kernel is shut down; for a kernel of `start_kernel`, the block's end sees to it.
        """
        self._session.note_shutdown()
        try:
            with suppress(KernelNotFoundError):
                await self._session.api.shutdown(self.id)
        except BaseException:
            self._session.note_shutdown_failed()
            raise
        self._session.note_dead()

    def note_shut_down(self) -> None:
        """Note that its block has shut it down. For `Gateway`."""
        self._session.note_dead()

    async def _ask(self, msg_type: str, content: Mapping[str, Any]) -> Mapping[str, Any]:
        return await self._session.requests.ask("shell", msg_type, content)


class _Changes(AsyncIterator[Status]):
    """What `Kernel.changes` gives."""

    def __init__(self, status: SessionStatus) -> None:
        self._status = status
        self._last: Status | None = None

    async def __anext__(self) -> Status:
        status = self._status
        while status.current == self._last:
            if status.ended is not None:
                await trio.lowlevel.checkpoint()
                raise StopAsyncIteration
            await status.wait_change()
        await trio.lowlevel.checkpoint()
        self._last = status.current
        return self._last


def _cursor(code: str, cursor_pos: int | None) -> int:
    if cursor_pos is None:
        return len(code)
    if not isinstance(cursor_pos, int) or not 0 <= cursor_pos <= len(code):
        raise InvalidInputError("cursor_pos", cursor_pos, f"a position from 0 to {len(code)}")
    return cursor_pos
