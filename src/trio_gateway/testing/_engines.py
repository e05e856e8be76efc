"""What runs code in a kernel of the fake: a script, or the tiny Python of `_python`.

The one idea: an engine knows cells and nothing of messages; whatever else a client can ask of a kernel has an answer here that
says "nothing known", which an engine may better.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Final

from ._cell import Cell, Script, run_script

__all__ = ["Engine", "ScriptEngine"]


class Engine:
    """Runs the code of one kernel process. The base class knows nothing of any language."""

    language: ClassVar[str] = "text"
    """The language's name."""
    language_info: ClassVar[Mapping[str, Any]] = {
        "name": "text",
        "version": "1",
        "mimetype": "text/plain",
        "file_extension": ".txt",
    }
    """The language, as a kernel describes it."""

    async def run(self, cell: Cell) -> None:
        """Run a cell to its end. It raises what the code raises, as `run_script` says."""
        raise NotImplementedError

    def complete(self, code: str, cursor_pos: int) -> Mapping[str, Any]:
        """Answer a `complete_request`."""
        del code
        return {"matches": [], "cursor_start": cursor_pos, "cursor_end": cursor_pos, "metadata": {}, "status": "ok"}

    def inspect(self, code: str, cursor_pos: int) -> Mapping[str, Any]:
        """Answer an `inspect_request`."""
        del code, cursor_pos
        return {"found": False, "data": {}, "metadata": {}, "status": "ok"}

    def is_complete(self, code: str) -> Mapping[str, Any]:
        """Answer an `is_complete_request`."""
        del code
        return {"status": "unknown"}

    def evaluate(self, expression: str) -> Mapping[str, Any]:
        """Answer one of an `execute_request`'s `user_expressions`."""
        del expression
        return {"status": "error", "ename": "NotImplementedError", "evalue": "this kernel evaluates nothing", "traceback": []}

    def close(self) -> None:
        """End: the process does."""


class ScriptEngine(Engine):
    """Runs each cell through a script.

    Args:
        script: the script.
    """

    def __init__(self, script: Script) -> None:
        self._script: Final = script

    async def run(self, cell: Cell) -> None:
        """Run a cell to its end."""
        await run_script(self._script, cell)
