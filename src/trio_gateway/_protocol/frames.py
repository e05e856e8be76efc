"""WebSocket frames (RFC 6455): bytes to messages and back, for a client and for a server. Pure; no extension is spoken.

It is here, and not taken from a library, for two things that the libraries do not do: a large message is sent without a copy,
piece by piece as it is masked, and many small ones go out with one call. Receiving alone would not pay for it.

The one idea: most frames are small, whole and unfragmented, and many of them come in one read; those are cut out of it in one
loop without a copy beside the message itself. Whatever else there is (a message larger than a read, fragments, control frames,
nonsense) leaves the loop for a slower path.

What is held of a message is its bytes, once, however it was cut into fragments. Of a message that is larger than allowed a client
keeps the beginning, which says what it was, and lets the rest pass by: `CutMessage`.
"""

from __future__ import annotations

from collections.abc import Callable
from io import BytesIO
from typing import Final, Self, TypeAlias

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
    "CutMessage",
    "FragmentCount",
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
_KEPT: Final = 16 * 1024
"""So much is kept of a message that is too large: the framings put the headers first."""
_MAX_PASSED: Final = 4 * 1024**3
"""A message of more bytes is no message, and is not waited for."""
_FEW_FRAGMENTS: Final = 1_000
_FRAGMENT_BYTES: Final = 32
"""A message of more than a few fragments has so many bytes in each of them on average: an empty one is work and no progress."""

# RFC 6455, section 7.4.1, and the codes that were registered since: what a peer may put into a close frame.
_SENDABLE: Final = frozenset({*range(1000, 1004), *range(1007, 1015), *range(3000, 5000)})

Mask: TypeAlias = Callable[[Buffer, bytes], bytes]
"""Returns data with a four-byte key applied to it, again and again."""


class CutMessage(bytes):
    """The beginning of a message that was larger than allowed; the rest has passed by.

    Args:
        kept: its first bytes.
        length: how many it had in all.
        is_text: whether it was a text message.
    """

    length: int
    """How many bytes the message had."""
    is_text: bool
    """Whether it was a text message."""

    def __new__(cls, kept: bytes, length: int, *, is_text: bool) -> Self:
        self = super().__new__(cls, kept)
        self.length = length
        self.is_text = is_text
        return self


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


class FragmentCount:
    """How many fragments of a message have come, and how many bytes they had."""

    __slots__ = ("bytes", "count")

    bytes: int
    """How many bytes they had."""
    count: int
    """How many there were."""

    def __init__(self) -> None:
        self.bytes = 0
        self.count = 0

    def add(self, length: int) -> None:
        """Count another one.

        Raises:
            FrameError: so many fragments with so few bytes are no part of a message, or so many bytes.
        """
        self.bytes += length
        self.count += 1
        if self.count > _FEW_FRAGMENTS and self.bytes < self.count * _FRAGMENT_BYTES:
            raise FrameError(1008, f"a message in {self.count} fragments with {self.bytes} bytes in all")
        if self.bytes > _MAX_PASSED:
            raise FrameError(1009, f"a message of more than {_MAX_PASSED} bytes")


