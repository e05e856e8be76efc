"""Runs cases: each client in a process of its own, turn by turn, the same case of all clients close together.

A machine is never twice the same, so what counts are ratios within one run: the order of clients is shuffled anew for each
repetition, and a case's clients follow each other at once.
"""

from __future__ import annotations

import json
import os
import platform
import random
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from . import environments
from .cases import CASES, Case
from .clients.registry import CLIENTS, Entry
from .progress import Progress, shown
from .servers import ROOT, Server, fast_gateway, real_gateway

Mode = str
"""`"full"`, `"quick"` or `"smoke"`."""
REPETITIONS = 3
"""How often each client runs each case: with three the median leaves out one that was disturbed, and the spread shows it."""
SLOW = 5.0
"""A client of others that takes longer for a case, in seconds, is asked once: its figures differ by some percent, not times."""


_IMPORT = """
import sys, time
started, cpu = time.perf_counter(), time.process_time()
__import__(sys.argv[1])
seconds, cpu = time.perf_counter() - started, time.process_time() - cpu
import json, re, resource, threading
peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
try:  # on Linux that counts also what the process was before `exec`: a copy of this one
    peak = int(re.search(r"VmHWM:\\s+(\\d+) kB", open("/proc/self/status").read())[1]) * 1024
except OSError:
    pass
print(json.dumps({"seconds": seconds, "cpu": cpu, "operations": 1, "rss_peak": peak, "threads": threading.active_count()}))
"""
"""A program that imports a module and nothing before it."""


@dataclass
class Cell:
    """What came of one case with one client, over all repetitions."""

    case: str
    client: str
    values: list[float] = field(default_factory=list)
    details: dict[str, list[float]] = field(default_factory=dict)
    cpu_us: list[float] = field(default_factory=list)
    """Processor time per operation, in microseconds."""
    peak_mb: list[float] = field(default_factory=list)
    """The process's peak of resident memory, in megabytes."""
    threads: int = 0
    problem: str = ""
    """Why there are no values, or fewer."""
    seconds: float = 0.0
    """How long the slowest process took."""
    took: float = 0.0
    """How long all of its processes took, with their beginning and end, in seconds."""

    @property
    def value(self) -> float | None:
        """The median; None where nothing could be measured."""
        return statistics.median(self.values) if self.values else None

    @property
    def spread(self) -> float:
        """How far the values are apart: (largest - smallest) / median."""
        value = self.value
        return (max(self.values) - min(self.values)) / value if value else 0.0

    def detail(self, name: str) -> float | None:
        """Return the median of a detail; None where there is none."""
        found = self.details.get(name)
        return statistics.median(found) if found else None


@dataclass
class Run:
    """All that was measured, and on what."""

    mode: Mode
    repetitions: int
    machine: dict[str, str]
    versions: dict[str, str]
    cells: dict[tuple[str, str], Cell]
    parts: dict[str, Any] = field(default_factory=dict)
    """What the scripts beside the cases found, by their names; see `parts`."""
    interrupted: bool = False
    """Whether somebody ended it early: it is no basis for the documentation."""

    def value(self, case: str, client: str) -> float | None:
        """Return a cell's median, or None."""
        cell = self.cells.get((case, client))
        return cell.value if cell else None

    def to_json(self) -> str:
        """Return it as JSON, readable again by `from_json`."""
        whole = {
            "mode": self.mode,
            "repetitions": self.repetitions,
            "machine": self.machine,
            "versions": self.versions,
            "cells": [_rounded(asdict(cell)) for cell in self.cells.values()],
            "parts": _rounded(self.parts),
            "interrupted": self.interrupted,
        }
        return json.dumps(whole, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Run:
        """Read what `to_json` wrote."""
        whole = json.loads(text)
        cells = [Cell(**cell) for cell in whole["cells"]]
        return cls(
            whole["mode"],
            whole["repetitions"],
            whole["machine"],
            whole["versions"],
            {(cell.case, cell.client): cell for cell in cells},
            whole.get("parts", {}),
            whole.get("interrupted", False),
        )

    def seconds_of(self, case: str) -> float:
        """Return how long a case took, with all clients and repetitions."""
        return sum(cell.took for (name, _), cell in self.cells.items() if name == case)


def _rounded(value: Any) -> Any:
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: _rounded(each) for key, each in value.items()}
    return [_rounded(each) for each in value] if isinstance(value, list) else value


