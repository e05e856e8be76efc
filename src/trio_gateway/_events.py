"""What the library tells about its own work: one value for each request and each action, and the shape of a listener.

An event never carries a secret: its URL and path lose their user information and query here.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias
from urllib.parse import urlsplit, urlunsplit

import attrs

__all__ = ["EventSink", "GatewayEvent", "ignore"]


def _without_secrets(url: str) -> str:
    try:
        parts = urlsplit(url)
        _ = parts.port
    except ValueError:
        return ""
    if not parts.netloc:
        return ""  # no URL, so nobody knows which part of it may be shown
    return urlunsplit((parts.scheme, parts.netloc.rpartition("@")[2], parts.path, "", ""))


def _without_query(path: str) -> str:
    return path.partition("?")[0].partition("#")[0]


@attrs.frozen(kw_only=True)
class GatewayEvent:
    """Something the library did: one request with all its attempts, one kernel action, one change of a connection."""

    kind: str
    """What it is about: `"request"`, `"kernel"`, `"session"`, `"connection"`, `"address"`, …"""
    action: str
    """What was done, such as `"start"`, `"restart"`, `"cull"`; for a request its method in lower case."""
    status: Literal["success", "error"] = attrs.field(validator=attrs.validators.in_(("success", "error")))
    """How it ended."""
    status_code: int | None = None
    """The HTTP status of the last answer; None where there was none."""
    message: str = ""
    """What happened, for a person, without secrets."""
    gateway_url: str = attrs.field(default="", converter=_without_secrets)
    """The gateway's base URL, without user information and query; `""` where it is not known. Of several addresses that of the
    one that was asked."""
    method: str | None = None
    """The HTTP method; None where it was no request."""
    path: str | None = attrs.field(default=None, converter=attrs.converters.optional(_without_query))
    """The request's path without its query; None where it was no request."""
    attempts: int = 1
    """How often it was tried."""
    seconds: float = 0.0
    """How long all attempts took together, in seconds, the pauses between them included."""
    kernel_id: str | None = None
    """The kernel it was about, where it was about one."""
    kernel_name: str | None = None
    """That kernel's kernelspec, where it is known."""


EventSink: TypeAlias = Callable[[GatewayEvent], object]
"""A listener: called in the task that did the work, so it must neither block nor wait. What it returns is ignored."""


def ignore(event: GatewayEvent) -> None:
    """Do nothing with an event: the default sink."""
    del event
