"""What code in a kernel produces, as values: typed outputs and the result of one execution.

The one idea: an output is an immutable value that a notebook file could hold; `to_nbformat()` gives nbformat's
dictionary of it. How messages become outputs, and which outputs replace which, is `_protocol.execution`'s business.
"""

from __future__ import annotations

import base64
import binascii
import html
import reprlib
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Literal, TypeAlias

import attrs

from ._errors import ExecutionError, InvalidInputError
from ._values import as_file_bundle, as_lines, as_text

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


_SHOWN = 60  # characters of a text that a repr shows
_BASE64 = ("image/", "audio/", "video/", "font/", "application/pdf", "application/octet-stream", "application/zip")
_TEXT = ("image/svg+xml",)  # an image that is text


def _short(value: object) -> str:
    """Describe a value in one short line: its first characters, and its size where there are more."""
    if not isinstance(value, str):
        return reprlib.repr(value)
    shown = repr(value[:_SHOWN])
    return shown if len(value) <= _SHOWN else f"<{shown}… {len(value):,} characters>"


def _short_bundle(data: Mapping[str, Any]) -> str:
    """Describe a MIME bundle: text types with their first characters, the others with their size."""
    pieces = []
    for mime, value in data.items():
        if _is_base64(mime) and isinstance(value, str):
            pieces.append(f"{mime!r}: <{len(value) * 3 // 4:,} bytes>")
        else:
            pieces.append(f"{mime!r}: {_short(value)}")
    return f"{{{', '.join(pieces)}}}"


def _is_base64(mime: str) -> bool:
    """Whether Jupyter carries this type as base64 (its messaging specification: binary data in a MIME bundle)."""
    return mime.startswith(_BASE64) and mime not in _TEXT


def _described(name: str, *pieces: object, **others: object) -> str:
    """Put a repr together; what has its usual value, which is falsy, is left out."""
    shown = [str(piece) for piece in pieces] + [f"{key}={value}" for key, value in others.items() if value]
    return f"{name}({', '.join(shown)})"


class _Bundle:
    """What all outputs with a MIME bundle can do."""

    __slots__ = ()

    data: Mapping[str, Any]
    metadata: Mapping[str, Any]

    def text_of(self, mime: str) -> str:
        """Return the text of one type, such as `"text/html"`; of a type that is binary, its base64.

        A list of lines, as some kernels send, is joined.

        Raises:
            InvalidInputError: this output has no such type, or its content is no text; the error names the types that there are.
        """
        value = self._content(mime)
        if isinstance(value, list):
            value = as_text(value)
        if not isinstance(value, str):
            raise InvalidInputError("mime", mime, f"a type whose content is text, and this one's is {type(value).__name__}")
        return value

    def bytes_of(self, mime: str) -> bytes:
        """Return the content of one type as bytes: an image as its file would hold it, a text as UTF-8.

        Kernels send binary types (images but SVG, audio, video, PDF) as base64; this decodes it.

        Raises:
            InvalidInputError: this output has no such type, or its content is neither text nor base64; the error names the types
                that there are.
        """
        text = self.text_of(mime)
        if not _is_base64(mime):
            return text.encode("utf-8", "surrogatepass")
        try:
            return base64.b64decode("".join(text.split()), validate=True)
        except (binascii.Error, ValueError):
            raise InvalidInputError("mime", mime, "a type whose content is base64; this output's is not") from None

    def _content(self, mime: str) -> object:
        if mime not in self.data:
            there = ", ".join(map(repr, self.data)) or "none"
            raise InvalidInputError("mime", mime, f"one of the types of this output: {there}")
        return self.data[mime]

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002
        """Show this output in a notebook as what it is (IPython's protocol)."""
        return dict(self.data), dict(self.metadata)


@attrs.frozen(repr=False)
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

    def __repr__(self) -> str:
        return _described("Stream", repr(self.name), _short(self.text))

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002
        """Show this output in a notebook as what it is (IPython's protocol)."""
        return {"text/plain": as_terminal_text(self.text)}


