"""One piece of code on a kernel, its output passed on as it streams: what `exec` and `run FILE.py` do.

The one idea: the terminal or pipe sees what it would see of a local program, and the exit code tells how it ended.
"""

from __future__ import annotations

from contextlib import nullcontext
from functools import partial

from trio_gateway import Kernel

from .._outputs import Error, ExecutionResult, Stream
from .._protocol.endings import asked_to_leave, exit_code_in, exit_number, failure_of
from .asking import CODE_IS_THERE, NO_TERMINAL, Asker, find_asker, nobody_to_ask, wanted_input
from .exits import ExitCode
from .opening import open_kernel
from .options import Options
from .placing import Place
from .rendering import Renderer, gap_message, result_as_dict
from .script import Script, dressed_as_script
from .sinks import standard_error, standard_output
from .supervision import limited, run_command
from .wording import Failure

__all__ = ["new_renderer", "run_code", "show_execution"]


def run_code(
    options: Options, code: str | Script, *, place: Place | None, timeout: float | None, from_stdin: bool = False
) -> int:
    """Run the code on a kernel of its own, or in the one of `--attach`, and show what it does.

    Args:
        options: the common options.
        code: the code; or a script, which finds what Python gives to one.
        place: where the kernel is to work; None: the gateway's choice, which is this process's directory if it is a local one.
        timeout: the limit for the code, in seconds; None for none.
        from_stdin: whether the code came on standard input, so that nothing else can.

    Returns:
        The exit code; where the code has called `sys.exit`, the one that it gave.

    Raises:
        click.UsageError: a script has arguments, and the kernel is none that takes them.
        GatewayError: what ended it, if not the code itself.
        OutOfTimeError: the limit ran out.
        OutputClosedError: the reader of our output went away.
    """
    renderer = new_renderer(options)
    asker = find_asker(options, renderer)

    async def command() -> int:
        async with open_kernel(options, options.kernel, place) as kernel:
            result, error = await limited(timeout, partial(_execute, options, kernel, code, renderer, asker))
        if result.output_gaps:
            options.warn(gap_message(result.output_gaps))
        if error is None:
            code_asked = asked_to_leave(result) or 0
            if code_asked:
                options.failure = Failure("ExecutionError", f"exit({code_asked})")
            return code_asked
        exit_code = exit_code_in(error)
        if exit_code == 0:
            return ExitCode.OK
        if wanted_input(error):
            options.complain(nobody_to_ask(CODE_IS_THERE if from_stdin else NO_TERMINAL))
        else:
            options.failure = Failure("ExecutionError", f"{error.ename}: {error.evalue}")
        return ExitCode.CODE_FAILED if exit_code is None else exit_code

    options.report["results"] = []
    return run_command(options, command)


async def _execute(
    options: Options, kernel: Kernel, code: str | Script, renderer: Renderer, asker: Asker | None
) -> tuple[ExecutionResult, Error | None]:
    stays = options.attach is not None
    async with nullcontext() if isinstance(code, str) else dressed_as_script(kernel, code, stays=stays):
        text = code if isinstance(code, str) else code.code
        if options.as_json:
            result = await kernel.execute(text, stdin=asker)
            options.report["results"] = [result_as_dict(result)]
            return result, None if result.status == "ok" else failure_of(result)
        return await show_execution(kernel, text, renderer, asker)


def new_renderer(options: Options) -> Renderer:
    """Return a renderer on this process's standard output and error."""
    return Renderer(
        standard_output(),
        standard_error(),
        colour=options.colour,
        control=options.control,
        forced_colour=options.forced_colour,
    )


async def show_execution(
    kernel: Kernel, code: str, renderer: Renderer, asker: Asker | None
) -> tuple[ExecutionResult, Error | None]:
    """Execute the code and show its outputs as they come, but not the traceback of code that asked for input in vain.

    Of code that calls `sys.exit` is shown what Python shows: the text that it gave in place of a code.

    Returns:
        The result, without its outputs, and the error that the code ended with; None if it ended well.

    Raises:
        GatewayError: what ended it, if not the code itself.
        OutputClosedError: the reader of our output went away; the kernel was interrupted.

    Cancellation: interrupts the kernel.
    """
    error: Error | None = None
    async with kernel.stream(code, stdin=asker) as outputs:
        async for output in outputs:
            if isinstance(output, Error):
                await _show_error(renderer, output)
                error = output
            else:
                await renderer.show(output)
    result = outputs.result
    if result.status == "ok":
        error = None  # a kernel may publish an error and yet end well
    elif error is None:
        error = failure_of(result)
        await _show_error(renderer, error)
    await renderer.finish()
    return result, error


async def _show_error(renderer: Renderer, error: Error) -> None:
    if exit_code_in(error) is None:
        if not wanted_input(error):
            await renderer.show(error)
    elif exit_number(error.evalue) is None:
        await renderer.show(Stream("stderr", f"{error.evalue}\n"))
