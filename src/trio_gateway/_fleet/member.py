"""One gateway of a fleet: its block, in a task of its own; what is known of it; and what the fleet has there.

The one idea: nothing is asked for its own sake. A gateway is asked how it is when a start would go there and what is known is
old, and when something went wrong on it; only one that does not answer is asked again and again, after pauses that grow.
"""

from __future__ import annotations

import logging
import math
from collections import Counter
from collections.abc import Awaitable, Callable, Generator, Iterable
from contextlib import contextmanager
from typing import Final

import trio

from .._errors import (
    GatewayConnectionError,
    GatewayError,
    GatewayHTTPError,
    GatewayTimeoutError,
    KernelSpecNotFoundError,
    ProtocolError,
    name_gateway,
)
from .._events import EventSink, GatewayEvent
from .._gateway.gateway import Gateway, open_gateway
from .._models import KernelSpecs, find_started
from .._pool.member import Standing
from .._protocol.culling import CullPolicy
from .._protocol.retry import RandomSource
from .._transport.connector import Connector
from .health import Health, is_absent
from .options import Entry, GatewayState, GatewayStatus

__all__ = ["LOOK_SECONDS", "Member", "Place", "for_each", "look_at", "said"]

_logger = logging.getLogger("trio_gateway.fleet")

FRESH_SECONDS: Final = 2.0
"""For how long what a gateway has said of itself holds for placing kernels, in seconds."""
LOOK_SECONDS: Final = 10.0
"""How long a start waits for a gateway's word while others may do, in seconds."""
_MOST_LEFT: Final = 1000
"""So many kernels that may be left on a gateway are remembered."""
_DOUBT_SECONDS: Final = 1.0
"""A gateway that is up is not asked again sooner because it is in doubt, in seconds."""


