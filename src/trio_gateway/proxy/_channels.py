"""The WebSocket `/api/kernels/{id}/channels`: a front end on one side, a kernel's channels on the other.

The one idea: the two sides end apart. What holds the gateway's connection waits for the end and for nothing else, so it is
closed at once when the front end goes, whatever else hangs; and the front end's is closed last, with a code and a reason.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import TYPE_CHECKING, Any, Final
from urllib.parse import parse_qs

import trio
from starlette.requests import ClientDisconnect

from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayTimeoutError,
    KernelError,
    KernelNotFoundError,
    ProtocolError,
)
from .._gateway.gateway import Gateway
from .._protocol.codec import V1_SUBPROTOCOL
from ._config import ProxyConfig
from ._front import FRAMES
from ._gate import Refused
from ._metrics import Metrics, Traffic
from ._shapes import error_of

if TYPE_CHECKING:
    from .._kernel.frame_relay import KernelChannels

__all__ = ["Relays"]

_LONGEST_REASON: Final = 120
"""A close frame has room for 123 bytes beside its code."""


class _Relay:
    """One front end's connection: how far it is, and how it ended."""

    def __init__(self) -> None:
        self.channels: KernelChannels | None = None
        self.traffic = Traffic()
        self.opening = trio.CancelScope()
        self.over = trio.Event()
        self.upstream_closed = trio.Event()
        self.written = trio.Event()
        self.front_gone = False
        self.code = 1011  # for a relay that ends without `end`, by a defect of ours
        self.reason = ""

    def end(self, code: int, reason: str) -> None:
        """Begin the end; the first one to do so says why."""
        if not self.over.is_set():
            self.code, self.reason = code, reason.encode()[:_LONGEST_REASON].decode(errors="ignore")
            self.over.set()
            if self.channels is None:
                self.opening.cancel()

    def go(self, code: int = 1006) -> None:
        """Take note that the front end has gone.

        Args:
            code: its close code; 1006 where it said no goodbye.
        """
        self.front_gone = True
        self.end(code, "the front end has gone")


