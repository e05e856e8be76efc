"""What a call costs on each face of the library, beside native Trio: the same calls on the same kernel, interleaved, in one run.

Calls that send nothing show the face alone; those that ask the gateway or the kernel show what it adds to real work.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import platform
import statistics
import sys
import threading
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from contextlib import ExitStack
from importlib.metadata import version
from typing import Any

import trio
import uvloop

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking

Samples = dict[str, list[float]]

# What is called, and how many of it are one sample: what takes nanoseconds is timed by the hundred.
CALLS: dict[str, tuple[str, int]] = {
    "kernel.state": ("read", 100),
    "kernel.hb.verdict": ("read", 20),
    "iopub.statistics()": ("call", 20),
    "kernel.wait_for(...), at once": ("await", 1),
    "iopub.subscribe(), in and out": ("block", 1),
    "gateway.kernels.get(...)": ("await", 1),
    "kernel.kernel_info()": ("await", 1),
    "kernel.execute('1')": ("await", 1),
    "kernel.stream('1'), read to its end": ("block", 1),
    "an output of a stream, where they wait": ("next", 500),
}
READING = "an output of a stream, where they wait"
PRINTING = f"for i in range({CALLS[READING][1]}): print(i, flush=True)"


async def use_async(open_gateway: Callable[..., Any], url: str, token: str, kernel_id: str, count: int) -> Samples:
    """Make each call `count` times on one of the async faces."""
    samples: Samples = defaultdict(list)
    async with open_gateway(url, auth_token=token) as gateway, gateway.attach_kernel(kernel_id) as kernel:
        state = trio_gateway.KernelState.IDLE

        async def block() -> None:
            async with kernel.iopub.subscribe():
                pass

        async def stream() -> None:
            async with kernel.stream("1") as outputs:
                async for _ in outputs:
                    pass

        calls: dict[str, Callable[[], Awaitable[Any]]] = {
            "kernel.wait_for(...), at once": lambda: kernel.wait_for(state),
            "iopub.subscribe(), in and out": block,
            "gateway.kernels.get(...)": lambda: gateway.kernels.get(kernel_id),
            "kernel.kernel_info()": kernel.kernel_info,
            "kernel.execute('1')": lambda: kernel.execute("1"),
            "kernel.stream('1'), read to its end": stream,
        }
        for _ in range(count):
            _use_reads(kernel, samples)
            for name, call in calls.items():
                await kernel.wait_for(state)
                started = time.perf_counter()
                await call()
                samples[name].append(time.perf_counter() - started)
        for _ in range(max(1, count // 5)):
            async with kernel.stream(PRINTING) as outputs:
                await anext(outputs)
                await kernel.wait_for(state)
                started = time.perf_counter()
                seen = len([output async for output in outputs])
                samples[READING].append((time.perf_counter() - started) / seen)
    return samples


def use_blocking(url: str, token: str, kernel_id: str, count: int) -> Samples:
    """Make each call `count` times on the blocking face."""
    samples: Samples = defaultdict(list)
    with trio_gateway.blocking.open_gateway(url, auth_token=token) as gateway, gateway.attach_kernel(kernel_id) as kernel:
        state = trio_gateway.KernelState.IDLE

        def block() -> None:
            with kernel.iopub.subscribe():
                pass

        def stream() -> None:
            with kernel.stream("1") as outputs:
                for _ in outputs:
                    pass

        calls: dict[str, Callable[[], Any]] = {
            "kernel.wait_for(...), at once": lambda: kernel.wait_for(state),
            "iopub.subscribe(), in and out": block,
            "gateway.kernels.get(...)": lambda: gateway.kernels.get(kernel_id),
            "kernel.kernel_info()": kernel.kernel_info,
            "kernel.execute('1')": lambda: kernel.execute("1"),
            "kernel.stream('1'), read to its end": stream,
        }
        for _ in range(count):
            _use_reads(kernel, samples)
            for name, call in calls.items():
                kernel.wait_for(state)
                started = time.perf_counter()
                call()
                samples[name].append(time.perf_counter() - started)
        for _ in range(max(1, count // 5)):
            with kernel.stream(PRINTING) as outputs:
                next(outputs)
                kernel.wait_for(state)
                started = time.perf_counter()
                seen = len(list(outputs))
                samples[READING].append((time.perf_counter() - started) / seen)
    return samples


def _use_reads(kernel: Any, samples: Samples) -> None:
    hb, iopub = kernel.hb, kernel.iopub
    reads: dict[str, Callable[[], object]] = {
        "kernel.state": lambda: kernel.state,
        "kernel.hb.verdict": lambda: hb.verdict,
        "iopub.statistics()": lambda: iopub.statistics(),  # noqa: PLW0108 - a bound method would save a look-up
    }
    for name, read in reads.items():
        times = CALLS[name][1]
        started = time.perf_counter()
        for _ in range(times):
            read()
        samples[name].append((time.perf_counter() - started) / times)


def run_on_trio(open_gateway: Callable[..., Any], *arguments: Any) -> Samples:
    """Run on Trio."""
    return trio.run(use_async, open_gateway, *arguments)


def run_on_asyncio(loop: Callable[[], asyncio.AbstractEventLoop], *arguments: Any) -> Samples:
    """Run on asyncio or uvloop."""
    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(use_async(trio_gateway.anyio.open_gateway, *arguments))


FACES: dict[str, Callable[..., Samples]] = {
    "trio": lambda *arguments: run_on_trio(trio_gateway.open_gateway, *arguments),
    "anyio on trio": lambda *arguments: run_on_trio(trio_gateway.anyio.open_gateway, *arguments),
    "asyncio": lambda *arguments: run_on_asyncio(asyncio.new_event_loop, *arguments),
    "uvloop": lambda *arguments: run_on_asyncio(uvloop.new_event_loop, *arguments),
    "blocking": use_blocking,
}


class Kernels:
    """A gateway of the benchmark's own, in a Trio of its own: the faces under test share nothing with it but the processor."""

    def __init__(self, stack: ExitStack) -> None:
        started = threading.Event()
        self._end = trio.Event()
        thread = threading.Thread(target=trio.run, args=(self._serve, started))
        thread.start()
        started.wait()
        stack.callback(thread.join)
        stack.callback(self._token.run_sync_soon, self._end.set)

    async def _serve(self, started: threading.Event) -> None:
        self._token = trio.lowlevel.current_trio_token()
        async with trio_gateway.open_local_gateway() as gateway, gateway.start_kernel() as kernel:
            await kernel.execute("1")
            self.where = (gateway.url, gateway.config.auth_token, kernel.id)
            started.set()
            await self._end.wait()


