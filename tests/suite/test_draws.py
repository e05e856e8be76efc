"""A seed says all that property tests draw, whatever the process has imported."""

from __future__ import annotations

from pathlib import Path

import hypothesis
import pytest
from hypothesis import strategies as st


def draw() -> list[tuple[int, str]]:
    drawn: list[tuple[int, str]] = []

    @hypothesis.seed(0)
    @hypothesis.settings(max_examples=200, database=None, phases=[hypothesis.Phase.generate], deadline=None)
    @hypothesis.given(st.integers(), st.text())
    def take(number: int, text: str) -> None:
        drawn.append((number, text))

    take()
    return drawn


def test_what_was_imported_changes_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usual = draw()
    names = "\n".join(f"NUMBER_{number} = {number}; TEXT_{number} = 'a text {number}'" for number in range(7_000, 7_200))
    (tmp_path / "module_with_numbers.py").write_text(names, encoding="utf-8")
    monkeypatch.syspath_prepend(tmp_path)
    __import__("module_with_numbers")
    assert draw() == usual
