"""`open_hub`: a user's server as a gateway, whose arguments are checked and whose token goes nowhere else."""

from __future__ import annotations

from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from tools.fake_hub import ALICE, SERVICE, open_fake_hub
from trio_gateway import (
    AuthenticationError,
    ConfigError,
    GatewayEvent,
    GatewayHTTPError,
    InvalidInputError,
    TokenRenewer,
    open_hub,
)
from trio_gateway.testing import FakeHub, FakeHubToken

Clock = trio.testing.MockClock
SERVER = "/hub/api/users/alice/server"


def opened(hub: FakeHub, **arguments: Any):
    return open_hub(hub.url, **{"token": ALICE, "connector": hub.connector, **arguments})


async def test_a_server_is_started_used_and_stopped(autojump_clock: Clock) -> None:  # G1
    events: list[GatewayEvent] = []
    async with open_fake_hub() as hub:
        async with opened(hub, on_event=events.append) as gateway:
            assert gateway.url == "http://hub.invalid/user/alice"
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
            server = await hub.server()
            assert server.ready
        assert not server.ready
        assert hub.count(f"POST {SERVER}") == hub.count(f"DELETE {SERVER}") == 1
    told = [(event.action, event.status, event.message) for event in events if event.kind == "hub"]
    assert told == [
        ("progress", "success", "alice: 0 %: Server requested"),
        ("progress", "success", "alice: 50 %: Spawning server..."),
        ("progress", "success", "alice: 100 %: Server ready at /user/alice/"),
        ("start", "success", "alice"),
        ("stop", "success", "alice"),
    ]
    assert [event.action for event in events if event.kind == "kernel"] == ["start", "shutdown"]
    assert gateway.dropped_events == 0


async def test_events_that_are_lost_are_counted_for_hub_and_gateway_together(autojump_clock: Clock) -> None:
    send, receive = trio.open_memory_channel[GatewayEvent](0)
    async with open_fake_hub() as hub, opened(hub, on_event=send) as gateway:
        assert gateway.dropped_events > 4
    receive.close()
    send.close()


@pytest.mark.parametrize("url", ["http://hub.invalid/", "http://hub.invalid/hub", "http://hub.invalid/hub/"])
async def test_the_hubs_url_may_be_what_a_browser_shows(autojump_clock: Clock, url: str) -> None:
    async with open_fake_hub() as hub, open_hub(url, token=ALICE, connector=hub.connector) as gateway:
        assert gateway.url == "http://hub.invalid/user/alice"


async def test_a_named_server_of_another_user(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub:
        async with opened(hub, token=SERVICE, user="bob", server="gpu", options={"profile": "large"}) as gateway:
            assert gateway.url == "http://hub.invalid/user/bob/gpu"
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("1")).text == "1"
            assert (await hub.server("bob", "gpu")).options == {"profile": "large"}
        assert hub.count("POST /hub/api/users/bob/servers/gpu") == hub.count("DELETE /hub/api/users/bob/servers/gpu") == 1


class Rotating(TokenRenewer):
    """Gives a new token each time the hub refuses one."""

    def __init__(self, hub: FakeHub) -> None:
        self.hub = hub
        self.given = 0
        self.valid = ""

    async def get_token(self, auth_header_key: str, auth_scheme: str | None, auth_token: str, **kwargs: Any) -> str:
        await trio.lowlevel.checkpoint()
        if self.valid not in self.hub.tokens:
            self.given += 1
            self.valid = f"renewed-token-{self.given:06}"
            self.hub.tokens[self.valid] = FakeHubToken("alice")
        return self.valid


@pytest.mark.parametrize("named", [False, True])
async def test_the_hub_and_the_server_take_their_token_from_one_renewer(
    autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch, named: bool
) -> None:
    made: list[Rotating] = []
    async with open_fake_hub() as hub:

        class Named(Rotating):
            def __init__(self) -> None:
                super().__init__(hub)
                made.append(self)

        settings: dict[str, Any] = (
            {"gateway_token_renewer_class": Named} if named else {"token_renewer": made.append(Rotating(hub)) or made[0]}
        )
        async with opened(hub, token=None, **settings) as gateway:
            hub.tokens.clear()
            await gateway.kernels.list()
            hub.tokens.clear()
        assert not (await hub.server()).ready
    (renewer,) = made
    assert renewer.given == 3


