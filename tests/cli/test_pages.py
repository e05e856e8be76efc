"""A notebook as nbconvert's page."""

from __future__ import annotations

import nbformat
import pytest

from tools.notebook_tools import notebook_of
from trio_gateway._cli.pages import page_of


def test_a_page_is_nbconverts() -> None:
    notebook = notebook_of("print('<ü>')")
    notebook.cells[0].outputs = [{"output_type": "stream", "name": "stdout", "text": "shown <ü>\n"}]
    page = page_of(notebook, "a <b>")
    assert "shown &lt;ü&gt;" in page
    assert "<title>a &lt;b&gt;</title>" in page


def test_what_nbconvert_says_of_a_notebook_is_for_its_author(caplog: pytest.LogCaptureFixture) -> None:
    """A language without colours, and an image without a text; a warning would be an error here."""
    notebook = notebook_of("x")
    notebook.metadata["language_info"] = {"name": "klingon"}
    image = {"output_type": "display_data", "data": {"image/png": "iVBORw0KGgo="}, "metadata": {}}
    notebook.cells[0].outputs = [nbformat.from_dict(image)]
    assert "iVBORw0KGgo=" in page_of(notebook, "n")
    assert caplog.records == []
