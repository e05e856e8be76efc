"""A pool: kernels that start before they are asked for, and are handed out one at a time, first come, first served.

The one idea: everything is decided in synchronous steps, by who is ready, who waits and what the plan says; each kernel has a
task that owns it (`member`), and one more task starts and ends members. So a lease that is cancelled, fails or finds its kernel
dead changes some counts, and nothing can be half done.
"""

from __future__ import annotations

import logging
import math
import random
from bisect import bisect
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from functools import partial
from itertools import count
from typing import Final, TypeAlias, TypeVar

import attrs
import trio

from .._errors import (
    AuthenticationError,
    ConfigError,
    InvalidInputError,
    KernelError,
    KernelInitError,
    KernelSpecNotFoundError,
    NoGatewayError,
    PoolClosedError,
    fresh,
)
from .._events import EventSink, GatewayEvent
from .._kernel.kernel import Kernel
from .._limits import points_to_limits
from .._models import KernelSpec
from .._outputs import ExecutionResult
from .._protocol.code import Stdin, check_code
from .._protocol.retry import RandomSource
from .._services import Services, open_services
from .._transport.blocks import block
from .jobs import JobResults
from .member import HEARD_LATELY, Member, Stage, Standing, Start, Surroundings
from .options import PoolOptions
from .plan import Counts, Plan
from .statistics import PoolStatistics, Tally

__all__ = ["KernelPool", "open_kernel_pool"]

AskSpec: TypeAlias = Callable[[], Awaitable[KernelSpec | None]]
"""Asks the gateway for the kernelspec of a pool's kernels; None where it does not tell which is its default."""

Job = TypeVar("Job")

_logger = logging.getLogger("trio_gateway.pool")

ATTEMPTS: Final = 3
"""So many starts that fail, one after the other, end the wait of a lease; and so many new kernels that it found lost."""
_FOR_GOOD: Final = (AuthenticationError, ConfigError, InvalidInputError, KernelInitError, KernelSpecNotFoundError)
"""What fails so, fails so again: it ends the wait of every lease that no other kernel can serve."""


@attrs.define(eq=False)
class _Waiter:
    """A caller that waits for a kernel."""

    ticket: int
    """Its place among all callers: lower numbers have asked earlier."""
    asked_at: float
    """Since when it waits, or since which failure it counts."""
    failures: int = 0
    """How many starts have failed meanwhile."""
    losses: int = 0
    """How many kernels that started meanwhile were handed to it, and were lost already."""
    wake: trio.Event = attrs.field(factory=trio.Event)
    """Set when it need not wait any more."""
    member: Member | None = None
    """The kernel that it is given."""
    error: Exception | None = None
    """Why it is given none."""


