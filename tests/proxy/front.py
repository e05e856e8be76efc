"""A front end for tests: a WebSocket to the proxy, on a library that the proxy does not use, and a stage around it."""

from __future__ import annotations

import re
import uuid
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import attrs
import trio
import trio.testing
import trio_websocket
import wsproto.utilities

import trio_gateway
from tools.tcp_proxy import Link, TcpProxy, open_tcp_proxy
from trio_gateway import Header, Message
from trio_gateway._protocol import codec
from trio_gateway._protocol.frames import BINARY, small_frame, xor_mask

from .proxy_kit import TOKEN, V1, Served, Upstream, open_upstream, serve_gateway

if TYPE_CHECKING:
    from .proxy_kit import Behind

__all__ = ["PATIENCE", "QUICK", "Front", "LazyFront", "Stage", "open_front", "open_lazy_front", "open_stage"]

PATIENCE = 200.0
"""How long what must come may take on a machine that is busy with other things, in seconds: less than a test may."""
TOKEN_HEADER = [("Authorization", f"token {TOKEN}")]
QUICK: dict[str, Any] = {"gateway_retry_interval": 0.01, "gateway_retry_interval_max": 0.05, "gateway_retry_max": 200}


class Front:
    """One front end's connection."""

    def __init__(self, websocket: trio_websocket.WebSocketConnection, session: str) -> None:
        self.websocket = websocket
        self.session = session
        self.v1 = websocket.subprotocol == V1

    async def send(self, kind: str, content: dict[str, Any], *, channel: str = "shell", buffers: Any = ()) -> str:
        """Send a message; return its id."""
        header = Header(uuid.uuid4().hex, kind, self.session, "ada", "2026-01-01T00:00:00Z", "5.4")
        message = Message(channel, header, content, buffers=buffers)
        await self.websocket.send_message((codec.encode_v1 if self.v1 else codec.encode_legacy)(message))
        return header.msg_id

    async def execute(self, code: str) -> str:
        """Ask for code to be run; return the request's id."""
        return await self.send("execute_request", {"code": code, "silent": False, "store_history": True, "allow_stdin": False})

    async def receive(self) -> Message:
        """Wait for the next message."""
        return codec.decode(await self.websocket.get_message(), v1=self.v1)

    async def until(self, kind: str, parent: str | None = None) -> list[Message]:
        """Receive until a message of a kind comes; return it last, and those of the same request before it."""
        seen = []
        with trio.fail_after(PATIENCE):
            while True:
                message = await self.receive()
                if parent is None or message.parent_id == parent:
                    seen.append(message)
                    if message.msg_type == kind:
                        return seen

    async def run(self, code: str) -> str:
        """Run code; return what it printed."""
        return "".join([message.content["text"] for message in await self.run_whole(code) if message.msg_type == "stream"])

    async def run_whole(self, code: str) -> list[Message]:
        """Run code; return all that came of it."""
        return await self.whole(await self.execute(code))

    async def whole(self, asked: str, *, patience: float = PATIENCE) -> list[Message]:
        """Receive until a request is answered and done, in whichever order; return all that came of it."""
        seen: list[Message] = []
        idle, reply = False, False
        with trio.fail_after(patience):
            while not (idle and reply):
                message = await self.receive()
                if message.parent_id != asked:
                    continue
                seen.append(message)
                reply = reply or message.msg_type == "execute_reply"
                idle = idle or (message.msg_type == "status" and message.content["execution_state"] == "idle")
        return seen

    async def closed(self) -> tuple[int, str]:
        """Receive until the end; return the close code and the reason."""
        with trio.fail_after(PATIENCE):
            while True:
                try:
                    await self.websocket.get_message()
                except trio_websocket.ConnectionClosed as closed:
                    return (closed.reason.code, closed.reason.reason or "") if closed.reason else (1006, "")


@asynccontextmanager
async def open_front(
    proxy: Served | int, kernel_id: str, *, session: str | None = None, v1: bool = True, headers: Any = None
) -> AsyncGenerator[Front]:
    """Open a front end's connection to a proxy, or to its port."""
    port = proxy if isinstance(proxy, int) else proxy.port
    session = session or uuid.uuid4().hex
    # The stream is ours: the library leaves it open where the handshake is refused.
    stream = await trio.open_tcp_stream("127.0.0.1", port)
    refused: list[Exception] = []
    try:
        async with stream, trio.open_nursery() as nursery:
            websocket = await trio_websocket.wrap_client_stream(
                nursery,
                stream,
                f"127.0.0.1:{port}",
                f"/api/kernels/{kernel_id}/channels?session_id={session}",
                extra_headers=[(name.encode(), value.encode()) for name, value in (TOKEN_HEADER if headers is None else headers)],
                subprotocols=[V1] if v1 else None,
                max_message_size=256 * 1024 * 1024,
                receive_buffer_size=256 * 1024,
            )
            async with websocket:
                yield Front(websocket, session)
            nursery.cancel_scope.cancel()
    except* trio_websocket.ConnectionRejected as group:
        refused += group.exceptions
    except* wsproto.utilities.LocalProtocolError:
        pass  # trio-websocket answers a ping also when it has said goodbye, and wsproto refuses that
    if refused:
        failure: BaseException = refused[0]
        while isinstance(failure, BaseExceptionGroup):
            failure = failure.exceptions[0]
        raise failure


