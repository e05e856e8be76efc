"""Notebooks, and a kernel that is faked without a gateway, for tests of what runs notebooks."""

from __future__ import annotations

import json
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import nbformat.v4
import trio

from trio_gateway import DisplayData, Error, ExecuteResult, ExecutionResult, Output, OutputGap
from trio_gateway._protocol.execution import parse_output
from trio_gateway._protocol.loss import LossAccount, MessageLedger
from trio_gateway._protocol.messages import Message

__all__ = ["FakeKernel", "Threads", "notebook_of", "texts_of", "write_notebook"]


class Threads:
    """What stands for threads, which a virtual clock does not wait for: each call is made here and takes so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def run_sync(self, function: Callable[..., Any], *arguments: Any, limiter: trio.CapacityLimiter | None = None) -> Any:
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

    def __init__(self, script: list[Any], channel: FakeChannel, request: str) -> None:
        self._script = iter(script)
        self._channel = channel
        self.request_id = request
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
                self._channel.publish(step, self.request_id)
                return step
        self.ended = True
        raise StopAsyncIteration

    process = "kernel"

    def read(self, message: Message) -> Output | None:
        return parse_output(message)

    async def run_out(self) -> None:
        async for _ in self:
            pass

    def told_end(self) -> None:
        return None

    @property
    def result(self) -> ExecutionResult:
        status: Any = self._status or ("error" if self._failed else "ok")
        reply = {"status": status, "ename": "ReplyError", "evalue": "told late", **self._reply}
        return ExecutionResult(status, (), reply, 1, self._gaps)


class FakeChannel:
    """A channel with one reader."""

    def __init__(self) -> None:
        self._messages: list[Message] = []
        self._received = 0
        self._parked = trio.lowlevel.ParkingLot()

    def publish(self, output: Output, request: str) -> None:
        content = output.to_nbformat()
        kind = content.pop("output_type")
        if isinstance(output, (DisplayData, ExecuteResult)) and output.display_id is not None:
            content["transient"] = {"display_id": output.display_id}
        header, parent = {"msg_id": "", "msg_type": kind, "session": "kernel"}, {"msg_id": request, "msg_type": "execute_request"}
        parts = [json.dumps(part).encode() for part in (header, parent)]
        message = Message.from_wire("iopub", *parts, b"{}", b"no JSON", (), 0)
        message._content = content  # also what no JSON can hold
        self._messages.append(message)
        self._received += 1
        self._parked.unpark()

    @asynccontextmanager
    async def subscribe(self, **_options: Any) -> AsyncGenerator[FakeChannel]:
        self._messages, self._received = [], 0
        yield self

    def receive_ready(self, limit: int = 64) -> list[Message]:
        ready, self._messages = self._messages[:limit], self._messages[limit:]
        return ready

    def statistics(self) -> Any:
        return SimpleNamespace(messages=len(self._messages), spooled=0, received=self._received)

    async def receive(self) -> Message:
        await trio.lowlevel.checkpoint_if_cancelled()
        while not self._messages:
            await self._parked.park()
        return self._messages.pop(0)


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

    def another(self) -> FakeKernel:
        """Return another kernel with this one's script, whose code is noted where this one's is."""
        other = FakeKernel(self._scripts)
        other.executed, other.interrupted, other.on_leaving = self.executed, self.interrupted, self.on_leaving
        return other

    async def kernel_info(self) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"language_info": {"name": "fake"}}

    async def comm_info(self, target_name: str) -> Mapping[str, Any]:
        await trio.lowlevel.checkpoint()
        return {"comms": {}}

    def account_for_losses(self) -> LossAccount:
        return LossAccount(MessageLedger())

    async def ask_spec(self) -> None:
        await trio.lowlevel.checkpoint()

    @asynccontextmanager
    async def stream(self, code: str, *, stdin: Any = None) -> AsyncGenerator[FakeStream]:
        self.executed.append(code)
        outputs = FakeStream(self._scripts.get(code, []), self.iopub, f"request {len(self.executed)}")
        try:
            yield outputs
        finally:
            self.on_leaving()
            if not outputs.ended:
                self.interrupted.append(code)
