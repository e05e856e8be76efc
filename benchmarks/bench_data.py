"""What values cost on their way to a kernel and back, beside base64 in code and output; and a call beside an execution.

Each transfer is made by a process of its own, whose memory is that of one client: its peak is the process' (VmHWM, reset before),
above what it had before there was a value. All are on one Kernel Gateway, in turns, with one kernel for each kind. The other way
is what helpers do that are written by hand: pickle, base64, code in pieces that the gateway takes, and printed text back. It goes
over the same client, so what differs is the way alone. This gateway limits no output. One that is started as it comes gives a
megabyte of text a second (`iopub_data_rate_limit`) and drops the rest, so a helper there has to wait: that is measured too, of a
few megabytes, and counted up.
"""

from __future__ import annotations

import argparse
import base64
import json
import math
import os
import pickle
import statistics
import subprocess
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import trio

import trio_gateway
from trio_gateway.python import open_python

PIECE = 7 * 1024 * 1024
"""So much of a pickle goes in one execution: as base64 that is below the 10 MiB that a Kernel Gateway takes."""


STOCK_LIMIT = 1_000_000.0
"""A Kernel Gateway's own limit on printed text, in bytes a second."""


def make_array(megabytes: float) -> Any:
    """Return an array of so many megabytes."""
    return np.random.default_rng(1).random(int(megabytes * 125_000))


def make_frame(megabytes: float) -> Any:
    """Return a frame of so many megabytes: ten columns of numbers."""
    columns = np.random.default_rng(1).random((10, int(megabytes * 12_500)))
    return pd.DataFrame({f"c{index}": column for index, column in enumerate(columns)})


MAKE: dict[str, Callable[[float], Any]] = {"array": make_array, "frame": make_frame}


def memory(name: str) -> int:
    """Return a figure of this process' memory, in bytes."""
    for line in Path("/proc/self/status").read_text("ascii").splitlines():
        if line.startswith(name + ":"):
            return int(line.split()[1]) * 1024
    raise LookupError(name)


def reset_peak() -> None:
    """Have VmHWM begin anew."""
    Path("/proc/self/clear_refs").write_text("5", "ascii")


async def push_base64(kernel: trio_gateway.Kernel, value: object) -> None:
    """Push a value as a helper does that is written by hand."""
    data = pickle.dumps(value, 5)
    await kernel.execute("import base64, pickle\nparts = []", silent=True)
    for start in range(0, len(data), PIECE):
        text = base64.b64encode(data[start : start + PIECE]).decode("ascii")
        await kernel.execute(f"parts.append(base64.b64decode('{text}'))", silent=True)
    await kernel.execute("value = pickle.loads(b''.join(parts))\ndel parts", silent=True)


async def pull_base64(kernel: trio_gateway.Kernel, limit: float = math.inf) -> Any:
    """Pull a value as such a helper does; with at most so many bytes of text a second."""
    begun = await kernel.execute("import base64, pickle\ndata = pickle.dumps(value, 5)\nprint(len(data))", store_history=False)
    parts: list[bytes] = []
    for start in range(0, int(begun.text), PIECE):
        code = f"print(base64.b64encode(data[{start} : {start + PIECE}]).decode('ascii'))"
        text = (await kernel.execute(code, store_history=False)).text
        await trio.sleep(len(text) / limit)
        parts.append(base64.b64decode(text))
    await kernel.execute("del data", silent=True)
    return pickle.loads(b"".join(parts))


async def transfer(
    way: str, direction: str, kind: str, megabytes: float, kernel_id: str, url: str, token: str
) -> dict[str, float]:
    """Move one value, in a process of its own; return what it took."""
    async with (
        trio_gateway.open_gateway(url, auth_token=token) as gateway,
        gateway.attach_kernel(kernel_id) as kernel,
        open_python(kernel) as python,
    ):
        await python.push(warm=MAKE[kind](1))
        await python.pull("warm")
        size = megabytes * 1_000_000
        base = memory("VmRSS")
        value = MAKE[kind](megabytes) if direction == "push" else None
        reset_peak()
        begun = time.perf_counter()
        processor = time.process_time()
        if direction == "push":
            await (python.push(value=value) if way == "ours" else push_base64(kernel, value))
        else:
            limit = STOCK_LIMIT if way == "base64-limited" else math.inf
            value = await (python.pull("value") if way == "ours" else pull_base64(kernel, limit))
        found = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - processor}
        peak = (memory("VmHWM") - base) / size
        total = float(np.asarray(value).sum())
        assert await python.pull("float(__import__('numpy').asarray(value).sum())") == total, "it is another value"
        return {**found, "peak": peak}


