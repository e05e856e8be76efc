"""Recovery: what is asked after a connection was made again, and what is lost. Pure: the clock is an argument."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._protocol.liveness import Liveness
from trio_gateway._protocol.messages import Header, Message, MessageFactory
from trio_gateway._protocol.recovery import (
    ANSWER_SECONDS,
    BARRIER_TRANSITIONS,
    BESIDE_SECONDS,
    HEARING_TRANSITIONS,
    Action,
    AskElsewhere,
    AskGateway,
    AskKernel,
    BarrierState,
    GatewayWord,
    Hearing,
    Line,
    Lost,
    Recovery,
    Release,
    ReplaceSession,
    SendBarrier,
    answers_beside,
    line_of,
)

SHELL: Line = ("shell", None)
SUBSHELL: Line = ("shell", "sub")
CONTROL: Line = ("control", None)


@attrs.define
class Asked:
    """A request, as its owner keeps it."""

    line: Line = SHELL
    connection: int = 0
    order: int = 0
    owed: bool = False
    runs: str | None = None
    sent_at: float = 0.0

    def runs_in(self, process: str) -> bool:
        return self.runs == process


class Play:
    """An owner: it does what is asked for, as far as ids go, and writes down what it was told."""

    def __init__(self, *, polled: bool = True, interval: float = 20.0) -> None:
        self.now = 100.0
        self.connection = 0
        self.requests: dict[str, Asked] = {}
        self.liveness = Liveness(interval, self.now)
        self.recovery = Recovery(self.requests, self.liveness, polled=polled)
        self.paused = False
        self.made = 0
        self.open: dict[str, AskKernel | SendBarrier] = {}
        """What was made and not sent."""
        self.lost: list[str] = []

    def carry(self, actions: list[Action]) -> list[Action]:
        """Make the questions that are asked for."""
        for action in actions:
            if isinstance(action, (AskKernel, SendBarrier)):
                self.made += 1
                self.recovery.asks(action, f"q{self.made}")
                self.open[f"q{self.made}"] = action
            elif isinstance(action, AskElsewhere):
                self.recovery.seeks("sought")
            elif isinstance(action, Lost):
                self.lost += action.requests
                for msg_id in action.requests:
                    del self.requests[msg_id]
        return actions

    def connect(self, *, first: bool | None = None, quiet: bool = False) -> list[Action]:
        self.connection += 1
        self.liveness.connected(self.now)
        first = self.connection == 1 if first is None else first
        actions = self.carry(self.recovery.connected(self.connection, first=first, quiet=quiet))
        self.open = {msg_id: action for msg_id, action in self.open.items() if msg_id in self.recovery}
        return actions

    def send(self, msg_id: str, line: Line = SHELL) -> None:
        self.requests[msg_id] = Asked(line, self.connection, self.recovery.sent(msg_id, self.now), True)

    def send_question(self) -> str:
        """Send the question that was made first."""
        msg_id = next(iter(self.open))
        del self.open[msg_id]
        self.recovery.sent(msg_id, self.now)
        return msg_id

    def answer(self, msg_id: str, **facts: Any) -> list[Action]:
        return self.carry(self.recovery.answered(msg_id, self.now, **facts))

    def gateway(self, word: GatewayWord) -> list[Action]:
        return self.carry(self.recovery.gateway_said(word, self.now, paused=self.paused))

    def elsewhere(self, answered: bool) -> list[Action]:
        return self.carry(self.recovery.elsewhere_said(answered, self.now))

    def find_lost(self) -> list[Action]:
        return self.carry(self.recovery.find_lost())

    def wait(self, seconds: float) -> list[Action]:
        self.now += seconds
        return self.carry(self.recovery.timed_out(self.now, paused=self.paused))

    def wait_due(self) -> list[Action]:
        return self.wait(self.recovery.next_deadline() - self.now)

    def until(self, state: Hearing) -> Play:
        """Go the straight way there, over a connection that was made again and that something waits for."""
        self.connect()
        self.connect()
        if state is Hearing.FRESH:
            return self
        self.carry(self.recovery.wants_to_send())
        question = self.send_question()
        if state is Hearing.HEARD:
            self.answer(question)
        elif state is not Hearing.GREETING:
            self.wait_due()
            if state is not Hearing.SUSPECT:
                self.gateway(GatewayWord.IDLE)
                if state is not Hearing.ELSEWHERE:
                    self.elsewhere(True)
                    if state is Hearing.MUTE:
                        self.wait_due()
        assert self.recovery.state is state
        return self


# Does the connection lead to the kernel? -----------------------------------------------------------------------------------


@pytest.mark.parametrize("polled", [True, False])
def test_over_a_first_connection_everything_is_sent(polled: bool) -> None:
    play = Play(polled=polled)
    assert play.connect() == []
    assert play.recovery.may_send("anything")
    assert play.recovery.wants_to_send() == []
    assert not play.recovery.asking
    assert play.recovery.next_deadline() == math.inf


def test_over_a_connection_made_again_nothing_is_sent_before_the_kernel_is_heard() -> None:
    play = Play().until(Hearing.FRESH)
    assert not play.recovery.may_send("anything")
    assert not play.recovery.asking, "nothing wants to be sent"
    assert play.carry(play.recovery.wants_to_send()) == [AskKernel()]
    assert play.recovery.wants_to_send() == [], "it is asked once"
    assert play.recovery.may_send("q1")
    assert play.recovery.next_deadline() == math.inf, "it was not sent yet"
    play.send_question()
    assert play.recovery.next_deadline() == play.now + ANSWER_SECONDS
    assert not play.recovery.may_send("anything")
    play.now += 1
    assert play.answer("q1") == [Release()]
    assert play.recovery.may_send("anything")
    assert play.recovery.state is Hearing.HEARD
    assert play.recovery.next_deadline() == math.inf
    assert play.liveness.evidence(play.now).answer == 0
    assert play.liveness.carried == play.now - 1


def test_a_session_that_the_gateway_knows_is_greeted_over_its_first_connection() -> None:
    play = Play(polled=False)
    assert play.connect(first=False) == []
    assert not play.recovery.may_send("anything")
    assert play.recovery.wants_to_send() == [AskKernel()]


def test_after_a_connection_that_carried_nothing_a_word_is_asked_for_at_once() -> None:
    play = Play()
    play.connect()
    assert play.connect(quiet=True) == [AskKernel()]
    assert play.recovery.wants_to_send() == []
    play.send_question()
    assert play.answer("q1") == [Release()]


def test_a_question_of_the_connection_before_says_nothing_of_this_one() -> None:
    play = Play().until(Hearing.GREETING)
    play.connect()
    assert play.recovery.state is Hearing.FRESH
    assert "q1" not in play.recovery
    assert play.answer("q1") == []
    assert not play.recovery.may_send("anything")
    assert play.recovery.wants_to_send() == [AskKernel()]


@pytest.mark.parametrize("state", [Hearing.GREETING, Hearing.SUSPECT, Hearing.ELSEWHERE, Hearing.DOUBTED])
def test_an_answer_releases_what_waits_however_late_it_is(state: Hearing) -> None:
    play = Play().until(state)
    assert play.recovery.suspect
    assert play.answer("q1") == [Release()]
    assert play.recovery.state is Hearing.HEARD
    assert not play.recovery.suspect
    assert play.wait(1000) == []
    assert play.gateway(GatewayWord.IDLE) == []
    assert play.elsewhere(True) == []
    assert play.recovery.state is Hearing.HEARD


@pytest.mark.parametrize("state", [Hearing.GREETING, Hearing.SUSPECT, Hearing.ELSEWHERE, Hearing.DOUBTED])
def test_a_question_that_fails_releases_what_waits(state: Hearing) -> None:
    play = Play().until(state)
    assert play.carry(play.recovery.failed("q1")) == [Release()]
    assert play.recovery.state is Hearing.FRESH
    assert play.recovery.may_send("anything")
    assert play.wait(1000) == []
    assert play.recovery.failed("unknown") == []


def test_silence_has_the_gateway_asked_where_something_waits() -> None:
    play = Play().until(Hearing.GREETING)
    assert play.wait(ANSWER_SECONDS / 2) == []
    assert play.wait_due() == [AskGateway()]
    assert play.recovery.next_deadline() == math.inf
    assert play.wait(1000) == []


@pytest.mark.parametrize(
    ("word", "asks"),
    [
        (GatewayWord.IDLE, True),
        (GatewayWord.BUSY, True),
        (GatewayWord.NO_ANSWER, True),
        (GatewayWord.UNKNOWN, False),
        (GatewayWord.UNREACHABLE, False),
    ],
)
def test_the_kernel_is_asked_over_another_connection_if_the_gateway_may_have_it(word: GatewayWord, asks: bool) -> None:
    play = Play().until(Hearing.SUSPECT)
    assert play.gateway(word) == ([AskElsewhere()] if asks else [Release()])
    assert play.recovery.may_send("anything") is not asks
    assert play.recovery.sought == ("sought" if asks else "")


def test_a_consumer_that_pauses_proves_nothing() -> None:
    play = Play().until(Hearing.SUSPECT)
    play.paused = True
    assert play.gateway(GatewayWord.IDLE) == [Release()]


def test_a_kernel_that_answers_nowhere_is_not_taken_for_a_mute_connection() -> None:
    play = Play().until(Hearing.ELSEWHERE)
    assert play.elsewhere(False) == [Release()]
    assert play.recovery.state is Hearing.SUSPECT
    assert play.recovery.sought == ""
    assert play.recovery.may_send("anything")


@pytest.mark.parametrize("published", [True, False])
@pytest.mark.parametrize("came", [True, False])
@pytest.mark.parametrize("paused", [True, False])
def test_a_connection_is_mute_if_it_brings_no_answer_and_what_is_published_or_nothing(
    published: bool, came: bool, paused: bool
) -> None:
    play = Play().until(Hearing.ELSEWHERE)
    play.now += 1
    if published:
        play.recovery.published()
    if came:
        play.liveness.message(play.now)
    assert play.elsewhere(True) == []
    play.paused = paused
    assert play.wait(ANSWER_SECONDS / 2) == []
    if published or (not came and not paused):
        assert play.wait_due() == [ReplaceSession()]
        assert play.recovery.state is Hearing.MUTE
        assert not play.recovery.may_send("anything")
        assert play.recovery.ask() == []
        assert play.answer("q1") == [], "it is too late"
        assert not play.recovery.may_send("anything")
    else:
        assert play.wait_due() == [Release()]
        assert play.recovery.state is Hearing.SUSPECT
        assert play.recovery.may_send("anything")
    assert play.recovery.sought == ""


def test_a_silent_kernel_is_asked_over_a_connection_that_holds() -> None:
    play = Play(interval=20.0)
    play.connect()
    assert play.carry(play.recovery.ask()) == [AskKernel()]
    assert play.recovery.ask() == []
    play.send_question()
    assert play.recovery.may_send("anything"), "nothing is held back"
    assert play.wait_due() == [], "the owner asks the gateway"
    assert play.recovery.suspect
    assert play.recovery.ask() == [], "it owes this answer"
    assert play.gateway(GatewayWord.BUSY) == []
    assert play.recovery.state is Hearing.SUSPECT
    # Each time after twice as long.
    begun = play.now
    times = []
    while len(times) < 4:
        if play.gateway(GatewayWord.IDLE):
            times.append(play.now - begun)
            assert play.elsewhere(False) == []
        play.now += 10
    assert times == [0, 20, 60, 140]
    assert play.answer("q1") == []
    assert play.recovery.state is Hearing.HEARD
    assert play.recovery.ask() == [AskKernel()]


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("state", [Hearing.GREETING, Hearing.SUSPECT, Hearing.ELSEWHERE, Hearing.DOUBTED])
def test_of_a_connection_that_is_over_nothing_is_found_out(state: Hearing, polled: bool) -> None:
    """Its silence is the outage's: it would seem to lead nowhere, and the session id that the gateway buffers by be given up."""
    play = Play(polled=polled).until(state)
    assert play.carry(play.recovery.lost()) == []
    assert (play.recovery.state, play.recovery.suspect, play.recovery.next_deadline()) == (Hearing.FRESH, False, math.inf)
    assert play.recovery.holding, "what waits is not for a connection that is over"
    assert play.elsewhere(True) == []
    assert play.gateway(GatewayWord.BUSY) == []
    assert play.wait(1000) == []
    assert play.recovery.state is Hearing.FRESH
    assert play.recovery.sought == ""
    play.connect()
    assert play.recovery.wants_to_send() == [AskKernel()]


