"""A kernel of bare ZeroMQ that tells which bytes reached it, and sends any bytes that it is told to.

Run by a gateway, with the connection file as its argument. A `mark_request` is answered, on its channel and on iopub, with all
that came since the last one on shell or control, each part in Base64. Of a `say` the content's `parts` are sent as a message on
its `channel`, with a right signature, whatever they are.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import itertools
import json
import sys
from pathlib import Path
from typing import Any

import zmq


def main(path: str) -> None:
    connection = json.loads(Path(path).read_text(encoding="utf-8"))
    key = connection["key"].encode()
    context = zmq.Context()
    numbers = itertools.count()
    recorded: list[list[str]] = []

    def bind(kind: int, name: str) -> zmq.Socket[bytes]:
        socket = context.socket(kind)
        socket.bind(f"{connection['transport']}://{connection['ip']}:{connection[f'{name}_port']}")
        return socket

    shell, control, stdin = bind(zmq.ROUTER, "shell"), bind(zmq.ROUTER, "control"), bind(zmq.ROUTER, "stdin")
    iopub, heartbeat = bind(zmq.PUB, "iopub"), bind(zmq.REP, "hb")

    def send(socket: zmq.Socket[bytes], identities: list[bytes], parts: list[bytes]) -> None:
        signature = hmac.new(key, b"".join(parts[:4]), hashlib.sha256).hexdigest().encode()
        socket.send_multipart([*identities, b"<IDS|MSG>", signature, *parts])

    def say(socket: zmq.Socket[bytes], identities: list[bytes], kind: str, content: object, parent: object) -> None:
        identity = f"recorder_1_{next(numbers)}"
        header = {"msg_id": identity, "msg_type": kind, "session": "recorder", "username": "k", "version": "5.3"}
        header["date"] = "2026-01-01T00:00:00Z"
        send(socket, identities, [json.dumps(part).encode() for part in (header, parent, {}, content)])

    def take(socket: zmq.Socket[bytes]) -> bool:
        frames = socket.recv_multipart()
        at = frames.index(b"<IDS|MSG>")
        identities, parts = frames[:at], frames[at + 2 :]
        try:
            header: Any = json.loads(parts[0])
            kind = header["msg_type"]
        except (ValueError, LookupError, TypeError):
            header, kind = {}, ""
        if kind == "kernel_info_request":
            info = {"status": "ok", "protocol_version": "5.3", "implementation": "recorder", "banner": "", "language_info": {}}
            say(iopub, [b"status"], "status", {"execution_state": "busy"}, header)
            say(socket, identities, "kernel_info_reply", info, header)
            say(iopub, [b"status"], "status", {"execution_state": "idle"}, header)
        elif kind == "shutdown_request":
            say(socket, identities, "shutdown_reply", {"status": "ok", "restart": False}, header)
            return False
        elif kind == "say":
            told = json.loads(parts[3])
            sent = [base64.b64decode(part) for part in told["parts"]]
            send(*((iopub, [b"said"]) if told["channel"] == "iopub" else (socket, identities)), sent)
        elif kind == "mark_request":
            told = {"status": "ok", "recorded": recorded}
            say(iopub, [b"mark"], "mark", told, header)
            say(socket, identities, "mark_reply", told, header)
            recorded.clear()
        else:
            channel = "control" if socket is control else "shell"
            recorded.append([channel, *[base64.b64encode(part).decode() for part in parts]])
        return True

    poller = zmq.Poller()
    for socket in (shell, control, stdin, heartbeat):
        poller.register(socket, zmq.POLLIN)
    going = True
    while going:
        for socket, _ in poller.poll():
            if socket is heartbeat:
                heartbeat.send(heartbeat.recv())
            elif socket is stdin:
                stdin.recv_multipart()
            else:
                going = take(socket) and going
    context.destroy(linger=1000)


if __name__ == "__main__":
    main(sys.argv[1])
