"""On which kernel a notebook runs, from which cell on, and what becomes of that kernel afterwards.

The one idea: a kernel that a run has started is the run's, and ends with it, unless it is left so that the notebook can be
resumed there. Such a kernel has no other use: the run that goes on there and ends well ends it, and so does one that can't go on
there. Any other kernel is somebody's, and stays; that of a pool goes back to it.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, cast

import attrs
import trio

from .._errors import InvalidInputError, KernelError
from .._gateway.gateway import Gateway
from .._kernel.kernel import Kernel
from .._pool.pool import KernelPool
from .document import Document
from .options import RunOptions
from .results import NotebookRun
from .resume import NOT_RESUMED, KernelProcess, Resumption, RunRecord, StoppedRun, resume_from, take_over

__all__ = ["EarlierRun", "Ground", "check_where", "open_ground"]


_OF_THE_START: Final = ("kernel_name", "env", "resources", "cwd")
"""Options of a kernel's start."""


@attrs.frozen
class EarlierRun:
    """The last run of a notebook that is to be resumed, as the file tells of it that it wrote."""

    stopped: StoppedRun
    """How far it came, and where."""
    cells: Sequence[Any] = attrs.field(repr=False)
    """That file's cells that run, in order: nbformat's, with their outputs."""


@attrs.define(eq=False, kw_only=True)
class Ground:
    """What a run stands on: a kernel, and the cell to begin with."""

    kernel: Kernel
    """The kernel."""
    resumption: Resumption = NOT_RESUMED
    """With which cell the run begins, and why; no reason where it was not to be resumed."""
    record: RunRecord | None = None
    """Keeps in the notebook how far the run has come, where the kernel may outlive it."""
    stays_if_ok: bool = False
    """Whether the kernel runs on after a run that ends well, though nobody holds it."""
    stays_if_not: bool = False
    """Whether it runs on after a run that does not end well, though nobody holds it."""
    was_used: bool = True
    """Whether code may have run on the kernel before."""
    ended: NotebookRun | None = None
    """What came of the run; None as long as it lasts, and where it was cancelled."""

    def end(self, ended: NotebookRun) -> NotebookRun:
        """Take what came of the run, and return it with what becomes of the kernel."""
        stays = self.stays_if_ok if ended.status == "ok" else self.stays_if_not
        lost = isinstance(ended.failure, KernelError)  # the kernel is gone, or all that it had in memory
        self.ended = attrs.evolve(ended, resumption=self.resumption.reason, kernel_left=stays and not lost)
        return self.ended

    @property
    def is_left(self) -> bool:
        """Whether the run has ended, and leaves the kernel to nobody."""
        return self.ended is not None and self.ended.kernel_left


def check_where(where: object, options: RunOptions) -> None:
    """See that a run can be where it is to be.

    Raises:
        InvalidInputError: it can't, or an option makes no sense there.
    """
    if hasattr(where, "start_kernel"):
        if options.keep_kernel != "never" and not hasattr(where, "start_prepared"):
            raise InvalidInputError("keep_kernel", options.keep_kernel, '"never" on what is not a Gateway')
        if options.resume and not hasattr(where, "attach_kernel"):
            raise InvalidInputError("resume", options.resume, "False on what is neither a Gateway nor an open Kernel")
        return
    if isinstance(where, KernelPool):
        for name, only in (("keep_kernel", "never"), ("resume", False), *[(name, None) for name in _OF_THE_START]):
            if getattr(options, name) != only:
                raise InvalidInputError(name, getattr(options, name), f"{only!r} on a pool, whose kernels are what the pool says")
        return
    if not (hasattr(where, "stream") and hasattr(where, "iopub")):
        raise InvalidInputError("where", type(where).__name__, "a Gateway, a Fleet, a KernelPool or an open Kernel")
    for name in _OF_THE_START:
        if getattr(options, name) is not None:
            raise InvalidInputError(name, getattr(options, name), "None where the kernel is open already")


