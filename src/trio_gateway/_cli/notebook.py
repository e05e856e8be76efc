"""One notebook on a fresh kernel, cell by cell: what `run FILE.ipynb` does.

The one idea: a run is a loop over cells that may end at any moment, by an error, a limit, a signal or a lost kernel, and leaves
behind whatever the cells had put out until then.
"""

from __future__ import annotations

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
from .supervision import limited, run_command
from .wording import Failure

__all__ = ["GRACE", "GRACE_LIMIT", "NotebookJob", "NotebookRun", "run_notebook"]

GRACE: Final = 0.2
"""For how long nothing may come of the cells' background work, in seconds, before the run has ended."""
GRACE_LIMIT: Final = 1.0
"""How long that is waited for, in seconds."""


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
        self._came = 0  # how many outputs of the cell that runs were seen on iopub
        self._asked = 0  # how many of the messages that its stream was given are requests for input
        self._process = ""
        self._ended: dict[str, LiveCell] = {}  # by the id of their requests

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

    async def _await_quiet(self, published: Subscription) -> None:
        """Collect what is on its way, until nothing has come for a moment; note the cells whose output does not end."""
        latest: dict[LiveCell, float] = {}  # when each cell's output came last
        with trio.move_on_after(GRACE_LIMIT) as limit:
            while True:
                quiet = trio.current_time() + GRACE
                taken = False
                with trio.move_on_at(quiet):
                    while not taken:
                        try:
                            message = await published.receive()
                        except (GatewayError, trio.EndOfChannel):
                            return
                        for cell, output in self._late_of(message, None):
                            await self._take(cell, output)
                            latest[cell], taken = trio.current_time(), True
                if not taken:
                    return
        if limit.cancelled_caught:
            for cell in sorted(latest, key=lambda cell: cell.number):
                if latest[cell] >= trio.current_time() - GRACE:
                    still = OutputGap("lost", None, "it was still at work in the background when the run ended")
                    self._note_gap(cell, still)

    async def _take_late(self, published: Subscription, running: tuple[LiveCell, OutputStream]) -> None:
        """Take what has come of cells after their end. Waits for nothing but for those who show it."""
        while messages := published.receive_ready():
            for message in messages:
                for cell, output in self._late_of(message, running):
                    await self._take(cell, output)
            if len(messages) == READY_ITEMS:
                await trio.lowlevel.checkpoint()

    def _late_of(self, message: Message, running: tuple[LiveCell, OutputStream] | None) -> Iterator[tuple[LiveCell, Output]]:
        """Give the output of a message that is a cell's and that no stream was given, with that cell."""
        if message.header.msg_type not in OUTPUT_TYPES:
            return
        if running is not None:
            self._process = running[1].process or self._process
        cell = self._ended.get(message.parent_id)
        if message.header.msg_type == "stream" and message.header.session != self._process and may_be_rate_notice(message):
            # The gateway says that it drops output; of the cell that runs, its stream takes that in.
            if cell is not None:
                self._note_gap(cell, OutputGap("rate_limited"))
            return
        if cell is None and running is not None:
            # The session gives a message to the stream before it gives it here: what is not counted there, comes late.
            request, given = running[1].given
            if message.parent_id == request:
                self._came += 1
                if self._came > given - self._asked:
                    cell = running[0]
        if cell is None:
            return
        try:
            output = parse_output(message)
        except ProtocolError:
            self._note_gap(cell, OutputGap("lost", None, "what came after its end could not be understood"))
            return
        if output is not None:
            yield cell, output

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
        self._came = self._asked = 0
        async with kernel.stream(cell.source, stdin=None if self._asker is None else self._ask) as outputs:
            running = cell, outputs
            try:
                async for output in outputs:
                    await self._take(cell, output)
                    if isinstance(output, Error):
                        error = output
                    await self._take_late(published, running)
                await self._take_late(published, running)
                self._ended[outputs.given[0]] = cell
            except trio.Cancelled:
                with suppress(GatewayError):
                    for message in published.receive_ready():
                        for late in self._late_of(message, running):
                            self._live.feed(*late)
                # The interrupted kernel gets seconds to end, and a person who pressed Ctrl-C may press it again.
                if self._saver is not None:
                    self._saver.hurry()
                raise
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
        self._asked += 1
        return await self._asker(prompt, password)

    async def _take(self, cell: LiveCell, output: Output) -> None:
        """Keep the output first, so that what is shown is in the file too, whatever happens next."""
        if self._live.feed(cell, output) and self._saver is not None:
            self._saver.changed()
        if self._renderer is not None and not (isinstance(output, Error) and (wanted_input(output) or exit_code_in(output) == 0)):
            await self._renderer.show(output)
