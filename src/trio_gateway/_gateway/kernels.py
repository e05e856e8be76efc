"""`gateway.kernels`: what can be done with any kernel of a gateway, by its id.

The one idea: this is administration, not ownership. Nothing here is shut down by a block's end; see `ownership` for that.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

import trio

from .._errors import GatewayError, KernelNotFoundError
from .._models import KernelModel
from .._transport.api import KernelApi

__all__ = ["Kernels"]


class Kernels:
    """The kernels of a gateway, whoever started them. Reached as `gateway.kernels`.

    Every method raises GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError and AuthenticationError as its
    requests do. Cancelling one leaves open whether the gateway got its request.
    """

    def __init__(self, api: KernelApi) -> None:
        self._api = api

    async def list(self) -> Sequence[KernelModel]:
        """Return the models of all kernels.

        Raises:
            AuthenticationError: the gateway forbids listing (403), as Kernel Gateway and Enterprise Gateway do by default.
        """
        return await self._api.list()

    async def get(self, kernel_id: str) -> KernelModel:
        """Return a kernel's model. Raises KernelNotFoundError."""
        return await self._api.get(kernel_id)

    async def interrupt(self, kernel_id: str) -> None:
        """Interrupt what a kernel is doing. Raises KernelNotFoundError."""
        await self._api.interrupt(kernel_id)

    async def restart(self, kernel_id: str) -> KernelModel:
        """Restart a kernel and return its model when it is back. Raises KernelNotFoundError."""
        await self._api.get(kernel_id)  # Kernel Gateway answers 500, not 404, to the restart of an unknown kernel
        return await self._api.restart(kernel_id)

    async def shutdown(self, kernel_id: str) -> None:
        """Shut a kernel down; one that is gone already is fine."""
        with suppress(KernelNotFoundError):
            await self._api.shutdown(kernel_id)

    async def shutdown_all(self) -> None:
        """Shut all kernels down at once; each is tried, whatever becomes of the others.

        Raises:
            ExceptionGroup: of the GatewayErrors of those that could not be shut down.
            AuthenticationError: the gateway forbids listing.
        """
        failures: list[GatewayError] = []

        async def shutdown(kernel_id: str) -> None:
            try:
                await self.shutdown(kernel_id)
            except GatewayError as error:
                failures.append(error)

        models = await self.list()
        async with trio.open_nursery() as nursery:
            for model in models:
                nursery.start_soon(shutdown, model.id)
        if failures:
            raise ExceptionGroup(f"{len(failures)} of {len(models)} kernels could not be shut down", failures)
