"""`FakeHub`: as a context manager, opened in memory and on a port, what it answers in a server's place, and what goes wrong."""

from __future__ import annotations

import json
import urllib.error
import urllib.request

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway import (
    AuthenticationError,
    ConnectionState,
    GatewayConfig,
    GatewayConnectionError,
    GatewayEvent,
    GatewayHTTPError,
    HubServerNotRunningError,
    HubSpawnError,
    open_gateway,
)
from trio_gateway.testing import FakeHub, FakeHubToken

Clock = trio.testing.MockClock
SERVER = "/hub/api/users/alice/server"


def opened(hub: FakeHub, path: str = "/user/alice", token: str | None = None, **settings: object):
    """Open a server as one does who knows nothing of hubs."""
    config = GatewayConfig.from_env({}, url=f"{hub.url}{path}", auth_token=token or hub.token, **settings)
    return open_gateway(config, connector=hub.connector)


async def test_a_server_lives_as_long_as_the_block_that_started_it(autojump_clock: Clock) -> None:
    events: list[GatewayEvent] = []
    async with FakeHub(spawn_seconds=40) as hub:
        async with hub.open(on_event=events.append) as gateway, gateway.start_kernel() as kernel:
            assert trio.current_time() >= 40
            assert (await kernel.execute("6 * 7")).text == "42"
            server = await hub.server()
            assert repr(hub) == "<FakeHub http://hub.invalid, running: /user/alice/>"
            assert list(server.gateway.kernels) == [kernel.id]
        assert (server.ready, server.pending, server.starts) == (False, None, 1)
        assert hub.count(f"POST {SERVER}") == hub.count(f"DELETE {SERVER}") == 1
        assert f"POST {SERVER}" in str(hub.conversation)
        assert hub.token not in str(hub.conversation)
    assert [event.action for event in events if event.kind == "hub"] == ["progress", "progress", "progress", "start", "stop"]


