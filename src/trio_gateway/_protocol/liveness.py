"""Is the kernel there? A verdict from evidence, as a pure state machine: `now` comes in as an argument.

The one idea: only evidence counts. A message, a pong or the gateway's model shows life; silence alone shows nothing, for a
kernel may be busy for hours without a word. What is dead is known from an authority: the gateway's 404, its model, or the
kernel's own goodbye.
"""

from __future__ import annotations

import enum
from typing import Final

__all__ = ["Liveness", "Verdict"]

PING_LIMITS: Final = 1.0
"""How many ping intervals a pong may take."""
SENDING_LIMITS: Final = 4.0
"""How many ping intervals a pong may take while a message is being sent: it waits behind that message."""


class Verdict(enum.Enum):
    """What the evidence says of a kernel."""

    ALIVE = "alive"
    """Heard of within the ping interval, or known by the gateway."""
    SUSPECT = "suspect"
    """Not heard of for longer, and a ping is under way; or the connection broke and is being made again."""
    UNREACHABLE = "unreachable"
    """The gateway can't be asked."""
    DEAD = "dead"
    """Its process ended for good. Final."""
    CULLED = "culled"
    """The gateway does not know it any more. Final."""


class Liveness:
    """Weighs the evidence about one kernel.

    Args:
        interval: the setting `ping_interval`, in seconds.
        now: the time, in seconds of any clock that only goes forward.
    """

    __slots__ = ("_connected", "_final", "_heard", "_message", "_pinged", "_unreachable", "interval")

    interval: float
    """The setting `ping_interval`, in seconds."""

    def __init__(self, interval: float, now: float) -> None:
        self.interval = interval
        self._heard = now
        self._message = now
        self._pinged: float | None = None
        self._connected = False
        self._unreachable = False
        self._final: Verdict | None = None

    def heard(self, now: float) -> None:
        """Anything came over the connection: a message, a pong."""
        self._heard = now
        self._pinged = None
        self._unreachable = False

    def message(self, now: float) -> None:
        """A message of the kernel's came: more than a pong, which is the gateway's."""
        self._message = now
        self.heard(now)

    def connected(self, now: float) -> None:
        """The connection is made: the gateway answers when its kernel does."""
        self._connected = True
        self.heard(now)

    def lost(self) -> None:
        """The connection broke."""
        self._connected = False
        self._pinged = None

    def pinged(self, now: float) -> None:
        """A ping was sent."""
        if self._pinged is None:
            self._pinged = now

    def vouched_for(self) -> None:
        """The gateway's model says that the kernel is there. It says nothing about our connection."""
        self._unreachable = False

    def unreachable(self) -> None:
        """The gateway could not be asked."""
        self._unreachable = True

    def ended(self, verdict: Verdict) -> None:
        """An authority said that it is over: `DEAD` or `CULLED`."""
        if self._final is None:
            self._final = verdict

    def silence(self, now: float) -> float:
        """Return how long nothing was heard, in seconds."""
        return now - self._heard

    def quiet(self, now: float) -> float:
        """Return how long no message came, in seconds."""
        return now - self._message

    def wants_ping(self, now: float) -> bool:
        """Whether it is time for a ping: nothing was heard for an interval, and none is under way."""
        return self._connected and self._pinged is None and self.silence(now) >= self.interval

    def link_is_dead(self, now: float, *, sending: bool) -> bool:
        """Whether a ping has gone unanswered for so long that the connection must be given up.

        Args:
            now: the time.
            sending: whether a message is being sent at the moment.
        """
        limit = self.interval * (SENDING_LIMITS if sending else PING_LIMITS)
        return self._pinged is not None and now - self._pinged >= limit

    def next_check(self, now: float, *, sending: bool) -> float:
        """Return when to look again, in seconds from now."""
        if self._pinged is None:
            return max(self.interval - self.silence(now), 0.0)
        limit = self.interval * (SENDING_LIMITS if sending else PING_LIMITS)
        return max(self._pinged + limit - now, 0.0)

    def verdict(self, now: float) -> Verdict:
        """Return what the evidence says."""
        if self._final is not None:
            return self._final
        if self._unreachable:
            return Verdict.UNREACHABLE
        if not self._connected or self._pinged is not None or self.silence(now) > 2 * self.interval:
            return Verdict.SUSPECT
        return Verdict.ALIVE
