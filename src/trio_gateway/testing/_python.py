"""A tiny Python kernel: real Python, in virtual time, without a process.

The one idea: the code runs in a thread of its own, but never at the same time as Trio: the side that has the baton runs, and the
other waits for it. So a test is as deterministic as with no thread at all, and code that sleeps, asks for input or loops for
ever hands the baton back, waits in Trio's (virtual) time, and can be interrupted there.

Code sees modules of its own for `time`, `sys` and `os`: `time.sleep`, `sys.stdout` and `os._exit` do what they do in a kernel.
What no line of the cell's code interrupts (one long call into C, a loop in an imported module) holds up the test.
"""

from __future__ import annotations

import ast
import builtins
import codeop
import linecache
import os
import rlcompleter
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from types import CodeType, FrameType, ModuleType
from typing import Any, Final

import trio

from ._cell import Cell, CellError, Interrupted
from ._engines import Engine

__all__ = ["TinyPython"]

_LINES_ARE_ENOUGH: Final = sys.version_info >= (3, 12)
_STEPS: Final = 4_000 if _LINES_ARE_ENOUGH else 20_000
"""After so many lines, or instructions, of code without a pause, Trio gets its turn."""
_TICKS: Final = (0.001, 0.05)
"""How long that turn is, in seconds: at first, and at most; it doubles each time."""
_BUFFER: Final = 8 * 1024
"""How many characters of a stream are collected before they are published."""


class _Ended(BaseException):
    """The process ends: thrown into code that still runs."""


class _Baton:
    """A coroutine made of a thread: it runs only while its owner waits for it."""

    def __init__(self) -> None:
        self._go = threading.Semaphore(0)
        self._back = threading.Semaphore(0)
        self._request: Any = None
        self._answer: Any = None
        self._thread: threading.Thread | None = None
        self._job: Callable[[], object] | None = None

    def start(self, job: Callable[[], object]) -> Any:
        """Run a job until it asks for something or ends; return what it asks for, or None at its end."""
        self._job = job
        if self._thread is None:
            self._thread = threading.Thread(target=self._serve, name="trio_gateway.tiny_python", daemon=True)
            self._thread.start()
        return self.go_on(None)

    def go_on(self, answer: Any) -> Any:
        """Answer what it asked for: with a value, or an exception to raise there. Returns as `start`."""
        self._answer = answer
        self._go.release()
        self._back.acquire()
        return self._request

    def ask(self, request: Any) -> Any:
        """In the thread: hand the baton back with a request, and return its answer."""
        self._request = request
        self._back.release()
        self._go.acquire()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer

    def close(self) -> None:
        """End the thread."""
        if self._thread is not None:
            self._job = None
            self._go.release()
            self._thread.join()
            self._thread = None

    def _serve(self) -> None:
        self._go.acquire()
        while (job := self._job) is not None:
            job()
            self._request = None
            self._back.release()
            self._go.acquire()


class _Run:
    """What belongs to one cell that runs: its thread, what it has printed, how it ended."""

    def __init__(self) -> None:
        self.baton = _Baton()
        self.raised: BaseException | None = None
        self.published: list[Callable[[Cell], object]] = []
        self.text: list[str] = []
        self.text_name = ""
        self.size = 0
        self.begin()

    def begin(self) -> None:
        """Begin with another cell."""
        self.raised = None
        self.steps_left = _STEPS
        self.tick = _TICKS[0]


class _Stream:
    """What code sees as `sys.stdout` or `sys.stderr`."""

    encoding = "utf-8"
    errors = "strict"
    closed = False

    def __init__(self, owner: TinyPython, name: str) -> None:
        self._owner = owner
        self.name = f"<{name}>"
        self._kind = name

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._owner.write(self._kind, text)
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        self._owner.flush()

    def isatty(self) -> bool:
        return False

    def writable(self) -> bool:
        return True


