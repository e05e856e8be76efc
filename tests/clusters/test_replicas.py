"""Replicas that are killed, cut off, drained and ended, as a caller sees it: two Enterprise Gateways behind haproxy.

Each test breaks one thing for callers on all faces at once, and says what each of them sees, and what is left on the hosts. The
rows that they note stand in docs/clusters.md. How long something took is noted; that it ends is tested.
"""

from __future__ import annotations

import signal
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import pytest
import trio

from trio_gateway import (
    ConnectionLostError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    KernelCulledError,
    open_gateway,
)

from .faces import FACES, Meeting, each_face, on_a_face, on_each_face
from .left import listening, nothing_or_told, told
from .sites import Replicas
from .watching import Seen, counting, note, watched

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(600)]

CUT_AND_MAYBE_RUN = "it may have run, and was not sent again"


async def test_a_replica_is_killed_in_the_middle_of_a_cell(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3, G4: the caller is told that it may have run; the kernel is the same, through the other replica."""
    meeting = Meeting(partial(replicas.kill, "eg1"))

    async def play(gateway: Any) -> Seen:
        async with gateway.start_kernel() as kernel:
            seen = await watched(kernel, counting(10), meeting)
            assert isinstance(seen.error, ConnectionLostError)
            assert CUT_AND_MAYBE_RUN in str(seen.error)
            assert (await kernel.execute("runs")).text == "1"
        return seen

    replicas.lead_to("eg1")
    seen = await on_each_face(replicas.config, play)
    left = await nothing_or_told(replicas, caplog)
    note(request, "a replica is killed in the middle of a cell of 10 s", seen, "", left)


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


async def start_that_fails(at: list[float], gateway: Any) -> Seen:
    """Start a kernel, and note what came of it, and how long after the fault."""
    with pytest.raises(GatewayError) as caught:
        async with gateway.start_kernel():
            pytest.fail("the start was cut")
    return Seen(error=caught.value, seconds=trio.current_time() - at[0])


@each_face
async def test_a_start_is_cut_and_the_balancer_goes_on_with_the_other_replica(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: the other replica knows of no such kernel until the first one has started it, which nobody waits for any more."""
    first, second = (gateway.host for gateway in replicas.gateways.values())
    relay = Relay(first.address, 8888)
    at: list[float] = []

    async def cut_when_it_starts() -> None:
        await trio.to_thread.run_sync(replicas.hold_start)
        at.append(trio.current_time())
        await relay.cut(second.address)
        await trio.sleep(12)
        replicas.signal_kernels(signal.SIGCONT)

    with listening(caplog):
        async with relay.listen() as url, trio.open_nursery() as nursery:
            nursery.start_soon(cut_when_it_starts)
            seen = await on_a_face(face, replicas.config.replace(url=url), partial(start_that_fails, at))
        left = await nothing_or_told(replicas, caplog)
    assert isinstance(seen[face].error, GatewayConnectionError)
    what = "a start is cut, the balancer goes on with the other replica, the kernel comes up 12 s later"
    note(request, f"{what} ({face})", seen, "", left)


@each_face
async def test_a_replica_is_killed_in_the_middle_of_a_start(
    replicas: Replicas, face: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: the launcher on the host can't say where the kernel is, for who asked is gone."""
    at: list[float] = []

    async def kill_when_it_starts() -> None:
        await trio.to_thread.run_sync(replicas.hold_start)
        at.append(trio.current_time())
        await trio.to_thread.run_sync(replicas.kill, "eg1")
        replicas.signal_kernels(signal.SIGCONT)

    replicas.lead_to("eg1")
    with listening(caplog):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kill_when_it_starts)
            # Nobody can find it: how long that is tried for is the caller's to say.
            seen = await on_a_face(face, replicas.config.replace(cleanup_timeout=8.0), partial(start_that_fails, at))
        left = await nothing_or_told(replicas, caplog)
    note(request, f"a replica is killed in the middle of a start ({face})", seen, "", left)


async def test_all_replicas_are_killed_in_the_middle_of_a_cell_and_come_again(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2, G3: it ends with what the balancer says; the kernel was told to be left, and is shut down by its id."""

    def kill() -> None:
        for gateway in replicas.gateways.values():
            gateway.host.kill()

    meeting = Meeting(kill)
    started: set[str] = set()

    async def play(gateway: Any) -> Seen:
        with pytest.raises(ConnectionLostError, match="503"):
            async with gateway.start_kernel() as kernel:
                started.add(kernel.id)
                seen = await watched(kernel, counting(10), meeting)
                assert seen.error is not None
                raise seen.error
        return seen

    with listening(caplog):
        seen = await on_each_face(replicas.config, play)
    assert told(caplog) == started
    note(request, "all replicas are killed in the middle of a cell", seen, "", "the kernel, which `kernel_may_be_left` names")
    await trio.to_thread.run_sync(replicas.start_again)
    async with open_gateway(replicas.config) as gateway:
        for kernel_id in started:
            await gateway.kernels.shutdown(kernel_id)
    await trio.to_thread.run_sync(replicas.until_no_kernel_is_left)


async def test_no_replica_is_up_and_the_balancer_says_503(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: nothing has started; that is what is said, and nobody is frightened."""
    for gateway in replicas.gateways.values():
        gateway.host.kill()
    replicas.balancer.wait_for(dict.fromkeys(replicas.gateways, "DOWN"))
    begun = [trio.current_time()]

    async def play(gateway: Any) -> Seen:
        seen = await start_that_fails(begun, gateway)
        assert isinstance(seen.error, GatewayHTTPError)
        assert seen.error.status_code == 503
        return seen

    with listening(caplog):
        seen = await on_each_face(replicas.config, play)
    assert replicas.kernels() == {}
    assert told(caplog) == set()
    note(request, "no replica is up, and the balancer answers 503 to a start", seen, "", "nothing")


async def test_a_replica_is_drained_and_then_ended(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3: what it has goes on, what is new goes to the other one; a replica that is ended politely takes its kernels along."""
    all_started = Meeting(partial(replicas.lead_to, "eg2"), parties=len(FACES) + 1)
    all_used = Meeting()
    ended = Meeting(replicas.gateways["eg1"].end)

    async def play(gateway: Any) -> Seen:
        with pytest.raises(KernelCulledError):
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("x = 6 * 7; x")).text == "42"
                await all_started.wait()
                await on_new_ones.wait()
                assert (await kernel.execute("x")).text == "42"
                await all_used.wait()
                seen = await watched(kernel, counting(60), ended)
                assert seen.error is not None
                raise seen.error
        return seen

    on_new_ones = trio.Event()

    async def use_another() -> None:
        await all_started.wait()
        await trio.to_thread.run_sync(replicas.balancer.wait_for, {"eg1": "DRAIN", "eg2": "UP"})
        async with open_gateway(replicas.config) as other, other.start_kernel() as new:
            assert (await new.execute("6 * 7")).text == "42"
            assert [replicas.balancer.sessions(name) > 0 for name in replicas.gateways] == [True, True]
            on_new_ones.set()

    replicas.lead_to("eg1")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(use_another)
        seen = await on_each_face(replicas.config, play)
    left = await nothing_or_told(replicas, caplog)
    note(request, "a replica is drained, then ended by SIGTERM in the middle of a cell", seen, "", left)


async def test_a_slow_link_that_loses_packets_to_the_caller(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G5: 200 ms more in each direction, 5 % lost."""
    meeting = Meeting()

    async def play(gateway: Any) -> Seen:
        async with gateway.start_kernel() as kernel:
            seen = await watched(kernel, counting(5), meeting)
            assert seen.numbers == list(range(20))
        return seen

    with replicas.hosts.slow_client(delay=0.2, loss=0.05):
        seen = await on_each_face(replicas.config, play)
    left = await nothing_or_told(replicas, caplog)
    note(request, "the caller's link has 200 ms more each way and loses 5 %, a cell of 5 s", seen, "", left)


async def test_twenty_kernels_at_once(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2: over three hosts, all at the same time, of callers on three faces."""
    all_up = Meeting(parties=20)
    spread: list[int] = []
    begun, up_after = trio.current_time(), [0.0]
    numbers = iter((8, 6, 6))

    async def use(gateway: Any) -> None:
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            await all_up.wait()
            up_after[0] = up_after[0] or trio.current_time() - begun
            spread[:] = spread or sorted(map(len, replicas.kernels().values()))

    async def play(gateway: Any) -> None:
        async with trio.open_nursery() as nursery:
            for _ in range(next(numbers)):
                nursery.start_soon(use, gateway)

    await on_each_face(replicas.config, play)
    assert sum(spread) == 20
    assert len(spread) == 3
    left = await nothing_or_told(replicas, caplog)
    shown = f"all run, {' + '.join(map(str, spread))} on the hosts"
    note(request, "20 kernels at once, of callers on all faces", shown, up_after[0], left)
