"""Comms: two-way messages between objects here and objects in the kernel, such as widgets.

The one idea: a comm is a channel of its own, opened by either side and named by a target; what the kernel sends is kept for
its reader in the order it came, buffers included. Source: "Messaging in Jupyter", custom messages.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from itertools import islice
from typing import Any, Final

import attrs
import trio

from .._config import GatewayConfig
from .._errors import ConnectionLostError, GatewayError, InvalidInputError, ProtocolError
from .._limits import points_to_limits
from .._protocol import contents
from .._protocol.messages import Buffer, Message
from .._transport.blocks import block
from .channels import Channel
from .inbox import READY_BYTES, READY_ITEMS, Inbox, check_ready_limits
from .requests import Requests
from .status import SessionStatus

__all__ = ["Comm", "CommMessage", "Comms", "IncomingComms", "comm_message"]


LIMIT_COMMS: Final = 20_000
"""How many comms may be open in a session; those that the kernel opens beyond are not taken."""


@attrs.frozen
class CommMessage:
    """What the kernel sent on a comm."""

    data: Mapping[str, Any]
    """The data."""
    metadata: Mapping[str, Any]
    """The metadata."""
    buffers: tuple[memoryview, ...]
    """Binary buffers."""


@points_to_limits
class Comm(trio.abc.AsyncResource):
    """One comm. Iterate over it, or call `receive`, for what the kernel sends; `send` to it; closing it tells the kernel.

    Made by `kernel.comms.open`, and by the kernel for a program that accepts its target.
    """

    def __init__(self, comms: Comms, comm_id: str, target_name: str, opening: CommMessage, inbox: Inbox) -> None:
        self._comms = comms
        self._id = comm_id
        self._target_name = target_name
        self._opening = opening
        self._inbox = inbox
        self._closed = False

    @property
    def id(self) -> str:
        """The comm's id."""
        return self._id

    @property
    def target_name(self) -> str:
        """The target that it was opened for, such as `"jupyter.widget"`."""
        return self._target_name

    @property
    def opening(self) -> CommMessage:
        """What it was opened with: for a widget, its state."""
        return self._opening

    @property
    def closed(self) -> bool:
        """Whether either side has closed it, or the session has ended."""
        return self._closed or self._id not in self._comms.live

    def __repr__(self) -> str:
        return f"<Comm {self._target_name} {self._id}{' closed' if self.closed else ''}>"

    async def send(
        self, data: Mapping[str, Any], *, metadata: Mapping[str, Any] | None = None, buffers: Sequence[Buffer] = ()
    ) -> None:
        """Send to the kernel.

        Raises:
            trio.ClosedResourceError: it was closed here.
            trio.BrokenResourceError: the kernel closed it.
            InvalidInputError: the data is no mapping, or a part can't be written as JSON.
            GatewayError: the session has ended, and this is why.

        Cancellation: safe: a cancelled call has queued nothing. Where there is room it costs no scheduling, but for every 64th
            time.
        """
        content = {"comm_id": self._id, "data": _checked(data)}
        if self._closed:
            raise trio.ClosedResourceError(f"{self!r}")
        if self._id not in self._comms.live:
            raise trio.BrokenResourceError(f"the kernel closed {self!r}")
        await self._comms.shell.send("comm_msg", content, metadata=metadata, buffers=buffers)

    def __aiter__(self) -> Comm:
        return self

    async def __anext__(self) -> CommMessage:
        try:
            return await self.receive()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    async def receive(self) -> CommMessage:
        """Wait for what the kernel sends next.

        Raises:
            trio.EndOfChannel: either side closed it, and everything before was received.
            KernelError: the kernel was restarted or ended: its side of the comm is gone.
            ConnectionLostError: the connection broke, and the kernel does not know the comm any more, or never did: that it was
                opened, or closed over there, was lost.
            GatewayError: the session has ended, and this is why.

        Cancellation: safe, nothing is lost.
        """
        return comm_message(await self._inbox.get())

    def receive_ready(self, limit: int = READY_ITEMS, *, limit_bytes: float = READY_BYTES) -> list[CommMessage]:
        """Take what the kernel has sent already, without waiting. `receive` waits for the first, and raises what the end is.

        Args:
            limit: how many messages at most.
            limit_bytes: after so many bytes no more are taken; at least one message is.

        Returns:
            The messages in order; none if none is there.

        Raises:
            InvalidInputError: a limit is no such number.
            SlowConsumerError: the next one lies in a temporary file that can't be read back.
        """
        check_ready_limits(limit, limit_bytes)
        return [comm_message(message) for message in islice(self._inbox.take_ready(limit_bytes), limit)]

    async def aclose(self) -> None:
        """Close it, and tell the kernel, unless the kernel closed it first. What was not read is forgotten."""
        if self._closed:
            await trio.lowlevel.checkpoint()
            return
        self._closed = True
        self._inbox.discard()
        await self._comms.close(self._id)


