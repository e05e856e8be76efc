"""The shell around a connection of either role: who reads, who writes, and in which order."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress

import pytest
import trio
from trio.testing import lockstep_stream_pair, memory_stream_pair, wait_all_tasks_blocked

from trio_gateway._protocol.frames import (
    BINARY,
    CLOSE,
    PING,
    Close,
    Control,
    FrameParser,
    Ping,
    Pong,
    no_mask,
    small_frame,
    xor_mask,
)
from trio_gateway._protocol.websocket import Role, WebSocketConnection
from trio_gateway._transport.websocket.engine import WebSocketClosed
from trio_gateway._transport.websocket.shell import FrameShell


class Shell(FrameShell):
    """A shell with nothing of its own but a nursery."""

    def __init__(self, nursery: trio.Nursery, stream: trio.abc.Stream, role: Role, first: bytes = b"") -> None:
        connection = WebSocketConnection(role, 1_000_000, xor_mask, bytes)
        connection.open()
        self._begin(connection, stream, first)
        self._nursery = nursery
        self.answered: list[bytes] = []

    async def send(self, *messages: bytes | str) -> None:
        await self._write(self._connection.send(messages))

    async def ping(self) -> None:
        await self._write((self._connection.ping(b"ours"),))

    def ping_now(self) -> bool:
        return self._may_write_now and self._put_now(self._connection.ping(b"ours"))

    def _note_answered(self, payloads: Sequence[bytes]) -> None:
        self.answered += payloads

    def _start_soon(self, send: Callable[[], Awaitable[None]]) -> None:
        self._nursery.start_soon(send)


def frame(role: Role, kind: int, payload: bytes = b"") -> bytes:
    """A frame as the other end of a role sends it."""
    return small_frame(kind, payload, b"abcd", xor_mask) if role is Role.SERVER else small_frame(kind, payload, b"", no_mask)


@pytest.fixture(params=Role, ids=lambda role: role.value)
def role(request: pytest.FixtureRequest) -> Role:
    """Each role."""
    found: Role = request.param
    return found


async def test_what_was_read_already_comes_first(role: Role, nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    shell = Shell(nursery, ours, role, frame(role, BINARY, b"1") + frame(role, BINARY, b"2")[:2])
    await theirs.send_all(frame(role, BINARY, b"2")[2:])
    assert await shell.receive() == [b"1"]
    assert await shell.receive() == [b"2"]


async def test_a_receiver_that_is_cancelled_loses_nothing_and_its_answer_is_given(role: Role, nursery: trio.Nursery) -> None:
    ours, theirs = lockstep_stream_pair()
    shell = Shell(nursery, ours, role)

    async def receive(scope: trio.CancelScope) -> None:
        with scope:
            await shell.receive()

    scope = trio.CancelScope()
    nursery.start_soon(receive, scope)
    await theirs.send_all(frame(role, PING, b"p") + frame(role, BINARY, b"m")[:2])
    await wait_all_tasks_blocked()
    scope.cancel()
    await wait_all_tasks_blocked()
    heard = await theirs.receive_some()
    nursery.start_soon(theirs.send_all, frame(role, BINARY, b"m")[2:])
    assert await shell.receive() == [b"m"]
    assert heard[0] & 0x0F == 0xA


async def test_whole_frames_go_out_one_after_the_other(role: Role, nursery: trio.Nursery) -> None:
    """Pongs that are owed while a large message is under way wait for its end, and come before the next message."""
    ours, theirs = lockstep_stream_pair()
    shell = Shell(nursery, ours, role)
    nursery.start_soon(shell.send, b"x" * 400_000)
    await wait_all_tasks_blocked()
    nursery.start_soon(theirs.send_all, frame(role, PING, b"1") + frame(role, PING, b"2") + frame(role, BINARY, b"m"))
    assert await shell.receive() == [b"m"]
    await wait_all_tasks_blocked()
    nursery.start_soon(shell.send, b"y")
    await wait_all_tasks_blocked()
    other = WebSocketConnection(Role.SERVER if role is Role.CLIENT else Role.CLIENT, 1_000_000, xor_mask, bytes)
    heard: list[bytes | str | Control] = []
    while len(heard) < 4:
        heard += other._parser.feed(bytes(await theirs.receive_some(50_000)))
        heard += other._parser.controls
        other._parser.controls.clear()
    assert heard == [b"x" * 400_000, Pong(b"1"), Pong(b"2"), b"y"]


async def test_what_is_sent_after_the_end_is_refused(role: Role, nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    shell = Shell(nursery, ours, role)
    await theirs.send_all(frame(role, BINARY, b"last") + frame(role, CLOSE, b"\x03\xe9why"))
    assert await shell.receive() == [b"last"]
    with pytest.raises(WebSocketClosed) as caught:
        await shell.send(b"more")
    assert (caught.value.code, caught.value.reason) == (1001, "why")
    with pytest.raises(WebSocketClosed):
        await shell.receive()
    await wait_all_tasks_blocked()
    parser = FrameParser(100)
    heard = bytes(await theirs.receive_some())
    if role is Role.SERVER:
        parser.feed(heard)
        assert parser.controls == [Close(1001, "")]
    else:
        assert heard[0] & 0x0F == CLOSE


async def test_a_stream_that_breaks(role: Role, nursery: trio.Nursery) -> None:
    """What had come before is received, whatever the sender meets first; and what is owed is owed no more."""
    ours, theirs = memory_stream_pair()
    shell = Shell(nursery, ours, role)
    await theirs.send_all(frame(role, BINARY, b"last") + frame(role, PING, b"p"))
    await theirs.aclose()
    with pytest.raises(WebSocketClosed) as caught:
        await shell.send(b"x")
    assert caught.value.code == 1006
    assert caught.value.__context__ is None
    assert await shell.receive() == [b"last"]
    await wait_all_tasks_blocked()
    assert not shell._connection.owes
    assert shell._owed_sent is None
    with pytest.raises(WebSocketClosed):
        await shell.receive()


async def test_pings_that_were_answered_are_noted(role: Role, nursery: trio.Nursery) -> None:
    ours, theirs = memory_stream_pair()
    shell = Shell(nursery, ours, role)
    await shell.ping()
    assert (await theirs.receive_some())[0] & 0x0F == PING
    await theirs.send_all(frame(role, 0xA, b"ours") + frame(role, BINARY, b"m"))
    assert await shell.receive() == [b"m"]
    assert shell.answered == [b"ours"]
    await shell.ping()
    await theirs.aclose()
    with pytest.raises(WebSocketClosed):
        await shell.receive()
    assert shell.answered == [b"ours", b"ours"]


async def test_a_stream_that_was_closed_here_ends_the_receiver(nursery: trio.Nursery) -> None:
    """G3"""
    ours, _ = memory_stream_pair()
    shell = Shell(nursery, ours, Role.CLIENT)
    await ours.aclose()
    with pytest.raises(WebSocketClosed) as caught:
        await shell.receive()
    assert caught.value.code == 1006


# Without waiting


class Narrow(trio.abc.Stream):
    """A stream that takes so many bytes without waiting, and more when it is told to go on."""

    def __init__(self, room: int) -> None:
        self.room = room
        self.taken = bytearray()
        self.go_on = trio.Event()
        self.broken = False

    def send_now(self, data: bytes) -> int:
        taken = min(len(data), self.room)
        self.room -= taken
        self.taken += data[:taken]
        return taken

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await self.go_on.wait()
        if self.broken:
            raise trio.BrokenResourceError
        self.taken += data

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        await trio.sleep_forever()
        raise AssertionError

    async def wait_send_all_might_not_block(self) -> None:
        await self.go_on.wait()

    async def aclose(self) -> None:
        await trio.lowlevel.checkpoint()


def heard_by_other(role: Role, data: bytes) -> list[bytes | str | Control]:
    """What the other end of a role makes of all that was sent."""
    other = WebSocketConnection(Role.SERVER if role is Role.CLIENT else Role.CLIENT, 1_000_000, xor_mask, bytes)
    messages: list[bytes | str | Control] = list(other._parser.feed(data))
    return [*messages, *other._parser.controls]


async def test_what_the_stream_takes_is_sent_without_a_turn(role: Role, nursery: trio.Nursery) -> None:
    stream = Narrow(1_000)
    shell = Shell(nursery, stream, role)
    assert shell._write_now([b"m" * 10])
    assert shell._write_now(["text"])
    assert heard_by_other(role, bytes(stream.taken)) == [b"m" * 10, "text"]
    assert not shell.unfinished
    assert shell._owed_sent is None


@pytest.mark.parametrize("room", [1, 2, 6, 15])
async def test_the_rest_goes_before_all_else(role: Role, nursery: trio.Nursery, room: int) -> None:
    stream = Narrow(room)
    shell = Shell(nursery, stream, role)
    assert shell._write_now([b"m" * 10])
    assert shell.unfinished == (room < len(frame(Role.SERVER if role is Role.CLIENT else Role.CLIENT, BINARY, b"m" * 10)))
    if not shell.unfinished:
        return
    stream.room = 1_000
    assert not shell._write_now([b"later"]), "it would go before the rest"
    nursery.start_soon(shell.send, b"behind")
    nursery.start_soon(shell.ping)
    await wait_all_tasks_blocked()
    assert not shell._write_now([b"later"])
    stream.go_on.set()
    await wait_all_tasks_blocked()
    assert not shell.unfinished
    assert shell._write_now([b"last"])
    heard = heard_by_other(role, bytes(stream.taken))
    assert heard[0] == b"m" * 10
    assert heard[1:3] == [b"behind", b"last"]
    assert len(heard) == 4  # and the ping


async def test_nobody_writes_at_once_while_another_writes_or_nothing_may_be_sent(role: Role, nursery: trio.Nursery) -> None:
    stream = Narrow(1_000)
    shell = Shell(nursery, stream, role)
    nursery.start_soon(shell.send, b"first")
    await wait_all_tasks_blocked()
    assert not shell._write_now([b"second"])
    stream.go_on.set()
    await wait_all_tasks_blocked()
    assert shell._write_now([b"third"])
    stream.room = 0
    assert not shell._write_now([b"fourth"])
    assert not shell.unfinished
    stream.room = 1_000
    shell._connection.close(1000, "")
    assert not shell._write_now([b"fifth"])
    assert heard_by_other(role, bytes(stream.taken)) == [b"first", b"third"]


async def test_nobody_writes_at_once_while_a_pong_is_owed(role: Role, nursery: trio.Nursery) -> None:
    """It would be lost where the stream takes nothing."""
    stream = Narrow(1_000)
    shell = Shell(nursery, stream, role)
    shell._connection.receive(frame(role, PING, b"there?"))
    assert not shell._write_now([b"later"])
    assert shell._connection.owes
    stream.go_on.set()
    await shell.send(b"m")
    assert heard_by_other(role, bytes(stream.taken)) == [b"m", Pong(b"there?")]
    assert shell._write_now([b"now"])


async def test_a_stream_that_can_not_send_at_once_is_left_to_those_who_wait(role: Role, nursery: trio.Nursery) -> None:
    ours, _ = memory_stream_pair()
    assert not Shell(nursery, ours, role)._write_now([b"m"])


async def test_a_rest_that_can_not_be_sent_stays_unfinished(role: Role, nursery: trio.Nursery) -> None:
    stream = Narrow(3)
    shell = Shell(nursery, stream, role)
    assert shell._write_now([b"m" * 10])
    stream.broken = True
    stream.go_on.set()
    await wait_all_tasks_blocked()
    assert shell.unfinished
    assert shell._owed_sent is None, "and nobody tries again and again"


@pytest.mark.parametrize("room", [1, 3])
async def test_a_ping_of_which_a_part_is_sent_is_no_unfinished_message(role: Role, nursery: trio.Nursery, room: int) -> None:
    stream = Narrow(room)
    shell = Shell(nursery, stream, role)
    assert shell.ping_now()
    assert not shell.unfinished
    stream.room = 1_000
    assert not shell._write_now([b"later"]), "it would go before the rest"
    stream.go_on.set()
    await wait_all_tasks_blocked()
    assert shell._write_now([b"m"])
    assert heard_by_other(role, bytes(stream.taken)) == [b"m", Ping(b"ours")]


# Cut short


class Slow(Narrow):
    """A narrow stream whose `send_all` too takes but a few bytes at first."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        await trio.lowlevel.checkpoint()
        taken = min(len(data), 3)
        self.taken += data[:taken]
        await self.go_on.wait()
        self.taken += data[taken:]


