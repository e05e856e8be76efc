"""What clients are measured against, each in a process of its own on a core of its own."""

from __future__ import annotations

import json
import os
import select
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
PATIENCE = 60.0
"""How long a server may take to come up or to go, in seconds."""


@dataclass(frozen=True)
class Server:
    """A server that runs."""

    url: str
    legacy_url: str = ""
    """The same for the legacy framing only; empty where there is no such thing."""

    def end_kernels(self) -> None:
        """Shut down what a client has left."""
        with urllib.request.urlopen(f"{self.url}/api/kernels", timeout=PATIENCE) as answer:
            models = json.load(answer)
        for model in models:
            request = urllib.request.Request(f"{self.url}/api/kernels/{model['id']}", method="DELETE")
            with urllib.request.urlopen(request, timeout=PATIENCE):
                pass


@contextmanager
def _process(command: list[str], cpu: int | None, log: Path) -> Generator[subprocess.Popen[str]]:
    """Run a server, in a group of processes that ends with it."""
    pinned = ["taskset", "-c", str(cpu), *command] if cpu is not None and sys.platform == "linux" else command
    with log.open("w") as errors:
        process = subprocess.Popen(
            pinned,
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,
        )
    try:
        yield process
    finally:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.close()
        process.terminate()
        try:
            process.wait(PATIENCE)
        finally:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait(PATIENCE)
            process.stdout.close()


@contextmanager
def fast_gateway(python: Path, cpu: int | None = None) -> Generator[Server]:
    """Run the gateway of `fast_gateway.py`.

    Args:
        python: an interpreter, best one that has uvloop.
        cpu: the core to pin it to.
    """
    with tempfile.TemporaryDirectory(prefix="trio-gateway-bench-") as folder:
        log = Path(folder, "log")
        with _process([str(python), "-m", "benchmarks.servers.fast_gateway"], cpu, log) as process:
            assert process.stdout is not None
            ready, _, _ = select.select([process.stdout], [], [], PATIENCE)
            line = process.stdout.readline() if ready else ""
            if not line:
                raise RuntimeError(f"the fast gateway did not start: {log.read_text()[-2000:]}")
            told = json.loads(line)
            yield Server(told["url"], told["legacy_url"])
            if process.poll() is not None:
                raise RuntimeError(f"the fast gateway ended: {log.read_text()[-2000:]}")


@contextmanager
def real_gateway(python: Path, cpu: int | None = None, *, limited: bool = False) -> Generator[Server]:
    """Run a Kernel Gateway without rate limits, and without a token: some peers send none.

    Args:
        python: an interpreter with jupyter_kernel_gateway and ipykernel.
        cpu: the core to pin it and its kernels to.
        limited: leave it the rate limits with which it comes.
    """
    with tempfile.TemporaryDirectory(prefix="trio-gateway-bench-") as folder:
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        log = Path(folder, "log")
        command = [
            str(python),
            "-m",
            "kernel_gateway",
            "--KernelGatewayApp.ip=127.0.0.1",
            f"--KernelGatewayApp.port={port}",
            "--KernelGatewayApp.port_retries=0",
            "--JupyterWebsocketPersonality.list_kernels=True",
        ]
        if not limited:
            command += [f"--ZMQChannelsWebsocketConnection.iopub_{what}_rate_limit=0" for what in ("msg", "data")]
        with _process(command, cpu, log) as process:
            url = f"http://127.0.0.1:{port}"
            deadline = time.perf_counter() + PATIENCE
            while not _answers(url):
                if process.poll() is not None or time.perf_counter() > deadline:
                    raise RuntimeError(f"the Kernel Gateway did not start: {log.read_text()[-2000:]}")
                time.sleep(0.1)
            yield Server(url)


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/api", timeout=5):
            return True
    except (urllib.error.URLError, OSError):
        return False
