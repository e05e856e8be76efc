"""WebSocket frames (RFC 6455): bytes to messages and back, for a client and for a server. Pure; no extension is spoken.

The one idea: most frames are small, whole and unfragmented, and many of them come in one read; those are cut out of it in one
loop without a copy beside the message itself. Whatever else there is (a message larger than a read, fragments, control frames,
nonsense) leaves the loop for a slower path.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final, TypeAlias

import attrs

from .messages import Buffer

__all__ = [
    "BINARY",
    "CLOSE",
    "PING",
    "PONG",
    "TEXT",
    "Close",
    "Control",
    "FrameError",
    "FrameParser",
    "Mask",
    "Ping",
    "Pong",
    "ServerFrameParser",
    "close_frame",
    "frame_head",
    "no_mask",
    "small_frame",
    "xor_mask",
]

TEXT: Final = 0x1
BINARY: Final = 0x2
CLOSE: Final = 0x8
PING: Final = 0x9
PONG: Final = 0xA
_FIN: Final = 0x80
_WHOLE_BINARY: Final = _FIN | BINARY
_MAX_CONTROL: Final = 125

# RFC 6455, section 7.4.1, and the codes that were registered since: what a peer may put into a close frame.
_SENDABLE: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

Mask: TypeAlias = Callable[[Buffer, bytes], bytes]
"""Returns data with a four-byte key applied to it, again and again."""


class FrameError(Exception):
    """What came is no WebSocket conversation that we can go on with.

    Args:
        code: the close code that says so.
        reason: in words, for the peer and for our user.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(code, reason)
        self.code = code
        self.reason = reason


@attrs.frozen
class Ping:
    """The peer wants to know whether we are there."""

    payload: bytes
    """What the pong has to repeat."""


@attrs.frozen
class Pong:
    """The peer is there."""

    payload: bytes
    """What the ping had."""


@attrs.frozen
class Close:
    """The peer says goodbye."""

    code: int
    """Its close code; 1005 where it gave none."""
    reason: str
    """Its words."""


Control: TypeAlias = Ping | Pong | Close
"""A control frame."""


class FrameParser:
    """Makes messages and control frames of what a server sends.

    Args:
        max_message_size: the largest message to accept, in bytes.
    """

    __slots__ = (
        "_closed",
        "_fragment_bytes",
        "_fragment_kind",
        "_fragments",
        "_head",
        "_large",
        "_max",
        "_need",
        "_tail",
        "controls",
        "error",
    )

    controls: list[Control]
    """The control frames that came, in order; whoever acts on them clears the list. Nothing comes after a `Close`."""
    error: FrameError | None
    """Why nothing more can be understood. What came before it was returned."""

    def __init__(self, max_message_size: int) -> None:
        self._max = max_message_size
        self._tail = b""  # the beginning of a frame
        self._head = 0  # the first byte of a frame that is larger than what has come
        self._need = 0  # how many of its bytes are still to come
        self._large = BytesIO()  # what has come of its payload
        self._fragment_kind = 0
        self._fragment_bytes = 0
        self._fragments: list[bytes] = []
        self._closed = False
        self.controls = []
        self.error = None

    def feed(self, data: bytes) -> list[bytes | str]:
        """Take what came; return the messages that are whole now, in order. Nothing is taken after a `Close` or an error."""
        messages: list[bytes | str] = []
        if self._closed:
            return messages
        try:
            if self._need:
                data = self._collect(data, messages)
            if data and not self._closed:
                self._cut(data, messages)
        except FrameError as error:
            self.error = error
            self._closed = True
        if self._closed:
            self._tail = b""
            self._large = BytesIO()
            self._fragments.clear()
        return messages

    def _collect(self, data: bytes, messages: list[bytes | str]) -> bytes:
        """Take the next piece of a large frame; return what follows it."""
        need = self._need
        if len(data) < need:
            self._large.write(data)
            self._need = need - len(data)
            return b""
        self._large.write(data if len(data) == need else memoryview(data)[:need])
        self._need = 0
        # It grew in one block, which is now given away without a copy: pieces to be joined would take the memory twice.
        payload = self._large.getvalue()
        self._large = BytesIO()
        self._frame(self._head, self._unmask(payload), messages)
        return data[need:]

    def _unmask(self, payload: bytes) -> bytes:
        """Return the payload of a large frame as it was meant."""
        return payload

    def _cut(self, data: bytes, messages: list[bytes | str]) -> None:
        if self._tail:
            data = self._tail + data
            self._tail = b""
        at, end = 0, len(data)
        limit = self._max
        append = messages.append
        while end - at >= 2:
            head = data[at]
            length = data[at + 1]
            start = at + 2
            if length >= 126:
                if length > 127:
                    raise FrameError(1002, "a server's frame is masked")
                start = at + (4 if length == 126 else 10)
                if start > end:
                    break
                length = int.from_bytes(data[at + 2 : start], "big")
            if length > limit:
                raise FrameError(1009, f"a message of {length} bytes")
            stop = start + length
            if stop > end:
                if head & 0x08 and length > _MAX_CONTROL:
                    raise FrameError(1002, "a control frame is too long")
                self._head = head
                self._need = stop - end
                self._large.write(memoryview(data)[start:])
                return
            at = stop
            if head == _WHOLE_BINARY and not self._fragment_kind:
                append(data[start:stop])
            else:
                self._frame(head, data[start:stop], messages)
                if self._closed:
                    return
        self._tail = data[at:] if at else data

    def _frame(self, head: int, payload: bytes, messages: list[bytes | str]) -> None:
        """Take a whole frame of any kind."""
        kind = head & 0x0F
        if head & 0x70:
            raise FrameError(1002, "a frame has a bit set that means nothing here")
        if kind >= CLOSE:
            control = _control(head, payload)
            self.controls.append(control)
            self._closed = isinstance(control, Close)
            return
        if kind == 0:
            if not self._fragment_kind:
                raise FrameError(1002, "a fragment continues nothing")
        elif self._fragment_kind:
            raise FrameError(1002, "a message begins in the middle of another one")
        elif kind > BINARY:
            raise FrameError(1002, f"a frame is of the unknown kind {kind}")
        elif head & _FIN:
            messages.append(payload if kind == BINARY else _text(payload))
            return
        else:
            self._fragment_kind = kind
        self._fragments.append(payload)
        self._fragment_bytes += len(payload)
        if self._fragment_bytes > self._max:
            raise FrameError(1009, f"a message of more than {self._max} bytes")
        if head & _FIN:
            whole = b"".join(self._fragments)
            kind = self._fragment_kind
            self._fragments.clear()
            self._fragment_kind = self._fragment_bytes = 0
            messages.append(whole if kind == BINARY else _text(whole))


