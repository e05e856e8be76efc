"""All commands: their arguments, their options, their help, and which function of `trio_gateway._cli` does each.

The one idea: to say what a command takes, nothing of `trio_gateway` is imported.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

import click

from .exit_codes import EXIT_CODES_HELP, ExitCode
from .layout import Command, Group, Option, explain
from .options import ATTACH, COMMON, CONTROL, CWD, JSON, KERNEL, RESOURCE, TIMEOUT, FilePath

__all__ = ["Call", "app"]


class Call(NamedTuple):
    """What a command line asks for, beside the options that all commands take."""

    module: str
    """The module of `trio_gateway._cli` that does it."""
    function: str
    """What is called there."""
    path: str
    """The command as it was called, with the names of its groups."""
    arguments: dict[str, Any]
    """What is given to the function, by name."""


def _does(module: str, function: str) -> Callable[..., Call]:
    def call(**arguments: Any) -> Call:
        return Call(module, function, click.get_current_context().command_path, arguments)

    return call


# ------------------------------------------------------------------------------------------------------------------- all

_HELP = """Run code on the Jupyter kernels behind a gateway.

The gateway is the one of `--url`, of `--gateway` or of the environment variable JUPYTER_GATEWAY_URL. Without these, a local
Kernel Gateway is started for the one command and ended with it. Secrets never go on a command line: the token comes from
JUPYTER_GATEWAY_AUTH_TOKEN or `--token-file`. All other settings are the JUPYTER_GATEWAY_* variables.

**Shell completion**, for bash; zsh and fish have `zsh_source` and `fish_source`. The page docs/command.md says how to keep it,
and has the schema of `--json` too.

\b
    eval "$(_TRIO_GATEWAY_COMPLETE=bash_source trio-gateway)"

**Exit codes:**

\b
{codes}
"""


def _say_version(context: click.Context, parameter: click.Parameter, value: bool) -> None:
    del parameter
    if value and not context.resilient_parsing:
        from trio_gateway._version import __version__

        click.echo(f"trio-gateway, version {__version__}")
        context.exit()


_VERSION: Final = Option(
    "--version",
    section="General",
    is_flag=True,
    is_eager=True,
    expose_value=False,
    callback=_say_version,
    help="Show the version and exit.",
)


class _App(Group):
    """Shows its help where nothing at all was asked for."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        if not args and not ctx.resilient_parsing:
            explain(ctx)
            ctx.exit(ExitCode.BAD_INPUT)
        return super().parse_args(ctx, args)


app = _App(
    "trio-gateway",
    help=_HELP.format(codes="\n".join([f"{code:5}  {meaning}" for code, meaning in EXIT_CODES_HELP])),
    params=[*COMMON, KERNEL, _VERSION],
    no_args_is_help=False,
    subcommand_metavar="COMMAND [ARGS]...",
)
"""The command `trio-gateway`."""

# ------------------------------------------------------------------------------------------------------------------ exec

app.add_command(
    Command(
        "exec",
        callback=_does("exec_command", "exec_command"),
        params=[click.Argument(["code"], required=False), KERNEL, ATTACH, CWD, RESOURCE, TIMEOUT, CONTROL, JSON, *COMMON],
        help="""Run CODE on a fresh kernel, or what comes on standard input if there is no CODE or it is `-`.

What it prints streams to standard output and standard error; the value of its last expression goes to standard output, a
traceback to standard error. The kernel is shut down at the end, unless it is one of `--attach`. Ctrl-C interrupts the code.

**Where** the kernel works is the gateway's choice, unless `--cwd` says otherwise; of a gateway that was started for this command
it is the current directory.

**Code that asks for input**, as `input()` and `getpass()` do, asks at the terminal, if standard input is one.
""",
        examples=(
            "trio-gateway exec '6 * 7'",
            "trio-gateway exec < analysis.py",
            "trio-gateway exec --attach ID 'x'",
        ),
    )
)

# ------------------------------------------------------------------------------------------------------------------- run


