"""A kernel's life: interrupted, restarted, killed, deleted by someone else, shared, asked by many at once."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

from tools.gateway_tools import QUICK, Wire, cut_off, each_engine, rest
from tools.tcp_proxy import open_tcp_proxy
from trio_gateway import (
    ConfigError,
    ConnectionLostError,
    ConnectionState,
    ExecutionResult,
    Gateway,
    GatewayEvent,
    Kernel,
    KernelCulledError,
    KernelDiedError,
    KernelNotFoundError,
    KernelRestartedError,
    KernelState,
    MessageTooLargeError,
    open_gateway,
    open_local_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway


@pytest.fixture
async def own(gateway: Gateway) -> Any:
    """A kernel of the test's own, for what ends one."""
    async with gateway.start_kernel("python3") as kernel:
        yield kernel


async def pid_of(kernel: Kernel) -> int:
    """The kernel's process."""
    return int((await kernel.execute("import os; os.getpid()")).text)


class Caught:
    """Runs something in a task and keeps what it raised or returned."""

    def __init__(self) -> None:
        self.error: Exception | None = None
        self.result: Any = None

    async def run(self, function: Any) -> None:
        try:
            self.result = await function()
        except Exception as error:  # noqa: BLE001 - the test looks at it
            self.error = error


# ------------------------------------------------------------------------------------------------------------- interrupt


async def test_interrupt(kernel: Kernel, wire: Wire) -> None:
    """The execution that runs ends with KeyboardInterrupt; it is a result, as any error of the code is."""
    await kernel.execute(f"{wire.code}\nkept = 'state'")
    caught = Caught()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caught.run, partial(kernel.execute, "wire('waiting')"))
        call = await wire.hears("waiting")
        await kernel.interrupt()
        await call.hung_up()
    assert caught.error is None
    assert caught.result.status == "error"
    assert caught.result.error.ename == "KeyboardInterrupt"
    assert (await kernel.execute("kept")).text == "'state'"


async def test_interrupting_an_idle_kernel_changes_nothing(kernel: Kernel) -> None:
    await kernel.execute("kept = 'state'")
    await kernel.interrupt()
    assert (await kernel.execute("kept")).text == "'state'"


async def test_interrupt_by_the_gateways_list_of_kernels(gateway: Gateway, kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code)
    async with kernel.stream("wire('waiting')") as outputs:
        call = await wire.hears("waiting")
        await gateway.kernels.interrupt(kernel.id)
        await call.hung_up()
        assert [type(output).__name__ async for output in outputs] == ["Error"]


# --------------------------------------------------------------------------------------------------------------- restart


async def test_restart(kernel: Kernel) -> None:
    before = await pid_of(kernel)
    await kernel.execute("gone = 1")
    await kernel.restart()
    assert (await kernel.execute("'gone' in globals()")).text == "False"
    assert await pid_of(kernel) != before
    assert not psutil.pid_exists(before)


async def test_restart_ends_what_runs(kernel: Kernel, wire: Wire) -> None:
    """Nothing on the wire tells those who wait: the library does. What waits for its turn runs in the new process."""
    await kernel.execute(wire.code)
    streams, waits = Caught(), Caught()

    async def stream() -> None:
        async with kernel.stream("print(1)") as outputs:
            async for _ in outputs:
                pass

    async with trio.open_nursery() as nursery:
        nursery.start_soon(cut_off, KernelRestartedError, kernel, kernel.execute("wire('waiting')"))
        call = await wire.hears("waiting")
        nursery.start_soon(waits.run, partial(kernel.execute, "'after'"))
        await kernel.restart()
        await call.hung_up()
    assert waits.error is None
    assert waits.result.text == "'after'"
    await streams.run(stream)
    assert streams.error is None


