"""A gateway that answers faster than any client can ask, so that what is measured is the client.

The one idea: nothing is computed that can be kept. It has no kernels: code whose first line is `# bench: …` names the answer, and
the answer's bytes lie ready but for the request's header and the message's number. It speaks both framings, and knows as much
HTTP as starting and ending kernels takes. It runs on uvloop where that is installed, else on asyncio.

It is no server to learn from: it trusts its clients, and of a large message it looks only at the beginning.

It prints its addresses as a line of JSON, and ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import base64
import hashlib
import json
import os
import re
import socket
import struct
import sys
import threading
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, Final, cast
from urllib.parse import unquote

V1: Final = "v1.kernel.websocket.jupyter.org"
GUID: Final = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
DATE: Final = "2026-01-01T00:00:00.000000Z"
SLOW_LAUNCH: Final = 0.5
"""How long the kernelspec "slow" takes to launch a kernel, in seconds, however many are launched at once."""
HEAD: Final = 4096
"""How much of a request's beginning is looked at, in bytes."""
BATCH: Final = 256
"""How many messages of a flood are written at once."""

_SPEC: Final = {
    "argv": ["python"],
    "env": {},
    "display_name": "Bench",
    "language": "python",
    "interrupt_mode": "signal",
    "metadata": {},
}
_SPECS: Final = {name: {"name": name, "spec": _SPEC, "resources": {}} for name in ("python3", "slow")}
_KERNEL_INFO: Final = json.dumps(
    {
        "status": "ok",
        "protocol_version": "5.4",
        "implementation": "bench",
        "implementation_version": "1",
        "language_info": {"name": "python", "version": "3", "mimetype": "text/x-python", "file_extension": ".py"},
        "banner": "",
        "help_links": [],
        "supported_features": [],
    }
).encode()
_HEADER = re.compile(rb'"header":\s*(\{[^{}]*\})')
_TYPE = re.compile(rb'"msg_type":\s*"([a-z_]+)"')
_CODE = re.compile(rb'"code":\s*"((?:[^"\\]|\\[^n])*)')
_CHANNEL = re.compile(rb'"channel":\s*"([a-z]+)"')
_COMM = re.compile(rb'"comm_id":\s*"([^"]+)"')
_NUMBER: Final = b"@@NUMBER"  # as long as eight digits
_shared = memoryview(bytearray(1024 * 1024))
_texts: dict[int, bytes] = {}
_binaries: dict[int, bytes] = {}


