"""Searches for kernels whose start has an end that nobody knows: for how long, who waits, and what is said. G2"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

import attrs
import pytest
import trio
import trio.testing
from trio.testing import MockClock

import trio_gateway
from tools.replicas import Balancer
from trio_gateway import (
    GatewayConnectionError,
    GatewayError,
    GatewayEvent,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    KernelModel,
    KernelNotFoundError,
    ProtocolError,
)
from trio_gateway._gateway.searches import QUICK_LOOKS, may_be_left
from trio_gateway.testing import FakeGateway

HAPROXY_503 = "<html><body><h1>503 Service Unavailable</h1>\nNo server is available to handle this request.\n</body></html>"
HAPROXY_502 = "<html><body><h1>502 Bad Gateway</h1>\nThe server returned an invalid or incomplete response.\n</body></html>"
NGINX_504 = "<html><head><title>504 Gateway Time-out</title></head><body><center>nginx</center></body></html>"
ENVOY_503 = "upstream connect error or disconnect/reset before headers. reset reason: connection termination"
KERNEL_ID = "c0ffee00-1111-4222-8333-444455556666"


def not_sent() -> GatewayConnectionError:
    error = GatewayConnectionError("refused")
    error.sent = False
    return error


@pytest.mark.parametrize(
    ("outcome", "looks"),
    [
        (None, math.inf),
        (KernelModel(id="x"), 0),
        (GatewayTimeoutError("connect", 1, "connect_timeout"), 0),
        (GatewayTimeoutError("kernel start", 1, "launch_timeout"), math.inf),
        (not_sent(), 0),
        (GatewayConnectionError("cut"), 6),
        (ProtocolError("nonsense"), 6),
        (GatewayHTTPError(403, "Forbidden"), 0),
        (GatewayHTTPError(404, "Not Found", from_gateway=False), 0),
        (GatewayHTTPError(408, "Request Timeout", from_gateway=False), QUICK_LOOKS),
        (HubServerNotRunningError(503, "Service Unavailable"), 0),
        (GatewayHTTPError(429, "Too Many Requests"), 0),
        (GatewayHTTPError(500, "Internal Server Error"), 1),
        (GatewayHTTPError(500, "Internal Server Error", from_gateway=False), QUICK_LOOKS),
        (GatewayHTTPError(502, "Bad Gateway"), QUICK_LOOKS),  # as a Jupyter server says it of a gateway behind it
        (GatewayHTTPError(502, "Bad Gateway", from_gateway=False), QUICK_LOOKS),
        (GatewayHTTPError(503, "Service Unavailable"), 1),
        (GatewayHTTPError(503, "Service Unavailable", from_gateway=False), QUICK_LOOKS),
        (GatewayHTTPError(503, "Service Unavailable", ENVOY_503, from_gateway=False), QUICK_LOOKS),
        (GatewayHTTPError(503, "Service Unavailable", "No server is available to handle this request.", from_gateway=False), 0),
        (GatewayHTTPError(504, "Gateway Timeout", from_gateway=False), QUICK_LOOKS),
        (GatewayHTTPError(524, "A Timeout Occurred", from_gateway=False), QUICK_LOOKS),
    ],
)
def test_what_a_start_may_have_left(outcome: KernelModel | GatewayError | None, looks: float) -> None:
    assert may_be_left(outcome) == looks


# ------------------------------------------------------------------------------------------------------ behind a balancer


@attrs.define
class Stage:
    """Two replicas behind a balancer that cuts a start after a second, and goes on with the other one."""

    fake: FakeGateway
    balancer: Balancer
    events: list[GatewayEvent] = attrs.field(factory=list)

    @asynccontextmanager
    async def open(self, **settings: float) -> AsyncGenerator[trio_gateway.Gateway]:
        async with trio_gateway.open_gateway(
            self.fake.url, auth_token=self.fake.token, connector=self.balancer.connect, on_event=self.events.append, **settings
        ) as gateway:  # fmt: skip
            yield gateway

    async def start(self, gateway: trio_gateway.Gateway) -> None:
        """Start a kernel, and see the start fail for the cut."""
        async with gateway.start_kernel():
            pytest.fail("the start was cut")

    def said(self, caplog: pytest.LogCaptureFixture) -> list[str]:
        """Return the ids of the kernels of which it was said that they may be left; the log and the events say the same."""
        logged = [record.getMessage().split(": ")[1] for record in caplog.records if "kernel_may_be_left" in record.getMessage()]
        told = [
            event.kernel_id
            for event in self.events
            if (event.kind, event.action, event.status) == ("kernel", "cleanup", "error")
        ]  # fmt: skip
        assert logged == told
        return logged

    @property
    def looks(self) -> int:
        return sum(event.method == "DELETE" for event in self.events)


@pytest.fixture(params=["two replicas", "one gateway"])
async def stage(request: pytest.FixtureRequest, caplog: pytest.LogCaptureFixture) -> AsyncGenerator[Stage]:
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway(start_seconds=8) as fake, fake.replica() as other:
        doors = [fake, other] if request.param == "two replicas" else [fake]
        async with trio.open_nursery() as nursery:
            balancer = Balancer(doors, nursery, cut_start_after=1.0)
            yield Stage(fake, balancer)
            nursery.cancel_scope.cancel()
        assert fake.protocol_errors == other.protocol_errors == []


async def test_a_start_that_goes_on_elsewhere_is_found_after_its_caller_has_gone_on(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The caller is held up for some seconds, and not for as long as the start may take."""
    stage.fake.start_seconds = 35
    async with stage.open() as gateway:
        with pytest.raises(GatewayConnectionError):
            await stage.start(gateway)
        assert trio.current_time() < 8
        assert not stage.fake.kernels
        await trio.sleep(40)
        assert [kernel.executed for kernel in stage.fake.ended_kernels] == [{}]
        assert trio.current_time() < 60
    assert (stage.fake.kernels, stage.said(caplog)) == ({}, [])
    assert [event.status for event in stage.events if (event.kind, event.action) == ("kernel", "cleanup")] == ["success"]


