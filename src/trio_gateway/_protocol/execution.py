"""One execution, from its request to its end, as a pure state machine; and the output area that its outputs fill.

The one idea: messages go in, outputs and a state come out. An execution has ended when both halves of the kernel's
answer are there, in whichever order they come: the `execute_reply` on shell, and `status: idle` on iopub, which is the
last thing the kernel publishes for a request. Nothing here waits, sends or looks at a clock.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import TYPE_CHECKING, Annotated, Any, Final, Literal

import attrs
import msgspec

from .._errors import ProtocolError
from .._outputs import (
    ClearOutput,
    DisplayData,
    Error,
    ExecuteResult,
    ExecutionResult,
    Output,
    OutputGap,
    ShownOutput,
    Stream,
    UpdateDisplayData,
)
from .._values import as_count
from .contents import FIELDS, execution_state, read
from .messages import Buffer, Message

__all__ = ["OUTPUT_TYPES", "Execution", "ExecutionState", "OutputArea", "may_be_rate_notice", "parse_output"]

MAX_GAPS: Final = 100
"""How many different reasons are remembered why an output is not whole."""
_CONTAINER_BYTES: Final = 64
"""What an empty list or object takes that is three bytes of JSON."""

# The server's own notices, made in its rate limiter (jupyter_server, services/kernels/connection/channels.py).
_RATE_NOTICES: Final = ("IOPub message rate exceeded.", "IOPub data rate exceeded.")


# The contents of well-formed outputs, which are read in one go. Whatever differs is read field by field: see `contents`.
class _StreamContent(msgspec.Struct, gc=False):
    name: str
    text: str


class _Transient(msgspec.Struct, gc=False):
    display_id: str | None = None


class _DisplayContent(msgspec.Struct, gc=False):
    data: dict[str, Any]
    metadata: dict[str, Any]
    transient: _Transient = msgspec.field(default_factory=_Transient)


class _ResultContent(_DisplayContent, kw_only=True, gc=False):
    execution_count: Annotated[int, msgspec.Meta(ge=0, lt=2**53)]


class _ErrorContent(msgspec.Struct, gc=False):
    ename: str
    evalue: str
    traceback: tuple[str, ...]


_decode_stream = msgspec.json.Decoder(_StreamContent).decode
_decode_display = msgspec.json.Decoder(_DisplayContent).decode
_decode_result = msgspec.json.Decoder(_ResultContent).decode
_decode_error = msgspec.json.Decoder(_ErrorContent).decode
_UNFIT: Final = (msgspec.MsgspecError, UnicodeError, RecursionError)
"""What they raise where a content is not so."""
_WITH_BUNDLE: Final = (DisplayData, UpdateDisplayData, ExecuteResult)


def parse_output(message: Message) -> Output | None:
    """Make a typed output of an iopub message; None if the message is no output (a status, an echo of the input, a comm).

    Fields that are missing or of another type are read as what they can be: kernels in the field are sloppy, and an output with
    a hole is worth more than an error.

    Raises:
        ProtocolError: the content is not a JSON object.
    """
    kind = message.header.msg_type
    read_well_formed = _readers.get(kind)
    if read_well_formed is not None:
        try:
            return read_well_formed(message)
        except _UNFIT:
            pass
    make = _makers.get(kind)
    return None if make is None else make(read(message), message.buffers)


def may_be_rate_notice(message: Message) -> bool:
    """Whether a stream may be a gateway's notice that it drops output, by its first bytes. Code may print the same words."""
    return b"rate exceeded." in bytes(message.content_raw[:200])


def _holds_more_than_text(output: DisplayData | UpdateDisplayData | ExecuteResult) -> bool:
    if output.metadata:
        return True
    for value in output.data.values():  # noqa: SIM110 - a generator costs more than the loop
        if not isinstance(value, str):
            return True
    return False


