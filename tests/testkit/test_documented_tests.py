"""The tests that the README and docs/testing.md show to users are run, by pytest, as a user's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from inner_pytest import run_pytest

pytest_plugins = ["pytester"]

ROOT = Path(__file__).parents[2]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
TESTS = [
    pytest.param(block, id=f"{name}-{number}")
    for name in ("README.md", "docs/testing.md")
    for number, block in enumerate(BLOCK.findall((ROOT / name).read_text(encoding="utf-8")))
    if "def test_" in block
]


def test_there_are_some() -> None:
    assert [parameters.id.partition("-")[0] for parameters in TESTS] == ["README.md", "docs/testing.md", "docs/testing.md"]


@pytest.mark.parametrize("block", TESTS)
def test_it_passes(pytester: pytest.Pytester, block: str) -> None:
    run_pytest(pytester, block).assert_outcomes(passed=block.count("def test_"))


@pytest.mark.full
@pytest.mark.parametrize("block", TESTS[:1])
def test_it_passes_in_a_new_process(pytester: pytest.Pytester, block: str) -> None:
    """The plugin is found where nothing of it is imported yet."""
    run_pytest(pytester, block, apart=True).assert_outcomes(passed=block.count("def test_"))
