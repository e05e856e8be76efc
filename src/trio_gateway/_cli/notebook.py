"""A notebook's run as the command shows it: what `run FILE.ipynb` does.

The one idea: `trio_gateway.notebooks` runs the notebook and tells what happens; here that becomes a bar, lines, outputs and
an exit code.
"""

from __future__ import annotations

from typing import Any

import attrs

from .. import notebooks
from .._outputs import Error, Output
from .._protocol.endings import exit_code_in
from .asking import Asker, find_asker, nobody_to_ask, wanted_input
from .code import new_renderer
from .exits import ExitCode, OutOfTimeError
from .opening import open_kernel
from .options import Options
from .placing import Place
from .progress import Steps, open_progress, title_of
from .rendering import Renderer, gap_message
from .supervision import run_command
from .wording import Failure

__all__ = ["NotebookTask", "run_notebook"]


@attrs.frozen(kw_only=True)
class NotebookTask:
    """What to do with which notebook."""

    notebook: notebooks.ReadNotebook
    """The notebook."""
    settings: notebooks.RunSettings
    """How to run it, and where to save it."""
    echo: bool
    """Whether to show outputs on standard output and error."""
    place: Place
    """Where a fresh kernel is to work."""


def run_notebook(options: Options, task: NotebookTask) -> int:
    """Run a notebook's code cells in order on a kernel of its own.

    Args:
        options: the common options; where they name no kernel, the notebook does.
        task: the notebook, and what to do with it.

    Returns:
        The exit code.

    Raises:
        GatewayError: what ended it, if not a cell. The outputs up to there are saved.
        OutOfTimeError: the limit ran out. Likewise.
        OutputClosedError: the reader of our output went away. Likewise.
    """
    shown = _Shown(options, task)
    return run_command(options, shown.run, before_quitting=shown.before_quitting)


class _Shown:
    """One run, and how it is shown.

    Args:
        options: the common options.
        task: the notebook, and what to do with it.
    """

    def __init__(self, options: Options, task: NotebookTask) -> None:
        self._options = options
        self._task = task
        self._renderer: Renderer = new_renderer(options)
        self._asker: Asker | None = find_asker(options, self._renderer)
        self._run: notebooks.OpenRun | None = None

    def before_quitting(self) -> None:
        """See that no file is half written."""
        if self._run is not None:
            self._run.stop_saving()

    async def run(self) -> int:
        """Run it, and return the exit code."""
        options, task = self._options, self._task
        settings: notebooks.RunSettings = {**task.settings, "stdin": self._asker}
        try:
            async with (
                open_kernel(options, options.kernel or task.notebook.kernel_name, task.place) as kernel,
                notebooks.open_run(kernel, task.notebook, **settings) as run,
            ):
                self._run = run
                total = sum(cell.number > 0 for cell in run.cells)
                # A bar can't share its terminal with the code's output.
                with open_progress(options, total, bar=not (task.echo and self._renderer.uses_terminal)) as progress:
                    if self._asker is not None:
                        self._asker.pausing = progress.paused
                    async for event in run:
                        await self._show(event, progress)
        finally:
            if options.as_json:
                options.report["results"] = [] if self._run is None else _as_json(self._run)
        result = run.result
        if result.status == "timeout":
            raise OutOfTimeError(task.settings.get("timeout") or 0)
        if result.error is not None and not (task.echo or options.as_json or wanted_input(result.error)):
            await self._renderer.show(result.error)
        await self._renderer.finish()
        return _report(options, result)

    async def _show(self, event: notebooks.RunEvent, progress: Steps) -> None:
        match event:
            case notebooks.CellStarted():
                progress.begin(event.cell.number, title_of(event.cell.source))
            case notebooks.CellOutput() if self._task.echo and _is_to_be_seen(event.output):
                await self._renderer.show(event.output)
            case notebooks.CellFinished() if self._task.echo:
                await self._renderer.end_line()


def _is_to_be_seen(output: Output) -> bool:
    return not (isinstance(output, Error) and (wanted_input(output) or exit_code_in(output) == 0))


def _as_json(run: notebooks.OpenRun) -> list[dict[str, Any]]:
    """Return what came of each cell that has ended, with the outputs that it shows now."""
    cells = run.notebook.cells
    return [
        {
            "cell": cell.number,
            "status": cell.status,
            "execution_count": cell.execution_count,
            "outputs": cells[cell.index].outputs,
            "error": None if cell.error is None else attrs.asdict(cell.error),
            "output_gaps": [attrs.asdict(gap) for gap in cell.output_gaps],
        }
        for cell in run.cells
        if cell.status not in ("pending", "skipped")
    ]


def _report(options: Options, result: notebooks.NotebookRun) -> int:
    """Say what came of it, and return the exit code."""
    for cell in result.cells:
        if cell.output_gaps:
            options.warn(f"cell {cell.number}: {gap_message(cell.output_gaps)}")
    ended = [cell for cell in result.cells if cell.status in ("ok", "error", "timeout")]
    total = sum(cell.number > 0 for cell in result.cells)
    counts = [f"Ran {len(ended)} of {total} cells in {result.seconds:.1f} s"]
    skipped = sum(cell.status == "skipped" for cell in result.cells)
    if skipped:
        counts.append(f"{skipped} skipped")
    tolerated = sum(cell.status == "error" and cell not in (result.failed_cell, result.ended_by) for cell in ended)
    if tolerated:
        counts.append(f"{tolerated} raised an error, as allowed")
    if result.ended_by is not None:
        counts.append(f"cell {result.ended_by.number} ended the run")
    saved = "" if result.output is None else f" Saved to {result.output}."
    options.say(f"{', '.join(counts)}.{saved}")
    failed, error = result.failed_cell, result.error
    if failed is None or error is None:
        return ExitCode.OK
    where = f"cell {failed.number} of {total} ({title_of(failed.source)})"
    if wanted_input(error):
        in_vain = nobody_to_ask()
        options.complain(attrs.evolve(in_vain, message=f"{where}: {in_vain.message}"))
    else:
        options.complain(Failure("ExecutionError", f"{where} raised {error.ename}: {error.evalue}"))
    return ExitCode.CODE_FAILED
