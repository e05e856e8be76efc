"""One notebook on a fresh kernel, cell by cell: what `run FILE.ipynb` does.

The one idea: a run is a loop over cells that may end at any moment, by an error, a limit, a signal or a lost kernel, and leaves
behind whatever the cells had put out until then.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from functools import partial
from typing import Any, Final

import attrs
import trio

from trio_gateway import Kernel

from .._errors import GatewayError, ProtocolError
from .._kernel.channels import Subscription
from .._kernel.executor import OutputStream
from .._kernel.inbox import READY_ITEMS
from .._notebooks.file import NotebookFile
from .._outputs import Error, ExecutionResult, Output, OutputGap
from .._protocol.execution import OUTPUT_TYPES, may_be_rate_notice, parse_output
from .._protocol.messages import Message
from .asking import Asker, find_asker, nobody_to_ask, wanted_input
from .code import asked_to_leave, exit_code_in, failure_of, new_renderer
from .exits import ExitCode
from .notebook_model import LiveCell, LiveNotebook
from .notebook_saver import Saver
from .opening import open_kernel
from .options import Options
from .placing import Place
from .progress import open_progress, title_of
from .rendering import Renderer, gap_message, result_as_dict
from .supervision import alongside, limited, run_command
from .wording import Failure

__all__ = ["GRACE", "GRACE_LIMIT", "NotebookJob", "NotebookRun", "run_notebook"]

GRACE: Final = 0.2
"""For how long nothing may come of the cells' background work, in seconds, before the run has ended."""
GRACE_LIMIT: Final = 1.0
"""How long that is waited for at most, in seconds."""


@attrs.frozen(kw_only=True)
class NotebookJob:
    """What to do with which notebook."""

    notebook: Any
    """The notebook, of nbformat 4."""
    target: NotebookFile | None
    """Where to save it; None: nowhere."""
    echo: bool
    """Whether to show outputs on standard output and error."""
    allow_errors: bool
    """Whether to go on after a cell that raised an error."""
    timeout: float | None
    """The limit for all cells together, in seconds; None for none."""
    place: Place
    """Where a fresh kernel is to work."""


def run_notebook(options: Options, job: NotebookJob) -> int:
    """Run a notebook's code cells in order on a kernel of its own.

    Args:
        options: the common options; where they name no kernel, the notebook does.
        job: the notebook, and what to do with it.

    Returns:
        The exit code.

    Raises:
        GatewayError: what ended it, if not a cell. The outputs up to there are saved.
        OutOfTimeError: the limit ran out. Likewise.
        OutputClosedError: the reader of our output went away. Likewise.
    """
    kernel_name = options.kernel or job.notebook.metadata.get("kernelspec", {}).get("name") or None
    live = LiveNotebook(job.notebook)
    renderer = new_renderer(options)
    asker = find_asker(options, renderer)
    saver = None if job.target is None else Saver(live, job.target, options.warn)

    async def command() -> int:
        run = NotebookRun(live, saver=saver, renderer=renderer if job.echo else None, allow_errors=job.allow_errors, asker=asker)
        try:
            async with open_kernel(options, kernel_name, job.place) as kernel:
                began = trio.current_time()
                # A bar can't share its terminal with the code's output.
                with open_progress(options, len(live.cells), bar=not (job.echo and renderer.uses_terminal)) as progress:
                    if asker is not None:
                        asker.pausing = progress.paused
                    work = partial(limited, job.timeout, partial(run.run, kernel, progress.begin))
                    await (work() if saver is None else saver.beside(work))
                seconds = trio.current_time() - began
        finally:
            if options.as_json:
                options.report["results"] = run.as_json()
        if run.failure is not None and not (job.echo or options.as_json or wanted_input(run.failure[1])):
            await renderer.show(run.failure[1])
        await renderer.finish()
        return _report(options, job, live, run, seconds)

    return run_command(options, command, before_quitting=None if saver is None else saver.stop)


