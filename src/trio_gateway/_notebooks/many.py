"""Many notebooks on one gateway, a few at a time, each on a kernel of its own.

The one idea: a job holds its place from before its kernel is started until that kernel is gone. So there are never more kernels
than places, a job that fails or ends early takes nothing from the others, and whatever ends the block ends all of them at once.
"""

from __future__ import annotations

import inspect
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterable, AsyncIterator, Callable, Collection, Iterable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final, Literal, NoReturn, TypeAlias, Unpack, cast

import attrs
import trio

from .._errors import GatewayError, InvalidInputError, KernelSpecNotFoundError, fresh
from .._fleet.fleet import Fleet
from .._gateway.gateway import Gateway
from .._limits import points_to_limits
from .._pool.pool import KernelPool
from .._portal.faces import refuse_faces
from .._services import open_services
from .._transport.blocks import block, check_trio
from .claims import Claims
from .event_queue import EventQueue
from .events import RunEvent, RunFinished
from .options import NotebookJob, RunSettings, as_path, hidden_settings, options_of
from .results import NotebookRun, NotebookStoppedError
from .runs import OTHER_DOORS, Prepared, PreparedRun, prepare
from .saver import stop_savers

__all__ = ["Jobs", "OnRunEvent", "Runs", "is_several", "run_many"]

Jobs: TypeAlias = Iterable[object] | AsyncIterable[object]
"""Jobs: each a `NotebookJob`, or what it has as its notebook."""
OnRunEvent: TypeAlias = Callable[[NotebookJob, RunEvent], object]
"""Gets each event of each run, with the job that it is of: a function, which must not block, or an async one."""

_WHAT_JOBS_ARE: Final = "an iterable or an async iterable of NotebookJob, or of notebooks: paths, nodes of nbformat, dictionaries"


@attrs.define(eq=False)
class _Entry:
    """One job of the call."""

    number: int
    """Its place among the jobs, from 1."""
    job: NotebookJob
    """The job."""
    prepared: Prepared | None = None
    """The run, where it was prepared ahead and can't be once more."""
    failure: GatewayError | None = None
    """What its result will be: it was found when all were checked, and takes nothing from the others."""

    @property
    def path(self) -> Path | None:
        """The file that its notebook is in; None for none."""
        try:
            return as_path("notebook", self.job.notebook)
        except InvalidInputError:
            return None

    @property
    def name(self) -> str:
        """What it is called in results and events; `""` for nothing."""
        if self.job.name is not None:
            return self.job.name
        path = self.path
        return "" if path is None else path.name

    @property
    def label(self) -> str:
        """What it is called in errors: no other job of the call is called so."""
        return f"job {self.number} ({self.name})" if self.name else f"job {self.number}"


def is_several(jobs: object) -> bool:
    """Say whether jobs may be several: not one notebook, whatever holds it."""
    is_one = isinstance(jobs, (str, bytes, dict, NotebookJob)) or hasattr(jobs, "__fspath__") or hasattr(jobs, "read")
    return isinstance(jobs, (Iterable, AsyncIterable)) and not is_one


class _Source:
    """Where the jobs come from: each is read when there is a place for it.

    Args:
        jobs: what the caller gave.

    Raises:
        InvalidInputError: it gives no jobs.
    """

    is_known: bool
    """Whether all jobs are known; else they are read one by one."""
    ahead: deque[_Entry]
    """Those that are known and still to come, in order."""

    def __init__(self, jobs: object) -> None:
        self.is_known = isinstance(jobs, Collection)
        self.ahead = deque()
        self._read = 0
        self._iterator: Any = None
        if not is_several(jobs):
            raise InvalidInputError("jobs", type(jobs).__name__, f"several: {_WHAT_JOBS_ARE}")
        if isinstance(jobs, Collection):
            self.ahead.extend([self._entry(job) for job in cast("Collection[object]", jobs)])
        elif isinstance(jobs, AsyncIterable):
            self._iterator = cast("AsyncIterable[object]", jobs).__aiter__()
        else:
            self._iterator = iter(cast("Iterable[object]", jobs))

    async def next(self) -> _Entry | None:
        """Wait for the next job; None where there are no more."""
        await trio.lowlevel.checkpoint()
        if self.is_known:
            return self.ahead.popleft() if self.ahead else None
        try:
            if isinstance(self._iterator, AsyncIterator):
                job = await anext(cast("AsyncIterator[object]", self._iterator))
            else:
                job = next(self._iterator)
        except (StopIteration, StopAsyncIteration):
            return None
        return self._entry(job)

    def _entry(self, job: object) -> _Entry:
        self._read += 1
        return _Entry(self._read, job if isinstance(job, NotebookJob) else NotebookJob(job))


