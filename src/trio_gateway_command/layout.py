"""How the command's help looks: options in sections, examples line by line, colours at a terminal.

The one idea: click reads the command line and wraps the words; here is only what stands where. Nothing else is imported, because
help is wanted at once.
"""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable
from typing import Any, Final, TextIO, cast

import click

__all__ = ["SECTIONS", "Command", "Group", "Option", "explain", "has_colours"]

SECTIONS: Final = ("Options", "Kernel", "Gateway", "General")
"""The sections of options, in the order in which help shows them."""
_WIDTH: Final = 100
"""How wide help gets at most: longer lines are hard to read."""
_MARKED: Final = re.compile(r"\*\*(.+?)\*\*|`(.+?)`", re.DOTALL)


def has_colours(stream: TextIO | None) -> bool:
    """Whether help on this stream is coloured: it is a terminal that has colours, and nobody asked for none."""
    if os.environ.get("NO_COLOR"):
        return False
    if os.environ.get("FORCE_COLOR"):
        return True
    return stream is not None and stream.isatty() and os.environ.get("TERM") != "dumb"


class _Formatter(click.HelpFormatter):
    """Shows `**this**` bold and what stands between backticks in a colour; without colours, backticks stay.

    Args:
        coloured: whether there are colours.
        traits: click's.
    """

    def __init__(self, *, coloured: bool, **traits: Any) -> None:
        super().__init__(**traits)
        self._coloured = coloured

    def write_usage(self, prog: str, args: str = "", prefix: str | None = None) -> None:
        """Write the usage line."""
        super().write_usage(prog, args, self._style("Usage: " if prefix is None else prefix, bold=True))

    def write_heading(self, heading: str) -> None:
        """Write a section's title."""
        self.write(f"{'':>{self.current_indent}}{self._style(f'{heading}:', bold=True)}\n")

    def write_text(self, text: str) -> None:
        """Write paragraphs."""
        super().write_text(self._marked(text))

    def write_dl(self, rows: Iterable[tuple[str, str]], col_max: int = 30, col_spacing: int = 2) -> None:
        """Write names, and what each is."""
        shown = [(self._style(name, fg="cyan"), self._marked(what)) for name, what in rows]
        super().write_dl(shown, col_max, col_spacing)

    def _marked(self, text: str) -> str:
        def show(found: re.Match[str]) -> str:
            bold, code = found.groups()
            if bold is not None:
                return self._style(bold, bold=True)
            return self._style(code, fg="cyan") if self._coloured else found.group()

        return _MARKED.sub(show, text)

    def _style(self, text: str, **traits: Any) -> str:
        return click.style(text, **traits) if self._coloured else text


def _width(stream: TextIO | None) -> int:
    """Return how wide help on this stream is. `shutil` would say how wide the terminal is, but imports what unpacks archives."""
    given = os.environ.get("COLUMNS", "")
    try:
        columns = int(given) if given.isdecimal() else os.get_terminal_size(cast("TextIO", stream).fileno()).columns
    except (AttributeError, ValueError, OSError):  # there is no such stream, or it is no terminal
        columns = 0
    return max(min(columns or 80, _WIDTH) - 2, 50)


class _Context(click.Context):
    def make_formatter(self) -> click.HelpFormatter:
        """Return what help on standard output is written with."""
        return _Formatter(coloured=bool(self.color), width=_width(sys.stdout))


def explain(context: click.Context) -> None:
    """Write a command's help to standard error, where it is what somebody gets who asked for something else."""
    coloured = has_colours(sys.stderr)
    formatter = _Formatter(coloured=coloured, width=_width(sys.stderr))
    context.command.format_help(context, formatter)
    click.echo(formatter.getvalue(), nl=False, err=True, color=coloured)


class Option(click.Option):
    """An option that help shows in a section of its own.

    Args:
        names: how it is given.
        section: one of `SECTIONS`.
        traits: click's.
    """

    def __init__(self, *names: str, section: str = "Options", **traits: Any) -> None:
        super().__init__(names, **traits)
        self.section = section


class Command(click.Command):
    """A command whose help has its options in sections, and examples below.

    Args:
        name: how it is called.
        examples: lines as one would type them.
        traits: click's.
    """

    context_class = _Context

    def __init__(self, name: str, *, examples: Iterable[str] = (), **traits: Any) -> None:
        super().__init__(name, **traits)
        self.examples = tuple(examples)

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the options."""
        sections: dict[str, list[tuple[str, str]]] = {title: [] for title in SECTIONS}
        for parameter in self.get_params(ctx):
            # An argument stands in the usage line, and its meaning in the words below that.
            if isinstance(parameter, click.Option) and (record := parameter.get_help_record(ctx)) is not None:
                sections[parameter.section if isinstance(parameter, Option) else SECTIONS[-1]].append(record)
        for title, rows in sections.items():
            if rows:
                with formatter.section(title):
                    formatter.write_dl(rows)

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the examples."""
        del ctx
        if self.examples:
            with formatter.section("Example" if len(self.examples) == 1 else "Examples"):
                for line in self.examples:
                    formatter.write(f"{'':>{formatter.current_indent}}{line}\n")


class Group(Command, click.Group):
    """A command with commands below it."""

    def format_options(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the commands, then the options."""
        rows = []
        for name in self.list_commands(ctx):
            command = cast("click.Command", self.get_command(ctx, name))
            rows.append((name, " ".join((command.help or "").partition("\n\n")[0].split())))
        with formatter.section("Commands"):
            formatter.write_dl(rows)
        super().format_options(ctx, formatter)
