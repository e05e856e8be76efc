"""Standard output and standard error as byte sinks that never block the event loop.

The one idea: our reader may stop (a pager, a stopped terminal), and must then hold up the command but not the
connection to the gateway. So a write goes to the descriptor at once only where it can't block, and to a thread
otherwise. Nothing is buffered here, so nothing is left to flush when the process ends.
"""

from __future__ import annotations

import select
import sys
from typing import BinaryIO, Final, TextIO, cast

import trio

from .._errors import InvalidInputError
from .._threads import no_thread
from .exits import OutputClosedError

__all__ = ["Sink", "standard_error", "standard_output"]

# POSIX: a pipe that poll() calls writable takes this many bytes without blocking. Windows has no poll(): always a thread there.
_AT_ONCE: Final[int] = getattr(select, "PIPE_BUF", 0)


class Sink:
    """One text stream to write to from Trio.

    Args:
        stream: an open text stream, whose own buffer is bypassed; None, as Python has it for a closed standard stream, drops all.
    """

    is_terminal: bool
    """Whether a person sees it."""

    def __init__(self, stream: TextIO | None) -> None:
        self._stream = stream  # closes what is below it when nobody holds it
        self._poll: select.poll | None = None
        self.is_terminal = stream is not None and stream.isatty()
        if stream is None:
            return
        stream.flush()
        buffer = stream.buffer
        self._raw = cast(BinaryIO, getattr(buffer, "raw", buffer))
        self._encoding = stream.encoding or "utf-8"
        if _AT_ONCE:
            try:
                self._poll = select.poll()
                self._poll.register(self._raw.fileno(), select.POLLOUT)
            except (OSError, ValueError):  # no descriptor below it, as in a test
                self._poll = None

    async def write(self, text: str) -> None:
        """Write all of the text. Characters that the stream's encoding lacks are written as escapes.

        Raises:
            OutputClosedError: the reader went away.
            InvalidInputError: the text can't be written, as on a full disk.

        Cancellation: leaves at once; a part of the text may have been written, or may still be.
        """
        if self._stream is None:
            await trio.lowlevel.checkpoint()
            return
        data = text.encode(self._encoding, "backslashreplace")
        try:
            if self._takes_at_once(len(data)):
                self._write_all(data)
                await trio.lowlevel.checkpoint()
            else:
                # Abandoned when cancelled: a reader that has stopped for good must not keep Ctrl-C from working.
                await trio.to_thread.run_sync(self._write_all, data, abandon_on_cancel=True)
        except BrokenPipeError as error:
            raise OutputClosedError from error
        except RuntimeError as error:
            if (found := no_thread(error)) is None:
                raise
            raise InvalidInputError("stream", self._stream.name, f"a place that can be written to ({found.strerror})") from error
        except OSError as error:
            raise InvalidInputError("stream", self._stream.name, f"a place that can be written to ({error.strerror})") from error

    def _takes_at_once(self, size: int) -> bool:
        if self._poll is None or size > _AT_ONCE:
            return False
        return any(event & select.POLLOUT for _, event in self._poll.poll(0))

    def _write_all(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            # None: another process made this terminal non-blocking, and it is full.
            written = cast("int | None", self._raw.write(rest))
            if written is None:
                select.select([], [self._raw], [])
            else:
                rest = rest[written:]


def standard_output() -> Sink:
    """Return a sink on this process's standard output."""
    return Sink(sys.stdout)


def standard_error() -> Sink:
    """Return a sink on this process's standard error."""
    return Sink(sys.stderr)