async def call_beside_execute(calls: int, url: str, token: str) -> dict[str, float]:
    """Return the medians of a call without arguments and of `execute("1")`, in turns, in milliseconds."""
    taken: dict[str, list[float]] = {"call": [], "execute": []}
    async with (
        trio_gateway.open_gateway(url, auth_token=token) as gateway,
        gateway.start_kernel("python3") as kernel,
        open_python(kernel) as python,
    ):
        await kernel.execute("def nothing(): pass", silent=True)
        nothing = python.name("nothing")
        asked: dict[str, Callable[[], Awaitable[object]]] = {
            "call": lambda: python.call(nothing),
            "execute": lambda: kernel.execute("1"),
        }
        for number in range(calls + 10):
            for name, ask in asked.items():
                begun = time.perf_counter()
                await ask()
                if number >= 10:
                    taken[name].append((time.perf_counter() - begun) * 1e3)
    medians = {f"{name}_ms": round(statistics.median(times), 3) for name, times in taken.items()}
    return {**medians, "ratio": round(medians["call_ms"] / medians["execute_ms"], 2)}


def run_child(token: str, *arguments: object) -> dict[str, float]:
    """Have one transfer made in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_data", "--child", *map(str, arguments)]
    environment = {**os.environ, "BENCH_TOKEN": token}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of some runs."""
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


async def measure(
    kinds: list[str], *, megabytes: float, big: float, limited: float, calls: int, rounds: int, slow_rounds: int
) -> dict[str, Any]:
    """Measure all of it on a local gateway."""
    found: dict[str, Any] = {}
    async with trio_gateway.open_local_gateway() as gateway:
        url, token = gateway.url, gateway.config.auth_token
        for kind in kinds:
            async with gateway.start_kernel("python3") as kernel:
                rows: dict[str, list[dict[str, float]]] = {}
                for number in range(max(rounds, slow_rounds)):
                    for way, times in (("ours", rounds), ("base64", slow_rounds)):
                        for direction in ("push", "pull"):
                            if number < times:
                                given = (way, direction, kind, megabytes, kernel.id, url)
                                row = await trio.to_thread.run_sync(run_child, token, *given)
                                rows.setdefault(f"{way} {direction}", []).append(row)
                await trio.to_thread.run_sync(run_child, token, "ours", "push", kind, limited, kernel.id, url)
                row = await trio.to_thread.run_sync(run_child, token, "base64-limited", "pull", kind, limited, kernel.id, url)
                slow = row["seconds"]
            found[kind] = {name: medians(each) for name, each in rows.items()}
            for direction in ("push", "pull"):
                ours, other = (found[kind][f"{way} {direction}"]["seconds"] for way in ("ours", "base64"))
                found[kind][f"{direction}, times as fast"] = round(other / ours, 1)
            found[kind]["pull, times as fast as within the limit"] = round(
                slow * megabytes / limited / found[kind]["ours pull"]["seconds"], 1
            )
        if big:
            async with gateway.start_kernel("python3") as kernel:
                for direction in ("push", "pull"):
                    given = ("ours", direction, "array", big, kernel.id, url)
                    row = await trio.to_thread.run_sync(run_child, token, *given)
                    found[f"{direction} of {big:g} MB"] = {key: round(number, 3) for key, number in row.items()}
        found["call without arguments"] = await call_beside_execute(calls, url, token)
    return found


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", choices=MAKE, help="only this kind of value; repeatable (all)")
    parser.add_argument("--megabytes", type=float, default=100, help="how large the values are (100)")
    parser.add_argument("--big", type=float, default=1000, help="how large the one is that shows the memory; 0: none (1000)")
    parser.add_argument("--limited", type=float, default=5, help="how large the one that is pulled within the limit on text (5)")
    parser.add_argument("--calls", type=int, default=200, help="how many calls and executions (200)")
    parser.add_argument("--rounds", type=int, default=5, help="how often each value goes; the median counts (5)")
    parser.add_argument("--slow-rounds", type=int, default=2, help="how often as base64 (2)")
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        way, direction, kind, megabytes, kernel_id, url = given.child
        print(json.dumps(trio.run(transfer, way, direction, kind, float(megabytes), kernel_id, url, os.environ["BENCH_TOKEN"])))
        return
    sizes = {"megabytes": given.megabytes, "big": given.big, "limited": given.limited, "calls": given.calls}
    found = trio.run(lambda: measure(given.kind or list(MAKE), **sizes, rounds=given.rounds, slow_rounds=given.slow_rounds))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
