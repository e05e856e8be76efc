"""Is the kernel there? A verdict from evidence, as a pure state machine: `now` comes in as an argument.

The one idea: only evidence counts. A message, a pong, an answer on the control channel or the gateway's model shows life;
silence alone shows nothing, for a kernel may be busy for hours without a word. What is dead is known from an authority: the
gateway's 404, its model, or the kernel's own goodbye.

Evidence of the gateway is not evidence of the kernel: a gateway whose way to a kernel's host is cut goes on answering pings, and
its model says what it said before. So a question on the control channel that stays open counts, of a kernel that was seen to
answer there while code ran. Of any other it shows nothing: not every kernel serves that channel while it runs code.
"""

from __future__ import annotations

import enum
import math
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
    UNRESPONSIVE = "unresponsive"
    """The gateway is there, and the kernel answers nobody, though it used to while code ran: its host or the network to it may be
    down, its process stopped, or code in C holds its interpreter's lock. Not final: a word of the kernel's, and it is alive."""
    DEAD = "dead"
    """Its process ended for good. Final."""
    CULLED = "culled"
    """The gateway does not know it any more. Final."""


_HEARD: Final = (Verdict.ALIVE, Verdict.SUSPECT, Verdict.UNREACHABLE)
_LIVING: Final = (*_HEARD, Verdict.UNRESPONSIVE)