@pytest.mark.parametrize("state", [Hearing.FRESH, Hearing.HEARD, Hearing.MUTE])
def test_what_was_found_out_of_a_connection_stays_until_the_next(state: Hearing) -> None:
    play = Play().until(state)
    play.recovery.lost()
    assert play.recovery.state is state


def test_who_asks_the_gateway_has_waited_for_the_answer() -> None:
    play = Play()
    play.connect()
    play.carry(play.recovery.ask())
    play.send_question()
    assert play.gateway(GatewayWord.IDLE) == [AskElsewhere()]
    assert play.recovery.next_deadline() == math.inf


def test_while_something_waits_the_gateways_word_comes_not_before_its_time() -> None:
    play = Play().until(Hearing.GREETING)
    assert play.gateway(GatewayWord.IDLE) == []
    assert play.recovery.state is Hearing.GREETING


def test_what_the_gateway_says_is_evidence() -> None:
    play = Play()
    play.connect()
    assert play.gateway(GatewayWord.BUSY) == []
    assert play.liveness.evidence(play.now).model == 0
    play.gateway(GatewayWord.UNREACHABLE)
    assert play.liveness.verdict(play.now).value == "unreachable"


def test_a_mute_connection_is_replaced_also_where_nothing_waits() -> None:
    play = Play()
    play.connect()
    play.carry(play.recovery.ask())
    play.send_question()
    play.wait_due()
    play.gateway(GatewayWord.IDLE)
    play.elsewhere(True)
    assert play.wait_due() == [ReplaceSession()]
    assert not play.recovery.may_send("anything"), "from then on it does"
    play.connect()
    assert play.recovery.wants_to_send() == [AskKernel()]


