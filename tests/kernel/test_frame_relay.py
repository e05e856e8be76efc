"""A kernel's channels as frames: what passes, and what the relay asks and says of its own accord.

What becomes of requests when the connection breaks is in `test_checks.py`, for sessions and relays alike.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from kernel.kit import take_all, turns_while_sending
from trio_gateway._protocol import codec
from trio_gateway._protocol.recovery import BESIDE_SECONDS, QUESTION
from trio_gateway._transport.websocket.fast import FastWebSocket
from trio_gateway.testing import FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock
each_framing = pytest.mark.parametrize("v1", [True, False], ids=["v1", "legacy"])


class Front:
    """A front end behind a relay: it sends requests, and keeps all that comes."""

    def __init__(self, channels: trio_gateway.KernelChannels, v1: bool) -> None:
        self.channels = channels
        self.came: list[trio_gateway.Message] = []
        self._v1 = v1
        self._changed = trio.lowlevel.ParkingLot()

    async def read(self) -> None:
        while True:
            self.came += [codec.decode(frame, v1=self._v1) for frame in await self.channels.receive()]
            self._changed.unpark_all()

    async def send(self, channel: str, msg_type: str, msg_id: str, content: dict[str, object]) -> None:
        header = trio_gateway.Header(msg_id, msg_type, "front", "ada", "2026-01-01T00:00:00Z", "5.4")
        message = trio_gateway.Message(channel, header, content)
        await self.channels.send(codec.encode_v1(message) if self._v1 else codec.encode_legacy(message))

    async def until(self, found: Callable[[trio_gateway.Message], bool]) -> trio_gateway.Message:
        while not (messages := [message for message in self.came if found(message)]):
            await self._changed.park()
        return messages[0]

    async def reply(self, msg_id: str) -> trio_gateway.Message:
        """Wait for the first reply to a request."""
        return await self.until(lambda message: message.parent_id == msg_id and message.msg_type.endswith("_reply"))


@asynccontextmanager
async def open_front(
    fake: FakeGateway, *, v1: bool = True, beside: bool = False, at_work: bool = True, **settings: Any
) -> AsyncGenerator[Front]:
    fake.kernelspecs["python3"] = FakeKernelSpec(name="python3", answers_beside=beside, control_at_work=at_work)
    async with fake.open(**settings) as gateway:
        model = await gateway.kernels.start()
        async with gateway.open_channels(model.id, session_id="front", v1=v1) as channels, trio.open_nursery() as nursery:
            front = Front(channels, v1)
            nursery.start_soon(front.read)
            yield front
            nursery.cancel_scope.cancel()


@each_framing
async def test_answers_to_the_relays_own_questions_reach_nobody(autojump_clock: Clock, v1: bool) -> None:
    async with FakeGateway() as fake, open_front(fake, v1=v1) as front:
        await front.send("shell", "execute_request", "code", {"code": "import time\ntime.sleep(30)"})
        for _ in range(3):
            await trio.sleep(5)
            fake.cut_connections()
        assert (await front.reply("code")).content["status"] == "ok"
        await front.send("shell", "execute_request", "next", {"code": "6 * 7"})
        await front.reply("next")
        await trio.sleep(100)
        assert [message.parent_id for message in front.came if message.msg_type.endswith("_reply")] == ["code", "next"]


@each_framing
async def test_a_first_connection_carries_what_is_sent_and_no_question(autojump_clock: Clock, v1: bool) -> None:
    async with FakeGateway() as fake, open_front(fake, v1=v1) as front:
        asked = fake.faults.drop(f".* {QUESTION}", direction="to_kernel")
        await front.send("shell", "execute_request", "code", {"code": "6 * 7"})
        await front.reply("code")
        await trio.sleep(1000)
        assert asked.hits == 0, "nobody is asked who has not been silent after a cut"


@each_framing
@pytest.mark.parametrize("known", [False, True])
async def test_a_front_end_of_a_kernel_that_answers_nobody_is_answered(
    autojump_clock: Clock, v1: bool, known: bool
) -> None:  # G3
    """Later it may get the kernel's own answer too, as after a connection that broke."""
    async with FakeGateway() as fake, open_front(fake, v1=v1, ping_interval=10, unresponsive_timeout=60) as front:
        (kernel,) = fake.kernels.values()
        if known:
            await front.send("shell", "execute_request", "first", {"code": "import time\ntime.sleep(5)"})
            await front.reply("first")
        await front.send("shell", "execute_request", "code", {"code": "import time\ntime.sleep(20)"})
        await trio.sleep(0.1 if known else 5)
        began = trio.current_time()
        kernel.cut_off()
        await front.send("control", "debug_request", "debug", {"command": "debugInfo"})
        for msg_id in ("code", "debug"):
            content = (await front.reply(msg_id)).content
            assert (content["status"], content["ename"]) == ("error", "KernelUnresponsiveError")
            assert "answered nothing" in content["evalue"]
        assert 60 <= trio.current_time() - began <= 80
        kernel.rejoin()
        await front.send("shell", "execute_request", "next", {"code": "6 * 7"})
        assert (await front.reply("next")).content["status"] == "ok"
        assert set(kernel.executed.values()) == {1}
        assert not [message for message in front.came if message.msg_type == "kernel_info_reply"]


