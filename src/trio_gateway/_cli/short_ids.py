"""Which kernel somebody means by the beginning of an id, as the proxy's page shows it.

The one idea: a beginning is taken only if it can be nothing else; an id that is whole costs no question, and several beginnings
cost one.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

import trio_gateway

from .._errors import GatewayHTTPError, InvalidInputError
from .exits import printable

__all__ = ["can_be_beginning", "choose_kernel_id", "find_kernel_id", "list_kernel_ids"]

_BEGINNING: Final = re.compile(r"[0-9A-Za-z-]{4,31}")
"""What may be the beginning of an id: of one letter or two too many kernels have it by chance."""
_UNLISTED: Final = frozenset({403, 404, 405})


async def find_kernel_id(gateway: trio_gateway.Gateway, given: str) -> str:
    """Return the id of the one kernel whose id begins so; what was given where there is none, or nobody tells.

    Args:
        gateway: the gateway.
        given: an id, or its beginning.

    Raises:
        InvalidInputError: several begin so.
        GatewayError: the gateway can't be asked.
    """
    return choose_kernel_id(given, await list_kernel_ids(gateway)) if can_be_beginning(given) else given


def can_be_beginning(given: str) -> bool:
    """Say whether words may be the beginning of an id; a whole id is none."""
    return _BEGINNING.fullmatch(given) is not None


async def list_kernel_ids(gateway: trio_gateway.Gateway) -> list[str]:
    """Ask for the ids of all kernels; none where the gateway lists none to anybody.

    Raises:
        GatewayError: the gateway can't be asked.
    """
    try:
        models = await gateway.kernels.list()
    except GatewayHTTPError as error:
        if error.status_code not in _UNLISTED:
            raise
        return []
    return [model.id for model in models]


def choose_kernel_id(given: str, kernel_ids: Sequence[str]) -> str:
    """Return the one of these ids that begins so, or is this; what was given where none does. Pure.

    Args:
        given: an id, or its beginning.
        kernel_ids: the ids of all kernels.

    Raises:
        InvalidInputError: several begin so.
    """
    ids = [kernel_id for kernel_id in kernel_ids if kernel_id.startswith(given)] if can_be_beginning(given) else []
    if given in ids:
        return given
    if len(ids) > 1:
        raise InvalidInputError("kernel_id", given, f"more of it: {len(ids)} kernels begin so, {', '.join(map(printable, ids))}")
    return ids[0] if ids else given
