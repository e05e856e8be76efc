"""Liveness: which evidence leads to which verdict. Pure: the clock is an argument."""

from __future__ import annotations

import math

import pytest

from trio_gateway import Verdict
from trio_gateway._protocol.liveness import VERDICT_TRANSITIONS, Liveness

LIVING = [Verdict.ALIVE, Verdict.SUSPECT, Verdict.UNREACHABLE, Verdict.UNRESPONSIVE]
EVENTS = ["heard", "spoke", "unanswered", "silent", "lost", "unreachable", "vouched for", "dead", "culled"]


def connected(interval: float = 10.0) -> Liveness:
    liveness = Liveness(interval, 0.0)
    liveness.connected(0.0)
    return liveness


def test_the_table() -> None:
    alive, suspect, unreachable, unresponsive, dead, culled = Verdict
    assert {
        (alive, "heard"): alive,
        (suspect, "heard"): alive,
        (unreachable, "heard"): alive,
        (unresponsive, "spoke"): alive,
        (alive, "unanswered"): unresponsive,
        (suspect, "unanswered"): unresponsive,
        (alive, "silent"): suspect,
        (alive, "lost"): suspect,
        (unresponsive, "lost"): suspect,
        (unresponsive, "unreachable"): unreachable,
        (unresponsive, "dead"): dead,
        (unresponsive, "culled"): culled,
        (alive, "unreachable"): unreachable,
        (suspect, "unreachable"): unreachable,
        (unreachable, "unreachable"): unreachable,
        (unreachable, "vouched for"): suspect,
        (alive, "dead"): dead,
        (suspect, "dead"): dead,
        (unreachable, "dead"): dead,
        (alive, "culled"): culled,
        (suspect, "culled"): culled,
        (unreachable, "culled"): culled,
    } == VERDICT_TRANSITIONS


def test_before_the_first_connection_nothing_is_known() -> None:
    liveness = Liveness(10.0, 0.0)
    assert liveness.verdict(0.0) is Verdict.SUSPECT
    assert not liveness.wants_ping(100.0)


def test_a_connection_shows_life() -> None:
    assert connected().verdict(0.0) is Verdict.ALIVE


@pytest.mark.parametrize("hours", [1, 1000])
def test_a_kernel_that_is_busy_for_hours_is_alive_as_long_as_pongs_come(hours: int) -> None:
    liveness = connected(8.0)  # powers of two: no rounding here
    now = 0.0
    for _ in range(hours * 360):
        now = liveness.due(sending=False)
        assert liveness.wants_ping(now)
        liveness.pinged(now)
        assert liveness.verdict(now) is Verdict.ALIVE  # a ping under way is no bad sign
        now += 0.25
        liveness.heard(now)
        assert not liveness.link_is_dead(now, sending=False)
    assert liveness.verdict(now) is Verdict.ALIVE
    assert liveness.quiet(now) == now  # and yet no message came


def test_an_unanswered_ping_makes_it_suspect_and_then_the_link_is_dead() -> None:
    liveness = connected()
    assert liveness.due(sending=False) == 10.0
    assert not liveness.wants_ping(9.9)
    assert liveness.wants_ping(10.0)
    liveness.pinged(10.0)
    assert not liveness.wants_ping(12.0)
    assert liveness.verdict(14.9) is Verdict.ALIVE
    assert liveness.verdict(15.0) is Verdict.SUSPECT
    assert liveness.due(sending=False) == 20.0
    assert not liveness.link_is_dead(19.9, sending=False)
    assert liveness.link_is_dead(20.0, sending=False)


def test_a_second_ping_does_not_give_the_first_more_time() -> None:
    liveness = connected()
    liveness.pinged(10.0)
    liveness.pinged(19.0)
    assert liveness.link_is_dead(20.0, sending=False)


def test_a_ping_behind_a_large_message_has_more_time() -> None:
    liveness = connected()
    liveness.pinged(10.0)
    assert not liveness.link_is_dead(49.9, sending=True)
    assert liveness.link_is_dead(50.0, sending=True)
    assert liveness.due(sending=True) == 50.0


def test_a_late_pong_makes_good() -> None:
    liveness = connected()
    liveness.pinged(10.0)
    assert liveness.verdict(19.0) is Verdict.SUSPECT
    liveness.heard(19.5)
    assert liveness.verdict(19.5) is Verdict.ALIVE
    assert not liveness.link_is_dead(30.0, sending=False)
    assert liveness.due(sending=False) == 29.5


def test_a_computer_that_slept_pings_at_once_and_recovers() -> None:
    liveness = connected()
    now = 8 * 3600.0
    assert liveness.due(sending=False) <= now
    assert liveness.wants_ping(now)
    assert not liveness.link_is_dead(now, sending=False)  # no ping has gone unanswered yet
    assert liveness.verdict(now) is Verdict.SUSPECT
    liveness.pinged(now)
    liveness.heard(now + 0.1)
    assert liveness.verdict(now + 0.1) is Verdict.ALIVE


