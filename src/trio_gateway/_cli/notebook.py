"""Notebooks' runs as the command shows them: what `run FILE.ipynb...` does.

The one idea: `trio_gateway.notebooks` runs the notebooks and tells what happens; here that becomes a bar, lines, outputs, reports
and an exit code.
"""

from __future__ import annotations

import abc
import traceback
from contextlib import suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Literal

import attrs
import trio
from rich.text import Text

from trio_gateway import Gateway

from .. import notebooks
from .._errors import GatewayError
from .._outputs import Error, Output
from .._protocol.endings import exit_code_in
from .asking import NO_TERMINAL, SEVERAL_RUN, Asker, find_asker, wanted_input
from .code import new_renderer
from .exits import ExitCode
from .opening import attached_kernel, open_gateway, placing
from .options import Options
from .outcomes import code_of_run, counts_of, failure_of_run
from .products import write_products, write_reports, write_to_standard_output
from .progress import Board, Steps, open_board, open_progress, title_of
from .rendering import Renderer, gap_message
from .reports import RunReport, as_dict, summary_of, traceback_of
from .supervision import run_command
from .tasks import Task
from .wording import Failure, describe

__all__ = ["NotebookRuns", "run_notebooks"]


@attrs.frozen(kw_only=True)
class NotebookRuns:
    """Which notebooks to run, and how."""

    tasks: list[Task]
    """The notebooks; at least one."""
    settings: notebooks.RunSettings
    """How to run each."""
    jobs: int = 1
    """How many run at a time."""
    stop_on_failure: bool = False
    """Whether the first that does not end well ends the others."""
    echo: bool = False
    """Whether to show outputs on standard output and error; of one notebook."""
    to_standard_output: bool = False
    """Whether the notebook with its outputs goes to standard output in the end; of one."""
    images: Path | None = None
    """The folder for the images in their outputs."""
    reports: tuple[Path, ...] = ()
    """The files of reports on all of them."""


def run_notebooks(options: Options, runs: NotebookRuns) -> int:
    """Run notebooks, each cell by cell on a kernel of its own, or one in the kernel of `--attach`.

    Args:
        options: the common options; where they name no kernel, each notebook does.
        runs: the notebooks, and what to do with them.

    Returns:
        The exit code: the greatest of theirs.

    Raises:
        GatewayError: the gateway can't be opened, or what was asked for can't be run. (What ends a run, the command says, and
            its exit code.)
        OutputClosedError: the reader of our output went away. What there is is saved.
    """
    shown = (_Several if len(runs.tasks) > 1 else _One)(options, runs)
    return run_command(options, shown.run, before_quitting=shown.before_quitting)


