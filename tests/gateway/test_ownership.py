"""Owning a kernel: it ends with its block in any way, and a start that fails or is cut short leaves none. G2."""

from __future__ import annotations

import errno
import logging
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

import trio_gateway
from tools.rest_fake import ID_A, ID_B, Answer, Request, RestFake, error, open_fake
from trio_gateway import (
    GatewayConnectionError,
    GatewayHTTPError,
    GatewayTimeoutError,
    KernelNotFoundError,
    ProtocolError,
)
from trio_gateway._api import KernelApi, open_kernel_api
from trio_gateway._gateway.ownership import end_unheard, launch, own_kernel
from trio_gateway._gateway.starting import StartRequest
from trio_gateway._services import open_services
from trio_gateway.testing import FakeGateway

# ------------------------------------------------------------------------------------------------------------ owning


REQUEST = StartRequest(ID_A, "python3", {"KERNEL_ID": ID_A}, None, 40.0)


@asynccontextmanager
async def open_api(fake: RestFake, **settings: Any) -> AsyncGenerator[KernelApi]:
    """Open the fake's REST interface."""
    config = trio_gateway.GatewayConfig(**{"url": "http://gateway.test:8888/Base", "max_request_retries": 0, **settings})
    async with open_services() as services:
        fake._services = services
        async with open_kernel_api(config, connector=fake.connect) as api:
            yield api