@pytest.mark.parametrize("polled", [True, False])
def test_a_barrier_waits_for_the_answer_where_nobody_looks_after_its_owner(polled: bool) -> None:
    play = Play(polled=polled)
    play.connect()
    play.send("a")
    assert play.connect() == [SendBarrier(SHELL)]
    assert play.recovery.may_send("q1") is polled
    assert play.carry(play.recovery.wants_to_send()) == [AskKernel()]
    del play.open["q1"]
    play.send_question()
    assert play.answer("q2") == [Release()]
    assert play.recovery.may_send("q1")


# Was a request lost? --------------------------------------------------------------------------------------------------------


def lose(play: Play, *lines: Line) -> list[str]:
    """Send one request over each line, and make the connection again; return the barriers' ids."""
    play.connect()
    for number, line in enumerate(lines or (SHELL,)):
        play.send("abc"[number], line)
    assert play.connect() == [SendBarrier(line) for line in dict.fromkeys(lines or (SHELL,))]
    return [play.send_question() for _ in list(play.open)]


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("line", [SHELL, SUBSHELL, CONTROL])
def test_what_a_barrier_overtakes_is_lost(polled: bool, line: Line) -> None:
    play = Play(polled=polled)
    (barrier,) = lose(play, line)
    assert play.recovery.asking
    assert play.answer(barrier) == [Lost(("a",))]
    assert not play.recovery.asking


