"""The tests that the README and docs/testing.md show to users are run, by pytest, as a user's."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
    pytester.makefile(".ini", pytest="[pytest]\ntrio_mode = true\nfilterwarnings = error\n")
    pytester.makepyfile(block)
    result = pytester.runpytest_subprocess("-p", "no:cacheprovider", timeout=100)
    result.assert_outcomes(passed=block.count("def test_"))
