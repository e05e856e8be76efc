"""What the state machines for Hypothesis share: a rule begins something, lets a little time pass, and then all must be well."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import trio
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, rule

from tools.stepped_trio import SteppedTrio

__all__ = ["PAUSES", "SteppedMachine"]

PAUSES = st.sampled_from([0.0, 0.0, 0.001, 0.5, 20.0])
"""How long after a rule the next one is, in seconds: often at once, before its tasks have begun."""


class SteppedMachine(RuleBasedStateMachine):
    """Its `begin`, which is the subclass's, makes `steps` and `world`, which has `check` and at the end `finish`."""

    steps: SteppedTrio
    world: Any
    fine = False
    """Whether nothing has been found yet."""

    def _after(self, pause: float, act: Callable[[], object] = lambda: None) -> None:
        async def step() -> None:
            act()
            await trio.sleep(pause)
            self.world.check()

        self.fine = False
        self.steps.call(step)
        self.fine = True

    @rule(seconds=st.sampled_from([1.0, 15.0, 100.0]))
    def wait(self, seconds: float) -> None:
        self._after(seconds)

    def teardown(self) -> None:
        """Come to the end, as the last rule."""
        if not hasattr(self, "steps"):
            return
        try:
            if self.fine:
                self.steps.call(self.world.finish)
        finally:
            self.steps.close()