class _Shown(abc.ABC):
    """Runs, and how they are shown.

    Args:
        options: the common options.
        runs: the notebooks, and what to do with them.
    """

    def __init__(self, options: Options, runs: NotebookRuns) -> None:
        self.options = options
        self.runs = runs
        self.renderer: Renderer = new_renderer(options)
        asker = find_asker(options, self.renderer)
        self.asker: Asker | None = asker if runs.jobs == 1 else None
        self._asks_nobody = NO_TERMINAL if asker is None else SEVERAL_RUN
        self._told: set[int] = set()
        self._reports: dict[int, RunReport] = {}
        self._results: dict[int, list[dict[str, Any]]] = {}
        self.code: int = ExitCode.OK
        self._error: Failure | None = None

    @property
    def settings(self) -> notebooks.RunSettings:
        """How to run each notebook."""
        return {**self.runs.settings, "stdin": self.asker}

    @abc.abstractmethod
    def before_quitting(self) -> None:
        """Let saves that are being made come to their end, as far as that is quick: the process ends at once."""

    async def run(self) -> int:
        """Run them, and return the exit code."""
        began = trio.current_time()
        try:
            async with open_gateway(self.options) as gateway:
                await self.run_on(gateway)
        except Exception as error:
            self._error = describe(error, local=not self.options.has_gateway)
            raise
        finally:
            self._conclude(trio.current_time() - began)
        return self.code

    @abc.abstractmethod
    async def run_on(self, gateway: Gateway) -> None:
        """Run them on this gateway.

        Raises:
            GatewayError: what was asked for can't be run.
            OutputClosedError: the reader of our output went away.

        Cancellation: the code is interrupted, and what there is is saved.
        """

    @abc.abstractmethod
    def begun(self) -> list[tuple[Task, notebooks.NotebookRun, int]]:
        """Return the runs that have begun, each with what has come of it until now, and how many cells it was to run."""

    def job_of(self, task: Task) -> notebooks.NotebookJob:
        """Return a task as a job."""
        attached = self.options.attach is not None
        return notebooks.NotebookJob(
            task.read or task.source.path,
            output=task.output,
            name=task.source.title,
            cwd=None if attached else task.place.directory,
        )

    def failure_of(self, result: notebooks.NotebookRun, total: int | None = None) -> Failure | None:
        """Say why a run was no success; None if it was one."""
        if self.options.debug and result.failure is not None:
            traceback.print_exception(result.failure)
        local = not self.options.has_gateway
        return failure_of_run(result, total=total, asks_nobody=self._asks_nobody, local=local)

    def tell(self, task: Task, result: notebooks.NotebookRun) -> Failure | None:
        """Say what came of a run that has ended, and return why it was no success."""
        options = self.options
        prefix = f"{task.source.title}: " if len(self.runs.tasks) > 1 else ""
        self._told.add(task.source.number)
        self.code = max(self.code, code_of_run(result))
        for cell in result.cells:
            if cell.output_gaps:
                options.warn(f"{prefix}cell {cell.number}: {gap_message(cell.output_gaps)}")
        number = f"[{len(self._told)}/{len(self.runs.tasks)}] " if prefix else ""
        options.say(f"{number}{prefix}{counts_of(result)}")
        failure = self.failure_of(result)
        if failure is not None:
            options.complain(attrs.evolve(failure, message=f"{prefix}{failure.message}"))
        if result.kernel_left:
            options.say(f"Its kernel runs on, for --resume: `trio-gateway kernels shutdown {result.kernel_id}` ends it.")
        return failure

    def tell_of_resumption(self, event: notebooks.RunStarted) -> None:
        """Say with which cell a run begins that was to be resumed, and why."""
        if event.resumption:
            begins = (
                f"cell {event.first_cell} is the first to run" if event.first_cell <= event.cells else "no cell is left to run"
            )
            self.options.say(f"{event.name}: {begins}: {event.resumption}.")

    async def finish(self, task: Task, result: notebooks.NotebookRun) -> None:
        """Say what came of a run that has ended, write what comes of it, and keep what is to be said of it in the end."""
        failure = self.tell(task, result)
        products = await write_products(self.options, task, result, self.runs.images)
        if not products.whole:
            self.code = max(self.code, ExitCode.BAD_INPUT)
        self._keep(task, result, failure, page=products.page)

    def _keep(self, task: Task, result: notebooks.NotebookRun, failure: Failure | None, *, page: Path | None = None) -> None:
        """Keep what is to be said of a run in the end: of its outputs only what is asked for."""
        if self.options.as_json:
            self._results[task.source.number] = _results_of(result)
        run = attrs.evolve(result, notebook=None)
        self._reports[task.source.number] = RunReport(run=run, path=task.source.path, failure=failure, page=page)

    def _conclude(self, seconds: float) -> None:
        """Say what is to be said of all, and write the reports, however it ended."""
        options, tasks = self.options, self.runs.tasks
        several = len(tasks) > 1
        for task, result, total in self.begun():
            if task.source.number in self._reports:
                continue
            if result.status == "cancelled":
                failure = self._tell_of_interrupted(task, result, total)
            elif task.source.number in self._told:  # a signal came while its page was made
                failure = self.failure_of(result)
            else:
                failure = self.tell(task, result)
            self._keep(task, result, failure)
        for task in tasks:
            if task.source.number not in self._reports:
                result = new_result(task, "pending")
                self._reports[task.source.number] = RunReport(run=result, path=task.source.path, failure=self._error)
        reports = [self._reports[task.source.number] for task in tasks]
        summary = summary_of(reports, seconds)
        if several:
            options.say(summary)
        if options.as_json:
            options.report["runs"] = [as_dict(report) for report in reports]
            options.report["results"] = [
                {"run": index, **result}
                for index, task in enumerate(tasks)
                for result in self._results.get(task.source.number, [])
            ]
        if not write_reports(options, self.runs.reports, reports, summary, self._error or options.failure):
            self.code = max(self.code, ExitCode.BAD_INPUT)

    def _tell_of_interrupted(self, task: Task, result: notebooks.NotebookRun, total: int) -> Failure | None:
        """Say in which cell a signal has interrupted a run, and where what there is was saved."""
        options = self.options
        failure = self.failure_of(result, total)
        if failure is not None:
            message = f"{task.source.title}: {failure.message}" if len(self.runs.tasks) > 1 else failure.message
            saved = "" if result.output is None else f" Saved to {result.output}."
            options.say(f"{message[0].upper()}{message[1:]}.{saved}" if message == failure.message else f"{message}.{saved}")
            options.failure = options.failure or attrs.evolve(failure, message=message)
        return failure