def _count_containers(raw: Buffer) -> int:
    """Return about how many lists and objects JSON has; those in texts count too."""
    data = bytes(raw)
    return data.count(b"[") + data.count(b"{")


def _read_stream(message: Message) -> Output:
    content = _decode_stream(message.content_raw)
    return Stream("stderr" if content.name == "stderr" else "stdout", content.text)


def _read_display_data(message: Message) -> Output:
    content = _decode_display(message.content_raw)
    return DisplayData(content.data, content.metadata, content.transient.display_id, message.buffers)


def _read_update_display_data(message: Message) -> Output:
    content = _decode_display(message.content_raw)
    return UpdateDisplayData(content.data, content.metadata, content.transient.display_id, message.buffers)


def _read_execute_result(message: Message) -> Output:
    content = _decode_result(message.content_raw)
    return ExecuteResult(content.execution_count, content.data, content.metadata, content.transient.display_id, message.buffers)


def _read_error(message: Message) -> Output:
    content = _decode_error(message.content_raw)
    return Error(content.ename, content.evalue, content.traceback)


_readers: Final = {
    "stream": _read_stream,
    "display_data": _read_display_data,
    "update_display_data": _read_update_display_data,
    "execute_result": _read_execute_result,
    "error": _read_error,
}


def _stream(content: Mapping[str, Any], _buffers: tuple[memoryview, ...]) -> Output:
    return Stream(content["name"], content["text"])


def _display_data(content: Mapping[str, Any], buffers: tuple[memoryview, ...]) -> Output:
    return DisplayData(content["data"], content["metadata"], content["transient"].get("display_id"), buffers)


def _update_display_data(content: Mapping[str, Any], buffers: tuple[memoryview, ...]) -> Output:
    return UpdateDisplayData(content["data"], content["metadata"], content["transient"].get("display_id"), buffers)


def _execute_result(content: Mapping[str, Any], buffers: tuple[memoryview, ...]) -> Output:
    display_id = content["transient"].get("display_id")
    return ExecuteResult(content["execution_count"], content["data"], content["metadata"], display_id, buffers)


def _error(content: Mapping[str, Any], _buffers: tuple[memoryview, ...]) -> Output:
    return Error(content["ename"], content["evalue"], tuple(content["traceback"]))


def _clear_output(content: Mapping[str, Any], _buffers: tuple[memoryview, ...]) -> Output:
    return ClearOutput(content["wait"])


_makers: Final = {
    "stream": _stream,
    "display_data": _display_data,
    "update_display_data": _update_display_data,
    "execute_result": _execute_result,
    "error": _error,
    "clear_output": _clear_output,
}


@attrs.define
class _StreamRun:
    """Consecutive texts of one name, kept in pieces so that 20,000 small ones cost no quadratic copying."""

    name: Literal["stdout", "stderr"]
    pieces: list[str]

    def joined(self) -> str:
        """Return the whole text; from now on it is one piece, so that it is in memory once, also while somebody holds it."""
        self.pieces = ["".join(self.pieces)]
        return self.pieces[0]


OUTPUT_TYPES: Final = frozenset(_makers)
"""The message types that are outputs of code."""


