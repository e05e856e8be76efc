"""The command at a pseudo terminal, and what a person sees there: the screen, as what was drawn leaves it."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import struct
import sys
import termios
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import attrs
import pytest
import trio

from .cli_kit import Cli

PATIENCE = 60.0
"""How long to wait for something to be shown, in seconds."""

_OWN_TERMINAL = """\
import fcntl, os, sys, termios
os.setsid()
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execv(sys.executable, [sys.executable, "-m", "trio_gateway_command", *sys.argv[1:]])
"""
"""Makes standard input the terminal of a session of its own, as a shell's is: Ctrl-C typed there is a signal."""

_PIECES = re.compile(r"\x1b\[(?P<arguments>[?0-9;]*)(?P<command>[A-Za-z])|(?P<control>[\r\n])|(?P<text>[^\x1b\r\n]+)")


class Screen:
    """What a terminal shows after what was written to it, as far as the command draws: lines, and going back to write them anew.

    Args:
        width: how many characters a line has room for. What is longer goes on in the next one.
    """

    def __init__(self, width: int) -> None:
        self._width = width
        self._lines: list[list[str]] = [[]]
        self._row = self._column = 0
        self.shows_cursor = True

    @property
    def lines(self) -> list[str]:
        """The lines that have something on them, without the spaces at their ends."""
        shown = ["".join(line).rstrip() for line in self._lines]
        return [line for line in shown if line]

    def write(self, text: str) -> None:
        """Do what this asks for."""
        written = 0
        for piece in _PIECES.finditer(text):
            assert piece.start() == written, f"what is {text[written : piece.start()]!r}?"
            written = piece.end()
            if piece["text"] is not None:
                for character in piece["text"]:
                    self._put(character)
            elif piece["control"] == "\r":
                self._column = 0
            elif piece["control"] == "\n":
                self._down()
            else:
                self._obey(piece["command"], piece["arguments"])
        assert written == len(text)

    def _put(self, character: str) -> None:
        if self._column == self._width:
            self._column = 0
            self._down()
        line = self._lines[self._row]
        line.extend(" " * (self._column + 1 - len(line)))
        line[self._column] = character
        self._column += 1

    def _down(self) -> None:
        self._row += 1
        if self._row == len(self._lines):
            self._lines.append([])

    def _obey(self, command: str, arguments: str) -> None:
        if command == "A":
            self._row = max(self._row - int(arguments or 1), 0)
        elif command == "K":
            assert arguments == "2", arguments
            self._lines[self._row].clear()
        elif command in "hl":
            assert arguments == "?25", arguments
            self.shows_cursor = command == "h"
        else:
            assert command == "m", f"{arguments!r} {command!r}"


@attrs.define
class Terminal:
    """A command that runs at a terminal."""

    process: trio.Process
    screen: Screen
    _controller: int
    _terminal: int
    shown: str = ""
    _read: int = 0

    async def until(self, text: str) -> None:
        """Read what is shown until this text has come after what was read before."""
        while text not in self.shown[self._read :]:
            await self._more(repr(text))
        self._read = self.shown.index(text, self._read) + len(text)

    async def until_screen(self, holds: Callable[[list[str]], bool], what: str) -> list[str]:
        """Read until the screen shows what is wanted, and return its lines."""
        with trio.move_on_after(PATIENCE):  # it is drawn again and again
            while not holds(self.screen.lines):
                await self._more(what)
            return self.screen.lines
        pytest.fail(f"no {what} on {self.screen.lines!r}")

    async def _more(self, what: str) -> None:
        with trio.move_on_after(PATIENCE) as scope:
            await trio.lowlevel.wait_readable(self._controller)
        assert not scope.cancelled_caught, f"no {what} in {self.shown!r}"
        self._note(os.read(self._controller, 1 << 16))

    def _note(self, data: bytes) -> None:
        # What is read may end in the middle of a character, or of a sequence.
        data = self._rest + data
        whole = re.match(rb"(?s)(.*?)(\x1b(?:\[[?0-9;]*)?|[\xc0-\xff][\x80-\xbf]{0,2})?\Z", data)
        assert whole is not None
        try:
            text, self._rest = data.decode(), b""
            if whole[2] is not None and whole[2].startswith(b"\x1b"):
                text, self._rest = whole[1].decode(), whole[2]
        except UnicodeDecodeError:
            assert whole[2] is not None
            text, self._rest = whole[1].decode(), whole[2]
        self.shown += text
        self.screen.write(text)

    _rest: bytes = b""

    def type(self, text: str) -> None:
        """Type text."""
        os.write(self._controller, text.encode())

    @property
    def echoes(self) -> bool:
        """Whether the terminal shows what is typed."""
        return bool(termios.tcgetattr(self._terminal)[3] & termios.ECHO)

    async def end(self) -> int:
        """Wait for the command's end, and return its exit code; what it shows is read."""
        async with trio.open_nursery() as nursery:  # what nobody reads would hold it up

            async def read() -> None:
                while True:
                    await trio.lowlevel.wait_readable(self._controller)
                    self._note(os.read(self._controller, 1 << 16))

            nursery.start_soon(read)
            code = await self.process.wait()
            nursery.cancel_scope.cancel()
        os.set_blocking(self._controller, False)
        try:
            while piece := os.read(self._controller, 1 << 16):
                self._note(piece)
        except BlockingIOError:
            pass
        return code


@asynccontextmanager
async def at_terminal(cli: Cli, *arguments: str | Path, out: int | None = None, width: int = 100) -> AsyncGenerator[Terminal]:
    """Run the command at a terminal of its own."""
    controller, terminal = pty.openpty()
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 24, width, 0, 0))
        process = await trio.lowlevel.open_process(
            [sys.executable, "-c", _OWN_TERMINAL, *map(str, arguments)],
            stdin=terminal,
            stdout=terminal if out is None else out,
            stderr=terminal,
            cwd=cli.cwd,
            env=cli.environment,
        )
        try:
            yield Terminal(process, Screen(width), controller, terminal)
        finally:
            if process.poll() is None:
                process.kill()
            with trio.CancelScope(shield=True):
                await process.wait()
    finally:
        os.close(controller)
        os.close(terminal)
