"""Tools for tests on a real gateway: REST without the library, both framings, and a wire out of the kernel's code."""

from __future__ import annotations

import json
import math
import re
import urllib.request
from collections.abc import AsyncGenerator, Awaitable
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from tools.tcp_proxy import Link, TcpProxy, open_tcp_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = [
    "PATIENCE",
    "QUICK",
    "Call",
    "Wire",
    "cut_off",
    "each_engine",
    "each_framing",
    "open_framed",
    "open_framing_proxy",
    "open_wire",
    "rest",
]

V1 = "v1.kernel.websocket.jupyter.org"

PATIENCE = 200.0
"""How long a test waits for what has to come, in seconds: for ever, but the test that hangs says where."""
QUICK: dict[str, Any] = {"gateway_retry_interval": 0.01, "gateway_retry_interval_max": 0.1, "gateway_retry_max": 100_000}
"""Settings of a session that connects again at once, and does not give up while a test keeps the way closed."""

each_engine = pytest.mark.parametrize("engine", ["fast", pytest.param("trio-websocket", marks=pytest.mark.full)], indirect=True)
"""For tests of what a connection does. What goes over it is the same on both: `servers/test_scenarios` shows it."""
each_framing = pytest.mark.parametrize("kernel", ["v1", "legacy"], indirect=True)
"""For tests of what a framing can change: buffers, odd text, large messages. The rest is the unit tests' of the codec."""


def rest(gateway: RunningGateway, method: str, path: str, body: object = None) -> Any:
    """Ask the gateway without the library under test."""
    request = urllib.request.Request(
        gateway.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"token {gateway.token}"},
    )
    with urllib.request.urlopen(request, timeout=PATIENCE) as answer:
        return json.loads(answer.read() or b"null")


@asynccontextmanager
async def open_framing_proxy(real_gateway: RunningGateway, framing: str) -> AsyncGenerator[tuple[TcpProxy, list[str]]]:
    """Lead to the gateway so that WebSockets to it speak `framing`; give the proxy and the framings that were seen on the wire.

    For the legacy one a proxy takes the offer of a subprotocol out of the upgrade request: as the gateway sees it, nothing
    was offered, and as the library sees it, nothing was chosen.
    """
    seen: list[str] = []

    def offer(data: bytes) -> bytes:
        if framing == "legacy" and data.startswith(b"GET "):
            data = re.sub(rb"\r\nSec-WebSocket-Protocol:[^\r\n]*", b"", data, flags=re.IGNORECASE)
        return data

    def answer(data: bytes) -> bytes:
        if data.startswith(b"HTTP/1.1 101 "):
            chosen = re.search(rb"\r\nSec-WebSocket-Protocol: *([^\r\n]*)", data, flags=re.IGNORECASE)
            seen.append("legacy" if chosen is None else {V1: "v1"}[chosen[1].decode()])
        return data

    def rewrite(link: Link) -> None:
        link.to_server.rewrite = offer
        link.to_client.rewrite = answer

    async with open_tcp_proxy(real_gateway.url) as proxy:
        proxy.on_link = rewrite
        yield proxy, seen


@asynccontextmanager
async def open_framed(
    real_gateway: RunningGateway, framing: str, **settings: Any
) -> AsyncGenerator[tuple[trio_gateway.Gateway, list[str]]]:
    """Open the gateway so that WebSockets to it speak `framing`; give it and the framings that were seen on the wire."""
    async with (
        open_framing_proxy(real_gateway, framing) as (proxy, seen),
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **settings) as gateway,
    ):
        yield gateway, seen


async def cut_off(
    error: type[trio_gateway.KernelError], kernel: trio_gateway.Kernel, execution: Awaitable[trio_gateway.ExecutionResult]
) -> None:
    """Await code whose kernel a gateway restarts or shuts down: it ends with this error, which names the kernel.

    The gateway begins with an interrupt. Mostly the kernel is gone before it can answer; if not, its answer is the result.
    """
    named = kernel.id
    try:
        result = await execution
    except error as raised:
        named = raised.kernel_id
    else:
        assert result.error is not None
        assert result.error.ename == "KeyboardInterrupt"
    assert named == kernel.id


class Call:
    """Code in a kernel said a word and waits for an answer."""

    def __init__(self, word: str, stream: trio.SocketStream) -> None:
        self.word = word
        self.over = trio.Event()
        self._stream = stream

    async def answer(self, text: str = "") -> None:
        """Let the code go on."""
        await self._stream.send_all(text.encode() + b"\n")
        self.over.set()

    async def hung_up(self) -> None:
        """Wait until the code does not wait any more though nobody answered: it was interrupted, or its process is gone."""
        with suppress(trio.BrokenResourceError):
            assert await self._stream.receive_some() == b""
        self.over.set()


async def without_connections(gateway: RunningGateway, kernel: trio_gateway.Kernel) -> None:
    """Wait until the gateway knows that a kernel's connection is gone: what the kernel says goes to its buffer from then on."""
    while (await trio.to_thread.run_sync(rest, gateway, "GET", f"/api/kernels/{kernel.id}"))["connections"]:
        pass  # it counts a connection that was reset until its own loop has seen the reset


class Wire:
    """A wire out of a kernel: how a test learns what code is doing without looking again and again, and tells it to go on.

    `Wire.code` defines `wire(word)` in the kernel, which says the word, waits for an answer and returns it.
    """

    def __init__(self, port: int, calls: trio.MemoryReceiveChannel[Call]) -> None:
        self.code = (
            "def wire(word):\n"
            "    import socket\n"
            f"    with socket.create_connection(('127.0.0.1', {port})) as connection:\n"
            "        connection.sendall(word.encode() + b'\\n')\n"
            "        answer = b''\n"
            "        while not answer.endswith(b'\\n') and (data := connection.recv(1000)):\n"
            "            answer += data\n"
            "        return answer.decode().strip()\n"
        )
        self._calls = calls

    async def hears(self, word: str) -> Call:
        """Wait for the next word, which has to be this one."""
        with trio.fail_after(PATIENCE):
            call = await self._calls.receive()
        assert call.word == word
        return call

    def heard_nothing(self) -> bool:
        """Whether no word waits to be heard."""
        return self._calls.statistics().current_buffer_used == 0


@asynccontextmanager
async def open_wire() -> AsyncGenerator[Wire]:
    """Listen for the words of code in kernels."""
    send, receive = trio.open_memory_channel[Call](math.inf)

    async def take(stream: trio.SocketStream) -> None:
        word = b""
        while not word.endswith(b"\n") and (data := await stream.receive_some()):
            word += data
        call = Call(word.decode().strip(), stream)
        send.send_nowait(call)
        await call.over.wait()

    async with trio.open_nursery() as nursery:
        listeners = await nursery.start(partial(trio.serve_tcp, take, 0, host="127.0.0.1"))
        yield Wire(listeners[0].socket.getsockname()[1], receive)
        nursery.cancel_scope.cancel()
