"""One notebook on one kernel, cell by cell.

The one idea: a run is a loop over cells that may end at any moment, by an error, a limit, a cancellation or a lost kernel, and
leaves behind whatever the cells had put out until then.
"""

from __future__ import annotations

import inspect
import math
from collections import Counter
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final, Literal

import attrs
import trio

from .._errors import GatewayError, ProtocolError
from .._kernel.channels import Subscription
from .._kernel.executor import OutputStream
from .._kernel.inbox import READY_ITEMS
from .._kernel.kernel import Kernel
from .._outputs import Error, ExecutionResult, Output, OutputGap
from .._protocol.contents import execution_state
from .._protocol.endings import asked_to_leave, exit_code_in, failure_of
from .._protocol.execution import OUTPUT_TYPES, may_be_rate_notice, parse_output
from .._protocol.messages import Message
from .._services import alongside
from .._values import as_count
from .document import Document, DocumentCell
from .event_queue import Listener
from .events import CellFinished, CellOutput, CellStarted, RunStarted
from .options import NotebookJob, RunOptions
from .results import CellRun, NotebookRun, NotebookStoppedError, NotebookTimeoutError
from .saver import Saver

__all__ = ["GRACES", "Engine"]

GRACES: Final = 5
"""How many times the option `grace` is waited at most for what comes late, in all."""
_TIMED: Final = frozenset({"status", "execute_input"})
"""What is published of a cell whose time is recorded."""
_REPLIES: Final = 16
"""How many of the latest replies are kept: the one to a cell is looked at when it has ended."""


def _wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - for people; nothing is decided by it


@attrs.define(eq=False)
class _Given:
    """What the stream of a cell's request was given of the kernel's messages."""

    cell: DocumentCell
    """The cell."""
    outputs: OutputStream | None
    """The stream while it is open."""
    asked: int = 0
    """How many of the messages were requests for input."""
    messages: int = 0
    """How many there were in all, once the stream has ended."""
    read: trio.Event = attrs.field(factory=trio.Event)
    """Whether what the stream was given is in the document."""

    @property
    def outputs_given(self) -> int:
        """How many outputs so far."""
        return (self.messages if self.outputs is None else self.outputs.given[1]) - self.asked

    def end(self) -> None:
        """Note that the stream is given no more, and that all of it was read."""
        if self.outputs is not None:
            _, self.messages = self.outputs.given
            self.outputs = None
        self.read.set()