def test_a_broken_connection_is_suspect_and_a_refused_one_unreachable() -> None:
    liveness = connected()
    liveness.lost()
    assert liveness.verdict(1.0) is Verdict.SUSPECT
    assert liveness.wants_ping(100.0) is False
    liveness.unreachable()
    assert liveness.verdict(1.0) is Verdict.UNREACHABLE
    liveness.vouched_for(2.0)
    assert liveness.verdict(2.0) is Verdict.SUSPECT  # it is there, and we are not connected to it
    liveness.connected(3.0)
    assert liveness.verdict(3.0) is Verdict.ALIVE


def test_losing_a_connection_forgets_its_ping() -> None:
    liveness = connected()
    liveness.pinged(10.0)
    liveness.lost()
    assert not liveness.link_is_dead(99.0, sending=False)
    liveness.connected(100.0)
    assert not liveness.link_is_dead(100.0, sending=False)


def at_work(interval: float = 10.0, limit: float = math.inf) -> Liveness:
    """A kernel that is known to answer while code runs."""
    liveness = Liveness(interval, 0.0, limit=limit)
    liveness.connected(0.0)
    liveness.answers_at_work = True
    return liveness


def keep_ponging(liveness: Liveness, now: float) -> None:
    liveness.ponged(now, now - 0.5)


def test_a_question_without_an_answer_makes_it_unresponsive_though_pongs_come() -> None:
    liveness = at_work()
    liveness.asked(20.0)
    for now in (21.0, 25.0, 29.9):
        keep_ponging(liveness, now)
        assert liveness.verdict(now) is Verdict.ALIVE
    assert liveness.evidence(29.0).unanswered == 9.0
    assert liveness.verdict(30.0) is Verdict.UNRESPONSIVE
    keep_ponging(liveness, 31.0)
    liveness.vouched_for(31.5)
    assert liveness.verdict(32.0) is Verdict.UNRESPONSIVE, "the gateway's word is not the kernel's"


def test_of_a_kernel_that_is_not_known_to_answer_a_question_without_an_answer_shows_nothing() -> None:
    liveness = connected()
    liveness.asked(20.0)
    for now in range(21, 100_000, 7):
        keep_ponging(liveness, now)
        assert liveness.verdict(now) is Verdict.ALIVE
    assert not liveness.evidence(now).answers_at_work


@pytest.mark.parametrize("word", ["an answer", "a message"])
def test_a_word_of_the_kernel_makes_it_alive_again(word: str) -> None:
    liveness = at_work()
    liveness.asked(20.0)
    keep_ponging(liveness, 30.0)
    assert liveness.verdict(30.0) is Verdict.UNRESPONSIVE
    if word == "an answer":
        liveness.heard(40.0)
        liveness.answered(40.0, 20.0)
        assert liveness.unanswered_since is None
    else:
        liveness.message(40.0)
        assert liveness.unanswered_since == 40.0, "what is open stays open"
    assert liveness.verdict(40.0) is Verdict.ALIVE


def test_a_message_gives_the_answer_more_time() -> None:
    liveness = at_work()
    liveness.asked(20.0)
    liveness.message(28.0)
    keep_ponging(liveness, 37.0)
    assert liveness.verdict(37.9) is Verdict.ALIVE
    assert liveness.verdict(38.0) is Verdict.UNRESPONSIVE


def test_a_second_question_does_not_give_the_first_more_time() -> None:
    liveness = at_work()
    liveness.asked(20.0)
    liveness.asked(29.0)
    keep_ponging(liveness, 29.5)
    assert liveness.verdict(30.0) is Verdict.UNRESPONSIVE


@pytest.mark.parametrize("event", ["lost", "dropped", "connected"])
def test_what_ends_a_question_without_an_answer_proves_nothing(event: str) -> None:
    liveness = at_work()
    liveness.asked(20.0)
    if event == "lost":
        liveness.lost()
        liveness.connected(29.0)
    elif event == "dropped":
        liveness.dropped()
    else:
        liveness.connected(29.0)
    keep_ponging(liveness, 39.0)
    assert liveness.verdict(39.0) is Verdict.ALIVE


def test_an_unresponsive_kernel_whose_connection_breaks_is_suspect() -> None:
    liveness = at_work()
    liveness.asked(20.0)
    keep_ponging(liveness, 30.0)
    before = liveness.verdict(30.0)
    liveness.lost()
    assert (before, liveness.verdict(30.0)) == (Verdict.UNRESPONSIVE, Verdict.SUSPECT)


def test_a_connection_that_is_silent_is_what_is_suspected() -> None:
    liveness = at_work()
    liveness.asked(20.0)
    assert liveness.verdict(30.0) is Verdict.SUSPECT, "no pong came either"