class _Many:
    """The jobs of one call while they run.

    Args:
        where: the gateway, or a pool.
        source: gives the jobs.
        settings: the options of all of them.
        limit: how many may have a kernel at a time.
        stop_on_failure: whether the first that does not end well ends the others.
        on_event: told of each event; None: nobody is.
    """

    results: trio.MemoryReceiveChannel[NotebookRun]
    """What came of the jobs that have ended."""

    def __init__(
        self,
        where: Gateway | Fleet | KernelPool,
        source: _Source,
        settings: RunSettings,
        *,
        limit: int,
        stop_on_failure: bool,
        on_event: OnRunEvent | None,
    ) -> None:
        self._where = where
        self._source = source
        self._settings = settings
        self._stop_on_failure = stop_on_failure
        self._on_event = on_event
        self._claims = Claims()
        self._places = trio.Semaphore(limit)
        self._give, self.results = trio.open_memory_channel[NotebookRun](limit)
        self._reading = trio.CancelScope()
        self._running: set[trio.CancelScope] = set()
        self._saved: set[PreparedRun] = set()
        self._stopped_by = ""
        self._all = trio.CancelScope()
        self._failure: Exception | None = None

    async def check(self) -> None:
        """See that each job can be run, where all of them are known, and that none is in another's way.

        Raises:
            InvalidInputError: a job can't; a note says which.
        """
        for entry in self._source.ahead:
            try:
                self._claim(entry)
                prepared = await prepare(self._where, entry.job, **self._settings)
            except InvalidInputError as error:
                error.add_note(entry.label)
                raise
            except KernelSpecNotFoundError as error:  # as of a job without parameters
                entry.failure = error
                continue
            # Others are read again when their turn comes: notebooks that wait for theirs are not held in memory.
            if hasattr(entry.job.notebook, "read"):  # it can be read only once
                entry.prepared = prepared
        await trio.lowlevel.checkpoint()

    def _claim(self, entry: _Entry) -> None:
        output = self._settings.get("output") if entry.job.output is None else entry.job.output
        self._claims.claim(entry.label, entry.path, None if output is None else as_path("output", output))

    async def run(self) -> None:
        """Run all jobs. A service of the block."""
        try:
            with self._all:
                async with trio.open_nursery() as nursery:
                    with self._reading:
                        while (entry := await self._next()) is not None:
                            nursery.start_soon(self._run_one, entry, name=f"trio_gateway.notebooks[{entry.name}]")
                if self._stopped_by:
                    for entry in self._source.ahead:
                        await self._finish(entry, _not_run(entry, "pending", NotebookStoppedError(entry.name, self._stopped_by)))
        finally:
            self._give.close()

    async def _next(self) -> _Entry | None:
        """Wait for a place and for a job that takes it; None where there are no more."""
        await self._places.acquire()
        failure: Exception | None = None
        try:
            return await self._source.next()
        except Exception as error:  # noqa: BLE001 - the caller's own
            failure = error
        return await self._fail(failure)

    async def _run_one(self, entry: _Entry) -> None:
        run = await self._result_of(entry)
        if run.status != "ok" and self._stop_on_failure and not self._stopped_by:
            self._stop(entry.label)
        await self._finish(entry, run)
        self._places.release()

    async def _result_of(self, entry: _Entry) -> NotebookRun:
        """Run a job, and return what came of it when its kernel is gone."""
        run: PreparedRun | None = None
        failure: Exception | None = None
        with trio.CancelScope() as scope:
            await trio.lowlevel.checkpoint()
            self._running.add(scope)
            if self._stopped_by:  # since it took its place
                scope.cancel()
            try:
                if not self._source.is_known:
                    self._claim(entry)
                if entry.failure is not None:
                    raise fresh(entry.failure)
                events = EventQueue()
                run = PreparedRun(entry.prepared or await prepare(self._where, entry.job, **self._settings), events)
                self._saved.add(run)
                async with run.open(self._where, events) as opened:
                    async for event in opened:
                        if not isinstance(event, RunFinished):  # it has not: its kernel is there
                            await self._tell(entry.job, event)
            except Exception as error:  # noqa: BLE001 - it is the job's result, or ends the call
                failure = error
            finally:
                self._running.discard(scope)
                self._claims.release(entry.label)
                if run is not None:
                    self._saved.discard(run)
        if not (failure is None or isinstance(failure, GatewayError)):
            await self._fail(failure)  # the caller's own: what answers requests for input
        if scope.cancelled_caught:
            failure = NotebookStoppedError(entry.name, self._stopped_by)
        if run is not None:
            return run.result(failure)
        assert failure is not None
        return _not_run(entry, "cancelled" if scope.cancelled_caught else "failed", failure)

    async def _finish(self, entry: _Entry, run: NotebookRun) -> None:
        await self._tell(entry.job, RunFinished(run=run))
        await self._give.send(run)

    async def _tell(self, job: NotebookJob, event: RunEvent) -> None:
        """Tell of an event; what the caller's function raises ends the call."""
        await trio.lowlevel.checkpoint()
        if self._on_event is None:
            return
        failure: Exception | None = None
        try:
            done = self._on_event(job, event)
            if inspect.isawaitable(done):
                await done
        except Exception as error:  # noqa: BLE001 - the caller's own
            failure = error
        if failure is not None:
            await self._fail(failure)

    def _stop(self, failed: str) -> None:
        """Cancel the runs that have not ended, and begin no other: this job did not end well."""
        self._stopped_by = failed
        self._reading.cancel(reason="another job did not end well")
        for scope in self._running:
            scope.cancel(reason="another job did not end well")

    def stop_saving(self) -> None:
        """Let the saves that are being made come to their end, and make no other."""
        stop_savers([run.saver for run in tuple(self._saved) if run.saver is not None])

    def take_failure(self) -> Exception | None:
        """Return what ended the call, if not its jobs: what the caller's own functions or iterable raised. Once."""
        failure, self._failure = self._failure, None
        return failure

    async def _fail(self, error: Exception) -> NoReturn:
        """End the call: what the caller's own function or iterable raised is raised where it reads the results."""
        if self._failure is None:
            self._failure = error
        self._all.cancel(reason="a function of the caller's raised")
        await trio.sleep_forever()


