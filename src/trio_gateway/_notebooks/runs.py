"""Running a notebook: from a gateway or a kernel, and a file, a node or a dictionary, to a result.

The one idea: all that can be wrong with the arguments is found before a kernel is started; from then on a run ends in a result,
and only what no cell can help is raised.
"""

from __future__ import annotations

import copy
import json
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any, Final, Unpack, cast

import attrs
import trio

from .._errors import GatewayError, InvalidInputError
from .._fleet.fleet import Fleet
from .._gateway.gateway import Gateway
from .._kernel.kernel import Kernel
from .._limits import points_to_limits
from .._pool.pool import KernelPool
from .._portal.faces import refuse_faces
from .._protocol.code import check_code
from .._services import open_services
from .._threads import run_sync
from .._transport.blocks import block, check_trio
from .._values import as_object
from .document import Document, cells_that_run
from .engine import Engine
from .event_queue import EventQueue, Listener, Nobody
from .events import RunEvent, RunFinished, RunSaved
from .file import NotebookFile, read_notebook
from .kernels import EarlierRun, Ground, check_where, open_ground
from .options import NotebookJob, RunOptions, RunSettings, as_path, hidden_settings, options_of
from .papermill_metadata import remove_error_markers
from .parameters import inject
from .reading import ReadNotebook, kernel_name_of, language_name_of, parse_notebook
from .results import CellRun, NotebookRun, NotebookStoppedError
from .resume import forget_run, stopped_run
from .saver import Saver

__all__ = ["OTHER_DOORS", "OpenRun", "Prepared", "PreparedRun", "open_run", "prepare", "run", "run_prepared"]

OTHER_DOORS: Final = (
    "import trio_gateway.anyio.notebooks, which has the same names, in its place; "
    "in synchronous code, trio_gateway.blocking.notebooks"
)

_logger = logging.getLogger("trio_gateway.notebooks")


@attrs.frozen(kw_only=True)
class Prepared:
    """A run that can begin: its arguments are checked and its notebook is read."""

    job: NotebookJob
    """What is to be run."""
    options: RunOptions
    """How, the job's own included."""
    name: str
    """What it is called."""
    document: Document
    """The notebook."""
    file: NotebookFile | None
    """Where it is saved."""
    earlier: EarlierRun | None = None
    """The last run, where this one is to go on there."""
    parameters: Mapping[str, Any] | None = None
    """What it was given, as JSON has it; None for nothing."""
    input_path: Path | None = None
    """Where it came from; None where it was in no file."""
    warnings: tuple[str, ...] = ()
    """What is to be told when it begins."""

    @property
    def kernel_name(self) -> str | None:
        """The kernelspec of the kernel to start; None: the gateway's default."""
        return self.options.kernel_name or self.document.kernel_name


