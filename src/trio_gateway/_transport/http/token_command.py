"""Runs the command whose output is the gateway's token.

The one idea: what it prints on standard output is the token and goes nowhere else; what it prints on standard error says why
there is none, and is shown without secrets. It never outlives the question: it ends with its answer, at its limit, or when nobody
waits for it.
"""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress
from functools import partial
from typing import Any, Final

import trio

from ..._config import header_value_problem
from ..._errors import GatewayTimeoutError, TokenCommandError
from ..._protocol.masking import Masker, one_line
from ..._secret import Secret, SecretBytes

__all__ = ["run_token_command"]

_MOST_OUTPUT: Final = 16 * 1024
"""The most that is read of a token, in bytes: servers take headers of 8 to 64 KiB in all."""
_MOST_ERRORS: Final = 8 * 1024
"""What is kept of the end of standard error, in bytes."""
_SHOWN: Final = 500
"""What is shown of it, in characters: as many lines from its end as fit in, and one in any case."""
_PATIENCE: Final = 1.0
"""Seconds that a command has to end when it is told to; and that output has to come to its end when the command has."""


async def run_token_command(command: Sequence[str], limit: float, secrets: Callable[[], Iterable[str]]) -> Secret:
    """Run a command, and return the token that it prints.

    Args:
        command: the path of its program, and its arguments.
        limit: how long it may take, in seconds.
        secrets: returns what must not be shown of what it prints on standard error, beside its own output.

    Raises:
        TokenCommandError: it could not be started, did not end well, or printed no token.
        GatewayTimeoutError: the limit ran out.

    Cancellation: ends the command, and what it has started, within a second.
    """
    run = _Run(command)
    with trio.move_on_after(limit) as scope:
        await run.run()
    masker = Masker([*secrets(), *run.output_lines()])
    if scope.cancelled_caught:
        said = run.last_words(masker)
        detail = f"the command {str(command[0])!r} said: {said}" if said else f"the command {str(command[0])!r} said nothing"
        raise GatewayTimeoutError("token_command", limit, "token_command_timeout", detail=detail)
    problem = run.problem or run.ending()
    token = Secret(run.text().strip())
    if not problem and not token:
        problem = "printed nothing on standard output, where the token was to be"
    if not problem and (len(token.split()) != 1 or header_value_problem(token)):
        problem = "printed what is no token: one word that can stand in a header was to be on standard output"
    if problem:
        raise TokenCommandError(command[0], problem, stderr=run.last_words(masker), returncode=run.returncode)
    return token


class _Run:
    """One run of the command.

    Args:
        command: the path of its program, and its arguments.
    """

    returncode: int | None = None
    """Its exit status, when it has ended."""
    problem: str = ""
    """Why there is no token, beside how it ended."""

    def __init__(self, command: Sequence[str]) -> None:
        self._command = list(command)
        self._output: list[SecretBytes] = []
        self._size = 0
        self._errors = SecretBytes()
        self._errors_cut = False

    async def run(self) -> None:
        """Run it to its end."""
        async with trio.open_nursery() as nursery:
            # What goes wrong stands in a field: an exception here would come out in a group.
            process = await self._start(nursery)
            if process is not None:
                nursery.start_soon(self._read_output, process, nursery.cancel_scope)
                nursery.start_soon(self._read_errors, process)
                self.returncode = await process.wait()
                # What it has left running, such as an agent, may hold its output open.
                nursery.cancel_scope.deadline = trio.current_time() + _PATIENCE

    async def _start(self, nursery: trio.Nursery) -> trio.Process | None:
        # A group of its own: what it starts ends with it; and no terminal, which belongs to the program.
        options: dict[str, Any] = {"start_new_session": True} if os.name == "posix" else {}
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
        work = partial(trio.run_process, self._command, check=False, deliver_cancel=_end, **streams, **options)
        try:
            process: trio.Process = await nursery.start(work)
        except OSError as error:
            self.problem = f"can't be started ({error.strerror or type(error).__name__})"
            return None
        return process

    async def _read_output(self, process: trio.Process, scope: trio.CancelScope) -> None:
        assert process.stdout is not None
        async with process.stdout as stream:
            while data := SecretBytes(await stream.receive_some()):
                self._output.append(data)
                self._size += len(data)
                if self._size > _MOST_OUTPUT:
                    self.problem = f"printed more than {_MOST_OUTPUT} bytes on standard output, where the token was to be"
                    scope.cancel(reason="its output is no token")
                    return

    async def _read_errors(self, process: trio.Process) -> None:
        assert process.stderr is not None
        async with process.stderr as stream:
            while data := SecretBytes(await stream.receive_some()):
                kept = SecretBytes(self._errors + data)
                self._errors = SecretBytes(kept[-_MOST_ERRORS:])
                self._errors_cut = self._errors_cut or len(kept) > _MOST_ERRORS

    def text(self) -> Secret:
        """Return what it printed on standard output; where that is no UTF-8, what no header can hold."""
        return Secret(b"".join(self._output).decode("utf-8", "replace"))

    def output_lines(self) -> list[Secret]:
        """Return each line of standard output: what it printed there is secret whatever it is."""
        return [Secret(line.strip()) for line in self.text().splitlines() if line.strip()]

    def last_words(self, masker: Masker) -> str:
        """Return the last lines of standard error as one line, without secrets."""
        lines = self._errors.decode("utf-8", "replace").splitlines()
        if self._errors_cut:  # this line may begin in the middle of a secret
            del lines[0]
        words = ""
        for line in reversed(lines):
            more = one_line(masker(line))
            if words and len(more) + len(words) > _SHOWN:
                break
            words = f"{more} {words}".strip()
        return words

    def ending(self) -> str:
        """Say how it has ended, if not well."""
        if not self.returncode:
            return ""
        if self.returncode > 0:
            return f"ended with status {self.returncode}"
        with suppress(ValueError):
            return f"was ended by {signal.Signals(-self.returncode).name}"
        return f"was ended by signal {-self.returncode}"


async def _end(process: trio.Process) -> None:
    """End a command and what it has started: politely, then not."""
    try:
        _signal(process, "SIGTERM")
        await trio.sleep(_PATIENCE)
    finally:  # also when it has ended: what it has started may not have
        _signal(process, "SIGKILL")


def _signal(process: trio.Process, name: str) -> None:
    with suppress(OSError):
        if os.name == "posix":
            os.killpg(process.pid, signal.Signals[name])
        else:
            process.kill()