class Member:
    """One gateway of a fleet. The fleet runs `run` and `watch` as services.

    Args:
        entry: which gateway it is.
        connector: opens byte streams in place of TCP; None for TCP.
        emit: gets the gateway's events, and what is told of it.
        changed: wakes those who wait for a change in the fleet.
        rng: gives pauses their jitter.
        cull: which idle kernels are shut down there as long as it is open; None for none.
    """

    gateway: Gateway
    """The gateway, once it was opened."""

    def __init__(
        self,
        entry: Entry,
        *,
        connector: Connector | None,
        emit: EventSink,
        changed: trio.lowlevel.ParkingLot,
        rng: RandomSource,
        cull: CullPolicy | None = None,
    ) -> None:
        self.entry = entry
        self._cull = cull
        self.health = Health(rng)
        self.opened = trio.Event()
        """Set when its block was entered, or could not be."""
        self.failure: Exception | None = None
        """Why its block could not be entered."""
        self.is_draining = False
        self.specs: KernelSpecs | None = None
        """Its kernelspecs, as it listed them last; None where it does not tell them."""
        self.starting = 0
        """How many starts of the fleet are under way there."""
        self._connector = connector
        self._emit = emit
        self._changed = changed
        self._running: Counter[str] = Counter()
        self._listed: frozenset[str] = frozenset()
        self._looking = trio.Lock()
        self._looks = 0
        self._doubt = trio.Event()
        self.is_doubtful = False
        """Whether something went wrong there, and it was not asked since."""
        self.on_news: Callable[[bool], None] = lambda _: None
        """Called when it comes, with True, or goes, with False."""
        self._left: dict[str, None] = {}

    # ------------------------------------------------------------------------------------------------------- what is known

    @property
    def name(self) -> str:
        """What it is called in the fleet."""
        return self.entry.name

    @property
    def labels(self) -> frozenset[str]:
        """Its labels."""
        return self.entry.labels

    @property
    def is_up(self) -> bool:
        """Whether it answers, as far as is known."""
        return self.health.state == "up"

    @property
    def is_busy(self) -> bool:
        """Whether the fleet has something there: a kernel that is used, or one that starts."""
        return bool(self._running or self.starting)

    @property
    def is_stale(self) -> bool:
        """Whether it has to be asked before a start is placed by what is known of it."""
        return self.health.is_stale(trio.current_time(), FRESH_SECONDS)

    @property
    def is_failing(self) -> bool:
        """Whether starts are better tried elsewhere for now."""
        return self.health.is_failing(trio.current_time())

    def has(self, kernel_id: str) -> bool:
        """Whether a kernel is there, as far as is known."""
        return kernel_id in self._running or kernel_id in self._listed

    @property
    def standing(self) -> Standing:
        """What is known of it, for the kernels of pools there."""
        if self.is_draining:
            return Standing.UNWANTED
        if self.health.state == "down":
            return Standing.AWAY
        return Standing.DOUBTFUL if self.is_doubtful else Standing.WELL

    def ids(self) -> frozenset[str]:
        """The kernels that the fleet uses there."""
        return frozenset(self._running)

    def has_spec(self, name: str | None) -> bool:
        """Whether it can start a kernelspec, as far as is known."""
        return name is None or self.specs is None or find_started(name, self.specs.kernelspecs.keys()) is not None

    def status(self) -> GatewayStatus:
        """What the fleet tells of it."""
        state: GatewayState = self.health.state
        reason = self.health.reason
        if state != "down" and self.is_draining:
            state, reason = "draining", "it is drained: no kernel starts there"
        elif self.is_failing:
            state = "failing"
        return GatewayStatus(
            name=self.name,
            url=self.entry.config.base_url,
            labels=self.labels,
            weight=self.entry.weight,
            state=state,
            reason=reason,
            kernels=len(self._listed | self._running.keys()) + self.starting,
        )

    # --------------------------------------------------------------------------------------------------- what the fleet has there

    @contextmanager
    def using(self, kernel_id: str) -> Generator[None]:
        """Count a kernel that is attached to as one that the fleet uses, as long as the block lasts."""
        self.note_used(kernel_id)
        try:
            yield
        finally:
            self.note_left(kernel_id)

    def note_used(self, kernel_id: str) -> None:
        """Count a kernel as one that the fleet uses."""
        self._running[kernel_id] += 1
        self.note_change()

    def note_left(self, kernel_id: str, *, ended: bool = False) -> None:
        """Count it no more.

        Args:
            kernel_id: the kernel.
            ended: whether it has ended.
        """
        self._running[kernel_id] -= 1
        if not self._running[kernel_id]:
            del self._running[kernel_id]
        if ended:
            self._listed -= {kernel_id}
        self.note_change()

    def note_made(self, kernel_id: str) -> None:
        """Count a kernel that was started here, and that nothing owns."""
        self._listed |= {kernel_id}
        self.note_change()

    def take_place(self) -> Place:
        """Count a start that is under way, and the kernel that comes of it, until the place is released."""
        return Place(self)

    def note_change(self) -> None:
        """Wake those who wait for a change in the fleet."""
        self._changed.unpark_all()

    def start_failed(self, error: GatewayError) -> None:
        """A start there has failed for a reason of the gateway's: look what is wrong, and place the next ones elsewhere."""
        now = trio.current_time()
        unreached = isinstance(error, GatewayTimeoutError) and error.setting == "connect_timeout"
        if unreached or isinstance(error, GatewayConnectionError):
            self._note(self.health.absent(said(error), now))
        elif not isinstance(error, KernelSpecNotFoundError):
            self.health.start_failed(said(error), now)
        self._doubt.set()

    def doubt(self) -> None:
        """Have it asked how it is."""
        self.is_doubtful = True
        self._doubt.set()

    # ---------------------------------------------------------------------------------------------------------------- its tasks

    async def run(self) -> None:  # noqa: ASYNC910 - a block checkpoints
        """Keep the gateway open until cancelled. A service."""
        try:
            async with open_gateway(
                self.entry.config, connector=self._connector, on_event=self._hear, cull=self._cull
            ) as gateway:
                gateway.be_called(self.name)
                self.gateway = gateway
                self.opened.set()
                await trio.sleep_forever()
        except GatewayError as error:
            if self.opened.is_set():
                raise
            name_gateway(error, self.name)
            self.failure = error
        finally:
            self.opened.set()

    async def watch(self) -> None:
        """Ask it how it is: at first, when something went wrong, and again and again while it does not answer. A service."""
        while True:
            with trio.move_on_at(math.inf if self.is_up else self.health.look_again_at) as pause:
                await self._doubt.wait()
            if not self.is_up and not pause.cancelled_caught:
                self._doubt = trio.Event()
                continue  # a start has found out that it is down: it is asked when the pause is over
            if self.is_up:  # many connections may break at once
                await trio.sleep_until(self.health.looked_at + _DOUBT_SECONDS)
            self._doubt = trio.Event()
            await self.look(LOOK_SECONDS if self.is_up else math.inf)
            if self.is_up and self._left:
                await self._end_left()

    def _hear(self, event: GatewayEvent) -> None:
        """Hand on the gateway's events; a connection that breaks, or can't be made, puts it in doubt."""
        self._emit(event)
        if event.kind == "connection" and event.status == "error" and self.is_up:
            self.doubt()
        if (event.kind, event.action) == ("kernel", "cleanup") and event.kernel_id is not None:
            self._left[event.kernel_id] = None
            if len(self._left) > _MOST_LEFT:
                del self._left[next(iter(self._left))]
            self.doubt()

    async def _end_left(self) -> None:  # noqa: ASYNC910 - a request checkpoints
        """End the kernels that may be left there, now that it answers: the fleet's, which could not be shut down before.

        Cancellation: leaves those for another time that it has not come to.
        """
        for kernel_id in tuple(self._left):
            try:
                await self.gateway.kernels.shutdown(kernel_id)
            except GatewayError as error:
                _logger.debug("kernel_still_left", extra={"gateway.kernel_id": kernel_id, "gateway.reason": repr(error)})
                await trio.lowlevel.checkpoint()
                return
            self._left.pop(kernel_id, None)

    async def look(self, limit: float = math.inf) -> None:  # noqa: ASYNC910 - a request checkpoints
        """Ask it which kernelspecs and kernels it has. Raises nothing: what came of it is in `health`.

        Those who want to know at the same time ask together, once.

        Args:
            limit: how long it may take, in seconds; then it does not answer. Without one, as its settings say.

        Cancellation: safe.
        """
        looks = self._looks
        failure: GatewayError | None = None
        with trio.move_on_after(limit) as scope:
            async with self._looking:
                if self._looks != looks:
                    return  # somebody else has asked while this waited
                try:
                    await self._ask()
                except GatewayError as error:
                    failure = error
                self._looks += 1
        now = trio.current_time()
        if scope.cancelled_caught:
            self._note(self.health.absent(f"it has not answered within {limit:g} s", now))
        elif failure is not None and is_absent(failure):
            self._note(self.health.absent(said(failure), now))
        else:
            self._note(self.health.answered(now))

    async def _ask(self) -> None:
        """Ask for what it has.

        Raises:
            GatewayError: it does not tell which kernels it has.
        """
        before = self.ids()
        try:
            self.specs = await self.gateway.kernelspecs.list()
        except (GatewayHTTPError, ProtocolError) as error:
            if isinstance(error, ProtocolError) or is_absent(error):
                raise
            self.specs = None  # not every server of this API lists kernelspecs: the start will tell
        listed = {model.id for model in await self.gateway.kernels.list() if model.execution_state != "unknown"}
        # One that the fleet has ended meanwhile may be in the list still.
        self._listed = frozenset(listed - (before - self.ids()))

    def _note(self, is_news: bool) -> None:
        self.is_doubtful = False
        if is_news:
            if not self.is_up:
                self._doubt.set()  # its watch may wait for nothing else
            self.on_news(self.is_up)
            self.tell("up" if self.is_up else "down", self.health.reason, failed=not self.is_up)
            _logger.debug(
                "gateway_%s", self.health.state, extra={"gateway.name": self.name, "gateway.reason": self.health.reason}
            )
        self.note_change()

    def tell(self, action: str, message: str = "", *, failed: bool = False, kernel_id: str | None = None) -> None:
        """Tell the fleet's listeners what happened here."""
        self._emit(
            GatewayEvent(
                kind="fleet",
                action=action,
                status="error" if failed else "success",
                message=f"{self.name}: {message}" if message else self.name,
                gateway_url=self.entry.config.base_url,
                kernel_id=kernel_id,
            )
        )


