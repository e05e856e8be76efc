"""`trio-gateway exec CODE`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from .._protocol.code import check_code
from .code import run_code
from .options import Options, check_attach
from .parameters import resources_of
from .placing import place_named
from .sources import code_of, read_standard_input

__all__ = ["exec_command"]


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
