"""How outputs look on standard output and standard error.

The one idea: what the code writes goes to the stream it was written to; only what has no bytes of its own (results, displays,
tracebacks) is given a form here. A terminal gets all of it, control sequences included, as from a local program; a file or a pipe
gets the text without them, for it may be a log. On a terminal `clear_output` and updates of the display that stands last take
effect in place; in a file or pipe nothing can be taken back, so they append.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import attrs
import click

from .._outputs import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    ExecutionResult,
    Output,
    OutputGap,
    Stream,
    UpdateDisplayData,
    as_terminal_text,
)
from .._values import as_plain_json
from .._values import as_text as text_of_value
from .control import ControlFilter
from .exits import printable
from .sinks import Sink

__all__ = ["Renderer", "as_text", "gap_message", "result_as_dict"]

# The forms that a terminal can show, best first.
_TEXTUAL: Final = ("text/plain", "text/markdown", "text/latex")
_MAX_ERASED: Final = 100_000


class Renderer:
    """Writes one execution's outputs, or several one after the other.

    Args:
        out: where standard output goes.
        err: where standard error goes.
        colour: whether tracebacks keep their colours.
        control: whether control sequences pass; None: to a terminal only.
        forced_colour: whether those that set colours pass anyhow, unless none is to pass.
        size: gives the terminal's columns and lines.
    """

    def __init__(
        self,
        out: Sink,
        err: Sink,
        *,
        colour: bool,
        control: bool | None = None,
        forced_colour: bool = False,
        size: Callable[[], tuple[int, int]] = shutil.get_terminal_size,
    ) -> None:
        self._out = out
        self._err = err
        self._colour = colour
        self._filters = {
            sink: ControlFilter(keep_colours=forced_colour and control is None)
            for sink in (out, err)
            if not (sink.is_terminal if control is None else control)
        }
        self._size = size
        self._mid_line: dict[object, bool] = {}
        self._tail = ""
        self._tail_is_known = True
        self._clear_next = False
        self._last_display: tuple[str, str] | None = None
        self._styled = False

    @property
    def uses_terminal(self) -> bool:
        """Whether a person sees any of it."""
        return self._out.is_terminal or self._err.is_terminal

    async def show(self, output: Output) -> None:
        """Write an output.

        Raises:
            OutputClosedError: the reader went away.

        Cancellation: leaves at once; part of the output may have been written.
        """
        if isinstance(output, ClearOutput):
            self._clear_next = True
            if not output.wait:
                await self._clear()
            return
        if self._clear_next:
            await self._clear()
        match output:
            case Stream():
                await self._write(self._err if output.name == "stderr" else self._out, output.text)
            case Error():
                text = "\n".join(output.traceback) or f"{output.ename}: {output.evalue}"
                await self._write_block(self._err, text if self._colour else click.unstyle(text))
            case DisplayData() | ExecuteResult():
                await self._display(as_text(output.data), output.display_id)
            case UpdateDisplayData():
                text = as_text(output.data)
                if self._last_display is not None and self._out.is_terminal and self._last_display[0] == output.display_id:
                    await self._out.write(self._erasure(self._last_display[1]))
                    self._tail = self._tail.removesuffix(self._last_display[1])
                await self._display(text, output.display_id)

    async def prompt(self, text: str) -> None:
        """Show what the code asks, on the terminal.

        Raises:
            OutputClosedError: the reader went away.

        Cancellation: leaves at once.
        """
        if self._clear_next:
            await self._clear()
        sink = self._out if self._out.is_terminal else self._err
        await self._write(sink, text)
        await self._flush(sink)

    async def answered(self, typed: str, *, echoed: bool) -> None:
        """Note what was typed at the prompt, and begin a new line if typing it did not.

        Args:
            typed: what the terminal shows of it.
            echoed: whether it shows the end of the line too.
        """
        if not echoed:
            await self._write(self._out if self._out.is_terminal else self._err, "\n")
            return
        self._tail += typed
        self._last_display = None
        self._mid_line["terminal"] = False

    async def end_line(self) -> None:
        """Begin a new line where the last one is not complete, so that what comes next stands by itself."""
        await self._flush()
        for sink in (self._out, self._err):
            if self._mid_line.get(self._place(sink)):
                await self._write(sink, "\n")
        self._tail, self._tail_is_known = "", True

    async def finish(self) -> None:
        """Write what was held back, and give the terminal back without the colours that the code may have left switched on."""
        await self._flush()
        if self._styled:
            self._styled = False
            await (self._out if self._out.is_terminal else self._err).write("\x1b[0m")

    async def _display(self, text: str, display_id: str | None) -> None:
        await self._write_block(self._out, text)
        self._last_display = None if display_id is None else (display_id, text + "\n")

    async def _write_block(self, sink: Sink, text: str) -> None:
        """Write text on lines of its own."""
        await self._flush(sink)
        start = "\n" if self._mid_line.get(self._place(sink)) else ""
        await self._write(sink, f"{start}{text}\n")

    async def _flush(self, *sinks: Sink) -> None:
        """Write what was held back because its control sequence might go on."""
        for sink in sinks or (self._out, self._err):
            held = self._filters.get(sink)
            if held is not None:
                await self._write_as_it_is(sink, held.flush())

    async def _write(self, sink: Sink, text: str) -> None:
        wanted = self._filters.get(sink)
        await self._write_as_it_is(sink, text if wanted is None else wanted.feed(text))

    async def _write_as_it_is(self, sink: Sink, text: str) -> None:
        if not text:
            return
        self._last_display = None
        self._mid_line[self._place(sink)] = not text.endswith("\n")
        if sink.is_terminal:
            self._styled = self._styled or "\x1b" in text
            self._tail += text
            if len(self._tail) > _MAX_ERASED:
                self._tail, self._tail_is_known = "", False
        await sink.write(text)

    def _place(self, sink: Sink) -> object:
        """What the sink is written on: two sinks on a terminal share its lines."""
        return "terminal" if sink.is_terminal else sink

    async def _clear(self) -> None:
        self._clear_next = False
        self._last_display = None
        if self._out.is_terminal:
            await self._out.write(self._erasure(self._tail))
            self._mid_line["terminal"] = False
            self._tail, self._tail_is_known = "", True

    def _erasure(self, text: str) -> str:
        """Return the control sequence that takes this text, the last on the terminal, away again; or else its last line."""
        from rich.cells import cell_len

        columns, lines = self._size()
        shown = click.unstyle(as_terminal_text(text)).expandtabs()
        rows = sum(max(1, -(-cell_len(line) // columns)) for line in shown.split("\n"))
        # Above the terminal's top nothing can be erased, and what other control characters have done is not known.
        if not self._tail_is_known or rows > lines or "\x1b" in shown:
            return "\r\x1b[K"
        up = f"\x1b[{rows - 1}A" if rows > 1 else ""
        return f"\r{up}\x1b[J"


def as_text(data: Mapping[str, Any]) -> str:
    """Return the form of a MIME bundle that a terminal can show, or else the names of those that it can't."""
    for mime in _TEXTUAL:
        if data.get(mime) is not None:
            return text_of_value(data[mime])
    for mime, value in data.items():
        if mime == "application/json" or mime.endswith("+json"):
            return json.dumps(as_plain_json(value), ensure_ascii=False, indent=2)
    return f"[{', '.join([printable(mime) for mime in data]) or 'nothing'}]"