@pytest.mark.parametrize("polled", [True, False])
@pytest.mark.parametrize("beside", [True, False])
def test_what_is_answered_first_is_not_lost(polled: bool, beside: bool) -> None:
    play = Play(polled=polled)
    (barrier,) = lose(play)
    del play.requests["a"]
    assert play.answer(barrier, beside=beside) == [], "and nothing else is asked for it"


def test_each_line_has_a_barrier_of_its_own() -> None:
    play = Play()
    barriers = lose(play, SHELL, SUBSHELL, CONTROL)
    assert play.answer(barriers[1]) == [Lost(("b",))]
    assert play.answer(barriers[0]) == [Lost(("a",))]
    assert play.answer(barriers[2]) == [Lost(("c",))]


def test_what_was_sent_after_a_barrier_is_not_judged_by_it() -> None:
    play = Play()
    (barrier,) = lose(play)
    play.send("later")
    assert play.answer(barrier) == [Lost(("a",))]
    assert "later" in play.requests


def test_what_waits_to_be_sent_or_is_not_waited_for_needs_no_barrier() -> None:
    play = Play()
    play.connect()
    play.requests["unsent"] = Asked()
    play.send("settled")
    play.requests["settled"].owed = False
    assert play.connect() == []
    assert play.find_lost() == []