def main() -> None:
    """Print the machine, then for each call and face a line of JSON: median, 99th percentile, and what is added to Trio's."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=20, help="how often the faces take turns")
    parser.add_argument("--count", type=int, default=25, help="how often each call is made in a turn")
    options = parser.parse_args()
    versions = {name: version(name) for name in ("trio-gateway", "trio", "anyio", "uvloop")}
    machine = {"python": platform.python_version(), "machine": platform.machine(), "system": platform.system()}
    print(json.dumps({**machine, "rounds": options.rounds, "count": options.count, **versions}))

    samples: dict[str, Samples] = {face: defaultdict(list) for face in FACES}
    with ExitStack() as stack:
        kernels = Kernels(stack)
        for number in range(options.rounds + 1):
            for face, run in FACES.items():
                for call, seconds in run(*kernels.where, options.count).items():
                    if number:  # the first round warms up
                        samples[face][call] += seconds
            print(f"round {number} of {options.rounds}", file=sys.stderr)
    for call in CALLS:
        native = _summary(samples["trio"][call])
        for face in FACES:
            found = _summary(samples[face][call])
            added = {f"added_{name}": round(found[name] - native[name], 2) for name in found}
            print(json.dumps({"call": call, "face": face, **found, **added, "unit": "µs"}, ensure_ascii=False))


def _summary(seconds: list[float]) -> dict[str, float]:
    ordered = sorted(seconds)
    p99 = ordered[min(len(ordered) - 1, int(len(ordered) * 0.99))]
    return {"median": round(statistics.median(ordered) * 1e6, 2), "p99": round(p99 * 1e6, 2)}


if __name__ == "__main__":
    main()
