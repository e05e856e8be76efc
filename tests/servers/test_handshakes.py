"""Handshakes that are given up, on a real gateway: the next session of the kernel loses nothing for it."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import pytest
import trio

import trio_gateway
from proxy.front import PATIENCE, open_front
from proxy.proxy_kit import serve_gateway
from tools.fault_tools import channels_of
from tools.gateway_tools import QUICK, each_engine, rest
from tools.tcp_proxy import Link, TcpProxy, open_tcp_proxy

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

# Waits until a file is there, and prints many lines.
LINES = """
import os, time
print('begin', flush=True)
while not os.path.exists({!r}):
    time.sleep(0.05)
for number in range(400):
    print(number)
"""


def as_it_connects(proxy: TcpProxy, act: Callable[[], object]) -> None:
    proxy.on_link = lambda link: act()


def as_it_asks(proxy: TcpProxy, act: Callable[[], object]) -> None:
    def look(link: Link, request: str) -> None:
        if "/channels" in request:
            act()

    proxy.on_request = look


def while_it_waits(proxy: TcpProxy, act: Callable[[], object]) -> None:
    """The gateway has the whole request, and withholds the answer while the kernel comes up."""

    def look(link: Link, request: str) -> None:
        if "/channels" in request:
            link.to_server.forwarded = lambda data: act()

    proxy.on_request = look


def as_it_is_answered(proxy: TcpProxy, act: Callable[[], object]) -> None:
    def look(link: Link, request: str) -> None:
        if "/channels" in request:
            link.to_client.forwarded = lambda data: act()

    proxy.on_request = look


@asynccontextmanager
async def fresh_kernel(gateway: RunningGateway) -> AsyncGenerator[str]:
    """A kernel that is still coming up: the first handshake with it is withheld."""
    model = await trio.to_thread.run_sync(rest, gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})
    try:
        yield model["id"]
    finally:
        with trio.move_on_after(60, shield=True):
            await trio.to_thread.run_sync(rest, gateway, "DELETE", f"/api/kernels/{model['id']}")


async def connections(gateway: RunningGateway, kernel_id: str) -> int:
    model = await trio.to_thread.run_sync(rest, gateway, "GET", f"/api/kernels/{kernel_id}")
    return int(model["connections"])


async def test_what_a_gateway_makes_of_a_handshake_that_is_cut_off(real_gateway: RunningGateway) -> None:
    """What the fake does too: it counts a connection less than there are."""
    async with fresh_kernel(real_gateway) as kernel_id:
        host, port = real_gateway.url.removeprefix("http://").split(":")
        async with await trio.open_tcp_stream(host, int(port)) as stream:
            await stream.send_all(
                f"GET /api/kernels/{kernel_id}/channels?session_id=s HTTP/1.1\r\nHost: {host}\r\n"
                f"Authorization: token {real_gateway.token}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
                "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
            )
            await connections(real_gateway, kernel_id)  # it has read the request when it answers this one
        while (count := await connections(real_gateway, kernel_id)) == 0:
            pass
        assert count == -1


@each_engine
@pytest.mark.parametrize("when", [as_it_connects, as_it_asks, while_it_waits, as_it_is_answered])
async def test_a_handshake_that_is_given_up_costs_no_replay(
    real_gateway: RunningGateway, tmp_path: Path, when: Callable[[TcpProxy, Callable[[], object]], None]
) -> None:
    """G5: a gateway counts a WebSocket that leaves within its handshake as one that left, and never as one that came."""
    go_on = tmp_path / "go on"
    async with (
        fresh_kernel(real_gateway) as kernel_id,
        open_tcp_proxy(real_gateway.url) as proxy,
        trio_gateway.open_gateway(proxy.url, auth_token=real_gateway.token, **QUICK) as gateway,
    ):
        with trio.CancelScope() as scope:
            when(proxy, scope.cancel)
            async with gateway.open_channels(kernel_id):
                await trio.sleep_forever()
        proxy.on_link, proxy.on_request = (lambda link: None), (lambda link, request: None)
        async with gateway.attach_kernel(kernel_id) as kernel:
            while await connections(real_gateway, kernel_id) > 1:
                pass  # the one that was given up is about to be closed
            async with kernel.stream(LINES.format(str(go_on))) as outputs:
                printed = ""
                async for output in outputs:
                    assert isinstance(output, trio_gateway.Stream)
                    printed += output.text
                    if printed == "begin\n":
                        await proxy.refuse()
                        for link in channels_of(proxy):
                            link.reset()
                        while await connections(real_gateway, kernel_id) > 0:
                            pass  # from then on the gateway keeps what comes
                        go_on.touch()
                        await proxy.listen()
            assert printed.split() == ["begin", *map(str, range(400))]
            assert outputs.result.output_gaps == ()
        while (count := await connections(real_gateway, kernel_id)) > 0:
            pass
        assert count == 0


@pytest.mark.parametrize("when", [as_it_asks, while_it_waits, as_it_is_answered])
async def test_a_front_end_that_goes_within_the_proxys_handshake_costs_no_replay(
    real_gateway: RunningGateway, tmp_path: Path, when: Callable[[TcpProxy, Callable[[], object]], None]
) -> None:
    """G5: JupyterLab behind a Jupyter Server does so with every notebook that a browser opens."""
    go_on = tmp_path / "go on"
    async with (
        fresh_kernel(real_gateway) as kernel_id,
        open_tcp_proxy(real_gateway.url) as link,
        trio_gateway.open_gateway(link.url, auth_token=real_gateway.token, **QUICK) as gateway,
        serve_gateway(gateway) as proxy,
    ):
        with trio.CancelScope() as scope:
            when(link, scope.cancel)
            async with open_front(proxy, kernel_id, session="s"):
                await trio.sleep_forever()
        link.on_link, link.on_request = (lambda link: None), (lambda link, request: None)
        async with open_front(proxy, kernel_id, session="s") as front:
            asked = await front.execute(LINES.format(str(go_on)))
            await front.until("stream", asked)
            await link.refuse()
            for each in channels_of(link):
                each.reset()
            with trio.fail_after(PATIENCE):
                while await connections(real_gateway, kernel_id) > 0:
                    pass  # from then on the gateway keeps what comes
            go_on.touch()
            await link.listen()
            printed = "".join([message.content["text"] for message in await front.whole(asked) if message.msg_type == "stream"])
        assert printed.split() == [*map(str, range(400))]
        with trio.fail_after(PATIENCE):
            while (count := await connections(real_gateway, kernel_id)) > 0:
                pass
        assert count == 0