def test_where_a_barrier_waits_there_is_no_other() -> None:
    play = Play()
    play.connect()
    play.send("a")
    assert play.find_lost() == [SendBarrier(SHELL)]
    assert play.find_lost() == [], "it was not sent yet"
    barrier = play.send_question()
    assert play.find_lost() == []
    assert play.answer(barrier) == [Lost(("a",))]
    play.send("b")
    assert play.find_lost() == [SendBarrier(SHELL)]


def test_questions_in_their_owners_table_need_no_barrier_and_are_not_lost() -> None:
    play = Play()
    play.connect()
    play.send("a")
    play.find_lost()
    barrier = play.send_question()
    play.requests[barrier] = Asked(SHELL, 1, 2, True)
    play.carry(play.recovery.ask())
    question = play.send_question()
    play.requests[question] = Asked(CONTROL, 1, 3, True)
    assert barrier in play.recovery
    assert question in play.recovery
    assert "" not in play.recovery
    assert play.find_lost() == []
    assert play.answer(barrier) == [Lost(("a",))]


def test_a_barrier_of_an_earlier_connection_is_replaced_and_one_that_was_not_sent_is_not() -> None:
    play = Play()
    (barrier,) = lose(play)
    assert play.connect() == [SendBarrier(SHELL)]
    assert barrier not in play.recovery
    assert play.answer(barrier) == []
    assert play.connect() == [], "that one was not sent"
    assert play.answer(play.send_question()) == [Lost(("a",))]


def test_a_barrier_that_fails_is_sent_again_when_one_looks_again() -> None:
    play = Play()
    (barrier,) = lose(play)
    assert play.recovery.failed(barrier) == []
    assert not play.recovery.asking
    assert play.find_lost() == [SendBarrier(SHELL)]


@pytest.mark.parametrize("polled", [True, False])
def test_a_kernel_that_answers_beside_code_is_asked_in_its_turn(polled: bool) -> None:
    play = Play(polled=polled)
    (barrier,) = lose(play)
    assert play.answer(barrier, beside=True, process="p") == [SendBarrier(SHELL, code=True)]
    assert play.find_lost() == []
    play.send("between")
    code = play.send_question()
    assert play.answer(code) == [Lost(("a",))], "what was sent between the two may be answered out of order"
    assert "between" in play.requests


def test_code_that_is_well_beside_the_first_barrier_is_not_lost() -> None:
    play = Play(polled=False)
    (barrier,) = lose(play)
    play.answer(barrier, beside=True, process="p")
    del play.requests["a"]  # its own reply
    assert play.answer(play.send_question()) == []
    assert play.lost == []


@pytest.mark.parametrize("polled", [True, False])
def test_on_control_such_a_kernel_has_some_seconds(polled: bool) -> None:
    play = Play(polled=polled)
    (barrier,) = lose(play, CONTROL)
    assert play.answer(barrier, beside=True) == []
    assert play.recovery.next_deadline() == play.now + BESIDE_SECONDS
    assert play.find_lost() == []
    assert play.wait(BESIDE_SECONDS / 2) == []
    assert play.wait_due() == [Lost(("a",))]
    assert play.recovery.next_deadline() == math.inf


