"""`open_gateway` and `open_local_gateway` for every anyio program.

The one idea: what is opened is looked up when a block is entered: on Trio the library's own, on asyncio its face.
"""

from __future__ import annotations

import asyncio
import functools
from collections.abc import AsyncGenerator, Callable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from typing import Any, TypeVar, cast

import sniffio

from .._config import GatewayConfig, hidden_settings
from .._gateway import gateway
from .._gateway.gateway import Gateway
from .._tokens import TokenRenewer
from .._transport.blocks import block
from .asyncio_faces import translate
from .asyncio_side import PortalCrossing
from .callbacks import listen_in_loop, renew_in_loop
from .portal import Portal

__all__ = ["open_gateway", "open_local_gateway"]

Opener = TypeVar("Opener", bound=Callable[..., AbstractAsyncContextManager[Gateway]])


def _anywhere(opener: Opener) -> Callable[[Callable[[], None]], Opener]:
    """Make a function with the signature and docstring of `opener` that opens the same on every anyio backend."""

    def decorate(name_only: Callable[[], None]) -> Opener:
        del name_only

        @functools.wraps(opener)
        @block(opener.__name__)
        @asynccontextmanager
        async def open_anywhere(*args: Any, **arguments: Any) -> AsyncGenerator[Gateway]:
            args = tuple(map(gateway.hidden_url, args))
            arguments = hidden_settings(arguments, but=gateway.PLAIN_ARGUMENTS)
            manager: AbstractAsyncContextManager[Gateway]
            if sniffio.current_async_library() == "trio":
                manager = opener(*args, **arguments)
            else:
                manager = PortalCrossing(functools.partial(_open_with_portal, opener, args, arguments), translate)
            async with manager as opened:
                yield opened

        return cast("Opener", open_anywhere)

    return decorate


def _open_with_portal(
    opener: Callable[..., AbstractAsyncContextManager[Gateway]],
    args: tuple[Any, ...],
    arguments: Mapping[str, Any],
    portal: Portal,
) -> AbstractAsyncContextManager[Gateway]:
    loop = asyncio.get_running_loop()
    changed: dict[str, Any] = {}
    if "on_event" in arguments:
        changed["on_event"] = listen_in_loop(arguments["on_event"], loop, portal)
    if isinstance(arguments.get("token_renewer"), TokenRenewer):
        changed["token_renewer"] = renew_in_loop(arguments["token_renewer"], loop)
    given = args[0] if args else arguments.get("gateway")
    if isinstance(given, GatewayConfig) and given.token_renewer is not None and "token_renewer" not in changed:
        changed["token_renewer"] = renew_in_loop(given.token_renewer, loop)
    return opener(*args, **{**arguments, **changed})


@_anywhere(gateway.open_gateway)
def open_gateway() -> None:
    """What is decorated here only gives its name."""


@_anywhere(gateway.open_local_gateway)
def open_local_gateway() -> None:
    """What is decorated here only gives its name."""
