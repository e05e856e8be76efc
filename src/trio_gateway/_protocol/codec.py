"""The two framings of Jupyter's kernel WebSocket: bytes to messages and back. Pure functions.

The one idea: a frame is checked before it is trusted. Every offset is compared with the frame's length, the header and
the parent's id are decoded at once, and what is refused is a `ProtocolError` that says what is wrong. Content and
metadata stay bytes until someone looks.

Two framings exist (jupyter_server's `services/kernels/connection/base.py`, and JupyterLab's `serialize.ts`):

* `v1.kernel.websocket.jupyter.org`: always a binary frame. Little-endian u64 count *n* of offsets, *n* u64 offsets from
  the frame's start (channel, header, parent header, metadata, content, buffers…, end), then those parts.
* the legacy one, where no subprotocol was selected: a text frame with one JSON object, or, if there are buffers, a
  binary frame: big-endian u32 count *n* of parts, *n* u32 offsets, then the JSON object and the buffers.
"""

from __future__ import annotations

import json
import re
import struct
import sys
from collections.abc import Sequence
from itertools import pairwise
from typing import Final

import msgspec

from .._errors import InvalidInputError, ProtocolError
from .frames import CutMessage
from .messages import EMPTY_OBJECT, LACKING, VIEW_BYTES, Buffer, Message, decode_json, parse_header, parse_parent

__all__ = ["V1_SUBPROTOCOL", "Decoder", "TooLargeError", "decode", "encode_legacy", "encode_v1", "frame_size", "parts_v1"]

V1_SUBPROTOCOL: Final = "v1.kernel.websocket.jupyter.org"

_u64 = struct.Struct("<Q")
_u32 = struct.Struct(">I")
_V1_FIXED_PARTS: Final = 6  # channel, header, parent header, metadata, content, and where the last part ends
_SIX: Final = _u64.pack(_V1_FIXED_PARTS)
_TABLE_END: Final = 8 * (_V1_FIXED_PARTS + 1)
_six: Final = struct.Struct(f"<{_V1_FIXED_PARTS}Q").unpack_from
_COPIED: Final = 4096
"""Up to how many bytes a frame's parts are copied out of it, rather than seen through a view that keeps the frame."""
MAX_BUFFERS: Final = 10_000
"""How many buffers a message may have. An empty one takes 8 bytes of a frame, and a view of it takes 200."""
_channel_names: Final = {name.encode(): name for name in ("shell", "iopub", "stdin", "control")}


class TooLargeError(ProtocolError):
    """A message was larger than `max_message_size`, and only its beginning is there. Internal: the session tells of it.

    Args:
        length: how many bytes it had.
        message: it, without metadata, content and buffers; None where its beginning does not say what it was.
    """

    _entry = "ProtocolError"
    length: int
    """How many bytes it had."""
    message: Message | None
    """It, without metadata, content and buffers."""

    def __init__(self, length: int, message: Message | None) -> None:
        what = "a message" if message is None else f"a message of the type {message.msg_type[:40]!r}"
        super().__init__(f"{what} has {length} bytes, more than max_message_size allows")
        self.length = length
        self.message = message


