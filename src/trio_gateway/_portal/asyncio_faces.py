"""The library's objects as asyncio programs hold them: twins that are made out of the classes themselves.

The one idea: nothing is written twice. A twin's class is a subclass that is derived from the Trio class when this module is
imported: each public method and property is replaced by one that does the same thing over there, and what comes of it is given
as a twin again where there is one. So signatures, types and docstrings are the same by construction, `isinstance` tells the
truth, and a method that is added to the Trio class is there for asyncio too.
"""

from __future__ import annotations

import functools
import inspect
import types
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, suppress
from typing import Any, Final

import trio

from .._documents.sessions import Sessions
from .._gateway.gateway import Gateway
from .._gateway.kernels import Kernels
from .._gateway.kernelspecs import KernelSpecDirectory
from .._kernel.channels import Channel, Subscription
from .._kernel.comms import Comm, Comms, IncomingComms
from .._kernel.executor import OutputStream
from .._kernel.frame_relay import KernelChannels
from .._kernel.kernel import HeartbeatChannel, Kernel, Subshell
from .._limits import IN_ANYIO, points_to_limits
from .asyncio_side import Crossing, call, take
from .calls import Realm, asking
from .prefetch import Reading, forget, read
from .undoing import undo_of

__all__ = ["original_of", "translate"]

IN_TRIO: Final = frozenset({"sessions", "evidence", "verdict", "silence", "is_beating", "receive_nowait", "statistics"})
"""What does not wait but reads Trio's clock or changes things: it is called over there. All other reading is done on the spot."""

CALLBACKS: Final = frozenset({"stdin"})
"""Parameters that are functions of the caller's."""


class _Twin:
    """What each twin has."""

    _realm: Realm
    _original: Any
    _reading: Reading[Any] | None
    _properties: dict[str, Any]

    def __repr__(self) -> str:
        return repr(self._original)


def translate(realm: Realm, value: Any) -> Any:
    """Give what stands for a value in an asyncio program: a twin of an object that lives in Trio, else the value itself."""
    twin = _TWINS.get(type(value))
    if twin is not None:
        made: Any = object.__new__(twin)
        reading = read(value) if issubclass(twin, AsyncIterator) or hasattr(twin, "receive") else None
        made._realm, made._original, made._reading, made._properties = realm, value, reading, {}  # noqa: SLF001
        return made
    if isinstance(value, AbstractAsyncContextManager):
        return Crossing(realm, value, translate)
    if isinstance(value, AsyncIterator):
        return _IteratorTwin(realm, value)
    return value


def original_of(face: Any) -> Any:
    """Return the object in Trio that a twin stands for."""
    return face._original  # noqa: SLF001


def _http_client(realm: Realm, client: Any) -> Any:
    from .._transport.http.httpx_face import make_twin

    return make_twin(client, lambda function: call(realm, function))


class _IteratorTwin(AsyncIterator[Any]):
    """An iterator without a class of its own, such as that of `Kernel.changes`."""

    def __init__(self, realm: Realm, original: AsyncIterator[Any]) -> None:
        self._realm = realm
        self._reading = read(original)

    async def __anext__(self) -> Any:
        return await take(self._realm, self._reading)


def _derive(original: type) -> type:
    namespace: dict[str, Any] = {"__module__": original.__module__, "__doc__": original.__doc__, "__repr__": _Twin.__repr__}
    for name in dir(original):
        member = inspect.getattr_static(original, name)
        if name == "__aiter__":
            namespace[name] = lambda self: self
        elif name in ("receive", "__anext__"):
            namespace[name] = _taking(name, member)
        elif name.startswith("_"):
            continue
        elif isinstance(member, property):
            namespace[name] = _property(name, member)
        elif inspect.iscoroutinefunction(member):
            namespace[name] = _async_method(member)
        elif inspect.isfunction(member):
            namespace[name] = _method(name, member)
    twin = types.new_class(original.__name__, (original,), exec_body=lambda body: body.update(namespace))
    return points_to_limits(twin, IN_ANYIO)


def _taking(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def taking(self: Any) -> Any:
        try:
            item = await take(self._realm, self._reading)
        except trio.EndOfChannel:
            if name == "receive":
                raise
            raise StopAsyncIteration from None
        return translate(self._realm, item) if type(item) in _TWINS else item

    return taking


def _async_method(function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    async def method(self: Any, *args: Any, **arguments: Any) -> Any:
        made = functools.partial(function, self._original, *args, **_asked(arguments))
        value = await call(self._realm, made, undo=undo_of(function, self._original))
        if function.__name__ == "aclose":
            forget(self)
        return translate(self._realm, value)

    return method


def _method(name: str, function: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(function)
    def method(self: Any, *args: Any, **arguments: Any) -> Any:
        made = functools.partial(function, self._original, *args, **_asked(arguments))
        if name == "receive_nowait":
            self._realm.thread.check_process()
            with suppress(IndexError):
                return self._reading.claim()
        if name == "receive_ready":
            items = self._realm.run_sync(lambda: self._reading.receive_ready(*args, **arguments))
            return [translate(self._realm, item) if type(item) in _TWINS else item for item in items]
        if name == "statistics" and self._reading is not None:
            return self._realm.run_sync(lambda: self._reading.count_in(made()))
        if name == "http_client":
            return Crossing(self._realm, made(), _http_client)
        return translate(self._realm, self._realm.run_sync(made) if name in IN_TRIO else made())

    return method


def _property(name: str, member: property) -> property:
    def read(self: Any) -> Any:
        made = functools.partial(getattr, self._original, name)
        value = self._realm.run_sync(made) if name in IN_TRIO else made()
        if name == "dropped_events":
            value += self._realm.dropped_events
        if type(value) not in _TWINS:
            return value
        # As over there, it is the same object each time.
        twin = self._properties.get(name)
        if twin is None:
            twin = self._properties[name] = translate(self._realm, value)
        return twin

    return property(read, doc=member.__doc__)


def _asked(arguments: Mapping[str, Any]) -> Mapping[str, Any]:
    return {name: asking(value) if name in CALLBACKS and callable(value) else value for name, value in arguments.items()}


_TWINS: Final[Mapping[type, type]] = {
    original: _derive(original)
    for original in (
        Gateway,
        KernelChannels,
        Kernels,
        KernelSpecDirectory,
        Sessions,
        Kernel,
        Subshell,
        HeartbeatChannel,
        Channel,
        Subscription,
        OutputStream,
        Comms,
        Comm,
        IncomingComms,
    )
}
