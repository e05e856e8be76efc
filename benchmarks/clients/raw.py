"""Limits of the wire: WebSocket libraries with nothing on top. What they are for, `wire` says."""

from __future__ import annotations

import asyncio
import json
import socket
from abc import abstractmethod
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from . import wire
from .base import AsyncioClient, BenchKernel, Client, Outcome, TrioClient, load, nothing


class RawKernel(BenchKernel):
    """Sends and receives payloads; a subclass knows how."""

    def __init__(self) -> None:
        self.talk = wire.Talk()

    @abstractmethod
    async def exchange(self, payload: bytes) -> None:
        """Send, then take frames until the talk says that it is done."""

    async def execute(self, code: str, *, each: bool = False) -> Outcome:  # noqa: ARG002 - there is one way only
        await self.exchange(self.talk.execute_request(code))
        return self.talk.outcome()

    async def send_binary(self, data: bytes) -> int:
        await self.exchange(self.talk.comm_request(data))
        return self.talk.comm_size()


class RawClient(Client):
    """Starts kernels unmeasured; a subclass connects."""

    def open(self) -> AbstractAsyncContextManager[None]:
        return nothing()

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        kernel_id = wire.start(self.url, self.token, name)
        url = wire.channels_url(self.url, kernel_id) + (f"&token={self.token}" if self.token else "")
        try:
            async with self.connect(url) as kernel:
                yield kernel
        finally:
            wire.shut_down(self.url, self.token, kernel_id)

    @abstractmethod
    def connect(self, url: str) -> AbstractAsyncContextManager[RawKernel]:
        """Connect to a kernel's channels."""


# ------------------------------------------------------------------------------------------------------- picows on uvloop


class PicowsKernel(RawKernel):
    transport: Any
    done: asyncio.Future[None]

    async def exchange(self, payload: bytes) -> None:
        picows = load("picows")

        self.done = asyncio.get_running_loop().create_future()
        self.transport.send(picows.WSMsgType.BINARY, payload)
        await self.done


class PicowsClient(RawClient, AsyncioClient):
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        load("uvloop").run(main())

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncGenerator[RawKernel]:
        picows = load("picows")

        kernel = PicowsKernel()
        talk = kernel.talk

        class Listener(picows.WSListener):  # type: ignore[misc, name-defined]
            def on_ws_frame(self, transport: Any, frame: Any) -> None:  # noqa: ARG002 - picows' signature
                if frame.msg_type is picows.WSMsgType.BINARY and talk.take(frame.get_payload_as_bytes()):
                    kernel.done.set_result(None)

        kernel.transport, _ = await picows.ws_connect(
            Listener, url, max_frame_size=wire.MAX_SIZE, extra_headers={"Sec-WebSocket-Protocol": wire.V1}
        )
        try:
            yield kernel
        finally:
            kernel.transport.disconnect()
            await kernel.transport.wait_disconnected()


# ---------------------------------------------------------------------------------------------------------------- tornado


class TornadoKernel(RawKernel):
    connection: Any

    async def exchange(self, payload: bytes) -> None:
        await self.connection.write_message(payload, binary=True)
        while not self.talk.take(await self.connection.read_message()):
            pass


class TornadoClient(RawClient, AsyncioClient):
    @asynccontextmanager
    async def connect(self, url: str) -> AsyncGenerator[RawKernel]:
        websocket_connect = load("tornado.websocket").websocket_connect

        kernel = TornadoKernel()
        kernel.connection = await websocket_connect(url, max_message_size=wire.MAX_SIZE, subprotocols=[wire.V1])
        try:
            yield kernel
        finally:
            kernel.connection.close()


# ------------------------------------------------------------------------------------------------------------- websockets


class WebsocketsKernel(RawKernel):
    connection: Any

    async def exchange(self, payload: bytes) -> None:
        await self.connection.send(payload)
        while not self.talk.take(await self.connection.recv()):
            pass


