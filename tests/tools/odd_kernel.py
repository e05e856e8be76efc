"""A sloppy kernel on bare ZeroMQ: its code says, in Python, which bytes are sent. `servers/test_sloppy_kernels` starts it.

In the code, `pub(type, content)` publishes, and `reply(content)` answers; a content of bytes is sent as it is. `header` and
`parent` change those parts: a function of the right one, which returns an object or bytes. Code that calls no `reply` gets one
that is right.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import signal
import sys
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import zmq

SESSION = uuid.uuid4().hex


class OddKernel:
    """The kernel of one connection file."""

    def __init__(self, connection: dict[str, Any]) -> None:
        self.key = connection["key"].encode()
        self.context = zmq.Context()
        self.sockets = {}
        for name, kind in {
            "shell": zmq.ROUTER,
            "control": zmq.ROUTER,
            "stdin": zmq.ROUTER,
            "iopub": zmq.PUB,
            "hb": zmq.REP,
        }.items():
            socket = self.sockets[name] = self.context.socket(kind)
            socket.bind(f"{connection['transport']}://{connection['ip']}:{connection[f'{name}_port']}")
        self.count = 0

    def send(
        self,
        socket: Any,
        idents: list[bytes],
        kind: str,
        content: Any,
        parent_header: Any,
        *,
        header: Callable[[dict[str, Any]], Any] = lambda header: header,
        parent: Callable[[Any], Any] = lambda parent: parent,
        metadata: Any = None,
    ) -> None:
        made = {"msg_id": uuid.uuid4().hex, "msg_type": kind, "session": SESSION, "username": "odd", "version": "5.3"}
        made["date"] = "2026-01-01T00:00:00Z"
        values = (header(made), parent(parent_header), {} if metadata is None else metadata, content)
        parts = [value if isinstance(value, bytes) else json.dumps(value).encode() for value in values]
        signature = hmac.new(self.key, digestmod=hashlib.sha256)
        for part in parts:
            signature.update(part)
        socket.send_multipart([*idents, b"<IDS|MSG>", signature.hexdigest().encode(), *parts])

    def publish(self, kind: str, content: Any, parent_header: Any, **parts: Any) -> None:
        self.send(self.sockets["iopub"], [kind.encode()], kind, content, parent_header, **parts)

    def handle(self, socket: Any) -> bool:
        """Answer one request; say whether to go on."""
        frames = socket.recv_multipart()
        start = frames.index(b"<IDS|MSG>")
        idents, parent, content = frames[:start], json.loads(frames[start + 2]), json.loads(frames[start + 5])
        kind = parent["msg_type"]
        answer = kind.removesuffix("_request") + "_reply"
        self.publish("status", {"execution_state": "busy"}, parent)
        if kind == "execute_request":
            self.execute(content["code"], socket, idents, parent)
        elif kind == "kernel_info_request":
            language = {"name": "odd", "version": "1", "mimetype": "text/plain", "file_extension": ".odd"}
            info = {
                "status": "ok",
                "protocol_version": "5.3",
                "implementation": "odd",
                "implementation_version": "1",
                "banner": "",
            }
            self.send(socket, idents, answer, {**info, "language_info": language}, parent)
        else:
            self.send(socket, idents, answer, {"status": "ok", "restart": content.get("restart", False)}, parent)
        self.publish("status", {"execution_state": "idle"}, parent)
        return kind != "shutdown_request"

    def execute(self, code: str, socket: Any, idents: list[bytes], parent: dict[str, Any]) -> None:
        self.count += 1
        right = {"status": "ok", "execution_count": self.count, "payload": [], "user_expressions": {}}
        replied = []

        def publish(kind: str, content: Any, **parts: Any) -> None:
            self.publish(kind, content, parent, **parts)

        def reply(content: Any = None, **parts: Any) -> None:
            replied.append(1)
            self.send(socket, idents, "execute_reply", right if content is None else content, parent, **parts)

        exec(code, {"pub": publish, "reply": reply, "NaN": float("nan")})
        if not replied:
            reply()

    def run(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        self.publish("status", {"execution_state": "starting"}, {})
        poller = zmq.Poller()
        for name in ("shell", "control", "stdin", "hb"):
            poller.register(self.sockets[name], zmq.POLLIN)
        while True:
            for socket, _ in poller.poll():
                if socket is self.sockets["hb"]:
                    socket.send(socket.recv())
                elif socket is self.sockets["stdin"]:
                    socket.recv_multipart()
                elif not self.handle(socket):
                    self.context.destroy(linger=1000)
                    return


if __name__ == "__main__":
    OddKernel(json.loads(Path(sys.argv[1]).read_text(encoding="utf-8"))).run()