def _not_run(entry: _Entry, status: Literal["failed", "cancelled", "pending"], failure: GatewayError) -> NotebookRun:
    """Return what came of a job of which no notebook could be read, or none was to be."""
    now = datetime.now(UTC)  # noqa: TID251 - for people; nothing is decided by it
    return NotebookRun(status=status, failure=failure, name=entry.name, job=entry.job, started=now, finished=now)


@points_to_limits
class Runs(AsyncIterator[NotebookRun]):
    """What comes of many jobs: iterate over it for their results, as they finish. Made by `run_many`.

    Several tasks may iterate; each result goes to one of them.
    """

    def __init__(self, many: _Many) -> None:
        self._many = many

    def __aiter__(self) -> Runs:
        return self

    async def __anext__(self) -> NotebookRun:
        """Wait for the next job that has ended, and whose kernel is gone.

        Raises:
            StopAsyncIteration: each job has had its result.
            Exception: what the caller's `on_event`, `stdin` or `jobs` raised. All jobs were ended, and results may be missing.

        Cancellation: safe, no result is lost.
        """
        try:
            return await self._many.results.receive()
        except trio.EndOfChannel:
            pass
        failure = self._many.take_failure()
        if failure is not None:
            raise failure
        raise StopAsyncIteration

    def stop_saving(self) -> None:
        """Let the saves that are being made come to their end, for a second at most, and make no other.

        For a process that is about to end without leaving its blocks. It may be called where nothing can be waited for.
        """
        self._many.stop_saving()


