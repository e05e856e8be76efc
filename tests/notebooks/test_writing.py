"""A notebook's file, written piece by piece: what nbformat writes, and no more of it in memory than a piece."""

from __future__ import annotations

import json
import tracemalloc
from typing import Any

import nbformat
import nbformat.v4
import pytest
from hypothesis import given
from hypothesis import strategies as st

from trio_gateway._notebooks import writing
from trio_gateway._notebooks.writing import pieces_of

TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12) | st.lists(
    st.sampled_from(["a", "\n", "\r\n", "\r", "\x0b", "\x85", "\u2028", '"', "\\", "ü", "\x00", "\x1b", "😀", "long" * 40]),
    max_size=8,
).map("".join)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
KINDS = st.sampled_from(
    ["text/plain", "text/html", "image/svg+xml", "application/javascript", "image/png", "application/json", "application/x+json"]
)
BUNDLES = st.dictionaries(KINDS, TEXTS | VALUES, max_size=3)
METADATA = st.dictionaries(st.sampled_from(["tags", "trusted", "signature", "orig_nbformat", "x"]) | TEXTS, VALUES, max_size=3)
WIDGETS = st.recursive(
    VALUES,
    lambda inner: (
        st.lists(inner, max_size=2) | st.dictionaries(st.sampled_from(["state", "buffers", "outputs", "x"]), inner, max_size=3)
    ),
    max_leaves=6,
)
OUTPUTS = st.one_of(
    st.fixed_dictionaries({"output_type": st.just("stream"), "name": st.just("stdout"), "text": TEXTS}),
    st.fixed_dictionaries({"output_type": st.sampled_from(["display_data"]), "data": BUNDLES, "metadata": METADATA}),
    st.fixed_dictionaries({"output_type": st.just("error"), "ename": TEXTS, "evalue": TEXTS, "traceback": st.lists(TEXTS)}),
)
CELLS = st.one_of(
    st.fixed_dictionaries(
        {
            "cell_type": st.just("code"),
            "metadata": METADATA,
            "source": TEXTS,
            "outputs": st.lists(OUTPUTS, max_size=3),
            "execution_count": st.none() | st.integers(),
        }
    ),
    st.fixed_dictionaries(
        {"cell_type": st.just("markdown"), "metadata": METADATA, "source": TEXTS},
        optional={"attachments": st.dictionaries(TEXTS, BUNDLES, max_size=2), "id": st.just("a")},
    ),
)
NOTEBOOKS = st.fixed_dictionaries(
    {
        "nbformat": st.just(4),
        "nbformat_minor": st.just(5),
        "metadata": METADATA | st.fixed_dictionaries({"widgets": WIDGETS, "x": VALUES}),
        "cells": st.lists(CELLS, max_size=4),
    }
)


def written(notebook: Any) -> bytes:
    return b"".join(pieces_of(notebook))


def of_one_text(text: str) -> Any:
    output = nbformat.v4.new_output("stream", text=text)
    return nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell("1", outputs=[output], id="a")])


@pytest.mark.parametrize("piece", [1, 7, 100_000])
def test_it_is_what_nbformat_writes(piece: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(writing, "_PIECE", piece)

    @given(NOTEBOOKS)
    def check(document: Any) -> None:
        notebook = nbformat.from_dict(document)
        before = json.dumps(notebook)
        assert written(notebook).decode() == nbformat.v4.writes(notebook) + "\n"
        assert json.dumps(notebook) == before

    check()


def test_a_lone_surrogate_is_an_escape_and_the_rest_is_not() -> None:
    content = written(of_one_text("ü\ud800"))
    assert rb'"' + "ü".encode() + rb'\ud800"' in content
    assert json.loads(content)["cells"][0]["outputs"][0]["text"] == ["ü\ud800"]


def test_numbers_that_are_no_json_are_null() -> None:
    notebook = of_one_text("x")
    notebook.metadata["x"] = [1.5, float("nan"), {"y": -float("inf")}]
    notebook.cells[0].outputs.append(nbformat.v4.new_output("display_data", {"application/json": float("nan")}))
    found = json.loads(written(notebook), parse_constant=pytest.fail)
    assert found["metadata"]["x"] == [1.5, None, {"y": None}]
    assert found["cells"][0]["outputs"][1]["data"] == {"application/json": None}


@pytest.mark.parametrize("line", [99, 10_000_000], ids=["short lines", "long lines"])
def test_writing_takes_little_memory_beside_the_notebooks_own(line: int) -> None:
    notebook = of_one_text(("x" * (line - 1) + "\n") * (20_000_000 // line))
    size = 0
    tracemalloc.start()
    for piece in pieces_of(notebook):
        size += len(piece)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 20_000_000
    assert peak < (22_000_000 if line > 1000 else 3_000_000)


def test_writing_widgets_takes_little_memory_beside_their_own() -> None:
    notebook = of_one_text("x")
    buffer = {"encoding": "base64", "path": ["value"], "data": "x" * 20_000_000}
    outputs = [{"output_type": "stream", "name": "stdout", "text": "y" * 10_000_000}]
    notebook.metadata["widgets"] = {"type": {"state": {"a": {"buffers": [buffer], "state": {"outputs": outputs}}}}}
    tracemalloc.start()
    size = sum(map(len, pieces_of(notebook)))
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert size > 30_000_000
    assert peak < 3_000_000
