"""A hostile front end on raw sockets, to a proxy in a process of its own: what it costs, and whom it keeps out.

To add an attack, add a line: to `HTTP` what is sent on one connection, and the statuses that are answered before the proxy hangs
up; to `WEBSOCKETS` what is sent after the handshake, and the close code that the proxy answers with, None where it bears it; to
`FLOODS` what it bears, and is done by itself: the lines of the others are done at once, each on a connection of its own. `Drip`
sends byte by byte for as long as the proxy bears it, `Flood` the same again and again.

Each time another front end, which behaves, asks its kernel again and again meanwhile, and is answered; the proxy's memory grows
by less than `BOUND`; and no connection is left. No time is looked at: the proxy's own limits are low, and end what does not end.
"""

from __future__ import annotations

import json
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import attrs
import pytest
import trio

from .hostile_proxy import FILES, MAX_MESSAGE_SIZE, TOKEN
from .hostile_tools import (
    BINARY,
    CLOSE,
    CONTINUATION,
    PING,
    PONG,
    TEXT,
    RawConnection,
    connect,
    frame_bytes,
    request_bytes,
    upgrade_bytes,
    v1_message,
)

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="the most memory that a process had is read as Linux tells it")

PATIENCE = 120.0
BOUND = 24 * 2**20
"""So much more memory may the proxy have at a time than before the attack, in bytes. By chance it has a few megabytes more; what
the floods send, or announce, is more than this."""
MANY = 1100
"""Connections: as many as `max_channels` and those beside WebSockets together, and more than the proxy may have files."""

MASK = b"\x01\x02\x03\x04"
AUTH = [("Authorization", f"token {TOKEN}")]
GET = request_bytes("GET", "/api/status", AUTH)
CLOSING = [("Connection", "close")]


@attrs.frozen
class Drip:
    """Sends something at once, and then one byte after the other until the connection is over."""

    first: bytes
    byte: bytes


@attrs.frozen
class Flood:
    """Sends the same so many times."""

    data: bytes
    times: int


Step: TypeAlias = bytes | Drip | Flood


def masked(opcode: int, payload: bytes = b"", *, fin: bool = True, length: int | None = None) -> bytes:
    return frame_bytes(opcode, payload, fin=fin, mask=MASK, length=length)


def message(size: int = 100) -> bytes:
    """Return a frame with a message of a front end's that its kernel does not answer."""
    return masked(BINARY, v1_message("shell", "comm_msg", {"comm_id": "none", "data": "x" * size}, number="flood"))


def closing(code: int, reason: bytes = b"") -> bytes:
    return masked(CLOSE, code.to_bytes(2, "big") + reason)


def long_length(opcode: int, length: int) -> bytes:
    """Return the head of a frame whose length is told in eight bytes, and its mask."""
    return bytes([0x80 | opcode, 0x80 | 127]) + length.to_bytes(8, "big") + MASK


