"""Have the nth call of a kind to the operating system fail, as it fails on a machine that is short of something.

Only calls of the tasks below `here()` count, so a server in the same process is spared.
"""

from __future__ import annotations

import contextvars
import io
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import attrs
import trio
from trio._core import _thread_cache  # where Trio's threads begin: there is no public place

__all__ = ["CALLS", "FailingCall", "os_error"]

_watched: contextvars.ContextVar[bool] = contextvars.ContextVar("failing_calls", default=False)


def os_error(number: int) -> OSError:
    """Return the error that the system gives."""
    return OSError(number, os.strerror(number))


class _FullDisk(io.FileIO):
    """A file of which half of the first piece is written, and then nothing more."""

    def __init__(self, descriptor: int, mode: str, error: BaseException) -> None:
        super().__init__(descriptor, mode)
        self._error = error
        self._full = False

    def write(self, data: Any) -> int:
        if self._full:
            raise self._error
        self._full = True
        return super().write(memoryview(data)[: max(1, len(data) // 2)])


@attrs.define
class FailingCall:
    """The nth call of a kind fails with an error; 0 only counts them.

    Args:
        kind: one of `CALLS`.
        nth: which call fails, from 1.
        error: what it raises.
    """

    kind: str
    nth: int = 0
    error: BaseException = attrs.field(factory=RuntimeError)
    calls: int = 0

    def _strikes(self) -> bool:
        if not _watched.get():
            return False
        self.calls += 1
        return self.calls == self.nth

    @contextmanager
    def armed(self) -> Iterator[None]:
        """Stand in the way of the calls, for the block."""
        with ExitStack() as stack:
            for place, name in CALLS[self.kind]:
                stack.enter_context(mock.patch.object(place, name, self._instead_of(getattr(place, name))))
            yield

    @contextmanager
    def here(self) -> Iterator[None]:
        """Count the calls of this task and of those that it starts."""
        token = _watched.set(True)
        try:
            yield
        finally:
            _watched.reset(token)

    def _instead_of(self, real: Callable[..., Any]) -> Callable[..., Any]:
        if self.kind in {"read", "write", "connect", "resolve"}:

            async def fails_once(*args: Any, **options: Any) -> Any:
                if self._strikes():
                    await trio.lowlevel.checkpoint()
                    raise self.error
                return await real(*args, **options)

            return fails_once

        if self.kind == "file":

            def opens(descriptor: int, mode: str, *args: Any, **options: Any) -> Any:
                if self._strikes():
                    return io.BufferedWriter(_FullDisk(descriptor, mode, self.error))
                return real(descriptor, mode, *args, **options)

            return opens

        def fails(*args: Any, **options: Any) -> Any:
            if self._strikes():
                raise self.error
            return real(*args, **options)

        return fails


_Socket = trio._socket._SocketType
CALLS: dict[str, list[tuple[Any, str]]] = {
    "resolve": [(trio._highlevel_open_tcp_stream, "getaddrinfo")],
    "socket": [(trio._highlevel_open_tcp_stream, "socket")],
    "connect": [(_Socket, "connect")],
    "read": [(_Socket, "recv")],
    "write": [(_Socket, "send")],
    "write at once": [(os, "write")],  # a small frame, from the task that asks for it
    "option": [(_Socket, "setsockopt")],
    "thread": [(_thread_cache.ThreadCache, "start_thread_soon")],
    "process": [(trio.lowlevel, "open_process"), (trio._subprocess, "_open_process")],
    "temporary file": [(tempfile, "TemporaryFile")],
    "open": [(os, "open")],
    "file": [(os, "fdopen")],  # it opens, and can't be written whole
    "replace": [(os, "replace")],
    "sync": [(os, "fsync")],
}
"""What is replaced for each kind of call."""
