"""Each fault of the fake: it strikes when it was asked to, and, seen from the library, ends in what the docs promise."""

from __future__ import annotations

import math
from functools import partial
from typing import Any

import attrs
import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import InvalidInputError
from trio_gateway.testing import Chaos, FakeGateway, FakeRequest, Faults
from trio_gateway.testing._faults import Garbage, MessageAction, Nth, RequestPlan, Spoilt
from trio_gateway.testing._streams import ServerStream, memory_connection

from .kit_parts import request

Clock = trio.testing.MockClock
ONCE = {"max_request_retries": 0}


# By itself --------------------------------------------------------------------------------------------------------------


def message(name: str = "iopub stream", msg_id: str = "1") -> trio_gateway.Message:
    channel, msg_type = name.split()
    return request(msg_type, channel=channel, msg_id=msg_id)


@attrs.define
class Broken:
    """A `Breakable` that keeps what is done to it."""

    done: list[str] = attrs.field(factory=list)

    def kill_soon(self, seconds: float) -> None:
        self.done.append("kill")

    def restart(self) -> None:
        self.done.append("restart")

    def stall_for(self, seconds: float) -> None:
        self.done.append("stall")


@pytest.mark.parametrize("nth", [0, -1, True, "2", (1, 0), {1.5}, 2.0])
def test_an_nth_that_nothing_can_be_is_refused(nth: Any) -> None:
    """A fault that never strikes would let a test pass that tests nothing."""
    faults = Faults(0)
    for ask in (faults.refuse, partial(faults.drop, "iopub stream"), partial(faults.lose_answer, "GET /api"), faults.mute):
        with pytest.raises(InvalidInputError, match="nth"):
            ask(nth=nth)
    assert faults.missed == []


@pytest.mark.parametrize("times", [-1, True, "2", 1.5])
def test_times_that_are_no_number_of_times_are_refused(times: Any) -> None:
    with pytest.raises(InvalidInputError, match="times"):
        Faults(0).refuse(times=times)


@pytest.mark.parametrize(
    ("method", "arguments", "named"),
    [
        ("cut", {}, "after_received"),
        ("cut_websocket", {}, "after_received"),
        ("cut", {"after_sent": -1}, "after_sent"),
        ("cut_websocket", {"after_received": "9"}, "after_received"),
        ("delay", {"seconds": -1}, "seconds"),
        ("delay", {"seconds": math.nan}, "seconds"),
        ("stall_handshake", {"seconds": -1}, "seconds"),
        ("slow", {"bytes_per_second": 0}, "bytes_per_second"),
        ("drop", {"pattern": "iopub stream", "direction": "to_server"}, "direction"),
        ("spoil", {"pattern": "iopub stream", "part": "body"}, "part"),
    ],
)
def test_a_fault_that_can_strike_nothing_is_refused(method: str, arguments: dict[str, Any], named: str) -> None:
    faults = Faults(0)
    with pytest.raises(InvalidInputError, match=named):
        getattr(faults, method)(**arguments)
    assert faults.missed == []


def test_what_has_struck_nothing_is_known() -> None:
    faults = Faults(0)
    first, second = faults.drop("iopub stream", nth=1), faults.drop("iopub stream", nth=2)
    assert faults.missed == [first, second]
    faults.on_message(Broken(), message(), to_client=True)
    assert (faults.missed, first.matched, second.matched) == ([second], 1, 1)
    assert "'iopub stream'" in repr(second)
    assert "nth=2" in repr(second)


@pytest.mark.parametrize(
    ("nth", "times", "struck"),
    [
        (None, None, [1, 2, 3, 4, 5, 6]),
        (2, None, [2]),
        ((1, 4), None, [1, 4]),
        (range(3, 100), None, [3, 4, 5, 6]),
        (None, 2, [1, 2]),
        (range(2, 100), 2, [2, 3]),
        (9, None, []),
        ((), None, []),
        (None, 0, []),
    ],
)
def test_which_of_those_that_match_are_struck(nth: Nth, times: int | None, struck: list[int]) -> None:
    faults = Faults(0)
    fault = faults.drop("iopub stream", nth=nth, times=times)
    found = []
    for number in range(1, 7):
        assert faults.on_message(Broken(), message("iopub status"), to_client=True) == []
        if faults.on_message(Broken(), message(), to_client=True) == [MessageAction.DROP]:
            found.append(number)
    assert found == struck
    assert fault.hits == len(struck)
    assert faults.counts == ({"drop": len(struck)} if struck else {})


