"""Each kind of request, lost on its way to a real gateway or answered into a connection that is reset: all end (G3, G4)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
from tools.fault_tools import behind_proxy, channels_of

if TYPE_CHECKING:
    from conftest import RunningGateway
    from tools.tcp_proxy import Pipe

pytestmark = [pytest.mark.gateway, pytest.mark.full]

PATIENCE = 250.0


async def execute(kernel: trio_gateway.Kernel) -> None:
    """Run code that tells how often it ran."""
    await kernel.execute("ran += 1")


async def stream(kernel: trio_gateway.Kernel) -> None:
    """Run code, and read what comes of it."""
    async with kernel.stream("ran += 1\nprint(ran)") as outputs:
        async for _ in outputs:
            pass


async def subshell(kernel: trio_gateway.Kernel) -> None:
    """Make a subshell."""
    async with kernel.subshell():
        pass


KINDS: dict[str, Callable[[trio_gateway.Kernel], Awaitable[object]]] = {
    "execute": execute,
    "stream": stream,
    "complete": lambda kernel: kernel.complete("impo"),
    "inspect": lambda kernel: kernel.inspect("print"),
    "history": lambda kernel: kernel.history(),
    "is_complete": lambda kernel: kernel.is_complete("("),
    "comm_info": lambda kernel: kernel.comm_info(),
    "kernel_info": lambda kernel: kernel.kernel_info(),
    "debug": lambda kernel: kernel.debug("debugInfo"),
    "make a subshell": subshell,
}


async def hold_and_reset(pipe: Pipe) -> None:
    """Reset the connection when something is held, which is lost with it."""
    await pipe.held.wait()
    pipe.link.reset()


async def assert_well(kernel: trio_gateway.Kernel, runs: tuple[int, ...]) -> None:
    """See that the kernel goes on, and that nothing ran twice."""
    assert (await kernel.execute("6 * 7")).text == "42"
    assert int((await kernel.execute("ran")).text) in runs


@pytest.mark.parametrize("lost", ["request", "reply"])
@pytest.mark.parametrize("name", KINDS)
async def test_each_kind_of_request_ends(real_gateway: RunningGateway, name: str, lost: str) -> None:
    async with behind_proxy(real_gateway, None, ping_interval=60.0) as (proxy, _gateway, kernel):
        await kernel.execute("ran = 0")
        link = channels_of(proxy)[-1]
        pipe = link.to_server if lost == "request" else link.to_client
        pipe.hold()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery:
                nursery.start_soon(hold_and_reset, pipe)
                if lost == "request":
                    with pytest.raises(trio_gateway.ConnectionLostError, match="lost"):
                        await KINDS[name](kernel)
                else:
                    with suppress(trio_gateway.ConnectionLostError):  # unless the gateway has kept it for us
                        await KINDS[name](kernel)
            await assert_well(kernel, (0,) if lost == "request" else (0, 1))


async def test_code_in_a_subshell_ends(real_gateway: RunningGateway) -> None:
    async with behind_proxy(real_gateway, None, ping_interval=60.0) as (proxy, _gateway, kernel):
        await kernel.execute("ran = 0")
        with trio.fail_after(PATIENCE):
            async with kernel.subshell() as inside, trio.open_nursery() as nursery:
                pipe = channels_of(proxy)[-1].to_server
                pipe.hold()
                nursery.start_soon(hold_and_reset, pipe)
                with pytest.raises(trio_gateway.ConnectionLostError, match="execute_request"):
                    await inside.execute("ran += 1")
            await assert_well(kernel, (0,))


async def test_code_whose_answer_was_lost_ends(real_gateway: RunningGateway) -> None:
    """The kernel waits for it, and is interrupted: sent again, it could be taken for the answer to another question."""
    async with behind_proxy(real_gateway, None, ping_interval=60.0) as (proxy, _gateway, kernel), trio.open_nursery() as nursery:
        await kernel.execute("ran = 0")

        def answer(prompt: str, password: bool) -> str:
            pipe = channels_of(proxy)[-1].to_server
            pipe.hold()
            nursery.start_soon(hold_and_reset, pipe)
            return "me"

        with trio.fail_after(PATIENCE):
            with pytest.raises(trio_gateway.ConnectionLostError, match="answer to its request for input"):
                await kernel.execute("input('who? ')\nran += 1", stdin=answer)
            await assert_well(kernel, (0,))


async def test_a_comm_whose_opening_was_lost_ends(real_gateway: RunningGateway) -> None:
    code = "ran = 0\nfrom comm import get_comm_manager\nget_comm_manager().register_target('echo', lambda comm, message: None)"
    async with behind_proxy(real_gateway, None, ping_interval=60.0) as (proxy, _gateway, kernel):
        await kernel.execute(code)
        pipe = channels_of(proxy)[-1].to_server
        pipe.hold()
        with trio.fail_after(PATIENCE):
            async with trio.open_nursery() as nursery, kernel.comms.open("echo") as comm:
                nursery.start_soon(hold_and_reset, pipe)
                with pytest.raises(trio_gateway.ConnectionLostError, match="does not know this comm"):
                    await comm.receive()
            await assert_well(kernel, (0,))
