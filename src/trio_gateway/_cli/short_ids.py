"""Which kernel somebody means by the beginning of an id, as the proxy's page shows it.

The one idea: a beginning is taken only if it can be nothing else; an id that is whole costs no question.
"""

from __future__ import annotations

import re
from typing import Final

import trio_gateway

from .._errors import GatewayHTTPError, InvalidInputError
from .exits import printable

__all__ = ["find_kernel_id"]

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
    if not _BEGINNING.fullmatch(given):
        return given
    try:
        models = await gateway.kernels.list()
    except GatewayHTTPError as error:
        if error.status_code not in _UNLISTED:
            raise
        return given
    ids = [model.id for model in models if model.id.startswith(given)]
    if given in ids:
        return given
    if len(ids) > 1:
        raise InvalidInputError("kernel_id", given, f"more of it: {len(ids)} kernels begin so, {', '.join(map(printable, ids))}")
    return ids[0] if ids else given
