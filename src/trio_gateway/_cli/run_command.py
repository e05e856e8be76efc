"""`trio-gateway run FILE`: a script or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Final, cast

import rich_click as click

from .code import run_code
from .options import (
    Options,
    attach_option,
    check_attach,
    common_options,
    control_option,
    cwd_option,
    json_option,
    kernel_option,
    pass_options,
    timeout_option,
)
from .placing import Place, place_named
from .script import Script
from .sources import code_of, is_notebook, read_script, read_standard_input

__all__ = ["run"]

_STANDARD_INPUT: Final = Path("-")


class _RunCommand(click.RichCommand):
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


@click.command(
    cls=_RunCommand,
    epilog="Examples: trio-gateway run analysis.ipynb -o result.ipynb · trio-gateway run script.py -- --verbose data.csv",
)
@click.argument("files", metavar="FILE", nargs=-1, type=click.Path(path_type=Path))
@click.option("--output", "-o", metavar="FILE", type=click.Path(path_type=Path), help="Save the notebook with its outputs here.")
@click.option("--inplace", is_flag=True, help="Save the notebook with its outputs where it came from.")
@click.option("--echo", is_flag=True, help="Show a notebook's outputs too when they are saved.")
@click.option("--allow-errors", is_flag=True, help="Go on after a cell that raised an error.")
@kernel_option
@attach_option
@cwd_option
@timeout_option
@control_option
@json_option
@common_options
@pass_options
def run(
    options: Options,
    files: tuple[Path, ...],
    arguments: tuple[str, ...],
    output: Path | None,
    inplace: bool,
    echo: bool,
    allow_errors: bool,
    cwd: Path | None,
    timeout: float | None,
) -> int:
    """Run FILE on a fresh kernel: a notebook if its name ends in .ipynb, else a script, such as FILE.py. `-` is standard input.

    **A script** is sent as one piece of code; its output is shown as by `exec`. In Python it finds what stands after `--` in
    `sys.argv`, and itself in `__file__`, and imports what stands beside it.

    **A notebook's** code cells run in order until the first that raises an error. Their outputs go
    to the file of `--output` or `--inplace`, saved as they come, never half written; without one of these FILE stays as it is
    and the outputs are shown instead. Cells tagged `skip-execution` are left alone, cells tagged `raises-exception` may raise.
    The kernel is the one that the notebook names, unless `--kernel` is given. A notebook of format 1 to 3 is saved as format 4;
    what breaks the format is mended, with a warning.

    **Standard input** is a notebook if it is JSON of one, and else a script.

    **Where:** a script runs in the current directory and a notebook in its own, if the kernel has that directory: a kernel of a
    gateway that was started for this command, or one in Python that sees the same directory as this command. If not, a line says
    so, and the kernel works where its gateway has it. `--cwd` names another. A kernel of `--attach` stays where it is.

    **Code that asks for input**, as `input()` and `getpass()` do, asks at the terminal, if standard input is one.

    Ctrl-C interrupts the kernel, saves what there is and ends what was started; pressed again it quits at once.
    """
    check_attach(options, cwd)
    if len(files) != 1:
        raise click.UsageError(_which(files))
    (file,) = files
    data = read_standard_input() if file == _STANDARD_INPUT else None
    if not (file.suffix.lower() == ".ipynb" if data is None else is_notebook(data)):
        for name, given in {"--output": output, "--inplace": inplace, "--allow-errors": allow_errors, "--echo": echo}.items():
            if given:
                raise click.UsageError(f"{name} is for notebooks, whose names end in .ipynb.")
        here = Place(Path.cwd(), what="the current directory") if cwd is None else place_named(cwd)
        script = Script(read_script(file), file, arguments) if data is None else Script(code_of(data), None, arguments)
        return run_code(options, script, place=here, timeout=timeout, from_stdin=data is not None)
    if arguments:
        raise click.UsageError("What stands after -- is for scripts: a notebook has no arguments.")
    if output is not None and inplace:
        raise click.UsageError("--output and --inplace exclude each other.")
    if inplace and data is not None:
        raise click.UsageError("--inplace is for files: a notebook from standard input is saved with --output.")
    if output is not None and output.suffix.lower() not in {"", ".ipynb"} and (output.is_file() or not output.exists()):
        # A device or a pipe has what name it has.
        raise click.UsageError(
            f"--output: a notebook is saved, so the name has to end in .ipynb, not in {output.suffix}. "
            "Other tools, such as `jupyter nbconvert`, make other forms of it."
        )
    with _without("rfc3987_syntax"):
        from .. import notebooks
        from .._notebooks.file import NotebookFile
        from .._notebooks.reading import parse_notebook
        from .notebook import NotebookTask, run_notebook

    found = notebooks.read_notebook(file) if data is None else parse_notebook(data, str(file))
    if found.format != found.notebook.nbformat:
        options.say(f"{file}: upgraded from notebook format {found.format} to {found.notebook.nbformat}.")
    if found.warning:
        options.warn(f"{file}: {found.warning}")
    path = file if inplace else output
    own = Place(Path.cwd(), what="the current directory")
    if data is None:
        own = Place(file.resolve().parent, what="the notebook's directory")
    if path is not None:
        NotebookFile(path, origin=found.path)  # found out before a gateway is asked for anything
    settings: notebooks.RunSettings = {
        "output": path,
        "timeout": timeout,
        "on_error": "continue" if allow_errors else "stop",
    }
    task = NotebookTask(
        notebook=found,
        settings=settings,
        echo=(echo or path is None) and not options.as_json,
        place=own if cwd is None else place_named(cwd),
    )
    return run_notebook(options, task)


def _which(files: tuple[Path, ...]) -> str:
    """Say which files can't be run."""
    if not files:
        return "Give the FILE to run, a script or a notebook; or - for standard input."
    if files[0].suffix.lower() != ".ipynb":
        return f"A script is run by itself: what {files[0]} is to find in its arguments stands after --."
    return "One FILE is run at a time."


@contextmanager
def _without(module: str) -> Generator[None]:
    """Hide a module that nothing needs here, but that a library below nbformat imports where it can, at the cost of a second."""
    if module in sys.modules:
        yield
        return
    modules = cast("dict[str, ModuleType | None]", sys.modules)
    modules[module] = None  # Python's way to say: as if it were not installed
    try:
        yield
    finally:
        del modules[module]
