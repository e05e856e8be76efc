"""Looking for the kernel of a start whose end is not known, until it is found or can't come any more (guarantee G2).

The one idea: until a start must have ended, no answer proves that there is no kernel. A gateway knows a kernel only when its
start has succeeded, and goes on with a start whose connection broke (Kernel Gateway 3 on jupyter_client 8; Enterprise Gateway
3.3, whose replicas learn of a kernel from what the first one writes then); and behind a balancer any replica may answer. So one
looks again and again: at first while the caller waits, and then in the background of the gateway's block. Its caller and the end
of the block a search holds up for `cleanup_timeout` at most, together. One that ends without proof says so.
"""

from __future__ import annotations

import logging
import math
from collections.abc import AsyncGenerator, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Final

import attrs
import trio

from .._api import LOOK_PAUSES, KernelApi
from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubServerNotRunningError,
    KernelNotFoundError,
    ProtocolError,
)
from .._models import KernelModel
from .._protocol.retry import was_never_passed_on
from .._services import Services, open_services

__all__ = ["QUICK_LOOKS", "Search", "Searches", "may_be_left", "open_searches", "say_left"]

_logger = logging.getLogger("trio_gateway.kernels")

_WHILE_STARTING: Final = len(LOOK_PAUSES) + 1
"""For how many looks a caller waits whose connection broke: some six seconds, in which most kernels are there."""
QUICK_LOOKS: Final = 2
"""For how many looks a caller waits whom something before the gateway has answered; and any caller, where nobody can be asked."""
_UNREACHED: Final = 4
"""After how many looks in a row that reach no gateway the end of a gateway's block waits no longer."""
_NOT_GATEWAYS: Final = frozenset({408, 502, 503, 504})
"""Statuses that something before a gateway answers with."""


def may_be_left(outcome: KernelModel | Exception | None) -> float:
    """Say what a start request may have left, by how it ended.

    Args:
        outcome: the answer; or what went wrong; or None where there is no answer yet.

    Returns:
        For how many looks a caller should wait: 0 where there is no kernel for certain, 1 where the start has ended and there is
        hardly one, infinity for as long as the caller may be held up.
    """
    if isinstance(outcome, GatewayTimeoutError):
        return 0 if outcome.setting == "connect_timeout" else math.inf
    if isinstance(outcome, GatewayConnectionError):
        return _WHILE_STARTING if outcome.sent else 0
    if isinstance(outcome, ProtocolError):
        return _WHILE_STARTING
    if isinstance(outcome, HubServerNotRunningError):
        return 0  # a hub answered, and there is no server that could have started anything
    if isinstance(outcome, GatewayHTTPError):
        status = outcome.status_code
        if (status < 500 and status != 408) or was_never_passed_on(status, outcome.message):
            return 0
        # Of a gateway's own error its start is over. 502 and 504 are about a server behind the one that answers.
        return 1 if outcome.from_gateway and status not in {408, 502, 504} else QUICK_LOOKS
    return math.inf if outcome is None else 0


@attrs.define(eq=False)
class Search:
    """A search for one kernel.

    Args:
        api: the gateway's REST interface.
        kernel_id: the id that its start asked for.
        until: when that start must have ended, on Trio's clock: what a gateway says then is true.
    """

    api: KernelApi
    kernel_id: str
    until: float
    held: float = 0.0
    """How long it has held somebody up, in seconds."""
    settled: bool = False
    """Whether there is no such kernel for certain; or its kernel is somebody's."""
    over: bool = False
    """Whether the last look has been taken: the start must have ended."""
    ending: bool = False
    """Whether the gateway's block waits for its end."""
    scope: trio.CancelScope = attrs.field(factory=trio.CancelScope, init=False)
    """What it runs in, in the background."""
    done: trio.Event = attrs.field(factory=trio.Event, init=False)
    """Set when it has ended, in the background."""
    _unwanted: trio.Event = attrs.field(factory=trio.Event, init=False)
    _looks: int = attrs.field(default=0, init=False)
    _unreached: int = attrs.field(default=0, init=False)
    _last: GatewayError | None = attrs.field(default=None, init=False)

    @property
    def hopeless(self) -> bool:
        """Whether it is time for the end of a gateway's block to wait no longer, because nobody can be asked."""
        return self.ending and self._unreached >= _UNREACHED

    @property
    def never_came(self) -> bool:
        """Whether the gateway itself has said, when the start must have ended, that there is no such kernel."""
        return self.settled and self.over and isinstance(self._last, KernelNotFoundError)

    @property
    def reason(self) -> str:
        """Why the kernel may be left, for people."""
        if self._last is not None and not isinstance(self._last, KernelNotFoundError):
            return str(self._last)
        limit = self.api.config.cleanup_timeout
        return f"its start may go on still, and after cleanup_timeout = {limit:g} s nobody looks for it any more"

    def drop(self) -> None:
        """Look no more: the kernel is somebody's who knows its id."""
        self._unwanted.set()

    @contextmanager
    def holding(self) -> Generator[None]:
        """Count the time of the block as one in which somebody is held up."""
        began = trio.current_time()
        try:
            yield
        finally:
            self.held += trio.current_time() - began

    async def look(self, looks: float = math.inf, *, unreached: float = math.inf) -> None:  # noqa: ASYNC910 - each look asks
        """Look until it is settled, or until the start must have ended; so often at most. Raises nothing.

        Args:
            looks: how often.
            unreached: after how many looks in a row that reach no gateway it is left off.

        Cancellation: safe; a look that is under way may have ended the kernel.
        """
        while looks > 0 and not self.settled and not self.over and not self.hopeless and self._unreached < unreached:
            pause = LOOK_PAUSES[min(self._looks, len(LOOK_PAUSES) - 1)]  # the last one repeats
            with trio.move_on_after(min(pause, max(self.until - trio.current_time(), 0.0))):
                await self._unwanted.wait()
            if self._unwanted.is_set():
                self.settled = True
                return
            self.over = trio.current_time() >= self.until
            looks -= 1
            await self._look_once()
            self.settled = self.settled or (self.over and isinstance(self._last, KernelNotFoundError))

    async def _look_once(self) -> None:  # noqa: ASYNC910 - a request checkpoints, also one that fails
        """Shut the kernel down, if it is there."""
        self._looks += 1
        try:
            await self.api.shutdown(self.kernel_id, action="cleanup", retry=False)
        except KernelNotFoundError as error:
            self._last, self._unreached = error, 0
        except GatewayError as error:
            self._last = error
            self._unreached = 0 if _is_gateways(error) else self._unreached + 1
            _logger.debug("look_failed", extra={"gateway.kernel_id": self.kernel_id, "gateway.reason": repr(error)})
        else:
            self.settled = True


