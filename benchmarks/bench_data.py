"""What values cost on their way to a kernel and back, beside base64 in code and output; and a call beside an execution.

Each transfer is made by a process of its own, whose memory is that of one client: its peak is the process' (VmHWM, reset before),
above what it had before there was a value. All are on one Kernel Gateway, in turns, with one kernel for each kind. The other way
is what helpers do that are written by hand: pickle, base64, code in pieces that the gateway takes, and printed text back. It goes
over the same client, so what differs is the way alone.

There are two gateways. One limits no output. The other is as it comes: it lets a megabyte of text a second through
(`iopub_data_rate_limit`) and drops what is above, so a helper has to wait. There the helper moves a few megabytes, and what that
takes is counted up.

The floor is what raw frames on Trio take, in pieces of 4 MiB whose bytes are thrown away at the other end.
"""

from __future__ import annotations

import argparse
import base64
import json
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

from .clients import wire
from .clients.raw import SansioClient
from .servers import real_gateway

PIECE = 7 * 1024 * 1024
"""So much of a pickle goes in one execution: as base64 that is below the 10 MiB that a Kernel Gateway takes."""
FLOOR_PIECE = 4 * 1024 * 1024
SMALL_PIECE = 360_000
"""So much goes in one execution where the gateway limits text: six of them, as text, in three seconds stay below its limit."""
PAUSE = 0.55
"""How long a helper waits after each of these, in seconds."""
GATEWAYS = {"without limits": False, "as it comes": True}
"""The Kernel Gateways, and whether they have the limits with which one comes."""


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


async def pull_base64(kernel: trio_gateway.Kernel, piece: int = PIECE, pause: float = 0) -> Any:
    """Pull a value as such a helper does, in pieces of so many bytes, with a pause of so many seconds after each."""
    begun = await kernel.execute("import base64, pickle\ndata = pickle.dumps(value, 5)\nprint(len(data))", store_history=False)
    parts: list[bytes] = []
    for start in range(0, int(begun.text), piece):
        code = f"print(base64.b64encode(data[{start} : {start + piece}]).decode('ascii'))"
        text = (await kernel.execute(code, store_history=False)).text
        await trio.sleep(pause)
        parts.append(base64.b64decode(text))
    await kernel.execute("del data", silent=True)
    return pickle.loads(b"".join(parts))


async def transfer(way: str, direction: str, kind: str, megabytes: float, kernel_id: str, url: str) -> dict[str, float]:
    """Move one value, in a process of its own; return what it took."""
    async with (
        trio_gateway.open_gateway(url) as gateway,
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
            limited = (SMALL_PIECE, PAUSE) if way == "base64-limited" else ()
            value = await (python.pull("value") if way == "ours" else pull_base64(kernel, *limited))
        found = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - processor}
        peak = (memory("VmHWM") - base) / size
        total = float(np.asarray(value).sum())
        assert await python.pull("float(__import__('numpy').asarray(value).sum())") == total, "it is another value"
        return {**found, "peak": peak}


