"""Tools of the sweeps: cancel at the nth step, look who is left, and run so that a seed says everything."""

from __future__ import annotations

import random
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest import mock

import trio
import trio.testing
from trio._core import _run  # its choice of tasks: there is no public place

__all__ = ["CancelAtStep", "Seeded", "run_seeded", "service_tasks"]


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


class Seeded:
    """A block in which all that is left to chance comes from a seed: the order of ready tasks, which Trio shuffles, and jitter.

    It may be entered again, and goes on where it was. Trio's own hook for this is private: it is what its plugin for hypothesis
    uses.
    """

    def __init__(self, seed: int) -> None:
        self._order = random.Random(seed).getstate()
        source = random.Random(seed)
        real = random.Random

        class FromSource(real):
            def __init__(self, seed: object = None) -> None:
                super().__init__(source.random() if seed is None else seed)  # type: ignore[arg-type]

        self._random = FromSource

    def __enter__(self) -> None:
        self._stack = ExitStack()
        self._stack.enter_context(mock.patch.object(_run, "_ALLOW_DETERMINISTIC_SCHEDULING", new=True))
        self._stack.enter_context(mock.patch.object(random, "Random", self._random))
        _run._r.setstate(self._order)

    def __exit__(self, *ignored: object) -> None:
        self._order = _run._r.getstate()
        self._stack.close()


def run_seeded(function: Callable[..., Awaitable[Any]], *args: Any, seed: int) -> Any:
    """Run in virtual time, with everything that is left to chance taken from a seed."""
    with Seeded(seed):
        return trio.run(function, *args, clock=trio.testing.MockClock(autojump_threshold=0))