@asynccontextmanager
async def open_ground(
    where: object, document: Document, options: RunOptions, *, kernel_name: str | None, earlier: EarlierRun | None
) -> AsyncGenerator[Ground]:
    """Give a run its kernel: the open one, the last run's where it goes on there, or else a new one.

    Args:
        where: the gateway, a pool, or an open kernel.
        document: the notebook; the cells that are left as they are get the outputs that the last run's file has.
        options: how it is run.
        kernel_name: the kernelspec to start; None for the gateway's default.
        earlier: the last run, if it was stopped; looked at where the options say so.

    Raises:
        GatewayError: the gateway failed, or a kernel can't be started.

    Cancellation: shuts a kernel down that was started, and leaves any other.
    """
    if isinstance(where, KernelPool):
        async with where.kernel() as leased:
            yield Ground(kernel=leased)
        return
    if not hasattr(where, "start_kernel"):
        kernel = cast("Kernel", where)
        # It stays in any case: the option says whether somebody means to go on there.
        is_recorded = options.resume or options.keep_kernel == "on_error"
        ground = Ground(kernel=kernel, record=RunRecord(document, kernel.id, is_left=False) if is_recorded else None)
        if options.resume:
            found = KernelProcess(kernel.id, await kernel.ask_process())
            _go_on(ground, document, earlier, found)
        yield ground
        return
    gateway = cast("Gateway", where)
    resumption = resume_from(None, (), None) if options.resume else NOT_RESUMED
    if options.resume and earlier is not None:
        async with _on_last_kernel(gateway, document, options, earlier) as found_ground:
            if isinstance(found_ground, Ground):
                yield found_ground
                return
            resumption = found_ground
    keeps = options.keep_kernel == "on_error"
    begun: Ground | None = None  # the kernel may be there before it can be used
    # What is not asked for is not passed on: somebody's own object may stand for the gateway.
    arguments: dict[str, Any] = {name: value for name in ("env", "resources") if (value := getattr(options, name)) is not None}
    if keeps:
        arguments |= {"env": options.env, "path": None, "launch_timeout": None}
        request = gateway.kernels.prepare(kernel_name, cwd=options.cwd, **arguments)
        opening = gateway.start_prepared(request, is_left=lambda: begun is not None and begun.is_left)
    else:
        opening = gateway.start_kernel(kernel_name, cwd=options.cwd, **arguments)
    async with opening as kernel:
        record = RunRecord(document, kernel.id, is_left=True) if keeps else None
        begun = Ground(kernel=kernel, resumption=resumption, record=record, stays_if_not=keeps, was_used=False)
        yield begun


@asynccontextmanager
async def _on_last_kernel(
    gateway: Gateway, document: Document, options: RunOptions, earlier: EarlierRun
) -> AsyncGenerator[Ground | Resumption]:
    """Give the last run's kernel where the run goes on there, or else why it does not."""
    stopped = earlier.stopped
    wanted = None if options.kernel_name is None else await gateway.kernelspecs.check(options.kernel_name)
    async with AsyncExitStack() as stack:
        kernel: Kernel | None = None
        found: KernelProcess | None = None
        try:
            kernel = await stack.enter_async_context(gateway.attach_kernel(stopped.kernel.kernel_id))
            found = KernelProcess(kernel.id, await kernel.ask_process())
        except KernelError:
            await trio.lowlevel.checkpoint()
        if kernel is None or found is None:
            yield resume_from(stopped, (), None)
            return
        record = RunRecord(document, kernel.id, is_left=stopped.is_left)
        ground = Ground(kernel=kernel, record=record, stays_if_ok=not stopped.is_left, stays_if_not=True)
        if wanted is not None and wanted != kernel.name:
            ground.resumption = Resumption(0, f"the last run's kernel {kernel.id} is {kernel.name}, not {wanted}")
        else:
            _go_on(ground, document, earlier, found)
        is_for_this = stopped.is_left and found.process != "" and found == stopped.kernel
        if ground.resumption.begin:
            yield ground
            if is_for_this and ground.ended is not None and ground.ended.status == "ok":
                await kernel.shutdown()
        elif is_for_this:
            await kernel.shutdown()
            yield ground.resumption
        else:
            yield Resumption(0, f"{ground.resumption.reason}; it runs on")


def _go_on(ground: Ground, document: Document, earlier: EarlierRun | None, found: KernelProcess) -> None:
    """Find out with which cell a run on this kernel begins, and give the cells before it their outputs."""
    sources = [cell.source for cell in document.cells]
    ground.resumption = resume_from(None if earlier is None else earlier.stopped, sources, found)
    before = document.cells[: ground.resumption.begin]
    if earlier is not None:
        take_over([cell.node for cell in before], earlier.cells)
    if ground.record is not None:
        ground.record.begin(found.process)
        ground.record.add(*[cell.source for cell in before])
