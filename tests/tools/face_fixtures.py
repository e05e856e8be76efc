"""Fixtures for tests of the faces. The tests are plain functions: each says itself on what it runs, for pytest-trio would run an
async one under Trio whatever it was written for.

A face hands calls over and results back. So most of its tests use a fake gateway; what only a real one shows is asked of that.
"""

from __future__ import annotations

import threading
from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
import trio

from tools.face_tools import ListeningFake, kernel_ids, rest, trio_threads
from trio_gateway.testing import FakeGateway

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RunningGateway

__all__ = [
    "configured",
    "fake_gateway",
    "kernel_id",
    "no_kernel_is_left",
    "no_thread_is_left",
    "real_kernel_id",
]


@pytest.fixture(autouse=True)
def no_thread_is_left() -> Iterator[None]:
    """The shared thread ends with the last gateway (G1)."""
    assert trio_threads() == []
    yield
    assert trio_threads() == []


@pytest.fixture(autouse=True)
def no_kernel_is_left(request: pytest.FixtureRequest) -> Iterator[None]:
    """A test's kernels are gone when it ends (G2)."""
    used = [request.getfixturevalue(name) for name in ("real_gateway", "fake_gateway", "either") if name in request.fixturenames]
    before = [kernel_ids(gateway) for gateway in used]
    yield
    assert [kernel_ids(gateway) - there for gateway, there in zip(used, before, strict=True)] == [set() for _ in used]


@pytest.fixture(scope="session")
def fake_gateway() -> Iterator[ListeningFake]:
    """A fake gateway that listens on loopback, in a thread with a Trio of its own: in real time, for the faces know no other."""
    started = threading.Event()
    found: list[ListeningFake] = []
    stop: list[Callable[[], None]] = []

    async def serve() -> None:
        with trio.CancelScope() as scope:
            token = trio.lowlevel.current_trio_token()
            stop.append(lambda: token.run_sync_soon(scope.cancel))
            async with (
                FakeGateway(restarter_seconds=0.1, iopub_msg_rate_limit=0, iopub_data_rate_limit=0) as fake,
                fake.listen() as url,
            ):
                found.append(ListeningFake(url, fake.token))
                started.set()
                await trio.sleep_forever()

    def run() -> None:
        try:
            trio.run(serve)
        finally:
            started.set()

    thread = threading.Thread(target=run, name="fake_gateway")
    thread.start()
    started.wait()
    try:
        yield found[0]
    finally:
        stop[0]()
        thread.join()


@pytest.fixture(scope="module")
def kernel_id(fake_gateway: ListeningFake) -> Iterator[str]:
    """A kernel of the fake's, for those tests of a module that only run code in it."""
    found = rest(fake_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    yield found
    rest(fake_gateway, "DELETE", f"/api/kernels/{found}")


@pytest.fixture(scope="module")
def real_kernel_id(real_gateway: RunningGateway) -> Iterator[str]:
    """The same on the real gateway."""
    found = rest(real_gateway, "POST", "/api/kernels", {"name": "python3", "env": {}})["id"]
    yield found
    rest(real_gateway, "DELETE", f"/api/kernels/{found}")


@pytest.fixture
def configured(real_gateway: RunningGateway, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of configuration: which gateway."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", real_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", real_gateway.token)
