"""Runs a command's async part until it ends or a signal ends it.

The one idea: a signal is a cancellation. The first one cancels the command's scope, so kernels are interrupted, files saved and
processes ended by the blocks that own them; a second one comes from somebody who does not want to wait for that.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Awaitable, Callable
from typing import Final, TypeVar

import trio

from .._services import alongside
from .exits import OutOfTimeError
from .options import Options

__all__ = ["limited", "run_command"]

_T = TypeVar("_T")

_DELIVERY: Final = 0.5
"""Seconds that a cancellation has at most to reach what runs."""
_WORDS: Final = {"SIGINT": "Interrupted", "SIGTERM": "Told to end", "SIGHUP": "Hung up"}


def run_command(
    options: Options, command: Callable[[], Awaitable[int]], *, before_quitting: Callable[[], object] | None = None
) -> int:
    """Run the command in an event loop of its own.

    Args:
        options: for what is said meanwhile.
        command: the async part; returns the exit code.
        before_quitting: called when a second signal is about to end the process at once; it must be quick.

    Returns:
        The command's exit code; after a signal 128 and the signal's number, as a shell reports it.

    Raises:
        Exception: what the command raised, as it was, unless a signal came before.
    """
    options.set_up_logging()
    return trio.run(_supervise, options, command, before_quitting)


async def _supervise(
    options: Options, command: Callable[[], Awaitable[int]], before_quitting: Callable[[], object] | None
) -> int:
    received: list[int] = []
    scope = trio.CancelScope()
    with trio.open_signal_receiver(*_signals()) as signals:

        async def watch() -> None:
            async for number in signals:
                if received:
                    # Files are whole at any moment, and a local gateway notices that we are gone and ends with its kernels.
                    for prepare in (before_quitting, options.before_quitting):
                        if prepare is not None:
                            prepare()
                    os._exit(128 + number)
                received.append(number)
                scope.cancel(reason=f"signal {number}")
                options.say(f"{_WORDS[signal.Signals(number).name]}: interrupting the kernel and cleaning up …")
                await _delivered()
                options.say("… (a second time: quit at once)")

        async def cancellable() -> int:
            with scope:
                return await command()
            return 128 + received[0]

        try:
            code = await alongside(watch, cancellable)
        except Exception as error:
            if not received:
                raise
            options.warn(f"while cleaning up: {error}")
            code = 0
    return 128 + received[0] if received else code


async def _delivered() -> None:
    """Wait until what was cancelled has acted on it, as far as it does so at once: notebooks are saved first of all.

    Each nursery on the way takes a turn of the scheduler. A word that invites a second signal, and what the second one does, come
    after that: else the process could be gone before anything was saved.
    """
    from trio.testing import wait_all_tasks_blocked

    # Output that comes without a pause keeps some task running.
    with trio.move_on_after(_DELIVERY):
        await wait_all_tasks_blocked()


def _signals() -> list[signal.Signals]:
    """The signals that end a command. One that our parent had us ignore (nohup, a shell's background job) stays ignored."""
    known = [signal.Signals[name] for name in _WORDS if name in signal.Signals.__members__]
    return [number for number in known if signal.getsignal(number) is not signal.SIG_IGN]


async def limited(seconds: float | None, work: Callable[[], Awaitable[_T]]) -> _T:
    """Do the work within a limit that the user gave.

    Args:
        seconds: the limit; None for none.
        work: what to do.

    Raises:
        OutOfTimeError: the limit ran out; the work was cancelled.

    Cancellation: reaches the work.
    """
    if seconds is None:
        return await work()
    with trio.move_on_after(seconds):
        return await work()
    raise OutOfTimeError(seconds)
