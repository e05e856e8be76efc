"""The declaration of what faces do with notebooks. (That each member of a class stands there: tests/portal/test_members.py.)"""

from __future__ import annotations

import inspect
import io
from typing import Any

import pytest

from trio_gateway import Gateway, InvalidInputError, notebooks
from trio_gateway._notebooks.members import FUNCTIONS, MEMBERS, read_here
from trio_gateway._portal.faces import Face
from trio_gateway._portal.members import How

PUBLIC = {name: value for name, value in vars(notebooks).items() if not name.startswith("_") and name != "missing_extra"}
WITHOUT_A_FACE = {"read_notebook": "it uses no kernel"}


def test_each_public_function_and_object_has_an_entry() -> None:
    functions = {value: name for name, value in PUBLIC.items() if inspect.isfunction(value) and name not in WITHOUT_A_FACE}
    assert functions == {function: function.__name__ for function in FUNCTIONS}
    living = [
        value
        for value in PUBLIC.values()
        if isinstance(value, type) and any(inspect.iscoroutinefunction(member) for member in vars(value).values())
    ]
    assert set(living) == set(MEMBERS)


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_an_entry_fits_its_function(function: Any) -> None:
    """It waits or gives a block; what it reads are arguments of its; and in Trio it refuses faces of what it takes."""
    entry = FUNCTIONS[function]
    assert inspect.iscoroutinefunction(inspect.unwrap(function)) == (entry.how is How.AWAITS)
    assert ("ContextManager" in str(inspect.signature(function).return_annotation)) == (entry.how is How.GIVES_BLOCK)
    assert entry.reads.keys() <= inspect.signature(function).parameters.keys()
    assert (entry.origin, entry.module) == (function, "notebooks")
    face: Any = Face(None, object.__new__(Gateway))  # type: ignore[arg-type]
    face._module = "trio_gateway.blocking"
    with pytest.raises(InvalidInputError, match=r"import trio_gateway\.blocking\.notebooks"):
        function(face, None)


def test_a_file_object_is_read_and_else_nothing() -> None:
    for content in ("{}", b"{}"):
        file: Any = io.StringIO(content) if isinstance(content, str) else io.BytesIO(content)
        file.name = "a.ipynb"
        read = read_here(file)
        assert (read.read(), read.read(), read.name, file.read()) == (content, content, "a.ipynb", content[:0])
    file = io.BytesIO(b"")
    file.name = 3  # a descriptor's number
    assert read_here(file).name is None
    assert read_here(io.BytesIO(b"")).name is None
    job = notebooks.NotebookJob(io.BytesIO(b"{}"), output="o.ipynb", parameters={"a": 1}, name="mine")
    carried = read_here(job)
    assert (carried.notebook.read(), carried.output, carried.parameters, carried.name) == (b"{}", "o.ipynb", {"a": 1}, "mine")
    for other in ("a.ipynb", {"cells": []}, None, notebooks.NotebookJob("a.ipynb")):
        assert read_here(other) == other
