"""Faults of a real cluster, as a caller sees them: two Enterprise Gateways behind haproxy, kernels on three hosts over SSH.

Each test breaks one thing, and says what the caller sees, and what is left on the hosts: nothing, or what was told. The rows
that they note stand in docs/clusters.md. How long something took is noted; that it ends is tested.
"""

from __future__ import annotations

import logging
import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial

import pytest
import trio

import trio_gateway
from trio_gateway import ConnectionLostError, GatewayError, GatewayHTTPError, KernelCulledError, KernelUnresponsiveError, Verdict

from .faces import each_face, stage_on
from .sites import Replicas
from .watching import counting, named, note, watched

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(900)]

CUT_AND_MAYBE_RUN = "it may have run, and was not sent again"


def told(caplog: pytest.LogCaptureFixture) -> set[str]:
    """Return the ids of the kernels that were said to be left, perhaps."""
    found = [record for record in caplog.records if record.getMessage().startswith("kernel_may_be_left")]
    return {str(record.__dict__["gateway.kernel_id"]) for record in found}


async def nothing_or_told(replicas: Replicas, caplog: pytest.LogCaptureFixture) -> str:
    """G2: what is left on the hosts was told, by its id; give it some time to go. Return which it is, in words."""
    await trio.to_thread.run_sync(replicas.give_kernels_time_to_end, lambda: told(caplog))
    left = {kernel_id for there in replicas.kernels().values() for kernel_id in there}
    assert left <= told(caplog), f"left, and not told: {left - told(caplog)}"
    if left:
        return "the kernel, which `kernel_may_be_left` names"
    return "nothing" + (", though `kernel_may_be_left` was said" if told(caplog) else "")


