"""What a caller sees of a fault: run code, break something when it has begun, and note what came of it, and when."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import attrs
import pytest
import trio

from trio_gateway import ExecutionResult, GatewayError

from .faces import Meeting

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
    """From the fault until then, or from the code's start where nothing broke."""
    numbers: list[int] = attrs.field(factory=list)
    """What was printed, as it came."""

    def __str__(self) -> str:
        if self.error is not None:
            return named(self.error)
        assert self.result is not None
        gaps = f", gaps: {self.result.output_gaps}" if self.result.output_gaps else ""
        return f"the result, {len(self.numbers)} lines{gaps}"


async def watched(kernel: Any, code: str, meeting: Meeting | None = None) -> Seen:
    """Run code; when its first output has come, come to the meeting that breaks things; return when both have ended.

    Args:
        kernel: of whatever face.
        code: what to run.
        meeting: of all who watch.
    """
    meeting = meeting or Meeting(parties=1)
    seen, begun = Seen(), trio.Event()
    started = trio.current_time()

    async def break_things() -> None:
        await begun.wait()
        await meeting.arrive()

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
        seen.seconds = trio.current_time() - (meeting.at or started)
        begun.set()
    return seen


def note(request: pytest.FixtureRequest, what: str, seen: Mapping[str, Seen] | str, seconds: float | str, left: str) -> None:
    """Note a row of the table of faults: it is shown at the end of the run, and stands in docs/clusters.md as it was measured.

    Args:
        request: the test's.
        what: what breaks.
        seen: what the caller saw; or what was seen on each face, of which the row has what differs.
        seconds: after how long; of what was seen on each face it is known.
        left: what is left on the hosts.
    """
    if not isinstance(seen, str):
        times = sorted(each.seconds for each in seen.values())
        seconds = f"{times[0]:.1f} s" if times[-1] - times[0] < 0.1 else f"{times[0]:.1f} to {times[-1]:.1f} s"
        told = {face: str(each) for face, each in seen.items()}
        seen = min(told.values()) if len(set(told.values())) == 1 else "; ".join(f"{face}: {each}" for face, each in told.items())
    elif not isinstance(seconds, str):
        seconds = f"{seconds:.1f} s"
    request.node.user_properties.append(("fault", json.dumps([what, seen, seconds, left])))
