"""Reading notebooks of every format, with what is wrong in them, as far as other tools do."""

from __future__ import annotations

import copy
import json
from typing import Any

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from nbclient import NotebookClient

from tools.notebook_tools import notebook_of
from trio_gateway import InvalidInputError
from trio_gateway._notebooks.file import to_json
from trio_gateway._notebooks.reading import ReadNotebook, parse_notebook

from .test_mending import CODE, TABLE, document, spoil, whole

OLD = {
    "nbformat": 3,
    "nbformat_minor": 0,
    "metadata": {"name": "old"},
    "worksheets": [
        {"cells": [{"cell_type": "code", "language": "python", "input": ["1 +\n", "1"], "outputs": []}], "metadata": {}},
    ],
}
EMPTY = {"nbformat": 4, "nbformat_minor": 5, "metadata": {}, "cells": []}


def parse(found: object) -> ReadNotebook:
    return parse_notebook(json.dumps(found).encode(), "some notebook.ipynb")


def saved(found: ReadNotebook) -> dict[str, Any]:
    """Return what is saved of it, which each of nbformat's own functions takes."""

    def refuse(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    document: dict[str, Any] = json.loads(to_json(found.notebook), parse_constant=refuse)
    assert nbformat.validator.isvalid(document)
    return document


@pytest.mark.parametrize("minor", [0, 1, 2, 3, 4, 5])
def test_every_minor_version_of_format_4_is_kept(minor: int) -> None:
    found = parse_notebook(to_json(notebook_of("1", minor=minor)), "n")
    notebook = found.notebook
    assert (found.format, notebook.nbformat, notebook.nbformat_minor, found.faults) == (4, 4, minor, ())
    assert ("id" in notebook.cells[0]) == (minor >= 5)


def test_a_minor_version_from_the_future_is_kept_with_what_it_brings() -> None:
    found = parse({**EMPTY, "nbformat_minor": 99, "cells": [{**CODE, "id": "a", "news": 1}]})
    assert found.notebook.nbformat_minor == 99
    assert found.warning == ""
    assert json.loads(to_json(found.notebook))["cells"][0]["news"] == 1


def test_a_version_may_be_written_as_any_number() -> None:
    found = parse({**EMPTY, "nbformat": 4.0})
    assert (found.format, found.notebook.nbformat) == (4, 4)
    assert '"nbformat": 4,' in to_json(found.notebook).decode()


def test_format_3_is_upgraded() -> None:
    found = parse(OLD)
    assert (found.format, found.notebook.nbformat, found.warning) == (3, 4, "")
    assert [cell.source for cell in found.notebook.cells] == ["1 +\n1"]
    saved(found)


@pytest.mark.parametrize("version", [1, 2])
def test_older_formats_are_upgraded_too(version: int) -> None:
    cell = {"cell_type": "code", "code": "1+1", "input": "1+1", "outputs": [], "prompt_number": 1}
    sheet = {"worksheets": [{"cells": [cell]}]} if version == 2 else {"cells": [cell]}
    found = parse({"nbformat": version, "metadata": {}, **sheet})
    assert found.format == version
    assert [cell.source for cell in found.notebook.cells] == ["1+1"]
    saved(found)


def test_format_3_is_mended_before_and_after_it_is_upgraded() -> None:
    cells = [
        {"cell_type": "code", "input": "1"},
        {"cell_type": "code", "input": "2", "outputs": [{"output_type": "stream", "text": 5}], "metadata": {"tags": "a"}},
    ]
    found = parse({"nbformat": 3, "worksheets": [{"cells": cells}]})
    assert [fault.partition(" (")[0] for fault in found.faults] == [
        "metadata",
        "outputs",
        "cells[1].metadata.tags",
        "cells[1].outputs[0].text",
    ]
    assert [cell.source for cell in found.notebook.cells] == ["1", "2"]
    saved(found)


def test_a_byte_order_mark_does_no_harm() -> None:
    assert parse_notebook(b"\xef\xbb\xbf" + json.dumps(EMPTY).encode(), "n").notebook.cells == []


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "JSON"),
        (b"print(1)", "JSON"),
        (b"\xff\xfe{}", "JSON"),
        (b"[" * 100_000, "JSON"),
        (b"[]", "key nbformat"),
        (b"{}", "key nbformat"),
        (b'{"nbformat": 5}', "not of format 5"),
        (b'{"nbformat": 0}', "not of format 0"),
        (b'{"nbformat": 4.5}', "not of format 4.5"),
        (b'{"nbformat": NaN}', "not of format nan"),
        (b'{"nbformat": true}', "not of format True"),
        (b'{"nbformat": "4"}', "not of format '4'"),
        (b'{"nbformat": 4}', "valid notebook (cells has to be a list"),
        (json.dumps({**EMPTY, "metadata": {"x": 0}}).encode().replace(b"0", b"[" * 800 + b"]" * 800), "valid notebook"),
        (json.dumps({**EMPTY, "cells": 5}).encode(), "valid notebook (cells has to be a list"),
        (json.dumps({**EMPTY, "cells": [5]}).encode(), "valid notebook (cells[0] has"),
        (json.dumps({**EMPTY, "cells": [{**CODE, "source": 5}]}).encode(), "valid notebook (cells[0].source has"),
        (json.dumps({**EMPTY, "cells": [{**CODE, "cell_type": 5}]}).encode(), "valid notebook (cells[0].cell_type has"),
        (json.dumps({**OLD, "worksheets": 5}).encode(), "valid notebook"),
        (json.dumps({**OLD, "worksheets": [{"cells": [{}]}]}).encode(), "valid notebook"),
        (json.dumps({"nbformat": 3, "nbformat_minor": 0, "metadata": {}}).encode(), "valid notebook"),
        (json.dumps({"nbformat": 1, "metadata": {}}).encode(), "valid notebook"),
    ],
)
def test_what_is_no_notebook_is_told_with_the_files_name(content: bytes, words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_notebook(content, "some notebook.ipynb")
    assert caught.value.field == "notebook"
    assert "some notebook.ipynb" in str(caught.value)
    assert words in str(caught.value)


@pytest.mark.parametrize("number", ["NaN", "-Infinity", "1e999"])
def test_numbers_that_only_python_reads_are_null(number: str) -> None:
    content = json.dumps({**EMPTY, "metadata": {"x": ["?", 1e300]}}).replace('"?"', number)
    found = parse_notebook(content.encode(), "n")
    assert saved(found)["metadata"] == {"x": [None, 1e300]}
    assert found.warning.startswith("mended what breaks the notebook format: metadata.x[0] (")


def test_lone_surrogates_survive_reading_and_writing() -> None:
    found = parse({**EMPTY, "cells": [{**CODE, "id": "a", "source": "'\ud800'"}]})
    assert json.loads(to_json(found.notebook))["cells"][0]["source"] == ["'\ud800'"]


def test_a_warning_names_the_first_places_and_counts_the_rest() -> None:
    found = parse(document(*[{**CODE, "outputs": None} for _ in range(13)]))
    assert len(found.faults) == 13
    assert found.warning.endswith("cells[9].outputs (None) and 3 more")
    assert found.warning.startswith("mended what breaks the notebook format: cells[0].outputs (None), cells[1].outputs (None), ")


@pytest.mark.parametrize("name", TABLE)
def test_all_that_is_mended_is_saved_and_read_again_without_a_word(name: str) -> None:
    first = parse(TABLE[name][0])
    assert first.warning
    again = parse(saved(first))
    assert again.faults == ()
    assert to_json(again.notebook) == to_json(first.notebook)


def nbclient_reads(content: bytes) -> bool:
    """Whether nbclient, and papermill before it, would come to the point where it runs the code cells."""
    try:
        notebook: Any = nbformat.reads(content, as_version=4)
        NotebookClient(notebook)
        for cell in notebook.cells:
            if cell.cell_type == "code":
                cell.source.strip()
                cell.metadata.get("tags", [])
        nbformat.writes(notebook)
    except Exception:  # noqa: BLE001 - it has no errors of its own for this
        return False
    return True


@given(st.sampled_from([0, 2, 4, 5, 7]), st.data())
def test_what_nbclient_would_run_is_read_and_what_is_read_is_saved_valid(minor: int, data: st.DataObject) -> None:
    spoilt = whole(minor)
    for _ in range(data.draw(st.integers(1, 3))):
        spoil(spoilt, data)
    content = json.dumps(spoilt).encode()
    try:
        found = parse_notebook(content, "n")
    except InvalidInputError as error:
        lacks_source = "].source has to be" in str(error)  # nbclient passes by what is missing in cells that it does not run
        assert lacks_source or not nbclient_reads(content)
        return
    again = parse(saved(found))
    assert again.faults == ()
    assert copy.deepcopy(again.notebook) == found.notebook
