"""Getting to know the process that takes another one's place.

The one idea: between two processes of a kernel nothing is sent that matters. Code that waits for its turn is kept back from a
process that is about to be restarted, and from the new one until that both answers and is heard: a gateway may subscribe to what
it publishes later than it reconnects the rest, and what it publishes before that is lost.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Final

import trio

from .._protocol.recovery import QUESTION
from .pending import PendingProbe
from .requests import Requests
from .status import SessionStatus

__all__ = ["GATE_TRANSITIONS", "GateState", "RestartGate"]

PROBE_AGAIN: Final = 0.25
"""How long a probe of a restarted kernel may take before the next one, in seconds; doubled each time, up to 2."""
PROBE_SECONDS: Final = 30.0
"""How long a restarted kernel is probed at most before it is sent code all the same, in seconds."""


class GateState(enum.Enum):
    """Whether code is kept back, and for what."""

    OPEN = "open"
    """Code is sent."""
    ASKED = "asked"
    """A restart was asked for, and the old process may still be there."""
    MEETING = "meeting"
    """A new process took the old one's place, and was not heard yet."""
    GIVEN_UP = "over"
    """The session has ended. Final: nobody waits."""

    if not TYPE_CHECKING:  # which takes it for another method than the one it stands for
        __hash__ = object.__hash__  # in C: each is there once


GATE_TRANSITIONS: Final[Mapping[tuple[GateState, str], GateState]] = {
    (GateState.OPEN, "restart asked"): GateState.ASKED,
    (GateState.ASKED, "no restart asked any more"): GateState.OPEN,
    (GateState.OPEN, "replaced"): GateState.MEETING,
    (GateState.ASKED, "replaced"): GateState.MEETING,
    (GateState.MEETING, "met"): GateState.OPEN,
    (GateState.MEETING, "met, and restart asked"): GateState.ASKED,
    **{(state, "session ended"): GateState.GIVEN_UP for state in (GateState.OPEN, GateState.ASKED, GateState.MEETING)},
}


class RestartGate:
    """Keeps code back while a session's kernel changes its process.

    Args:
        requests: asks the new process.
        status: how the session is.
        start_soon: starts a service that ends with the session's block at the latest.
    """

    __slots__ = ("_asking", "_met", "_requests", "_start_soon", "_state", "_status", "farewell", "ours")

    farewell: bool
    """Whether the old process has said goodbye since then."""
    ours: bool
    """Whether we asked for a restart and have not heard the new process yet: what the old one says is no news then."""

    def __init__(self, requests: Requests, status: SessionStatus, start_soon: Callable[..., object]) -> None:
        self.farewell = False
        self.ours = False
        self._requests = requests
        self._status = status
        self._start_soon = start_soon
        self._asking = 0
        self._state = GateState.OPEN
        self._met: trio.Event | None = None  # none while the gate is open, as it mostly is: an event takes memory

    async def wait(self) -> None:
        """Wait until there is a process that can be heard. Mostly no wait.

        Cancellation: safe.
        """
        while self._met is not None:
            await self._met.wait()

    @contextmanager
    def asked(self) -> Generator[None]:
        """A restart is being asked for: keep code back; if nothing has begun at its end, go on with the old process."""
        self.ours = True  # until the new process is heard: the old one's goodbye may come after the gateway's answer
        self._asking += 1
        self._feed("restart asked")
        try:
            yield
        finally:
            self._asking -= 1
            if not self._asking:
                self._feed("no restart asked any more")

    def begin(self) -> None:
        """A new process took the kernel's place: see that it is heard before it is sent code."""
        self.farewell = False
        meeting = self._state is GateState.MEETING
        self._feed("replaced")
        if self._state is GateState.MEETING and not meeting:
            self._start_soon(self._probe, name="trio_gateway.probe")

    @property
    def meeting(self) -> bool:
        """Whether there is a new process that was sent no code yet."""
        return self._state is GateState.MEETING

    def give_up(self) -> None:
        """There is nobody to be met any more: nobody waits."""
        self._feed("session ended")

    def _feed(self, event: str) -> None:
        """Feed the machine; keep code back, or let those who wait go on."""
        self._state = GATE_TRANSITIONS.get((self._state, event), self._state)
        if self._state in (GateState.ASKED, GateState.MEETING):
            if self._met is None:
                self._met = trio.Event()
        elif self._met is not None:
            self.ours = self.farewell = False
            self._met.set()
            self._met = None

    async def _probe(self) -> None:
        """Ask the new process until it both answers and is heard, for a while."""
        requests = self._requests
        pause = PROBE_AGAIN
        try:
            with trio.move_on_after(PROBE_SECONDS):
                while not self._status.over:
                    probe = PendingProbe(requests.make("shell", QUESTION, {}))
                    requests.submit(probe)
                    with trio.move_on_after(pause):
                        await probe.wait_settled()
                    requests.withdraw(probe)
                    requests.forget(probe)
                    if probe.succeeded:
                        return
                    if probe.failure is not None:
                        await trio.sleep(pause)
                    pause = min(2 * pause, 2.0)
        finally:
            self._feed("met, and restart asked" if self._asking else "met")
