"""Which exit code an ending has. Pure: no printing here.

The one idea: each kind of error has one code that scripts can test.
"""

from __future__ import annotations

import enum
import signal
from typing import Final

from .._errors import (
    ConnectionLostError,
    ExecutionError,
    GatewayConnectionError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubSpawnError,
    InvalidInputError,
    KernelError,
    KernelNotFoundError,
    KernelSpecNotFoundError,
    MessageTooLargeError,
    ProtocolError,
    TokenCommandError,
)

__all__ = ["EXIT_CODES_HELP", "ExitCode", "OutOfTimeError", "OutputClosedError", "exit_code_of", "printable"]


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


class OutputClosedError(Exception):
    """The reader of our standard output or error went away."""


class OutOfTimeError(Exception):
    """The limit that the user gave with `--timeout` ran out.

    Args:
        seconds: the limit.
    """

    def __init__(self, seconds: float) -> None:
        super().__init__(f"still running after {seconds:g} s (--timeout): the kernel was interrupted")


# The first class that fits counts: a ConnectionLostError is a GatewayConnectionError too.
_CODES: Final[tuple[tuple[type[BaseException], ExitCode], ...]] = (
    (ExecutionError, ExitCode.CODE_FAILED),
    (InvalidInputError, ExitCode.BAD_INPUT),
    (MessageTooLargeError, ExitCode.BAD_INPUT),
    (KernelNotFoundError, ExitCode.BAD_INPUT),
    (KernelSpecNotFoundError, ExitCode.BAD_INPUT),
    (ConnectionLostError, ExitCode.KERNEL_LOST),
    (KernelError, ExitCode.KERNEL_LOST),
    (GatewayConnectionError, ExitCode.NO_GATEWAY),
    (GatewayHTTPError, ExitCode.NO_GATEWAY),
    (HubSpawnError, ExitCode.NO_GATEWAY),
    (TokenCommandError, ExitCode.NO_GATEWAY),
    (ProtocolError, ExitCode.NO_GATEWAY),
    (GatewayTimeoutError, ExitCode.TIMEOUT),
    (OutOfTimeError, ExitCode.TIMEOUT),
    (OutputClosedError, ExitCode.OUTPUT_CLOSED),
    (KeyboardInterrupt, ExitCode.INTERRUPTED),
    (OSError, ExitCode.BAD_INPUT),  # the machine's: a full disk, too many open files
)


def exit_code_of(error: BaseException) -> ExitCode:
    """Return the exit code for a command that ended with this error."""
    for kind, code in _CODES:
        if isinstance(error, kind):
            return code
    return ExitCode.DEFECT


def printable(text: str) -> str:
    r"""Return one line of text that does nothing to a terminal: control characters are shown as `\x1b` and the like.

    For words that come from a gateway or a file and stand in our own messages. What becomes of those in what the code prints is
    `rendering`'s business.
    """
    return "".join([c if c.isprintable() or c == "\t" else c.encode("unicode_escape", "backslashreplace").decode() for c in text])
