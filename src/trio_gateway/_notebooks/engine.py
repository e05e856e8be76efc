"""One notebook on one kernel, cell by cell.

The one idea: a run is a loop over cells that may end at any moment, by an error, a limit, a cancellation or a lost kernel, and
leaves behind whatever the cells had put out until then.
"""

from __future__ import annotations

import inspect
import math
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, Final, Literal

import attrs
import trio

from .._errors import ConnectionLostError, GatewayError, ProtocolError, SlowConsumerError
from .._kernel.channels import Subscription
from .._kernel.executor import OutputStream
from .._kernel.inbox import READY_ITEMS
from .._kernel.kernel import Kernel
from .._outputs import Error, ExecutionResult, Output, OutputGap
from .._protocol.contents import execution_state
from .._protocol.endings import asked_to_leave, exit_code_in, failure_of
from .._protocol.execution import OUTPUT_TYPES, may_be_rate_notice, parse_output
from .._protocol.loss import LossAccount
from .._protocol.messages import Message
from .._services import alongside
from .._values import as_count
from .document import Document, DocumentCell
from .event_queue import Listener
from .events import CellFinished, CellOutput, CellStarted, RunStarted
from .options import NotebookJob, RunOptions
from .papermill_metadata import PapermillRecord
from .results import CellRun, NotebookRun, NotebookStoppedError, NotebookTimeoutError
from .resume import NOT_RESUMED, Resumption, RunRecord
from .saver import Saver
from .widgets import WIDGET_TARGET

__all__ = ["GRACES", "REPLY_LOST", "Engine"]

GRACES: Final = 5
"""How many times the option `grace` is waited at most for what comes late, in all."""
_SHORTLY: Final = 0.2
"""Where no grace is given, what came so many seconds before the run's end tells that more would have come."""
_BARRIER: Final = 5.0
"""How long a kernel may take to answer what it is asked to find out what was lost, in seconds."""
REPLY_LOST: Final = OutputGap(
    "lost",
    None,
    "its reply was lost with the connection: the kernel was heard to end it and to put out no more, but what it tells in a reply "
    "only, as some errors, is not known",
)
"""What is missing of a cell whose reply was lost, and nothing else."""
_AGAIN: Final = (
    "nobody knows how the cell ended, and no cell is sent twice: look at what it has done, and go on with it by resume=True, on "
    'the kernel that keep_kernel="on_error" leaves (the command\'s --resume does both)'
)
"""What to do where nobody knows how a cell ended."""
_TIMED: Final = frozenset({"status", "execute_input"})
"""What is published of a cell whose time is recorded."""
_REPLIES: Final = 16
"""How many of the latest replies are kept: the one to a cell is looked at when it has ended."""


def _wall_clock() -> datetime:
    return datetime.now(UTC)  # noqa: TID251 - for people; nothing is decided by it


@attrs.define(eq=False)
class _Request:
    """A cell's request to execute, and what was seen of it."""

    cell: DocumentCell
    """The cell."""
    stream: OutputStream
    """What the kernel does about it."""
    error: Error | None = None
    """The error that it has put out."""
    cancelled: bool = False
    """Whether what it puts out is nobody's any more: it is interrupted, and the run ends."""


