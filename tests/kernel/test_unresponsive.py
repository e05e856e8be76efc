"""A kernel that answers nobody, behind a gateway that goes on vouching for it. In virtual time, on the fake; real ones below."""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from tools.gateway_tools import QUICK
from trio_gateway import GatewayEvent, Kernel, KernelUnresponsiveError, Verdict
from trio_gateway.testing import FakeGateway, FakeKernel, FakeKernelSpec

if TYPE_CHECKING:
    from conftest import RunningGateway

PING = 10.0
LIMIT = 60.0
LATEST = 2 * PING + LIMIT
"""After so many seconds of silence what waits has failed."""
LONG = "import time\ntime.sleep(100000)\n42"


class Scene:
    """A kernel that has been seen to answer while code ran, unless it is one that does not."""

    def __init__(self, fake: FakeGateway, gateway: trio_gateway.Gateway, kernel: Kernel, events: list[GatewayEvent]) -> None:
        self.fake = fake
        self.gateway = gateway
        self.kernel = kernel
        self.events = events

    @property
    def there(self) -> FakeKernel:
        return self.fake.kernels[self.kernel.id]

    @property
    def told(self) -> list[str]:
        return [event.action for event in self.events if event.action.endswith("responsive")]


@asynccontextmanager
async def open_scene(*, known: bool = True, spec: FakeKernelSpec | None = None, **settings: Any) -> AsyncGenerator[Scene]:
    events: list[GatewayEvent] = []
    settings = {"ping_interval": PING, "unresponsive_timeout": LIMIT, **settings}
    async with (
        FakeGateway() as fake,
        fake.open(on_event=events.append, **settings) as gateway,
    ):
        if spec is not None:
            fake.kernelspecs[spec.name] = spec
        async with gateway.start_kernel() as kernel:
            if known:
                await kernel.execute("import time\ntime.sleep(5)")
                assert kernel.hb.evidence.answers_at_work
            yield Scene(fake, gateway, kernel, events)


async def failed_after(call: Callable[[], Awaitable[object]]) -> float:
    """Return after how many seconds a call has failed as it should."""
    began = trio.current_time()
    with pytest.raises(KernelUnresponsiveError) as caught:
        await call()
    assert caught.value.limit == LIMIT
    assert not isinstance(caught.value, trio_gateway.KernelError)
    return trio.current_time() - began


async def iterate(kernel: Kernel) -> None:
    async with kernel.stream(LONG) as outputs:
        async for _ in outputs:
            pass


WAITS: dict[str, Callable[[Kernel], Awaitable[object]]] = {
    "execute": lambda kernel: kernel.execute(LONG),
    "stream": iterate,
    "complete": lambda kernel: kernel.complete("pri"),
    "inspect": lambda kernel: kernel.inspect("print"),
    "history": lambda kernel: kernel.history(),
    "is_complete": lambda kernel: kernel.is_complete("print"),
    "comm_info": lambda kernel: kernel.comm_info(),
    "kernel_info": lambda kernel: kernel.kernel_info(),
    "debug": lambda kernel: kernel.debug("debugInfo"),
}


@pytest.mark.parametrize("name", WAITS)
@pytest.mark.parametrize("fault", ["cut_off", "stall"])
async def test_what_waits_for_a_kernel_that_answers_nobody_fails(autojump_clock: MockClock, name: str, fault: str) -> None:  # G3
    async with open_scene() as scene:
        getattr(scene.there, fault)()
        seconds = await failed_after(lambda: WAITS[name](scene.kernel))
        assert LIMIT <= seconds <= LATEST
        assert scene.kernel.verdict is scene.kernel.hb.verdict is Verdict.UNRESPONSIVE
        assert scene.told == ["unresponsive"]
        assert not scene.kernel.hb.is_beating()
        assert scene.fake.requests, "the gateway was asked, and vouched for it"
        scene.there.resume()
        scene.there.rejoin()


async def test_code_that_ran_when_the_link_went_down_fails(autojump_clock: MockClock) -> None:  # G3
    """The first code that the kernel gets: what it is known to do, it is known of that very code."""
    async with open_scene(known=False) as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(failed_after, lambda: scene.kernel.execute(LONG))
            await trio.sleep(5)
            assert scene.kernel.hb.evidence.answers_at_work
            scene.there.cut_off()
        assert LIMIT <= trio.current_time() - 5 <= LATEST
        assert scene.told == ["unresponsive"]


