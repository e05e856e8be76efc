"""What goes over a connection: a consumer that asked for a pause gets it in the middle of what was read, and loses nothing."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import trio
from trio.testing import wait_all_tasks_blocked

from trio_gateway._kernel.exchange import MessageExchange
from trio_gateway._kernel.inbox import Inbox
from trio_gateway._kernel.status import SessionStatus
from trio_gateway._protocol import codec
from trio_gateway._protocol.messages import Header, Message

if TYPE_CHECKING:
    from collections.abc import Sequence


class Socket:
    """A WebSocket that gives one read of many messages, and then nothing."""

    def __init__(self, frames: list[bytes]) -> None:
        self.frames = frames

    async def receive(self) -> list[bytes]:
        await trio.lowlevel.checkpoint()
        if not self.frames:
            await trio.sleep_forever()
        frames, self.frames = self.frames, []
        return frames


def stage(count: int, limit: int) -> tuple[MessageExchange, Socket, Inbox]:
    inbox = Inbox(limit_messages=limit, limit_bytes=1e9, when_full="pause")

    def route(message: Message) -> Sequence[Inbox]:
        inbox.put(message)
        return (inbox,) if inbox.full else ()

    status, router = SessionStatus("k", 30.0), SimpleNamespace(route=route, note_garbage=lambda error: None)
    exchange = MessageExchange(status, cast("Any", None), cast("Any", router), cast("Any", None), None)
    exchange.begin(v1=True)
    frames = [
        codec.encode_v1(Message("iopub", Header(f"k_{number}", "stream", "k"), {"name": "stdout", "text": str(number)}))
        for number in range(count)
    ]
    frames[count // 2 : count // 2] = [b"garbage"]
    return exchange, Socket(frames), inbox


async def numbers(inbox: Inbox, count: int) -> list[int]:
    return [int(json.loads(bytes((await inbox.get()).content_raw))["text"]) for _ in range(count)]


async def test_a_pause_holds_in_the_middle_of_a_read() -> None:
    exchange, socket, inbox = stage(300, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.receive_all, cast("Any", socket))
        await wait_all_tasks_blocked()
        assert exchange.paused
        assert inbox.statistics().messages == 10
        assert await numbers(inbox, 300) == list(range(300))
        assert inbox.statistics().peak_messages == 10
        await wait_all_tasks_blocked()
        assert not exchange.paused
        nursery.cancel_scope.cancel()


async def test_what_was_read_is_not_lost_with_the_connection() -> None:
    exchange, socket, inbox = stage(300, 10)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.receive_all, cast("Any", socket))
        await wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()
    assert await numbers(inbox, 300) == list(range(300))


async def test_a_large_read_lets_others_run_and_is_routed_whole() -> None:
    exchange, socket, inbox = stage(1000, 1e9)  # type: ignore[arg-type]
    async with trio.open_nursery() as nursery:
        nursery.start_soon(exchange.receive_all, cast("Any", socket))
        await inbox.get()
        assert inbox.statistics().received < 200
        nursery.cancel_scope.cancel()
    assert await numbers(inbox, 999) == list(range(1, 1000))