class Decoder:
    """Decodes the messages of one connection. What one request causes has one parent header: it is read once.

    Args:
        v1: whether the v1 subprotocol was selected; text is taken as legacy JSON all the same.
        relayed: whether messages are only to be passed on: then headers need not say anything.
    """

    __slots__ = ("_parent", "_parent_raw", "_relayed", "_v1")

    def __init__(self, *, v1: bool, relayed: bool = False) -> None:
        self._v1 = v1
        self._relayed = relayed
        self._parent_raw = EMPTY_OBJECT
        self._parent = parse_parent(EMPTY_OBJECT)

    def decode(self, frame: bytes | str) -> Message:
        """Decode one WebSocket message.

        Args:
            frame: a binary (`bytes`) or text (`str`) message. Buffers in the result are views into it.

        Raises:
            TooLargeError: it is the beginning of one that was too large.
            ProtocolError: it is not a whole Jupyter message.
        """
        if self._v1 and type(frame) is bytes:
            return self._decode_v1(frame)  # almost every one
        if isinstance(frame, str):
            # Its views keep the text, which may have four bytes a character, and its bytes.
            size = len(frame) if frame.isascii() else 2 * sys.getsizeof(frame)
            return _decode_legacy_json(frame, (), size, relayed=self._relayed)
        if type(frame) is CutMessage:
            raise _too_large(frame, v1=self._v1)
        return self._decode_v1(frame) if self._v1 else _decode_legacy_binary(frame, relayed=self._relayed)

    def _decode_v1(self, frame: bytes) -> Message:
        length = len(frame)
        if length < 8:
            raise ProtocolError(f"a v1 frame of {length} bytes has no room for its offset count")
        if frame.startswith(_SIX) and length >= _TABLE_END:
            # Almost every message: no buffers.
            count = _V1_FIXED_PARTS
            offsets: tuple[int, ...] = _six(frame, 8)
            at_channel, at_header, at_parent, at_metadata, at_content, at_end = offsets
            if not _TABLE_END <= at_channel <= at_header <= at_parent <= at_metadata <= at_content <= at_end == length:
                _check_offsets(offsets, _TABLE_END, length, "v1")
        else:
            (count,) = _u64.unpack_from(frame)
            start = 8 * (count + 1)
            if count < _V1_FIXED_PARTS or start > length:
                raise ProtocolError(f"a v1 frame of {length} bytes claims {count} offsets")
            _check_buffers(count - _V1_FIXED_PARTS, "v1")
            offsets = struct.unpack_from(f"<{count}Q", frame, 8)
            _check_offsets(offsets, start, length, "v1")
            at_channel, at_header, at_parent, at_metadata, at_content, at_end = offsets[:6]
        if offsets[-1] != length:
            raise ProtocolError(f"a v1 frame of {length} bytes ends its last part at {offsets[-1]}")
        buffers: tuple[memoryview, ...] = ()
        content_raw: Buffer
        if length > _COPIED or count > _V1_FIXED_PARTS:
            view = memoryview(frame)
            content_raw = view[at_content:at_end]
            buffers = tuple([view[a:b] for a, b in pairwise(offsets[5:])])
            front = bytes(view[:at_content])
        else:
            content_raw = frame[at_content:at_end]  # copied sooner than a view is made
            front = frame
        name = front[at_channel:at_header]
        channel = _channel_names.get(name)
        if channel is None:
            channel = _foreign_channel(name)
        parent_raw = front[at_parent:at_metadata]
        if parent_raw != self._parent_raw:
            self._parent = parse_parent(parent_raw, relayed=self._relayed)
            self._parent_raw = parent_raw
        return Message.from_wire(
            channel,
            front[at_header:at_parent],
            self._parent_raw,
            front[at_metadata:at_content],
            content_raw,
            buffers,
            length + VIEW_BYTES * len(buffers) if buffers else length,
            self._parent,
            relayed=self._relayed,
        )


def decode(frame: bytes | str, *, v1: bool) -> Message:
    """Decode one WebSocket message by itself.

    Args:
        frame: a binary (`bytes`) or text (`str`) message. Buffers in the result are views into it.
        v1: whether the v1 subprotocol was selected; text is taken as legacy JSON all the same.

    Raises:
        ProtocolError: it is not a whole Jupyter message.
    """
    return Decoder(v1=v1).decode(frame)


def _foreign_channel(name: bytes) -> str:
    try:
        return name.decode()
    except UnicodeDecodeError:
        raise ProtocolError("a v1 frame names its channel with bytes that are not UTF-8") from None


def _decode_legacy_binary(frame: bytes, *, relayed: bool) -> Message:
    length = len(frame)
    if length < 4:
        raise ProtocolError(f"a legacy binary frame of {length} bytes has no room for its part count")
    (count,) = _u32.unpack_from(frame)
    start = 4 * (count + 1)
    if count < 1 or start > length:
        raise ProtocolError(f"a legacy binary frame of {length} bytes claims {count} parts")
    _check_buffers(count - 1, "legacy binary")
    offsets = (*struct.unpack_from(f">{count}I", frame, 4), length)
    _check_offsets(offsets, start, length, "legacy binary")
    view = memoryview(frame)
    parts = [view[a:b] for a, b in pairwise(offsets)]
    return _decode_legacy_json(parts[0], tuple(parts[1:]), length + VIEW_BYTES * (count - 1), relayed=relayed)


