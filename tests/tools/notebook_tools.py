"""Notebooks, and a kernel that is faked without a gateway, for tests of what runs notebooks."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat.v4
import trio

from trio_gateway import Error, ExecutionResult, Output, OutputGap

__all__ = ["FakeKernel", "Threads", "notebook_of", "texts_of", "write_notebook"]


class Threads:
    """What stands for threads, which a virtual clock does not wait for: each call is made here and takes so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def run_sync(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with trio.CancelScope(shield=True):  # a thread can't be cancelled
            await trio.sleep(self.seconds)
        return function(*arguments)


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

    def receive_ready(self) -> list[Output]:
        return []

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
    async def subscribe(self, **_options: Any) -> AsyncGenerator[FakeChannel]:
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
        self.id, self.name = "kernel-id", "python3"
        self.iopub, self.shell = FakeChannel(), FakeChannel()
        self.on_leaving: Callable[[], object] = lambda: None

    async def kernel_info(self) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"language_info": {"name": "fake"}}

    async def ask_spec(self) -> None:
        await trio.lowlevel.checkpoint()

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
