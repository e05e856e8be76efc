"""`gateway.kernelspecs`: which kernels a gateway can start.

The one idea: names are looked up before a start, because gateways answer an unknown one with a server error; and a gateway
that lists nothing is no reason to refuse a start.
"""

from __future__ import annotations

from .._errors import GatewayHTTPError, KernelSpecNotFoundError, ProtocolError
from .._models import KernelSpec, KernelSpecs
from .._transport.api import KernelApi

__all__ = ["KernelSpecDirectory"]


class KernelSpecDirectory:
    """The kernelspecs of a gateway. Reached as `gateway.kernelspecs`.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError and AuthenticationError as its
    requests do.
    """

    def __init__(self, api: KernelApi, *, user: str | None) -> None:
        self._api = api
        self._user = user
        self._known: frozenset[str] = frozenset()

    async def list(self) -> KernelSpecs:
        """Return all kernelspecs and the name of the default one, for the user `kernel_username` where it is set."""
        specs = await self._api.kernelspecs(user=self._user)
        self._known = frozenset(specs.kernelspecs)
        return specs

    async def get(self, name: str) -> KernelSpec:
        """Return one kernelspec. Raises KernelSpecNotFoundError."""
        return await self._api.kernelspec(name, user=self._user)

    async def check(self, name: str) -> None:
        """See that the gateway has a kernelspec of this name, if it tells; asks only about names not seen before.

        Raises:
            KernelSpecNotFoundError: it has none; the error lists those it has.
        """
        if name in self._known:
            return
        try:
            specs = await self.list()
        except (GatewayHTTPError, ProtocolError):
            return  # not every server of this API lists kernelspecs: the start will tell
        if specs.kernelspecs and name not in specs.kernelspecs:
            raise KernelSpecNotFoundError(name, available=tuple(specs.kernelspecs))
