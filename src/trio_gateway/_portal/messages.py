"""What a caller outside of Trio and its call or block in Trio say to each other.

The one idea: a conversation is a sequence of values. A call may ask something of its caller, such as an answer to a kernel's
request for input, any number of times, and take a question back; its last message says how it ended. A block says that it was
entered and, once it is left, how it ended.
"""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import Any, Final, Protocol, TypeAlias

import attrs
import trio

__all__ = [
    "NOBODY",
    "Asked",
    "Caller",
    "Entered",
    "Last",
    "Message",
    "Raised",
    "Returned",
    "Stopped",
    "Withdrawn",
    "closed",
    "swallowed",
    "value_of",
]


@attrs.frozen
class Entered:
    """A block was entered."""

    value: Any
    """What it gave."""


@attrs.frozen
class Returned:
    """It ended well."""

    value: Any
    """What it returned."""


@attrs.frozen
class Raised:
    """It ended with an exception."""

    error: BaseException
    """The exception."""


@attrs.frozen
class Stopped:
    """It was cancelled."""


@attrs.frozen(eq=False)
class Asked:
    """Something is asked of the caller, and the call waits for it."""

    name: str
    """The argument that this is of."""
    function: Callable[..., object]
    """What to call."""
    args: tuple[object, ...]
    """What with."""
    answer: Callable[[Returned | Raised], None]
    """Say what came of it. From any thread."""


@attrs.frozen
class Withdrawn:
    """Nobody waits for the answer to a question any more: the caller may stop where it is with it."""

    asked: Asked
    """The question."""


Last: TypeAlias = Returned | Raised | Stopped
Message: TypeAlias = Entered | Asked | Last
"""What a caller waits for."""


class Caller(Protocol):
    """A task or a thread outside of Trio that waits for messages."""

    def deliver(self, message: Message | Withdrawn) -> bool:
        """Wake the caller with a message; say whether it is still there. From any thread; neither blocks nor raises."""
        ...


class _Nobody:
    def deliver(self, message: Message | Withdrawn) -> bool:
        """Say that there is no caller any more."""
        del message
        return False


NOBODY: Final[Caller] = _Nobody()
"""In place of a caller, where none waits: a block that is entered, or left, ends by itself."""


def closed() -> trio.ClosedResourceError:
    """Make the error of a call that comes after the end of the gateway's block."""
    return trio.ClosedResourceError("the gateway's block has ended")


def value_of(message: Entered | Last) -> Any:
    """Return what a block gave when it was entered, or what a call returned.

    Raises:
        BaseException: what it raised.
        trio.ClosedResourceError: it was cancelled in Trio, and not by its caller.
    """
    if isinstance(message, (Entered, Returned)):
        return message.value
    raise message.error if isinstance(message, Raised) else closed()


def swallowed(message: Entered | Last, error: BaseException | None, traceback: TracebackType | None) -> bool:
    """Say whether a block that has ended so has swallowed what its body raised.

    Args:
        message: the last message.
        error: what the body raised.
        traceback: where.

    Raises:
        BaseException: what the block raised in place of that.
    """
    if not isinstance(message, Raised):
        return isinstance(message, Returned) and isinstance(error, Exception)
    if message.error is not error:
        raise message.error
    message.error.__traceback__ = traceback  # without the frames on the other side
    return False
