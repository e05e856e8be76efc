"""A hub's REST interface: which requests are sent, and what their answers are taken for."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import pytest
import trio
import trio.testing

from tools.fake_hub import ALICE, open_fake_hub
from trio_gateway import AuthenticationError, GatewayConfig, GatewayHTTPError, InvalidInputError
from trio_gateway._hub.api import HubApi
from trio_gateway._protocol.hub import HubServer, Progress, ServerName
from trio_gateway._transport.http.client import open_http_client
from trio_gateway.testing import FakeHub, FakeHubToken

Clock = trio.testing.MockClock
NAME = ServerName("alice")


@asynccontextmanager
async def api_of(hub: FakeHub, token: str = ALICE) -> AsyncGenerator[HubApi]:
    config = GatewayConfig(url=hub.url, auth_token=token)
    async with open_http_client(config, connector=hub.connector) as http:
        yield HubApi(http)


async def test_a_server_from_its_start_to_its_end(autojump_clock: Clock) -> None:
    async with open_fake_hub(slow_spawn_seconds=0.5) as hub, api_of(hub) as api:
        assert (await api.owner()).name == "alice"
        assert await api.look(NAME) is None
        sent: list[float] = []
        await api.start(NAME, None, lambda: sent.append(trio.current_time()))
        assert len(sent) == 1
        server = await api.look(NAME)
        assert server is not None
        assert (server.ready, server.pending) == (False, "spawn")
        assert not await api.reaches(NAME, server)
        assert await api.follow(NAME) == Progress(100, "Server ready at /user/alice/", ready=True)
        server = await api.look(NAME)
        assert server is not None
        assert server.ready
        assert api.server_url(NAME, server) == "http://hub.invalid/user/alice"
        assert await api.reaches(NAME, server)
        hub.slow_stop_seconds = 0.1
        assert not await api.stop(NAME)
        await trio.sleep(5)
        assert await api.stop(NAME)
        assert await api.look(NAME) is None
        assert await api.follow(ServerName("alice", "x")) is None


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("/user/alice/", "https://hub/user/alice"),
        ("/jupyter/user/alice/", "https://hub/jupyter/user/alice"),
        ("https://HUB:443/user/alice/", "https://HUB:443/user/alice"),
        ("", "https://hub/jupyter/user/alice"),
        ("https://other/user/alice/", None),
        ("http://hub/user/alice/", None),
        ("//other/user/alice", None),
        ("https://[x/", None),
    ],
)
async def test_a_server_is_on_the_hubs_host(url: str, expected: str | None) -> None:  # G8
    async with open_http_client(GatewayConfig(url="https://hub/jupyter")) as http:
        api, server = HubApi(http), HubServer(ready=True, pending="", url=url, started="")
        if expected is not None:
            assert api.server_url(NAME, server) == expected
        else:
            with pytest.raises(InvalidInputError, match="own host"):
                api.server_url(NAME, server)


async def test_refusals_name_the_scope_and_whose_the_token_is(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub, api_of(hub) as api:
        hub.tokens[ALICE] = FakeHubToken("alice", scopes=frozenset({"read:servers"}))
        await api.owner()
        with pytest.raises(AuthenticationError, match=r"alice's, with the scopes read:servers\).*takes the scope start:servers"):
            await api.start(NAME, None, lambda: None)
        with pytest.raises(AuthenticationError, match="takes the scope delete:servers"):
            await api.stop(NAME)
        with pytest.raises(GatewayHTTPError, match="no user 'bob'"):
            await api.look(ServerName("bob"))
