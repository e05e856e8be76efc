"""The board of several notebooks at a terminal, on real kernels: what its screen shows while they run, and afterwards."""

from __future__ import annotations

import os
from collections.abc import Callable

import pytest
import trio

from tools.notebook_tools import texts_of, write_notebook

from .cli_kit import Cli, cells_of
from .terminal_kit import at_terminal

pytestmark = [pytest.mark.gateway, pytest.mark.full]


def hold(cli: Cli, name: str) -> None:
    """Write a notebook whose second cell lasts until somebody has written to a pipe."""
    os.mkfifo(cli.cwd / name)
    write_notebook(cli.cwd / f"{name}.ipynb", f"print('first {name}')", f"open({name!r}).read()", "'last'")


async def let_go(cli: Cli, name: str) -> None:
    await trio.Path(cli.cwd / name).write_bytes(b"")


def row(lines: list[str], name: str) -> str:
    """Return the board's line for a notebook, or for all; `""` where there is none."""
    return next((" ".join(line.split()) for line in lines if f" {name} " in f"{line} "), "")


async def test_each_that_runs_has_a_line_with_its_cell_and_goes_when_it_ends(cli: Cli) -> None:
    for name in ("a", "b", "c"):
        hold(cli, name)
    async with at_terminal(cli, "run", "a.ipynb", "b.ipynb", "c.ipynb", "-j", "2", "-o", "out/") as terminal:
        # What is read may end within a drawing, so each line that is looked for is waited for.
        def first(lines: list[str]) -> bool:
            run = all("1/3" in (shown := row(lines, f"{name}.ipynb")) and f"open('{name}').read()" in shown for name in "ab")
            return run and "0/3" in row(lines, "all") and not terminal.screen.shows_cursor

        lines = await terminal.until_screen(first, "line of each that runs, and of all")
        assert row(lines, "c.ipynb") == ""

        await let_go(cli, "a")

        def then(lines: list[str]) -> bool:
            run = all(f"open('{name}')" in row(lines, f"{name}.ipynb") for name in "bc")
            return run and "1/3" in row(lines, "all") and row(lines, "a.ipynb") == ""

        await terminal.until_screen(then, "line of the third in the place of the first's, and of all")

        for name in "bc":
            await let_go(cli, name)
        assert await terminal.end() == 0
    lines = terminal.screen.lines
    assert terminal.screen.shows_cursor
    assert lines[-1].startswith("3 notebooks in ")
    assert (row(lines, "all"), row(lines, "a.ipynb")) == ("", ""), "the board is gone"
    assert {path.name for path in (cli.cwd / "out").iterdir()} == {"a.ipynb", "b.ipynb", "c.ipynb"}


@pytest.mark.parametrize("width", [24, 34])
async def test_a_narrow_terminal_loses_the_ends_of_lines_and_no_line(cli: Cli, width: int) -> None:
    """A line that went on in the next one would be left behind when the board is drawn anew."""
    for name in ("a", "b"):
        hold(cli, name)
    async with at_terminal(cli, "run", "a.ipynb", "b.ipynb", "-j", "2", "-o", "out/", width=width) as terminal:

        def board(ended: int, run: int) -> Callable[[list[str]], bool]:
            """Whether that is shown and no more, as what is left of an older board is. What is read may end within a drawing."""
            return lambda lines: (
                sum(f"{ended}/2" in line for line in lines) == 1
                and sum("1/3" in line for line in lines) == run
                and all(len(line) <= width for line in lines)
            )

        await terminal.until_screen(board(0, 2), "line of each that runs, and of all")
        await let_go(cli, "a")
        await terminal.until_screen(board(1, 1), "line of the one that runs, and of all")
        await let_go(cli, "b")
        assert await terminal.end() == 0
    shown = " ".join(terminal.screen.lines)
    assert "2 notebooks in" in shown
    assert "1/3" not in shown


async def test_ctrl_c_at_the_terminal_clears_the_board_and_says_where_each_was(cli: Cli) -> None:
    for name in ("a", "b"):
        hold(cli, name)
    async with at_terminal(cli, "run", "a.ipynb", "b.ipynb", "-j", "2", "-o", "out/", width=120) as terminal:

        def both(lines: list[str]) -> bool:
            return all(f"open('{name}').read()" in row(lines, f"{name}.ipynb") for name in "ab")

        await terminal.until_screen(both, "line of each that runs")
        terminal.type("\x03")
        assert await terminal.end() == 130
        assert terminal.echoes
    assert terminal.screen.shows_cursor
    shown = " ".join(terminal.screen.lines)
    for name in "ab":
        assert f"{name}.ipynb: interrupted in cell 2 of 3 (open('{name}').read()). Saved to out/{name}.ipynb." in shown
        assert texts_of(cells_of(cli.cwd / "out" / f"{name}.ipynb")[0]) == [f"first {name}\n"]
    assert "1/3" not in shown, "the board is gone"
