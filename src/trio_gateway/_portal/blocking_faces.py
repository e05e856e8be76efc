"""What the blocking face's classes are made of: decorators that take signature and docstring from a Trio method.

The one idea: a blocking method is the Trio method without `async`. So what is decorated gives only a name; parameters, defaults,
return type and docstring are the Trio method's, for people and for type checkers.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import AbstractAsyncContextManager, AbstractContextManager
from types import TracebackType
from typing import Any, Concatenate, Final, Generic, ParamSpec, Self, TypeVar, cast

import trio

from .._limits import IN_BLOCKING, points_to_limits
from .calls import Realm, asking
from .prefetch import Reading, forget, read
from .thread_side import BlockingCrossing, block_on, take_blocking
from .undoing import undo_of

__all__ = ["CALLBACKS", "Face", "Reader", "Resource", "blocking", "entering", "in_trio", "ready"]

P = ParamSpec("P")
R = TypeVar("R")
S = TypeVar("S")
T = TypeVar("T")
Name = Callable[[S], None]
Gives = Callable[[Realm, Any], T]
"""What makes the face of what comes from Trio: its class."""

CALLBACKS: Final = frozenset({"stdin"})
"""Parameters that are functions of the caller's."""


class Face(Generic[T]):
    """An object that lives in Trio, as synchronous code sees it. Members without a docstring get that of the Trio class.

    Args:
        realm: where the original lives.
        original: the original.
    """

    def __init_subclass__(cls, *, of: type | None = None, **more: Any) -> None:
        super().__init_subclass__(**more)
        if of is None:
            return
        cls.__doc__ = of.__doc__
        for name, member in list(vars(cls).items()):
            if isinstance(member, property):
                setattr(cls, name, property(member.fget, doc=inspect.getattr_static(of, name).__doc__))
            elif inspect.isfunction(member) and member.__doc__ is None and not name.startswith("_"):
                member.__doc__ = getattr(of, name).__doc__
        points_to_limits(cls, IN_BLOCKING)

    def __init__(self, realm: Realm, original: T) -> None:
        self._realm = realm
        self._original = original
        self._parts: dict[str, Any] = {}

    def __repr__(self) -> str:
        return repr(self._original)

    def _part(self, name: str, gives: Gives[R]) -> R:
        """Give the face of an object that is a property of the original: the same one each time."""
        part = self._parts.get(name)
        if part is None:
            # In Trio, because it may be made at this moment.
            part = self._parts[name] = gives(self._realm, self._realm.run_sync(lambda: getattr(self._original, name)))
        return cast("R", part)

    def _in_trio(self, function: Callable[[T], R]) -> R:
        """Do something that does not wait, in Trio's thread."""
        return self._realm.run_sync(lambda: function(self._original))


def blocking(origin: Callable[Concatenate[Any, P], Awaitable[R]]) -> Callable[[Name[S]], Callable[Concatenate[S, P], R]]:
    """Make a blocking method out of an async one that gives a value."""
    assert inspect.iscoroutinefunction(origin), origin

    def decorate(name_only: Name[S]) -> Callable[Concatenate[S, P], R]:
        def method(self: Any, *args: Any, **arguments: Any) -> Any:
            function = functools.partial(origin, self._original, *args, **_asked(arguments))
            undo = undo_of(origin, self._original)
            value = block_on(self._realm, cast("Callable[[], Awaitable[Any]]", function), undo=undo)
            if origin.__name__ == "aclose":
                forget(self)
            return value

        return _dressed(method, origin, name_only)

    return decorate


def in_trio(origin: Callable[Concatenate[Any, P], R]) -> Callable[[Name[S]], Callable[Concatenate[S, P], R]]:
    """Make a method that is called in Trio's thread out of one that does not wait."""
    assert not inspect.iscoroutinefunction(origin), origin

    def decorate(name_only: Name[S]) -> Callable[Concatenate[S, P], R]:
        def method(self: Any, *args: Any, **arguments: Any) -> Any:
            function = functools.partial(origin, self._original, *args, **arguments)
            if origin.__name__ == "statistics" and isinstance(self, Reader):
                return self._realm.run_sync(lambda: self._reading.count_in(cast("Any", function)()))
            return self._realm.run_sync(function)

        return _dressed(method, origin, name_only)

    return decorate


def ready(origin: Callable[Concatenate[Any, P], R]) -> Callable[[Name[S]], Callable[Concatenate[S, P], R]]:
    """Make a method that takes what is ready out of a reader's: what was handed over comes first."""

    def decorate(name_only: Name[S]) -> Callable[Concatenate[S, P], R]:
        def method(self: Any, *args: Any, **arguments: Any) -> Any:
            return self._receive_ready(*args, **arguments)

        return _dressed(method, origin, name_only)

    return decorate


def entering(
    origin: Callable[Concatenate[Any, P], AbstractAsyncContextManager[Any]], gives: Gives[T]
) -> Callable[[Name[S]], Callable[Concatenate[S, P], AbstractContextManager[T]]]:
    """Make a method that gives a context manager out of one that gives an async one.

    Args:
        origin: the Trio method.
        gives: what the context manager gives: the face's class.
    """

    def decorate(name_only: Name[S]) -> Callable[Concatenate[S, P], AbstractContextManager[T]]:
        def method(self: Any, *args: Any, **arguments: Any) -> Any:
            return BlockingCrossing(self._realm, origin(self._original, *args, **_asked(arguments)), gives)

        return _dressed(method, origin, name_only, f"AbstractContextManager[{getattr(gives, '__name__', 'Any')}]")

    return decorate


def _asked(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asking(value) if name in CALLBACKS and callable(value) else value for name, value in arguments.items()}


def _dressed(
    method: Callable[..., Any], origin: Callable[..., Any], name_only: Callable[..., Any], gives: str | None = None
) -> Callable[..., Any]:
    """Give a method the name it is decorated under, and signature and docstring of its origin."""
    signature = inspect.signature(origin)
    dressed: Any = functools.update_wrapper(method, name_only)
    del dressed.__wrapped__
    dressed.__doc__ = origin.__doc__
    dressed.__signature__ = signature if gives is None else signature.replace(return_annotation=gives)
    return method


class Reader(Face[T], Iterator[R]):
    """A face to iterate over."""

    def __init__(self, realm: Realm, original: T) -> None:
        super().__init__(realm, original)
        self._reading: Reading[R] = read(original)

    def __iter__(self) -> Self:
        return self

    def __next__(self) -> R:
        try:
            return self._take()
        except (StopAsyncIteration, trio.EndOfChannel):
            raise StopIteration from None

    def _take(self) -> R:
        return take_blocking(self._realm, self._reading)

    def _receive_ready(self, *args: Any, **arguments: Any) -> list[R]:
        return self._realm.run_sync(lambda: self._reading.receive_ready(*args, **arguments))


class Resource(Face[T]):
    """A face to close, or to use as a block."""

    def close(self) -> None:
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.close()
