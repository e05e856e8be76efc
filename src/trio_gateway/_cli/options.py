"""The options that every command takes, before or after its name, and what is known from them.

The one idea: `trio-gateway --url U exec CODE` and `trio-gateway exec --url U CODE` are the same; what stands last wins.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, TextIO

import attrs
import click

from .._config import readable_by_all
from .._errors import InvalidInputError
from .._secret import Secret
from .exits import printable
from .wording import Failure, describe, more_about

if TYPE_CHECKING:
    from rich.console import Console

__all__ = ["Options", "check_attach", "read_token"]


_RECORDS: Final = {
    "kernel_may_be_left": "a kernel may be left on the gateway",
    "variable_not_sent": "a variable was not sent to the kernel",
    "token_renewal_failed": "the token could not be renewed",
    "still_busy": "the kernel was interrupted and is still busy",
    "connection_is_mute": "a connection led nowhere and was replaced",
    "message_not_understood": "a message of the kernel can't be understood",
    "message_too_large": "a message of the kernel is too large",
    "notebook_not_saved": "the notebook could not be saved",
    "notebook_parameters": "parameters",
}
"""How the library's log records begin, and what that is to a person."""


_TOLD_ALREADY: Final = "notebook_mended"
"""What the command tells of a notebook by itself, before anything starts."""


def _is_news(record: logging.LogRecord) -> bool:
    return record.getMessage().partition(":")[0] != _TOLD_ALREADY


class _Formatter(logging.Formatter):
    """Shows what the library's log records carry beside their fixed message, once; those for everybody in a person's words."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        fields = [
            f"{name.partition('.')[2]}={value}"
            for name, value in vars(record).items()
            if name.startswith("gateway.") and str(value) not in text
        ]
        return printable(" ".join([text, *fields]))


class _PlainFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        prefix, code, rest = text.partition(record.getMessage().partition(":")[0])
        return f"{prefix}{_RECORDS[code]}{rest}" if code in _RECORDS else text


def _may_be_terminal(stream: TextIO | None) -> bool:
    """Say whether rich could take a stream for a terminal, without asking it: importing it takes a while."""
    return bool(os.environ.get("FORCE_COLOR") or os.environ.get("TTY_COMPATIBLE") or (stream is not None and stream.isatty()))


def _stderr_console() -> Console:
    from rich import console

    class OurConsole(console.Console):
        def on_broken_pipe(self) -> None:
            """Go quiet: rich's own way ends the process with code 1, which means something else here."""
            self.quiet = True

    # FORCE_COLOR makes a terminal of a file, for rich, which then also draws there.
    drawn = None if sys.stderr is not None and sys.stderr.isatty() else False
    return OurConsole(stderr=True, highlight=False, soft_wrap=True, markup=False, emoji=False, force_interactive=drawn)


