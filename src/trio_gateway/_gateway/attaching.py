"""Opening a session with a kernel that is there.

The one idea: the block owns the session and not the kernel: that is owned by a block of `ownership`, or by nobody here.
"""

from __future__ import annotations

import uuid
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager

from .._api import KernelApi
from .._kernel.kernel import Kernel
from .._kernel.poller import KernelWatch
from .._kernel.session import KernelSession
from .._services import open_services
from .known_kernels import KnownKernels

__all__ = ["open_kernel"]


@asynccontextmanager
async def open_kernel(
    api: KernelApi,
    watch: KernelWatch,
    known: KnownKernels,
    kernel_id: str,
    name: str,
    *,
    interrupt_mode: Callable[[], Awaitable[str]],
) -> AsyncGenerator[Kernel]:
    """Open a session with a kernel that is there; the block owns the session, not the kernel.

    Args:
        api: the gateway's REST interface, with its HTTP client.
        watch: looks after the session.
        known: knows which kernels are in use.
        kernel_id: the kernel.
        name: its kernelspec.
        interrupt_mode: asks how it is interrupted.

    Raises:
        KernelNotFoundError: the gateway does not know it.
        GatewayError: the connection could not be made.
    """
    async with open_services() as services:

        def tell_end() -> None:
            """If its kernel ended without our doing, tell, also when that ends the block at once."""
            told = known.how_it_ended(session)
            if told is not None:
                action, message = told
                api.tell(action, kernel_id=kernel_id, kernel_name=name, message=message)

        session = KernelSession(
            kernel_id,
            session_id=uuid.uuid4().hex,
            api=api,
            services=services,
            interrupt_mode=interrupt_mode,
            on_ended=tell_end,
        )
        services.start_soon(session.run, name=f"trio_gateway.session[{kernel_id:.8}]")
        with known.using(session):
            await session.wait_opened()
            with watch.watching(session):
                yield Kernel(session, name)
