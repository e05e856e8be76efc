"""A Jupyter Server, or JupyterLab, whose kernels run on a gateway through the library: a real process, for tests."""

from __future__ import annotations

import os
import secrets
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import attrs
import pytest

if TYPE_CHECKING:
    from conftest import RunningGateway

__all__ = ["Server", "open_server"]

MODULE = "trio_gateway.jupyter.server"


@attrs.frozen
class Server:
    """A Jupyter Server that runs."""

    url: str
    token: str = attrs.field(repr=False)


@contextmanager
def open_server(gateway: RunningGateway, folder: Path, program: str = "jupyter_server", **more: object) -> Iterator[Server]:
    """Run a Jupyter Server whose kernels are on a gateway. It has none of its own, and knows no JUPYTER_GATEWAY_URL.

    Args:
        gateway: the gateway.
        folder: its home and its documents.
        program: the module to run.
        **more: options, with `_` for the dot.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    token = secrets.token_hex(16)
    options: dict[str, object] = {
        "ServerApp.kernel_manager_class": f"{MODULE}.GatewayMappingKernelManager",
        "ServerApp.kernel_spec_manager_class": f"{MODULE}.GatewayKernelSpecManager",
        "ServerApp.session_manager_class": f"{MODULE}.GatewaySessionManager",
        "ServerApp.kernel_websocket_connection_class": f"{MODULE}.GatewayWebSocketConnection",
        "GatewayMappingKernelManager.url": gateway.url,
        "GatewayMappingKernelManager.auth_token": gateway.token,
        "IdentityProvider.token": token,
        "ServerApp.ip": "127.0.0.1",
        "ServerApp.port": port,
        "ServerApp.port_retries": 0,
        "ServerApp.open_browser": False,
        "ServerApp.root_dir": str(folder),
        "ServerApp.allow_root": True,
        **{name.replace("_", ".", 1): value for name, value in more.items()},
    }
    command = [sys.executable, "-W", "ignore", "-m", program, *[f"--{name}={value}" for name, value in options.items()]]
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER", "KERNEL"))}
    with subprocess.Popen(command, cwd=folder, env={**kept, "HOME": str(folder)}, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        said: list[str] = []
        for line in process.stderr:
            said.append(line)
            if "is running at" in line:
                break
        else:
            pytest.fail("".join(said))
        rest_of_it = threading.Thread(target=said.extend, args=(process.stderr,))
        rest_of_it.start()
        try:
            yield Server(f"http://127.0.0.1:{port}", token)
        finally:
            process.terminate()
            status = process.wait(30)
            rest_of_it.join()
    assert status == 0, "".join(said)
    assert "Traceback" not in "".join(said), "".join(said)