async def move_frames(direction: str, megabytes: float, kernel_id: str, url: str) -> dict[str, float]:
    """Move as many bytes as raw frames on Trio; return what so many would take."""
    size = int(megabytes * 1_000_000)
    piece = min(size, FLOOR_PIECE)
    pieces = size // piece
    data = os.urandom(1000) * (piece // 1000)
    async with SansioClient(url).connect(wire.channels_url(url, kernel_id)) as kernel:
        await kernel.execute(f"_kernel, _data = get_ipython().kernel, bytes({piece})")
        base = memory("VmRSS")
        reset_peak()
        begun = time.perf_counter()
        processor = time.process_time()
        if direction == "push":
            for _ in range(pieces):
                kernel.protocol.send_binary(kernel.talk.comm_request(data))
                await kernel.flush()
            await kernel.execute("pass")
        else:
            outcome = await kernel.execute(_SEND.format(pieces))
            assert outcome.binary == pieces * piece, "some of it was lost"
        scale = size / (pieces * piece)
        found = {"seconds": time.perf_counter() - begun, "processor": time.process_time() - processor}
        return {**{name: taken * scale for name, taken in found.items()}, "peak": (memory("VmHWM") - base) / size}


_SEND = """_content = {{"data": {{}}, "metadata": {{}}, "transient": {{}}}}
for _ in range({0}):
    _kernel.session.send(
        _kernel.iopub_socket, "display_data", _content, parent=_kernel.get_parent(), ident=b"display_data", buffers=[_data]
    )"""


async def call_beside_execute(calls: int, gateway: trio_gateway.Gateway) -> dict[str, float]:
    """Return the medians of a call without arguments and of `execute("1")`, in turns, in milliseconds."""
    taken: dict[str, list[float]] = {"call": [], "execute": []}
    async with gateway.start_kernel("python3") as kernel, open_python(kernel) as python:
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


def run_child(*arguments: object) -> dict[str, float]:
    """Have one transfer made in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_data", "--child", *map(str, arguments)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(done.stdout)
    return found


def medians(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the medians of some runs."""
    return {key: round(statistics.median(row[key] for row in rows), 3) for key in rows[0]}


def beside(what: str, gateway: str, ours: dict[str, float], other: dict[str, float], scale: float) -> dict[str, Any]:
    """Return a line of the table.

    Args:
        what: what was moved, such as "push of an array".
        gateway: the name of the gateway.
        ours: what it took here.
        other: what it took as base64.
        scale: how many times more would have been moved as base64, to be as much.
    """
    taken = other["seconds"] * scale
    return {
        "what": what,
        "gateway": gateway,
        "here": ours["seconds"],
        "base64": round(taken, 3),
        "times as fast": round(taken / ours["seconds"], 1),
        "peak here": ours["peak"],
        "peak base64": other["peak"],
        "counted up": scale != 1,
    }


class Bench:
    """Moves values over one gateway, each in a process of its own."""

    def __init__(self, url: str) -> None:
        self._url = url

    async def move(self, way: str, direction: str, kind: str, megabytes: float, kernel_id: str) -> dict[str, float]:
        """Move one value; return what it took."""
        print(f"{way}: {direction} of {megabytes:g} MB, {kind}", file=sys.stderr, flush=True)
        return await trio.to_thread.run_sync(run_child, way, direction, kind, megabytes, kernel_id, self._url)

    async def move_often(
        self, kind: str, megabytes: float, kernel_id: str, times: dict[str, int]
    ) -> dict[tuple[str, str], dict[str, float]]:
        """Move one value so often each way, in turns that end together; return the medians by way and direction."""
        rows: dict[tuple[str, str], list[dict[str, float]]] = {}
        most = max(times.values())
        for number in range(most):
            for way, count in times.items():
                # What goes seldom goes last. The largest message that a gateway has sent makes it slower for all after that.
                if number >= most - count:
                    for direction in ("push", "pull"):
                        rows.setdefault((way, direction), []).append(await self.move(way, direction, kind, megabytes, kernel_id))
        return {key: medians(each) for key, each in rows.items()}


async def measure(
    kinds: list[str], *, megabytes: float, big: float, limited: float, calls: int, rounds: int, slow_rounds: int
) -> dict[str, Any]:
    """Measure all of it on two Kernel Gateways."""
    lines: list[dict[str, Any]] = []
    found: dict[str, Any] = {"megabytes": megabytes, "limited": limited, "lines": lines}
    for name, has_limits in GATEWAYS.items():
        with real_gateway(Path(sys.executable), limited=has_limits) as server:
            bench = Bench(server.url)
            async with trio_gateway.open_gateway(server.url) as gateway:
                for kind in kinds:
                    async with gateway.start_kernel("python3") as kernel:
                        if has_limits:
                            scale = megabytes / limited
                            taken = await bench.move_often(kind, megabytes, kernel.id, {"ours": rounds})
                            for direction in ("push", "pull"):  # what the pull takes, the push has left there
                                other = await bench.move("base64-limited", direction, kind, limited, kernel.id)
                                taken["base64", direction] = {key: round(each, 3) for key, each in other.items()}
                        else:
                            scale = 1.0
                            times = {"ours": rounds, "base64": slow_rounds}
                            if kind == kinds[0]:  # the floor is the same for each
                                times["floor"] = rounds
                            taken = await bench.move_often(kind, megabytes, kernel.id, times)
                            floor = {direction: each for (way, direction), each in taken.items() if way == "floor"}
                            found.setdefault("floor", floor)
                        for direction in ("push", "pull"):
                            what = f"{direction} of {'an' if kind == 'array' else 'a'} {kind}"
                            lines.append(beside(what, name, taken["ours", direction], taken["base64", direction], scale))
                if not has_limits:
                    found["call without arguments"] = await call_beside_execute(calls, gateway)
                    if big:
                        found["big"] = await move_big(bench, gateway, big)
    return found


async def move_big(bench: Bench, gateway: trio_gateway.Gateway, megabytes: float) -> dict[str, Any]:
    """Move one large value there and back, once."""
    found: dict[str, Any] = {"megabytes": megabytes}
    async with gateway.start_kernel("python3") as kernel:
        for direction in ("push", "pull"):
            row = await bench.move("ours", direction, "array", megabytes, kernel.id)
            found[direction] = {key: round(number, 3) for key, number in row.items()}
    return found


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kind", action="append", choices=MAKE, help="only this kind of value; repeatable (all)")
    parser.add_argument("--megabytes", type=float, default=100, help="how large the values are (100)")
    parser.add_argument("--big", type=float, default=1000, help="how large the one is that shows the memory; 0: none (1000)")
    parser.add_argument("--limited", type=float, default=5, help="how large as base64 on the gateway as it comes (5)")
    parser.add_argument("--calls", type=int, default=200, help="how many calls and executions (200)")
    parser.add_argument("--rounds", type=int, default=3, help="how often each value goes; the median counts (3)")
    parser.add_argument("--slow-rounds", type=int, default=1, help="how often as base64, which takes minutes (1)")
    parser.add_argument("--child", nargs=6, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        way, direction, kind, size, kernel_id, url = given.child
        if way == "floor":
            print(json.dumps(trio.run(move_frames, direction, float(size), kernel_id, url)))
        else:
            print(json.dumps(trio.run(transfer, way, direction, kind, float(size), kernel_id, url)))
        return
    sizes = {"megabytes": given.megabytes, "big": given.big, "limited": given.limited, "calls": given.calls}
    found = trio.run(lambda: measure(given.kind or list(MAKE), **sizes, rounds=given.rounds, slow_rounds=given.slow_rounds))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