def test_a_fault_that_is_removed_strikes_no_more() -> None:
    faults = Faults(0)
    fault = faults.drop(".*")
    faults.on_message(Broken(), message(), to_client=True)
    fault.remove()
    assert faults.on_message(Broken(), message(), to_client=True) == []
    assert fault.hits == 1


def test_faults_of_messages_know_their_direction_and_their_order() -> None:
    faults = Faults(0)
    faults.cut_at_message("shell .*", direction="to_kernel")
    faults.cut_at_message("iopub stream", inside=True)
    faults.duplicate("iopub str.*")
    faults.reorder("iopub stream")
    faults.garbage(b"x", "iopub stream")
    faults.spoil("iopub stream", part="header", by=b"[]")
    there = faults.on_message(Broken(), message("shell execute_request"), to_client=False)
    assert there == [MessageAction.CUT_BEFORE]
    assert faults.on_message(Broken(), message("shell execute_reply"), to_client=True) == []
    *actions, spoilt = faults.on_message(Broken(), message(), to_client=True)
    assert actions == [MessageAction.CUT_INSIDE, MessageAction.DUPLICATE, MessageAction.HOLD, Garbage(b"x")]
    assert isinstance(spoilt, Spoilt)
    assert (spoilt.part, spoilt.by(b"{}")) == ("header", b"[]")
    assert faults.on_message(Broken(), message("iopub stream2"), to_client=True) == [MessageAction.DUPLICATE]


def test_a_part_can_be_made_of_what_was_to_be_sent() -> None:
    faults = Faults(0)
    faults.spoil("iopub stream", by=lambda sent: sent + b"!")
    (spoilt,) = faults.on_message(Broken(), message(), to_client=True)
    assert isinstance(spoilt, Spoilt)
    assert (spoilt.part, spoilt.by(b"{}")) == ("content", b"{}!")
    with pytest.raises(InvalidInputError, match="part: 'tail'"):
        faults.spoil("iopub stream", part="tail")  # type: ignore[arg-type]


def test_what_becomes_of_a_request() -> None:
    faults = Faults(0)
    faults.answer("GET /api", 503, {"a": 1}, {"X-Y": "z"})
    faults.delay_answer("GET /api.*", 3)
    faults.delay_answer("POST .*", 4)
    faults.lose_request("POST /api/kernels")
    faults.lose_answer("POST /api/sessions")
    faults.stall_handshake(9)
    plan = faults.on_request(FakeRequest("GET", "/api"))
    assert plan.answer is not None
    assert (plan.answer.status, plan.answer.body, plan.answer.headers["X-Y"], plan.delay) == (503, b'{"a": 1}', "z", 3)
    plan = faults.on_request(FakeRequest("POST", "/api/kernels"))
    assert (plan.answer, plan.delay, plan.lose_request, plan.lose_answer) == (None, 4, True, False)
    plan = faults.on_request(FakeRequest("POST", "/api/sessions"))
    assert (plan.lose_request, plan.lose_answer) == (False, True)
    assert faults.on_request(FakeRequest("GET", "/api/kernels/1/channels")).delay == 9, "the last one counts"
    assert faults.on_request(FakeRequest("PUT", "/elsewhere")) == RequestPlan()
    assert faults.counts == {"answer": 1, "slow_answer": 5, "lose_request": 1, "lose_answer": 1}


async def test_what_becomes_of_a_connection(autojump_clock: Clock) -> None:
    faults = Faults(0)
    faults.delay(5, nth=1)
    faults.slow(100, nth=1)
    faults.cut(after_received=7, after_sent=8, nth=1)
    faults.black_hole(nth=2)
    faults.refuse(nth=3)
    streams = [ServerStream(memory_connection()[0], number) for number in (1, 2, 3, 4)]
    await faults.on_connect(streams[0])
    assert trio.current_time() == 5
    assert (streams[0].bytes_per_second, streams[0].cut_after_received, streams[0].cut_after_sent) == (100, 7, 8)
    await faults.on_connect(streams[1])
    assert [stream.swallows for stream in streams[:2]] == [False, True]
    with pytest.raises(ConnectionRefusedError):
        await faults.on_connect(streams[2])
    await faults.on_connect(streams[3])
    assert (streams[3].swallows, streams[3].cut_after_sent, trio.current_time()) == (False, None, 5)
    assert faults.counts == {"delay": 1, "slow": 1, "cut_bytes": 1, "black_hole": 1, "refuse": 1}