class Relays:
    """All WebSockets of one proxy.

    Args:
        gateway: where the kernels are.
        config: the proxy's configuration.
        metrics: what is counted.
    """

    def __init__(self, gateway: Gateway, config: ProxyConfig, metrics: Metrics) -> None:
        self._gateway = gateway
        self._config = config
        self._metrics = metrics
        self._draining = False
        self._path = re.compile(re.escape(config.base_path) + "api/kernels/([^/]+)/channels")
        self._open: dict[tuple[str, str], _Relay] = {}
        self._all: set[_Relay] = set()

    @property
    def is_draining(self) -> bool:
        """Whether the proxy is about to end."""
        return self._draining

    def drain(self) -> None:
        """End all, and let none begin."""
        self._draining = True
        for relay in self._all:
            relay.end(1001, "the proxy is shutting down")

    async def serve(
        self,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        """Serve a WebSocket from its handshake to its end. The front end was let in.

        Raises:
            Refused: there is no such WebSocket, or no room for it.
            GatewayError: the gateway has no such kernel, or can't be reached; the handshake was not answered.
            ClientDisconnect: the front end has gone before its goodbye.
        """
        found = self._path.fullmatch(scope["path"])
        if found is None:
            raise Refused(404, "there is no WebSocket here")
        if self._draining:
            raise Refused(503, "the proxy is shutting down")
        if len(self._all) >= self._config.max_channels:
            raise Refused(503, f"there are {len(self._all)} WebSockets already (max_channels)")
        session_id = (parse_qs(scope["query_string"].decode("latin-1")).get("session_id") or [None])[0]
        relay = _Relay()
        self._all.add(relay)
        try:
            await receive()  # websocket.connect
            await self._relay(relay, found[1], session_id, scope, receive, send)
        finally:
            self._all.discard(relay)

    async def _relay(
        self,
        relay: _Relay,
        kernel_id: str,
        session_id: str | None,
        scope: MutableMapping[str, Any],
        receive: Callable[[], Awaitable[MutableMapping[str, Any]]],
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
    ) -> None:
        failure: GatewayError | None = None
        accepted = False
        v1 = V1_SUBPROTOCOL in scope["subprotocols"]
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._listen, relay, receive)
            try:
                with relay.opening:
                    if session_id is not None:
                        await self._take_over(relay, (kernel_id, session_id))
                    async with self._gateway.open_channels(kernel_id, session_id=session_id, v1=v1) as channels:
                        relay.channels = channels
                        relay.traffic = self._metrics.opened(kernel_id)
                        accepted = True
                        try:
                            await send({"type": "websocket.accept", "subprotocol": V1_SUBPROTOCOL if v1 else None})
                        except ClientDisconnect:
                            relay.go()
                            relay.written.set()
                        else:
                            batches = FRAMES in scope.get("extensions", {})
                            nursery.start_soon(self._write, relay, channels, send, batches)  # noqa: ASYNC111 - it ends with the channels
                        await relay.over.wait()
            except GatewayError as error:
                failure = error  # of the opening: nothing in the block raises one
            finally:
                self._metrics.resumed += 0 if relay.channels is None else relay.channels.resumed
                relay.upstream_closed.set()
                if session_id is not None and self._open.get((kernel_id, session_id)) is relay:
                    del self._open[kernel_id, session_id]
                if accepted:
                    self._metrics.closed(kernel_id, relay.code)
            if accepted:
                await relay.written.wait()
            nursery.cancel_scope.cancel()
        if failure is not None and not relay.front_gone:
            raise failure
        if accepted and not relay.front_gone:
            await send({"type": "websocket.close", "code": relay.code, "reason": relay.reason})
        elif not accepted and not relay.front_gone:
            raise Refused(503, relay.reason)

    async def _take_over(self, relay: _Relay, key: tuple[str, str]) -> None:
        """End an older connection of the same session: the gateway would close one of two, and it would come again."""
        while (older := self._open.get(key)) is not None:
            older.end(1001, "replaced by a newer connection of the same session")
            await older.upstream_closed.wait()
        self._open[key] = relay

    async def _listen(self, relay: _Relay, receive: Callable[[], Awaitable[MutableMapping[str, Any]]]) -> None:
        """Take what the front end sends, its end too; while the kernel's channels have no room, nothing is taken."""
        metrics = self._metrics
        while True:
            event = await receive()
            if event["type"] == "websocket.disconnect":
                relay.go(event.get("code") or 1005)
                return
            frame = event.get("bytes")
            if frame is None:
                frame = event.get("text") or ""
            if relay.channels is None or len(frame) > self._config.max_message_size:
                relay.end(1009, f"a message is larger than {self._config.max_message_size} bytes")
                continue
            metrics.to_kernel(relay.traffic, len(frame))
            try:
                await relay.channels.send(frame)
            except ProtocolError as error:
                relay.end(1007, str(error))
            except GatewayError:
                await trio.lowlevel.checkpoint()  # the task that reads reports how it ended

    async def _write(
        self,
        relay: _Relay,
        channels: KernelChannels,
        send: Callable[[MutableMapping[str, Any]], Awaitable[None]],
        batches: bool,
    ) -> None:
        """Give the front end what comes from the kernel; while it takes nothing, the gateway is not read.

        Args:
            relay: the connection.
            channels: the kernel's.
            send: the server's.
            batches: whether the server takes frames together.
        """
        metrics, traffic = self._metrics, relay.traffic
        try:
            while True:
                frames = await channels.receive()
                metrics.to_front(traffic, len(frames), sum(map(len, frames)))
                if batches:
                    await send({"type": FRAMES, "frames": frames})
                else:
                    for frame in frames:
                        await send({"type": "websocket.send", "text" if isinstance(frame, str) else "bytes": frame})
                if relay.over.is_set() and relay.front_gone:
                    return
                del frames  # not kept while nothing comes
        except GatewayError as error:
            relay.end(*_farewell(error))
        except ClientDisconnect:  # some servers tell of it here
            relay.go()
        finally:
            relay.written.set()


def _farewell(error: GatewayError) -> tuple[int, str]:
    """Return the close code and the words for a front end whose kernel can't be reached any more."""
    match error:
        case KernelNotFoundError() | KernelError():
            return 1011, "the kernel is gone"
        case GatewayConnectionError() | GatewayTimeoutError():
            return 1013, "the connection to the gateway broke and could not be resumed"
        case ProtocolError():
            return 1011, str(error)
        case _:
            return 1011, error_of(error)[1]
