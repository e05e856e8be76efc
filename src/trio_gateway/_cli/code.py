"""One piece of code on a kernel, its output passed on as it streams: what `exec` and `run FILE.py` do.

The one idea: the terminal or pipe sees what it would see of a local program, and the exit code tells how it ended.
"""

from __future__ import annotations

from functools import partial

from trio_gateway import Kernel

from .._outputs import Error, ExecutionResult
from .asking import Asker, find_asker, nobody_to_ask, wanted_input
from .exits import ExitCode
from .opening import open_kernel
from .options import Options
from .placing import Place
from .rendering import Renderer, gap_message, result_as_dict
from .sinks import standard_error, standard_output
from .supervision import limited, run_command
from .wording import Failure

__all__ = ["failure_of", "new_renderer", "run_code", "show_execution"]


def run_code(options: Options, code: str, *, place: Place | None, timeout: float | None, from_stdin: bool = False) -> int:
    """Run the code on a kernel of its own, or in the one of `--attach`, and show what it does.

    Args:
        options: the common options.
        code: the code.
        place: where the kernel is to work; None: the gateway's choice, which is this process's directory if it is a local one.
        timeout: the limit for the code, in seconds; None for none.
        from_stdin: whether the code came on standard input, so that nothing else can.

    Returns:
        The exit code.

    Raises:
        GatewayError: what ended it, if not the code itself.
        OutOfTimeError: the limit ran out.
        OutputClosedError: whoever read our output went away.
    """
    renderer = new_renderer(options)
    asker = find_asker(options, renderer)

    async def command() -> int:
        async with open_kernel(options, options.kernel, place) as kernel:
            result = await limited(timeout, partial(_execute, options, kernel, code, renderer, asker))
        if result.output_gaps:
            options.warn(gap_message(result.output_gaps))
        if result.status == "ok":
            return ExitCode.OK
        error = failure_of(result)
        if wanted_input(error):
            options.complain(nobody_to_ask(code_is_there=from_stdin))
        else:
            options.failure = Failure("ExecutionError", f"{error.ename}: {error.evalue}")
        return ExitCode.CODE_FAILED

    options.report["results"] = []
    return run_command(options, command)


async def _execute(options: Options, kernel: Kernel, code: str, renderer: Renderer, asker: Asker | None) -> ExecutionResult:
    if options.as_json:
        result = await kernel.execute(code, stdin=asker)
        options.report["results"] = [result_as_dict(result)]
        return result
    return await show_execution(kernel, code, renderer, asker)


def new_renderer(options: Options) -> Renderer:
    """Return a renderer on this process's standard output and error."""
    return Renderer(
        standard_output(),
        standard_error(),
        colour=options.colour,
        control=options.control,
        forced_colour=options.forced_colour,
    )


async def show_execution(kernel: Kernel, code: str, renderer: Renderer, asker: Asker | None) -> ExecutionResult:
    """Execute the code and show its outputs as they come, but not the traceback of code that asked for input in vain.

    Returns:
        The result, without its outputs.

    Raises:
        GatewayError: what ended it, if not the code itself.
        OutputClosedError: whoever read our output went away; the kernel was interrupted.

    Cancellation: interrupts the kernel.
    """
    told = False
    async with kernel.stream(code, stdin=asker) as outputs:
        async for output in outputs:
            if not (isinstance(output, Error) and wanted_input(output)):
                await renderer.show(output)
            told = told or isinstance(output, Error)
    result = outputs.result
    if result.status != "ok" and not told:
        await renderer.show(failure_of(result))
    await renderer.finish()
    return result


def failure_of(result: ExecutionResult) -> Error:
    """Return the error of a result that has not the status `"ok"`. Some kernels tell it in the reply alone, or not at all."""
    return result.error or Error("Aborted", "the kernel did not run the code")
