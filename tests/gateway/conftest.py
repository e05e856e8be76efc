"""Fixtures for tests on a real gateway."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING

import pytest
import trio
from gateway_tools import Wire, open_framed, open_wire, rest

import trio_gateway

if TYPE_CHECKING:
    from conftest import RunningGateway


@pytest.fixture
async def hang_guard() -> AsyncGenerator[None]:
    """Cancel a test that hangs. pytest-timeout can't: it would take Trio's loop down, and the session with it."""

    async def watch() -> None:
        await trio.sleep(90)
        pytest.fail("the test hangs")

    async with trio.open_nursery() as nursery:
        nursery.start_soon(watch)
        yield
        nursery.cancel_scope.cancel()


@pytest.fixture
async def gateway(real_gateway: RunningGateway) -> AsyncGenerator[trio_gateway.Gateway]:
    """The real gateway, opened."""
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        yield gateway


@pytest.fixture(scope="module")
def shared_kernel_id(real_gateway: RunningGateway) -> Iterator[str]:
    """A kernel for those tests of a module that only run code in it. Each attaches to it with a session of its own."""
    kernel_id = rest(real_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    yield kernel_id
    rest(real_gateway, "DELETE", f"/api/kernels/{kernel_id}")


@pytest.fixture(params=["v1", "legacy"])
async def kernel(
    request: pytest.FixtureRequest, real_gateway: RunningGateway, shared_kernel_id: str
) -> AsyncGenerator[trio_gateway.Kernel]:
    """The module's kernel with an empty namespace, over each of the two framings."""
    async with open_framed(real_gateway, request.param) as (gateway, seen), gateway.attach_kernel(shared_kernel_id) as kernel:
        assert seen == [request.param]
        with trio.fail_after(30):
            await kernel.execute("get_ipython().reset(new_session=False)", silent=True)
        yield kernel


@pytest.fixture
async def wire() -> AsyncGenerator[Wire]:
    """A wire out of whatever kernel runs `wire.code`."""
    async with open_wire() as wire:
        yield wire
