"""The parts of a run that are no cases: scripts of their own, which the command calls, and whose figures stand in its report.

A script prints JSON, by line or as a whole. Here is with which sizes it runs, and how a table is made of what it found.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from .servers import ROOT

Table = tuple[str, Sequence[str], list[Sequence[str]]]
"""A title, the head, the rows."""
Found = Any
"""What a script found: JSON."""


def number(value: float | None, unit: str = "") -> str:
    """Return three significant digits, with commas for thousands; a dash for nothing."""
    if value is None:
        return "–"
    if value >= 1000:
        digits = len(str(int(value))) - 3
        text = f"{round(value / 10**digits) * 10**digits:,}"
    elif value >= 100:
        text = f"{value:.0f}"
    else:
        text = f"{value:.3g}" if abs(value) >= 0.001 or value == 0 else f"{value:.1e}"
    return f"{text} {unit}".strip()


def percent(share: float | None) -> str:
    """Return a share as text; a dash for nothing."""
    return "–" if share is None else f"{share:.0%}"


@dataclass(frozen=True)
class Part:
    """One script."""

    name: str
    title: str
    full: tuple[str, ...]
    """Its arguments in a full run."""
    quick: tuple[str, ...]
    """Its arguments in a quick run."""
    seconds: tuple[float, float]
    """How long it takes, about: in full and in quick."""
    tables: Callable[[Found], list[Table]]
    page: str = "benchmarks.md"
    """Where its tables stand, in the documentation."""
    says: str = ""
    """How its tables are read."""


# ------------------------------------------------------------------------------------------------------------------- values


def left_to_take(floor: float, ours: float) -> float:
    """Return which share of our time is above the floor's."""
    return max(0.0, 1 - floor / ours)


def tables_of_values(found: Found) -> list[Table]:
    """Return the tables of `bench_data`."""
    size = f"{found['megabytes']:g} MB"
    rows: list[Sequence[str]] = []
    counted = False
    for line in found["lines"]:
        star = "*" if line["counted up"] else ""
        counted = counted or bool(star)
        rows.append(
            (
                f"{line['what']}, gateway {line['gateway']}",
                f"{number(line['here'])} s",
                f"{number(line['base64'])} s{star}",
                number(line["times as fast"], "×"),
                number(line["peak here"], "×"),
                number(line["peak base64"], "×"),
            )
        )
    head = (size, "trio_gateway", "base64", "trio_gateway is … times as fast", "peak memory ÷ value", "base64: peak ÷ value")
    note = f" (* counted up from {found['limited']:g} MB)" if counted else ""
    tables: list[Table] = [(f"A value of {size}, beside base64 in code and output{note}", head, rows)]
    rest: list[Sequence[str]] = []
    ours = {line["what"].split()[0]: line["here"] for line in reversed(found["lines"]) if line["gateway"] == "without limits"}
    for direction, floor in found.get("floor", {}).items():
        mine = ours[direction]
        left = percent(left_to_take(floor["seconds"], mine))
        rest.append(
            (
                f"{direction} of {size}: raw frames on Trio (the floor)",
                f"{number(floor['seconds'])} s",
                f"{left} of ours is left to take",
            )
        )
    for direction in ("push", "pull"):
        if "big" in found:
            row = found["big"][direction]
            rest.append(
                (
                    f"{direction} of {found['big']['megabytes']:g} MB",
                    f"{number(row['seconds'])} s",
                    f"peak memory {number(row['peak'])} × the value",
                )
            )
    call = found["call without arguments"]
    rest.append(
        (
            "a call without arguments",
            f"{number(call['call_ms'])} ms",
            f'{number(call["ratio"])} of the time of `execute("1")`, {number(call["execute_ms"])} ms',
        )
    )
    tables.append(("Floor, memory and calls", ("", "", ""), rest))
    return tables


# --------------------------------------------------------------------------------------------------------------------- pool


def tables_of_pool(found: Found) -> list[Table]:
    """Return the tables of `bench_pool`."""
    cold = found["start_kernel"]["median_ms"]
    rows: list[Sequence[str]] = []
    for name, what in (
        ("start_kernel", "a kernel that is started, up to its first answer"),
        ("lease, heard of lately", "a lease of a warm kernel that was heard of lately"),
        ("lease, asked first", "a lease of a warm kernel that is asked first"),
    ):
        row = found[name]
        ratio = "" if name == "start_kernel" else number(cold / row["median_ms"], "×")
        rows.append((what, f"{number(row['median_ms'])} ms", f"{number(row['p99_ms'])} ms", ratio))
    fake = found["lease on the fake"]
    rows.append(("leases on the fake, its own work included", f"{number(fake['leases a second'])}/s", "", ""))
    rows.append(("processor time of such a lease", f"{number(fake['processor_ms'])} ms", "", ""))
    rows.append(("memory of a warm kernel", f"{number(found['bytes of a warm kernel'] / 1000)} kB", "", ""))
    return [("A kernel of a pool", ("", "median", "99 %", "times as fast as a start"), rows)]


