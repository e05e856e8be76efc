"""Front ends' WebSockets without an ASGI server in between: the same application, the same events, but frames in batches.

The one idea: ASGI has one event for each message, and a relay has many messages at a time. `FRAMES` is an extension of it, an
event with all the messages that are ready; the application uses it where the scope says that it is understood.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Final
from urllib.parse import unquote

import trio.abc

from .._protocol.websocket import UpgradeRequest
from .._secret import SecretBytes
from .._transport.websocket.engine import WebSocketClosed
from ._http1 import LET_IN, App, Message, Peer
from ._websocket import Pinger, ServerWebSocket

__all__ = ["FRAMES", "serve_websocket"]

FRAMES: Final = "trio_gateway.websocket.frames"
"""The type of an event with several messages in `frames`, and the name of the extension in a scope."""


async def serve_websocket(
    app: App,
    stream: trio.abc.Stream,
    request: UpgradeRequest,
    peer: Peer,
    *,
    max_message_size: int,
    pinger: Pinger,
    linger: float,
    let_in: Callable[[], object],
) -> None:
    """Serve one WebSocket from its request to its end. The caller closes the stream.

    Args:
        app: the ASGI application.
        stream: to the front end.
        request: what it asks for.
        peer: who is there.
        max_message_size: the largest message to accept, in bytes.
        pinger: pings it.
        linger: how long its goodbye is waited for, in seconds.
        let_in: called when the application knows who asks.

    Cancellation: leaves half a frame; close the stream.
    """
    websocket = ServerWebSocket(stream, request, max_message_size=max_message_size, pinger=pinger)
    path, _, query = request.target.partition(b"?")
    scope: Message = {
        "type": "websocket",
        "asgi": {"version": "3.0", "spec_version": "2.4"},
        "http_version": "1.1",
        "scheme": "wss" if peer.secure else "ws",
        "path": unquote(path.decode("ascii")),
        "raw_path": path,
        "query_string": SecretBytes(query),
        "root_path": "",
        "headers": [(name, SecretBytes(value)) for name, value in request.headers],
        "client": peer.client,
        "server": peer.server,
        "subprotocols": list(request.subprotocols),
        "state": {},
        "extensions": {"websocket.http.response": {}, FRAMES: {}},
        LET_IN: let_in,
    }
    exchange = _Exchange(websocket)
    del request, query  # they show themselves; the application has what is in them, and need not keep it
    pinger.add(websocket)
    try:
        await app(scope, exchange.receive, exchange.send)
    finally:
        pinger.discard(websocket)
    # The front end's own goodbye is answered here too.
    if exchange.accepted:
        await websocket.close(exchange.code, exchange.reason, linger)
    elif not exchange.answered:
        with suppress(WebSocketClosed):
            await websocket.refuse(403, [], b"")


class _Exchange:
    """ASGI's two functions for one WebSocket."""

    def __init__(self, websocket: ServerWebSocket) -> None:
        self.accepted = False
        self.answered = False
        self.code = 1000
        self.reason = ""
        self._websocket = websocket
        self._began = False
        self._waiting: list[bytes | str] = []
        self._refusal: tuple[int, Sequence[tuple[bytes, bytes]]] = (403, ())
        self._body = b""

    async def receive(self) -> Message:
        if not self._began:
            self._began = True
            return {"type": "websocket.connect"}
        if not self._waiting:
            try:
                self._waiting = list(reversed(await self._websocket.receive()))
            except WebSocketClosed as closed:
                return {"type": "websocket.disconnect", "code": closed.code, "reason": closed.reason}
        frame = self._waiting.pop()
        return {"type": "websocket.receive", "text" if isinstance(frame, str) else "bytes": frame}

    async def send(self, message: Message) -> None:
        try:
            await self._send(message)
        except WebSocketClosed as closed:
            raise OSError(str(closed)) from None

    async def _send(self, message: Message) -> None:
        match message["type"]:
            case kind if kind == FRAMES:
                await self._websocket.send(message["frames"])
            case "websocket.send":
                frame = message.get("bytes")
                await self._websocket.send([message["text"] if frame is None else frame])
            case "websocket.accept":
                await self._websocket.accept(message.get("subprotocol"), message.get("headers") or ())
                self.accepted = True
            case "websocket.close":
                self.code = message.get("code", 1000)
                self.reason = message.get("reason") or ""
            case "websocket.http.response.start":
                self._refusal = (message["status"], message.get("headers") or ())
            case "websocket.http.response.body":
                self._body += message.get("body") or b""
                if not message.get("more_body"):
                    self.answered = True
                    headers = [header for header in self._refusal[1] if header[0] != b"content-length"]
                    await self._websocket.refuse(self._refusal[0], headers, self._body)
