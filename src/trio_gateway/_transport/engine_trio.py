"""The engine trio-websocket. Each of its defaults is set on purpose: 1 MiB a message, 4 KiB a read.

The one idea: it wants a nursery for its reader task, and gets the services of the block; what that task raises is how the
connection ended.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, cast

import trio
import trio.abc
import trio_websocket
import wsproto.utilities

from .._errors import GatewayConnectionError
from .._protocol.messages import Buffer
from .engine import RECEIVE_BYTES, HandshakeRejected, Upgrade, WebSocketClosed
from .services import Services

__all__ = ["TrioWebSocket"]

# Sending on a connection whose closing handshake has begun is, for wsproto, the caller's mistake.
_OVER: Final = (trio_websocket.ConnectionClosed, wsproto.utilities.LocalProtocolError)


class _Reader:
    """Stands in for the nursery that trio-websocket wants, and hears of what its reader task raises."""

    def __init__(self, services: Services) -> None:
        self._services = services
        self.ended = trio.Event()
        self.error: Exception | None = None

    def start_soon(self, function: Callable[..., Awaitable[Any]], *args: object) -> None:
        self._services.start_soon(self._run, function, args, name="trio_gateway.websocket_reader")

    async def _run(self, function: Callable[..., Awaitable[Any]], args: tuple[object, ...]) -> None:
        try:
            await function(*args)
        except Exception as error:  # noqa: BLE001 - it tells how the connection ended; the engine's users look
            self.error = error
        finally:
            self.ended.set()


class _Promptly(trio.abc.SendChannel[bytes | str]):
    """Stands in for the queue in which trio-websocket's reader puts messages: one that has room takes no turn of the scheduler.

    A turn for each message is half of what a flood costs. The reader still waits when the queue is full.
    """

    def __init__(self, queue: trio.MemorySendChannel[bytes | str]) -> None:
        self._queue = queue

    async def send(self, value: bytes | str) -> None:  # noqa: ASYNC910 - that is what it is for
        try:
            self._queue.send_nowait(value)
        except trio.WouldBlock:
            await self._queue.send(value)

    async def aclose(self) -> None:
        await self._queue.aclose()


class TrioWebSocket:
    """The engine trio-websocket; see `WebSocket` for what it promises."""

    def __init__(self, services: Services) -> None:
        self.given_up: bool = False
        self._reader = _Reader(services)
        self._connection: trio_websocket.WebSocketConnection | None = None

    async def open(self, stream: trio.abc.Stream, upgrade: Upgrade) -> None:
        """Shake hands over an open stream."""
        opening = trio.CancelScope()

        async def give_up_with_reader() -> None:
            # When the reader ends before the handshake is done, trio-websocket leaves its caller waiting.
            await self._reader.ended.wait()
            opening.cancel()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(give_up_with_reader)
            with opening:
                self._connection = await trio_websocket.wrap_client_stream(
                    cast("trio.Nursery", self._reader),
                    cast("trio.SocketStream", stream),
                    upgrade.host,
                    upgrade.resource,
                    subprotocols=upgrade.subprotocols or None,
                    extra_headers=[(name.encode("latin-1"), value.encode("latin-1")) for name, value in upgrade.headers],
                    message_queue_size=16,
                    max_message_size=upgrade.max_message_size,
                    receive_buffer_size=RECEIVE_BYTES,
                )
                # There is no public way to ask for it; where it is called otherwise, all works as well, but slower.
                connection: Any = self._connection
                queue = getattr(connection, "_send_channel", None)
                if isinstance(queue, trio.MemorySendChannel):
                    connection._send_channel = _Promptly(queue)  # noqa: SLF001
            nursery.cancel_scope.cancel()
        error = self._reader.error
        if isinstance(error, trio_websocket.ConnectionRejected):
            # trio-websocket gives (name, value) pairs of bytes.
            answered = [(_latin(name).lower(), _latin(value)) for name, value in error.headers or ()]
            raise HandshakeRejected(error.status_code, answered, bytes(error.body or b""))
        made = self._connection
        if made is None or made.closed is not None or error is not None:
            why = f": {error!r}" if error is not None else ""
            raise GatewayConnectionError(f"{upgrade.address} broke the connection in the WebSocket handshake{why}")

    @property
    def subprotocol(self) -> str | None:
        return self._open().subprotocol or None

    @property
    def response_headers(self) -> Sequence[tuple[str, str]]:
        return [(_latin(name).lower(), _latin(value)) for name, value in self._open().handshake_headers]

    async def receive(self) -> Sequence[bytes | str]:
        connection = self._open()
        try:
            messages = [await connection.get_message()]
        except _OVER as error:
            raise self._closed(error) from None
        # What has come meanwhile, without a turn of the scheduler for each; there is no public way to ask for it.
        queue = getattr(connection, "_recv_channel", None)
        if queue is not None:
            with suppress(trio.WouldBlock, trio.EndOfChannel, trio.ClosedResourceError):
                while True:
                    messages.append(queue.receive_nowait())
        return messages

    async def send(self, data: bytes | str | Sequence[Buffer]) -> None:
        try:
            await self._open().send_message(data if isinstance(data, (bytes, str)) else b"".join(data))
        except _OVER as error:
            raise self._closed(error) from None

    async def ping(self) -> None:
        waiting = trio.CancelScope()

        async def give_up_with_reader() -> None:
            # When the connection ends without a goodbye, trio-websocket leaves its caller waiting.
            await self._reader.ended.wait()
            waiting.cancel()

        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(give_up_with_reader)
                with waiting:
                    await self._open().ping()
                nursery.cancel_scope.cancel()
        except* _OVER:
            waiting.cancel()
        if waiting.cancel_called:
            raise WebSocketClosed(*self._last_words())

    async def pong(self) -> None:
        try:
            await self._open().pong()
        except _OVER as error:
            raise self._closed(error) from None

    async def aclose(self) -> None:
        """Say goodbye; the caller bounds it and closes the stream."""
        if self._connection is not None and not self._reader.ended.is_set():
            await self._connection.aclose()

    def _open(self) -> trio_websocket.WebSocketConnection:
        assert self._connection is not None
        return self._connection

    def _closed(self, error: Exception) -> WebSocketClosed:
        return WebSocketClosed(*self._last_words(getattr(error, "reason", None)))

    def _last_words(self, reason: Any = None) -> tuple[int, str]:
        """How it ended: code and reason."""
        if self._reader.error is not None:
            return 1002, repr(self._reader.error)
        reason = self._open().closed or reason
        return (1006, "") if reason is None else (reason.code, reason.reason or "")


def _latin(value: bytes | str) -> str:
    return value if isinstance(value, str) else value.decode("latin-1")
