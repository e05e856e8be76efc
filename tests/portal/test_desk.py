"""What no call has asked is done by a thread that waits: by the one that it was put there for, or by another."""

from __future__ import annotations

from typing import Any

import attrs

from trio_gateway._portal.desk import Desk
from trio_gateway._portal.messages import Asked


@attrs.frozen(eq=False)
class Waiting:
    thread: int
    woken: list[int] = attrs.field(factory=list)

    def wake(self) -> None:
        self.woken.append(self.thread)


def asked() -> Asked:
    def nobody(answer: Any) -> None:
        raise AssertionError

    return Asked("ask", int, (), nobody)


def test_it_is_done_by_the_thread_that_it_is_for_once_and_in_order() -> None:
    desk, mine, other = Desk(), Waiting(1), Waiting(2)
    desk.join(mine)
    desk.join(other)
    desk.put(first := asked(), 1)
    desk.put(second := asked(), 1)
    assert mine.woken
    assert desk.take(other) is None
    assert [desk.take(mine), desk.take(mine), desk.take(mine)] == [first, second, None]


def test_another_does_it_while_that_one_does_not_wait() -> None:
    """It is woken for it also where the thread leaves that it was left to, and not where there is nothing to do."""
    desk, mine, other = Desk(), Waiting(1), Waiting(2)
    desk.join(mine)
    desk.join(other)
    desk.leave(mine)
    assert other.woken == []
    desk.join(mine)
    desk.put(only := asked(), 1)
    del other.woken[:]
    desk.leave(mine)
    desk.leave(mine)
    assert other.woken == [2]
    assert desk.take(other) is only
    assert desk.take(other) is None


def test_what_was_taken_back_is_not_done() -> None:
    desk, mine = Desk(), Waiting(1)
    desk.put(one := asked(), 1)
    desk.put(other := asked(), 1)
    desk.take_back(one)
    desk.take_back(one)
    desk.join(mine)
    assert desk.take(mine) is other
