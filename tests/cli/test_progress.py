"""A bar, a board, lines, and the titles of cells."""

from __future__ import annotations

import io
import re

import pytest
from rich.console import Console

from trio_gateway._cli.options import Options
from trio_gateway._cli.progress import open_board, open_progress, title_of

from .in_process import *  # noqa: F403 - its fixtures


def options_on(file: io.StringIO, *, terminal: bool, quiet: bool = False) -> Options:
    return Options(quiet=quiet, console=Console(file=file, force_terminal=terminal, width=100))


@pytest.mark.parametrize(
    ("terminal", "bar", "quiet"), [(True, True, False), (True, False, False), (False, True, False), (True, True, True)]
)
def test_a_bar_is_drawn_only_where_a_person_sees_it_and_nothing_else_is_drawn(terminal: bool, bar: bool, quiet: bool) -> None:
    file = io.StringIO()
    with open_progress(options_on(file, terminal=terminal, quiet=quiet), bar=bar) as steps:
        steps.begin(2, 3, "[red]title[/red]")
    text = file.getvalue()
    if quiet:
        assert text == ""
    elif terminal and bar:
        assert "━" in text
        assert "1/3" in text
        assert "[red]title[/red]" in text
        assert text.endswith("\x1b[2K")  # and gone in the end
    else:
        assert "[2/3] [red]title[/red]" in text
        assert "━" not in text


def test_a_log_that_gets_colours_gets_lines_and_no_bar(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """As a CI's log, by FORCE_COLOR: what a bar draws would fill it."""
    monkeypatch.setenv("FORCE_COLOR", "1")
    options = Options()
    assert options.console.is_terminal
    with open_progress(options, bar=True) as steps:
        steps.begin(2, 3, "title")
    with open_board(options, 3) as board:
        board.begin("a.ipynb").begin(2, 10, "x = 1")
    assert re.sub(r"\x1b\[[0-9;]*m", "", capsys.readouterr().err) == "[2/3] title\n"


def test_on_a_dumb_terminal_progress_is_said_in_lines(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TERM", "dumb")
    file = io.StringIO()
    with open_progress(options_on(file, terminal=True), bar=True) as steps:
        steps.begin(2, 3, "title")
    assert file.getvalue() == "[2/3] title\n"


@pytest.mark.parametrize(("terminal", "quiet"), [(True, False), (False, False), (True, True)])
def test_a_board_has_a_line_for_each_row_that_lasts_where_a_person_sees_it(terminal: bool, quiet: bool) -> None:
    file = io.StringIO()
    with open_board(options_on(file, terminal=terminal, quiet=quiet), 3) as board:
        first, second = board.begin("[red]a.ipynb[/red]"), board.begin("b.ipynb\x1b")
        first.begin(2, 10, "[blue]x = 1")
        board.end(second)
        board.end(second)
        with board.paused():
            file.truncate(0)
            file.seek(0)
    text = file.getvalue()
    if not terminal or quiet:
        assert text == ""
        return
    for words in ("[red]a.ipynb[/red]", "1/10", "[blue]x = 1", "all", "1/3"):
        assert words in text
    assert "b.ipynb" not in text


@pytest.mark.parametrize("width", [24, 30, 50])
def test_a_narrow_terminal_shows_how_far_each_is_and_the_beginnings_of_texts(width: int) -> None:
    file = io.StringIO()
    options = Options(console=Console(file=file, force_terminal=True, width=width, color_system=None))
    with open_board(options, 2) as board:
        board.begin("reports/of/the/north.ipynb").begin(2, 10, "frame = read_all_of_them()")
    lines = [line for line in re.split(r"\x1b\[\S*?[A-Za-z]|\n", file.getvalue()) if line.strip()]
    assert all(len(line) <= width for line in lines)
    assert any(" 0/2 " in line for line in lines)
    assert any("re" in line and "…" in line and " 1/10 " in line and "0:00:00" in line for line in lines)


def test_nobody_reading_standard_error_is_no_reason_to_end(capfd: pytest.CaptureFixture[str]) -> None:
    class NobodyReads(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError

    options = Options()
    options.console.file = NobodyReads()
    options.say("something")
    options.warn("something")
    print("still there")
    assert capfd.readouterr().out == "still there\n"


@pytest.mark.parametrize(
    ("source", "title"),
    [("\n\n  x = 1  \ny", "x = 1"), ("a" * 61, "a" * 59 + "…"), ("a" * 60, "a" * 60), ("", ""), ("\x1b[31m", "\\x1b[31m")],
)
def test_a_title_is_one_short_harmless_line(source: str, title: str) -> None:
    assert title_of(source) == title
