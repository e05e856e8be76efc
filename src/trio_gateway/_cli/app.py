"""The command `trio-gateway` as a whole: its help, its subcommands, and what becomes of every error.

The one idea: commands raise what they meet, and here, once, it turns into an exit code and a few lines on standard error.
"""

from __future__ import annotations

import importlib
import signal
import traceback
from collections.abc import Mapping, Sequence
from typing import Final, cast

import rich_click as click

from .._version import __version__
from .exits import EXIT_CODES_HELP, ExitCode, OutputClosedError, exit_code_of
from .options import Options, common_options, kernel_option
from .tables import as_json
from .wording import Failure

__all__ = ["app", "run_app"]

_SIGNALLED: Final = 128

_COMMANDS: Final[Mapping[str, tuple[str, str]]] = {
    "conformance": ("conformance_command", "conformance"),
    "doctor": ("doctor_command", "doctor"),
    "exec": ("exec_command", "exec_command"),
    "gateways": ("gateways_command", "gateways"),
    "kernels": ("kernels_command", "kernels"),
    "kernelspecs": ("kernelspecs_command", "kernelspecs"),
    "proxy": ("proxy_command", "proxy"),
    "run": ("run_command", "run"),
}
"""In which module each command is, and what it is called there."""

_HELP = """Run code on the Jupyter kernels behind a gateway.

The gateway is the one of `--url`, of `--gateway` or of the environment variable JUPYTER_GATEWAY_URL. Without these, a local
Kernel Gateway is started for the one command and ended with it. Secrets never go on a command line: the token comes from
JUPYTER_GATEWAY_AUTH_TOKEN or `--token-file`. All other settings are the JUPYTER_GATEWAY_* variables.

**Shell completion:** `eval "$(_TRIO_GATEWAY_COMPLETE=bash_source trio-gateway)"`, or `zsh_source`; the page docs/command.md
says how to keep it. It has the schema of `--json` too.

**Exit codes:**

{codes}
"""


class _Commands(click.RichGroup):
    """Imports a command when it is asked for: none waits for the notebooks, the proxy or the test kit of another."""

    def list_commands(self, ctx: click.Context) -> list[str]:  # noqa: ARG002
        return sorted(_COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name in _COMMANDS and cmd_name not in self.commands:
            module, name = _COMMANDS[cmd_name]
            self.add_command(getattr(importlib.import_module(f".{module}", __package__), name))
        return super().get_command(ctx, cmd_name)


@click.group(cls=_Commands, help=_HELP.format(codes="\n".join([f"- {code}: {meaning}" for code, meaning in EXIT_CODES_HELP])))
@click.rich_config({"text_markup": "markdown"})
@common_options
@kernel_option
@click.version_option(__version__, prog_name="trio-gateway")
def app() -> None:
    """Hold the commands; each does its own work."""


def run_app(arguments: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        arguments: what stands after the command's name; None: this process's own.

    Returns:
        The exit code.

    Raises:
        KeyboardInterrupt: Ctrl-C while no command ran yet.
        ModuleNotFoundError: a library of the extra `cli` is not installed.
    """
    options = Options()
    try:
        code = int(cast("int", app.main(arguments, prog_name="trio-gateway", standalone_mode=False, obj=options)))
    except click.ClickException as error:
        options.complain(_usage(error))
        code = ExitCode.BAD_INPUT
    except ModuleNotFoundError:
        raise  # a part of the extra `cli` is missing; `main` knows the words for it
    except click.Abort:
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


def _usage(error: click.ClickException) -> Failure:
    context = error.ctx if isinstance(error, click.UsageError) else None
    return Failure(type(error).__name__, error.format_message(), "" if context is None else f"Try: {context.command_path} --help")
