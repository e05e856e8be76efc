"""The pages that say where things are name files that exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.parametrize("page", ["journey.md", "layers.md", "states.md"])
def test_each_file_that_a_page_names_is_there(page: str) -> None:
    text = (ROOT / "docs" / page).read_text(encoding="utf-8")
    named = set(re.findall(r"`((?:[a-z_0-9]+/)*[a-z_0-9]+\.(?:py|md))`", text))
    paths = [*ROOT.glob("*.*"), *(path for folder in ("src", "tests", "docs") for path in (ROOT / folder).rglob("*.*"))]
    there = {f"/{path.relative_to(ROOT).as_posix()}" for path in paths}
    assert [name for name in sorted(named) if not any(path.endswith(f"/{name}") for path in there)] == []
    assert named or page == "states.md"
