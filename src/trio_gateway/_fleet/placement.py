"""On which gateway a kernel starts: pure, from what is known of those that can start it.

The one idea: who can start it is decided before; here one of them is taken. So a rule of a user's own is a function of the same
values, and nothing here knows why another gateway is left out.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Final, Literal, TypeAlias

from .._errors import InvalidInputError
from .options import GatewayStatus

__all__ = ["Placement", "Placer", "make_placer"]

Placement: TypeAlias = Literal["least-kernels", "round-robin"] | Callable[[Sequence[GatewayStatus]], GatewayStatus | str]
"""How a fleet takes the gateway for a start: by a rule, or by a function of those that can start it."""
Placer: TypeAlias = Callable[[Sequence[GatewayStatus]], str]
"""Returns the name of the gateway to start on, out of one or more."""


class _LeastKernels:
    """Takes the gateway with the fewest kernels for its weight; of several the one that was taken longest ago."""

    def __init__(self) -> None:
        self._taken: dict[str, int] = {}
        self._count = 0

    def __call__(self, candidates: Sequence[GatewayStatus]) -> str:
        # With the one that is to come: of empty gateways the one with the most weight comes first.
        best = min(candidates, key=lambda one: ((one.kernels + 1) / one.weight, self._taken.get(one.name, 0)))
        self._count += 1
        self._taken[best.name] = self._count
        return best.name


class _RoundRobin:
    """Takes each in its turn, as often as its weight says, and spread evenly."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def __call__(self, candidates: Sequence[GatewayStatus]) -> str:
        # Each gains its weight, and who is taken pays for all: so turns are neither saved up nor lost while others are left out.
        for one in candidates:
            self._credit[one.name] = self._credit.get(one.name, 0.0) + one.weight
        best = max(candidates, key=lambda one: self._credit[one.name])
        self._credit[best.name] -= sum(one.weight for one in candidates)
        return best.name


_RULES: Final[Mapping[str, Callable[[], Placer]]] = {"least-kernels": _LeastKernels, "round-robin": _RoundRobin}


def make_placer(placement: object) -> Placer:
    """Make what takes the gateway for each start of one fleet.

    Args:
        placement: the rule's name, or a function.

    Raises:
        InvalidInputError: there is no such rule; and later, when a function has given what is none of its candidates.
    """
    if isinstance(placement, str) and placement in _RULES:
        return _RULES[placement]()
    expected = f"{' or '.join(repr(name) for name in _RULES)}, or a function of a list of GatewayStatus that returns one of them"
    if not callable(placement):
        raise InvalidInputError("placement", placement, expected)
    if inspect.iscoroutinefunction(placement):
        raise InvalidInputError("placement", placement, f"{expected}; an async function would never be awaited")
    function: Callable[[Sequence[GatewayStatus]], object] = placement

    def place(candidates: Sequence[GatewayStatus]) -> str:
        found = function(tuple(candidates))
        name = found.name if isinstance(found, GatewayStatus) else found
        if not any(name == one.name for one in candidates):
            names = ", ".join(repr(one.name) for one in candidates)
            raise InvalidInputError("placement", found, f"a function that returns one of what it was given: {names}")
        return str(name)

    return place
