"""What is used by `async with`, and what it says to a program that uses it otherwise.

The one idea: Python's own words for a forgotten `async with` name a class that nobody has heard of. So each block of the library
is of a class that knows how it is opened, and says so whatever else is done with it. And a block that is entered where no Trio
runs says which module is for there.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Final, NoReturn, ParamSpec, TypeVar, final

import sniffio

from .._errors import AsyncLibraryError

__all__ = ["AsyncBlock", "OnlyAsyncWith", "OnlyWith", "block", "check_trio"]

P = ParamSpec("P")
T_co = TypeVar("T_co", covariant=True)

OTHER_DOORS: Final = (
    "import trio_gateway.anyio, which has the same names, in its place; in synchronous code and in a notebook's cell, "
    "trio_gateway.blocking"
)


def check_trio(what: str, instead: str = OTHER_DOORS) -> None:
    """Raise AsyncLibraryError if the caller does not run on Trio.

    Args:
        what: what is used, as the beginning of a sentence.
        instead: what is to be done, as the end of a sentence.
    """
    try:
        library = sniffio.current_async_library()
    except sniffio.AsyncLibraryNotFoundError:
        library = ""
    if library != "trio":
        raise AsyncLibraryError(what, library, instead)


class _Block:
    """Says how a block is opened."""

    _how: str = "async with"
    _opened_by: str = ""

    def _say(self, done: str) -> str:
        example = f"`{self._how} {self._opened_by}(...) as ...:`" if self._opened_by else f"`{self._how} ... as ...:`"
        name = f"{self._opened_by}()" if self._opened_by else "this"
        return f"{name} is a block, and {done}; write {example}"

    def __await__(self) -> NoReturn:
        raise TypeError(self._say("can't be awaited"))

    def __aiter__(self) -> NoReturn:
        raise TypeError(self._say("can't be iterated over: what it gives may be"))

    def __iter__(self) -> NoReturn:
        raise TypeError(self._say("can't be iterated over: what it gives may be"))


class AsyncBlock(_Block):
    """A block that is opened by `async with` alone."""

    def __enter__(self) -> NoReturn:
        raise TypeError(self._say("can't be entered by `with`, but in trio_gateway.blocking"))

    def __exit__(self, kind: object, error: object, traceback: object) -> None:
        """For Python looks whether it is there before it enters."""


class _Unopened(_Block):
    """Has nothing of what is inside."""

    def __getattr__(self, name: str) -> NoReturn:
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}", name=name, obj=self)
        raise AttributeError(self._say(f"has no {name!r}: what it gives may have"), name=name, obj=self)

    def __repr__(self) -> str:
        return f"<{self._opened_by or 'a block'}, to be opened by `{self._how}`>"


class OnlyAsyncWith(_Unopened, AsyncBlock):
    """A block that is opened by `async with` alone, and is of no use by itself."""


class OnlyWith(_Unopened):
    """A block that is opened by `with` alone, and is of no use by itself."""

    _how = "with"

    async def __aenter__(self) -> NoReturn:  # noqa: ASYNC910 - it does nothing
        raise TypeError(self._say("can't be entered by `async with`: it is trio_gateway.blocking's"))

    async def __aexit__(self, kind: object, error: object, traceback: object) -> None:  # noqa: ASYNC910
        """For Python looks whether it is there before it enters."""


@final
class _Opener(OnlyAsyncWith, AbstractAsyncContextManager[T_co]):
    """A block of the library. Can be entered once."""

    def __init__(self, opened_by: str, manager: AbstractAsyncContextManager[T_co]) -> None:
        self._opened_by = opened_by
        self._manager: AbstractAsyncContextManager[T_co] | None = manager
        self._entered: AbstractAsyncContextManager[T_co] | None = None

    async def __aenter__(self) -> T_co:
        manager, self._manager = self._manager, None
        if manager is None:
            raise RuntimeError("this block was entered before")
        self._entered = manager
        return await manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        entered = self._entered
        assert entered is not None
        return await entered.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - what it does there is its own business


def block(
    opened_by: str,
) -> Callable[[Callable[P, AbstractAsyncContextManager[T_co]]], Callable[P, AbstractAsyncContextManager[T_co]]]:
    """Have what a function gives, an async context manager, say how it is used; to stand before `asynccontextmanager`.

    Args:
        opened_by: what its user has called.
    """

    def decorate(function: Callable[P, AbstractAsyncContextManager[T_co]]) -> Callable[P, AbstractAsyncContextManager[T_co]]:
        @functools.wraps(function)
        def opener(*args: P.args, **arguments: P.kwargs) -> AbstractAsyncContextManager[T_co]:
            return _Opener(opened_by, function(*args, **arguments))

        return opener

    return decorate