HTTP: dict[str, tuple[Sequence[Step], tuple[int, ...]]] = {
    "a request line byte by byte": ([Drip(b"GET /", b"a")], ()),
    "headers byte by byte": ([Drip(b"GET /api HTTP/1.1\r\nX-A: ", b"a")], ()),
    "headers line by line": ([Drip(b"GET /api HTTP/1.1\r\nX-A: a", b"\r\nX-A: a")], ()),
    "the second request's headers byte by byte": ([GET, Drip(b"GET /api HTTP/1.1\r\nX-A: ", b"a")], (200,)),
    "a body byte by byte": ([Drip(request_bytes("POST", "/api/kernels", [*AUTH, ("Content-Length", "1000")]), b" ")], (408,)),
    "a body in chunks of a byte": (
        [Drip(request_bytes("POST", "/api/kernels", [*AUTH, ("Transfer-Encoding", "chunked")]), b"1\r\n \r\n")],
        (408,),
    ),
    "a body byte by byte, without the token": (
        [Drip(request_bytes("POST", "/api/kernels", [("Content-Length", "1000")]), b" ")],
        (401,),
    ),
    "a handshake byte by byte": ([Drip(upgrade_bytes("/api/kernels/x/channels", AUTH)[:-2], b"X-A: a\r\n")], ()),
    "half a handshake": ([upgrade_bytes("/api/kernels/x/channels", AUTH)[:-2]], ()),
    "a hundred requests at once": ([GET * 99 + request_bytes("GET", "/api/status", [*AUTH, *CLOSING])], (200,) * 100),
    "requests at once, and one that is none": ([GET * 9 + b"nonsense\r\n\r\n" + GET], (*(200,) * 9, 400)),
    "a handshake behind a request": ([GET + upgrade_bytes("/api/kernels/x/channels", AUTH)], (200, 404)),
    "a handshake with another version": (
        [upgrade_bytes("/api/kernels/x/channels", AUTH).replace(b"Version: 13", b"Version: 99")],
        (400,),
    ),
    "frames without a handshake": ([message()], ()),
    "a tunnel": ([b"CONNECT localhost:80 HTTP/1.1\r\n" + GET.split(b"\r\n", 1)[1]], (404,)),
}

FLOODS: dict[str, Sequence[Step]] = {
    "messages": [Flood(message(), 3_000)],
    "large messages": [Flood(message(100_000), 1_000)],
    "pings": [Flood(masked(PING, b"x" * 125), 30_000)],
    "pongs": [Flood(masked(PONG), 30_000)],
}

WEBSOCKETS: dict[str, tuple[Sequence[Step], int | None]] = {
    "empty fragments": ([masked(BINARY, fin=False), Flood(masked(CONTINUATION, fin=False), 30_000)], 1008),
    "fragments of a byte": ([masked(BINARY, fin=False), Flood(masked(CONTINUATION, b"x", fin=False), 30_000)], 1008),
    "fragments without end": ([masked(BINARY, fin=False), Flood(masked(CONTINUATION, b"x" * 1000, fin=False), 30_000)], 1009),
    "empty messages": ([Flood(masked(BINARY), 1_000)], 1007),
    "a frame of 4 GiB": ([long_length(BINARY, 2**32), Flood(b"x" * 65_536, 50)], 1009),
    "what comes after a close": ([closing(1000), Flood(message(10_000), 300)], 1000),
    "text that is no message": ([masked(TEXT, b"{}")], 1007),
    "a frame byte by byte": ([masked(BINARY, length=50_000), *[b"x"] * 20], None),
    "half a frame": ([masked(BINARY, b"x" * 1_000, length=MAX_MESSAGE_SIZE)], None),
    "a frame's head byte by byte": ([*[bytes([byte]) for byte in message()]], None),
    "a frame that is too large": ([long_length(BINARY, MAX_MESSAGE_SIZE + 1)], 1009),
    "a frame of 8 EiB": ([long_length(TEXT, 2**63 - 1)], 1009),
    "a frame whose length has its first bit set": ([long_length(BINARY, 2**64 - 1)], 1009),
    "a frame without a mask": ([frame_bytes(BINARY, b"x" * 10)], 1002),
    "a frame whose mask is another": ([bytes([0x82, 0x8A]) + MASK + b"0123456789"], 1007),
    "a text that the mask spoils": ([bytes([0x81, 0x84]) + b"\xff\xff\xff\xff" + b"abcd"], 1007),
    "a reserved bit": ([bytes([0xC2]) + masked(BINARY, b"x")[1:]], 1002),
    "another reserved bit": ([bytes([0x92]) + masked(BINARY, b"x")[1:]], 1002),
    "a reserved kind": ([masked(3, b"x")], 1002),
    "a reserved kind of control": ([masked(11, b"x")], 1002),
    "a ping that is too long": ([masked(PING, b"x" * 126)], 1002),
    "a close that is too long": ([closing(1000, b"x" * 124)], 1002),
    "a ping in fragments": ([masked(PING, b"x", fin=False)], 1002),
    "a close in fragments": ([masked(CLOSE, fin=False)], 1002),
    "a fragment of nothing": ([masked(CONTINUATION, b"x")], 1002),
    "a message in a message": ([masked(BINARY, b"x", fin=False), masked(TEXT, b"x")], 1002),
    "a close of one byte": ([masked(CLOSE, b"\x03")], 1002),
    **{f"a close with the code {code}": ([closing(code)], 1002) for code in (0, 999, 1004, 1005, 1006, 1015, 2999, 5000, 65535)},
    **{f"a close with the code {code}, which may be": ([closing(code)], code) for code in (1000, 1001, 1011, 3000, 4999)},
    "a close without a code": ([masked(CLOSE)], 1005),
    "a close whose reason is not UTF-8": ([closing(1000, b"\xff")], 1007),
    "text that is not UTF-8": ([masked(TEXT, b"\xff\xfe")], 1007),
    "text that ends in a character": ([masked(TEXT, "ä".encode()[:1])], 1007),
    "fragments of text that are not UTF-8": ([masked(TEXT, b"a", fin=False), masked(CONTINUATION, b"\xc3(")], 1007),
    "HTTP after the handshake": ([GET], 1002),
}


