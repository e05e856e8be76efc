"""Starting a user's server so that none is ever left behind, and owning it while a block runs (guarantees G1, G2 and G4).

The one idea: a server has a name before it runs. So it is asked for once, and whatever becomes of that request, a look tells what
there is, and its name is enough to stop it. A server that ran before, or that somebody else has started since, is left alone.
"""

from __future__ import annotations

import logging
import random
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import trio

from .._api import LOOK_PAUSES
from .._errors import (
    AuthenticationError,
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    HubSpawnError,
    ProtocolError,
    fresh,
)
from .._protocol.hub import HubServer, ServerName
from .._protocol.retry import reconnect_delay
from .._services import Services, open_services
from .api import UNSURE, HubApi

__all__ = ["own_server"]

_logger = logging.getLogger("trio_gateway.hub")


@asynccontextmanager
async def own_server(
    api: HubApi, name: ServerName, *, options: Mapping[str, Any] | None, limit: float
) -> AsyncGenerator[HubServer]:
    """Have a server run, and stop it when the block ends, in whatever way, if the block has started it.

    Args:
        api: the hub.
        name: the server.
        options: what the hub's form of options gives.
        limit: how long it may take until it is ready, in seconds: `startup_timeout`.

    Raises:
        HubSpawnError: the hub could not start it.
        GatewayError: as for each request; or the block ended well, and the server could not be stopped.

    Cancellation: waits, shielded and at most for `cleanup_timeout`, until a server that this block has asked for is stopped, also
        in the middle of its start.
    """
    owned = _Owned(api, name, options)
    server = await owned.bring_up(limit)
    try:
        yield server
    except BaseException:
        await owned.undo(quietly=True)  # noqa: ASYNC102 - it shields and bounds itself
        raise
    await owned.undo(quietly=False)


