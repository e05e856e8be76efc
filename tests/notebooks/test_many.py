"""Many notebooks on one gateway, in virtual time: how many kernels there are, what becomes of each job, and what ends them."""

from __future__ import annotations

import gc
import json
import weakref
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from trio.testing import MockClock

from tools.notebook_tools import notebook_of, texts_of, write_notebook
from trio_gateway import InvalidInputError, KernelResources, KernelSpecNotFoundError
from trio_gateway._notebooks import many as subject
from trio_gateway._notebooks.events import CellFinished, CellStarted, RunEvent, RunFinished, RunSaved, RunStarted
from trio_gateway._notebooks.many import Runs, run_many
from trio_gateway._notebooks.options import NotebookJob
from trio_gateway._notebooks.results import NotebookRun, NotebookStoppedError
from trio_gateway.testing import Cell, FakeGateway, Interrupted

pytestmark = pytest.mark.usefixtures("threads")


class Stage:
    """A gateway whose kernels take a second for each cell, and what is noted of them."""

    def __init__(self) -> None:
        self.fake = FakeGateway(self._run)
        self.executed: list[str] = []
        self.interrupted: list[str] = []
        self.most = 0
        """The most kernels that there were at a time, as the gateway counts them."""
        self.arrived = trio.testing.Sequencer()

    async def _run(self, cell: Cell) -> None:
        self.executed.append(cell.code)
        self.most = max(self.most, len(self.fake.kernels))
        word, _, text = cell.code.partition(" ")
        try:
            match word:
                case "fail":
                    await cell.sleep(1)
                    raise RuntimeError(text)
                case "sleep":
                    await cell.sleep(float(text))
                case "print":
                    cell.stdout(text)
                case "ask":
                    cell.stdout(await cell.input(text))
                case _:
                    await cell.sleep(1)
        except Interrupted:
            self.interrupted.append(cell.code)
            raise


@pytest.fixture
def stage() -> Stage:
    return Stage()


async def results_of(runs: Runs) -> list[NotebookRun]:
    return [result async for result in runs]


def statuses(results: list[NotebookRun]) -> dict[str, str]:
    return {result.name: result.status for result in results}


def jobs_of(*names: str, cells: int = 2) -> list[NotebookJob]:
    return [NotebookJob(notebook_of(*[f"{name}.{number}" for number in range(cells)]), name=name) for name in names]


# ------------------------------------------------------------------------------------------------------ how many at a time


@pytest.mark.parametrize("limit", [1, 3, 10, 50])
async def test_there_are_never_more_kernels_than_the_limit_and_each_job_runs_once(
    stage: Stage, limit: int, autojump_clock: MockClock
) -> None:
    names = [f"job {number}" for number in range(10)]
    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs_of(*names), limit=limit, grace=0) as runs:
            results = await results_of(runs)
        assert not fake.kernels
    assert sorted(result.name for result in results) == sorted(names)
    assert sorted(stage.executed) == sorted(f"{name}.{number}" for name in names for number in (0, 1))
    assert stage.most == min(limit, 10)
    assert {result.status for result in results} == {"ok"}
    assert len({result.kernel_id for result in results}) == 10


async def test_the_next_job_begins_when_a_kernel_is_gone_and_not_before(stage: Stage, autojump_clock: MockClock) -> None:
    stage.fake.shutdown_seconds = 30
    async with stage.fake as fake, fake.open(cleanup_timeout=60) as gateway:
        async with run_many(gateway, jobs_of("a", "b", "c"), limit=1) as runs:
            async for _ in runs:
                assert len(fake.kernels) <= 1
        assert trio.current_time() >= 90
    assert stage.most == 1


async def test_results_come_as_jobs_finish_and_with_their_job(stage: Stage, autojump_clock: MockClock) -> None:
    jobs = [NotebookJob(notebook_of(f"sleep {seconds}")) for seconds in (30, 10, 20)]
    async with stage.fake as fake, fake.open() as gateway, run_many(gateway, jobs) as runs:
        found = await results_of(runs)
    assert [result.job for result in found] == [jobs[1], jobs[2], jobs[0]]
    assert [round(result.seconds) for result in found] == [10, 20, 30]


