"""`trio-gateway run FILE`: a script or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import cast

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
from .sources import read_script

__all__ = ["run"]


@click.command(epilog="Example: trio-gateway run analysis.ipynb -o result.ipynb")
@click.argument("file", type=click.Path(path_type=Path))
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
    file: Path,
    output: Path | None,
    inplace: bool,
    echo: bool,
    allow_errors: bool,
    cwd: Path | None,
    timeout: float | None,
) -> int:
    """Run FILE on a fresh kernel: a notebook if its name ends in .ipynb, else a script, such as FILE.py.

    **A script** is sent as one piece of code; its output is shown as by `exec`.

    **A notebook's** code cells run in order until the first that raises an error. Their outputs go
    to the file of `--output` or `--inplace`, saved as they come, never half written; without one of these FILE stays as it is
    and the outputs are shown instead. Cells tagged `skip-execution` are left alone, cells tagged `raises-exception` may raise.
    The kernel is the one that the notebook names, unless `--kernel` is given. A notebook of format 1 to 3 is saved as format 4;
    what breaks the format is mended, with a warning.

    **Where:** a script runs in the current directory and a notebook in its own, if the kernel has that directory: a kernel of a
    gateway that was started for this command, or one in Python that sees the same directory as this command. If not, a line says
    so, and the kernel works where its gateway has it. `--cwd` names another. A kernel of `--attach` stays where it is.

    **Code that asks for input**, as `input()` and `getpass()` do, asks at the terminal, if standard input is one.

    Ctrl-C interrupts the kernel, saves what there is and ends what was started; pressed again it quits at once.
    """
    check_attach(options, cwd)
    if file.suffix.lower() != ".ipynb":
        for name, given in {"--output": output, "--inplace": inplace, "--allow-errors": allow_errors, "--echo": echo}.items():
            if given:
                raise click.UsageError(f"{name} is for notebooks, whose names end in .ipynb.")
        here = Place(Path.cwd(), what="the current directory")
        return run_code(options, read_script(file), place=here if cwd is None else place_named(cwd), timeout=timeout)
    if output is not None and inplace:
        raise click.UsageError("--output and --inplace exclude each other.")
    if output is not None and output.suffix.lower() not in {"", ".ipynb"} and (output.is_file() or not output.exists()):
        # A device or a pipe has what name it has.
        raise click.UsageError(
            f"--output: a notebook is saved, so the name has to end in .ipynb, not in {output.suffix}. "
            "Other tools, such as `jupyter nbconvert`, make other forms of it."
        )
    with _without("rfc3987_syntax"):
        from .._notebooks.file import NotebookFile, read_notebook
        from .notebook import NotebookJob, run_notebook

    found = read_notebook(file)
    if found.format != found.notebook.nbformat:
        options.say(f"{file}: upgraded from notebook format {found.format} to {found.notebook.nbformat}.")
    if found.warning:
        options.warn(f"{file}: {found.warning}")
    path = file if inplace else output
    own = Place(file.resolve().parent, what="the notebook's directory")
    job = NotebookJob(
        notebook=found.notebook,
        target=None if path is None else NotebookFile(path, origin=file),
        echo=(echo or path is None) and not options.as_json,
        allow_errors=allow_errors,
        timeout=timeout,
        place=own if cwd is None else place_named(cwd),
    )
    return run_notebook(options, job)


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
