"""Where the command `trio-gateway` begins and ends: Ctrl-C ends it without a word from its first moment on.

It is a package of its own, because importing anything of `trio_gateway` imports all of that first, which takes a good part of a
second. Somebody who presses Ctrl-C then wants the prompt back, and no traceback of an import; and somebody who asks for the
version, for help or for a completion needs nothing of it, but for the names that `--gateway` takes.

Nothing can be done before: of the first 50 ms, Python's own start takes 35, and the script that pip makes takes most of the rest
to import `re`. To find and run this file takes one or two.
"""

from __future__ import annotations

import os
import signal
import sys

__all__ = ["main"]

# `exit_codes.ExitCode` has them all; that module is not there yet when these are needed.
_BAD_INPUT = 2
_INTERRUPTED = 130  # 128 and SIGINT, as a shell reports it
_OUTPUT_CLOSED = 141


def _end(*_: object) -> None:
    # Nothing is open yet, or nothing any more: no event loop, no kernel, no file.
    os._exit(_INTERRUPTED)


def main() -> None:
    """Run the command line with the arguments of this process, and exit with the code that its help describes.

    Raises:
        SystemExit: always, but where the version was asked for and said.
    """
    # Ignored, as in the background of a script's shell, it stays so.
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        # While a command runs its event loop has the signal, and gives it back at its end.
        signal.signal(signal.SIGINT, _end)
    if sys.argv[1:] == ["--version"] and _says_version():
        return
    if not os.environ.get("COLUMNS", "").strip("0"):
        os.environ.pop("COLUMNS", None)  # rich would take the 0 at its word, and print nothing at all
    try:
        code = _run()
    except KeyboardInterrupt:
        # Ctrl-C before the event loop's own handling was in place, or after it was gone.
        code = _INTERRUPTED
    sys.exit(_flush(code))


def _run() -> int:
    try:
        from .reading import run_app

        return run_app(sys.argv[1:])
    except BrokenPipeError:
        return _OUTPUT_CLOSED
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich", "nbformat"}:
            raise
        _complain(f'the command line needs {error.name}: pip install "trio-gateway[cli]"')
        return _BAD_INPUT
    except OSError as error:
        # Help, a completion or an error could not be written, as on a full disk. A command's own output has words of its own.
        _complain(f"{type(error).__name__}: {error}")
        return _BAD_INPUT


def _complain(words: str) -> None:
    """Say what is wrong, if standard error can be written to: there is no other place for it."""
    from contextlib import suppress

    if sys.stderr is not None:  # for `print`, None is standard output
        with suppress(OSError):
            print(f"trio-gateway: error: {words}", file=sys.stderr)  # noqa: T201


def _flush(code: int) -> int:
    """Write what the standard streams still hold, and return the exit code: another one if that can't be written."""
    for stream in (sys.stdout, sys.stderr):
        if stream is None:
            continue
        try:
            stream.flush()
        except OSError as error:
            # Python would flush once more while it ends, complain, and end with 120.
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
            if isinstance(error, BrokenPipeError):
                code = _OUTPUT_CLOSED
            elif code != _BAD_INPUT:  # then it was told before
                _complain(f"{type(error).__name__}: {error}")
                code = _BAD_INPUT
    return code


def _says_version() -> bool:
    """Say the version as the command does, without the half of a second that importing it takes; say whether that was done.

    What goes wrong here is left to the command, which has words for it.
    """
    here = os.path.dirname(__file__)  # noqa: PTH120 - pathlib takes longer to import than all of this
    try:
        with open(f"{here}/../trio_gateway/_version.py", encoding="utf-8") as file:  # noqa: PTH123
            version = file.read().partition('__version__ = "')[2].partition('"')[0]
        if version:
            print(f"trio-gateway, version {version}", flush=True)  # noqa: T201
    except OSError:
        return False
    return bool(version)
