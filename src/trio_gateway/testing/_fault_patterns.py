"""Whether a fault's pattern can ever match; a test whose fault strikes nothing tests nothing, and says so nowhere.

The one idea: only what is sure is refused. There may be messages and paths that nobody has heard of yet, so what is not known is
let through, unless it is nearly, or in another place, what is.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Final

from .._errors import InvalidInputError

__all__ = ["check_message_pattern", "check_request_pattern"]

_METHODS: Final = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")
_ASKED: Final = {
    "shell": ("execute", "inspect", "complete", "history", "is_complete", "comm_info", "kernel_info", "connect"),
    "control": ("interrupt", "shutdown", "debug", "kernel_info", "create_subshell", "delete_subshell", "list_subshell"),
}
_COMMS: Final = ("comm_open", "comm_msg", "comm_close")
_PUBLISHED: Final = (
    *("stream", "display_data", "update_display_data", "execute_result", "execute_input", "error", "status", "clear_output"),
    *("debug_event", "shutdown_reply", "iopub_welcome"),
)
_TO_KERNEL: Final = (
    *(f"{channel} {name}_request" for channel, names in _ASKED.items() for name in names),
    *(f"shell {name}" for name in _COMMS),
    "stdin input_reply",
)
_TO_CLIENT: Final = (
    *(f"{channel} {name}_reply" for channel, names in _ASKED.items() for name in names),
    *(f"iopub {name}" for name in (*_PUBLISHED, *_COMMS)),
    "stdin input_request",
)


def check_request_pattern(pattern: str) -> None:
    """Check a pattern for the whole of "GET /api/kernels".

    Raises:
        InvalidInputError: it can match no request.
    """
    starts = [f"{method} /" for method in _METHODS]
    if not _may_begin(pattern, starts):
        raise InvalidInputError(
            "pattern",
            pattern,
            f'one for the whole of method and path, such as "GET /api/kernels"; methods are {", ".join(_METHODS)}',
        )


def check_message_pattern(pattern: str, *, to_client: bool) -> None:
    """Check a pattern for the whole of "iopub stream".

    Args:
        pattern: the pattern.
        to_client: which way the messages go.

    Raises:
        InvalidInputError: it can match no message that goes this way.
    """
    here, there = (_TO_CLIENT, _TO_KERNEL) if to_client else (_TO_KERNEL, _TO_CLIENT)
    channels = tuple(dict.fromkeys(name.partition(" ")[0] for name in here))
    if _may_begin(pattern, [f"{channel} " for channel in channels]):
        channel, _, kind = pattern.partition(" ")
        if not re.fullmatch(r"\w+", kind) or channel not in channels or pattern in here:
            return
        known = {name.partition(" ")[2] for name in (*here, *there)}
        if kind in known and channel == "iopub":
            return  # a script may publish what belongs to another channel
        if kind not in known and not difflib.get_close_matches(pattern, here, n=1, cutoff=0.85):
            return
    near = [name for name in here if name.partition(" ")[2] == pattern.rpartition(" ")[2]]
    near = near or difflib.get_close_matches(pattern, here, n=3, cutoff=0.6)
    examples = ", ".join(f'"{name}"' for name in near or (f"{channel} .*" for channel in channels))
    way = "to the client" if to_client else "to the kernel"
    raise InvalidInputError("pattern", pattern, f"one for the whole of channel and type; {way} go {examples}")


def _may_begin(pattern: object, starts: Iterable[str]) -> bool:
    """Whether what a pattern matches may begin so: whether its own first letters, up to what stands for others, do."""
    try:
        if not isinstance(pattern, str):
            return False
        re.compile(pattern)
    except re.error as error:
        raise InvalidInputError("pattern", pattern, f"a regular expression ({error})") from None
    return any(_branch_may_begin(branch, start) for branch in _branches(pattern) for start in starts)


def _branch_may_begin(branch: str, start: str) -> bool:
    head = _head(branch)
    # What stands for itself alone is all there is of what it matches.
    return head.startswith(start) or (head != branch and start.startswith(head))


def _head(branch: str) -> str:
    plain = re.match(r"[\w /]*", branch)
    assert plain is not None
    more = branch[plain.end() : plain.end() + 1]
    return plain[0][:-1] if more and more in "*?{" else plain[0]


def _branches(pattern: str) -> list[str]:
    """Cut a pattern at each | that is in no group, no set and not escaped."""
    branches, depth = [""], 0
    for piece in re.findall(r"\\.|\[\^?\]?(?:\\.|[^\]])*\]|.", pattern, re.DOTALL):
        depth += {"(": 1, ")": -1}.get(piece, 0)
        if piece == "|" and not depth:
            branches.append("")
        else:
            branches[-1] += piece
    return branches