class _One(_Shown):
    """One notebook's run: what it shows is shown as it comes, where that is wanted."""

    _run: notebooks.OpenRun | None = None
    _failure: GatewayError | None = None
    _started = datetime.min.replace(tzinfo=UTC)

    @property
    def _total(self) -> int:
        return 0 if self._run is None else sum(cell.number > 0 for cell in self._run.cells)

    def before_quitting(self) -> None:
        if self._run is not None:
            self._run.stop_saving()

    async def run_on(self, gateway: Gateway) -> None:
        options, (task,), echo = self.options, self.runs.tasks, self.runs.echo
        self._started = _now()
        # A bar can't share its terminal with the code's output.
        with open_progress(options, bar=not (echo and self.renderer.uses_terminal)) as progress:
            if self.asker is not None:
                self.asker.pausing = progress.paused
            try:
                await self._run_notebook(gateway, task, progress)
            except GatewayError as error:
                self._failure = error
        result = self._result()
        if result.error is not None and not (echo or options.as_json or wanted_input(result.error)):
            await self.renderer.show(result.error)
        await self.renderer.finish()
        if self.runs.to_standard_output and result.notebook is not None:
            await write_to_standard_output(result)
        await self.finish(task, result)

    async def _run_notebook(self, gateway: Gateway, task: Task, progress: Steps) -> None:
        if self.options.attach is None:
            where: Any = placing(self.options, gateway, [task.place])
            await self._read_events(where, {**self.settings, "kernel_name": self.options.kernel}, task, progress)
        else:
            async with attached_kernel(self.options, gateway) as kernel:
                await self._read_events(kernel, self.settings, task, progress)

    async def _read_events(self, where: Any, settings: notebooks.RunSettings, task: Task, progress: Steps) -> None:
        async with notebooks.open_run(where, self.job_of(task), **settings) as self._run:
            async for event in self._run:
                await self._show(event, progress)

    async def _show(self, event: notebooks.RunEvent, progress: Steps) -> None:
        match event:
            case notebooks.RunStarted():
                self.tell_of_resumption(event)
            case notebooks.CellStarted():
                progress.begin(event.cell.number, self._total, title_of(event.cell.source))
            case notebooks.CellOutput() if self.runs.echo and _is_to_be_seen(event.output):
                await self.renderer.show(event.output)
            case notebooks.CellFinished() if self.runs.echo:
                await self.renderer.end_line()

    def _result(self) -> notebooks.NotebookRun:
        """Return what came of it until now."""
        (task,), run, failure = self.runs.tasks, self._run, self._failure
        with suppress(RuntimeError):  # it has not ended
            ended = None if run is None else run.result
            if ended is not None:
                changed = failure is not None and ended.status != "failed"
                return attrs.evolve(ended, status="failed", failure=failure) if changed else ended
        result = attrs.evolve(
            new_result(task, "cancelled" if failure is None else "failed", started=self._started), failure=failure
        )
        if run is None:
            return result
        return attrs.evolve(result, cells=run.cells, notebook=run.notebook, output=task.output)

    def begun(self) -> list[tuple[Task, notebooks.NotebookRun, int]]:
        return [] if self._run is None else [(self.runs.tasks[0], self._result(), self._total)]


