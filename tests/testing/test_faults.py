"""Each fault of the fake, seen from the library's side: it strikes when it was asked to, and ends in what the docs promise."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import Chaos, FakeGateway

Clock = trio.testing.MockClock
ONCE = {"max_request_retries": 0}


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
        assert (await kernel.execute("for i in range(3): print(i, flush=True)")).text == "0\n1\n2\n"
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