# -------------------------------------------------------------------------------------------------------------------- proxy


def tables_of_proxy(found: Found) -> list[Table]:
    """Return the table of `bench_proxy`."""
    names = {"direct": "no proxy (the floor)", "ours": "trio_gateway.proxy", "peer": "jupyter_server's gateway proxy"}
    targets = {line["target"]: line for line in found if "target" in line}
    direct = targets["direct"]
    rows: list[Sequence[str]] = []
    for key, line in targets.items():
        left = "" if key == "direct" else percent(left_to_take(direct["execute_us"], line["execute_us"]))
        rates = "" if key == "direct" else percent(max(0.0, 1 - line["messages_s"] / direct["messages_s"]))
        processor = "" if key == "direct" else number(line["cpu_us"])
        rows.append((names[key], number(line["execute_us"]), left, number(line["messages_s"]), rates, processor))
    head = ("", "execution, µs", "left to take", "messages/s of a flood", "left to take", "the proxy's CPU µs a message")
    return [("A front end behind a proxy, real gateway", head, rows)]


# -------------------------------------------------------------------------------------------------------------------- faces


def tables_of_faces(found: Found) -> list[Table]:
    """Return the table of `bench_faces`."""
    lines = [line for line in found if "call" in line]
    faces = list(dict.fromkeys(line["face"] for line in lines))
    calls = list(dict.fromkeys(line["call"] for line in lines))
    medians: Mapping[tuple[str, str], float] = {(line["call"], line["face"]): line["median"] for line in lines}
    rows: list[Sequence[str]] = [
        (f"`{call}`" if "(" in call or "." in call else call, *(number(medians[call, face]) for face in faces)) for call in calls
    ]
    head = ("µs, median", *("trio (the floor)" if face == "trio" else face for face in faces))
    return [("A call on each face, real gateway", head, rows)]


def no_tables(_found: Found) -> list[Table]:
    """Return none: the script makes them itself, as text."""
    return []


_ALL = (
    Part(
        "data",
        "Values",
        (),
        ("--megabytes=10", "--big=50", "--limited=1.5", "--calls=30", "--rounds=1", "--kind=array"),
        (240, 60),
        tables_of_values,
        "data.md",
        "Peak memory is that of the process on our side, with the value in it.",
    ),
    Part(
        "pool",
        "Pools",
        ("--leases=200", "--asked=20", "--cold=8", "--kernels=50"),
        ("--leases=20", "--asked=3", "--cold=2", "--kernels=20"),
        (45, 20),
        tables_of_pool,
    ),
    Part(
        "proxy",
        "The proxy",
        ("--rounds=3", "--flood=3000"),
        ("--rounds=1", "--executions=40", "--flood=500"),
        (45, 30),
        tables_of_proxy,
        says="What is left to take is what the front end would gain if there were no proxy.",
    ),
    Part("faces", "The faces", ("--rounds=6", "--count=15"), ("--rounds=1", "--count=5"), (40, 20), tables_of_faces),
    Part("notebooks", "Notebooks", ("--rounds=1",), ("--rounds=1", "--quick", "--case=cells"), (120, 40), no_tables),
)
PARTS = {part.name: part for part in _ALL}


def read(output: str) -> Found:
    """Return what a script printed: a JSON value, or a list of the lines that are one; text where none is."""
    try:
        return json.loads(output)
    except ValueError:
        pass
    if "| ---" in output:
        return output
    return [json.loads(line) for line in output.splitlines() if line.startswith("{")]


def run(part: Part, *, quick: bool, limit: float = 900.0) -> tuple[Found | None, str, float]:
    """Run a part's script.

    Returns:
        What it found; None and why where it failed; and how many seconds it took.
    """
    module = f"benchmarks.bench_{part.name}"
    command = [sys.executable, "-m", module, *(part.quick if quick else part.full)]
    began = time.perf_counter()
    try:
        done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=limit, check=True)
    except subprocess.CalledProcessError as error:
        return None, f"ended with {error.returncode}: {error.stderr[-300:]}", time.perf_counter() - began
    except subprocess.TimeoutExpired:
        return None, f"took more than {limit:g} s", limit
    return read(done.stdout), "", time.perf_counter() - began


def notebooks_markdown(output: str) -> str:
    """Return what `bench_notebooks` printed as it stands on its page: what it was measured on, then its tables."""
    machine, _, tables = output.partition("\n")
    told = json.loads(machine)
    rounds = told.pop("rounds")
    line = ", ".join(f"{name} {value}" for name, value in told.items())
    spaced = re.sub(r"\n{3,}", "\n\n", tables).strip()
    return f"{rounds} round{'' if rounds == 1 else 's'}; {line}.\n\n{spaced}"
