"""Write the tables of limits in `limits.md` anew, from the settings and the signatures: `python docs/limits_table.py`.

With `--check` nothing is written, and the exit code is 1 where the tables are out of date. A limit without an entry here is an
error in both cases.
"""

from __future__ import annotations

import inspect
import re
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import attrs

import trio_gateway
from trio_gateway import notebooks

PAGE = Path(__file__).with_name("limits.md")
BEGIN = "<!-- limits: begin (written by limits_table.py) -->\n"
END = "<!-- limits: end -->\n"

TIMES = {
    "connect_timeout": (
        "a connection, TLS included; the addresses of a gateway share it",
        "the request is tried again where it may be; then `GatewayTimeoutError`",
    ),
    "request_timeout": ("an HTTP request, from its sending to the end of its answer", "`GatewayTimeoutError`"),
    "handshake_timeout": (
        "a WebSocket's handshake; the gateway may hold it back while a kernel comes up",
        "`GatewayTimeoutError`",
    ),
    "launch_timeout": (
        "the start of a kernel; `start_kernel(launch_timeout=...)` says it for one",
        "`GatewayTimeoutError`; the kernel is looked for and shut down",
    ),
    "launch_timeout_pad": ("what a start's request may take beyond that", "the same"),
    "token_command_timeout": ("the command that prints the token", "`TokenCommandError`"),
    "ping_interval": (
        "silence on a connection, before a ping asks; so long again for its answer",
        "nothing: the connection is made again",
    ),
    "reconnect_timeout": ("making a kernel's connection again, all attempts and pauses together", "`ConnectionLostError`"),
    "gateway_retry_interval": ("the first pause before another attempt; doubled each time", "nothing"),
    "gateway_retry_interval_max": ("the longest such pause", "nothing"),
    "unresponsive_timeout": ("how long a kernel may answer nobody", "`KernelUnresponsiveError`"),
    "idle_grace": (
        "how long a result waits for the kernel's `idle` after its reply",
        "nothing: the result, with a gap in `output_gaps`",
    ),
    "interrupt_timeout": ("how long a cancelled call waits until its code has ended", "nothing: your own cancellation goes on"),
    "cleanup_timeout": (
        "what a block may take at its end to shut a kernel down",
        "the error of the shutdown; the log says `kernel_may_be_left`",
    ),
}
COUNTS = {
    "max_request_retries": ("more attempts for a request that may be repeated", "the last attempt's error"),
    "gateway_retry_max": ("attempts in a row to make a kernel's connection again", "`ConnectionLostError`"),
    "max_connections": ("HTTP connections at a time; WebSockets do not count", "nothing: requests wait their turn"),
    "max_message_size": (
        "bytes of a WebSocket message; of a local gateway, also of yours",
        "a gap in `output_gaps`; for a reply `ProtocolError`, for yours `MessageTooLargeError`",
    ),
    "max_response_size": ("bytes of an HTTP answer", "`ProtocolError`"),
    "max_output_bytes": ("bytes of output that one `execute` keeps", "a gap in `output_gaps`"),
    "buffer_messages": (
        "messages that wait for a reader",
        "what `when_full` says: a file on disk, `SlowConsumerError`, a count, or a pause",
    ),
    "buffer_bytes": ("bytes of messages that wait for a reader", "the same"),
}
ARGUMENTS: list[tuple[str, Callable[..., Any], str, str, str]] = [
    (
        "open_local_gateway()",
        trio_gateway.open_local_gateway,
        "startup_timeout",
        "the start of the gateway's process",
        "`GatewayTimeoutError`",
    ),
    ("open_hub()", trio_gateway.open_hub, "startup_timeout", "the start of the user's server", "`GatewayTimeoutError`"),
    (
        "gateway.open_pool()",
        trio_gateway.Gateway.open_pool,
        "init_timeout",
        "the `init` code of a new kernel",
        "`GatewayTimeoutError`",
    ),
    (
        "gateway.open_pool()",
        trio_gateway.Gateway.open_pool,
        "idle_timeout",
        "how long a kernel that nobody needs stays ready",
        "nothing",
    ),
    (
        "gateway.open_pool()",
        trio_gateway.Gateway.open_pool,
        "max_age",
        "the age at which a kernel is not handed out any more",
        "nothing",
    ),
    ("notebooks.run()", notebooks.RunOptions, "timeout", "all cells of a notebook together", "`NotebookTimeoutError`"),
    ("notebooks.run()", notebooks.RunOptions, "cell_timeout", "each cell of a notebook", "`NotebookTimeoutError`"),
]
LOOKS_LIKE_ONE = re.compile(r"timeout|retr|interval|grace|^max_|^buffer_")


def default(value: object) -> str:
    """Write a default: numbers as people do, and none for no limit."""
    if value is None or value == float("inf"):
        return "no limit"
    return f"{value:,.10g}" if isinstance(value, (int, float)) else str(value)


def tables() -> str:
    """Return both tables, and the arguments' one."""
    defaults = {field.name: field.default for field in attrs.fields(trio_gateway.GatewayConfig)}
    missing = {name for name in defaults if LOOKS_LIKE_ONE.search(name)} - TIMES.keys() - COUNTS.keys()
    if missing:
        raise SystemExit(f"docs/limits_table.py has no entry for {', '.join(sorted(missing))}")
    lines = ["## Limits of time", "", "| Setting | Default | Limits | When it runs out |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {default(defaults[name])} | {what} | {then} |" for name, (what, then) in TIMES.items()]
    lines += [
        "",
        "Some blocks have limits of their own, as arguments:",
        "",
        "| Argument | Default | Limits | When it runs out |",
        "|---|---|---|---|",
    ]
    for where, function, argument, what, then in ARGUMENTS:
        value = inspect.signature(function).parameters[argument].default
        lines.append(f"| `{argument}` of `{where}` | {default(value)} | {what} | {then} |")
    lines += ["", "## Limits of number and size", "", "| Setting | Default | Limits | What happens there |", "|---|---|---|---|"]
    lines += [f"| `{name}` | {default(defaults[name])} | {what} | {then} |" for name, (what, then) in COUNTS.items()]
    return "\n".join(lines) + "\n"


def updated(page: str) -> str:
    """Give the page's text with the tables as they must be."""
    before, begin, rest = page.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise SystemExit(f"{PAGE.name} has lost its markers; it needs the lines\n{BEGIN}{END}")
    return f"{before}{BEGIN}\n{tables()}\n{END}{after}"


def main() -> int:
    """Write the page, or check it."""
    page = PAGE.read_text("utf-8")
    new = updated(page)
    if "--check" in sys.argv[1:]:
        return int(new != page)
    PAGE.write_text(new, "utf-8")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
