"""WebSocket handshakes that are seen through to their end, also when nobody waits for it any more.

The one idea: a handshake runs in a task of the gateway's block, not of the caller who wants the connection. Kernel Gateway
counts a WebSocket that goes before its handshake was answered as one that left, without having counted it as one that came.
Its count of the kernel's connections is one too low from then on, never comes down to 0, and so nothing is kept for a session
whose connection breaks (measured with Kernel Gateway 3.0.1 on jupyter_server 2.21). So a caller that is cancelled leaves at once,
and what it has begun goes on here for a while: its connection is closed with a goodbye, or goes to the next one who wants the
same.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Final

import attrs
import trio

from ..._services import Services, open_services
from .engine import WebSocketEngine

__all__ = ["Connection", "Handshakes", "open_handshakes"]

CLOSE_SECONDS: Final = 1.0
"""How long a goodbye may take before the socket is closed without it."""
PATIENCE: Final = 5.0
"""How long a connection waits for handshakes with the same kernel that were left, in seconds; then it is made beside them."""


@attrs.frozen(eq=False)
class Connection:
    """A WebSocket that was opened, and what it runs on."""

    engine: WebSocketEngine
    """Speaks the protocol."""
    stream: trio.abc.Stream
    """To the server."""

    async def close(self, limit: float = CLOSE_SECONDS) -> None:
        """Say goodbye, unless it was given up, and close the socket; shielded.

        Args:
            limit: how long the goodbye may take, in seconds.
        """
        try:
            if not self.engine.given_up:
                with trio.move_on_after(limit, shield=True):
                    await self.engine.aclose()
        finally:
            await self.drop()  # noqa: ASYNC102 - it is shielded, and bounded

    async def drop(self) -> None:
        """Close the socket without a goodbye; shielded, and waits for nothing but tasks that end with it."""
        with trio.move_on_after(CLOSE_SECONDS, shield=True):
            await trio.aclose_forcefully(self.stream)
            await self.engine.end()


class _Handshake:
    """One handshake and what came of it."""

    __slots__ = ("deadline", "done", "over", "result", "scope", "url")

    def __init__(self, url: str) -> None:
        self.url = url
        self.done = trio.Event()  # something came of it
        self.result: Connection | Exception | None = None
        self.over = trio.Event()  # it is nobody's business any more
        self.scope: trio.CancelScope | None = None
        self.deadline: float | None = None  # set where nobody waits for it


class Handshakes:
    """The handshakes of one gateway. Made by `open_handshakes`.

    Args:
        services: of the gateway's block.
        limit: how long a handshake that nobody waits for may go on, its goodbye included, in seconds.
    """

    def __init__(self, services: Services, limit: float) -> None:
        self.services: Services = services
        self._limit = limit
        self._left: dict[str, list[_Handshake]] = {}

    async def shake(
        self,
        url: str,
        open_stream: Callable[[], Awaitable[trio.abc.Stream]],
        act: Callable[[trio.abc.Stream], Awaitable[Connection]],
    ) -> Connection:
        """Make a connection, after those handshakes with the same kernel that were left.

        One for the same URL, so of the same session, that is not answered yet is taken over: what the gateway has kept for the
        session comes over its connection.

        Args:
            url: what the connection is to; its query tells sessions apart.
            open_stream: opens a stream to the server. It is cancelled with the caller.
            act: shakes hands over it, within a limit of its own; it closes the stream if it raises.

        Raises:
            Exception: what one of them raised.

        Cancellation: leaves at once; a handshake that has begun goes on, as said.
        """
        if _address(url) in self._left:  # hardly ever, and a scope costs
            with trio.move_on_after(PATIENCE):
                while left := self._left.get(_address(url)):
                    same = next((handshake for handshake in left if handshake.url == url and not handshake.done.is_set()), None)
                    if same is None:
                        await left[0].over.wait()
                        continue
                    made = await self._wait(same)
                    if made is not None:
                        return made
        stream = await open_stream()
        handshake = _Handshake(url)
        handshake.scope = self.services.start_soon(self._run, handshake, stream, act, name="trio_gateway.handshake")
        made = await self._wait(handshake)
        if made is None:
            raise trio.ClosedResourceError("the gateway's block has ended")
        return made

    def drop(self, address: str) -> None:
        """Cut off those that were left, for their kernel is gone.

        Args:
            address: the kernel's URL, without a query.
        """
        for handshake in self._left.get(address, ()):
            assert handshake.scope is not None
            handshake.scope.cancel()

    async def finish(self) -> None:
        """Wait for those that were left."""
        while self._left:
            await next(iter(self._left.values()))[0].over.wait()

    async def _wait(self, handshake: _Handshake) -> Connection | None:
        """Wait for what comes of a handshake; None if nothing did."""
        self._take(handshake)
        try:
            await handshake.done.wait()
        except BaseException:
            self._leave(handshake)
            raise
        result, handshake.result = handshake.result, None
        if isinstance(result, Exception):
            try:
                raise result
            finally:
                del result  # else this frame and its own traceback keep each other
        return result

    def _take(self, handshake: _Handshake) -> None:
        """It is somebody's again."""
        if handshake.deadline is None:
            return  # as it is from the beginning
        handshake.deadline = None
        if handshake.scope is not None:
            handshake.scope.deadline = float("inf")
        self._forget(handshake)

    def _leave(self, handshake: _Handshake) -> None:
        """Nobody waits for it any more."""
        handshake.deadline = trio.current_time() + self._limit
        self._left.setdefault(_address(handshake.url), []).append(handshake)
        if handshake.done.is_set():  # in the same moment
            handshake.scope = self.services.start_soon(self._dismiss, handshake, name="trio_gateway.handshake")
        assert handshake.scope is not None
        handshake.scope.deadline = handshake.deadline

    def _forget(self, handshake: _Handshake) -> None:
        address = _address(handshake.url)
        left = self._left.get(address, [])
        if handshake in left:
            left.remove(handshake)
            if not left:
                del self._left[address]

    async def _run(
        self, handshake: _Handshake, stream: trio.abc.Stream, act: Callable[[trio.abc.Stream], Awaitable[Connection]]
    ) -> None:
        try:
            handshake.result = await act(stream)
        except Exception as error:  # noqa: BLE001 - it is raised again where it is awaited
            handshake.result = error
        finally:
            handshake.done.set()
            if handshake.deadline is not None and handshake.result is None:
                self._end(handshake)
        if handshake.deadline is not None:
            await self._dismiss(handshake)

    async def _dismiss(self, handshake: _Handshake) -> None:
        """Close what nobody wants."""
        result, handshake.result = handshake.result, None
        try:
            if isinstance(result, Connection):
                assert handshake.deadline is not None
                await result.close(max(handshake.deadline - trio.current_time(), 0.0))
        finally:
            self._end(handshake)

    def _end(self, handshake: _Handshake) -> None:
        self._forget(handshake)
        handshake.over.set()


def _address(url: str) -> str:
    return url.partition("?")[0]


@asynccontextmanager
async def open_handshakes(limit: float) -> AsyncGenerator[Handshakes]:
    """Open a block that handshakes are made in.

    Args:
        limit: how long one that nobody waits for may go on, in seconds.

    Cancellation: waits, shielded, for those that have begun, for as long as they may go on.
    """
    async with open_services() as services:
        handshakes = Handshakes(services, limit)
        try:
            yield handshakes
        finally:
            with trio.move_on_after(limit, shield=True):
                await handshakes.finish()
