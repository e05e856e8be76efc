"""The way into one gateway's block: what every face of that gateway's objects goes through.

The one idea: all that is done with a gateway runs in a nursery inside its own block, so nothing outlives it.
"""

from __future__ import annotations

from collections.abc import Callable
from queue import SimpleQueue
from typing import Final, TypeVar, final

import trio

from .desk import Desk
from .messages import Raised, Returned
from .thread import TrioThread, join_shared_thread, leave_shared_thread

__all__ = ["Portal"]

T = TypeVar("T")


@final
class Portal:
    """The way into one gateway's block, once it was opened: then it uses the shared thread until that block ends."""

    thread: TrioThread
    """The shared thread."""

    def __init__(self) -> None:
        self.nursery: trio.Nursery | None = None
        """Inside the gateway's block while that is open."""
        self.dropped_events = 0
        """How many events were lost on their way out to an event loop."""
        self.desk: Final = Desk()
        """Where threads that wait for this gateway's calls find what else is to be done."""

    def open(self) -> None:
        """Begin to use the shared thread.

        Raises:
            RuntimeError: the interpreter ends.
        """
        self.thread = join_shared_thread(self)

    def close(self) -> None:
        """Use the shared thread no more, whether or not that had begun, and wait for its end if this was its last user.

        For a caller that a signal may have kept from having a block, which does this at its end.
        """
        leave_shared_thread(self)
        if hasattr(self, "thread"):
            self.thread.join()

    def run_sync(self, function: Callable[[], T]) -> T:
        """Call a function that does not wait in Trio's thread and return what it returns: blocks, for microseconds."""
        if self.thread.inside():
            return function()
        answers: SimpleQueue[Returned | Raised] = SimpleQueue()

        def run() -> None:
            try:
                answers.put(Returned(function()))
            except Exception as error:  # noqa: BLE001 - it is raised for the caller
                answers.put(Raised(error))

        self.thread.watch(answers, lambda why: answers.put(Raised(why)))
        try:
            self.thread.post(run)
            answer = answers.get()
        except trio.RunFinishedError:
            return function()  # Trio has ended: no other thread uses these objects any more
        finally:
            self.thread.unwatch(answers)
        if isinstance(answer, Raised):
            raise answer.error
        value: T = answer.value
        return value
