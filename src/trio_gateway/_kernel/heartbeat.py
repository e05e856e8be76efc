"""The heartbeat of one connection: it is asked whether it is there when nothing was heard, and given up when nothing answers.

The one idea: a connection on which nothing happens has no task for that. An alarm of the gateway's timer looks at it when a ping
is due, or an answer to one, and the ping is sent there and then where the socket takes it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from types import TracebackType
from typing import Protocol

import trio

from .._protocol.liveness import Liveness
from .._transport.timer import Alarm, Timer, raise_error
from .._transport.websocket.opening import WebSocket, WebSocketClosed

__all__ = ["Heartbeat", "Traffic"]


class Traffic(Protocol):
    """What goes over the connection."""

    @property
    def sending(self) -> bool:
        """Whether something is being written at the moment."""
        ...

    @property
    def paused(self) -> bool:
        """Whether nothing is read at the moment because a consumer has no room."""
        ...


class Heartbeat:
    """Looks after one connection while its block lasts.

    Args:
        websocket: the connection.
        nursery: its tasks; cancelled when it is given up.
        liveness: the evidence, which is added to and acted on.
        traffic: what goes over it.
        timer: keeps time.
        give_up: called when it is given up, with the moment at which it was last heard of.
    """

    __slots__ = ("_alarm", "_give_up", "_liveness", "_nursery", "_traffic", "_websocket")

    def __init__(
        self,
        websocket: WebSocket,
        nursery: trio.Nursery,
        liveness: Liveness,
        traffic: Traffic,
        timer: Timer,
        give_up: Callable[[float], object],
    ) -> None:
        self._websocket = websocket
        self._nursery = nursery
        self._liveness = liveness
        self._traffic = traffic
        self._give_up = give_up
        self._alarm = Alarm(timer, self._look, self._have_raised)

    def __enter__(self) -> None:
        self._rest()

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self._alarm.close()

    def _rest(self) -> None:
        """Look again when that is due."""
        self._alarm.set(self._liveness.due(sending=self._traffic.sending))

    def _look(self) -> None:
        liveness, now = self._liveness, trio.current_time()
        if self._traffic.paused:
            # We don't read, so we can't hear: say that we are there, and don't take the silence for death.
            liveness.heard(now)
            self._nursery.start_soon(_quietly, self._websocket.pong)
        elif liveness.link_is_dead(now, sending=self._traffic.sending):
            self._websocket.given_up = True
            self._give_up(now - liveness.silence(now))
            self._nursery.cancel_scope.cancel()
            return
        elif liveness.wants_ping(now):
            liveness.pinged(now)
            if not self._websocket.ping_now(partial(self._note_answer, now)):
                # In a task of its own: a ping that is cut would be half a frame.
                self._nursery.start_soon(self._ping, now)
        self._rest()

    async def _ping(self, sent: float) -> None:  # noqa: ASYNC910 - it waits for the answer
        with suppress(WebSocketClosed):
            await self._websocket.ping()
            self._note_answer(sent)

    def _note_answer(self, sent: float) -> None:
        if not self._alarm.closed:  # else the answer has come while goodbyes are said, and shows nothing
            self._liveness.ponged(trio.current_time(), sent)
            self._rest()

    def _have_raised(self, error: Exception) -> None:
        """Have a defect end the connection, and no other."""
        self._alarm.close()
        self._nursery.start_soon(raise_error, error)


async def _quietly(act: Callable[[], Awaitable[None]]) -> None:  # noqa: ASYNC910 - what it calls waits
    with suppress(WebSocketClosed):
        await act()
