"""What the tests of the command use: it as a process, notebooks, and a kernel that is faked."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import attrs
import nbformat.v4
import pytest
import trio

import trio_gateway.testing
from trio_gateway import Error, ExecutionResult, Output, OutputGap
from trio_gateway._cli.app import run_app


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
            code = run_app([str(argument) for argument in arguments])
            return Done(code, *self._capture.readouterr())


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


TELLING = ("JUPYTER_GATEWAY_", "KERNEL_", "NO_COLOR", "FORCE_COLOR", "COLUMNS", "LINES", "TTY_")
"""How variables begin that change what the command does."""


def clean_environment() -> dict[str, str]:
    """Return this process's variables without those that change what the command does."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(TELLING)}
    return {**kept, "PYTHONUTF8": "1", "TERM": "xterm-256color"}


def notebook_of(*cells: str | tuple[str, list[str]], kernel: str | None = "python3", minor: int = 5) -> Any:
    """Make a notebook of code cells, each its code or a pair of code and tags."""
    nodes = []
    for number, cell in enumerate(cells):
        source, tags = (cell, []) if isinstance(cell, str) else cell
        metadata = {"tags": tags} if tags else {}
        node = nbformat.v4.new_code_cell(source, id=f"cell-{number}", metadata=metadata)
        if minor < 5:
            del node["id"]
        nodes.append(node)
    notebook = nbformat.v4.new_notebook(cells=nodes, nbformat_minor=minor)
    if kernel is not None:
        notebook.metadata["kernelspec"] = {"name": kernel, "display_name": kernel}
    return notebook


def write_notebook(path: Path, *cells: str | tuple[str, list[str]], **traits: Any) -> Path:
    """Write a notebook of code cells, and return its path."""
    path.write_text(nbformat.v4.writes(notebook_of(*cells, **traits)), encoding="utf-8")
    return path


def texts_of(cell: Any) -> list[str]:
    """Return what each of a cell's outputs shows, as text."""
    shown = []
    for output in cell["outputs"]:
        if output["output_type"] == "stream":
            shown.append("".join(output["text"]))
        elif output["output_type"] == "error":
            shown.append(output["ename"])
        else:
            shown.append("".join(output["data"]["text/plain"]))
    return shown


class FakeStream:
    """The outputs of one faked execution."""

    def __init__(self, script: list[Any]) -> None:
        self._script = iter(script)
        self.ended = False
        self._failed = False
        self._count = 1
        self._gaps: tuple[OutputGap, ...] = ()
        self._status = ""
        self._reply: dict[str, Any] = {}

    def __aiter__(self) -> FakeStream:
        return self

    async def __anext__(self) -> Output:
        await trio.lowlevel.checkpoint()
        for step in self._script:
            if isinstance(step, Exception):
                raise step
            if isinstance(step, OutputGap):
                self._gaps += (step,)
            elif isinstance(step, str):
                self._status = step
            elif isinstance(step, dict):
                self._reply = step
            elif callable(step):
                await step()
            else:
                self._failed = self._failed or isinstance(step, Error)
                return step
        self.ended = True
        raise StopAsyncIteration

    given = ("", 0)
    process = ""

    @property
    def result(self) -> ExecutionResult:
        status: Any = self._status or ("error" if self._failed else "ok")
        reply = {"status": status, "ename": "ReplyError", "evalue": "told late", **self._reply}
        return ExecutionResult(status, (), reply, 1, self._gaps)


class FakeChannel:
    """A channel on which nothing comes."""

    @asynccontextmanager
    async def subscribe(self) -> AsyncGenerator[FakeChannel]:
        yield self

    def receive_ready(self, limit: int = 64) -> list[Any]:
        return []

    def statistics(self) -> Any:
        return SimpleNamespace(messages=0, spooled=0)

    async def receive(self) -> Any:
        await trio.lowlevel.checkpoint()
        raise trio.EndOfChannel


class FakeKernel:
    """A kernel that answers each code as its script says.

    A step of a script is an output to give, an exception to raise, an async function to wait for, a gap of the output to report,
    the reply's status as text, or a dictionary of other fields of the reply.
    """

    def __init__(self, scripts: Mapping[str, list[Any]]) -> None:
        self._scripts = scripts
        self.executed: list[str] = []
        self.interrupted: list[str] = []
        self.iopub = FakeChannel()
        self.on_leaving: Callable[[], object] = lambda: None

    async def kernel_info(self) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"language_info": {"name": "fake"}}

    @asynccontextmanager
    async def stream(self, code: str, *, stdin: Any = None) -> AsyncGenerator[FakeStream]:
        self.executed.append(code)
        outputs = FakeStream(self._scripts.get(code, []))
        try:
            yield outputs
        finally:
            self.on_leaving()
            if not outputs.ended:
                self.interrupted.append(code)


class FakeGateway:
    """A gateway with one kernel; or one that raises when it is asked for one."""

    def __init__(self, kernel: FakeKernel | Exception) -> None:
        self._kernel = kernel
        self.started: list[tuple[str | None, Any]] = []

    @asynccontextmanager
    async def start_kernel(self, name: str | None, *, cwd: Any = None) -> AsyncGenerator[FakeKernel]:
        await trio.lowlevel.checkpoint()
        self.started.append((name, cwd))
        if isinstance(self._kernel, Exception):
            raise self._kernel
        yield self._kernel


WAIT = "import threading; threading.Event().wait()"


def cells_of(path: Path) -> list[Any]:
    notebook: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return list(notebook["cells"])
