"""Save the plots of a kernel as files: `python examples/plots.py FOLDER`. It needs the extra `local`, and matplotlib there."""

from __future__ import annotations

import sys

import trio

import trio_gateway

CODE = """
import matplotlib.pyplot as plt
for power in (1, 2, 3):
    figure, axes = plt.subplots(figsize=(4, 2.5), layout="constrained")
    axes.plot([n ** power for n in range(20)], marker=".")
    axes.set_title(f"n to the power of {power}")
    plt.show()
"""


async def main(folder: trio.Path) -> None:
    """Run the code, and write each plot as a PNG when it comes."""
    number = 0
    async with trio_gateway.open_local_gateway() as gateway, gateway.start_kernel("python3") as kernel:
        async with kernel.stream(CODE) as outputs:
            async for output in outputs:
                if isinstance(output, trio_gateway.DisplayData) and "image/png" in output.data:
                    number += 1
                    path = folder / f"plot-{number}.png"
                    await path.write_bytes(output.bytes_of("image/png"))
                    print(path.name)
        outputs.result.raise_for_error()


if __name__ == "__main__":
    trio.run(main, trio.Path(sys.argv[1] if len(sys.argv) > 1 else "."))
