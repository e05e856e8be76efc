"""A kernel of the fake that runs real Python, in this process and in virtual time: for what is sent to kernels as source.

Each process of it has modules of its own, so what is installed there is gone with the process. The sources are compiled once for
all of them. It runs what is asked at once: code that waits, or runs on until it is interrupted, is for real kernels.
"""

from __future__ import annotations

import ast
import functools
import inspect
import re
import sys
import types
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any
from unittest import mock

import attrs

from trio_gateway._protocol.messages import Message
from trio_gateway._python import codec, file_side, link, python, transfer
from trio_gateway._python.link import NAME
from trio_gateway.testing import Cell, CellError, FakeComm, FakeKernelSpec
from trio_gateway.testing._cell import Script, run_script
from trio_gateway.testing._engines import Engine

__all__ = ["SCRIPTED", "PythonProcess", "python_spec", "small_pieces"]

SCRIPTED = re.compile(r"\w+ \d+ [\d.]+")
"""Code that is no Python, and for a script."""


@contextmanager
def small_pieces(piece: int) -> Iterator[None]:
    """Have pieces of values small on this side, in bytes, and a window two of them."""
    with (
        mock.patch.object(codec, "PIECE", piece),
        mock.patch.object(file_side, "PIECE", piece),
        mock.patch.object(transfer, "INLINE", piece),
        mock.patch.object(python, "INLINE", piece),
        mock.patch.object(transfer, "WINDOW", 2 * piece),
        mock.patch.object(transfer, "STEP", piece),
    ):
        yield


@functools.cache
def _compiled() -> list[tuple[str, types.CodeType]]:
    return [(part, compile(source, f"<{part}>", "exec")) for part, source in link._SOURCES]


class PythonProcess(Engine):
    """One process.

    Args:
        piece: how large the pieces are that it sends, in bytes; what is no longer is told in the answer itself.
        script: runs code like `name 3 0.5`.
    """

    def __init__(self, piece: int, script: Script | None = None) -> None:
        self._script = script
        self.namespace: dict[str, Any] = {"__name__": "__main__"}
        self._modules: dict[str, Any] = {}
        self._piece = piece

    @property
    def side(self) -> Any:
        """The library's side of it, once it is there."""
        return self._modules.get(f"{NAME}.kernel_side")

    @contextmanager
    def _inside(self) -> Iterator[None]:
        """Have its modules in place of this process' meanwhile."""
        sys.modules.update(self._modules)
        try:
            yield
        finally:
            found = [name for name in sys.modules if name.startswith(NAME)]
            self._modules = {name: sys.modules.pop(name) for name in found}

    def _install(self) -> None:
        """Do what `Link.install` asks for."""
        package = self._modules[NAME] = sys.modules[NAME] = types.ModuleType(NAME)
        package.__path__ = []
        for part, code in _compiled():
            module = types.ModuleType(f"{NAME}.{part}")
            module.__package__ = NAME
            sys.modules[module.__name__] = module
            setattr(package, part, module)
            exec(code, module.__dict__)

    async def run(self, cell: Cell) -> None:
        """Run a cell."""
        if self._script is not None and SCRIPTED.fullmatch(cell.code):
            await run_script(self._script, cell)
            return
        if "'SOURCES'" in cell.code:
            with self._inside():
                self._install()
            self.side._namespace = lambda: self.namespace
            self.side.INLINE = self.side.codec.PIECE = self.side.file_side.PIECE = self._piece
            return
        try:
            with self._inside():
                code = compile(cell.code, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
                made = eval(code, self.namespace)
                if inspect.iscoroutine(made):
                    with suppress(StopIteration):
                        made.send(None)
                        raise AssertionError("what is awaited there has to be there at once")
        except Exception as error:  # noqa: BLE001 - a kernel tells any
            raise CellError(type(error).__name__, str(error)) from None

    def evaluate(self, expression: str) -> Mapping[str, Any]:
        """Evaluate an expression."""
        try:
            with self._inside():
                return {"status": "ok", "data": {"text/plain": repr(eval(expression, self.namespace))}, "metadata": {}}
        except Exception as error:  # noqa: BLE001 - likewise
            return {"status": "error", "ename": type(error).__name__, "evalue": str(error), "traceback": []}

    def close(self) -> None:
        """Close its files, as the system does at its end: what is beside a file stays there."""
        for box in self.side._boxes.values() if self.side is not None else ():
            if getattr(box, "_file", None) is not None:
                box._file.close()

    def open_comm(self, comm: FakeComm, message: Message) -> None:
        """Take a comm of the client's."""
        if self.side is None:
            comm.close()
            return

        class SideComm:
            def on_msg(self, take: Any) -> None:
                comm.on_message = lambda _, message: take({"content": message.content, "buffers": list(message.buffers)})

            def send(self, data: Any, buffers: Any) -> None:
                comm.send(data, buffers=buffers)

        self.side._opened(SideComm(), {"content": message.content})


def python_spec(processes: list[PythonProcess], piece: int, script: Script | None = None) -> FakeKernelSpec:
    """Return a kernelspec whose processes are added to a list; see `PythonProcess` for the others."""

    @attrs.frozen(kw_only=True)
    class Spec(FakeKernelSpec):
        def make_engine(self, environ: Mapping[str, str], pid: int) -> Engine:
            processes.append(PythonProcess(piece, script))
            return processes[-1]

    def open_comm(comm: FakeComm, message: Message) -> None:
        comm._publisher._engine.open_comm(comm, message)  # type: ignore[attr-defined]  # of the kernel that was asked

    return Spec(name="python3", comm_targets={NAME: open_comm})
