"""One kernel of a pool, from its start to its end: a task that owns the kernel's block.

The one idea: a block is entered and left by one task, so each kernel has a task of its own, which does nothing but wait. Leases
take the kernel and give it back from other tasks, and nudge this one when there is something to do.
"""

from __future__ import annotations

import enum
import logging
import math
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager, suppress
from typing import Final, Protocol

import trio

from .._errors import ConnectionLostError, GatewayError, GatewayTimeoutError, KernelError, KernelInitError
from .._kernel.kernel import Kernel
from .._outputs import Error
from .._protocol.kernel_state import ConnectionState, KernelState
from .options import PoolOptions

__all__ = ["HEARD_LATELY", "Member", "Owner", "Stage", "Standing", "Start", "Surroundings"]

Start = Callable[[], AbstractAsyncContextManager[Kernel]]
"""Starts a kernel of the pool's kind: gives a block that owns it."""

_logger = logging.getLogger("trio_gateway.pool")

HEARD_LATELY: Final = 1.0
"""For how long the word of a kernel holds, in seconds: one that was heard of since is handed out without being asked."""
ANSWER_SECONDS: Final = 5.0
"""How long a kernel that has nothing to do may take to answer, in seconds, before another one is handed out in its place."""


class Stage(enum.Enum):
    """What a kernel of a pool is doing."""

    STARTING = "starting"
    READY = "ready"
    LEASED = "leased"
    ENDING = "ending"


class Standing(enum.Enum):
    """What is known of the gateway that a kernel is on, apart from the kernel."""

    WELL = "well"
    """It can be used."""
    DOUBTFUL = "doubtful"
    """Something went wrong there: its kernels are handed out when there are no others."""
    AWAY = "away"
    """It does not answer: a kernel whose session has no connection either is lost."""
    UNWANTED = "unwanted"
    """Its kernels are well, and not to be handed out any more."""


class Surroundings(Protocol):
    """What a pool asks about the gateways that its kernels are on, where there are several."""

    def standing(self, kernel_id: str) -> Standing:
        """What is known of the gateway that a kernel is on."""
        ...

    def has_lost(self, kernel_id: str) -> None:
        """A kernel did not answer, or its session ended."""
        ...


class Owner(Protocol):
    """What a member asks of its pool."""

    def became_ready(self, member: Member, *, is_start: bool) -> None:
        """The kernel can be handed out; after a start, or because its last caller's work is over."""
        ...

    def start_failed(self, member: Member, error: Exception) -> None:
        """It could not be started, or made ready."""
        ...

    def was_lost(self, member: Member, reason: str) -> None:
        """It was ready, and is of no use any more."""
        ...

    def is_cut_off(self, member: Member) -> None:
        """Its session lost its connection, while it was ready, and tries to get it back."""
        ...

    def has_gone(self, member: Member) -> None:
        """It is shut down."""
        ...