class _RunCommand(Command):
    """Takes what stands after `--` for arguments; where no FILE stands before it, for names that begin with a dash."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        before, arguments = _split(args)
        if arguments is not None:
            found, _, _ = self.make_parser(ctx).parse_args(list(before))
            files = found.get("files")
            if not (isinstance(files, tuple) and files):  # what stands for no value differs between versions of click
                names, arguments = _split(arguments)
                before = [*before, "--", *names]
        rest = super().parse_args(ctx, before)
        ctx.params["arguments"] = tuple(arguments or ())
        return rest

    def collect_usage_pieces(self, ctx: click.Context) -> list[str]:
        return [*super().collect_usage_pieces(ctx), "[-- ARGS]"]


def _split(args: list[str]) -> tuple[list[str], list[str] | None]:
    """Return what stands before the first `--`, and what stands after it, if there is one."""
    if "--" not in args:
        return args, None
    place = args.index("--")
    return args[:place], args[place + 1 :]


app.add_command(
    _RunCommand(
        "run",
        callback=_does("run_command", "run"),
        params=[
            click.Argument(["files"], metavar="FILE...", nargs=-1, type=FilePath()),
            Option(
                "--output",
                "-o",
                metavar="PATTERN",
                type=click.Path(),
                help="Save the notebook with its outputs here: a file, a folder with a slash at its end, or a pattern such as "
                "out/{name}.ipynb; - is standard output.",
            ),
            Option("--inplace", is_flag=True, help="Save the notebook with its outputs where it came from."),
            Option(
                "--jobs",
                "-j",
                metavar="N",
                type=click.IntRange(min=1),
                default=1,
                help="How many notebooks run at a time. Default: 1.",
            ),
            Option(
                "--parameter",
                "-p",
                "pairs",
                metavar="NAME=VALUE",
                multiple=True,
                help="Set a parameter, as papermill does: VALUE is a number, True, False, None, or else text. May be repeated.",
            ),
            Option(
                "--raw-parameter",
                "-r",
                "raw_pairs",
                metavar="NAME=TEXT",
                multiple=True,
                help="Set a parameter to a text, whatever it looks like. It goes before -p. May be repeated.",
            ),
            Option(
                "--parameters",
                "-f",
                "parameters_files",
                metavar="FILE",
                multiple=True,
                type=FilePath(),
                help="Set the parameters that a file has, in YAML or JSON. May be repeated: later ones win, and -p and -r go "
                "before them.",
            ),
            Option("--stop-on-failure", is_flag=True, help="Of several notebooks, end the others when one does not end well."),
            Option(
                "--html", metavar="PATTERN", type=click.Path(), help="Make a page of the notebook, by nbconvert; as --output."
            ),
            Option(
                "--report",
                "reports",
                metavar="FILE",
                multiple=True,
                type=FilePath(),
                help="Write what became of the notebooks: FILE.html for people, FILE.json for programs, FILE.xml for CI "
                "(JUnit). May be repeated.",
            ),
            Option("--images", metavar="DIR", type=FilePath(), help="Write each image in a cell's outputs into this folder."),
            Option("--echo", is_flag=True, help="Show a notebook's outputs too when they are saved."),
            Option(
                "--allow-errors",
                is_flag=True,
                help="Go on after a cell that raised an error, or took longer than --cell-timeout.",
            ),
            Option(
                "--cell-timeout",
                metavar="SECONDS",
                type=click.FloatRange(min=0, min_open=True),
                help="Interrupt a cell that has run for so long.",
            ),
            Option(
                "--resume",
                is_flag=True,
                help="Go on where the last run of the notebook stopped, if its kernel is still there; and leave one's kernel "
                "where it stops.",
            ),
            KERNEL,
            ATTACH,
            CWD,
            RESOURCE,
            TIMEOUT,
            CONTROL,
            JSON,
            *COMMON,
        ],
        help="""Run scripts and notebooks on fresh kernels. A FILE is a notebook if its name ends in .ipynb; `-` is standard
input.

**A script** is sent as one piece of code; its output is shown as by `exec`. In Python it finds what stands after `--` in
`sys.argv`, and itself in `__file__`, and imports what stands beside it.

**A notebook's** code cells run in order until the first that raises an error. Their outputs go
to the file of `--output` or `--inplace`, saved as they come, never half written; without one of these FILE stays as it is
and the outputs are shown instead. Cells tagged `skip-execution` are left alone, cells tagged `raises-exception` may raise.
The kernel is the one that the notebook names, unless `--kernel` is given. A notebook of format 1 to 3 is saved as format 4;
what breaks the format is mended, with a warning.

