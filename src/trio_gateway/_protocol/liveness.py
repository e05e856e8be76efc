"""Is the kernel there? A verdict from evidence, as a pure state machine: `now` comes in as an argument.

The one idea: only evidence counts. A message, a pong, an answer on the control channel or the gateway's model shows life;
silence alone shows nothing, for a kernel may be busy for hours without a word. What is dead is known from an authority: the
gateway's 404, its model, or the kernel's own goodbye.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Final

import attrs

__all__ = ["VERDICT_TRANSITIONS", "Evidence", "Liveness", "Verdict"]

PING_LIMITS: Final = 1.0
"""How many ping intervals a pong may take."""
SENDING_LIMITS: Final = 4.0
"""How many ping intervals a pong may take while a message is being sent: it waits behind that message."""
SILENT_LIMITS: Final = 1.5
"""After how many ping intervals without a sign a kernel is suspect: a ping was sent after one, and has had time for its pong."""


class Verdict(enum.Enum):
    """What the evidence says of a kernel."""

    ALIVE = "alive"
    """Its connection was heard of lately."""
    SUSPECT = "suspect"
    """Not heard of for longer, though a ping asked; or the connection broke and is being made again."""
    UNREACHABLE = "unreachable"
    """The gateway can't be asked."""
    DEAD = "dead"
    """Its process ended for good. Final."""
    CULLED = "culled"
    """The gateway does not know it any more. Final."""


_LIVING: Final = (Verdict.ALIVE, Verdict.SUSPECT, Verdict.UNREACHABLE)

VERDICT_TRANSITIONS: Final[Mapping[tuple[Verdict, str], Verdict]] = {
    **{(verdict, "heard"): Verdict.ALIVE for verdict in _LIVING},
    (Verdict.ALIVE, "silent"): Verdict.SUSPECT,
    (Verdict.ALIVE, "lost"): Verdict.SUSPECT,
    **{(verdict, "unreachable"): Verdict.UNREACHABLE for verdict in _LIVING},
    (Verdict.UNREACHABLE, "vouched for"): Verdict.SUSPECT,
    **{(verdict, "dead"): Verdict.DEAD for verdict in _LIVING},
    **{(verdict, "culled"): Verdict.CULLED for verdict in _LIVING},
}


@attrs.frozen
class Evidence:
    """When a kernel was last heard of, by each way there is. All in seconds before now; None for never."""

    connection: float
    """Since anything came over its connection: a message, or the gateway's pong."""
    message: float | None
    """Since a message came."""
    answer: float | None
    """Since the kernel itself answered a probe on its control channel; it is asked only if it owes an answer and is silent."""
    model: float | None
    """Since the gateway's model of it said that it is there; asked only where the probe was not answered."""
    restarts: int
    """How often its process was replaced while this session lasted, by us, by others, or by the gateway when it had died."""


class Liveness:
    """Weighs the evidence about one kernel.

    Args:
        interval: the setting `ping_interval`, in seconds.
        now: the time, in seconds of any clock that only goes forward.
    """

    __slots__ = (
        "_answered",
        "_connected",
        "_heard",
        "_message",
        "_modelled",
        "_pinged",
        "_since",
        "_verdict",
        "carried",
        "interval",
        "progressed",
        "restarts",
    )

    interval: float
    """The setting `ping_interval`, in seconds."""
    restarts: int
    """How often the kernel's process was replaced."""
    progressed: bool
    """Whether the latest connection has carried something: a message of the kernel's, or a ping and its answer. (That it was made
    is nothing: a gateway can accept, say what it says to everyone, and hang up, again and again.)"""
    carried: float
    """Until when it is known that what was sent came through: when the latest question was sent that was answered."""

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self.restarts = 0
        self.progressed = False
        self.carried = now
        self._since = now
        self._heard = now
        self._message: float | None = None
        self._answered: float | None = None
        self._modelled: float | None = None
        self._pinged: float | None = None
        self._connected = False
        self._verdict = Verdict.SUSPECT

    def heard(self, now: float) -> None:
        """Anything came over the connection: a message, a pong."""
        self._heard = now
        self._pinged = None
        self._feed("heard")

    def message(self, now: float) -> None:
        """A message came: more than a pong, which is the gateway's."""
        self._message = now
        self.heard(now)

    def ponged(self, now: float, sent: float) -> None:
        """The gateway answered a ping, which was sent then: the connection carries what is sent, both ways."""
        self.progressed = True
        self.carried = max(self.carried, sent)
        self.heard(now)

    def answered(self, now: float, sent: float) -> None:
        """The kernel answered a probe on its control channel, which its process does though it is busy; it was sent then."""
        self._answered = now
        self.carried = max(self.carried, sent)

    def connected(self, now: float) -> None:
        """The connection is made: the gateway answers when its kernel does."""
        self._connected = True
        self.progressed = False
        self._since = now
        self.heard(now)

    def lost(self) -> None:
        """The connection broke."""
        self._connected = False
        self._pinged = None
        self._feed("lost")

    def pinged(self, now: float) -> None:
        """A ping was sent."""
        if self._pinged is None:
            self._pinged = now

    def vouched_for(self, now: float) -> None:
        """The gateway's model says that the kernel is there. It says nothing about our connection."""
        self._modelled = now
        self._feed("vouched for")

    def unreachable(self) -> None:
        """The gateway could not be asked."""
        self._feed("unreachable")

    def ended(self, verdict: Verdict) -> None:
        """An authority said that it is over: `DEAD` or `CULLED`."""
        self._feed(verdict.value)

    def silence(self, now: float) -> float:
        """Return how long nothing was heard, in seconds."""
        return now - self._heard

    def quiet(self, now: float) -> float:
        """Return how long no message came, in seconds."""
        return now - max(self._since, self._message or self._since)

    def wants_ping(self, now: float) -> bool:
        """Whether it is time for a ping: nothing was heard for an interval, and none is under way."""
        return self._connected and self._pinged is None and now >= self._due(sending=False)

    def link_is_dead(self, now: float, *, sending: bool) -> bool:
        """Whether a ping has gone unanswered for so long that the connection must be given up.

        Args:
            now: the time.
            sending: whether a message is being sent at the moment.
        """
        return self._pinged is not None and now >= self._due(sending=sending)

    def next_check(self, now: float, *, sending: bool) -> float:
        """Return when to look again, in seconds from now."""
        return max(self._due(sending=sending) - now, 0.0)

    def _due(self, *, sending: bool) -> float:
        """Return when a ping is due, or, if one was sent, its answer.

        A moment and no difference: a difference is rounded, so the check could come a hair before its time again and again, with
        a wait so short that adding it to a clock that stands still between two steps, as a test's does, changes nothing.
        """
        if self._pinged is None:
            return self._heard + self.interval
        return self._pinged + self.interval * (SENDING_LIMITS if sending else PING_LIMITS)

    def verdict(self, now: float) -> Verdict:
        """Return what the evidence says."""
        if self.silence(now) >= SILENT_LIMITS * self.interval:
            self._feed("silent")
        return self._verdict

    def evidence(self, now: float) -> Evidence:
        """Return the evidence itself."""
        return Evidence(
            connection=self.silence(now),
            message=_ago(self._message, now),
            answer=_ago(self._answered, now),
            model=_ago(self._modelled, now),
            restarts=self.restarts,
        )

    def _feed(self, event: str) -> None:
        self._verdict = VERDICT_TRANSITIONS.get((self._verdict, event), self._verdict)


def _ago(when: float | None, now: float) -> float | None:
    return None if when is None else now - when
