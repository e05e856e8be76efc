"""The peers: `jupyter_server.gateway` in two forms, `jupyter-kernel-client`, `agent-jupyter-toolkit`; `jupyter_client` alone."""

from __future__ import annotations

import asyncio
import json
import os
import uuid
from collections.abc import AsyncGenerator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any

from .base import AsyncioClient, BenchKernel, BlockingClient, Outcome, UnsupportedError, load, nothing

PATIENCE = 600.0
"""How long a message may take, in seconds: none of the peers' own limits is measured here."""


def look(outcome: Outcome, message: dict[str, Any]) -> None:
    """Look at a message as its user would: its type, and what is in it."""
    kind, content = message["header"]["msg_type"], message["content"]
    if kind == "stream":
        outcome.messages += 1
        outcome.text = content["text"]
        outcome.characters += len(outcome.text)
    elif kind in ("execute_result", "display_data"):
        outcome.messages += 1
        outcome.text = content["data"]["text/plain"]
        for buffer in message.get("buffers", ()):
            outcome.binary += len(buffer)


def is_end(message: dict[str, Any], msg_id: str) -> bool:
    """Say whether the kernel is done with this request."""
    return bool(
        message["header"]["msg_type"] == "status"
        and message["content"]["execution_state"] == "idle"
        and message["parent_header"].get("msg_id") == msg_id
    )


class ChannelsKernel(BenchKernel):
    """A kernel behind an asynchronous client with channels, as `jupyter_client` defined them."""

    def __init__(self, client: Any, manager: Any) -> None:
        self._client = client
        self._manager = manager

    async def execute(self, code: str, *, each: bool = False) -> Outcome:  # noqa: ARG002 - there is one way only
        outcome = Outcome()
        msg_id = self._client.execute(code)
        while True:
            message = await self._client.iopub_channel.get_msg(timeout=PATIENCE)
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            if is_end(message, msg_id):
                break
            look(outcome, message)
        while True:
            reply = await self._client.shell_channel.get_msg(timeout=PATIENCE)
            if reply["parent_header"].get("msg_id") == msg_id:
                break
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"])
        return outcome


class GatewayKernel(ChannelsKernel):
    async def get_model(self) -> str:
        return str((await self._manager.refresh_model())["id"])


class JupyterServerClient(AsyncioClient):
    """The kernel manager and client of `jupyter_server.gateway`. It sends no token with its WebSocket, nor binary buffers."""

    @asynccontextmanager
    async def open(self) -> AsyncGenerator[None]:
        gateway = load("jupyter_server.gateway.gateway_client").GatewayClient.instance()
        gateway.url = self.url
        gateway.request_timeout = PATIENCE
        self._manager = load("jupyter_server.gateway.managers").GatewayMappingKernelManager()
        yield

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        kernel_id = await self._manager.start_kernel(kernel_name=name)
        try:
            manager = self._manager.get_kernel(kernel_id)
            client = manager.client()
            await client.start_channels()
            try:
                yield GatewayKernel(client, manager)
            finally:
                client.stop_channels()
        finally:
            await self._manager.shutdown_kernel(kernel_id)

    @asynccontextmanager
    async def attach(self, kernel: BenchKernel) -> AsyncGenerator[BenchKernel]:
        manager = self._manager.get_kernel(await kernel.get_model())
        # With a session of its own: clients of one manager number their messages alike, and take each other's for theirs.
        client = manager.client(session=load("jupyter_client.session").Session())
        await client.start_channels()
        try:
            yield GatewayKernel(client, manager)
        finally:
            client.stop_channels()