async def prepare(where: Gateway | Fleet | KernelPool | Kernel, notebook: object, **settings: Unpack[RunSettings]) -> Prepared:
    """Check a run's arguments, and read its notebook, in a thread where that is in a file.

    Args:
        where: what it is to run on. It is asked for its language only where there are parameters, and the notebook does not say
            it.
        notebook: the notebook, or a `NotebookJob`.
        **settings: the options.

    Raises:
        InvalidInputError: an argument can't be used; it names which.
        KernelSpecNotFoundError: the language was asked for, and the gateway has no such kernelspec.
        GatewayError: the language was asked for in vain.

    Cancellation: safe; a file that is being read is read to its end.
    """
    job = notebook if isinstance(notebook, NotebookJob) else NotebookJob(notebook)
    options = options_of(settings)
    options = _with_own(options, job)
    check_where(where, options)
    given = job.notebook
    path: Path | None = None
    if isinstance(given, str) or hasattr(given, "__fspath__"):
        read = await run_sync(read_notebook, as_path("notebook", given))
    elif hasattr(given, "read"):
        path = Path(name) if isinstance(name := getattr(given, "name", None), str) else None
        read = await run_sync(_read_file_object, given, "notebook" if path is None else str(path))
    else:
        await trio.lowlevel.checkpoint()
        read = _read_node(given)
    path = read.path if path is None else path
    name = job.name if job.name is not None else "" if path is None else path.name
    warnings: list[str] = []
    if read.faults and not isinstance(given, ReadNotebook):
        warnings.append(f"notebook_mended: {name or 'the notebook'}: {read.warning}")
    edited = copy.copy(read.notebook)
    edited.cells = list(read.notebook.cells)
    if options.record_timing:
        remove_error_markers(edited)
    parameters: Mapping[str, Any] | None = None
    if options.parameters:
        kernel_name, language = await _language_of(where, edited, options.kernel_name)
        # In a thread: there may be many, and they may be formatted.
        work = partial(inject, edited, options.parameters, kernel_name=kernel_name, language=language)
        injected = await run_sync(work)
        parameters = injected.parameters
        warnings += [f"notebook_parameters: {name or 'the notebook'}: {warning}" for warning in injected.warnings]
    document = Document(edited, options.max_output_bytes)
    for cell in document.cells:
        check_code(cell.source, field=f"notebook.cells[{cell.index}].source")
    forget_run(document)
    file = None
    if options.output is not None:
        file = await run_sync(NotebookFile, options.output, path)
    earlier = await run_sync(_find_earlier_run, read.notebook, options.output) if options.resume else None
    return Prepared(
        job=job,
        options=options,
        name=name,
        document=document,
        file=file,
        earlier=earlier,
        parameters=parameters,
        input_path=path,
        warnings=tuple(warnings),
    )


def _with_own(options: RunOptions, job: NotebookJob) -> RunOptions:
    """Return the options with what the job has of its own."""
    own: dict[str, Any] = {}
    for name in ("output", "cwd"):
        if (value := getattr(job, name)) is not None:
            own[name] = value
    if job.parameters is not None:
        parameters: Any = job.parameters
        if isinstance(parameters, Mapping) and options.parameters:
            parameters = {**options.parameters, **parameters}
        own["parameters"] = parameters
    return attrs.evolve(options, **own) if own else options


async def _language_of(
    where: Gateway | Fleet | KernelPool | Kernel, notebook: Any, kernel_name: str | None
) -> tuple[str | None, str | None]:
    """Return the name of the kernelspec that a notebook is to run on, and its language; None where it is not known.

    The notebook says its own kernelspec's language. Of another one, the gateway or the kernel is asked.

    Raises:
        KernelSpecNotFoundError: the gateway has no such kernelspec.
    """
    own = kernel_name_of(notebook)
    if isinstance(where, KernelPool):
        pooled = await where.ask_spec()
        return (None, None) if pooled is None else (pooled.name, pooled.language or None)
    kernel: Any = None if hasattr(where, "start_kernel") else where
    name = (kernel_name or own) if kernel is None else kernel.name or None
    language = language_name_of(notebook)
    if language is not None and (name is None or name.casefold() == (own or "").casefold()):
        await trio.lowlevel.checkpoint()
        return name, language
    if kernel is not None:
        told: object = as_object((await kernel.kernel_info()).get("language_info")).get("name")
        return name, told if isinstance(told, str) else None
    kernelspecs = cast("Gateway", where).kernelspecs
    if name is not None:
        # One that there is not is what is wrong, and not the parameters.
        name = await kernelspecs.check(name)
    spec = await kernelspecs.find_listed(name)
    return name or (None if spec is None else spec.name), None if spec is None else spec.language or None


def _find_earlier_run(notebook: Any, output: Path | None) -> EarlierRun | None:
    """Return the last run, if it was stopped: of the file that is to be written, where there is one, or else of the notebook."""
    written: list[Any] = []
    if output is not None and output.is_file():
        with suppress(InvalidInputError):  # no notebook: nothing is told there
            written = [read_notebook(output).notebook]
    for told in (*written, notebook):
        stopped = stopped_run(told)
        if stopped is not None:
            return EarlierRun(stopped, cells_that_run(told))
    return None


