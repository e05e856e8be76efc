"""Jupyter messages as values.

The one idea: a message keeps its four JSON parts as the bytes that came or will go, and decodes a part when someone
looks at it. Only what routing needs is decoded at once: the header, and the parent's id. What a part's bytes mean on
the wire is `codec`'s business; which request a message belongs to is the session's.

Source of the fields: "Messaging in Jupyter", version 5.4 (jupyter_client's documentation).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

import msgspec

from .._errors import InvalidInputError, ProtocolError

__all__ = [
    "CHANNELS",
    "EMPTY_OBJECT",
    "LACKING",
    "VIEW_BYTES",
    "Buffer",
    "Header",
    "Message",
    "MessageFactory",
    "Parent",
    "decode_json",
    "encode_json",
    "parse_header",
    "parse_parent",
]

Buffer: TypeAlias = bytes | bytearray | memoryview
CHANNELS: Final = ("shell", "iopub", "stdin", "control")
PROTOCOL_VERSION: Final = "5.4"
EMPTY_OBJECT: Final = b"{}"
LACKING: Final = memoryview(b"")
"""Stands for a part that a message has not at all, which only the legacy framing can say. Known by identity."""
VIEW_BYTES: Final = 200
"""What a buffer takes beside its bytes: a view of them."""

_json_decode = msgspec.json.Decoder().decode
_json_encode = msgspec.json.Encoder().encode


def _decode_int(digits: str) -> int | str:
    try:
        return int(digits)
    except ValueError:  # of so many digits Python makes no number: they are shown as they are
        return digits


_lenient_decode = json.JSONDecoder(strict=False, parse_int=_decode_int).decode


def decode_json(data: Buffer | str) -> Any:
    """Decode JSON, and what kernels take for JSON, at the speed of a fast decoder.

    The fast one refuses what kernels really send now and then; a slow one takes it: NaN and infinities, lone surrogates, control
    characters in text, and numbers of any length (of more digits than Python makes a number of, they are text). Bytes that are no
    UTF-8 become U+FFFD. Of names that an object has twice, the last one counts.

    Raises:
        ProtocolError: it can't be read at all.
    """
    try:
        return _json_decode(data)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        try:
            return _lenient_decode(data if isinstance(data, str) else _as_text(bytes(data)))
        except (ValueError, RecursionError) as error:
            raise ProtocolError(f"a message has a part that is not JSON: {error}") from None


def _as_text(data: bytes) -> str:
    encoding = json.detect_encoding(data)
    try:
        return data.decode(encoding, "surrogatepass")
    except UnicodeDecodeError:
        return data.decode(encoding, "replace")


def encode_json(value: object, field: str) -> bytes:
    """Encode what a caller gave as UTF-8 JSON.

    Args:
        value: dictionaries, lists, texts, numbers, booleans, None, and dates (as ISO 8601).
        field: the argument's name, for the error.

    Raises:
        InvalidInputError: it can't be written as JSON.
    """
    try:
        return _json_encode(value)
    except (TypeError, ValueError, UnicodeError, RecursionError, msgspec.MsgspecError) as error:
        raise InvalidInputError(field, type(value).__name__, f"something that JSON can hold ({error})") from None


# Structs of msgspec and not of attrs: a flood makes one of each for each message, in C, and the garbage collector need not look.
class Header(msgspec.Struct, frozen=True, gc=False):
    """A message's header: who sent what, and when."""

    msg_id: str
    """Unique to the message; `""` if the sender gives none.

    Kernels built on `jupyter_client.Session` number theirs: `{session}_{pid}_{counter}`.
    """
    msg_type: str
    """Such as `"execute_request"`."""
    session: str = ""
    """The sender's session."""
    username: str = ""
    """The sender's user name."""
    date: str = ""
    """When it was made, ISO 8601; `""` if the sender does not say."""
    version: str = ""
    """The protocol's version that the sender speaks."""
    subshell_id: str | None = None
    """The subshell that a shell request is for (JEP 91), or None for the main one."""


