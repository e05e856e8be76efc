"""Which notebooks a command runs, and what comes of each: found out, with all that is wrong with it, before anything starts.

The one idea: who runs forty notebooks for an hour learns of a misspelt name in the first second.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import click

from .. import notebooks
from .._errors import InvalidInputError
from .._notebooks.file import NotebookFile
from .._notebooks.reading import parse_notebook
from .options import Options
from .output_pattern import Source, expand, makes_folders, sources_of
from .placing import Place, place_named

__all__ = ["REPORT_ENDINGS", "STANDARD_OUTPUT", "Task", "Wanted", "plan"]

STANDARD_OUTPUT: Final = "-"
"""What stands for standard output, as the place to save a notebook."""
REPORT_ENDINGS: Final = (".html", ".json", ".xml")
"""What a report's name ends in, which says what form it has."""


@attrs.frozen(kw_only=True)
class Wanted:
    """What is asked for of all notebooks together."""

    files: tuple[Path, ...]
    """The notebooks."""
    standard_input: bytes | None = None
    """What came on standard input, where one of the files is `-`."""
    output: str | None = None
    """The pattern for the notebooks with their outputs; `-` is standard output. None: none is saved."""
    inplace: bool = False
    """Whether they are saved where they came from."""
    html: str | None = None
    """The pattern for their pages."""
    images: Path | None = None
    """The folder for the images in their outputs."""
    reports: tuple[Path, ...] = ()
    """The files of reports on all of them."""
    cwd: Path | None = None
    """The directory that was named for the kernels to work in."""


@attrs.frozen(kw_only=True)
class Task:
    """One notebook to run, and what comes of it."""

    source: Source
    """The notebook, and what it is called."""
    read: notebooks.ReadNotebook | None = attrs.field(repr=False)
    """What is in its file; None where there are several: then each is read again when it begins, and not all kept in memory."""
    output: Path | None
    """Where it is saved with its outputs; None: nowhere, or on standard output."""
    page: Path | None
    """Where its page goes."""
    place: Place
    """Where its kernel is to work."""


def plan(options: Options, wanted: Wanted) -> list[Task]:
    """Return what there is to do, when all that can be known ahead is known to be right, and missing folders are made.

    Args:
        options: for what is said about notebooks that had to be mended.
        wanted: what was asked for.

    Raises:
        click.UsageError: options exclude each other, or one needs what is not installed.
        InvalidInputError: a notebook can't be run, or what comes of it can't be written.
    """
    if wanted.output is not None and wanted.inplace:
        raise click.UsageError("--output and --inplace exclude each other.")
    if wanted.inplace and wanted.standard_input is not None:
        raise click.UsageError("--inplace is for files: a notebook from standard input is saved with --output.")
    if wanted.html is not None:
        _require("nbconvert", "--html", "html")
    for report in wanted.reports:
        if report.suffix.lower() == ".xml":
            _require("junitparser", "--report FILE.xml", "cli")
        if report.suffix.lower() not in REPORT_ENDINGS:
            raise click.UsageError(
                f"--report: the name ends in {', '.join(REPORT_ENDINGS)}, which says what is written: {report}"
            )
    sources = sources_of(wanted.files)
    outputs = _outputs(wanted, sources)
    pages: list[Path | None] = [None] * len(sources)
    if wanted.html is not None:
        pages = [*expand(wanted.html, sources, field="html", ending=".html")]
    tasks = []
    for source, output, page in zip(sources, outputs, pages, strict=True):
        read = _read(options, wanted, source)
        if output is not None:
            _make_folder(output, "output", made=wanted.output is not None and makes_folders(wanted.output))
            NotebookFile(output, origin=read.path)
        tasks.append(
            Task(
                source=source,
                read=read if len(sources) == 1 or str(source.path) == "-" else None,
                output=output,
                page=page,
                place=_place(wanted, source),
            )
        )
    _check_products(wanted, pages)
    return tasks


def _require(module: str, option: str, extra: str) -> None:
    """See that a library is there that is imported when it is used.

    Raises:
        click.UsageError: it is not installed.
    """
    try:
        found = importlib.util.find_spec(module)
    except ModuleNotFoundError:
        found = None
    if found is None:
        raise click.UsageError(f"{option} needs {module}, of the extra '{extra}': pip install 'trio-gateway[{extra}]'")


def _outputs(wanted: Wanted, sources: Sequence[Source]) -> list[Path | None]:
    if wanted.inplace:
        return [source.path for source in sources]
    if wanted.output is None:
        return [None] * len(sources)
    if wanted.output == STANDARD_OUTPUT:
        if len(sources) != 1:
            raise click.UsageError("--output - is for one notebook: several have no place on one standard output.")
        return [None]
    outputs = expand(wanted.output, sources, field="output", ending=".ipynb")
    for output in outputs:
        if output.suffix.lower() not in {"", ".ipynb"} and (output.is_file() or not output.exists()):
            # A device or a pipe has what name it has.
            raise click.UsageError(
                f"--output: a notebook is saved, so the name has to end in .ipynb, not in {output.suffix}. "
                "--html makes a page of it; other tools, such as `jupyter nbconvert`, other forms."
            )
        if output.is_dir():
            raise InvalidInputError("output", wanted.output, "a file; a folder is named with a slash at its end")
    return [*outputs]


def _read(options: Options, wanted: Wanted, source: Source) -> notebooks.ReadNotebook:
    name = str(source.path)
    data = wanted.standard_input if name == "-" else None
    read = notebooks.read_notebook(source.path) if data is None else parse_notebook(data, name)
    if read.format != read.notebook.nbformat:
        options.say(f"{name}: upgraded from notebook format {read.format} to {read.notebook.nbformat}.")
    if read.warning:
        options.warn(f"{name}: {read.warning}")
    return read


def _place(wanted: Wanted, source: Source) -> Place:
    if wanted.cwd is not None:
        return place_named(wanted.cwd)
    if str(source.path) == "-":
        return Place(Path.cwd(), what="the current directory")
    return Place(source.path.resolve().parent, what="the notebook's directory")


def _check_products(wanted: Wanted, pages: Sequence[Path | None]) -> None:
    for page in pages:
        if page is not None and wanted.html is not None:
            _make_folder(page, "html", made=makes_folders(wanted.html))
            NotebookFile(page, field="html")
    for report in wanted.reports:
        NotebookFile(report, field="report")
    if wanted.images is not None:
        _make_folder(wanted.images / "x", "images", made=True)


def _make_folder(path: Path, field: str, *, made: bool) -> None:
    if not made:
        return
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        why = (error.strerror if isinstance(error, OSError) else None) or str(error)
        raise InvalidInputError(field, str(path.parent), f"a folder that can be made ({why})") from None
