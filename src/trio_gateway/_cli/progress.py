"""How far a notebook's run, or another row of steps, has come, on standard error.

The one idea: a bar where a person can watch it and nothing else is drawn, lines that can be kept in a log everywhere else.
"""

from __future__ import annotations

from collections.abc import Callable, Generator
from contextlib import contextmanager

import attrs
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    SpinnerColumn,
    Task,
    TaskID,
    TextColumn,
    TimeElapsedColumn,
)
from rich.table import Column
from rich.text import Text

from .exits import printable
from .options import Options

__all__ = ["Board", "Steps", "open_board", "open_progress", "title_of"]


@attrs.frozen(eq=False)
class Steps:
    """Tells of steps as they begin."""

    begin: Callable[[int, int, str], None]
    """To be called with a step's number, from 1, how many there are, and its title, when it begins."""
    _bar: Progress | None = None

    @contextmanager
    def paused(self) -> Generator[None]:
        """Draw nothing while the block lasts: it has the terminal for itself."""
        with _paused(self._bar):
            yield


class Board:
    """Tells of several rows of steps, each on a line of its own while it lasts; where no lines are drawn, of none.

    Args:
        bar: what draws the lines, if they are drawn.
        total: how many rows there are.
    """

    def __init__(self, bar: Progress | None, total: int) -> None:
        self._bar = bar
        self._all = None if bar is None else bar.add_task("all", total=total, title="")
        self._rows: dict[Steps, TaskID] = {}

    def begin(self, name: str) -> Steps:
        """Show a row of steps from now on: its name, its step, and how long it has taken."""
        bar = self._bar
        if bar is None:
            return Steps(lambda *_: None)
        row = bar.add_task(printable(name), total=None, title="")
        steps = Steps(lambda number, total, title: bar.update(row, completed=number - 1, total=total, title=title), bar)
        self._rows[steps] = row
        return steps

    def end(self, steps: Steps) -> None:
        """Show this row no more."""
        row = self._rows.pop(steps, None)
        if self._bar is not None and self._all is not None and row is not None:
            self._bar.remove_task(row)
            self._bar.advance(self._all)

    @contextmanager
    def paused(self) -> Generator[None]:
        """Draw nothing while the block lasts: it has the terminal for itself."""
        with _paused(self._bar):
            yield


@contextmanager
def open_progress(options: Options, *, bar: bool, lines: bool = True) -> Generator[Steps]:
    """Show the progress of a row of steps while the block lasts.

    Args:
        options: for where to show it, and whether at all.
        bar: whether a bar may be drawn, if it is a terminal; not while other output goes to the same terminal.
        lines: whether there is a line for each step where no bar is drawn.

    Yields:
        What to tell of each step that begins.
    """
    if options.quiet or not bar or not options.console.is_interactive:
        yield Steps(lambda number, total, title: options.say(f"[{number}/{total}] {title}") if lines else None)
        return
    spinner, count, time = _fixed_columns()
    columns = (spinner, count, BarColumn(), time, _Shortened("{task.description}"))
    with Progress(*columns, console=options.console, transient=True) as progress:
        task = progress.add_task("", total=None)
        yield Steps(
            lambda number, total, title: progress.update(task, completed=number - 1, total=total, description=title), progress
        )


@contextmanager
def open_board(options: Options, total: int) -> Generator[Board]:
    """Show the progress of several rows of steps, some of them at a time, while the block lasts.

    Args:
        options: for where to show it, and whether at all: only where a person can watch it.
        total: how many rows there are.
    """
    if options.quiet or not options.console.is_interactive:
        yield Board(None, total)
        return
    spinner, count, time = _fixed_columns()
    columns = (spinner, _Shortened("{task.description}"), count, time, _Shortened("{task.fields[title]}"))
    with Progress(*columns, console=options.console, transient=True) as progress:
        yield Board(progress, total)


class _Shortened(TextColumn):
    """A text in one line, which loses its end where the terminal has no room for all columns."""

    def __init__(self, text_format: str) -> None:
        super().__init__(text_format, markup=False, table_column=Column())  # unlike its default, one that gives way

    def render(self, task: Task) -> Text:
        text = super().render(task)
        text.no_wrap, text.overflow = True, "ellipsis"
        return text


def _fixed_columns() -> tuple[ProgressColumn, ProgressColumn, ProgressColumn]:
    """Return the columns that keep their width: something that moves, how many are done, and the time."""
    return (
        SpinnerColumn(table_column=Column(no_wrap=True)),
        MofNCompleteColumn(table_column=Column(no_wrap=True)),
        TimeElapsedColumn(table_column=Column(no_wrap=True)),
    )


@contextmanager
def _paused(bar: Progress | None) -> Generator[None]:
    if bar is None:
        yield
        return
    bar.stop()
    try:
        yield
    finally:
        bar.start()


def title_of(source: str, *, length: int = 60) -> str:
    """Return a cell's first line with something on it, shortened to this many characters."""
    title = printable(next((line.strip() for line in source.splitlines() if line.strip()), ""))
    return title if len(title) <= length else f"{title[: length - 1]}…"
