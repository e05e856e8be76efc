"""What the status page shows of a gateway, and how old each part of it is.

The one idea: a part keeps the last good answer, when it was asked for, and since when nothing has come in its place. So nobody
waits for a gateway that hangs, and what is old says so.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, Final, Generic, TypeVar

import attrs
import trio

from .._errors import AuthenticationError, GatewayError, ProtocolError, SessionStoreError
from .._gateway.gateway import Gateway
from .._models import KernelModel, SessionModel
from .._protocol.masking import one_line
from ._shapes import error_of

__all__ = ["Gather", "News", "Part"]

LOOK_SECONDS: Final = 3.0
"""How long a look at the gateway may take, in seconds, unless the last ones took long too."""
LONGEST_LOOK: Final = 12.0
"""How long it may take at most, in seconds."""
JOIN_SECONDS: Final = 0.8
"""How long is waited for a look that somebody else makes, in seconds."""
SILENT_SECONDS: Final = 2.0
"""For how long a question may be unanswered before the page says so, in seconds."""
SELDOM_SECONDS: Final = 60.0
"""How often the gateway is asked for what hardly ever changes, in seconds."""
AGAIN_SECONDS: Final = 10.0
"""How often it is asked for that where it did not tell, in seconds."""
_LONGEST_VERSION: Final = 60

T = TypeVar("T")


@attrs.define
class Part(Generic[T]):
    """One part of what is known. Pure: what time it is, in seconds, is an argument.

    Args:
        value: what is known before anything was heard.
    """

    value: T
    """The last good answer."""
    asked_at: float | None = attrs.field(default=None, init=False)
    """When that was asked for; None before there is one."""
    failure: str | None = attrs.field(default=None, init=False)
    """Why the last question had no good answer; None where it had one, or none is known yet."""
    open_since: float | None = attrs.field(default=None, init=False)
    """Since when there is a question without a good answer; None where there is none."""

    tried_at: float | None = attrs.field(default=None, init=False)
    """When the last question was asked; None before there is one."""

    def ask(self, now: float) -> None:
        """A question is asked."""
        self.tried_at = now
        if self.open_since is None:
            self.open_since = now

    def answer(self, value: T, asked_at: float) -> None:
        """The question that was asked at that time has a good answer."""
        self.value, self.asked_at = value, asked_at
        self.failure = self.open_since = None

    def fail(self, failure: str) -> None:
        """The question has no good answer, and this is why."""
        self.failure = failure

    def age(self, now: float) -> float | None:
        """Return how old the value is, in seconds; None where there is none."""
        return None if self.asked_at is None else max(0.0, now - self.asked_at)

    def unanswered(self, now: float) -> float | None:
        """Return for how long a good answer has been waited for, in seconds; None where it came."""
        return None if self.open_since is None else max(0.0, now - self.open_since)

    def is_due(self, now: float) -> bool:
        """Whether it is time to ask for what hardly ever changes."""
        pause = SELDOM_SECONDS if self.open_since is None else AGAIN_SECONDS
        return self.tried_at is None or now - self.tried_at >= pause

    def problem(self, now: float) -> str | None:
        """Return what is wrong; None where nothing is, as far as is known."""
        silent = (self.unanswered(now) or 0.0) > SILENT_SECONDS
        return self.failure or ("the gateway does not answer" if silent else None)


@attrs.frozen
class News:
    """What is known of a gateway."""

    kernels: Part[Sequence[KernelModel]] = attrs.field(factory=lambda: Part(()))
    """Its kernels."""
    sessions: Part[Sequence[SessionModel]] = attrs.field(factory=lambda: Part(()))
    """The sessions."""
    names: Part[Mapping[str, str]] = attrs.field(factory=lambda: Part({}))
    """The names to show for kernelspecs, by their own names."""
    versions: Part[tuple[str | None, str | None]] = attrs.field(factory=lambda: Part((None, None)))
    """The version of its Jupyter server, and of the gateway itself, where it tells."""
    lists_all: Part[bool | None] = attrs.field(factory=lambda: Part(None))
    """Whether it lists all kernels, or forbids that, as gateways do by default."""
    states: dict[str, tuple[str, float]] = attrs.field(factory=dict)
    """In which state each kernel is, and since when it was seen in it, in seconds of Trio's clock."""

    def running(self) -> list[KernelModel]:
        """Return the kernels that there are: where the gateway forbids listing, only the sessions know some of them."""
        models = {session.kernel.id: session.kernel for session in self.sessions.value}
        models |= {model.id: model for model in self.kernels.value}
        return list(models.values())

    def see_states(self, now: float) -> None:
        """Note in which state each kernel is, and forget those that are gone."""
        before = dict(self.states)
        self.states.clear()
        for model in self.running():
            state, since = before.get(model.id, ("", now))
            self.states[model.id] = (state, since) if state == model.execution_state else (model.execution_state, now)