**Several notebooks** run each on a kernel of its own, `--jobs` at a time; one that fails takes nothing from the others. The
exit code is the greatest of theirs. In a PATTERN, `{name}` is the notebook's path below the folder that all of them share,
`{stem}` its last part, `{n}` its number, and a slash at the end stands for `{name}` with the usual ending.

**Standard input** is a notebook if it is JSON of one, and else a script.

**Where:** a script runs in the current directory and a notebook in its own, if the kernel has that directory: a kernel of a
gateway that was started for this command, or one in Python that sees the same directory as this command. If not, a line says
so, and the kernel works where its gateway has it. `--cwd` names another. A kernel of `--attach` stays where it is.

**Code that asks for input**, as `input()` and `getpass()` do, asks at the terminal, if standard input is one and no other
notebook runs.

Ctrl-C interrupts the kernels, saves what there is, says where, and ends what was started; pressed again it quits at once.
""",
        examples=(
            "trio-gateway run analysis.ipynb -o result.ipynb",
            "trio-gateway run nightly/*.ipynb -j 4 -o out/ --report out/report.xml",
            "trio-gateway run sales.ipynb -p year=2024 -o 2024.ipynb --html 2024.html",
            "trio-gateway run script.py -- --verbose data.csv",
        ),
    )
)

# --------------------------------------------------------------------------------------------------------------- kernels

_kernels = Group(
    "kernels",
    callback=_does("kernels_command", "list_kernels"),
    params=[JSON, *COMMON],
    invoke_without_command=True,
    help="""List the kernels that run on the gateway; start one; interrupt, restart or shut down some.

To run code in one that runs: `trio-gateway exec --attach ID CODE`.
""",
    examples=("trio-gateway kernels interrupt ID",),
)
app.add_command(_kernels)
_kernels.add_command(
    Command(
        "list",
        callback=_does("kernels_command", "list_kernels"),
        params=[JSON, *COMMON],
        help="List the kernels that run on the gateway.",
    )
)
_kernels.add_command(
    Command(
        "start",
        callback=_does("kernels_command", "start"),
        params=[click.Argument(["name"], required=False), CWD, RESOURCE, JSON, *COMMON],
        help="""Start a kernel that runs until somebody shuts it down, and print its id.

NAME is a kernelspec's; without it the gateway chooses. `trio-gateway kernelspecs` lists them.
""",
        examples=("trio-gateway exec --attach $(trio-gateway kernels start python3) '6 * 7'",),
    )
)
for _name, _words in {
    "interrupt": "Interrupt what these kernels are doing.",
    "restart": "Restart these kernels: what is in their memory is lost, their ids stay.",
    "shutdown": "Shut these kernels down.",
}.items():
    _kernels.add_command(
        Command(
            _name,
            callback=_does("kernels_command", _name),
            params=[click.Argument(["ids"], metavar="ID...", nargs=-1, required=True), JSON, *COMMON],
            help=_words,
        )
    )

# ---------------------------------------------------------------------------------------------------- what gateways have

app.add_command(
    Command(
        "kernelspecs",
        callback=_does("kernelspecs_command", "kernelspecs"),
        params=[JSON, *COMMON],
        help="""List the kernels that the gateway can start. The default one is marked with a star.

With `--json` also their command lines and all else there is.
""",
        examples=("trio-gateway kernelspecs --json",),
    )
)
app.add_command(
    Command(
        "gateways",
        callback=_does("gateways_command", "gateways"),
        params=[JSON, *COMMON],
        help="""List the gateways that have names: what `--gateway NAME` takes.

They stand in `trio-gateway/gateways.toml` in the folder of your configurations, or in the file that TRIO_GATEWAY_FILE names.
No gateway is asked for anything, and no secret is read: `trio-gateway doctor --gateway NAME` checks one.
""",
        examples=("trio-gateway gateways",),
    )
)
app.add_command(
    Command(
        "doctor",
        callback=_does("doctor_command", "doctor"),
        params=[
            Option("--all", "show_all", is_flag=True, help="Show all settings, also those that have their default."),
            Option("--no-kernel", is_flag=True, help="Start no kernel. What works of WebSockets is then known only in part."),
            JSON,
            KERNEL,
            *COMMON,
        ],
        help="""Show the settings and where each comes from, and check the way to the gateway and to a kernel behind it.

