"""What is written beside a notebook that has run: its page, its images, and the reports on all of them.

The one idea: none of it is worth a run. What can't be written is a warning and an exit code, and the notebooks are saved all the
same. None of it can be read by more people than the notebook.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import attrs
import trio

from .. import notebooks
from .._errors import InvalidInputError
from .._notebooks.file import NotebookFile
from .._notebooks.file import to_json as notebook_to_json
from .images import images_of
from .junit import as_junit
from .options import Options
from .pages import page_of
from .reports import RunReport, as_page, as_report
from .sinks import standard_output
from .tables import to_json
from .tasks import Task
from .wording import Failure

__all__ = ["Products", "write_products", "write_reports", "write_to_standard_output"]

_TITLE: Final = "trio-gateway run"


@attrs.frozen
class Products:
    """What was written beside a notebook."""

    whole: bool = True
    """Whether that is all that was wanted."""
    page: Path | None = None
    """Its page."""


async def write_products(options: Options, task: Task, run: notebooks.NotebookRun, images: Path | None) -> Products:
    """Write a notebook's page and its images, as far as they are wanted, and tell of what can't be written.

    Args:
        options: for what the command says.
        task: the notebook, and where its page goes.
        run: what came of it.
        images: the folder for images; None: they are not wanted.

    Cancellation: leaves at once; files are whole or not there.
    """
    await trio.lowlevel.checkpoint()
    if run.notebook is None:
        return Products()
    page: str | None = None
    if task.page is not None:
        try:
            page = await trio.to_thread.run_sync(page_of, run.notebook, task.source.stem, abandon_on_cancel=True)
        except Exception as error:  # noqa: BLE001 - nbconvert's, and a notebook holds anything
            words = f"{task.source.title}: no page could be made of it ({type(error).__name__}: {error})"
            options.complain(Failure(type(error).__name__, words))
    written = task.page is not None and page is not None and _write_page(options, task, task.page, page)
    whole = written or task.page is None
    if images is not None and not _write_images(options, task, run, images):
        whole = False
    return Products(whole, task.page if written else None)


def _write_page(options: Options, task: Task, path: Path, page: str) -> bool:
    try:
        _write(path, page.encode("utf-8", "replace"), "html", task.source.path)
    except InvalidInputError as error:
        options.complain(error)
        return False
    return True


def _write_images(options: Options, task: Task, run: notebooks.NotebookRun, folder: Path) -> bool:
    written = True
    for image in images_of(run, task.source.name):
        if image.content is None:
            options.warn(f"{task.source.title}: {image.name}: {image.problem}")
            written = False
            continue
        path = folder / image.name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            _write(path, image.content, "images", task.source.path)
        except (InvalidInputError, OSError) as error:
            options.complain(error)
            return False
    return written


async def write_to_standard_output(run: notebooks.NotebookRun) -> None:
    """Write a notebook with its outputs to standard output.

    Raises:
        OutputClosedError: the reader of our output went away.

    Cancellation: leaves at once; part of it may have been written.
    """
    await standard_output().write(notebook_to_json(run.notebook).decode())


def write_reports(
    options: Options, paths: Sequence[Path], reports: Sequence[RunReport], summary: str, error: Failure | None
) -> bool:
    """Write the reports on all notebooks, each in the form that its name says.

    Args:
        options: for warnings.
        paths: the reports' files.
        reports: what came of the notebooks.
        summary: that in one line.
        error: what ended the command, if it was no success.

    Returns:
        Whether all of them could be written.
    """
    written = True
    origin = _strictest([report.path for report in reports])
    for path in paths:
        try:
            match path.suffix.lower():
                case ".json":
                    content = to_json(as_report(reports, ok=error is None, error=error)).encode()
                case ".xml":
                    content = as_junit(reports, _TITLE)
                case _:
                    content = as_page(reports, title=_TITLE, summary=summary, folder=path.parent).encode()
            _write(path, content, "report", origin)
        except (InvalidInputError, OSError) as problem:
            options.complain(problem)
            written = False
    return written


def _write(path: Path, content: bytes, field: str, origin: Path | None) -> None:
    NotebookFile(path, origin, field=field).write([content])


def _strictest(paths: Sequence[Path]) -> Path | None:
    """Return the notebook that the fewest people may read."""
    modes: dict[Path, int] = {}
    for path in paths:
        try:
            modes[path] = path.stat().st_mode & 0o066
        except OSError:  # it is standard input, or was deleted
            continue
    return min(modes, key=lambda path: modes[path].bit_count()) if modes else None
