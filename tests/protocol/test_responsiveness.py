"""Responsiveness: when a kernel is asked, what its silence shows, and what is given up. Pure: the clock is an argument."""

from __future__ import annotations

import math

import attrs
import pytest

from trio_gateway import Verdict
from trio_gateway._protocol.liveness import Liveness
from trio_gateway._protocol.recovery import AskKernel, Line, Recovery
from trio_gateway._protocol.responsiveness import (
    CONFIRM_SECONDS,
    LEARN_SECONDS,
    LONGEST_PAUSE,
    TRIES,
    Again,
    Ask,
    Finding,
    GiveUp,
    Responsiveness,
    Unresponsive,
)

SHELL: Line = ("shell", None)
INTERVAL = 16.0
LIMIT = 64.0
"""Powers of two: no rounding here."""


@attrs.define
class Asked:
    """A request, as its owner keeps it."""

    line: Line = SHELL
    connection: int = 1
    order: int = 1
    sent_at: float = 0.0
    owed: bool = True

    def runs_in(self, process: str) -> bool:
        del process
        return False


class Play:
    """An owner whose gateway answers pings, and whose kernel answers what it is told to."""

    def __init__(self, *, limit: float = LIMIT, relay: bool = False, known: bool = False) -> None:
        self.now = 128.0
        self.requests: dict[str, Asked] = {}
        self.works_on = ""
        self.liveness = Liveness(INTERVAL, self.now, limit=limit)
        self.liveness.connected(self.now)
        self.liveness.answers_at_work = known
        self.recovery = Recovery(self.requests, self.liveness, polled=not relay)
        self.recovery.connected(1, first=True)
        self.machine = Responsiveness(
            self.requests, self.liveness, recovery=self.recovery, works_on=None if relay else lambda: self.works_on
        )
        self.asked = 0
        self.paused = False
        self.found: list[tuple[float, Finding]] = []
        """What was found, and when."""

    def send(self, name: str, line: Line = SHELL, *, runs: bool = True) -> None:
        self.requests[name] = Asked(line=line, sent_at=self.now)
        self.works_on = name if runs else self.works_on
        self.machine.sent(self.now)

    def ask(self, *, again: bool = False) -> None:
        """Ask the kernel, as the poller does too."""
        if self.recovery.ask(again=again):
            self.asked += 1
            self.recovery.asks(AskKernel(), f"q{self.asked}")
            self.recovery.sent(f"q{self.asked}", self.now)
            self.machine.asked()
            self.machine.sent(self.now)

    def answer(self) -> None:
        """The kernel answers the question."""
        self.liveness.message(self.now)
        self.recovery.answered(self.recovery.question, self.now)
        self.machine.answered(self.now)
        self.note(self.machine.news(self.now))

    def reply(self, name: str) -> None:
        """The kernel has done something."""
        self.liveness.message(self.now)
        del self.requests[name]
        self.works_on = "" if self.works_on == name else self.works_on

    def note(self, findings: list[Finding]) -> None:
        for finding in findings:
            self.found.append((self.now, finding))
            if isinstance(finding, Ask):
                self.ask(again=finding.again)
            elif isinstance(finding, GiveUp):
                for name in finding.requests:
                    del self.requests[name]

    def run(self, until: float, *, answers_within: float = math.inf) -> None:
        """Let time pass, in which pongs come, and the machine is called when it says so."""
        while self.machine.look_at <= until:
            assert self.machine.look_at >= self.now
            asked = self.recovery.question
            self.now = self.machine.look_at
            self.liveness.ponged(self.now, self.now)
            self.note(self.machine.look(self.now, paused=self.paused))
            if self.recovery.question not in ("", asked) and answers_within < math.inf:
                self.now += answers_within
                self.answer()
        self.now = until
        self.liveness.ponged(self.now, self.now)

    @property
    def what(self) -> list[Finding]:
        return [finding for _, finding in self.found]


def learned(**options: bool | float) -> Play:
    """A kernel that has answered while code ran."""
    play = Play(**options)  # type: ignore[arg-type]
    play.send("first")
    play.run(play.now + 10, answers_within=0.25)
    assert play.liveness.answers_at_work
    play.reply("first")
    play.run(play.now + 1)
    play.found.clear()
    return play


