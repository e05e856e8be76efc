"""What was said between the clients and the fake, line by line: what a failed test shows.

The one idea: a bounded list of short lines, in seconds since it began, without secrets: no header is kept, of a query only names.
"""

from __future__ import annotations

import re
from collections import deque
from typing import Final

import trio

from .._protocol.messages import Message

__all__ = ["Conversation"]

_KEPT: Final = 2000
_TOKEN: Final = re.compile(r"(?<=[?&]token=)[^&]*")


class Conversation:
    """The last lines of what was said. `str()` of it is what a failed test prints.

    Args:
        kept: how many lines.
    """

    def __init__(self, kept: int = _KEPT) -> None:
        self._lines: deque[str] = deque(maxlen=kept)
        self._dropped = 0
        self._began: float | None = None

    def begin(self) -> None:
        """Begin now: from here its times count. A line that comes before begins it too."""
        if self._began is None:
            self._began = trio.current_time()

    def note(self, who: str, what: str) -> None:
        """Write a line.

        Args:
            who: the connection, such as `"#3 <"` for what came on the third.
            what: what it was.
        """
        self.begin()
        assert self._began is not None
        if len(self._lines) == self._lines.maxlen:
            self._dropped += 1
        self._lines.append(f"{trio.current_time() - self._began:12.3f}  {who:6} {_TOKEN.sub('***', what)}")

    def message(self, who: str, message: Message) -> None:
        """Write a line about a kernel's message."""
        text = bytes(message.content_raw[:100]).decode("utf-8", "replace")
        parent = f" re {message.parent_id[-8:]}" if message.parent_id else ""
        self.note(who, f"{message.channel} {message.msg_type} {message.msg_id[-8:]}{parent} {text}")

    @property
    def lines(self) -> list[str]:
        """The lines."""
        return list(self._lines)

    def __str__(self) -> str:
        head = [f"({self._dropped} lines before)"] if self._dropped else []
        return "\n".join([*head, *self._lines])
