"""What a scripted kernel works with: one execution, its code, and what can come of it.

The one idea: a script is a function of a `Cell`. What it returns or yields is published, or it calls the cell's methods; so a
one-line lambda, a generator and an async function that talks to its user are all scripts.
"""

from __future__ import annotations

import inspect
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from functools import partial
from typing import Any, TypeAlias, cast

import attrs
import trio

from .._outputs import ClearOutput, DisplayData, Error, ExecuteResult, Output, Stream, UpdateDisplayData
from .._protocol.messages import Buffer, Message
from ._comm import Publisher

__all__ = ["Ask", "Cell", "CellError", "Crash", "CrashedError", "Interrupted", "Script", "Sleep", "run_script"]


@attrs.frozen
class Sleep:
    """Yield it from a script: the kernel is busy for so long, and an interrupt ends it."""

    seconds: float
    """How long, in seconds."""


@attrs.frozen
class Ask:
    """Yield it from a script: ask the user for input; the `yield` gives the answer."""

    prompt: str = ""
    """What to ask."""
    password: bool = False
    """Whether the answer must not be shown."""


@attrs.frozen
class Crash:
    """Return or yield it from a script: the kernel's process ends at once, without a word."""


class Interrupted(Exception):
    """The kernel was interrupted while a script waited. Let it out: it becomes the error that a real kernel gives."""


class CrashedError(Exception):
    """The kernel's process has just ended. Raised by `Cell.crash`; let it out."""


class CellError(Exception):
    """The code of a cell fails with this error, as if it had raised it.

    Args:
        ename: the class's name.
        evalue: the error's text.
        traceback: the traceback's lines.
    """

    def __init__(self, ename: str, evalue: str = "", traceback: Sequence[str] = ()) -> None:
        super().__init__(ename, evalue)
        self.ename = ename
        self.evalue = evalue
        self.traceback: list[str] = list(traceback) or [f"{ename}: {evalue}"]


