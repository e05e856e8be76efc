"""G7 A notebook that prints a gigabyte on a real gateway, run by a process of its own whose memory is looked at in the end.

The soak prints 1 GB, other runs of the full tier 100 MB. What is allocated is in tests/notebooks/test_memory.py, on the fake.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

import trio_gateway.blocking
from tools.notebook_tools import write_notebook

pytestmark = [pytest.mark.full, pytest.mark.gateway]

MEGABYTES = 1_000 if os.environ.get("TRIO_GATEWAY_LONG") else 100
LINE = 100
"""How long a printed line is, with its end, in bytes."""
KEPT = 1_000_000
BESIDE = 150_000_000
"""What the process takes beside the text: Python, the libraries, messages on their way, pieces of the file."""
RUN = """
import json, re, resource, sys
from pathlib import Path
import trio, trio_gateway
from trio_gateway import notebooks

async def main(url, token, output, kept):
    async with trio_gateway.open_gateway(url, auth_token=token) as gateway:
        result = await notebooks.run(gateway, "n.ipynb", output=output, max_output_bytes=int(kept) or None)
    gaps = [[gap.kind, gap.count] for gap in result.output_gaps]
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    if (status := Path("/proc/self/status")).exists():  # there the other figure counts also what it was before `exec`
        peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", status.read_text())[1]) * 1024
    print(json.dumps({"status": result.status, "gaps": gaps, "peak": peak, "seconds": result.seconds}))

trio.run(main, *sys.argv[1:])
"""


@pytest.mark.parametrize("kept", [0, KEPT])
def test_a_notebook_that_prints_a_gigabyte(kept: int, tmp_path: Path) -> None:
    """At most twice the text where all is kept; where a limit is set, what the limit keeps, and a gap that counts the rest."""
    count = MEGABYTES * 1_000_000 // LINE
    write_notebook(
        tmp_path / "n.ipynb",
        f"line = 'x' * {LINE - 1} + '\\n'\nfor _ in range({count // 10_000}): print(line * 10_000, end='', flush=True)",
    )
    with trio_gateway.blocking.open_local_gateway() as gateway:  # without rate limits
        token = gateway.config.auth_token or ""
        done = subprocess.run(
            [sys.executable, "-c", RUN, gateway.url, str(token), "out.ipynb", str(kept)],
            cwd=tmp_path,
            stdout=subprocess.PIPE,
            check=False,
        )
    assert done.returncode == 0
    told: dict[str, Any] = json.loads(done.stdout)
    print(f"{MEGABYTES} MB printed, {kept or 'all'} kept: {told['peak'] / 1e6:.0f} MB at most, {told['seconds']:.0f} s")
    saved = (tmp_path / "out.ipynb").stat().st_size
    assert told["status"] == "ok"
    if kept:
        ((kind, number),) = told["gaps"]
        assert kind == "overflow"
        assert number > 0
        assert saved < 2 * KEPT
        assert told["peak"] < BESIDE + KEPT
    else:
        assert told["gaps"] == []
        assert saved > MEGABYTES * 1_000_000
        assert told["peak"] < 2 * MEGABYTES * 1_000_000 + BESIDE