def _read_file_object(file: Any, name: str) -> ReadNotebook:
    content = file.read()
    if isinstance(content, str):
        content = content.encode("utf-8", "surrogatepass")
    if not isinstance(content, (bytes, bytearray, memoryview)):
        raise InvalidInputError("notebook", name, "a file object whose read() gives text or bytes")
    return parse_notebook(bytes(content), name)


def _read_node(given: object) -> ReadNotebook:
    """Read a notebook that is in memory, and leave it as it is: what runs is a copy."""
    if isinstance(given, ReadNotebook):
        return given
    if not isinstance(given, Mapping):
        expected = "a notebook: a path, a file object, a node of nbformat or a dictionary"
        raise InvalidInputError("notebook", type(given).__name__, expected)
    try:
        data = json.dumps(given, default=_as_dict).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError) as error:
        raise InvalidInputError("notebook", type(given).__name__, f"a notebook, which is JSON ({error})") from None
    return parse_notebook(data, "notebook")


def _as_dict(value: object) -> Any:
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is no JSON")


def _engine_of(prepared: Prepared, listener: Listener) -> tuple[Engine, Saver | None]:
    for warning in prepared.warnings:
        code, _, words = warning.partition(": ")
        _logger.warning("%s: %s", code, words)
    saver = None
    if prepared.file is not None:
        saved = RunSaved(path=prepared.file.path)
        saver = Saver(prepared.document, prepared.file, _warn, partial(listener.put_saved, saved))
    engine = Engine(
        prepared.document,
        prepared.options,
        job=prepared.job,
        name=prepared.name,
        saver=saver,
        listener=listener,
        parameters=prepared.parameters,
        input_path=prepared.input_path,
    )
    return engine, saver


def _warn(problem: str) -> None:
    _logger.warning("notebook_not_saved: %s", problem)


async def run_prepared(where: Gateway | Fleet | KernelPool | Kernel, prepared: Prepared) -> NotebookRun:
    """Run a notebook whose arguments are checked already, to its end.

    Args:
        where: the gateway to start a kernel on, a pool, or an open kernel.
        prepared: what to run and how.

    Returns:
        What came of it; of a gateway, a kernel or a file that failed too.

    Raises:
        Exception: what the handler of input raised.

    Cancellation: as for `run`.
    """
    await trio.lowlevel.checkpoint()
    run = PreparedRun(prepared, Nobody())
    try:
        async with run.open_ground(where) as ground:
            await run.conduct(ground)
    except GatewayError as error:
        return run.result(error)
    return run.result()


@refuse_faces("notebooks", Gateway, Fleet, KernelPool, Kernel)
async def run(where: Gateway | Fleet | KernelPool | Kernel, notebook: object, **settings: Unpack[RunSettings]) -> NotebookRun:
    """Run a notebook's code cells in order, and return what came of them.

    Cells run until the first that raises an error; one that is tagged `raises-exception` may raise, and those that are tagged
    `skip-execution` are left as they are. An error in a cell, and a limit that runs out, are results: look at `status`, or call
    `raise_for_error()`.

    Example::

        result = await notebooks.run(gateway, "report.ipynb", output="out.ipynb")
        print(result.status, result.seconds)

    Args:
        where: a gateway or a fleet, which a kernel is started on that ends with the run; a pool, which a kernel is leased
            from; or an open kernel, which stays open.
        notebook: a path, a file object, a node of nbformat or a dictionary, what `read_notebook` gave, or a `NotebookJob`. It
            stays as it is: the one with the outputs is the result's. What breaks the format is mended, and one warning of the
            logger `trio_gateway.notebooks` names the places.
        **settings: the options, each described at `RunOptions`. All times are in seconds.

            - `output`: where to save the notebook as it runs, never half written; None: nowhere.
            - `parameters`: values for the notebook's parameters by name, which a cell of its own sets, as papermill's does.
            - `kernel_name`: which kernelspec to start; None: the notebook's own, or else the gateway's default.
            - `env`, `resources`, `cwd`: for the kernel that is started, as in `gateway.start_kernel`.
            - `timeout`, `cell_timeout`: limits for all cells together, and for each.
            - `on_error`: `"stop"` or `"continue"` after a cell that raised an error or took too long.
            - `stdin`: answers requests for input, as in `kernel.execute`.
            - `grace`: for how long nothing may come of the cells' background work before the run has ended, 0.2; 0: no waiting.
            - `max_output_bytes`: how much of each cell's output is kept, in bytes; what is cut is a gap. None: all.
            - `record_timing`: whether the notebook's and its cells' metadata say when they ran.
            - `resume`: go on at the cell that stopped the last run, if its kernel still has what the cells before have made.
            - `keep_kernel`: `"on_error"` leaves the kernel where the run does not end well, so that it can be resumed; `"never"`.

    Returns:
        What came of it.

    Raises:
        InvalidInputError: an argument can't be used, and no kernel was started; or the notebook can't be saved in the end.
        GatewayError: the gateway or the kernel failed. What came until then is saved.

    Cancellation: the code is interrupted, what came until then is saved, and a kernel that was started is shut down.
    """
    check_trio("trio_gateway.notebooks.run()", OTHER_DOORS)
    settings = hidden_settings(settings)
    prepared = await prepare(where, notebook, **settings)
    ended = await run_prepared(where, prepared)
    if ended.status == "failed" and ended.failure is not None:
        raise ended.failure
    return ended


