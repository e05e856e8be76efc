"""A connection's heartbeat: when it pings, what it takes for an answer, when it gives up, and what it leaves."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import AsyncGenerator, Callable

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from trio_gateway._kernel.heartbeat import Heartbeat
from trio_gateway._protocol.liveness import Liveness
from trio_gateway._transport.timer import Timer
from trio_gateway._transport.websocket.opening import WebSocketClosed
from trio_gateway.testing import FakeGateway


class Wire:
    """A connection: notes pings, and answers those that it is to answer, after some seconds."""

    def __init__(self, nursery: trio.Nursery, *, at_once: bool) -> None:
        self.given_up = False
        self.sending = self.paused = False
        self.pings: list[float] = []
        self.pongs: list[float] = []
        self.answers_after = 1.0
        self.closed = False
        self._nursery = nursery
        self._at_once = at_once

    def ping_now(self, answered: Callable[[], object]) -> bool:
        if self._at_once:
            self.pings.append(trio.current_time())
            self._nursery.start_soon(self._answer, answered)
        return self._at_once

    async def _answer(self, answered: Callable[[], object]) -> None:
        await trio.sleep(self.answers_after)
        answered()

    async def ping(self) -> None:
        self.pings.append(trio.current_time())
        await trio.sleep(self.answers_after)
        if self.closed:
            raise WebSocketClosed(1006, "")

    async def pong(self) -> None:
        await trio.lowlevel.checkpoint()
        self.pongs.append(trio.current_time())


class Stage:
    """A heartbeat on a connection that is a stand-in."""

    def __init__(self, nursery: trio.Nursery, timer: Timer, *, at_once: bool) -> None:
        self.wire = Wire(nursery, at_once=at_once)
        self.liveness = Liveness(10.0, trio.current_time())
        self.liveness.connected(trio.current_time())
        self.timer = timer
        self.heard: list[float] = []
        self.over = math.inf
        self.scope: trio.CancelScope | None = None

    async def run(self) -> None:
        """Keep the connection, until it is given up."""
        async with trio.open_nursery() as nursery:
            self.scope = nursery.cancel_scope
            with Heartbeat(self.wire, nursery, self.liveness, self.wire, self.timer, self.heard.append):  # type: ignore[arg-type]
                await trio.sleep_forever()
        self.over = trio.current_time()


@pytest.fixture(params=[True, False], ids=["at once", "by a task"])
async def stage(request: pytest.FixtureRequest) -> AsyncGenerator[Stage]:
    """A heartbeat that runs, whose pings are sent in each of both ways."""
    async with trio.open_nursery() as nursery:
        timer = Timer()
        nursery.start_soon(timer.run)
        stage = Stage(nursery, timer, at_once=request.param)
        nursery.start_soon(stage.run)
        yield stage
        nursery.cancel_scope.cancel()


async def test_it_pings_after_an_interval_of_silence(autojump_clock: MockClock, stage: Stage) -> None:
    await trio.sleep(35)
    assert stage.wire.pings == [10.0, 21.0, 32.0], "each an interval after the answer to the one before"
    assert stage.liveness.progressed
    assert stage.liveness.carried == 32.0
    assert stage.over == math.inf


async def test_it_does_not_ping_while_something_comes(autojump_clock: MockClock, stage: Stage) -> None:
    for _ in range(10):
        await trio.sleep(8)
        stage.liveness.message(trio.current_time())
    assert not stage.wire.pings
    await trio.sleep(10.5)
    assert stage.wire.pings == [90.0]


async def test_it_gives_up_when_nothing_answers(autojump_clock: MockClock, stage: Stage) -> None:
    await trio.sleep(3)
    stage.liveness.message(trio.current_time())
    stage.wire.answers_after = math.inf
    await trio.sleep(30)
    assert stage.wire.pings == [13.0]
    assert stage.over == 23.0
    assert stage.heard == [3.0]
    assert stage.wire.given_up
    assert len(stage.timer) == 0


async def test_an_answer_has_more_time_while_something_is_sent(autojump_clock: MockClock, stage: Stage) -> None:
    stage.wire.answers_after = 35.0
    stage.wire.sending = True
    await trio.sleep(50)
    assert stage.wire.pings == [10.0]
    assert stage.over == math.inf
    assert stage.liveness.carried == 10.0


async def test_one_that_does_not_read_says_that_it_is_there(autojump_clock: MockClock, stage: Stage) -> None:
    stage.wire.paused = True
    stage.wire.answers_after = math.inf
    await trio.sleep(35)
    assert stage.wire.pongs == [10.0, 20.0, 30.0]
    assert not stage.wire.pings
    assert stage.over == math.inf


async def test_a_connection_that_has_ended_answers_nothing(autojump_clock: MockClock, stage: Stage) -> None:
    if stage.wire._at_once:
        pytest.skip("an answer that never comes: the engine calls nobody")
    stage.wire.closed = True
    await trio.sleep(12)
    assert stage.wire.pings == [10.0]
    assert stage.liveness.carried == 0.0


async def test_an_answer_after_its_end_shows_nothing_and_nothing_is_left(autojump_clock: MockClock, stage: Stage) -> None:  # G1
    stage.wire.answers_after = 5.0
    await trio.sleep(11)
    assert stage.wire.pings == [10.0]
    assert stage.scope is not None
    stage.scope.cancel()
    await trio.sleep(0.1)
    assert stage.over == 11.0
    assert len(stage.timer) == 0
    await trio.sleep(20)
    assert len(stage.timer) == 0
    assert not stage.liveness.progressed


async def test_of_two_pings_each_answer_vouches_for_its_own_time(autojump_clock: MockClock, stage: Stage) -> None:
    stage.wire.answers_after = 15.0
    await trio.sleep(10.5)
    stage.liveness.message(trio.current_time())  # the first ping's answer is not needed any more
    stage.wire.answers_after = math.inf
    await trio.sleep(15)
    assert stage.wire.pings == [10.0, 20.5]
    assert stage.liveness.carried == 10.0


async def test_a_defect_in_one_heartbeat_ends_its_kernels_block_and_no_other(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    look = Liveness.link_is_dead
    broken: Liveness | None = None

    def fail(liveness: Liveness, now: float, *, sending: bool) -> bool:
        if liveness is broken:
            raise ZeroDivisionError("a defect")
        return look(liveness, now, sending=sending)

    monkeypatch.setattr(Liveness, "link_is_dead", fail)
    async with FakeGateway(ping_interval=0) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(trio_gateway.GatewayInternalError):
            async with gateway.start_kernel() as other:
                broken = other._session.status.liveness
                await trio.sleep_forever()
        ended = trio.current_time()
        await trio.sleep(100)
        assert 20.0 <= ended < 21.0
        assert (await kernel.execute("6 * 7")).status == "ok"
        assert kernel.verdict is trio_gateway.Verdict.ALIVE


async def test_sessions_that_end_leave_no_alarm(autojump_clock: MockClock) -> None:  # G1
    async with FakeGateway() as fake, fake.open() as gateway:
        timer = gateway._api.http.timer
        for _ in range(3):
            async with gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
                nursery.start_soon(kernel.execute, "import time\ntime.sleep(100)")
                await trio.sleep(30)
                assert len(timer) > 0
                nursery.cancel_scope.cancel()
            assert len(timer) == 0


def names_of_tasks() -> Counter[str]:
    """The names of all tasks that there are."""
    tasks = [trio.lowlevel.current_root_task()]
    for task in tasks:
        assert task is not None
        tasks += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
    return Counter(task.name for task in tasks if task is not None)


async def test_a_session_has_no_task_that_keeps_time(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "import time\ntime.sleep(60)")
        await trio.sleep(30)
        before = names_of_tasks()
        async with gateway.attach_kernel(kernel.id):
            await trio.sleep(1)
            more = names_of_tasks() - before
        ours = [name for name in more.elements() if name.startswith("trio_gateway.") and ".testing." not in name]
        assert sorted(ours) == ["trio_gateway._kernel.exchange.MessageExchange.send_all", f"trio_gateway.session[{kernel.id:.8}]"]
        assert before["trio_gateway.timer"] == 1
        nursery.cancel_scope.cancel()