class ServerFrameParser(FrameParser):
    """Makes messages and control frames of what a client sends: each of its frames is masked.

    Args:
        max_message_size: the largest message to accept, in bytes.
        mask: takes the mask off.
    """

    __slots__ = ("_key", "_mask")

    def __init__(self, max_message_size: int, mask: Mask) -> None:
        super().__init__(max_message_size)
        self._mask = mask
        self._key = b""  # of a frame that is larger than what has come

    def _unmask(self, payload: bytes) -> bytes:
        return self._mask(payload, self._key)

    def _cut(self, data: bytes, messages: list[bytes | str]) -> None:
        if self._tail:
            data = self._tail + data
            self._tail = b""
        at, end = 0, len(data)
        while end - at >= 2:
            head = data[at]
            length = data[at + 1] & 0x7F
            if not data[at + 1] & 0x80:
                raise FrameError(1002, "a client's frame is not masked")
            start = at + 2
            if length >= 126:
                start = at + (4 if length == 126 else 10)
                length = int.from_bytes(data[at + 2 : start], "big") if start <= end else 0
            if length > self._max:
                raise FrameError(1009, f"a message of {length} bytes")
            if head & 0x08 and length > _MAX_CONTROL:
                raise FrameError(1002, "a control frame is too long")
            start += 4
            if start > end:
                break
            key = data[start - 4 : start]
            stop = start + length
            if stop > end:
                self._head = head
                self._key = key
                self._need = stop - end
                self._large.write(memoryview(data)[start:])
                return
            at = stop
            self._frame(head, self._mask(data[start:stop], key), messages)
            if self._closed:
                return
        self._tail = data[at:] if at else data


def _text(payload: bytes) -> str:
    try:
        return payload.decode()
    except UnicodeDecodeError:
        raise FrameError(1007, "a text message is not UTF-8") from None


def _control(head: int, payload: bytes) -> Control:
    if not head & _FIN or len(payload) > _MAX_CONTROL:
        raise FrameError(1002, "a control frame is fragmented or too long")
    kind = head & 0x0F
    if kind == PING:
        return Ping(payload)
    if kind == PONG:
        return Pong(payload)
    if kind != CLOSE:
        raise FrameError(1002, f"a frame is of the unknown kind {kind}")
    if not payload:
        return Close(1005, "")
    code = int.from_bytes(payload[:2], "big")
    if len(payload) == 1 or code not in _SENDABLE:
        raise FrameError(1002, f"a close frame has the code {code}")
    return Close(code, _text(payload[2:]))


def frame_head(kind: int, length: int, key: bytes) -> bytes:
    """Return what comes before the payload of a whole frame.

    Args:
        kind: the opcode.
        length: of the payload, in bytes.
        key: four random bytes, new for each frame, with which the payload is masked; `b""` for a server's, which is not.
    """
    masked = 0x80 if key else 0
    if length < 126:
        return bytes((_FIN | kind, masked | length)) + key
    if length < 1 << 16:
        return bytes((_FIN | kind, masked | 126)) + length.to_bytes(2, "big") + key
    return bytes((_FIN | kind, masked | 127)) + length.to_bytes(8, "big") + key


def small_frame(kind: int, payload: Buffer, key: bytes, mask: Mask) -> bytes:
    """Return a whole frame."""
    return frame_head(kind, len(payload), key) + mask(payload, key)


def close_frame(code: int, reason: str, key: bytes, mask: Mask) -> bytes:
    """Return a close frame. A code that may not be sent becomes none; a long reason is cut."""
    payload = b"" if code not in _SENDABLE else code.to_bytes(2, "big") + reason.encode()[: _MAX_CONTROL - 2]
    # A cut may have halved a character.
    payload = payload[:2] + payload[2:].decode(errors="ignore").encode()
    return small_frame(CLOSE, payload, key, mask)


def no_mask(data: Buffer, _key: bytes) -> bytes:
    """Mask nothing: what a server sends is as it is."""
    return bytes(data)


def xor_mask(data: Buffer, key: bytes) -> bytes:
    """Mask by one exclusive-or of two big numbers: no loop in Python, if not as fast as a routine in C."""
    length = len(data)
    repeated = (key * (length // 4 + 1))[:length]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(length, "little")
