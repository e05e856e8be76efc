"""With which exit codes a command can end, as its help says them."""

from __future__ import annotations

import enum
import signal
from typing import Final

__all__ = ["EXIT_CODES_HELP", "ExitCode"]


class ExitCode(enum.IntEnum):
    """How a command can end."""

    OK = 0
    """All went well."""
    CODE_FAILED = 1
    """The code raised an error in the kernel."""
    BAD_INPUT = 2
    """A wrong option, setting, file, kernel name or id; or what is written can't be."""
    NO_GATEWAY = 3
    """The gateway can't be reached, refuses, or answers with what is not understood."""
    TIMEOUT = 4
    """A limit ran out: `--timeout`, `--cell-timeout`, or one of the settings."""
    KERNEL_LOST = 5
    """The kernel died, was restarted or shut down meanwhile, or the connection to it broke for good."""
    DEFECT = 70
    """A defect in trio_gateway (`EX_SOFTWARE`)."""
    INTERRUPTED = 128 + signal.SIGINT
    """Ctrl-C."""
    OUTPUT_CLOSED = 128 + 13
    """The reader of the output went away, as `head` does; what a shell reports for SIGPIPE."""
    TERMINATED = 128 + signal.SIGTERM
    """SIGTERM."""


EXIT_CODES_HELP: Final = (
    (ExitCode.OK, "all went well"),
    (ExitCode.CODE_FAILED, "the code raised an error in the kernel"),
    (ExitCode.BAD_INPUT, "a wrong option, setting, file, kernel name or id"),
    (ExitCode.NO_GATEWAY, "the gateway can't be reached, or refuses (authentication)"),
    (ExitCode.TIMEOUT, "a limit ran out: --timeout, --cell-timeout, or a setting"),
    (ExitCode.KERNEL_LOST, "the kernel died or was shut down, or its connection broke"),
    (ExitCode.DEFECT, "a defect in trio-gateway; --debug shows where"),
    (ExitCode.INTERRUPTED, "Ctrl-C (SIGINT)"),
    (ExitCode.OUTPUT_CLOSED, "the reader of the output went away (SIGPIPE)"),
    (ExitCode.TERMINATED, "SIGTERM"),
)
