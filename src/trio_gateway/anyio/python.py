"""Values, functions and files for every anyio program: the names of `trio_gateway.python`, for kernels of `trio_gateway.anyio`.

On Trio this is that module itself. On asyncio, functions that a call is given (`on_output`, `on_progress`) are called, and
awaited, in the task that calls; those of a stream, and of a pool's `map`, in the task that iterates over it. Each call of a tool
is a task of its own in the event loop in which the block of `tools` was entered; leaving the block cancels it, and waits for it.
A call that is cancelled waits until its code is interrupted. What is pushed is read while the call lasts.
"""

from __future__ import annotations

from .. import python as _trio
from .._portal.asyncio_faces import ASYNCIO, function_like, made_by_users
from .._python.members import FUNCTIONS, MEMBERS, PYTHON_POOL
from ..python import CallResult as CallResult
from ..python import CallResults as CallResults
from ..python import FileAccessError as FileAccessError
from ..python import FileCopy as FileCopy
from ..python import Name as Name
from ..python import OnOutput as OnOutput
from ..python import OnProgress as OnProgress
from ..python import Progress as Progress
from ..python import Python as Python
from ..python import RemoteError as RemoteError
from ..python import RemoteItems as RemoteItems
from ..python import TransferError as TransferError
from ..python import Trust as Trust
from ..python import ValueNotCarriedError as ValueNotCarriedError
from ..python import ValueTooLargeError as ValueTooLargeError

__all__ = [
    "CallResult",
    "CallResults",
    "FileAccessError",
    "FileCopy",
    "Name",
    "OnOutput",
    "OnProgress",
    "Progress",
    "Python",
    "PythonPool",
    "RemoteError",
    "RemoteItems",
    "TransferError",
    "Trust",
    "ValueNotCarriedError",
    "ValueTooLargeError",
    "open_python",
]

ASYNCIO.faces.update({original: ASYNCIO.derive(original, declared) for original, declared in MEMBERS.items()})


@made_by_users(PYTHON_POOL, MEMBERS[_trio.PythonPool])
class PythonPool(_trio.PythonPool):
    """What is decorated here only gives its name, and its type."""


@function_like(_trio.open_python, FUNCTIONS)
def open_python() -> None:
    """What is decorated here only gives its name."""
