"""A kernel's process, interrupted and replaced: which way an interrupt goes, and whose restart a goodbye announces."""

from __future__ import annotations

from typing import Any, cast

import pytest
import trio
import trio.testing

import trio_gateway
from kernel.kit import Parts
from trio_gateway import GatewayConfig
from trio_gateway._kernel.pending import PendingReply
from trio_gateway._kernel.process import INTERRUPT_SECONDS, KernelProcess
from trio_gateway._kernel.restart_gate import RestartGate
from trio_gateway.testing import FakeGateway, FakeKernelSpec

Clock = trio.testing.MockClock


class Api:
    """A gateway's REST interface that does what it is asked at once."""

    config = GatewayConfig(url="http://gateway.test")

    def __init__(self) -> None:
        self.interrupts = 0
        self.restarts = 0

    def own_restarts(self, kernel_id: str) -> int:
        assert kernel_id == "kernel-1"
        return self.restarts

    async def interrupt(self, kernel_id: str) -> None:
        assert kernel_id == "kernel-1"
        await trio.lowlevel.checkpoint()
        self.interrupts += 1


class Stage(Parts):
    """A process with what it acts on."""

    def __init__(self, mode: str = "signal") -> None:
        super().__init__()
        self.api = Api()
        self.gate = RestartGate(self.requests, self.status, self.start_soon)
        self.replaced: list[tuple[str, str]] = []

        async def interrupt_mode() -> str:
            await trio.lowlevel.checkpoint()
            return mode

        self.process = KernelProcess(
            cast("Any", self.api),
            self.requests,
            self.status,
            self.gate,
            interrupt_mode=interrupt_mode,
            reconnect=lambda: None,
            on_replaced=lambda reason, told: self.replaced.append((reason, told)),
        )


@pytest.mark.parametrize("mode", ["signal", "message"])
async def test_without_a_connection_the_gateway_interrupts(autojump_clock: Clock, mode: str) -> None:
    stage = Stage(mode)
    await stage.process.interrupt()
    assert trio.current_time() == 0, "at once"
    assert (stage.api.interrupts, len(stage.requests.outbox)) == (1, 0)


async def test_a_kernel_that_wants_a_signal_gets_it_from_the_gateway() -> None:
    stage = Stage("signal")
    stage.status.opened()
    await stage.process.interrupt()
    assert (stage.api.interrupts, len(stage.requests.outbox)) == (1, 0)


@pytest.mark.parametrize("answered", [True, False])
async def test_a_kernel_that_wants_a_message_gets_it_and_the_gateway_is_the_second_way(
    autojump_clock: Clock, answered: bool
) -> None:
    stage = Stage("message")
    stage.status.opened()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.process.interrupt)
        await trio.testing.wait_all_tasks_blocked()
        sent = await stage.send_one()
        assert (sent.channel, sent.msg_type) == ("control", "interrupt_request")
        if answered:
            pending = cast("PendingReply", stage.requests.pending[sent.msg_id])
            pending.reply = sent
            pending.settle()
    assert stage.api.interrupts == (not answered)
    assert trio.current_time() == (0 if answered else INTERRUPT_SECONDS)


async def test_a_question_that_is_lost_is_the_gateways_to_answer() -> None:  # G3
    stage = Stage("message")
    stage.status.opened()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(stage.process.interrupt)
        await trio.testing.wait_all_tasks_blocked()
        stage.requests.fail_all(trio_gateway.ConnectionLostError("lost"))
    assert stage.api.interrupts == 1


async def test_a_goodbye_while_we_ask_for_a_restart_is_its_beginning() -> None:
    stage = Stage()
    with stage.gate.asked():
        stage.process.note_goodbye()
        assert stage.gate.farewell
    assert stage.replaced == []


async def test_a_goodbye_that_we_did_not_ask_for_is_someone_elses() -> None:
    stage = Stage()
    stage.process.note_goodbye()
    assert stage.replaced == [("someone restarted it", "restarted by someone else")]


async def test_a_restart_through_the_same_gateway_object_is_no_news_to_tell() -> None:
    stage = Stage()
    stage.api.restarts = 1
    stage.process.note_goodbye()
    stage.process.note_goodbye()
    assert stage.replaced == [
        ("it was restarted through this gateway object", ""),
        ("someone restarted it", "restarted by someone else"),
    ]


async def test_interrupts_go_the_way_the_kernelspec_says(autojump_clock: Clock) -> None:
    for mode in ("signal", "message"):
        spec = FakeKernelSpec(name="python3", interrupt_mode=cast("Any", mode))
        async with FakeGateway(kernelspecs=[spec]) as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
            async with trio.open_nursery() as nursery:

                async def run(kernel: trio_gateway.Kernel = kernel) -> None:
                    result = await kernel.execute("import time; time.sleep(1000)")
                    assert result.error is not None
                    assert result.error.ename == "KeyboardInterrupt"

                nursery.start_soon(run)
                await trio.sleep(1)
                await kernel.interrupt()
            asked = [request for request in fake.requests if request.path.endswith("/interrupt")]
            assert len(asked) == (mode == "signal")


async def test_a_restart_whose_answer_is_lost_has_happened_when_the_old_process_said_so(autojump_clock: Clock) -> None:  # G3
    async with FakeGateway() as fake, fake.open(request_timeout=5.0) as gateway, gateway.start_kernel() as kernel:
        fake.faults.lose_answer("POST .*/restart")
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(trio_gateway.KernelRestartedError, match="by us"):
                    await kernel.execute("import time; time.sleep(1000)")

            nursery.start_soon(run)
            await trio.sleep(1)
            with pytest.raises(trio_gateway.GatewayError):
                await kernel.restart()
        assert (await kernel.execute("1")).text == "1"
