"""A notebook's run with a kernel that is faked, a file that records, and threads in virtual time."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import trio

from trio_gateway import (
    DisplayData,
    Error,
    ExecuteResult,
    Stream,
)
from trio_gateway._cli.notebook import NotebookRun
from trio_gateway._cli.notebook_model import LiveNotebook
from trio_gateway._cli.notebook_saver import Saver

from .cli_kit import FakeKernel, notebook_of, texts_of

__all__ = ["BOOM", "ODD_OUTPUTS", "RecordingFile", "Run", "Threads", "nested", "plain"]


BOOM = Error("ValueError", "boom", ("Traceback", "ValueError: boom"))


def plain(text: str) -> dict[str, Any]:
    return {"text/plain": text}


class RecordingFile:
    """Stands for the notebook's file, and notes when it was written and what."""

    def __init__(self, *, is_special: bool = False) -> None:
        self.is_special = is_special
        self.saves: list[tuple[float, list[list[str]]]] = []
        self.failure: Exception | None = None
        self._saved = trio.Event()

    def write(self, content: bytes) -> None:
        if self.failure is not None:
            raise self.failure
        self.saves.append((trio.current_time(), [texts_of(cell) for cell in json.loads(content)["cells"]]))
        self._saved.set()
        self._saved = trio.Event()

    async def saved(self) -> None:
        """Wait for the next save."""
        await self._saved.wait()


class Threads:
    """What stands for threads, which a virtual clock does not wait for: each call is made here and takes so many seconds."""

    def __init__(self) -> None:
        self.seconds = 0.0

    async def run_sync(self, function: Callable[..., Any], *arguments: Any) -> Any:
        with trio.CancelScope(shield=True):  # a thread can't be cancelled
            await trio.sleep(self.seconds)
        return function(*arguments)


class Run:
    """A run with everything around it."""

    def __init__(self, kernel: FakeKernel, *cells: Any, allow_errors: bool = False, file: RecordingFile | None = None) -> None:
        self.kernel: Any = kernel
        self.file: Any = RecordingFile() if file is None else file
        self.warnings: list[str] = []
        self.titles: list[tuple[int, str]] = []
        self.notebook = notebook_of(*cells)
        self.live = LiveNotebook(self.notebook)
        self.saver = Saver(self.live, self.file, self.warnings.append)
        self.run = NotebookRun(self.live, saver=self.saver, renderer=None, allow_errors=allow_errors)

    async def __call__(self) -> None:
        async def work() -> None:
            await self.run.run(self.kernel, lambda number, title: self.titles.append((number, title)))

        await self.saver.beside(work)

    @property
    def final(self) -> list[list[str]]:
        """What the file holds in the end."""
        return self.file.saves[-1][1]


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = {"a": [value]}
    return value


ODD_OUTPUTS: dict[str, tuple[Any, Any]] = {
    "lone surrogate": (Stream("stdout", "a\ud800b"), {"text": ["a\ufffdb"]}),
    "NaN": (
        DisplayData({"application/json": {"x": [1.5, float("nan"), float("inf")]}}),
        {"data": {"application/json": {"x": [1.5, None, None]}}},
    ),
    "null for text": (ExecuteResult(1, {"text/plain": None, "text/html": "<b>"}), {"data": {"text/html": ["<b>"]}}),
    "object for text": (DisplayData({"text/plain": {"a": [1, None]}}), {"data": {"text/plain": ['{"a": [1, null]}']}}),
    "numbers for lines": (DisplayData({"text/plain": ["a", 5]}), {"data": {"text/plain": ["a5"]}}),
    "odd metadata": (DisplayData(plain("x"), {"\ud800": float("nan")}), {"metadata": {"\ufffd": None}}),
    "surrogate for an error": (Error("E\udfff", "v", ("\ud800",)), {"ename": "E\ufffd", "traceback": ["\ufffd"]}),
    "a huge number": (DisplayData({"application/json": 10**400}), {"data": {"application/json": 10**400}}),
}
