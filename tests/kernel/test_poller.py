"""How the library knows that a kernel is there, and what it does and tells when its process is replaced or gone."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import trio
from trio.testing import MockClock

import trio_gateway
from tools.gateway_tools import QUICK
from tools.tcp_proxy import TcpProxy, open_tcp_proxy
from trio_gateway import ConnectionState, GatewayEvent, KernelState, Verdict
from trio_gateway._kernel.poller import LIST_FROM
from trio_gateway._local.process import run_local_gateway
from trio_gateway._protocol.liveness import Liveness
from trio_gateway.testing import FakeGateway

if TYPE_CHECKING:
    from conftest import RunningGateway
    from tools.gateway_tools import Call, Wire


@asynccontextmanager
async def watched_kernel(
    real_gateway: RunningGateway, wire: Wire, **settings: Any
) -> AsyncGenerator[tuple[TcpProxy, trio_gateway.Kernel, int]]:
    """A kernel behind a proxy, which is asked about when it is silent for three seconds; and its process id.

    Much less than that, and a pong that a busy machine sends late would be a reconnect.
    """
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(
            proxy.url, auth_token=real_gateway.token, **{**QUICK, "ping_interval": 3.0, **settings}
        ) as gateway,
        gateway.start_kernel() as kernel,
    ):
        pid = int((await kernel.execute(wire.code + "import os; os.getpid()")).text)
        yield proxy, kernel, pid


@asynccontextmanager
async def silent_cell(kernel: trio_gateway.Kernel, wire: Wire) -> AsyncGenerator[Call]:
    """Code that waits in the kernel without a word; it has to end well."""
    async with trio.open_nursery() as nursery:

        async def run() -> None:
            assert (await kernel.execute("wire('go'); 42")).text == "42"

        nursery.start_soon(run)
        yield await wire.hears("go")


async def test_a_silent_kernel_is_asked_and_not_the_gateway(autojump_clock: MockClock) -> None:
    async with FakeGateway() as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        async with kernel.control.subscribe() as control, kernel.stream("import time\ntime.sleep(100)\n42") as outputs:
            before = len(fake.requests)
            for _ in range(2):
                reply = await control.receive()
                assert reply.msg_type == "kernel_info_reply"
                # It said busy and idle for that too, and still does what it did.
                assert kernel.state is KernelState.BUSY
            evidence = kernel.hb.evidence
            assert evidence.answer is not None
            assert evidence.model is None
            assert kernel.hb.is_beating()
            assert len([output async for output in outputs]) == 1
            assert len(fake.requests) == before, "the gateway was asked though the kernel had answered"


async def test_of_a_kernel_that_does_not_answer_the_gateway_is_asked_now_and_then(
    autojump_clock: MockClock, monkeypatch: pytest.MonkeyPatch
) -> None:
    noted: list[float] = []
    note = Liveness.vouched_for

    def vouched_for(liveness: Liveness, now: float) -> None:
        noted.append(now)
        note(liveness, now)

    monkeypatch.setattr(Liveness, "vouched_for", vouched_for)
    async with FakeGateway() as fake, fake.open(ping_interval=10) as gateway, gateway.start_kernel() as kernel:
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                assert (await kernel.execute("import time\ntime.sleep(100)\n42")).text == "42"

            nursery.start_soon(run)
            await trio.sleep(1)
            before = len(fake.requests)
            fake.kernels[kernel.id].stall_for(1000)
            await trio.sleep(900)
            # The gateway vouches for it: it is busy, not dead. And it is not asked more and more: it owes one answer.
            asked = [str(request) for request in fake.requests[before:]]
            assert set(asked) == {f"GET /api/kernels/{kernel.id}"}
            assert 10 < len(asked) <= 90
            assert len(asked) == len(noted) == len(set(noted)), "an answer was noted twice"
            assert await kernel.hb.check() is Verdict.ALIVE
            assert kernel.hb.evidence.model is not None
        assert trio.current_time() > 1000


async def test_of_many_kernels_that_do_not_answer_one_list_tells(autojump_clock: MockClock) -> None:
    """The gateway vouches for each that is in it, as in an answer about the kernel alone."""
    async with FakeGateway() as fake, fake.open(ping_interval=10) as gateway, trio.open_nursery() as nursery:
        kernels = [await nursery.start(run_silent_code, gateway) for _ in range(LIST_FROM)]
        before = len(fake.requests)
        for kernel in kernels:
            await kernel.wait_for(KernelState.BUSY)
            fake.kernels[kernel.id].stall_for(1000)
        await trio.sleep(60)
        assert {str(request) for request in fake.requests[before:]} == {"GET /api/kernels"}
        evidence = [kernel.hb.evidence for kernel in kernels]
        assert all(each.model is not None and each.model <= 20 for each in evidence)
        nursery.cancel_scope.cancel()


async def run_silent_code(
    gateway: trio_gateway.Gateway, *, task_status: trio.TaskStatus[trio_gateway.Kernel] = trio.TASK_STATUS_IGNORED
) -> None:
    async with gateway.start_kernel() as kernel:
        task_status.started(kernel)
        await kernel.execute("import time\ntime.sleep(2000)", on_cancel="abandon")


@pytest.mark.gateway
@pytest.mark.full
async def test_a_silent_kernel_is_asked_itself(real_gateway: RunningGateway, wire: Wire) -> None:
    """A real one answers while it is busy. (That the gateway is not asked then is not said here: a busy machine answers late.)"""
    async with watched_kernel(real_gateway, wire) as (_proxy, kernel, _pid), kernel.control.subscribe() as control:
        async with silent_cell(kernel, wire) as call:
            for _ in range(2):
                reply = await control.receive()
                assert reply.msg_type == "kernel_info_reply"
                # It said busy and idle for that too, and still does what it did.
                assert kernel.state is KernelState.BUSY
            assert kernel.hb.evidence.answer is not None
            assert kernel.hb.is_beating()
            await call.answer()


@pytest.mark.gateway
@pytest.mark.full
async def test_of_a_kernel_that_does_not_answer_the_gateway_is_asked(real_gateway: RunningGateway, wire: Wire) -> None:
    async with watched_kernel(real_gateway, wire) as (proxy, kernel, pid), silent_cell(kernel, wire) as call:
        os.kill(pid, signal.SIGSTOP)  # as code does that never lets go of the interpreter's lock
        asked = trio.Event()

        def note(_link: Any, request: str) -> None:
            if request == f"GET /api/kernels/{kernel.id}":
                asked.set()

        try:
            proxy.on_request = note
            await asked.wait()
            asked = trio.Event()
            await asked.wait()
            # The gateway vouches for it: it is busy, not dead. And it is not asked more and more: it owes one answer.
            assert await kernel.hb.check() is Verdict.ALIVE
            assert kernel.hb.evidence.model is not None
        finally:
            os.kill(pid, signal.SIGCONT)
        await call.answer()


@pytest.mark.gateway
@pytest.mark.full
async def test_check_asks_now(real_gateway: RunningGateway, wire: Wire) -> None:
    async with watched_kernel(real_gateway, wire, ping_interval=20) as (_proxy, kernel, _pid):
        assert kernel.hb.evidence.answer is None
        assert await kernel.hb.check() is Verdict.ALIVE
        assert kernel.hb.evidence.answer is not None


@pytest.mark.gateway
@pytest.mark.full
async def test_a_gateway_that_is_not_there_is_unreachable_and_then_alive_again(real_gateway: RunningGateway, wire: Wire) -> None:
    async with watched_kernel(real_gateway, wire) as (proxy, kernel, _pid):
        await proxy.refuse()
        proxy.reset_all()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        assert await kernel.hb.check() is Verdict.UNREACHABLE
        await proxy.listen()
        await kernel.wait_for(ConnectionState.CONNECTED)
        assert await kernel.hb.check() is Verdict.ALIVE


@pytest.mark.gateway
@pytest.mark.full
async def test_a_restart_by_the_gateway_is_told(real_gateway: RunningGateway, wire: Wire) -> None:
    events: list[GatewayEvent] = []
    states: list[KernelState] = []
    restarted = trio.Event()

    def note(event: GatewayEvent) -> None:
        events.append(event)
        if event.action == "restarted":
            states.append(kernel.state)
            restarted.set()

    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=note, **QUICK) as gateway:
        async with gateway.start_kernel() as kernel:
            pid = int((await kernel.execute("import os; os.getpid()")).text)
            os.kill(pid, signal.SIGKILL)
            await restarted.wait()
            assert states == [KernelState.RESTARTING]  # seen in the middle: who looks late sees the state after it
            assert int((await kernel.execute("import os; os.getpid()")).text) != pid
            assert kernel.hb.evidence.restarts == 1
            told = [event for event in events if event.action == "restarted"]
            assert [(event.kind, event.status, event.kernel_id) for event in told] == [("kernel", "error", kernel.id)]
            assert "by the gateway" in told[0].message
            events.clear()
            await kernel.restart()
            assert kernel.hb.evidence.restarts == 2
            assert [event.action for event in events if event.kind == "kernel"] == ["restart"]  # our own is told as ours


@pytest.fixture
def message_kernelspec(tmp_path: Path) -> str:
    """A folder of kernelspecs with one whose kernels are interrupted by a message; its name is `by-message`."""
    folder = tmp_path / "kernels" / "by-message"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    spec = {"argv": argv, "display_name": "By message", "language": "python", "interrupt_mode": "message"}
    (folder / "kernel.json").write_text(json.dumps(spec))
    return str(tmp_path)


async def interrupt_until_over(kernel: trio_gateway.Kernel, call: Call) -> None:
    """Interrupt code that waits in a system call, and again where the signal came right before the call: it wakes nobody then.

    (Python looks for signals, and then calls; what comes in between is seen when the call returns.)
    """
    over = False
    while not over:
        await kernel.interrupt()
        with trio.move_on_after(5):
            await call.hung_up()
            over = True


@pytest.mark.gateway
@pytest.mark.full
async def test_interrupts_go_the_way_the_kernelspec_says(message_kernelspec: str, wire: Wire) -> None:
    async with (
        run_local_gateway(env={"JUPYTER_PATH": message_kernelspec}) as process,
        open_tcp_proxy(process.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=process.token, **QUICK) as gateway,
    ):
        for name, posts in (("by-message", False), ("python3", True)):
            async with gateway.start_kernel(name) as kernel:
                await kernel.execute(wire.code)
                results: list[trio_gateway.ExecutionResult] = []
                async with trio.open_nursery() as nursery:

                    async def run(kernel: trio_gateway.Kernel = kernel, results: list[Any] = results) -> None:
                        results.append(await kernel.execute("wire('go')"))

                    nursery.start_soon(run)
                    await interrupt_until_over(kernel, await wire.hears("go"))
                assert results[0].error is not None
                assert results[0].error.ename == "KeyboardInterrupt"
                assert (proxy.requests.count(f"POST /api/kernels/{kernel.id}/interrupt") > 0) == posts


@pytest.mark.gateway
@pytest.mark.full
async def test_an_interrupt_by_message_that_finds_no_connection_goes_by_the_gateway(message_kernelspec: str, wire: Wire) -> None:
    async with (
        run_local_gateway(env={"JUPYTER_PATH": message_kernelspec}) as process,
        open_tcp_proxy(process.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=process.token, **QUICK) as gateway,
        gateway.start_kernel("by-message") as kernel,
    ):
        await kernel.execute(wire.code)
        holding: list[Any] = []

        def hold(link: Any, request: str) -> None:
            if "/channels" in request:
                holding.append(link)
                link.hold()

        async with trio.open_nursery() as nursery:

            async def run() -> None:
                assert (await kernel.execute("wire('go')")).status == "error"

            nursery.start_soon(run)
            call = await wire.hears("go")
            proxy.on_request = hold
            proxy.reset_all()
            await kernel.wait_for(ConnectionState.RECONNECTING)
            await kernel.interrupt()
            await call.hung_up()
            proxy.on_request = lambda link, request: None
            for link in holding:
                link.release()
        assert proxy.requests.count(f"POST /api/kernels/{kernel.id}/interrupt") == 1


class OtherToken(trio_gateway.TokenRenewer):
    """Knows the token of the gateway that is there now."""

    def __init__(self, token: str) -> None:
        self.token = token

    async def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        del auth_header_key, auth_scheme, auth_token, kwargs
        return self.token


@pytest.mark.gateway
@pytest.mark.full
async def test_a_gateway_that_is_killed_and_started_again_does_not_know_the_kernel(wire: Wire) -> None:
    """That is said within one attempt to reconnect, and what waited is sent to nobody."""
    events: list[GatewayEvent] = []
    async with run_local_gateway() as first, run_local_gateway() as second, open_tcp_proxy(first.url) as proxy:
        renewer = OtherToken(first.token)
        async with trio_gateway.open_gateway(proxy.url, token_renewer=renewer, on_event=events.append, **QUICK) as gateway:
            async with gateway.start_kernel() as kernel:
                pid = int((await kernel.execute(wire.code + "import os; os.getpid()")).text)
                async with trio.open_nursery() as nursery:

                    async def run() -> None:
                        with pytest.raises(trio_gateway.KernelCulledError):
                            await kernel.execute("wire('go')")

                    nursery.start_soon(run)
                    call = await wire.hears("go")
                    renewer.token = second.token
                    proxy.target = ("127.0.0.1", urlsplit(second.url).port or 0)
                    os.kill(first.pid, signal.SIGKILL)
                    await first.wait()
                    os.kill(pid, signal.SIGKILL)  # the local gateway's own watchdog does it too, a little later
                    await call.hung_up()
                assert kernel.hb.verdict is Verdict.CULLED
                with pytest.raises(trio_gateway.KernelCulledError):
                    await kernel.execute("1")
            assert [event.action for event in events if event.kind == "kernel" and event.status == "error"] == ["gone"]
            # The gateway object goes on with the new one.
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"


@pytest.mark.gateway
@pytest.mark.full
async def test_a_kernel_that_dies_for_good_is_told() -> None:
    """One that dies as often as it is started: the gateway gives up, and the event comes though that ends the block."""
    events: list[GatewayEvent] = []
    # It starts again to count after one that lives for so long: on a busy machine ten seconds are no long life.
    settings = {"restart_limit": 1, "time_to_dead": 0.2, "stable_start_time": 10_000}
    restarter = [f"--AsyncIOLoopKernelRestarter.{name}={value}" for name, value in settings.items()]
    async with (
        run_local_gateway(extra_args=restarter) as process,
        trio_gateway.open_gateway(process.url, auth_token=process.token, on_event=events.append, **QUICK) as gateway,
    ):
        with pytest.raises(trio_gateway.KernelDiedError):
            async with gateway.start_kernel() as kernel:
                for _ in range(5):
                    with suppress(trio_gateway.KernelRestartedError):
                        await kernel.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
        assert kernel.state is KernelState.DEAD
        assert kernel.hb.verdict is Verdict.DEAD
        died = [event for event in events if event.action == "died"]
        assert [(event.kind, event.status, event.kernel_id) for event in died] == [("kernel", "error", kernel.id)]


@pytest.mark.gateway
@pytest.mark.full
async def test_ten_streams_at_once_with_one_consumer_asleep(real_gateway: RunningGateway) -> None:
    """Ten kernels of one gateway, 500 lines each; one of them has a reader that sleeps until the others are done.

    Five times what is held in memory.
    """
    async with trio_gateway.open_gateway(
        real_gateway.url, auth_token=real_gateway.token, buffer_messages=100, **QUICK
    ) as gateway:
        awake = trio.Event()
        done = 0
        lines: dict[int, int] = {}

        async def read(number: int) -> None:
            nonlocal done
            code = "import sys\nfor i in range(500):\n    sys.stdout.write(f'{i}\\n'); sys.stdout.flush()"
            async with gateway.start_kernel() as kernel, kernel.stream(code) as outputs:
                if number == 0:
                    await awake.wait()
                text = [output.text async for output in outputs if isinstance(output, trio_gateway.Stream)]
                gaps = sum(gap.count or 0 for gap in outputs.result.output_gaps)
            lines[number] = len("".join(text).split()) + gaps
            done += 1
            if done == 9:
                awake.set()

        async with trio.open_nursery() as nursery:
            for number in range(10):
                nursery.start_soon(read, number)
        assert lines == dict.fromkeys(range(10), 500)


@pytest.mark.parametrize(("body", "times"), [({"message": "Kernel does not exist"}, 2), ("404 page not found", 9)])
async def test_the_word_of_one_replica_culls_no_kernel(autojump_clock: MockClock, body: object, times: int) -> None:
    """The gateway is asked, and a replica that does not know the kernel, or a balancer without one, answers first. G3"""
    events: list[GatewayEvent] = []
    async with FakeGateway() as fake, fake.open(on_event=events.append) as gateway, gateway.start_kernel() as kernel:
        fault = fake.faults.answer("GET /api/kernels/[^/]*", 404, body, times=times)
        fake.list_kernels = False
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                assert (await kernel.execute("import time; time.sleep(1); 42")).text == "42"

            nursery.start_soon(run)
            await trio.sleep(0.5)
            fake.kernels[kernel.id].stall()
            await trio.sleep(300)
            assert fault.hits == times
            assert kernel.hb.verdict is not Verdict.CULLED
            fake.kernels[kernel.id].resume()
    assert [event.action for event in events if event.kind == "kernel"] == ["start", "shutdown"]
