"""A notebook as a page, by nbconvert. Pure: nothing is written here.

The one idea: the page is Jupyter's own. nbconvert is the extra `html`, and is imported when the first page is made: that takes
seconds.
"""

from __future__ import annotations

import importlib
import logging
import warnings
from typing import Any

__all__ = ["page_of"]


def page_of(notebook: Any, title: str) -> str:
    """Return a notebook as nbconvert's page of it. It takes seconds, so it belongs into a thread.

    Args:
        notebook: nbformat's node; it is left as it is.
        title: what the page is called.

    Raises:
        Exception: whatever nbconvert raises, of a notebook that it can't make a page of.
    """
    exporters: Any = importlib.import_module("nbconvert.exporters")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of languages without colours, which nobody here can help
        exporter = exporters.HTMLExporter(log=_silent())
        page, _ = exporter.from_notebook_node(notebook, resources={"metadata": {"name": title}})
    return str(page)


def _silent() -> logging.Logger:
    """Return a log that nobody reads: what nbconvert says of images without a text is for the notebook's author."""
    log = logging.getLogger(__name__)
    log.disabled = True
    return log
