"""One poller for all kernels of a gateway.

The one idea: polling costs the gateway, so only kernels that owe someone an answer, or whose state someone waits for, and that
have been silent for a while are looked after. One that owes an answer is first asked itself, over its own connection; the gateway
is asked about those that do not answer, and about the others, all of them with one list where it allows that, else one by one.
"""

from __future__ import annotations

import logging
from collections.abc import Generator
from contextlib import contextmanager
from typing import Final

import trio

from .._api import KernelApi
from .._errors import AuthenticationError, GatewayConnectionError, GatewayError, GatewayTimeoutError
from .session import KernelSession

__all__ = ["KernelWatch"]

_logger = logging.getLogger("trio_gateway.heartbeat")

AT_ONCE: Final = 5
"""How many single requests may be under way at once."""
LIST_FROM: Final = 3
"""From so many silent kernels on, a list is cheaper than single requests."""


class KernelWatch:
    """Looks after the sessions of one gateway. `run` is a service of the gateway's block.

    Args:
        api: the gateway's REST interface.
        interval: how long a kernel that owes an answer may be silent before the gateway is asked, in seconds.
    """

    def __init__(self, api: KernelApi, interval: float) -> None:
        self._api = api
        self._interval = interval
        self._sessions: set[KernelSession] = set()
        self._some = trio.Event()
        self._may_list = True
        self._at_once = trio.CapacityLimiter(AT_ONCE)

    @contextmanager
    def watching(self, session: KernelSession) -> Generator[None]:
        """Look after a session while the block lasts."""
        self._sessions.add(session)
        self._some.set()
        try:
            yield
        finally:
            self._sessions.discard(session)

    async def run(self) -> None:
        """Ask silent kernels, and about them, until cancelled."""
        while True:
            await self._some.wait()
            await trio.sleep(self._interval)
            if not self._sessions:
                self._some = trio.Event()
                continue
            now = trio.current_time()
            quiet = [
                session for session in self._sessions if session.ended is None and session.liveness.quiet(now) >= self._interval
            ]
            silent = await _mute([session for session in quiet if session.waits])
            # A question to a kernel may count as use, and keep it from being culled: for mere news the gateway is asked.
            silent += [session for session in quiet if session.status.watched and not session.waits]
            if len(silent) >= LIST_FROM and self._may_list:
                silent = await self._ask_for_all(silent)
            async with trio.open_nursery() as nursery:
                for session in silent:
                    nursery.start_soon(self._ask_for_one, session)

    async def _ask_for_one(self, session: KernelSession) -> None:
        async with self._at_once:
            await session.checks.ask_gateway()

    async def _ask_for_all(self, silent: list[KernelSession]) -> list[KernelSession]:
        """Ask with one list; return the sessions that need a look of their own: a list may lack a kernel that lives."""
        try:
            models = {model.id: model for model in await self._api.list()}
        except AuthenticationError:
            self._may_list = False  # forbidden, as it is by default
            return silent
        except (GatewayConnectionError, GatewayTimeoutError):
            for session in silent:
                session.liveness.unreachable()
            return []
        except GatewayError as error:
            _logger.debug("list_failed", extra={"gateway.reason": repr(error)})
            return silent
        unlisted = []
        for session in silent:
            model = models.get(session.kernel_id)
            if model is None or session.checks.listed(model):
                unlisted.append(session)
        return unlisted


async def _mute(sessions: list[KernelSession]) -> list[KernelSession]:
    """Ask kernels themselves, all at once; return those that did not answer."""
    mute: list[KernelSession] = []

    async def ask(session: KernelSession) -> None:
        session.checks.find_lost()
        if not await session.checks.ask_kernel():
            mute.append(session)

    async with trio.open_nursery() as nursery:
        for session in sessions:
            nursery.start_soon(ask, session)
    return mute
