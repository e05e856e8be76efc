"""One kernel's session: its parts, put together; and what is done when they say that something has happened.

The one idea: the parts don't know one another's owner. They note what they learn in the status, ask through the requests, and
hand on news; what a piece of news means for the others (a restart fails what was sent, a goodbye may be an end) is decided here,
and only here.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable, Mapping
from typing import Final

import trio

from .._api import KernelApi
from .._config import GatewayConfig
from .._errors import (
    ConnectionLostError,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    name_gateway,
)
from .._protocol.kernel_state import KernelState
from .._protocol.liveness import Liveness, Verdict
from .._protocol.messages import CHANNELS, Message
from .._services import Services
from .channels import Channel
from .checks import Checks
from .comms import Comms
from .exchange import MessageExchange
from .kept_process import KeptProcess
from .pending import PendingExecution
from .process import KernelProcess
from .requests import Requests
from .restart_gate import RestartGate
from .router import Dead, Goodbye, News, Restarted, Router
from .status import SessionStatus
from .supervisor import Supervisor

__all__ = ["KernelSession", "process_of"]

_UNHEARD: Final = ("another process has answered in its place", "restarted unheard of")
"""Why a kernel that is kept counts as replaced where nothing told of it, and what an event says."""


def process_of(reply: Message) -> str:
    """Return which process has answered: the session that it gives to its messages; `""` where it gives that of the request."""
    return "" if reply.header.session == reply.parent_session else reply.header.session


class KernelSession:
    """The life of one client's session with one kernel. Its maker runs `run` as a service.

    Args:
        kernel_id: the kernel.
        session_id: this client's session, unique to it; the gateway buffers and replays by it.
        api: the gateway's REST interface, with its HTTP client.
        services: the nursery that owns the session's tasks.
        interrupt_mode: asks what the kernelspec says of interrupts, `"signal"` or `"message"`.
        on_ended: is called once, in the moment in which the session has ended.
    """

    __slots__ = (
        "_exchange",
        "_on_ended",
        "_opened_once",
        "_running",
        "_supervisor",
        "api",
        "channels",
        "checks",
        "comms",
        "config",
        "gate",
        "kept",
        "kernel_id",
        "process",
        "requests",
        "start_soon",
        "status",
    )

    def __init__(
        self,
        kernel_id: str,
        *,
        session_id: str,
        api: KernelApi,
        services: Services,
        interrupt_mode: Callable[[], Awaitable[str]],
        on_ended: Callable[[], None],
    ) -> None:
        config = api.config
        self.start_soon: Callable[..., trio.CancelScope] = services.start_soon
        self.kernel_id: str = kernel_id
        self.config: GatewayConfig = config
        self.api: KernelApi = api
        self.status: SessionStatus = SessionStatus(kernel_id, config.ping_interval, config.unresponsive_timeout)
        self.requests: Requests = Requests(
            self.status, session_id=session_id, username=config.kernel_username or "trio_gateway", start_soon=self.start_soon
        )
        self.channels: Mapping[str, Channel] = {name: Channel(name, self.requests, self.status, config) for name in CHANNELS}
        self.comms: Comms = Comms(self.channels["shell"], self.requests, self.status, config, self.start_soon)
        self.kept: KeptProcess = KeptProcess()
        self.gate: RestartGate = RestartGate(self.requests, self.status, self.start_soon)
        self.process: KernelProcess = KernelProcess(
            api,
            self.requests,
            self.status,
            self.gate,
            interrupt_mode=interrupt_mode,
            reconnect=self.reconnect,
            on_replaced=self._note_replaced,
        )
        self.checks: Checks = Checks(
            self.requests, self.status, api, self.channels["iopub"], start_soon=self.start_soon, acts=self
        )
        router = Router(self.requests, self.status, self.channels, self.comms, self._act_on)
        self._exchange = MessageExchange(self.status, self.requests, router, self.checks, api.http.takes_bytes)
        self._supervisor = Supervisor(self, self._exchange, api.http)
        self._on_ended = on_ended
        self._running = trio.CancelScope()
        self._opened_once = trio.Event()

    @property
    def session_id(self) -> str:
        """This client's session, unique to it; the gateway buffers and replays by it, and kernels route replies by it."""
        return self.requests.session_id

    @property
    def connections(self) -> int:
        """How many connections there were, the present one included."""
        return self.status.connections

    @property
    def kernel_state(self) -> KernelState:
        """What the kernel is doing, as far as is known."""
        return self.status.kernel

    @property
    def liveness(self) -> Liveness:
        """The evidence that the kernel is there."""
        return self.status.liveness

    @property
    def ended(self) -> Exception | None:
        """What ended the session, once it has ended."""
        return self.status.ended

    @property
    def waits(self) -> bool:
        """Whether someone waits for an answer of the kernel's."""
        return self.requests.waits

    # The life of the connection ---------------------------------------------------------------------------------

    async def run(self) -> None:
        """Keep connected until cancelled or until there is no hope; then the session has `ended`. A service."""
        try:
            with self._running:
                self.end(await self._supervisor.keep_connected())
        finally:
            self.checks.close()
            # It ends with its block: readers of channels see a clean end.
            self._end(ConnectionLostError(f"the session with kernel {self.kernel_id} was closed with its block"), told=None)

    async def wait_opened(self) -> None:
        """Wait for the first connection.

        Raises:
            KernelNotFoundError: the gateway does not know the kernel.
            GatewayError: the connection could not be made.

        Cancellation: safe.
        """
        await self._opened_once.wait()
        if self.connections == 0:
            self.status.raise_if_ended()

    def opened(self) -> None:
        """A connection was made. For the supervisor."""
        status, requests = self.status, self.requests
        status.opened()
        self._opened_once.set()
        if status.connections > 1:
            requests.ledger.connected()
            requests.ledger.note_possible_drop()
            self.comms.find_lost()
            if requests.waits:
                requests.note_reconnected()
                self.checks.find_lost_input()
        self.checks.opened(quiet=status.unheard and not requests.awaits_beginning)

    def lost(self, reason: Exception) -> None:
        """The connection broke, or could not be made; another attempt follows. For the supervisor."""
        self.status.lost(reason)
        self.checks.lost()

    def refused(self, reason: str) -> bool:
        """What we sent was too large, so the gateway closed the connection; say whether it is known what. For the supervisor."""
        return self._exchange.refused(reason)

    async def is_gone(self) -> bool:
        """Ask whether the gateway itself says that it does not know the kernel. Raises nothing. For the supervisor."""
        return await self.checks.is_gone()

    def gone(self) -> Exception:
        """Note that the gateway does not know the kernel any more; return the error that says so. For the supervisor."""
        if self.status.kernel is KernelState.DEAD:
            return KernelDiedError(self.kernel_id, "its process ended, and the gateway gave up restarting it")
        self.status.liveness.ended(Verdict.CULLED)
        if self.connections == 0:
            return KernelNotFoundError(self.kernel_id)
        self.status.change(kernel="culled")
        reason = self._supervisor.why_gone()
        if self.status.liveness.silent_when_lost:
            # An Enterprise Gateway that can't reach a kernel's host says the same, and forgets the kernel.
            reason += "; or it still runs, out of the gateway's reach, since it answered nobody before the connection broke"
        return KernelCulledError(self.kernel_id, reason)

    def reconnect(self, *, as_another: bool = False) -> None:
        """Drop the connection, if there is one; a new one is made at once, with the same session id or, as another, a new one."""
        if as_another:
            self.requests.become(uuid.uuid4().hex)
        self._supervisor.reconnect()

    @property
    def paused(self) -> bool:
        """Whether a consumer that asked for that keeps us from reading."""
        return self._exchange.paused

    async def interrupt(self) -> None:
        """Interrupt the kernel; see `KernelProcess.interrupt`."""
        await self.process.interrupt()

    # Its ends ---------------------------------------------------------------------------------------------------

    def note_shutdown(self) -> None:
        """Note that the kernel is being shut down by us: what its goodbye says is no news then, and it is sent no more."""
        self.status.shutting_down = True

    def note_shutdown_failed(self) -> None:
        """Note that the shutdown did not come to its end: the kernel may be used on."""
        self.status.shutting_down = False

    def note_dead(self) -> None:
        """Note that the kernel was shut down by us: whatever still waits is failed, and the session has ended, if it had not."""
        self._note_final()
        self.end(KernelDiedError(self.kernel_id, "it was shut down"))

    # News -------------------------------------------------------------------------------------------------------

    def _act_on(self, news: News) -> None:
        """Act on what was heard of the kernel's life. Never waits."""
        match news:
            case Restarted():
                self._note_replaced("its process ended and the gateway started it again", "restarted by the gateway")
            case Dead():
                self.note_gone(dead=True)
            case Goodbye(restart=False):
                self.start_soon(self.checks.ask_whether_gone, name="trio_gateway.check_gone")
            case Goodbye():
                self.process.note_goodbye()

    def note_answer(self, reply: Message) -> None:
        """The kernel has answered: see whether it is the process that the user keeps, if one is kept."""
        if not self.kept.speaks(reply.channel, process_of(reply)):
            self._note_replaced(*_UNHEARD)

    def note_begun(self, pending: PendingExecution) -> None:
        """The kernel has begun with code: likewise. The code of an execution may wait in the gateway for another process."""
        process = pending.execution.kernel_session
        if process != pending.message.header.session and not self.kept.speaks("iopub", process):
            self._note_replaced(*_UNHEARD)

    def _note_replaced(self, reason: str, told: str, *, ours: bool = False) -> None:
        """A new process took the old one's place: end what the old one had, and tell of what was not our doing.

        Args:
            reason: what is known of it.
            told: what an event is to say of it; `""` for none.
            ours: whether it was replaced by this session.
        """
        failure = KernelRestartedError(self.kernel_id, reason)
        name_gateway(failure, self.api.http.called)
        self.status.liveness.restarts += 1
        self.requests.fail_sent(failure)
        self.comms.end(failure)
        if ours:
            self.kept.replaced()
        elif not self.gate.meeting:  # else nothing was sent to the process that this one takes the place of
            unsent = KernelRestartedError(self.kernel_id, f"{reason}; this was not sent to the new one")
            name_gateway(unsent, self.api.http.called)
            if self.kept.lose(failure, unsent):
                self.requests.fail_unsent_executions(unsent)
        self.gate.begin()
        if told:
            self.api.tell("restarted", kernel_id=self.kernel_id, message=told)

    def note_gone(self, *, dead: bool) -> None:
        """Note that the gateway gave the kernel up as dead, or does not know it any more: the session has ended."""
        if dead:
            self._note_final()
        self.end(self.gone())

    def _note_final(self) -> None:
        self.status.change(kernel="dead")
        self.status.liveness.ended(Verdict.DEAD)

    def end(self, reason: Exception) -> None:
        """End the session for a reason that everyone who waits gets."""
        self._end(reason, told=reason)

    def _end(self, reason: Exception, *, told: Exception | None) -> None:
        """End the session once.

        Args:
            reason: what requests fail with, now and later.
            told: what readers of channels and comms get; None for a clean end.
        """
        if self.ended is not None:
            return
        name_gateway(reason, self.api.http.called)
        self.status.end(reason)
        self.status.liveness.closed()
        self._on_ended()  # now, before any task can act on it
        self.checks.responsiveness.lost()
        self._opened_once.set()
        self.gate.give_up()
        self.requests.fail_all(reason)
        for channel in self.channels.values():
            channel.end(told)
        self.comms.end(told)
        self._running.cancel()
