"""A browser's connection to a kernel: the part that runs in Trio.

The one idea: frames go through as they are, in both directions, in order. One wire a session: a front end that comes back under
the same session id takes it over from the one before.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import trio

from .._errors import GatewayError, ProtocolError
from .._gateway.gateway import Gateway
from .._kernel.frame_relay import KernelChannels
from .._portal.asyncio_side import run_in_loop

__all__ = ["Wire"]


class Wire:
    """The part of a browser's connection that runs in Trio."""

    def __init__(self, loop: asyncio.AbstractEventLoop, write: Any, finish: Any, log: Any) -> None:
        self._loop = loop
        self._write = write
        self._finish = finish
        self._log = log
        self._unsent: deque[str | bytes] = deque()
        self._fed = trio.Event()
        self._scope = trio.CancelScope()
        self._closed = trio.Event()

    def feed(self, frame: str | bytes) -> None:
        """Queue a message of the browser's."""
        self._unsent.append(frame)
        self._fed.set()

    @asynccontextmanager
    async def open(
        self, gateway: Gateway, kernel_id: str, session_id: str, v1: bool, others: dict[tuple[str, str], Wire]
    ) -> AsyncGenerator[None]:
        """Connect to the kernel, and relay in both directions until the block ends, or another one takes the session over."""
        key = (kernel_id, session_id)
        while (older := others.get(key)) is not None:
            await older.give_way()
        others[key] = self
        try:
            with self._scope:
                async with (
                    gateway.open_channels(kernel_id, session_id=session_id, v1=v1) as channels,
                    trio.open_nursery() as nursery,
                ):
                    nursery.start_soon(self._send, channels)
                    nursery.start_soon(self._relay, channels)
                    yield
                    nursery.cancel_scope.cancel(reason="the front end has gone")
        except GatewayError as error:
            self._log.warning("Kernel %s can't be reached: %s", kernel_id, error)
            await self._hang_up()
        finally:
            del others[key]
            self._closed.set()

    async def give_way(self) -> None:
        """End, because the front end has come back by another wire."""
        self._scope.cancel(reason="the front end has come back")
        await self._closed.wait()

    async def _send(self, channels: KernelChannels) -> None:
        while True:
            await self._fed.wait()
            self._fed = trio.Event()
            while self._unsent:
                try:
                    await channels.send(self._unsent.popleft())
                except ProtocolError as error:
                    self._log.warning("A message of a front end can't be understood: %s", error)
                except GatewayError:
                    return  # the reader sees it too

    async def _relay(self, channels: KernelChannels) -> None:
        try:
            while True:
                await run_in_loop(self._loop, self._write, await channels.receive())
        except GatewayError as error:
            self._log.info("A connection to a kernel has ended: %s", error)
            await self._hang_up()

    async def _hang_up(self) -> None:
        try:
            await run_in_loop(self._loop, self._finish)
        except RuntimeError:  # the loop was closed
            await trio.lowlevel.checkpoint()