class Gather:
    """Asks a gateway for the page: once at a time, however many pages are open, and never for long.

    Args:
        gateway: the gateway.
    """

    def __init__(self, gateway: Gateway) -> None:
        self.news = News()
        self._gateway = gateway
        self._limit = LOOK_SECONDS
        self._begun = 0
        self._under_way: trio.Event | None = None

    async def look(self) -> None:
        """See what there is to see. Raises nothing of the gateway's: what went wrong stands in the news.

        A look that others have begun is waited for a moment; only one that begins after this call is as good as one's own.

        Cancellation: safe; a look of one's own ends.
        """
        begun = self._begun
        with trio.move_on_after(JOIN_SECONDS):
            while self._under_way is not None:
                ours = self._begun > begun
                await self._under_way.wait()
                if ours:
                    return
        if self._under_way is None:
            await self._look()

    async def _look(self) -> None:
        self._begun += 1
        self._under_way = trio.Event()
        started = trio.current_time()
        try:
            await self._ask_all(started)
        finally:
            self._under_way.set()
            self._under_way = None

    async def _ask_all(self, now: float) -> None:
        news, gateway = self.news, self._gateway
        seldom: list[tuple[Part[Any], Callable[[], Awaitable[Any]]]] = [
            (news.names, self._names),
            (news.versions, self._versions),
            (news.lists_all, self._lists_all),
        ]
        async with trio.open_nursery() as nursery:
            for part, way in seldom:
                if part.is_due(now):
                    nursery.start_soon(self._ask, part, way, LOOK_SECONDS)
            async with trio.open_nursery() as both:
                both.start_soon(self._ask, news.kernels, gateway.kernels.list, self._limit)
                both.start_soon(self._ask, news.sessions, gateway.sessions.list, self._limit)
            news.see_states(now)
            # A gateway that is slow is given more time the next time, or it would never be heard.
            self._limit = min(max(LOOK_SECONDS, 2 * (trio.current_time() - now)), LONGEST_LOOK)

    async def _ask(self, part: Part[Any], way: Callable[[], Awaitable[Any]], limit: float) -> None:
        now = trio.current_time()
        part.ask(now)
        with trio.move_on_after(limit) as scope:
            try:
                part.answer(await way(), now)
            except SessionStoreError:
                part.fail("the proxy's record of sessions can't be read")
            except GatewayError as error:
                part.fail(error_of(error)[1])
        if scope.cancelled_caught:
            part.fail(f"the gateway did not answer within {limit:.0f} s")

    async def _lists_all(self) -> bool:
        try:
            await self._gateway.kernels.list(complete=True)
        except AuthenticationError as error:
            if error.status_code != 403:
                raise
            return False
        return True

    async def _names(self) -> dict[str, str]:
        specs = (await self._gateway.kernelspecs.list()).kernelspecs
        return {name: spec.display_name or name for name, spec in specs.items()}

    async def _versions(self) -> tuple[str | None, str | None]:
        async with self._gateway.http_client() as client:
            answer = await client.get("api")
        try:
            said = answer.json()
        except (ValueError, RecursionError):
            said = None
        if answer.status_code != 200 or not isinstance(said, dict):
            raise ProtocolError("it tells no version")
        told = [said.get(name) for name in ("version", "gateway_version")]
        first, second = [one_line(version, _LONGEST_VERSION) if isinstance(version, str) else None for version in told]
        return first, second