@attrs.define(eq=False)
class _Row:
    """One of several runs while it lasts."""

    task: Task
    """The notebook."""
    steps: Steps
    """Its line."""
    total: int
    """How many cells are to run."""
    started: datetime
    """When it began."""
    cells: dict[int, notebooks.CellRun] = attrs.field(factory=dict)
    """The cells that have begun, by their places in the notebook."""
    result: notebooks.NotebookRun | None = None
    """What came of it, when it has ended."""

    def result_now(self) -> notebooks.NotebookRun:
        """Return what has come of it until now."""
        if self.result is not None:
            return self.result
        cells = tuple([self.cells[index] for index in sorted(self.cells)])
        return attrs.evolve(new_result(self.task, "cancelled", started=self.started), cells=cells, output=self.task.output)


class _Several(_Shown):
    """Several notebooks' runs: each has a line while it runs, where a person sees it, and one at its end."""

    def __init__(self, options: Options, runs: NotebookRuns) -> None:
        super().__init__(options, runs)
        self._jobs = {task.source.number: self.job_of(task) for task in runs.tasks}
        self._tasks = {id(self._jobs[task.source.number]): task for task in runs.tasks}
        self._rows: dict[int, _Row] = {}
        self._runs: notebooks.Runs | None = None

    def before_quitting(self) -> None:
        if self._runs is not None:
            self._runs.stop_saving()

    async def run_on(self, gateway: Gateway) -> None:
        where: Any = placing(self.options, gateway, [task.place for task in self.runs.tasks])
        settings: notebooks.RunSettings = {**self.settings, "kernel_name": self.options.kernel}
        with open_board(self.options, len(self.runs.tasks)) as board:
            if self.asker is not None:
                self.asker.pausing = board.paused
            many = notebooks.run_many(
                where,
                [*self._jobs.values()],
                limit=self.runs.jobs,
                stop_on_failure=self.runs.stop_on_failure,
                on_event=partial(self._note, board),
                **settings,
            )
            async with many as self._runs:
                async for result in self._runs:
                    await self._show(self._tasks[id(result.job)], result)

    def _note(self, board: Board, job: notebooks.NotebookJob, event: notebooks.RunEvent) -> None:
        task = self._tasks[id(job)]
        number = task.source.number
        match event:
            case notebooks.RunStarted():
                self.tell_of_resumption(event)
                self._rows[number] = _Row(task, board.begin(task.source.title), event.cells, _now())
            case notebooks.CellStarted() | notebooks.CellFinished():
                row, cell = self._rows[number], event.cell
                row.cells[cell.index] = cell
                if isinstance(event, notebooks.CellStarted):
                    row.steps.begin(cell.number, row.total, title_of(cell.source))
            case notebooks.RunFinished() if number in self._rows:
                self._rows[number].result = event.run
                board.end(self._rows[number].steps)

    async def _show(self, task: Task, result: notebooks.NotebookRun) -> None:
        """Show what came of one that has ended."""
        options = self.options
        if result.error is not None and not (options.as_json or wanted_input(result.error)):
            options.console.print(Text(traceback_of(result.error)))
        await self.finish(task, result)
        self._rows.pop(task.source.number, None)

    def begun(self) -> list[tuple[Task, notebooks.NotebookRun, int]]:
        return [(row.task, row.result_now(), row.total) for row in self._rows.values()]


def _is_to_be_seen(output: Output) -> bool:
    return not (isinstance(output, Error) and (wanted_input(output) or exit_code_in(output) == 0))


def _results_of(result: notebooks.NotebookRun) -> list[dict[str, Any]]:
    """Return what came of each cell that has ended, with the outputs that it shows now, as JSON has it."""
    if result.notebook is None:
        return []
    return [
        {
            "cell": cell.number,
            "status": cell.status,
            "execution_count": cell.execution_count,
            "outputs": result.notebook.cells[cell.index].outputs,
            "error": None if cell.error is None else attrs.asdict(cell.error),
            "output_gaps": [attrs.asdict(gap) for gap in cell.output_gaps],
        }
        for cell in result.cells
        if cell.status not in ("pending", "skipped")
    ]


def new_result(
    task: Task, status: Literal["failed", "cancelled", "pending"], *, started: datetime | None = None
) -> notebooks.NotebookRun:
    """Return the result of a run that has none of its own."""
    now, name = _now(), task.source.title
    job = notebooks.NotebookJob(task.source.path, name=name)
    return notebooks.NotebookRun(status=status, name=name, job=job, started=started or now, finished=now)


def _now() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - for people; nothing is decided by it