def test_these_seconds_outlast_a_connection_and_what_was_sent_over_it_is_looked_for_then() -> None:
    play = Play(polled=False)
    (barrier,) = lose(play, CONTROL)
    play.answer(barrier, beside=True)
    play.send("b", CONTROL)
    assert play.connect() == []
    assert play.wait_due() == [Lost(("a",)), SendBarrier(CONTROL)]
    assert play.answer(play.send_question()) == [Lost(("b",))]


def test_code_that_may_still_run_beside_the_answer_is_not_lost() -> None:
    play = Play()
    play.connect()
    play.send("a")
    play.send("b")
    play.requests["a"].runs = "p"
    play.find_lost()
    assert play.answer(play.send_question(), beside=True, process="p") == [SendBarrier(SHELL, code=True)]
    assert play.answer(play.send_question(), process="p") == [Lost(("b",))]
    play.requests["a"].runs = "another process"
    play.find_lost()
    play.answer(play.send_question(), beside=True, process="p")
    assert play.answer(play.send_question(), process="p") == [Lost(("a",))]


def test_code_that_a_kernel_began_with_and_dropped_is_overtaken_by_code_only() -> None:
    play = Play()
    play.connect()
    play.send("a")
    play.requests["a"].runs = "p"
    play.find_lost()
    assert play.answer(play.send_question(), process="p") == [SendBarrier(SHELL, code=True)]
    assert play.answer(play.send_question(), process="p") == [Lost(("a",))]


def test_code_of_an_earlier_connection_may_have_ended_unseen() -> None:
    play = Play()
    (barrier,) = lose(play)
    play.requests["a"].runs = "p"
    assert play.answer(barrier, process="p") == [Lost(("a",))]


def test_a_relay_judges_only_what_an_earlier_connection_carried() -> None:
    play = Play(polled=False)
    play.connect()
    play.send("a")
    play.connect()
    play.send("b")
    barrier = play.send_question()
    assert play.answer(barrier) == [Lost(("a",))]
    assert "b" in play.requests


# The tables and other properties --------------------------------------------------------------------------------------------


def test_the_tables_have_no_dead_end() -> None:
    for table, start in ((HEARING_TRANSITIONS, Hearing.FRESH), (BARRIER_TRANSITIONS, BarrierState.NONE)):
        reached: set[Any] = {start}
        arrows: Mapping[tuple[Any, str], Any] = table
        while more := {after for (state, _), after in arrows.items() if state in reached} - reached:
            reached |= more
        assert reached == set(type(start))
        assert {state for state, _ in arrows} == set(type(start))


def test_lines() -> None:
    factory = MessageFactory("s", "me")
    make = factory.make
    assert line_of(make("shell", "x", {}, date="")) == SHELL
    assert line_of(make("shell", "x", {}, date="", subshell_id="sub")) == SUBSHELL
    assert line_of(make("control", "x", {}, date="", subshell_id="sub")) == CONTROL


@pytest.mark.parametrize(
    ("content", "beside"),
    [
        ({"implementation": "ipython"}, False),
        ({"implementation": "xeus-python"}, True),
        ({"implementation": "async"}, True),
        ({"implementation": 5}, False),
        ({}, False),
    ],
)
def test_kernels_that_answer_beside_code(content: dict[str, object], beside: bool) -> None:
    assert answers_beside(Message("shell", Header("1", "kernel_info_reply"), content)) is beside


def test_a_kernel_whose_answer_can_not_be_read_may_answer_beside_code() -> None:
    reply = Message("shell", Header("1", "kernel_info_reply"))
    reply.content_raw = b"[]"
    assert answers_beside(reply)


WORDS = st.sampled_from(GatewayWord)
STEPS = st.one_of(
    st.tuples(st.sampled_from(["send", "send", "connect", "ask", "answer", "fail", "pause", "publish", "hear"]), st.booleans()),
    st.tuples(st.just("gateway"), WORDS),
    st.tuples(st.just("elsewhere"), st.booleans()),
    st.tuples(st.just("wait"), st.sampled_from([0.5, 2.0, 30.0])),
)