def test_a_websockets_bytes_count_from_its_handshake() -> None:
    faults = Faults(0)
    faults.cut_websocket(after_received=10, nth=1)
    faults.cut_websocket(after_sent=20, nth=2)
    stream = ServerStream(memory_connection()[0], 1)
    stream.received, stream.sent = 100, 200
    faults.on_websocket(stream)
    assert (stream.cut_after_received, stream.cut_after_sent) == (110, None)
    faults.on_websocket(stream)
    assert (stream.cut_after_received, stream.cut_after_sent) == (110, 220)


def test_a_mute_session_stays_mute() -> None:
    faults = Faults(0)
    faults.mute(nth=1)
    assert [faults.silences(session) for session in ("front", "other", "front")] == [True, False, True]
    assert faults.counts == {"mute": 1}
    faults.clear()
    assert not faults.silences("front")


def test_nothing_strikes_when_all_is_cleared() -> None:
    faults = Faults(0)
    faults.drop(".*")
    faults.answer(".*", 500)
    faults.cut_websocket(after_sent=1)
    faults.chaos(Chaos(duplicate=1))
    faults.clear()
    stream = ServerStream(memory_connection()[0], 1)
    faults.on_websocket(stream)
    assert stream.cut_after_sent is None
    assert faults.on_message(Broken(), message(), to_client=True) == []
    assert faults.on_request(FakeRequest("GET", "/api")) == RequestPlan()


@pytest.mark.parametrize(
    ("chaos", "expected"),
    [
        (Chaos(cut=1), [MessageAction.CUT_BEFORE]),
        (Chaos(cut_inside=1), [MessageAction.CUT_INSIDE]),
        (Chaos(drop_output=1), [MessageAction.DROP]),
        (Chaos(duplicate=1), [MessageAction.DUPLICATE]),
        (Chaos(reorder=1), [MessageAction.HOLD]),
        (Chaos(garbage=1), [Garbage]),
        (Chaos(kill=1, restart=1, stall=1), []),
        (Chaos(), []),
    ],
)
def test_chaos_among_messages_to_the_client(chaos: Chaos, expected: list[object]) -> None:
    faults, broken = Faults(0), Broken()
    faults.chaos(chaos)
    found = faults.on_message(broken, message(), to_client=True)
    assert [type(each) if isinstance(each, Garbage) else each for each in found] == expected
    assert broken.done == []
    if chaos.drop_output:
        assert faults.on_message(broken, message("iopub status"), to_client=True) == []
        assert faults.on_message(broken, message("shell execute_reply"), to_client=True) == []


def test_chaos_breaks_a_kernel_when_something_comes_for_it() -> None:
    faults, broken = Faults(0), Broken()
    faults.chaos(Chaos(kill=1, restart=1, stall=1, duplicate=1))
    assert faults.on_message(broken, message("control interrupt_request"), to_client=False) == []
    assert broken.done == []
    assert faults.on_message(broken, message("shell execute_request"), to_client=False) == []
    assert broken.done == ["kill", "restart", "stall"]
    assert faults.counts == {"kill": 1, "restart": 1, "stall": 1}


async def test_chaos_among_connections_and_requests(autojump_clock: Clock) -> None:
    faults = Faults(0)
    faults.chaos(Chaos(slow_connect=1, black_hole=1, cut_bytes=1, server_error=1, slow_answer=1, lose_answer=1, longest_delay=3))
    streams = [ServerStream(memory_connection()[0], number) for number in range(20)]
    for stream in streams:
        await faults.on_connect(stream)
        assert stream.swallows
        assert (stream.cut_after_received is None) is not (stream.cut_after_sent is None)
    assert {stream.cut_after_sent is None for stream in streams} == {True, False}
    assert 0 < trio.current_time() < 60
    plan = faults.on_request(FakeRequest("GET", "/api"))
    assert plan.answer is not None
    assert plan.answer.status in {500, 502, 503}
    assert (plan.lose_request, plan.lose_answer) == (False, True)
    assert 0 < plan.delay < 3
    faults.chaos(Chaos(refuse=1, lose_request=1))
    with pytest.raises(ConnectionRefusedError):
        await faults.on_connect(ServerStream(memory_connection()[0], 1))
    assert faults.on_request(FakeRequest("GET", "/api")).lose_request
    assert faults.counts["black_hole"] == 20


