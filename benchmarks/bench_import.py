"""How long `import trio_gateway` takes, in a fresh process, beside importing what it stands on (trio, httpx).

A process starts with everything on its path cached; what counts is the difference between two lines.
"""

from __future__ import annotations

import json
import platform
import statistics
import subprocess
import sys
from importlib.metadata import version

ROUNDS = 15
PROGRAM = "import time; start = time.perf_counter(); import {module}; print(time.perf_counter() - start)"


def measure(module: str) -> list[float]:
    """Return the seconds that importing the module took, once for each of `ROUNDS` processes."""
    command = [sys.executable, "-c", PROGRAM.format(module=module)]
    return [float(subprocess.run(command, check=True, capture_output=True, text=True).stdout) for _ in range(ROUNDS)]


def main() -> None:
    """Print the machine, then median and worst case of each import as a line of JSON."""
    versions = {name: version(name) for name in ("trio-gateway", "trio", "httpx")}
    print(json.dumps({"python": platform.python_version(), "machine": platform.machine(), "rounds": ROUNDS, **versions}))
    for module in ("trio", "httpx", "trio_gateway"):
        seconds = measure(module)
        milliseconds = {"median": statistics.median(seconds) * 1000, "worst": max(seconds) * 1000}
        print(json.dumps({"import": module, **{name: round(value, 1) for name, value in milliseconds.items()}, "unit": "ms"}))


if __name__ == "__main__":
    main()
