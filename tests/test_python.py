"""The public module: what it names."""

from __future__ import annotations

import ast
from pathlib import Path

from trio_gateway import python


def test_it_re_exports_and_does_nothing_else() -> None:
    docstring, *names, said = ast.parse(Path(python.__file__).read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(said, ast.Assign), "__all__"
    for node in names:
        assert isinstance(node, ast.ImportFrom)
        assert all(alias.asname == alias.name for alias in node.names)


def test_what_a_program_needs_is_there() -> None:
    assert {"open_python", "Python", "RemoteItems", "Name", "Progress", "RemoteError", "TransferError"} <= set(dir(python))
    assert {"ValueNotCarriedError", "Trust", "OnOutput", "OnProgress"} <= set(dir(python))
