"""A Jupyter Server, or JupyterLab, whose kernels run on a gateway through the library: a real process, for tests."""

from __future__ import annotations

import json
import secrets
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Protocol

from tools.serving import Server, serve

__all__ = ["ask", "open_server"]

MODULE = "trio_gateway.jupyter.server"


class Reachable(Protocol):
    """A gateway, real or not."""

    @property
    def url(self) -> str: ...
    @property
    def token(self) -> str: ...


@contextmanager
def open_server(
    gateway: Reachable,
    folder: Path,
    program: str = "jupyter_server",
    *,
    env: Mapping[str, str] | None = None,
    **more: object,
) -> Iterator[Server]:
    """Run a Jupyter Server whose kernels are on a gateway. It has none of its own, and knows no JUPYTER_GATEWAY_URL.

    Args:
        gateway: the gateway.
        folder: its home and its documents.
        program: the module to run.
        env: variables to add to this process's, for the server's own environment.
        **more: options, with `_` for the dot.
    """
    token = secrets.token_hex(16)

    def command(port: int) -> list[str]:
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
        return [sys.executable, "-W", "ignore", "-m", program, *[f"--{name}={value}" for name, value in options.items()]]

    with serve(command, folder, token=token, env=env) as server:
        yield server
    said = server.log.read_text()
    assert server.process.returncode == 0, said
    assert "Traceback" not in said, said


def ask(server: Server, method: str, path: str, body: object = None) -> tuple[int, Any]:
    """Ask the server by HTTP; give the status and what came."""
    request = urllib.request.Request(
        server.url + path,
        method=method,
        data=None if body is None else json.dumps(body).encode(),
        headers={"Authorization": f"token {server.token}"},
    )
    try:
        with urllib.request.urlopen(request, timeout=250) as answer:
            content = answer.read()
            return answer.status, json.loads(content) if "json" in (answer.headers["Content-Type"] or "") else content
    except urllib.error.HTTPError as error:
        return error.code, error.read()
