"""What calls leave on a gateway that nothing owns, and how it is taken back where its caller never heard of it.

The one idea: in Trio a call that was cancelled has either not happened or is heard of. Between Trio and another loop or thread
the answer may be on its way when its caller is cancelled. What is owned by a block is safe; the rest is taken back.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from functools import partial
from typing import Any, Final

from .._fleet.kernels import FleetKernels
from .._fleet.options import FleetKernelModel
from .._gateway.kernels import Kernels
from .._models import KernelModel

__all__ = ["undo_of"]


async def _start(kernels: Kernels, model: KernelModel) -> None:
    await kernels.undo_start(model)


async def _start_in_fleet(kernels: FleetKernels, model: FleetKernelModel) -> None:
    await kernels.undo_start(model)


_UNDONE: Final[Mapping[Callable[..., Any], Callable[[Any, Any], Awaitable[None]]]] = {
    Kernels.start: _start,
    FleetKernels.start: _start_in_fleet,
}
"""`Sessions.create` is not here: a session is found by its path, and may have been there before."""


def undo_of(function: Callable[..., Any], original: Any) -> Callable[[Any], Awaitable[None]] | None:
    """Return what takes back what a method gives; None where there is nothing to take back.

    Args:
        function: the method of the Trio class.
        original: the object. Its undoing knows what the call made and what was there before.
    """
    undo = _UNDONE.get(function)
    return None if undo is None else partial(undo, original)
