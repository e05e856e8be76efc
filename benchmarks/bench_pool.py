"""What a lease of a pool costs: of a warm kernel on a real gateway, beside a kernel that is started; and on the fake.

The kernel of a lease is taken as it is (`reuse="as-is"`), so that what is measured is the hand-out and not the next start. Each
is measured twice: of a kernel that was heard of in the last second, which is handed out unasked, and of one that is asked first.
What a warm kernel weighs is what this process allocates for it; the fake that has the kernels is a process of its own.
"""

from __future__ import annotations

import argparse
import gc
import json
import subprocess
import sys
import time
import tracemalloc
from collections.abc import Sequence

import trio

import trio_gateway
from trio_gateway.testing import FakeGateway

ASKED_AFTER = 1.1
"""After so many seconds of silence a kernel is asked before it is handed out."""


def summed(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "median_ms": round(ordered[len(ordered) // 2] * 1e3, 3),
        "p99_ms": round(ordered[min(int(len(ordered) * 0.99), len(ordered) - 1)] * 1e3, 3),
    }


async def lease_warm(leases: int, *, asked: int, cold: int) -> dict[str, dict[str, float]]:
    """Measure on a local gateway."""
    found: dict[str, dict[str, float]] = {}
    async with trio_gateway.open_local_gateway() as gateway:
        seconds: list[float] = []
        for _ in range(cold):
            begun = time.perf_counter()
            async with gateway.start_kernel("python3") as kernel:
                await kernel.kernel_info()
                seconds.append(time.perf_counter() - begun)
        found["start_kernel"] = summed(seconds)
        async with gateway.open_pool("python3", size=2, warm=1, reuse="as-is") as pool:
            await pool.wait_ready()
            for name, count, pause in (("lease, heard of lately", leases, 0.0), ("lease, asked first", asked, ASKED_AFTER)):
                seconds.clear()
                for _ in range(count):
                    await trio.sleep(pause)
                    begun = time.perf_counter()
                    async with pool.kernel() as kernel:
                        seconds.append(time.perf_counter() - begun)
                        if not pause:
                            await kernel.execute("1")
                found[name] = summed(seconds)
    return found


async def lease_on_fake(leases: int) -> dict[str, float]:
    """Lease on the fake, where each kernel is handed out unasked or asked as a real one.

    Returns:
        How many leases a second there are, and what of the processor's time one takes, the fake's own work included.
    """
    async with FakeGateway() as fake, fake.open() as gateway, gateway.open_pool(size=1, warm=1, reuse="as-is") as pool:
        await pool.wait_ready()
        begun, worked = time.perf_counter(), time.process_time()
        for _ in range(leases):
            async with pool.kernel():
                pass
        taken, worked = time.perf_counter() - begun, time.process_time() - worked
        return {"leases a second": round(leases / taken), "processor_ms": round(worked / leases * 1e3, 3)}


async def serve_fake() -> None:
    """Be a fake gateway on a port, for another process: say where, and go on until that has closed our stdin."""
    async with FakeGateway() as fake, fake.listen() as url:
        print(json.dumps({"url": url, "auth_token": fake.token}), flush=True)
        await trio.to_thread.run_sync(sys.stdin.read)


async def weigh(url: str, auth_token: str, kernels: int) -> float:
    """Return how many bytes this process takes for a warm kernel."""
    async with trio_gateway.open_gateway(url, auth_token=auth_token) as gateway:
        async with gateway.open_pool(size=2, warm=2) as first:
            await first.wait_ready()
            gc.collect()
            tracemalloc.start()
            async with gateway.open_pool(size=kernels, warm=kernels, starts_at_once=8) as pool:
                await pool.wait_ready()
                gc.collect()
                taken, _ = tracemalloc.get_traced_memory()
                tracemalloc.stop()
                return taken / kernels


def weigh_beside_fake(kernels: int) -> float:
    """Weigh, with the fake in a process of its own."""
    command = [sys.executable, "-m", "benchmarks.bench_pool", "--serve-fake"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
        assert server.stdout is not None
        where = json.loads(server.stdout.readline())
        try:
            return trio.run(lambda: weigh(where["url"], where["auth_token"], kernels))
        finally:
            assert server.stdin is not None
            server.stdin.close()


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=200, help="how many leases are measured (200)")
    parser.add_argument("--asked", type=int, default=30, help="how many of kernels that are asked first (30)")
    parser.add_argument("--cold", type=int, default=10, help="how many starts without a pool (10)")
    parser.add_argument("--kernels", type=int, default=50, help="how many warm kernels are weighed (50)")
    parser.add_argument("--serve-fake", action="store_true", help="be the fake that such a run weighs beside")
    given = parser.parse_args()
    if given.serve_fake:
        trio.run(serve_fake)
        return
    found: dict[str, object] = dict(trio.run(lambda: lease_warm(given.leases, asked=given.asked, cold=given.cold)))
    found["lease on the fake"] = trio.run(lease_on_fake, 10 * given.leases)
    found["bytes of a warm kernel"] = round(weigh_beside_fake(given.kernels))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