async def test_the_token_goes_to_the_hubs_host_alone_and_shows_nowhere(
    autojump_clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:  # G8
    caplog.set_level("DEBUG")
    events: list[GatewayEvent] = []
    async with open_fake_hub(spawn_failure=f"bad {ALICE}") as hub:
        with pytest.raises(trio_gateway.HubSpawnError) as caught:
            async with opened(hub, on_event=events.append):
                pass
        hub.spawn_failure = None
        async with opened(hub, on_event=events.append) as gateway, gateway.start_kernel():
            pass
        assert {request.headers["host"] for request in hub.requests} == {"hub.invalid"}
        (await hub.run_server()).url = "https://alice.elsewhere.invalid/user/alice/"
        with pytest.raises(InvalidInputError, match="own host"):
            async with opened(hub):
                pass
    assert ALICE not in caplog.text + repr(events) + str(caught.value) + repr(caught.value)


async def test_a_server_that_is_on_another_host_is_stopped_again(autojump_clock: Clock) -> None:  # G2
    async with open_fake_hub() as hub:
        server = await hub.server()
        server.url = "https://alice.elsewhere.invalid/user/alice/"
        with pytest.raises(InvalidInputError):
            async with opened(hub):
                pass
        assert hub.count(f"POST {SERVER}") == 1
        assert not server.ready


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"user": ""}, "user"),
        ({"user": "a/b"}, "user"),
        ({"user": "alice", "server": ".."}, "server"),
        ({"startup_timeout": 0}, "startup_timeout"),
        ({"startup_timeout": True}, "startup_timeout"),
        ({"cull": 3}, "cull"),
        ({"options": [1]}, "options"),
        ({"on_event": 3}, "on_event"),
        ({"auth_token": "x"}, "auth_token"),
        ({"ws_url": "ws://x"}, "ws_url"),
        ({"connect_timeout": -1}, "connect_timeout"),
        ({"nonsense": 1}, "nonsense"),
    ],
)
async def test_what_can_not_be_used_is_named_before_anything_is_sent(
    autojump_clock: Clock, arguments: dict[str, Any], match: str
) -> None:  # G10
    async with open_fake_hub() as hub:
        with pytest.raises(InvalidInputError, match=match):
            async with opened(hub, **arguments):
                pass
        assert hub.requests == []


@pytest.mark.parametrize("url", [3, "ftp://hub", "", "http://a,http://b", ["http://a", "http://b"]])
async def test_what_is_no_url(url: Any) -> None:  # G10
    with pytest.raises(ConfigError, match="url"):
        async with open_hub(url, token=ALICE):
            pass


async def test_a_services_token_needs_a_user(autojump_clock: Clock) -> None:  # G10
    async with open_fake_hub() as hub:
        with pytest.raises(InvalidInputError, match=r"user.*service 'tests'"):
            async with opened(hub, token=SERVICE):
                pass


async def test_a_token_that_the_hub_does_not_know(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub:
        with pytest.raises(AuthenticationError, match="the hub does not know the token"):
            async with opened(hub, token="wrong"):
                pass


async def test_what_is_no_hub(autojump_clock: Clock) -> None:
    async with trio_gateway.testing.FakeGateway(token="") as fake:
        with pytest.raises(GatewayHTTPError, match="no JupyterHub answers there"):
            async with open_hub(fake.url, token="x", connector=fake.connector):
                pass


async def test_a_user_that_is_not_there(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub:
        with pytest.raises(GatewayHTTPError, match="no user 'carol'"):
            async with opened(hub, token=SERVICE, user="carol"):
                pass


@pytest.mark.parametrize("scope", ["read:servers", "start:servers", "delete:servers", "access:servers"])
async def test_a_scope_that_the_token_lacks_is_named(autojump_clock: Clock, caplog: pytest.LogCaptureFixture, scope: str) -> None:
    async with open_fake_hub() as hub:
        everything = hub.tokens[ALICE].scopes
        hub.tokens[ALICE] = FakeHubToken("alice", scopes=everything - {scope})
        with pytest.raises(AuthenticationError, match=f"takes the scope {scope};") as caught:
            async with opened(hub):
                pass
        assert ", ".join(sorted(everything - {scope})) in str(caught.value)
        assert ("hub_server_may_be_left" in caplog.text) is (scope == "delete:servers")
        assert (await hub.server()).ready is (scope == "delete:servers")


async def test_the_environments_settings_count(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", "http://other.invalid")
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", "others")
    monkeypatch.setenv("JUPYTER_GATEWAY_REQUEST_TIMEOUT", "17")
    async with open_fake_hub() as hub:
        async with opened(hub) as gateway:
            assert gateway.config.request_timeout == 17
        assert {request.headers["authorization"] for request in hub.requests} == {f"token {ALICE}"}
