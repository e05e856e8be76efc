"""Does the kernel answer anybody? When it is asked to find that out, what its silence shows, and when what waits is given up.

The one idea: a pure machine that is called at moments which it names itself, looks at the evidence and at the table of what
waits, and says what is to be done. It keeps nothing that can be looked up, so it can't disagree with what is there.

The rules:

1. Not every kernel serves its control channel while it runs code, so a question that stays open there says nothing of a kernel
   by itself. It does of one that was seen to answer at work: code ran when it was asked, and when it answered, and went on for
   `CONFIRM_SECONDS` after that. (A kernel that does one thing after the other answers when the code has ended, and the answer
   may overtake the news of that end by some milliseconds, for they come over two sockets.) What a kernel says of itself is no
   such evidence: ipykernel names the version of IPython.
2. To learn it, a kernel is asked when code of ours has run for `LEARN_SECONDS`: once where it answers at work, else `TRIES`
   times. Without that the first question would come after a whole ping interval of silence, and that may be too late.
3. A kernel that owes an answer and is silent is asked after a ping interval: by `_kernel/poller.py` for a session; for a relay,
   which nobody looks after, here, where its requests are to be given up some time.
4. The question of a kernel that answers at work is open, and no message came, for as long as `Liveness.patience`: the kernel is
   unresponsive. That is told once, and it is asked again, each time after twice as long: a link that broke may have swallowed
   the question, and then nothing else would show that the kernel is back.
5. A request is given up when it has waited, and the kernel has been silent, for the limit. It may run, so it is not sent again
   (G4). A request that is made later has the same time of its own.
6. While a consumer pauses reading, nothing is judged: the answer may wait to be read.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Final, TypeAlias

import attrs

from .liveness import Liveness, Verdict
from .recovery import Line, Recovery, Request

__all__ = ["CONFIRM_SECONDS", "LEARN_SECONDS", "Again", "Ask", "Finding", "GiveUp", "Responsiveness", "Unresponsive"]

LEARN_SECONDS: Final = 1.0
"""How long code has run when a kernel is asked for the first time whether it answers meanwhile, in seconds."""
CONFIRM_SECONDS: Final = 1.0
"""How long that code has to go on after the answer, in seconds."""
TRIES: Final = 3
"""How often a kernel is asked for that."""
LONGEST_PAUSE: Final = 16.0
"""How many times its patience the longest pause between two questions to an unresponsive kernel is."""
_MAIN_SHELL: Final[Line] = ("shell", None)


@attrs.frozen
class Ask:
    """Ask the kernel on its control channel."""

    learning: bool = False
    """Whether it is only asked to find out whether it answers at work: that can be left out."""
    again: bool = False
    """Whether a question that is open is given up for this one."""


@attrs.frozen
class Unresponsive:
    """The kernel answers nobody: tell."""

    seconds: float
    """For how long."""


@attrs.frozen
class Again:
    """It answers again: tell."""


@attrs.frozen
class GiveUp:
    """These requests have waited for as long as the limit says."""

    requests: tuple[str, ...]
    """Their ids in the owner's table."""
    seconds: float
    """For how long the kernel has said nothing."""


Finding: TypeAlias = Ask | Unresponsive | Again | GiveUp


