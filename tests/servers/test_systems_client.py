"""The systems from `GatewayClient` down to `gateway_request`, each by its name there, on the real gateway.

`test_systems_real` has those of the managers, `servers/test_load_balancer` has `update_cookies`.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway
from tools.gateway_tools import QUICK, each_engine
from tools.tcp_proxy import Link, open_tcp_proxy

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway


def tap(link: Link, heads: list[str]) -> None:
    """Keep the head of each request that passes."""

    def look(data: bytes) -> bytes:
        if re.match(rb"[A-Z]+ /", data):
            heads.append(data.partition(b"\r\n\r\n")[0].decode("latin-1"))
        return data

    link.to_server.rewrite = look


async def test_gateway_client_traits(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """System: `GatewayClient` traits: all settings, from variables; no singleton, so one process can use many gateways."""
    environ = {"JUPYTER_GATEWAY_URL": real_gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": real_gateway.token}
    one = trio_gateway.GatewayConfig.from_env(environ)
    other = trio_gateway.GatewayConfig.from_env({**environ, "JUPYTER_GATEWAY_AUTH_TOKEN": "wrong"})
    async with trio_gateway.open_gateway(one) as gateway, trio_gateway.open_gateway(other) as refused:
        async with gateway.attach_kernel(shared_kernel_id) as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            with pytest.raises(trio_gateway.AuthenticationError):
                await refused.kernels.get(kernel.id)


async def test_connection_arguments_are_the_same_for_http_and_websocket(real_gateway: RunningGateway) -> None:
    """System: `init_connection_args`, `load_connection_args`: on each request, and the same on every WebSocket handshake."""
    heads: list[str] = []
    async with open_tcp_proxy(real_gateway.url) as proxy:
        proxy.on_link = lambda link: tap(link, heads)
        settings: dict[str, Any] = {"auth_token": real_gateway.token, "headers": {"X-Team": "blue"}}
        async with trio_gateway.open_gateway(proxy.url, **settings) as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("1")
    assert any("/channels" in head for head in heads)
    assert any(head.startswith("POST ") for head in heads)
    for head in heads:
        assert re.search(rf"(?im)^authorization: token {re.escape(real_gateway.token)}\r?$", head), head.splitlines()[0]
        assert re.search(r"(?im)^x-team: blue\r?$", head), head.splitlines()[0]


async def test_launch_timeout_pad(real_gateway: RunningGateway) -> None:
    """System: launch timeout pad: request_timeout >= KERNEL_LAUNCH_TIMEOUT + pad, the larger side winning; sent in `env`."""
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token, request_timeout=10) as gateway:
        assert gateway.config.request_timeout_for(100) == 102
        assert gateway.config.request_timeout_for(1) == 10
        async with gateway.start_kernel(launch_timeout=55) as kernel:
            result = await kernel.execute("import os; os.environ['KERNEL_LAUNCH_TIMEOUT']")
            assert result.text == "'55'"


class Renewer(trio_gateway.TokenRenewer):
    """Gives what it is told to."""

    def __init__(self, *tokens: str) -> None:
        self.tokens = list(tokens)
        self.asked = 0

    async def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        self.asked += 1
        return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]


async def test_token_renewal(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """System: `GatewayTokenRenewerBase`: asked before each request, and once more when the gateway refuses the old token."""
    renewer = Renewer("expired", real_gateway.token)
    async with trio_gateway.open_gateway(real_gateway.url, auth_token="expired", token_renewer=renewer) as gateway:
        async with gateway.attach_kernel(shared_kernel_id) as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
    assert renewer.asked >= 3


@each_engine
async def test_a_token_that_expires_is_renewed_on_the_websocket(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """System: the same for a handshake: 401, one renewal, and the session goes on."""
    renewer = Renewer(real_gateway.token)
    async with open_tcp_proxy(real_gateway.url) as proxy:
        settings: dict[str, Any] = {"auth_token": "x", "token_renewer": renewer, **QUICK}
        async with trio_gateway.open_gateway(proxy.url, **settings) as gateway, gateway.attach_kernel(shared_kernel_id) as kernel:
            await kernel.execute("x = 1")
            renewer.tokens = ["expired", real_gateway.token]
            proxy.reset_all()
            await kernel.wait_for(trio_gateway.ConnectionState.RECONNECTING)
            await kernel.wait_for(trio_gateway.ConnectionState.CONNECTED)
            assert (await kernel.execute("x")).text == "1"


async def test_retryable_http_client(real_gateway: RunningGateway) -> None:
    """System: `RetryableHTTPClient`, `gateway_request`: what is safe is tried again; errors name the gateway and its reason."""
    events: list[trio_gateway.GatewayEvent] = []
    async with open_tcp_proxy(real_gateway.url) as proxy:

        def reset_first(link: Link, _request: str) -> None:
            if link.number == 1:
                link.reset()

        proxy.on_request = reset_first
        async with trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
            assert (await gateway.kernelspecs.list()).default == "python3"
            assert (events[-1].status, events[-1].attempts, events[-1].path) == ("success", 2, "/api/kernelspecs")
            await proxy.refuse()
            proxy.reset_all()
            with pytest.raises(trio_gateway.GatewayConnectionError, match=re.escape(proxy.url.removeprefix("http://"))) as caught:
                await gateway.kernelspecs.list()
            assert caught.value.attempts == 3
            await proxy.listen()
            with pytest.raises(trio_gateway.KernelNotFoundError) as missing:
                await gateway.kernels.get("00000000-0000-4000-8000-000000000000")
            assert missing.value.status_code == 404
            assert proxy.url in missing.value.url
    assert not any(real_gateway.token in repr(event) for event in events)
