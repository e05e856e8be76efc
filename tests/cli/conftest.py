"""The command as a process of its own on the gateway that the session's tests share, and its parts with a fake kernel."""

from __future__ import annotations

import os
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from cli_kit import Cli, FakeGateway, FakeKernel, clean_environment


@pytest.fixture
def cli(real_gateway: Any, tmp_path: Path) -> Iterator[Cli]:
    """The command with the shared gateway configured. No kernel may be left on it in the end."""
    environment = {
        **clean_environment(),
        "JUPYTER_GATEWAY_URL": real_gateway.url,
        "JUPYTER_GATEWAY_AUTH_TOKEN": real_gateway.token,
    }
    yield Cli(environment, tmp_path)
    assert real_gateway.kernel_processes() == []


@pytest.fixture
def bare_cli(tmp_path: Path) -> Cli:
    """The command with no gateway configured."""
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