class OutputArea:
    """What a notebook shows below a cell, fed with outputs in order.

    Consecutive streams of one name become one; `clear_output` clears, at once or when the next output comes; an update
    replaces each output of its `display_id` where it stands.
    """

    __slots__ = ("_clear_next", "_items", "_places", "_updates")

    def __init__(self) -> None:
        self._items: list[_StreamRun | DisplayData | ExecuteResult | Error] = []
        self._clear_next = False
        self._places: dict[str, list[int]] = {}  # where the outputs of each display_id stand
        # The last update of each display_id that is not put in yet, and how many of its outputs there were when it came. To put
        # each in at once would cost, for many updates of many outputs, the square of their number.
        self._updates: dict[str, tuple[UpdateDisplayData, int]] = {}

    def feed(self, output: Output) -> bool:
        """Take the next output; say whether anything that is shown may have changed."""
        if isinstance(output, Stream):
            self.append(output.name, output.text)
            return True
        if isinstance(output, ClearOutput):
            if output.wait:
                self._clear_next = True
                return False
            self._clear()
            return True
        if isinstance(output, UpdateDisplayData):
            return self._update(output)
        if self._clear_next:
            self._clear()
            self._clear_next = False
        if isinstance(output, (DisplayData, ExecuteResult)) and output.display_id is not None:
            self._places.setdefault(output.display_id, []).append(len(self._items))
        self._items.append(output)
        return True

    def _clear(self) -> None:
        self._items.clear()
        self._places.clear()
        self._updates.clear()

    def append(self, name: Literal["stdout", "stderr"], text: str) -> None:
        """Take the text of the next output, which is a stream's: put it at the end, into the run of its name if there is one."""
        if self._clear_next:
            self._clear()
            self._clear_next = False
        last = self._items[-1] if self._items else None
        if isinstance(last, _StreamRun) and last.name == name:
            last.pieces.append(text)
        else:
            self._items.append(_StreamRun(name, [text]))

    def _update(self, update: UpdateDisplayData) -> bool:
        if update.display_id is None or update.display_id not in self._places:
            return False
        self._updates[update.display_id] = (update, len(self._places[update.display_id]))
        return True

    def _put_in(self) -> None:
        """Put the updates in."""
        for display_id, (update, count) in self._updates.items():
            for index in self._places[display_id][:count]:
                item = self._items[index]
                assert isinstance(item, (DisplayData, ExecuteResult))
                self._items[index] = attrs.evolve(item, data=update.data, metadata=update.metadata, buffers=update.buffers)
        self._updates.clear()

    @property
    def outputs(self) -> tuple[ShownOutput, ...]:
        """What is shown now."""
        self._put_in()
        return tuple([Stream(item.name, item.joined()) if isinstance(item, _StreamRun) else item for item in self._items])


class ExecutionState(enum.Enum):
    """How far an execution has come."""

    REQUESTED = "requested"
    """The request was made; nothing of it was seen yet. It may still wait in the kernel's queue."""
    RUNNING = "running"
    """The kernel said `busy` for it."""
    REPLIED = "replied"
    """The reply is there; output may still come."""
    IDLE = "idle"
    """The kernel said `idle` for it; the reply is still to come."""
    DONE = "done"
    """Reply and `idle` are there, or one of them was given up."""

    if not TYPE_CHECKING:  # which takes it for another method than the one it stands for
        __hash__ = object.__hash__  # in C: each is there once


# (state, event) -> state; a pair that is not here leaves the state as it is. The docs draw this table.
TRANSITIONS: Final[Mapping[tuple[ExecutionState, str], ExecutionState]] = {
    (ExecutionState.REQUESTED, "busy"): ExecutionState.RUNNING,
    (ExecutionState.REQUESTED, "output"): ExecutionState.RUNNING,
    (ExecutionState.REQUESTED, "reply"): ExecutionState.REPLIED,
    (ExecutionState.REQUESTED, "idle"): ExecutionState.IDLE,
    (ExecutionState.RUNNING, "reply"): ExecutionState.REPLIED,
    (ExecutionState.RUNNING, "idle"): ExecutionState.IDLE,
    (ExecutionState.REPLIED, "idle"): ExecutionState.DONE,
    (ExecutionState.REPLIED, "idle_given_up"): ExecutionState.DONE,
    (ExecutionState.IDLE, "reply"): ExecutionState.DONE,
    (ExecutionState.IDLE, "reply_given_up"): ExecutionState.DONE,
}