def _report(options: Options, job: NotebookJob, live: LiveNotebook, run: NotebookRun, seconds: float) -> int:
    """Say what came of it, and return the exit code."""
    for number, gaps in run.gaps:
        options.warn(f"cell {number}: {gap_message(gaps)}")
    counts = [f"Ran {run.done} of {len(live.cells)} cells in {seconds:.1f} s"]
    if live.skipped:
        counts.append(f"{live.skipped} skipped")
    if run.tolerated:
        counts.append(f"{run.tolerated} raised an error, as allowed")
    if run.ended_by is not None:
        counts.append(f"cell {run.ended_by.number} ended the run")
    saved = "" if job.target is None else f" Saved to {job.target.path}."
    options.say(f"{', '.join(counts)}.{saved}")
    if run.failure is None:
        return ExitCode.OK
    cell, error = run.failure
    where = f"cell {cell.number} of {len(live.cells)} ({title_of(cell.source)})"
    if wanted_input(error):
        in_vain = nobody_to_ask()
        options.complain(attrs.evolve(in_vain, message=f"{where}: {in_vain.message}"))
    else:
        options.complain(Failure("ExecutionError", f"{where} raised {error.ename}: {error.evalue}"))
    return ExitCode.CODE_FAILED


@attrs.define(eq=False)
class _Given:
    """What the stream of a cell's request was given of the kernel's messages."""

    cell: LiveCell
    """The cell."""
    outputs: OutputStream | None
    """The stream while it is open."""
    asked: int = 0
    """How many of the messages were requests for input."""
    messages: int = 0
    """How many there were in all, once the stream has ended."""

    @property
    def outputs_given(self) -> int:
        """How many outputs so far."""
        return (self.messages if self.outputs is None else self.outputs.given[1]) - self.asked

    def end(self) -> None:
        """Note that the stream is given no more."""
        assert self.outputs is not None
        _, self.messages = self.outputs.given
        self.outputs = None


