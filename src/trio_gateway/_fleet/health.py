"""Whether a gateway of a fleet can be used, and when it is asked again: pure, `now` and chance come in as arguments.

The one idea: a gateway is left out for one of two reasons. It does not answer: then it is asked again after a pause that grows.
Or it answers, and a start there failed: then starts go elsewhere for a while, if they can.
"""

from __future__ import annotations

import math
from typing import Final, Literal

from .._errors import (
    AuthenticationError,
    GatewayError,
    GatewayHTTPError,
    HubServerNotRunningError,
    InvalidInputError,
)
from .._protocol.retry import RandomSource, backoff

__all__ = ["Health", "is_absent", "is_of_the_gateway"]

PAUSE_BASE: Final = 0.5
"""The longest pause after the first failure, in seconds; it doubles with each further one."""
PAUSE_LIMIT: Final = 30.0
"""The longest pause of all, in seconds."""
_NOT_GATEWAYS: Final = frozenset({408, 502, 503, 504})
"""Statuses that something before a gateway answers with."""


def is_absent(error: GatewayError) -> bool:
    """Whether an error of a question says that the gateway can't be used: it does not answer, or refuses us.

    A gateway that answers with an error of its own is there: Kernel Gateway says 500 to a list while a kernel starts.
    """
    if not isinstance(error, GatewayHTTPError) or isinstance(error, (AuthenticationError, HubServerNotRunningError)):
        return True
    return not error.from_gateway or error.status_code in _NOT_GATEWAYS


def is_of_the_gateway(error: GatewayError) -> bool:
    """Whether another gateway may do what one has failed to do: what is wrong is not what the caller asked for."""
    return not isinstance(error, InvalidInputError)


class Health:
    """What is known of one gateway.

    Args:
        rng: gives the pauses their jitter.
    """

    def __init__(self, rng: RandomSource) -> None:
        self._rng = rng
        self._absences = 0
        self._failures = 0
        self.looked_at = -math.inf
        """When it was asked last."""
        self._not_before = -math.inf
        self.state: Literal["unknown", "up", "down"] = "unknown"
        """Whether it answers."""
        self.reason = "it has not answered yet"
        """Why it can't be used, or why its last start failed; `""` where all is well."""
        self.look_again_at = -math.inf
        """When it is to be asked again, if it is not up."""

    def is_stale(self, now: float, seconds: float) -> bool:
        """Whether what is known is older than so many seconds."""
        return now > self.looked_at + seconds

    def is_failing(self, now: float) -> bool:
        """Whether it answers, and starts are better tried elsewhere."""
        return self.state == "up" and now < self._not_before

    def answered(self, now: float) -> bool:
        """It has answered a question; say whether that is news."""
        news = self.state != "up"
        self.state, self.looked_at, self._absences = "up", now, 0
        if news:
            self._failures, self._not_before, self.reason = 0, -math.inf, ""
        return news

    def absent(self, reason: str, now: float) -> bool:
        """It can't be used; say whether that is news."""
        news = self.state != "down"
        self._absences += 1
        self.state, self.reason, self.looked_at = "down", reason, now
        self.look_again_at = now + backoff(self._absences, base=PAUSE_BASE, limit=PAUSE_LIMIT, rng=self._rng)
        return news

    def start_failed(self, reason: str, now: float) -> None:
        """A start there has failed, for a reason of the gateway's."""
        if now < self._not_before:  # of starts that ran side by side one counts
            return
        self._failures += 1
        self._not_before = now + backoff(self._failures, base=PAUSE_BASE, limit=PAUSE_LIMIT, rng=self._rng)
        if self.state == "up":
            self.reason = reason

    def started(self) -> None:
        """A kernel has started there."""
        self._failures, self._not_before = 0, -math.inf
        if self.state == "up":
            self.reason = ""
