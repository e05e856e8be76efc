"""Links to the kernels' hosts that are down, slow or lossy, and a host that stands still: two Enterprise Gateways behind haproxy.

As in `test_replicas`, each row is played on all faces at once. Here what breaks is between the gateway and the kernel, where a
caller has nothing to go by but the kernel's silence.
"""

from __future__ import annotations

import signal
from functools import partial
from typing import Any

import pytest
import trio

from trio_gateway import ConnectionLostError, KernelCulledError, KernelResources, KernelUnresponsiveError, Verdict

from .faces import Meeting, on_each_face
from .left import listening, nothing_or_told, told
from .sites import Replicas
from .watching import Seen, counting, note, watched

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.cluster, pytest.mark.timeout(600)]

ON_H1 = KernelResources(remote_host="h1")
BAD = {"delay": 0.2, "loss": 0.05}


async def until_it_is_known_to_answer_at_work(kernel: Any) -> None:
    """Let it work until it was seen to answer meanwhile: only then its silence counts."""
    for _ in range(10):
        await kernel.execute("import time; time.sleep(2)")
        if kernel.hb.evidence.answers_at_work:
            return
    pytest.fail(f"it does not answer: {kernel.hb.evidence}")


async def test_the_link_of_a_kernels_host_is_down_for_a_while(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3, G5: the result is whole, or what is missing of it is told; the kernel has kept what it had."""
    host = replicas.hosts["h1"]
    meeting = Meeting(lambda: host.set_link(up=False), 20.0, lambda: host.set_link(up=True))

    async def play(gateway: Any) -> Seen:
        async with gateway.start_kernel(resources=ON_H1) as kernel:
            seen = await watched(kernel, counting(10), meeting)
            if seen.error is None:
                assert seen.result is not None
                assert seen.numbers == list(range(40)) or seen.result.output_gaps
            else:
                assert isinstance(seen.error, ConnectionLostError)
            assert (await kernel.execute("runs")).text == "1"
        return seen

    seen = await on_each_face(replicas.config, play)
    left = await nothing_or_told(replicas, caplog)
    note(request, "the link of the kernel's host is down for 20 s, in a cell of 10 s", seen, "", left)


async def test_the_link_of_a_kernels_host_is_down_and_the_caller_has_set_a_limit(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3: the gateway says that it is busy; the kernel answers nobody. When the link is back, the kernel is as it was.

    Enterprise Gateway must not look after its kernels itself, as it does by default: it stands still when it looks for the host.
    """
    for gateway in replicas.gateways.values():
        gateway.host.kill()
    replicas.start_again("--RemoteKernelManager.autorestart=False")
    host = replicas.hosts["h1"]
    meeting = Meeting(lambda: host.set_link(up=False))
    given_up = Meeting(lambda: host.set_link(up=True))

    async def play(gateway: Any) -> Seen:
        async with gateway.start_kernel(resources=ON_H1) as kernel:
            await until_it_is_known_to_answer_at_work(kernel)
            with trio.fail_after(90):
                seen = await watched(kernel, counting(10), meeting)
            assert isinstance(seen.error, KernelUnresponsiveError), seen.error
            assert kernel.verdict is Verdict.UNRESPONSIVE
            await given_up.wait()
            assert (await kernel.execute("runs")).text == "1"
            assert kernel.verdict is Verdict.ALIVE
        return seen

    try:
        seen = await on_each_face(replicas.config.replace(ping_interval=5.0, unresponsive_timeout=5.0), play)
        left = await nothing_or_told(replicas, caplog)
    finally:  # the next test's gateways look after their kernels
        for gateway in replicas.gateways.values():
            gateway.host.kill()
    what = "the link of the kernel's host is down, `unresponsive_timeout` and `ping_interval` are 5"
    note(request, f"{what}, and the gateway is run with `--RemoteKernelManager.autorestart=False`", seen, "", left)


async def test_a_kernels_host_stands_still_and_the_caller_has_set_a_limit(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G3: as when its link is down, but that the gateway notices nothing, so that pings may be frequent."""
    stop, go_on = (partial(replicas.signal_kernels, signum) for signum in (signal.SIGSTOP, signal.SIGCONT))
    meeting, given_up = Meeting(stop), Meeting(go_on)

    async def play(gateway: Any) -> Seen:
        async with gateway.start_kernel() as kernel:
            await until_it_is_known_to_answer_at_work(kernel)
            with trio.fail_after(90):
                seen = await watched(kernel, counting(10), meeting)
            assert isinstance(seen.error, KernelUnresponsiveError), seen.error
            assert kernel.verdict is Verdict.UNRESPONSIVE
            await given_up.wait()
            assert (await kernel.execute("runs")).text == "1"
            assert kernel.verdict is Verdict.ALIVE
        return seen

    try:
        seen = await on_each_face(replicas.config.replace(ping_interval=3.0, unresponsive_timeout=6.0), play)
    finally:
        go_on()
    left = await nothing_or_told(replicas, caplog)
    note(request, "the kernel's host stands still, `unresponsive_timeout` is 6, `ping_interval` 3", seen, "", left)


async def test_a_slow_link_that_loses_packets_to_the_kernels_hosts(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2, G5: the gateway takes long to shut it down, which may be told."""
    first, second, third = replicas.kernel_hosts
    starts: list[float] = []
    ended: list[float] = []
    meeting, all_seen = Meeting(), Meeting()

    async def play(gateway: Any) -> Seen:
        begun = trio.current_time()
        model = await gateway.kernels.start()
        starts.append(trio.current_time() - begun)
        async with gateway.attach_kernel(model.id) as kernel:
            seen = await watched(kernel, counting(5), meeting)
            assert seen.numbers == list(range(20)) or (seen.result is not None and seen.result.output_gaps)
        await all_seen.wait()
        # A shutdown takes half a minute, in which the gateway does nothing else: one says it for all.
        begun = trio.current_time()
        if not ended:
            ended.append(0.0)
            await gateway.kernels.shutdown(model.id)
            ended[0] = trio.current_time() - begun
        return seen

    with first.slow(**BAD), second.slow(**BAD), third.slow(**BAD):
        seen = await on_each_face(replicas.config.replace(request_timeout=120.0), play)
    replicas.end_kernels()
    left = await nothing_or_told(replicas, caplog)
    what = "the link of the kernel's host has 200 ms more each way and loses 5 %, a cell of 5 s"
    note(request, f"{what}; start {min(starts):.0f} to {max(starts):.0f} s, shutdown {ended[0]:.0f} s", seen, "", left)


async def test_the_link_of_a_kernels_host_stays_down(
    replicas: Replicas, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:
    """G2, G3: Enterprise Gateway stands still until the balancer gives it up, and the other replica forgets the kernel."""
    host = replicas.hosts["h1"]
    meeting = Meeting(4.0, lambda: host.set_link(up=False))
    started: set[str] = set()

    async def play(gateway: Any) -> Seen:
        with pytest.raises((KernelCulledError, ConnectionLostError)):
            async with gateway.start_kernel(resources=ON_H1) as kernel:
                started.add(kernel.id)
                seen = await watched(kernel, counting(300), meeting)
                assert seen.error is not None
                raise seen.error
        seen.seconds -= 4
        return seen

    with listening(caplog):
        seen = await on_each_face(replicas.config, play)
    assert told(caplog) == started
    note(request, "the link of the kernel's host stays down", seen, "", "the kernel, which `kernel_may_be_left` names")
