"""Asking one kernel something: requests are made, queued, and known by their ids until they are answered.

The one idea: a caller meets the connection only through the outbox and through a pending request. What is in between (which
connection carries it, which task reads the answer) is nobody's business here.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import trio

from .._errors import KernelDiedError, ProtocolError, fresh
from .._outputs import OutputGap
from .._protocol.loss import MessageLedger
from .._protocol.messages import Buffer, Message, MessageFactory
from .outbox import Outbox
from .pending import Pending, PendingExecution, PendingReply
from .status import SessionStatus

__all__ = ["Requests"]


class Requests:
    """What one session has asked its kernel, and what waits to be sent.

    Args:
        status: how the session is: one that has ended asks nothing.
        session_id: this client's session, unique to it.
        username: the user that messages name.
        start_soon: starts a service that ends with the session's block at the latest.
    """

    __slots__ = ("_factory", "_start_soon", "_status", "ledger", "outbox", "pending")

    ledger: MessageLedger
    """Counts what the kernel sent, and what of it is missing."""
    outbox: Outbox
    """What waits to be sent."""
    pending: dict[str, Pending]
    """The requests that answers are routed to, by their ids, in the order in which they were made."""

    def __init__(self, status: SessionStatus, *, session_id: str, username: str, start_soon: Callable[..., object]) -> None:
        self.ledger = MessageLedger()
        self.outbox = Outbox()
        self.pending = {}
        self._status = status
        self._factory = MessageFactory(session_id, username)
        self._start_soon = start_soon

    @property
    def session_id(self) -> str:
        """This client's session, unique to it; the gateway buffers and replays by it, and kernels route replies by it."""
        return self._factory.session

    def become(self, session_id: str) -> None:
        """Make messages of another session from now on."""
        self._factory = MessageFactory(session_id, self._factory.username)

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

    # Asking -----------------------------------------------------------------------------------------------------

    def submit(self, pending: Pending) -> None:
        """Send or queue a request, and route its answers to it from now on.

        Raises:
            KernelDiedError: the kernel is being shut down.
            GatewayError: the session has ended, and this is why.
        """
        status = self._status
        if status.ended is not None:
            raise fresh(status.ended)
        if status.shutting_down:
            raise KernelDiedError(status.kernel_id, "it is being shut down")
        self.expect(pending)
        self.outbox.offer(pending)

    def expect(self, pending: Pending) -> None:
        """Route the answers to a request to it from now on."""
        self.pending[pending.message.msg_id] = pending
        if pending.message.channel == "control":
            self.ledger.asked(pending.message.msg_id)

    def submit_again(self, pending: Pending, pause: float, ready: Callable[[], Awaitable[None]]) -> None:
        """Queue a request that took another one's place; never waits.

        If the kernel is being shut down by then, the request fails with KernelDiedError.

        Args:
            pending: the request.
            pause: how long to wait before, in seconds.
            ready: waits after that until there is a process for it.
        """
        self.expect(pending)
        self._start_soon(self._send_again, pending, pause, ready, name="trio_gateway.send_again")

    async def _send_again(self, pending: Pending, pause: float, ready: Callable[[], Awaitable[None]]) -> None:
        await trio.sleep(pause)
        await ready()
        if self._status.shutting_down:
            pending.fail(KernelDiedError(self._status.kernel_id, "it is being shut down"))
        elif not pending.settled:
            self.outbox.put(pending)

    async def send(self, message: Message) -> None:
        """Send or queue a message that nobody waits for; wait for room first.

        Raises:
            GatewayError: the session has ended, and this is why.

        Cancellation: safe: a cancelled call has queued nothing.
        """
        await self.outbox.wait_room()
        self._status.raise_if_ended()
        self.outbox.offer(message)

    def withdraw(self, pending: Pending) -> bool:
        """Take a request back if sending it has not begun; say whether that was so."""
        if pending.sent:
            return False
        self.outbox.withdraw(pending)
        return True

    def forget(self, pending: Pending) -> None:
        """Route nothing to this request any more."""
        self.pending.pop(pending.message.msg_id, None)

    async def request(
        self,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        buffers: Sequence[Buffer] = (),
        subshell_id: str | None = None,
    ) -> Message:
        """Send a request and wait for its reply.

        Raises:
            KernelError: the kernel ended or was restarted.
            ConnectionLostError: the answer was lost with the connection.
            KernelUnresponsiveError: the kernel has answered nobody for as long as the setting `unresponsive_timeout` says.

        Cancellation: the request is withdrawn if it was not sent yet; else its reply is ignored.
        """
        await trio.lowlevel.checkpoint_if_cancelled()
        pending = PendingReply(self.make(channel, msg_type, content, buffers=buffers, subshell_id=subshell_id))
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

    async def ask(
        self, channel: str, msg_type: str, content: Mapping[str, Any], *, buffers: Sequence[Buffer] = ()
    ) -> Mapping[str, Any]:
        """Send a request and return its reply's content.

        Raises:
            ProtocolError: the reply came, and its content can't be understood.
            GatewayError: as for `request`.

        Cancellation: as for `request`.
        """
        reply = await self.request(channel, msg_type, content, buffers=buffers)
        try:
            return reply.content
        except ProtocolError as error:
            text = f"kernel {self._status.kernel_id}: its {reply.msg_type} came and can't be understood: {error}"
            raise ProtocolError(text) from None

    # What was asked ---------------------------------------------------------------------------------------------

    def unanswered(self) -> Sequence[Pending]:
        """Return the requests that answers are routed to, in the order in which they were made."""
        return list(self.pending.values())

    @property
    def waits(self) -> bool:
        """Whether someone waits for an answer of the kernel's; what a session asks to find something out does not count."""
        return any(pending.sent and not pending.question for pending in self.pending.values())

    @property
    def awaits_beginning(self) -> bool:
        """Whether code was sent of which nothing was heard: the kernel's next word may be about that.

        Its `busy` may be lost. What the kernel says to a question of ours would come between the hole that left and the code's
        first output, and the hole would not be taken for the code's.
        """
        return any(
            isinstance(pending, PendingExecution) and pending.sent and not pending.execution.started
            for pending in self.pending.values()
        )

    def note_reconnected(self) -> None:
        """Note that the connection broke and was made again: what code published meanwhile may be missing."""
        for pending in self.pending.values():
            if isinstance(pending, PendingExecution) and pending.sent and not pending.settled:
                pending.execution.note_gap(
                    OutputGap("reconnected", None, "the connection broke; output in flight then may be missing")
                )

    def note_input(self, message: Message) -> None:
        """Note that an answer to a request for input is being sent."""
        for pending in self.pending.values():
            if isinstance(pending, PendingExecution):
                pending.note_input(message.parent_id, trio.current_time())

    def fail_sent(self, failure: Exception) -> None:
        """Fail every request that was sent: the kernel that had it is gone. Those still queued are for its successor."""
        for pending in self.unanswered():
            if pending.sent:
                pending.fail(failure)

    def fail_unsent_executions(self, failure: Exception) -> None:
        """Fail every execution that was not sent yet, and send it no more: its code counts on the process that is gone."""
        for pending in self.unanswered():
            if isinstance(pending, PendingExecution) and self.withdraw(pending):
                pending.fail(failure)

    def fail_all(self, failure: Exception) -> None:
        """Fail every request, and send nothing more: the session has ended."""
        self.outbox.clear()
        for pending in self.unanswered():
            pending.fail(failure)
