"""What faces do with the functions and objects of `trio_gateway.python`: the declaration that their modules are made from.

The one idea: as in `_portal.members`, of which this is a part. It stands here because values are a wing of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .._kernel.kernel import Kernel
from .._pool.pool import KernelPool
from .._portal.members import Declared, Function, How
from .pools import CallResults, PythonPool
from .python import Python, RemoteItems, open_python

__all__ = ["FUNCTIONS", "MEMBERS", "PYTHON_POOL"]

MEMBERS: Final[Mapping[type, Declared]] = {
    Python: {
        How.ON_THE_SPOT: ("name", "using"),
        How.AWAITS: ("push", "pull", "call", "upload", "download", "upload_all", "download_all"),
        How.GIVES_BLOCK: ("stream",),
        How.OFFERS: ("tools",),
        How.INTERNAL: ("fill",),
    },
    RemoteItems: {How.INTERNAL: ("receive_ready",)},
    PythonPool: {
        How.ON_THE_SPOT: ("using",),
        How.AWAITS: ("call",),
        How.GIVES_ITEMS: ("map",),
    },
    CallResults: {How.CLOSES: ("aclose",)},
}
"""Each class that has faces, and each of its public members."""

PYTHON_POOL: Final = Function(PythonPool, How.ON_THE_SPOT, "python", (KernelPool,))
"""The class whose objects users make."""

FUNCTIONS: Final[Mapping[Callable[..., Any], Function]] = {
    open_python: Function(open_python, How.GIVES_BLOCK, "python", (Kernel,)),
}
"""Each function that faces have."""
