"""Tools of the sweeps: cancel at the nth step, look who is left, and run so that a seed says everything."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Any
from unittest import mock

import trio
import trio.testing

__all__ = ["CancelAtStep", "run_seeded", "service_tasks"]


class CancelAtStep(trio.abc.Instrument):
    """Cancels a scope right before the nth step that any task takes: wherever the operation then waits, it is cancelled there.

    A step is what a task does between two checkpoints, so every state that another task can see is tried, and with the
    operation's own steps all of its own checkpoints.
    """

    def __init__(self, scope: trio.CancelScope, step: int) -> None:
        self._scope = scope
        self._step = step
        self.steps = 0

    def before_task_step(self, task: trio.lowlevel.Task) -> None:
        self.steps += 1
        if self.steps == self._step:
            self._scope.cancel()

    @contextmanager
    def watching(self) -> Iterator[None]:
        trio.lowlevel.add_instrument(self)
        try:
            yield
        finally:
            trio.lowlevel.remove_instrument(self)


def service_tasks() -> set[str]:
    """Return all tasks but those of the fake."""
    found: set[str] = set()
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]
            if not task.name.startswith("fake."):
                found.add(f"{task.name} {id(task):x}")
    return found


def run_seeded(function: Callable[..., Awaitable[Any]], *args: Any, seed: int) -> Any:
    """Run in virtual time, with everything that is left to chance taken from a seed: Trio's choice of tasks, and jitter.

    Trio's own hook for this is private: it is what its plugin for hypothesis uses.
    """
    from trio._core import _run

    source = random.Random(seed)
    real = random.Random

    class Seeded(real):
        def __init__(self, seed: object = None) -> None:
            super().__init__(source.random() if seed is None else seed)  # type: ignore[arg-type]

    _run._r.seed(seed)
    with mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True), mock.patch.object(random, "Random", Seeded):
        return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))
