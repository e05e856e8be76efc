"""Which of a gateway's addresses is asked: a pure state machine, which gets `now` as an argument.

The one idea: one address is in use until it fails, so that a gateway with several replicas sees one client at one of them. Then
the others are asked, those first whose last failure is longest ago; which one answers is in use from then on. No address is ever
left out: what is asked at all of them fails only where none answers.
"""

from __future__ import annotations

import math
from collections.abc import Collection

__all__ = ["AddressBook"]


class AddressBook:
    """Which of a gateway's addresses is in use, which have failed, and when.

    Args:
        count: how many there are, 1 or more. They are known by their numbers, from 0.
    """

    __slots__ = ("_answered", "_failed", "current")

    current: int
    """The address in use."""

    def __init__(self, count: int) -> None:
        self.current = 0
        self._failed = [-math.inf] * count
        self._answered = [-math.inf] * count

    def __len__(self) -> int:
        return len(self._failed)

    def __repr__(self) -> str:
        return f"<AddressBook {self.current} of {len(self)}>"

    def following(self, tried: Collection[int]) -> int | None:
        """Return the address to ask next, or None where all were.

        Args:
            tried: those that were asked already, in vain.
        """
        if self.current not in tried:
            return self.current
        count = len(self)
        left = [index % count for index in range(self.current + 1, self.current + count) if index % count not in tried]
        return min(left, key=self._failed.__getitem__, default=None)  # of equal ones the next in order

    def answered(self, index: int, now: float) -> None:
        """Note that an address has answered: it has not failed any more.

        Args:
            index: the address.
            now: the time, in seconds of any clock that only goes forward.
        """
        self._failed[index] = -math.inf
        self._answered[index] = now

    def failed(self, index: int, began: float, now: float) -> bool:
        """Note that an address did not answer; if it was in use, the next one is. One that has answered anything since counts as
        there.

        Args:
            index: the address.
            began: when it was asked.
            now: the time.

        Returns:
            Whether another address is in use now.
        """
        if self._answered[index] > began:
            return False  # it answers others: what did not come is about what was asked
        self._failed[index] = now
        if index != self.current or len(self) == 1:
            return False
        following = self.following((index,))
        assert following is not None
        self.current = following
        return True