@pytest.mark.full
async def test_restart_ends_a_stream(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code)

    async def run() -> ExecutionResult:
        async with kernel.stream("print('one', flush=True)\nwire('waiting')") as outputs:
            await anext(outputs)
            await wire.hears("waiting")
            await kernel.restart()
            async for _ in outputs:
                pass  # the old process may have had last words
        return outputs.result

    await cut_off(KernelRestartedError, kernel, run())
    assert (await kernel.execute("1")).text == "1"


@pytest.mark.full
async def test_restart_by_someone_else(kernel: Kernel, wire: Wire, gateway: Gateway) -> None:
    """By the same gateway object, and by a client we know nothing of."""
    for restart in (partial(gateway.kernels.restart, kernel.id), None):
        await kernel.execute(wire.code)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_off, KernelRestartedError, kernel, kernel.execute("wire('waiting')"))
            await wire.hears("waiting")
            if restart is not None:
                await restart()
            else:
                async with open_gateway(gateway.config) as other:
                    await other.kernels.restart(kernel.id)
        assert (await kernel.execute("'wire' in globals()")).text == "False"


@pytest.mark.full
async def test_restart_many_times(kernel: Kernel) -> None:
    pids = set()
    for _ in range(3):
        await kernel.restart()
        pids.add(await pid_of(kernel))
    assert len(pids) == 3


# ------------------------------------------------------------------------------------------------------------------ death


@pytest.mark.full
async def test_a_killed_kernel(own: Kernel, wire: Wire) -> None:
    """The gateway starts it again: what ran is gone, and said to be; the kernel can be used again."""
    await own.execute(wire.code)
    pid = await pid_of(own)
    caught = Caught()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(caught.run, partial(own.execute, "wire('waiting')"))
        call = await wire.hears("waiting")
        os.kill(pid, signal.SIGKILL)
        await call.hung_up()
    assert isinstance(caught.error, KernelRestartedError)
    assert own.id in str(caught.error)
    result = await own.execute("'wire' in globals()")
    assert result.text == "False"
    assert await pid_of(own) != pid


@pytest.mark.full
async def test_a_kernel_that_ends_itself(own: Kernel) -> None:
    caught = Caught()
    await caught.run(partial(own.execute, "import os; os._exit(1)"))
    assert isinstance(caught.error, KernelRestartedError)
    assert (await own.execute("1")).text == "1"


@pytest.mark.full
@pytest.mark.parametrize("busy", [False, True])
async def test_deleted_by_another_client(real_gateway: RunningGateway, own: Kernel, wire: Wire, busy: bool) -> None:
    """The gateway leaves the WebSocket open and says nothing to those who wait: they learn it all the same."""
    await own.execute(wire.code)
    caught = Caught()
    async with trio.open_nursery() as nursery:
        if busy:
            nursery.start_soon(cut_off, KernelCulledError, own, own.execute("wire('working')\nwhile True: pass"))
            await (await wire.hears("working")).answer()
        await trio.to_thread.run_sync(rest, real_gateway, "DELETE", f"/api/kernels/{own.id}")
    await caught.run(partial(own.execute, "1"))
    assert isinstance(caught.error, KernelCulledError)
    assert caught.error.kernel_id == own.id
    assert own.state is KernelState.CULLED
    for again in (partial(own.execute, "1"), own.interrupt, own.restart):
        with pytest.raises((KernelCulledError, KernelNotFoundError)):
            await again()
    await own.shutdown()  # gone is what was wanted


# ---------------------------------------------------------------------------------------------------------------- shutdown


async def test_shutdown_twice(real_gateway: RunningGateway, gateway: Gateway) -> None:
    before = set(real_gateway.kernel_processes())
    async with gateway.start_kernel("python3") as kernel:
        assert len(set(real_gateway.kernel_processes()) - before) == 1
        await kernel.shutdown()
        assert set(real_gateway.kernel_processes()) <= before
        await kernel.shutdown()
        assert kernel.state is KernelState.DEAD
        with pytest.raises(KernelDiedError, match="shut down"):
            await kernel.execute("1")
        with pytest.raises(KernelDiedError):
            async with kernel.stream("1"):
                pytest.fail("not reached")
        with pytest.raises(KernelNotFoundError):
            await kernel.interrupt()