async def test_a_slow_reader_of_results_holds_jobs_up_and_memory_down(stage: Stage, autojump_clock: MockClock) -> None:
    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs_of(*map(str, range(20)), cells=1), limit=2) as runs:
            await trio.sleep(1_000)
            assert len(stage.executed) == 4
            assert not fake.kernels
            assert len(await results_of(runs)) == 20


async def test_no_jobs_are_no_results(stage: Stage, autojump_clock: MockClock) -> None:
    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, []) as runs:
            assert await results_of(runs) == []
        async with run_many(gateway, iter(())) as runs:
            assert await results_of(runs) == []


# ------------------------------------------------------------------------------------------------------ where jobs come from


async def test_jobs_may_be_notebooks_of_each_kind(stage: Stage, tmp_path: Path, autojump_clock: MockClock) -> None:
    path = write_notebook(tmp_path / "p.ipynb", "path")
    with path.open("rb") as file:
        jobs = [path, str(path), notebook_of("node"), NotebookJob({**notebook_of("dictionary")}, name="d"), file]
        async with stage.fake as fake, fake.open() as gateway, run_many(gateway, jobs) as runs:
            results = await results_of(runs)
    assert sorted(stage.executed) == ["dictionary", "node", "path", "path", "path"]
    assert sorted(result.name for result in results) == ["", "d", "p.ipynb", "p.ipynb", "p.ipynb"]


async def test_each_job_may_have_a_directory_of_its_own(stage: Stage, autojump_clock: MockClock) -> None:
    jobs = [NotebookJob(notebook_of("x"), cwd="/a"), NotebookJob(notebook_of("x"), cwd=Path("/b")), notebook_of("x")]
    async with stage.fake as fake, fake.open() as gateway, run_many(gateway, jobs, limit=1, cwd="/all") as runs:
        assert [result.status for result in await results_of(runs)] == ["ok"] * 3
        starts = [
            json.loads(request.body) for request in fake.requests if (request.method, request.path) == ("POST", "/api/kernels")
        ]
    assert [start["env"]["KERNEL_WORKING_DIR"] for start in starts] == ["/a", "/b", "/all"]


async def test_all_kernels_get_the_resources(stage: Stage, autojump_clock: MockClock) -> None:
    resources = KernelResources(cpu=2, gpus=1)
    async with (
        stage.fake as fake,
        fake.open() as gateway,
        run_many(gateway, [notebook_of("x")] * 2, resources=resources) as runs,
    ):
        assert [result.status for result in await results_of(runs)] == ["ok"] * 2
        environments = [json.loads(request.body)["env"] for request in fake.requests if str(request) == "POST /api/kernels"]
    assert [env | resources.variables() for env in environments] == environments


@pytest.mark.parametrize("is_async", [False, True])
async def test_jobs_of_an_iterator_are_read_when_there_is_a_place(
    stage: Stage, is_async: bool, autojump_clock: MockClock
) -> None:
    read: list[int] = []

    def numbers() -> Iterator[NotebookJob]:
        for number in range(1_000_000):
            read.append(number)
            yield NotebookJob(notebook_of(f"sleep {10 + number}"), name=str(number))

    async def slowly() -> AsyncIterator[NotebookJob]:
        for job in numbers():
            await trio.sleep(1)
            yield job

    jobs = slowly() if is_async else numbers()
    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs, limit=3) as runs:
            assert [(await anext(runs)).name for _ in range(5)] == ["0", "1", "2", "3", "4"]
        assert read[-1] <= 5 + 3
        assert not fake.kernels
    if is_async:
        await jobs.aclose()


async def test_what_jobs_raises_is_raised_where_results_are_read(stage: Stage, autojump_clock: MockClock) -> None:
    def jobs() -> Iterator[NotebookJob]:
        yield NotebookJob(notebook_of("sleep 5"), name="a")
        yield NotebookJob(notebook_of("sleep 100"), name="b")
        raise ZeroDivisionError

    async with stage.fake as fake, fake.open() as gateway:
        seen: list[NotebookRun] = []
        with pytest.raises(ZeroDivisionError):
            async with run_many(gateway, jobs(), limit=2) as runs:
                async for result in runs:
                    seen.append(result)  # noqa: PERF401 - they are seen before it raises
        assert statuses(seen) == {"a": "ok"}
        assert stage.interrupted == ["sleep 100"]
        assert not fake.kernels
        with pytest.raises(ZeroDivisionError):  # it is raised too where nobody reads
            async with run_many(gateway, jobs(), limit=3):
                await trio.sleep(1)
        async with run_many(gateway, jobs(), limit=3) as runs:
            with pytest.raises(ZeroDivisionError):
                await anext(runs)
            with pytest.raises(StopAsyncIteration):
                await anext(runs)


