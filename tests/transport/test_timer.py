"""One task that keeps time for all: who is called when, in whose context, and what is left of those that have gone."""

from __future__ import annotations

import gc
import math
import weakref
from collections.abc import Callable
from contextvars import ContextVar

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_gateway._transport.timer import FAIRNESS, Alarm, Timer


@pytest.fixture
def timer(nursery: trio.Nursery) -> Timer:
    """A timer that runs."""
    timer = Timer()
    nursery.start_soon(timer.run)
    return timer


class Calls:
    """Notes when it was called, by each alarm's name."""

    def __init__(self, timer: Timer) -> None:
        self._timer = timer
        self.calls: list[tuple[float, str]] = []
        self.failures: list[Exception] = []

    def alarm(self, name: str, then: Callable[[], object] = lambda: None) -> Alarm:
        """An alarm that notes its calls, and does something else after that."""

        def act() -> None:
            self.calls.append((trio.current_time(), name))
            then()

        return Alarm(self._timer, act, self.failures.append)


async def test_each_is_called_at_its_moment_in_the_order_of_the_moments(autojump_clock: MockClock, timer: Timer) -> None:
    calls = Calls(timer)
    for name, moment in [("b", 20.0), ("a", 10.0), ("never", math.inf), ("c", 20.0)]:
        calls.alarm(name).set(moment)
    assert len(timer) == 3
    await trio.sleep(100)
    assert calls.calls == [(10.0, "a"), (20.0, "b"), (20.0, "c")]
    assert len(timer) == 0


async def test_a_moment_that_has_passed_is_now(autojump_clock: MockClock, timer: Timer) -> None:
    await trio.sleep(5)
    calls = Calls(timer)
    calls.alarm("late").set(1.0)
    await trio.sleep(0.1)
    assert calls.calls == [(5.0, "late")]


async def test_a_moment_takes_the_place_of_the_one_before(autojump_clock: MockClock, timer: Timer) -> None:
    calls = Calls(timer)
    sooner, later, off = (calls.alarm(name) for name in ("sooner", "later", "off"))
    for alarm in (sooner, later, off):
        alarm.set(10.0)
    await wait_all_tasks_blocked()
    sooner.set(3.0)
    later.set(30.0)
    off.set(math.inf)
    assert [alarm.moment for alarm in (sooner, later, off)] == [3.0, 30.0, math.inf]
    assert len(timer) == 2
    await trio.sleep(100)
    assert calls.calls == [(3.0, "sooner"), (30.0, "later")]
    assert sooner.moment == math.inf


async def test_one_sets_itself_and_others_anew_when_it_is_called(autojump_clock: MockClock, timer: Timer) -> None:
    calls = Calls(timer)
    other = calls.alarm("other")
    alarm = calls.alarm("again", lambda: (alarm.set(trio.current_time() + 10), other.set(trio.current_time())))
    alarm.set(10.0)
    await trio.sleep(25)
    assert calls.calls == [(10.0, "again"), (10.0, "other"), (20.0, "again"), (20.0, "other")]


async def test_one_that_is_closed_leaves_nothing_and_is_not_called(autojump_clock: MockClock, timer: Timer) -> None:  # G1
    calls = Calls(timer)
    alarms = [calls.alarm(str(number)) for number in range(20)]
    for number, alarm in enumerate(alarms):
        alarm.set(10.0 + number % 3)
    for alarm in alarms[::2] + alarms[1::2]:
        assert not alarm.closed
        alarm.close()
        alarm.set(5.0)
        alarm.close()
        assert alarm.closed
    assert len(timer) == 0
    await trio.sleep(100)
    assert not calls.calls


async def test_one_that_closes_another_of_the_same_moment(autojump_clock: MockClock, timer: Timer) -> None:
    calls = Calls(timer)
    others: list[Alarm] = []
    first = calls.alarm("first", lambda: [other.close() for other in others])
    second = calls.alarm("second")
    others.append(second)
    first.set(1.0)
    second.set(1.0)
    await trio.sleep(2)
    assert calls.calls == [(1.0, "first")]


async def test_what_one_raises_goes_to_its_owner_and_harms_no_other(autojump_clock: MockClock, timer: Timer) -> None:
    calls, others = Calls(timer), Calls(timer)

    def fail() -> None:
        raise ZeroDivisionError("a defect")

    calls.alarm("bad", fail).set(1.0)
    others.alarm("same moment").set(1.0)
    others.alarm("later").set(2.0)
    await trio.sleep(3)
    assert [type(failure) for failure in calls.failures] == [ZeroDivisionError]
    assert not others.failures
    assert others.calls == [(1.0, "same moment"), (2.0, "later")]


async def test_one_whose_owner_can_not_take_what_it_raises_harms_no_other(
    autojump_clock: MockClock, timer: Timer, caplog: pytest.LogCaptureFixture
) -> None:
    """As one whose nursery has closed."""

    def breaks() -> None:
        alarm.close()
        raise ValueError("a defect")

    def refuses(error: Exception) -> None:
        raise RuntimeError("closed") from error

    alarm = Alarm(timer, breaks, refuses)
    alarm.set(10.0)
    calls = Calls(timer)
    calls.alarm("other").set(20.0)
    await trio.sleep(100)
    assert calls.calls == [(20.0, "other")]
    assert [record.message for record in caplog.records] == ["alarm_failed"]


async def test_one_that_is_closed_lets_go_of_its_owner(autojump_clock: MockClock, timer: Timer) -> None:
    """Its owner has it, so the two would keep each other until the collector of cycles came."""

    class Owner:
        def __init__(self) -> None:
            self.alarm = Alarm(timer, self.act, self.fail)

        def act(self) -> None: ...

        def fail(self, error: Exception) -> None: ...

    gc.disable()
    try:
        owner = Owner()
        owner.alarm.set(10.0)
        owner.alarm.close()
        gone = weakref.ref(owner)
        del owner
        assert gone() is None
    finally:
        gc.enable()


async def test_it_is_called_in_the_context_of_its_maker(autojump_clock: MockClock, timer: Timer) -> None:
    who: ContextVar[str] = ContextVar("who", default="nobody")
    seen: list[str] = []

    async def make(name: str) -> None:
        who.set(name)
        Alarm(timer, lambda: seen.append(who.get()), seen.append).set(1.0)
        await trio.lowlevel.checkpoint()

    async with trio.open_nursery() as nursery:
        nursery.start_soon(make, "one")
        nursery.start_soon(make, "two")
    await trio.sleep(2)
    assert sorted(seen) == ["one", "two"]


async def test_others_have_their_turn_while_very_many_are_due(autojump_clock: MockClock, timer: Timer) -> None:
    calls = Calls(timer)
    turns = 0

    async def take_turns() -> None:
        nonlocal turns
        while len(timer):
            turns += 1
            await trio.lowlevel.checkpoint()

    for number in range(FAIRNESS * 10):
        calls.alarm(str(number)).set(1.0)
    await trio.sleep_until(1.0)
    await take_turns()
    assert turns >= 9
    assert len(calls.calls) == FAIRNESS * 10


async def test_what_is_set_before_it_runs(autojump_clock: MockClock, nursery: trio.Nursery) -> None:
    timer = Timer()
    calls = Calls(timer)
    calls.alarm("early").set(1.0)
    nursery.start_soon(timer.run)
    await trio.sleep(2)
    assert calls.calls == [(1.0, "early")]
