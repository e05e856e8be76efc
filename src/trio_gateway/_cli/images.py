"""The images that a notebook's cells show, as files. Pure: nothing is written here.

The one idea: each file's name says which notebook, which cell and which of its images it is, so that it is the same one after
each run.
"""

from __future__ import annotations

import mimetypes
import re
from collections.abc import Iterator, Mapping
from typing import Any, Final, cast

import attrs

from .. import notebooks
from .._errors import InvalidInputError
from .._outputs import DisplayData

__all__ = ["Image", "images_of"]

_ENDINGS: Final = {"image/jpeg": ".jpg", "image/svg+xml": ".svg", "image/webp": ".webp", "image/avif": ".avif"}
"""The usual ending of types that `mimetypes` does not know everywhere, or knows several of."""
_ODD: Final = re.compile(r"[^A-Za-z0-9]+")


@attrs.frozen
class Image:
    """One image of a cell."""

    name: str
    """What its file is called: `sales-cell2-1.png`, in folders with slashes."""
    content: bytes | None = attrs.field(repr=False)
    """What its file holds; None where that can't be read."""
    problem: str = ""
    """Why it can't be read."""


def images_of(run: notebooks.NotebookRun, name: str) -> Iterator[Image]:
    """Give each image that the cells show which ran, in the notebook's order.

    An output that is there in several types of image is a file for each, of one number.

    Args:
        run: what came of the notebook.
        name: what the files' names begin with.
    """
    for cell in run.cells:
        if cell.status in ("pending", "skipped"):
            continue
        number = 0
        for output in run.notebook.cells[cell.index].get("outputs", ()):
            data: Any = output.get("data")
            types = [mime for mime in data if mime.startswith("image/")] if isinstance(data, Mapping) else []
            number += bool(types)
            for mime in types:
                yield _image(cast("Mapping[str, Any]", data), mime, f"{name}-cell{cell.number}-{number}{_ending(mime)}")


def _image(data: Mapping[str, Any], mime: str, name: str) -> Image:
    try:
        return Image(name, DisplayData(data).bytes_of(mime))
    except InvalidInputError as error:
        return Image(name, None, str(error))


def _ending(mime: str) -> str:
    kind = mime.partition(";")[0].strip().lower()
    return (
        _ENDINGS.get(kind)
        or mimetypes.guess_extension(kind)
        or f".{_ODD.sub('-', kind.removeprefix('image/')).strip('-') or 'bin'}"
    )
