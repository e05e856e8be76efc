"""What the raw clients share: requests as bytes in the v1 framing, and kernels started by hand, unmeasured.

A raw client is a limit of the wire. It sends what a library would send and counts the frames that come until the one that ends
the execution. Of small messages it decodes nothing. Of large ones it decodes the content, with msgspec, because nobody could use
a text without that, and it takes longer than the transport.
"""

from __future__ import annotations

import http.client
import json
import struct
import uuid
from itertools import pairwise
from typing import Any
from urllib.parse import urlsplit

from .base import Outcome, load

V1 = "v1.kernel.websocket.jupyter.org"
MAX_SIZE = 1024 * 1024 * 1024
READ_BYTES = 256 * 1024
LARGE = 65536
"""Messages of more bytes than this are decoded."""
_END = b'"idle"}'


def start(url: str, token: str, name: str) -> str:
    """Start a kernel; return its id."""
    return str(json.loads(_request(url, token, "POST", "/api/kernels", {"name": name}))["id"])


def shut_down(url: str, token: str, kernel_id: str) -> None:
    """Shut a kernel down."""
    _request(url, token, "DELETE", f"/api/kernels/{kernel_id}", None)


def channels_url(url: str, kernel_id: str) -> str:
    """Return the URL of a kernel's WebSocket."""
    return f"ws{url.removeprefix('http')}/api/kernels/{kernel_id}/channels?session_id={uuid.uuid4().hex}"


def _request(url: str, token: str, method: str, path: str, body: object) -> bytes:
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port)
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"token {token}"} if token else {})
    connection.request(method, path, json.dumps(body) if body is not None else None, headers)
    answer = connection.getresponse().read()
    connection.close()
    return answer


class Talk:
    """One kernel's conversation in bytes."""

    def __init__(self) -> None:
        self._session = uuid.uuid4().hex
        self._count = 0
        self._id = b""
        self._outcome = Outcome()
        self._comm = b""
        self._decode = load("msgspec.json").decode

    def execute_request(self, code: str) -> bytes:
        """Return the request as a frame's payload."""
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        return self._request("execute_request", content, ())

    def comm_request(self, data: bytes) -> bytes:
        """Return a comm's message with a buffer."""
        return self._request("comm_msg", {"comm_id": uuid.uuid4().hex, "data": {}}, (data,))

    def _request(self, kind: str, content: dict[str, Any], buffers: tuple[bytes, ...]) -> bytes:
        self._count += 1
        msg_id = f"{self._session}-{self._count}"
        self._id = msg_id.encode()
        self._outcome = Outcome(messages=-1)
        header = {
            "msg_id": msg_id,
            "msg_type": kind,
            "username": "bench",
            "session": self._session,
            "date": "2026-01-01T00:00:00.000000Z",
            "version": "5.4",
        }
        parts = [b"shell", json.dumps(header).encode(), b"{}", b"{}", json.dumps(content).encode(), *buffers]
        at = 8 * (len(parts) + 2)
        offsets = [at]
        for part in parts:
            at += len(part)
            offsets.append(at)
        return b"".join([struct.pack(f"<{len(offsets) + 1}Q", len(offsets), *offsets), *parts])

    def take(self, frame: bytes) -> bool:
        """Take a frame's payload; say whether the request is done."""
        size = len(frame)
        if size > LARGE:
            self._look(frame)
            return False
        self._outcome.characters += size
        if not frame.endswith(_END):
            if size < 1024 and b'"comm_msg"' in frame:
                self._comm = bytes(frame)
            return False
        return self._id in frame

    def _look(self, frame: bytes) -> None:
        (count,) = struct.unpack_from("<Q", frame)
        offsets = struct.unpack_from(f"<{count}Q", frame, 8)
        view = memoryview(frame)
        content = self._decode(view[offsets[4] : offsets[5]])
        self._outcome.characters += len(content.get("text", ""))
        for start, end in pairwise(offsets[5:]):
            self._outcome.binary += len(view[start:end])

    def outcome(self) -> Outcome:
        """Return what is known of the execution."""
        return self._outcome

    def comm_size(self) -> int:
        """Return the size that the kernel told."""
        return int(self._comm.rpartition(b'"size": ')[2].rstrip(b"}"))