class WebsocketsClient(RawClient, AsyncioClient):
    @asynccontextmanager
    async def connect(self, url: str) -> AsyncGenerator[RawKernel]:
        connect = load("websockets.asyncio.client").connect

        kernel = WebsocketsKernel()
        async with connect(
            url, max_size=None, max_queue=None, compression=None, subprotocols=[wire.V1], proxy=None
        ) as kernel.connection:
            yield kernel


class SansioKernel(RawKernel):
    stream: Any
    protocol: Any
    control: Any
    """Another stream, for requests about the kernel."""
    asked: bytes
    """What they are, in bytes."""

    async def exchange(self, payload: bytes) -> None:
        self.protocol.send_binary(payload)
        await self.flush()
        while not self._take():
            self.protocol.receive_data(await self.receive())

    async def receive(self) -> bytes:
        """Return what has come; acknowledge it at once, without which a Kernel Gateway waits up to 40 ms."""
        data = await self.stream.receive_some(wire.READ_BYTES)
        if not data:
            raise RuntimeError("the connection was closed")
        _acknowledge(self.stream)
        return bytes(data)

    async def get_model(self) -> str:
        await self.control.send_all(self.asked)
        answer = bytes(await self.control.receive_some(wire.READ_BYTES))
        head, _, body = answer.partition(b"\r\n\r\n")
        length = int(head.lower().rpartition(b"content-length:")[2].partition(b"\r")[0])
        while len(body) < length:
            body += await self.control.receive_some(wire.READ_BYTES)
        return str(json.loads(body)["id"])

    async def flush(self) -> None:
        """Send what the protocol has to send."""
        for data in self.protocol.data_to_send():
            if data:
                await self.stream.send_all(data)

    def _take(self) -> bool:
        done = False
        for event in self.protocol.events_received():
            if event.opcode == 2:
                done = self.talk.take(event.data) or done  # a reply may come behind the end
        return done


def _acknowledge(stream: Any) -> None:
    if hasattr(socket, "TCP_QUICKACK"):
        stream.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class SansioClient(RawClient, TrioClient):
    """The protocol of `websockets` without its connections, on a Trio stream."""

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncGenerator[SansioKernel]:
        import trio

        uri = load("websockets.uri").parse_uri(url)
        kernel = SansioKernel()
        kernel.stream, kernel.control = [await trio.open_tcp_stream(uri.host, uri.port) for _ in range(2)]
        path = uri.path.partition("/channels")[0]
        kernel.asked = f"GET {path} HTTP/1.1\r\nHost: {uri.host}:{uri.port}\r\n\r\n".encode()
        async with kernel.stream, kernel.control:
            kernel.protocol = protocol = load("websockets.client").ClientProtocol(uri, subprotocols=[wire.V1], max_size=None)
            protocol.send_request(protocol.connect())
            await kernel.flush()
            while protocol.state.name == "CONNECTING":
                protocol.receive_data(await kernel.receive())
                list(protocol.events_received())
            yield kernel


# --------------------------------------------------------------------------------------------------------- trio-websocket


class TrioWebsocketKernel(RawKernel):
    connection: Any

    async def exchange(self, payload: bytes) -> None:
        await self.connection.send_message(payload)
        while not self.talk.take(await self.connection.get_message()):
            pass


class TrioWebsocketClient(RawClient, TrioClient):
    """Tuned: with large reads and a deep queue, three times as fast as by default."""

    @asynccontextmanager
    async def connect(self, url: str) -> AsyncGenerator[RawKernel]:
        import trio_websocket

        kernel = TrioWebsocketKernel()
        async with trio_websocket.open_websocket_url(
            url,
            subprotocols=[wire.V1],
            message_queue_size=1024,
            max_message_size=wire.MAX_SIZE,
            receive_buffer_size=wire.READ_BYTES,
        ) as kernel.connection:
            yield kernel
