"""What code in a kernel produces, as values: typed outputs and the result of one execution.

The one idea: an output is an immutable value that a notebook file could hold; `to_nbformat()` gives nbformat's
dictionary of it. How messages become outputs, and which outputs replace which, is `_protocol.execution`'s business.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from ._errors import ExecutionError

__all__ = [
    "ClearOutput",
    "DisplayData",
    "Error",
    "ExecuteResult",
    "ExecutionResult",
    "Output",
    "OutputGap",
    "ShownOutput",
    "Stream",
    "UpdateDisplayData",
    "as_terminal_text",
]


@attrs.frozen
class Stream:
    """Text that the code wrote to its standard output or standard error.

    Its form is the message `stream` of Jupyter's messaging specification. Consecutive texts of one name are merged in
    `ExecutionResult.outputs`; `Kernel.stream` gives them as they arrive. That may be a part of a line: ipykernel sends
    by a timer of its own, also between what `print` writes and the end of its line.
    """

    name: Literal["stdout", "stderr"]
    """Which of the two streams."""
    text: str
    """The text, control characters included."""

    def to_nbformat(self) -> dict[str, Any]:
        """Return nbformat's dictionary of this output (`output_type` is `"stream"`)."""
        return {"output_type": "stream", "name": self.name, "text": self.text}


@attrs.frozen
class DisplayData:
    """Rich output: one thing to show, in one or more MIME types (the message `display_data`)."""

    data: Mapping[str, Any]
    """MIME type to content: text, base64 text of binary data, or a JSON value."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """Hints on how to show it, by MIME type or in general."""
    display_id: str | None = None
    """A name under which later output may update this one, if the code gave one."""
    buffers: tuple[memoryview, ...] = ()
    """Binary buffers that came with the message; nbformat has no place for them."""

    def to_nbformat(self) -> dict[str, Any]:
        """Return nbformat's dictionary of this output (`output_type` is `"display_data"`)."""
        return {"output_type": "display_data", "data": dict(self.data), "metadata": dict(self.metadata)}


@attrs.frozen
class UpdateDisplayData:
    """New content for each output that was displayed under `display_id` (the message `update_display_data`).

    Only streams give it; in `ExecutionResult.outputs` it has been applied already. An update of something that an
    earlier execution displayed is for the caller to apply, as a notebook does.
    """

    data: Mapping[str, Any]
    """The new content, by MIME type."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """The new metadata."""
    display_id: str | None = None
    """Which outputs to update."""
    buffers: tuple[memoryview, ...] = ()
    """Binary buffers that came with the message."""


@attrs.frozen
class ExecuteResult:
    """The value of the code's last expression (the message `execute_result`)."""

    execution_count: int | None
    """The number in the prompt `Out[n]`."""
    data: Mapping[str, Any]
    """MIME type to content."""
    metadata: Mapping[str, Any] = attrs.field(factory=dict)
    """Hints on how to show it."""
    display_id: str | None = None
    """A name under which later output may update this one, if the code gave one."""
    buffers: tuple[memoryview, ...] = ()
    """Binary buffers that came with the message."""

    def to_nbformat(self) -> dict[str, Any]:
        """Return nbformat's dictionary of this output (`output_type` is `"execute_result"`)."""
        return {
            "output_type": "execute_result",
            "execution_count": self.execution_count,
            "data": dict(self.data),
            "metadata": dict(self.metadata),
        }


@attrs.frozen
class Error:
    """The code raised an exception (the message `error`). A value, not an exception: see `ExecutionResult.raise_for_error`."""

    ename: str
    """The exception's class name."""
    evalue: str
    """The exception's text."""
    traceback: tuple[str, ...] = ()
    """The kernel's formatted traceback, often with ANSI colours."""

    def to_nbformat(self) -> dict[str, Any]:
        """Return nbformat's dictionary of this output (`output_type` is `"error"`)."""
        return {"output_type": "error", "ename": self.ename, "evalue": self.evalue, "traceback": list(self.traceback)}


@attrs.frozen
class ClearOutput:
    """The code asked to clear what it had shown so far (the message `clear_output`). Only streams give it."""

    wait: bool = False
    """True: clear when the next output comes, so that nothing flickers."""


Output: TypeAlias = Stream | DisplayData | UpdateDisplayData | ExecuteResult | Error | ClearOutput
"""Everything that `Kernel.stream` can give."""

ShownOutput: TypeAlias = Stream | DisplayData | ExecuteResult | Error
"""What remains in a result: each has `to_nbformat()`."""


