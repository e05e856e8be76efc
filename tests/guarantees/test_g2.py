"""G2 on a real gateway: no start, however it ends, leaves a kernel."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import pytest
import trio

from tools.gateway_tools import PATIENCE, rest
from tools.guarantee_tools import (
    POST_KERNELS,
    Boom,
    start_and_wait,
    through_proxy,
)
from tools.tcp_proxy import Link, TcpProxy, open_tcp_proxy
from trio_gateway import (
    GatewayConnectionError,
    GatewayTimeoutError,
    open_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


def on_start(proxy: TcpProxy, act: Callable[[Link], object]) -> None:
    """Do something with the link that carries the start request, before a byte of it is forwarded."""

    def look(link: Link, request: str) -> None:
        if request.startswith(POST_KERNELS) and "/" not in request.removeprefix(POST_KERNELS):
            act(link)

    proxy.on_request = look


async def test_G2_cancelled_while_the_answer_is_under_way(real_gateway: RunningGateway) -> None:
    """The kernel runs, its owner does not know yet: it waits for the answer, and then shuts the kernel down."""
    async with through_proxy(real_gateway) as (proxy, gateway), trio.open_nursery() as nursery:
        on_start(proxy, lambda link: link.to_client.hold())
        before = real_gateway.kernel_processes()
        nursery.start_soon(start_and_wait, gateway)
        link = await proxy.wait_request(POST_KERNELS)
        await link.to_client.held.wait()
        assert len(real_gateway.kernel_processes()) == len(before) + 1
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await trio.testing.wait_all_tasks_blocked()
            link.release()


@pytest.mark.full
async def test_G2_cancelled_and_the_answer_never_comes(real_gateway: RunningGateway) -> None:
    """The kernel's id was ours: it is found and shut down all the same, before `cleanup_timeout` runs out."""
    async with through_proxy(real_gateway, cleanup_timeout=12) as (proxy, gateway), trio.open_nursery() as nursery:
        on_start(proxy, lambda link: link.to_client.hold())
        nursery.start_soon(start_and_wait, gateway)
        link = await proxy.wait_request(POST_KERNELS)
        await link.to_client.held.wait()
        nursery.cancel_scope.cancel()


LOSSES: dict[str, Callable[[Link], object]] = {
    "closed in place of the answer": lambda link: link.to_client.cut_after(0),
    "reset in place of the answer": lambda link: link.to_client.cut_after(0, reset=True),
    "closed in the answer's head": lambda link: link.to_client.cut_after(20),
    "closed in the answer's body": lambda link: link.to_client.cut_after(500),
}


@pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=pytest.mark.full if number else ()) for number, loss in enumerate(LOSSES)]
)
async def test_G2_the_answer_is_lost(real_gateway: RunningGateway, loss: str) -> None:
    async with through_proxy(real_gateway) as (proxy, gateway):
        on_start(proxy, LOSSES[loss])
        with pytest.raises(GatewayConnectionError, match="before its answer was complete"):
            await start_and_wait(gateway)
        assert len([request for request in proxy.requests if request == POST_KERNELS]) == 1


@pytest.mark.full
async def test_G2_cancelled_while_the_lost_kernel_is_looked_for(real_gateway: RunningGateway) -> None:
    """The start has failed and cleans up after itself: the caller's cancellation waits for that."""
    async with through_proxy(real_gateway) as (proxy, gateway), trio.open_nursery() as nursery:

        def lose_the_answer_and_hold_the_shutdown(link: Link, request: str) -> None:
            if request == POST_KERNELS:
                link.to_client.cut_after(0)
            elif request.startswith("DELETE "):
                link.to_server.hold()

        async def start() -> None:
            with pytest.raises(GatewayConnectionError, match="before its answer was complete"):  # it came first
                await start_and_wait(gateway)

        proxy.on_request = lose_the_answer_and_hold_the_shutdown
        nursery.start_soon(start)
        link = await proxy.wait_request("DELETE ")
        await link.to_server.held.wait()
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await trio.testing.wait_all_tasks_blocked()
            link.release()