# ------------------------------------------------------------------------------------------------------ what fails


async def test_one_failure_takes_nothing_from_the_others(stage: Stage, tmp_path: Path, autojump_clock: MockClock) -> None:
    bad = write_notebook(tmp_path / "bad.ipynb", "x")
    jobs = [
        *jobs_of("good"),
        NotebookJob(notebook_of("a", "fail boom", "never"), name="error"),
        NotebookJob(notebook_of("a", kernel="nowhere"), name="no kernel"),
        NotebookJob(bad, name="vanished"),
        *jobs_of("good too"),
    ]

    def remove(job: NotebookJob, event: RunEvent) -> None:
        bad.unlink(missing_ok=True)

    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs, limit=1, on_event=remove) as runs:
            results = await results_of(runs)
        assert not fake.kernels
    assert statuses(results) == {"good": "ok", "error": "error", "no kernel": "failed", "vanished": "failed", "good too": "ok"}
    found = {result.name: result for result in results}
    assert found["error"].error is not None
    assert [cell.status for cell in found["error"].cells] == ["ok", "error", "pending"]
    assert isinstance(found["no kernel"].failure, KernelSpecNotFoundError)
    assert [cell.status for cell in found["no kernel"].cells] == ["pending"]
    assert isinstance(found["vanished"].failure, InvalidInputError)
    assert (found["vanished"].notebook, found["vanished"].cells) == (None, ())
    assert "never" not in stage.executed


@pytest.mark.parametrize("parameters", [None, {"x": 1}])
async def test_a_kernelspec_that_there_is_not_is_its_own_jobs_failure(
    parameters: dict[str, int] | None, stage: Stage, autojump_clock: MockClock
) -> None:
    jobs = [NotebookJob(notebook_of("a", kernel=kernel), name=kernel) for kernel in ("nope", "python3")]
    async with stage.fake as fake, fake.open() as gateway, run_many(gateway, jobs, parameters=parameters) as runs:
        results = await results_of(runs)
    assert statuses(results) == {"nope": "failed", "python3": "ok"}
    assert [type(result.failure) for result in results if result.name == "nope"] == [KernelSpecNotFoundError]


async def test_a_kernel_that_dies_is_its_own_jobs_failure(stage: Stage, autojump_clock: MockClock) -> None:
    jobs = [NotebookJob(notebook_of("sleep 10", f"{name}"), name=name) for name in ("dies", "lives")]
    doomed: list[str] = []

    def look(job: NotebookJob, event: RunEvent) -> None:
        if isinstance(event, RunStarted) and event.name == "dies":
            doomed.append(event.kernel_id)

    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs, on_event=look) as runs:
            await trio.sleep(5)
            fake.kernels[doomed[0]].kill()
            results = await results_of(runs)
        assert not fake.kernels
    assert statuses(results) == {"dies": "failed", "lives": "ok"}


# ------------------------------------------------------------------------------------------------------ stop_on_failure


async def test_the_first_failure_ends_the_others_where_that_is_asked_for(
    stage: Stage, tmp_path: Path, autojump_clock: MockClock
) -> None:
    jobs = [
        NotebookJob(notebook_of("fail boom"), name="fails", output=tmp_path / "fails.ipynb"),
        NotebookJob(notebook_of("print begun", "sleep 100", "never"), name="runs", output=tmp_path / "runs.ipynb"),
        *jobs_of("waits", "waits too"),
    ]
    events: list[tuple[str, RunEvent]] = []

    def note(job: NotebookJob, event: RunEvent) -> None:
        events.append((job.name or "", event))

    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs, limit=2, stop_on_failure=True, on_event=note) as runs:
            results = await results_of(runs)
        assert not fake.kernels
    assert statuses(results) == {"fails": "error", "runs": "cancelled", "waits": "pending", "waits too": "pending"}
    found = {result.name: result for result in results}
    for name in ("runs", "waits"):
        with pytest.raises(NotebookStoppedError, match=rf"{name}: it was stopped, for job 1 \(fails\) did not end well"):
            found[name].raise_for_error()
    assert [cell.status for cell in found["runs"].cells] == ["ok", "pending", "pending"]
    assert stage.interrupted == ["sleep 100"]
    assert "never" not in stage.executed
    saved = json.loads((tmp_path / "runs.ipynb").read_text())
    assert [texts_of(cell) for cell in saved["cells"]] == [["begun"], [], []]
    assert sorted(name for name, event in events if isinstance(event, RunFinished)) == sorted(found)
    assert [event.run for _, event in events if isinstance(event, RunFinished)] == results


