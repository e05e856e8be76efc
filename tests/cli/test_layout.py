"""How the help of the command looks."""

from __future__ import annotations

import os
import sys

import click
import pytest

from trio_gateway_command.commands import app
from trio_gateway_command.layout import SECTIONS, Option

from .in_process import *  # noqa: F403 - its fixtures
from .in_process import run

BOLD, CYAN, PLAIN = "\x1b[1m", "\x1b[36m", "\x1b[0m"


def shown(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    assert run(*arguments, "--help") == 0
    return capsys.readouterr().out


def test_options_stand_in_sections_in_one_order(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "run")
    titles = [line[:-1] for line in text.splitlines() if line.endswith(":") and not line.startswith(" ")]
    assert titles == [*SECTIONS, "Examples"]
    gateway = text.partition("\nGateway:\n")[2].partition("\n\n")[0]
    assert "--url URL" in gateway
    assert "--json" not in gateway


def test_each_option_of_ours_is_in_a_section_that_there_is() -> None:
    def check(command: click.Command) -> None:
        for option in command.params:
            assert isinstance(option, click.Argument) or (isinstance(option, Option) and option.section in SECTIONS), option.name
        for inner in getattr(command, "commands", {}).values():
            check(inner)

    check(app)


def test_each_example_is_a_line_that_can_be_copied(capsys: pytest.CaptureFixture[str]) -> None:
    assert shown(capsys, "run").endswith("  trio-gateway run script.py -- --verbose data.csv\n")
    assert "\nExample:\n  trio-gateway exec --attach $(trio-gateway kernels start python3) '6 * 7'\n" in shown(
        capsys, "kernels", "start"
    )


def test_a_group_shows_its_commands_with_whole_sentences(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys)
    commands = text.partition("\nCommands:\n")[2].partition("\n\n")[0]
    assert [line.split()[0] for line in commands.splitlines() if not line.startswith("   ")] == sorted(app.commands)
    assert "..." not in commands


def test_without_colours_backticks_stay_and_stars_go(capsys: pytest.CaptureFixture[str]) -> None:
    text = shown(capsys, "run")
    assert "A script is sent" in text
    assert "`exec`" in text
    assert "\x1b" not in text


def test_with_colours_both_are_shown(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    text = shown(capsys, "run")
    assert f"{BOLD}A script{PLAIN} is sent" in text
    assert f"{CYAN}exec{PLAIN}" in text
    assert f"{BOLD}Options:{PLAIN}" in text
    assert "`" not in text
    monkeypatch.setenv("NO_COLOR", "1")
    assert "\x1b" not in shown(capsys, "run")


@pytest.mark.parametrize(("columns", "width"), [("60", 58), ("80", 78), ("300", 98), ("", 78), ("wide", 78)])
def test_help_is_as_wide_as_the_terminal_and_never_too_wide(
    columns: str, width: int, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COLUMNS", columns)
    lines = shown(capsys, "exec").partition("\nExample")[0].splitlines()
    assert width - 8 < max(map(len, lines)) <= width


@pytest.mark.parametrize("terminal", ["stdout", "stderr"])
def test_help_looks_as_the_stream_has_it_that_it_is_written_to(
    terminal: str, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`trio-gateway 2>log` writes to a file, though standard output is a terminal; `trio-gateway >log` does not."""
    monkeypatch.delenv("COLUMNS", raising=False)
    monkeypatch.setattr(getattr(sys, terminal), "isatty", lambda: True)
    monkeypatch.setattr(getattr(sys, terminal), "fileno", lambda: 1000)
    real = os.get_terminal_size  # pytest asks too
    monkeypatch.setattr(os, "get_terminal_size", lambda number: os.terminal_size((60, 24)) if number == 1000 else real(number))
    assert run() == 2
    error = capsys.readouterr().err
    assert run("--help") == 0
    found = {"stdout": capsys.readouterr().out, "stderr": error}
    there, other = found.pop(terminal), *found.values()
    assert there.startswith(f"{BOLD}Usage: {PLAIN}")
    assert "\x1b" not in other
    # Above these stand lines that are not wrapped.
    tables = [click.unstyle(text).partition("\nCommands:\n")[2].splitlines() for text in (there, other)]
    narrow, wide = [max(map(len, lines)) for lines in tables]
    assert narrow <= 58 < wide <= 78
