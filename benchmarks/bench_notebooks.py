"""What it costs to run a notebook, beside nbclient and papermill: time and memory of the process that does, in one run, in turns.

Each tool runs as it is meant to be: nbclient and papermill start a kernel on this machine, ours asks a Kernel Gateway that runs
already for one. What that way costs shows nbclient, which runs there too (`nbclient-there`, by `trio_gateway.jupyter`). Each
runs a case in a process of its own, which reads the notebook from a file and leaves the finished one in another. What is in that
is looked at: all tools must have the same outputs.

The kernel's own time and memory, and the gateway's, count for none of them. A ratio is ours by theirs: below 1 ours takes less.
`seconds` is from the call to its return, the kernel's start and end included; `process_seconds` has the imports too.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from datetime import datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nbformat as untyped_nbformat

from .measure import Meter

nbformat: Any = untyped_nbformat
PAGE = Path(__file__).parents[1] / "docs" / "benchmarks.md"
MB = 1_000_000
LINE = "x" * 99
SHORT = ["x = {0}", "print(x)", "x * 2", "import math\nmath.sqrt(x)", "[x] * 3"]
"""Cells that take a kernel next to no time."""


def short_cells(count: int) -> list[str]:
    """Return so many cells that take a kernel next to no time."""
    return [SHORT[number % len(SHORT)].format(number) for number in range(count)]


def printing(megabytes: int) -> list[str]:
    """Return ten cells that print so much in all, in lines."""
    lines = megabytes * MB // 10 // (len(LINE) + 1)
    return [f"for _ in range({lines}):\n    print({LINE!r})" for _ in range(10)]


def showing(megabytes: int) -> list[str]:
    """Return cells each of which shows one megabyte."""
    return ["from IPython.display import HTML", *(f"HTML('x' * {MB})" for _ in range(megabytes))]


CASES: dict[str, tuple[str, Callable[[int], list[str]], int, int]] = {
    "cells": ("{0} short cells", short_cells, 200, 20),
    "printed": ("{0} MB printed in lines, by 10 cells", printing, 50, 2),
    "shown": ("{0} MB shown, each in a cell", showing, 50, 2),
}
"""Each case: its title, what makes its cells, and of which size, in full and in quick."""


# A tool is imported where it runs: no process of another one has it.


def run_ours(source: Path, target: Path) -> None:
    """Run a notebook on the gateway that the environment names."""
    import trio

    import trio_gateway
    from trio_gateway import notebooks

    async def main() -> None:
        async with trio_gateway.open_gateway() as gateway:
            (await notebooks.run(gateway, source, output=target)).raise_for_error()

    trio.run(main)


def run_nbclient(source: Path, target: Path) -> None:
    """Run a notebook with nbclient."""
    import nbclient

    notebook = nbformat.read(source, as_version=4)
    nbclient.NotebookClient(notebook, resources={"metadata": {"path": str(source.parent)}}).execute()
    nbformat.write(notebook, target)


def run_nbclient_there(source: Path, target: Path) -> None:
    """Run a notebook with nbclient, on the gateway that the environment names."""
    import nbclient

    from trio_gateway.jupyter import GatewayKernelManager

    notebook = nbformat.read(source, as_version=4)
    nbclient.NotebookClient(notebook, kernel_manager_class=GatewayKernelManager).execute()
    nbformat.write(notebook, target)


def run_papermill(source: Path, target: Path) -> None:
    """Run a notebook with papermill."""
    import papermill  # type: ignore[import-untyped]

    papermill.execute_notebook(str(source), str(target), cwd=str(source.parent), progress_bar=False)


TOOLS: dict[str, tuple[Callable[[Path, Path], None], tuple[str, ...]]] = {
    "ours": (run_ours, ("trio_gateway.notebooks",)),
    "nbclient": (run_nbclient, ("nbclient",)),
    "nbclient-there": (run_nbclient_there, ("nbclient", "trio_gateway.jupyter")),
    "papermill": (run_papermill, ("papermill",)),
}
"""Each tool: what runs a notebook with it, and what that imports, which is not timed."""
PEERS = [tool for tool in TOOLS if tool != "ours"]


def be_measured(tool: str, source: Path, target: Path) -> None:
    """Run a notebook with one tool, and print what that took as JSON. What a process of its own does."""
    run, modules = TOOLS[tool]
    for module in modules:
        __import__(module)
    meter = Meter()
    meter.start()
    run(source, target)
    meter.stop()
    print(json.dumps(meter.result()))


def contents(notebook: Any) -> list[str]:
    """Return what each cell shows, as text: for comparing."""
    return [
        "".join([output.get("text") or json.dumps(output["data"]) for output in cell["outputs"]]) for cell in notebook["cells"]
    ]


def cells_took(notebook: Any) -> float:
    """Return for how long cells ran, in seconds: from the first one's beginning to the last one's end, by the kernel's clock."""
    times = [cell["metadata"]["execution"] for cell in notebook["cells"]]
    first, last = times[0]["iopub.status.busy"], times[-1]["iopub.status.idle"]
    return (datetime.fromisoformat(last) - datetime.fromisoformat(first)).total_seconds()