async def test_of_an_iterator_nothing_more_is_read_after_a_failure(stage: Stage, autojump_clock: MockClock) -> None:
    read: list[int] = []

    def jobs() -> Iterator[NotebookJob]:
        for number in range(100):
            read.append(number)
            yield NotebookJob(notebook_of("fail boom" if number == 2 else f"sleep {2 * number}"), name=str(number))

    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs(), limit=2, stop_on_failure=True) as runs:
            results = await results_of(runs)
    assert statuses(results) == {"0": "ok", "1": "cancelled", "2": "error"}
    assert read == [0, 1, 2]


async def test_what_has_ended_when_another_fails_stays_what_it_is(stage: Stage, autojump_clock: MockClock) -> None:
    """Its kernel is still being shut down."""
    stage.fake.shutdown_seconds = 10
    jobs = [NotebookJob(notebook_of("sleep 5"), name="well"), NotebookJob(notebook_of("nowhere"), name="bad")]
    jobs[1] = NotebookJob(notebook_of("x", kernel="nowhere"), name="bad")

    async def wait(job: NotebookJob, event: RunEvent) -> None:
        if isinstance(event, RunFinished) and job.name == "well":
            finished.append(fake.kernels.copy())

    finished: list[Any] = []
    async with stage.fake as fake, fake.open(cleanup_timeout=60) as gateway:

        async def late() -> AsyncIterator[NotebookJob]:
            yield jobs[0]
            await trio.sleep(8)
            yield jobs[1]

        async with run_many(gateway, late(), limit=2, stop_on_failure=True, on_event=wait, grace=0) as runs:
            results = await results_of(runs)
    assert statuses(results) == {"bad": "failed", "well": "ok"}
    assert finished == [{}]


async def test_a_job_whose_kernel_is_being_started_is_cancelled_too(stage: Stage, autojump_clock: MockClock) -> None:
    jobs = [NotebookJob(notebook_of("x", kernel="nowhere"), name="bad"), *jobs_of("good")]
    stage.fake.faults.delay_answer("POST /api/kernels", 50)
    async with stage.fake as fake, fake.open(cleanup_timeout=100) as gateway:
        async with run_many(gateway, jobs, stop_on_failure=True) as runs:
            results = await results_of(runs)
        assert not fake.kernels
    assert statuses(results) == {"bad": "failed", "good": "cancelled"}
    assert stage.executed == []


async def test_a_job_that_takes_its_place_while_another_fails_is_not_begun(
    stage: Stage, tmp_path: Path, autojump_clock: MockClock
) -> None:
    """In whichever order their tasks run."""
    jobs = [NotebookJob(notebook_of("sleep 100"), output=tmp_path / "o.ipynb", name=name) for name in ("a", "b")]
    async with stage.fake as fake, fake.open() as gateway:
        for _ in range(30):
            async with run_many(gateway, iter([*jobs, *jobs_of("c")]), stop_on_failure=True) as runs:
                assert statuses(await results_of(runs)) in (
                    {"a": "cancelled", "b": "failed", "c": "cancelled"},
                    {"a": "failed", "b": "cancelled", "c": "cancelled"},
                    {"a": "cancelled", "b": "failed"},
                    {"a": "failed", "b": "cancelled"},
                )
    assert stage.executed == []


# ------------------------------------------------------------------------------------------------------ events


