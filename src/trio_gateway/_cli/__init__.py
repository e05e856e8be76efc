"""The command `trio-gateway`: its entry point, and nothing that takes long to import.

The one idea: `main` is where everything ends that a person must see, so whatever happens below it, an exit code and a
few clear lines come out. What the commands do is in the modules beside this one, which need the extra `cli`.
"""

from __future__ import annotations

import os
import sys

__all__ = ["main"]

# `exits.ExitCode` has them all; that module is not there yet when these are needed.
_BAD_INPUT = 2
_INTERRUPTED = 130
_OUTPUT_CLOSED = 141


def main() -> None:
    """Run the command line with the arguments of this process, and exit with the code that its help describes.

    Raises:
        SystemExit: always.
    """
    if not os.environ.get("COLUMNS", "").strip("0"):
        os.environ.pop("COLUMNS", None)  # rich would take the 0 at its word, and print nothing at all
    try:
        code = _run()
    except KeyboardInterrupt:
        # Ctrl-C before the event loop's own handling was in place, or after it was gone; see `trio_gateway_command` too.
        code = _INTERRUPTED
    if sys.stdout is not None:
        try:
            sys.stdout.flush()
        except OSError as error:
            # Python would flush once more while it ends, and complain.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            code = _OUTPUT_CLOSED if isinstance(error, BrokenPipeError) else _BAD_INPUT
    sys.exit(code)


def _run() -> int:
    try:
        from .app import run_app

        return run_app()
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] not in {"click", "rich", "rich_click", "nbformat"}:
            raise
        print(f'trio-gateway: error: the command line needs {error.name}: pip install "trio-gateway[cli]"', file=sys.stderr)
        return _BAD_INPUT