def describe_machine() -> dict[str, str]:
    """Return what the figures depend on; nothing that says where the machine is."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        for line in info.read_text().splitlines():
            if line.startswith("model name"):
                model = line.partition(":")[2].strip()
                break
    return {
        "processor": model,
        "cores": str(os.cpu_count()),
        "system": f"{platform.system()} {platform.release().partition('-')[0]}",
        "python": f"{platform.python_implementation()} {platform.python_version()}",
    }


def cores() -> tuple[int | None, int | None]:
    """Return the cores for client and server; None where they can't be pinned."""
    if not hasattr(os, "sched_getaffinity"):
        return None, None
    usable = sorted(os.sched_getaffinity(0))
    return (usable[0], usable[1]) if len(usable) > 1 else (None, None)


@contextmanager
def servers(cases: Sequence[Case], python: Path, server_cpu: int | None) -> Generator[dict[str, Server]]:
    """Run the servers that these cases need."""
    needed = {case.server for case in cases if case.body is not None}
    with ExitStack() as stack:
        running: dict[str, Server] = {}
        if needed & {"fast", "legacy"}:
            running["fast"] = stack.enter_context(fast_gateway(python, server_cpu))
            running["legacy"] = Server(running["fast"].legacy_url)
        if "real" in needed:
            running["real"] = stack.enter_context(real_gateway(python, server_cpu))
        yield running


def clients_of(case: Case, chosen: Sequence[Entry]) -> list[Entry]:
    """Return those of the chosen clients that take part in a case."""
    return [
        entry
        for entry in chosen
        if takes_part(case, entry) and entry.key not in case.cannot and (case.body is not None or entry.module)
    ]


def takes_part(case: Case, entry: Entry) -> bool:
    """Say whether a client belongs into a case, if only with the reason why it can't do it."""
    return entry.key in case.also or (entry.group in case.groups and (not case.only or entry.key in case.only))


def params_of(case: Case, entry: Entry, mode: Mode) -> dict[str, Any]:
    """Return what the case's body is given."""
    changed = {} if mode == "full" else getattr(case, mode)
    fewer = case.fewer.get(entry.key, {}) if mode != "smoke" else {}
    return {**case.full, **changed, **fewer}


