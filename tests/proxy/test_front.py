"""ASGI's events for one WebSocket, with an application of a few lines and streams in memory."""

from __future__ import annotations

import base64
import sys
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
import trio
from trio.testing import memory_stream_pair

from trio_gateway._protocol.frames import BINARY, CLOSE, TEXT, Close, FrameParser, small_frame, xor_mask
from trio_gateway._protocol.websocket import UpgradeRequest
from trio_gateway.proxy._front import FRAMES, serve_websocket
from trio_gateway.proxy._http1 import Peer
from trio_gateway.proxy._websocket import Pinger

KEY = base64.b64encode(b"0123456789abcdef")
REQUEST = UpgradeRequest(b"/a%20b?c=d", [(b"host", b"h")], KEY, ["v1"], b"")


def masked(kind: int, payload: bytes) -> bytes:
    return small_frame(kind, payload, b"abcd", xor_mask)


async def served(
    app: Callable[[Any, Any, Any], Awaitable[None]], sent: bytes, *, secure: bool = False, request: UpgradeRequest = REQUEST
) -> tuple[bytes, list[bytes | str], list[Any]]:
    """Serve one WebSocket to a front end that says this and hangs up; return head, messages and control frames that it got."""
    ours, theirs = memory_stream_pair()
    await theirs.send_all(sent)
    await theirs.send_eof()
    async with trio.open_nursery() as nursery:
        pinger = Pinger(nursery, 1000)
        peer = Peer(secure, ("1.2.3.4", 5), ("6.7.8.9", 10))
        await serve_websocket(app, ours, request, peer, max_message_size=1000, pinger=pinger, linger=1, let_in=lambda: None)
        nursery.cancel_scope.cancel()
    await ours.aclose()
    data = b""
    while more := await theirs.receive_some():
        data += more
    head, _, rest = data.partition(b"\r\n\r\n")
    parser = FrameParser(1000)
    messages = parser.feed(rest)
    return head, messages, parser.controls if head.startswith(b"HTTP/1.1 101") else [rest]


async def test_what_the_application_is_told_and_tells() -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        heard.append(scope)
        heard.append(await receive())
        await send({"type": "websocket.accept", "subprotocol": "v1", "headers": [(b"x-a", b"b")]})
        heard.extend([await receive() for _ in range(3)])
        await send({"type": "websocket.send", "text": "t"})
        await send({"type": "websocket.send", "bytes": b"b", "text": None})
        await send({"type": FRAMES, "frames": [b"1", "2"]})
        await send({"type": "websocket.close", "code": 4000, "reason": "enough"})

    sent = masked(BINARY, b"\0\xff") + masked(TEXT, b"text") + masked(BINARY, b"")
    head, messages, controls = await served(app, sent, secure=True)
    scope = heard[0]
    assert (scope["scheme"], scope["path"], scope["raw_path"], scope["query_string"]) == ("wss", "/a b", b"/a%20b", b"c=d")
    assert (scope["headers"], scope["client"], scope["subprotocols"]) == ([(b"host", b"h")], ("1.2.3.4", 5), ["v1"])
    assert FRAMES in scope["extensions"]
    assert heard[1:] == [
        {"type": "websocket.connect"},
        {"type": "websocket.receive", "bytes": b"\0\xff"},
        {"type": "websocket.receive", "text": "text"},
        {"type": "websocket.receive", "bytes": b""},
    ]
    assert head.startswith(b"HTTP/1.1 101")
    assert b"\r\nx-a: b" in head
    assert b"\r\nSec-WebSocket-Protocol: v1" in head
    assert messages == ["t", b"b", b"1", "2"]
    assert controls == [Close(4000, "enough")]


async def test_headers_and_query_hide_themselves() -> None:
    """G8: also in what serves it, whose variables live as long as the WebSocket."""
    shown: list[str] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        shown.extend([repr(scope), repr(sys._getframe(1).f_locals)])
        await receive()

    request = UpgradeRequest(b"/a?token=hidden", [(b"authorization", b"hidden")], KEY, [], b"")
    await served(app, b"", request=request)
    assert "hidden" not in "".join(shown)
    assert "authorization" in shown[0]
    assert "'pinger'" in shown[1]


@pytest.mark.parametrize(("sent", "code", "answered"), [(masked(CLOSE, b"\x0f\xa0why"), 4000, 4000), (b"", 1006, 1000)])
async def test_how_it_ended(sent: bytes, code: int, answered: int) -> None:
    heard: list[Any] = []

    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        await send({"type": "websocket.accept"})
        heard.extend([await receive() for _ in range(2)])
        with pytest.raises(OSError, match=str(code)):
            await send({"type": "websocket.send", "text": "too late"})

    _, messages, controls = await served(app, sent)
    assert [(event["type"], event["code"]) for event in heard] == [("websocket.disconnect", code)] * 2
    assert messages == []
    assert [control.code for control in controls] == [answered]


async def test_an_application_that_refuses() -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        headers = [(b"x-a", b"b"), (b"content-length", b"4")]
        await send({"type": "websocket.http.response.start", "status": 404, "headers": headers})
        await send({"type": "websocket.http.response.body", "body": b"no", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"ne"})

    head, _, rest = await served(app, b"")
    assert head.startswith(b"HTTP/1.1 404")
    assert b"\r\nx-a: b" in head
    assert head.count(b"ontent-") == 1
    assert rest == [b"none"]


@pytest.mark.parametrize("closes", [True, False])
async def test_an_application_that_does_not_answer(closes: bool) -> None:
    async def app(scope: Any, receive: Any, send: Any) -> None:
        await receive()
        if closes:
            await send({"type": "websocket.close"})

    head, _, rest = await served(app, b"")
    assert head.startswith(b"HTTP/1.1 403")
    assert rest == [b""]
