"""Users' servers of a real JupyterHub: opened, run on, stopped; what a caller sees when somebody stops, kills or deletes one."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import anyio
import psutil
import pytest
import trio

import trio_gateway.anyio
import trio_gateway.blocking
from cli.cli_kit import Cli, clean_environment
from trio_gateway import (
    GatewayConfig,
    GatewayError,
    GatewayEvent,
    HubServerNotRunningError,
    HubSpawnError,
    open_gateway,
    open_hub,
)
from trio_gateway._doctor.examine import Check, examine

from .hub import CannotBeHad, RealHub, open_real_hub
from .watching import note

pytestmark = [pytest.mark.cluster, pytest.mark.full]

CELL = "import time\nfor n in range(400):\n    print(n, flush=True)\n    time.sleep(0.25)"


@pytest.fixture(scope="module")
def hub(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealHub]:
    try:
        with open_real_hub(tmp_path_factory.mktemp("hub")) as hub:
            yield hub
    except CannotBeHad as error:
        pytest.skip(str(error))


@pytest.fixture(scope="module")
def alice(hub: RealHub) -> str:
    """A user's own token."""
    return hub.add_user("alice")


@pytest.fixture
def command(alice: str, tmp_path: Path) -> Cli:
    """The command with that token."""
    return Cli({**clean_environment(), "JUPYTER_GATEWAY_AUTH_TOKEN": alice}, tmp_path)


def shown(error: BaseException) -> str:
    return f"`{type(error).__name__}`"


# ----------------------------------------------------------------------------------------------------------------- faces


async def test_a_server_is_started_used_and_stopped(hub: RealHub, alice: str, request: pytest.FixtureRequest) -> None:
    events: list[GatewayEvent] = []
    began = trio.current_time()
    async with open_hub(hub.url, token=alice, on_event=events.append) as gateway:
        seconds = trio.current_time() - began
        process = hub.process("alice")
        async with gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            assert [model.id for model in await gateway.kernels.list()] == [kernel.id]
            with trio.move_on_after(2) as scope:
                await kernel.execute(CELL)
            assert scope.cancelled_caught
            cancelled = scope.deadline
            assert (await kernel.execute("n < 100")).text == "True"
            note(request, "a cell that is cancelled", "the next cell's result", trio.current_time() - cancelled, "nothing")
    assert hub.server("alice") is None
    assert not psutil.pid_exists(process.pid)
    steps = [event.action for event in events if event.kind == "hub"]
    assert steps[-2:] == ["start", "stop"]
    assert "progress" in steps
    note(request, "a server that does not run", "it is started, used and stopped", seconds, "nothing")


def test_on_asyncio(hub: RealHub, alice: str) -> None:
    async def main() -> None:
        async with trio_gateway.anyio.open_hub(hub.url, token=alice) as gateway, gateway.start_kernel() as kernel:
            assert (await kernel.execute("6 * 7")).text == "42"
            with anyio.move_on_after(2) as scope:
                await kernel.execute(CELL)
            assert scope.cancelled_caught
            assert (await kernel.execute("n < 100")).text == "True"

    anyio.run(main, backend="asyncio")
    assert hub.server("alice") is None


def test_in_synchronous_code(hub: RealHub, alice: str) -> None:
    with trio_gateway.blocking.open_hub(hub.url, token=alice) as gateway, gateway.start_kernel() as kernel:
        assert kernel.execute("6 * 7").text == "42"
        with trio_gateway.blocking.move_on_after(2) as scope:
            kernel.execute(CELL)
        assert scope.cancelled_caught
        assert kernel.execute("n < 100").text == "True"
    assert hub.server("alice") is None


async def test_a_service_opens_a_named_server_and_leaves_one_that_runs(hub: RealHub, alice: str, command: Cli) -> None:
    async with open_hub(hub.url, token=hub.token, user="alice", server="gpu") as gateway:
        assert gateway.url.endswith("/user/alice/gpu")
        process = hub.process("alice", "gpu")
        found = await command.run("doctor", "--hub", hub.url, "--hub-server", "gpu")
        assert found.code == 0, found.out
        listed = await command.run("kernels", "--json", "--hub", hub.url, "--hub-server", "gpu")
        assert (listed.code, json.loads(listed.out)["kernels"]) == (0, [])
        async with open_hub(hub.url, token=alice, server="gpu") as again, again.start_kernel() as kernel:
            assert (await kernel.execute("1 + 1")).text == "2"
        assert process.is_running()
    assert hub.server("alice", "gpu") is None


async def test_the_command_runs_there(hub: RealHub, command: Cli) -> None:
    stopped = await command.run("kernels", "--hub", hub.url)
    assert (stopped.code, stopped.out) == (3, "")
    assert f"{hub.url}/hub/spawn/alice" in stopped.err
    done = await command.run("exec", "6 * 7", "--hub", hub.url, "--hub-server", "cli")
    assert (done.code, done.out) == (0, "42\n"), done.err
    assert "100 %" in done.err
    assert hub.server("alice", "cli") is None
    unknown = await command.run("exec", "1", "--hub", hub.url, JUPYTER_GATEWAY_AUTH_TOKEN="nobodys")
    assert unknown.code == 3
    assert f"Make a token at {hub.url}/hub/token" in unknown.err


# ------------------------------------------------------------------------------------------------- what is done to servers