@each_face
async def test_a_replica_is_killed_in_the_middle_of_a_cell(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3, G4: the caller is told that it may have run; the kernel is the same, through the other replica."""
    with stage_on(face, replicas.config) as stage:
        async with stage.open() as gateway:
            async with gateway.start_kernel() as kernel:
                seen = await watched(kernel, counting(10), replicas.kill_the_one_in_use)
                assert isinstance(seen.error, ConnectionLostError)
                assert CUT_AND_MAYBE_RUN in str(seen.error)
                assert (await kernel.execute("runs")).text == "1"
            assert list(await gateway.kernels.list()) == []
    left = await nothing_or_told(replicas, caplog)
    note(request, f"a replica is killed in the middle of a cell of 10 s ({face})", seen, seen.seconds, left)


class Relay:
    """A balancer that leads to one replica, and from the cut on to another one."""

    def __init__(self, host: str, port: int) -> None:
        self._target = host
        self._port = port
        self._open: set[trio.SocketStream] = set()

    @asynccontextmanager
    async def listen(self) -> AsyncGenerator[str]:
        async with trio.open_nursery() as nursery:
            listeners = await nursery.start(partial(trio.serve_tcp, self._serve, 0, host="127.0.0.1"))
            yield f"http://127.0.0.1:{listeners[0].socket.getsockname()[1]}"
            nursery.cancel_scope.cancel()

    async def _serve(self, client: trio.SocketStream) -> None:
        with suppress(OSError, trio.BrokenResourceError, trio.ClosedResourceError):
            async with client, await trio.open_tcp_stream(self._target, self._port) as server, trio.open_nursery() as nursery:
                self._open |= {client, server}
                nursery.start_soon(self._carry, client, server)
                nursery.start_soon(self._carry, server, client)

    async def _carry(self, source: trio.SocketStream, sink: trio.SocketStream) -> None:
        with suppress(trio.BrokenResourceError, trio.ClosedResourceError):
            async for data in source:
                await sink.send_all(data)
        await trio.aclose_forcefully(sink)

    async def cut(self, host: str) -> None:
        """Break all that is open, and lead to this host from now on."""
        self._target = host
        for stream in self._open:
            await trio.aclose_forcefully(stream)
        self._open.clear()


@each_face
async def test_a_start_is_cut_and_the_balancer_goes_on_with_the_other_replica(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: the other replica knows of no such kernel until the first one has started it, which nobody waits for any more."""
    first, second = (gateway.host for gateway in replicas.gateways.values())
    relay = Relay(first.address, 8888)
    cut_at: list[float] = []

    async def cut_when_it_starts() -> None:
        await trio.to_thread.run_sync(replicas.until_a_kernel_starts)
        replicas.signal_kernels(signal.SIGSTOP)  # as a busy host that takes long to start it
        cut_at.append(trio.current_time())
        await relay.cut(second.address)
        await trio.sleep(12)
        replicas.signal_kernels(signal.SIGCONT)

    with caplog.at_level(logging.WARNING, "trio_gateway.kernels"):
        async with relay.listen() as url, trio.open_nursery() as nursery:
            nursery.start_soon(cut_when_it_starts)
            with stage_on(face, replicas.config.replace(url=url)) as stage:
                async with stage.open() as gateway:
                    with pytest.raises(GatewayError) as caught:
                        async with gateway.start_kernel():
                            pytest.fail("the start was cut")
                    seconds = trio.current_time() - cut_at[0]
        left = await nothing_or_told(replicas, caplog)
    seen = named(caught.value)
    note(request, f"a start is cut, and the balancer goes on with the other replica ({face})", seen, seconds, left)


async def test_a_replica_is_killed_in_the_middle_of_a_start(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: the launcher on the host can't say where the kernel is, for who asked is gone."""
    killed: list[float] = []

    async def kill_when_it_starts() -> None:
        await trio.to_thread.run_sync(replicas.until_a_kernel_starts)
        killed.append(trio.current_time())
        await trio.to_thread.run_sync(replicas.kill_the_one_in_use)

    with caplog.at_level(logging.WARNING, "trio_gateway.kernels"):
        async with trio_gateway.open_gateway(replicas.config) as gateway, trio.open_nursery() as nursery:
            nursery.start_soon(kill_when_it_starts)
            with pytest.raises(GatewayError) as caught:
                async with gateway.start_kernel():
                    pytest.fail("the replica was killed")
            seconds = trio.current_time() - killed[0]
        left = await nothing_or_told(replicas, caplog)
    note(request, "a replica is killed in the middle of a start", named(caught.value), seconds, left)


@each_face
async def test_the_link_of_a_kernels_host_is_down_for_a_while(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3, G5: the result is whole, or what is missing of it is told; the kernel has kept what it had."""
    with stage_on(face, replicas.config) as stage:
        async with stage.open() as gateway, gateway.start_kernel() as kernel:
            host = replicas.host_of(kernel.id)
            seen = await watched(kernel, counting(10), lambda: host.set_link(up=False), 20.0, lambda: host.set_link(up=True))
            if seen.error is None:
                assert seen.result is not None
                assert seen.numbers == list(range(40)) or seen.result.output_gaps
            else:
                assert isinstance(seen.error, ConnectionLostError)
            assert (await kernel.execute("runs")).text == "1"
    left = await nothing_or_told(replicas, caplog)
    note(request, f"the link of the kernel's host is down for 20 s, in a cell of 10 s ({face})", seen, seen.seconds, left)


@each_face
async def test_a_kernels_host_stands_still_and_the_caller_has_set_a_limit(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3: the gateway still says that it is busy; the kernel answers nobody. When it goes on, it is as it was."""
    config = replicas.config.replace(ping_interval=3.0, unresponsive_timeout=6.0)
    with stage_on(face, config) as stage:
        async with stage.open() as gateway, gateway.start_kernel() as kernel:
            stop, go_on = (partial(replicas.signal_kernels, signum) for signum in (signal.SIGSTOP, signal.SIGCONT))
            try:
                seen = await watched(kernel, counting(20), 3.0, stop)  # it is seen to answer while code runs, before
                assert isinstance(seen.error, KernelUnresponsiveError)
                assert kernel.verdict is Verdict.UNRESPONSIVE
            finally:
                go_on()
            assert (await kernel.execute("runs")).text == "1"
            assert kernel.verdict is Verdict.ALIVE
    left = await nothing_or_told(replicas, caplog)
    what = f"the kernel's host stands still, `unresponsive_timeout` is 6, `ping_interval` 3 ({face})"
    note(request, what, seen, seen.seconds - 3, left)


async def test_all_replicas_are_killed_in_the_middle_of_a_cell_and_come_again(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2, G3: it ends with what the balancer says; the kernel was told to be left, and is shut down by its id."""

    def kill() -> None:
        for gateway in replicas.gateways.values():
            gateway.host.kill()

    async with trio_gateway.open_gateway(replicas.config) as gateway:
        with pytest.raises(GatewayError), caplog.at_level(logging.WARNING, "trio_gateway.kernels"):
            async with gateway.start_kernel() as kernel:
                seen = await watched(kernel, counting(10), kill)
                assert isinstance(seen.error, ConnectionLostError)
                assert "503" in str(seen.error)
                raise seen.error
        assert told(caplog) == {kernel.id}
        note(
            request,
            "all replicas are killed in the middle of a cell",
            seen,
            seen.seconds,
            "the kernel, which `kernel_may_be_left` names",
        )
        await trio.to_thread.run_sync(start_again, replicas)
        await gateway.kernels.shutdown(kernel.id)
    await trio.to_thread.run_sync(replicas.until_no_kernel_is_left)


def start_again(replicas: Replicas) -> None:
    for gateway in replicas.gateways.values():
        gateway.start()
    replicas.balancer.wait_for(dict.fromkeys(replicas.gateways, "UP"))


@each_face
async def test_no_replica_is_up_and_the_balancer_says_503(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: nothing has started; that is what is said, and nobody is frightened."""
    for gateway in replicas.gateways.values():
        gateway.host.kill()
    replicas.balancer.wait_for(dict.fromkeys(replicas.gateways, "DOWN"))
    with stage_on(face, replicas.config) as stage, caplog.at_level(logging.WARNING, "trio_gateway.kernels"):
        async with stage.open() as gateway:
            begun = trio.current_time()
            with pytest.raises(GatewayHTTPError) as caught:
                async with gateway.start_kernel("python_ssh"):
                    pytest.fail("no replica is up")
            seconds = trio.current_time() - begun
    assert caught.value.status_code == 503
    assert replicas.kernels() == {}
    said = ", though `kernel_may_be_left` was said" if told(caplog) else ""
    note(
        request,
        f"no replica is up, and the balancer answers 503 to a start ({face})",
        "GatewayHTTPError 503",
        seconds,
        f"nothing{said}",
    )


async def test_a_slow_link_that_loses_packets_to_the_caller(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: 200 ms more in each direction, 5 % lost."""
    with replicas.hosts.slow_client(delay=0.2, loss=0.05):
        async with trio_gateway.open_gateway(replicas.config) as gateway, gateway.start_kernel() as kernel:
            seen = await watched(kernel, counting(5))
            assert seen.numbers == list(range(20))
    left = await nothing_or_told(replicas, caplog)
    note(request, "the caller's link has 200 ms more each way and loses 5 %, a cell of 5 s", seen, seen.seconds, left)


async def test_a_slow_link_that_loses_packets_to_the_kernels_hosts(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2, G5: the gateway takes long to shut it down, which may be told."""
    first, second, third = replicas.kernel_hosts
    bad = {"delay": 0.2, "loss": 0.05}
    with first.slow(**bad), second.slow(**bad), third.slow(**bad), caplog.at_level(logging.WARNING, "trio_gateway.kernels"):
        begun = trio.current_time()
        async with trio_gateway.open_gateway(replicas.config.replace(cleanup_timeout=120.0)) as gateway:
            async with gateway.start_kernel() as kernel:
                started = trio.current_time() - begun
                seen = await watched(kernel, counting(5))
                assert seen.numbers == list(range(20)) or (seen.result is not None and seen.result.output_gaps)
                begun = trio.current_time()
            ended = trio.current_time() - begun
    left = await nothing_or_told(replicas, caplog)
    what = "the link of the kernel's host has 200 ms more each way and loses 5 %, a cell of 5 s"
    note(request, f"{what}; start {started:.0f} s, shutdown {ended:.0f} s", seen, seen.seconds, left)


async def test_a_replica_is_drained_and_then_ended(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3: what it has goes on, what is new goes to the other one; a replica that is ended politely takes its kernels along."""
    async with trio_gateway.open_gateway(replicas.config) as gateway, trio_gateway.open_gateway(replicas.config) as other:
        with pytest.raises(KernelCulledError):
            async with gateway.start_kernel() as kernel:
                drained = replicas.in_use()
                replicas.balancer.set_state(drained.host.name, "drain")
                async with other.start_kernel() as new:
                    assert (await new.execute("6 * 7")).text == "42"
                    assert (await kernel.execute("x = 6 * 7; x")).text == "42"
                    assert [replicas.balancer.sessions(name) > 0 for name in replicas.gateways] == [True, True]
                seen = await watched(kernel, counting(60), drained.end)
                assert isinstance(seen.error, KernelCulledError)
                raise seen.error
    left = await nothing_or_told(replicas, caplog)
    note(request, "a replica is drained, then ended by SIGTERM in the middle of a cell", seen, seen.seconds, left)


async def test_twenty_kernels_at_once(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: over three hosts, all at the same time."""
    up, all_up = [0], trio.Event()
    spread: list[int] = []
    begun = trio.current_time()

    async def use(gateway: trio_gateway.Gateway) -> None:
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            up[0] += 1
            if up[0] == 20:
                spread.extend(sorted(map(len, replicas.kernels().values())))
                all_up.set()
            await all_up.wait()

    async with trio_gateway.open_gateway(replicas.config) as gateway, trio.open_nursery() as nursery:
        for _ in range(20):
            nursery.start_soon(use, gateway)
        await all_up.wait()
        seconds = trio.current_time() - begun
    assert sum(spread) == 20
    assert len(spread) == 3
    left = await nothing_or_told(replicas, caplog)
    note(request, "20 kernels at once", f"all run, {' + '.join(map(str, spread))} on the hosts", seconds, left)