@pytest.mark.parametrize("is_async", [False, True])
async def test_each_event_comes_with_its_job_and_each_job_finishes_once(
    stage: Stage, tmp_path: Path, is_async: bool, autojump_clock: MockClock
) -> None:
    jobs = [NotebookJob(job.notebook, output=tmp_path / f"{job.name}.ipynb", name=job.name) for job in jobs_of("a", "b", "c")]
    seen: dict[str, list[RunEvent]] = {"a": [], "b": [], "c": []}
    kernels: list[int] = []

    def note(job: NotebookJob, event: RunEvent) -> None:
        assert job.name is not None
        seen[job.name].append(event)
        if isinstance(event, RunFinished):
            assert event.run.job is job
            kernels.append(len(fake.kernels))

    async def note_slowly(job: NotebookJob, event: RunEvent) -> None:
        await trio.sleep(0.1)
        note(job, event)

    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs, limit=1, on_event=note_slowly if is_async else note) as runs:
            results = await results_of(runs)
    for name, events in seen.items():
        assert isinstance(events[0], RunStarted)
        assert [type(event) for event in events if not isinstance(event, RunSaved)] == [
            RunStarted,
            CellStarted,
            CellFinished,
            CellStarted,
            CellFinished,
            RunFinished,
        ]
        assert any(isinstance(event, RunSaved) for event in events)
        assert isinstance(events[-1], RunFinished)
        assert [events[-1].run] == [result for result in results if result.name == name]
    assert kernels == [0, 0, 0]


async def test_a_slow_function_of_events_slows_its_run_and_no_other(stage: Stage, autojump_clock: MockClock) -> None:
    async def note(job: NotebookJob, event: RunEvent) -> None:
        if job.name == "slow" and isinstance(event, CellStarted):
            await trio.sleep(1_000)

    async with stage.fake as fake, fake.open() as gateway:
        async with run_many(gateway, jobs_of("slow", "fast", cells=30), on_event=note) as runs:
            first = await anext(runs)
            assert first.name == "fast"
            assert trio.current_time() < 100
            assert (await anext(runs)).status == "ok"


class MyGatewayError(InvalidInputError):
    def __init__(self) -> None:
        super().__init__("mine", 1, "nothing")


@pytest.mark.parametrize("kind", [RunStarted, CellStarted, CellFinished, RunFinished])
@pytest.mark.parametrize("mine", [ZeroDivisionError, MyGatewayError])
@pytest.mark.parametrize("is_async", [False, True])
async def test_what_a_function_of_events_raises_ends_the_call_and_comes_out_as_it_is(
    stage: Stage, kind: type[Any], mine: type[Exception], is_async: bool, autojump_clock: MockClock
) -> None:
    """G9"""

    def note(job: NotebookJob, event: RunEvent) -> None:
        if job.name == "a" and isinstance(event, kind):
            raise mine

    async def note_later(job: NotebookJob, event: RunEvent) -> None:
        await trio.lowlevel.checkpoint()
        note(job, event)

    jobs = [*jobs_of("a"), NotebookJob(notebook_of("sleep 1000"), name="b"), *jobs_of("c")]
    async with stage.fake as fake, fake.open() as gateway:
        with pytest.raises(mine):
            async with run_many(gateway, jobs, limit=2, on_event=note_later if is_async else note) as runs:
                await results_of(runs)
        assert not fake.kernels
    assert trio.current_time() < 100
    assert "c.0" not in stage.executed


async def test_what_answers_requests_for_input_may_raise_too(stage: Stage, autojump_clock: MockClock) -> None:
    def answer(prompt: str, password: bool) -> str:
        if prompt == "name?":
            return "Ada"
        raise ZeroDivisionError

    jobs = [NotebookJob(notebook_of(f"ask {prompt}"), name=prompt) for prompt in ("name?", "age?")]
    async with stage.fake as fake, fake.open() as gateway:
        seen: list[NotebookRun] = []
        with pytest.raises(ZeroDivisionError):
            async with run_many(gateway, jobs, limit=1, stdin=answer) as runs:
                async for result in runs:
                    seen.append(result)  # noqa: PERF401 - they are seen before it raises
        assert texts_of(seen[0].notebook.cells[0]) == ["Ada"]
        assert not fake.kernels


# ------------------------------------------------------------------------------------------------------ ends


async def leave(runs: Runs) -> None:
    return None


