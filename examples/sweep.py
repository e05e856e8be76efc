"""A parameter sweep on four kernels, with a progress bar: `python examples/sweep.py`. It needs the extras `local` and `cli`."""

from __future__ import annotations

import sys

import trio
from rich.console import Console
from rich.progress import Progress

import trio_gateway

RATES = [2.5, 2.9, 3.2, 3.5, 3.7, 3.9]
SETUP = """
def states(rate):  # of the logistic map, once it has settled
    x = 0.5
    for _ in range(2000):
        x = rate * x * (1 - x)
    seen = set()
    for _ in range(400):
        x = rate * x * (1 - x)
        seen.add(round(x, 6))
    return len(seen)
"""


async def main() -> None:
    """Print for each rate how many states there are; the bar goes to standard error."""
    found: dict[str, str] = {}
    codes = [f"states({rate})" for rate in RATES]
    console = Console(file=sys.stderr)
    async with trio_gateway.open_local_gateway() as gateway:
        # Each kernel is used again and again: what `init` has set up is there for all codes.
        async with gateway.open_pool("python3", size=4, init=SETUP, reuse="as-is") as pool:
            with Progress(console=console) as progress:
                bar = progress.add_task("rates", total=len(codes))
                async for code, result in pool.map(codes, as_completed=True):
                    found[code] = result.raise_for_error().text or ""
                    progress.advance(bar)
    for code in codes:  # they came in the order in which they ended
        print(code, "=", found[code])


if __name__ == "__main__":
    trio.run(main)
