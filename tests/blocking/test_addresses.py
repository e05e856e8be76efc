"""Several addresses of one gateway, in synchronous code."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

import trio_gateway.blocking as tg
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.ports import held_port

if TYPE_CHECKING:
    from conftest import RunningGateway


@pytest.mark.gateway
def test_the_next_address_is_used_where_the_first_is_down(real_gateway: RunningGateway) -> None:
    with held_port() as port:
        dead = f"http://127.0.0.1:{port}"
        with (
            tg.open_gateway((dead, real_gateway.url), auth_token=real_gateway.token) as gateway,
            gateway.start_kernel() as kernel,
        ):
            assert kernel.execute("6 * 7").text == "42"
            assert (gateway.url, gateway.address) == (dead, real_gateway.url)
            with gateway.http_client() as client:
                assert client.get(f"api/kernels/{kernel.id}").json()["id"] == kernel.id
        with tg.open_gateway([dead], max_request_retries=0) as gateway, pytest.raises(tg.GatewayConnectionError, match="refused"):
            gateway.kernels.list()
