"""The HTTP layer and the models against a real Kernel Gateway."""

from __future__ import annotations

import uuid
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
import trio

from trio_gateway._config import GatewayConfig
from trio_gateway._errors import AuthenticationError, GatewayHTTPError
from trio_gateway._events import GatewayEvent
from trio_gateway._protocol import rest
from trio_gateway._tokens import TokenRenewer
from trio_gateway._transport.http.client import open_http_client

pytestmark = pytest.mark.gateway


def config(real_gateway: Any, **settings: Any) -> GatewayConfig:
    return GatewayConfig(**{"url": real_gateway.url, "auth_token": real_gateway.token, **settings})


async def test_what_a_gateway_has(real_gateway: Any):
    events: list[GatewayEvent] = []
    async with open_http_client(config(real_gateway), emit=events.append) as http:
        assert "version" in (await http.request("GET", "/api")).json()
        settings = http.config
        answer = await http.request("GET", rest.kernelspecs_path(settings.kernelspecs_endpoint))
        specs = rest.parse_kernelspecs(answer.json())
        assert specs.default in specs.kernelspecs
        one = await http.request("GET", rest.kernelspec_path(settings.kernelspecs_endpoint, "python3"))
        assert rest.parse_kernelspec(one.json(), "python3") == specs.kernelspecs["python3"]
        logo = rest.resource_path(settings.kernelspecs_resource_endpoint, "python3", "logo-64x64.png")
        assert (await http.request("GET", logo)).content[:4] == b"\x89PNG"
    assert [(event.status, event.status_code, event.attempts) for event in events] == [("success", 200, 1)] * 4


@pytest.mark.parametrize(
    "settings",
    [
        {"auth_token": ""},
        {"auth_token": "wrong"},
        {"auth_scheme": "Bearer"},
        {"auth_scheme": None},
        {"auth_header_key": "X-Token"},
    ],
)
async def test_a_gateway_refuses(real_gateway: Any, settings: dict[str, Any]):
    async with open_http_client(config(real_gateway, **settings)) as http:
        with pytest.raises(AuthenticationError) as caught:
            await http.request("GET", "/api/kernelspecs")
    assert caught.value.status_code == 401
    assert real_gateway.token not in str(caught.value)


async def test_a_renewed_token_is_accepted(real_gateway: Any):  # lesson B33
    class Renewer(TokenRenewer):
        def __init__(self) -> None:
            self.tokens = ["expired", real_gateway.token]

        async def get_token(self, *args: Any, **kwargs: Any) -> str:  # type: ignore[override]
            return self.tokens.pop(0) if len(self.tokens) > 1 else self.tokens[0]

    async with open_http_client(config(real_gateway, auth_token="", token_renewer=Renewer())) as http:
        assert (await http.request("GET", "/api/kernelspecs")).status_code == 200


async def test_a_kernels_life_in_requests(real_gateway: Any):
    async with open_http_client(config(real_gateway)) as http:
        kernels = rest.kernels_path(http.config.kernels_endpoint)
        kernel_id = str(uuid.uuid4())
        path = rest.kernel_path(http.config.kernels_endpoint, kernel_id)
        body = {"name": "python3", "kernel_id": kernel_id, "env": {"KERNEL_ID": kernel_id}}
        started = await http.request("POST", kernels, json=body, timeout=60)
        try:
            assert started.status_code == 201
            assert started.headers["Location"].endswith(kernel_id)
            model = rest.parse_kernel(started.json(), kernel_id=kernel_id)
            assert (model.id, model.name) == (kernel_id, "python3")
            assert model.last_activity is not None
            # The time is the gateway's own, which runs on this machine.
            assert abs(model.last_activity - datetime.now(UTC)) < timedelta(hours=1)  # noqa: TID251 - compared with a server's
            assert rest.parse_kernel((await http.request("GET", path)).json()).id == kernel_id
            assert (await http.request("POST", f"{path}/interrupt")).status_code == 204
        finally:
            with trio.move_on_after(30, shield=True):
                deleted = await http.request("DELETE", path)
        assert deleted.status_code == 204
        with pytest.raises(GatewayHTTPError) as gone:
            await http.request("DELETE", path)
        assert gone.value.status_code == 404
        assert kernel_id in gone.value.message


async def test_a_gateways_errors_say_what_happened(real_gateway: Any):
    async with open_http_client(config(real_gateway)) as http:
        with pytest.raises(GatewayHTTPError, match=r"500 .*No such kernel named nope") as caught:
            await http.request("POST", "/api/kernels", json={"name": "nope", "env": {}})
        assert len(str(caught.value)) < 400
        with pytest.raises(GatewayHTTPError, match="400"):
            await http.request("POST", "/api/kernels", json={"name": "python3", "env": "no object"})
        with pytest.raises(GatewayHTTPError, match="404"):
            await http.request("GET", rest.kernel_path("/api/kernels", "a/../b"))
