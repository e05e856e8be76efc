"""The tests that docs/lessons.md names exist, and the rows that tests name are there."""

import re
from pathlib import Path

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs" / "lessons.md").read_text()


def test_every_row_names_tests_and_these_exist() -> None:
    existing = {name for path in TESTS.rglob("test_*.py") for name in re.findall(r"\bdef (test_\w+)", path.read_text())}
    rows = re.findall(r"^\| ([AB]\d+) \|.*\|([^|]*)\|$", PAGE, flags=re.MULTILINE)
    assert len(rows) > 50
    for number, shown_by in rows:
        named = re.findall(r"`(test_\w+)`", shown_by)
        assert named, number
        assert not set(named) - existing, number


def test_rows_that_tests_refer_to_are_there() -> None:
    rows = set(re.findall(r"^\| ([AB]\d+) \|", PAGE, flags=re.MULTILINE))
    for path in TESTS.rglob("*.py"):
        named = set(re.findall(r"lessons?[, ]+([AB]\d+)", path.read_text()))
        assert not named - rows, path