@attrs.frozen(repr=False)
class DisplayData(_Bundle):
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
        return {"output_type": "display_data", "data": as_file_bundle(self.data), "metadata": dict(self.metadata)}

    def __repr__(self) -> str:
        return _described("DisplayData", _short_bundle(self.data), **_rest(self))


@attrs.frozen(repr=False)
class UpdateDisplayData(_Bundle):
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

    def to_nbformat(self) -> dict[str, Any]:
        """Return a dictionary as for the other outputs (`output_type` is `"update_display_data"`), with the display id.

        It is JSON, and no output of a notebook file: there the outputs that it updates are changed.
        """
        return {
            "output_type": "update_display_data",
            "data": as_file_bundle(self.data),
            "metadata": dict(self.metadata),
            "transient": {} if self.display_id is None else {"display_id": self.display_id},
        }

    def __repr__(self) -> str:
        return _described("UpdateDisplayData", _short_bundle(self.data), **_rest(self))


@attrs.frozen(repr=False)
class ExecuteResult(_Bundle):
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
            "data": as_file_bundle(self.data),
            "metadata": dict(self.metadata),
        }

    def __repr__(self) -> str:
        return _described("ExecuteResult", self.execution_count, _short_bundle(self.data), **_rest(self))


def _rest(output: DisplayData | UpdateDisplayData | ExecuteResult) -> dict[str, object]:
    """Return what a repr says of an output beside its data."""
    return {
        "metadata": _short(output.metadata) if output.metadata else "",
        "display_id": "" if output.display_id is None else _short(output.display_id),
        "buffers": f"<{len(output.buffers)}, {sum(buffer.nbytes for buffer in output.buffers):,} bytes>"
        if output.buffers
        else "",
    }


@attrs.frozen(repr=False)
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

    def __repr__(self) -> str:
        lines = f"<{len(self.traceback)} lines>" if self.traceback else ""
        return _described("Error", _short(self.ename), _short(self.evalue), traceback=lines)

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, Any]:  # noqa: ARG002
        """Show this output in a notebook as what it is (IPython's protocol)."""
        return {"text/plain": "\n".join(self.traceback) or f"{self.ename}: {self.evalue}"}


@attrs.frozen
class ClearOutput:
    """The code asked to clear what it had shown so far (the message `clear_output`). Only streams give it."""

    wait: bool = False
    """True: clear when the next output comes, so that nothing flickers."""

    def to_nbformat(self) -> dict[str, Any]:
        """Return a dictionary as for the other outputs (`output_type` is `"clear_output"`).

        It is JSON, and no output of a notebook file: there the outputs before it are gone.
        """
        return {"output_type": "clear_output", "wait": self.wait}


Output: TypeAlias = Stream | DisplayData | UpdateDisplayData | ExecuteResult | Error | ClearOutput
"""Everything that `Kernel.stream` can give. Each has `to_nbformat()`, which gives JSON."""

ShownOutput: TypeAlias = Stream | DisplayData | ExecuteResult | Error
"""What remains in a result, and what a notebook file can hold: each has `to_nbformat()`."""


@attrs.frozen
class OutputGap:
    """A reason why an execution's output is not whole (guarantee G5)."""

    kind: Literal["lost", "rate_limited", "reconnected", "overflow"]
    """`"lost"`: messages may be missing, counted by the kernel's own numbers; `"rate_limited"`: the gateway says that it
    dropped output; `"reconnected"`: the connection broke meanwhile and nothing can be counted; `"overflow"`: a bound of
    our own was reached, the subscriber's or `max_message_size`."""
    count: int | None = None
    """How many messages are missing at most: a kernel may have used some of the numbers for what it never sent, and some may be
    of a request that was lost with them. None where nothing is known of how many."""
    detail: str = ""
    """More about it, for people."""