async def bid_farewell(shell: Shell) -> None:
    """Close as both shells do."""
    shell._connection.close(1000, "")
    with suppress(WebSocketClosed):
        await shell._send_owed()


@pytest.mark.parametrize("room", [0, 5], ids=["a frame", "a rest"])
async def test_nothing_is_sent_behind_a_frame_that_was_cut_short(role: Role, nursery: trio.Nursery, room: int) -> None:
    """It would be read as what is missing of that one: a frame that nobody has sent."""
    stream = Slow(1_000)
    shell = Shell(nursery, stream, role)
    assert shell._write_now([b"whole"])
    stream.room = room
    assert shell._write_now([b"m" * 10]) == bool(room)
    scope = trio.CancelScope()

    async def cancel() -> None:
        await wait_all_tasks_blocked()
        scope.cancel()

    nursery.start_soon(cancel)
    with scope:
        await shell.send(b"n" * 6)  # it has the lock at once, before the task that sends what is owed
    assert scope.cancelled_caught
    assert shell.unfinished == bool(room)
    stream.room = 1_000
    stream.go_on.set()
    cut = bytes(stream.taken)
    assert not shell._write_now([b"later"])
    with pytest.raises(WebSocketClosed):
        await shell.send(b"later")
    await bid_farewell(shell)
    await wait_all_tasks_blocked()
    assert heard_by_other(role, bytes(stream.taken)) == [b"whole"]
    assert bytes(stream.taken) == cut


async def test_a_write_in_a_cancelled_scope_cuts_nothing(role: Role, nursery: trio.Nursery) -> None:
    stream = Slow(1_000)
    shell = Shell(nursery, stream, role)
    with trio.CancelScope() as scope:
        scope.cancel()
        await shell.send(b"never")
    assert scope.cancelled_caught
    assert shell._write_now([b"next"])
    stream.go_on.set()
    await bid_farewell(shell)
    assert heard_by_other(role, bytes(stream.taken)) == [b"next", Close(1000, "")]