class ConnectionKernel(BenchKernel):
    """A kernel behind a `GatewayWebSocketConnection`, whose other end is not a browser but us."""

    def __init__(self, manager: Any) -> None:
        self._messages: asyncio.Queue[str] = asyncio.Queue()
        self._session = uuid.uuid4().hex
        self._manager = manager
        self.kernel_id = manager.kernel_id
        make = load("jupyter_server.gateway.connections").GatewayWebSocketConnection
        self.connection = make(parent=manager, websocket_handler=_handler(self._messages, manager.kernel_id))

    async def execute(self, code: str, *, each: bool = False) -> Outcome:  # noqa: ARG002 - there is one way only
        outcome = Outcome()
        msg_id = uuid.uuid4().hex
        header = {
            "msg_id": msg_id,
            "msg_type": "execute_request",
            "username": "bench",
            "session": self._session,
            "date": "2026-01-01T00:00:00.000000Z",
            "version": "5.4",
        }
        content = {"code": code, "silent": False, "store_history": True, "user_expressions": {}, "allow_stdin": False}
        request = {"channel": "shell", "header": header, "parent_header": {}, "metadata": {}, "content": content}
        self.connection.handle_incoming_message(json.dumps(request))
        idle = reply = False
        while not (idle and reply):
            message = json.loads(await asyncio.wait_for(self._messages.get(), PATIENCE))
            if message["parent_header"].get("msg_id") != msg_id:
                continue
            idle = idle or is_end(message, msg_id)
            reply = reply or message["header"]["msg_type"] == "execute_reply"
            look(outcome, message)
        return outcome

    async def get_model(self) -> str:
        return str((await self._manager.refresh_model())["id"])


def _handler(messages: asyncio.Queue[str], kernel_id: str) -> Any:
    """Make what stands in for the handler of the browser's WebSocket."""

    class Handler(load("tornado.websocket").WebSocketHandler):  # type: ignore[misc]
        def __init__(self) -> None:
            self.kernel_id = kernel_id
            self.write_message = messages.put_nowait

    return Handler()


class JupyterConnectionClient(JupyterServerClient):
    """What carries a browser's messages to the gateway; here its messages are read, too. It takes at most 10 MiB a message."""

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        kernel_id = await self._manager.start_kernel(kernel_name=name)
        try:
            async with self._connect(kernel_id) as kernel:
                yield kernel
        finally:
            await self._manager.shutdown_kernel(kernel_id)

    @asynccontextmanager
    async def attach(self, kernel: BenchKernel) -> AsyncGenerator[BenchKernel]:
        async with self._connect(await kernel.get_model()) as attached:
            yield attached

    @asynccontextmanager
    async def _connect(self, kernel_id: str) -> AsyncGenerator[BenchKernel]:
        kernel = ConnectionKernel(self._manager.get_kernel(kernel_id))
        await kernel.connection.connect()
        await kernel.connection.ws_future
        await asyncio.sleep(0)
        try:
            yield kernel
        finally:
            kernel.connection.disconnect()


class KernelClientKernel(BenchKernel):
    def __init__(self, client: Any) -> None:
        self._client = client

    async def execute(self, code: str, *, each: bool = False) -> Outcome:  # noqa: ARG002 - its other way drops buffers
        outcome = Outcome()
        reply = self._client.execute_interactive(code, timeout=PATIENCE, output_hook=lambda message: look(outcome, message))
        if reply["content"]["status"] != "ok":
            raise RuntimeError(reply["content"])
        return outcome

    async def get_model(self) -> str:
        return str(self._client._manager.refresh_model()["id"])  # noqa: SLF001 - `is_alive` is the only public way, and tells less


class KernelClientClient(BlockingClient):
    """`jupyter-kernel-client`: it blocks, and has a thread for each kernel."""

    def open(self) -> AbstractAsyncContextManager[None]:
        return nothing()

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        client = load("jupyter_kernel_client").JupyterKernelClient(server_url=self.url, token=self.token or None)
        client.start(name=name, timeout=PATIENCE)
        try:
            yield KernelClientKernel(client)
        finally:
            if self.closing:  # it takes 10 s
                client.stop(timeout=PATIENCE)

    @asynccontextmanager
    async def attach(self, kernel: BenchKernel) -> AsyncGenerator[BenchKernel]:
        kernel_id = await kernel.get_model()
        client = load("jupyter_kernel_client").JupyterKernelClient(
            kernel_id=kernel_id, server_url=self.url, token=self.token or None
        )
        client.start(timeout=PATIENCE)
        try:
            yield KernelClientKernel(client)
        finally:
            if self.closing:
                client.stop(timeout=PATIENCE)


