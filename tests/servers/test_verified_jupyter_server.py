"""The fake is verified against a Jupyter Server, which Kernel Gateway brings along."""

from __future__ import annotations

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from servers.verified import differences, outcomes_of_the_fake, play
from tools.serving import Server, serve
from trio_gateway import GatewayConfig, open_gateway

pytestmark = [pytest.mark.gateway, pytest.mark.full, pytest.mark.timeout(900)]

JUPYTER_SERVER = {"bearer token": "yes"}


@pytest.fixture
def jupyter_server(tmp_path: Path) -> Iterator[Server]:
    token = secrets.token_hex(16)

    def command(port: int) -> list[str]:
        options = {
            "ServerApp.ip": "127.0.0.1", "ServerApp.port": port, "ServerApp.port_retries": 0, "ServerApp.root_dir": tmp_path,
            "ServerApp.open_browser": False, "ServerApp.allow_root": True, "IdentityProvider.token": token,
        }  # fmt: skip
        return [sys.executable, "-W", "ignore", "-m", "jupyter_server", *[f"--{name}={value}" for name, value in options.items()]]

    with serve(command, tmp_path, token=token) as server:
        yield server


def test_jupyter_server(jupyter_server: Server) -> None:
    real = trio.run(play, GatewayConfig(url=jupyter_server.url, auth_token=jupyter_server.token))
    assert differences(real, outcomes_of_the_fake()) == JUPYTER_SERVER


async def test_it_starts_kernels_with_variables_that_only_an_enterprise_gateway_does_not_take(jupyter_server: Server) -> None:
    """It drops all of them, as it does `env` as a whole."""
    async with (
        open_gateway(jupyter_server.url, auth_token=jupyter_server.token) as gateway,
        gateway.start_kernel(env={"KERNEL_X": "a $b\n`c`" + "x" * 5000}) as kernel,
    ):
        assert (await kernel.execute("import os; 'KERNEL_X' in os.environ")).text == "False"
