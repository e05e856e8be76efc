"""Many jobs: a window of them ahead of the reader, each with a result, whatever becomes of it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import aclosing
from typing import Any

import pytest
import trio
from trio.testing import MockClock, wait_all_tasks_blocked

from trio_gateway import ExecutionError, ExecutionResult, InvalidInputError, KernelDiedError, PoolClosedError
from trio_gateway._pool.jobs import JobResult, JobResults
from trio_gateway._services import Services, open_services


def execution(status: Any = "ok") -> ExecutionResult:
    return ExecutionResult(status=status, outputs=(), reply={"status": status, "ename": "E", "evalue": "v", "traceback": []})


class Work:
    """Jobs are numbers: how many seconds each takes. Negative ones fail after so many."""

    def __init__(self) -> None:
        self.begun: list[float] = []
        self.cancelled: list[float] = []

    async def __call__(self, job: float) -> ExecutionResult:
        self.begun.append(job)
        try:
            await trio.sleep(abs(job))
        except trio.Cancelled:
            self.cancelled.append(job)
            raise
        if job < 0:
            raise KernelDiedError("id", "it was killed")
        return execution()


def results(jobs: Iterable[float], work: Work, services: Services, **options: Any) -> JobResults[float]:
    return JobResults(jobs, work, services, **{"limit": 2, "as_completed": False, "is_closed": lambda: False, **options})


async def test_results_come_in_the_order_of_their_jobs(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_services() as services:
        read = [(job, result.ok) async for job, result in results([3, 1, -1, 2], work, services)]
    assert read == [(3, True), (1, True), (-1, False), (2, True)]


async def test_or_as_they_are_there(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_services() as services:
        read = [job async for job, _ in results([3, 1, -1, 0.5], work, services, as_completed=True)]
    assert read == [1, -1, 0.5, 3]


async def test_nothing_is_begun_beyond_the_limit_while_nobody_reads(autojump_clock: MockClock) -> None:
    """G7"""
    work = Work()
    async with open_services() as services:
        pending = results(iter(range(1, 10**9)), work, services, limit=3)
        assert work.begun == []
        assert (await anext(pending))[0] == 1
        await trio.sleep(1000)
        assert sorted(work.begun) == [1, 2, 3]
        assert (await anext(pending))[0] == 2
        await trio.sleep(1000)
        assert sorted(work.begun) == [1, 2, 3, 4]


async def test_closing_interrupts_what_runs(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_services() as services:
        async with aclosing(results([1, 50, 60, 70], work, services)) as pending:
            async for _ in pending:
                break
        assert work.cancelled == [50]
        await pending.aclose()
        with pytest.raises(StopAsyncIteration):
            await anext(pending)
    assert sorted(work.begun) == [1, 50]


async def test_the_end_of_the_block_is_the_result_of_what_runs(autojump_clock: MockClock) -> None:
    """G3"""
    read: list[JobResult] = []
    async with trio.open_nursery() as nursery:
        async with open_services() as services:
            pending = results([100, 100], Work(), services)

            async def reader() -> None:
                read.extend([result async for _, result in pending])

            nursery.start_soon(reader)
            await wait_all_tasks_blocked()
    assert [type(result.error) for result in read] == [PoolClosedError, PoolClosedError]


async def test_what_is_read_when_the_block_has_ended_has_an_error_each(autojump_clock: MockClock) -> None:
    """G3"""
    work = Work()
    async with open_services() as services:
        pending = results([1, 2, 3], work, services, is_closed=lambda: True)
    assert [(job, type(result.error)) async for job, result in pending] == [(job, PoolClosedError) for job in (1, 2, 3)]
    await pending.aclose()
    assert work.begun == []


async def test_what_a_job_raises_that_is_no_gateway_s_is_its_result(autojump_clock: MockClock) -> None:
    async def work(job: float) -> ExecutionResult:
        return execution() if job else {}["x"]

    async with open_services() as services:
        pending = JobResults([1.0, 0.0], work, services, is_closed=lambda: False, limit=1, as_completed=False)
        assert [type(result.error) async for _, result in pending] == [type(None), KeyError]


async def test_a_reader_that_is_cancelled_loses_nothing(autojump_clock: MockClock) -> None:
    work = Work()
    async with open_services() as services:
        pending = results([5, 1], work, services)
        with trio.move_on_after(2):
            await anext(pending)
        assert [job async for job, _ in pending] == [5, 1]
    assert sorted(work.begun) == [1, 5]


async def test_what_the_jobs_raise_is_raised_and_what_had_begun_is_read(autojump_clock: MockClock) -> None:
    """G9"""

    def jobs() -> Iterator[float]:
        yield 1
        raise ZeroDivisionError

    async with open_services() as services:
        pending = results(jobs(), Work(), services)
        with pytest.raises(ZeroDivisionError):
            await anext(pending)
        assert [job async for job, _ in pending] == [1]


@pytest.mark.parametrize(
    ("field", "given"),
    [
        ("codes", {"jobs": "a = 1"}),
        ("codes", {"jobs": 5}),
        ("limit", {"limit": 0}),
        ("limit", {"limit": True}),
        ("as_completed", {"as_completed": 1}),
    ],
)
async def test_what_is_wrong_is_named(field: str, given: dict[str, Any]) -> None:
    """G10"""
    async with open_services() as services:
        with pytest.raises(InvalidInputError) as caught:
            results(**{"jobs": [], "work": Work(), "services": services, **given})
    assert caught.value.field == field


def test_a_result_gives_its_execution_or_raises() -> None:
    good = execution()
    assert JobResult(execution=good).raise_for_error() is good
    assert not JobResult(execution=execution("error")).ok
    with pytest.raises(ExecutionError):
        JobResult(execution=execution("error")).raise_for_error()
    died = KernelDiedError("id", "it was killed")
    with pytest.raises(KernelDiedError) as caught:
        JobResult(error=died).raise_for_error()
    assert caught.value is not died, "each raise has a traceback of its own"