@pytest.mark.parametrize("relay", [False, True])
def test_a_kernel_is_asked_once_whether_it_answers_at_work(relay: bool) -> None:
    play = Play(relay=relay)
    began = play.now
    play.send("code")
    play.run(began + 10, answers_within=0.25)
    assert play.found == [(began + LEARN_SECONDS, Ask(learning=True))]
    assert play.liveness.answers_at_work
    play.reply("code")
    for number in range(3):
        play.send(f"code {number}")
        play.run(play.now + INTERVAL - 1, answers_within=0.25)
        play.reply(f"code {number}")
    assert len(play.found) == 1


def test_code_that_is_short_costs_no_question() -> None:
    play = Play()
    for _ in range(100):
        play.send("code")
        play.run(play.now + LEARN_SECONDS / 2)
        play.reply("code")
        play.run(play.now + LEARN_SECONDS)
    assert play.asked == 0
    assert play.machine.look_at == math.inf


def test_code_that_ends_right_after_the_answer_proves_nothing_and_the_question_is_not_asked_for_ever() -> None:
    play = Play()
    for _ in range(10):
        play.send("code")
        play.run(play.now + 5)
        if play.recovery.question:
            play.answer()  # its turn has come, and it overtakes the news of the end
        play.run(play.now + CONFIRM_SECONDS / 2)
        play.reply("code")
        play.run(play.now + 5)
    assert not play.liveness.answers_at_work
    assert play.asked == TRIES
    assert set(play.what) == {Ask(learning=True)}


def test_questions_in_quick_succession_do_not_put_off_what_is_learned() -> None:
    """As jupyter_client's look whether a kernel is alive asks them."""
    play = Play()
    play.send("code")
    began = play.now
    while play.now < began + 2 * CONFIRM_SECONDS:
        play.ask()
        play.run(play.now + CONFIRM_SECONDS / 8)
        play.answer()
    assert play.liveness.answers_at_work


def test_an_answer_is_no_evidence_where_no_code_runs() -> None:
    play = Play()
    play.send("info", ("control", None), runs=False)
    play.ask()
    play.answer()
    play.run(play.now + 100)
    assert not play.liveness.answers_at_work


def test_an_answer_while_other_code_runs_than_before_is_no_evidence() -> None:
    play = Play()
    play.send("one")
    play.ask()
    play.answer()
    play.reply("one")
    play.send("two")
    play.run(play.now + CONFIRM_SECONDS)
    assert not play.liveness.answers_at_work


@pytest.mark.parametrize("relay", [False, True])
def test_an_answer_at_the_beginning_of_the_next_code_is_no_evidence(relay: bool) -> None:
    """A kernel that does one thing after the other answers between the code that ran and the code that was sent meanwhile."""
    play = Play(relay=relay)
    play.send("one")
    play.run(play.now + 100)
    assert play.recovery.question, "it was asked while the first one ran"
    play.reply("one")
    play.send("two")
    play.answer()
    play.run(play.now + CONFIRM_SECONDS)
    assert not play.liveness.answers_at_work


def test_a_kernel_that_is_not_known_to_answer_is_never_given_up() -> None:
    play = Play()
    play.send("code")
    play.run(play.now + 1e6)
    assert play.what == [Ask(learning=True)]
    assert play.liveness.verdict(play.now) is Verdict.ALIVE
    assert play.machine.look_at == math.inf, "there is nothing to look for"


def test_an_unresponsive_kernel_is_told_once_and_what_waits_is_given_up() -> None:
    play = learned()
    began = play.now
    play.send("code")
    play.ask()
    play.run(began + LIMIT - 0.5)
    assert play.found[0] == (began + INTERVAL, Unresponsive(INTERVAL))
    assert all(isinstance(finding, Ask) for finding in play.what[1:])
    play.run(began + LIMIT)
    assert play.found[-1] == (began + LIMIT, GiveUp(("code",), LIMIT))
    assert play.machine.gave_up
    assert sum(isinstance(finding, Unresponsive) for finding in play.what) == 1


def test_without_a_limit_it_is_told_and_nothing_given_up() -> None:
    play = learned(limit=math.inf)
    play.send("code")
    play.ask()
    play.run(play.now + 1e6)
    assert not any(isinstance(finding, GiveUp) for finding in play.what)
    assert isinstance(play.what[0], Unresponsive)
    assert not play.machine.gave_up