class Member:
    """One kernel of a pool.

    Args:
        owner: the pool.
        start: starts it.
        options: what the pool is.
    """

    __slots__ = (
        "_asking",
        "_checks",
        "_nudge",
        "_options",
        "_owner",
        "_process",
        "_restarts",
        "_start",
        "asked_at",
        "kernel",
        "stage",
        "started_at",
        "used_at",
        "uses",
    )

    stage: Stage
    """What it is doing. Set by the pool alone, but for the end of a start."""
    kernel: Kernel | None
    """The kernel, once there is one."""
    asked_at: float
    """When its present start was asked for."""
    started_at: float
    """When it became ready for the first time."""
    used_at: float
    """When it became ready for the last time."""
    uses: int
    """How often it was handed out."""

    def __init__(self, owner: Owner, start: Start, options: PoolOptions) -> None:
        self._owner = owner
        self._start = start
        self._options = options
        self._nudge: trio.CancelScope | None = None
        self._asking: trio.CancelScope | None = None
        self._checks = False
        self._process = ""
        self._restarts = 0
        self.stage = Stage.STARTING
        self.kernel = None
        self.asked_at = trio.current_time()
        self.started_at = self.used_at = math.inf
        self.uses = 0

    def nudge(self) -> None:
        """Have the task look at the stage again."""
        if self._nudge is not None:
            self._nudge.cancel(reason="the kernel's stage has changed")

    def check(self) -> None:
        """Have the task see whether the kernel is still there, for which it is not ready meanwhile."""
        self._checks = True
        self.nudge()

    async def run(self) -> None:  # noqa: ASYNC910 - a start checkpoints
        """Own the kernel until the pool wants it no more. A service of the pool's block."""
        try:
            async with self._start() as kernel:
                await self._live(kernel)
        except Exception as error:
            self.stage = Stage.ENDING
            if self.kernel is None:
                self._owner.start_failed(self, error)
            elif isinstance(error, GatewayError):  # its end has failed, and is logged where it was tried
                _logger.debug("shutdown_failed", extra={"gateway.kernel_id": self.kernel.id, "gateway.reason": repr(error)})
            else:
                raise
        finally:
            self.stage = Stage.ENDING
            self._owner.has_gone(self)

    async def _live(self, kernel: Kernel) -> None:
        """Make it ready as often as it is to be used, and wait meanwhile."""
        self.kernel = kernel
        used = False
        while True:
            checks, self._checks = self._checks, False
            is_start = not checks and (not used or self._options.reuse == "restart")
            try:
                if checks:
                    if not await self._settles(kernel):
                        self._owner.was_lost(self, f"no answer in {ANSWER_SECONDS:g} s")
                        await trio.lowlevel.checkpoint()
                        return
                elif is_start:
                    self._process = ""
                    if used:
                        await self._restart(kernel)
                    kernel.keep_process()  # before `init`: no process that has not run it is taken for one that has
                    self._restarts = kernel.hb.evidence.restarts
                    await self._initialise(kernel)
                    with trio.move_on_after(ANSWER_SECONDS):  # a kernel that does not tell is not asked again
                        if not self._process:
                            self._process = await kernel.ask_shell()
                        await kernel.ask_process()  # the session keeps to what it says there
                elif not await self._settles(kernel):
                    self.stage = Stage.ENDING
                    await trio.lowlevel.checkpoint()
                    return
            except GatewayError as error:
                self.stage = Stage.ENDING
                if used and isinstance(error, KernelError):
                    self._owner.was_lost(self, str(error))  # it died, or was culled, before it could be restarted
                else:
                    self._owner.start_failed(self, error)
                await trio.lowlevel.checkpoint()
                return
            if not checks:
                self.used_at = trio.current_time()
            self.started_at = min(self.started_at, self.used_at)
            self.stage = Stage.READY
            self._owner.became_ready(self, is_start=is_start)
            if not await self._wait(kernel):
                return
            used = True

    async def _wait(self, kernel: Kernel) -> bool:
        """Wait while it is ready or leased, and see what becomes of it meanwhile; say whether it is to be made ready again."""
        while self.stage in (Stage.READY, Stage.LEASED):
            with trio.CancelScope() as self._nudge:
                async for _ in kernel.changes():
                    if self.stage is Stage.READY and not self._is_well(kernel):
                        self._owner.was_lost(self, f"{kernel.state.value}, {kernel.connection_state.value}")
                    elif self.stage is Stage.READY and self.is_cut_off:
                        self._owner.is_cut_off(self)
                if self.stage is Stage.READY:
                    self._owner.was_lost(self, "its session has ended")
                await trio.sleep_forever()  # what it was leased for may still be told of its end
        await trio.lowlevel.checkpoint()
        return self.stage is not Stage.ENDING

    async def _initialise(self, kernel: Kernel) -> None:
        limit = self._options.init_timeout
        if self._options.init is None:
            if not await self._answers(kernel, limit):
                raise GatewayTimeoutError("the first answer of a pool's kernel", limit, "init_timeout")
            return
        with trio.move_on_after(limit) as scope:
            # Abandoned where it takes too long, or is not wanted any more: the kernel goes.
            result = await kernel.execute(self._options.init, store_history=False, on_cancel="abandon")
            if result.status == "ok":
                return
            errors = [output for output in result.outputs if isinstance(output, Error)]
            if errors:
                raise KernelInitError(errors[-1].ename, errors[-1].evalue, errors[-1].traceback)
            raise KernelInitError(result.status, "the kernel did not run it")
        if scope.cancelled_caught:
            raise GatewayTimeoutError("a pool's init code", limit, "init_timeout")

    async def _restart(self, kernel: Kernel) -> None:
        limit = self._options.init_timeout
        with trio.move_on_after(limit) as scope:
            await kernel.restart()
        if scope.cancelled_caught:
            raise GatewayTimeoutError("the restart of a pool's kernel", limit, "init_timeout")

    def _is_well(self, kernel: Kernel) -> bool:
        """Whether the kernel is the process that was made ready, as far as is known without asking."""
        if kernel.connection_state is ConnectionState.CLOSED or kernel.hb.evidence.restarts != self._restarts:
            return False
        return kernel.state in (KernelState.IDLE, KernelState.BUSY)

    @property
    def is_cut_off(self) -> bool:
        """Whether its session has no connection now."""
        return self.kernel is not None and self.kernel.connection_state is not ConnectionState.CONNECTED

    def look(self) -> str | None:
        """Say whether the kernel can be handed out, as far as is known without asking it.

        Returns:
            Why it can't; `""` where it can; None where it has to be asked: it was not heard of lately.
        """
        kernel = self.kernel
        assert kernel is not None
        if not self._is_well(kernel):
            return f"{kernel.state.value}, {kernel.connection_state.value}"
        heard = kernel.hb.evidence.message
        is_fresh = kernel.connection_state is ConnectionState.CONNECTED and heard is not None and heard <= HEARD_LATELY
        return "" if is_fresh else None

    async def ask(self) -> str:
        """Ask the kernel whether it can be handed out.

        Returns:
            Why it can't; `""` where it can.

        Cancellation: safe.
        """
        kernel = self.kernel
        assert kernel is not None
        await trio.lowlevel.checkpoint_if_cancelled()
        answers = False
        asking = self._asking = trio.CancelScope()
        with asking:
            try:
                answers = await self._answers(kernel, ANSWER_SECONDS)
            except GatewayError as error:
                return str(error)
            finally:
                self._asking = None
        if asking.cancelled_caught:
            return "its gateway does not answer"
        if not answers:
            return f"no answer in {ANSWER_SECONDS:g} s"
        return "" if self._is_well(kernel) else "it was restarted"

    def stop_asking(self) -> None:
        """Have `ask` wait no longer, because its gateway does not answer."""
        if self._asking is not None:
            self._asking.cancel(reason="the kernel's gateway does not answer")

    async def _answers(self, kernel: Kernel, limit: float) -> bool:
        """Ask the kernel whether it is the process that was made ready; say no if it takes too long to answer."""
        with trio.move_on_after(limit):
            return await self._is_the_same(kernel)
        await trio.lowlevel.checkpoint()
        return False

    async def _is_the_same(self, kernel: Kernel) -> bool:
        """Ask the kernel whether it is the process that was made ready; again where that was lost: it does no harm twice."""
        while True:
            try:
                process = await kernel.ask_shell()
            except ConnectionLostError:
                await trio.lowlevel.checkpoint()  # noqa: ASYNC120 - of no use
                if kernel.connection_state is ConnectionState.CLOSED:
                    raise  # its session has ended
            else:
                await kernel.wait_for(KernelState.IDLE)
                self._process = self._process or process
                # Another process, started while the connection was away, has nothing of what `init` made.
                return process == self._process

    async def _settles(self, kernel: Kernel) -> bool:
        """Wait, not for long, until a kernel that was used has nothing to do any more; say whether it may be used again."""
        with trio.move_on_after(ANSWER_SECONDS), suppress(GatewayError):
            await kernel.wait_for(KernelState.IDLE)
            return self._is_well(kernel) and await self._is_the_same(kernel)
        await trio.lowlevel.checkpoint()
        return False

    def can_be_used_again(self, now: float) -> bool:
        """Whether a kernel that was just given back may be kept, by the pool's limits and by what is known of it."""
        kernel = self.kernel
        return self.may_be_used_again(now) and kernel is not None and (self._options.reuse == "restart" or self._is_well(kernel))

    def uses_to_come(self, now: float) -> float:
        """How many callers it can serve yet: as many as it may, where it has been ready; one, where its start may fail.

        One that is ready serves none of those that wait, and one that ends nobody.
        """
        max_uses = self._options.max_uses
        if self.stage is Stage.STARTING and self.used_at == math.inf:
            return 1
        if self.stage is Stage.STARTING or (self.stage is Stage.LEASED and self.may_be_used_again(now)):
            return math.inf if max_uses is None else max_uses - self.uses
        return 0

    def may_be_used_again(self, now: float) -> bool:
        """Whether a kernel that is leased will be kept when it is given back, unless its lease leaves it in no state for that."""
        options = self._options
        kernel = self.kernel
        if kernel is None or options.reuse == "never" or (options.max_uses is not None and self.uses >= options.max_uses):
            return False
        return not (self.is_too_old(now) or kernel.state.final or kernel.connection_state is ConnectionState.CLOSED)

    def is_too_old(self, now: float) -> bool:
        """Whether it must not be handed out any more."""
        return self._options.max_age is not None and now >= self.started_at + self._options.max_age
