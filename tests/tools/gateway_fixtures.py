"""Fixtures for tests on a real gateway."""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncGenerator, Generator, Iterator
from contextlib import AsyncExitStack, suppress
from typing import TYPE_CHECKING, Any

import pytest
import trio

import trio_gateway
from tools.gateway_tools import Wire, open_framed, open_wire, rest
from trio_gateway._transport.websocket import opening as websocket

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = [
    "engine",
    "gateway",
    "kernel",
    "pytest_runtest_makereport",
    "pytest_runtest_setup",
    "shared_kernel_id",
    "wire",
]


HANG_SECONDS = 240
"""A test that takes longer hangs, also on a busy machine. (pytest-timeout would end Trio's loop with it, and the tests after.)"""


@pytest.fixture(autouse=True)
def engine(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What `websocket_engine="auto"` stands for in this test: the fast one, if it does not ask for another (`each_engine`)."""
    chosen = str(getattr(request, "param", "fast"))
    monkeypatch.setattr(websocket, "best_engine", lambda: chosen)
    return chosen


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


_shared: set[str] = set()
"""The kernels that tests share at the moment: one at most."""


@pytest.fixture(scope="module")
def shared_kernel_id(real_gateway: RunningGateway) -> Iterator[str]:
    """A kernel for those tests of a module that only run code in it. Each attaches to it with a session of its own."""
    kernel_id = rest(real_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    _shared.add(kernel_id)
    yield kernel_id
    _shared.discard(kernel_id)
    rest(real_gateway, "DELETE", f"/api/kernels/{kernel_id}")


_failed = pytest.StashKey[bool]()


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """What a test that failed left in the shared gateway is the next one's business neither way: end it, or start it anew."""
    report = yield
    gateway = getattr(item, "funcargs", {}).get("real_gateway")
    if report.failed:
        item.stash[_failed] = True
    if gateway is not None and report.when == "teardown" and item.stash.get(_failed, False):
        with suppress(OSError):  # the gateway itself may be gone
            for model in rest(gateway, "GET", "/api/kernels"):
                path = f"/api/kernels/{model['id']}"
                if model["id"] in _shared:
                    rest(gateway, "POST", f"{path}/restart")
                else:
                    rest(gateway, "DELETE", path)
    return report


@pytest.fixture
async def kernel(
    request: pytest.FixtureRequest, real_gateway: RunningGateway, gateway: trio_gateway.Gateway, shared_kernel_id: str
) -> AsyncGenerator[trio_gateway.Kernel]:
    """The module's kernel with an empty namespace, for what leaves a kernel that can be used on.

    By `gateway`; or over a certain framing, where the test asks for one (`each_framing`).
    """
    framing = getattr(request, "param", None)
    async with AsyncExitStack() as stack:
        seen = [framing]
        if framing is not None:
            gateway, seen = await stack.enter_async_context(open_framed(real_gateway, framing))
        kernel = await stack.enter_async_context(gateway.attach_kernel(shared_kernel_id))
        assert seen == [framing]
        await kernel.execute("get_ipython().reset(new_session=False)", silent=True)
        yield kernel


@pytest.fixture
async def wire() -> AsyncGenerator[Wire]:
    """A wire out of whatever kernel runs `wire.code`."""
    async with open_wire() as wire:
        yield wire
