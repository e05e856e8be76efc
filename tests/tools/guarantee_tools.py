"""How the tests of the guarantees look at a real gateway and at a kernel in it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

from tools.gateway_tools import PATIENCE, rest
from tools.os_view import nothing_left_behind
from tools.tcp_proxy import TcpProxy, open_tcp_proxy
from trio_gateway import (
    Gateway,
    Kernel,
    open_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway

if TYPE_CHECKING:
    from conftest import RunningGateway
    from trio_gateway import Kernel

__all__ = [
    "POST_KERNELS",
    "Boom",
    "end",
    "expecting",
    "kernels_of",
    "no_kernel_left",
    "start_and_wait",
    "through_proxy",
    "usable_at_once",
    "ways_to_end",
]

POST_KERNELS = "POST /api/kernels"


@contextmanager
def no_kernel_left(real_gateway: RunningGateway) -> Iterator[None]:
    """Check that this process and the gateway hold what they held before, whatever the body raises."""
    before = kernels_of(real_gateway)
    with nothing_left_behind():
        yield
    assert kernels_of(real_gateway) == before


def kernels_of(real_gateway: RunningGateway) -> tuple[set[psutil.Process], set[str]]:
    """The gateway's kernels: the processes there are, and the ids it knows."""
    return set(real_gateway.kernel_processes()), {model["id"] for model in rest(real_gateway, "GET", "/api/kernels")}


async def usable_at_once(kernel: Kernel) -> None:
    """Check that the kernel is idle, runs code whole and has kept its memory."""
    with trio.fail_after(PATIENCE):
        result = await kernel.execute("kept, 6 * 7")
    assert (result.status, result.text, result.output_gaps) == ("ok", "('state', 42)", ())


@asynccontextmanager
async def through_proxy(real_gateway: RunningGateway, **settings: Any) -> AsyncGenerator[tuple[TcpProxy, Gateway]]:
    """Open the real gateway through a proxy; nothing may be left behind at the end."""
    with no_kernel_left(real_gateway):
        async with (
            open_tcp_proxy(real_gateway.url) as proxy,
            open_gateway(proxy.url, auth_token=real_gateway.token, **settings) as gateway,
        ):
            yield proxy, gateway


class Boom(Exception):
    """What a test's body raises."""


def ways_to_end(*marks: pytest.MarkDecorator) -> list[Any]:
    """All of them; the marks are for all but the last one, cancellation."""
    return [
        pytest.param(None, id="success", marks=marks),
        *(pytest.param(way, id=way.__name__, marks=marks) for way in (Boom, KeyboardInterrupt)),
        pytest.param(trio.Cancelled, id="Cancelled"),
    ]


@contextmanager
def expecting(way: type[BaseException] | None) -> Iterator[trio.CancelScope]:
    """Check that a body ends in this way; the scope is there for the one that is cancelled."""
    with ExitStack() as stack:
        if way is not None and way is not trio.Cancelled:
            stack.enter_context(pytest.raises(way))
        scope = stack.enter_context(trio.CancelScope())
        yield scope
    assert scope.cancelled_caught == (way is trio.Cancelled)


async def end(way: type[BaseException] | None, scope: trio.CancelScope) -> None:
    """Let a body end in one of the ways."""
    if way is trio.Cancelled:
        scope.cancel()
        await trio.sleep_forever()
    elif way is not None:
        raise way


async def start_and_wait(gateway: Gateway, **arguments: Any) -> None:
    async with gateway.start_kernel("python3", **arguments):
        pytest.fail("the start should have failed")
