"""A DataFrame there and back: `python examples/frames.py`. It needs the extras `local` and `python`, and pandas on both sides."""

from __future__ import annotations

import pandas as pd
import trio

import trio_gateway
from trio_gateway.python import open_python


def totals(frame: pd.DataFrame, *, of: str) -> pd.DataFrame:
    """Sum by region. This runs in the kernel: it goes there by value."""
    return frame.groupby("region", observed=True).agg({of: "sum"})


async def main() -> None:
    """Push a frame, work on it there, pull what is left of it."""
    frame = pd.DataFrame(
        {
            "region": pd.Categorical(["north", "south", "north"]),
            "when": pd.to_datetime(["2026-01-01", "2026-01-02", "2026-01-03"], utc=True),
            "sold": [3, 5, 4],
        }
    )
    async with trio_gateway.open_local_gateway() as gateway, gateway.start_kernel("python3") as kernel:
        async with open_python(kernel) as python:
            await python.push(frame=frame)
            back = await python.pull("frame")
            print("the same:", back.equals(frame), [str(kind) for kind in back.dtypes])
            await kernel.execute("frame['sold'] *= 10")  # code of any kind sees it
            print((await python.call(totals, python.name("frame"), of="sold")).to_string())


if __name__ == "__main__":
    trio.run(main)
