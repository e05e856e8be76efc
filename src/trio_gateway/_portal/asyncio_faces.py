"""The library's objects as asyncio programs hold them: faces that are made out of the Trio classes themselves.

The one idea: nothing is written twice. A face's class is a subclass that is derived from the Trio class when this module is
imported, with each public method and property replaced by one that does the same thing in Trio (`members` says how). So
signatures, types and docstrings are the same by construction, and `isinstance` tells the truth. A public method that is added to
a Trio class is there for asyncio once it has its entry in `members`; a test fails until it has.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, TypeVar, cast, final

import trio

from .._limits import IN_ANYIO, points_to_limits
from .asyncio_side import Crossing, call, take
from .faces import Face, Method, Side, Translate, asked, hide_environment
from .members import MEMBERS, Declared, Function, How
from .portal import Portal
from .prefetch import forget, read
from .undoing import undo_of

__all__ = ["ASYNCIO", "function_like", "made_by_users", "translate"]

F = TypeVar("F", bound=Callable[..., Any])
T = TypeVar("T")


class _Iterator(AsyncIterator[Any]):
    """An iterator without a public class of its own, such as that of `Kernel.changes`."""

    def __init__(self, portal: Portal, original: AsyncIterator[Any]) -> None:
        self._portal = portal
        self._reading = read(original)

    async def __anext__(self) -> Any:
        return await take(self._portal, self._reading)


@final
class AsyncioSide(Side):
    """Tasks of an event loop, which await."""

    def awaiting(self, function: Method, *, closes: bool) -> Method:
        """Make a method that awaits what comes of the one in Trio."""

        @functools.wraps(function)
        async def method(self: Face, *args: Any, **arguments: Any) -> Any:
            made = functools.partial(function, self._original, *args, **asked(function, arguments))
            value = await call(self._portal, made, undo=undo_of(function, self._original))
            if closes:
                forget(self)
            return value

        return method

    def receiving(self, function: Method) -> Method:
        """Make a method that awaits the next item."""

        @functools.wraps(function)
        async def method(self: Face) -> Any:
            assert self._reading is not None
            item = await take(self._portal, self._reading)
            return translate(self._portal, item) if type(item) in ASYNCIO.faces else item

        return method

    def crossing(self, portal: Portal, manager: AbstractAsyncContextManager[Any], translate: Translate) -> Any:
        """Make a block for `async with`."""
        return Crossing(portal, manager, translate)

    def iterator(self, portal: Portal, original: AsyncIterator[Any]) -> Any:
        """Make an iterator for `async for`."""
        return _Iterator(portal, original)

    def client(self, portal: Portal, client: Any) -> Any:
        """Make an `httpx.AsyncClient` for the event loop."""
        from .._transport.http.httpx_face import make_twin

        return make_twin(client, functools.partial(call, portal))

    def dressed(self, method: Method, function: Method) -> Method:
        """Give a method all that is known of the one in Trio."""
        return functools.update_wrapper(method, function)

    def function(self, entry: Function) -> Method:
        """Make the face's function, which is async where the one in Trio is: web frameworks look for that."""
        called = super().function(entry)
        if entry.how is not How.AWAITS:
            return called

        @functools.wraps(called)
        async def awaited(*args: Any, **arguments: Any) -> Any:
            hide_environment(arguments)
            return await called(*args, **arguments)

        return awaited

    def derive(self, original: Any, declared: Declared) -> type[Face]:
        """Make the face's class of a Trio class, a subclass of it."""
        members = {**self.members(original, declared), "__module__": original.__module__, "__doc__": original.__doc__}
        members |= dict.fromkeys(declared.get(How.INTERNAL, ()), _ABSENT)
        if hasattr(original, "__anext__"):
            members |= {"__aiter__": lambda self: self, "__anext__": _next(original.__anext__)}
        face: Any = types.new_class(original.__name__, (Face, original), exec_body=lambda body: body.update(members))
        pointing: type[Face] = points_to_limits(face, IN_ANYIO)
        return pointing


_ABSENT: Final = property(doc="For the library's own parts, in Trio.")


def _next(function: Method) -> Method:
    @functools.wraps(function)
    async def method(self: Face) -> Any:
        assert self._reading is not None
        try:
            item = await take(self._portal, self._reading)
        except trio.EndOfChannel:
            raise StopAsyncIteration from None
        return translate(self._portal, item) if type(item) in ASYNCIO.faces else item

    return method


def made_by_users(entry: Function, declared: Declared) -> Callable[[type[T]], type[T]]:
    """Have a class of a module for every anyio program, whose objects users make, make faces of faces; a class decorator.

    On Trio it makes what the library's own does.

    Args:
        entry: what its first argument may be.
        declared: what the face does with each public member of the library's own class.
    """
    origin: Any = entry.origin

    def decorate(cls: Any) -> Any:
        face: Any = ASYNCIO.derive(cls, declared)
        face.__init__ = ASYNCIO.constructor(entry)
        first = next(iter(inspect.signature(origin).parameters))

        def make(wanted: Any, /, *args: Any, **arguments: Any) -> Any:
            found = args[0] if args else arguments.get(first)
            return object.__new__(face if wanted is cls and isinstance(found, Face) else wanted)

        setattr(make, "__signature__", inspect.signature(origin.__init__))  # noqa: B010 - for type checkers
        cls.__new__ = make
        cls.__module__, cls.__doc__ = origin.__module__, origin.__doc__
        ASYNCIO.faces[origin] = face
        return cls

    return decorate


ASYNCIO: Final = AsyncioSide("trio_gateway.anyio", "trio_gateway")
"""The side of asyncio; on Trio its module is the library itself."""
ASYNCIO.faces.update({original: ASYNCIO.derive(original, declared) for original, declared in MEMBERS.items()})
translate: Final = ASYNCIO.translate
"""Gives what stands for a value in an asyncio program: the face of an object that lives in Trio, else the value itself."""


def function_like(origin: F, declared: Mapping[Callable[..., Any], Function]) -> Callable[[Callable[..., object]], F]:
    """Make a function of a module for every anyio program: on Trio the library's own.

    Args:
        origin: the function in Trio.
        declared: what faces do with the functions of its module.
    """
    return lambda name_only: cast("F", ASYNCIO.function(declared[origin]))  # noqa: ARG005 - only its name counts
