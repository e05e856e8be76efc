"""What faces do with the functions and objects of `trio_gateway.python`: the declaration that their modules are made from.

The one idea: as in `_portal.members`, of which this is a part. It stands here because values are a wing of their own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, Final

from .._kernel.kernel import Kernel
from .._portal.members import Declared, Function, How
from .pools import CallResults, PythonPool
from .python import Python, RemoteItems, open_python

__all__ = ["FUNCTIONS", "MEMBERS", "TRIO_ONLY"]

MEMBERS: Final[Mapping[type, Declared]] = {
    Python: {
        How.ON_THE_SPOT: ("name", "using"),
        How.AWAITS: ("push", "pull", "call", "upload", "download", "upload_all", "download_all"),
        How.GIVES_BLOCK: ("stream",),
        How.INTERNAL: ("fill", "tools"),
    },
    RemoteItems: {How.INTERNAL: ("receive_ready",)},
}
"""Each class that has faces, and each of its public members."""

TRIO_ONLY: Final = frozenset({PythonPool, CallResults})
"""Classes that have no faces yet."""

FUNCTIONS: Final[Mapping[Callable[..., Any], Function]] = {
    open_python: Function(open_python, How.GIVES_BLOCK, "python", (Kernel,)),
}
"""Each function that faces have."""
