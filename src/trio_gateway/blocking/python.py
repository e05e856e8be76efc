"""Values, functions and files for synchronous code: the names of `trio_gateway.python`, for kernels of `trio_gateway.blocking`.

Functions that a call is given (`on_output`, `on_progress`) are called in the thread that calls; those of a stream, and of a
pool's `map`, in the thread that iterates over it. Tools are called in the thread that entered their block, while it waits for a
call; while it does something else, in another thread that waits for a call of the same gateway. They must be plain functions, and
one that is being called can't be stopped. A call that is interrupted by Ctrl-C waits until its code is interrupted too. What is
pushed is read while the call lasts.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection, Iterable
from typing import Any, Generic, TypeVar, overload

from .. import python as _trio
from .._portal.blocking_faces import BlockingFace, Reader, Resource, function_like, like, made_by_users
from .._python.members import FUNCTIONS, MEMBERS, PYTHON_POOL
from ..python import CallResult as CallResult
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
from ..python import ValueTooLargeError as ValueTooLargeError
from . import Kernel, KernelPool

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

# As in the package: a class and a function here say which names there are, for people, editors and type checkers.
# mypy: disable-error-code="empty-body"

T = TypeVar("T")
R = TypeVar("R")
_UNSET: Any = object()


class RemoteItems(Reader[Any], of=_trio.RemoteItems, declared=MEMBERS[_trio.RemoteItems]): ...


class Python(BlockingFace, of=_trio.Python, declared=MEMBERS[_trio.Python]):
    @like(_trio.Python.name)
    def name(self) -> None: ...

    def using(
        self,
        *,
        trust: Trust | None = _UNSET,
        on_output: OnOutput | None = _UNSET,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
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

    @like(_trio.Python.tools, type(None))
    def tools(self) -> None: ...

    @like(_trio.Python.upload)
    def upload(self) -> None: ...

    @like(_trio.Python.download)
    def download(self) -> None: ...

    @like(_trio.Python.upload_all)
    def upload_all(self) -> None: ...

    @like(_trio.Python.download_all)
    def download_all(self) -> None: ...


class CallResults(
    Resource,
    Reader[tuple[T, CallResult[R]]],
    Generic[T, R],
    of=_trio.CallResults,
    declared=MEMBERS[_trio.CallResults],
):
    @like(_trio.CallResults.aclose)
    def close(self) -> None: ...


@made_by_users(PYTHON_POOL)
class PythonPool(BlockingFace, of=_trio.PythonPool, declared=MEMBERS[_trio.PythonPool]):
    def __init__(
        self,
        pool: KernelPool,
        *,
        trust: Trust | None = None,
        dataclasses: Collection[type] = (),
        on_output: OnOutput | None = None,
        on_progress: OnProgress | None = None,
        max_bytes: int | None = None,
        repeatable: bool = False,
    ) -> None: ...

    def using(
        self,
        *,
        trust: Trust | None = _UNSET,
        on_output: OnOutput | None = _UNSET,
        on_progress: OnProgress | None = _UNSET,
        max_bytes: int | None = _UNSET,
        repeatable: bool = _UNSET,
    ) -> PythonPool: ...

    @overload
    def call(self, function: Callable[..., Awaitable[R]], /, *args: Any, **kwargs: Any) -> R: ...
    @overload
    def call(self, function: Callable[..., R], /, *args: Any, **kwargs: Any) -> R: ...
    def call(self, function: Any, /, *args: Any, **kwargs: Any) -> Any: ...

    @overload
    def map(
        self,
        function: Callable[[T], Awaitable[R]],
        items: Iterable[T],
        *,
        limit: int | None = None,
        as_completed: bool = False,
        chunk: int = 1,
    ) -> CallResults[T, R]: ...
    @overload
    def map(
        self,
        function: Callable[[T], R],
        items: Iterable[T],
        *,
        limit: int | None = None,
        as_completed: bool = False,
        chunk: int = 1,
    ) -> CallResults[T, R]: ...
    def map(self, function: Any, items: Any, **options: Any) -> Any: ...


@function_like(_trio.open_python, FUNCTIONS, Python)
def open_python(kernel: Kernel) -> None: ...