class PreparedRun:
    """A run that can begin, once.

    Args:
        prepared: what to run and how.
        listener: told of each event.
    """

    engine: Engine
    """Runs it."""
    saver: Saver | None
    """Saves it, if it is saved."""
    ended: NotebookRun | None
    """What came of it; None as long as it lasts, and where it was cancelled."""

    def __init__(self, prepared: Prepared, listener: Listener) -> None:
        self.engine, self.saver = _engine_of(prepared, listener)
        self.ended = None
        self._prepared = prepared

    def open_ground(self, where: Gateway | Fleet | KernelPool | Kernel) -> AbstractAsyncContextManager[Ground]:
        """Open what it runs on: see `kernels.open_ground`."""
        prepared = self._prepared
        return open_ground(where, prepared.document, prepared.options, kernel_name=prepared.kernel_name, earlier=prepared.earlier)

    async def conduct(self, ground: Ground) -> NotebookRun:
        """Run it there, and return what came of it.

        Raises:
            Exception: what the handler of input raised.

        Cancellation: interrupts the kernel; what has come until then is in the notebook, and saved.
        """
        self.ended = ground.end(await self.engine.run(ground.kernel, ground.resumption, ground.record, was_used=ground.was_used))
        return self.ended

    @asynccontextmanager
    async def open(self, where: Gateway | Fleet | KernelPool | Kernel, events: EventQueue) -> AsyncGenerator[OpenRun]:
        """Run it in the background of the block, and give what tells of it.

        Args:
            where: the gateway, a pool, or an open kernel.
            events: the listener, which closes with the run.

        Raises:
            GatewayError: the kernel can't be started, or, when the events end: the gateway, the kernel or the file failed.
            Exception: what the handler of input raised.

        Cancellation: as for `open_run`.
        """

        async def work() -> None:
            await trio.lowlevel.checkpoint()
            try:
                ended = await self.conduct(ground)
                await events.put(RunFinished(run=ended))
            except Exception as error:  # noqa: BLE001 - raised where the events end
                events.close(error)
            else:
                events.close(ended.failure if ended.status == "failed" else None)

        async with self.open_ground(where) as ground:
            try:
                async with open_services() as services:
                    services.start_soon(work, name=f"trio_gateway.notebooks[{self._prepared.name}]")
                    yield OpenRun(self, events)
            finally:
                events.cut_off()
            failure = events.take_failure()
            if failure is not None:
                raise failure

    def result(self, failure: GatewayError | None = None) -> NotebookRun:
        """Return what came of it, when its block is over.

        Args:
            failure: what the block has raised; or what has ended the run where it was cancelled.
        """
        ended = self.ended
        if ended is None:
            return self.engine.result(failure)
        if failure is None or ended.failure is not None or isinstance(failure, NotebookStoppedError):
            return ended
        return attrs.evolve(ended, status="failed", failure=failure)