async def test_it_can_be_entered_again_and_not_on_asyncio(autojump_clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    hub = FakeHub(users=["carol"])
    for _ in range(2):
        hub.servers.clear()
        async with hub, hub.open() as gateway:
            assert gateway.url == "http://hub.invalid/user/carol"
    monkeypatch.setattr("sniffio.current_async_library", lambda: "asyncio")
    with pytest.raises(trio_gateway.AsyncLibraryError, match=r"hub.listen\(\)"):
        async with FakeHub():
            pytest.fail("it was entered")


async def test_a_named_server_of_another_user_is_a_services_to_open(autojump_clock: Clock) -> None:
    async with FakeHub() as hub:
        hub.tokens["services"] = FakeHubToken("ci", "service")
        opening = hub.open(token="services", user="bob", server="gpu", options={"profile": "large"})
        async with opening as gateway, gateway.start_kernel():
            server = await hub.server("bob", "gpu")
            assert (server.ready, server.options) == (True, {"profile": "large"})
        assert hub.count("POST /hub/api/users/bob/servers/gpu") == 1


async def test_a_scope_that_a_token_lacks(autojump_clock: Clock) -> None:
    async with FakeHub() as hub:
        hub.tokens[hub.token] = FakeHubToken("alice", scopes=frozenset({"read:servers"}))
        with pytest.raises(AuthenticationError, match="start:servers"):
            async with hub.open():
                pytest.fail("it was opened")


async def test_a_start_that_fails_is_slow_or_forgotten(autojump_clock: Clock) -> None:
    async with FakeHub(spawn_failure="no such image") as hub:
        with pytest.raises(HubSpawnError, match="no such image"):
            async with hub.open():
                pytest.fail("it was opened")
        hub.spawn_failure, hub.spawn_seconds = None, 1000
        with pytest.raises(trio_gateway.GatewayTimeoutError):
            async with hub.open(startup_timeout=60):
                pytest.fail("it was opened")
        await hub.start_server()
        await trio.testing.wait_all_tasks_blocked()
        hub.forget_starts()
        await trio.testing.wait_all_tasks_blocked()
        assert (await hub.server()).pending is None


@pytest.mark.parametrize("status", [424, 503])
async def test_what_it_answers_in_the_place_of_a_server_that_does_not_run(autojump_clock: Clock, status: int) -> None:
    async with FakeHub(stopped_status=424 if status == 424 else 503) as hub:
        async with opened(hub) as gateway:
            with pytest.raises(HubServerNotRunningError, match="302"):
                await gateway.kernels.list()
            with pytest.raises(HubServerNotRunningError, match="403"):
                await gateway.kernels.start()
        async with opened(hub, "/hub/user/alice") as gateway:
            with pytest.raises(HubServerNotRunningError, match=str(status)):
                await gateway.kernels.list()


async def test_a_server_that_is_stopped_takes_its_kernels_along(autojump_clock: Clock) -> None:
    async with FakeHub() as hub, opened(hub) as gateway:
        server = await hub.run_server()
        with pytest.raises(HubServerNotRunningError):
            async with gateway.start_kernel() as kernel:
                await hub.stop_server()
                assert [ended.id for ended in server.gateway.ended_kernels] == [kernel.id]
                await kernel.execute("1")


async def test_a_server_whose_process_ends_is_a_503_until_the_hub_sees_it(autojump_clock: Clock) -> None:
    async with FakeHub(notice_seconds=30) as hub, opened(hub, max_request_retries=0) as gateway:
        await hub.run_server()
        await hub.kill_server()
        with pytest.raises(GatewayHTTPError, match="503"):
            await gateway.kernels.list()
        await trio.sleep(30)
        await trio.testing.wait_all_tasks_blocked()
        with pytest.raises(HubServerNotRunningError):
            await gateway.kernels.list()
        await hub.run_server()
        assert list(await gateway.kernels.list()) == []


async def test_tokens_are_the_hubs(autojump_clock: Clock) -> None:
    async with FakeHub() as hub, opened(hub, token="nobodys") as gateway:
        await hub.run_server()
        with pytest.raises(AuthenticationError, match="403"):
            await gateway.kernelspecs.list()
        with pytest.raises(AuthenticationError, match="does not know the token"):
            async with hub.open(token="nobodys"):
                pytest.fail("it was opened")


async def test_faults_on_the_way_to_the_hub(autojump_clock: Clock) -> None:
    async with FakeHub() as hub:
        fault = hub.faults.lose_answer(f"POST {SERVER}", times=1)
        async with hub.open():
            assert fault.hits == 1
        hub.start_answer = 504
        async with hub.open():
            assert hub.count(f"POST {SERVER}") == 2
        hub.faults.answer(f"POST {SERVER}", 429, {"message": "not now"}, times=1)
        with pytest.raises(GatewayHTTPError, match="not now"):
            async with hub.open():
                pytest.fail("it was opened")
        hub.down = True
        with pytest.raises(GatewayConnectionError):
            async with hub.open(connect_timeout=1):
                pytest.fail("it was opened")
        hub.down = False
        hub.faults.refuse(times=1)
        hub.faults.lose_request("GET /hub/api/user", times=1)
        hub.progress_events = 1
        async with hub.open():
            pass


async def test_faults_in_a_server(autojump_clock: Clock) -> None:
    async with FakeHub() as hub, hub.open() as gateway, gateway.start_kernel() as kernel:
        server = await hub.server()
        server.gateway.faults.cut_at_message("iopub stream", nth=1)
        result = await kernel.execute("import time\nprint(1)\ntime.sleep(5)\n2")
        assert [gap.kind for gap in result.output_gaps] == ["lost"]
        hub.cut_connections()
        await kernel.wait_for(ConnectionState.RECONNECTING)  # what is sent into the cut may be lost
        assert (await kernel.execute("3")).text == "3"
        refused = server.gateway.faults.refuse(times=1)
        assert list(await gateway.kernels.list()) != []
        assert refused.hits == 1


async def test_a_proxy_that_was_just_started(autojump_clock: Clock) -> None:
    async with FakeHub() as hub, opened(hub) as gateway:
        await hub.run_server()
        async with gateway.start_kernel() as kernel:
            await kernel.execute("x = 1")
            hub.no_routes = True
            hub.cut_connections()
            await trio.sleep(2)
            hub.no_routes = False
            assert (await kernel.execute("x")).text == "1"


async def test_on_a_port_it_answers_any_client() -> None:
    async with FakeHub(spawn_seconds=0) as hub, hub.listen() as url:

        def ask(path: str, token: str, method: str = "GET") -> tuple[int, object]:
            headers = {"Authorization": f"token {token}"}
            request = urllib.request.Request(f"{url}/hub/api{path}", headers=headers, method=method)
            try:
                with urllib.request.urlopen(request, timeout=60) as answer:
                    return answer.status, json.loads(answer.read() or b"null")
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, json.loads(error.read() or b"null")

        async def asked(path: str, token: str = hub.token, method: str = "GET") -> tuple[int, object]:
            return await trio.to_thread.run_sync(ask, path, token, method)

        assert (await asked("/user"))[0] == 200
        assert await asked("/user", "nobodys") == (403, {"status": 403, "message": None})
        assert (await asked("/users/bob"))[0] == 404
        assert (await asked("/groups"))[0] == 404
        assert (await asked("/users/alice/server/progress"))[0] == 400
        assert (await asked("/users/alice/server", method="PUT"))[0] == 405
        assert (await asked("/users/alice/server", method="POST"))[0] == 201
        assert (await asked("/users/alice/server", method="POST"))[0] == 400
        assert (await asked("/users/alice/server", method="DELETE"))[0] == 204
        hub.faults.refuse(times=1)
        with pytest.raises((urllib.error.URLError, ConnectionError)):
            await asked("/user")