Secrets are masked. Each step is a line: the settings' files, the host's name, TCP, TLS, HTTP, the server's clock,
authentication, the kernelspecs, a kernel's start, whether replicas agree, the kernel's WebSocket, its answer and its
shutdown. The first that fails says what to do about it;
what stands on it is skipped. A warning is no failure. A failed step gives the exit code that its error has in all commands:
2 for a wrong setting, 3 for a gateway that can't be reached or refuses.
""",
        examples=("trio-gateway doctor --no-kernel",),
    )
)
app.add_command(
    Command(
        "conformance",
        callback=_does("conformance_command", "conformance"),
        params=[click.Argument(["address"], metavar="[URL]", required=False), JSON, KERNEL, *COMMON],
        help="""Show what a server does: start, interrupt and restart kernels, replay after a cut, and 30 things more.

It starts kernels, runs code in them, and shuts them down. `yes`: as it should be; `no`: the server lacks it, as servers may,
and what it does instead; `FAILED`: something is wrong, and then the exit code is 3. Code is known for kernels in Python and
bash. Without a URL, the gateway is the one of all commands. A terminal shows which scenario of how many plays.
""",
        examples=("trio-gateway conformance http://127.0.0.1:8888 --kernel python3",),
    )
)

# ----------------------------------------------------------------------------------------------------------------- proxy

_FILE: Final = FilePath(dir_okay=False)

app.add_command(
    Command(
        "proxy",
        callback=_does("proxy_command", "proxy"),
        params=[
            Option("--host", metavar="ADDRESS", default="127.0.0.1", show_default=True, help="The address to listen on."),
            Option(
                "--port",
                metavar="PORT",
                type=click.IntRange(0, 65535),
                default=8889,
                show_default=True,
                help="0: any free one.",
            ),
            Option("--base-path", metavar="PATH", default="/", show_default=True, help="Where everything begins, as /jupyter/."),
            Option("--proxy-token-file", metavar="FILE", type=_FILE, help="A file with the token that front ends must show."),
            Option("--allow-anyone", is_flag=True, help="Ask for no token: everybody who reaches the port can run code."),
            Option(
                "--allow-origin",
                metavar="ORIGIN",
                multiple=True,
                help="Pages from there may use the proxy; * for all. Repeatable.",
            ),
            Option("--allow-host", metavar="NAME", multiple=True, help="A name that the proxy is called by. Repeatable."),
            Option("--certfile", metavar="FILE", type=_FILE, help="A certificate and its chain in PEM, for TLS."),
            Option("--keyfile", metavar="FILE", type=_FILE, help="Its key in PEM; without it: in the certificate's file."),
            Option(
                "--drain",
                metavar="SECONDS",
                type=click.FloatRange(min=0),
                default=10.0,
                show_default=True,
                help="How long the end may take.",
            ),
            Option("--no-access-log", is_flag=True, help="No line for each request on standard output."),
            *COMMON,
        ],
        help="""Serve a gateway's kernels to JupyterLab and other notebook front ends.

Front ends need a token: the one in `--proxy-token-file`, or a random one that is printed. It is not the gateway's, which
the front ends never learn. With it in JUPYTER_GATEWAY_AUTH_TOKEN, JupyterLab for example is started as

    jupyter lab --gateway-url http://127.0.0.1:8889

**Signals:** SIGTERM and Ctrl-C end the proxy when the requests that run are answered, at most after `--drain` seconds; a
second one ends it at once. SIGHUP reads the token file again; connections that are open stay.

**For monitoring:** `/healthz` needs no token and answers 503 while the proxy ends; `/metrics` is for
Prometheus and needs the token; standard output has one line of JSON for each request.

The page docs/security.md says what is checked, and docs/proxy.md how to run it under systemd or in a container.
""",
        examples=("trio-gateway proxy --url http://gateway:8888 --host 0.0.0.0 --allow-host lab.example.org",),
    )
)