class Parent(msgspec.Struct, frozen=True, gc=False):
    """What routing needs of a parent header, which is `{}` when there is none."""

    msg_id: str = ""
    msg_type: str = ""
    session: str = ""
    subshell_id: str | None = None


_NO_PARENT: Final = Parent()
_decode_header = msgspec.json.Decoder(Header).decode
_decode_parent = msgspec.json.Decoder(Parent).decode


def parse_header(raw: Buffer, *, relayed: bool = False) -> Header:
    """Decode a header.

    What is missing, or is no text, is taken as empty. Without its type nothing can be made of a message.

    Args:
        raw: its JSON.
        relayed: whether it is only to be passed on: then its type too is `""` where it can't be read.

    Raises:
        ProtocolError: it is not an object with `msg_type`.
    """
    try:
        return _decode_header(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        fields = _decode_fields(raw, relayed=relayed)
        if not relayed and not isinstance(fields.get("msg_type"), str):
            raise ProtocolError("a message's header has no msg_type") from None
        known = {name: value for name in Header.__struct_fields__ if isinstance(value := fields.get(name), str)}
        return Header(**{"msg_id": "", "msg_type": "", **known})


def parse_parent(raw: Buffer, *, relayed: bool = False) -> Parent:
    """Decode what routing needs of a parent header; whatever is not an object counts as none.

    Args:
        raw: its JSON.
        relayed: whether it is only to be passed on: then it counts as none where it can't be read.

    Raises:
        ProtocolError: it is not JSON.
    """
    if len(raw) <= 2:
        return _NO_PARENT
    try:
        return _decode_parent(raw)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        fields = _decode_fields(raw, relayed=relayed)
        known = {name: value for name in Parent.__struct_fields__ if isinstance(value := fields.get(name), str)}
        return Parent(**known)


def _decode_fields(raw: Buffer, *, relayed: bool) -> dict[str, Any]:
    """Decode an object; of anything else return none of its fields."""
    try:
        fields = decode_json(raw)
    except ProtocolError:
        if not relayed:
            raise
        return {}
    return fields if isinstance(fields, dict) else {}


class Message:
    """One message of Jupyter's messaging protocol, on one of a kernel's channels. Treat it as immutable.

    Args:
        channel: `"shell"`, `"iopub"`, `"stdin"` or `"control"`.
        header: the message's own header.
        content: the content, an object by message type.
        parent_header: the header of the message that caused this one, as a dictionary; empty if there is none.
        metadata: the metadata.
        buffers: binary buffers, any objects of the buffer protocol.

    Raises:
        InvalidInputError: there is no such channel, a part is no object of JSON, or a buffer is not of contiguous bytes.
    """

    __slots__ = (
        "_content",
        "_metadata",
        "_parent",
        "buffers",
        "channel",
        "content_raw",
        "header",
        "header_raw",
        "metadata_raw",
        "parent_raw",
        "size",
    )

    channel: str
    """The channel it came or goes on."""
    header: Header
    """The message's own header."""
    buffers: tuple[memoryview, ...]
    """Binary buffers, without a copy of their bytes."""
    size: int
    """About how many bytes it takes, framing aside. Each of its buffers takes some, also an empty one."""

    def __init__(
        self,
        channel: str,
        header: Header,
        content: Mapping[str, Any] | None = None,
        *,
        parent_header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
    ) -> None:
        if channel not in CHANNELS:
            raise InvalidInputError("channel", channel, f"one of {', '.join(CHANNELS)}")
        self.channel = channel
        self.header = header
        self.header_raw: Buffer = encode_json(_header_fields(header), "header")
        self.parent_raw: Buffer = _encode_part(parent_header, "parent_header")
        self.metadata_raw: Buffer = _encode_part(metadata, "metadata")
        self.content_raw: Buffer = _encode_part(content, "content")
        self.buffers = tuple([_as_bytes_view(buffer) for buffer in buffers])
        self._parent: Parent | None = None
        self._content: Any = None
        self._metadata: Any = None
        self.size = _total(self)

    @classmethod
    def from_wire(
        cls,
        channel: str,
        header_raw: Buffer,
        parent_raw: Buffer,
        metadata_raw: Buffer,
        content_raw: Buffer,
        buffers: tuple[memoryview, ...],
        size: int,
        parent: Parent | None = None,
        *,
        relayed: bool = False,
    ) -> Message:
        """Make a message of the parts that a frame held; the header is decoded and checked at once.

        Args:
            channel: the channel.
            header_raw: the header's JSON, and so on for each part.
            parent_raw: the parent header's.
            metadata_raw: the metadata's.
            content_raw: the content's.
            buffers: the buffers.
            size: about how many bytes it takes.
            parent: what `parse_parent` makes of `parent_raw`, if that is known.
            relayed: whether it is only to be passed on: then nothing is wrong with it.

        Raises:
            ProtocolError: the header or the parent is none.
        """
        self = cls.__new__(cls)
        self.channel = channel
        try:
            self.header = _decode_header(header_raw)  # `parse_header` does it too, and a call costs
        except (msgspec.MsgspecError, UnicodeError, RecursionError):
            self.header = parse_header(header_raw, relayed=relayed)
        self.header_raw = header_raw
        self.parent_raw = parent_raw
        self.metadata_raw = metadata_raw
        self.content_raw = content_raw
        self.buffers = buffers
        self.size = size
        self._parent = parse_parent(parent_raw, relayed=relayed) if parent is None else parent
        self._content = None
        self._metadata = None
        return self

    @property
    def msg_id(self) -> str:
        """The message's own id."""
        return self.header.msg_id

    @property
    def msg_type(self) -> str:
        """The message's type, such as `"stream"`."""
        return self.header.msg_type

    @property
    def parent_id(self) -> str:
        """The id of the request that caused this message; `""` if none did."""
        parent = self._parent
        return parent.msg_id if parent is not None else self._routing().msg_id

    @property
    def parent_session(self) -> str:
        """The session of the request that caused this message; `""` if none did."""
        return self._routing().session

    @property
    def parent_type(self) -> str:
        """The type of the request that caused this message; `""` if none did."""
        return self._routing().msg_type

    @property
    def parent_subshell(self) -> str | None:
        """The subshell of the request that caused this message; None for the main shell."""
        return self._routing().subshell_id

    @property
    def parent_header(self) -> Mapping[str, Any]:
        """The header of the request that caused this message; empty if none did.

        Raises:
            ProtocolError: it is not a JSON object.
        """
        return _object(self.parent_raw, "parent_header")

    @property
    def own_header(self) -> Mapping[str, Any]:
        """The message's own header as a dictionary, with all its fields: the parent header of an answer to it."""
        return _object(self.header_raw, "header")

    @property
    def content(self) -> Mapping[str, Any]:
        """The content, decoded when first asked for.

        Raises:
            ProtocolError: it is not a JSON object.
        """
        if self._content is None:
            self._content = _object(self.content_raw, "content")
        return self._content  # type: ignore[no-any-return]

    def peek_content(self) -> Mapping[str, Any]:
        """Return the content, and don't keep what it was decoded to: that may take many times as much as its JSON.

        Raises:
            ProtocolError: it is not a JSON object.
        """
        return _object(self.content_raw, "content") if self._content is None else self._content

    @property
    def metadata(self) -> Mapping[str, Any]:
        """The metadata, decoded when first asked for.

        Raises:
            ProtocolError: it is not a JSON object.
        """
        if self._metadata is None:
            self._metadata = _object(self.metadata_raw, "metadata")
        return self._metadata  # type: ignore[no-any-return]

    def __repr__(self) -> str:
        buffers = f", {len(self.buffers)} buffers" if self.buffers else ""
        parent = f", parent {self.parent_id}" if self.parent_id else ""
        return f"<Message {self.header.msg_type} on {self.channel}, id {self.header.msg_id}{parent}{buffers}>"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Message):
            return NotImplemented
        return (
            self.channel == other.channel
            and self.header == other.header
            and self.parent_header == other.parent_header
            and self.metadata == other.metadata
            and self.content == other.content
            and self.buffers == other.buffers
        )

    def __hash__(self) -> int:
        return hash(self.header.msg_id)

    def _routing(self) -> Parent:
        if self._parent is None:
            self._parent = parse_parent(self.parent_raw)
        return self._parent


