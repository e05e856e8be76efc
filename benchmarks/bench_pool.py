"""What a lease of a pool costs: of a warm kernel on a real gateway, beside a kernel that is started; and on the fake.

The kernel of a lease is taken as it is (`reuse="as-is"`), so that what is measured is the hand-out and not the next start. Each
is measured twice: of a kernel that was heard of in the last second, which is handed out unasked, and of one that is asked first.
"""

from __future__ import annotations

import argparse
import gc
import json
import time
import tracemalloc
from collections.abc import Sequence

import trio
import trio.testing

import trio_gateway
from trio_gateway.testing import FakeGateway

ASKED_AFTER = 1.1
"""After so many seconds of silence a kernel is asked before it is handed out."""


def summed(seconds: Sequence[float]) -> dict[str, float]:
    """Return the median and the 99th percentile, in milliseconds."""
    ordered = sorted(seconds)
    return {
        "median_ms": round(ordered[len(ordered) // 2] * 1e3, 3),
        "p99_ms": round(ordered[int(len(ordered) * 0.99) - 1] * 1e3, 3),
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


async def lease_on_fake(leases: int) -> float:
    """Return how many leases a second the fake serves, each handed out unasked or asked as a real one."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.open_pool(size=1, warm=1, reuse="as-is") as pool:
        await pool.wait_ready()
        begun = time.perf_counter()
        for _ in range(leases):
            async with pool.kernel():
                pass
        return leases / (time.perf_counter() - begun)


async def weigh(kernels: int) -> float:
    """Return how many bytes a warm kernel takes on our side, the fake's own part not counted."""
    async with FakeGateway() as fake, fake.open() as gateway, gateway.open_pool(size=2, warm=2) as first:
        await first.wait_ready()
        gc.collect()
        tracemalloc.start()
        async with gateway.open_pool(size=kernels, warm=kernels, starts_at_once=8) as pool:
            await pool.wait_ready()
            gc.collect()
            snapshot = tracemalloc.take_snapshot()
            tracemalloc.stop()
            ours = [
                statistic.size
                for statistic in snapshot.statistics("filename")
                if "trio_gateway/testing" not in statistic.traceback[0].filename
            ]
            return sum(ours) / kernels


def main() -> None:
    """Measure, and print what was found as JSON."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--leases", type=int, default=200, help="how many leases are measured (200)")
    parser.add_argument("--asked", type=int, default=30, help="how many of kernels that are asked first (30)")
    parser.add_argument("--cold", type=int, default=10, help="how many starts without a pool (10)")
    parser.add_argument("--kernels", type=int, default=50, help="how many warm kernels are weighed (50)")
    given = parser.parse_args()
    found: dict[str, object] = dict(trio.run(lambda: lease_warm(given.leases, asked=given.asked, cold=given.cold)))
    found["leases a second on the fake"] = round(trio.run(lease_on_fake, 10 * given.leases))
    clock = trio.testing.MockClock(autojump_threshold=0)
    found["bytes of a warm kernel"] = round(trio.run(weigh, given.kernels, clock=clock))
    print(json.dumps(found, indent=2))


if __name__ == "__main__":
    main()
