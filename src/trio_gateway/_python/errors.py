"""What can go wrong with a value or a call, as errors. Pure.

The one idea: a caller has to know whose turn it is: its own (a value that can't be carried), the code's in the kernel, or the
way's in between. What the kernel sends and can't be understood, or is not taken from it, is `ProtocolError` as everywhere.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from .._errors import GatewayError

__all__ = ["FileAccessError", "RemoteError", "TransferError", "ValueNotCarriedError", "ValueTooLargeError"]


class ValueNotCarriedError(GatewayError, TypeError):
    """A value, or a part of it, can't be carried to the kernel or from it. Nothing was bound, and no call was made.

    Args:
        place: where in the value the part is, such as `frame['when'][3]`.
        reason: why it can't be carried.
    """

    place: str
    """Where in the value the part is, such as `frame['when'][3]`."""
    reason: str
    """Why it can't be carried."""

    def __init__(self, place: str, reason: str) -> None:
        super().__init__(place, reason)
        self.place = place
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.place}: {self.reason}"


class ValueTooLargeError(GatewayError):
    """A value or a file of the kernel's is longer than `max_bytes` allows.

    Of a file, or a value of more than 32 KiB, nothing was asked for. A shorter value had come with the kernel's answer.

    Args:
        what: the value or the file, for people.
        size: how long the kernel says that it is, in bytes.
        max_bytes: how long it may be, in bytes.
    """

    what: str
    """The value or the file, for people."""
    size: int
    """How long the kernel says that it is, in bytes."""
    max_bytes: int
    """How long it may be, in bytes."""

    def __init__(self, what: str, size: int, max_bytes: int) -> None:
        super().__init__(what, size, max_bytes)
        self.what = what
        self.size = size
        self.max_bytes = max_bytes

    def __str__(self) -> str:
        return f"{self.what}: it has {self.size} bytes, and max_bytes allows {self.max_bytes}"


class TransferError(GatewayError):
    """A value did not come through whole, so it is not there at all.

    Args:
        what: the value, for people.
        done: how much of it had come through and was of use, in bytes.
        total: how long it is, in bytes.
        reason: what stood in the way.
    """

    what: str
    """The value, for people."""
    done: int
    """How much of it had come through and was of use, in bytes."""
    total: int
    """How long it is, in bytes; 0 for items of a generator that the kernel has closed."""
    reason: str
    """What stood in the way."""

    def __init__(self, what: str, done: int, total: int, reason: str) -> None:
        super().__init__(what, done, total, reason)
        self.what = what
        self.done = done
        self.total = total
        self.reason = reason

    def __str__(self) -> str:
        came = f"{self.done} of {self.total} bytes came through, then " if self.total else ""
        return f"{self.what}: {came}{self.reason}"


class FileAccessError(GatewayError):
    """A file can't be read or written. Nothing is under the name that was not there before.

    Args:
        path: the file.
        side: where it is: `"here"` or `"kernel"`.
        kind: what is wrong, for programs: `"missing"`, `"directory"`, `"permission"`, `"full"` (the disk), `"outside"` (of the
            directory that was given), `"busy"` (another call is writing it), or `"other"`.
        reason: the same for people.
    """

    path: str
    """The file."""
    side: Literal["here", "kernel"]
    """Where it is."""
    kind: str
    """What is wrong: `"missing"`, `"directory"`, `"permission"`, `"full"`, `"outside"`, `"busy"` or `"other"`."""
    reason: str
    """The same for people."""

    def __init__(self, path: str, side: Literal["here", "kernel"], kind: str, reason: str) -> None:
        super().__init__(path, side, kind, reason)
        self.path = path
        self.side = side
        self.kind = kind
        self.reason = reason

    def __str__(self) -> str:
        return f"{self.path} {'here' if self.side == 'here' else 'in the kernel'}: {self.reason}"


class RemoteError(GatewayError):
    """Code that was called or evaluated in the kernel raised an exception.

    With `trust="pickle"` the exception itself is its `__cause__`, where it could be pickled.

    Args:
        type_name: the name of the exception's class, with its module unless that is `builtins`.
        text: its text.
        traceback: its traceback as Python prints it, one string a frame.
        notes: its notes.
    """

    type_name: str
    """The name of the exception's class, with its module unless that is `builtins`."""
    text: str
    """Its text."""
    traceback: tuple[str, ...]
    """Its traceback as Python prints it, one string a frame; for code that was interrupted, as IPython does."""
    notes: tuple[str, ...]
    """Its notes."""

    def __init__(self, type_name: str, text: str, traceback: Sequence[str] = (), notes: Sequence[str] = ()) -> None:
        super().__init__(type_name, text, tuple(traceback), tuple(notes))
        self.type_name = type_name
        self.text = text
        self.traceback = tuple(traceback)
        self.notes = tuple(notes)

    def __str__(self) -> str:
        return f"{self.type_name}: {self.text}" if self.text else self.type_name
