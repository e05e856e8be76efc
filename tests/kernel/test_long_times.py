"""Hours in milliseconds: what a session does while nothing happens, or nobody reads, or the computer sleeps. Both engines."""

from __future__ import annotations

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import ConnectionState, KernelState, Verdict
from trio_gateway._transport.websocket import opening as websocket
from trio_gateway.testing import FakeGateway

Clock = trio.testing.MockClock
HOUR = 3600.0


@pytest.fixture(params=["fast", pytest.param("trio-websocket", marks=pytest.mark.full)], autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for."""
    monkeypatch.setattr(websocket, "best_engine", lambda: request.param)
    return str(request.param)


def handshakes(fake: FakeGateway) -> int:
    """How many connections to channels were made."""
    return sum("/channels" in str(request) for request in fake.requests)


async def test_a_cell_that_is_silent_for_hours_is_not_taken_for_dead(autojump_clock: Clock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        verdicts: set[Verdict] = set()

        async def look() -> None:
            while True:
                await trio.sleep(100)
                verdicts.add(kernel.hb.verdict)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(look)
            result = await kernel.execute(f"import time\ntime.sleep({10 * HOUR})\n42")
            nursery.cancel_scope.cancel()
        assert result.text == "42"
        assert not result.output_gaps
        assert trio.current_time() >= 10 * HOUR
        assert verdicts == {Verdict.ALIVE}
        assert handshakes(fake) == 1


async def test_a_session_that_waits_for_nothing_asks_for_nothing(autojump_clock: Clock) -> None:  # lesson A32
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        before = len(fake.requests)
        await trio.sleep(10 * HOUR)
        assert kernel.hb.is_beating()
        assert len(fake.requests) == before


async def test_a_reader_that_is_held_up_for_hours_keeps_its_connection(autojump_clock: Clock) -> None:  # lesson A11
    """Under `"pause"` nothing is read, so no ping is answered; unsolicited pongs say that someone is there."""
    async with FakeGateway(iopub_msg_rate_limit=0) as fake, fake.open(buffer_messages=10) as gateway:
        async with gateway.start_kernel() as kernel:
            code = "for i in range(200):\n    print(i, flush=True)"
            async with kernel.stream(code, when_full="pause") as outputs:
                await trio.sleep(2 * HOUR)
                assert outputs.statistics().messages == 10
                text = "".join([output.text async for output in outputs if isinstance(output, trio_gateway.Stream)])
            assert [int(line) for line in text.split()] == list(range(200))
            assert not outputs.result.output_gaps
            assert handshakes(fake) == 1


async def test_a_computer_that_slept_connects_again(mock_clock: Clock) -> None:
    """The connection is gone when it wakes, and nobody said so: one ping finds out."""
    mock_clock.autojump_threshold = 0
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        await kernel.execute("x = 42")
        fake.swallow_connections()
        mock_clock.jump(8 * HOUR)
        woke = trio.current_time()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        await kernel.wait_for(ConnectionState.CONNECTED)
        assert trio.current_time() - woke <= 2 * gateway.config.ping_interval
        assert (await kernel.execute("x")).text == "42"
        assert kernel.hb.is_beating()


async def test_kernels_that_do_not_answer_are_looked_up_with_one_list(autojump_clock: Clock) -> None:
    """And one that the list lacks is asked about by its id before anything is believed (lesson A31)."""
    async with FakeGateway() as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        kernels: list[trio_gateway.Kernel] = []
        failures: list[Exception] = []

        async def use() -> None:
            async with gateway.start_kernel() as kernel:
                kernels.append(kernel)
                try:
                    await kernel.execute("import time\ntime.sleep(1e9)")
                except trio_gateway.KernelCulledError as error:
                    failures.append(error)

        for _ in range(4):
            nursery.start_soon(use)
        await trio.sleep(1)
        for kernel in kernels:
            fake.kernels[kernel.id].stall()
        fake.requests.clear()
        await trio.sleep(60)
        asked = [str(request) for request in fake.requests]
        assert asked.count("GET /api/kernels") >= 1
        assert not [line for line in asked if line.startswith("GET /api/kernels/")]
        lacking = kernels[0]
        hidden = fake.faults.answer(r"GET /api/kernels$", status=200, body=[])
        fake.requests.clear()
        await trio.sleep(60)
        asked = [str(request) for request in fake.requests]
        assert f"GET /api/kernels/{lacking.id}" in asked
        assert not failures
        hidden.remove()
        fake.remove_kernel(fake.kernels[lacking.id], quietly=True)
        await trio.sleep(60)
        assert len(failures) == 1
        nursery.cancel_scope.cancel()


async def test_a_pause_holds_at_its_bound(autojump_clock: Clock) -> None:
    """If the connection is dropped then, what was under way is gone with it, and with that the reply: so much is told."""
    async with FakeGateway(iopub_msg_rate_limit=0) as fake, fake.open(buffer_messages=10) as gateway:
        async with gateway.start_kernel() as kernel:
            code = "import sys\nfor i in range(300):\n    sys.stdout.write(f'{i}\\n')\n    sys.stdout.flush()"
            lines: list[int] = []
            async with kernel.stream(code, when_full="pause") as outputs:
                await trio.sleep(5)
                assert outputs.statistics().peak_messages == 10
                fake.cut_connections()
                await trio.sleep(100)
                with pytest.raises(trio_gateway.ConnectionLostError):
                    async for output in outputs:
                        assert isinstance(output, trio_gateway.Stream)
                        lines += map(int, output.text.split())
            assert lines == list(range(len(lines)))
            assert (await kernel.execute("6 * 7")).text == "42"


@pytest.mark.parametrize("code", ["import time\ntime.sleep(1e6)", "while True:\n    pass"])
async def test_after_a_cancelled_wait_the_next_request_starts_within_a_second(autojump_clock: Clock, code: str) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        for wait in (kernel.execute, lambda text: kernel.complete("impo")):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.execute, code)
                await kernel.wait_for(KernelState.BUSY)
                nursery.cancel_scope.cancel()
            cancelled = trio.current_time()
            await wait("6 * 7")
            assert trio.current_time() - cancelled < 1


async def test_who_waits_for_the_end_of_an_idle_kernel_is_told_though_its_goodbye_was_lost(autojump_clock: Clock) -> None:
    """A gateway leaves the connection open, and may subscribe to what the kernel publishes only after it has made it."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel, trio.open_nursery() as nursery:
        fake.faults.drop("iopub shutdown_reply")
        nursery.start_soon(kernel.wait_for, KernelState.CULLED)
        await trio.sleep(1)
        async with fake.open() as other:
            await other.kernels.shutdown(kernel.id)
        asked = len(fake.requests)
        with trio.fail_after(2 * gateway.config.ping_interval + 1):
            await kernel.wait_for(KernelState.CULLED)
        assert len(fake.requests) <= asked + 4, "what is said of a kernel of ours is asked for three times"