class Execution:
    """The state of one `execute_request`.

    Args:
        keep: whether to collect outputs for the result.
        limit_bytes: how many bytes of outputs to collect at most; more is dropped, and counted in an `"overflow"` gap.
    """

    __slots__ = (
        "_area",
        "_dropped",
        "_gaps",
        "_raised",
        "_reply",
        "_size",
        "_too_large",
        "_unreadable",
        "keep",
        "kernel_session",
        "limit_bytes",
        "saw_idle",
        "state",
    )

    keep: bool
    """Whether outputs are collected for the result."""
    limit_bytes: float
    """How many bytes of outputs are collected at most."""
    state: ExecutionState
    """How far it has come."""
    kernel_session: str
    """The session of the process that began with it; `""` before."""
    saw_idle: bool
    """Whether the kernel said `idle` for it."""

    def __init__(self, *, keep: bool, limit_bytes: float) -> None:
        self.keep = keep
        self.limit_bytes = limit_bytes
        self.state = ExecutionState.REQUESTED
        self._area = OutputArea()
        self._gaps: list[OutputGap] = []
        self._dropped = 0
        self._too_large: list[int] = []  # how many, and how many bytes the largest of them had
        self._unreadable: tuple[int, str] = (0, "")  # how many, and what was wrong with the first of them
        self._size = 0
        self._raised = False  # whether the code was seen to raise an exception
        self._reply: Mapping[str, Any] = {}
        self.kernel_session = ""
        self.saw_idle = False

    def feed(self, message: Message) -> bool:
        """Take the next message whose parent is this execution's request; say whether it is an output of the code.

        An output that was to be collected and can't be read at all is none: it is counted as a gap.
        """
        kind = message.header.msg_type
        if kind == "stream" and self.state is ExecutionState.RUNNING and message.header.session == self.kernel_session:
            # Most of what comes. It is text, which needs no more than to be put behind what there is.
            if not self.keep:
                return True
            size = self._size + message.size
            if size <= self.limit_bytes:
                try:
                    content = _decode_stream(message.content_raw)
                except _UNFIT:
                    return self._keep(message)
                self._size = size
                self._area.append("stderr" if content.name == "stderr" else "stdout", content.text)
                return True
            return self._keep(message)
        if kind == "status":
            state = execution_state(message)
            if state == "busy":
                self.kernel_session = message.header.session
                self._advance("busy")
            elif state == "idle":
                self.saw_idle = True
                self._advance("idle")
            return False
        if kind == "execute_reply":
            try:
                self._reply = message.content
            except ProtocolError as error:
                self.note_unreadable(error)
            self._advance("reply")
            return False
        if kind not in OUTPUT_TYPES:
            return False
        if kind == "stream" and message.header.session != self.kernel_session and self._is_rate_notice(message):
            return False
        self._advance("output")
        self._raised = self._raised or kind == "error"
        return self._keep(message)

    def _keep(self, message: Message) -> bool:
        """Collect an output, if outputs are collected; say whether it is one."""
        if self.keep:
            self._size += message.size
            try:
                output = parse_output(message) if self._size <= self.limit_bytes else None
            except ProtocolError as error:
                self.note_unreadable(error)
                return False
            if isinstance(output, _WITH_BUNDLE) and _holds_more_than_text(output):
                self._size += _CONTAINER_BYTES * _count_containers(message.content_raw)
                if self._size > self.limit_bytes:
                    output = None
            if output is None:
                self._dropped += 1
            else:
                self._area.feed(output)
        return True

    def give_up_idle(self) -> None:
        """End without `idle`: it was lost, as in a flood of output it can be."""
        self._advance("idle_given_up")

    def give_up_reply(self) -> None:
        """End without a reply, which came and could not be read."""
        self._advance("reply_given_up")

    def note_missing(self, count: int | None) -> None:
        """Take in how many outputs never came, when the execution has ended.

        A count settles what a reconnect left open: with none missing, the output is whole. Without `idle` and without
        a count, nobody knows.

        Args:
            count: how many at most; None where the kernel does not number them; less than 0 where it is known that something is
                missing and not whether it is output.
        """
        if count is None:
            if not self.saw_idle:
                self.note_gap(OutputGap("lost", None, "the kernel's idle never came, so output may be missing too"))
            return
        if count < 0:
            self.note_gap(OutputGap("lost", None, "so much was lost that nobody knows whether output was among it"))
            return
        because = [gap.detail for gap in self._gaps if gap.kind == "reconnected"]
        self._gaps = [gap for gap in self._gaps if gap.kind != "reconnected"]
        if count:
            self.note_gap(OutputGap("lost", count, because[0] if because else "so many of the kernel's numbers never came"))

    def note_too_large(self, length: int) -> None:
        """Take in that one of the outputs had so many bytes that it was not taken."""
        count, largest = self._too_large or (0, 0)
        self._too_large = [count + 1, max(largest, length)]

    def note_unreadable(self, error: ProtocolError) -> None:
        """Take in that a message which is, or may be, this execution's could not be read at all."""
        count, first = self._unreadable
        self._unreadable = (count + 1, first or str(error))

    def note_gap(self, gap: OutputGap) -> None:
        """Remember a reason why the output is not whole; the same reason counts once, and of a hundred the rest is one."""
        if gap in self._gaps or len(self._gaps) > MAX_GAPS:
            return
        self._gaps.append(gap if len(self._gaps) < MAX_GAPS else OutputGap("lost", None, "for more reasons than are remembered"))

    @property
    def started(self) -> bool:
        """Whether the kernel has begun with it."""
        return self.state is not ExecutionState.REQUESTED

    @property
    def limited(self) -> bool:
        """Whether the gateway said that it drops output."""
        return any(gap.kind == "rate_limited" for gap in self._gaps)

    @property
    def replied(self) -> bool:
        """Whether the reply is there."""
        return self.state is ExecutionState.REPLIED or self.state is ExecutionState.DONE

    @property
    def done(self) -> bool:
        """Whether it has ended."""
        return self.state is ExecutionState.DONE

    @property
    def status(self) -> Literal["ok", "error", "aborted"]:
        """What the reply says, once it is there; where it does not, whether the kernel published an exception."""
        status = FIELDS["execute_reply"]["status"](self._reply.get("status"))
        if not status:
            return "error" if self._raised or self._reply.get("ename") is not None else "ok"
        return "ok" if status == "ok" else "aborted" if status in ("aborted", "abort") else "error"

    def result(self, *, dropped: int = 0) -> ExecutionResult:
        """Return what came of it; call it when `done`.

        Args:
            dropped: how many outputs a stream's own bound has dropped.
        """
        reply = self._reply
        gaps = list(self._gaps)
        if self._unreadable[0]:
            unread, first = self._unreadable
            gaps.append(OutputGap("lost", unread, f"{'one' if unread == 1 else 'the first'} could not be understood: {first}"))
        if self._dropped:
            gaps.append(OutputGap("overflow", self._dropped, f"outputs beyond {self.limit_bytes:g} bytes were not kept"))
        if self._too_large:
            count_large, largest = self._too_large
            why = f"of more than max_message_size bytes, the largest of {largest}, and so not taken"
            gaps.append(OutputGap("overflow", count_large, why))
        if dropped:
            gaps.append(OutputGap("overflow", dropped, 'the reader was slow, and had chosen "drop_oldest"'))
        return ExecutionResult(
            self.status,
            self._area.outputs,
            reply,
            as_count(reply.get("execution_count")),
            tuple(gaps),
        )

    def _is_rate_notice(self, message: Message) -> bool:
        """Whether the gateway itself made this message, to say that it dropped output. Code may print the same words."""
        try:
            output = parse_output(message)
        except ProtocolError:
            return False
        if not isinstance(output, Stream) or not output.text.startswith(_RATE_NOTICES):
            return False
        self.note_gap(OutputGap("rate_limited", None, output.text.partition("\n")[0]))
        return True

    def _advance(self, event: str) -> None:
        self.state = TRANSITIONS.get((self.state, event), self.state)
