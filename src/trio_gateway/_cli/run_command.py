"""`trio-gateway run FILE`: a script or a notebook."""

from __future__ import annotations

import sys
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, Final, cast

import click

from .code import run_code
from .options import Options, check_attach
from .parameters import parameters_of, read_parameters, resources_of
from .placing import Place, place_named
from .script import Script
from .sources import code_of, is_notebook, read_script, read_standard_input

__all__ = ["run"]

_STANDARD_INPUT: Final = Path("-")


def run(options: Options, /, files: tuple[Path, ...], arguments: tuple[str, ...], cwd: Path | None, **given: Any) -> int:
    """Check what was given before anything is started, then run one script, or the notebooks."""
    check_attach(options, cwd)
    resources_of(options.resources)  # before anything is started
    if not files:
        raise click.UsageError("Give the FILE to run, a script or a notebook; or - for standard input.")
    data = read_standard_input() if _STANDARD_INPUT in files else None
    scripts = [file for file in files if not (is_notebook(data or b"") if file == _STANDARD_INPUT else _is_notebook_file(file))]
    if not scripts:
        if arguments:
            raise click.UsageError("What stands after -- is for scripts: a notebook has no arguments.")
        return _run_notebooks(options, files, data, cwd=cwd, **given)
    if len(files) > 1:
        raise click.UsageError(f"A script is run by itself: what {scripts[0]} is to find in its arguments stands after --.")
    for name, value in given.items():
        if name not in _FOR_SCRIPTS and value not in (None, False, ()) and not (name == "jobs" and value == 1):
            raise click.UsageError(
                f"{_NAMES.get(name) or '--' + name.replace('_', '-')} is for notebooks, whose names end in .ipynb."
            )
    file = scripts[0]
    place = Place(Path.cwd(), what="the current directory") if cwd is None else place_named(cwd)
    script = Script(read_script(file), file, arguments) if data is None else Script(code_of(data), None, arguments)
    return run_code(options, script, place=place, timeout=given["timeout"], from_stdin=data is not None)


_FOR_SCRIPTS: Final = frozenset({"timeout"})
"""Which options scripts take too."""
_NAMES: Final = {"pairs": "-p", "raw_pairs": "-r", "parameters_files": "--parameters", "reports": "--report"}
"""What options are called whose values have other names here."""


def _is_notebook_file(path: Path) -> bool:
    return path.suffix.lower() == ".ipynb"


def _run_notebooks(
    options: Options,
    files: tuple[Path, ...],
    data: bytes | None,
    *,
    output: str | None,
    inplace: bool,
    jobs: int,
    pairs: tuple[str, ...],
    raw_pairs: tuple[str, ...],
    parameters_files: tuple[Path, ...],
    stop_on_failure: bool,
    html: str | None,
    reports: tuple[Path, ...],
    images: Path | None,
    echo: bool,
    allow_errors: bool,
    cell_timeout: float | None,
    timeout: float | None,
    resume: bool,
    cwd: Path | None,
) -> int:
    """Run notebooks."""
    several = len(files) > 1
    if several and options.attach is not None:
        raise click.UsageError("--attach is for one notebook: several would share its variables.")
    if several and echo:
        raise click.UsageError("--echo is for one notebook: of several nobody could tell whose output is whose.")
    if resume and not options.has_gateway:
        raise click.UsageError(
            "--resume needs a gateway that stays, by --url or JUPYTER_GATEWAY_URL: a local one ends with the command."
        )
    if options.as_json and output == "-":
        raise click.UsageError("--output - and --json exclude each other: both are for standard output.")
    parameters: dict[str, Any] = {}
    for file in parameters_files:
        parameters |= read_parameters(file)
    parameters |= parameters_of(pairs) | parameters_of(raw_pairs, raw=True)
    with _without("rfc3987_syntax"):
        from .. import notebooks
        from .notebook import NotebookRuns, run_notebooks
        from .tasks import STANDARD_OUTPUT, Wanted, plan

    wanted = Wanted(
        files=files, standard_input=data, output=output, inplace=inplace, html=html, images=images, reports=reports, cwd=cwd
    )
    tasks = plan(options, wanted)
    settings: notebooks.RunSettings = {
        "parameters": parameters or None,
        "timeout": timeout,
        "cell_timeout": cell_timeout,
        "on_error": "continue" if allow_errors else "stop",
        "resume": resume,
        "keep_kernel": "on_error" if resume and not several else "never",
    }
    shows = not several and (echo or (output is None and not inplace)) and not options.as_json
    runs = NotebookRuns(
        tasks=tasks,
        settings=settings,
        jobs=jobs,
        stop_on_failure=stop_on_failure,
        echo=shows,
        to_standard_output=output == STANDARD_OUTPUT,
        images=images,
        reports=reports,
    )
    return run_notebooks(options, runs)


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