class NotebookRun:
    """One run of a notebook: how far it is, and what came of it.

    Args:
        live: the notebook.
        saver: told of each change; None: nothing is saved.
        renderer: shows each output; None: nothing is shown.
        allow_errors: whether to go on after any cell that raised an error.
        asker: asks for the input that cells want; None: nobody does.
    """

    done: int
    """How many cells have run."""
    tolerated: int
    """How many raised an error that they may raise."""
    failure: tuple[LiveCell, Error] | None
    """The cell that stopped the run, and its error."""
    ended_by: LiveCell | None
    """The cell that ended the run as a success, by `sys.exit()` or `exit()`."""
    gaps: list[tuple[int, tuple[OutputGap, ...]]]
    """Why the outputs of which cells are not whole."""
    results: list[tuple[LiveCell, ExecutionResult]]
    """What came of each cell that has ended."""

    def __init__(
        self,
        live: LiveNotebook,
        *,
        saver: Saver | None,
        renderer: Renderer | None,
        allow_errors: bool,
        asker: Asker | None = None,
    ) -> None:
        self._live = live
        self._saver = saver
        self._renderer = renderer
        self._allow_errors = allow_errors
        self._asker = asker
        self.done = 0
        self.tolerated = 0
        self.failure = None
        self.ended_by = None
        self.gaps = []
        self.results = []
        self._requests: dict[str, _Given] = {}  # by the ids of the cells' requests
        self._came: Counter[str] = Counter()  # how many outputs were seen on iopub, by the ids of their requests
        self._running: _Given | None = None
        self._process = ""
        self._latest: dict[LiveCell, float] = {}  # when each cell's late output came last
        self._showing = trio.Lock()
        self._receiving = trio.CancelScope()
        self._quiet = trio.CancelScope()
        self._limit = math.inf
        self._ends = False
        self._read_all = trio.Event()
        self._broken: Exception | None = None

    async def run(self, kernel: Kernel, begin: Callable[[int, str], None]) -> None:
        """Run the cells in order, to the end, to the first error that is not allowed, or to the cell that ends the run.

        `SystemExit` of the code 0 ends it as a success, but for a cell that is tagged to raise. So does a kernel that asks its
        front end to leave, when the cell has run to its end.

        Args:
            kernel: runs them.
            begin: called with each cell's number and title when it begins.

        Raises:
            GatewayError: what ended it, if not a cell.
            OutputClosedError: the reader of our output went away.

        Cancellation: interrupts the kernel; what has come until then is in the notebook, and saved.
        """
        async with kernel.iopub.subscribe() as published:
            try:
                with trio.CancelScope() as working:
                    await alongside(partial(self._read_late, published, working), partial(self._work, kernel, published, begin))
            except BaseException:
                self._keep_late(published)
                raise
            if self._broken is not None:
                raise self._broken

    async def _work(self, kernel: Kernel, published: Subscription, begin: Callable[[int, str], None]) -> None:
        await self._run_cells(kernel, published, begin)
        await self._await_quiet(published)

    async def _run_cells(self, kernel: Kernel, published: Subscription, begin: Callable[[int, str], None]) -> None:
        for cell in self._live.cells:
            begin(cell.number, title_of(cell.source))
            error, leaves = await self._run_cell(kernel, cell, published)
            self.done += 1
            if (error is None and leaves) or (error is not None and not cell.may_fail and exit_code_in(error) == 0):
                self.ended_by = cell
                return
            if error is None:
                continue
            if not (self._allow_errors or cell.may_fail):
                self.failure = cell, error
                return
            self.tolerated += 1

    # What comes late ----------------------------------------------------------------------------------------------

    async def _read_late(self, published: Subscription, working: trio.CancelScope) -> None:
        """Give cells, for as long as the run lasts, what comes of them after their end. A service.

        Args:
            published: everything that the kernel publishes.
            working: the run, which ends where nobody reads what is shown any more.
        """
        try:
            while not self._ends:
                with trio.CancelScope() as self._receiving:
                    message = await published.receive()
                if self._receiving.cancelled_caught:
                    break
                for cell, output in self._late_of(message):
                    now = self._latest[cell] = trio.current_time()
                    self._quiet.deadline = min(now + GRACE, self._limit)
                    await self._take(cell, output)
        except (GatewayError, trio.EndOfChannel):
            pass  # the cell that runs says why
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._broken = error
            working.cancel()
        finally:
            self._read_all.set()

    async def _await_quiet(self, published: Subscription) -> None:
        """Collect what is on its way, until nothing has come for a moment; note the cells whose output does not end."""
        began = trio.current_time()
        self._limit = began + GRACE_LIMIT
        with trio.CancelScope(deadline=began + GRACE) as self._quiet:  # late output moves the deadline
            await trio.sleep_forever()
        now = trio.current_time()
        at_work = {cell for cell, latest in self._latest.items() if latest > now - GRACE}
        self._ends = True
        self._receiving.cancel()
        await self._read_all.wait()
        # A reader of what is shown may be slow: what has come until now is the cells' all the same, and no more than that.
        statistics = published.statistics()
        left = statistics.messages + statistics.spooled
        while left > 0 and (messages := published.receive_ready(min(left, READY_ITEMS))):
            left -= len(messages)
            for message in messages:
                for cell, output in self._late_of(message):
                    at_work.add(cell)
                    await self._take(cell, output)
        if now >= self._limit:
            for cell in sorted(at_work, key=lambda cell: cell.number):
                self._note_gap(cell, OutputGap("lost", None, "it was still at work in the background when the run ended"))

    def _keep_late(self, published: Subscription) -> None:
        """Put what has come of cells after their end into the notebook, without showing it: the run ends before its time."""
        with suppress(GatewayError):
            while messages := published.receive_ready():
                for message in messages:
                    for late in self._late_of(message):
                        self._live.feed(*late)

    def _late_of(self, message: Message) -> Iterator[tuple[LiveCell, Output]]:
        """Give the output of a message that is a cell's and that no stream was given, with that cell.

        The session gives a message to the stream of its request before it gives it to readers of iopub. So what comes beyond
        what was counted there comes late.
        """
        if message.header.msg_type not in OUTPUT_TYPES:
            return
        if self._running is not None and self._running.outputs is not None:
            self._process = self._running.outputs.process or self._process
        given = self._requests.get(message.parent_id)
        if message.header.msg_type == "stream" and message.header.session != self._process and may_be_rate_notice(message):
            # The gateway says that it drops output; of the cell that runs, its stream takes that in.
            if given is not None and given is not self._running:
                self._note_gap(given.cell, OutputGap("rate_limited"))
            return
        self._came[message.parent_id] += 1
        if given is None or self._came[message.parent_id] <= given.outputs_given:
            return
        try:
            output = parse_output(message)
        except ProtocolError:
            self._note_gap(given.cell, OutputGap("lost", None, "what came after its end could not be understood"))
            return
        if output is not None:
            yield given.cell, output

    def as_json(self) -> list[dict[str, object]]:
        """Return what came of each cell that has ended, with the outputs that it shows now."""
        gaps: dict[int, tuple[OutputGap, ...]] = {}
        for number, some in self.gaps:
            gaps[number] = (*gaps.get(number, ()), *some)
        results = [(cell, attrs.evolve(result, output_gaps=gaps.get(cell.number, ()))) for cell, result in self.results]
        return [
            {"cell": cell.number, **result_as_dict(result, [output.to_nbformat() for output in cell.area.outputs])}
            for cell, result in results
        ]

    def _note_gap(self, cell: LiveCell, gap: OutputGap) -> None:
        """Remember why a cell's output is not whole; the same reason counts once."""
        if (cell.number, (gap,)) not in self.gaps:
            self.gaps.append((cell.number, (gap,)))

    async def _run_cell(self, kernel: Kernel, cell: LiveCell, published: Subscription) -> tuple[Error | None, bool]:
        """Run one cell; return the error that it ended with, and whether the kernel asks its front end to leave."""
        error: Error | None = None
        async with kernel.stream(cell.source, stdin=None if self._asker is None else self._ask) as outputs:
            request, _ = outputs.given
            self._running = self._requests[request] = _Given(cell, outputs)
            try:
                async for output in outputs:
                    await self._take(cell, output)
                    if isinstance(output, Error):
                        error = output
            except trio.Cancelled:
                self._keep_late(published)
                # The interrupted kernel gets seconds to end, and a person who pressed Ctrl-C may press it again.
                if self._saver is not None:
                    self._saver.hurry()
                raise
            self._running.end()
            self._running = None
            for other in self._came.keys() - self._requests.keys():  # other clients' work
                del self._came[other]
        result = outputs.result
        self._live.end(cell, result.execution_count)
        if result.output_gaps:
            self.gaps.append((cell.number, result.output_gaps))
        if result.status == "ok":
            error = None  # a kernel may publish an error and yet end well
        elif error is None:
            error = failure_of(result)
            await self._take(cell, error)
        self.results.append((cell, result))
        if self._renderer is not None:
            await self._renderer.end_line()
        if self._saver is not None:
            self._saver.changed()
            await self._saver.save_soon()
        return error, asked_to_leave(result) is not None

    async def _ask(self, prompt: str, password: bool) -> str:
        assert self._asker is not None
        assert self._running is not None
        self._running.asked += 1
        return await self._asker(prompt, password)

    async def _take(self, cell: LiveCell, output: Output) -> None:
        """Keep the output first, so that what is shown is in the file too, whatever happens next."""
        if self._live.feed(cell, output) and self._saver is not None:
            self._saver.changed()
        if self._renderer is not None and not (isinstance(output, Error) and (wanted_input(output) or exit_code_in(output) == 0)):
            async with self._showing:
                await self._renderer.show(output)
