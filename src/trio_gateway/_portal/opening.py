"""`open_gateway`, `open_local_gateway`, `open_hub` and `open_fleet` for every anyio program.

The one idea: what is opened is looked up when a block is entered: on Trio the library's own, on asyncio its face.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractAsyncContextManager
from types import TracebackType
from typing import Any, TypeVar, cast

import attrs
import sniffio

from .._config import GatewayConfig, hidden_settings
from .._fleet import fleet
from .._fleet.options import FleetGateway
from .._gateway import gateway
from .._hub import opening as hub
from .._tokens import TokenRenewer
from .._transport.blocks import block
from .asyncio_faces import translate
from .asyncio_side import PortalCrossing
from .callbacks import listen_in_loop, renew_in_loop
from .portal import Portal

__all__ = ["open_fleet", "open_gateway", "open_hub", "open_local_gateway"]

Opener = TypeVar("Opener", bound=Callable[..., AbstractAsyncContextManager[Any]])


def _anywhere(opener: Opener) -> Callable[[Callable[[], None]], Opener]:
    """Make a function with the signature and docstring of `opener` that opens the same on every anyio backend."""

    def decorate(name_only: Callable[[], None]) -> Opener:
        del name_only

        @functools.wraps(opener)
        @block(opener.__name__)
        def open_anywhere(*args: Any, **arguments: Any) -> AbstractAsyncContextManager[Any]:
            args = tuple(map(gateway.hidden_url, args))
            arguments = hidden_settings(arguments, but=gateway.PLAIN_ARGUMENTS)
            return _Anywhere(opener, args, arguments)

        return cast("Opener", open_anywhere)

    return decorate


class _Anywhere(AbstractAsyncContextManager[Any]):
    """The block of a gateway or a fleet, on the backend on which it is entered. It can be entered once.

    It is not made of a generator: where an asyncio program leaves a block behind in a generator of its own, the event loop ends
    all generators in an order of chance, and Python complains of the outer one if the inner one was ended first.

    Args:
        opener: the library's own.
        args: its arguments.
        arguments: those by name.
    """

    def __init__(
        self, opener: Callable[..., AbstractAsyncContextManager[Any]], args: tuple[Any, ...], arguments: Mapping[str, Any]
    ) -> None:
        self._opener = opener
        self._args = args
        self._arguments = arguments
        self._manager: AbstractAsyncContextManager[Any] | None = None

    async def __aenter__(self) -> Any:
        if sniffio.current_async_library() == "trio":
            self._manager = self._opener(*self._args, **self._arguments)
        else:
            open_it = functools.partial(_open_with_portal, self._opener, self._args, self._arguments)
            self._manager = PortalCrossing(open_it, translate)
        return await self._manager.__aenter__()

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool | None:
        assert self._manager is not None
        return await self._manager.__aexit__(kind, error, traceback)  # noqa: ASYNC102 - what it does there is its own business


def _open_with_portal(
    opener: Callable[..., AbstractAsyncContextManager[Any]],
    args: tuple[Any, ...],
    arguments: Mapping[str, Any],
    portal: Portal,
) -> AbstractAsyncContextManager[Any]:
    loop = asyncio.get_running_loop()
    changed: dict[str, Any] = {}
    if "on_event" in arguments:
        changed["on_event"] = listen_in_loop(arguments["on_event"], loop, portal)
    if isinstance(arguments.get("token_renewer"), TokenRenewer):
        changed["token_renewer"] = renew_in_loop(arguments["token_renewer"], loop)
    arguments = {**arguments, **changed}
    if "token_renewer" not in changed:
        renewing = functools.partial(_with_renewers_in_loop, loop=loop)
        args = tuple(map(renewing, args))
        arguments |= {name: renewing(arguments[name]) for name in ("gateway", "gateways") if name in arguments}
    return opener(*args, **arguments)


def _with_renewers_in_loop(given: Any, *, loop: asyncio.AbstractEventLoop) -> Any:
    """Have the renewers of configurations run in an event loop. What is no configuration stays as it is."""
    renewing = functools.partial(_with_renewers_in_loop, loop=loop)
    if isinstance(given, GatewayConfig) and given.token_renewer is not None:
        return given.replace(token_renewer=renew_in_loop(given.token_renewer, loop))
    if isinstance(given, FleetGateway):
        return attrs.evolve(given, gateway=renewing(given.gateway))
    return [renewing(one) for one in cast("Sequence[Any]", given)] if isinstance(given, (list, tuple)) else given


@_anywhere(fleet.open_fleet)
def open_fleet() -> None:
    """What is decorated here only gives its name."""


@_anywhere(gateway.open_gateway)
def open_gateway() -> None:
    """What is decorated here only gives its name."""


@_anywhere(hub.open_hub)
def open_hub() -> None:
    """What is decorated here only gives its name."""


@_anywhere(gateway.open_local_gateway)
def open_local_gateway() -> None:
    """What is decorated here only gives its name."""