async def test_by_default_nothing_fails_and_it_is_told(autojump_clock: MockClock) -> None:
    """Code in C that holds the interpreter's lock looks like this."""
    async with open_scene(unresponsive_timeout=float("inf")) as scene, trio.open_nursery() as nursery:

        async def run() -> None:
            assert (await scene.kernel.execute("import time\ntime.sleep(100)\n42")).text == "42"

        nursery.start_soon(run)
        await trio.sleep(1)
        scene.there.cut_off()
        await trio.sleep(3600)
        assert scene.kernel.verdict is Verdict.UNRESPONSIVE
        assert scene.kernel.hb.is_beating(), "nobody has said how long is too long"
        assert scene.told == ["unresponsive"]
        event = next(event for event in scene.events if event.action == "unresponsive")
        assert (event.kind, event.status, event.kernel_id) == ("kernel", "error", scene.kernel.id)
        assert "answered nothing" in event.message
        scene.there.rejoin()
        await trio.sleep(1)
        assert scene.told == ["unresponsive", "responsive"]
        assert scene.kernel.hb.evidence.answer is not None


@pytest.mark.parametrize("limit", [LIMIT, float("inf")])
async def test_a_kernel_that_never_answered_while_code_ran_is_not_taken_for_unresponsive(
    autojump_clock: MockClock, limit: float
) -> None:
    async with open_scene(
        known=False, spec=FakeKernelSpec(name="python3", control_at_work=False), unresponsive_timeout=limit
    ) as scene:
        for seconds in (0.5, 3, 7, 5_000):
            result = await scene.kernel.execute(f"import time\ntime.sleep({seconds})\n42")
            assert result.text == "42"
        evidence = scene.kernel.hb.evidence
        assert not evidence.answers_at_work
        assert evidence.answer is not None, "it was asked, and answered afterwards"
        assert scene.told == []
        assert scene.kernel.verdict is Verdict.ALIVE


@pytest.mark.parametrize("lost", [False, True])
async def test_a_kernel_is_alive_again_when_the_link_is_back(autojump_clock: MockClock, lost: bool) -> None:
    """Also where all that was sent meanwhile was lost with the link: then another question shows it."""
    async with open_scene() as scene:
        scene.there.cut_off()
        await failed_after(lambda: scene.kernel.execute("1"))
        await trio.sleep(1000)
        assert scene.told == ["unresponsive"]
        scene.there.rejoin(lost=lost)
        await trio.sleep(16 * PING + 1)
        assert scene.kernel.verdict is Verdict.ALIVE
        assert scene.kernel.hb.is_beating()
        assert scene.told == ["unresponsive", "responsive"]
        assert (await scene.kernel.execute("6 * 7")).text == "42"


@pytest.mark.parametrize("lost", [False, True])
async def test_a_check_asks_a_kernel_that_did_not_answer_again(autojump_clock: MockClock, lost: bool) -> None:
    async with open_scene() as scene:
        scene.there.cut_off()
        await failed_after(lambda: scene.kernel.execute("1"))
        assert await scene.kernel.hb.check() is Verdict.UNRESPONSIVE
        scene.there.rejoin(lost=lost)
        await trio.sleep(2 * PING)
        assert await scene.kernel.hb.check() is Verdict.ALIVE


async def test_what_comes_late_goes_to_nobody_else(autojump_clock: MockClock) -> None:  # G4
    """The code ran once, and its output and result are not those of what is asked next."""
    async with open_scene() as scene:
        kernel = scene.kernel
        async with trio.open_nursery() as nursery:
            nursery.start_soon(
                failed_after, lambda: kernel.execute("import time\nprint('late')\ntime.sleep(400)\nprint('later')\n1")
            )
            await trio.sleep(1)
            scene.there.cut_off()
        async with trio.open_nursery() as nursery:
            results: list[trio_gateway.ExecutionResult] = []

            async def run() -> None:
                results.append(await kernel.execute("print('next')\n2"))

            nursery.start_soon(run)
            await trio.sleep(1)
            scene.there.rejoin()
        assert [(result.status, result.output_gaps) for result in results] == [("ok", ())]
        texts = [output.text for output in results[0].outputs if isinstance(output, trio_gateway.Stream)]
        assert texts == ["next\n"]
        assert set(scene.there.executed.values()) == {1}