class MessageFactory:
    """Makes the messages that one client session sends, numbered in order.

    Args:
        session: the client session's id, also the `session_id` of its WebSocket: kernels route replies by it.
        username: the user name to put into headers.
    """

    __slots__ = ("_counter", "session", "username")

    def __init__(self, session: str, username: str) -> None:
        self.session = session
        self.username = username
        self._counter = 0

    def make(
        self,
        channel: str,
        msg_type: str,
        content: Mapping[str, Any],
        *,
        date: str,
        parent_header: Mapping[str, Any] | None = None,
        metadata: Mapping[str, Any] | None = None,
        buffers: Sequence[Buffer] = (),
        subshell_id: str | None = None,
    ) -> Message:
        """Make the next message.

        Args:
            channel: where it goes.
            msg_type: its type.
            content: its content.
            date: now, as ISO 8601.
            parent_header: the header it answers, for an `input_reply`.
            metadata: its metadata.
            buffers: binary buffers.
            subshell_id: the subshell that is to handle it.

        Raises:
            InvalidInputError: a part can't be written as JSON.
        """
        self._counter += 1
        # With a dash: a server of jupyter_server 1 makes requests of its own in our session, and numbers them with "_".
        header = Header(
            f"{self.session}-{self._counter}", msg_type, self.session, self.username, date, PROTOCOL_VERSION, subshell_id
        )
        return Message(channel, header, content, parent_header=parent_header, metadata=metadata, buffers=buffers)