def test_a_limit_shorter_than_a_ping_interval_counts() -> None:
    play = learned(limit=4.0)
    began = play.now
    play.send("code")
    play.ask()
    play.run(began + 4)
    assert [(when - began, type(finding)) for when, finding in play.found] == [(4.0, Unresponsive), (4.0, GiveUp)]


def test_a_later_request_has_the_same_time_of_its_own() -> None:
    play = learned()
    began = play.now
    play.send("code")
    play.ask()
    play.run(began + 40)
    play.send("later")
    play.run(began + 40 + LIMIT - 0.5)
    assert "later" in play.requests
    play.run(began + 40 + LIMIT)
    gone = [(when - began, finding.requests) for when, finding in play.found if isinstance(finding, GiveUp)]
    assert gone == [(LIMIT, ("code",)), (40 + LIMIT, ("later",))]


def test_it_is_asked_again_after_longer_and_longer_pauses_also_when_nothing_waits() -> None:
    play = learned()
    began = play.now
    play.send("code")
    play.ask()
    play.run(began + 3000)
    asked = [when - began for when, finding in play.found if isinstance(finding, Ask)]
    pauses = [after - before for before, after in zip([INTERVAL, *asked], asked, strict=False)]
    assert pauses[:5] == [INTERVAL, 2 * INTERVAL, 4 * INTERVAL, 8 * INTERVAL, 16 * INTERVAL]
    assert set(pauses[5:]) == {LONGEST_PAUSE * INTERVAL}
    assert play.requests == {}


def test_an_answer_is_told_and_ends_the_questions() -> None:
    play = learned()
    play.send("code")
    play.ask()
    play.run(play.now + 200)
    play.answer()
    assert play.what[-1] == Again()
    assert not play.machine.gave_up
    play.found.clear()
    play.run(play.now + 1e6)
    assert play.found == []


def test_a_message_that_is_no_answer_gives_the_kernel_new_time() -> None:
    play = learned()
    began = play.now
    play.send("code")
    play.ask()
    play.run(began + LIMIT - 1)
    play.liveness.message(play.now)
    assert play.liveness.verdict(play.now) is Verdict.ALIVE
    play.run(began + LIMIT - 1 + LIMIT)
    assert [type(finding) for finding in play.what if not isinstance(finding, Ask)] == [Unresponsive, Again, Unresponsive, GiveUp]
    assert play.found[-1][0] == began + LIMIT - 1 + LIMIT


def test_a_connection_that_breaks_begins_anew() -> None:
    play = learned()
    play.send("code")
    play.ask()
    play.run(play.now + INTERVAL)
    play.liveness.lost()
    play.recovery.lost()
    play.machine.lost()
    assert play.machine.look_at == math.inf
    play.found.clear()
    play.run(play.now + 1000)
    play.liveness.connected(play.now)
    play.recovery.connected(2, first=False)
    play.machine.sent(play.now)
    play.run(play.now + 1000)
    assert play.found == [], "the poller asks"
    assert "code" in play.requests


def test_nothing_is_judged_while_a_consumer_pauses_reading() -> None:
    play = learned()
    play.paused = True
    play.send("code")
    play.ask()
    play.run(play.now + 1000)
    assert play.found == []
    play.paused = False
    play.run(play.now + INTERVAL)
    assert isinstance(play.what[0], Unresponsive)


def test_a_relay_asks_by_itself_where_something_is_to_be_given_up() -> None:
    play = learned(relay=True)
    play.run(play.now + 1000)
    began = play.now
    play.send("code")
    play.run(began + INTERVAL - 0.5)
    assert play.found == []
    play.run(began + INTERVAL + LIMIT)
    assert play.found[0] == (began + INTERVAL, Ask())
    assert play.found[-1] == (began + INTERVAL + LIMIT, GiveUp(("code",), LIMIT))


def test_a_relay_for_which_nothing_is_given_up_asks_nobody() -> None:
    play = Play(relay=True, limit=math.inf)
    play.send("code")
    play.run(play.now + 1e6)
    assert play.found == []


def test_a_kernel_whose_end_is_known_does_not_answer_again() -> None:
    play = learned()
    play.send("code")
    play.ask()
    play.run(play.now + INTERVAL)
    play.liveness.ended(Verdict.DEAD)
    play.run(play.now + 1000)
    assert Again() not in play.what
