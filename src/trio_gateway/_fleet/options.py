"""What a fleet is made of, and what it tells of its gateways: values, checked when they are made."""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, TypeAlias, cast

import attrs

from .._config import GatewayConfig
from .._errors import ConfigError, ConfigProblem, InvalidInputError
from .._gateway.gateway import hidden_url, resolve_config
from .._models import KernelModel

__all__ = ["Entry", "FleetGateway", "FleetKernelModel", "GatewayState", "GatewayStatus", "check_labels", "read_gateways"]

GatewayState: TypeAlias = Literal["unknown", "up", "failing", "draining", "down"]
"""What is known of a fleet's gateway."""


def check_labels(field: str, given: object) -> frozenset[str]:
    """Return labels as a set.

    Raises:
        InvalidInputError: they are none.
    """
    if not isinstance(given, (str, bytes)) and isinstance(given, Iterable):
        labels = frozenset(cast("Iterable[object]", given))
        if all(isinstance(label, str) and label for label in labels):
            return cast("frozenset[str]", labels)
    raise InvalidInputError(field, given, 'labels: a set of texts (str) that are not empty, such as {"gpu"}')


def _as_labels(given: Collection[str]) -> frozenset[str]:
    return check_labels("labels", given)


def _check_name(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (not isinstance(value, str) or not value):
        raise InvalidInputError(attribute.name, value, "a name (str), or None for the gateway's URL")


def _check_weight(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    fits = isinstance(value, (int, float)) and not isinstance(value, bool)
    if not fits or not 0 < cast("float", value) < math.inf:
        raise InvalidInputError(
            attribute.name, value, "a number above 0: how much of the work it takes, beside the others; drain() ends all starts"
        )


@attrs.frozen
class FleetGateway:
    """One gateway of a fleet, with what the fleet is to know of it.

    Raises:
        InvalidInputError: a field can't be used.
    """

    gateway: str | Sequence[str] | GatewayConfig = attrs.field(converter=hidden_url)
    """Its URL, or a list of the URLs of its addresses; or a whole configuration."""
    name: str | None = attrs.field(default=None, kw_only=True, validator=_check_name)
    """What it is called in the fleet; None for its URL."""
    labels: frozenset[str] = attrs.field(default=frozenset(), kw_only=True, converter=_as_labels)
    """What it has that others may not have, such as `"gpu"`."""
    weight: float = attrs.field(default=1.0, kw_only=True, validator=_check_weight)
    """How much of the work it takes: one of weight 2 as much as two of weight 1."""


@attrs.frozen(kw_only=True)
class GatewayStatus:
    """What a fleet knows of one of its gateways."""

    name: str
    """What it is called in the fleet."""
    url: str
    """Its base URL, without user name and password."""
    labels: frozenset[str]
    """Its labels."""
    weight: float
    """How much of the work it takes."""
    state: GatewayState
    """`"up"`; `"failing"`: it answers, but its last start failed, and the next ones go elsewhere for a while; `"draining"`: it
    takes no starts; `"down"`: it does not answer, or refuses us; `"unknown"`: it has not answered yet."""
    reason: str
    """Why it is not up, for people; `""` where it is."""
    kernels: int
    """How many kernels it has: those that it listed when it was last asked, and those that the fleet uses or starts there."""


@attrs.frozen(kw_only=True)
class FleetKernelModel(KernelModel):
    """One kernel of a fleet, as its gateway describes it."""

    gateway: str
    """What its gateway is called in the fleet."""


@attrs.frozen
class Entry:
    """One gateway of a fleet, resolved."""

    name: str
    config: GatewayConfig
    labels: frozenset[str]
    weight: float


def read_gateways(gateways: object, settings: Mapping[str, Any]) -> tuple[Entry, ...]:
    """Read what a fleet is given as its gateways.

    Args:
        gateways: URLs, configurations and `FleetGateway`s.
        settings: settings for all of them.

    Raises:
        ConfigError: a setting can't be used.
        InvalidInputError: something else can't be used.
    """
    told = [name for name in ("url", "ws_url") if name in settings]
    if told:
        raise ConfigError([ConfigProblem(name, None, "nothing, for a fleet: its gateways say it") for name in told])
    expected = "a list of gateways, each a URL, a GatewayConfig or a FleetGateway"
    if isinstance(gateways, (str, bytes, Mapping)) or not isinstance(gateways, Iterable):
        raise InvalidInputError("gateways", type(gateways).__name__, expected)
    entries: dict[str, Entry] = {}
    for given in cast("Iterable[object]", gateways):
        if not isinstance(given, (str, GatewayConfig, FleetGateway)):
            raise InvalidInputError("gateways", type(given).__name__, expected)
        one = given if isinstance(given, FleetGateway) else FleetGateway(given)
        if not isinstance(one.gateway, (str, list, tuple, GatewayConfig)):
            raise InvalidInputError("gateways", type(one.gateway).__name__, expected)
        config = resolve_config(one.gateway, settings)
        entry = Entry(one.name or config.base_url, config, one.labels, one.weight)
        if entry.name in entries:
            raise InvalidInputError("gateways", entry.name, "gateways of different names: two have this one; name= gives another")
        entries[entry.name] = entry
    if not entries:
        raise InvalidInputError("gateways", [], "one gateway or more")
    return tuple(entries.values())