class TinyPython(Engine):
    """Runs Python code with `exec`, as a kernel would: streams, the value of the last expression, errors with a traceback.

    Beside Python itself it knows `display(data, display_id=None)` and `clear_output(wait=False)`; no magics, no `await` outside
    of functions.
    """

    language = "python"
    language_info = {  # noqa: RUF012 - as in the base class
        "name": "python",
        "version": ".".join(map(str, sys.version_info[:3])),
        "mimetype": "text/x-python",
        "file_extension": ".py",
        "pygments_lexer": "ipython3",
        "codemirror_mode": {"name": "ipython", "version": 3},
        "nbconvert_exporter": "python",
    }

    def __init__(self, *, environ: Mapping[str, str] | None = None, pid: int = 1) -> None:
        self._now = _Run()
        """Of the cell that runs now: while its thread has the baton, nothing else runs."""
        self._idle = [self._now]
        self._runs = [self._now]
        self._directory = str(Path.cwd())
        self._modules = self._make_modules(dict(environ or {}), pid)
        names = dict(vars(builtins))
        names.update(
            __import__=self._import, print=self._print, input=self._input, open=open, exit=self._quit, quit=self._quit,
            display=self._display, clear_output=self._clear_output,
        )  # fmt: skip
        made = ModuleType("builtins")
        vars(made).update(names)
        self.namespace: dict[str, Any] = {"__name__": "__main__", "__builtins__": made}

    def _make_modules(self, environ: dict[str, str], pid: int) -> dict[str, ModuleType]:
        modules = {}
        for original in (time, sys, os):
            copy = ModuleType(original.__name__)
            vars(copy).update(vars(original))
            modules[original.__name__] = copy
        vars(modules["time"])["sleep"] = self._sleep
        vars(modules["sys"]).update(stdout=_Stream(self, "stdout"), stderr=_Stream(self, "stderr"), argv=[""], path=[*sys.path])
        vars(modules["os"]).update(
            _exit=self._exit, getpid=lambda: pid, kill=self._kill, abort=self._exit, environ=environ, getenv=environ.get
        )
        vars(modules["os"]).update(getcwd=lambda: self._directory, chdir=self._chdir)  # of its own, not this process's
        return modules

    # In the thread ------------------------------------------------------------------------------------------------

    def _import(self, name: str, *args: Any, **kwargs: Any) -> ModuleType:
        return self._modules.get(name) or __import__(name, *args, **kwargs)

    def _chdir(self, path: str) -> None:
        directory = Path(self._directory, path)
        with os.scandir(directory):  # fails as `os.chdir` would
            self._directory = str(directory)

    def _sleep(self, seconds: float) -> None:
        if seconds < 0:
            raise ValueError("sleep length must be non-negative")
        self.flush()
        self._ask(lambda cell: cell.sleep(seconds))

    def _input(self, prompt: object = "") -> str:
        self.flush()
        return str(self._ask(lambda cell: cell.input(str(prompt))))

    def _exit(self, status: int = 0) -> None:
        del status
        self._ask(_crash)

    def _kill(self, pid: int, signal: int) -> None:
        if pid != self._modules["os"].getpid():
            raise ProcessLookupError(3, "No such process")
        if signal == 2:
            raise KeyboardInterrupt
        self._exit()

    def _quit(self, code: object = None) -> None:
        raise SystemExit(code)

    def _ask(self, request: Any) -> Any:
        trace = sys.gettrace()
        sys.settrace(None)
        try:
            return self._now.baton.ask(request)
        finally:
            sys.settrace(trace)

    def _print(
        self, *values: object, sep: str | None = " ", end: str | None = "\n", file: Any = None, flush: bool = False
    ) -> None:
        stdout = self._modules["sys"].stdout
        file = stdout if file is None else file
        file.write((" " if sep is None else sep).join(map(str, values)) + ("\n" if end is None else end))
        if flush:
            file.flush()

    def _display(self, data: object, display_id: str | None = None, *, update: bool = False) -> None:
        self.flush()
        shown = dict(data) if isinstance(data, Mapping) else repr(data)
        self._now.published.append(lambda cell: cell.display(shown, display_id=display_id, update=update))

    def _clear_output(self, *, wait: bool = False) -> None:
        self.flush()
        self._now.published.append(lambda cell: cell.clear_output(wait=wait))

    def write(self, name: str, text: str) -> None:
        """Collect what code writes."""
        run = self._now
        if name != run.text_name:
            self.flush()
            run.text_name = name
        run.text.append(text)
        run.size += len(text)
        if run.size >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        """Hand over what was collected; Trio's side publishes it."""
        run = self._now
        text, name = "".join(run.text), run.text_name
        run.text.clear()
        run.size = 0
        if text:
            run.published.append(lambda cell: cell.stderr(text) if name == "stderr" else cell.stdout(text))

    def _trace(self, frame: FrameType, event: str, arg: object) -> Any:
        """Give Trio its turn now and then, wherever the code is. Only frames of cells are watched."""
        del arg
        if event == "call":
            if not frame.f_code.co_filename.startswith("<cell "):
                return None
            # Before 3.12 a line is reported once, however often it is gone through: `while True: pass` has no second one.
            # Since then each jump back is reported as a line; instructions only where they were asked for before the frame began.
            frame.f_trace_opcodes = not _LINES_ARE_ENOUGH
            frame.f_trace_lines = _LINES_ARE_ENOUGH
            return self._trace
        if event in ("opcode", "line"):
            run = self._now
            run.steps_left -= 1
            if run.steps_left <= 0:
                run.steps_left = _STEPS
                seconds = run.tick
                run.tick = min(2 * seconds, _TICKS[1])
                self.flush()
                run.baton.ask(lambda cell: cell.sleep(seconds))
        return self._trace

    def _execute(self, body: CodeType | None, last: CodeType | None) -> None:
        try:
            sys.settrace(self._trace)
            try:
                if body is not None:
                    exec(body, self.namespace)  # noqa: S102 - this is what a kernel is for
                if last is not None:
                    value = eval(last, self.namespace)  # noqa: S307
                    if value is not None:
                        vars(self.namespace["__builtins__"])["_"] = value
                        shown = repr(value)
                        self.flush()
                        self._now.published.append(lambda cell: cell.result(shown))
            finally:
                sys.settrace(None)
        except BaseException as error:  # noqa: ASYNC103, BLE001 - it is the cell's, and raised where its owner waits
            self._now.raised = error
        self.flush()

    # In Trio ------------------------------------------------------------------------------------------------------

    async def run(self, cell: Cell) -> None:
        """Run a cell to its end."""
        name = f"<cell {cell.execution_count}>"
        try:
            body, last = _compile(cell.code, name)
        except (SyntaxError, ValueError, OverflowError, RecursionError, MemoryError) as error:
            raise _as_cell_error(error) from None
        linecache.cache[name] = (len(cell.code), None, cell.code.splitlines(keepends=True), name)
        if not self._idle:
            self._idle.append(_Run())  # cells of subshells run beside this one
            self._runs += self._idle
        run = self._idle.pop()
        run.begin()
        try:
            await self._drive(cell, run, lambda: self._execute(body, last))
        finally:
            raised, run.raised = run.raised, None
            self._idle.append(run)
        if raised is not None:
            raise _as_cell_error(raised)

    async def _drive(self, cell: Cell, run: _Run, job: Callable[[], object]) -> None:
        self._now = run
        request = run.baton.start(job)
        try:
            while True:
                published, run.published = run.published, []
                for publish in published:
                    publish(cell)
                if request is None:
                    return
                try:
                    answer: Any = await request(cell)
                except Interrupted:
                    answer = KeyboardInterrupt()
                except CellError as error:
                    answer = RuntimeError(error.evalue)
                self._now = run
                request = run.baton.go_on(answer)
        except BaseException:
            self._unwind(run)
            raise

    def _unwind(self, run: _Run) -> None:
        """Let the code run its clean-up and end; it may wait for nothing any more."""
        self._now = run
        for _ in range(1000):
            if run.baton.go_on(_Ended()) is None:
                break
        run.published.clear()

    def close(self) -> None:
        """End the threads. The code that ran in them has been unwound."""
        for run in self._runs:
            run.baton.close()
        for name in [name for name in linecache.cache if name.startswith("<cell ")]:
            del linecache.cache[name]

    # What else can be asked -----------------------------------------------------------------------------------------

    def complete(self, code: str, cursor_pos: int) -> Mapping[str, Any]:
        """Complete a name or an attribute."""
        start = cursor_pos
        while start > 0 and (code[start - 1].isalnum() or code[start - 1] in "_."):
            start -= 1
        text = code[start:cursor_pos]
        completer = rlcompleter.Completer(self.namespace)
        matches: list[str] = []
        with suppress(Exception):  # code of the cell's objects may run
            while (found := completer.complete(text, len(matches))) is not None:
                matches.append(found.rstrip("( "))
        unique = sorted(set(matches)) if text else []
        return {"matches": unique, "cursor_start": start, "cursor_end": cursor_pos, "metadata": {}, "status": "ok"}

    def inspect(self, code: str, cursor_pos: int) -> Mapping[str, Any]:
        """Show the documentation of a name."""
        start = end = cursor_pos
        while start > 0 and (code[start - 1].isalnum() or code[start - 1] == "_"):
            start -= 1
        while end < len(code) and (code[end].isalnum() or code[end] == "_"):
            end += 1
        name = code[start:end]
        value = self.namespace.get(name, vars(builtins).get(name))
        if not name or value is None:
            return super().inspect(code, cursor_pos)
        return {"found": True, "data": {"text/plain": str(value.__doc__)}, "metadata": {}, "status": "ok"}

    def is_complete(self, code: str) -> Mapping[str, Any]:
        """Say whether the code could run as it is."""
        try:
            compiled = codeop.compile_command(code, "<input>", "exec")
        except (SyntaxError, ValueError, OverflowError):
            return {"status": "invalid"}
        if compiled is not None:
            return {"status": "complete"}
        indent = len(code.splitlines()[-1]) - len(code.splitlines()[-1].lstrip())
        return {"status": "incomplete", "indent": " " * (indent + (4 if code.rstrip().endswith(":") else 0))}

    def evaluate(self, expression: str) -> Mapping[str, Any]:
        """Evaluate an expression."""
        try:
            value = eval(expression, self.namespace)  # noqa: S307
        except Exception as error:  # noqa: BLE001 - it is the expression's
            return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}
        return {"status": "ok", "data": {"text/plain": repr(value)}, "metadata": {}}


async def _crash(cell: Cell) -> None:
    cell.crash()
    await trio.lowlevel.checkpoint()


def _compile(code: str, name: str) -> tuple[CodeType | None, CodeType | None]:
    """Compile all but the last expression, and the last expression, whose value is shown."""
    tree = ast.parse(code, name)
    last: CodeType | None = None
    if tree.body and isinstance(tree.body[-1], ast.Expr) and not code.rstrip().endswith(";"):
        expression = tree.body.pop()
        assert isinstance(expression, ast.Expr)
        last = compile(ast.Expression(expression.value), name, "eval")
    return (compile(tree, name, "exec") if tree.body else None), last


def _as_cell_error(error: BaseException) -> CellError:
    """Make the error that a kernel would show, without the frames of ours."""
    trace = error.__traceback__
    while trace is not None and not trace.tb_frame.f_code.co_filename.startswith("<cell "):
        trace = trace.tb_next
    lines = traceback.format_exception(type(error), error, trace)
    return CellError(type(error).__name__, str(error), [line.rstrip("\n") for line in lines])
