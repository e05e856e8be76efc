"""The drawings of the state machines are those of their tables."""

import subprocess
import sys
from pathlib import Path


def test_the_drawings_are_up_to_date() -> None:
    script = Path(__file__).parents[2] / "docs" / "state_machines.py"
    done = subprocess.run([sys.executable, script, "--check"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
