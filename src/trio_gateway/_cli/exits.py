"""Which exit code an ending has. Pure: no printing here.

The one idea: each kind of error has one code that scripts can test.
"""

from __future__ import annotations

from typing import Final

from trio_gateway_command.exit_codes import EXIT_CODES_HELP, ExitCode

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
