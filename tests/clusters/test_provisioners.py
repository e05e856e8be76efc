"""A Kernel Gateway whose kernels run on three other hosts (gateway_provisioners over SSH): on each face, and with bad links.

What breaks is real: a cable that is pulled out, and one that is slow and loses packets. So what a test waits for takes real time.
"""

from __future__ import annotations

import signal
from collections.abc import Iterator

import pytest
import trio

import trio_gateway
from trio_gateway import KernelError

from .faces import Meeting, each_face, stage_on
from .sites import Provisioned
from .watching import counting, note, watched

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.timeout(600)]

BUSY = "print('begun', flush=True)\nwhile True: pass"


@pytest.fixture(scope="module")
def kernel_id(provisioned: Provisioned) -> Iterator[str]:
    """A kernel for those tests that only run code in it."""

    async def start() -> str:
        async with trio_gateway.open_gateway(provisioned.config) as gateway:
            return (await gateway.kernels.start()).id

    async def end() -> None:
        async with trio_gateway.open_gateway(provisioned.config) as gateway:
            await gateway.kernels.shutdown(found)

    found = trio.run(start)
    yield found
    trio.run(end)
    # Its process goes on for half a minute; that those of the tests before end by themselves is what is waited for.
    for host in provisioned.kernel_hosts:
        host.signal(found, signal.SIGKILL)


async def test_three_kernels_at_once_are_on_three_hosts(provisioned: Provisioned) -> None:
    """G2, G6: each runs code, is interrupted, keeps its variables, and is gone from the gateway."""
    together = trio.Event()
    begun: list[str] = []

    async def use(gateway: trio_gateway.Gateway, number: int) -> None:
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute(f"x = {number}; x + 1")).text == str(number + 1)
            begun.append(kernel.id)
            if len(begun) == 3:
                assert [len(there) for there in provisioned.kernels().values()] == [1, 1, 1]
                together.set()
            await together.wait()
            async with kernel.stream(BUSY) as outputs:
                async for _ in outputs:
                    break
            assert (await kernel.execute("x")).text == str(number)

    async with trio_gateway.open_gateway(provisioned.config) as gateway:
        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(use, gateway, number)
        assert [model.id for model in await gateway.kernels.list() if model.id in begun] == []


async def test_a_host_whose_link_is_down_for_a_while(provisioned: Provisioned, request: pytest.FixtureRequest) -> None:
    """G3: the caller has the whole result, or is told that the gateway started the kernel again; it can be used on."""
    async with trio_gateway.open_gateway(provisioned.config) as gateway, gateway.start_kernel() as kernel:
        host = provisioned.host_of(kernel.id)
        meeting = Meeting(lambda: host.set_link(up=False), 5.0, lambda: host.set_link(up=True), parties=1)
        seen = await watched(kernel, counting(8), meeting)
        if seen.error is None:
            assert seen.numbers == list(range(32)) or (seen.result is not None and seen.result.output_gaps)
        else:
            assert isinstance(seen.error, KernelError), seen.error
        assert (await kernel.execute("1 + 1")).text == "2"
    # A kernel that the gateway took for dead, and started again on another host, runs on where it was: nobody can reach it.
    lost = kernel.id in host.kernels() and seen.error is not None
    if lost:
        host.signal(kernel.id, signal.SIGKILL)
    left = "the kernel's first process, on its host" if lost else "nothing"
    note(request, "Kernel Gateway: the link of the kernel's host is down for 5 s, in a cell of 8 s", {"trio": seen}, "", left)


@each_face
async def test_a_kernel_of_another_host_on_each_face(provisioned: Provisioned, kernel_id: str, face: str) -> None:
    """G6: code, its output, an interrupt."""
    with stage_on(face, provisioned.config) as stage:
        async with stage.open() as gateway, gateway.attach_kernel(kernel_id) as kernel:
            assert (await kernel.execute(f"face = {face!r}; print(face)")).text == f"{face}\n"
            async with kernel.stream(BUSY) as outputs:
                async for _ in outputs:
                    break
            assert (await kernel.execute("face")).text == repr(face)


async def test_a_slow_link_that_loses_packets(provisioned: Provisioned, kernel_id: str, request: pytest.FixtureRequest) -> None:
    """G5: 200 ms more in each direction, 5 % lost; all comes, in order, and an interrupt too."""
    with provisioned.hosts.slow_client(delay=0.2, loss=0.05):
        async with trio_gateway.open_gateway(provisioned.config) as gateway, gateway.attach_kernel(kernel_id) as kernel:
            seen = await watched(kernel, counting(3))
            assert seen.error is None
            assert seen.numbers == list(range(12))
            async with kernel.stream(BUSY) as outputs:
                async for _ in outputs:
                    break
            assert (await kernel.execute("1 + 1")).text == "2"
    what = "Kernel Gateway: the caller's link has 200 ms more each way and loses 5 %, a cell of 3 s"
    note(request, what, {"trio": seen}, "", "nothing")
