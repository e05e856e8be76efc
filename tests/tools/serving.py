"""Servers of others that tests run: each a real process on loopback, on a port that nobody else is given, gone with its block."""

from __future__ import annotations

import os
import socket
import subprocess
from collections.abc import Callable, Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import attrs
import psutil

from tools.ports import held_port

__all__ = ["Server", "serve"]

LOOK_AFTER = 0.05
"""How often to look whether a server listens, in seconds: it can't tell us."""
PATIENCE = 120.0
"""How long it may take to listen, in seconds."""
GOODBYE = 20.0
"""How long it may take to end, in seconds."""


@attrs.frozen
class Server:
    """A server that runs on loopback."""

    url: str
    token: str = attrs.field(repr=False)
    log: Path
    process: subprocess.Popen[bytes] = attrs.field(repr=False)


@contextmanager
def serve(
    command: Callable[[int], Sequence[str]],
    folder: Path,
    *,
    token: str = "",
    env: Mapping[str, str] | None = None,
    without: tuple[str, ...] = ("JUPYTER", "KERNEL_"),
) -> Generator[Server]:
    """Run a server for the block; when it begins, the server listens.

    Args:
        command: gives the command for a port.
        folder: its own folder: its home, its working directory, its log.
        token: what it wants to be shown.
        env: variables to add to this process's.
        without: how the names of variables begin that it does not inherit.
    """
    kept = {name: value for name, value in os.environ.items() if not name.startswith(without)}
    places = {"HOME": str(folder), "JUPYTER_RUNTIME_DIR": str(folder / "runtime"), "JUPYTER_CONFIG_DIR": str(folder / "config")}
    log = folder / "log"
    with held_port() as port, log.open("wb") as file:
        process = subprocess.Popen(
            command(port), cwd=folder, env={**kept, **places, **(env or {})}, stdin=subprocess.DEVNULL, stdout=file, stderr=file,
            start_new_session=True,
        )  # fmt: skip
        try:
            _wait_until_it_listens(process, port, log)
            yield Server(f"http://127.0.0.1:{port}", token, log, process)
        finally:
            _end(process)


def _wait_until_it_listens(process: subprocess.Popen[bytes], port: int, log: Path) -> None:
    for _ in range(round(PATIENCE / LOOK_AFTER)):
        with suppress(OSError), socket.create_connection(("127.0.0.1", port)):
            return
        with suppress(subprocess.TimeoutExpired):
            status = process.wait(LOOK_AFTER)
            raise AssertionError(f"it ended with status {status}; its log:\n{log.read_text()}")
    raise AssertionError(f"it does not listen; its log:\n{log.read_text()}")


def _end(process: subprocess.Popen[bytes]) -> None:
    """End a server, politely, then not, and what it has started."""
    family: list[psutil.Process] = []
    with suppress(psutil.Error):
        family = psutil.Process(process.pid).children(recursive=True)
    try:
        process.terminate()
        with suppress(subprocess.TimeoutExpired):
            process.wait(GOODBYE)
    finally:
        process.kill()
        process.wait()
        for child in family:
            with suppress(psutil.Error):
                child.kill()
        psutil.wait_procs(family, GOODBYE)
