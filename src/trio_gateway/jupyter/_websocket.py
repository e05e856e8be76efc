"""Jupyter Server's WebSocket connections: each ties a browser to a kernel's channels on the gateway.

The one idea: this is the part on the server's event loop; the frames themselves pass through a `Wire`, in Trio.
"""

# The server awaits what its managers' methods give, and the annotations of their synchronous base classes don't say so.
# mypy: disable-error-code="override"
# pyright: reportIncompatibleMethodOverride=false

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from jupyter_server.services.kernels.connection.base import BaseKernelWebsocketConnection
from tornado.websocket import WebSocketClosedError

from .._portal.calls import Block
from .._portal.faces import original_of
from .._portal.messages import NOBODY
from .._portal.portal import Portal
from .._protocol.codec import V1_SUBPROTOCOL
from ._wire import Wire

__all__ = ["GatewayWebSocketConnection"]


class GatewayWebSocketConnection(BaseKernelWebsocketConnection):
    """Jupyter Server's `kernel_websocket_connection_class`: ties a browser's WebSocket to a kernel's channels on the gateway.

    Frames go through as they are, in order, whatever the gateway's framing; nothing but what a resumed connection asks for is
    looked into. What the kernel sends is read as fast as the browser takes it. While the connection to the gateway is broken the
    browser's frames wait, and a request that was lost with it is answered by an error that says so. A browser that comes back
    under the same session id gets what it has missed, as far as the gateway has kept it. When the channels have ended for good,
    its socket is closed.
    """

    _block: Block | None = None

    async def connect(self) -> None:
        """Start connecting to the kernel."""
        manager: Any = self.multi_kernel_manager
        gateway: Any = await manager.gateway()
        self._wire = Wire(asyncio.get_running_loop(), self._write, self._finish, self.log)
        v1 = self.websocket_handler.selected_subprotocol == V1_SUBPROTOCOL
        opened = self._wire.open(original_of(gateway), self.kernel_id, self.session_id, v1, manager.wires)
        self._block = Block(manager.portal, opened, NOBODY)
        self._portal: Portal = manager.portal
        self._block.enter()

    def handle_incoming_message(self, incoming_msg: str | bytes) -> None:
        """Send a message of the browser's to the kernel."""
        if self._block is not None:
            self._portal.thread.post(self._wire.feed, incoming_msg)

    def disconnect(self) -> None:
        """End the connection to the kernel; the kernel runs on."""
        if self._block is not None:
            self._block.leave(NOBODY)
            self._block = None

    async def _write(self, frames: Sequence[str | bytes]) -> None:
        try:
            for frame in frames:
                await self.websocket_handler.write_message(frame, binary=isinstance(frame, bytes))
        except WebSocketClosedError:
            self.disconnect()

    async def _finish(self) -> None:
        self.websocket_handler.close(1011, "the kernel is gone")
