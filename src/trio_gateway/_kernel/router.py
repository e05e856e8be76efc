"""What a kernel sends goes to the request that caused it, to every reader of its channel, and to what is known of the kernel.

The one idea: routing never waits, and nothing that a kernel puts into a message ends it. What a message says about the kernel's
own life is news: the router hands it on, and the session acts on it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TypeAlias

import attrs

from .._errors import ProtocolError
from .._protocol import contents
from .._protocol.codec import TooLargeError
from .._protocol.execution import OUTPUT_TYPES, may_be_rate_notice
from .._protocol.kernel_state import StatusReader
from .._protocol.loss import DUPLICATE
from .._protocol.messages import Message
from .channels import Channel
from .comms import Comms
from .inbox import Inbox
from .requests import Requests
from .status import SessionStatus

__all__ = ["Dead", "Goodbye", "News", "Restarted", "Router"]

_logger = logging.getLogger("trio_gateway.session")


@attrs.frozen
class Restarted:
    """The gateway started the kernel's process again, because it had ended."""


@attrs.frozen
class Dead:
    """The gateway gave the kernel up: its process will not come back."""


@attrs.frozen
class Goodbye:
    """The kernel's process says that it ends because it was asked to."""

    restart: bool
    """Whether another process is to take its place."""


News: TypeAlias = Restarted | Dead | Goodbye
"""What is heard of a kernel's life."""


class Router:
    """Routes what one session's kernel sends.

    Args:
        requests: what was asked.
        status: takes in how the kernel is.
        channels: the kernel's channels, by name.
        comms: the kernel's comms.
        on_news: called with what is heard of the kernel's life; it must not wait.
    """

    __slots__ = ("_channels", "_comms", "_ledger", "_on_news", "_pending", "_reader", "_status")

    def __init__(
        self,
        requests: Requests,
        status: SessionStatus,
        channels: Mapping[str, Channel],
        comms: Comms,
        on_news: Callable[[News], None],
    ) -> None:
        self._ledger = requests.ledger
        self._pending = requests.pending
        self._status = status
        self._channels = channels
        self._comms = comms
        self._on_news = on_news
        self._reader = StatusReader()

    def route(self, message: Message) -> Sequence[Inbox]:
        """Give a message to whom it concerns. Never waits, and whatever a kernel has put into it ends nothing.

        Returns:
            The inboxes that have no room now and whose consumers asked for a pause: read no more until they have. Mostly none.
        """
        number = self._ledger.observe(message)
        if number == DUPLICATE:
            return ()
        full: Sequence[Inbox] = ()
        pending = self._pending.get(message.parent_id)
        if pending is not None or message.header.msg_type != "status":
            # A gateway makes a kernel say how it is whenever someone connects: that alone leads nowhere.
            self._status.liveness.progressed = True
        if pending is not None:
            pending.feed(message, number)
            inbox = pending.inbox
            if inbox is not None and inbox.full:
                full = (inbox,)
        elif not message.parent_id:
            self._note_unowned(message)
        elif message.header.msg_type == "stream" and may_be_rate_notice(message):
            self._ledger.note_possible_drop()  # it answers another client's request, and ours are dropped with it
        channel = self._channels.get(message.channel)
        if channel is not None:
            without_room = channel.publish(message)
            if without_room:
                full = (*full, *without_room)
            if message.channel == "iopub" and message.header.msg_type != "stream":
                self._observe(message)
        return full

    def _observe(self, message: Message) -> None:
        """Learn from a published message how the kernel is."""
        kind = message.header.msg_type
        if kind == "status":
            state = contents.execution_state(message)
            if not state:
                self._log_unread("a status does not say how the kernel is")
                return
            status = self._status
            status.told_on = status.connections
            event = self._reader.read(state, message.parent_id, message.parent_type)
            status.works_on = self._reader.shell
            status.change(kernel=event)
            if state == "restarting":
                self._on_news(Restarted())
            elif state == "dead":
                self._on_news(Dead())
        elif kind == "shutdown_reply" and not self._status.shutting_down:
            self._on_news(Goodbye(restart=contents.look(message)["restart"]))
        elif kind.startswith("comm_"):
            try:
                self._comms.observe(message)
            except ProtocolError as error:
                self._log_unread(str(error))

    # What can't be read -----------------------------------------------------------------------------------------

    def _note_unowned(self, message: Message) -> None:
        """A message that has no parent is nobody's; but a reply always has one, and a parent that can't be read was one."""
        kind = message.header.msg_type
        error = ProtocolError(f"a {kind[:40]} does not say which request it is about")
        if kind in OUTPUT_TYPES and bytes(message.parent_raw).strip() not in (b"", b"{}", b"null"):
            self.note_garbage(error)
        elif kind.endswith("_reply") and message.channel in ("shell", "control"):
            asked = f"{kind.removesuffix('_reply')}_request"
            self._log_unread(str(error))
            for pending in self._pending.values():
                if pending.sent and not pending.replied and pending.message.msg_type == asked:
                    pending.note_unreadable(error)

    def note_garbage(self, error: ProtocolError) -> None:
        """Skip a frame that can't be understood; all requests that wait learn that something is missing: it may be theirs."""
        self._ledger.note_possible_drop()
        self._log_unread(str(error))
        for pending in self._pending.values():
            if pending.sent:
                pending.note_unreadable(error)

    def note_too_large(self, error: TooLargeError) -> None:
        """A message was larger than `max_message_size` and has passed by: only the request that it belongs to learns of it."""
        message = error.message
        if message is None:
            self.note_garbage(error)
            return
        extra = {"gateway.kernel_id": self._status.kernel_id, "gateway.reason": str(error)}
        _logger.warning("message_too_large", extra=extra)
        number = self._ledger.observe(message)
        pending = self._pending.get(message.parent_id)
        if pending is not None and number != DUPLICATE:
            pending.note_too_large(message, number, error)

    def _log_unread(self, reason: str) -> None:
        """Log that a message, or what matters in it, could not be read."""
        extra = {"gateway.kernel_id": self._status.kernel_id, "gateway.reason": reason}
        _logger.warning("message_not_understood", extra=extra)
