"""What the blocking face's classes are made of: bases for them, and a decorator that gives their methods types.

The one idea: a blocking method is the Trio method without `async`. So a class says only which members it has, for people, editors
and type checkers; what they do is made from `members`, as for asyncio.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Concatenate, Final, ParamSpec, Self, TypeVar, final, overload

import attrs
import trio

from .._errors import InvalidInputError
from .._limits import IN_BLOCKING, points_to_limits, waits
from .faces import Face, Method, Side, Translate, asked
from .members import MEMBERS, Declared, Function
from .portal import Portal
from .prefetch import forget
from .thread_side import BlockingCrossing, block_on, take_blocking
from .undoing import undo_of

__all__ = ["BLOCKING", "BlockingFace", "Reader", "Resource", "function_like", "like", "made_by_users"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
Name = Callable[[S], None]

RENAMED: Final = {"aclose": "close"}
"""What is called otherwise without `async`."""


@final
class BlockingSide(Side):
    """Threads, which block."""

    def awaiting(self, function: Method, *, closes: bool) -> Method:
        """Make a method that blocks until the one in Trio has returned."""

        def method(self: Face, *args: Any, **arguments: Any) -> Any:
            made = functools.partial(function, self._original, *args, **asked(function, arguments))
            value = block_on(self._portal, made, undo=undo_of(function, self._original))
            if closes:
                forget(self)
            return value

        return self.dressed(method, function)

    def receiving(self, function: Method) -> Method:
        """Make a method that blocks until the next item is there."""

        def method(self: Face) -> Any:
            assert self._reading is not None
            item = take_blocking(self._portal, self._reading)
            return translate(self._portal, item) if type(item) in _FACES else item

        return self.dressed(method, function)

    def crossing(self, portal: Portal, manager: AbstractAsyncContextManager[Any], translate: Translate) -> Any:
        """Make a block for `with`."""
        return BlockingCrossing(portal, manager, translate)

    def iterator(self, portal: Portal, original: AsyncIterator[Any]) -> Any:
        """Make an iterator for `for`."""
        return Reader(portal, original)

    def offered(self, name: str, function: Callable[..., Any]) -> Callable[..., Any]:
        """Make a function of the caller's so that tasks in Trio can call it, while a block lasts."""
        if inspect.iscoroutinefunction(function):
            raise InvalidInputError(name, "an async function", "a plain function: nothing awaits it here")
        return super().offered(name, function)

    def client(self, portal: Portal, client: Any) -> Any:
        """Make an `httpx.Client`."""
        from .._transport.http.httpx_face import make_blocking_twin

        return make_blocking_twin(client, functools.partial(block_on, portal))

    def dressed(self, method: Method, function: Method) -> Method:
        """Give a method what is known of the one in Trio, without `async` in its name and in what it gives."""
        signature = inspect.signature(function)
        gives = str(signature.return_annotation).replace("AsyncGenerator[", "AbstractContextManager[").replace("Async", "")
        dressed: Any = functools.update_wrapper(method, function)
        del dressed.__wrapped__
        dressed.__name__ = RENAMED.get(function.__name__, function.__name__)
        dressed.__signature__ = signature.replace(return_annotation=gives)
        return method


BLOCKING: Final = BlockingSide("trio_gateway.blocking")
"""The side of threads."""
translate: Final = BLOCKING.translate
_FACES: Final = BLOCKING.faces


class BlockingFace(Face):
    """An object that lives in Trio, as synchronous code sees it.

    A subclass for a Trio class (`of`) names the members, for type checkers; they are made here. One that names others than are
    declared, by `members` or by the argument, can't be defined.
    """

    def __init_subclass__(cls, *, of: Any = None, declared: Declared | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if of is None:
            return
        cls.__doc__ = of.__doc__
        named = {name: member for name, member in vars(cls).items() if not name.startswith("_")}
        for original_name, member in BLOCKING.members(of, MEMBERS[of] if declared is None else declared).items():
            name = RENAMED.get(original_name, original_name)
            said = named.pop(name, None)
            if not _agree(said, inspect.getattr_static(of, original_name, None)):
                raise TypeError(f"{cls.__name__}.{name} has another type than {of.__name__}.{original_name}")
            if said is None and not name.startswith("_"):
                raise TypeError(f"{cls.__name__} does not name {name}, which is declared")
            if inspect.isfunction(member):
                member.__module__, member.__qualname__ = cls.__module__, f"{cls.__qualname__}.{name}"
            setattr(cls, name, member)
        if named:
            raise TypeError(f"{cls.__name__} names {', '.join(named)}, which is not declared")
        waiting = {RENAMED.get(name, name) for name, member in inspect.getmembers(of, inspect.isfunction) if waits(member)}
        points_to_limits(cls, IN_BLOCKING, waiting)
        BLOCKING.faces[of] = cls


def _agree(said: Any, original: Any) -> bool:
    """Say whether what a class says of a member is the Trio class's type. A function that says its types itself may differ."""
    if isinstance(said, property):
        return isinstance(original, property) and said.fget.__annotations__ == original.fget.__annotations__
    return not isinstance(said, _Like) or said.origin is original


@attrs.frozen
class _Like:
    """What stands in a class until its members are made."""

    origin: Callable[..., Any]


@overload
def like(
    origin: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]],
) -> Callable[[Name[S]], Callable[Concatenate[S, P], R]]: ...


