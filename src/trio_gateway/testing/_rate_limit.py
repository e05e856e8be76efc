"""The limits of a gateway on what a kernel publishes."""

from __future__ import annotations

from collections import deque
from typing import Final

from .._protocol.messages import Message

__all__ = ["RateLimiter"]

_EXEMPT: Final = frozenset({"status", "comm_open", "execute_input"})
"""What is never dropped, nor counted."""


class RateLimiter:
    """Drops what is too much, as Jupyter Server does: counted in a window, begun afresh when the kernel is idle.

    Args:
        messages: how many a second pass; 0 for no limit.
        octets: how many bytes of streams a second pass; 0 for no limit.
        window: over how many seconds both are counted.
    """

    def __init__(self, messages: float, octets: float, window: float) -> None:
        self._limits = (messages, octets)
        self._window = window
        self._seen: deque[tuple[float, int]] = deque()
        self._bytes = 0
        self._exceeded = [False, False]

    def judge(self, message: Message, now: float) -> tuple[bool, str]:
        """Say whether a message passes, and what to write on stderr about it.

        Args:
            message: the message.
            now: the time, in seconds.
        """
        kind = message.msg_type
        if kind == "status" and message.content.get("execution_state") == "idle":
            self._seen.clear()
            self._bytes = 0
            self._exceeded = [False, False]
        if kind in _EXEMPT:
            return True, ""
        while self._seen and now >= self._seen[0][0]:
            self._bytes -= self._seen.popleft()[1]
        size = len(message.content_raw) if kind == "stream" else 0
        rates = ((len(self._seen) + 1) / self._window, (self._bytes + size) / self._window)
        notice = ""
        for index, name in enumerate(("message", "data")):
            over = 0 < self._limits[index] < rates[index]
            if over and not self._exceeded[index]:
                notice = f"IOPub {name} rate exceeded.\nThe fake gateway will temporarily stop sending output\nto the client.\n"
            self._exceeded[index] = over
        if any(self._exceeded):
            return False, notice
        self._seen.append((now + self._window, size))
        self._bytes += size
        return True, ""
