"""One step at a time in the kernel: the code that asks for it, and the answer, read as what it should be.

The one idea: a step is a silent execution, so all that holds for executions holds for it: at most once, in turn, interrupted when
its caller is cancelled, and failed with a typed error when the kernel or the connection goes. Its answer comes in the reply,
which no rate limit drops. (What was measured, and what else would carry values, stands in docs/lessons.md.)
"""

from __future__ import annotations

import hashlib
import inspect
import json
import uuid
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from importlib import resources
from typing import Any, Final, TypeAlias

import trio

from .._errors import GatewayError, ProtocolError
from .._kernel.executor import OutputStream
from .._kernel.kernel import Kernel
from .._outputs import ExecutionResult, Output, OutputGap
from .._protocol.messages import decode_json
from .._values import as_lines
from .errors import RemoteError

__all__ = ["FORGET_SECONDS", "NAME", "Link", "OnOutput", "new_token", "remote_error"]

OnOutput: TypeAlias = Callable[[Output | OutputGap], Awaitable[object] | object]

_SOURCES: Final = tuple(
    (part, resources.files("trio_gateway._python").joinpath(f"{part}.py").read_text(encoding="utf-8"))
    for part in ("codec", "libraries", "file_side", "tool_side", "kernel_side")
)
NAME: Final = "_trio_gateway_" + hashlib.sha256(repr(_SOURCES).encode()).hexdigest()[:12]
"""What the kernel's side is called in `sys.modules` there, and its comms' target: another one for each version of it."""
_SIDE: Final = f"__import__('sys').modules['{NAME}.kernel_side']"

_INSTALL: Final = """
import sys
if NAME + ".kernel_side" not in sys.modules:
    package = type(sys)(NAME)
    package.__path__ = []
    made = {NAME: package}
    sys.modules.update(made)
    try:
        for part, source in SOURCES:
            module = made[NAME + "." + part] = type(sys)(NAME + "." + part)
            module.__package__ = NAME
            sys.modules[module.__name__] = module
            setattr(package, part, module)
            exec(compile(source, "<trio_gateway: " + part + ".py>", "exec"), module.__dict__)
        module.register()
    except BaseException:
        for name in made:
            sys.modules.pop(name, None)
        raise
"""
FORGET_SECONDS: Final = 1.0
"""How long a block waits, when its caller is cancelled, to say that what is under way is not wanted any more."""


def new_token() -> str:
    """Return a name for something that is under way in the kernel."""
    return uuid.uuid4().hex