@pytest.mark.full
async def test_shutdown_ends_what_runs(gateway: Gateway, wire: Wire) -> None:
    waits = Caught()
    async with gateway.start_kernel("python3") as kernel:
        await kernel.execute(wire.code)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(cut_off, KernelDiedError, kernel, kernel.execute("wire('waiting')"))
            call = await wire.hears("waiting")
            nursery.start_soon(waits.run, partial(kernel.execute, "1"))
            await kernel.shutdown()
            await call.hung_up()
    assert isinstance(waits.error, KernelDiedError)


async def test_a_kernel_after_its_block(gateway: Gateway) -> None:
    async with gateway.start_kernel("python3") as kernel:
        pass
    with pytest.raises(ConnectionLostError, match="was closed"):
        await kernel.execute("1")
    assert kernel.connection_state is ConnectionState.CLOSED


# ------------------------------------------------------------------------------------------------------------------ attach


async def test_attach_leaves_running(real_gateway: RunningGateway, gateway: Gateway, kernel: Kernel) -> None:
    processes = real_gateway.kernel_processes()
    await kernel.execute("kept = 'state'")
    async with gateway.attach_kernel(kernel.id) as attached:
        assert (attached.id, attached.name) == (kernel.id, kernel.name)
        assert attached.session_id != kernel.session_id
        assert (await attached.execute("kept")).text == "'state'"
        await attached.execute("more = 1")
    assert real_gateway.kernel_processes() == processes
    assert (await kernel.execute("kept, more")).text == "('state', 1)"


