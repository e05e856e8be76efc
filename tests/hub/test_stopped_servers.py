"""A hub that answers in place of a server: named in place of "authentication", by whatever is asked, and once it is sure."""

from __future__ import annotations

import logging

import pytest
import trio
import trio.testing

import trio_gateway
from tools.fake_hub import ALICE, open_fake_hub
from trio_gateway import AuthenticationError, GatewayConfig, HubServerNotRunningError, KernelNotFoundError, open_gateway
from trio_gateway._doctor.examine import examine
from trio_gateway._doctor.findings import Check
from trio_gateway.testing import FakeHub

Clock = trio.testing.MockClock
PAGE = "http://hub.invalid/hub/spawn/alice"


@pytest.fixture(params=["fast", "trio-websocket"])
def engine(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def opened(hub: FakeHub, token: str = ALICE, **settings: object):
    return open_gateway(
        GatewayConfig.from_env({}, url=f"{hub.url}/user/alice", auth_token=token, **settings), connector=hub.connector
    )


async def test_whatever_is_asked_of_a_server_that_does_not_run_says_so_and_what_to_do(autojump_clock: Clock) -> None:  # G10
    async with open_fake_hub() as hub, opened(hub) as gateway:
        started = trio.current_time()
        for ask in (gateway.kernels.list, gateway.kernelspecs.list, lambda: gateway.kernels.get("a" * 8 + "-1-1-1-1")):
            with pytest.raises(HubServerNotRunningError, match=r"GET .* with 302.*open_hub\(\)") as caught:
                await ask()
            assert caught.value.page == PAGE
            assert PAGE in str(caught.value)
        with pytest.raises(HubServerNotRunningError, match=r"POST http://hub.invalid/user/alice/api/kernels .* 403") as caught:
            async with gateway.start_kernel():
                pass
        assert not isinstance(caught.value, AuthenticationError)
        assert trio.current_time() == started  # nothing was tried again, or looked for


async def test_a_server_that_runs_and_refuses_the_token_is_told_apart(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub, opened(hub, token="wrong") as gateway:
        await hub.run_server()
        with pytest.raises(AuthenticationError):
            await gateway.kernelspecs.list()


async def test_a_session_ends_with_that_error_when_the_server_is_stopped(
    autojump_clock: Clock, engine: str, caplog: pytest.LogCaptureFixture
) -> None:  # G3
    async with open_fake_hub() as hub, opened(hub, websocket_engine=engine) as gateway:
        server = await hub.run_server()
        with caplog.at_level(logging.WARNING):
            async with gateway.start_kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
                server.routed = server.ready = False
                server.gateway.cut_connections()
                hub.cut_connections()
                began = trio.current_time()
                with pytest.raises(HubServerNotRunningError):
                    await kernel.execute("import time; time.sleep(1000)")
                assert 5 <= trio.current_time() - began <= 20
                with pytest.raises(HubServerNotRunningError):
                    await kernel.execute("1")
        assert "kernel_may_be_left" not in caplog.text  # the server has taken it with it
        with pytest.raises(HubServerNotRunningError):
            async with gateway.attach_kernel(kernel.id):
                pass


@pytest.mark.parametrize("how", ["no_routes", "routed"])
async def test_a_hub_that_is_started_again_ends_no_session(autojump_clock: Clock, how: str) -> None:  # G3
    async with open_fake_hub() as hub, opened(hub) as gateway:
        server = await hub.run_server()
        async with gateway.start_kernel() as kernel:
            await kernel.execute("x = 1")
            hub.no_routes, server.routed = (True, True) if how == "no_routes" else (False, False)
            hub.cut_connections()
            await trio.sleep(3)
            hub.no_routes, server.routed = False, True
            assert (await kernel.execute("x")).text == "1"


async def test_a_kernel_that_a_new_server_does_not_know_is_gone(autojump_clock: Clock) -> None:
    async with open_fake_hub() as hub, opened(hub) as gateway:
        await hub.run_server()
        async with gateway.start_kernel() as kernel:
            await hub.stop_server()
            await hub.run_server()
            hub.cut_connections()
            with pytest.raises(trio_gateway.KernelError):
                await kernel.execute("1")
            with pytest.raises(KernelNotFoundError):
                await gateway.kernels.get(kernel.id)


async def test_the_doctor_blames_neither_token_nor_url(autojump_clock: Clock) -> None:  # G10
    async def report(check: Check) -> None:
        await trio.lowlevel.checkpoint()

    async with open_fake_hub() as hub:
        config = GatewayConfig(url=f"{hub.url}/user/alice", auth_token=ALICE)
        checks = await examine(config, report=report, connector=hub.connector, environ={}, now=0.0)
        (failed,) = [check for check in checks if check.status == "failed"]
        assert failed.name == "http"
        assert isinstance(failed.error, HubServerNotRunningError)
        assert PAGE in failed.advice
        assert "open_hub()" in failed.advice
        assert ALICE not in failed.advice + failed.detail
