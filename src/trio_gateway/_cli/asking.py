"""Input that code in a kernel asks for, at this command's terminal.

The one idea: code that asks, as Python's `input()` and `getpass()` do, finds a person where there is one; where there is none the
command says so to the kernel beforehand, and one line says what to do.
"""

from __future__ import annotations

import getpass
import os
import sys
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from functools import partial
from typing import Final

import trio

from .._outputs import Error
from .options import Options
from .rendering import Renderer
from .wording import Failure

if sys.platform != "win32":
    import termios

__all__ = ["CODE_IS_THERE", "NO_TERMINAL", "SEVERAL_RUN", "Asker", "find_asker", "nobody_to_ask", "wanted_input"]

NO_TERMINAL: Final = "standard input is no terminal: run it at one, or write the value into the code"
"""Why nobody is asked for input."""
CODE_IS_THERE: Final = "standard input is where the code comes from: give it as an argument, or as a file to `trio-gateway run`"
"""Another reason."""
SEVERAL_RUN: Final = "several notebooks run at a time, of which none can ask: run it with -j 1"
"""Another one."""

_END_OF_INPUT: Final = "\x04"
"""What Jupyter's terminals send for Ctrl-D; ipykernel makes an `EOFError` of it."""
_PIECE: Final = 4096


class Asker:
    """Asks the person at the terminal. To be given to `Kernel.stream` as `stdin`.

    Args:
        options: restores the terminal when the process quits at once.
        renderer: shows the prompt.
    """

    pausing: Callable[[], AbstractContextManager[object]]
    """Keeps away what else draws on the terminal."""

    def __init__(self, options: Options, renderer: Renderer) -> None:
        self._options = options
        self._renderer = renderer
        self._typed = b""
        self.pausing = nullcontext

    async def __call__(self, prompt: str, password: bool) -> str:
        """Show the prompt, and return the line that is typed then.

        Cancellation: the terminal is as it was; what was typed and not ended is for the next reader.
        """
        with self.pausing(), self._hidden() if password else nullcontext():
            await self._renderer.prompt(prompt)
            line = await self._read_line(hidden=password)
            ended = line.endswith("\n")
            await self._renderer.answered(line if not password else "", echoed=ended and not password)
        return line.removesuffix("\n") if line else _END_OF_INPUT

    async def _read_line(self, *, hidden: bool) -> str:
        """Return the next line with its end; without, if Ctrl-D ended it; "" if that was all."""
        if sys.platform == "win32":
            read = partial(getpass.getpass, "") if hidden else sys.stdin.readline
            return await trio.to_thread.run_sync(read, abandon_on_cancel=True) + ("\n" if hidden else "")
        descriptor = sys.stdin.fileno()
        while b"\n" not in self._typed:
            await trio.lowlevel.wait_readable(descriptor)
            piece = os.read(descriptor, _PIECE)
            if not piece:
                break
            self._typed += piece
        line, end, self._typed = self._typed.partition(b"\n")
        return (line + end).decode(sys.stdin.encoding or "utf-8", "replace")

    @contextmanager
    def _hidden(self) -> Generator[None]:
        """Have the terminal not show what is typed."""
        if sys.platform == "win32":  # getpass sees to it
            yield
            return
        descriptor = sys.stdin.fileno()
        before = termios.tcgetattr(descriptor)
        silent = [*before]
        silent[3] &= ~termios.ECHO
        termios.tcsetattr(descriptor, termios.TCSADRAIN, silent)

        def restore() -> None:
            termios.tcsetattr(descriptor, termios.TCSADRAIN, before)

        self._options.before_quitting = restore
        try:
            yield
        finally:
            restore()
            self._options.before_quitting = None


def find_asker(options: Options, renderer: Renderer) -> Asker | None:
    """Return what asks a person for input, if there is a terminal to ask and to be answered at."""
    if sys.stdin is None or not sys.stdin.isatty() or not renderer.uses_terminal:
        return None
    return Asker(options, renderer)


def wanted_input(error: Error) -> bool:
    """Whether code ended because it asked for input where there is none: ipykernel's words, and xeus's."""
    return error.ename == "StdinNotImplementedError" or "does not support input requests" in error.evalue


def nobody_to_ask(why: str = NO_TERMINAL) -> Failure:
    """Say that code asked for input in vain, and what to do.

    Args:
        why: why nobody is asked, and what to do about it.
    """
    return Failure("StdinNotImplementedError", f"the code asks for input, and {why}")
