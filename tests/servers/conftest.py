"""Servers other than the Kernel Gateway of the ordinary tests: an Enterprise Gateway, and nginx in front of two gateways.

Each is real. What can't be had on a machine is skipped, with a word on how to have it.
"""

from __future__ import annotations

import os
import secrets
import shutil
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import attrs
import pytest
import trio

import trio_gateway

REPOSITORY = Path(__file__).resolve().parents[2]
ENTERPRISE = "jupyter_enterprise_gateway==3.3.0"


@attrs.frozen
class Server:
    """A server that runs on loopback for the session."""

    url: str
    token: str = attrs.field(repr=False)
    pid: int
    log: Path


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_until_it_answers(server: Server, process: subprocess.Popen[bytes]) -> None:
    """Wait until the server answers when asked for its kernelspecs, or fail with its log."""

    async def ask() -> None:
        async with trio_gateway.open_gateway(server.url, auth_token=server.token, max_request_retries=0) as gateway:
            with trio.fail_after(90):
                while True:
                    assert process.poll() is None, server.log.read_text()
                    try:
                        await gateway.kernelspecs.list()
                    except trio_gateway.GatewayConnectionError:
                        await trio.sleep(0.1)  # it can't tell us when it listens
                    except trio_gateway.GatewayHTTPError as error:
                        if error.status_code == 404:
                            return  # it has no kernelspecs
                        raise
                    else:
                        return

    trio.run(ask)


def end(process: subprocess.Popen[bytes]) -> None:
    """End a process of ours."""
    process.terminate()
    try:
        process.wait(20)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait(20)


@pytest.fixture(scope="session")
def enterprise_python() -> Path:
    """The python of an environment with Enterprise Gateway 3.3; made once, beside the project, and kept.

    It pins an old jupyter_server, so it can't live where Kernel Gateway does, and it needs Python 3.11.
    """
    environment = Path(os.environ.get("TRIO_GATEWAY_ENTERPRISE_ENV", REPOSITORY / ".venv-enterprise"))
    python = environment / "bin" / "python"
    marker = environment / "complete"
    if not marker.exists():
        base = sys.executable if sys.version_info[:2] == (3, 11) else shutil.which("python3.11")
        if base is None:
            pytest.skip("Enterprise Gateway 3.3 needs Python 3.11: put python3.11 on the PATH")
        subprocess.run([base, "-m", "venv", "--clear", str(environment)], check=True)
        install = [str(python), "-m", "pip", "install", "--quiet", "--disable-pip-version-check", ENTERPRISE, "ipykernel<7"]
        done = subprocess.run(install, capture_output=True, text=True, check=False)
        if done.returncode:
            pytest.skip(f"{ENTERPRISE} can't be installed here; pip says: {done.stderr[-500:]}")
        marker.write_text(ENTERPRISE)
    return python


@pytest.fixture(scope="session")
def enterprise_gateway(enterprise_python: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A real Enterprise Gateway 3.3 with local kernels."""
    folder = tmp_path_factory.mktemp("enterprise")
    server = Server(f"http://127.0.0.1:{free_port()}", secrets.token_hex(16), 0, folder / "log")
    environ = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER_", "KERNEL_", "EG_", "PYTHON"))}
    environ |= {
        "EG_AUTH_TOKEN": server.token,
        "EG_LIST_KERNELS": "True",
        "EG_PORT_RETRIES": "0",
        "JUPYTER_RUNTIME_DIR": str(folder / "runtime"),
        "PATH": f"{enterprise_python.parent}{os.pathsep}{environ['PATH']}",
    }
    command = [str(enterprise_python.parent / "jupyter-enterprisegateway"), "--ip=127.0.0.1", f"--port={server.url[17:]}"]
    with server.log.open("wb") as log:
        process = subprocess.Popen(command, env=environ, stdout=log, stderr=log, start_new_session=True, cwd=folder)
    try:
        server = attrs.evolve(server, pid=process.pid)
        wait_until_it_answers(server, process)
        yield server
    finally:
        end(process)


@pytest.fixture(scope="session")
def nginx() -> str:
    """The nginx program; installed from the distribution's packages where this user may."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if found is None and os.geteuid() == 0 and shutil.which("apt-get"):
        subprocess.run(["apt-get", "update", "-qq"], check=False, capture_output=True)
        subprocess.run(["apt-get", "install", "-y", "-qq", "nginx-light"], check=False, capture_output=True)
        found = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin")
    if found is None:
        pytest.skip("nginx is not here: install it, on Debian with `apt-get install nginx-light`")
    return found
