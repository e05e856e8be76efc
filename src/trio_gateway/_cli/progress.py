"""How far a notebook's run has come, on standard error.

The one idea: a bar where a person can watch it and nothing else is drawn, lines that can be kept in a log everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .exits import printable
from .options import Options

__all__ = ["open_progress", "title_of"]


@contextmanager
def open_progress(options: Options, total: int, *, bar: bool) -> Generator[Callable[[int, str], None]]:
    """Show the progress of a run while the block lasts.

    Args:
        options: for where to show it, and whether at all.
        total: how many cells will run.
        bar: whether a bar may be drawn, if it is a terminal; not while other output goes to the same terminal.

    Yields:
        A function to call with a cell's number, from 1, and its title when it begins.
    """
    if options.quiet or not bar or not options.console.is_terminal:
        yield lambda number, title: options.say(f"[{number}/{total}] {title}")
        return
    columns = (
        SpinnerColumn(),
        MofNCompleteColumn(),
        BarColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}", markup=False),
    )
    with Progress(*columns, console=options.console, transient=True) as progress:
        task = progress.add_task("", total=total)
        yield lambda number, title: progress.update(task, completed=number - 1, description=title)


def title_of(source: str, *, length: int = 60) -> str:
    """Return a cell's first line with something on it, shortened to this many characters."""
    title = printable(next((line.strip() for line in source.splitlines() if line.strip()), ""))
    return title if len(title) <= length else f"{title[: length - 1]}…"
