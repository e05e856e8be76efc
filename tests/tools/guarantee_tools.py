"""How the tests of the guarantees look at a real gateway and at a kernel in it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil
import trio

from tools.gateway_tools import PATIENCE, rest
from tools.os_view import nothing_left_behind

if TYPE_CHECKING:
    from conftest import RunningGateway
    from trio_gateway import Kernel

__all__ = ["kernels_of", "no_kernel_left", "usable_at_once"]


@contextmanager
def no_kernel_left(real_gateway: RunningGateway) -> Iterator[None]:
    """Check that this process and the gateway hold what they held before, whatever the body raises."""
    before = kernels_of(real_gateway)
    with nothing_left_behind():
        yield
    assert kernels_of(real_gateway) == before


def kernels_of(real_gateway: RunningGateway) -> tuple[set[psutil.Process], set[str]]:
    """The gateway's kernels: the processes there are, and the ids it knows."""
    return set(real_gateway.kernel_processes()), {model["id"] for model in rest(real_gateway, "GET", "/api/kernels")}


async def usable_at_once(kernel: Kernel) -> None:
    """Check that the kernel is idle, runs code whole and has kept its memory."""
    with trio.fail_after(PATIENCE):
        result = await kernel.execute("kept, 6 * 7")
    assert (result.status, result.text, result.output_gaps) == ("ok", "('state', 42)", ())