async def test_two_clients_of_one_kernel_get_their_own_output_only(gateway: Gateway, kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(wire.code)
    async with gateway.attach_kernel(kernel.id) as attached:
        theirs = Caught()
        async with trio.open_nursery() as nursery:
            async with kernel.stream("print('mine', flush=True)\nwire('mine')\nprint('mine too')") as outputs:
                call = await wire.hears("mine")
                nursery.start_soon(theirs.run, partial(attached.execute, "print('theirs')"))
                await call.answer()
                text = "".join([getattr(output, "text", "?") async for output in outputs])
        assert text == "mine\nmine too\n"
        assert theirs.result.text == "theirs\n"
        assert theirs.result.output_gaps == ()


async def test_attaching_to_a_busy_kernel(gateway: Gateway, kernel: Kernel, wire: Wire) -> None:
    """Being connected does not depend on the kernel being idle."""
    await kernel.execute(wire.code)
    async with kernel.stream("wire('busy')"):
        call = await wire.hears("busy")
        async with gateway.attach_kernel(kernel.id) as attached:
            waits = Caught()
            async with trio.open_nursery() as nursery:
                nursery.start_soon(waits.run, partial(attached.execute, "'at last'"))
                await call.answer()
    assert waits.result.text == "'at last'"


# -------------------------------------------------------------------------------------------------------------- many at once


@pytest.mark.full
async def test_two_kernels_at_once(real_gateway: RunningGateway, gateway: Gateway, wire: Wire) -> None:
    """Two kernels of one gateway run at the same time, each with a memory of its own."""
    before = set(real_gateway.kernel_processes())
    async with gateway.start_kernel("python3") as one, gateway.start_kernel("python3") as two:
        assert len(set(real_gateway.kernel_processes()) - before) == 2
        results: dict[str, ExecutionResult] = {}

        async def run(name: str, kernel: Kernel) -> None:
            results[name] = await kernel.execute(f"{wire.code}\nwho = {name!r}\nwire('ready')\nwho")

        async with trio.open_nursery() as nursery:
            nursery.start_soon(run, "one", one)
            nursery.start_soon(run, "two", two)
            calls = [await wire.hears("ready"), await wire.hears("ready")]
            for call in calls:
                await call.answer()
        assert {name: result.text for name, result in results.items()} == {"one": "'one'", "two": "'two'"}
        assert (await one.execute("who")).text == "'one'"
    assert set(real_gateway.kernel_processes()) <= before


@pytest.mark.full
async def test_kernels_started_at_once(real_gateway: RunningGateway, gateway: Gateway) -> None:
    """Each gets its own environment: starts that overlap must not see one another's."""
    seen: dict[int, str] = {}
    before = set(real_gateway.kernel_processes())

    async def start(number: int) -> None:
        async with gateway.start_kernel("python3", env={"KERNEL_NUMBER": str(number)}) as kernel:
            seen[number] = (await kernel.execute("import os; os.environ['KERNEL_NUMBER']")).text

    async with trio.open_nursery() as nursery:
        for number in range(4):
            nursery.start_soon(start, number)
    assert seen == {number: repr(str(number)) for number in range(4)}
    assert set(real_gateway.kernel_processes()) <= before


async def test_20_executions_at_once_run_in_order(kernel: Kernel) -> None:
    await kernel.execute("order = []")
    texts: dict[int, str] = {}

    async def run(number: int) -> None:
        result = await kernel.execute(f"order.append({number})\nprint({number})")
        texts[number] = result.text

    async with trio.open_nursery() as nursery:
        for number in range(20):
            nursery.start_soon(run, number)
            await trio.testing.wait_all_tasks_blocked()
    assert texts == {number: f"{number}\n" for number in range(20)}
    assert (await kernel.execute("order == list(range(20))")).text == "True"


async def test_a_failure_does_not_abort_what_waits(kernel: Kernel) -> None:
    results: list[ExecutionResult] = []

    async def run(code: str) -> None:
        results.append(await kernel.execute(code))

    async with trio.open_nursery() as nursery:
        for code in ("1 / 0", "'second'"):
            nursery.start_soon(run, code)
            await trio.testing.wait_all_tasks_blocked()
    assert [result.status for result in results] == ["error", "ok"]


async def test_what_is_cancelled_in_the_queue_never_runs(kernel: Kernel, wire: Wire) -> None:
    """And the execution before it is not interrupted by that."""
    await kernel.execute(f"{wire.code}\nruns = []")
    first, third = Caught(), Caught()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(first.run, partial(kernel.execute, "runs.append(wire('first'))"))
        call = await wire.hears("first")
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as queue:
                queue.start_soon(kernel.execute, "runs.append('second')")
                await trio.testing.wait_all_tasks_blocked()
                nursery.start_soon(third.run, partial(kernel.execute, "runs.append('third')"))
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        assert scope.cancelled_caught
        await call.answer("first")
    assert (first.result.status, third.result.status) == ("ok", "ok")
    assert (await kernel.execute("runs")).text == "['first', 'third']"


@each_engine
async def test_what_is_cancelled_before_it_was_sent_never_runs(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """While the connection is down a request waits to be sent; cancelled there, it is withdrawn and nothing is interrupted."""
    events: list[GatewayEvent] = []
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        open_gateway(proxy.url, auth_token=real_gateway.token, on_event=events.append, **QUICK) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        await kernel.execute("runs = []")
        await proxy.refuse()
        proxy.reset_all()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        with trio.CancelScope() as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.execute, "runs.append('cancelled')")
                await trio.testing.wait_all_tasks_blocked()
                scope.cancel()
        waits = Caught()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(waits.run, partial(kernel.execute, "runs.append('waited')"))
            await trio.testing.wait_all_tasks_blocked()
            await proxy.listen()
        assert waits.error is None
        assert (await kernel.execute("runs")).text == "['waited']"
    assert [event for event in events if event.path is not None and event.path.endswith("/interrupt")] == []


# --------------------------------------------------------------------------------------------------- where a kernel runs


async def test_env_and_path_reach_the_kernel(gateway: Gateway, tmp_path: Path) -> None:
    value = "ä 👍 'quoted' \"double\" back\\slash %s {}"
    async with gateway.start_kernel("python3", env={"KERNEL_VALUE": value, "OTHER": ""}, path=str(tmp_path)) as kernel:
        seen = "os.environ['KERNEL_VALUE'], os.environ['OTHER'], os.getcwd(), os.environ['KERNEL_ID']"
        result = await kernel.execute(f"import os\nprint(repr(({seen})))")
    assert result.text == repr((value, "", str(tmp_path), kernel.id)) + "\n"


@pytest.mark.full
async def test_a_local_gateway_takes_as_much_as_its_client() -> None:
    """One limit for both: what is larger costs that output in one direction, and is refused in the other."""
    async with open_local_gateway(max_message_size=2_000_000) as gateway, gateway.start_kernel() as kernel:
        (gap,) = (await kernel.execute("print('x' * 3_000_000)")).output_gaps
        assert (gap.kind, gap.count) == ("overflow", 1)
        assert (await kernel.execute(f"'{'y' * 1_900_000}'[:3]")).text == "'yyy'"
        with pytest.raises(MessageTooLargeError) as caught:
            await kernel.execute(f"'{'y' * 2_100_000}'")
        assert (caught.value.limit, caught.value.msg_type) == (2_000_000, "execute_request")
        assert caught.value.size > 2_100_000
        assert (await kernel.execute("6 * 7")).text == "42"
        assert kernel._session.connections == 1, "nothing was sent"


@each_engine
@pytest.mark.full
async def test_a_message_that_is_larger_than_a_gateway_takes_costs_that_request() -> None:  # G3, G4
    """Its limit is not known here: it closes the connection (code 1009), and the session goes on over another one."""
    async with open_local_gateway(max_message_size=2_000_000) as local:
        config = local.config.replace(max_message_size=64_000_000)
        async with open_gateway(config) as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("kept = 0")
            before = kernel.session_id
            for size in (2_100_000, 20_000_000):
                with pytest.raises(MessageTooLargeError, match="message too big") as caught:
                    await kernel.execute(f"kept += 1\n'{'y' * size}'")
                assert (caught.value.limit, caught.value.msg_type) == (None, "execute_request")
                assert size < caught.value.size < size + 10_000
                assert (await kernel.execute("kept")).text == "0"
            assert kernel.session_id == before
            assert kernel._session.connections == 3


async def test_a_wrong_setting_of_a_local_gateway_is_told_before_it_starts() -> None:
    with pytest.raises(ConfigError, match="max_message_size"):
        async with open_local_gateway(startup_timeout=0.000_001, max_message_size=0):
            raise AssertionError


@pytest.mark.full
async def test_a_local_gateways_kernels_see_this_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its environment and its directory, unless the gateway or the kernel was told otherwise."""
    for name in ("here", "there", "elsewhere"):
        (tmp_path / name).mkdir()
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("FROM_THIS_PROCESS", "ours")
    monkeypatch.setenv("OVERRIDDEN", "ours")
    names = ("FROM_THIS_PROCESS", "OF_THE_GATEWAY", "OVERRIDDEN")
    look = f"import os\nprint(*[os.environ[name] for name in {names}], os.getcwd())"
    async with open_local_gateway(env={"OF_THE_GATEWAY": "1", "OVERRIDDEN": "gateway"}) as gateway:
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute(look)).text == f"ours 1 gateway {tmp_path / 'here'}\n"
        async with gateway.start_kernel(env={"OVERRIDDEN": "kernel"}, cwd=tmp_path / "there") as kernel:
            assert (await kernel.execute(look)).text == f"ours 1 kernel {tmp_path / 'there'}\n"
        async with gateway.start_kernel(cwd="../elsewhere") as kernel:
            assert (await kernel.execute(look)).text == f"ours 1 gateway {tmp_path / 'elsewhere'}\n"
