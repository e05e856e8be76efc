"""A kernel of a real gateway behind a proxy that breaks connections."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import trio_gateway
from tools.gateway_tools import QUICK
from tools.tcp_proxy import TcpProxy, open_tcp_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = ["another_way", "behind_proxy", "channels_of", "missing"]


@asynccontextmanager
async def behind_proxy(
    real_gateway: RunningGateway, kernel_id: str | None, **settings: Any
) -> AsyncGenerator[tuple[TcpProxy, trio_gateway.Gateway, trio_gateway.Kernel]]:
    """This kernel of the real gateway behind a proxy; None: a kernel of its own."""
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **{**QUICK, **settings}) as gateway,
        gateway.start_kernel() if kernel_id is None else gateway.attach_kernel(kernel_id) as kernel,
    ):
        yield proxy, gateway, kernel


@asynccontextmanager
async def another_way(real_gateway: RunningGateway, kernel: trio_gateway.Kernel) -> AsyncGenerator[trio_gateway.Kernel]:
    """The same kernel, not behind the proxy: for what is asked about a connection that has little patience.

    A pong that a busy machine sends late ends such a connection, and the question would be lost with it.
    """
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.attach_kernel(kernel.id) as same,
    ):
        yield same


def missing(result: trio_gateway.ExecutionResult) -> int:
    """How many messages the result says are missing."""
    return sum(gap.count or 0 for gap in result.output_gaps)


def channels_of(proxy: TcpProxy) -> list[Any]:
    """The proxy's links that carry a WebSocket."""
    return [link for link in proxy.links if any("/channels" in request for request in link.requests)]