class Link:
    """Asks one kernel for steps.

    Args:
        kernel: the kernel.
    """

    def __init__(self, kernel: Kernel) -> None:
        self.kernel = kernel
        self.known: dict[tuple[str, str], bool] = {}
        """Whether the kernel can import a function, by module and name."""
        self.has_cloudpickle: bool = False
        """Whether it is known to have cloudpickle."""
        self._cloudpickle = ""
        self.has_comms: bool = False
        """Whether the kernel hears of comms."""
        self.version: tuple[int, int] = (0, 0)
        """Its Python."""

    async def install(self) -> None:
        """Bring the kernel's side there, unless it is there already.

        Raises:
            ProtocolError: it can't be brought there: the kernel is none of Python's, for instance.
            GatewayError: as for `execute`.

        Cancellation: as for `execute`.
        """
        scope = {"__name__": NAME, "NAME": NAME, "SOURCES": _SOURCES}
        result = await self.kernel.execute(
            f"__import__('builtins').exec({_INSTALL!r}, {scope!r})", silent=True, store_history=False
        )
        if result.status != "ok":
            error = result.error
            said = "it said nothing" if error is None else f"{error.ename}: {error.evalue}"
            raise ProtocolError(f"kernel {self.kernel.id}: what carries values can't be loaded there, as in a Python: {said}")
        self.known.clear()
        self.has_cloudpickle = False
        hello = new_token()
        async with self.kernel.comms.open(NAME, {"token": hello, "hello": True}):
            about = await self.ask("about", {}, token=hello, installs=False)
        self.has_comms = about.get("comms") is True
        version = about.get("python")
        if not isinstance(version, list) or len(version) != 2 or not all(type(part) is int for part in version):
            raise ProtocolError(f"kernel {self.kernel.id} does not say which Python it is")
        self.version = (version[0], version[1])
        if self._cloudpickle:  # what the caller is about to ask of the new process may need it
            await self.bring_cloudpickle(self._cloudpickle)

    async def bring_cloudpickle(self, source: str) -> Mapping[str, Any]:
        """Have cloudpickle there, and in each process that takes this one's place.

        Args:
            source: its source, for a kernel that has it not.

        Raises:
            GatewayError: as for `ask`.
        """
        answer = await self.ask("cloudpickle", {"source": source})
        self._cloudpickle = source
        self.has_cloudpickle = True
        return answer

    async def ask(
        self,
        step: str,
        arguments: Mapping[str, Any],
        *,
        token: str = "",
        awaits: bool = False,
        on_output: OnOutput | None = None,
        shows: bool = False,
        installs: bool = True,
    ) -> Mapping[str, Any]:
        """Have a step done, and return its answer.

        Args:
            step: its name.
            arguments: its arguments, as JSON.
            token: what it is about; "" for a new one.
            awaits: whether it awaits there.
            on_output: called, and awaited, with what the step prints, and with what of it is missing.
            shows: whether it runs code of the user's, which may print more than is to be kept.
            installs: whether the kernel's side is brought there where it is missing.

        Raises:
            RemoteError: it ended with an exception that the kernel has told of; that of the user's code is in the answer.
            ProtocolError: its answer can't be understood.
            GatewayError: as for `execute`.
            Exception: what the handler raises.

        Cancellation: as for `execute`.
        """
        token = token or new_token()
        told = f"{_SIDE}.told({token!r})"
        text = json.dumps(arguments, separators=(",", ":"))
        code = f"await {_SIDE}.finish({token!r}, {step!r}, {text!r})" if awaits else f"{_SIDE}.ask({token!r}, {step!r}, {text!r})"
        result = await self._run(code, told, on_output, shows=shows)
        if installs and _is_missing(result):  # a new process: nothing was done
            await self.install()
            result = await self._run(code, told, on_output, shows=shows)
        error = result.error
        if error is not None:
            raise RemoteError(error.ename, error.evalue, error.traceback)
        if result.status != "ok":
            raise RemoteError("Aborted", "the kernel has skipped it, because code before it failed")
        return self._read(result)

    async def _run(self, code: str, told: str, on_output: OnOutput | None, *, shows: bool) -> ExecutionResult:
        expressions = {"told": told}
        if not shows:
            return await self.kernel.execute(code, silent=True, store_history=False, user_expressions=expressions)
        stream = self.kernel.stream(code, silent=True, store_history=False, user_expressions=expressions)
        async with stream as outputs:
            return await _tell_outputs(outputs, on_output)

    def _read(self, result: ExecutionResult) -> Mapping[str, Any]:
        """Read what a step told."""
        try:
            answer = decode_json(result.reply["user_expressions"]["told"]["data"]["text/plain"])
        except (LookupError, TypeError, ProtocolError):
            answer = None
        if not isinstance(answer, dict):
            raise ProtocolError(f"kernel {self.kernel.id}: the answer to a step of a value's can't be understood")
        return answer

    async def forget(self, token: str) -> None:
        """Say that something under way is not wanted any more, if that can be said soon; a caller may be cancelled.

        The kernel does it when it comes to it; nobody waits for that.
        """
        with trio.move_on_after(FORGET_SECONDS, shield=True), suppress(GatewayError):
            if not self.has_comms:
                await self.ask("forget", {}, token=token)
                return
            async with self.kernel.comms.open(NAME, {"token": token, "forget": True}):
                pass


async def _tell_outputs(outputs: OutputStream, on_output: OnOutput | None) -> ExecutionResult:
    async for output in outputs:
        if on_output is not None and type(output).__name__ != "Error":
            await _tell(on_output, output)
    result = outputs.result
    if on_output is not None:
        for gap in result.output_gaps:
            await _tell(on_output, gap)
    return result


async def _tell(handler: OnOutput, output: Output | OutputGap) -> None:
    told = handler(output)
    if inspect.isawaitable(told):
        await told


def _is_missing(result: ExecutionResult) -> bool:
    """Whether the kernel's side is not there."""
    error = result.error
    return error is not None and "KeyError" in error.ename and NAME in error.evalue


def remote_error(told: object) -> RemoteError:
    """Make the error of what the kernel tells of an exception."""
    if not isinstance(told, dict):
        raise ProtocolError("what the kernel tells of an exception can't be understood")
    lines = {name: as_lines(told.get(name)) for name in ("traceback", "notes")}
    return RemoteError(str(told.get("type")), str(told.get("text")), lines["traceback"], lines["notes"])