@points_to_limits
class KernelPool:
    """Kernels that are ready before they are asked for. Made by `Gateway.open_pool`.

    A kernel of the pool is leased by `kernel()`: it is its caller's alone as long as that block lasts.
    """

    def __init__(
        self,
        start: Start,
        options: PoolOptions,
        services: Services,
        *,
        emit: EventSink,
        url: str,
        name: str,
        ask_spec: AskSpec,
        surroundings: Surroundings | None,
        rng: RandomSource,
    ) -> None:
        self._surroundings = surroundings
        self._start = start
        self._options = options
        self._services = services
        self._emit = emit
        self._url = url
        self._name = name
        self.ask_spec = ask_spec
        """Asks for the kernelspec of its kernels. For notebooks."""
        self._plan = Plan(options, rng)
        self._tally = Tally()
        self._members: dict[Member, trio.CancelScope] = {}
        self._ready: list[Member] = []
        self._waiters: deque[_Waiter] = deque()
        self._tickets = count()
        self._wake = trio.Event()
        self._changed = trio.lowlevel.ParkingLot()
        self._closed: str = ""
        self._last_failure: Exception | None = None

    @property
    def size(self) -> int:
        """How many kernels it may have at a time."""
        return self._options.size

    @property
    def warm(self) -> int:
        """How many kernels it keeps ready."""
        return self._options.warm

    def __repr__(self) -> str:
        counts = self._counts()
        return f"<KernelPool {self._name or 'default kernel'}: {counts.ready} ready, {counts.leased} leased, of {self.size}>"

    def statistics(self) -> PoolStatistics:
        """What it has now, and what it has done."""
        counts, tally = self._counts(), self._tally
        return PoolStatistics(
            ready=counts.ready,
            leased=counts.leased,
            starting=counts.starting,
            ending=counts.ending,
            waiting=counts.waiting,
            hits=tally.hits,
            misses=tally.misses,
            started=tally.started,
            starts_failed=tally.starts_failed,
            lost=tally.lost,
            hand_out=tally.times(),
        )

    # ------------------------------------------------------------------------------------------------------------- leases

    @block("pool.kernel")
    @asynccontextmanager
    async def kernel(self) -> AsyncGenerator[Kernel]:
        """Lease a kernel: it is yours alone until the block ends. Callers are served in the order in which they asked.

        A kernel that is ready is handed out at once; it is asked whether it is there, unless it was heard of in the last second.
        What becomes of it afterwards is the pool's `reuse`, in the background: leaving the block waits for nothing.

        When its process is replaced, and not by `restart` of this kernel, what was asked for before this is known ends with
        KernelRestartedError, also if it was not sent yet. What is executed after that runs in the new process, without `init`.

        Yields:
            The kernel. Do not use it after the block.

        Raises:
            PoolClosedError: the pool gives no kernels any more.
            GatewayError: what the last start failed with: at once where it would fail again (no such kernelspec, credentials that
                are refused, `init` that fails), or else after three starts in a row that failed while this waited. In the pause
                that follows, until the next start is tried, callers get it at once. A caller that a kernel can still serve which
                starts, or is leased and will be used again, waits on.
            KernelError: three kernels that started while this waited were lost before they could be handed out.

        Cancellation: gives up the place in the queue; a kernel that was being handed out goes to the next caller.
        """
        member = await self._take()
        assert member.kernel is not None
        try:
            yield member.kernel
        finally:
            self._give_back(member)

    async def run(
        self,
        code: str,
        *,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
        stdin: Stdin | None = None,
    ) -> ExecutionResult:
        """Lease a kernel, run code there, and return what came of it.

        Args:
            code: the code, in the kernel's language.
            silent: as for `Kernel.execute`, and so is the rest.
            store_history: whether the kernel keeps the code in its history.
            user_expressions: expressions to evaluate afterwards, by name.
            stdin: answers the code's requests for input.

        Raises:
            GatewayError: as for `kernel()` and `Kernel.execute`. The code is never run twice.

        Cancellation: as for `Kernel.execute`.
        """
        check_code(code)
        async with self.kernel() as kernel:
            return await kernel.execute(
                code, silent=silent, store_history=store_history, user_expressions=user_expressions, stdin=stdin
            )

    def map(
        self,
        codes: Iterable[str],
        *,
        limit: int | None = None,
        as_completed: bool = False,
        silent: bool = False,
        store_history: bool = True,
        user_expressions: Mapping[str, str] | None = None,
    ) -> JobResults[str]:
        """Run many codes, each on a lease of its own, several at a time, and iterate over what came of them.

        Example::

            async for code, result in pool.map(codes, limit=8):
                print(code, result.execution.text if result.ok else result.error)

        A failure is a result, and takes nothing from the others. A code is begun when there is room for its result: while nobody
        reads, at most `limit` are run.

        Args:
            codes: the codes. An iterator is read one by one when there is room, in Trio's thread also for the other faces.
            limit: how many may run, or wait for their reader, at a time; None for the pool's size.
            as_completed: give the results as they come, and not in the order of the codes.
            silent: as for `Kernel.execute`, and so is the rest.
            store_history: whether the kernels keep the codes in their history.
            user_expressions: expressions to evaluate after each code, by name.

        Returns:
            An async iterator of pairs: the code, and its `JobResult`. Close it (`aclose`, or `contextlib.aclosing`) to leave it
            early: what runs is then interrupted. Otherwise it runs to its end, and what came of it is dropped.

        Raises:
            InvalidInputError: an argument can't be used.
        """
        run = partial(self.run, silent=silent, store_history=store_history, user_expressions=user_expressions)
        return self.jobs(codes, run, limit=limit, as_completed=as_completed)

    def jobs(
        self, jobs: Iterable[Job], work: Callable[[Job], Awaitable[ExecutionResult]], *, limit: int | None, as_completed: bool
    ) -> JobResults[Job]:
        """Do many jobs, several at a time; see `map`. For `trio_gateway.python`."""
        if limit is None:
            limit = self.size
        return JobResults(
            jobs, work, self._services, is_closed=lambda: bool(self._closed), limit=limit, as_completed=as_completed
        )

    async def wait_ready(self) -> None:
        """Wait until as many kernels are ready as `warm` says, those that are leased not counted.

        Raises:
            GatewayError: a start failed meanwhile, and this is why. The pool goes on trying.
            PoolClosedError: the pool gives no kernels any more.

        Cancellation: safe.
        """
        failed = self._tally.starts_failed
        await trio.lowlevel.checkpoint()
        while True:
            self._check_open()
            if self._tally.starts_failed > failed and self._last_failure is not None:
                raise fresh(self._last_failure)
            counts = self._counts()
            if counts.ready >= min(self.warm, self.size - counts.leased):
                return
            await self._changed.park()

    async def drain(self) -> None:
        """Give no more kernels, and wait until those that are leased are given back and all are shut down.

        Callers that wait for a kernel get PoolClosedError. Twice is fine.

        Cancellation: the pool stays closed; its block ends what is left.
        """
        self._close("the pool was drained")
        await trio.lowlevel.checkpoint()
        while self._members:
            await self._changed.park()

    # ------------------------------------------------------------------------------------------------- handing out, taking back

    async def _take(self) -> Member:
        self._check_open()
        await trio.lowlevel.checkpoint_if_cancelled()
        asked_at = trio.current_time()
        is_waiting_in_vain = not self._ready and self._plan.is_paused(asked_at) and self._gives_up(self._plan.failures)
        if is_waiting_in_vain and self._last_failure is not None and len(self._waiters) >= self._to_come():
            raise fresh(self._last_failure)
        waiter = _Waiter(next(self._tickets), asked_at)
        waited = False
        while True:
            member = self._pop_ready()  # there is none while others wait
            if member is None:
                waited = True
                member = await self._await_one(waiter)
            else:
                self._lease(member)
            checked_at = trio.current_time()
            try:
                reason = member.look()
                if reason is None:
                    reason = await member.ask()
            except BaseException:
                # What did not answer its caller in time is no kernel for the next one.
                doubt = "it had not answered when its caller gave up"
                reason = doubt if trio.current_time() - checked_at > HEARD_LATELY else member.look()
                if reason and member.stage is Stage.LEASED:
                    self.was_lost(member, reason)
                else:
                    self._pass_on(member)
                raise
            if not reason and not self._closed:
                break
            if self._closed:
                self._end(member)
                self._check_open()
            self.was_lost(member, reason)
            losses = waiter.losses + (member.asked_at >= asked_at)
            if losses >= ATTEMPTS:
                assert member.kernel is not None
                raise KernelError(member.kernel.id, f"as {losses - 1} before it, it was lost as soon as it was ready: {reason}")
            waiter = _Waiter(waiter.ticket, waiter.asked_at, waiter.failures, losses)
        self._plan.leased()
        member.uses += 1
        seconds = trio.current_time() - asked_at
        self._tally.hits += not waited
        self._tally.misses += waited
        self._tally.waited.append(seconds)
        self._tell("lease", member, seconds=seconds)
        try:
            await trio.lowlevel.cancel_shielded_checkpoint()
        except BaseException:
            self._give_back(member)
            raise
        return member

    def _gives_up(self, failures: int) -> bool:
        """Whether a caller waits no longer after so many starts have failed, the last one as it did."""
        return isinstance(self._last_failure, _FOR_GOOD) or failures >= ATTEMPTS

    def _to_come(self) -> float:
        """How many callers can be served by kernels that start, or that are leased and will be used again.

        Where no start will succeed any more, each of them counts once: its next caller may keep it. What failed for now is no
        reason to give up while there are kernels that serve one caller after the other.
        """
        now = trio.current_time()
        uses = [member.uses_to_come(now) for member in self._members]
        return sum(map(bool, uses)) if isinstance(self._last_failure, _FOR_GOOD) else sum(uses)

    async def _await_one(self, waiter: _Waiter) -> Member:
        """Wait for a kernel, behind all that have asked earlier: also where a kernel that this was given was of no use.

        Cancellation: one that was given in that moment goes to the next.
        """
        self._check_open()
        self._waiters.insert(bisect(self._waiters, waiter.ticket, key=lambda other: other.ticket), waiter)
        self._look()
        try:
            await waiter.wake.wait()
        except BaseException:
            if waiter.member is not None:
                self._pass_on(waiter.member)
            elif waiter.error is None:
                self._waiters.remove(waiter)
            self._look()
            raise
        if waiter.error is not None:
            raise fresh(waiter.error)
        assert waiter.member is not None
        return waiter.member

    def _pop_ready(self) -> Member | None:
        """Take the kernel that was used last. Where only those are left that are in doubt, one is checked, and none is taken.

        So a caller gets whichever is ready first: that one, if it is there, or another.
        """
        now = trio.current_time()
        in_doubt: Member | None = None
        for member in reversed(tuple(self._ready)):
            if self._drops(member, now):
                continue
            if not member.is_cut_off and self._standing(member) is Standing.WELL:
                self._ready.remove(member)
                return member
            in_doubt = in_doubt or member
        if in_doubt is not None:
            self._ready.remove(in_doubt)
            in_doubt.stage = Stage.STARTING
            in_doubt.asked_at = now
            in_doubt.check()
        return None

    def _standing(self, member: Member) -> Standing:
        """What is known of the gateway that a kernel is on."""
        if self._surroundings is None or member.kernel is None:
            return Standing.WELL
        return self._surroundings.standing(member.kernel.id)

    def _drops(self, member: Member, now: float) -> bool:
        """End a kernel that is ready, and of no use any more; say whether it was so."""
        if self._is_away(member):
            self.was_lost(member, "its gateway does not answer")
        elif self._is_done(member, now):
            self._end(member)
        else:
            return False
        return True

    def _is_away(self, member: Member) -> bool:
        """Whether a kernel can't be reached: as its session says, and all else that is known of its gateway."""
        return member.is_cut_off and self._standing(member) is Standing.AWAY

    def _is_done(self, member: Member, now: float) -> bool:
        """Whether a kernel is not to be handed out any more, though it may be well."""
        return member.is_too_old(now) or self._standing(member) is Standing.UNWANTED or self._is_away(member)

    def _lease(self, member: Member) -> None:
        member.stage = Stage.LEASED
        self._look()

    def _pass_on(self, member: Member) -> None:
        """Give a kernel that was not used after all to the next who waits, or put it back."""
        if member.stage is not Stage.LEASED:
            return
        if self._closed:
            self._end(member)
            return
        member.stage = Stage.READY
        self._offer(member)

    def _give_back(self, member: Member) -> None:
        """A lease is over."""
        now = trio.current_time()
        if member.stage is not Stage.LEASED:
            return
        if self._closed or self._is_done(member, now) or not member.can_be_used_again(now):
            self._end(member)
        else:
            member.stage = Stage.STARTING
            member.asked_at = now
            member.nudge()
        self._note_change()

    def _offer(self, member: Member) -> None:
        if self._waiters:
            waiter = self._waiters.popleft()
            waiter.member = member
            member.stage = Stage.LEASED
            waiter.wake.set()
        else:
            self._ready.append(member)
        self._note_change()

    def _end(self, member: Member) -> None:
        """Have a kernel shut down: its task leaves its block."""
        if member in self._ready:
            self._ready.remove(member)
        if member.stage is Stage.STARTING:
            self._members[member].cancel(reason="the pool does not want the kernel any more")
        member.stage = Stage.ENDING
        member.nudge()
        self._note_change()

    # ------------------------------------------------------------------------------------------------- what members tell

    def became_ready(self, member: Member, *, is_start: bool) -> None:
        """A kernel can be handed out. For the pool's members."""
        if is_start:
            self._tally.started += 1
            self._plan.succeeded()
            for waiter in self._waiters:
                waiter.failures = 0  # those that fail one after the other count
            self._tell("ready", member, seconds=trio.current_time() - member.asked_at)
        if self._closed or self._is_done(member, trio.current_time()):
            self._end(member)
        else:
            self._offer(member)

    def start_failed(self, member: Member, error: Exception) -> None:
        """A kernel could not be made ready. For the pool's members."""
        now = trio.current_time()
        self._tally.starts_failed += 1
        self._last_failure = error
        self._plan.failed(now, member.asked_at, error.tried if isinstance(error, NoGatewayError) else None)
        self._tell("ready", member, seconds=now - member.asked_at, error=error)
        _logger.debug("start_failed", extra={"gateway.reason": repr(error)})
        to_come = self._to_come()
        for place, waiter in enumerate(list(self._waiters)):
            if member.asked_at >= waiter.asked_at:  # of starts that ran side by side one counts
                waiter.failures += 1
                waiter.asked_at = now
            if place >= to_come and self._gives_up(waiter.failures):
                self._waiters.remove(waiter)
                waiter.error = error
                waiter.wake.set()
        self._note_change()

    def was_lost(self, member: Member, reason: str) -> None:
        """A kernel that was ready is of no use any more. For the pool's members."""
        self._tally.lost += 1
        if member.stage is not Stage.ENDING:  # else it died of what it was used for
            self._plan.lost(trio.current_time(), member.asked_at, member.used_at)
        self._end(member)
        self._tell("lost", member, message=reason)
        if self._surroundings is not None and member.kernel is not None:
            self._surroundings.has_lost(member.kernel.id)

    def is_cut_off(self, member: Member) -> None:
        """A kernel that is ready has no connection now. For the pool's members."""
        if self._is_away(member):
            self._look()

    def has_gone(self, member: Member) -> None:
        """A kernel is shut down. For the pool's members."""
        if member in self._ready:
            self._ready.remove(member)
        del self._members[member]
        self._note_change()

    # ------------------------------------------------------------------------------------------------------- how many there are

    def _counts(self) -> Counts:
        stages = [member.stage for member in self._members]
        return Counts(
            starting=stages.count(Stage.STARTING),
            ready=stages.count(Stage.READY),
            leased=stages.count(Stage.LEASED),
            ending=stages.count(Stage.ENDING),
            waiting=len(self._waiters),
        )

    def _note_change(self) -> None:
        self._changed.unpark_all()
        self._look()

    def look_again(self, *, came: str = "") -> None:
        """Have it end those kernels that are unwanted or away by now, and start others. For fleets.

        Args:
            came: the gateway that can be used now, and could not, if its kernels can start there: where none could be tried, that
                need not wait any more.
        """
        if came:
            self._plan.came(came, trio.current_time())
        for member in tuple(self._members):
            if member.stage is Stage.LEASED:
                if self._is_away(member):
                    member.stop_asking()
            elif self._is_away(member) and member.stage is Stage.STARTING:
                # What is to make it ready would wait for its connection.
                if member.used_at < math.inf:
                    self.was_lost(member, "its gateway does not answer")
                else:
                    self._end(member)
        self._look()

    def _look(self) -> None:
        """Have the task that starts and ends kernels look again."""
        self._wake.set()

    async def keep(self) -> None:
        """Start and end kernels as the plan says, until cancelled. For `open_kernel_pool`: a service of the pool's block."""
        while True:
            self._wake = trio.Event()
            look_again = math.inf if self._closed else self._step()
            if look_again == math.inf:  # mostly: a scope costs more than all else here
                await self._wake.wait()
            else:
                with trio.move_on_after(look_again):
                    await self._wake.wait()

    def _step(self) -> float:
        now = trio.current_time()
        for member in tuple(self._ready):
            self._drops(member, now)
        ready = sorted(self._ready, key=lambda member: member.used_at)
        old = sorted(self._ready, key=lambda member: member.started_at)
        step = self._plan.step(self._counts(), [member.used_at for member in ready], [member.started_at for member in old], now)
        for member in old[: step.renew] + ready[: step.end]:
            self._end(member)
        for _ in range(step.start):
            self._begin()
        look_again = step.look_again
        if self._options.max_age is not None and self._ready:
            oldest = min(member.started_at for member in self._ready)
            look_again = min(look_again, max(oldest + self._options.max_age - now, 0.0))
        return look_again

    def _begin(self) -> None:
        member = Member(self, self._start, self._options)
        # Noted first: its task may find it at once.
        self._members[member] = trio.CancelScope()
        self._members[member] = self._services.start_soon(member.run, name="trio_gateway.pool.kernel")

    # ------------------------------------------------------------------------------------------------------------------- its end

    def _check_open(self) -> None:
        if self._closed:
            raise PoolClosedError(f"{self._closed}; it gives no kernels any more")

    def _close(self, why: str) -> None:
        if self._closed:
            return
        self._closed = why
        for waiter in self._waiters:
            waiter.error = PoolClosedError(f"{why}; it gives no kernels any more")
            waiter.wake.set()
        self._waiters.clear()
        for member in list(self._members):
            if member.stage is not Stage.LEASED:
                self._end(member)
        self._note_change()

    def close(self) -> None:
        """Give no more kernels, now that the pool's block ends. For `open_kernel_pool`."""
        self._close("the pool's block has ended")

    def _tell(
        self, action: str, member: Member, *, seconds: float = 0.0, message: str = "", error: Exception | None = None
    ) -> None:
        kernel = member.kernel
        self._emit(
            GatewayEvent(
                kind="pool",
                action=action,
                status="success" if error is None else "error",
                message=message if error is None else str(error),
                gateway_url=self._url,
                seconds=seconds,
                kernel_id=None if kernel is None else kernel.id,
                kernel_name=self._name or None if kernel is None else kernel.name,
            )
        )


