"""The page about security says of each thing what shows it: tests that exist, and that are run."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = TESTS.parent / "docs" / "security.md"


def rows() -> Iterator[tuple[str, str]]:
    """Yield each row of a table whose last column is "Shown by": its first cell and its last."""
    inside = False
    for line in PAGE.read_text(encoding="utf-8").splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        cells = [cell.strip() for cell in re.split(r"(?<!\\)\|", line)[1:-1]]
        if cells[-1] == "Shown by":
            inside = True
        elif inside and set(cells[-1]) - {"-"}:
            yield cells[0], cells[-1]


@pytest.fixture(scope="module")
def tested() -> dict[str, ast.FunctionDef | ast.AsyncFunctionDef]:
    """What pytest takes for tests, by name; read by the process that runs these, not by each that collects them."""
    found: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
    for path in TESTS.rglob("test_*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)) and node.name.startswith("test_"):
                found[node.name] = node
    return found


def test_the_tables_are_found(tested: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> None:
    assert len(list(rows())) > 20
    assert len(tested) > 500


@pytest.mark.parametrize("row", [pytest.param(row, id=row[0]) for row in rows()])
def test_what_shows_it_exists_and_is_run(row: tuple[str, str], tested: dict[str, ast.FunctionDef | ast.AsyncFunctionDef]) -> None:
    names = re.findall(r"`(\w+)`", row[1])
    assert names, "nothing shows it"
    assert [name for name in names if name not in tested] == []
    for name in names:
        decorators = [ast.unparse(decorator) for decorator in tested[name].decorator_list]
        assert [text for text in decorators if re.search(r"mark\.(skip|xfail)\b", text)] == []
