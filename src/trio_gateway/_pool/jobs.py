"""Many jobs on one pool: a window of them runs ahead of the reader.

The one idea: reading is what begins jobs. At most `limit` are begun and not read, so a reader that stops, stops the rest, and
nothing has to be held for a reader that never comes.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Collection, Iterable, Iterator
from contextvars import copy_context
from typing import Generic, TypeVar

import attrs
import trio

from .._errors import InvalidInputError, PoolClosedError, fresh
from .._limits import points_to_limits
from .._outputs import ExecutionResult
from .._services import Services

__all__ = ["JobResult", "JobResults"]

Job = TypeVar("Job")


@attrs.frozen(kw_only=True)
class JobResult:
    """What came of one job: an execution, whatever the code did, or the error for which there is none."""

    execution: ExecutionResult | None = None
    """What came of the code, where it was run; its own error is in there."""
    error: Exception | None = None
    """Why there is no execution: what the lease or the execution raised, such as KernelDiedError."""

    @property
    def ok(self) -> bool:
        """Whether the code was run and raised nothing."""
        return self.execution is not None and self.execution.status == "ok"

    def raise_for_error(self) -> ExecutionResult:
        """Return the execution, or raise what went wrong.

        Raises:
            ExecutionError: the code raised an error.
            GatewayError: there is no execution.
        """
        if self.execution is None:
            assert self.error is not None
            raise fresh(self.error)
        self.execution.raise_for_error()
        return self.execution


@attrs.define(eq=False)
class _Slot(Generic[Job]):
    """One job that was begun and not read."""

    job: Job
    scope: trio.CancelScope | None = None
    result: JobResult | None = None


def _never_run() -> JobResult:
    return JobResult(error=PoolClosedError("the pool's block, or the reading of its results, has ended"))


@points_to_limits
class JobResults(AsyncIterator[tuple[Job, JobResult]], Generic[Job]):
    """What comes of many jobs: iterate over it for pairs of a job and its result. Made by `KernelPool.map`.

    Several tasks may iterate; each result goes to one of them.

    Args:
        jobs: the jobs.
        work: does one.
        services: owns the tasks that do them.
        is_closed: whether the block that owns them has ended, or is ending: then the rest have PoolClosedError as their result.
        limit: how many may be begun and not read.
        as_completed: whether results come as they are there, and not in the order of the jobs.

    Raises:
        InvalidInputError: an argument can't be used.
    """

    def __init__(
        self,
        jobs: Iterable[Job],
        work: Callable[[Job], Awaitable[ExecutionResult]],
        services: Services,
        *,
        is_closed: Callable[[], bool],
        limit: int,
        as_completed: bool,
    ) -> None:
        if isinstance(jobs, (str, bytes)) or not isinstance(jobs, Iterable):
            raise InvalidInputError("codes", jobs, "an iterable of codes, such as a list")
        if isinstance(limit, bool) or not isinstance(limit, int) or limit < 1:
            raise InvalidInputError("limit", limit, "how many may run at a time: a whole number, 1 or more")
        if not isinstance(as_completed, bool):
            raise InvalidInputError("as_completed", as_completed, "True or False")
        self._jobs: Iterator[Job] | None = iter(list(jobs) if isinstance(jobs, Collection) else jobs)
        self._work = work
        self._services = services
        self._is_closed = is_closed
        self._limit = limit
        self._as_completed = as_completed
        self._begun: deque[_Slot[Job]] = deque()
        self._changed = trio.lowlevel.ParkingLot()
        self._context = copy_context()  # of who has the jobs done, and not of whichever reader begins one

    def __aiter__(self) -> JobResults[Job]:
        return self

    async def __anext__(self) -> tuple[Job, JobResult]:
        """Wait for the next result.

        Raises:
            StopAsyncIteration: each job has had its result, or this was closed.
            Exception: what the iterable of jobs raised. The jobs that had begun are read afterwards.

        Cancellation: safe, no result is lost.
        """
        await trio.lowlevel.checkpoint()
        while True:
            self._begin()
            slot = self._next()
            if slot is not None:
                self._begun.remove(slot)
                assert slot.result is not None
                return slot.job, slot.result
            if not self._begun:
                raise StopAsyncIteration
            await self._changed.park()

    async def aclose(self) -> None:
        """Begin no more jobs, interrupt those that run, and wait until they have ended. Twice is fine.

        Cancellation: those that run are ended all the same, in the background of the pool's block.
        """
        self._jobs = None
        for slot in self._begun:
            if slot.scope is not None:
                slot.scope.cancel(reason="the results were closed")
        await trio.lowlevel.checkpoint()
        while any(slot.result is None for slot in self._begun):
            await self._changed.park()
        self._begun.clear()

    def _next(self) -> _Slot[Job] | None:
        """Return what is to be read next, if it is there."""
        for slot in self._begun:
            if slot.result is not None:
                return slot
            if not self._as_completed:
                return None
        return None

    def _begin(self) -> None:
        while self._jobs is not None and len(self._begun) < self._limit:
            try:
                job = next(self._jobs)
            except StopIteration:
                self._jobs = None
                return
            except BaseException:
                self._jobs = None
                raise
            slot = _Slot(job)
            self._begun.append(slot)
            if self._is_closed():
                slot.result = _never_run()
            else:
                slot.scope = self._context.run(self._start, slot)

    def _start(self, slot: _Slot[Job]) -> trio.CancelScope:
        return self._services.start_soon(self._run, slot, name="trio_gateway.pool.job")

    async def _run(self, slot: _Slot[Job]) -> None:  # noqa: ASYNC910 - the work checkpoints
        """Do one job. A service of the pool's block."""
        try:
            slot.result = JobResult(execution=await self._work(slot.job))
        except Exception as error:  # noqa: BLE001 - it is the job's result, whatever it is
            slot.result = JobResult(error=error)
        finally:
            if slot.result is None:
                slot.result = _never_run()
            self._changed.unpark_all()
