"""A hostile gateway and a hostile front end: bytes on sockets, written by hand, without any library of ours or another's.

The one idea: what a library would refuse to send is what is to be sent. So here is no h11, no wsproto and no codec: requests and
frames are joined and cut with nothing but `bytes`. Where an attack says nothing, the gateway behaves: one line of a table can
break one thing.

What an attack cost is measured without a clock: in bytes that were allocated at most (`tracemalloc`) and in calls that were made
(`sys.setprofile`), by the client and the peer together. So build what is sent before the measuring begins.
"""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
import re
import sys
import tracemalloc
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import Any, TypeAlias

import attrs
import trio
import trio.abc

from trio_gateway._services import open_services

__all__ = [
    "BINARY",
    "CLOSE",
    "CONTINUATION",
    "KERNEL",
    "KERNEL_ID",
    "PID",
    "PING",
    "PONG",
    "SESSION",
    "TEXT",
    "TOKEN",
    "V1",
    "Cost",
    "Frame",
    "HostileGateway",
    "Pairs",
    "RawConnection",
    "RawRequest",
    "answer_bytes",
    "connect",
    "frame_bytes",
    "json_answer",
    "legacy_message",
    "measured",
    "open_hostile_gateway",
    "request_bytes",
    "v1_frame",
    "v1_message",
]

V1 = "v1.kernel.websocket.jupyter.org"
TOKEN = "token-of-the-hostile-gateway"
KERNEL_ID = "11111111-2222-4333-8444-555555555555"
SESSION = "kernelsession"
PID = 4711

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10

Pairs: TypeAlias = Sequence[tuple[str, str]]


# ---------------------------------------------------------------------------------------------------------------- HTTP


def request_bytes(method: str, target: str, headers: Pairs = (), body: bytes = b"", *, host: str = "127.0.0.1") -> bytes:
    """Return a request. Its length is told only where there is a body."""
    lines = [f"{method} {target} HTTP/1.1", f"Host: {host}", *[f"{name}: {value}" for name, value in headers]]
    if body:
        lines.append(f"Content-Length: {len(body)}")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def upgrade_bytes(target: str, headers: Pairs = (), *, subprotocols: str = V1, host: str = "127.0.0.1") -> bytes:
    """Return a request for a WebSocket."""
    key = base64.b64encode(os.urandom(16)).decode()
    upgrade = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Version", "13"), ("Sec-WebSocket-Key", key)]
    offered = [("Sec-WebSocket-Protocol", subprotocols)] if subprotocols else []
    return request_bytes("GET", target, [*upgrade, *offered, *headers], host=host)


def answer_bytes(status: int, body: bytes = b"", headers: Pairs = (), *, reason: str = "Whatever") -> bytes:
    """Return an answer with the length of its body."""
    lines = [f"HTTP/1.1 {status} {reason}", *[f"{name}: {value}" for name, value in headers], f"Content-Length: {len(body)}"]
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


def json_answer(value: object, status: int = 200) -> bytes:
    """Return an answer in JSON; bytes are taken for JSON as they are."""
    body = value if isinstance(value, bytes) else json.dumps(value).encode()
    return answer_bytes(status, body, [("Content-Type", "application/json")])


@attrs.frozen
class RawRequest:
    """A request as it came."""

    method: str
    target: str
    headers: Pairs
    body: bytes = attrs.field(repr=lambda body: f"{len(body)} bytes")

    @property
    def path(self) -> str:
        """The target without its query."""
        return self.target.partition("?")[0]

    def header(self, name: str) -> str:
        """Return a header's value; `""` where it is not there."""
        return next((value for key, value in self.headers if key.lower() == name.lower()), "")

    @property
    def wants_websocket(self) -> bool:
        """Whether it asks for a WebSocket."""
        return self.header("Upgrade").lower() == "websocket"


# ------------------------------------------------------------------------------------------------------------ WebSocket


@attrs.frozen
class Frame:
    """One frame, unmasked."""

    opcode: int
    payload: bytes
    fin: bool = True


