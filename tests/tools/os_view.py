"""What this process holds, from Trio's and from the operating system's side: to see that a block leaves nothing behind (G1)."""

from __future__ import annotations

import contextlib
import os
import tempfile
import threading
from collections.abc import Iterator

import attrs
import psutil
import trio

__all__ = ["Held", "nothing_left_behind"]


@attrs.frozen
class Held:
    """Everything that a block could leave behind. Two of these compare equal if nothing came and nothing went."""

    tasks: frozenset[str]
    """Trio's tasks, system tasks too."""
    sockets: frozenset[str]
    """Open TCP and UDP sockets."""
    files: frozenset[str]
    """Open file descriptors, of files that have no name any more too."""
    children: frozenset[int]
    """Child processes, and theirs."""
    threads: frozenset[str]
    """Threads, but for the idle ones that Trio keeps for a while."""

    @classmethod
    def now(cls) -> Held:
        """Look."""
        this = psutil.Process()
        return cls(
            frozenset(_tasks()),
            frozenset(str(connection[:5]) for connection in this.net_connections("inet")),
            frozenset(_descriptors()),
            frozenset(child.pid for child in this.children(recursive=True)),
            frozenset(thread.name for thread in threading.enumerate() if not thread.name.startswith("Trio thread")),
        )


def _tasks() -> Iterator[str]:
    waiting = [trio.lowlevel.current_root_task()]
    while waiting:
        task = waiting.pop()
        if task is not None:
            yield f"{task.name} {id(task):x}"
            waiting += [child for nursery in task.child_nurseries for child in nursery.child_tasks]


def _descriptors() -> Iterator[str]:
    for name in os.listdir("/proc/self/fd"):  # noqa: PTH208 - psutil does not list files whose name was removed
        with contextlib.suppress(OSError):
            yield f"{name} {os.readlink(f'/proc/self/fd/{name}')}"  # noqa: PTH115


@contextlib.contextmanager
def nothing_left_behind(*, but: str = " ") -> Iterator[None]:
    """Check, after the body and whatever it raised, that this process holds what it held before, and left no temporary file.

    Args:
        but: how the names of tasks begin that may run on: those of a session that was open before, and still is.
    """
    before = Held.now()
    usual = tempfile.tempdir
    with tempfile.TemporaryDirectory(prefix="os-view-") as directory:
        tempfile.tempdir = directory  # other programs, and other tests' gateways, are busy in the usual place
        try:
            yield
        finally:
            tempfile.tempdir = usual
            after = Held.now()
            left = {name: came for name in attrs.asdict(before) if (came := set(getattr(after, name) - getattr(before, name)))}
            left["tasks"] = {name for name in left.get("tasks", ()) if not name.startswith(but)}
            left = {name: came for name, came in left.items() if came}
            if temporary := os.listdir(directory):  # noqa: PTH208
                left["temporary"] = set(temporary)
            assert not left, f"left behind: {left}"