async def break_off(runs: Runs) -> None:
    async for _ in runs:
        break


async def raise_in_body(runs: Runs) -> None:
    await anext(runs)
    raise ZeroDivisionError


async def be_cancelled(runs: Runs) -> None:
    with trio.move_on_after(20):
        await results_of(runs)


@pytest.mark.parametrize("end", [leave, break_off, raise_in_body, be_cancelled])
async def test_leaving_the_block_ends_all_that_runs(
    stage: Stage, tmp_path: Path, end: Callable[[Runs], Awaitable[None]], autojump_clock: MockClock
) -> None:
    """G1, G2, G6, G9"""
    jobs = [
        NotebookJob(notebook_of("print begun", f"sleep {seconds}", "never"), output=tmp_path / f"{seconds}.ipynb")
        for seconds in (10, 1_000, 2_000, 3_000, 4_000)
    ]
    async with stage.fake as fake, fake.open() as gateway:
        raised: list[BaseException] = []
        try:
            async with run_many(gateway, jobs, limit=3) as runs:
                await trio.sleep(5)
                await end(runs)
        except ZeroDivisionError as error:
            raised.append(error)
        assert not fake.kernels
        assert [type(error) for error in raised] == ([ZeroDivisionError] if end is raise_in_body else [])
    assert trio.current_time() < 50
    begun = {code for code in stage.executed if code.startswith("sleep")}
    assert set(stage.interrupted) == begun - ({"sleep 10"} if end is not leave else set())
    assert "never" not in stage.executed or end is not leave
    for code in begun:
        saved = json.loads((tmp_path / f"{code.removeprefix('sleep ')}.ipynb").read_text())
        assert texts_of(saved["cells"][0]) == ["begun"]


async def test_all_kernels_end_at_the_same_time(stage: Stage, autojump_clock: MockClock) -> None:
    stage.fake.shutdown_seconds = 10
    async with stage.fake as fake, fake.open(cleanup_timeout=60) as gateway:
        async with run_many(gateway, [NotebookJob(notebook_of("sleep 1000")) for _ in range(8)], limit=8) as runs:
            await trio.sleep(5)
            assert len(fake.kernels) == 8
            began = trio.current_time()
        assert trio.current_time() - began < 20
        assert not fake.kernels
        del runs


# ------------------------------------------------------------------------------------------------------ what can't be used


@pytest.mark.parametrize(
    ("arguments", "field"),
    [
        ({"limit": 0}, "limit"),
        ({"limit": True}, "limit"),
        ({"limit": 2.5}, "limit"),
        ({"limit": "4"}, "limit"),
        ({"stop_on_failure": 1}, "stop_on_failure"),
        ({"on_event": "print"}, "on_event"),
        ({"timeout": -1}, "timeout"),
        ({"on_error": "ignore"}, "on_error"),
        ({"jobs": "a.ipynb"}, "jobs"),
        ({"jobs": Path("a.ipynb")}, "jobs"),
        ({"jobs": NotebookJob("a.ipynb")}, "jobs"),
        ({"jobs": notebook_of("1")}, "jobs"),
        ({"jobs": None}, "jobs"),
        ({"jobs": 5}, "jobs"),
        ({"jobs": [5]}, "notebook"),
        ({"jobs": [""]}, "notebook"),
        ({"jobs": ["there/is/none.ipynb"]}, "notebook"),
        ({"jobs": [NotebookJob(notebook_of("1"), output=5)]}, "output"),  # type: ignore[arg-type]
        ({"where": None}, "where"),
    ],
)
async def test_bad_arguments_are_named_before_any_kernel_is_started(
    stage: Stage, arguments: dict[str, Any], field: str, autojump_clock: MockClock
) -> None:
    async with stage.fake as fake, fake.open() as gateway:
        given: dict[str, Any] = {"where": gateway, "jobs": [NotebookJob(notebook_of("1"))], **arguments}
        if field != "jobs" and isinstance(given["jobs"], list):
            given["jobs"] = [notebook_of("2"), *given["jobs"]]
        with pytest.raises(InvalidInputError) as caught:
            async with run_many(given.pop("where"), given.pop("jobs"), **given):
                pytest.fail("it was entered")
        assert caught.value.field == field
        assert "POST" not in str(fake.conversation)
    assert stage.executed == []


