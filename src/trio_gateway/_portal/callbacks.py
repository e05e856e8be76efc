"""What a program gives to a gateway to be called later, made so that it is called where the program lives: for asyncio.

The one idea: events go one way and are not waited for; a token is asked for and waited for, by a task in the event loop.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
from collections.abc import Awaitable, Callable
from typing import Any, Final, final

import trio

from .._events import EventSink, GatewayEvent
from .._gateway.listeners import Listener, Listeners
from .._tokens import NoOpTokenRenewer, TokenRenewer
from .asyncio_side import run_in_loop
from .portal import Portal

__all__ = ["listen_in_loop", "renew_in_loop"]

_logger = logging.getLogger("trio_gateway.events")

EVENTS_WAITING: Final = 1000
"""How many events may wait until a loop that is busy gets to them; more are lost, and counted."""


def listen_in_loop(listeners: Listeners, loop: asyncio.AbstractEventLoop, portal: Portal) -> Listeners:
    """Have functions among the listeners called in an event loop. What can't be a listener stays as it is."""

    def moved(listener: Listener) -> Listener:
        if isinstance(listener, trio.MemorySendChannel) or not callable(listener) or inspect.iscoroutinefunction(listener):
            return listener
        return _LoopSink(listener, loop, portal)

    if isinstance(listeners, (list, tuple)):
        return [moved(listener) for listener in listeners]
    return moved(listeners) if callable(listeners) else listeners


@final
class _LoopSink:
    def __init__(self, sink: EventSink, loop: asyncio.AbstractEventLoop, portal: Portal) -> None:
        self._sink = sink
        self._loop = loop
        self._portal = portal
        self._sent = 0
        self._called = 0

    def __call__(self, event: GatewayEvent) -> None:
        # Two counters, each written by one thread.
        if self._sent - self._called >= EVENTS_WAITING:
            self._portal.dropped_events += 1
            return
        try:
            self._loop.call_soon_threadsafe(self._call, event)  # in a copy of this task's context
        except RuntimeError:  # the loop was closed
            self._portal.dropped_events += 1
        else:
            self._sent += 1

    def _call(self, event: GatewayEvent) -> None:
        self._called += 1
        try:
            self._sink(event)
        except Exception:  # a listener must not break what it listens to
            _logger.exception("event_sink_failed")


def renew_in_loop(renewer: TokenRenewer, loop: asyncio.AbstractEventLoop) -> TokenRenewer:
    """Have an async `get_token` run in an event loop. A plain one stays in a worker thread, where it may block."""
    # The same test by which the library knows a renewer that gives no tokens.
    if not isinstance(renewer, TokenRenewer) or type(renewer).get_token is NoOpTokenRenewer.get_token:
        return renewer
    return (_AsyncRenewer if inspect.iscoroutinefunction(renewer.get_token) else _PlainRenewer)(renewer, loop)


class _PlainRenewer(TokenRenewer):
    def __init__(self, renewer: TokenRenewer, loop: asyncio.AbstractEventLoop) -> None:
        self._renewer = renewer
        self._loop = loop

    def __repr__(self) -> str:
        return repr(self._renewer)

    def get_token(self, *args: Any, **more: Any) -> str | Awaitable[str]:
        """Ask the program's own renewer."""
        found = self._renewer.get_token(*args, **more)
        return self._await(lambda: found) if inspect.isawaitable(found) else found

    async def _await(self, function: Callable[..., object], *args: object) -> Any:
        return await run_in_loop(self._loop, function, *args)


@final
class _AsyncRenewer(_PlainRenewer):
    async def get_token(self, *args: Any, **more: Any) -> str:
        """Ask the program's own renewer, in its loop."""
        token: str = await self._await(lambda: self._renewer.get_token(*args, **more))
        return token