class Engine:
    """One run of a notebook: how far it is, and what came of it.

    Args:
        document: the notebook.
        options: how to run it.
        job: what is to be run.
        name: what it is called.
        saver: told of each change; None: nothing is saved.
        listener: told of each event.
        parameters: what the notebook was given, for papermill's record of the run.
        input_path: where it came from, likewise; None where it was in no file.
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
        parameters: Mapping[str, Any] | None = None,
        input_path: Path | None = None,
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
        self._published: Subscription | None = None
        self._resumption = NOT_RESUMED
        self._record: RunRecord | None = None
        self._started = _wall_clock()
        self._papermill: PapermillRecord | None = None
        self._parameters = parameters
        self._input_path = input_path
        self._began = trio.current_time()
        self._deadline = math.inf
        self._requests: dict[str, _Request] = {}  # by their ids
        self._running: _Request | None = None
        self._replies: Subscription | None = None
        self._process = ""
        self._latest: dict[DocumentCell, float] = {}  # when each cell's late output came last
        self._last: DocumentCell | None = None  # the cell that has run last
        self._losses: LossAccount | None = None  # accounts for what comes while no cell runs
        self._read = 0  # how many messages of iopub
        self._has_read = trio.lowlevel.ParkingLot()
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

    async def run(
        self,
        kernel: Kernel,
        resumption: Resumption = NOT_RESUMED,
        record: RunRecord | None = None,
        *,
        was_used: bool = False,
    ) -> NotebookRun:
        """Run the cells in order, to the end, to the first error that is not allowed, or to the cell that ends the run.

        `SystemExit` of the code 0 ends it as a success, but for a cell that is tagged to raise. So does a kernel that asks its
        front end to leave, when the cell has run to its end. The notebook is saved, however it ends.

        Args:
            kernel: runs them.
            resumption: with which of them to begin.
            record: takes how far the run has come; None where it can't be resumed.
            was_used: whether code may have run in it before, and made widgets.

        Returns:
            What came of it; of a gateway, a kernel or a file that failed too.

        Raises:
            Exception: what the handler of input raised; the code was interrupted.

        Cancellation: interrupts the kernel; what has come until then is in the notebook, and saved.
        """
        await trio.lowlevel.checkpoint()
        self._kernel = kernel
        self._resumption = resumption
        self._record = record
        for cell in self._document.cells[: resumption.begin]:
            self._note(cell, status="skipped", execution_count=cell.node.execution_count)
        self._papermill = self._new_papermill_record()
        work = partial(self._run_noted, kernel, was_used)
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

    async def _run_noted(self, kernel: Kernel, was_used: bool) -> None:
        try:
            await self._run_on(kernel, was_used)
        finally:
            if self._papermill is not None:
                all_ended = not any(run.status == "pending" for run in self._runs.values())
                self._papermill.end(_wall_clock(), whole=all_ended and self.failed is None and self.ended_by is None)

    def _new_papermill_record(self) -> PapermillRecord | None:
        if not self._options.record_timing:
            return None
        output = self._options.output
        before = self._document.cells[: self._resumption.begin]
        return PapermillRecord(
            self._document.current(),
            self._started,
            parameters=self._parameters,
            input_path=None if self._input_path is None else str(self._input_path),
            output_path=None if output is None else str(output),
            first=before[-1].index + 1 if before else 0,
        )

    async def _run_on(self, kernel: Kernel, was_used: bool) -> None:
        if self._options.timeout is not None:
            self._deadline = trio.current_time() + self._options.timeout
        await self.listener.put(
            RunStarted(
                name=self._name,
                cells=len(self._document.cells),
                kernel_id=kernel.id,
                kernel_name=kernel.name,
                first_cell=self._resumption.begin + 1,
                resumption=self._resumption.reason,
            )
        )
        await self._note_kernel(kernel)
        async with kernel.iopub.subscribe() as published, self._replies_of(kernel) as self._replies:
            self._published = published
            try:
                with trio.CancelScope() as working:
                    work = partial(self._work, kernel, published, was_used)
                    await alongside(partial(self._read_published, published, working), work)
            except BaseException:
                self._keep_all(published)
                raise
            finally:
                self._close_account()
                self._note_cuts()
            if self._broken is not None:
                raise self._broken

    async def _note_kernel(self, kernel: Kernel) -> None:
        """Ask which kernel this is. It may be busy with other work, and the run's limit counts."""
        with trio.move_on_at(self._deadline):
            info = await kernel.kernel_info()
            self._document.note_kernel(kernel.name, await kernel.ask_spec(), info.get("language_info"))
            if self._record is not None and not self._record.has_begun:
                self._record.begin(await kernel.ask_process())

    @asynccontextmanager
    async def _replies_of(self, kernel: Kernel) -> AsyncGenerator[Subscription | None]:
        """Read the latest replies on shell, where times are recorded: a reply's date is nowhere else."""
        if not self._options.record_timing:
            yield None
            return
        async with kernel.shell.subscribe(when_full="drop_oldest", limit_messages=_REPLIES) as replies:
            yield replies

    async def _work(self, kernel: Kernel, published: Subscription, was_used: bool) -> None:
        if was_used:
            await self._ask_for_widgets(kernel)
        await self._run_cells(kernel, published)
        await self._end(published)
        await self._note_losses(kernel)
        with suppress(GatewayError):  # a kernel that has left needs to know nothing
            await self._update_widgets(kernel)
        if self._record is not None and self.failed is None:
            self._record.forget()

    async def _run_cells(self, kernel: Kernel, published: Subscription) -> None:
        await trio.lowlevel.checkpoint()  # there may be no cells
        for cell in self._document.cells[self._resumption.begin :]:
            if not await self._run_cell(kernel, cell, published):
                return

    def _goes_on_after(self, cell: DocumentCell, error: Error | None, leaves: bool) -> bool:
        """Whether the run goes on after a cell that has ended so; if not, note what that cell was to it."""
        if (error is None and leaves) or (error is not None and not cell.may_fail and exit_code_in(error) == 0):
            self.ended_by = cell
            return False
        if self._timed_out is not None or (error is not None and not (self._options.on_error == "continue" or cell.may_fail)):
            self.failed = cell
            return False
        return True

    # What the kernel publishes ------------------------------------------------------------------------------------

    async def _read_published(self, published: Subscription, working: trio.CancelScope) -> None:
        """Put what the kernel publishes into the notebook, for as long as the run lasts, and tell of outputs. A service.

        All of it is read here and in order, for the order says what an output belongs to: which widget captures it, and what is
        shown under its display id then.

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
                await self._tell(self._keep(message))
                self._read += 1
                self._has_read.unpark_all()
        except SlowConsumerError as error:  # what had to be written to a temporary file can't be
            self._broken = error
            working.cancel()
        except (GatewayError, trio.EndOfChannel):
            pass  # the cell that runs says why
        except Exception as error:  # noqa: BLE001 - raised by `run`
            self._broken = error
            working.cancel()
        finally:
            self._read_all.set()
            self._has_read.unpark_all()

    async def _catch_up(self) -> None:
        """Wait until all that has come is in the notebook and told."""
        await trio.lowlevel.checkpoint()
        assert self._published is not None
        came = self._published.statistics().received
        while self._read < came and not self._read_all.is_set():
            await self._has_read.park()

    async def _end(self, published: Subscription) -> None:
        """Collect what is on its way, until nothing has come for a moment; note the cells whose output does not end."""
        was_quiet = await self._wait_quiet(published)
        shortly = trio.current_time() - (self._options.grace or _SHORTLY)
        self._ends = True
        self._receiving.cancel()
        await self._read_all.wait()
        # A reader of events may be slow: what has come until now is the cells' all the same, and no more than that.
        statistics = published.statistics()
        left = statistics.messages + statistics.spooled
        while left > 0 and (messages := published.receive_ready(min(left, READY_ITEMS))):
            left -= len(messages)
            for message in messages:
                await self._tell(self._keep(message))
        if was_quiet:
            return
        for cell in self._document.cells:
            if self._latest.get(cell, -math.inf) > shortly:
                self._note_gap(cell, OutputGap("lost", None, "it was still at work in the background when the run ended"))

    async def _wait_quiet(self, published: Subscription) -> bool:
        """Wait until nothing has come for a moment, `GRACES` times as long at most; say whether that is so."""
        await trio.lowlevel.checkpoint()
        grace = self._options.grace
        began = trio.current_time()
        self._quiet_until = min(began + GRACES * grace, self._deadline)
        if self._quiet_until <= began:  # no grace, or no time: the run's own limit has passed
            return False
        with trio.CancelScope(deadline=min(began + grace, self._quiet_until)) as self._quiet:
            await trio.sleep_forever()  # late output moves the deadline
        while (now := trio.current_time()) < self._quiet_until:
            came = published.statistics().received
            if self._read >= came:
                return True
            # The reader of events is slow, so what it has read says nothing of the silence.
            await trio.sleep_until(min(now + grace, self._quiet_until))
            if published.statistics().received == came:
                return True
        return False

    def _account_for_losses(self, kernel: Kernel) -> None:
        """Account for what is lost from now on, until a cell's own execution does."""
        self._close_account()
        self._losses = kernel.account_for_losses()

    def _close_account(self) -> None:
        if self._losses is not None:
            self._losses.close()
            self._losses = None

    async def _note_losses(self, kernel: Kernel) -> None:
        """Note what was lost of what cells put out after their end, since the last one has ended, and end the account."""
        await trio.lowlevel.checkpoint()
        if self._losses is not None and self._losses.may_have_lost:
            with trio.move_on_after(_BARRIER), suppress(GatewayError):
                await kernel.kernel_info()
            lost = self._losses.lost()
            if lost:
                cell = max(self._latest, key=lambda cell: self._latest[cell], default=self._last)
                assert cell is not None
                self._note_gap(cell, OutputGap("lost", lost, "of what came after the end of a cell"))
        self._close_account()

    def _keep_all(self, published: Subscription) -> None:
        """Put what has come and was not read into the notebook, and tell nobody: the run ends before its time."""
        with suppress(GatewayError):
            while messages := published.receive_ready():
                for message in messages:
                    self._keep(message)

    def _keep(self, message: Message) -> CellOutput | None:
        """Put what a message says into the notebook; return what is to be reported of it."""
        kind = message.header.msg_type
        request = self._request_of(message.parent_id)
        if kind in _TIMED:
            if request is not None:
                self._note_times(request.cell, message)
            return None
        if kind not in OUTPUT_TYPES:
            if self._document.take_comm(message, own=request is not None):
                self._note_change(request)
            return None
        if self._running is not None:
            self._process = self._running.stream.process or self._process
        if kind == "stream" and message.header.session != self._process and may_be_rate_notice(message):
            # The gateway says that it drops output; of the cell that runs, its execution takes that in.
            if request is not None and request is not self._running:
                self._note_gap(request.cell, OutputGap("rate_limited"))
            return None
        if request is None or request.cancelled:  # other clients' work, or nobody's
            return None
        output = self._read_output(request, message)
        if output is None:
            return None
        captured = self._document.widgets.captures(message.parent_id)
        kept: Output | None = output
        if self._options.max_output_bytes is not None:
            size = len(message.content_raw) + sum(buffer.nbytes for buffer in message.buffers)
            kept = self._document.cut(request.cell, message.parent_id, output, size)
        if kept is not None and self._document.capture(message.parent_id, kept):
            self._note_change(request)
            return None
        if isinstance(output, Error):
            request.error = output
        late = self._note_change(request)
        if kept is None:
            return None if captured else CellOutput(cell=self._runs[request.cell], output=output, late=late)
        event = self._add(request.cell, kept, late=late)
        return event if kept is output else attrs.evolve(event, output=output)

    def _read_output(self, request: _Request, message: Message) -> Output | None:
        """Read an output of a cell; one that can't be read is a gap."""
        if request is self._running:
            return request.stream.read(message)  # which counts those that can't be read
        try:
            return parse_output(message)
        except ProtocolError:
            self._note_gap(request.cell, OutputGap("lost", None, "what came after its end could not be understood"))
            return None

    def _request_of(self, msg_id: str) -> _Request | None:
        """Return the cell's request that has an id; code that the kernel has skipped was asked for again, under another."""
        request = self._requests.get(msg_id)
        if request is None and self._running is not None and self._running.stream.request_id == msg_id:
            request = self._requests[msg_id] = self._running
        return request

    def _note_change(self, request: _Request | None) -> bool:
        """Note that a cell's request has changed the document; say whether its cell had ended."""
        if self._saver is not None:
            self._saver.changed()
        late = request is not None and request is not self._running
        if request is not None and late:
            now = self._latest[request.cell] = trio.current_time()
            self._quiet.deadline = min(now + self._options.grace, self._quiet_until)
        return late

    def _add(self, cell: DocumentCell, output: Output, *, late: bool = False) -> CellOutput:
        """Keep an output first, so that what is told is in the file too, whatever happens next."""
        if self._document.feed(cell, output) and self._saver is not None:
            self._saver.changed()
        return CellOutput(cell=self._runs[cell], output=output, late=late)

    async def _tell(self, event: CellOutput | None) -> None:
        if event is None:
            await trio.lowlevel.checkpoint_if_cancelled()
        else:
            await self.listener.put(event)

    def _note_times(self, cell: DocumentCell, message: Message) -> None:
        """Note when the kernel began with a cell, as which of its executions, and when it was done with it, if that is in it."""
        header = message.header
        if header.msg_type == "execute_input":
            with suppress(ProtocolError):
                self._note_count(cell, as_count(message.content.get("execution_count")))
        if not self._options.record_timing:
            return
        what = header.msg_type
        if what == "status":
            state = execution_state(message)
            if state not in ("busy", "idle"):
                return
            what = f"status.{state}"
        self._note_time(cell, f"iopub.{what}", header.date)

    def _note_count(self, cell: DocumentCell, count: int | None) -> None:
        """Note which of the kernel's executions a cell is. A reply says so too, but there may be none."""
        if count is not None:
            self._note(cell, execution_count=count)
            self._document.note_count(cell, count)

    def _note_replies(self) -> None:
        """Note when the kernel has replied to the requests of cells."""
        while self._replies is not None and (messages := self._replies.receive_ready()):
            for message in messages:
                request = self._request_of(message.parent_id)
                if request is not None and message.header.msg_type == "execute_reply":
                    with suppress(ProtocolError):
                        started: object = message.metadata.get("started")
                        if isinstance(started, str):
                            self._note_time(request.cell, "shell.execute_reply.started", started)
                    self._note_time(request.cell, "shell.execute_reply", message.header.date)

    def _note_time(self, cell: DocumentCell, what: str, date: str) -> None:
        self._document.note_time(cell, what, date or _wall_clock().isoformat().replace("+00:00", "Z"))
        if self._saver is not None:
            self._saver.changed()

    def _note_gap(self, cell: DocumentCell, *gaps: OutputGap) -> None:
        """Remember why a cell's output is not whole; the same reason counts once."""
        known = self._runs[cell].output_gaps
        new = [gap for gap in dict.fromkeys(gaps) if gap not in known]
        if new:
            run = self._note(cell, output_gaps=(*known, *new))
            self._document.note_gaps(cell, run.output_gaps)

    def _note_cuts(self) -> None:
        """Note how many outputs of each cell are beyond what is kept."""
        limit = self._options.max_output_bytes
        for cell in self._document.cells if limit is not None else ():
            cut = OutputGap("overflow", cell.dropped, f"outputs beyond {limit} bytes were not kept")
            known = self._runs[cell].output_gaps
            if cell.dropped and cut not in known:
                gaps = [gap for gap in known if (gap.kind, gap.detail) != (cut.kind, cut.detail)]
                self._document.note_gaps(cell, self._note(cell, output_gaps=(*gaps, cut)).output_gaps)

    def _note(self, cell: DocumentCell, **changes: Any) -> CellRun:
        run = self._runs[cell] = attrs.evolve(self._runs[cell], **changes)
        return run

    # One cell -----------------------------------------------------------------------------------------------------

    async def _run_cell(self, kernel: Kernel, cell: DocumentCell, published: Subscription) -> bool:
        """Run one cell; say whether the run goes on after it."""
        began = trio.current_time()
        started = _wall_clock()
        if self._papermill is not None:
            self._papermill.cell_started(cell.index, started)
        await self.listener.put(CellStarted(cell=self._note(cell, started=started)))
        await self._update_widgets(kernel)
        error, result = await self._execute(kernel, cell, published)
        self._note_replies()
        timed_out = error is None and result is None
        leaves = False
        self._note_cuts()
        if result is not None:
            self._note_count(cell, result.execution_count)
            self._note_gap(cell, *result.output_gaps)
            leaves = asked_to_leave(result) is not None
            if result.status == "ok":
                error = None  # a kernel may publish an error and yet end well
            elif error is None:
                error = failure_of(result)
                await self._tell(self._add(cell, error))
        finished = _wall_clock()
        if self._papermill is not None:
            failed = timed_out or not (error is None or cell.may_fail or exit_code_in(error) == 0)
            self._papermill.cell_finished(cell.index, finished, failed=failed)
        run = self._note(
            cell,
            status="timeout" if timed_out else "ok" if error is None else "error",
            error=error,
            finished=finished,
            seconds=trio.current_time() - began,
        )
        goes_on = self._goes_on_after(cell, error, leaves)
        if goes_on and self._record is not None:
            self._record.add(cell.source)
        await self.listener.put(CellFinished(cell=run))
        if self._saver is not None:
            self._saver.changed()
            await self._saver.save_soon()
        return goes_on

    async def _execute(
        self, kernel: Kernel, cell: DocumentCell, published: Subscription
    ) -> tuple[Error | None, ExecutionResult | None]:
        """Have the kernel execute a cell; return the error that it has published, and the result: None if a limit ran out."""
        own = self._options.cell_timeout
        own_deadline = math.inf if own is None else trio.current_time() + own
        deadline = min(own_deadline, self._deadline)
        await self._note_losses(kernel)
        told: ExecutionResult | None = None
        with trio.CancelScope(deadline=deadline) as entering:
            async with kernel.stream(cell.source, stdin=self._stdin) as outputs:
                entering.deadline = math.inf
                request = self._running = self._requests[outputs.request_id] = _Request(cell, outputs)
                try:
                    with trio.CancelScope(deadline=deadline) as limit:
                        told = await self._run_out(outputs)
                    if not limit.cancelled_caught:
                        await self._catch_up()
                except trio.Cancelled:
                    self._keep_all(published)
                    request.cancelled = True
                    # The interrupted kernel gets seconds to end, and a person who pressed Ctrl-C may press it again.
                    if self._saver is not None:
                        self._saver.hurry()
                    raise
            # Where a limit ran out, the kernel is interrupted by now: what the code has put out until its end is the cell's.
            self._account_for_losses(kernel)
            if limit.cancelled_caught:
                await self._catch_up()
            self._running = None
            self._last = cell
            if not limit.cancelled_caught:
                return request.error, told or outputs.result
        option: Literal["timeout", "cell_timeout"] = "cell_timeout" if own_deadline < self._deadline else "timeout"
        if option == "timeout" or self._options.on_error == "stop":
            seconds = own if option == "cell_timeout" else self._options.timeout
            title = self._runs[cell].title
            self._timed_out = NotebookTimeoutError(self._name or "notebook", cell.number, title, option, seconds or 0)
        return None, None

    async def _run_out(self, outputs: OutputStream) -> ExecutionResult | None:
        """Wait for the end of a cell, whose outputs are read with all else that the kernel publishes.

        Returns:
            How it ended, where its reply was lost and nothing else was: the run can go on. None where the stream has its result.
        """
        try:
            await outputs.run_out()
        except ConnectionLostError as error:
            told = outputs.told_end()
            if told is None:
                lost = ConnectionLostError(f"{error}; {_AGAIN}", attempts=error.attempts, seconds=error.seconds)
                raise lost from error
            return attrs.evolve(told, output_gaps=(REPLY_LOST,))  # noqa: ASYNC910 - it has waited for the end
        return None

    @property
    def _stdin(self) -> Any:
        stdin = self._options.stdin
        return self._ask if callable(stdin) else stdin

    async def _ask(self, prompt: str, password: bool) -> str:
        assert callable(self._options.stdin)
        await self._catch_up()
        await self.listener.caught_up()
        answer = self._options.stdin(prompt, password)
        return await answer if inspect.isawaitable(answer) else answer

    # Widgets ------------------------------------------------------------------------------------------------------

    async def _ask_for_widgets(self, kernel: Kernel) -> None:
        """Ask a kernel that was used before for the state of its widgets, as JupyterLab does; it tells before any cell runs.

        Of a kernel that does not say which comms it has, nothing is known: once it has answered what it was asked after that,
        it won't.
        """
        comms: object = None
        with trio.CancelScope(deadline=self._deadline):

            async def give_up() -> None:
                await trio.lowlevel.checkpoint()
                with suppress(GatewayError):
                    for _ in range(2):  # a kernel may answer beside what it was asked before
                        await kernel.kernel_info()
                asking.cancel()

            async def ask() -> None:  # noqa: ASYNC910 - the question does; it has to be asked before the others
                nonlocal comms
                with asking, suppress(GatewayError):
                    comms = (await kernel.comm_info(WIDGET_TARGET)).get("comms")

            asking = trio.CancelScope()
            await alongside(give_up, ask)
            for question in self._document.widgets.questions(comms):
                await kernel.shell.send("comm_msg", question)

    async def _update_widgets(self, kernel: Kernel) -> None:
        """Send the kernel what its `Output` widgets have captured, so that code that asks them finds it."""
        await trio.lowlevel.checkpoint()
        for update in self._document.widgets.updates():
            await kernel.shell.send("comm_msg", update)