@given(st.lists(STEPS, min_size=40, max_size=80), st.booleans())
def test_what_is_held_back_is_released_or_someone_is_asked(steps: list[tuple[str, Any]], polled: bool) -> None:
    """In whatever order facts come: nothing raises, and what waits has someone or something to wait for."""
    play = Play(polled=polled)
    play.connect()
    asked: set[str] = set()  # who is being asked outside of the connection
    question = ""
    for what, how in steps:
        actions: list[Action] = []
        if what == "connect":
            actions = play.connect(quiet=how)
            question = ""
        elif what == "ask":
            actions = play.carry(play.recovery.ask())
        elif what == "send":
            play.carry(play.recovery.wants_to_send())
            question = play.send_question() if play.open else question
        elif what == "answer" and question:
            actions = play.answer(question)
        elif what == "fail" and question:
            actions = play.carry(play.recovery.failed(question))
        elif what == "pause":
            play.paused = not play.paused
        elif what == "publish":
            play.recovery.published()
        elif what == "hear":
            play.liveness.message(play.now)
        elif what == "gateway":
            actions = play.gateway(how)
            asked.discard("gateway")
        elif what == "elsewhere":
            actions = play.elsewhere(how)
            asked.discard("elsewhere")
        elif what == "wait":
            actions = play.wait(how)
        asked |= {"gateway" for action in actions if isinstance(action, AskGateway)}
        asked |= {"elsewhere" for action in actions if isinstance(action, AskElsewhere)}
        if not play.recovery.may_send("anything") and play.recovery.state is not Hearing.MUTE:
            assert asked or play.open or play.recovery.next_deadline() < math.inf or play.recovery.state is Hearing.FRESH


@given(st.data(), st.booleans(), st.booleans())
def test_no_reply_that_comes_is_said_to_be_lost_and_none_that_does_not_is_forgotten(
    data: st.DataObject, polled: bool, beside: bool
) -> None:
    """A kernel that works in order, a gateway that keeps what it has for a session, and cuts that swallow either way."""
    play = Play(polled=polled)
    play.connect()
    queue: deque[str] = deque()  # the kernel's
    replies: deque[str] = deque()  # on their way, or kept by the gateway
    came: set[str] = set()
    codes: set[str] = set()

    def settle() -> None:
        while replies:
            msg_id = replies.popleft()
            came.add(msg_id)
            play.requests.pop(msg_id, None)
            play.answer(msg_id, beside=beside and msg_id not in codes)

    def send_all() -> None:
        play.carry(play.recovery.wants_to_send())
        for msg_id in sorted(play.open, key=lambda one: not isinstance(play.open[one], AskKernel)):
            action = play.open[msg_id]
            if play.recovery.may_send(msg_id):
                del play.open[msg_id]
                play.recovery.sent(msg_id, play.now)
                if isinstance(action, SendBarrier) and action.code:
                    codes.add(msg_id)
                if isinstance(action, AskKernel) or (beside and msg_id not in codes):
                    replies.append(msg_id)  # at once
                else:
                    queue.append(msg_id)

    requests = 0
    for step in data.draw(
        st.lists(st.sampled_from(["send", "lose", "work", "receive", "cut", "look"]), min_size=30, max_size=60)
    ):
        send_all()
        settled = step == "receive"
        if settled:
            settle()
        if step in ("send", "lose") and play.recovery.may_send("x"):
            requests += 1
            play.send(f"r{requests}")
            if step == "send":
                queue.append(f"r{requests}")
            else:
                play.connect()  # it went with the connection
        elif step == "work" and queue:
            replies.append(queue.popleft())
        elif step == "cut":
            for _ in range(data.draw(st.integers(0, len(replies)))):
                replies.popleft()
            play.connect()
        elif step == "look" and polled:
            play.find_lost()
    for _ in range(6):  # at last the connection holds, and the kernel goes on
        send_all()
        replies.extend(queue)
        queue.clear()
        settle()
        play.wait(0)
    if any(request.connection < play.connection for request in play.requests.values()):
        raise AssertionError(play.requests)
    assert not came & set(play.lost)
    assert len(play.lost) == len(set(play.lost))
