"""Several addresses of one gateway, through the asyncio face."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import trio_gateway.anyio as tg
from tools.anyio_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_fixtures import *  # noqa: F403
from tools.face_tools import BACKENDS, ListeningFake, run
from tools.ports import held_port

if TYPE_CHECKING:
    from conftest import RunningGateway


@pytest.mark.gateway
@pytest.mark.parametrize("backend", BACKENDS)
def test_the_next_address_is_used_where_the_first_is_down(backend: str, real_gateway: RunningGateway) -> None:
    async def main(dead: str) -> None:
        async with (
            tg.open_gateway([dead, real_gateway.url], auth_token=real_gateway.token) as gateway,
            gateway.start_kernel() as kernel,
        ):
            assert (await kernel.execute("6 * 7")).text == "42"
            assert (gateway.url, gateway.address) == (dead, real_gateway.url)
            async with gateway.http_client() as client:
                assert (await client.get(f"api/kernels/{kernel.id}")).json()["id"] == kernel.id

    with held_port() as port:
        run(backend, lambda: main(f"http://127.0.0.1:{port}"))


@pytest.mark.parametrize("backend", BACKENDS)
def test_all_down_is_told_with_each(backend: str, fake_gateway: ListeningFake) -> None:
    async def main(*dead: str) -> None:
        async with tg.open_gateway(list(dead), max_request_retries=0) as gateway:
            with pytest.raises(tg.GatewayConnectionError, match=f"no address of the gateway answers: {dead[0]}: .*; {dead[1]}: "):
                await gateway.kernels.list()

    with held_port() as one, held_port() as two:
        run(backend, lambda: main(f"http://127.0.0.1:{one}", f"http://127.0.0.1:{two}"))
