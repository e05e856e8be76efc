"""Fixtures for tests on a real gateway."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Iterator
from typing import TYPE_CHECKING, Any

import pytest
import trio
from gateway_tools import Wire, open_framed, open_wire, rest

import trio_gateway
from trio_gateway._transport import websocket

if TYPE_CHECKING:
    from conftest import RunningGateway


HANG_SECONDS = 80
"""A test that takes longer hangs. (pytest-timeout would end Trio's loop with it, and the tests after it.)"""


BOTH_ENGINES = {
    "test_connection",
    "test_execute",
    "test_faults",
    "test_faults_gateway",
    "test_kernel_life",
    "test_systems_session",
    "test_watch",
}
"""The modules whose tests are about what a WebSocket carries: each runs on both engines."""


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of those modules on both engines."""
    if metafunc.module.__name__ in BOTH_ENGINES:
        metafunc.fixturenames.insert(0, "engine")
        metafunc.parametrize("engine", ["fast", "trio-websocket"], indirect=True)


@pytest.fixture
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for in this test."""
    monkeypatch.setattr(websocket, "best_engine", lambda: request.param)
    return str(request.param)


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    """Bound each async test of this folder; a fixture can't, its scopes are not the test's."""
    if not isinstance(item, pytest.Function) or not inspect.iscoroutinefunction(item.obj):
        return
    if {"autojump_clock", "mock_clock"}.intersection(item.fixturenames):
        return  # virtual seconds are no bound, and a hang in virtual time is an error by itself
    test = item.obj

    @functools.wraps(test)
    async def bounded(**fixtures: Any) -> None:
        with trio.fail_after(HANG_SECONDS):
            await test(**fixtures)

    item.obj = bounded


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