class Cell:
    """One execution in a kernel of the fake. A script gets it.

    The methods publish at once, as a kernel does; only `sleep` and `input` wait.
    """

    def __init__(
        self,
        publisher: Publisher,
        request: Message,
        execution_count: int,
        *,
        silent: bool,
        ask: Callable[[str, bool], object],
    ) -> None:
        self._publisher = publisher
        self._ask = ask
        self._request = request
        self._interrupt: Callable[[], object] | None = None
        self._answers: list[str] = []
        self._answered = trio.Event()
        content = request.content
        self.code: str = str(content.get("code", ""))
        self.msg_id: str = request.msg_id
        self.execution_count: int = execution_count
        self.silent: bool = silent
        self.allow_stdin: bool = bool(content.get("allow_stdin"))
        self.ignores_interrupts: bool = False
        self.payload: list[Mapping[str, Any]] = []

    def publish(
        self,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        """Publish any message on iopub, with this execution as its parent.

        Args:
            msg_type: its type.
            content: its content.
            metadata: its metadata.
            buffers: its binary buffers.
        """
        if self.silent and msg_type in {"stream", "display_data", "update_display_data", "execute_result", "clear_output"}:
            return
        self._publisher.publish(msg_type, content, self._request, metadata=metadata, buffers=buffers)

    def stdout(self, text: str) -> None:
        """Publish text on stdout."""
        self.publish("stream", {"name": "stdout", "text": text})

    def stderr(self, text: str) -> None:
        """Publish text on stderr."""
        self.publish("stream", {"name": "stderr", "text": text})

    def display(
        self,
        data: Mapping[str, Any] | str,
        *,
        display_id: str | None = None,
        update: bool = False,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        """Publish rich output.

        Args:
            data: by MIME type; a text is `text/plain`.
            display_id: a name by which it can be updated.
            update: update what has this name, instead.
            buffers: its binary buffers.
        """
        content = {"data": _bundle(data), "metadata": {}, "transient": {} if display_id is None else {"display_id": display_id}}
        self.publish("update_display_data" if update else "display_data", content, buffers=buffers)

    def clear_output(self, *, wait: bool = False) -> None:
        """Clear the output so far; if `wait`, when the next output comes."""
        self.publish("clear_output", {"wait": wait})

    def result(self, data: Mapping[str, Any] | str) -> None:
        """Publish the value of the code, by MIME type; a text is `text/plain`."""
        self.publish("execute_result", {"execution_count": self.execution_count, "data": _bundle(data), "metadata": {}})

    def output(self, output: Output) -> None:
        """Publish one of the library's output values, such as `Stream("stdout", "hello")`.

        Raises:
            CellError: it is an `Error`: the code fails with it.
        """
        match output:
            case Stream():
                self.publish("stream", {"name": output.name, "text": output.text})
            case ExecuteResult():
                self.publish(
                    "execute_result",
                    {
                        "execution_count": output.execution_count or self.execution_count,
                        "data": dict(output.data),
                        "metadata": dict(output.metadata),
                    },
                    buffers=output.buffers,
                )
            case DisplayData() | UpdateDisplayData():
                kind = "display_data" if isinstance(output, DisplayData) else "update_display_data"
                transient = {} if output.display_id is None else {"display_id": output.display_id}
                content = {"data": dict(output.data), "metadata": dict(output.metadata), "transient": transient}
                self.publish(kind, content, buffers=output.buffers)
            case ClearOutput():
                self.clear_output(wait=output.wait)
            case Error():
                raise CellError(output.ename, output.evalue, output.traceback)

    async def sleep(self, seconds: float) -> None:
        """Be busy for so many seconds of Trio's clock; `math.inf` for ever.

        Raises:
            Interrupted: the kernel was interrupted.
        """
        await self.wait(partial(trio.sleep, seconds))

    async def input(self, prompt: str = "", *, password: bool = False) -> str:
        """Ask the client that sent the code for input, and return it.

        Raises:
            CellError: the request does not allow it.
            Interrupted: the kernel was interrupted.
        """
        if not self.allow_stdin:
            raise CellError(
                "StdinNotImplementedError", "raw_input was called, but this frontend does not support input requests."
            )
        self._answered = trio.Event()
        self._ask(prompt, password)
        await self.wait(self._answered.wait)
        return self._answers.pop(0)

    def crash(self) -> None:
        """End the kernel's process, as a crash does.

        Raises:
            CrashedError: always; let it out.
        """
        raise CrashedError

    async def wait(self, wait: Callable[[], Awaitable[object]]) -> None:
        """Wait for anything, until the kernel is interrupted.

        Args:
            wait: an async function without arguments.

        Raises:
            Interrupted: the kernel was interrupted.
        """
        before = self._interrupt
        with trio.CancelScope() as scope:
            self._interrupt = scope.cancel
            try:
                await wait()
                return
            finally:
                self._interrupt = before
        raise Interrupted

    def interrupt(self) -> bool:
        """Interrupt it; say whether it takes interrupts."""
        if self.ignores_interrupts:
            return False
        if self._interrupt is not None:
            self._interrupt()
        return True

    def answer(self, value: str) -> None:
        """Take the user's answer."""
        self._answers.append(value)
        self._answered.set()


Script: TypeAlias = Callable[[Cell], object]
"""What runs the code of a scripted kernel: a plain function, a generator, an async function, or an async generator.

What it returns or yields is published: a text or a mapping by MIME type is the code's value, an output value of the library is
that output, None is nothing; `Sleep`, `Ask` and `Crash` do what they say. Raising `CellError` makes the code fail; any other
exception does too, with its own name and text.
"""


async def run_script(script: Script, cell: Cell) -> None:
    """Run a script to its end.

    Raises:
        Interrupted: the kernel was interrupted.
        CrashedError: the kernel crashes.
        Exception: what the script raised.
    """
    made = script(cell)
    if inspect.isasyncgen(made):
        await cell.wait(lambda: _run_async_generator(cast("AsyncIterator[object]", made), cell))
    elif inspect.isgenerator(made):
        await _run_generator(made, cell)
    elif inspect.isawaitable(made):
        found: list[object] = []

        async def run() -> None:
            found.append(await made)

        await cell.wait(run)
        await _take(found[0], cell)
    elif isinstance(made, Iterator):
        for item in made:
            await _take(item, cell)
    else:
        await _take(made, cell)


async def _run_async_generator(made: AsyncIterator[object], cell: Cell) -> None:
    async for item in made:
        await _take(item, cell)


async def _run_generator(made: Any, cell: Cell) -> None:
    answer: object = None
    try:
        while True:
            item = made.send(answer)
            try:
                answer = await _take(item, cell)
            except Interrupted as error:
                # As in a real kernel, code may catch it and go on.
                answer = await _take(made.throw(error), cell)
    except StopIteration as stop:
        await _take(stop.value, cell)
    finally:
        made.close()


async def _take(item: object, cell: Cell) -> object:
    """Do what a script said."""
    match item:
        case None:
            pass
        case str() | Mapping():
            cell.result(item)
        case Sleep():
            await cell.sleep(item.seconds)
        case Ask():
            return await cell.input(item.prompt, password=item.password)
        case Crash():
            raise CrashedError
        case list() | tuple():
            for each in item:
                await _take(each, cell)
        case Stream() | DisplayData() | UpdateDisplayData() | ExecuteResult() | ClearOutput() | Error():
            cell.output(item)
        case _:
            raise TypeError(f"a script gave {item!r}, which is no output")
    return None


def _bundle(data: Mapping[str, Any] | str) -> dict[str, Any]:
    return {"text/plain": data} if isinstance(data, str) else dict(data)
