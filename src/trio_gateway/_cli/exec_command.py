"""`trio-gateway exec CODE`."""

from __future__ import annotations

from pathlib import Path

import rich_click as click

from .._session.executor import check_code
from .code import run_code
from .options import Options, common_options, control_option, cwd_option, kernel_option, pass_options, timeout_option
from .sources import read_standard_input

__all__ = ["exec_command"]


@click.command("exec", epilog="Example: trio-gateway exec '6 * 7'")
@click.argument("code")
@kernel_option
@cwd_option
@timeout_option
@control_option
@click.option("--json", "as_json", is_flag=True, help="Show nothing while it runs, and one JSON object at the end.")
@common_options
@pass_options
def exec_command(options: Options, code: str, cwd: Path | None, timeout: float | None, as_json: bool) -> int:
    """Run CODE on a fresh kernel, or what comes on standard input if CODE is `-`.

    What it prints streams to standard output and standard error; the value of its last expression goes to standard output, a
    traceback to standard error. The kernel is shut down at the end.
    """
    text = read_standard_input() if code == "-" else check_code(code)
    return run_code(options, text, cwd=cwd, timeout=timeout, as_json=as_json)
