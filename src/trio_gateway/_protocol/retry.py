"""When to try again, and after how long: pure functions of how often it failed, the limits, and a random number.

Whether trying again is safe is the caller's knowledge, and it is the caller that sleeps.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from email.utils import parsedate_to_datetime
from typing import Protocol

__all__ = [
    "BACKOFF",
    "IDEMPOTENT_METHODS",
    "RETRIED_STATUS_CODES",
    "RandomSource",
    "backoff",
    "parse_retry_after",
    "reconnect_delay",
    "reconnect_delays",
    "request_delay",
    "was_never_passed_on",
]

BACKOFF = 0.1
"""The longest pause before the first repetition of an HTTP request, in seconds. It doubles each time."""

IDEMPOTENT_METHODS = frozenset({"GET", "HEAD", "DELETE", "OPTIONS", "PUT"})
"""Methods that mean the same when they arrive twice."""

RETRIED_STATUS_CODES = frozenset({429, 502, 503, 504})
"""Answers that come from an overloaded or restarting gateway, or from a proxy in front of it."""


_NOT_PASSED_ON = (
    # HAProxy: no server is up, or none could be connected to (its configuration manual, on the response line).
    "No server is available to handle this request",
    # nginx, which itself says 503 only where a limit or a rule of its own keeps a request back (ngx_http_limit_req_module).
    "503 Service Temporarily Unavailable",
    # Envoy: response flags UH, UF, UO. Its 503 with "connection termination" or "remote reset" comes after the request was sent.
    "no healthy upstream",
    "reset before headers. reset reason: connection failure",
    "reset before headers. reset reason: remote connection failure",
    "reset before headers. reset reason: overflow",
    # Traefik: no server of the service is up.
    "no available server",
)


class RandomSource(Protocol):
    """What is needed of `random.Random`."""

    def random(self) -> float:
        """Return a number from 0 up to and without 1."""
        ...


def backoff(failures: int, *, base: float, limit: float, rng: RandomSource) -> float:
    """Return how long to pause: `base` seconds, doubled with each failure, at most `limit`, of which a random half is taken off.

    The jitter keeps clients that failed together from coming back together.

    Args:
        failures: how often it has failed so far, 1 or more.
        base: the longest pause after the first failure, in seconds.
        limit: the longest pause of all, in seconds.
        rng: gives the jitter.

    Returns:
        Seconds, from half the undisturbed pause to all of it.
    """
    # 2.0**1024 overflows; no pause needs more than 2**60.
    undisturbed = min(limit, base * 2.0 ** min(failures - 1, 60))
    return undisturbed * (1.0 - 0.5 * rng.random())


def request_delay(failures: int, *, limit: float, rng: RandomSource, retry_after: float | None = None) -> float | None:
    """Return how long to pause before an HTTP request is repeated.

    Args:
        failures: how often it has failed so far, 1 or more.
        limit: the longest pause, in seconds.
        rng: gives the jitter.
        retry_after: what the gateway asked for, in seconds, if it did.

    Returns:
        Seconds; None where the gateway asks for more than `limit`: coming back earlier would only be refused again.
    """
    delay = backoff(failures, base=BACKOFF, limit=limit, rng=rng)
    if retry_after is None:
        return delay
    if retry_after > limit:
        return None
    # Never earlier than asked; the jitter is added so that all who were sent away do not return at once.
    return min(limit, retry_after + delay)


def reconnect_delay(failures: int, *, interval: float, interval_max: float, rng: RandomSource) -> float:
    """Return how long to pause before a WebSocket is connected again.

    Args:
        failures: how often connecting has failed in a row, 1 or more.
        interval: the setting `gateway_retry_interval`, in seconds.
        interval_max: the setting `gateway_retry_interval_max`, in seconds.
        rng: gives the jitter.
    """
    return backoff(failures, base=interval, limit=max(interval, interval_max), rng=rng)


def reconnect_delays(*, interval: float, interval_max: float, attempts: int, rng: RandomSource) -> Iterator[float]:
    """Yield the pause before each of so many attempts to connect again.

    Args:
        interval: the setting `gateway_retry_interval`, in seconds.
        interval_max: the setting `gateway_retry_interval_max`, in seconds.
        attempts: the setting `gateway_retry_max`.
        rng: gives the jitter.
    """
    for failures in range(1, attempts + 1):
        yield reconnect_delay(failures, interval=interval, interval_max=interval_max, rng=rng)


def was_never_passed_on(status: int, message: str) -> bool:
    """Say whether no gateway got a request, for certain: the answer is in the words of a balancer that has none to pass it on to.

    A status alone proves nothing. 502 and 504 come also when a request was passed on and its answer did not come (HAProxy), and
    nginx says 502 for both; some proxies say 503 when the connection broke after the request was sent.

    Args:
        status: the answer's status.
        message: what it says, as `parse_error` gives it.
    """
    return status == 503 and any(words in message for words in _NOT_PASSED_ON)


def parse_retry_after(value: str | None, *, now: float) -> float | None:
    """Read a `Retry-After` header: seconds, or a date.

    Args:
        value: the header, if there is one.
        now: the time, in seconds since 1970.

    Returns:
        Seconds from now, 0 or more; None where there is no header or it can't be read.
    """
    if value is None:
        return None
    value = value.strip()
    if re.fullmatch(r"[0-9]{1,12}(\.[0-9]{1,12})?", value):
        return float(value)
    try:
        return max(0.0, parsedate_to_datetime(value).timestamp() - now)
    except (ValueError, TypeError, IndexError, OverflowError):
        return None