class Responsiveness:
    """The machine for one session or relay.

    Args:
        requests: the owner's table of requests.
        liveness: the evidence; what is learned is noted there.
        recovery: knows by their ids which of them are questions of the owner's, which nobody waits for.
        works_on: returns the id of the request that the kernel's shell works on, as far as the kernel tells; None for an owner
            that does not read that, and whom nobody looks after while its kernel is silent.
    """

    __slots__ = (
        "_again_at",
        "_began",
        "_confirm_at",
        "_liveness",
        "_pause",
        "_recovery",
        "_requests",
        "_told",
        "_tries",
        "_works_on",
        "gave_up_at",
        "look_at",
    )

    look_at: float
    """When `look` is to be called, in seconds of the clock that `now` is of; infinity for never."""
    gave_up_at: float
    """When requests were last given up; minus infinity for never."""

    def __init__(
        self, requests: Mapping[str, Request], liveness: Liveness, *, recovery: Recovery, works_on: Callable[[], str] | None
    ) -> None:
        self._requests = requests
        self._liveness = liveness
        self._recovery = recovery
        self._works_on = works_on
        self._tries = 0
        self._began: frozenset[str] = frozenset()  # what ran when the kernel was asked, and when it answered
        self._confirm_at = math.inf
        self._told = False
        self._pause = 0.0
        self._again_at = math.inf
        self.look_at = math.inf
        self.gave_up_at = -math.inf

    @property
    def gave_up(self) -> bool:
        """Whether requests were given up, and the kernel has said nothing since."""
        return self._told and self.gave_up_at > self._liveness.quiet_since

    # Facts ------------------------------------------------------------------------------------------------------

    def sent(self, now: float) -> None:
        """A request begins to be sent, or a question of the owner's; or a connection was made."""
        liveness = self._liveness
        if self._works_on is None and liveness.limit == math.inf:
            return  # nobody wants to know
        if liveness.unanswered_since is not None:
            self._look_by(now + liveness.patience)
        elif not liveness.answers_at_work and self._tries < TRIES:
            self._look_by(now + LEARN_SECONDS)
        elif self._works_on is None:
            self._look_by(now + liveness.interval)

    def asked(self) -> None:
        """The question begins to be sent."""
        if not self._liveness.answers_at_work and self._confirm_at == math.inf:
            self._began = self._at_work()

    def answered(self, now: float) -> None:
        """The kernel answered the question."""
        if self._liveness.answers_at_work or self._confirm_at < math.inf:
            return  # else each of many questions would begin to wait anew
        self._began &= self._at_work()
        if self._began:
            self._confirm_at = now + CONFIRM_SECONDS
            self._look_by(self._confirm_at)

    def lost(self) -> None:
        """The connection is over."""
        self._began = frozenset()
        self._confirm_at = self._again_at = self.look_at = math.inf
        self._told = False

    # What follows -----------------------------------------------------------------------------------------------

    def news(self, now: float) -> list[Finding]:
        """Say whether the kernel has spoken since it was told that it does not; call it when it has answered."""
        if not self._told or (verdict := self._liveness.verdict(now)) is Verdict.UNRESPONSIVE:
            return []
        self._told = False
        self._again_at = math.inf
        return [Again()] if verdict is Verdict.ALIVE else []

    def look(self, now: float, *, paused: bool) -> list[Finding]:
        """Look at what there is, at `look_at` or at any other time.

        Args:
            now: the time.
            paused: whether a consumer keeps the owner from reading.
        """
        self.look_at = math.inf
        liveness = self._liveness
        owed = self._owed()
        if paused:
            self._look_by(now + liveness.patience if owed or self._told else math.inf)
            return []
        if now >= self._confirm_at:
            if not self._began.isdisjoint(self._at_work()):
                liveness.answers_at_work = True
            self._began, self._confirm_at = frozenset(), math.inf
        self._look_by(self._confirm_at)
        findings = self.news(now)
        if not liveness.is_connected:
            return findings
        since = liveness.unanswered_since
        if since is None:
            return findings + self._ask(owed, now)
        if not liveness.answers_at_work:
            return findings  # its silence says nothing
        if liveness.verdict(now) is not Verdict.UNRESPONSIVE:
            due = since + liveness.patience
            self._look_by(due if due > now else now + liveness.patience)  # where it is due: it is the connection that is silent
            return findings
        return findings + self._judge(owed, since, now)

    def _ask(self, owed: Mapping[str, Request], now: float) -> list[Finding]:
        """No question is open: say whether one is due."""
        liveness = self._liveness
        first = min((request.sent_at for request in owed.values()), default=math.inf)
        learning = not liveness.answers_at_work and self._tries < TRIES and self._confirm_at == math.inf
        if learning and now >= first + LEARN_SECONDS:
            self._tries += 1
            return [Ask(learning=True)]
        if learning:
            self._look_by(first + LEARN_SECONDS)
        if self._works_on is None:
            due = max(liveness.quiet_since, first) + liveness.interval
            if now >= due:
                return [Ask()]
            self._look_by(due)
        return []

    def _judge(self, owed: Mapping[str, Request], since: float, now: float) -> list[Finding]:
        """The kernel is unresponsive since then."""
        findings: list[Finding] = []
        liveness = self._liveness
        if not self._told:
            self._told = True
            self._pause = liveness.patience
            self._again_at = now + self._pause
            findings.append(Unresponsive(now - since))
        elif now >= self._again_at:
            self._pause = min(2 * self._pause, LONGEST_PAUSE * liveness.patience)
            self._again_at = now + self._pause
            findings.append(Ask(again=True))
        self._look_by(self._again_at)
        late: list[str] = []
        for msg_id, request in owed.items():
            due = max(since, request.sent_at) + liveness.limit
            if now >= due:
                late.append(msg_id)
            else:
                self._look_by(due)
        if late:
            self.gave_up_at = now
            findings.append(GiveUp(tuple(late), now - since))
        return findings

    def _at_work(self) -> frozenset[str]:
        """What the kernel's main shell is at work on, as far as is known."""
        if self._works_on is not None:
            return frozenset([self._works_on()]) - {""}
        return frozenset(msg_id for msg_id, request in self._owed().items() if request.line == _MAIN_SHELL)

    def _owed(self) -> dict[str, Request]:
        return {msg_id: request for msg_id, request in self._requests.items() if request.owed and msg_id not in self._recovery}

    def _look_by(self, when: float) -> None:
        self.look_at = min(self.look_at, when)
