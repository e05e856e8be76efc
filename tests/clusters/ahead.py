"""Makes the environments that the clusters are built from, all at once: most of the time that it takes is waiting for packages.

`python tests/clusters/ahead.py`. They are made once, and kept; what can't be had is told, and ends this with exit code 1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
MAKERS = ("servers/enterprise.py", "clusters/provisioners.py", "clusters/hub.py")


def make() -> int:
    """Make them; return how many can't be had."""
    running = {maker: subprocess.Popen([sys.executable, str(TESTS / maker)]) for maker in MAKERS}
    return sum(process.wait() != 0 for process in running.values())


if __name__ == "__main__":
    sys.exit(bool(make()))