async def test_an_open_kernel_is_no_place_for_many(stage: Stage, autojump_clock: MockClock) -> None:
    async with stage.fake as fake, fake.open() as gateway, gateway.start_kernel() as kernel:
        with pytest.raises(InvalidInputError, match="where"):
            async with run_many(kernel, [notebook_of("1")]):  # type: ignore[arg-type]
                pytest.fail("it was entered")


def same_output(folder: Path) -> list[NotebookJob]:
    (folder / "link.ipynb").symlink_to(folder / "o.ipynb")
    return [NotebookJob(folder / "a.ipynb", folder / "o.ipynb"), NotebookJob(folder / "b.ipynb", folder / "link.ipynb")]


def in_place_twice(folder: Path) -> list[NotebookJob]:
    return [NotebookJob(folder / "a.ipynb", folder / "a.ipynb"), NotebookJob(folder / "a.ipynb", folder / "a.ipynb")]


def anothers_notebook(folder: Path) -> list[NotebookJob]:
    return [NotebookJob(folder / "b.ipynb"), NotebookJob(folder / "a.ipynb", folder / "b.ipynb")]


def anothers_output(folder: Path) -> list[NotebookJob]:
    return [NotebookJob(folder / "a.ipynb", folder / "b.ipynb"), NotebookJob(folder / "b.ipynb")]


@pytest.mark.parametrize("jobs_in", [same_output, in_place_twice, anothers_notebook, anothers_output])
async def test_jobs_in_each_others_way_are_named_before_any_kernel_is_started(
    stage: Stage, tmp_path: Path, jobs_in: Callable[[Path], list[NotebookJob]], autojump_clock: MockClock
) -> None:
    for name in ("a", "b"):
        write_notebook(tmp_path / f"{name}.ipynb", "1")
    jobs = jobs_in(tmp_path)
    async with stage.fake as fake, fake.open() as gateway:
        with pytest.raises(InvalidInputError, match=r"job 1 \(.*job 2 \(|job 2 \(.*job 1 \(|job 1 .* \(this is job 2"):
            async with run_many(gateway, jobs):
                pytest.fail("it was entered")
        async with run_many(gateway, iter(jobs)) as runs:  # not known ahead, it is a result
            results = await results_of(runs)
    assert sorted(result.status for result in results) == ["failed", "ok"]


async def test_one_output_for_all_is_refused(stage: Stage, tmp_path: Path, autojump_clock: MockClock) -> None:
    async with stage.fake as fake, fake.open() as gateway:
        with pytest.raises(InvalidInputError, match="job 1 and job 2 both"):
            async with run_many(gateway, [notebook_of("1"), notebook_of("2")], output=tmp_path / "o.ipynb"):
                pytest.fail("it was entered")


async def test_jobs_of_an_iterator_may_build_upon_each_other(stage: Stage, tmp_path: Path, autojump_clock: MockClock) -> None:
    """The output of a job that is over may be another's notebook."""
    write_notebook(tmp_path / "0.ipynb", "print a")

    def chain() -> Iterator[NotebookJob]:
        for number in range(3):
            yield NotebookJob(tmp_path / f"{number}.ipynb", tmp_path / f"{number + 1}.ipynb")

    async with stage.fake as fake, fake.open() as gateway, run_many(gateway, chain(), limit=1) as runs:
        assert {result.status for result in await results_of(runs)} == {"ok"}


async def test_what_is_read_ahead_is_not_kept(
    stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, autojump_clock: MockClock
) -> None:
    """G7: a thousand notebooks take no more memory than those that run."""
    prepared: list[Any] = []
    prepare = subject.prepare

    async def count(*arguments: Any, **settings: Any) -> Any:
        found = await prepare(*arguments, **settings)
        prepared.append(weakref.ref(found.document))
        return found

    monkeypatch.setattr(subject, "prepare", count)
    paths = [write_notebook(tmp_path / f"{number}.ipynb", "1") for number in range(10)]
    async with stage.fake as fake, fake.open() as gateway, run_many(gateway, paths, limit=1) as runs:
        gc.collect()
        assert len(prepared) == 10
        assert [ref for ref in prepared if ref() is not None] == []
        assert len(await results_of(runs)) == 10