@pytest.mark.parametrize(("limit", "patience"), [(3.0, 3.0), (60.0, 10.0), (math.inf, 10.0)])
def test_when_it_is_unresponsive_and_when_given_up(limit: float, patience: float) -> None:
    liveness = at_work(limit=limit)
    assert liveness.patience == patience
    liveness.asked(20.0)
    for now in range(21, 100):
        keep_ponging(liveness, now)
        assert (liveness.verdict(now) is Verdict.UNRESPONSIVE) == (now >= 20 + patience)
        assert liveness.is_given_up(now) == (now >= 20 + limit)


@pytest.mark.parametrize("final", [Verdict.DEAD, Verdict.CULLED])
def test_an_end_is_final(final: Verdict) -> None:
    liveness = connected()
    liveness.ended(final)
    liveness.heard(1.0)
    liveness.unreachable()
    liveness.vouched_for(1.0)
    liveness.lost()
    liveness.ended(Verdict.DEAD)
    liveness.ended(Verdict.CULLED)
    liveness.connected(2.0)
    assert liveness.verdict(1000.0) is final


def test_nothing_else_is_an_event() -> None:
    assert {event for _, event in VERDICT_TRANSITIONS} == set(EVENTS)
    assert all(before in LIVING for before, _ in VERDICT_TRANSITIONS)


def test_evidence() -> None:
    liveness = connected()
    first = liveness.evidence(5.0)
    assert (first.connection, first.message, first.answer, first.model, first.restarts) == (5.0, None, None, None, 0)
    liveness.message(6.0)
    liveness.answered(7.0, 6.0)
    liveness.vouched_for(8.0)
    liveness.heard(9.0)
    liveness.restarts += 1
    liveness.asked(9.5)
    liveness.answers_at_work = True
    later = liveness.evidence(10.0)
    assert (later.connection, later.message, later.answer, later.model, later.restarts) == (1.0, 4.0, 3.0, 2.0, 1)
    assert (first.unanswered, first.answers_at_work) == (None, False)
    assert (later.unanswered, later.answers_at_work) == (0.5, True)


def test_before_it_is_connected_nothing_is_pinged_and_nothing_dead() -> None:
    liveness = Liveness(10.0, 1.0)
    assert liveness.wants_ping(100.0) is False
    assert liveness.link_is_dead(100.0, sending=False) is False
    assert liveness.quiet(100.0) == liveness.silence(100.0) == 99.0


def test_a_message_is_a_sign_of_life() -> None:
    liveness = connected()
    liveness.message(6.0)
    assert liveness.silence(8.0) == 2.0


def test_what_came_after_a_sessions_end_is_no_time_ago() -> None:
    """Of a session that has ended all is told as of its end, and what was under way then is read a moment later."""
    liveness = connected()
    liveness.asked(8.5)
    liveness.message(8.25)
    liveness.vouched_for(8.5)
    evidence = liveness.evidence(8.0)
    assert liveness.silence(8.0) == 0.0
    assert (evidence.connection, evidence.message, evidence.model, evidence.unanswered) == (0.0, 0.0, 0.0, 0.0)


def test_quiet_counts_from_the_connection_or_the_last_message() -> None:
    liveness = connected()
    liveness.message(3.0)
    assert liveness.quiet(10.0) == 7.0
    liveness.lost()
    liveness.connected(8.0)
    assert liveness.quiet(10.0) == 2.0
    liveness.heard(9.0)
    assert liveness.quiet(10.0) == 2.0


def test_what_is_progress_of_a_connection() -> None:
    """Not that it was made, nor that it lives, nor that something came: a message is judged by who understands it."""
    liveness = Liveness(10.0, 0.0)
    assert not liveness.progressed
    liveness.connected(0.0)
    liveness.message(1.0)
    liveness.heard(2.0)
    assert not liveness.progressed
    liveness.ponged(3.0, 2.0)
    assert liveness.progressed
    assert liveness.silence(4.0) == 1.0
    liveness.lost()
    assert liveness.progressed, "it is asked for after the loss"
    liveness.connected(5.0)
    assert not liveness.progressed


def test_until_when_it_is_known_that_what_was_sent_came_through() -> None:
    liveness = connected()
    began = liveness.carried
    liveness.message(6.0)
    assert liveness.carried == began, "a message says nothing about the way there"
    liveness.ponged(9.0, 7.0)
    assert liveness.carried == 7.0
    liveness.answered(10.0, 6.0)
    assert liveness.carried == 7.0
    liveness.answered(12.0, 11.0)
    assert liveness.carried == 11.0


def test_what_comes_after_the_moment_that_is_asked_about_is_no_time_before_it() -> None:
    """As a gateway's word on a kernel whose session has ended, which is looked at as of its end."""
    liveness = Liveness(10.0, 0.0)
    liveness.connected(0.0)
    liveness.vouched_for(60.0)
    assert liveness.evidence(30.0).model == 0.0
    liveness.heard(60.0)
    assert liveness.silence(30.0) == 0.0
