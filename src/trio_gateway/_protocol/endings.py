"""How code says that its program ends: `sys.exit()`, and a kernel that asks its front end to leave. Pure.

The one idea: a kernel tells of `SystemExit` as of any error, by its name and its text alone; what the text meant to Python is
found out here, once.
"""

from __future__ import annotations

import re
from typing import Any, Final

from .._outputs import Error, ExecutionResult

__all__ = ["asked_to_leave", "exit_code_in", "exit_number", "failure_of"]

_EXITS: Final = {"": 0, "None": 0, "False": 0, "True": 1}
"""What Python makes of the values of `SystemExit` that are no numbers and no text; their text is all that a kernel tells."""
_FAILED: Final = 1
"""The code of a program that ends with a message."""
_EXIT_BITS: Final = 0xFF
"""What is left of a code on its way to the process that waits for another one's end."""


def failure_of(result: ExecutionResult) -> Error:
    """Return the error of a result that has not the status `"ok"`. Some kernels tell it in the reply alone, or not at all."""
    return result.error or Error("Aborted", "the kernel did not run the code")


def exit_code_in(error: Error) -> int | None:
    """Return the code with which a Python program ends by this error; None if it is not `SystemExit`, which `sys.exit` raises.

    A kernel tells the value's text alone, so `sys.exit("0")` counts as `sys.exit(0)`.
    """
    if error.ename != "SystemExit":
        return None
    number = exit_number(error.evalue)
    return _FAILED if number is None else number


def exit_number(value: str) -> int | None:
    """Return the exit code that the text of a `SystemExit` stands for; None for a message, which Python prints."""
    if re.fullmatch("-?[0-9]{1,20}", value):
        return int(value) & _EXIT_BITS
    return _EXITS.get(value)


def asked_to_leave(result: ExecutionResult) -> int | None:
    """Return the exit code if the kernel asks its front end to leave, as IPython does for `exit()`; None if it does not.

    The code is what IPython's `exit(N)` was given: it tells it in the place of `keep_kernel`.
    """
    payload: Any = result.reply.get("payload")
    for item in payload if isinstance(payload, (list, tuple)) else ():
        if isinstance(item, dict) and item.get("source") == "ask_exit":
            given = item.get("keepkernel")
            return given & _EXIT_BITS if isinstance(given, int) and not isinstance(given, bool) else 0
    return None
