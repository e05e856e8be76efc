"""The command, as a process or in this one, on the gateway that the session's tests share; its parts with a fake kernel."""

from __future__ import annotations

import os
import queue
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
import trio

import trio_gateway.testing
from proxy.conftest import behind  # noqa: F401 - for the tests of the proxy's command
from tools.notebook_tools import FakeKernel

from .cli_kit import Cli, CliHere, FakeGateway, ServedFake, ServedHub, clean_environment


@pytest.fixture
def configured(real_gateway: Any) -> Iterator[dict[str, str]]:
    """The variables that name the shared gateway. No kernel may be left on it in the end."""
    before = set(real_gateway.kernel_processes())
    yield {"JUPYTER_GATEWAY_URL": real_gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": real_gateway.token}
    assert set(real_gateway.kernel_processes()) - before == set()


@pytest.fixture
def cli(configured: dict[str, str], tmp_path: Path) -> Cli:
    """The command with the shared gateway configured, as a process."""
    return Cli({**clean_environment(), **configured}, tmp_path)


@pytest.fixture
def cli_here(
    configured: dict[str, str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> CliHere:
    """The command with the shared gateway configured, in this process."""
    return CliHere(configured, tmp_path, monkeypatch, capfd)


@pytest.fixture
def bare_cli_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> CliHere:
    """The command with no gateway configured, in this process."""
    return CliHere({}, tmp_path, monkeypatch, capfd)


@pytest.fixture
def bare_cli(tmp_path: Path) -> Cli:
    """The command with no gateway configured, as a process."""
    return Cli(clean_environment(), tmp_path)


@pytest.fixture
def fake_gateway(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Put a fake in the place of the local gateway that the command starts: `fake_gateway(kernel)`."""
    for name in list(os.environ):
        if name.startswith("JUPYTER_GATEWAY_"):
            monkeypatch.delenv(name)

    def install(kernel: FakeKernel | Exception) -> FakeGateway:
        gateway = FakeGateway(kernel)

        @asynccontextmanager
        async def open_local_gateway() -> AsyncGenerator[FakeGateway]:
            yield gateway

        monkeypatch.setattr("trio_gateway.open_local_gateway", open_local_gateway)
        return gateway

    return install


@pytest.fixture
def served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> Iterator[Callable[..., ServedFake]]:
    """Serve a fake gateway on loopback, for commands in this process; it lives in another thread."""
    with ExitStack() as stack:

        def serve(script: Any = None, **traits: Any) -> ServedFake:
            fake = trio_gateway.testing.FakeGateway(script, **traits)
            url, token = stack.enter_context(_serving(fake))
            environment = {"JUPYTER_GATEWAY_URL": url, "JUPYTER_GATEWAY_AUTH_TOKEN": fake.token}
            return ServedFake(fake, url, token, CliHere(environment, tmp_path, monkeypatch, capfd))

        yield serve


@contextmanager
def _serving(
    fake: trio_gateway.testing.FakeGateway | trio_gateway.testing.FakeHub,
) -> Iterator[tuple[str, trio.lowlevel.TrioToken]]:
    started: queue.SimpleQueue[Any] = queue.SimpleQueue()

    async def main() -> None:
        async with fake, fake.listen() as url:
            ended = trio.Event()
            started.put((url, trio.lowlevel.current_trio_token(), ended))
            await ended.wait()

    thread = threading.Thread(target=trio.run, args=(main,))
    thread.start()
    url, token, ended = started.get()
    try:
        yield url, token
    finally:
        token.run_sync_soon(ended.set)
        thread.join()


@pytest.fixture
def served_hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> Iterator[ServedHub]:
    """A fake JupyterHub on loopback, in another thread, and the command with its token in the environment."""
    hub = trio_gateway.testing.FakeHub(spawn_seconds=0.2, stop_seconds=0.0)
    with _serving(hub) as (hub.url, token):
        yield ServedHub(hub, token, CliHere({"JUPYTER_GATEWAY_AUTH_TOKEN": hub.token}, tmp_path, monkeypatch, capfd))
