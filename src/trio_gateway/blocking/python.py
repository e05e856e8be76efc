"""Values, functions and files for synchronous code: the names of `trio_gateway.python`, for kernels of `trio_gateway.blocking`.

Functions that a call is given (`on_output`, `on_progress`) are called in the thread that calls; those of a stream in the thread
that iterates over it. A call that is interrupted by Ctrl-C waits until its code is interrupted too. What is pushed is read while
the call lasts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar, overload

from .. import python as _trio
from .._portal.blocking_faces import BlockingFace, Reader, function_like, like
from .._python.members import FUNCTIONS, MEMBERS
from ..python import FileAccessError as FileAccessError
from ..python import FileCopy as FileCopy
from ..python import Name as Name
from ..python import OnOutput as OnOutput
from ..python import OnProgress as OnProgress
from ..python import Progress as Progress
from ..python import RemoteError as RemoteError
from ..python import TransferError as TransferError
from ..python import Trust as Trust
from ..python import ValueNotCarriedError as ValueNotCarriedError
from . import Kernel

__all__ = [
    "FileAccessError",
    "FileCopy",
    "Name",
    "OnOutput",
    "OnProgress",
    "Progress",
    "Python",
    "RemoteError",
    "RemoteItems",
    "TransferError",
    "Trust",
    "ValueNotCarriedError",
    "open_python",
]

# As in the package: a class and a function here say which names there are, for people, editors and type checkers.
# mypy: disable-error-code="empty-body"

R = TypeVar("R")
_UNSET: Any = object()


class RemoteItems(Reader[Any], of=_trio.RemoteItems, declared=MEMBERS[_trio.RemoteItems]): ...


class Python(BlockingFace, of=_trio.Python, declared=MEMBERS[_trio.Python]):
    @like(_trio.Python.name)
    def name(self) -> None: ...

    def using(
        self, *, trust: Trust | None = _UNSET, on_output: OnOutput | None = _UNSET, on_progress: OnProgress | None = _UNSET
    ) -> Python: ...

    @like(_trio.Python.push)
    def push(self) -> None: ...

    @like(_trio.Python.pull)
    def pull(self) -> None: ...

    @overload
    def call(self, function: Callable[..., Awaitable[R]], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    def call(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    def call(self, function: Name, /, *args: Any, **kwargs: Any) -> Any: ...
    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any: ...

    @like(_trio.Python.stream, RemoteItems)
    def stream(self) -> None: ...

    @like(_trio.Python.upload)
    def upload(self) -> None: ...

    @like(_trio.Python.download)
    def download(self) -> None: ...

    @like(_trio.Python.upload_all)
    def upload_all(self) -> None: ...

    @like(_trio.Python.download_all)
    def download_all(self) -> None: ...


@function_like(_trio.open_python, FUNCTIONS, Python)
def open_python(kernel: Kernel) -> None: ...