def _check_buffers(count: int, framing: str) -> None:
    if count > MAX_BUFFERS:
        raise ProtocolError(f"a {framing} frame has {count} buffers; more than {MAX_BUFFERS} are not taken")


def _too_large(frame: CutMessage, *, v1: bool) -> TooLargeError:
    """Say which message it was, as far as its beginning tells."""
    try:
        if frame.is_text:
            message = _head_of_text(frame.decode("utf-8", "replace"))
        else:
            message = _head_of_v1(frame) if v1 else _head_of_legacy_binary(frame)
    except (ProtocolError, ValueError, RecursionError, struct.error):
        message = None
    return TooLargeError(frame.length, message)


def _head_of_v1(frame: bytes) -> Message:
    (count,) = _u64.unpack_from(frame)
    at_channel, at_header, at_parent, at_metadata = struct.unpack_from("<4Q", frame, 8)
    if not 8 * (count + 1) <= at_channel <= at_header <= at_parent <= at_metadata <= len(frame):
        raise ProtocolError("its headers are not in its beginning")
    channel = _foreign_channel(frame[at_channel:at_header])
    return _only_head(channel, frame[at_header:at_parent], frame[at_parent:at_metadata])


def _head_of_legacy_binary(frame: bytes) -> Message:
    start, end = struct.unpack_from(">2I", frame, 4)
    return _head_of_text(frame[start:end].decode("utf-8", "replace"))


def _head_of_text(text: str) -> Message:
    """Read both headers, which servers write first, out of JSON that was cut off somewhere behind them."""
    found: dict[str, bytes] = {}
    for name in ("header", "parent_header"):
        begins = re.search(rf'"{name}"\s*:\s*(?={{)', text)
        if begins is None:
            raise ProtocolError("its headers are not in its beginning")
        found[name] = json.dumps(_python_json.raw_decode(text, begins.end())[0]).encode()
    # Servers write the channel last.
    kind = parse_header(found["header"]).msg_type
    return _only_head("shell" if kind.endswith("_reply") else "iopub", found["header"], found["parent_header"])


def _only_head(channel: str, header: bytes, parent: bytes) -> Message:
    return Message.from_wire(channel, header, parent, EMPTY_OBJECT, EMPTY_OBJECT, (), len(header) + len(parent))


_python_json: Final = json.JSONDecoder()


def _check_offsets(offsets: Sequence[int], start: int, length: int, framing: str) -> None:
    """Offsets must rise from the end of the table to the end of the frame."""
    previous = start
    for offset in offsets:
        if offset < previous:
            raise ProtocolError(f"a {framing} frame has a part that starts at {offset}, before {previous}")
        previous = offset
    if previous > length:
        raise ProtocolError(f"a {framing} frame of {length} bytes has a part that reaches to {previous}")


class _LegacyMessage(msgspec.Struct):
    header: msgspec.Raw
    parent_header: msgspec.Raw = msgspec.Raw(LACKING)
    metadata: msgspec.Raw = msgspec.Raw(LACKING)
    content: msgspec.Raw = msgspec.Raw(LACKING)
    channel: str | None = None


_decode_legacy = msgspec.json.Decoder(_LegacyMessage).decode
_NO_HEADER: Final = "a legacy message is not a JSON object with a header"