@overload
def like(
    origin: Callable[Concatenate[Any, P], Coroutine[Any, Any, Any]], gives: Callable[..., T]
) -> Callable[[Name[S]], Callable[Concatenate[S, P], T]]: ...


@overload
def like(
    origin: Callable[Concatenate[Any, P], AbstractAsyncContextManager[Any]], gives: Callable[..., T]
) -> Callable[[Name[S]], Callable[Concatenate[S, P], AbstractContextManager[T]]]: ...


@overload
def like(
    origin: Callable[Concatenate[Any, P], list[Any]], gives: Callable[..., T]
) -> Callable[[Name[S]], Callable[Concatenate[S, P], list[T]]]: ...


@overload
def like(
    origin: Callable[Concatenate[Any, P], AsyncIterator[Any]], gives: Callable[..., T]
) -> Callable[[Name[S]], Callable[Concatenate[S, P], T]]: ...


@overload
def like(origin: Callable[Concatenate[Any, P], R]) -> Callable[[Name[S]], Callable[Concatenate[S, P], R]]: ...


def like(origin: Any, gives: Any = None) -> Any:
    """Say for type checkers and editors that a method is one of a Trio class, without `async`. It is made from `members`.

    Args:
        origin: the Trio class's method.
        gives: the face's class of what comes of it, or is in what comes of it, where that is no value.
    """
    del gives
    return lambda name_only: _Like(origin)  # noqa: ARG005 - of what is decorated only the name counts


@overload
def function_like(
    origin: Callable[Concatenate[Any, P], Coroutine[Any, Any, R]], declared: Mapping[Callable[..., Any], Function]
) -> Callable[[Name[S]], Callable[Concatenate[S, P], R]]: ...


@overload
def function_like(
    origin: Callable[Concatenate[Any, P], AbstractAsyncContextManager[Any]],
    declared: Mapping[Callable[..., Any], Function],
    gives: Callable[..., T],
) -> Callable[[Name[S]], Callable[Concatenate[S, P], AbstractContextManager[T]]]: ...


def function_like(origin: Any, declared: Mapping[Callable[..., Any], Function], gives: Any = None) -> Any:
    """Make a function of a module out of one in Trio, without `async`. What is decorated says what its first argument may be.

    Args:
        origin: the function in Trio.
        declared: what faces do with the functions of its module.
        gives: the face's class of what its block gives.
    """
    del gives

    def decorate(name_only: Callable[..., None]) -> Any:
        function = BLOCKING.function(declared[origin])
        function.__module__, function.__qualname__ = name_only.__module__, name_only.__qualname__
        return function

    return decorate


def made_by_users(entry: Function) -> Callable[[type[T]], type[T]]:
    """Have the face of a class whose objects users make be made of a face; a class decorator.

    Args:
        entry: what its first argument may be.
    """

    def decorate(cls: Any) -> Any:
        cls.__init__ = BLOCKING.constructor(entry)
        return cls

    return decorate


class Reader(BlockingFace, Iterator[R]):
    """A face to iterate over."""

    _reads = True

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        assert self._reading is not None
        try:
            item: R = take_blocking(self._portal, self._reading)
        except (StopAsyncIteration, trio.EndOfChannel):
            raise StopIteration from None
        if type(item) in _FACES:  # few have one, and many are read
            item = translate(self._portal, item)
        return item


class Resource(BlockingFace):
    """A face to close, or to use as a block."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
