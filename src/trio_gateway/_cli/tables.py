"""Lists for people and for scripts, on standard output.

The one idea: a table that never shortens an id, whatever the terminal's width; and the same as JSON for scripts.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from .exits import printable
from .sinks import standard_output

__all__ = ["write_json", "write_table"]

_WIDE: Final = 100_000  # columns: the terminal may wrap a row, but nothing may be missing from it


async def write_json(value: object) -> None:
    """Write a value as JSON, indented.

    Raises:
        OutputClosedError: whoever read our output went away.

    Cancellation: leaves at once.
    """
    await standard_output().write(json.dumps(value, indent=2, ensure_ascii=True) + "\n")


async def write_table(titles: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Write rows below their titles, aligned.

    Raises:
        OutputClosedError: whoever read our output went away.

    Cancellation: leaves at once.
    """
    table = Table(*titles, box=None, pad_edge=False, header_style="bold")
    for column in table.columns:
        column.no_wrap = True
    for row in rows:
        table.add_row(*[Text(printable(value)) for value in row])
    console = Console(highlight=False, emoji=False, width=_WIDE)
    with console.capture() as captured:
        console.print(table)
    await standard_output().write("".join([line.rstrip() + "\n" for line in captured.get().splitlines()]))