async def test_those_that_wait_for_their_turn_fail_with_the_one_that_has_it(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        scene.there.cut_off()
        errors: list[KernelUnresponsiveError] = []

        async def run(number: int) -> None:
            try:
                await scene.kernel.execute(str(number))
            except KernelUnresponsiveError as error:
                errors.append(error)

        async with trio.open_nursery() as nursery:
            for number in range(5):
                nursery.start_soon(run, number)
        assert trio.current_time() <= LATEST + 6
        assert sorted(error.unsent for error in errors) == [False, True, True, True, True]
        before = len(scene.there.codes)
        # What is asked later has a time of its own.
        assert LIMIT <= await failed_after(lambda: scene.kernel.execute("7")) <= LATEST
        scene.there.rejoin()
        assert (await scene.kernel.execute("6 * 7")).text == "42"
        assert len(scene.there.codes) == before + 3, "those that were sent ran, once; the others did not"


async def test_code_behind_one_that_fails_late_runs_all_the_same(autojump_clock: MockClock) -> None:
    """A kernel skips what was sent behind code that fails, also where nobody here waits for that code any more."""
    async with open_scene() as scene:
        scene.there.cut_off()
        await failed_after(lambda: scene.kernel.execute("raise ValueError"))
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                assert (await scene.kernel.execute("6 * 7")).text == "42"

            nursery.start_soon(run)
            await trio.sleep(1)
            scene.there.rejoin()
        assert scene.there.codes[-2:] == ["raise ValueError", "6 * 7"]
        assert set(scene.there.executed.values()) == {1}


async def test_a_kernel_that_speaks_is_not_unresponsive_though_it_answers_nothing(autojump_clock: MockClock) -> None:
    async with open_scene() as scene, trio.open_nursery() as nursery:

        async def speak() -> None:
            while True:
                await trio.sleep(PING / 2)
                scene.there._broadcast(trio_gateway_message(scene.there))

        scene.there.cut_off()
        nursery.start_soon(speak)
        with trio.move_on_after(1000) as scope:
            await scene.kernel.execute("1", on_cancel="abandon")
        assert scope.cancelled_caught
        assert scene.told == []
        scene.there.rejoin()
        nursery.cancel_scope.cancel()


def trio_gateway_message(kernel: FakeKernel) -> Any:
    return kernel.server_message("stream", {"name": "stdout", "text": "."}, None)


async def test_a_consumer_that_pauses_reading_judges_nobody(autojump_clock: MockClock) -> None:
    """The answer waits to be read, behind output that nobody takes."""
    async with open_scene(buffer_messages=5) as scene:
        code = "import time\nfor i in range(50):\n    print(i)\ntime.sleep(2000)"
        async with scene.kernel.stream(code, when_full="pause", on_cancel="interrupt") as outputs:
            await trio.sleep(1000)
            assert scene.told == []
            texts = [output async for output in outputs]
        assert texts
        assert scene.told == []


async def test_cancelling_is_bounded_and_told(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:  # G6
    async with open_scene(interrupt_timeout=7) as scene:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(scene.kernel.execute, LONG)
            await trio.sleep(3)
            scene.there.cut_off()
            began = trio.current_time()
            nursery.cancel_scope.cancel()
        assert trio.current_time() - began <= 8
        assert "still_busy" in caplog.text
        assert scene.there.interrupts == 0, "the gateway could not"
        scene.there.rejoin()


async def test_a_restart_makes_it_usable_again(autojump_clock: MockClock) -> None:
    async with open_scene() as scene:
        scene.there.cut_off()
        await failed_after(lambda: scene.kernel.execute(LONG))
        await scene.kernel.restart()
        assert (await scene.kernel.execute("6 * 7")).text == "42"
        assert scene.kernel.verdict is Verdict.ALIVE


async def test_a_connection_that_breaks_begins_anew(autojump_clock: MockClock) -> None:
    async with open_scene() as scene, trio.open_nursery() as nursery:
        nursery.start_soon(failed_after, lambda: scene.kernel.execute(LONG))
        await trio.sleep(3)
        scene.there.stall()
        await trio.sleep(4 * PING)
        assert scene.told == ["unresponsive"]
        scene.fake.cut_connections()
        await trio.sleep(1)
        assert scene.kernel.verdict is not Verdict.UNRESPONSIVE
        scene.there.resume()
        await scene.kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
        scene.there.stall()


# ------------------------------------------------------------------------------------------------------------- real kernels

BLIND = "import ctypes\nctypes.PyDLL(None).sleep({seconds})\n42"
"""Code in C that holds the interpreter's lock: nothing of the process runs meanwhile."""


@asynccontextmanager
async def open_real(real_gateway: RunningGateway, **settings: Any) -> AsyncGenerator[tuple[Kernel, int, list[str]]]:
    """A real kernel that has been seen to answer while code ran; its process id; and what is told of it."""
    told: list[str] = []

    def note(event: GatewayEvent) -> None:
        if event.action.endswith("responsive"):
            told.append(event.action)

    settings = {**QUICK, "ping_interval": 3.0, **settings}
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=note, **settings) as gateway,
        gateway.start_kernel() as kernel,
    ):
        pid = int((await kernel.execute("import os; os.getpid()")).text)
        while not kernel.hb.evidence.answers_at_work:
            await kernel.execute("import time\ntime.sleep(6)")
        yield kernel, pid, told