class _Owned:
    """A server, and what this block has done for it.

    Args:
        api: the hub.
        name: the server.
        options: what the hub's form of options gives.
    """

    def __init__(self, api: HubApi, name: ServerName, options: Mapping[str, Any] | None) -> None:
        self._api = api
        self._name = name
        self._options = options
        self._asked = False
        self._sending = False
        self._answered = trio.Event()
        self._failure: Exception | None = None
        self._settled = False
        self._started = ""
        self._attempts = 0

    @property
    def _ours(self) -> bool:
        """Whether the server there is, if there is one, may be there because this block asked for it."""
        return self._sending and not (self._answered.is_set() and _refused(self._failure))

    # ------------------------------------------------------------------------------------------------------ its beginning

    async def bring_up(self, limit: float) -> HubServer:
        """Have it run. If this raises, or is cancelled, what it has asked for is stopped."""
        began = trio.current_time()
        server: HubServer | None = None
        async with open_services() as services:
            try:
                with trio.move_on_after(limit):
                    server = await self._until_ready(services)
                if server is None:
                    raise GatewayTimeoutError("hub server start", limit, "startup_timeout", detail=f"of {self._name}")
            except BaseException as error:
                if self._ours:
                    message = "cancelled" if isinstance(error, trio.Cancelled) else str(error)
                    self._api.tell("start", self._name, message, failed=True, since=began)
                await self.undo(quietly=True)  # noqa: ASYNC102 - it shields and bounds itself
                raise
        self._settled = True
        self._api.tell("start" if self._ours else "found", self._name, since=began)
        return server

    async def _until_ready(self, services: Services) -> HubServer:
        failures, seen = 0, False
        while True:
            try:
                server = await self._api.look(self._name)
            except (GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError) as error:
                failures += 1
                known = isinstance(error, GatewayHTTPError) and error.status_code not in UNSURE
                if known or not seen or failures > self._api.config.gateway_retry_max:
                    raise
                # A hub that is started again is away for some seconds, and servers run on.
                await trio.sleep(self._retry_delay(failures))  # noqa: ASYNC120 - a cancellation may well take its place
                continue
            failures, seen = 0, True
            if server is not None and server.ready:
                if await self._api.reaches(self._name, server):
                    self._started = server.started
                    return server
                await self._pause()  # its proxy may take a moment; of a server that has died the hub learns within half a minute
            elif server is not None and server.pending == "spawn":
                end = await self._api.follow(self._name)
                if end is None:
                    await self._pause()
                elif end.failed:
                    raise HubSpawnError(self._name.user, self._name.server, end.message)
            elif server is not None:
                await self._pause()  # it is being stopped, of which a hub has nothing to follow
            elif not self._asked:
                self._ask(services)
                await self._pause()
            else:
                if self._answered.is_set():
                    await self._judge()
                await self._pause()

    def _ask(self, services: Services) -> None:
        """Ask for it in a task of its own, so that a caller who is cancelled still learns what became of it."""
        self._asked, self._sending, self._failure = True, False, None
        self._answered = answered = trio.Event()
        self._attempts = 0

        async def post() -> None:  # noqa: ASYNC910 - a request checkpoints, also one that fails
            try:
                await self._api.start(self._name, self._options, self._note_sending)
            except Exception as error:  # noqa: BLE001 - it is raised again where the answer is looked at
                self._failure = error
            answered.set()

        services.start_soon(post, name=f"trio_gateway.hub_start[{self._name}]")

    def _note_sending(self) -> None:
        self._sending = True

    async def _judge(self) -> None:  # noqa: ASYNC910 - a pause follows
        """Raise why there is no server although it was asked for; return where it is too early to say."""
        failure = self._failure
        status = failure.status_code if isinstance(failure, GatewayHTTPError) else 0
        if failure is None or status == 500:
            # Why, the hub tells best where it tells of the start: its 500 is but an "Internal Server Error".
            end = await self._api.follow(self._name)
            said = failure.message if isinstance(failure, GatewayHTTPError) else "it ended before it was ready"
            message = end.message if end is not None and end.failed else said
            raise HubSpawnError(self._name.user, self._name.server, message)
        if status == 400 and " pending " in str(failure):
            self._asked = False  # somebody's server was just being stopped: nothing was started, and it may be asked for again
        elif not (_unsure(failure) or status == 400) or self._attempts > len(LOOK_PAUSES):
            raise fresh(failure) from failure.__cause__

    async def _pause(self) -> None:
        """Wait a moment; less if a start request is answered meanwhile."""
        seconds = LOOK_PAUSES[min(self._attempts, len(LOOK_PAUSES) - 1)]  # the last one repeats
        self._attempts += 1
        if self._asked and not self._answered.is_set():
            with trio.move_on_after(seconds):
                await self._answered.wait()
        else:
            await trio.sleep(seconds)

    def _retry_delay(self, failures: int) -> float:
        config = self._api.config
        return reconnect_delay(
            failures,
            interval=config.gateway_retry_interval,
            interval_max=config.gateway_retry_interval_max,
            rng=random.Random(),  # noqa: S311 - jitter
        )

    # ------------------------------------------------------------------------------------------------------------ its end

    async def undo(self, *, quietly: bool) -> None:  # noqa: ASYNC910 - nothing to undo, nothing to wait for
        """Stop the server, if this block has asked for it; shielded and bounded. A failure is raised, or logged if `quietly`."""
        if not self._ours:
            return  # noqa: ASYNC910 - nothing to undo
        began, limit = trio.current_time(), self._api.config.cleanup_timeout
        failure: GatewayError | None = None
        with trio.move_on_after(limit, shield=True) as scope:  # noqa: ASYNC912 - stopping asks the hub
            try:
                await self._stop()
            except GatewayError as error:
                failure = error
        if scope.cancelled_caught:
            failure = GatewayTimeoutError("hub server stop", limit, "cleanup_timeout", detail=f"{self._name} may be left")
        self._api.tell("stop", self._name, "" if failure is None else str(failure), failed=failure is not None, since=began)
        if failure is not None:
            extra = {"gateway.user": self._name.user, "gateway.server": self._name.server}
            _logger.warning("hub_server_may_be_left: %s: %s", self._name, failure, extra=extra)
            if not quietly:
                raise failure

    async def _stop(self) -> None:
        """Stop the server and wait until it is gone. The caller bounds it."""
        attempts = unreached = 0
        stopping = False
        while True:
            try:
                server = await self._api.look(self._name)
                unreached = 0
                if server is None:
                    if stopping or self._is_gone(attempts):
                        return
                elif self._started and server.started and server.started != self._started:
                    return  # it was stopped, and what runs there now is somebody else's
                elif server.pending != "stop":
                    stopping = True
                    if await self._api.stop(self._name):
                        return
            except AuthenticationError:
                raise
            except (GatewayConnectionError, GatewayTimeoutError, GatewayHTTPError):
                unreached += 1
                if unreached > len(LOOK_PAUSES):
                    raise
            await trio.sleep(LOOK_PAUSES[min(attempts, len(LOOK_PAUSES) - 1)])
            attempts += 1

    def _is_gone(self, attempts: int) -> bool:
        """Whether a server that is not there has ended, rather than not yet begun."""
        if self._settled:
            return True
        if not self._answered.is_set():
            return False  # the request may be on its way still
        return not _unsure(self._failure) or attempts > len(LOOK_PAUSES)


def _unsure(failure: Exception | None) -> bool:
    """Whether a start request ended so that the hub may be starting the server all the same."""
    if isinstance(failure, GatewayHTTPError):
        return failure.status_code in UNSURE
    return isinstance(failure, (GatewayConnectionError, GatewayTimeoutError, ProtocolError)) and not _refused(failure)


def _refused(failure: Exception | None) -> bool:
    """Whether a start request ended so that it has started nothing."""
    if isinstance(failure, GatewayHTTPError):
        return failure.status_code < 500 and failure.status_code not in UNSURE
    if isinstance(failure, GatewayTimeoutError):
        return failure.setting == "connect_timeout"
    return isinstance(failure, GatewayConnectionError) and not failure.sent