@points_to_limits
class IncomingComms(trio.abc.ReceiveChannel[Comm]):
    """The comms that the kernel opens for one target, as they come. Made by `kernel.comms.accept`."""

    def __init__(self, comms: Comms, inbox: Inbox) -> None:
        self._comms = comms
        self._inbox = inbox

    async def receive(self) -> Comm:
        """Wait for the next comm that the kernel opens.

        Raises:
            trio.EndOfChannel: the session was closed with its block.
            GatewayError: the session has ended, and this is why.

        Cancellation: safe, nothing is lost.
        """
        return self._comms.adopt(await self._inbox.get())

    def receive_ready(self, limit: int = READY_ITEMS, *, limit_bytes: float = READY_BYTES) -> list[Comm]:
        """Take the comms that the kernel has opened already, without waiting. `receive` waits for the first.

        Args:
            limit: how many at most.
            limit_bytes: after so many bytes of what they were opened with no more are taken; at least one comm is.

        Returns:
            The comms in order; none if none is there.

        Raises:
            InvalidInputError: a limit is no such number.
            SlowConsumerError: the next one lies in a temporary file that can't be read back.
        """
        check_ready_limits(limit, limit_bytes)
        return [self._comms.adopt(message) for message in islice(self._inbox.take_ready(limit_bytes), limit)]

    async def aclose(self) -> None:
        """Accept no more."""
        self._inbox.discard()
        await trio.lowlevel.checkpoint()


