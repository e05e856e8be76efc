"""What an Enterprise Gateway does not take of a start's environment, and other gateways do.

The one idea: a restriction is for whom it protects. Enterprise Gateway hands variables to a shell on another host: up to 3.3 that
shell evaluates `$` and backticks in them, and from 3.4 the gateway answers 400 (`services/kernels/handlers.py`; values of more
than 4,096 characters it refuses from 3.3). A Kernel Gateway gives a process its variables as they are. So where a start has such
variables, and only then, the gateway is asked once which it is; and where it does not say, its own 400 is read.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Mapping
from typing import Final, cast

import attrs
import trio

from .._api import KernelApi
from .._errors import GatewayError, GatewayHTTPError, InvalidInputError, ProtocolError
from .starting import Inherited, StartRequest

__all__ = ["Restrictions", "read_refusal", "refusal_of"]

_logger = logging.getLogger("trio_gateway.kernels")

_LONGEST: Final = 4096
_EVALUATED: Final = re.compile(r"[$`\n\r]")
_SHELL_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_REFUSED: Final = re.compile(r"environment variable '([^']{1,1000})'", re.IGNORECASE)


def refusal_of(name: str, value: str, origins: Mapping[str, str]) -> InvalidInputError | None:
    """Return why Enterprise Gateway does not take a variable; None where it does. What the variable holds is not in it.

    Args:
        name: the variable's name.
        value: what it holds.
        origins: which argument a variable comes from, where that is not `env`.
    """
    if _SHELL_NAME.fullmatch(name) is None:
        return InvalidInputError("env", name, "names of letters, digits and underscores: Enterprise Gateway takes no others")
    field = origins.get(name, f"env[{name!r}]")
    if len(value) > _LONGEST:
        expected = f"at most {_LONGEST}: Enterprise Gateway takes no more"
        return InvalidInputError(field, f"{len(value)} characters", expected)
    found = _EVALUATED.search(value)
    if found is not None:
        expected = "no $, backtick or line break: Enterprise Gateway does not take them"
        return InvalidInputError(field, f"a value with {found[0]!r}", expected)
    return None


def read_refusal(error: GatewayError, request: StartRequest) -> InvalidInputError | None:
    """Return which variable a gateway's answer to a start refuses; None where it does not say.

    Args:
        error: what the start was answered with.
        request: what was asked for.
    """
    if not isinstance(error, GatewayHTTPError) or error.status_code != 400:
        return None
    found = _REFUSED.search(f"{error.message} {error.reason}")
    if found is None or found[1] not in request.env:
        return None
    name = found[1]
    why = refusal_of(name, request.env[name], request.origins)
    field = request.origins.get(name, f"env[{name!r}]")
    return why or InvalidInputError(field, "its value", "one that the gateway takes; it answered 400")


class Restrictions:
    """Has starts keep to what their gateway takes.

    Args:
        api: the gateway's REST interface.
    """

    def __init__(self, api: KernelApi) -> None:
        self._api = api
        self._is_enterprise: bool | None = None
        self._asking = trio.Lock()

    async def fit(self, request: StartRequest) -> StartRequest:
        """Return a request without the variables that the gateway does not take and that nobody has asked for.

        Raises:
            InvalidInputError: the gateway takes no such variable. The start was not asked for.
            GatewayError: it can't be reached to be asked.

        Cancellation: safe.
        """
        refused = {
            name: refusal
            for name, value in request.env.items()
            if (refusal := refusal_of(name, value, request.origins)) is not None
        }
        if not refused:
            await trio.lowlevel.checkpoint()
            return request
        if not await self._asked():
            return request
        for name, refusal in refused.items():
            if not isinstance(request.env[name], Inherited):
                raise refusal
            _logger.warning("variable_not_sent: %s", refusal)
        return attrs.evolve(request, env={name: value for name, value in request.env.items() if name not in refused})

    async def _asked(self) -> bool:
        """Ask whether it is an Enterprise Gateway. What can't be understood is no answer, and asked again at the next start."""
        async with self._asking:
            if self._is_enterprise is None:
                try:
                    body = (await self._api.http.request("GET", "/api")).json()
                except (GatewayHTTPError, ProtocolError):
                    await trio.lowlevel.checkpoint()
                    return False
                told = cast("Mapping[object, object]", body) if isinstance(body, Mapping) else {}
                self._is_enterprise = isinstance(told.get("gateway_version"), str)
            return self._is_enterprise
