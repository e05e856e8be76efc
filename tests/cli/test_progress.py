"""A bar, lines, and the titles of cells."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from trio_gateway._cli.options import Options
from trio_gateway._cli.progress import open_progress, title_of

from .in_process import *  # noqa: F403 - its fixtures


@pytest.mark.parametrize(
    ("terminal", "bar", "quiet"), [(True, True, False), (True, False, False), (False, True, False), (True, True, True)]
)
def test_a_bar_is_drawn_only_where_a_person_sees_it_and_nothing_else_is_drawn(terminal: bool, bar: bool, quiet: bool) -> None:
    file = io.StringIO()
    options = Options(quiet=quiet, console=Console(file=file, force_terminal=terminal, width=80))
    with open_progress(options, 3, bar=bar) as steps:
        steps.begin(2, "[red]title[/red]")
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