@pytest.mark.full
async def test_G2_the_connection_breaks_while_the_gateway_starts_the_kernel(real_gateway: RunningGateway) -> None:
    """The answer was not even written; the kernel appears after the look for it has begun."""
    async with through_proxy(real_gateway) as (proxy, gateway):

        def break_when_sent(link: Link) -> None:
            link.to_client.hold()  # where this process gets no time for a while, the answer is there before the connection breaks
            link.to_server.forwarded = lambda data: link.reset() if data.endswith(b"}") else None

        on_start(proxy, break_when_sent)
        with pytest.raises(GatewayConnectionError):
            await start_and_wait(gateway)


@pytest.mark.full
async def test_G2_the_start_takes_too_long(real_gateway: RunningGateway) -> None:
    async with through_proxy(real_gateway, request_timeout=2, launch_timeout_pad=0.5) as (proxy, gateway):
        on_start(proxy, lambda link: link.to_client.hold())
        with pytest.raises(GatewayTimeoutError, match="launch_timeout") as caught:
            await start_and_wait(gateway, launch_timeout=1.5)
        assert (caught.value.phase, caught.value.setting, caught.value.limit) == ("kernel start", "launch_timeout", 2.0)


@pytest.mark.full
async def test_G2_the_kernel_never_answers_the_handshake(real_gateway: RunningGateway) -> None:
    async with through_proxy(real_gateway, handshake_timeout=1) as (proxy, gateway):
        proxy.on_request = lambda link, request: link.swallow() if "/channels" in request else None
        with pytest.raises(GatewayTimeoutError, match="handshake_timeout") as caught:
            await start_and_wait(gateway)
        assert caught.value.phase == "WebSocket handshake"


@pytest.mark.full
async def test_G2_the_gateway_chooses_another_id(real_gateway: RunningGateway) -> None:
    """Older servers ignore the id we wish for: what they answer counts."""
    async with through_proxy(real_gateway) as (proxy, gateway):

        def unsay_the_id(link: Link) -> None:
            link.to_server.rewrite = lambda data: data.replace(b'"kernel_id"', b'"unknown_1"')

        on_start(proxy, unsay_the_id)
        async with gateway.start_kernel("python3") as kernel:
            assert kernel.id in {model["id"] for model in rest(real_gateway, "GET", "/api/kernels")}
            assert (await kernel.execute("import os; os.environ['KERNEL_ID']")).text != repr(kernel.id)

    async with through_proxy(real_gateway) as (proxy, gateway), trio.open_nursery() as nursery:

        def unsay_and_hold(link: Link) -> None:
            unsay_the_id(link)
            link.to_client.hold()

        on_start(proxy, unsay_and_hold)
        nursery.start_soon(start_and_wait, gateway)
        link = await proxy.wait_request(POST_KERNELS)
        await link.to_client.held.wait()
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await trio.testing.wait_all_tasks_blocked()
            link.release()


@pytest.mark.full
async def test_G2_the_answer_to_the_shutdown_is_lost(real_gateway: RunningGateway) -> None:
    """It is asked for again; that the kernel is not there any more is what was wanted."""
    cut: list[Link] = []

    def cut_once(link: Link, request: str) -> None:
        if request.startswith("DELETE ") and not cut:
            cut.append(link)
            link.to_client.cut_after(0)

    async with through_proxy(real_gateway) as (proxy, gateway):
        proxy.on_request = cut_once
        async with gateway.start_kernel("python3"):
            pass
        assert cut


@pytest.mark.full
async def test_G2_a_shutdown_that_fails_is_told(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever left the block well learns that the kernel may be left; who raised keeps their exception, and the log tells."""
    for way in (None, Boom):
        async with (
            open_tcp_proxy(real_gateway.url) as proxy,
            open_gateway(proxy.url, auth_token=real_gateway.token, cleanup_timeout=0.5) as gateway,
        ):
            with pytest.raises(GatewayTimeoutError if way is None else way) as caught:
                async with gateway.start_kernel("python3") as kernel:
                    proxy.on_request = lambda link, request: link.swallow() if request.startswith("DELETE ") else None
                    if way is not None:
                        raise way
            if way is None:
                assert isinstance(caught.value, GatewayTimeoutError)
                assert caught.value.setting == "cleanup_timeout"
                assert kernel.id in str(caught.value)
        assert f"kernel_may_be_left: {kernel.id}" in caplog.text
        caplog.clear()
        rest(real_gateway, "DELETE", f"/api/kernels/{kernel.id}")