async def test_a_kernel_ends_with_its_block(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_api(fake) as api:
        async with own_kernel(api, REQUEST) as model:
            assert list(fake.kernels) == [model.id] == [ID_A]
        assert fake.kernels == {}


@pytest.mark.parametrize("error_of_body", [ZeroDivisionError, KeyboardInterrupt])
async def test_a_kernel_ends_with_a_body_that_fails(autojump_clock: MockClock, error_of_body: type[BaseException]) -> None:
    fake = RestFake()
    async with open_api(fake) as api:
        with pytest.raises(error_of_body):
            async with own_kernel(api, REQUEST):
                raise error_of_body
        assert fake.kernels == {}


async def test_a_kernel_ends_with_a_body_that_is_cancelled(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_api(fake) as api:
        with trio.move_on_after(1):
            async with own_kernel(api, REQUEST):
                await trio.sleep_forever()
        assert fake.kernels == {}


async def test_a_kernel_that_is_to_be_left_is_left(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_api(fake) as api:
        is_left = False
        async with own_kernel(api, REQUEST, is_left=lambda: is_left):
            is_left = True
        assert list(fake.kernels) == [ID_A]
        fake.kernels.clear()
        async with own_kernel(api, REQUEST, is_left=lambda: is_left):
            is_left = False
        assert fake.kernels == {}
        with pytest.raises(ZeroDivisionError):
            async with own_kernel(api, REQUEST, is_left=lambda: True):
                raise ZeroDivisionError
        assert list(fake.kernels) == [ID_A]


async def test_a_block_that_is_cancelled_leaves_none(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_api(fake) as api:
        with trio.move_on_after(1):
            async with own_kernel(api, REQUEST, is_left=lambda: True):
                await trio.sleep_forever()
        assert fake.kernels == {}
        with pytest.raises(KeyboardInterrupt):
            async with own_kernel(api, REQUEST, is_left=lambda: True):
                raise KeyboardInterrupt
        assert fake.kernels == {}


async def test_one_that_is_gone_already_is_fine(autojump_clock: MockClock) -> None:
    fake = RestFake()
    async with open_api(fake) as api, own_kernel(api, REQUEST):
        fake.kernels.clear()


async def test_a_shutdown_that_fails_is_raised_after_a_body_that_went_well(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake = RestFake()
    fake.script("DELETE .*", error(500))
    async with open_api(fake) as api:
        with pytest.raises(GatewayHTTPError):
            async with own_kernel(api, REQUEST):
                pass
    assert f"kernel_may_be_left: {ID_A}" in caplog.text


async def test_a_shutdown_that_fails_is_logged_after_a_body_that_did_not(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake = RestFake()
    fake.script("DELETE .*", error(500))
    async with open_api(fake) as api:
        with pytest.raises(ZeroDivisionError):
            async with own_kernel(api, REQUEST):
                raise ZeroDivisionError
    assert f"kernel_may_be_left: {ID_A}" in caplog.text


async def test_a_shutdown_that_the_gateway_can_not_do_yet_is_tried_again(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("DELETE .*", error(500), times=2)
    async with open_api(fake) as api:
        async with own_kernel(api, REQUEST):
            pass
        assert fake.kernels == {}
    assert trio.current_time() == pytest.approx(0.3)


async def test_a_shutdown_without_an_answer_has_its_limit(autojump_clock: MockClock) -> None:  # G3
    fake = RestFake()

    async def never(_: Request) -> None:
        await trio.sleep_forever()

    fake.script("DELETE .*", never)
    async with open_api(fake, cleanup_timeout=7) as api:
        with pytest.raises(GatewayTimeoutError, match="kernel shutdown took longer than 7 s") as caught:
            async with own_kernel(api, REQUEST):
                pass
        assert caught.value.setting == "cleanup_timeout"
        assert trio.current_time() == pytest.approx(7)


async def test_a_start_whose_answer_names_another_kernel_is_that_kernels(autojump_clock: MockClock) -> None:
    fake = RestFake()

    def start(_: Request) -> Answer:
        fake.add(ID_B)
        return Answer(201, fake.kernels[ID_B])

    fake.script("POST /api/kernels", start)
    async with open_api(fake) as api, own_kernel(api, REQUEST) as model:
        assert model.id == ID_B
    assert fake.kernels == {}


async def test_a_gateway_where_no_kernels_are_started_says_what_to_do(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("POST /api/kernels", error(405))
    async with open_api(fake) as api:
        with pytest.raises(GatewayHTTPError, match="attach_kernel") as caught:
            await launch(api, REQUEST)
    assert caught.value.status_code == 405


async def test_a_start_that_is_refused_is_not_looked_for(autojump_clock: MockClock) -> None:
    fake = RestFake()
    fake.script("POST /api/kernels", error(403))
    async with open_api(fake) as api:
        with pytest.raises(GatewayHTTPError):
            await launch(api, REQUEST)
    assert fake.asked() == ["POST /api/kernels"]


async def test_a_start_that_takes_too_long_is_looked_for_until_it_is_there(autojump_clock: MockClock) -> None:
    fake = RestFake()

    async def late(request: Request) -> Answer:
        await trio.sleep(5)
        return fake.answer(request)

    fake.script("POST /api/kernels", late)
    async with open_api(fake) as api:
        with pytest.raises(GatewayTimeoutError, match="kernel start took longer than 3 s") as caught:
            await launch(api, attrs.evolve(REQUEST, timeout=3.0))
        assert caught.value.setting == "launch_timeout"
        assert fake.kernels == {}
    assert "DELETE" in fake.asked()[-1]


async def test_an_orphan_is_named_where_the_bound_ends_the_search(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    fake = RestFake()

    async def never(_: Request) -> None:
        await trio.sleep_forever()

    fake.script("POST /api/kernels", never)
    async with open_api(fake, cleanup_timeout=6) as api:
        with trio.move_on_after(1):
            await launch(api, REQUEST)
        assert trio.current_time() == pytest.approx(7)
    assert f"kernel_may_be_left: {ID_A}: its start may go on still, and after cleanup_timeout = 6 s" in caplog.text


async def test_what_nobody_heard_of_is_ended_quietly(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    fake = RestFake()
    async with open_api(fake) as api:
        model = await launch(api, REQUEST)
        await end_unheard(api, model, 5)
        assert fake.kernels == {}
        fake.script("DELETE .*", error(500))
        await end_unheard(api, model, 5)
    assert f"kernel_may_be_left: {ID_A}" in caplog.text


# ------------------------------------------------------------------------------------------------------- cut short


async def test_a_start_that_is_cancelled_at_any_moment_leaves_no_kernel(autojump_clock: MockClock) -> None:  # G2
    for steps in range(200):
        fake = RestFake()
        scope = trio.CancelScope()

        async def tick(scope: trio.CancelScope = scope, steps: int = steps) -> None:
            for _ in range(steps):
                await trio.lowlevel.checkpoint()
            scope.cancel()

        async with open_fake(fake) as gateway:
            started: list[str] = []
            async with trio.open_nursery() as nursery:
                nursery.start_soon(tick)
                with scope:
                    started.append((await gateway.kernels.start("python3")).id)
        assert list(fake.kernels) == started
        if started and not scope.cancelled_caught and steps > 20:
            break
    else:
        pytest.fail("no start was quick enough")


@pytest.mark.parametrize("answer", [None, Answer(201, b"null"), Answer(201, b"<html>"), Answer(201, []), error(502)])
async def test_a_start_whose_answer_is_lost_or_garbled_leaves_no_kernel(
    autojump_clock: MockClock, answer: Answer | None
) -> None:  # G2
    fake = RestFake()

    def start(request: Request) -> Answer | None:
        fake.answer(request)
        return answer

    fake.script("POST /api/kernels", start)
    async with open_fake(fake) as gateway:
        with pytest.raises((GatewayConnectionError, ProtocolError, GatewayHTTPError)) as caught:
            await gateway.kernels.start()
        assert not isinstance(caught.value, KernelNotFoundError)
        assert fake.kernels == {}
        fake.lists = False
        assert await gateway.kernels.list() == []


# ----------------------------------------------------------------------------------------------- starts that never left


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


@attrs.define(eq=False)
class BreakingInAStart(trio.abc.HalfCloseableStream):
    """A connection that breaks in the middle of the first start's bytes."""

    inner: trio.abc.HalfCloseableStream
    starts: list[int]

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        if bytes(data).startswith(b"POST /api/kernels "):
            self.starts.append(len(data))
            if len(self.starts) == 1:
                await self.inner.send_all(bytes(data)[:-1])
                await self.inner.aclose()
                raise trio.BrokenResourceError
        await self.inner.send_all(data)

    async def wait_send_all_might_not_block(self) -> None:
        await self.inner.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self.inner.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes | bytearray:
        try:
            return await self.inner.receive_some(max_bytes)
        except trio.ClosedResourceError:
            raise trio.BrokenResourceError from None

    async def aclose(self) -> None:
        await self.inner.aclose()


async def test_a_start_that_was_not_sent_to_its_last_byte_is_sent_again(autojump_clock: MockClock) -> None:
    """Nothing can have come of it, so it is neither looked for nor reported."""
    starts: list[int] = []
    async with FakeGateway() as fake:
        config = trio_gateway.GatewayConfig(url=fake.url, auth_token=fake.token)

        async def connect(host: str, port: int) -> trio.abc.Stream:
            stream = await fake.connector(host, port)
            assert isinstance(stream, trio.abc.HalfCloseableStream)
            return BreakingInAStart(stream, starts)

        began = trio.current_time()
        async with trio_gateway.open_gateway(config, connector=connect) as gateway, gateway.start_kernel() as kernel:
            assert set(fake.kernels) == {kernel.id}
            assert trio.current_time() - began < 5
        assert len(starts) == 2
        assert len(fake.ended_kernels) == 1


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


async def test_a_gateway_that_takes_no_start_now_is_believed_and_one_that_can_not_be_asked_is_not(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """503 is the gateway's own word where it has a gateway's form; a page without one may be anybody's."""
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake:
        for pattern, body, said in [
            ("POST .*", {"message": "try later"}, []),
            (".*/api/kernels.*", "<h1>Oh dear</h1>", ["kernel_may_be_left"]),
        ]:
            begun = trio.current_time()
            fault = fake.faults.answer(pattern, 503, body)
            async with fake.open(cleanup_timeout=300) as gateway:
                with pytest.raises(trio_gateway.GatewayHTTPError) as caught:
                    async with gateway.start_kernel():
                        pytest.fail("it was not started")
                assert caught.value.status_code == 503
            assert trio.current_time() - begun < 5
            assert [record.getMessage().partition(":")[0] for record in caplog.records] == said
            fault.remove()
