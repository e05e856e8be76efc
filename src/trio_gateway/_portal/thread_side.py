"""Calls and blocks as plain threads make them: the side of the blocking face.

The one idea: the calling thread itself waits, and does what is asked of it. What a signal raises in it, such as
KeyboardInterrupt, is caught, cancels the call in Trio, and goes on once the clean-up there is over. So is the end of a time limit
around it (see `deadlines`).
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, AbstractContextManager, suppress
from functools import partial
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import Any, Final, TypeVar, final

import trio

from .._errors import InvalidInputError
from .._transport.blocks import OnlyWith
from .calls import Block, Call
from .deadlines import Cancelled, check_limits, seconds_left, waking
from .desk import Desk
from .messages import Asked, Entered, Last, Message, Raised, Returned, Stopped, Withdrawn, closed, swallowed, value_of
from .portal import Portal
from .prefetch import Reading, forget, have_readers_answer

__all__ = ["BlockingCrossing", "BlockingPortalCrossing", "ThreadCaller", "block_on", "take_blocking"]

T = TypeVar("T")

SIGNAL_SECONDS: Final = 0.5
"""How long one wait of the main thread lasts, in seconds. A signal that comes after Python has looked for signals, and before the
thread sleeps, interrupts no sleep: it is raised when the wait is over, so that none may last for ever."""


@final
class ThreadCaller:
    """A thread that waits for messages. A signal may come at any moment, and none is lost by it.

    Args:
        desk: where it looks what else is to be done while it waits.
    """

    def __init__(self, desk: Desk | None = None) -> None:
        self.thread: Final = threading.get_ident()
        self._desk = Desk() if desk is None else desk
        self._arrived: list[Message] = []
        self._withdrawn: list[Asked] = []
        self._wake: SimpleQueue[None] = SimpleQueue()

    def deliver(self, message: Message | Withdrawn) -> bool:
        """Wake the thread with a message; from any thread. A function that is being called can't be stopped."""
        if isinstance(message, Withdrawn):
            self._withdrawn.append(message.asked)
            return True
        self._arrived.append(message)
        self._wake.put(None)
        return True

    def wake(self) -> None:
        """Have it look again what there is to do."""
        self._wake.put(None)

    @property
    def last(self) -> Message | None:
        """What came last."""
        return self._arrived[-1] if self._arrived else None

    def converse(self, start: Callable[[], None], cancel: Callable[[], None]) -> Entered | Last:
        """Start it, and do what is asked until it was entered or has ended.

        Args:
            start: starts it.
            cancel: cancels it; the last message comes all the same.

        Raises:
            BaseException: what a signal raised; waits for the last message first.
            Cancelled: the time around it has passed, and so it was cancelled; waits for the last message first.
        """
        if seconds_left() is None:
            return self._converse(start, cancel)
        with waking(lambda: self._wake.put(None)):
            try:
                last = self._converse(start, cancel)
            except Cancelled:
                latest = self._arrived[-1]
                if not isinstance(latest, (Returned, Raised)):  # else it was faster
                    raise
                last = latest
            if isinstance(last, Stopped):
                check_limits()
            return last

    def _converse(self, start: Callable[[], None], cancel: Callable[[], None]) -> Entered | Last:
        seen = 0
        try:
            start()
            while True:
                self._wait_for_more(seen)
                message = self._arrived[seen]
                seen += 1
                if not isinstance(message, Asked):
                    return message
                message.answer(Raised(closed()) if message in self._withdrawn else _answer(message))
        except BaseException:
            self.settle(cancel)
            raise

    def _wait_for_more(self, seen: int) -> None:
        """Wait until more has arrived than was seen, and do what else is to be done meanwhile."""
        try:
            while len(self._arrived) == seen:
                self._desk.join(self)
                if seconds_left() == 0 or not self._help():
                    self._wait()
        finally:
            self._desk.leave(self)

    def _help(self) -> bool:
        """Answer a question that no call has asked, if there is one."""
        asked: Asked | None = None
        try:
            asked = self._desk.take(self)
            if asked is None:
                return False
            self._desk.leave(self)  # meanwhile others may do what else comes
            asked.answer(_answer(asked))
        except BaseException:  # a signal, or the end of a limit: of this thread, and not of who asks
            if asked is not None:
                asked.answer(Raised(RuntimeError("the client was interrupted while it ran this function")))
            raise
        return True

    def _wait(self) -> None:
        """Wait until something arrives, or until the time around it has passed."""
        left = seconds_left()
        if left == 0:
            raise Cancelled
        if threading.current_thread() is threading.main_thread():  # the only one that signals are raised in
            left = SIGNAL_SECONDS if left is None else min(left, SIGNAL_SECONDS)
        with suppress(Empty):
            self._wake.get(timeout=left)

    def settle(self, cancel: Callable[[], None]) -> None:
        """Cancel, and wait for the last message, however often a signal comes meanwhile. It is bounded in Trio."""
        while True:
            try:
                cancel()
                while True:
                    for message in self._arrived:
                        if not isinstance(message, (Entered, Asked)):
                            return
                    self._wake.get()
            except KeyboardInterrupt:
                continue


def _answer(asked: Asked) -> Returned | Raised:
    try:
        found = asked.function(*asked.args)
        if inspect.iscoroutine(found):
            found.close()
            kind = "iterable" if asked.name == "jobs" else "function"
            raise InvalidInputError(asked.name, f"an async {kind}", f"a plain {kind}: nothing awaits it here")
        return Returned(found)
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
        return Raised(error)