class FrameParser:
    """Makes messages and control frames of what a server sends.

    Args:
        max_message_size: the largest message to accept, in bytes; of a larger one a `CutMessage` is made.
    """

    __slots__ = (
        "_closed",
        "_fragment_count",
        "_fragment_kind",
        "_fragments",
        "_head",
        "_large",
        "_length",
        "_max",
        "_need",
        "_tail",
        "controls",
        "cut",
        "error",
    )

    controls: list[Control]
    """The control frames that came, in order; the code that acts on them clears the list. Nothing comes after a `Close`."""
    cut: int
    """How many messages were larger than allowed so far."""
    error: FrameError | None
    """Why nothing more can be understood. What came before it was returned."""

    def __init__(self, max_message_size: int) -> None:
        self._max = max_message_size
        self._tail = b""  # the beginning of a frame
        self._head = 0  # the first byte of a frame that is larger than what has come
        self._length = 0  # how many bytes its payload has
        self._need = 0  # how many of them are still to come
        self._large = BytesIO()  # what has come of it, or its beginning if it is too large
        self._fragment_kind = 0
        self._fragment_count = FragmentCount()
        self._fragments = BytesIO()  # not a list of them: an object for each would take more than what is in it
        self._closed = False
        self.controls = []
        self.cut = 0
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
            self._fragments = BytesIO()
        return messages

    def _collect(self, data: bytes, messages: list[bytes | str]) -> bytes:
        """Take the next piece of a large frame; return what follows it."""
        need = self._need
        if self._length > self._max:
            room = _KEPT - self._large.tell()
            if room > 0:
                self._large.write(memoryview(data)[: min(room, need)])
        else:
            self._large.write(data if len(data) <= need else memoryview(data)[:need])
        if len(data) < need:
            self._need = need - len(data)
            return b""
        self._need = 0
        # It grew in one block, which is now given away without a copy: pieces to be joined would take the memory twice.
        payload = self._large.getvalue()
        self._large = BytesIO()
        self._frame(self._head, self._unmask(payload), messages, self._length)
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
            stop = start + length
            if stop > end:
                if head & 0x08 and length > _MAX_CONTROL:
                    raise FrameError(1002, "a control frame is too long")
                if length > limit:
                    _check_kind(head)  # sooner than when all of it has come
                    if length > _MAX_PASSED:
                        raise FrameError(1009, f"a message of {length} bytes")
                self._head = head
                self._length = length
                self._need = stop - end
                self._large.write(memoryview(data)[start : start + _KEPT] if length > limit else memoryview(data)[start:])
                return
            at = stop
            if length > limit:
                self._frame(head, data[start : min(stop, start + _KEPT)], messages, length)
                if self._closed:
                    return
            elif head == _WHOLE_BINARY and not self._fragment_kind:
                append(data[start:stop])
            else:
                self._frame(head, data[start:stop], messages, length)
                if self._closed:
                    return
        self._tail = data[at:] if at else data

    def _frame(self, head: int, payload: bytes, messages: list[bytes | str], length: int) -> None:
        """Take a whole frame of any kind; of one that is longer than a message may be, the beginning and the length."""
        kind = head & 0x0F
        _check_kind(head)
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
        elif head & _FIN:
            messages.append(self._message(kind, payload, length))
            return
        else:
            self._fragment_kind = kind
        self._count_fragment(length)
        if self._fragment_count.bytes <= self._max:
            self._fragments.write(payload)
        else:
            self._fragments.write(payload[: max(_KEPT - self._fragments.tell(), 0)])
            self._fragments.truncate(_KEPT)
        if head & _FIN:
            whole = self._fragments.getvalue()
            kind, length = self._fragment_kind, self._fragment_count.bytes
            self._fragments = BytesIO()
            self._fragment_kind = 0
            self._fragment_count = FragmentCount()
            messages.append(self._message(kind, whole, length))

    def _count_fragment(self, length: int) -> None:
        self._fragment_count.add(length)

    def _message(self, kind: int, payload: bytes, length: int) -> bytes | str:
        if length > self._max:
            self.cut += 1
            return CutMessage(payload, length, is_text=kind == TEXT)
        return payload if kind == BINARY else _text(payload)


class ServerFrameParser(FrameParser):
    """Makes messages and control frames of what a client sends: each of its frames is masked.

    Args:
        max_message_size: the largest message to accept, in bytes; a larger one is an error.
        mask: takes the mask off.
    """

    __slots__ = ("_key", "_mask")

    def __init__(self, max_message_size: int, mask: Mask) -> None:
        super().__init__(max_message_size)
        self._mask = mask
        self._key = b""  # of a frame that is larger than what has come

    def _unmask(self, payload: bytes) -> bytes:
        return self._mask(payload, self._key)

    def _count_fragment(self, length: int) -> None:
        super()._count_fragment(length)
        if self._fragment_count.bytes > self._max:
            raise FrameError(1009, f"a message of more than {self._max} bytes")

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
                self._length = length
                self._need = stop - end
                self._large.write(memoryview(data)[start:])
                return
            at = stop
            self._frame(head, self._mask(data[start:stop], key), messages, length)
            if self._closed:
                return
        self._tail = data[at:] if at else data


def _check_kind(head: int) -> None:
    """Raise FrameError if the first byte of a frame is none."""
    if head & 0x70:
        raise FrameError(1002, "a frame has a bit set that means nothing here")
    if BINARY < head & 0x0F < CLOSE:
        raise FrameError(1002, f"a frame is of the unknown kind {head & 0x0F}")


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