@points_to_limits
class OpenRun(AsyncIterator[RunEvent]):
    """A notebook's run while it lasts: iterate over it once for its events. Made by `open_run`.

    The run goes on while events are read; it is at most a few events ahead of their reader.
    """

    def __init__(self, work: PreparedRun, events: EventQueue) -> None:
        self._work = work
        self._events = events

    def __aiter__(self) -> OpenRun:
        return self

    async def __anext__(self) -> RunEvent:
        """Wait for the next event.

        Raises:
            StopAsyncIteration: the run has ended, and `result` is there.
            trio.ClosedResourceError: the block was left before the run had ended.
            GatewayError: the gateway, the kernel or the notebook's file failed. What came until then is saved.
            trio.BusyResourceError: another task waits for the next event.

        Cancellation: safe, no event is lost.
        """
        try:
            return await self._events.get()
        except trio.EndOfChannel:
            raise StopAsyncIteration from None

    def receive_ready(self, limit: int, /, *, limit_bytes: float) -> list[RunEvent]:
        """Take the events that are there, for a face: they are few, whatever they hold."""
        del limit_bytes
        return self._events.take_ready(limit)

    @property
    def cells(self) -> tuple[CellRun, ...]:
        """What came of each cell so far, in the notebook's order."""
        return self._work.engine.cells

    @property
    def notebook(self) -> Any:
        """The notebook with all outputs that have come so far, nbformat's node. It changes while the run lasts."""
        return self._work.engine.notebook

    @property
    def result(self) -> NotebookRun:
        """What came of the run.

        Raises:
            RuntimeError: it has not ended yet.
        """
        if self._work.ended is None:
            raise RuntimeError("the run has not ended yet: read its events to the end first")
        return self._work.ended

    def stop_saving(self) -> None:
        """Let a save that is being made come to its end, for a second at most, and make no other.

        For a process that is about to end without leaving its blocks. It may be called where nothing can be waited for.
        """
        if self._work.saver is not None:
            self._work.saver.stop()


@refuse_faces("notebooks", Gateway, Fleet, KernelPool, Kernel)
def open_run(
    where: Gateway | Fleet | KernelPool | Kernel, notebook: object, **settings: Unpack[RunSettings]
) -> AbstractAsyncContextManager[OpenRun]:
    """Run a notebook, and tell of what happens as it happens.

    Example::

        async with notebooks.open_run(gateway, "report.ipynb") as run:
            async for event in run:
                if isinstance(event, notebooks.CellStarted):
                    print(f"[{event.cell.number}] {event.cell.title}")
        print(run.result.status)

    Leaving the block before the run has ended ends it as a cancellation does.

    Args:
        where: a gateway or a fleet, which a kernel is started on that ends with the block; a pool, which a kernel is leased
            from; or an open kernel, which stays open.
        notebook: as for `run`.
        **settings: as for `run`.

    Returns:
        A context manager; it gives an `OpenRun`. Entering it starts the kernel.

    Raises:
        InvalidInputError: an argument can't be used, and no kernel was started.
        GatewayError: the kernel can't be started, and when the events end: the gateway or the kernel failed.

    Cancellation: the code is interrupted, what came until then is saved, and a kernel that was started is shut down.
    """
    return _open_run(where, notebook, hidden_settings(settings))


@block("notebooks.open_run")
@asynccontextmanager
async def _open_run(
    where: Gateway | Fleet | KernelPool | Kernel, notebook: object, settings: RunSettings
) -> AsyncGenerator[OpenRun]:
    check_trio("trio_gateway.notebooks.open_run()", OTHER_DOORS)
    prepared = await prepare(where, notebook, **settings)
    events = EventQueue()
    async with PreparedRun(prepared, events).open(where, events) as run:
        yield run
