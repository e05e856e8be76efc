"""The declaration of what faces do with values. (That each member of a class stands there: tests/portal/test_members.py.)"""

from __future__ import annotations

import inspect
from typing import Any

import pytest

from trio_gateway import InvalidInputError, Kernel, python
from trio_gateway._portal.faces import Face
from trio_gateway._portal.members import How
from trio_gateway._python.members import FUNCTIONS, MEMBERS, PYTHON_POOL

PUBLIC = {name: value for name, value in vars(python).items() if not name.startswith("_")}


def test_each_public_function_and_object_has_an_entry() -> None:
    functions = {value: name for name, value in PUBLIC.items() if inspect.isfunction(value)}
    assert functions == {function: function.__name__ for function in FUNCTIONS}
    living = [
        value
        for value in PUBLIC.values()
        if isinstance(value, type) and any(inspect.iscoroutinefunction(inspect.unwrap(member)) for member in vars(value).values())
    ]
    assert set(living) == set(MEMBERS)
    assert PYTHON_POOL.origin in MEMBERS


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_an_entry_fits_its_function(function: Any) -> None:
    """It gives a block, and in Trio it refuses faces of what it takes."""
    entry = FUNCTIONS[function]
    assert ("ContextManager" in str(inspect.signature(function).return_annotation)) == (entry.how is How.GIVES_BLOCK)
    assert (entry.origin, entry.module) == (function, "python")
    face: Any = Face(None, object.__new__(Kernel))  # type: ignore[arg-type]
    face._module = "trio_gateway.blocking"
    with pytest.raises(InvalidInputError, match=r"import trio_gateway\.blocking\.python"):
        function(face)