def gap_message(gaps: Sequence[OutputGap]) -> str:
    """Say what is missing of an output."""
    words = {
        "lost": "messages may have been lost on the way",
        "rate_limited": "the gateway dropped output that came too fast",
        "reconnected": "the connection broke meanwhile, so some may be lost",
        "overflow": "more came than was kept",
    }
    reasons: list[str] = []
    for gap in gaps:
        count = "" if gap.count is None else f"{'at most ' if gap.kind == 'lost' else ''}{gap.count} "
        detail = f" ({gap.detail})" if gap.detail else ""
        reasons.append(f"{count}{words.get(gap.kind, gap.kind)}{detail}")
    return f"the output is not whole: {'; '.join(reasons)}"


def result_as_dict(result: ExecutionResult, outputs: Sequence[Mapping[str, Any]] | None = None) -> dict[str, object]:
    """Return an `ExecutionResult` as JSON has it, for scripts.

    Args:
        result: the result.
        outputs: the outputs, as in a notebook, if the result does not have them.
    """
    return {
        "status": result.status,
        "execution_count": result.execution_count,
        "outputs": result.to_nbformat() if outputs is None else list(outputs),
        "error": None if result.error is None else attrs.asdict(result.error),
        "output_gaps": [attrs.asdict(gap) for gap in result.output_gaps],
    }
