"""What a pool is: how many kernels, which, and what becomes of one that was used. Values, checked when they are made."""

from __future__ import annotations

from typing import Any, Final, Literal, TypeAlias, cast

import attrs

from .._errors import InvalidInputError
from .._protocol.code import check_code

__all__ = ["PoolOptions", "Reuse"]

Reuse: TypeAlias = Literal["never", "restart", "as-is"]
"""What becomes of a kernel that was used: it is shut down, restarted, or handed on as it is."""

MOST_AT_ONCE: Final = 4
"""How many kernels a pool starts at once where nothing else was said: a gateway on one machine is busy with that many."""


def _check_count(least: int, what: str) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if isinstance(value, bool) or not isinstance(value, int) or value < least:
            raise InvalidInputError(attribute.name, value, f"{what}: a whole number, {least} or more")

    return check


def _check_uses(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is not None and (isinstance(value, bool) or not isinstance(value, int) or value < 1):
        raise InvalidInputError(attribute.name, value, "a whole number, 1 or more, or None for no limit")


def _check_seconds(least_excluded: float, otherwise: str, *, may_be_none: bool = True) -> Any:
    def check(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
        if value is None and may_be_none:
            return
        fits = isinstance(value, (int, float)) and not isinstance(value, bool)
        if not fits or not cast("float", value) > least_excluded:
            raise InvalidInputError(attribute.name, value, otherwise)

    return check


def _check_init(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value is None:
        return
    if not isinstance(value, str):
        raise InvalidInputError(attribute.name, value, "code, as text (str), or None")
    check_code(value, field=attribute.name)


def _check_reuse(_: object, attribute: attrs.Attribute[Any], value: object) -> None:
    if value not in ("never", "restart", "as-is"):
        raise InvalidInputError(attribute.name, value, '"never", "restart" or "as-is"')


@attrs.frozen(kw_only=True)
class PoolOptions:
    """How a pool behaves.

    Raises:
        InvalidInputError: an option can't be used, or contradicts another one.
    """

    size: int = attrs.field(validator=_check_count(1, "how many kernels the pool may have at a time"))
    """How many kernels the pool has at most, those that start and those that end included."""
    warm: int = attrs.field(default=0, validator=_check_count(0, "how many kernels are kept ready"))
    """How many kernels are kept ready beside those that are used, as far as `size` allows."""
    init: str | None = attrs.field(default=None, validator=_check_init, repr=False)
    """Code that runs once in each new process of a kernel, before the kernel is handed out; None for none."""
    init_timeout: float = attrs.field(
        default=60.0, validator=_check_seconds(0, "a number of seconds above 0, or math.inf for no limit", may_be_none=False)
    )
    """How long `init` may take, in seconds; without it, a new kernel's first answer. A restart may take as long."""
    reuse: Reuse = attrs.field(default="never", validator=_check_reuse)
    """What becomes of a kernel that was used."""
    max_uses: int | None = attrs.field(default=None, validator=_check_uses)
    """After how many uses a kernel is shut down; None for no limit."""
    max_age: float | None = attrs.field(
        default=None, validator=_check_seconds(0, "a number of seconds above 0, or None for no limit")
    )
    """How old a kernel may be that is handed out, in seconds since it was ready first; None for no limit."""
    idle_timeout: float | None = attrs.field(
        default=300.0, validator=_check_seconds(0, "a number of seconds above 0, or None to keep them")
    )
    """For how long kernels that are ready beyond `warm` are kept, in seconds since they were used; None: for good."""
    starts_at_once: int = attrs.field(
        default=MOST_AT_ONCE, validator=_check_count(1, "how many kernels the pool may start at the same time")
    )
    """How many kernels the pool starts at the same time. Restarts count, and do not wait."""

    def __attrs_post_init__(self) -> None:
        if self.warm > self.size:
            raise InvalidInputError("warm", self.warm, f"at most size = {self.size}: so many kernels there are in all")
        if self.max_uses is not None and self.reuse == "never":
            raise InvalidInputError("max_uses", self.max_uses, 'None with reuse="never", which uses each kernel once')
