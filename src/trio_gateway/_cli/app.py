"""The command `trio-gateway` as a whole: it does what was asked for, and here is what becomes of every error.

The one idea: commands raise what they meet, and here, once, it turns into an exit code and a few lines on standard error.
"""

from __future__ import annotations

import importlib
import signal
import traceback
from collections.abc import Mapping
from typing import Any, Final

import click

from trio_gateway_command.commands import Call

from .exits import ExitCode, OutputClosedError, exit_code_of
from .options import Options
from .tables import as_json
from .wording import Failure

__all__ = ["perform"]

_SIGNALLED: Final = 128


def perform(common: Mapping[str, Any], call: Call | click.ClickException) -> int:
    """Do what a command line asks for.

    Args:
        common: what it says of the options that all commands take, by the names of `Options`.
        call: what it asks for; or what is wrong with it.

    Returns:
        The exit code.

    Raises:
        ModuleNotFoundError: a library of the extra `cli` is not installed.
    """
    options = Options(**common)
    path = call.path if isinstance(call, Call) else ""
    try:
        if isinstance(call, click.ClickException):
            raise call
        # No command waits for the notebooks, the proxy or the test kit of another.
        module = importlib.import_module(f".{call.module}", __package__)
        code = int(getattr(module, call.function)(options, **call.arguments))
    except click.ClickException as error:
        options.complain(_usage(error, path))
        code = ExitCode.BAD_INPUT
    except ModuleNotFoundError:
        raise  # a part of the extra `cli` is missing; `trio_gateway_command` knows the words for it
    except (KeyboardInterrupt, EOFError):  # before the event loop's own handling was in place, or after it was gone
        code = ExitCode.INTERRUPTED
    except (OutputClosedError, BrokenPipeError):
        return ExitCode.OUTPUT_CLOSED
    except Exception as error:  # noqa: BLE001 - the last resort: nothing may end in a traceback that nobody asked for
        if options.debug:
            traceback.print_exception(error)
        options.complain(error)
        code = exit_code_of(error)
    return _report(options, code) if options.as_json and not options.reported else code


def _report(options: Options, code: int) -> int:
    """Write the JSON object of a command that is over, and return the exit code."""
    failure = options.failure
    if code > _SIGNALLED and (failure is None or failure.type == "Interrupted"):
        where = "" if failure is None else f": {failure.message}"
        failure = Failure("Interrupted", f"ended by {signal.Signals(code - _SIGNALLED).name}{where}")
    try:
        click.echo(as_json(options.report, ok=code == ExitCode.OK, error=failure), nl=False)
    except BrokenPipeError:
        return ExitCode.OUTPUT_CLOSED
    except OSError as error:
        options.complain(Failure("OSError", f"standard output can't be written to: {error.strerror}"))
        return ExitCode.BAD_INPUT
    return code


def _usage(error: click.ClickException, path: str) -> Failure:
    """Say what is wrong with the command line.

    Args:
        error: what is wrong.
        path: the command that was called; `""` where none was.
    """
    if not isinstance(error, click.UsageError):
        path = ""
    elif error.ctx is not None:
        path = error.ctx.command_path
    return Failure(type(error).__name__, error.format_message(), f"Try: {path} --help" if path else "")
