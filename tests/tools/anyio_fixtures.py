"""Fixtures and tools for tests of `trio_gateway.anyio`."""

from __future__ import annotations

import functools
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any

import pytest

import trio_gateway.anyio as tg
from tools.face_tools import ListeningFake

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from conftest import RunningGateway

__all__ = ["UNTIL_INTERRUPTED", "Running", "attach", "attached", "opened", "really_opened", "until_it_runs"]


@pytest.fixture
def opened(fake_gateway: ListeningFake) -> Callable[..., Any]:
    """Open the fake, on whatever runs."""
    return functools.partial(tg.open_gateway, fake_gateway.url, auth_token=fake_gateway.token)


@pytest.fixture
def attached(opened: Callable[..., Any], kernel_id: str) -> Callable[..., Any]:
    """Attach to the module's kernel on the fake, on whatever runs."""
    return functools.partial(attach, opened, kernel_id)


@pytest.fixture
def really_opened(real_gateway: RunningGateway) -> Callable[..., Any]:
    """Open the real gateway, on whatever runs."""
    return functools.partial(tg.open_gateway, real_gateway.url, auth_token=real_gateway.token)


@asynccontextmanager
async def attach(opened: Callable[..., Any], kernel_id: str, **settings: Any) -> AsyncGenerator[tg.Kernel]:
    """Attach to a kernel."""
    async with opened(**settings) as gateway, gateway.attach_kernel(kernel_id) as kernel:
        yield kernel


UNTIL_INTERRUPTED = """
import time
interrupted = False
try:
    while True:
        print("runs", flush=True)
        time.sleep(0.01)
except KeyboardInterrupt:
    interrupted = True
"""


class Running:
    """Code that runs in the kernel until it is interrupted, and says so."""

    def __init__(self, kernel: tg.Kernel) -> None:
        self.kernel = kernel

    async def execute(self) -> None:
        """Run it; it ends by an interrupt only."""
        await self.kernel.execute(UNTIL_INTERRUPTED)

    async def check(self) -> None:
        """See that it was interrupted, and is over."""
        assert self.kernel.state is tg.KernelState.IDLE, "the clean-up in Trio was not waited for"
        result = await self.kernel.execute("interrupted")
        assert (result.status, result.text, result.output_gaps) == ("ok", "True", ())


async def until_it_runs(kernel: tg.Kernel) -> None:
    """Wait until the code prints: a kernel says that it is busy before the first line, where an interrupt ends the whole."""
    async with kernel.iopub.subscribe() as messages:
        async for message in messages:
            if message.msg_type == "stream":
                return
