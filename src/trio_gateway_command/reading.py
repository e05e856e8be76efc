"""What a command line asks for: help and completion are given here, all else is done by `trio_gateway._cli`.

The one idea: a command line is read before the library is imported, which takes ten times as long.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any, Final

import click

from .commands import Call, app
from .layout import has_colours

__all__ = ["run_app"]

_NAME: Final = "trio-gateway"
_COMPLETE: Final = "_TRIO_GATEWAY_COMPLETE"


def run_app(arguments: Sequence[str]) -> int:
    """Run the command line.

    Args:
        arguments: what stands after the command's name.

    Returns:
        The exit code.

    Raises:
        BrokenPipeError: the reader of the help went away.
        OSError: help, a completion or an error can't be written, as on a full disk.
        KeyboardInterrupt: Ctrl-C while no command ran yet.
        ModuleNotFoundError: a library of the extra `cli` is not installed.
    """
    if instruction := os.environ.get(_COMPLETE):
        from click.shell_completion import shell_complete

        return shell_complete(app, {"obj": {}}, _NAME, _COMPLETE, instruction)
    common: dict[str, Any] = {}
    call: Call | click.ClickException
    try:
        with app.make_context(_NAME, list(arguments), obj=common, color=has_colours(sys.stdout)) as context:
            call = app.invoke(context)
    except click.exceptions.Exit as ended:
        return ended.exit_code
    except click.ClickException as error:
        call = error
    from trio_gateway._cli.app import perform

    return perform(common, call)
