"""The connection to a kernel's channels, as the gateway's side of it sees it."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

import pytest
import trio

import trio_gateway
from tools.gateway_tools import QUICK, each_engine, rest
from tools.tcp_proxy import TcpProxy, open_tcp_proxy
from trio_gateway import ConnectionState, KernelState

if TYPE_CHECKING:
    from conftest import RunningGateway
    from tools.gateway_tools import Wire

pytestmark = [pytest.mark.gateway, each_engine]


def handshakes(proxy: TcpProxy) -> list[dict[str, list[str]]]:
    """The queries of all handshakes so far."""
    return [parse_qs(urlsplit(request.split()[1]).query) for request in proxy.requests if "/channels" in request]


async def test_each_connection_of_a_session_says_which_session_it_is_and_none_says_a_token(
    real_gateway: RunningGateway, shared_kernel_id: str
) -> None:
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        for _ in range(3):
            proxy.reset_all()
            await kernel.wait_for(ConnectionState.RECONNECTING)
            await kernel.wait_for(ConnectionState.CONNECTED)
        async with gateway.attach_kernel(kernel.id) as other:
            assert other.session_id != kernel.session_id
        assert handshakes(proxy) == [{"session_id": [kernel.session_id]}] * 4 + [{"session_id": [other.session_id]}]
        assert not any(real_gateway.token in request for request in proxy.requests)


async def test_what_is_asked_for_while_there_is_no_connection_is_sent_when_there_is_one(
    real_gateway: RunningGateway, shared_kernel_id: str
) -> None:
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        await proxy.refuse()
        proxy.reset_all()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        results: list[str] = []
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                results.append((await kernel.execute("6 * 7")).text)

            async def ask() -> None:
                results.append((await kernel.is_complete("1"))["status"])

            nursery.start_soon(run)
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            assert not results
            await proxy.listen()
        assert sorted(results) == ["42", "complete"]


async def test_a_kernel_that_is_gone_is_asked_for_once(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """A handshake that ends in 404 is final: no client that hammers a gateway for a kernel that it does not have."""
    caplog.set_level(logging.INFO, "trio_gateway")
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
        gateway.start_kernel() as kernel,
    ):
        await proxy.refuse()
        proxy.reset_all()
        await kernel.wait_for(ConnectionState.RECONNECTING)
        await trio.to_thread.run_sync(rest, real_gateway, "DELETE", f"/api/kernels/{kernel.id}")
        before = len(handshakes(proxy))
        await proxy.listen()
        await kernel.wait_for(KernelState.CULLED)
        with pytest.raises(trio_gateway.KernelCulledError):
            await kernel.execute("1")
        assert len(handshakes(proxy)) == before + 1
    assert not caplog.records, "attempts to reconnect are no news for a log at its usual level"


@pytest.mark.parametrize("code", [1003, 1007, 1009, 1010])
async def test_a_close_code_that_would_come_again_is_final_and_named(
    real_gateway: RunningGateway, code: int, wire: Wire, shared_kernel_id: str
) -> None:
    """As from a proxy between us and the gateway that limits a message to 32 KiB."""
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        await kernel.execute(wire.code)
        link = next(link for link in proxy.links if any("/channels" in request for request in link.requests))
        async with trio.open_nursery() as nursery:

            async def run() -> None:
                with pytest.raises(trio_gateway.ProtocolError, match=f"{code}: limit"):
                    await kernel.execute("wire('go'); print('x')")

            nursery.start_soon(run)
            call = await wire.hears("go")
            link.to_client.rewrite = lambda data: b"\x88\x07" + code.to_bytes(2, "big") + b"limit"
            await call.answer()
        assert len(handshakes(proxy)) == 1


async def test_a_refused_handshake_is_told_as_it_is(real_gateway: RunningGateway) -> None:
    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
    ):

        def refuse(link: Any, request: str) -> None:
            if "/channels" in request:
                link.to_client.rewrite = lambda data: (
                    b'HTTP/1.1 400 Bad Request\r\nContent-Length: 23\r\n\r\n{"message": "no socket"}'[:-1]
                    if data.startswith(b"HTTP/1.1 101")
                    else data
                )

        proxy.on_request = refuse
        with pytest.raises(trio_gateway.GatewayHTTPError) as caught:
            async with gateway.start_kernel():
                pytest.fail("there is no connection")
        assert caught.value.status_code == 400
        models = await trio.to_thread.run_sync(rest, real_gateway, "GET", "/api/kernels")
        assert all(model["id"] not in str(proxy.requests) or model["connections"] == 0 for model in models)
