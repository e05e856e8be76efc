"""The page on errors has an entry for each public exception, and the page on limits each limit with its default."""

from __future__ import annotations

import importlib
import re
import runpy
from pathlib import Path

import pytest

from tools.public_modules import PUBLIC

DOCS = Path(__file__).parents[2] / "docs"
ENTRIES = dict(
    re.findall(r"^### (\w+)\n(.*?)(?=^##|\Z)", (DOCS / "errors.md").read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
)
EXCEPTIONS = sorted(
    {
        name
        for module in PUBLIC
        if not module.startswith("trio_gateway.testing")  # there it is a script that raises them
        for name in importlib.import_module(module).__all__
        if isinstance(value := getattr(importlib.import_module(module), name), type) and issubclass(value, BaseException)
    }
)


def test_each_public_exception_has_an_entry_and_nothing_else_has() -> None:
    assert len(EXCEPTIONS) > 30
    assert sorted(ENTRIES) == EXCEPTIONS


@pytest.mark.parametrize("name", EXCEPTIONS)
def test_an_entry_has_a_cause_an_example_and_a_remedy(name: str) -> None:
    assert re.fullmatch(r"\n\*\*Cause\.\*\* .+?\n\n```text\n.+?\n```\n\n\*\*Do\.\*\* .+?\n\n?", ENTRIES[name], re.DOTALL), (
        ENTRIES[name]
    )


def test_the_tables_of_limits_are_what_the_settings_say() -> None:
    """Mend it with: python docs/limits_table.py."""
    updated = runpy.run_path(str(DOCS / "limits_table.py"))["updated"]
    page = (DOCS / "limits.md").read_text(encoding="utf-8")
    assert updated(page) == page