def frame_bytes(opcode: int, payload: bytes = b"", *, fin: bool = True, mask: bytes = b"", length: int | None = None) -> bytes:
    """Return a frame.

    Args:
        opcode: which kind.
        payload: what is in it.
        fin: whether the message ends with it.
        mask: a client's four bytes; a server masks nothing.
        length: what its head says, where that is not how long the payload is.
    """
    said = len(payload) if length is None else length
    first = bytes([(0x80 if fin else 0) | opcode])
    bit = 0x80 if mask else 0
    if said < 126:
        head = first + bytes([bit | said])
    elif said < 1 << 16:
        head = first + bytes([bit | 126]) + said.to_bytes(2, "big")
    else:
        head = first + bytes([bit | 127]) + said.to_bytes(8, "big")
    if mask:
        repeated = (mask * (len(payload) // 4 + 1))[: len(payload)]
        payload = (int.from_bytes(payload, "big") ^ int.from_bytes(repeated, "big")).to_bytes(len(payload), "big")
    return head + mask + payload


def v1_frame(parts: Sequence[bytes]) -> bytes:
    """Return the payload of a v1 frame: channel, header, parent header, metadata, content, buffers."""
    offsets = [8 * (len(parts) + 2)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    table = b"".join([number.to_bytes(8, "little") for number in (len(offsets), *offsets)])
    return table + b"".join(parts)


def _header(kind: str, number: int | str, session: str) -> dict[str, Any]:
    identity = f"{session}_{PID}_{number}" if isinstance(number, int) else number
    return {
        "msg_id": identity,
        "msg_type": kind,
        "session": session,
        "username": "kernel",
        "date": "2026-01-01T00:00:00Z",
        "version": "5.4",
    }


def v1_message(
    channel: str,
    kind: str,
    content: object,
    *,
    parent: Mapping[str, Any] | None = None,
    number: int | str = 0,
    session: str = SESSION,
    buffers: Sequence[bytes] = (),
) -> bytes:
    """Return a kernel's message as the payload of a v1 frame. Bytes are taken for JSON as they are.

    Args:
        channel: where it comes.
        kind: its type.
        content: its content.
        parent: the header that it answers.
        number: the kernel's number of it, or a whole `msg_id`.
        session: the kernel's session.
        buffers: its buffers.
    """
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    header, above = json.dumps(_header(kind, number, session)).encode(), json.dumps(dict(parent or {})).encode()
    return v1_frame([channel.encode(), header, above, b"{}", body, *buffers])


def legacy_message(
    channel: str, kind: str, content: object, *, parent: Mapping[str, Any] | None = None, number: int | str = 0
) -> bytes:
    """Return a kernel's message in the legacy framing, as text."""
    header = _header(kind, number, SESSION)
    fields = {"channel": channel, "header": header, "parent_header": dict(parent or {}), "metadata": {}, "content": content}
    return json.dumps({**fields, "msg_id": header["msg_id"], "msg_type": kind, "buffers": []}).encode()


# ----------------------------------------------------------------------------------------------------------- connections


class RawConnection:
    """One end of a connection, whichever: bytes go out as they are given, and what comes in is cut without being believed."""

    def __init__(self, stream: trio.abc.Stream, *, masks: bool = False) -> None:
        self.stream = stream
        self.masks = masks
        """Whether its frames are masked, as a client's are."""
        self._data = bytearray()
        self._number = 0

    async def send(self, data: bytes, times: int = 1) -> None:
        """Send bytes, again and again if that is wanted."""
        for _ in range(times):
            await self.stream.send_all(data)

    async def send_frame(self, opcode: int, payload: bytes = b"", *, fin: bool = True) -> None:
        """Send one frame."""
        await self.send(frame_bytes(opcode, payload, fin=fin, mask=b"mask" if self.masks else b""))

    async def more(self) -> bool:
        """Wait for more bytes; say whether any came before the end."""
        try:
            data = await self.stream.receive_some(65_536)
        except (trio.BrokenResourceError, trio.ClosedResourceError):
            return False
        self._data += data
        return bool(data)

    async def read_until(self, end: bytes) -> bytes | None:
        """Read up to and with some bytes; None where the connection ended before."""
        while end not in self._data:
            if not await self.more():
                return None
        at = self._data.index(end) + len(end)
        return self._take(at)

    async def read_exactly(self, count: int) -> bytes | None:
        """Read so many bytes; None where the connection ended before."""
        while len(self._data) < count:
            if not await self.more():
                return None
        return self._take(count)

    async def read_rest(self) -> bytes:
        """Read until the other end hangs up; return all of it."""
        while await self.more():
            pass
        return self._take(len(self._data))

    def _take(self, count: int) -> bytes:
        taken = bytes(self._data[:count])
        del self._data[:count]
        return taken

    async def read_request(self) -> RawRequest | None:
        """Read a request; None where the connection ended before."""
        head = await self.read_until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        method, target, _ = first.split(" ", 2)
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        request = RawRequest(method, target, headers, b"")
        body = await self.read_exactly(int(request.header("Content-Length") or 0))
        return None if body is None else attrs.evolve(request, body=body)

    async def read_answer(self) -> tuple[int, Pairs, bytes] | None:
        """Read an answer: status, headers, and as much of a body as its length says, else all until the end."""
        head = await self.read_until(b"\r\n\r\n")
        if head is None:
            return None
        first, *lines = head.decode("latin-1").split("\r\n")[:-2]
        headers = [(name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        length = next((value for name, value in headers if name.lower() == "content-length"), None)
        status = int(first.split(" ")[1])
        if status in (101, 204, 304):
            return status, headers, b""
        body = await (self.read_rest() if length is None else self.read_exactly(int(length)))
        return status, headers, body or b""

    async def accept(self, request: RawRequest, *, subprotocol: str | None = V1, headers: Pairs = ()) -> None:
        """Take a request for a WebSocket."""
        proof = hashlib.sha1((request.header("Sec-WebSocket-Key") + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11").encode()).digest()
        chosen = [] if subprotocol is None else [("Sec-WebSocket-Protocol", subprotocol)]
        fixed = [("Upgrade", "websocket"), ("Connection", "Upgrade"), ("Sec-WebSocket-Accept", base64.b64encode(proof).decode())]
        lines = ["HTTP/1.1 101 Switching Protocols", *[f"{name}: {value}" for name, value in [*fixed, *chosen, *headers]]]
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1"))

    async def read_frame(self) -> Frame | None:
        """Read a frame; None where the connection ended before."""
        head = await self.read_exactly(2)
        if head is None:
            return None
        length = head[1] & 0x7F
        if length >= 126:
            more = await self.read_exactly(2 if length == 126 else 8)
            if more is None:
                return None
            length = int.from_bytes(more, "big")
        key = await self.read_exactly(4) if head[1] & 0x80 else b""
        payload = await self.read_exactly(length)
        if key is None or payload is None:
            return None
        if key:
            payload = frame_bytes(BINARY, payload, mask=key)[-length:] if length else b""
        return Frame(head[0] & 0x0F, payload, bool(head[0] & 0x80))

    async def read_message(self) -> tuple[str, dict[str, Any], dict[str, Any]] | None:
        """Read until a Jupyter message comes; return channel, header and content. Pings are answered. None at the end."""
        while (frame := await self.read_frame()) is not None:
            if frame.opcode == CLOSE:
                return None
            if frame.opcode == PING:
                await self.send_frame(PONG, frame.payload)
            elif frame.opcode == TEXT:
                fields = json.loads(frame.payload)
                return fields["channel"], fields["header"], fields["content"]
            elif frame.opcode == BINARY:
                count = int.from_bytes(frame.payload[:8], "little")
                at = [int.from_bytes(frame.payload[8 + 8 * i : 16 + 8 * i], "little") for i in range(count)]
                parts = [frame.payload[a:b] for a, b in itertools.pairwise(at)]
                return parts[0].decode(), json.loads(parts[1]), json.loads(parts[4])
        return None

    def message(self, channel: str, kind: str, content: object, **rest: Any) -> bytes:
        """Return a whole frame with a kernel's message, which has the kernel's next number; see `v1_message`."""
        if "number" not in rest:
            self._number += 1
            rest["number"] = self._number
        return frame_bytes(BINARY, v1_message(channel, kind, content, **rest))

    def skip_number(self) -> None:
        """Use a number of the kernel's for something that is not seen here."""
        self._number += 1

    async def say(self, channel: str, kind: str, content: object, **rest: Any) -> None:
        """Send what `message` returns."""
        await self.send(self.message(channel, kind, content, **rest))

    async def answer_execution(self, header: Mapping[str, Any], text: str = "") -> None:
        """Say what a kernel says when it runs code, well behaved."""
        await self.say("iopub", "status", {"execution_state": "busy"}, parent=header)
        await self.say("iopub", "execute_input", {"code": "", "execution_count": 1}, parent=header)
        if text:
            await self.say("iopub", "stream", {"name": "stdout", "text": text}, parent=header)
        reply = {"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}
        await self.say("shell", "execute_reply", reply, parent=header)
        await self.say("iopub", "status", {"execution_state": "idle"}, parent=header)

    async def answer_message(self, channel: str, header: Mapping[str, Any], content: Mapping[str, Any]) -> None:
        """Answer one message as a well behaved kernel."""
        if header["msg_type"] == "execute_request":
            await self.answer_execution(header, f"{content['code']}\n")
        elif header["msg_type"].endswith("_request"):
            await self.say("iopub", "status", {"execution_state": "busy"}, parent=header)
            reply = header["msg_type"].replace("_request", "_reply")
            await self.say(channel, reply, {"status": "ok"}, parent=header)
            await self.say("iopub", "status", {"execution_state": "idle"}, parent=header)

    async def answer_messages(self) -> None:
        """Be a well behaved kernel until the client goes."""
        while (message := await self.read_message()) is not None:
            await self.answer_message(*message)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            await self.send_frame(CLOSE, (1000).to_bytes(2, "big"))


# ---------------------------------------------------------------------------------------------------------- the gateway


KERNEL = {
    "id": KERNEL_ID,
    "name": "python3",
    "last_activity": "2026-01-01T00:00:00Z",
    "execution_state": "idle",
    "connections": 0,
}
SPEC = {
    "argv": ["python3"],
    "env": {},
    "display_name": "Python 3",
    "language": "python",
    "interrupt_mode": "signal",
    "metadata": {},
}
SPECS = {"default": "python3", "kernelspecs": {"python3": {"name": "python3", "spec": SPEC, "resources": {}}}}

Handler: TypeAlias = Callable[[RawConnection, RawRequest], Awaitable[object]]
"""What does with a request as it likes."""


@attrs.define
class HostileGateway:
    """A gateway that behaves but for what its attack says. Made by `open_hostile_gateway`."""

    url: str = ""
    answers: dict[str, bytes | Handler] = attrs.field(factory=dict)
    """What is done instead, by `"METHOD path"`, a regular expression such as `"GET .*/channels"`; bytes are sent."""
    requests: list[RawRequest] = attrs.field(factory=list)
    """What came, in order."""

    async def serve(self, stream: trio.abc.Stream) -> None:
        """Serve one connection."""
        connection = RawConnection(stream)
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async with stream:
                while (request := await connection.read_request()) is not None:
                    self.requests.append(request)
                    await self._answer(connection, request)
                    if request.wants_websocket:
                        return

    async def _answer(self, connection: RawConnection, request: RawRequest) -> None:
        asked = f"{request.method} {request.path}"
        for pattern, answer in self.answers.items():
            if re.fullmatch(pattern, asked):
                if isinstance(answer, bytes):
                    await connection.send(answer)
                else:
                    await answer(connection, request)
                return
        if request.wants_websocket:
            await connection.accept(request)
            await connection.answer_messages()
        else:
            await connection.send(_ordinary(request))


def _ordinary(request: RawRequest) -> bytes:
    match (request.method, *request.path.strip("/").split("/")):
        case ("GET", "api"):
            return json_answer({"version": "2.21.1"})
        case ("GET", "api", "kernelspecs"):
            return json_answer(SPECS)
        case ("GET", "api", "kernelspecs", _):
            return json_answer(SPECS["kernelspecs"]["python3"])
        case ("GET", "api", "kernels"):
            return json_answer([KERNEL])
        case ("POST", "api", "kernels"):
            wished = json.loads(request.body).get("kernel_id") or KERNEL_ID
            return json_answer({**KERNEL, "id": wished}, 201)
        case ("GET", "api", "kernels", kernel_id):
            return json_answer({**KERNEL, "id": kernel_id})
        case ("DELETE", "api", "kernels", _):
            return answer_bytes(204)
        case ("POST", "api", "kernels", _, "interrupt"):
            return answer_bytes(204)
        case ("POST", "api", "kernels", kernel_id, "restart"):
            return json_answer({**KERNEL, "id": kernel_id})
        case ("GET", "api", "sessions"):
            return json_answer([])
        case _:
            return json_answer({"reason": "Not Found", "message": ""}, 404)


@asynccontextmanager
async def open_hostile_gateway(answers: Mapping[str, bytes | Handler] | None = None) -> AsyncGenerator[HostileGateway]:
    """Listen on loopback; see `HostileGateway.answers` for what can be done instead of what a gateway does."""
    gateway = HostileGateway(answers=dict(answers or {}))
    async with open_services() as services:
        listeners = await trio.open_tcp_listeners(0, host="127.0.0.1")
        gateway.url = f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"

        async def serve() -> None:
            await trio.serve_listeners(gateway.serve, listeners)

        services.start_soon(serve, name="hostile_gateway")
        yield gateway


@asynccontextmanager
async def connect(port: int) -> AsyncGenerator[RawConnection]:
    """Connect to a server on loopback as a client whose frames are masked."""
    async with await trio.open_tcp_stream("127.0.0.1", port) as stream:
        yield RawConnection(stream, masks=True)


# ------------------------------------------------------------------------------------------------------------- measuring


@attrs.define
class Cost:
    """What something cost, as far as it is known."""

    peak: int = 0
    """The most bytes that were allocated at a time, beyond those that were there before."""
    calls: int = 0
    """How many functions and generators were entered and how many routines in C were called."""


@contextmanager
def measured(*, memory: bool = True, calls: bool = True) -> Generator[Cost]:
    """Measure what the block costs, in this thread; no clock is looked at. To count calls makes tracing slow: give it little."""
    cost = Cost()

    def count(frame: object, event: str, argument: object) -> None:
        del frame, argument
        if event in ("call", "c_call"):
            cost.calls += 1

    if memory:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
    else:
        before = 0
    if calls:
        sys.setprofile(count)
    try:
        yield cost
    finally:
        sys.setprofile(None)
        if memory:
            cost.peak = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.stop()