class Searches:
    """The searches of one gateway's block that go on in its background. Made by `open_searches`.

    Args:
        services: of the block.
        api: the gateway's REST interface.
    """

    def __init__(self, services: Services, api: KernelApi) -> None:
        self._services = services
        self._api = api
        self._limit = api.config.cleanup_timeout
        self._running: dict[str, Search] = {}

    def __len__(self) -> int:
        return len(self._running)

    def take(self, search: Search) -> None:
        """Go on with a search in the background."""
        self._running[search.kernel_id] = search
        self._services.start_soon(self._run, search, name=f"trio_gateway.search[{search.kernel_id:.8}]")

    def look_for(self, kernel_id: str, until: float) -> None:
        """Look for a kernel that was shut down, in the background, as long as a restart may bring it back.

        Args:
            kernel_id: the kernel.
            until: when that restart must have ended, on Trio's clock.
        """
        self.take(Search(self._api, kernel_id, until))

    async def release(self, kernel_id: str) -> None:  # noqa: ASYNC910 - it waits where there is a search
        """Look for a kernel no more: a caller asks for it by its id, and is to have it.

        Cancellation: safe.
        """
        search = self._running.get(kernel_id)
        if search is not None:
            search.drop()
            await search.done.wait()

    async def finish(self) -> None:  # noqa: ASYNC910 - without searches there is nothing to wait for
        """Wait for the searches, for each as long as it may still hold somebody up. The caller shields it."""
        for search in self._running.values():
            search.ending = True
            search.scope.deadline = trio.current_time() + max(self._limit - search.held, 0.0)
            if search.hopeless:
                search.scope.cancel(reason="nobody can be asked")
        for search in list(self._running.values()):
            await search.done.wait()

    async def _run(self, search: Search) -> None:  # noqa: ASYNC910 - a search checkpoints
        try:
            with search.scope:
                await search.look()
        finally:
            if self._running.get(search.kernel_id) is search:
                del self._running[search.kernel_id]
            search.done.set()
            if not search.settled:
                say_left(search.api, search.kernel_id, search.reason)


@asynccontextmanager
async def open_searches(api: KernelApi) -> AsyncGenerator[Searches]:
    """Open the background of a gateway's block for searches.

    Args:
        api: the gateway's REST interface. Kernels that it has shut down, and that a restart may bring back, are looked for too.

    Cancellation: waits, shielded and at most for `cleanup_timeout`, for the searches that there are.
    """
    async with open_services() as services:
        searches = Searches(services, api)
        api.look_on = searches.look_for
        try:
            yield searches
        finally:
            api.look_on = None
            if searches:
                with trio.move_on_after(api.config.cleanup_timeout, shield=True):
                    await searches.finish()


def say_left(api: KernelApi, kernel_id: str, reason: str) -> None:
    """Say that a kernel may be left: in the log, and by an event.

    Args:
        api: the gateway's REST interface.
        kernel_id: the kernel.
        reason: why, for people.
    """
    _logger.warning("kernel_may_be_left: %s: %s", kernel_id, reason, extra={"gateway.kernel_id": kernel_id})
    api.tell("cleanup", kernel_id=kernel_id, message=f"it may be left: {reason}")


def _is_gateways(error: GatewayError) -> bool:
    """Whether a gateway has answered."""
    if not isinstance(error, GatewayHTTPError) or isinstance(error, HubServerNotRunningError):
        return False
    return error.from_gateway and error.status_code not in _NOT_GATEWAYS