@points_to_limits
class Comms:
    """The comms of one kernel session. Reached as `kernel.comms`.

    Args:
        shell: the channel that carries what is sent, and counts it.
        requests: asks the kernel which comms it has.
        status: how the session is.
        config: gives the bounds of readers' buffers.
        start_soon: starts a service that ends with the session's block at the latest.
    """

    def __init__(
        self,
        shell: Channel,
        requests: Requests,
        status: SessionStatus,
        config: GatewayConfig,
        start_soon: Callable[..., object],
    ) -> None:
        self.shell: Channel = shell
        self.live: dict[str, Inbox] = {}
        self._requests = requests
        self._status = status
        self._config = config
        self._start_soon = start_soon
        self._targets: dict[str, Inbox] = {}
        self._looking = False

    @block("kernel.comms.open")
    @asynccontextmanager
    async def open(
        self,
        target_name: str,
        data: Mapping[str, Any] | None = None,
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> AsyncGenerator[Comm]:
        """Open a comm with a target that is registered in the kernel; it is closed with the block.

        Args:
            target_name: the target's name in the kernel.
            data: what to open it with.
            metadata: the metadata of that.
            buffers: binary buffers.

        Yields:
            The comm. A kernel that has no such target closes it at once.

        Raises:
            InvalidInputError: a part can't be written as JSON.
            GatewayError: the session has ended, and this is why.
        """
        comm_id = uuid.uuid4().hex
        data = _checked({} if data is None else data)
        if not isinstance(target_name, str):
            raise InvalidInputError("target_name", target_name, "a target's name (str)")
        content = {"comm_id": comm_id, "target_name": target_name, "data": data}
        inbox = self.live[comm_id] = self._inbox()
        comm = Comm(self, comm_id, target_name, CommMessage(data, dict(metadata or {}), ()), inbox)
        opened = False
        try:
            await self.shell.send("comm_open", content, metadata=metadata, buffers=buffers)
            opened = True
            yield comm
        finally:
            if opened:
                with trio.move_on_after(1, shield=True):
                    await comm.aclose()
            inbox.discard()
            self.live.pop(comm_id, None)

    @block("kernel.comms.accept")
    @asynccontextmanager
    async def accept(self, target_name: str) -> AsyncGenerator[IncomingComms]:
        """Take the comms that the kernel opens for a target from now on, such as `"jupyter.widget"`.

        Args:
            target_name: the target's name.

        Yields:
            The comms as they come, until the block ends; comms that were taken live on.

        Raises:
            InvalidInputError: someone accepts this target already.
        """
        if target_name in self._targets:
            raise InvalidInputError("target_name", target_name, "a target that nobody else accepts in this session")
        inbox = self._targets[target_name] = self._inbox()
        try:
            yield IncomingComms(self, inbox)
        finally:
            del self._targets[target_name]
            inbox.discard()

    def observe(self, message: Message) -> None:
        """Take in a comm message of the kernel's. For the session.

        Raises:
            ProtocolError: it does not say for which comm it is.
        """
        if message.header.msg_type not in ("comm_open", "comm_msg", "comm_close"):
            return
        content = contents.look(message)  # what is in it stays JSON while it waits for its reader
        comm_id = content["comm_id"]
        if not comm_id:
            raise ProtocolError(f"a {message.msg_type} does not say for which comm it is")
        kind = message.header.msg_type
        if kind == "comm_open":
            target = self._targets.get(content["target_name"])
            if target is not None and comm_id not in self.live and len(self.live) < LIMIT_COMMS:
                self.live[comm_id] = self._inbox()
                target.put(message)
            return
        inbox = self.live.get(comm_id)
        if inbox is None:
            return
        if kind == "comm_msg":
            inbox.put(message)
        elif kind == "comm_close":
            inbox.close()
            del self.live[comm_id]

    def adopt(self, message: Message) -> Comm:
        """Make the comm that a `comm_open` of the kernel's is about."""
        content = contents.look(message)
        comm_id = content["comm_id"]
        inbox = self.live.get(comm_id)
        if inbox is None:  # closed by the kernel before anyone looked
            inbox = self._inbox()
            inbox.close()
        return Comm(self, comm_id, content["target_name"], comm_message(message), inbox)

    async def close(self, comm_id: str) -> None:
        """Tell the kernel that a comm is closed, unless it knows. For `Comm`."""
        if self.live.pop(comm_id, None) is not None and self._status.ended is None:
            self.shell.send_last("comm_close", {"comm_id": comm_id, "data": {}})
        await trio.lowlevel.checkpoint()

    def find_lost(self) -> None:
        """Find out which comms the kernel knows, after a connection broke: of those that it does not know no more comes."""
        if self.live and not self._looking and not self._status.over:
            self._looking = True
            self._start_soon(self._find_lost, name="trio_gateway.find_lost_comms")

    async def _find_lost(self) -> None:
        try:
            here = dict(self.live)
            # Twice, for a kernel may answer beside what it was sent before.
            for _ in range(2):
                if here:
                    known = await self._known()
                    here = {comm_id: inbox for comm_id, inbox in here.items() if known is not None and comm_id not in known}
            for comm_id, inbox in here.items():
                if self.live.get(comm_id) is inbox:
                    del self.live[comm_id]
                    lost = "the connection broke, and the kernel does not know this comm: its opening or its end was lost"
                    inbox.close(ConnectionLostError(f"kernel {self._status.kernel_id}: {lost}"))
        finally:
            self._looking = False

    async def _known(self) -> Mapping[str, Any] | None:
        """Ask the kernel which comms it has; None where it does not tell."""
        while True:
            try:
                comms = (await self._requests.request("shell", "comm_info_request", {})).content.get("comms")
            except ConnectionLostError:
                if self._status.ended is None:
                    continue  # the question was lost with another connection
                return None
            except GatewayError:
                return None  # it can't be understood; or the comms have ended, or will
            return comms if isinstance(comms, dict) else None

    def end(self, reason: Exception | None) -> None:
        """End every comm: the kernel's side is gone, or the session is. For the session."""
        for inbox in self.live.values():
            inbox.close(reason)
        self.live.clear()
        if self._status.ended is not None:
            for inbox in self._targets.values():
                inbox.close(reason)

    def _inbox(self) -> Inbox:
        config = self._config
        return Inbox(limit_messages=config.buffer_messages, limit_bytes=config.buffer_bytes)


def _checked(data: object) -> dict[str, Any]:
    if not isinstance(data, Mapping):
        raise InvalidInputError("data", type(data).__name__, "an object: a dictionary")
    return dict(data)


def comm_message(message: Message) -> CommMessage:
    """Make what a comm gives of a message."""
    return CommMessage(contents.look(message)["data"], contents.metadata_of(message), message.buffers)
