"""Trio step by step: a run that goes on only while it is asked to, led by synchronous code, such as a state machine's rules.

Trio is the guest here, and its host a queue that is worked off until what was asked for is done. Time is virtual, so no thread
waits for anything; chance comes from a seed: the order of ready tasks, which Trio shuffles with it, and jitter.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar

import outcome
import trio
import trio.testing

from .sweep_tools import Seeded

__all__ = ["SteppedTrio"]

Result = TypeVar("Result")


class SteppedTrio:
    """A Trio run in virtual time that stands still between two calls.

    Args:
        seed: says all that is left to chance.
        limit: how long a call may take, in virtual seconds.
    """

    def __init__(self, seed: int, *, limit: float = 100_000.0) -> None:
        self._limit = limit
        self._due: deque[Callable[[], object]] = deque()
        self._seeded = Seeded(seed)
        self._ended: outcome.Outcome[None] | None = None
        self._scope = trio.CancelScope()
        self._nursery: trio.Nursery | None = None
        with self._seeded:
            trio.lowlevel.start_guest_run(
                self._main,
                run_sync_soon_threadsafe=self._due.append,
                run_sync_soon_not_threadsafe=self._due.append,
                done_callback=self._end,
                clock=trio.testing.MockClock(autojump_threshold=0),
            )
            while self._nursery is None:
                self._due.popleft()()

    async def _main(self) -> None:
        self._token = trio.lowlevel.current_trio_token()
        with self._scope:
            async with trio.open_nursery() as self._nursery:
                await trio.sleep_forever()

    def _end(self, ended: outcome.Outcome[None]) -> None:
        self._ended = ended

    def call(self, function: Callable[..., Awaitable[Result]], *args: Any) -> Result:
        """Run a function to its end, in a task of its own; what other tasks do meanwhile, they do.

        Raises:
            trio.TooSlowError: it takes longer than it may.
            BaseException: what the function raises, or what has ended the run.
        """
        results: list[outcome.Outcome[Result]] = []

        async def run() -> None:
            try:
                with trio.fail_after(self._limit):
                    results.append(outcome.Value(await function(*args)))
            except Exception as error:  # noqa: BLE001 - it is the caller's
                results.append(outcome.Error(error))

        assert self._nursery is not None
        self._token.run_sync_soon(partial(self._nursery.start_soon, run, name="steps.call"))
        with self._seeded:
            while not results and self._ended is None:
                self._due.popleft()()
        if results:
            return results[0].unwrap()
        assert self._ended is not None
        self._ended.unwrap()
        raise AssertionError("the run has ended")

    def start_soon(self, function: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Start a task that runs while calls do, from within one. What it raises ends the run."""
        assert self._nursery is not None
        self._nursery.start_soon(function, *args)

    def close(self) -> None:
        """Cancel what is left, all at once, and end the run. What tasks raise then is not looked at."""
        if self._ended is None:
            self._token.run_sync_soon(self._scope.cancel)
            with self._seeded:
                while self._ended is None:
                    self._due.popleft()()
