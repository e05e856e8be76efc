"""How long a run still takes: from what the last run took, corrected by what this one has taken so far.

Pure: it is given times and asks no clock.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

Step = tuple[str, str]
"""A case and a client."""
DEFAULT = 3.0
"""Seconds that a step is thought to take of which nothing is known."""


class Progress:
    """The steps of a run, some of them done.

    Args:
        steps: what is to be done. A step that is done several times stands there several times.
        known: what steps took in another run, in seconds.
    """

    def __init__(self, steps: Sequence[Step], known: Mapping[Step, float]) -> None:
        self._left = list(steps)
        self._known = known
        self._learned: dict[Step, float] = {}
        self._taken = self._expected = 0.0

    def took(self, step: Step, seconds: float) -> None:
        """Note that a step was done, or 0 seconds for one that was left out."""
        self._left.remove(step)
        if seconds > 0:
            self._learned[step] = seconds
            self._taken += seconds
            self._expected += self._known.get(step, DEFAULT)
        else:
            self._learned[step] = 0.0

    def left(self) -> float:
        """Return how many seconds are left, as far as can be said."""
        slower = self._taken / self._expected if self._expected else 1.0
        return sum(self._learned.get(step, self._known.get(step, DEFAULT) * slower) for step in self._left)


def shown(seconds: float) -> str:
    """Return a time that is left as text: minutes, below two of them seconds."""
    return f"{seconds:.0f} s left" if seconds < 120 else f"{seconds / 60:.0f} min left"
