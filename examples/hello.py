"""The library in one program: start a gateway, run code, read output as it comes, stop what runs too long.

Run it with `python examples/hello.py`; it needs the extra `local`.
"""

from __future__ import annotations

import trio

import trio_gateway


async def main() -> None:
    """Use one kernel of a gateway that lives as long as its block."""
    async with trio_gateway.open_local_gateway() as gateway, gateway.start_kernel("python3") as kernel:
        # A result is what the code printed, showed and returned; an error in the code is a result too.
        result = await kernel.execute("6 * 7")
        print("text:", result.text)

        # Outputs as they arrive, each of its own type.
        async with kernel.stream("for n in range(3): print('line', n)\n'done'") as outputs:
            async for output in outputs:
                match output:
                    case trio_gateway.Stream(text=text):
                        print(text, end="")
                    case trio_gateway.ExecuteResult(data=data):
                        print("result:", data["text/plain"])
                    case _:
                        print("something else:", output)

        # An error of the code is raised only where it is asked for.
        result = await kernel.execute("1 / 0")
        print("status:", result.status)
        try:
            result.raise_for_error()
        except trio_gateway.ExecutionError as error:
            print("error:", error.ename, "-", error.evalue)

        # Cancelled here means interrupted there: the kernel is free again for the next request.
        with trio.move_on_after(1) as scope:
            await kernel.execute("while True: pass")
        print("cancelled:", scope.cancelled_caught)
        result = await kernel.execute("print('still here')")
        print(result.text, end="")
    # Here the kernel is shut down and the gateway's process has ended, whatever happened above.


if __name__ == "__main__":
    trio.run(main)
