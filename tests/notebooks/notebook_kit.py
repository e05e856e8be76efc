"""A notebook's run with a kernel that is faked, and a file that records."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Any

import trio

from tools.notebook_tools import notebook_of, texts_of
from trio_gateway import DisplayData, Error, ExecuteResult, OutputGap, Stream
from trio_gateway._notebooks.document import Document
from trio_gateway._notebooks.engine import Engine
from trio_gateway._notebooks.event_queue import Nobody
from trio_gateway._notebooks.events import CellOutput, RunEvent
from trio_gateway._notebooks.options import NotebookJob, RunOptions
from trio_gateway._notebooks.results import NotebookRun
from trio_gateway._notebooks.saver import Saver

__all__ = ["BOOM", "ODD_OUTPUTS", "Reader", "RecordingFile", "Run", "nested", "plain"]


BOOM = Error("ValueError", "boom", ("Traceback", "ValueError: boom"))


def plain(text: str) -> dict[str, Any]:
    return {"text/plain": text}


class RecordingFile:
    """Stands for the notebook's file, and notes when it was written and what."""

    def __init__(self, *, is_special: bool = False) -> None:
        self.path = Path("recorded.ipynb")
        self.is_special = is_special
        self.saves: list[tuple[float, list[list[str]]]] = []
        self.failure: Exception | None = None
        self._saved = trio.Event()

    def write(self, content: Iterable[bytes]) -> None:
        if self.failure is not None:
            raise self.failure
        self.saves.append((trio.current_time(), [texts_of(cell) for cell in json.loads(b"".join(content))["cells"]]))
        self._saved.set()
        self._saved = trio.Event()

    async def saved(self) -> None:
        """Wait for the next save."""
        await self._saved.wait()


class Reader(Nobody):
    """Reads a run's events as they come, and does with each what it is told to."""

    def __init__(self) -> None:
        self.events: list[RunEvent] = []
        self.show: Callable[[Any], Awaitable[object]] | None = None

    async def put(self, event: RunEvent) -> None:
        await trio.lowlevel.checkpoint()
        self.events.append(event)
        if self.show is not None and isinstance(event, CellOutput):
            await self.show(event.output)


class Run:
    """A run with everything around it."""

    def __init__(self, kernel: Any, *cells: Any, file: Any = None, **settings: Any) -> None:
        self.kernel: Any = kernel
        self.file: Any = RecordingFile() if file is None else file
        self.warnings: list[str] = []
        self.document = Document(notebook_of(*cells), settings.get("max_output_bytes"))
        self.saver = Saver(self.document, self.file, self.warnings.append)
        self.reader = Reader()
        self._settings = settings

    async def __call__(self) -> NotebookRun:
        self.engine = Engine(
            self.document,
            RunOptions(**self._settings),
            job=NotebookJob({}),
            name="n.ipynb",
            saver=self.saver,
            listener=self.reader,
        )
        self.result = await self.engine.run(self.kernel)
        return self.result

    @property
    def gaps(self) -> list[tuple[int, tuple[OutputGap, ...]]]:
        """The gaps of the cells that have some."""
        return [(cell.number, cell.output_gaps) for cell in self.engine.cells if cell.output_gaps]

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
