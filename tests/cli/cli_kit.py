"""What the tests of the command use: it as a process, notebooks, and a kernel that is faked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import attrs
import pytest
import trio

import trio_gateway.testing
from suite.environment import TELLING
from tools.notebook_tools import FakeKernel

from .in_process import run


@attrs.frozen
class Done:
    """A command that has ended."""

    code: int
    out: str
    err: str


@attrs.define
class Running:
    """A command that runs."""

    process: trio.Process
    seen: bytes = b""

    async def read_until(self, text: str, *, stream: str = "stdout") -> None:
        """Read one of its streams until this text has come."""
        source = self.process.stdout if stream == "stdout" else self.process.stderr
        assert source is not None
        wanted = text.encode()
        while wanted not in self.seen:
            data = await source.receive_some()
            assert data, f"ended before it said {text!r}; it said {self.seen!r}"
            self.seen += data
        self.seen = b""

    async def wait(self) -> Done:
        """Read what is left, and return when it has ended."""
        parts: dict[str, bytes] = {}

        async def read(name: str, source: Any) -> None:
            with contextlib.suppress(trio.ClosedResourceError):
                parts[name] = b"".join([data async for data in source])

        async with trio.open_nursery() as nursery:
            nursery.start_soon(read, "out", self.process.stdout)
            nursery.start_soon(read, "err", self.process.stderr)
        code = await self.process.wait()
        return Done(code, parts.get("out", b"").decode(), parts.get("err", b"").decode())


@attrs.frozen
class Cli:
    """Runs the command."""

    environment: Mapping[str, str]
    cwd: Path

    async def run(self, *arguments: str | Path, stdin: str = "", **environment: str) -> Done:
        """Run it to its end."""
        done = await trio.run_process(
            [sys.executable, "-m", "trio_gateway_command", *map(str, arguments)],
            stdin=stdin.encode(),
            capture_stdout=True,
            capture_stderr=True,
            check=False,
            cwd=self.cwd,
            env={**self.environment, **environment},
        )
        return Done(done.returncode, done.stdout.decode(), done.stderr.decode())

    @asynccontextmanager
    async def start(self, *arguments: str | Path, **environment: str) -> AsyncGenerator[Running]:
        """Start it; it is killed if it still runs at the block's end."""
        process = await trio.lowlevel.open_process(
            [sys.executable, "-m", "trio_gateway_command", *map(str, arguments)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.cwd,
            env={**self.environment, **environment},
        )
        try:
            yield Running(process)
        finally:
            if process.returncode is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
                for stream in (process.stdout, process.stderr):
                    assert stream is not None
                    await stream.aclose()


@attrs.frozen
class CliHere:
    """Runs the command in this process, without the half second that another one takes to begin."""

    environment: Mapping[str, str]
    cwd: Path
    _monkeypatch: pytest.MonkeyPatch
    _capture: pytest.CaptureFixture[str]

    def run(self, *arguments: str | Path, **environment: str) -> Done:
        """Run it to its end."""
        with self._monkeypatch.context() as patch:
            for name in [name for name in os.environ if name.startswith(TELLING)]:
                patch.delenv(name)
            for name, value in {**self.environment, **environment}.items():
                patch.setenv(name, value)
            patch.chdir(self.cwd)
            self._capture.readouterr()
            return Done(run(*arguments), *self._capture.readouterr())


@attrs.frozen
class ServedFake:
    """A fake gateway on loopback, in another thread, and the command with it configured."""

    fake: trio_gateway.testing.FakeGateway
    url: str
    token: trio.lowlevel.TrioToken
    cli: CliHere

    @property
    def asked(self) -> list[str]:
        """The requests that it got: method and path."""
        return [f"{request.method} {request.path}" for request in self.fake.requests]


@attrs.frozen
class ServedHub:
    """A fake JupyterHub on loopback, in another thread, and the command with its token."""

    hub: trio_gateway.testing.FakeHub
    token: trio.lowlevel.TrioToken
    cli: CliHere

    def run_server(self) -> None:
        """Have the first user's server run."""
        trio.from_thread.run(self.hub.run_server, trio_token=self.token)


def clean_environment() -> dict[str, str]:
    """Return this process's variables without those that change what the command does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TELLING)}
    return {**kept, "PYTHONUTF8": "1", "TERM": "xterm-256color"}


class FakeGateway:
    """A gateway whose kernels are this one, and others like it; or one that raises when it is asked for one."""

    def __init__(self, kernel: FakeKernel | Exception) -> None:
        self._kernel = kernel
        self.started: list[tuple[str | None, Any]] = []

    @asynccontextmanager
    async def start_kernel(self, name: str | None, *, cwd: Any = None) -> AsyncGenerator[FakeKernel]:
        await trio.lowlevel.checkpoint()
        self.started.append((name, cwd))
        if isinstance(self._kernel, Exception):
            raise self._kernel
        yield self._kernel if len(self.started) == 1 else self._kernel.another()


WAIT = "import threading; threading.Event().wait()"


def cells_of(path: Path) -> list[Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return list(notebook["cells"])
