"""One piece of code on a fresh kernel, its output passed on as it streams: what `exec` and `run FILE.py` do.

The one idea: the terminal or pipe sees what it would see of a local program, and the exit code tells how it ended.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from trio_gateway import Kernel

from .._outputs import Error, ExecutionResult
from .exits import ExitCode
from .opening import open_gateway
from .options import Options
from .rendering import Renderer, gap_message, json_result
from .sinks import standard_error, standard_output
from .supervision import limited, run_command

__all__ = ["failure_of", "new_renderer", "run_code", "show_execution"]


def run_code(options: Options, code: str, *, cwd: Path | None, timeout: float | None, as_json: bool) -> int:
    """Run the code on a kernel of its own, and show what it does.

    Args:
        options: the common options.
        code: the code.
        cwd: the kernel's working directory; None: the gateway's choice, which is this process's own if it is a local one.
        timeout: the limit for the code, in seconds; None for none.
        as_json: give one JSON object at the end instead of streaming.

    Returns:
        The exit code.

    Raises:
        GatewayError: what ended it, if not the code itself.
        OutOfTimeError: the limit ran out.
        OutputClosedError: whoever read our output went away.
    """

    async def command() -> int:
        async with open_gateway(options) as gateway, gateway.start_kernel(options.kernel, cwd=cwd) as kernel:
            result = await limited(timeout, partial(_execute, options, kernel, code, as_json=as_json))
        if result.output_gaps:
            options.warn(gap_message(result.output_gaps))
        return ExitCode.OK if result.status == "ok" else ExitCode.CODE_FAILED

    return run_command(options, command)


async def _execute(options: Options, kernel: Kernel, code: str, *, as_json: bool) -> ExecutionResult:
    if as_json:
        result = await kernel.execute(code)
        await standard_output().write(json_result(result) + "\n")
        return result
    return await show_execution(kernel, code, new_renderer(options))


def new_renderer(options: Options) -> Renderer:
    """Return a renderer on this process's standard output and error."""
    return Renderer(
        standard_output(),
        standard_error(),
        colour=options.colour,
        control=options.control,
        forced_colour=options.forced_colour,
    )


async def show_execution(kernel: Kernel, code: str, renderer: Renderer) -> ExecutionResult:
    """Execute the code and show its outputs as they come.

    Returns:
        The result, without its outputs.

    Raises:
        GatewayError: what ended it, if not the code itself.
        OutputClosedError: whoever read our output went away; the kernel was interrupted.

    Cancellation: interrupts the kernel.
    """
    told = False
    async with kernel.stream(code) as outputs:
        async for output in outputs:
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