async def test_the_end_of_the_block_waits_for_a_search(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.fake.start_seconds = 20
    with pytest.raises(GatewayConnectionError):
        async with stage.open() as gateway:
            await stage.start(gateway)
    assert 20 <= trio.current_time() < 23
    assert (stage.fake.kernels, len(stage.fake.ended_kernels), stage.said(caplog)) == ({}, 1, [])


async def test_the_end_of_the_block_has_its_bound_and_then_says_which_kernel_may_be_left(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.fake.start_seconds = 100
    with pytest.raises(GatewayConnectionError):
        async with stage.open(cleanup_timeout=12, launch_timeout=200) as gateway:
            await stage.start(gateway)
    assert trio.current_time() == pytest.approx(1 + 12, abs=0.1), "caller and block together are held up for cleanup_timeout"
    (kernel_id,) = stage.said(caplog)
    assert "after cleanup_timeout = 12 s nobody looks for it any more" in caplog.text
    await trio.sleep(100)
    assert list(stage.fake.kernels) == [kernel_id]


async def test_a_start_that_never_came_through_is_done_with_when_it_must_have_ended(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    for door in stage.balancer.doors:
        door.faults.lose_request("POST /api/kernels")
    async with stage.open(launch_timeout=50) as gateway:
        with pytest.raises(GatewayConnectionError):
            await stage.start(gateway)
        assert trio.current_time() < 8
        limit = gateway.config.request_timeout_for()
        await trio.sleep(limit)
        looks = stage.looks
        assert 20 < looks < 40
        await trio.sleep(1000)
        assert stage.looks == looks
        ended = trio.current_time()
    assert trio.current_time() == ended
    assert stage.said(caplog) == []


async def test_a_start_that_is_cancelled_is_looked_for_beyond_the_bound_of_its_caller(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.fake.start_seconds, stage.balancer.cut_start_after = 30, math.inf
    async with stage.open(cleanup_timeout=10) as gateway:
        with trio.move_on_after(2):
            await stage.start(gateway)
        assert trio.current_time() == pytest.approx(12)
        await trio.sleep(25)
        assert len(stage.fake.ended_kernels) == 1
    assert (stage.fake.kernels, stage.said(caplog)) == ({}, [])


async def test_a_cancelled_start_that_has_had_its_time_holds_up_the_end_of_the_block_no_more(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.fake.start_seconds, stage.balancer.cut_start_after = 30, math.inf
    with trio.move_on_after(2):
        async with stage.open(cleanup_timeout=10) as gateway:
            await stage.start(gateway)
    assert trio.current_time() == pytest.approx(12)
    (kernel_id,) = stage.said(caplog)
    await trio.sleep(30)
    assert list(stage.fake.kernels) == [kernel_id]


async def test_a_start_that_takes_too_long_is_looked_for_as_long_again(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.fake.start_seconds, stage.balancer.cut_start_after = 55, math.inf
    async with stage.open(cleanup_timeout=5, request_timeout=30, launch_timeout=10) as gateway:
        with pytest.raises(GatewayTimeoutError, match="launch_timeout"):
            await stage.start(gateway)
        assert trio.current_time() == pytest.approx(35)
        await trio.sleep(30)
        assert len(stage.fake.ended_kernels) == 1
    assert stage.said(caplog) == []


async def test_a_gateway_that_nobody_can_reach_holds_nobody_up(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.balancer.down_after_cut = True
    with pytest.raises(GatewayConnectionError):
        async with stage.open() as gateway:
            await stage.start(gateway)
    assert trio.current_time() < 4
    assert len(stage.said(caplog)) == 1


async def test_a_gateway_that_is_back_is_asked_again(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    stage.balancer.down_after_cut = True
    async with stage.open() as gateway:
        with pytest.raises(GatewayConnectionError):
            await stage.start(gateway)
        assert trio.current_time() < 2
        await trio.sleep(15)
        stage.balancer.down = False
        await trio.sleep(5)
        assert len(stage.fake.ended_kernels) == 1
    assert stage.said(caplog) == []


async def test_who_asks_for_the_kernel_by_its_id_has_it(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    """The search for an earlier start of the same id ends, also where that start has succeeded by now."""
    for seconds in (0, 30):
        async with stage.open() as gateway:
            stage.balancer.cut_start_after, stage.fake.start_seconds = 1.0, 8
            with pytest.raises(GatewayConnectionError):
                await gateway.kernels.start(kernel_id=KERNEL_ID)
            stage.balancer.cut_start_after = math.inf
            stage.fake.start_seconds = seconds  # the replica's are as they were
            model = await gateway.kernels.start(kernel_id=KERNEL_ID)
            await trio.sleep(100)
            assert list(stage.fake.kernels) == [model.id] == [KERNEL_ID]
            await gateway.kernels.shutdown(KERNEL_ID)
    assert stage.said(caplog) == []


async def test_a_document_session_whose_start_was_cut_leaves_no_kernel(
    autojump_clock: MockClock, stage: Stage, caplog: pytest.LogCaptureFixture
) -> None:
    with pytest.raises(GatewayConnectionError):
        async with stage.open() as gateway:
            await gateway.sessions.create(path="a.ipynb")
    assert (stage.fake.kernels, len(stage.fake.ended_kernels), stage.said(caplog)) == ({}, 1, [])


async def test_a_kernel_that_a_restart_brings_back_after_its_shutdown_is_shut_down_again(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    """The restart goes on at the replica that was asked, which writes the kernel down when it is back."""
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake, fake.open() as gateway:
        async with gateway.start_kernel() as kernel:
            fake.faults.lose_request("POST .*/restart")
            with pytest.raises(GatewayConnectionError):
                await kernel.restart()
        assert not fake.kernels
        assert trio.current_time() < 10
        await trio.sleep(10)
        back = await fake.start_kernel("python3", kernel_id=kernel.id)
        await trio.sleep(3)
        assert not fake.kernels
        assert fake.ended_kernels[-1] is back
    assert not caplog.records


# ------------------------------------------------------------------------------------------------- what a balancer says


async def test_a_balancer_that_passed_nothing_on_is_believed_at_once(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake:
        fake.faults.answer(".*/api/kernels.*", 503, HAPROXY_503)
        with pytest.raises(GatewayHTTPError, match="No server is available") as caught:
            async with fake.open() as gateway, gateway.start_kernel():
                pytest.fail("there is no server")
        assert (caught.value.status_code, caught.value.from_gateway) == (503, False)
        assert trio.current_time() < 0.1
        assert [request.method for request in fake.requests if request.method != "GET"] == ["POST"]
    assert not caplog.records


@pytest.mark.parametrize(("status", "page"), [(502, HAPROXY_502), (503, ENVOY_503), (504, NGINX_504), (503, None)])
async def test_a_balancer_that_may_have_passed_it_on_is_told_of_at_once_and_not_believed(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, status: int, page: str | None
) -> None:
    """Nobody can be asked: the caller knows after two looks, and the end of the block waits two seconds more."""
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake:
        fake.faults.answer(".*/api/kernels.*", status, page)
        told = math.nan
        with pytest.raises(GatewayHTTPError):
            async with fake.open() as gateway:
                try:
                    async with gateway.start_kernel():
                        pytest.fail("there is no server")
                finally:
                    told = trio.current_time()
        assert told < 0.5
        assert trio.current_time() < 2.5
    assert [record.getMessage().partition(":")[0] for record in caplog.records] == ["kernel_may_be_left"]


@pytest.mark.parametrize(("status", "page"), [(502, HAPROXY_502), (503, ENVOY_503), (504, NGINX_504)])
async def test_a_start_that_a_balancer_gave_up_is_found_in_the_background(
    autojump_clock: MockClock, caplog: pytest.LogCaptureFixture, status: int, page: str
) -> None:
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway(start_seconds=20) as fake, fake.open() as gateway, trio.open_nursery() as nursery:
        fake.faults.answer("POST /api/kernels", status, page)

        request = gateway.kernels.prepare(None, env=None, cwd=None, path=None, launch_timeout=None)
        kernel_id = request.kernel_id
        nursery.start_soon(lambda: fake.start_kernel("python3", kernel_id=kernel_id))
        with pytest.raises(GatewayHTTPError):
            async with gateway.start_prepared(request):
                pytest.fail("it was given up")
        assert trio.current_time() < 0.5
        await trio.sleep(25)
        assert [kernel.id for kernel in fake.ended_kernels] == [kernel_id]
    assert not caplog.records


async def test_a_gateways_own_error_ends_a_start(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake:
        fake.faults.answer("POST /api/kernels", 500, {"reason": "Internal Server Error", "message": "it did not start"})
        with pytest.raises(GatewayHTTPError, match="it did not start"):
            async with fake.open() as gateway, gateway.start_kernel():
                pytest.fail("it did not start")
        assert trio.current_time() < 0.5
        assert sum(request.method == "DELETE" for request in fake.requests) == 1
    assert not caplog.records


async def test_a_page_that_says_404_proves_nothing(autojump_clock: MockClock, caplog: pytest.LogCaptureFixture) -> None:
    """An ingress says so that has no route just now: the kernel is shut down when the gateway itself has answered."""
    caplog.set_level(logging.WARNING, "trio_gateway")
    async with FakeGateway() as fake:
        async with fake.open() as gateway, gateway.start_kernel() as kernel:
            fake.faults.answer("(GET|DELETE) /api/kernels/.*", 404, "404 page not found\n", times=3)
            with pytest.raises(GatewayHTTPError) as caught:
                await gateway.kernels.get(kernel.id)
            assert not isinstance(caught.value, KernelNotFoundError)
        assert not fake.kernels
    assert not caplog.records