@attrs.frozen
class OutputGap:
    """A reason why an execution's output is not whole (guarantee G5)."""

    kind: Literal["lost", "rate_limited", "reconnected", "overflow"]
    """`"lost"`: messages may be missing, counted by the kernel's own numbers; `"rate_limited"`: the gateway says that it
    dropped output; `"reconnected"`: the connection broke meanwhile and nothing can be counted; `"overflow"`: the
    subscriber's own bound was reached."""
    count: int | None = None
    """How many messages are missing at most: a kernel may have used some of the numbers for what it never sent, and some may be
    of a request that was lost with them. None where nothing is known of how many."""
    detail: str = ""
    """More about it, for people."""


@attrs.frozen
class ExecutionResult:
    """What came of one execution: its outputs, the kernel's reply, and what is known to be missing."""

    status: Literal["ok", "error", "aborted"]
    """`"aborted"`: the kernel skipped the request, because one before it failed."""
    outputs: tuple[ShownOutput, ...]
    """The outputs as a notebook would show them at the end: cleared ones gone, updated ones updated, texts merged."""
    reply: Mapping[str, Any]
    """The content of the kernel's `execute_reply`, with `user_expressions` and `payload` where it has them."""
    execution_count: int | None = None
    """The number in the prompt `In [n]`."""
    output_gaps: tuple[OutputGap, ...] = ()
    """Why the output is not whole; empty when it is."""

    @property
    def text(self) -> str:
        """What a terminal would show: both streams in order, then each rich output's `text/plain` on a line of its own.

        Carriage returns and backspaces are applied to streams as a terminal would. Errors are not in it: see `error`.
        """
        pieces: list[str] = []
        for run in _runs(self.outputs):
            piece = as_terminal_text(run) if isinstance(run, str) else _plain(run)
            if not piece:
                continue
            if pieces and not pieces[-1].endswith("\n"):
                pieces.append("\n")
            pieces.append(piece)
        return "".join(pieces)

    @property
    def error(self) -> Error | None:
        """The exception that the code raised, or None."""
        for output in reversed(self.outputs):
            if isinstance(output, Error):
                return output
        if self.status == "error":
            lines = self.reply.get("traceback")
            traceback = tuple(map(str, lines)) if isinstance(lines, (list, tuple)) else ()
            return Error(str(self.reply.get("ename") or ""), str(self.reply.get("evalue") or ""), traceback)
        return None

    def raise_for_error(self) -> ExecutionResult:
        """Return this result if the code ended well.

        Raises:
            ExecutionError: the code raised an exception, or was aborted because an earlier one had failed.
        """
        if self.status == "ok":
            return self
        error = self.error
        if error is None:
            raise ExecutionError("Aborted", "the kernel skipped this request, because one before it failed")
        raise ExecutionError(error.ename, error.evalue, error.traceback)

    def to_nbformat(self) -> list[dict[str, Any]]:
        """Return the outputs as nbformat's list of dictionaries, fit for a code cell's `outputs`."""
        return [output.to_nbformat() for output in self.outputs]


def _runs(outputs: Sequence[ShownOutput]) -> Iterator[str | DisplayData | ExecuteResult]:
    """Give consecutive streams as one text, whatever their names: a terminal has one cursor for both."""
    texts: list[str] = []
    for output in outputs:
        if isinstance(output, Stream):
            texts.append(output.text)
        elif isinstance(output, (DisplayData, ExecuteResult)):
            if texts:
                yield "".join(texts)
                texts = []
            yield output
    if texts:
        yield "".join(texts)


def _plain(output: DisplayData | ExecuteResult) -> str:
    plain = output.data.get("text/plain")
    if plain is None:
        return ""
    return "".join(map(str, plain)) if isinstance(plain, list) else str(plain)


def as_terminal_text(text: str) -> str:
    r"""Apply carriage returns and backspaces the way a terminal does: `"10%\r20%"` is `"20%"`, `"abc\rX"` is `"Xbc"`."""
    if "\r" not in text and "\b" not in text:
        return text
    return "\n".join([_overtype(line) for line in text.split("\n")])


def _overtype(line: str) -> str:
    if "\b" not in line:
        # From the last part back: each shows only what is longer than all that was written over it. Linear in the line.
        shown: list[str] = []
        width = 0
        for part in reversed(line.split("\r")):
            if len(part) > width:
                shown.append(part[width:])
                width = len(part)
        return "".join(shown)
    cells: list[str] = []
    cursor = 0
    for character in line:
        if character == "\r":
            cursor = 0
        elif character == "\b":
            cursor = max(cursor - 1, 0)
        else:
            cells[cursor : cursor + 1] = character
            cursor += 1
    return "".join(cells)