async def test_a_front_end_of_a_kernel_that_does_one_thing_after_the_other_waits(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, open_front(fake, at_work=False, ping_interval=10, unresponsive_timeout=60) as front:
        for number in range(3):
            await front.send("shell", "execute_request", f"code {number}", {"code": "import time\ntime.sleep(4000)"})
            assert (await front.reply(f"code {number}")).content["status"] == "ok"


async def test_nothing_but_the_question_is_sent_before_its_answer(autojump_clock: Clock) -> None:
    """Not the barrier either: nobody looks after a relay whose barrier went nowhere."""
    async with FakeGateway() as fake, open_front(fake) as front:
        (kernel,) = fake.kernels.values()
        await front.send("shell", "execute_request", "code", {"code": "import time\ntime.sleep(30)"})
        await trio.sleep(1)
        barriers = fake.faults.drop(f"shell {QUESTION}", direction="to_kernel", nth=100)  # it counts, and strikes none
        kernel.stall_for(4)
        fake.cut_connections()
        await trio.sleep(3)
        await front.send("shell", "execute_request", "later", {"code": "6 * 7"})
        assert barriers.matched == 0
        await trio.sleep(2)
        assert barriers.matched == 1
        assert (await front.reply("later")).content["status"] == "ok"
        assert (await front.reply("code")).content["status"] == "ok"


async def test_what_is_told_as_lost_when_nothing_comes_reaches_the_front_end(autojump_clock: Clock) -> None:
    """A kernel that answers beside code has some seconds for its control channel, and is silent at their end."""
    async with FakeGateway() as fake, open_front(fake, beside=True) as front:
        fault = fake.faults.cut_at_message("control debug_request", direction="to_kernel", times=1)
        await front.send("control", "debug_request", "asked", {"command": "debugInfo"})
        with trio.fail_after(2 * BESIDE_SECONDS):
            reply = await front.reply("asked")
        assert (fault.hits, reply.channel, reply.content["ename"]) == (1, "control", "ConnectionLostError")
        kinds = [message.msg_type for message in front.came if message.parent_id == "asked"]
        assert kinds == ["debug_reply", "status"]


async def test_a_link_that_breaks_often_leaves_one_barrier(autojump_clock: Clock) -> None:  # G7
    async with FakeGateway() as fake, open_front(fake) as front:
        await front.send("shell", "execute_request", "code", {"code": "import time\ntime.sleep(300)"})
        for _ in range(50):
            await trio.sleep(5)
            fake.cut_connections()
        await trio.sleep(1)
        assert len(front.channels._recovery._barriers or ()) == 1
        assert not front.channels._outgoing
        assert (await front.reply("code")).content["status"] == "ok"


async def test_no_alarm_is_set_where_nothing_is_to_be_found_out(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, open_front(fake) as front:
        fake.cut_connections()
        await trio.sleep(1)
        await front.send("shell", "execute_request", "code", {"code": "6 * 7"})
        await front.reply("code")
        await trio.testing.wait_all_tasks_blocked()
        assert front.channels._carrier._alarm.moment == math.inf


@each_framing
async def test_ids_that_a_kernel_repeats_pass(autojump_clock: Clock, v1: bool) -> None:
    """A relay takes nothing for a replay: what repeats itself is between kernel and front end."""
    async with FakeGateway() as fake, open_front(fake, v1=v1) as front:
        fake.faults.duplicate("shell execute_reply", times=1)
        await front.send("shell", "execute_request", "code", {"code": "6 * 7"})
        await front.reply("code")
        await trio.sleep(1)
        replies = [message for message in front.came if message.msg_type == "execute_reply"]
        assert len(replies) == 2
        assert replies[0].msg_id == replies[1].msg_id


@each_framing
async def test_a_small_frame_is_written_at_once_and_a_large_one_in_its_turn(
    autojump_clock: Clock, v1: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    written: list[tuple[str, trio.lowlevel.Task, int]] = []
    send, send_now = FastWebSocket.send, FastWebSocket.send_now

    def write_now(websocket: FastWebSocket, data: Any) -> bool:
        taken = send_now(websocket, data)
        written.append(("at once" if taken else "refused", trio.lowlevel.current_task(), len(data)))
        return taken

    async def write(websocket: FastWebSocket, data: Any) -> None:
        written.append(("in turn", trio.lowlevel.current_task(), len(data)))
        await send(websocket, data)

    async with FakeGateway() as fake, open_front(fake, v1=v1, websocket_engine="fast") as front:
        (kernel,) = fake.kernels.values()
        await trio.testing.wait_all_tasks_blocked()
        monkeypatch.setattr(FastWebSocket, "send_now", write_now)
        monkeypatch.setattr(FastWebSocket, "send", write)
        me = trio.lowlevel.current_task()
        await front.send("shell", "execute_request", "small", {"code": "'first'"})
        assert [(how, task) for how, task, _ in written] == [("at once", me)]
        await front.send("shell", "execute_request", "large", {"code": f"'second'#{'x' * 20_000}"})
        await front.send("shell", "execute_request", "behind", {"code": "'third'"})
        assert len(written) == 1, "both wait for the task that writes"
        for msg_id in ("small", "large", "behind"):
            assert (await front.reply(msg_id)).content["status"] == "ok"
        assert [how for how, _, _ in written] == ["at once", "in turn", "in turn"]
        assert [code.partition("#")[0] for code in kernel.codes] == ["'first'", "'second'", "'third'"]


async def test_other_tasks_have_turns_while_the_connection_takes_all(autojump_clock: Clock) -> None:
    """A deadline, too, is noticed only where the scheduler has a turn."""
    header = trio_gateway.Header("m", "comm_msg", "front", "ada", "2026-01-01T00:00:00Z", "5.4")
    frame = codec.encode_v1(trio_gateway.Message("shell", header, {}))
    async with FakeGateway() as fake, open_front(fake, websocket_engine="fast") as front:
        take_all(fake)
        await trio.testing.wait_all_tasks_blocked()
        channels = front.channels
        assert await turns_while_sending(lambda: channels.send(frame), 10_000) > 100
        assert not channels._outgoing, "else it is the connection that makes it wait"


async def test_a_cancelled_send_has_sent_nothing(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, open_front(fake, websocket_engine="fast") as front:
        await trio.testing.wait_all_tasks_blocked()
        for _ in range(100):
            with trio.CancelScope() as scope:
                scope.cancel()
                await front.send("shell", "execute_request", "never", {"code": "'never'"})
            assert scope.cancelled_caught
        await front.send("shell", "execute_request", "last", {"code": "'last'"})
        await front.reply("last")
        assert next(iter(fake.kernels.values())).codes == ["'last'"]
