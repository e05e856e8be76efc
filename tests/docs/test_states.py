"""The drawings of the state machines are those of their tables."""

import runpy
import sys
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "docs" / "state_machines.py"


def test_the_drawings_are_up_to_date(monkeypatch: pytest.MonkeyPatch) -> None:
    """What `python docs/state_machines.py --check` does, in this process."""
    monkeypatch.setattr(sys, "argv", [str(SCRIPT), "--check"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(SCRIPT), run_name="__main__")
    assert ended.value.code is False
