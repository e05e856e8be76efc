"""Lists for people and for scripts, on standard output.

The one idea: a table that never shortens an id, whatever the terminal's width; and for scripts one JSON object, whose `ok` and
`error` are the same for all commands.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Final

import attrs

from .._values import as_plain_json
from .exits import printable
from .sinks import standard_output
from .wording import Failure

__all__ = ["as_json", "to_json", "write_json", "write_table"]

_WIDE: Final = 100_000  # columns: the terminal may wrap a row, but nothing may be missing from it


def as_json(report: Mapping[str, object], *, ok: bool, error: Failure | None = None) -> str:
    """Return a command's report as it stands on standard output: one line, which has no control characters.

    Args:
        report: the command's own part.
        ok: whether all went well: whether the exit code is 0.
        error: what went wrong, where it is not the command's own part that says so.
    """
    return to_json({"ok": ok, "error": None if error is None else attrs.asdict(error)} | dict(report))


def to_json(value: object) -> str:
    """Return a value as JSON on one line, for each reader of JSON, whatever a kernel has sent."""
    return json.dumps(as_plain_json(value), ensure_ascii=True, allow_nan=False) + "\n"


async def write_json(report: Mapping[str, object]) -> None:
    """Write a report that says itself whether all went well.

    Raises:
        OutputClosedError: the reader of our output went away.

    Cancellation: leaves at once.
    """
    await standard_output().write(as_json(report, ok=True))


async def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows below their titles, aligned.

    Raises:
        OutputClosedError: the reader of our output went away.

    Cancellation: leaves at once.
    """
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(*[Text(printable(value)) for value in row])
    console = Console(highlight=False, emoji=False, width=_WIDE)
    with console.capture() as captured:
        console.print(table)
    await standard_output().write("".join([line.rstrip() + "\n" for line in captured.get().splitlines()]))
