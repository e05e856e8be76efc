"""What the doctor finds, step by step: values that every part of the examination gives."""

from __future__ import annotations

from typing import Literal, TypeAlias

import attrs

from .._errors import GatewayError

__all__ = ["Check", "Failed", "Finding", "Status"]

Status: TypeAlias = Literal["ok", "warning", "failed", "skipped"]
"""How a step went; a warning is no failure, and what follows is still checked."""


@attrs.frozen
class Check:
    """How one step of the examination went."""

    name: str
    """The step, one of `STEPS`."""
    status: Status
    """How it went."""
    detail: str
    """What was found, in one line and without secrets."""
    advice: str = ""
    """What to do about it; `""` where there is nothing to do."""
    seconds: float = 0.0
    """How long it took."""
    error: Exception | None = attrs.field(default=None, repr=False, eq=False)
    """What a failed step ended with, where it was an exception."""


@attrs.frozen
class Finding:
    """What a step has found."""

    detail: str
    """In one line."""
    status: Status = "ok"
    """How it went."""
    advice: str = ""
    """What to do about it."""


class Failed(Exception):  # never leaves the examination
    """A step failed, and what to do about it is known better than from the error alone."""

    def __init__(self, error: GatewayError, advice: str) -> None:
        super().__init__()
        self.error = error
        self.advice = advice
