"""Parts of a session for tests of one of them: what a kernel says, and a session's requests without a connection."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable
from typing import Any

import trio

from trio_gateway._kernel.inbox import Inbox
from trio_gateway._kernel.pending import PendingExecution
from trio_gateway._kernel.requests import Requests
from trio_gateway._kernel.status import SessionStatus
from trio_gateway._protocol.execution import Execution
from trio_gateway._protocol.messages import Message
from trio_gateway.testing import FakeGateway
from trio_gateway.testing._streams import MemoryStream

__all__ = ["Parts", "said", "take_all", "turns_while_sending"]


def said(
    kind: str,
    content: object = None,
    *,
    channel: str = "iopub",
    parent: str = "",
    parent_type: str = "execute_request",
    number: int | None = None,
) -> Message:
    """A message of a kernel; without a number its id says nothing about its place."""
    msg_id = f"k_{number}" if number is not None else "odd"
    header = json.dumps({"msg_id": msg_id, "msg_type": kind, "session": "k"}).encode()
    parent_header = json.dumps({"msg_id": parent, "msg_type": parent_type, "session": "s"} if parent else {}).encode()
    raw = json.dumps({} if content is None else content).encode()
    return Message.from_wire(channel, header, parent_header, b"{}", raw, (), len(raw))


def take_all(fake: FakeGateway) -> None:
    """Have the connections that there are take all that is sent, without waiting."""
    for stream in fake.connections.values():
        assert isinstance(stream._stream, MemoryStream)
        stream._stream._incoming._limit = 10**9


async def turns_while_sending(send: Callable[[], Awaitable[object]], count: int) -> int:
    """Send so many times; return how many turns another task had meanwhile."""
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while True:
            await trio.lowlevel.checkpoint()
            turns += 1

    async with trio.open_nursery() as nursery:
        nursery.start_soon(take_turns)
        for _ in range(count):
            await send()
        nursery.cancel_scope.cancel()
    return turns


class Parts:
    """A session's status and requests, and no connection: what is sent stays in the outbox until `send_one`."""

    def __init__(self, nursery: trio.Nursery | None = None) -> None:
        self.nursery = nursery
        self.status = SessionStatus("kernel-1", 30.0)
        self.requests = Requests(self.status, session_id="s", username="u", start_soon=self.start_soon)
        self.started: list[str] = []

    def start_soon(self, service: Callable[..., Awaitable[object]], *args: object, name: str) -> None:
        """Note that a service was started, and start it where there is a nursery."""
        self.started.append(name)
        if self.nursery is not None:
            self.nursery.start_soon(service, *args)

    async def send_one(self) -> Message:
        """Do what the exchange does with the next thing to send."""
        assert len(self.requests.outbox), "nothing waits to be sent"
        item = await self.requests.outbox.take()
        if isinstance(item, Message):
            return item
        item.connection = self.status.connections
        return item.message

    def execution(self, *, inbox: Inbox | None = None, **more: Any) -> PendingExecution:
        """An execution that was not submitted yet."""
        return PendingExecution(
            self.requests.make("shell", "execute_request", {"code": "1", "silent": False}),
            Execution(keep=True, limit_bytes=math.inf),
            idle_grace=5.0,
            ledger=self.requests.ledger,
            inbox=inbox,
            **more,
        )