class Place:
    """The place on a gateway of one start, and of its kernel.

    Args:
        member: the gateway.
    """

    def __init__(self, member: Member) -> None:
        self._member = member
        self._kernel_id: str | None = None
        self._released = False
        member.starting += 1

    def fill(self, kernel_id: str) -> None:
        """The kernel is there."""
        self._kernel_id = kernel_id
        self._member.starting -= 1
        self._member.note_used(kernel_id)

    def release(self) -> None:
        """The start has failed, or the kernel has ended. Twice is fine."""
        if self._released:
            return
        self._released = True
        if self._kernel_id is None:
            self._member.starting -= 1
            self._member.note_change()
        else:
            self._member.note_left(self._kernel_id, ended=True)


async def look_at(members: Iterable[Member], limit: float = math.inf) -> None:
    """Ask several gateways how they are, at once.

    Args:
        members: the gateways.
        limit: how long it may take, in seconds.

    Cancellation: safe.
    """
    await for_each(members, lambda member: member.look(limit))


async def for_each(members: Iterable[Member], act: Callable[[Member], Awaitable[object]]) -> None:
    """Do something at each gateway, at once. It must not raise."""
    async with trio.open_nursery() as nursery:
        for member in members:
            nursery.start_soon(act, member, name=f"trio_gateway.fleet[{member.name}]")


def said(error: GatewayError) -> str:
    """What an error says, in one line."""
    return " ".join(str(error).split())