VERDICT_TRANSITIONS: Final[Mapping[tuple[Verdict, str], Verdict]] = {
    **{(verdict, "heard"): Verdict.ALIVE for verdict in _HEARD},  # a pong is the gateway's
    (Verdict.UNRESPONSIVE, "spoke"): Verdict.ALIVE,
    (Verdict.ALIVE, "unanswered"): Verdict.UNRESPONSIVE,
    (Verdict.SUSPECT, "unanswered"): Verdict.UNRESPONSIVE,
    (Verdict.ALIVE, "silent"): Verdict.SUSPECT,
    (Verdict.ALIVE, "lost"): Verdict.SUSPECT,
    (Verdict.UNRESPONSIVE, "lost"): Verdict.SUSPECT,
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
    unanswered: float | None
    """For how long a probe is unanswered, and no message came either; None while none is open."""
    answers_at_work: bool
    """Whether it was seen to answer a probe while code ran. Only then a probe without an answer counts against it."""
    restarts: int
    """How often its process was replaced while this session lasted, by us, by others, or by the gateway when it had died."""
    silent_when_lost: bool = False
    """Whether such a probe was open when the connection broke that was not made again yet: what the gateway says of the kernel
    from then on may be about the gateway's own way to it."""


class Liveness:
    """Weighs the evidence about one kernel.

    Args:
        interval: the setting `ping_interval`, in seconds.
        now: the time, in seconds of any clock that only goes forward.
        limit: the setting `unresponsive_timeout`, in seconds; infinity where nothing fails for it.
    """

    __slots__ = (
        "_answered",
        "_asked",
        "_connected",
        "_heard",
        "_message",
        "_modelled",
        "_pinged",
        "_since",
        "_verdict",
        "answers_at_work",
        "carried",
        "interval",
        "limit",
        "patience",
        "progressed",
        "restarts",
        "silent_when_lost",
    )

    interval: float
    """The setting `ping_interval`, in seconds."""
    limit: float
    """The setting `unresponsive_timeout`, in seconds."""
    patience: float
    """How long a question may stay open before the kernel counts as unresponsive, in seconds: one ping interval, or the limit
    where that is shorter."""
    answers_at_work: bool
    """Whether the kernel was seen to answer a question while code ran."""
    restarts: int
    """How often the kernel's process was replaced."""
    silent_when_lost: bool
    """Whether a question was open when the connection broke, of a kernel that answers while code runs, until it is made again."""
    progressed: bool
    """Whether the latest connection has carried something: a message of the kernel's, or a ping and its answer. (That it was made
    is nothing: a gateway can accept, say what it says to everyone, and hang up, again and again.)"""
    carried: float
    """Until when it is known that what was sent came through: when the latest question was sent that was answered."""

    def __init__(self, interval: float, now: float, *, limit: float = math.inf) -> None:
        self.interval = interval
        self.limit = limit
        self.patience = min(interval, limit)
        self.answers_at_work = False
        self.restarts = 0
        self.progressed = False
        self.silent_when_lost = False
        self.carried = now
        self._since = now
        self._heard = now
        self._message: float | None = None
        self._answered: float | None = None
        self._asked: float | None = None
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
        if self._verdict is Verdict.UNRESPONSIVE:
            self._feed("spoke")

    def ponged(self, now: float, sent: float) -> None:
        """The gateway answered a ping, which was sent then: the connection carries what is sent, both ways."""
        self.progressed = True
        self.carried = max(self.carried, sent)
        self.heard(now)

    def asked(self, now: float) -> None:
        """A question was sent on the kernel's control channel. Of several that are open the first one counts."""
        if self._asked is None:
            self._asked = now

    def answered(self, now: float, sent: float) -> None:
        """The kernel answered a probe on its control channel, which its process does though it is busy; it was sent then."""
        self._answered = now
        self._asked = None
        self.carried = max(self.carried, sent)
        self._feed("spoke")

    def dropped(self) -> None:
        """The question will have no answer, and that says nothing: the process that it was for was replaced."""
        self._asked = None

    def connected(self, now: float) -> None:
        """The connection is made: the gateway answers when its kernel does."""
        self._connected = True
        self._asked = None
        self.progressed = False
        self.silent_when_lost = False
        self._since = now
        self.heard(now)

    def lost(self) -> None:
        """The connection broke."""
        if self._connected:
            self.silent_when_lost = self.answers_at_work and self._asked is not None
        self._connected = False
        self._pinged = self._asked = None
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

    def closed(self) -> None:
        """The connection was closed by us, and is not made again: nothing is heard of the kernel from now on."""
        self._feed("lost")

    def ended(self, verdict: Verdict) -> None:
        """An authority said that it is over: `DEAD` or `CULLED`."""
        self._feed(verdict.value)

    def silence(self, now: float) -> float:
        """Return how long nothing was heard, in seconds."""
        return _ago(self._heard, now)

    def quiet(self, now: float) -> float:
        """Return how long no message came, in seconds."""
        return now - self.quiet_since

    @property
    def quiet_since(self) -> float:
        """When the latest message came, or the connection was made."""
        return max(self._since, self._message or self._since)

    @property
    def unanswered_since(self) -> float | None:
        """Since when a question is open and no message came either; None while none is open."""
        return None if self._asked is None else max(self._asked, self.quiet_since)

    @property
    def is_connected(self) -> bool:
        """Whether there is a connection."""
        return self._connected

    def wants_ping(self, now: float) -> bool:
        """Whether it is time for a ping: nothing was heard for an interval, and none is under way."""
        return self._connected and self._pinged is None and now >= self.due(sending=False)

    def link_is_dead(self, now: float, *, sending: bool) -> bool:
        """Whether a ping has gone unanswered for so long that the connection must be given up.

        Args:
            now: the time.
            sending: whether a message is being sent at the moment.
        """
        return self._pinged is not None and now >= self.due(sending=sending)

    def due(self, *, sending: bool) -> float:
        """Return when a ping is due, or, if one was sent, its answer: when to look again.

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
        elif self.answers_at_work:
            since = self.unanswered_since
            if since is not None and now >= since + self.patience:
                self._feed("unanswered")
        return self._verdict

    def is_given_up(self, now: float) -> bool:
        """Whether the kernel has been unresponsive for as long as the limit."""
        since = self.unanswered_since
        return self.verdict(now) is Verdict.UNRESPONSIVE and since is not None and now >= since + self.limit

    def evidence(self, now: float) -> Evidence:
        """Return the evidence itself."""
        return Evidence(
            connection=self.silence(now),
            message=_ago_or_never(self._message, now),
            answer=_ago_or_never(self._answered, now),
            model=_ago_or_never(self._modelled, now),
            unanswered=_ago_or_never(self.unanswered_since, now),
            answers_at_work=self.answers_at_work,
            restarts=self.restarts,
            silent_when_lost=self.silent_when_lost,
        )

    def _feed(self, event: str) -> None:
        self._verdict = VERDICT_TRANSITIONS.get((self._verdict, event), self._verdict)


def _ago(when: float, now: float) -> float:
    # For a session that has ended, `now` is its end, and the last messages may be read a moment later.
    return max(now - when, 0.0)


def _ago_or_never(when: float | None, now: float) -> float | None:
    return None if when is None else _ago(when, now)
