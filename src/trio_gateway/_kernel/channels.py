"""A kernel's channels as their user sees them: send a message, or read what comes, with any number of readers.

The one idea: a reader is a subscription with a buffer of its own, so readers neither take messages from one another nor
wait for one another. What happens when a buffer is full is each reader's choice; see `inbox`.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any

import attrs
import msgspec
import trio

from .._config import GatewayConfig
from .._errors import InvalidInputError
from .._limits import points_to_limits
from .._protocol.messages import Buffer, Message
from .._transport.blocks import block
from .inbox import READY_BYTES, READY_ITEMS, Inbox, InboxStatistics, WhenFull, check_ready_limits
from .requests import Requests
from .status import SessionStatus

__all__ = ["Channel", "ChannelStatistics", "Subscription", "check_when_full"]


@attrs.frozen
class ChannelStatistics:
    """What a channel has carried so far."""

    received: int
    """Messages that came."""
    sent: int
    """Messages that were queued to go."""
    subscriptions: int
    """Readers now."""


@points_to_limits
class Subscription(trio.abc.ReceiveChannel[Message]):
    """One reader's messages of a channel, in order. Made by `Channel.subscribe`; iterate over it, or call `receive`.

    Several tasks may read from one subscription; each message goes to one of them.
    """

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    async def receive(self) -> Message:
        """Wait for the next message.

        Raises:
            GatewayError: the session has ended, and this is why; all messages that came before were received.
            SlowConsumerError: the buffer was full, and this subscription had chosen to fail then.
            trio.EndOfChannel: the session was closed with its block, or the subscription was.

        Cancellation: safe, no message is lost.
        """
        return await self._inbox.get()

    async def __anext__(self) -> Message:
        # Past `receive` and the advice about `timeout` around it: each step would pay for two coroutines more.
        try:
            return await self._inbox.get()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def receive_nowait(self) -> Message:
        """Return the next message if one is there.

        Raises:
            trio.WouldBlock: none is.
        """
        if not self._inbox.ready:
            raise trio.WouldBlock
        return self._inbox.take()

    def receive_ready(self, limit: int = READY_ITEMS, *, limit_bytes: float = READY_BYTES) -> list[Message]:
        """Take the messages that are there already, without waiting. `receive` waits for the first, and raises what the end is.

        Args:
            limit: how many at most.
            limit_bytes: after so many bytes no more are taken; at least one message is.

        Returns:
            The messages in order; none if none is there.

        Raises:
            InvalidInputError: a limit is no such number.
            SlowConsumerError: the next one lies in a temporary file that can't be read back.
        """
        check_ready_limits(limit, limit_bytes)
        return list(islice(self._inbox.take_ready(limit_bytes), limit))

    async def aclose(self) -> None:
        """Stop reading, and forget what was not read."""
        self._inbox.discard()
        await trio.lowlevel.checkpoint()

    def statistics(self) -> InboxStatistics:
        """Return how full the buffer is and was, what was dropped, and how long it held up reading."""
        return self._inbox.statistics()


@points_to_limits
class Channel:
    """One of a kernel's channels: shell, iopub, stdin or control. Reached as `kernel.shell` and so on.

    Args:
        name: its name.
        requests: carries what is sent.
        status: how the session is.
        config: gives the bounds of readers' buffers.
    """

    def __init__(self, name: str, requests: Requests, status: SessionStatus, config: GatewayConfig) -> None:
        self._name = name
        self._requests = requests
        self._status = status
        self._config = config
        self._inboxes: list[Inbox] = []
        self._received = 0
        self._sent = 0

    @property
    def name(self) -> str:
        """The channel's name."""
        return self._name

    @block("channel.subscribe")
    @asynccontextmanager
    async def subscribe(
        self,
        *,
        when_full: WhenFull = "spool",
        limit_messages: float | None = None,
        limit_bytes: float | None = None,
    ) -> AsyncGenerator[Subscription]:
        """Read every message that comes on this channel from now on, also what other clients caused.

        Args:
            when_full: what to do when messages come faster than they are read: `"spool"` them to a temporary file,
                `"drop_oldest"` and count, `"fail"` this subscription, or `"pause"` reading for the whole session.
            limit_messages: how many messages may wait in memory; the setting `buffer_messages` if None.
            limit_bytes: how many bytes of messages may wait in memory; the setting `buffer_bytes` if None.

        Yields:
            The subscription, until the block ends.

        Raises:
            InvalidInputError: `when_full` is none of these, or a limit is no number above 0.
            GatewayError: the session has ended already, and this is why.

        Cancellation: forgets what was not read.
        """
        check_when_full(when_full)
        for name, limit in (("limit_messages", limit_messages), ("limit_bytes", limit_bytes)):
            # With no room at all nothing would ever be read, and "pause" would hold the whole session up.
            if limit is not None and (isinstance(limit, bool) or not isinstance(limit, (int, float)) or not limit > 0):
                raise InvalidInputError(name, limit, "a number above 0, or None for the setting")
        self._status.raise_if_ended()
        config = self._config
        inbox = Inbox(
            limit_messages=config.buffer_messages if limit_messages is None else limit_messages,
            limit_bytes=config.buffer_bytes if limit_bytes is None else limit_bytes,
            when_full=when_full,
        )
        self._inboxes.append(inbox)
        try:
            yield Subscription(inbox)
        finally:
            self._inboxes.remove(inbox)
            inbox.discard()

    async def send(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        parent_header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        msg_id: str | None = None,
    ) -> Message:
        """Queue a message; it goes out in order, once, now or when the connection is back.

        Args:
            msg_type: its type, such as `"comm_msg"`.
            content: its content.
            parent_header: the header it answers.
            metadata: its metadata.
            buffers: binary buffers.
            msg_id: the message's id, unique to it; made here if None.

        Returns:
            The message: replies have its `msg_id` as their `parent_id`.

        Raises:
            InvalidInputError: a part can't be written as JSON; nothing was queued.
            GatewayError: the session has ended, and this is why.

        Cancellation: safe: a cancelled call has queued nothing. Where there is room it costs no scheduling, but for every 64th
            time.
        """
        message = self._requests.make(
            self._name, msg_type, content, parent_header=parent_header, metadata=metadata, buffers=buffers
        )
        if msg_id is not None:
            header = msgspec.structs.replace(message.header, msg_id=msg_id)
            message = Message(self._name, header, content, parent_header=parent_header, metadata=metadata, buffers=buffers)
        await self._requests.send(message)
        self._sent += 1
        return message

    async def forward(self, message: Message) -> None:
        """Queue a message that someone else has made, for a proxy: it goes out as it is, with the header that it has.

        Args:
            message: the message; its channel is this one.

        Raises:
            InvalidInputError: it is for another channel.
            GatewayError: the session has ended, and this is why.

        Cancellation: safe: a cancelled call has queued nothing. Where there is room it costs no scheduling, but for every 64th
            time.
        """
        if message.channel != self._name:
            raise InvalidInputError("message", message, f"a message for the channel {self._name}")
        await self._requests.send(message)
        self._sent += 1

    def send_last(self, msg_type: str, content: Mapping[str, Any]) -> None:
        """Queue the last word about something, whether there is room or not: out of a cancelled scope too. For the comms."""
        self._requests.outbox.offer(self._requests.make(self._name, msg_type, content))
        self._sent += 1

    def statistics(self) -> ChannelStatistics:
        """Return what the channel has carried so far."""
        return ChannelStatistics(self._received, self._sent, len(self._inboxes))

    def publish(self, message: Message) -> Sequence[Inbox]:
        """Give a message to every reader; return the inboxes that have no room now, mostly none. For the session."""
        self._received += 1
        full: Sequence[Inbox] = ()
        for inbox in self._inboxes:
            inbox.put(message)
            if inbox.full:
                full = (*full, inbox)
        return full

    def end(self, reason: Exception | None) -> None:
        """Tell every reader that no more comes, and why. For the session."""
        for inbox in self._inboxes:
            inbox.close(reason)


def check_when_full(when_full: object) -> None:
    """Raise InvalidInputError if this is no way to treat a full buffer."""
    if when_full not in ("spool", "drop_oldest", "fail", "pause"):
        raise InvalidInputError("when_full", when_full, '"spool", "drop_oldest", "fail" or "pause"')
