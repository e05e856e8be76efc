"""The public module: what it names."""

from __future__ import annotations

import ast
from pathlib import Path

from trio_gateway import notebooks


def test_it_re_exports_and_does_nothing_else() -> None:
    docstring, error, names, *said = ast.parse(Path(notebooks.__file__).read_text(encoding="utf-8")).body
    assert isinstance(docstring, ast.Expr)
    assert isinstance(error, ast.ImportFrom)
    assert isinstance(names, ast.Try)
    assert [type(node) for node in said] == [ast.Assign], "__all__"
    for node in names.body:
        assert isinstance(node, ast.ImportFrom)
        assert all(alias.asname == alias.name for alias in node.names)


def test_what_a_run_needs_is_there() -> None:
    assert {"run", "open_run", "OpenRun", "NotebookRun", "CellRun", "NotebookJob", "RunEvent"} <= set(dir(notebooks))
    assert {"run_many", "Runs", "OnRunEvent"} <= set(dir(notebooks))
