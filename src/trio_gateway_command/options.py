"""The options that several commands take.

The one idea: `trio-gateway --url U exec CODE` and `trio-gateway exec --url U CODE` are the same; what stands last wins.
"""

from __future__ import annotations

import os
from typing import Any, Final

import click
from click.core import ParameterSource

from .layout import Option

__all__ = ["ATTACH", "COMMON", "CONTROL", "CWD", "JSON", "KERNEL", "RESOURCE", "TIMEOUT", "FilePath"]


class FilePath(click.Path):
    """A path, as `pathlib` has them: that is imported when one was given."""

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path."""
        from pathlib import Path

        return Path(os.fsdecode(super().convert(value, param, ctx)))


def _remember(context: click.Context, parameter: click.Parameter, value: Any) -> None:
    name = parameter.name or ""
    # Not given here: what was given before the command's name stays.
    if context.get_parameter_source(name) is not ParameterSource.DEFAULT:
        context.obj[name] = value


def _complete_gateway(context: click.Context, parameter: click.Parameter, incomplete: str) -> list[str]:
    """Return the names that begin so; none where the file can't be used, which its use tells."""
    del context, parameter
    from trio_gateway import InvalidInputError
    from trio_gateway._config import gateways_file, read_file

    try:
        names = read_file(gateways_file(os.environ))
    except (InvalidInputError, RuntimeError):
        return []
    return sorted(name for name in names if name.startswith(incomplete))


def _common(*names: str, section: str = "General", **traits: Any) -> Option:
    """Return an option whose value is no argument of the command's: `trio_gateway._cli.options.Options` has it."""
    return Option(*names, section=section, expose_value=False, callback=_remember, **traits)


COMMON: Final = (
    _common(
        "--url",
        section="Gateway",
        metavar="URL",
        help="The gateway's address, or several with commas. Without it: JUPYTER_GATEWAY_URL. Without any a local gateway "
        "is started, but not for kernels and --attach.",
    ),
    _common(
        "--gateway",
        section="Gateway",
        metavar="NAME",
        shell_complete=_complete_gateway,
        help="The gateway of this name in the file of gateways, in place of --url. `trio-gateway gateways` lists them.",
    ),
    _common(
        "--hub",
        section="Gateway",
        metavar="URL",
        help="A JupyterHub's address, in place of --url: the gateway is the server of the token's user. One that does not "
        "run is started, and stopped at the end; but not for kernels, --attach and doctor.",
    ),
    _common(
        "--hub-user",
        section="Gateway",
        metavar="NAME",
        help="The user whose server it is, where that is not the one whose token it is.",
    ),
    _common("--hub-server", section="Gateway", metavar="NAME", help="The name of the server, of a user who has several."),
    _common(
        "--token-file",
        section="Gateway",
        metavar="FILE",
        type=FilePath(),
        help="A file that holds the gateway's token, or the hub's. Without it: JUPYTER_GATEWAY_AUTH_TOKEN.",
    ),
    _common("--quiet", "-q", is_flag=True, help="Say nothing but errors and warnings."),
    _common("--debug", is_flag=True, help="Show tracebacks and the library's log."),
)
"""What every command takes."""

KERNEL: Final = _common(
    "--kernel",
    section="Kernel",
    metavar="NAME",
    help="The kernel to start, by its kernelspec's name. Without it: the gateway's default; for a notebook, the one it names.",
)
ATTACH: Final = _common(
    "--attach",
    section="Kernel",
    metavar="ID",
    help="Run it in this kernel, which runs already and is left running, in place of a fresh one: its id, or the beginning "
    "of it. `trio-gateway kernels` lists them.",
)
RESOURCE: Final = _common(
    "--resource",
    "resources",
    section="Kernel",
    metavar="NAME=VALUE",
    multiple=True,
    help="What the kernel gets of a cluster, such as cpu=2, memory=4Gi, gpus=1, image=NAME or remote_host=NAME. May be repeated.",
)
JSON: Final = _common(
    "--json",
    "as_json",
    is_flag=True,
    help="Give one JSON object on standard output, when all is done, and nothing else there.",
)
CONTROL: Final = _common(
    "--control/--no-control",
    default=None,
    help="Whether control sequences of the code's output pass: colours, titles, moves of the cursor. Without either they pass "
    "to a terminal, and are taken out of what goes to a file or a pipe.",
)
CWD: Final = Option(
    "--cwd",
    section="Kernel",
    metavar="DIR",
    type=FilePath(),
    help="The kernel's working directory, on the kernel's machine. A kernel in Python is moved there, or the command ends; of "
    "others behind a gateway on another machine it is not known where they work.",
)
TIMEOUT: Final = Option(
    "--timeout",
    metavar="SECONDS",
    type=click.FloatRange(min=0, min_open=True),
    help="Interrupt the code when it has run for so long. The time to start a kernel does not count.",
)