class Engine:
    """One run of a notebook: how far it is, and what came of it.

    Args:
        document: the notebook.
        options: how to run it.
        job: what is to be run.
        name: what it is called.
        saver: told of each change; None: nothing is saved.
        listener: told of each event.
    """

    ended_by: DocumentCell | None
    """The cell that ended the run as a success, by `sys.exit()` or `exit()`."""
    failed: DocumentCell | None
    """The cell whose error or limit ended the run."""
    listener: Listener
    """Told of each event."""

    def __init__(
        self,
        document: Document,
        options: RunOptions,
        *,
        job: NotebookJob,
        name: str,
        saver: Saver | None,
        listener: Listener,
    ) -> None:
        self._document = document
        self._options = options
        self._job = job
        self._name = name
        self._saver = saver
        self.listener = listener
        self.ended_by = None
        self.failed = None
        self._timed_out: NotebookTimeoutError | None = None
        self._runs: dict[DocumentCell, CellRun] = {
            cell: CellRun(
                number=cell.number,
                index=cell.index,
                id=cell.id,
                source=cell.source,
                status="pending" if cell.number else "skipped",
            )
            for cell in sorted([*document.cells, *document.skipped], key=lambda cell: cell.index)
        }
        self._kernel: Kernel | None = None
        self._started = _wall_clock()
        self._began = trio.current_time()
        self._deadline = math.inf
        self._requests: dict[str, _Given] = {}  # by the ids of the cells' requests
        self._came: Counter[str] = Counter()  # how many outputs were seen on iopub, by the ids of their requests
        self._running: _Given | None = None
        self._replies: Subscription | None = None
        self._process = ""
        self._held: tuple[DocumentCell, Output] | None = None  # what came late and waits for what came before it
        self._latest: dict[DocumentCell, float] = {}  # when each cell's late output came last
        self._receiving = trio.CancelScope()
        self._quiet = trio.CancelScope()
        self._quiet_until = math.inf
        self._ends = False
        self._read_all = trio.Event()
        self._broken: Exception | None = None

    @property
    def cells(self) -> tuple[CellRun, ...]:
        """What came of each cell so far, in the notebook's order."""
        return tuple(self._runs.values())

    @property
    def notebook(self) -> Any:
        """The notebook with all outputs that have come so far, nbformat's node."""
        return self._document.current()

    async def run(self, kernel: Kernel) -> NotebookRun:
        """Run the cells in order, to the end, to the first error that is not allowed, or to the cell that ends the run.

        `SystemExit` of the code 0 ends it as a success, but for a cell that is tagged to raise. So does a kernel that asks its
        front end to leave, when the cell has run to its end. The notebook is saved, however it ends.

        Args:
            kernel: runs them.

        Returns:
            What came of it; of a gateway, a kernel or a file that failed too.

        Raises:
            Exception: what the handler of input raised; the code was interrupted.

        Cancellation: interrupts the kernel; what has come until then is in the notebook, and saved.
        """
        await trio.lowlevel.checkpoint()
        self._kernel = kernel
        work = partial(self._run_on, kernel)
        try:
            await (work() if self._saver is None else self._saver.beside(work))
        except GatewayError as error:
            return self.result(error)
        return self.result()

    def result(self, failure: GatewayError | None = None) -> NotebookRun:
        """Return what came of the run until now.

        Args:
            failure: what has ended it, if not its cells: the gateway's, the kernel's or the file's failure, or another job's.
        """
        status: Literal["ok", "error", "timeout", "failed", "cancelled"] = "ok"
        if failure is not None:
            status = "cancelled" if isinstance(failure, NotebookStoppedError) else "failed"
        elif self._timed_out is not None:
            status = "timeout"
        elif self.failed is not None:
            status = "error"
        return NotebookRun(
            status=status,
            cells=self.cells,
            failed_cell=None if self.failed is None else self._runs[self.failed],
            failure=self._timed_out if failure is None else failure,
            ended_by=None if self.ended_by is None else self._runs[self.ended_by],
            notebook=self.notebook,
            output=self._options.output,
            name=self._name,
            job=self._job,
            kernel_id="" if self._kernel is None else self._kernel.id,
            kernel_name="" if self._kernel is None else self._kernel.name,
            started=self._started,
            finished=_wall_clock(),
            seconds=trio.current_time() - self._began,
        )

    async def _run_on(self, kernel: Kernel) -> None:
        if self._options.timeout is not None:
            self._deadline = trio.current_time() + self._options.timeout
        await self.listener.put(
            RunStarted(name=self._name, cells=len(self._document.cells), kernel_id=kernel.id, kernel_name=kernel.name)
        )
        await self._note_kernel(kernel)
        async with kernel.iopub.subscribe() as published, self._replies_of(kernel) as self._replies:
            try:
                with trio.CancelScope() as working:
                    await alongside(partial(self._read_late, published, working), partial(self._work, kernel, published))
            except BaseException:
                self._keep_late(published)
                raise
            if self._broken is not None:
                raise self._broken

    async def _note_kernel(self, kernel: Kernel) -> None:
        """Ask which kernel this is. It may be busy with other work, and the run's limit counts."""
        with trio.move_on_at(self._deadline):
            info = await kernel.kernel_info()
            self._document.note_kernel(kernel.name, await kernel.ask_spec(), info.get("language_info"))

    @asynccontextmanager
    async def _replies_of(self, kernel: Kernel) -> AsyncGenerator[Subscription | None]:
        """Read the latest replies on shell, where times are recorded: a reply's date is nowhere else."""
        if not self._options.record_timing:
            yield None
            return
        async with kernel.shell.subscribe(when_full="drop_oldest", limit_messages=_REPLIES) as replies:
            yield replies

    async def _work(self, kernel: Kernel, published: Subscription) -> None:
        await self._run_cells(kernel, published)
        await self._await_quiet(published)

    async def _run_cells(self, kernel: Kernel, published: Subscription) -> None:
        await trio.lowlevel.checkpoint()  # there may be no cells
        goes_on = self._options.on_error == "continue"
        for cell in self._document.cells:
            error, leaves = await self._run_cell(kernel, cell, published)
            if (error is None and leaves) or (error is not None and not cell.may_fail and exit_code_in(error) == 0):
                self.ended_by = cell
                return
            if self._timed_out is not None:
                self.failed = cell
                return
            if error is not None and not (goes_on or cell.may_fail):
                self.failed = cell
                return

    # What comes late ----------------------------------------------------------------------------------------------

    async def _read_late(self, published: Subscription, working: trio.CancelScope) -> None:
        """Give cells, for as long as the run lasts, what comes of them after their end. A service.

        Args:
            published: everything that the kernel publishes.
            working: the run, which ends where this can't go on.
        """
        await trio.lowlevel.checkpoint()
        try:
            while not self._ends:
                message: Message | None = None
                with trio.CancelScope() as self._receiving:
                    message = await published.receive()
                if message is None:
                    break
                self._note_times(message)
                for cell, output in self._late_of(message):
                    self._held = (cell, output)
                    if self._running is not None and self._running.cell is cell:
                        # Its stream has ended, and is not read to its end: what comes late stands behind that.
                        await self._running.read.wait()
                    self._held = None
                    now = self._latest[cell] = trio.current_time()
                    self._quiet.deadline = min(now + self._options.grace, self._quiet_until)
                    await self._take(cell, output, late=True)
        except (GatewayError, trio.EndOfChannel):
            pass  # the cell that runs says why
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._broken = error
            working.cancel()
        finally:
            self._read_all.set()

    async def _await_quiet(self, published: Subscription) -> None:
        """Collect what is on its way, until nothing has come for a moment; note the cells whose output does not end."""
        grace = self._options.grace
        began = trio.current_time()
        # Of a run whose own limit has passed nothing more is waited for.
        self._quiet_until = began if began >= self._deadline else min(began + GRACES * grace, self._deadline)
        if self._quiet_until > began:
            with trio.CancelScope(
                deadline=min(began + grace, self._quiet_until)
            ) as self._quiet:  # late output moves the deadline
                await trio.sleep_forever()
        now = trio.current_time()
        at_work = {cell for cell, latest in self._latest.items() if latest > now - grace}
        self._ends = True
        self._receiving.cancel()
        await self._read_all.wait()
        # A reader of events may be slow: what has come until now is the cells' all the same, and no more than that.
        statistics = published.statistics()
        left = statistics.messages + statistics.spooled
        while left > 0 and (messages := published.receive_ready(min(left, READY_ITEMS))):
            left -= len(messages)
            for message in messages:
                self._note_times(message)
                for cell, output in self._late_of(message):
                    at_work.add(cell)
                    await self._take(cell, output, late=True)
        if now >= self._quiet_until > began:
            for cell in sorted(at_work, key=lambda cell: cell.number):
                self._note_gap(cell, OutputGap("lost", None, "it was still at work in the background when the run ended"))

    def _keep_late(self, published: Subscription) -> None:
        """Put what has come of cells after their end into the notebook, and tell nobody: the run ends before its time."""
        if self._held is not None:
            self._document.feed(*self._held)
            self._held = None
        with suppress(GatewayError):
            while messages := published.receive_ready():
                for message in messages:
                    self._note_times(message)
                    for late in self._late_of(message):
                        self._document.feed(*late)

    def _note_times(self, message: Message) -> None:
        """Note when the kernel began with a cell, as which of its executions, and when it was done with it, if that is in it."""
        header = message.header
        given = self._requests.get(message.parent_id) if header.msg_type in _TIMED else None
        if given is None:
            return
        if header.msg_type == "execute_input":
            with suppress(ProtocolError):
                self._note_count(given.cell, as_count(message.content.get("execution_count")))
        if not self._options.record_timing:
            return
        what = header.msg_type
        if what == "status":
            state = execution_state(message)
            if state not in ("busy", "idle"):
                return
            what = f"status.{state}"
        self._note_time(given.cell, f"iopub.{what}", header.date)

    def _note_count(self, cell: DocumentCell, count: int | None) -> None:
        """Note which of the kernel's executions a cell is. A reply says so too, but there may be none."""
        if count is not None:
            self._note(cell, execution_count=count)
            self._document.note_count(cell, count)

    def _note_replies(self) -> None:
        """Note when the kernel has replied to the requests of cells."""
        while self._replies is not None and (messages := self._replies.receive_ready()):
            for message in messages:
                given = self._requests.get(message.parent_id)
                if given is not None and message.header.msg_type == "execute_reply":
                    with suppress(ProtocolError):
                        started: object = message.metadata.get("started")
                        if isinstance(started, str):
                            self._note_time(given.cell, "shell.execute_reply.started", started)
                    self._note_time(given.cell, "shell.execute_reply", message.header.date)

    def _note_time(self, cell: DocumentCell, what: str, date: str) -> None:
        self._document.note_time(cell, what, date or _wall_clock().isoformat().replace("+00:00", "Z"))
        if self._saver is not None:
            self._saver.changed()

    def _late_of(self, message: Message) -> Iterator[tuple[DocumentCell, Output]]:
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

    def _note_gap(self, cell: DocumentCell, *gaps: OutputGap) -> None:
        """Remember why a cell's output is not whole; the same reason counts once."""
        known = self._runs[cell].output_gaps
        new = [gap for gap in dict.fromkeys(gaps) if gap not in known]
        if new:
            run = self._note(cell, output_gaps=(*known, *new))
            self._document.note_gaps(cell, run.output_gaps)

    def _note(self, cell: DocumentCell, **changes: Any) -> CellRun:
        run = self._runs[cell] = attrs.evolve(self._runs[cell], **changes)
        return run

    # One cell -----------------------------------------------------------------------------------------------------

    async def _run_cell(self, kernel: Kernel, cell: DocumentCell, published: Subscription) -> tuple[Error | None, bool]:
        """Run one cell; return the error that it ended with, and whether the kernel asks its front end to leave."""
        began = trio.current_time()
        await self.listener.put(CellStarted(cell=self._note(cell, started=_wall_clock())))
        error, result = await self._execute(kernel, cell, published)
        self._note_replies()
        timed_out = error is None and result is None
        leaves = False
        if result is not None:
            self._note_count(cell, result.execution_count)
            self._note_gap(cell, *result.output_gaps)
            leaves = asked_to_leave(result) is not None
            if result.status == "ok":
                error = None  # a kernel may publish an error and yet end well
            elif error is None:
                error = failure_of(result)
                await self._take(cell, error)
        run = self._note(
            cell,
            status="timeout" if timed_out else "ok" if error is None else "error",
            error=error,
            finished=_wall_clock(),
            seconds=trio.current_time() - began,
        )
        await self.listener.put(CellFinished(cell=run))
        if self._saver is not None:
            self._saver.changed()
            await self._saver.save_soon()
        return error, leaves

    async def _execute(
        self, kernel: Kernel, cell: DocumentCell, published: Subscription
    ) -> tuple[Error | None, ExecutionResult | None]:
        """Have the kernel execute a cell; return the error that it has published, and the result: None if a limit ran out."""
        error: Error | None = None
        own = self._options.cell_timeout
        own_deadline = math.inf if own is None else trio.current_time() + own
        deadline = min(own_deadline, self._deadline)
        with trio.CancelScope(deadline=deadline) as entering:
            async with kernel.stream(cell.source, stdin=self._stdin) as outputs:
                entering.deadline = math.inf
                request, _ = outputs.given
                self._running = self._requests[request] = _Given(cell, outputs)
                try:
                    with trio.CancelScope(deadline=deadline) as limit:
                        async for output in outputs:
                            await self._take(cell, output)
                            if isinstance(output, Error):
                                error = output
                except trio.Cancelled:
                    self._keep_given(cell, outputs)
                    self._keep_late(published)
                    # The interrupted kernel gets seconds to end, and a person who pressed Ctrl-C may press it again.
                    if self._saver is not None:
                        self._saver.hurry()
                    raise
                if limit.cancelled_caught:
                    # What the interrupted code still puts out comes late. The kernel is interrupted where this block ends.
                    for output in self._left_of(outputs):
                        await self._take(cell, output)
                self._running.end()
                self._running = None
                for other in self._came.keys() - self._requests.keys():  # other clients' work
                    del self._came[other]
            if not limit.cancelled_caught:
                return error, outputs.result
        option: Literal["timeout", "cell_timeout"] = "cell_timeout" if own_deadline < self._deadline else "timeout"
        if option == "timeout" or self._options.on_error == "stop":
            seconds = own if option == "cell_timeout" else self._options.timeout
            title = self._runs[cell].title
            self._timed_out = NotebookTimeoutError(self._name or "notebook", cell.number, title, option, seconds or 0)
        return None, None

    @property
    def _stdin(self) -> Any:
        stdin = self._options.stdin
        return self._ask if callable(stdin) else stdin

    async def _ask(self, prompt: str, password: bool) -> str:
        assert self._running is not None
        assert callable(self._options.stdin)
        self._running.asked += 1
        await self.listener.caught_up()
        answer = self._options.stdin(prompt, password)
        return await answer if inspect.isawaitable(answer) else answer

    def _left_of(self, outputs: OutputStream) -> Iterator[Output]:
        """Give the outputs that are there and were not read."""
        with suppress(GatewayError):
            while ready := outputs.receive_ready():
                yield from ready

    def _keep_given(self, cell: DocumentCell, outputs: OutputStream) -> None:
        """Put the outputs that are there and were not read into the notebook, and tell nobody."""
        for output in self._left_of(outputs):
            self._document.feed(cell, output)

    async def _take(self, cell: DocumentCell, output: Output, *, late: bool = False) -> None:
        """Keep the output first, so that what is told is in the file too, whatever happens next."""
        if self._document.feed(cell, output) and self._saver is not None:
            self._saver.changed()
        await self.listener.put(CellOutput(cell=self._runs[cell], output=output, late=late))