def _decode_legacy_json(text: Buffer | str, buffers: tuple[memoryview, ...], size: int, *, relayed: bool) -> Message:
    try:
        message = _decode_legacy(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return _decode_odd_legacy_json(text, buffers, size, relayed=relayed)
    header = memoryview(message.header)
    if bytes(header[:1]) != b"{":
        raise ProtocolError(_NO_HEADER)
    return Message.from_wire(
        message.channel or "shell",  # what the server itself takes a missing channel for
        header,
        memoryview(message.parent_header) or LACKING,
        memoryview(message.metadata) or LACKING,
        memoryview(message.content) or LACKING,
        buffers,
        size,
        relayed=relayed,
    )


def _decode_odd_legacy_json(text: Buffer | str, buffers: tuple[memoryview, ...], size: int, *, relayed: bool) -> Message:
    """Take what only Python's own decoder accepts, such as lone surrogates, and keep it as ASCII JSON."""
    fields = decode_json(text)
    if not isinstance(fields, dict) or not isinstance(fields.get("header"), dict):
        raise ProtocolError(_NO_HEADER)
    channel = fields.get("channel")
    if not isinstance(channel, str) or not channel:
        channel = "shell"
    elif not _is_unicode(channel):
        raise ProtocolError("a legacy message names its channel with something that is not text")

    def part(name: str) -> Buffer:
        return json.dumps(fields[name]).encode() if name in fields else LACKING

    try:
        header, parent, metadata, content = [part(name) for name in ("header", "parent_header", "metadata", "content")]
    except RecursionError:  # it could be read, just so
        raise ProtocolError("a legacy message is nested too deeply") from None
    return Message.from_wire(channel, header, parent, metadata, content, buffers, size, relayed=relayed)


def _is_unicode(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def encode_v1(message: Message) -> bytes:
    """Encode a message as a v1 frame, to be sent as a binary WebSocket message."""
    return b"".join(parts_v1(message))


def parts_v1(message: Message) -> list[Buffer]:
    """Return the parts of a v1 frame, without a copy of the message's own. What the message lacks is empty: it has a place."""
    parent, metadata, content = message.parent_raw, message.metadata_raw, message.content_raw
    parts: list[Buffer] = [
        message.channel.encode(),
        message.header_raw,
        EMPTY_OBJECT if parent is LACKING else parent,
        EMPTY_OBJECT if metadata is LACKING else metadata,
        EMPTY_OBJECT if content is LACKING else content,
        *message.buffers,
    ]
    count = len(parts) + 1
    offsets = [8 * (count + 1)]
    for part in parts:
        offsets.append(offsets[-1] + len(part))
    return [struct.pack(f"<{count + 1}Q", count, *offsets), *parts]


def frame_size(frame: bytes | str | Sequence[Buffer]) -> int:
    """Return how many bytes a frame has on the wire, without WebSocket's own: a binary one, whole or in parts, or a text one."""
    if isinstance(frame, str):
        return len(frame) if frame.isascii() else len(frame.encode())
    return len(frame) if isinstance(frame, bytes) else sum(map(len, frame))


def encode_legacy(message: Message, *, as_server: bool = False) -> str | bytes:
    """Encode a message in the legacy framing: text, or binary if it has buffers.

    Args:
        message: the message.
        as_server: repeat the header's `msg_id` and `msg_type` beside it, as servers do and some clients expect.

    Raises:
        InvalidInputError: it has more than 4 GiB of buffers, which the framing can't hold.
        ProtocolError: it came over the wire, and a part that nobody looked at is not JSON in UTF-8.
    """
    said = {"msg_id": message.msg_id, "msg_type": message.msg_type} if as_server else {}
    repeated = b"".join([b'"%b":%b,' % (name.encode(), json.dumps(value).encode()) for name, value in said.items() if value])
    pieces: list[Buffer] = [b"{", repeated, b'"channel":', json.dumps(message.channel).encode()]
    named = (
        (b'"header"', message.header_raw),
        (b'"parent_header"', message.parent_raw),
        (b'"metadata"', message.metadata_raw),
        (b'"content"', message.content_raw),
    )
    for name, part in named:
        if part is not LACKING:
            _check_json(part)  # in v1 it stood by itself; here it would spoil all the others
            pieces += [b",", name, b":", part]
    pieces.append(b',"buffers":[]}')
    text = b"".join(pieces)
    try:
        as_text = text.decode()
    except UnicodeDecodeError as error:
        raise ProtocolError(f"a message has a part that is not UTF-8: {error}") from None
    if not message.buffers:
        return as_text
    del as_text
    parts: list[Buffer] = [text, *message.buffers]
    offsets = [4 * (len(parts) + 1)]
    for part in parts[:-1]:
        offsets.append(offsets[-1] + len(part))
    try:
        table = struct.pack(f">{len(parts) + 1}I", len(parts), *offsets)
    except struct.error:
        raise InvalidInputError("buffers", f"{len(parts) - 1} buffers", "less than 4 GiB in all, with this gateway") from None
    return b"".join([table, *parts])


_any_json: Final = msgspec.json.Decoder(msgspec.Raw).decode


def _check_json(part: Buffer) -> None:
    try:
        _any_json(part)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        decode_json(part)