@final
class _ThreadHelper:
    """Has functions called by a thread that waits for a call: by that which has entered the block, if it does.

    Args:
        portal: the way into its gateway's block.
        thread: the thread.
    """

    def __init__(self, portal: Portal, thread: int) -> None:
        self._portal = portal
        self._thread = thread
        self._closed = False

    def close(self) -> None:
        """Have nothing called any more: the block is left."""
        self._closed = True

    async def call(self, name: str, function: Callable[[], object]) -> Any:
        """Call a function. In Trio.

        Cancellation: it is not called, if that had not begun; else it runs on, and what comes of it is ignored.
        """
        answers: list[Returned | Raised] = []
        answered = trio.Event()

        def take(answer: Returned | Raised) -> None:
            answers.append(answer)
            answered.set()

        def answer(answer: Returned | Raised) -> None:
            with suppress(trio.RunFinishedError):  # then nobody waits for it
                self._portal.thread.post(take, answer)

        def run() -> object:
            if self._closed:
                raise RuntimeError("the client leaves the block")
            return function()

        asked = Asked(name, run, (), answer)
        self._portal.desk.put(asked, self._thread)
        try:
            await answered.wait()
        finally:
            self._portal.desk.take_back(asked)
        first = answers[0]
        if isinstance(first, Raised):
            raise first.error
        return first.value


def _check_outside(portal: Portal) -> None:
    portal.thread.check_process()
    if portal.thread.inside():
        raise RuntimeError(
            "this is called in Trio's own thread, by on_event or a connector for instance, which would wait for itself for ever"
        )


def block_on(
    portal: Portal, function: Callable[[], Awaitable[Any]], *, undo: Callable[[Any], Awaitable[object]] | None = None
) -> Any:
    """Call an async function of Trio's and block until it is done.

    Args:
        portal: the way into its gateway's block.
        function: the function, with its arguments.
        undo: an async function of Trio's that takes back what it gave, where a signal came before it could be had.

    Raises:
        Exception: what the function raised.
        KeyboardInterrupt: Ctrl-C; the call is cancelled in Trio, and its clean-up was waited for.
        Cancelled: so it is where the time around it has passed.
        trio.ClosedResourceError: the gateway's block has ended.
        ForkedProcessError: this process was forked off inside the gateway's block.
        RuntimeError: this is Trio's own thread.
    """
    _check_outside(portal)
    caller = ThreadCaller(portal.desk)
    crossing = Call(portal, function, caller, cancelled=seconds_left() == 0)
    try:
        return value_of(caller.converse(crossing.start, crossing.cancel))
    except BaseException:
        last = caller.last
        if undo is not None and isinstance(last, Returned):
            undoing = ThreadCaller()
            taken_back = Call(portal, partial(undo, last.value), undoing)
            taken_back.start()
            undoing.settle(lambda: None)
        raise


def take_blocking(portal: Portal, reading: Reading[T]) -> T:
    """Take the next item of a reading, and cross into Trio only if none was handed over.

    Raises:
        Exception: why there is none.
        KeyboardInterrupt: Ctrl-C. No item that a crossing brought is lost by it.
        Cancelled: the time around it has passed. Nor by this.
    """
    while True:
        check_limits()
        portal.thread.check_process()  # what was handed over is the parent's too
        with suppress(IndexError):
            return reading.pop()
        try:
            block_on(portal, reading.fill)
        except BaseException:
            reading.give_up(portal)
            raise


class BlockingCrossing(OnlyWith, AbstractContextManager[T]):
    """A context manager of Trio's, for a thread. Can be entered once.

    Args:
        portal: the way into its gateway's block.
        manager: the context manager.
        translate: what to give for what it gives.
    """

    def __init__(self, portal: Portal, manager: AbstractAsyncContextManager[Any], translate: Callable[[Portal, Any], T]) -> None:
        self._opened_by = getattr(manager, "_opened_by", "")
        self._portal = portal
        self._manager = manager
        self._translate = translate
        self._block: Block | None = None
        self._helper: _ThreadHelper | None = None
        self._given: T | None = None

    def __enter__(self) -> T:
        if self._block is not None:
            raise RuntimeError("this block was entered before")
        check_limits()
        caller = ThreadCaller(self._portal.desk)
        try:
            self._block = block = self._open(caller)
            message = caller.converse(block.enter, lambda: block.leave(caller, KeyboardInterrupt()))
        except BaseException:
            self._ended()
            raise
        if not isinstance(message, Entered):
            self._ended()
        if isinstance(message, Returned):
            raise Cancelled  # it was entered when the time had passed, and left again
        self._given = self._translate(self._portal, value_of(message))
        have_readers_answer(self._given, block.questions)
        return self._given

    def _open(self, caller: ThreadCaller) -> Block:
        _check_outside(self._portal)
        self._helper = _ThreadHelper(self._portal, caller.thread)
        return Block(self._portal, self._manager, caller, helper=self._helper)

    def _ended(self) -> None:
        """Take note that the block has ended."""
        forget(self._given)

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> bool:
        block = self._block
        assert block is not None
        if block.foreign(error):
            return False
        if self._helper is not None:
            self._helper.close()
        caller = ThreadCaller(self._portal.desk)
        try:
            message = caller.converse(lambda: block.leave(caller, error), lambda: block.leave(caller, KeyboardInterrupt()))
        finally:
            self._ended()
        return swallowed(message, error, traceback)


@final
class BlockingPortalCrossing(BlockingCrossing[T]):
    """The block of a gateway, for a thread: entering it opens a portal.

    Args:
        manager: opens the gateway.
        translate: what to give for the gateway.
    """

    def __init__(self, manager: AbstractAsyncContextManager[Any], translate: Callable[[Portal, Any], T]) -> None:
        super().__init__(Portal(), manager, translate)

    def _open(self, caller: ThreadCaller) -> Block:
        self._portal.open()
        return Block(self._portal, self._manager, caller, outermost=True)

    def _ended(self) -> None:
        self._portal.close()  # a signal may have come before the block began
