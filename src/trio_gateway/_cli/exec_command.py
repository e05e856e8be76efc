"""`trio-gateway exec CODE`."""

from __future__ import annotations

import sys
from pathlib import Path

import rich_click as click

from .._protocol.code import check_code
from .code import run_code
from .options import (
    Options,
    attach_option,
    check_attach,
    common_options,
    control_option,
    cwd_option,
    json_option,
    kernel_option,
    pass_options,
    resource_option,
    timeout_option,
)
from .parameters import resources_of
from .placing import place_named
from .sources import code_of, read_standard_input

__all__ = ["exec_command"]


_HELP = """Run CODE on a fresh kernel, or what comes on standard input if there is no CODE or it is `-`.

What it prints streams to standard output and standard error; the value of its last expression goes to standard output, a
traceback to standard error. The kernel is shut down at the end, unless it is one of `--attach`. Ctrl-C interrupts the code.

**Where** the kernel works is the gateway's choice, unless `--cwd` says otherwise; of a gateway that was started for this command
it is the current directory.

**Code that asks for input**, as `input()` and `getpass()` do, asks at the terminal, if standard input is one.
"""


@click.command(
    "exec",
    help=_HELP,
    epilog="Examples: trio-gateway exec '6 * 7' · trio-gateway exec < analysis.py · trio-gateway exec --attach ID 'x'",
)
@click.rich_config({"text_markup": "markdown"})
@click.argument("code", required=False)
@kernel_option
@attach_option
@cwd_option
@resource_option
@timeout_option
@control_option
@json_option
@common_options
@pass_options
def exec_command(options: Options, code: str | None, cwd: Path | None, timeout: float | None) -> int:
    """Run CODE on a fresh kernel, or what comes on standard input."""
    check_attach(options, cwd)
    resources_of(options.resources)  # before anything is started
    from_stdin = code is None or code == "-"
    if code is None and sys.stdin is not None and sys.stdin.isatty():
        raise click.UsageError("Give the CODE to run; or a pipe that it comes from; or -, to type it and end with Ctrl-D.")
    text = code_of(read_standard_input()) if from_stdin else check_code(code)
    if code is None and not text.strip():
        raise click.UsageError("Give the CODE to run: there is none on standard input either.")
    place = None if cwd is None else place_named(cwd)
    return run_code(options, text, place=place, timeout=timeout, from_stdin=from_stdin)
