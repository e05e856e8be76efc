"""Where a scenario plays: how it starts kernels, what it says to them, and how it breaks the network."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway, FakeKernelSpec
from trio_gateway.testing._languages import LANGUAGES
from trio_gateway.testing._stage import Absent, Stage

Clock = trio.testing.MockClock


@asynccontextmanager
async def staged(fake: FakeGateway | None = None, **arguments: Any) -> AsyncGenerator[tuple[FakeGateway, Stage]]:
    fake = fake or FakeGateway()
    async with fake:
        config = trio_gateway.GatewayConfig(url=fake.url, auth_token=fake.token)
        yield fake, Stage(config, connector=fake.connector, **arguments)
        assert fake.kernels == {}


def test_what_it_says() -> None:
    config = trio_gateway.GatewayConfig(url="http://x")
    assert Stage(config).say is LANGUAGES["python"]
    assert Stage(config, language="bash").say is LANGUAGES["bash"]
    with pytest.raises(Absent, match="no code is known in prolog"):
        _ = Stage(config, language="prolog").say
    with pytest.raises(Absent, match="no code is known in its language"):
        _ = Stage(config, language="").say


async def test_settings_in_place_of_some(autojump_clock: Clock) -> None:
    async with staged() as (fake, stage):
        async with stage.open() as gateway:
            assert gateway.config == stage.config
        async with stage.open(request_timeout=7) as gateway:
            assert (gateway.config.request_timeout, gateway.config.url) == (7, fake.url)
        async with stage.own_kernel(request_timeout=8) as kernel:
            assert kernel.id in fake.kernels


async def test_a_kernel_of_the_kernelspec_that_was_named(autojump_clock: Clock) -> None:
    specs = [FakeKernelSpec(name="python3"), FakeKernelSpec(name="other")]
    async with staged(FakeGateway(kernelspecs=specs), kernel_name="other") as (fake, stage):
        async with stage.kernel() as kernel:
            assert kernel.name == "other"
        fake.faults.answer("POST /api/kernels", 405)
        async with stage.kernel() as kernel:
            assert fake.kernels[kernel.id].name == "other"


async def test_where_kernels_start_only_with_a_session(autojump_clock: Clock) -> None:
    """It finds that out once, starts them so from then on, and ends them."""
    async with staged() as (fake, stage):
        refused = fake.faults.answer("POST /api/kernels", 405)
        for _ in range(2):
            async with stage.kernel() as kernel:
                assert (await kernel.execute("6 * 7")).text == "42"
        assert stage.by_sessions_only
        assert refused.hits == 1
        assert len(fake.ended_kernels) == 2
        paths = {json.loads(request.body)["path"] for request in fake.requests if request.path == "/api/sessions"}
        assert len(paths) == 2


async def test_where_kernels_do_not_start_at_all(autojump_clock: Clock) -> None:
    async with staged() as (fake, stage):
        fake.faults.answer("POST /api/kernels", 405)
        fake.faults.answer("POST /api/sessions", 404)
        with pytest.raises(Absent, match="neither POST /api/kernels nor POST /api/sessions: 404"):
            async with stage.kernel():
                pass


async def test_other_refusals_are_what_they_are(autojump_clock: Clock) -> None:
    async with staged() as (fake, stage):
        fake.faults.answer("POST /api/kernels", 403)
        with pytest.raises(trio_gateway.GatewayHTTPError):
            async with stage.kernel():
                pass
        assert not stage.by_sessions_only


async def test_a_session_whose_kernel_is_gone_ends_well(autojump_clock: Clock) -> None:
    async with staged() as (fake, stage):
        fake.faults.answer("POST /api/kernels", 405)
        async with stage.kernel() as kernel:
            fake.remove_kernel(fake.kernels[kernel.id])


async def test_one_kernel_for_all(autojump_clock: Clock) -> None:
    async with staged() as (_, stage):
        async with stage.sharing():
            async with stage.kernel() as first:
                await first.execute("x = 7")
            async with stage.kernel() as second:
                assert (await second.execute("x")).text == "7"
                assert second.id == first.id
            async with stage.own_kernel() as own:
                assert own.id != first.id
        async with stage.kernel() as later:
            assert later.id != first.id


async def test_without_a_kernel_to_share_each_has_its_own(autojump_clock: Clock) -> None:
    async with staged() as (fake, stage):
        fake.faults.answer("POST /api/kernels", 403, nth=1)
        async with stage.sharing():
            async with stage.kernel() as first:
                pass
            async with stage.kernel() as second:
                assert second.id != first.id


async def test_a_cut_breaks_what_is_open_and_nothing_later(autojump_clock: Clock) -> None:
    async with staged() as (fake, stage), stage.own_kernel(gateway_retry_interval=0.2) as kernel:
        handshakes = [request.is_upgrade for request in fake.requests].count(True)
        stage.cut()
        await trio.sleep(5)
        assert (await kernel.execute("6 * 7")).text == "42"
        assert [request.is_upgrade for request in fake.requests].count(True) == handshakes + 1


async def test_a_stream_that_was_cut(autojump_clock: Clock) -> None:
    """For who reads, who writes, and who comes later."""
    async with staged() as (_, stage):
        stream = await stage._connector("fake", 1)
        async with stream, trio.open_nursery() as nursery:

            async def read() -> None:
                with pytest.raises(trio.BrokenResourceError):
                    await stream.receive_some()

            nursery.start_soon(read)
            await trio.testing.wait_all_tasks_blocked()
            stage.cut()
            await trio.testing.wait_all_tasks_blocked()
            for use in (stream.receive_some, lambda: stream.send_all(b"x")):
                with pytest.raises(trio.BrokenResourceError):
                    await use()


async def test_a_stream_that_was_not_cut_is_as_any(autojump_clock: Clock) -> None:
    async with staged() as (_, stage):
        stream = await stage._connector("fake", 1)
        async with stream:
            assert isinstance(stream, trio.abc.HalfCloseableStream)
            await stream.wait_send_all_might_not_block()
            await stream.send_all(b"GET /api HTTP/1.1\r\nHost: x\r\n\r\n")
            assert (await stream.receive_some()).startswith(b"HTTP/1.1 401")
            await stream.send_eof()
            while await stream.receive_some():
                pass