class AgentToolkitKernel(BenchKernel):
    def __init__(self, session: Any) -> None:
        self._session = session

    async def execute(self, code: str, *, each: bool = False) -> Outcome:
        seen: list[dict[str, Any]] = []

        async def take(outputs: list[dict[str, Any]], count: int | None) -> None:  # noqa: ARG001, ASYNC124 - as the toolkit calls it
            seen[:] = outputs  # all so far, in a copy of its own

        result = await self._session.execute(code, timeout=PATIENCE, output_callback=take if each else None)
        if result.status != "ok" or result.output_truncated:
            raise RuntimeError(f"{result.status}, {result.dropped_output_bytes} bytes dropped")
        outcome = Outcome()
        for output in seen if each else result.outputs:
            outcome.messages += 1
            if output["output_type"] == "stream":
                outcome.text = output["text"]
                outcome.characters += len(outcome.text)
            else:
                outcome.text = output["data"]["text/plain"]
        return outcome


class AgentToolkitClient(AsyncioClient):
    """`agent-jupyter-toolkit`, on its transport for servers. It gives outputs of one stream as one text, and no buffers."""

    def open(self) -> AbstractAsyncContextManager[None]:
        return nothing()

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        kernel = load("agent_jupyter_toolkit.kernel")
        server = kernel.ServerConfig(
            base_url=self.url, token=self.token or None, kernel_name=name, request_timeout=PATIENCE, max_output_bytes=None
        )
        async with kernel.create_session(kernel.SessionConfig(mode="server", server=server)) as session:
            yield AgentToolkitKernel(session)


class ZmqKernel(ChannelsKernel):
    async def send_binary(self, data: bytes) -> int:
        comm_id = uuid.uuid4().hex
        session, socket = self._client.session, self._client.shell_channel.socket
        session.send(socket, "comm_open", {"comm_id": comm_id, "target_name": "bench", "data": {}})
        session.send(socket, "comm_msg", {"comm_id": comm_id, "data": {}}, buffers=[data])
        while True:
            message = await self._client.iopub_channel.get_msg(timeout=PATIENCE)
            if message["header"]["msg_type"] == "comm_msg" and message["content"]["comm_id"] == comm_id:
                return int(message["content"]["data"]["size"])

    async def get_model(self) -> str:
        raise UnsupportedError("has no control plane")


class ZmqClient(AsyncioClient):
    """`jupyter_client` over ZeroMQ, with no gateway: the floor of a real kernel. Options: `server_cpu`, for the kernel."""

    def open(self) -> AbstractAsyncContextManager[None]:
        return nothing()

    @asynccontextmanager
    async def start_kernel(self, name: str = "python3") -> AsyncGenerator[BenchKernel]:
        manager = load("jupyter_client.manager").AsyncKernelManager(kernel_name=name)
        ours = os.sched_getaffinity(0) if "server_cpu" in self.options else set[int]()
        if ours:  # the kernel runs where gateways do
            os.sched_setaffinity(0, {int(self.options["server_cpu"])})
        try:
            await manager.start_kernel()
        finally:
            if ours:
                os.sched_setaffinity(0, ours)
        try:
            client = manager.client()
            client.start_channels()
            await client.wait_for_ready(timeout=PATIENCE)
            try:
                yield ZmqKernel(client, manager)
            finally:
                client.stop_channels()
        finally:
            await manager.shutdown_kernel(now=True)
