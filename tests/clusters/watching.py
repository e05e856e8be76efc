"""What a caller sees of a fault: run code, break something when it has begun, and note what came of it, and when."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import attrs
import pytest
import trio

from trio_gateway import ExecutionResult, GatewayError

__all__ = ["COUNTING", "Seen", "counting", "named", "note", "watched"]

COUNTING = """
import time
runs = globals().get("runs", 0) + 1
for number in range({steps}):
    print(number, flush=True)
    time.sleep(0.25)
runs
"""
"""Prints a number four times a second; its value says how often it has run in this kernel."""


def counting(seconds: float) -> str:
    """Return code that counts for so long."""
    return COUNTING.format(steps=round(seconds * 4))


def named(error: GatewayError) -> str:
    """Return what an error is, in a word or two."""
    return f"{type(error).__name__} {getattr(error, 'status_code', '')}".rstrip()


@attrs.define
class Seen:
    """What a caller saw."""

    result: ExecutionResult | None = None
    error: GatewayError | None = None
    seconds: float = 0.0
    """From the fault until then."""
    numbers: list[int] = attrs.field(factory=list)
    """What was printed, as it came."""

    def __str__(self) -> str:
        if self.error is not None:
            return named(self.error)
        assert self.result is not None
        gaps = f", gaps: {self.result.output_gaps}" if self.result.output_gaps else ""
        return f"the result, {len(self.numbers)} lines{gaps}"


async def watched(kernel: Any, code: str, *faults: Callable[[], object] | float) -> Seen:
    """Run code; when its first output has come, do what breaks things, in a thread; return when both have ended.

    Args:
        kernel: of whatever face.
        code: what to run.
        faults: one after the other; a number is a pause in seconds.
    """
    seen, begun, at = Seen(), trio.Event(), [0.0]

    async def break_things() -> None:
        await begun.wait()
        at[0] = trio.current_time()
        for fault in faults:
            if callable(fault):
                await trio.to_thread.run_sync(fault)
            else:
                await trio.sleep(fault)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(break_things)
        try:
            async with kernel.stream(code) as outputs:
                async for output in outputs:
                    begun.set()
                    if hasattr(output, "text") and type(output).__name__ == "Stream":
                        seen.numbers += map(int, output.text.split())
            seen.result = outputs.result
        except GatewayError as error:
            seen.error = error
        seen.seconds = trio.current_time() - at[0]
        begun.set()
    return seen


def note(request: pytest.FixtureRequest, what: str, seen: object, seconds: float, left: str) -> None:
    """Note a row of the table of faults: it is shown at the end of the run, and stands in docs/clusters.md as it was measured."""
    request.node.user_properties.append(("fault", json.dumps([what, str(seen), f"{seconds:.1f} s", left])))
