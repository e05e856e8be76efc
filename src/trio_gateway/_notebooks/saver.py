"""Keeps a notebook's file close behind the notebook.

The one idea: saving follows changes, at once when there was nothing to save for a while, and never takes more than a share of the
time, however large the notebook grows.
"""

from __future__ import annotations

import os
import tempfile
import threading
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from typing import Final, TypeVar

import trio

from .._errors import InvalidInputError
from .._services import alongside
from .._threads import run_sync
from .document import Document
from .file import NotebookFile
from .writing import pieces_of

__all__ = ["Saver", "stop_savers"]

_T = TypeVar("_T")

_INTERVAL: Final = 2.0  # seconds between two saves while a cell runs
_LAST_SAVE: Final = 1.0  # seconds that quitting at once waits for a save that is being made
_REST: Final = 9  # times as long as a save took, none is made


class Saver:
    """Saves a notebook to its file: as it changes, after each cell, and at the end.

    A device or a pipe is written to at the end only.

    Args:
        notebook: what to save.
        file: where to.
        warn: told when a save fails, which does not end the run.
        on_saved: told after each save, in Trio's thread.
    """

    def __init__(
        self,
        notebook: Document,
        file: NotebookFile,
        warn: Callable[[str], None],
        on_saved: Callable[[], object] = lambda: None,
    ) -> None:
        self._notebook = notebook
        self._file = file
        self._warn = warn
        self._on_saved = on_saved
        self._warned = False
        self._changed = trio.Event()
        self._resting_until = 0.0
        self._saving = trio.Lock()
        # For a save that can't wait as Trio waits: the save that gets this lock later writes what is newer.
        self._lock = threading.Lock()

    async def beside(self, work: Callable[[], Awaitable[_T]]) -> _T:
        """Do the work, save while it lasts, and save what is left at its end, however it ends.

        Raises:
            InvalidInputError: the work ended well, and the file can't be written. If it ended otherwise, this is a warning. In
                both cases the notebook is saved in the folder for temporary files, if it can be, and a warning says where.
            Exception: what the work raises.

        Cancellation: reaches the work.
        """
        try:
            result = await alongside(self._keep_saving, work)
        except BaseException:
            with suppress(InvalidInputError):
                self._save_last()
            raise
        self._save_last()
        return result

    def changed(self) -> None:
        """Note that there is something to save."""
        self._changed.set()

    def hurry(self) -> None:
        """Save before anything else happens, as far as the file allows it: somebody may be about to kill this process."""
        if not self._file.is_special:
            self._save_or_warn()

    def stop(self, seconds: float = _LAST_SAVE) -> None:
        """Let a save that is being made come to its end, and make no other: this process quits at once.

        Args:
            seconds: how long to wait for it at most.
        """
        self._lock.acquire(timeout=seconds)

    async def save_soon(self) -> None:
        """Save what has changed, now, or later if saving has taken too much of the time.

        Cancellation: a save that has begun is finished.
        """
        if self._saving.locked() or self._file.is_special or trio.current_time() < self._resting_until:
            await trio.lowlevel.checkpoint()
        else:
            await self._save()

    async def _keep_saving(self) -> None:
        if self._file.is_special:
            await trio.sleep_forever()
        while True:
            await self._changed.wait()
            await self._save()
            await trio.sleep_until(max(trio.current_time() + _INTERVAL, self._resting_until))

    async def _save(self) -> None:
        async with self._saving:
            if not self._changed.is_set():  # saved in the meantime
                return
            began = trio.current_time()
            self._changed = trio.Event()
            notebook = self._notebook.current()
            try:
                await run_sync(self._write, notebook)
            except InvalidInputError as error:
                self._failed(error)
            else:
                self._on_saved()
            now = trio.current_time()
            self._resting_until = now + _REST * (now - began)

    def _save_or_warn(self) -> None:
        try:
            self._save_all()
        except InvalidInputError as error:
            self._failed(error)

    def _save_last(self) -> None:
        """Save what the run has come to, elsewhere if need be: hours of work may be in it, and it is nowhere else."""
        try:
            self._save_all()
        except InvalidInputError as error:
            notebook = self._notebook.current()
            try:
                descriptor, name = tempfile.mkstemp(prefix=f"{self._file.path.stem[:50]}-", suffix=".ipynb")
                with os.fdopen(descriptor, "wb") as file:
                    file.writelines(pieces_of(notebook))
            except OSError as another:
                self._warn(f"{error}; nor can it be saved in {tempfile.gettempdir()}: {another.strerror}")
            else:
                self._warn(f"{error}; it was saved as {name} instead")
            raise

    def _save_all(self) -> None:
        self._write(self._notebook.current())
        self._on_saved()

    def _failed(self, error: InvalidInputError) -> None:
        self._changed.set()
        if not self._warned:
            self._warned = True
            self._warn(str(error))

    def _write(self, notebook: object) -> None:
        with self._lock:
            self._file.write(pieces_of(notebook))


def stop_savers(savers: Iterable[Saver]) -> None:
    """Stop several savers, as `stop` does: one second for all of them together."""
    end = time.monotonic() + _LAST_SAVE  # noqa: TID251 - threads write, and this blocks
    for saver in savers:
        saver.stop(max(end - time.monotonic(), 0.0))  # noqa: TID251