def _header_fields(header: Header) -> dict[str, str]:
    fields = {"msg_id": header.msg_id, "msg_type": header.msg_type}
    # What somebody's header lacks, it goes on lacking: a kernel can't read an empty version, and is content with none.
    if header.session:
        fields["session"] = header.session
    if header.username:
        fields["username"] = header.username
    if header.date:
        fields["date"] = header.date
    if header.version:
        fields["version"] = header.version
    if header.subshell_id is not None:
        fields["subshell_id"] = header.subshell_id
    return fields


def _encode_part(part: Mapping[str, Any] | None, field: str) -> Buffer:
    if part is None:
        return EMPTY_OBJECT
    if not isinstance(part, Mapping):
        raise InvalidInputError(field, type(part).__name__, "an object: a dictionary, or None")
    return encode_json(part if isinstance(part, dict) else dict(part), field) if part else EMPTY_OBJECT


def _object(raw: Buffer, part: str) -> Mapping[str, Any]:
    if not raw:
        return {}
    value = decode_json(raw)
    if value is None:
        return {}  # in the legacy framing, null is how some say "nothing"; it means the same in the other
    if not isinstance(value, dict):
        raise ProtocolError(f"a message's {part} is a {type(value).__name__}, not an object")
    return value


def _as_bytes_view(buffer: Buffer) -> memoryview:
    try:
        view = memoryview(buffer)
    except (TypeError, ValueError, BufferError) as error:
        raise InvalidInputError("buffers", type(buffer).__name__, f"C-contiguous bytes ({error})") from None
    if not view.c_contiguous:
        raise InvalidInputError("buffers", f"a view of {view.nbytes} bytes with gaps", "C-contiguous bytes")
    if view.nbytes == 0:
        return memoryview(b"")  # a view with a zero in its shape can't be cast
    return view if view.format == "B" and view.ndim == 1 else view.cast("B")


def _total(message: Message) -> int:
    texts = len(message.header_raw) + len(message.parent_raw) + len(message.metadata_raw) + len(message.content_raw)
    return texts + sum([buffer.nbytes + VIEW_BYTES for buffer in message.buffers])
