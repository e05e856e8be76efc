"""What the library tells about its own work: one value for each request and each action, and the shape of whoever listens.

An event never carries a secret: its URL and path lose their user information and query here, whoever made them.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal, TypeAlias

import attrs

__all__ = ["EventSink", "GatewayEvent", "ignore"]

# A password may hold "/", "?" and "#" as they are, so everything up to the last "@" goes first, and only then the query.
_USERINFO = re.compile(r"(?<=://).*@", re.DOTALL)


def _without_secrets(url: str) -> str:
    url = _USERINFO.sub("", url)
    return re.split(r"[?#]", url, maxsplit=1)[0]


def _path_only(path: str) -> str:
    return re.split(r"[?#]", path, maxsplit=1)[0]


@attrs.frozen(kw_only=True)
class GatewayEvent:
    """Something the library did: one request with all its attempts, one kernel action, one change of a connection."""

    kind: str
    """What it is about: `"request"`, `"kernel"`, `"session"`, `"connection"`, …"""
    action: str
    """What was done, such as `"start"`, `"restart"`, `"cull"`; for a request its method in lower case."""
    status: Literal["success", "error"]
    """How it ended."""
    status_code: int | None = None
    """The HTTP status of the last answer; None where there was none."""
    message: str = ""
    """What happened, for a person, without secrets."""
    gateway_url: str = attrs.field(default="", converter=_without_secrets)
    """The gateway's base URL, without user information and query."""
    method: str | None = None
    """The HTTP method; None where it was no request."""
    path: str | None = attrs.field(default=None, converter=attrs.converters.optional(_path_only))
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
"""Whoever listens: called in the task that did the work, so it must neither block nor wait. What it returns is ignored."""


def ignore(event: GatewayEvent) -> None:
    """Do nothing with an event: the default sink."""
    del event
