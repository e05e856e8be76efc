"""The board of several notebooks at a terminal, on real kernels: what its screen shows while they run, and afterwards."""

from __future__ import annotations

import os

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

        def both(lines: list[str]) -> bool:
            return all(f"open('{name}').read()" in row(lines, f"{name}.ipynb") for name in "ab")

        lines = await terminal.until_screen(both, "line of each that runs")
        assert not terminal.screen.shows_cursor
        assert "0/3" in row(lines, "all")
        assert all("1/3" in row(lines, f"{name}.ipynb") for name in "ab")
        assert row(lines, "c.ipynb") == ""

        await let_go(cli, "a")
        lines = await terminal.until_screen(lambda lines: "open('c')" in row(lines, "c.ipynb"), "line of the third")
        assert row(lines, "a.ipynb") == "", "it has ended, and its place is drawn anew"
        assert "1/3" in row(lines, "all")
        assert "open('b')" in row(lines, "b.ipynb")

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
        # Each counts its cells: with two cells behind it, it is in the last, or has ended.
        lines = await terminal.until_screen(lambda lines: "".join(lines).count("1/3") == 2, "count of cells done of each")
        assert all(len(line) <= width for line in lines)
        assert sum("0/2" in line for line in lines) == 1
        await let_go(cli, "a")
        lines = await terminal.until_screen(lambda lines: any("1/2" in line for line in lines), "one that has ended")
        assert sum("1/3" in line for line in lines) == 1, "nothing is left of the board as it was"
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
