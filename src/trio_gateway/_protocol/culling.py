"""Which kernels are idle enough to be shut down: a policy, and one pure decision.

The one idea: a kernel is culled only on evidence. What the gateway does not tell (when the kernel was last active, who is
connected) spares it, and so does everything that says that someone uses it.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import datetime
from typing import Any, Final

import attrs

from .._errors import InvalidInputError
from .._models import KernelModel

__all__ = ["CullPolicy", "CullVerdict", "judge", "spec_idle_timeout"]

_WORKING: Final = frozenset({"busy", "restarting"})


def _seconds(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    del instance
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        raise InvalidInputError(attribute.name, value, "seconds, more than 0")


def _truth(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    del instance
    if not isinstance(value, bool):
        raise InvalidInputError(attribute.name, value, "True or False")


def _function(instance: object, attribute: attrs.Attribute[Any], value: Any) -> None:
    del instance
    if value is not None and not callable(value):
        raise InvalidInputError(attribute.name, value, "a function of a KernelModel, or None")


@attrs.frozen(kw_only=True)
class CullPolicy:
    """When idle kernels are shut down by this side: for `open_gateway(cull=...)` and `gateway.kernels.cull()`.

    Never culled is a kernel in which an execution of this gateway object runs or waits, nor one that has no known
    `last_activity`.

    Raises:
        InvalidInputError: a value can't be used.
    """

    idle_timeout: float = attrs.field(validator=_seconds)
    """How long a kernel must have been inactive, in seconds. A kernelspec whose metadata has `cull_idle_timeout` overrides it
    for its kernels, as in Jupyter Server."""
    interval: float = attrs.field(default=300.0, validator=_seconds)
    """How often to look, in seconds. A kernel is culled up to this much later than `idle_timeout` says."""
    cull_busy: bool = attrs.field(default=False, validator=_truth)
    """Whether kernels that work for someone else are culled too, if nothing came of them for so long."""
    cull_connected: bool = attrs.field(default=False, validator=_truth)
    """Whether kernels to which others are connected are culled too. This gateway object's own connections never count."""
    all_listed: bool = attrs.field(default=False, validator=_truth)
    """Whether all kernels that the gateway lists are looked at, those of other clients too; else only those that this
    gateway object started or attached to."""
    only: Callable[[KernelModel], bool] | None = attrs.field(default=None, validator=_function)
    """Asked about each kernel; one for which it gives False is spared, and one for which it raises too."""


@attrs.frozen
class CullVerdict:
    """What becomes of a kernel."""

    cull: bool
    """Whether it is to be shut down."""
    reason: str
    """Why, for a person."""


def judge(
    model: KernelModel,
    policy: CullPolicy,
    *,
    now: datetime,
    idle_timeout: float | None = None,
    own_connections: int = 0,
    in_use: bool = False,
) -> CullVerdict:
    """Decide whether a kernel is culled.

    Args:
        model: the kernel as the gateway describes it.
        policy: what is wanted; its `only` is not asked here.
        now: what time it is for the gateway, with a time zone.
        idle_timeout: what the kernel's kernelspec says in place of the policy, in seconds.
        own_connections: how many of the kernel's connections are ours.
        in_use: whether an execution of ours runs or waits.

    Returns:
        The verdict.
    """
    if in_use:
        return CullVerdict(False, "in use here")
    if model.execution_state == "dead":
        return CullVerdict(True, "dead")
    if model.last_activity is None:
        return CullVerdict(False, "the gateway does not tell when it was last active")
    idle = (now - model.last_activity).total_seconds()
    limit = policy.idle_timeout if idle_timeout is None else idle_timeout
    if idle < limit:
        return CullVerdict(False, f"active {max(idle, 0.0):.0f} s ago")
    if model.execution_state in _WORKING and not policy.cull_busy:
        return CullVerdict(False, model.execution_state)
    if not policy.cull_connected:
        if model.connections is None:
            return CullVerdict(False, "the gateway does not tell who is connected")
        others = model.connections - own_connections
        if others > 0:
            return CullVerdict(False, f"{others} others are connected")
    return CullVerdict(True, f"idle for {idle:.0f} s")


def spec_idle_timeout(metadata: object) -> float | None:
    """Return the `cull_idle_timeout` of a kernelspec's metadata, in seconds; None where there is none that can be used.

    Args:
        metadata: the kernelspec's metadata, whatever a server says that it is.
    """
    value = metadata.get("cull_idle_timeout") if isinstance(metadata, dict) else None
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not 0 < value < math.inf:
        return None
    return float(value)
