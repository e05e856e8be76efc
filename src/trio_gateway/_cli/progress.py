"""How far a notebook's run, or another row of steps, has come, on standard error.

The one idea: a bar where a person can watch it and nothing else is drawn, lines that can be kept in a log everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn

from .exits import printable
from .options import Options

__all__ = ["Steps", "open_progress", "title_of"]


@attrs.frozen
class Steps:
    """Tells of steps as they begin."""

    begin: Callable[[int, str], None]
    """To be called with a step's number, from 1, and its title when it begins."""
    _bar: Progress | None = None

    @contextmanager
    def paused(self) -> Generator[None]:
        """Draw nothing while the block lasts: it has the terminal for itself."""
        if self._bar is None:
            yield
            return
        self._bar.stop()
        try:
            yield
        finally:
            self._bar.start()


@contextmanager
def open_progress(options: Options, total: int, *, bar: bool, lines: bool = True) -> Generator[Steps]:
    """Show the progress of a run while the block lasts.

    Args:
        options: for where to show it, and whether at all.
        total: how many steps there are.
        bar: whether a bar may be drawn, if it is a terminal; not while other output goes to the same terminal.
        lines: whether there is a line for each step where no bar is drawn.

    Yields:
        What to tell of each step that begins.
    """
    if options.quiet or not bar or not options.console.is_terminal:
        yield Steps(lambda number, title: options.say(f"[{number}/{total}] {title}") if lines else None)
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
        yield Steps(lambda number, title: progress.update(task, completed=number - 1, description=title), progress)


def title_of(source: str, *, length: int = 60) -> str:
    """Return a cell's first line with something on it, shortened to this many characters."""
    title = printable(next((line.strip() for line in source.splitlines() if line.strip()), ""))
    return title if len(title) <= length else f"{title[: length - 1]}…"