def measure(tool: str, source: Path, environment: dict[str, str]) -> tuple[dict[str, float], list[str]]:
    """Run one case with one tool; return what it took, and what came of it."""
    target = source.with_name(f"{tool}.ipynb")
    command = [sys.executable, "-m", "benchmarks.bench_notebooks", "--child", tool, str(source), str(target)]
    began = time.perf_counter()
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, env=environment)
    process = time.perf_counter() - began
    result = json.loads(done.stdout)
    notebook = nbformat.read(target, as_version=4)
    target.unlink()
    found = {
        "seconds": result["seconds"],
        "cells_seconds": cells_took(notebook),
        "process_seconds": process,
        "cpu_seconds": result["cpu"],
        "peak_mb": result["rss_peak"] / MB,
        "peak_above_mb": (result["rss_peak"] - result["rss_base"]) / MB,
    }
    return found, contents(notebook)


def write_case(folder: Path, cells: list[str]) -> Path:
    """Write a case's notebook."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(cell) for cell in cells])
    notebook.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3"}
    source = folder / "case.ipynb"
    nbformat.write(notebook, source)
    return source


def table(title: str, found: dict[str, list[dict[str, float]]]) -> str:
    """Return a table of one case: medians, and what ours is of each other tool's, the median of the rounds' ratios."""
    ratios = [f"ours ÷ {tool}" for tool in found if tool != "ours"]
    lines = [f"**{title}**", "", f"| | {' | '.join([*found, *ratios])} |", f"| --- |{' ---: |' * (len(found) + len(ratios))}"]
    for name in found["ours"][0]:
        cells = [f"{statistics.median(each[name] for each in rounds):.3g}" for rounds in found.values()]
        for tool, rounds in found.items():
            if tool != "ours":
                each = [mine[name] / theirs[name] for mine, theirs in zip(found["ours"], rounds, strict=True)]
                cells.append(f"{statistics.median(each):.2f}")
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main() -> None:
    """Measure, and print a table for each case."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3, help="how often the tools take turns")
    parser.add_argument("--case", action="append", choices=CASES, help="only this one; repeatable")
    parser.add_argument("--tool", action="append", choices=PEERS, help="only beside this one; repeatable (all)")
    parser.add_argument("--quick", action="store_true", help="smaller sizes, for a look while you work")
    parser.add_argument("--write", action="store_true", help="put the tables into docs/benchmarks.md")
    parser.add_argument("--child", nargs=3, metavar=("TOOL", "SOURCE", "TARGET"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        tool, source, target = options.child
        be_measured(tool, Path(source), Path(target))
        return
    from trio_gateway import blocking

    tools = ["ours", *(options.tool or PEERS)]
    versions = {name: version(name) for name in ("trio-gateway", "nbclient", "papermill", "ipykernel", "trio")}
    machine = {"python": platform.python_version(), "machine": platform.machine(), "cores": len(os.sched_getaffinity(0))}
    print(json.dumps({**machine, "rounds": options.rounds, **versions}))
    with blocking.open_local_gateway() as gateway, tempfile.TemporaryDirectory() as folder:
        tables: list[str] = []
        token = str(gateway.config.auth_token)
        environment = {**os.environ, "JUPYTER_GATEWAY_URL": gateway.url, "JUPYTER_GATEWAY_AUTH_TOKEN": token}
        for case in options.case or CASES:
            title, make, full, quick = CASES[case]
            size = quick if options.quick else full
            source = write_case(Path(folder), make(size))
            found: dict[str, list[dict[str, float]]] = defaultdict(list)
            for number in range(options.rounds):
                shown: dict[str, list[str]] = {}
                for tool in [*tools[number % len(tools) :], *tools[: number % len(tools)]]:
                    took, shown[tool] = measure(tool, source, environment)
                    found[tool].append(took)
                    print(f"round {number + 1} of {options.rounds}: {case}, {tool}: {took['seconds']:.2f} s", file=sys.stderr)
                if any(each != shown["ours"] for each in shown.values()):
                    raise SystemExit(f"{case}: the tools' notebooks are not the same")
            tables.append(table(title.format(size), {tool: found[tool] for tool in tools}))
            print(f"\n{tables[-1]}")
    if options.write:
        from .report import write_between

        told = ", ".join(f"{name} {number}" for name, number in {**machine, **versions}.items())
        write_between(PAGE, "notebooks", "\n\n".join([f"{options.rounds} rounds; {told}.", *tables]))


if __name__ == "__main__":
    main()
