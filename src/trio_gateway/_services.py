"""A nursery for background services that is invisible from outside.

The one idea: a block owns its services, and neither their existence nor their end shows in what the block's body raises
(guarantee G9). Services run in shielded scopes of their own, so they outlive a cancelled body long enough for it to say
goodbye (its clean-up still has a connection), and are cancelled when the body has ended, in whatever way.

A service must not raise. One that does has a defect: the body is cancelled and the block raises `GatewayInternalError`.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar, TypeVarTuple

import trio

from ._errors import GatewayInternalError

__all__ = ["Services", "alongside", "open_services"]

_logger = logging.getLogger("trio_gateway.services")
Args = TypeVarTuple("Args")
T = TypeVar("T")


class Services:
    """Starts services of one block; made by `open_services`."""

    def __init__(self, nursery: trio.Nursery) -> None:
        self._nursery = nursery
        self._scopes: set[trio.CancelScope] = set()
        self._stopped = False
        self.failure: Exception | None = None

    def start_soon(self, service: Callable[[*Args], Awaitable[object]], *args: *Args, name: str) -> trio.CancelScope:
        """Start a service.

        Args:
            service: an async function; it should end only when cancelled or when its work is done.
            *args: its arguments.
            name: the task's name, for debuggers.

        Returns:
            The service's own scope: cancel it to end this service alone.
        """
        scope = trio.CancelScope(shield=True)
        if self._stopped:
            scope.cancel()
        self._scopes.add(scope)
        self._nursery.start_soon(self._run, scope, service, args, name=name)
        return scope

    def stop(self) -> None:
        """Cancel every service, and any that is started from now on."""
        self._stopped = True
        for scope in self._scopes:
            scope.cancel()

    async def _run(self, scope: trio.CancelScope, service: Callable[[*Args], Awaitable[object]], args: tuple[*Args]) -> None:
        try:
            with scope:
                await service(*args)
        except Exception as error:
            _logger.debug("service_failed", exc_info=error)
            if self.failure is None:
                self.failure = error
            self._nursery.cancel_scope.cancel()
        finally:
            self._scopes.discard(scope)


@asynccontextmanager
async def open_services() -> AsyncGenerator[Services]:
    """Open a block that owns background services.

    Raises:
        GatewayInternalError: a service raised; its cause is what it raised.

    Cancellation: the body is cancelled as usual; services end after it.
    """
    body_error: BaseException | None = None
    services: Services | None = None
    try:
        async with trio.open_nursery() as nursery:
            services = Services(nursery)
            try:
                yield services
            except BaseException as error:
                body_error = error
                raise
            finally:
                services.stop()
    except BaseException as error:  # noqa: ASYNC103 - what is not raised here is raised below, Cancelled too
        # Only the body, a cancellation from outside, or a signal can be in here: services never raise.
        told_below = body_error is not None or (services is not None and services.failure is not None)
        if not told_below or _holds_more_than(error, body_error):
            raise
    if services is not None and services.failure is not None:
        raise GatewayInternalError(f"a background task failed: {services.failure!r}") from services.failure
    if body_error is not None:
        raise body_error


def _holds_more_than(error: BaseException, body_error: BaseException | None) -> bool:
    """Whether the nursery caught something beside the body's own exception: a signal's KeyboardInterrupt, say.

    Compares leaves: groups are taken apart and rebuilt on their way through a nursery, so their identity says nothing.
    """
    own = set() if body_error is None else {id(leaf) for leaf in _leaves(body_error)}
    return any(id(leaf) not in own and not isinstance(leaf, trio.Cancelled) for leaf in _leaves(error))


def _leaves(error: BaseException) -> Iterator[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


async def alongside(service: Callable[[], Awaitable[object]], work: Callable[[], Awaitable[T]]) -> T:
    """Do the work while the service runs, and cancel the service at the work's end.

    Args:
        service: runs until it is cancelled; it must not raise.
        work: what to do.

    Raises:
        Exception: what the work raises, as it is and in no group.

    Cancellation: reaches both.
    """
    outcome: list[T] = []
    failure: Exception | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service)
        try:
            outcome.append(await work())
        except Exception as error:  # noqa: BLE001 - raised below: the nursery would put it into a group
            failure = error
        nursery.cancel_scope.cancel(reason="the work is done")
    if failure is not None:
        raise failure
    return outcome[0]