@attrs.frozen
class Process:
    """The proxy's process."""

    port: int
    kernels: Sequence[str]
    pid: int

    @contextmanager
    def bounded(self) -> Generator[None]:
        """Check that in the block it never had much more memory than before."""
        Path(f"/proc/{self.pid}/clear_refs").write_text("5", encoding="ascii")
        before = self._memory("VmRSS")
        yield
        grown = self._memory("VmHWM") - before
        assert grown < BOUND, f"the proxy took {grown} bytes"

    def _memory(self, name: str) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text(encoding="ascii")
        return next(int(line.split()[1]) * 1024 for line in status.splitlines() if line.startswith(f"{name}:"))


@pytest.fixture(scope="module")
def process() -> Generator[Process]:
    """A proxy that all tests attack."""
    command = [sys.executable, str(Path(__file__).with_name("hostile_proxy.py"))]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as child:
        assert child.stdin is not None
        assert child.stdout is not None
        told = json.loads(child.stdout.readline())
        yield Process(told["port"], told["kernels"], child.pid)
        child.stdin.close()
        assert child.wait(60) == 0


@attrs.define
class Person:
    """A front end that behaves."""

    connection: RawConnection
    asked: int = 0
    _answered: trio.Event = attrs.field(factory=trio.Event)

    async def answered(self, times: int) -> None:
        """Wait until it was answered so many times more."""
        enough = self.asked + times
        while self.asked < enough:
            await self._answered.wait()

    async def ask(self) -> None:
        """Ask the kernel something, and have its answer."""
        self.asked += 1
        identity = f"question-{uuid.uuid4().hex}"
        content = {"code": f"print({self.asked})", "silent": False, "store_history": False, "allow_stdin": False}
        await self.connection.send_frame(BINARY, v1_message("shell", "execute_request", content, number=identity))
        text = ""
        while True:
            told = await self.connection.read_message()
            assert told is not None
            _, header, content = told
            text += content["text"] if header["msg_type"] == "stream" else ""
            if header["msg_type"] == "execute_reply":
                assert content["status"] == "ok"
            if content.get("execution_state") == "idle" and text:
                assert text == f"{self.asked}\n"
                self._answered.set()
                self._answered = trio.Event()
                return


@asynccontextmanager
async def websocket(process: Process, kernel: int, *, used_before: bool = False) -> AsyncGenerator[RawConnection]:
    """Open a WebSocket to one of the kernels, on a connection that had another request before or not."""
    async with connect(process.port) as connection:
        if used_before:
            await connection.send(GET)
            await connection.read_answer()
        target = f"/api/kernels/{process.kernels[kernel]}/channels?session_id={uuid.uuid4().hex}"
        await connection.send(upgrade_bytes(target, AUTH))
        answer = await connection.read_answer()
        assert answer is not None
        assert answer[0] == 101
        yield connection


