"""A kernel's channels as jupyter_client's dictionaries: the part that runs in Trio.

The one idea: one WebSocket session with the kernel, its four channels subscribed to, and messages that go out under the ids that
jupyter_client has given them. A kernel whose process was replaced or is gone is *lost* to the client that had state in it:
readers get an error after a moment, in which they may look for themselves.
"""

from __future__ import annotations

import functools
from collections import deque
from collections.abc import AsyncGenerator, Iterable, Mapping
from contextlib import asynccontextmanager
from typing import Any, Final

import trio

from .._errors import GatewayError, KernelRestartedError, fresh
from .._gateway.gateway import Gateway
from .._kernel.channels import Subscription
from .._kernel.kernel import Kernel
from .._portal.prefetch import Reading
from .._protocol.messages import Message

__all__ = ["CHANNELS", "Link"]

CHANNELS: Final = ("shell", "iopub", "stdin", "control")

LAST_LOOK: Final = 3.0
"""How long a reader of a lost kernel goes on waiting, in seconds: nbclient looks once a second whether the kernel is alive, and
has an error of its own for one that is not."""


class Link:
    """The channels of one client. All but the constructor, its attributes and `expect_restart` are for Trio's thread."""

    def __init__(self) -> None:
        self.lost: Exception | None = None
        """Why nothing will come any more."""
        self.ending = False
        """Whether this side ends it: the channels are stopped, or the kernel is shut down. For the readers' thread."""
        self.ended = False
        """Whether this side has ended it, so that nobody waits any more who did before. For the readers' thread."""
        self._allowed_restarts = 0
        self._closed = False
        self._kernel: Kernel | None = None
        self._channels: dict[str, Subscription] = {}
        self._unsent: deque[tuple[str, Mapping[str, Any]]] = deque()
        self._fed = trio.Event()
        self._ready = trio.Event()
        self._readers: set[trio.CancelScope] = set()
        self.readings: Mapping[str, Reading[Message]] = {
            name: Reading(functools.partial(self.get, name), functools.partial(self._ready_now, name)) for name in CHANNELS
        }
        """Each channel's messages, for readers outside of Trio."""

    def expect_restart(self) -> None:
        """Take the next restart for one that was asked for."""
        self._allowed_restarts += 1

    def beats(self) -> bool:
        """Say whether the kernel is there, as far as anyone can tell."""
        return self.lost is None and (self._kernel is None or self._kernel.hb.is_beating())

    @asynccontextmanager
    async def open(self, gateway: Gateway, kernel_id: str) -> AsyncGenerator[Link]:
        """Connect, and send and watch until the block ends."""
        try:
            async with (
                gateway.attach_kernel(kernel_id) as kernel,
                kernel.shell.subscribe() as self._channels["shell"],
                kernel.iopub.subscribe() as self._channels["iopub"],
                kernel.stdin.subscribe() as self._channels["stdin"],
                kernel.control.subscribe() as self._channels["control"],
            ):
                self._kernel = kernel
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(self._send, kernel)
                    nursery.start_soon(self._watch, kernel)
                    self._ready.set()
                    yield self
                    nursery.cancel_scope.cancel(reason="the channels are stopped")
        except GatewayError as error:
            self._lose(error)
            raise
        finally:
            self._lose(trio.ClosedResourceError("the channels are stopped"))
            self._ready.set()

    def feed(self, channel: str, message: Mapping[str, Any]) -> None:
        """Queue a message; messages go out in order, when there is a connection."""
        self._unsent.append((channel, message))
        self._fed.set()

    async def wait_ready(self) -> None:
        """Wait until there is a connection. Raises why there is none."""
        await self._ready.wait()
        if not self._channels and self.lost is not None:
            raise fresh(self.lost)

    async def get(self, channel: str) -> Message:
        """Wait for a channel's next message.

        Raises:
            GatewayError: the kernel is lost, and this is why.

        Cancellation: safe, no message is lost.
        """
        await self.wait_ready()
        with trio.CancelScope() as scope:
            if self.lost is not None:
                scope.deadline = self._last_look()
            self._readers.add(scope)
            try:
                return await self._channels[channel].receive()
            except (GatewayError, trio.EndOfChannel):
                await trio.sleep(LAST_LOOK)  # noqa: ASYNC120 - its caller's cancellation may take its place
            finally:
                self._readers.discard(scope)
        raise fresh(self.lost) if self.lost is not None else trio.EndOfChannel

    def _ready_now(self, channel: str, limit: int, /, *, limit_bytes: float) -> Iterable[Message]:
        subscription = self._channels.get(channel)
        return () if subscription is None else subscription.receive_ready(limit, limit_bytes=limit_bytes)

    async def _send(self, kernel: Kernel) -> None:
        channels = {"shell": kernel.shell, "stdin": kernel.stdin, "control": kernel.control, "iopub": kernel.iopub}
        try:
            while True:
                await self._fed.wait()
                self._fed = trio.Event()
                while self._unsent:
                    name, message = self._unsent.popleft()
                    await channels[name].send(
                        message["header"]["msg_type"],
                        message["content"],
                        parent_header=message.get("parent_header"),
                        metadata=message.get("metadata"),
                        buffers=message.get("buffers") or (),
                        msg_id=message["header"]["msg_id"],
                    )
        except GatewayError as error:
            self._lose(error)

    async def _watch(self, kernel: Kernel) -> None:
        async for _ in kernel.changes():
            if kernel.hb.evidence.restarts > self._allowed_restarts:
                self._lose(KernelRestartedError(kernel.id, "its process was replaced, and what was in it is lost"))
        try:
            await kernel.iopub.send("nothing", {})  # raises why the session has ended
        except GatewayError as error:
            self._lose(error)

    def _lose(self, reason: Exception) -> None:
        if self.lost is None or isinstance(reason, trio.ClosedResourceError):
            self.lost = self.lost or reason
            self._closed = isinstance(reason, trio.ClosedResourceError)
            for scope in self._readers:
                scope.deadline = self._last_look()

    def _last_look(self) -> float:
        return trio.current_time() + (0 if self._closed else LAST_LOOK)
