"""G2 behind a balancer, on each face: a start that is cut and goes on at another replica leaves no kernel."""

from __future__ import annotations

import logging
from collections.abc import Callable

import pytest

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from tools.face_tools import run
from tools.replicas import ServedReplicas, serve_replicas


def on_trio(served: ServedReplicas) -> None:
    async def main() -> None:
        async with trio_gateway.open_gateway(served.url, auth_token=served.token) as gateway, gateway.start_kernel():
            pytest.fail("the start was cut")

    run("trio", main)


def on_asyncio(served: ServedReplicas) -> None:
    async def main() -> None:
        async with trio_gateway.anyio.open_gateway(served.url, auth_token=served.token) as gateway, gateway.start_kernel():
            pytest.fail("the start was cut")

    run("asyncio", main)


def without_async(served: ServedReplicas) -> None:
    with trio_gateway.blocking.open_gateway(served.url, auth_token=served.token) as gateway, gateway.start_kernel():
        pytest.fail("the start was cut")


@pytest.mark.parametrize("face", [on_trio, pytest.param(on_asyncio, marks=pytest.mark.full), without_async])
def test_G2_a_start_that_was_cut_and_goes_on_at_another_replica(
    face: Callable[[ServedReplicas], None], caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.WARNING, "trio_gateway")
    with serve_replicas(start_seconds=2.0, cut_start_after=0.5) as served:
        with pytest.raises(trio_gateway.GatewayConnectionError):
            face(served)
        assert served.fake.kernels == {}
        assert len(served.fake.ended_kernels) == 1, "the start went on, and what came of it was found"
    assert not caplog.records