@pytest.mark.gateway
@pytest.mark.full
async def test_a_real_kernel_that_is_stopped_and_goes_on(real_gateway: RunningGateway) -> None:  # G3
    """Kernel Gateway's model of it says "busy" all the while."""
    async with open_real(real_gateway, unresponsive_timeout=6) as (kernel, pid, told):
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(KernelUnresponsiveError):
                    await kernel.execute("import time\nprint('late')\ntime.sleep(2)")

            nursery.start_soon(run)
            await kernel.wait_for(trio_gateway.KernelState.BUSY)
            os.kill(pid, signal.SIGSTOP)
        try:
            assert told == ["unresponsive"]
            assert not kernel.hb.is_beating()
        finally:
            os.kill(pid, signal.SIGCONT)
        result = await kernel.execute("print('next', end=''); 6 * 7")
        assert result.status == "ok"
        assert "".join(output.text for output in result.outputs if isinstance(output, trio_gateway.Stream)) == "next"
        assert await kernel.hb.check() is Verdict.ALIVE


@pytest.mark.gateway
@pytest.mark.full
async def test_by_default_code_in_c_that_holds_the_lock_runs_to_its_end(real_gateway: RunningGateway) -> None:
    async with open_real(real_gateway) as (kernel, _pid, told):
        assert (await kernel.execute(BLIND.format(seconds=20))).text == "42"
        assert "unresponsive" in told, "it could not be told apart"
        assert await kernel.hb.check() is Verdict.ALIVE
        assert (await kernel.execute("6 * 7")).text == "42"


@pytest.mark.parametrize("silent", [True, False])
async def test_a_gateway_that_forgets_a_kernel_which_it_can_not_reach_does_not_prove_its_end(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, silent: bool
) -> None:  # G2: as Enterprise Gateway does, whose other replica looks for the kernel, and deletes what it has of it
    async with FakeGateway() as fake:
        with pytest.raises(trio_gateway.KernelCulledError) as caught:
            async with fake.open(ping_interval=PING) as gateway, gateway.start_kernel() as kernel:
                await kernel.execute("import time\ntime.sleep(5)")
                assert kernel.hb.evidence.answers_at_work
                async with trio.open_nursery() as nursery:

                    async def fail() -> None:
                        with pytest.raises(trio_gateway.KernelCulledError):
                            await kernel.execute(LONG)

                    nursery.start_soon(fail)
                    await trio.sleep(1)
                    if silent:
                        fake.kernels[kernel.id].cut_off()
                    await trio.sleep(1.5 * PING)
                    fake.faults.answer(
                        f"[A-Z]+ /api/kernels/{kernel.id}.*", 404, {"message": f"Kernel does not exist: {kernel.id}"}
                    )
                    fake.cut_connections()
                assert kernel.verdict is Verdict.CULLED
                assert kernel.hb.evidence.silent_when_lost is silent
                await kernel.execute("1")
        fake.faults.clear()
        assert list(fake.kernels) == [kernel.id]
    assert ("out of the gateway's reach" in str(caught.value)) is silent
    assert (f"kernel_may_be_left: {kernel.id}: the gateway does not know it any more" in caplog.text) is silent
