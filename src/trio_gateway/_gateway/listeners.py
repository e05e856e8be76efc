"""Events on their way to their listeners: functions and memory channels.

The one idea: listening is free of consequences. A listener that raises is logged, a channel that is full loses the event and
the loss is counted; the work that the event is about goes on as if nobody listened.
"""

from __future__ import annotations

import inspect
import logging
from collections.abc import Generator, Sequence
from contextlib import contextmanager
from typing import TypeAlias

import trio

from .._errors import InvalidInputError
from .._events import EventSink, GatewayEvent

__all__ = ["EventFanOut", "Listener", "Listeners", "open_fan_out"]

_logger = logging.getLogger("trio_gateway.events")

Listener: TypeAlias = EventSink | trio.MemorySendChannel[GatewayEvent]
"""A listener: a plain function, or the sending end of a memory channel."""
Listeners: TypeAlias = Listener | Sequence[Listener] | None
"""One of them, several, or nobody."""


class EventFanOut:
    """Hands each event to every listener, and keeps what they raise from those who tell. Made by `open_fan_out`."""

    def __init__(self, sinks: Sequence[EventSink], channels: Sequence[trio.MemorySendChannel[GatewayEvent]]) -> None:
        self._sinks = sinks
        self._channels = channels
        self._dropped = 0

    @property
    def dropped(self) -> int:
        """How many events found a channel full, or nobody at its other end."""
        return self._dropped

    def __call__(self, event: GatewayEvent) -> None:
        """Hand an event on. Never waits, never raises."""
        for sink in self._sinks:
            try:
                sink(event)
            except Exception:  # a listener must not break what it listens to
                _logger.exception("event_sink_failed")
        for channel in self._channels:
            try:
                channel.send_nowait(event)
            except (trio.WouldBlock, trio.BrokenResourceError, trio.ClosedResourceError):
                if not self._dropped:
                    _logger.warning("event_dropped: a channel of events is full, or nobody reads it; more are only counted")
                self._dropped += 1


@contextmanager
def open_fan_out(listeners: Listeners) -> Generator[EventFanOut]:
    """Open a fan-out. It clones the channels it is given, and closes its clones with the block.

    Args:
        listeners: what gets the events.

    Raises:
        InvalidInputError: a listener can't be one.
    """
    several = _listed(listeners)
    for listener in several:
        _check(listener)
    sinks = [listener for listener in several if not isinstance(listener, trio.MemorySendChannel)]
    channels: list[trio.MemorySendChannel[GatewayEvent]] = []
    try:
        channels.extend(listener.clone() for listener in several if isinstance(listener, trio.MemorySendChannel))
        yield EventFanOut(sinks, channels)
    finally:
        for channel in channels:
            channel.close()


def _listed(listeners: Listeners) -> Sequence[Listener]:
    if listeners is None:
        return ()
    if isinstance(listeners, trio.MemorySendChannel) or callable(listeners):
        return (listeners,)
    if not isinstance(listeners, (list, tuple)):
        _check(listeners)
    return listeners


def _check(listener: object) -> None:
    if isinstance(listener, trio.MemorySendChannel):
        return
    expected = "a function of one GatewayEvent, a trio.MemorySendChannel, or a list of these"
    if not callable(listener):
        raise InvalidInputError("on_event", listener, expected)
    if inspect.iscoroutinefunction(listener) or inspect.iscoroutinefunction(type(listener).__call__):
        raise InvalidInputError("on_event", listener, f"{expected}; an async function would never be awaited")