@attrs.frozen
class LazyFront:
    """A connection that reads nothing after its handshake: a bare socket, for no library of ours reads ahead."""

    stream: trio.SocketStream

    async def execute(self, code: str) -> None:
        """Ask for code to be run."""
        header = Header(uuid.uuid4().hex, "execute_request", "lazy", "ada", "2026-01-01T00:00:00Z", "5.4")
        frame = codec.encode_v1(Message("shell", header, {"code": code}))
        await self.stream.send_all(small_frame(BINARY, frame, b"mask", xor_mask))


@asynccontextmanager
async def open_lazy_front(proxy: Served, kernel_id: str) -> AsyncGenerator[LazyFront]:
    """Open a connection that reads nothing."""
    async with await trio.open_tcp_stream("127.0.0.1", proxy.port) as stream:
        await stream.send_all(
            f"GET /api/kernels/{kernel_id}/channels?session_id=lazy HTTP/1.1\r\nHost: 127.0.0.1\r\n"
            f"Authorization: token {TOKEN}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Version: 13\r\n"
            f"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\nSec-WebSocket-Protocol: {V1}\r\n\r\n".encode()
        )
        assert (await stream.receive_some(12)).startswith(b"HTTP/1.1 101")
        yield LazyFront(stream)


@attrs.frozen
class Stage:
    """A kernel, a wire to it that can be cut, and the proxy on this side of the wire."""

    proxy: Served
    wire: TcpProxy
    kernel_id: str
    direct: trio_gateway.Gateway
    """The gateway, reached without the proxy and the wire."""
    upstream: Upstream

    def links(self) -> list[Link]:
        """The wire's links that carry a WebSocket."""
        return [link for link in self.wire.links if any("/channels" in request for request in link.requests)]

    async def nobody_connected(self) -> None:
        """Wait until the gateway says that the kernel has no WebSocket any more: nothing here tells when it has noticed."""
        with trio.fail_after(PATIENCE):
            while True:
                if not (await self.direct.kernels.get(self.kernel_id)).connections:
                    return

    async def idle(self) -> None:
        """Wait until the gateway says that the kernel has nothing to do; nobody may be connected who would be told."""
        with trio.fail_after(PATIENCE):
            while (await self.direct.kernels.get(self.kernel_id)).execution_state != "idle":
                pass

    async def no_channels(self) -> None:
        """Wait until the proxy has no front end any more."""
        with trio.fail_after(PATIENCE):
            while self.proxy.app.channels:
                await trio.testing.wait_all_tasks_blocked(0.001)  # a fake kernel may wake up every 50 ms


@asynccontextmanager
async def open_stage(
    behind: Behind, *, upstream_v1: bool = True, proxied: dict[str, Any] | None = None, **settings: Any
) -> AsyncGenerator[Stage]:
    """Start a kernel, and a proxy whose connections to the gateway can be cut, or speak the legacy framing."""

    def offer(data: bytes) -> bytes:
        return data if upstream_v1 else re.sub(rb"\r\nSec-WebSocket-Protocol:[^\r\n]*", b"", data, flags=re.IGNORECASE)

    async with open_upstream(behind) as upstream, open_tcp_proxy(upstream.url) as wire:
        wire.on_link = lambda link: setattr(link.to_server, "rewrite", offer)
        async with (
            trio_gateway.open_gateway(upstream.url, auth_token=upstream.token) as direct,
            trio_gateway.open_gateway(wire.url, **{"auth_token": upstream.token, **QUICK, **settings}) as gateway,
            serve_gateway(gateway, **(proxied or {})) as proxy,
        ):
            model = await direct.kernels.start("python3")
            try:
                yield Stage(proxy, wire, model.id, direct, upstream)
            finally:
                with trio.move_on_after(60, shield=True):
                    await wire.refuse()
                    await direct.kernels.shutdown(model.id)