@attrs.frozen(repr=False)
class ExecutionResult:
    """What came of one execution: its outputs, the kernel's reply, and what is known to be missing.

    The short ways to what is mostly looked for::

        result.text                      # all of it, as a terminal would show it
        result.stdout, result.stderr     # what the code printed
        result.data["text/plain"]        # the value of its last expression, by MIME type
        result.bytes_of("image/png")     # a plot, as its file would hold it
    """

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
    def stdout(self) -> str:
        """What the code wrote to its standard output, control characters included."""
        return self._written("stdout")

    @property
    def stderr(self) -> str:
        """What the code wrote to its standard error, control characters included."""
        return self._written("stderr")

    def _written(self, name: str) -> str:
        return "".join([output.text for output in self.outputs if isinstance(output, Stream) and output.name == name])

    @property
    def data(self) -> Mapping[str, Any]:
        """The value of the code's last expression, by MIME type; empty where it had none, or showed nothing of it."""
        for output in reversed(self.outputs):
            if isinstance(output, ExecuteResult):
                return output.data
        return {}

    def text_of(self, mime: str) -> str:
        """Return the text of the last output that has this type, as the output's `text_of` does.

        Raises:
            InvalidInputError: no output has it, or its content is no text; the error names the types that there are.
        """
        return self._last_with(mime).text_of(mime)

    def bytes_of(self, mime: str) -> bytes:
        """Return the content of the last output that has this type as bytes, such as a plot's `"image/png"`.

        Raises:
            InvalidInputError: no output has it, or its content is neither text nor base64; the error names the types that there
                are.
        """
        return self._last_with(mime).bytes_of(mime)

    def _last_with(self, mime: str) -> DisplayData | ExecuteResult:
        there: dict[str, None] = {}
        for output in reversed(self.outputs):
            if isinstance(output, (DisplayData, ExecuteResult)):
                if mime in output.data:
                    return output
                there |= dict.fromkeys(output.data)
        raise InvalidInputError("mime", mime, f"a type that an output has: {', '.join(map(repr, there)) or 'there is none'}")

    @property
    def error(self) -> Error | None:
        """The exception that the code raised, or None."""
        for output in reversed(self.outputs):
            if isinstance(output, Error):
                return output
        if self.status == "error":
            reply = self.reply
            return Error(as_text(reply.get("ename")), as_text(reply.get("evalue")), as_lines(reply.get("traceback")))
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

    def __repr__(self) -> str:
        shown = [repr(output) for output in self.outputs[:3]] + ["…"] * (len(self.outputs) > 3)
        return _described(
            "ExecutionResult",
            repr(self.status),
            f"<{len(self.outputs)} outputs: {', '.join(shown)}>" if shown else "<no output>",
            execution_count=self.execution_count,
            output_gaps=self.output_gaps,
        )

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> tuple[dict[str, Any], dict[str, Any]]:  # noqa: ARG002
        """Show the outputs in a notebook as what they are (IPython's protocol): one as itself, several one below the other."""
        if len(self.outputs) == 1 and isinstance(self.outputs[0], _Bundle):
            return self.outputs[0]._repr_mimebundle_()
        error = "" if self.error is None else "\n".join(self.error.traceback) or f"{self.error.ename}: {self.error.evalue}"
        plain = "\n".join(piece for piece in (self.text, error) if piece)
        if not any(isinstance(output, _Bundle) and output.data.keys() - {"text/plain"} for output in self.outputs):
            return {"text/plain": plain}, {}
        return {"text/plain": plain, "text/html": "\n".join(map(_as_html, self.outputs))}, {}


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


def _as_html(output: ShownOutput) -> str:
    """Return one output as a piece of a page: its HTML or image if it has one, else its text."""
    if isinstance(output, (DisplayData, ExecuteResult)):
        makers: Mapping[str, Callable[[str], str]] = {
            "text/html": str,
            "image/svg+xml": str,
            "image/png": lambda text: f'<img src="data:image/png;base64,{html.escape("".join(text.split()))}">',
            "image/jpeg": lambda text: f'<img src="data:image/jpeg;base64,{html.escape("".join(text.split()))}">',
        }
        for mime, make in makers.items():
            if isinstance(output.data.get(mime), (str, list)):
                return make(output.text_of(mime))
    bundle = {"text/plain": _plain(output)} if isinstance(output, (DisplayData, ExecuteResult)) else output._repr_mimebundle_()
    return f"<pre>{html.escape(str(bundle['text/plain']))}</pre>"


def _plain(output: DisplayData | ExecuteResult) -> str:
    return as_text(output.data.get("text/plain"))


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