def open_kernel_pool(
    start: Start,
    options: PoolOptions,
    *,
    emit: EventSink,
    url: str,
    name: str,
    ask_spec: AskSpec,
    surroundings: Surroundings | None = None,
    rng: RandomSource | None = None,
) -> AbstractAsyncContextManager[KernelPool]:
    """Open a pool; its kernels are shut down with the block.

    Args:
        start: starts a kernel of the pool's kind.
        options: what the pool is.
        emit: gets the pool's events.
        url: the gateway's URL, for events.
        name: the kernelspec, for events and for people; `""` for the gateway's default.
        ask_spec: asks for that kernelspec.
        surroundings: says what is known of the gateways that the kernels are on; None where there is only one. What it says is
            looked at again when `look_again` is called, and when a kernel is wanted.
        rng: gives the pauses after failures their jitter.

    Cancellation: waits, shielded and at most for the setting `cleanup_timeout`, until its kernels are shut down, all at once.
    """
    rng = random.Random() if rng is None else rng  # noqa: S311 - jitter, no secret
    return _open(
        partial(KernelPool, start, options, emit=emit, url=url, name=name, ask_spec=ask_spec, surroundings=surroundings, rng=rng)
    )


@asynccontextmanager
async def _open(make: Callable[[Services], KernelPool]) -> AsyncGenerator[KernelPool]:
    async with open_services() as services:
        pool = make(services)
        services.start_soon(pool.keep, name="trio_gateway.pool")
        try:
            yield pool
        finally:
            pool.close()