@attrs.define
class Options:
    """What the user asked of every command."""

    url: str | None = None
    """The gateway's address; None: from the environment, or a local gateway."""
    hub: str | None = None
    """The address of a JupyterHub, whose user's server is the gateway."""
    hub_user: str | None = None
    """Whose server it is; None: that of the token's user."""
    hub_server: str = ""
    """The name of a named server; `""` for the user's default one."""
    gateway: str | None = None
    """The gateway's name in the file of gateways."""
    token_file: Path | None = None
    """A file that holds the gateway's token."""
    kernel: str | None = None
    """The kernelspec's name; None: the notebook's own, or the gateway's default."""
    quiet: bool = False
    """Say nothing but errors and warnings."""
    debug: bool = False
    """Show tracebacks and the library's log."""
    control: bool | None = None
    """Whether control sequences in the code's output pass; None: to a terminal only."""
    attach: str | None = None
    """The id of the kernel to run code in; None: a fresh one."""
    resources: tuple[str, ...] = ()
    """What a fresh kernel gets of a cluster, each as NAME=VALUE."""
    as_json: bool = False
    """Give one JSON object on standard output, and nothing else."""
    report: dict[str, object] = attrs.field(factory=dict)
    """What the command has found out, for the JSON object, which gets `ok` and `error` beside it."""
    before_quitting: Callable[[], object] | None = None
    """Called when a second signal is about to end the process at once; it must be quick."""
    reported: bool = False
    """Whether the JSON object is written already."""
    failure: Failure | None = None
    """What went wrong without an exception, for the JSON object: the code's own error, or a kernel of several."""
    _console: Console | None = None
    """Standard error, once something was written there."""

    @property
    def console(self) -> Console:
        """Standard error, where everything goes that is not the code's own output; rich is imported where it is used."""
        if self._console is None:
            self._console = _stderr_console()
        return self._console

    @property
    def has_gateway(self) -> bool:
        """Whether a gateway is named, by option or environment."""
        return bool(self.gateway or self.url or self.hub or os.environ.get("JUPYTER_GATEWAY_URL"))

    def check_gateway(self) -> None:
        """Refuse options that name several gateways, or a hub's user without the hub.

        Raises:
            click.UsageError: there are such.
        """
        if self.gateway is not None and self.url:
            raise click.UsageError("--gateway and --url exclude each other: a gateway's name stands for its address.")
        if self.hub is not None and (self.url or self.gateway is not None):
            other = "--url" if self.url else "--gateway"
            raise click.UsageError(f"--hub and {other} exclude each other: with --hub the gateway is the user's server there.")
        if self.hub is None and (self.hub_user is not None or self.hub_server):
            option = "--hub-user" if self.hub_user is not None else "--hub-server"
            raise click.UsageError(f"{option} says which server of a JupyterHub: give the hub's address with --hub.")

    def at_the_hub(self) -> Options:
        """Return the options of one whose gateway is the hub itself."""
        return attrs.evolve(self, url=self.hub, hub=None, hub_user=None, hub_server="")

    @property
    def colour(self) -> bool:
        """Whether colours may go to standard error: it is a terminal that has them, and NO_COLOR is not set."""
        if self._console is None and not _may_be_terminal(sys.stderr):
            return False
        return self.console.is_terminal and self.console.color_system is not None and not self.console.no_color

    @property
    def forced_colour(self) -> bool:
        """Whether colours are wanted in files and pipes too."""
        return bool(os.environ.get("FORCE_COLOR")) and self.colour

    def set_up_logging(self) -> None:
        """Send the library's log to standard error: warnings, or everything with `--debug`."""
        handler = logging.StreamHandler()
        if self.debug:
            handler.setFormatter(_Formatter("trio-gateway: %(levelname)s: %(name)s: %(message)s"))
        else:
            handler.setFormatter(_PlainFormatter("trio-gateway: warning: %(message)s"))
        handler.addFilter(_is_news)
        logging.basicConfig(level=logging.WARNING, handlers=[handler])
        if self.debug:
            logging.getLogger("trio_gateway").setLevel(logging.DEBUG)

    def settings(self) -> dict[str, Any]:
        """Return the settings of `GatewayConfig` that the options give.

        Raises:
            InvalidInputError: the token file can't be read or is empty.
        """
        settings: dict[str, Any] = {}
        if self.url:
            settings["url"] = self.url
        if self.token_file is not None:
            settings["auth_token"] = read_token(self.token_file)
            if warning := readable_by_all(self.token_file):
                self.warn(warning)
        return settings

    def say(self, message: str) -> None:
        """Tell what is going on, unless asked to be quiet."""
        if not self.quiet:
            from rich.text import Text

            self.console.print(Text(printable(message), style="dim"))

    def warn(self, message: str) -> None:
        """Tell what the user should know whatever they asked."""
        from rich.text import Text

        self.console.print(Text.assemble(("trio-gateway: warning: ", "bold yellow"), printable(message)))

    def complain(self, failure: Failure | Exception) -> Failure:
        """Tell why the command failed, in words and in the JSON object, which has the first reason if there are several."""
        more = more_about(failure)
        from rich.text import Text

        failure = failure if isinstance(failure, Failure) else describe(failure, local=not self.has_gateway)
        if self.failure is None:
            self.failure = failure
        lines = [*failure.lines, *more]
        self.console.print(Text.assemble(("trio-gateway: error: ", "bold red"), "\n".join(map(printable, lines))))
        return failure


def read_token(path: Path) -> str:
    """Return the token that the file holds, without the white space around it.

    Raises:
        InvalidInputError: the file can't be read, or holds no token. What it holds is not told.
    """
    try:
        token = Secret(path.read_text(encoding="utf-8").strip())
    except (OSError, UnicodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "it is no UTF-8 text"
        raise InvalidInputError("--token-file", str(path), f"a file that holds the token ({why})") from None
    if not token or len(token.split()) != 1:
        raise InvalidInputError("--token-file", str(path), "a file that holds the token, one word, and nothing else")
    return token


def check_attach(options: Options, cwd: Path | None) -> None:
    """Refuse options that say how a kernel is started, where none is.

    Raises:
        click.UsageError: there are such.
    """
    if options.attach is not None:
        for name, given in {"--kernel": options.kernel, "--cwd": cwd, "--resource": options.resources or None}.items():
            if given is not None:
                raise click.UsageError(f"{name} and --attach exclude each other: the kernel runs already, and stays as it is.")