@refuse_faces("notebooks", Gateway, Fleet, KernelPool)
def run_many(
    where: Gateway | Fleet | KernelPool,
    jobs: Jobs,
    *,
    limit: int = 4,
    stop_on_failure: bool = False,
    on_event: OnRunEvent | None = None,
    **settings: Unpack[RunSettings],
) -> AbstractAsyncContextManager[Runs]:
    """Run many notebooks, each on a kernel of its own, and give their results as they finish.

    Example::

        jobs = [NotebookJob("sweep.ipynb", output=f"{n}.ipynb", parameters={"n": n}) for n in range(40)]
        async with notebooks.run_many(gateway, jobs, limit=8) as runs:
            async for result in runs:
                print(result.job.output, result.status)

    A job that fails, by whatever, is a result, and takes nothing from the others. Leaving the block early ends all that runs, as
    a cancellation does.

    Args:
        where: the gateway, or a fleet; or a pool, which each job leases a kernel from.
        jobs: what to run, in this order: each a `NotebookJob`, or a notebook as for `run`. Of a list, or another collection, each
            job is checked before the first kernel is started: that its notebook and its options can be used, and that it neither
            writes a file that another job reads or writes, nor reads one that another writes. From an iterator or an async
            iterator a job is read when there is a place for it, and checked then, against those that run: what is wrong with it
            is its result.
        limit: how many kernels there are at most at a time: the next job begins when a kernel is gone.
        stop_on_failure: end the others when a job has another status than `"ok"`: those that run are `"cancelled"`, those that
            have not begun, of a collection, are `"pending"`.
        on_event: gets each event of each run, with its job: a function, which must not block, or an async one, which is waited
            for, so that a slow one slows that run. Each job has one `RunFinished`, the last, when its kernel is gone.
        **settings: the options of all jobs, as for `run`.

    Returns:
        A context manager; it gives the results. At most `limit` wait for their reader, and as many for room: then no job begins.

    Raises:
        InvalidInputError: an argument can't be used, and no kernel was started.
        Exception: what `on_event`, `stdin` or `jobs` raised, where results are read, or else where the block ends.

    Cancellation: in each run the code is interrupted, what came until then is saved, and the kernel is shut down; in all of them
        at the same time.
    """
    return _run_many(where, jobs, limit, stop_on_failure, on_event, hidden_settings(settings))


@block("notebooks.run_many")
@asynccontextmanager
async def _run_many(
    where: Gateway | Fleet | KernelPool,
    jobs: Jobs,
    limit: int,
    stop_on_failure: bool,
    on_event: OnRunEvent | None,
    settings: RunSettings,
) -> AsyncGenerator[Runs]:
    check_trio("trio_gateway.notebooks.run_many()", OTHER_DOORS)
    if not hasattr(where, "start_kernel") and not isinstance(where, KernelPool):
        raise InvalidInputError(
            "where", type(where).__name__, "a Gateway, a Fleet or a KernelPool: each job has a kernel of its own"
        )
    if not isinstance(limit, int) or isinstance(limit, bool) or limit < 1:
        raise InvalidInputError("limit", limit, "how many kernels there may be at a time: a whole number above 0")
    if not isinstance(stop_on_failure, bool):
        raise InvalidInputError("stop_on_failure", stop_on_failure, "True or False")
    if on_event is not None and not callable(on_event):
        raise InvalidInputError("on_event", on_event, "a function of a NotebookJob and an event, or None")
    if options_of(settings, beside=("limit", "stop_on_failure", "on_event")).keep_kernel != "never":
        expected = '"never" where there are many: kernels that are left would be more than the limit'
        raise InvalidInputError("keep_kernel", settings.get("keep_kernel"), expected)
    source = _Source(jobs)
    many = _Many(where, source, settings, limit=limit, stop_on_failure=stop_on_failure, on_event=on_event)
    await many.check()
    async with open_services() as services:
        services.start_soon(many.run, name="trio_gateway.notebooks")
        yield Runs(many)
    failure = many.take_failure()
    if failure is not None:
        raise failure
