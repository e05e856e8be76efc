"""What a run of the tests makes once, though several of its processes may want it at the same moment."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

__all__ = ["locked", "made_once"]


@contextmanager
def locked(folder: Path) -> Iterator[None]:
    """Have a folder to ourselves among all who ask in this way, in whichever process; no file is left, and death ends it."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def made_once(factory: pytest.TempPathFactory, name: str, make: Callable[[Path], object]) -> Path:
    """Return a folder of this run that the first process to ask has furnished; the others wait for it.

    Args:
        factory: the run's temporary folders.
        name: the folder's name.
        make: furnishes the folder. What it raises comes out, and the next who asks tries again.
    """
    base = factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / name  # a worker has one of its own below the run's
    folder.mkdir(exist_ok=True)
    with locked(folder):
        done = folder / ".made"
        if not done.exists():
            make(folder)
            done.touch()
    return folder