async def ask(process: Process, method: str, target: str) -> dict[str, Any]:
    async with connect(process.port) as connection:
        await connection.send(request_bytes(method, target, [*AUTH, *CLOSING]))
        answer = await connection.read_answer()
        assert answer is not None
        assert answer[0] == 200
        told: dict[str, Any] = json.loads(answer[2])
        return told


async def while_a_person_asks(process: Process, attack: Callable[[Person], Awaitable[object]]) -> None:
    """Attack while somebody else is served, who was there before; and serve somebody who comes afterwards."""
    with trio.fail_after(PATIENCE), process.bounded():
        async with websocket(process, 0) as connection:
            person = Person(connection)
            over = trio.Event()

            async def run() -> None:
                await attack(person)
                over.set()

            async with trio.open_nursery() as nursery:
                nursery.start_soon(run)
                while not over.is_set():
                    await person.ask()
            await person.ask()
        async with websocket(process, 0) as connection:
            await Person(connection).ask()
        while (await ask(process, "GET", "/api/status"))["connections"]:
            pass  # the process is asked until it has seen that they are gone


async def send(connection: RawConnection, steps: Sequence[Step], over: trio.Event) -> None:
    """Send all, as far as the other end takes it."""
    with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
        for step in steps:
            if isinstance(step, Flood):
                at_once = max(65_536 // len(step.data), 1)
                for start in range(0, step.times, at_once):
                    await connection.send(step.data * min(at_once, step.times - start))
            elif isinstance(step, Drip):
                await connection.send(step.first)
                while not over.is_set():
                    await connection.send(step.byte)
                    with trio.move_on_after(0.05):
                        await over.wait()
            else:
                await connection.send(step)


async def request(process: Process, steps: Sequence[Step]) -> tuple[int, ...]:
    """Do what a line of `HTTP` says; return the statuses of what was answered before the proxy hung up."""
    over = trio.Event()
    async with connect(process.port) as connection, trio.open_nursery() as nursery:
        nursery.start_soon(send, connection, steps, over)
        answer = await connection.read_rest()
        over.set()
    return tuple(int(part[:3]) for part in answer.split(b"HTTP/1.1 ")[1:])


async def frames(process: Process, steps: Sequence[Step], *, ends: bool, used_before: bool = False) -> int | None:
    """Do what a line of `WEBSOCKETS` says, and wait until the proxy hangs up if it does; return its close code."""
    code: int | None = None
    over = trio.Event()
    async with websocket(process, 1, used_before=used_before) as connection, trio.open_nursery() as nursery:

        async def read() -> None:
            nonlocal code
            while (frame := await connection.read_frame()) is not None:
                if frame.opcode == CLOSE:
                    assert code is None
                    code = int.from_bytes(frame.payload[:2], "big") if frame.payload else 1005
            over.set()

        nursery.start_soon(read)
        await send(connection, steps, over)
        if ends:
            await over.wait()
        nursery.cancel_scope.cancel()
    return code


async def test_requests_that_do_not_end_are_ended(process: Process) -> None:
    found: dict[str, tuple[int, ...]] = {}

    async def attack(_: Person) -> None:
        async def do(name: str, steps: Sequence[Step]) -> None:
            found[name] = await request(process, steps)

        async with trio.open_nursery() as nursery:
            for name, (steps, _) in HTTP.items():
                nursery.start_soon(do, name, steps)

    await while_a_person_asks(process, attack)
    assert found == {name: expected for name, (_, expected) in HTTP.items()}


@pytest.mark.parametrize("used_before", [False, True])
async def test_frames_that_are_wrong_end_their_own_websocket(process: Process, *, used_before: bool) -> None:
    found: dict[str, int | None] = {}

    async def attack(_: Person) -> None:
        async def do(name: str, steps: Sequence[Step], expected: int | None) -> None:
            found[name] = await frames(process, steps, ends=expected is not None, used_before=used_before)

        async with trio.open_nursery() as nursery:
            for name, (steps, expected) in WEBSOCKETS.items():
                nursery.start_soon(do, name, steps, expected)

    await while_a_person_asks(process, attack)
    assert found == {name: expected for name, (_, expected) in WEBSOCKETS.items()}


@pytest.mark.parametrize("name", FLOODS)
async def test_a_flood_over_a_websocket_is_borne(name: str, process: Process) -> None:
    found: list[int | None] = []

    async def attack(_: Person) -> None:
        found.append(await frames(process, FLOODS[name], ends=False))

    await while_a_person_asks(process, attack)
    assert found == [None]


@pytest.mark.parametrize("used_before", [False, True])
async def test_no_extension_is_spoken(process: Process, *, used_before: bool) -> None:
    """A compressed message may be a thousand times as large as what comes."""

    async def attack(_: Person) -> None:
        async with connect(process.port) as connection:
            if used_before:
                await connection.send(GET)
                await connection.read_answer()
            target = f"/api/kernels/{process.kernels[1]}/channels"
            await connection.send(upgrade_bytes(target, [*AUTH, ("Sec-WebSocket-Extensions", "permessage-deflate")]))
            answer = await connection.read_answer()
            assert answer is not None
            assert answer[0] == 101
            assert "sec-websocket-extensions" not in {name.lower() for name, _ in answer[1]}

    await while_a_person_asks(process, attack)


async def test_what_a_front_end_does_not_read_is_not_kept(process: Process) -> None:
    """Requests and pings without end, whose answers nobody takes: until the proxy takes no more of them."""

    async def attack(person: Person) -> None:
        async with connect(process.port) as requests, websocket(process, 1) as pinging, trio.open_nursery() as nursery:
            nursery.start_soon(send, requests, [Flood(GET, 500_000)], trio.Event())
            nursery.start_soon(send, pinging, [Flood(masked(PING, b"x" * 125), 500_000)], trio.Event())
            await person.answered(20)
            nursery.cancel_scope.cancel()

    await while_a_person_asks(process, attack)


@pytest.fixture
def many_files() -> Generator[None]:
    """Room for the attacker's sockets."""
    import resource

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MANY + 300
    if hard != resource.RLIM_INFINITY and hard < wanted:
        pytest.skip(f"only {hard} files may be open here: raise `ulimit -Hn` to {wanted}")
    resource.setrlimit(resource.RLIMIT_NOFILE, (wanted if 0 <= soft < wanted else soft, hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(
    "sent",
    [
        pytest.param(b"", id="silent"),
        pytest.param(GET[:-2], id="half", marks=pytest.mark.full),
        pytest.param(request_bytes("GET", "/api/status"), id="refused", marks=pytest.mark.full),
    ],
)
async def test_connections_that_ask_for_nothing_make_room_for_others(sent: bytes, process: Process, many_files: None) -> None:
    """More of them than the proxy may have files. They end by themselves, too."""
    assert MANY > FILES

    async def attack(_: Person) -> None:
        there = 0
        all_there = trio.Event()

        async def come() -> None:
            nonlocal there
            async with connect(process.port) as connection:
                there += 1
                if there == MANY:
                    all_there.set()
                with suppress(trio.BrokenResourceError):
                    await connection.send(sent)
                await connection.read_rest()  # until the proxy hangs up

        async with trio.open_nursery() as nursery:
            for _ in range(MANY):
                nursery.start_soon(come)
            await all_there.wait()
            async with websocket(process, 1) as connection:
                await Person(connection).ask()

    await while_a_person_asks(process, attack)