async def broken(
    request: pytest.FixtureRequest, what: str, do: Callable[[], object], opening: Any, left: Callable[[], str]
) -> list[BaseException]:
    """Have something done to a server in the middle of a cell; note what its caller sees, and after how long."""
    seen: list[BaseException] = []
    async with opening as gateway, gateway.start_kernel() as kernel:
        at = 0.0

        async def act() -> None:
            nonlocal at
            at = trio.current_time()
            await trio.to_thread.run_sync(do)

        async with trio.open_nursery() as nursery:
            try:
                async with kernel.stream(CELL) as outputs:
                    async for _ in outputs:
                        if not at:
                            at = trio.current_time()
                            nursery.start_soon(act)
            except GatewayError as error:
                seen.append(error)
        note(request, f"{what}: the cell that runs", shown(seen[0]) if seen else "its result", trio.current_time() - at, "")
        again = trio.current_time()
        try:
            await kernel.execute("1")
        except GatewayError as error:
            seen.append(error)
        note(request, f"{what}: the next cell", shown(seen[-1]), trio.current_time() - again, "")
        try:
            async with gateway.start_kernel():
                pass
        except GatewayError as error:
            seen.append(error)
        note(request, f"{what}: another kernel", shown(seen[-1]), 0.0, "")
        ended = trio.current_time()
    note(request, f"{what}: the end of the block", "nothing", trio.current_time() - ended, left())
    return seen


async def test_servers_that_end_in_the_middle_of_a_cell(
    hub: RealHub, alice: str, request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture
) -> None:  # G3
    """One is stopped through the hub, one deleted, and of one the process is killed: at the same time, for each takes long."""

    async def play(what: str, server: str, do: Callable[[], object]) -> None:
        def left() -> str:
            return "nothing" if hub.server("alice", server) is None else "the server"

        seen = await broken(request, what, do, open_hub(hub.url, token=alice, server=server), left)
        assert len(seen) == 3
        assert isinstance(seen[-1], HubServerNotRunningError)
        assert left() == "nothing"

    async with trio.open_nursery() as nursery:
        nursery.start_soon(play, "stopped", "", lambda: hub.ask("DELETE", "/users/alice/server"))
        nursery.start_soon(play, "deleted", "gone", lambda: hub.ask("DELETE", "/users/alice/servers/gone", {"remove": True}))
        nursery.start_soon(play, "killed", "dead", lambda: hub.process("alice", "dead").kill())
    assert "may_be_left" not in caplog.text


# --------------------------------------------------------------------------------------------------------------- starts


async def test_a_start_that_is_slow(hub: RealHub, request: pytest.FixtureRequest) -> None:
    token = hub.add_user("slow")
    events: list[GatewayEvent] = []
    began = trio.current_time()
    async with open_hub(hub.url, token=token, on_event=events.append) as gateway:
        seconds = trio.current_time() - began
        assert (await gateway.kernelspecs.list()).kernelspecs
    posts = [event for event in events if event.kind == "request" and event.method == "POST"]
    assert len(posts) == 1  # G4
    note(
        request,
        "a start that is slow (15 s in the spawner)",
        f"{len(posts)} request, its progress, the server",
        seconds,
        "nothing",
    )
    assert hub.server("slow") is None


async def test_slow_starts_that_are_cancelled(hub: RealHub, request: pytest.FixtureRequest) -> None:  # G2
    async def play(user: str, moment: float) -> None:
        await trio.to_thread.run_sync(hub.add_user, user)
        with trio.move_on_after(moment) as scope:
            async with open_hub(hub.url, token=hub.token, user=user):
                pass
        assert scope.cancelled_caught
        seconds = trio.current_time() - scope.deadline
        note(request, f"a slow start that is cancelled after {moment:g} s", "`Cancelled`", seconds, "nothing")
        assert hub.server(user) is None
        await trio.sleep(20)  # longer than the start would have taken
        assert hub.server(user) is None

    async with trio.open_nursery() as nursery:
        for number, moment in enumerate((0.3, 5.0, 12.0)):
            nursery.start_soon(play, f"slow-{number}", moment)


async def test_a_server_that_can_not_be_started(hub: RealHub, request: pytest.FixtureRequest) -> None:
    token = hub.add_user("broken")
    began = trio.current_time()
    with pytest.raises(HubSpawnError, match="no such image") as caught:
        async with open_hub(hub.url, token=token):
            pass
    note(request, "a start that fails", shown(caught.value), trio.current_time() - began, "nothing")
    assert hub.server("broken") is None


# ------------------------------------------------------------------------------------------------------ what is named how


async def test_a_server_that_does_not_run_is_named(hub: RealHub, alice: str, request: pytest.FixtureRequest) -> None:  # G10
    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()

    config = GatewayConfig.from_env({}, url=f"{hub.url}/user/alice", auth_token=alice)
    began = trio.current_time()
    async with open_gateway(config) as gateway:
        for act in (gateway.kernels.list, gateway.kernelspecs.list):
            with pytest.raises(HubServerNotRunningError):
                await act()
        with pytest.raises(HubServerNotRunningError) as caught:
            async with gateway.start_kernel():
                pass
    note(request, "`open_gateway` on a server that does not run", shown(caught.value), trio.current_time() - began, "nothing")
    checks = await examine(config, report=report, environ={}, now=time.time())
    (failed,) = [check for check in checks if check.status == "failed"]
    assert isinstance(failed.error, HubServerNotRunningError)
    assert "/hub/spawn/alice" in failed.advice
