"""Whether the server's clock and this machine's agree. Pure.

The one idea: every answer has the time of the server that made it, the gateway or a proxy before it, to the second.
"""

from __future__ import annotations

from email.utils import parsedate_to_datetime
from typing import Final

from .findings import Finding

__all__ = ["compare_clocks"]

_TOLERATED: Final = 30.0
"""Clocks that are further apart than this are a warning, in seconds: makers of tokens allow for about so much."""


def compare_clocks(date: str | None, *, before: float, after: float) -> Finding:
    """Say how far a server's clock is from this machine's.

    Args:
        date: the answer's header `Date`; None where it has none.
        before: what time it was here when it was asked for, in seconds since the epoch.
        after: what time it was here when it had come.
    """
    try:
        theirs = parsedate_to_datetime(date or "").timestamp()
    except (ValueError, TypeError, OverflowError):
        return Finding("not known: the server does not say what time it is", "skipped")
    # It was made in between, and says whole seconds.
    apart = theirs + 1 - before if theirs + 1 < before else max(theirs - after, 0.0)
    if abs(apart) <= _TOLERATED:
        return Finding("agrees with this machine's")
    detail = f"{abs(apart):.0f} s {'ahead of' if apart > 0 else 'behind'} this machine's"
    advice = "Set both by a time server (NTP): tokens that expire, cookies and certificates are taken for too old or too new."
    return Finding(detail, "warning", advice)