def run_child(
    case: Case,
    entry: Entry,
    python: Path,
    server: Server | None,
    *,
    mode: Mode,
    limit: float,
    pins: tuple[int | None, int | None] = (None, None),
) -> dict[str, Any]:
    """Run one case once in a fresh process; return what the child says, or `{"error": why}`.

    Args:
        limit: how long it may take, in seconds.
        pins: the cores for client and server.
    """
    options: dict[str, Any] = dict(case.settings) if entry.is_ours else {}
    if pins[1] is not None and entry.group == "floor":
        options["server_cpu"] = pins[1]
    spec = {
        "client": entry.key,
        "case": case.name,
        "params": params_of(case, entry, mode),
        "url": server.url if server else "",
        "token": "",
        "options": options,
        "cpu": pins[0],
    }
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("JUPYTER_GATEWAY_", "KERNEL_"))}
    command = [str(python), "-m", "benchmarks.child", json.dumps(spec)]
    if case.body is None:
        pinned = ["taskset", "-c", str(pins[0])] if pins[0] is not None else []
        command = [*pinned, str(python), "-c", _IMPORT, entry.module]
    process = subprocess.Popen(
        command,
        cwd=ROOT,
        env=environment,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        output, errors = process.communicate(timeout=limit)
    except subprocess.TimeoutExpired:
        return {"error": f"took more than {limit:g} s", "process_seconds": limit}
    finally:
        if process.poll() is None:
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
    try:
        result: dict[str, Any] = json.loads(output.splitlines()[-1])
    except (IndexError, ValueError):
        return {"error": f"ended with {process.returncode}: {errors[-300:]}", "process_seconds": 0.0}
    return result


def turns(cases: Sequence[Case], entries: Sequence[Entry], repetitions: int) -> Generator[tuple[int, Case, Entry]]:
    """Say whose turn it is: repetition after repetition, case after case, the clients of each in a new order."""
    for repetition in range(repetitions):
        for case in cases:
            if case.once and repetition > 0:
                continue
            turn = clients_of(case, entries)
            random.shuffle(turn)
            for entry in turn:
                yield repetition, case, entry


def is_enough(cell: Cell, entry: Entry) -> bool:
    """Say whether a client need not run a case again: it can't, or it is another's and slow."""
    if not cell.values:
        return bool(cell.problem)
    return cell.seconds > SLOW and not entry.is_ours


def measure(
    cases: Sequence[Case],
    entries: Sequence[Entry],
    *,
    mode: Mode = "full",
    repetitions: int = REPETITIONS,
    limit: float = 300.0,
    tell: Callable[[str], None] = print,
    server_python: Path | None = None,
    last: Run | None = None,
    afterwards: float = 0.0,
) -> Run:
    """Measure these cases with these clients, whose environments must be there.

    Args:
        cases: what to measure.
        entries: with whom.
        mode: how much.
        repetitions: how often.
        limit: how long one process may take, in seconds.
        tell: told of each step, as a line of text.
        server_python: the interpreter for the servers; by default the environment "server"'s.
        last: another run like this one, for telling how long this one still takes.
        afterwards: how long the caller needs after that, in seconds; it is told with the rest.

    Ctrl-C ends it early; what was measured until then is returned, as a run that was interrupted.
    """
    pins = cores()
    pythons: dict[str, Path] = {}
    for entry in entries:
        python = environments.python_of(entry.environment)
        if python is None:
            raise RuntimeError(f"the environment {entry.environment!r} is not there")
        pythons[entry.environment] = python
    if server_python is None:
        server_python = environments.python_of("server") or Path(sys.executable)
    cells: dict[tuple[str, str], Cell] = {
        (case.name, entry.key): Cell(case.name, entry.key, problem=case.cannot[entry.key])
        for case in cases
        for entry in entries
        if takes_part(case, entry) and entry.key in case.cannot
    }
    planned = list(turns(cases, entries, repetitions))
    measured = {key: cell for key, cell in last.cells.items() if cell.values} if last else {}
    known = {key: cell.took / len(cell.values) or cell.seconds for key, cell in measured.items()}
    progress = Progress([(case.name, entry.key) for _, case, entry in planned], known)
    interrupted = False
    with servers(cases, server_python, pins[1]) as running:
        try:
            for repetition, case, entry in planned:
                cell = cells.setdefault((case.name, entry.key), Cell(case.name, entry.key))
                if is_enough(cell, entry):
                    progress.took((case.name, entry.key), 0)
                    continue
                began = time.perf_counter()
                server = running.get(case.server) if case.body is not None else None
                result = run_child(case, entry, pythons[entry.environment], server, mode=mode, limit=limit, pins=pins)
                value = f"{cell.values[-1]:,.4g} {case.unit}" if take(cell, case, result) else cell.problem
                if server is not None and (case.server == "real" or not case.closes):
                    server.end_kernels()
                took = time.perf_counter() - began
                cell.took += took
                progress.took((case.name, entry.key), took)
                left = shown(progress.left() + afterwards)
                tell(f"{repetition + 1}/{repetitions} {left:>12}  {case.name:19} {entry.label:36} {value}")
        except KeyboardInterrupt:
            tell("interrupted: here is what there is")
            interrupted = True
            repetitions = min((len(cell.values) for cell in cells.values() if cell.values), default=0)
    versions: dict[str, str] = {}
    for entry in entries:
        versions |= environments.versions(pythons[entry.environment], entry.versions)
    versions |= environments.versions(server_python, ("jupyter_kernel_gateway", "ipykernel", "uvloop"))
    ordered = {(case.name, key): cells[case.name, key] for case in cases for key in CLIENTS if (case.name, key) in cells}
    return Run(mode, repetitions, describe_machine(), versions, ordered, interrupted=interrupted)


def take(cell: Cell, case: Case, result: dict[str, Any]) -> bool:
    """Take what a child said into its cell; say whether it was a measurement."""
    cell.seconds = max(cell.seconds, result.get("process_seconds", 0.0))
    problem = result.get("unsupported") or result.get("error")
    if problem:
        cell.problem = str(problem)[:300]
        return False
    cell.values.append(case.value(result))
    for name, value in case.details(result).items():
        cell.details.setdefault(name, []).append(value)
    cell.cpu_us.append(result["cpu"] / result["operations"] * 1e6)
    cell.peak_mb.append(result["rss_peak"] / 1e6)
    cell.threads = max(cell.threads, result["threads"])
    return True


def choose(words: Sequence[str], known: dict[str, Any]) -> list[Any]:
    """Return what has one of these words in its name; everything for no words.

    Raises:
        ValueError: a word is in no name.
    """
    for word in words:
        if not any(word in name for name in known):
            raise ValueError(f"nothing is called {word!r}; there is {', '.join(known)}")
    return [each for name, each in known.items() if not words or any(word in name for word in words)]


__all__ = ["CASES", "CLIENTS", "Cell", "Run", "choose", "clients_of", "measure", "run_child"]