def text_of(size: int) -> bytes:
    """Return that many characters of text as the inside of a JSON string: lines of 80, each with its escaped line feed."""
    if size not in _texts:
        line = b"x" * 79 + b"\\n"
        _texts[size] = line * (size // 80) + b"x" * (size % 80)
    return _texts[size]


def _ws_header(opcode: int, size: int) -> bytes:
    if size < 126:
        return bytes((0x80 | opcode, size))
    if size < 65536:
        return struct.pack(">BBH", 0x80 | opcode, 126, size)
    return struct.pack(">BBQ", 0x80 | opcode, 127, size)


def _unmask(data: bytes, mask: bytes) -> bytes:
    size = len(data)
    key = (mask * (size // 4 + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(key, "little")).to_bytes(size, "little")


def frame_v1(
    channel: bytes, header: bytes, parent: bytes, content: tuple[bytes, ...], buffers: tuple[bytes, ...] = ()
) -> list[bytes]:
    """Return a message in the v1 framing, in pieces that are not copied."""
    sizes = [len(channel), len(header), len(parent), 2, sum(map(len, content)), *map(len, buffers)]
    at = 8 * (len(sizes) + 2)
    offsets = [at]
    for size in sizes:
        at += size
        offsets.append(at)
    table = struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets)
    return [_ws_header(2, at) + table + channel + header + parent + b"{}", *content, *buffers]


def frame_legacy(
    channel: bytes, header: bytes, parent: bytes, content: tuple[bytes, ...], buffers: tuple[bytes, ...] = ()
) -> list[bytes]:
    """Return a message in the legacy framing, in pieces that are not copied."""
    found = _TYPE.search(header)
    kind = b"" if found is None else found[1]
    number = header[header.index(b'"msg_id": "') + 11 :].partition(b'"')[0]
    before = b'{"header": %b, "msg_id": "%b", "msg_type": "%b", "parent_header": %b, "metadata": {}, "content": ' % (
        header,
        number,
        kind,
        parent,
    )
    after = b', "buffers": [], "channel": "%b"}' % channel
    size = len(before) + sum(map(len, content)) + len(after)
    if not buffers:
        return [_ws_header(1, size) + before, *content, after]
    at = 4 * (len(buffers) + 2)
    offsets = [at]
    at += size
    for buffer in buffers:
        offsets.append(at)
        at += len(buffer)
    table = struct.pack(f">{len(offsets) + 1}I", len(offsets), *offsets)
    return [_ws_header(2, at) + table + before, *content, after, *buffers]


class Kernel:
    """What there is of a kernel: its id, its name and how many messages it has sent."""

    def __init__(self, kernel_id: str, name: str) -> None:
        self.id = kernel_id
        self.name = name
        self.sent = 0
        self.connections = 0
        self.session = os.urandom(8).hex()

    def model(self) -> dict[str, Any]:
        return {
            "id": self.id,
            "name": self.name,
            "last_activity": DATE,
            "execution_state": "idle",
            "connections": self.connections,
        }


class Connection(asyncio.BufferedProtocol):
    """One connection: HTTP first, then perhaps a WebSocket."""

    def __init__(self, kernels: dict[str, Kernel], *, v1: bool) -> None:
        self.kernels = kernels
        self.offer_v1 = v1
        self.v1 = False
        self.tail = b""
        self.kernel: Kernel | None = None
        self.big: bytearray | None = None
        self.big_at = 0
        self.big_mask = b""
        self.flood: Iterator[bytes] | None = None
        self.paused = False
        self.busy = False

    # Bytes ----------------------------------------------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast("asyncio.Transport", transport)
        self.loop = asyncio.get_running_loop()
        self.transport.set_write_buffer_limits(high=8 * 1024 * 1024)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - asyncio's name
        self.flood = None
        if self.kernel is not None:
            self.kernel.connections -= 1

    def pause_writing(self) -> None:
        self.paused = True

    def resume_writing(self) -> None:
        self.paused = False
        if self.flood is not None:
            self._pour()

    def get_buffer(self, sizehint: int) -> memoryview:  # noqa: ARG002 - asyncio's name
        return _shared if self.big is None else memoryview(self.big)[self.big_at :]

    def buffer_updated(self, nbytes: int) -> None:
        if self.big is not None:
            self.big_at += nbytes
            if self.big_at == len(self.big):
                big, self.big = self.big, None
                self._request(bytes(memoryview(big)[:HEAD]), self.big_mask, big)
            return
        data = self.tail + bytes(_shared[:nbytes])
        self.tail = b""
        if self.kernel is not None:
            self._frames(data)
        else:
            self._http_requests(data)

    # HTTP -----------------------------------------------------------------------------------------------------------

    def _http_requests(self, data: bytes) -> None:
        """Answer what is there. After an upgrade nothing more is: a client waits for the answer."""
        while data and not self.busy:
            head, found, rest = data.partition(b"\r\n\r\n")
            if not found:
                break
            lines = head.decode("latin-1").split("\r\n")
            method, target, _ = lines[0].split(" ", 2)
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}
            length = int(headers.get("content-length", "0"))
            if len(rest) < length:
                break
            body, data = rest[:length], rest[length:]
            path = unquote(target.partition("?")[0])
            if headers.get("upgrade", "").lower() == "websocket":
                self.tail = b""
                self._upgrade(path, headers)
                return
            self._answer(method, path, body, close=headers.get("connection", "").lower() == "close")
        self.tail = data

    def _respond(self, status: str, value: object = None, *, close: bool = False, location: str = "") -> None:
        body = b"" if status.startswith("204") else json.dumps(value).encode()
        head = f"HTTP/1.1 {status}\r\nContent-Length: {len(body)}\r\n"
        if body:
            head += "Content-Type: application/json\r\n"
        if location:
            head += f"Location: {location}\r\n"
        if close:
            head += "Connection: close\r\n"
        self.transport.write(head.encode() + b"\r\n" + body)
        if close:
            self.transport.close()

    def _answer(self, method: str, path: str, body: bytes, *, close: bool) -> None:
        parts = path.strip("/").split("/")
        kernel = self.kernels.get(parts[2]) if len(parts) > 2 and parts[1] == "kernels" else None
        match method, parts:
            case "GET", ["api"]:
                self._respond("200 OK", {"version": "2.21.1"}, close=close)
            case "GET", ["api", "kernelspecs"]:
                self._respond("200 OK", {"default": "python3", "kernelspecs": _SPECS}, close=close)
            case "GET", ["api", "kernelspecs", name] if name in _SPECS:
                self._respond("200 OK", _SPECS[name], close=close)
            case "GET", ["api", "kernels"]:
                self._respond("200 OK", [each.model() for each in self.kernels.values()], close=close)
            case "POST", ["api", "kernels"]:
                asked = json.loads(body or b"{}")
                made = Kernel(asked.get("kernel_id") or str(_uuid()), asked.get("name") or "python3")
                self.kernels[made.id] = made
                location = f"/api/kernels/{made.id}"
                if made.name != "slow":
                    self._respond("201 Created", made.model(), close=close, location=location)
                    return
                self.busy = True

                def later() -> None:
                    self.busy = False
                    self._respond("201 Created", made.model(), close=close, location=location)
                    if self.tail:
                        self._http_requests(self.tail)

                self.loop.call_later(SLOW_LAUNCH, later)
            case "GET", ["api", "kernels", _] if kernel is not None:
                self._respond("200 OK", kernel.model(), close=close)
            case "DELETE", ["api", "kernels", _] if kernel is not None:
                del self.kernels[kernel.id]
                self._respond("204 No Content", close=close)
            case "POST", ["api", "kernels", _, "interrupt"] if kernel is not None:
                self._respond("204 No Content", close=close)
            case "POST", ["api", "kernels", _, "restart"] if kernel is not None:
                self._respond("200 OK", kernel.model(), close=close)
            case _:
                self._respond("404 Not Found", {"reason": "Not Found", "message": path}, close=close)

    def _upgrade(self, path: str, headers: dict[str, str]) -> None:
        parts = path.strip("/").split("/")
        kernel = self.kernels.get(parts[2]) if len(parts) == 4 and parts[3] == "channels" else None
        if kernel is None:
            self._respond("404 Not Found", {"reason": "Not Found", "message": path}, close=True)
            return
        accept = base64.b64encode(hashlib.sha1((headers["sec-websocket-key"] + GUID).encode()).digest()).decode()
        self.v1 = self.offer_v1 and V1 in [each.strip() for each in headers.get("sec-websocket-protocol", "").split(",")]
        chosen = f"Sec-WebSocket-Protocol: {V1}\r\n" if self.v1 else ""
        kernel.connections += 1
        self.kernel = kernel
        self.transport.write(
            (
                "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
                f"Sec-WebSocket-Accept: {accept}\r\n{chosen}\r\n"
            ).encode()
        )

    # Frames ---------------------------------------------------------------------------------------------------------

    def _frames(self, data: bytes) -> None:
        at, end = 0, len(data)
        while end - at >= 6:
            first, second = data[at], data[at + 1]
            length = second & 127
            start = at + 2
            if length == 126:
                if end - at < 8:
                    break
                (length,) = struct.unpack_from(">H", data, start)
                start += 2
            elif length == 127:
                if end - at < 14:
                    break
                (length,) = struct.unpack_from(">Q", data, start)
                start += 8
            if not second & 128 or not first & 128:
                raise ValueError("a client's frame must be masked, and whole")
            mask = data[start : start + 4]
            start += 4
            if end - start < length:
                if length > len(_shared):
                    self.big = bytearray(length)
                    self.big_mask = mask
                    self.big[: end - start] = data[start:]
                    self.big_at = end - start
                    self.tail = b""
                    return
                break
            payload = data[start : start + length]
            at = start + length
            opcode = first & 15
            if opcode in (1, 2):
                self._request(payload[:HEAD], mask, payload)
            elif opcode == 9:
                self.transport.write(_ws_header(10, length) + _unmask(payload, mask))
            elif opcode == 8:
                self.transport.write(_ws_header(8, length) + _unmask(payload, mask))
                self.transport.close()
                return
            elif opcode == 0:
                raise ValueError("a message in fragments is more than this server understands")
        self.tail = data[at:]

    def _request(self, head: bytes, mask: bytes, payload: bytes | bytearray) -> None:
        head = _unmask(head, mask)
        if self.v1:
            (count,) = struct.unpack_from("<Q", head)
            offsets = struct.unpack_from(f"<{count}Q", head, 8)
            if offsets[-1] != len(payload):
                raise ValueError("a v1 frame must end where its table says")
            channel = head[offsets[0] : offsets[1]]
            header = head[offsets[1] : offsets[2]]
            content = head[offsets[4] :]
        else:
            found = _HEADER.search(head)
            if found is None:  # something large comes before it
                head = _unmask(bytes(payload), mask)
                found = _HEADER.search(head)
                assert found is not None
            header = found[1]
            content = head
            named = _CHANNEL.search(head)
            channel = named[1] if named is not None else b"shell"
        kind = _TYPE.search(header)
        assert kind is not None
        self._serve(kind[1], channel, header, content, len(payload))

    # Answers --------------------------------------------------------------------------------------------------------

    def _message(
        self, channel: bytes, kind: bytes, parent: bytes, *content: bytes, buffers: tuple[bytes, ...] = (), number: bytes = b""
    ) -> list[bytes]:
        kernel = self.kernel
        assert kernel is not None
        if not number:
            kernel.sent += 1
            number = b"%08d" % kernel.sent
        session = kernel.session.encode()
        header = (
            b'{"msg_id": "%b_1_%b", "msg_type": "%b", "username": "bench", "session": "%b", "date": "%b", "version": "5.4"}'
            % (session, number, kind, session, DATE.encode())
        )
        return (frame_v1 if self.v1 else frame_legacy)(channel, header, parent, content, buffers)

    def _serve(self, kind: bytes, channel: bytes, parent: bytes, content: bytes, size: int) -> None:
        out: list[bytes] = self._message(b"iopub", b"status", parent, b'{"execution_state": "busy"}')
        if kind == b"execute_request":
            found = _CODE.search(content)
            line = b"" if found is None else found[1]
            out += self._message(b"iopub", b"execute_input", parent, b'{"code": "", "execution_count": 1}')
            if line == b"1 + 1":
                out += self._message(
                    b"iopub", b"execute_result", parent, b'{"data": {"text/plain": "2"}, "metadata": {}, "execution_count": 1}'
                )
            elif line.startswith(b"# bench: "):
                words = line.split()[2:]
                if self._perform(words[0].decode(), [float(word) for word in words[1:]], parent, out, size):
                    return
            out += self._end(parent)
        elif kind == b"kernel_info_request":
            out += self._message(channel, b"kernel_info_reply", parent, _KERNEL_INFO)
            out += self._idle(parent)
        elif kind == b"comm_msg":
            named = _COMM.search(content)
            assert named is not None
            told = b'{"comm_id": "%b", "data": {"size": %d}}' % (named[1], size)
            out += self._message(b"iopub", b"comm_msg", parent, told)
            out += self._idle(parent)
        elif kind.endswith(b"_request"):
            if kind == b"shutdown_request" and self.kernel is not None:
                self.kernels.pop(self.kernel.id, None)
            out += self._message(channel, kind.removesuffix(b"request") + b"reply", parent, b'{"status": "ok"}')
            out += self._idle(parent)
        else:
            out += self._idle(parent)
        self.transport.write(b"".join(out))

    def _idle(self, parent: bytes) -> list[bytes]:
        return self._message(b"iopub", b"status", parent, b'{"execution_state": "idle"}')

    def _end(self, parent: bytes) -> list[bytes]:
        reply = b'{"status": "ok", "execution_count": 1, "user_expressions": {}, "payload": []}'
        return self._message(b"shell", b"execute_reply", parent, reply) + self._idle(parent)

    def _perform(self, what: str, numbers: list[float], parent: bytes, out: list[bytes], size: int) -> bool:
        """Do what the code's first line says; say whether the execution's end is seen to."""
        kernel = self.kernel
        assert kernel is not None
        if what == "print":  # COUNT messages of SIZE characters
            count, length = int(numbers[0]), int(numbers[1])
            self.transport.write(b"".join(out))
            self.flood = self._flood(count, length, parent)
            self._pour()
            return True
        if what == "text":
            out += self._message(b"iopub", b"stream", parent, b'{"name": "stdout", "text": "', text_of(int(numbers[0])), b'"}')
            # Large pieces as they are: joining them would copy.
            for piece in out:
                self.transport.write(piece)
            out.clear()
        elif what == "buffer":
            binary = _binaries.setdefault(int(numbers[0]), bytes(int(numbers[0])))
            shown = b'{"data": {"text/plain": "a buffer"}, "metadata": {}, "transient": {}}'
            out += self._message(b"iopub", b"display_data", parent, shown, buffers=(binary,))
            for piece in out:
                self.transport.write(piece)
            out.clear()
        elif what == "length":  # of the request
            out += self._message(b"iopub", b"stream", parent, b'{"name": "stdout", "text": "%d"}' % size)
        elif what == "sleep":
            self.transport.write(b"".join(out))
            self.loop.call_later(numbers[0], lambda: self.transport.write(b"".join(self._end(parent))))
            return True
        else:
            raise ValueError(f"nobody knows how to {what}")
        return False

    def _flood(self, count: int, length: int, parent: bytes) -> Iterator[bytes]:
        kernel = self.kernel
        assert kernel is not None
        content = b'{"name": "stdout", "text": "%b"}' % text_of(length)
        pieces = b"".join(self._message(b"iopub", b"stream", parent, content, number=_NUMBER)).split(_NUMBER)
        first = kernel.sent + 1
        kernel.sent += count
        for start in range(first, first + count, BATCH):
            stop = min(start + BATCH, first + count)
            if len(pieces) == 2:
                before, after = pieces
                yield b"".join([b"%b%08d%b" % (before, number, after) for number in range(start, stop)])
            else:
                yield b"".join([(b"%08d" % number).join(pieces) for number in range(start, stop)])
        yield b"".join(self._end(parent))

    def _pour(self) -> None:
        if self.flood is None or self.paused:
            return
        batch = next(self.flood, None)
        if batch is None:
            self.flood = None
            return
        self.transport.write(batch)
        self.loop.call_soon(self._pour)


def _uuid() -> object:
    import uuid

    return uuid.uuid4()


async def serve(announce: Callable[[dict[str, Any]], None], stopped: asyncio.Event) -> None:
    """Listen on two free ports, one that speaks both framings and one that speaks only the legacy one, until told to stop."""
    loop = asyncio.get_running_loop()
    kernels: dict[str, Kernel] = {}
    urls = {}
    servers = []
    for name, v1 in (("url", True), ("legacy_url", False)):
        make = partial(Connection, kernels, v1=v1)
        server = await loop.create_server(make, "127.0.0.1", 0, family=socket.AF_INET, backlog=4096)
        servers.append(server)
        urls[name] = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    announce({**urls, "loop": type(loop).__module__.partition(".")[0]})
    await stopped.wait()
    for server in servers:
        server.close()


async def _main() -> None:
    loop = asyncio.get_running_loop()
    stopped = asyncio.Event()

    def wait_for_end() -> None:
        sys.stdin.buffer.read()
        loop.call_soon_threadsafe(stopped.set)

    threading.Thread(target=wait_for_end, daemon=True).start()
    await serve(lambda urls: print(json.dumps(urls), flush=True), stopped)


def main() -> None:
    """Run it."""
    try:
        import uvloop
    except ImportError:
        asyncio.run(_main())
    else:
        uvloop.run(_main())


if __name__ == "__main__":
    main()
