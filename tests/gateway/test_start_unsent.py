"""A start that never left: nothing was sent, so nothing is looked for, and nobody waits for what is not there. G2, G3."""

from __future__ import annotations

import errno
import logging

import pytest
import trio
import trio.testing
from trio.testing import MockClock

import trio_gateway
from trio_gateway.testing import FakeGateway


async def test_cancelled_while_it_connects_a_start_ends_at_once(autojump_clock: MockClock) -> None:
    tries = 0

    async def black_hole(host: str, port: int) -> trio.abc.Stream:
        nonlocal tries
        tries += 1
        await trio.sleep_forever()
        raise AssertionError(host, port)

    async with trio_gateway.open_gateway("http://gateway.test:1", connector=black_hole) as gateway:
        with trio.move_on_after(3):
            async with gateway.start_kernel():
                pytest.fail("nobody answers there")
    assert trio.current_time() == pytest.approx(3, abs=0.01)
    assert tries == 1, "there is nothing to look for"


async def test_without_a_connection_nothing_is_looked_for(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    tries = 0

    async def refused(host: str, port: int) -> trio.abc.Stream:
        nonlocal tries
        tries += 1
        await trio.lowlevel.checkpoint()
        raise OSError(errno.ECONNREFUSED, "Connection refused")

    caplog.set_level(logging.WARNING, "trio_gateway")
    async with trio_gateway.open_gateway("http://gateway.test:1", connector=refused, max_request_retries=2) as gateway:
        with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
            async with gateway.start_kernel():
                pytest.fail("nobody listens there")
    assert (caught.value.sent, caught.value.attempts, tries) == (False, 3, 3)
    assert not caplog.records


async def test_a_gateway_that_goes_away_with_the_answer_is_looked_for_twice_and_the_kernel_named(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """It may have started one before it went; who reads the log can look for it."""
    caplog.set_level(logging.WARNING, "trio_gateway")
    answered = False

    async def connect(host: str, port: int) -> trio.abc.Stream:
        nonlocal answered
        await trio.lowlevel.checkpoint()
        if answered:
            raise OSError(errno.ECONNREFUSED, "Connection refused")
        answered = True
        client, server = trio.testing.memory_stream_pair()
        nursery.start_soon(hang_up, server)
        return client

    async def hang_up(server: trio.StapledStream[trio.abc.SendStream, trio.abc.ReceiveStream]) -> None:
        await server.receive_some(100_000)
        await server.aclose()

    async with trio.open_nursery() as nursery:
        async with trio_gateway.open_gateway("http://gateway.test:1", connector=connect, max_request_retries=0) as gateway:
            with pytest.raises(trio_gateway.GatewayConnectionError) as caught:
                async with gateway.start_kernel():
                    pytest.fail("there was no answer")
        assert caught.value.sent
    (warning,) = caplog.records
    assert "kernel_may_be_left" in warning.getMessage()
    assert trio.current_time() < 2


async def test_a_gateway_that_takes_no_start_now_is_looked_through_for_seconds_and_not_for_cleanup_timeout(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake, fake.open(cleanup_timeout=300) as gateway:
        fake.faults.answer("POST /api/kernels", 503, times=1)
        with pytest.raises(trio_gateway.GatewayHTTPError) as caught:
            async with gateway.start_kernel():
                pytest.fail("it was not started")
        assert caught.value.status_code == 503
        assert trio.current_time() < 10
        assert not caplog.records, "it was looked for, and is not there"

        fake.faults.answer(".*", 503)
        begun = trio.current_time()
        with pytest.raises(trio_gateway.GatewayHTTPError):
            async with gateway.start_kernel():
                pytest.fail("it was not started")
        assert trio.current_time() - begun < 30
        assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["kernel_may_be_left"]