# With a client ----------------------------------------------------------------------------------------------------------


async def test_refused_connections(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        refused = fake.faults.refuse(times=2)
        await gateway.kernelspecs.list()  # repeated until it is let in
        assert refused.hits == 2
        refused = fake.faults.refuse()
        with pytest.raises(trio_gateway.GatewayConnectionError, match="refused"):
            async with fake.open(**ONCE) as other:
                await other.kernelspecs.list()
        refused.remove()
        async with fake.open(**ONCE) as other:
            await other.kernelspecs.list()


async def test_a_slow_and_an_endless_connection(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open(**ONCE) as gateway:
        fake.faults.delay(7, nth=1)
        fake.faults.delay(float("inf"), nth=2)
        await gateway.kernelspecs.list()
        assert trio.current_time() == 7
        with pytest.raises(trio_gateway.GatewayTimeoutError) as caught:
            async with fake.open(**ONCE) as other:
                await other.kernelspecs.list()
        assert caught.value.setting == "connect_timeout"
        assert trio.current_time() == 7 + 40


async def test_a_black_hole(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open(**ONCE) as gateway:
        fake.faults.black_hole(nth=1)
        with pytest.raises(trio_gateway.GatewayTimeoutError) as caught:
            await gateway.kernelspecs.list()
        assert caught.value.setting == "request_timeout"
        await gateway.kernelspecs.list()
    assert not fake.connections


async def test_bytes_that_come_slowly(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open(**ONCE) as gateway:
        fake.faults.slow(100)
        await gateway.kernelspecs.list()
        assert trio.current_time() > 3


async def test_answers(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        fault = fake.faults.answer("GET /api/kernelspecs", 503, {"reason": "busy"}, {"X-Y": "z"}, times=2)
        await gateway.kernelspecs.list()
        assert fault.hits == 2
        fake.faults.answer("POST /api/kernels", 418, "no", nth=1)
        with pytest.raises(trio_gateway.GatewayHTTPError) as caught:
            async with gateway.start_kernel():
                pass
        assert caught.value.status_code == 418
        assert not fake.kernels


@pytest.mark.parametrize("fault", ["lose_request", "lose_answer"])
async def test_a_start_whose_answer_is_lost_leaves_no_kernel(autojump_clock: Clock, fault: str) -> None:
    """G2"""
    async with FakeGateway() as fake, fake.open() as gateway:
        getattr(fake.faults, fault)("POST /api/kernels", times=1)
        with pytest.raises(trio_gateway.GatewayConnectionError):
            async with gateway.start_kernel():
                pass
        assert not fake.kernels
        assert len(fake.ended_kernels) == (fault == "lose_answer")


async def test_a_handshake_that_is_stalled_or_refused(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        fake.faults.stall_handshake(times=1)
        with pytest.raises(trio_gateway.GatewayTimeoutError) as caught:
            async with gateway.start_kernel():
                pass
        assert caught.value.setting == "handshake_timeout"
        fake.faults.answer("GET .*/channels", 403, times=1)
        with pytest.raises(trio_gateway.AuthenticationError):
            async with gateway.start_kernel():
                pass
        assert not fake.kernels


async def test_a_websocket_that_is_cut(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.cut_at_message("iopub stream", nth=2)
        fake.faults.cut_at_message("iopub stream", nth=4, inside=True)
        result = await kernel.execute("import time\nfor i in range(6):\n    print(i, flush=True)\n    time.sleep(5)")
        assert fake.faults.counts == {"cut before a message": 1, "cut inside a frame": 1}
        assert {gap.kind: gap.count for gap in result.output_gaps} == {"lost": 2}
        assert result.text == "0\n2\n4\n5\n"


async def test_a_request_cut_on_its_way_is_not_sent_again(autojump_clock: Clock) -> None:
    """G4"""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.cut_at_message("shell execute_request", direction="to_kernel", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("1")
        fake.faults.cut_at_message("shell execute_reply", times=1)
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("2")
        assert fake.kernels[kernel.id].codes == ["2"]


async def test_bytes_of_a_websocket_that_are_cut(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        fault = fake.faults.cut_websocket(after_sent=1000, nth=1)
        async with gateway.start_kernel() as kernel:
            result = await kernel.execute("import time\nfor i in range(20):\n    print(i, flush=True)\n    time.sleep(1)")
        assert fault.hits == 1
        assert [gap.kind for gap in result.output_gaps] == ["lost"]


async def test_messages_lost_twice_and_late(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.drop("iopub stream", nth=2)
        result = await kernel.execute("for i in range(4): print(i, flush=True)")
        assert result.text == "0\n2\n3\n"
        assert result.output_gaps == ()  # no gateway drops one of four
        fake.faults.clear()
        fake.faults.drop("iopub stream", nth=500)
        result = await kernel.execute("for i in range(1000): print(i, flush=True)")
        assert result.text == "".join(f"{number}\n" for number in range(1000) if number != 499)
        assert [(gap.kind, gap.count) for gap in result.output_gaps] == [("lost", 1)]
        fake.faults.clear()
        fake.faults.duplicate("iopub stream")
        twice = await kernel.execute("for i in range(3): print(i, flush=True)")
        assert (twice.text, twice.output_gaps) == ("0\n0\n1\n1\n2\n2\n", ()), "over one connection it is no replay"
        fake.faults.clear()
        fake.faults.reorder("iopub stream", nth=1)
        assert (await kernel.execute("for i in range(3): print(i, flush=True)")).text == "1\n0\n2\n"


@pytest.mark.parametrize("frame", [b"", b"\xff" * 40, "", "{", "null", b"\x06" + bytes(7)])
async def test_garbage(autojump_clock: Clock, frame: bytes | str) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.faults.garbage(frame, "iopub stream", times=1)
        result = await kernel.execute("print(1)")
        assert result.text == "1\n"
        assert [gap.kind for gap in result.output_gaps] == ["lost"]


async def test_what_can_happen_to_a_kernel(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway:
        for act, error in (
            ("kill", trio_gateway.KernelRestartedError),
            ("restart", trio_gateway.KernelRestartedError),
            ("die", trio_gateway.KernelDiedError),
            ("cull", trio_gateway.KernelCulledError),
        ):
            async with gateway.start_kernel() as kernel, trio.open_nursery() as nursery:

                async def act_later(kernel_id: str = kernel.id, act: str = act) -> None:
                    await trio.sleep(1)
                    getattr(fake.kernels[kernel_id], act)()

                nursery.start_soon(act_later)
                with pytest.raises(error):
                    await kernel.execute("import time; time.sleep(1000)")
        async with gateway.start_kernel() as kernel:
            fake.kernels[kernel.id].stall_for(500)
            assert (await kernel.execute("1")).text == "1"
            assert trio.current_time() > 500


async def test_connections_that_go_silent(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        fake.swallow_connections()
        with pytest.raises(trio_gateway.ConnectionLostError):
            await kernel.execute("1")
        assert (await kernel.execute("2")).text == "2"


async def test_chaos_can_be_had_again(autojump_clock: Clock) -> None:
    async def run(seed: int) -> tuple[dict[str, int], list[str]]:
        async with FakeGateway(seed=seed) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
            fake.faults.chaos(Chaos(drop_output=0.2, duplicate=0.2))
            texts = [(await kernel.execute("for i in range(20): print(i, flush=True)")).text for _ in range(10)]
            fake.faults.chaos(None)
            return dict(fake.faults.counts), texts

    first = await run(1)
    assert first == await run(1)
    assert first != await run(2)
    assert set(first[0]) == {"drop_output", "duplicate"}


async def test_a_wrong_direction_is_named() -> None:
    with pytest.raises(ValueError, match="to_kernel"):
        FakeGateway().faults.drop("iopub stream", direction="sideways")  # type: ignore[arg-type]
