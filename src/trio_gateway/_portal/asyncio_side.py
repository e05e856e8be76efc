"""Calls and blocks as asyncio tasks make them: the side of asyncio.

The one idea: the calling task itself waits, and does what is asked of it, so that its context variables, timeouts and cancel
scopes apply. A cancellation is caught, passed on to Trio, and delivered once the clean-up there is over.
"""

from __future__ import annotations

import asyncio
import inspect
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from functools import partial
from types import TracebackType
from typing import Any, TypeVar, final

import anyio
import anyio.lowlevel
import trio

from .._transport.blocks import OnlyAsyncWith
from .calls import LOOK_AFTER, Block, Call
from .messages import NOBODY, Asked, Entered, Last, Message, Raised, Returned, Withdrawn, closed, swallowed, value_of
from .portal import Portal
from .prefetch import Reading, forget, have_readers_answer
from .thread import check_loop

__all__ = ["Crossing", "LoopCaller", "PortalCrossing", "call", "run_in_loop", "take"]

T = TypeVar("T")


@final
class LoopCaller:
    """A task of the running event loop that waits for messages."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._messages: deque[Message] = deque()
        self._waiter: asyncio.Future[None] | None = None
        self._answering: tuple[Asked, asyncio.Timeout] | None = None
        self.unheard: Last | None = None
        """The last message, where it came when the caller was cancelled already."""

    def deliver(self, message: Message | Withdrawn) -> bool:
        """Wake the task with a message; from any thread."""
        try:
            self._loop.call_soon_threadsafe(self._take, message)
        except RuntimeError:  # the loop was closed
            return False
        return True

    def _take(self, message: Message | Withdrawn) -> None:
        if isinstance(message, Withdrawn):
            self._withdraw(message.asked)
            return
        self._messages.append(message)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def _withdraw(self, asked: Asked) -> None:
        """Stop answering a question, or don't begin."""
        if self._answering is not None and self._answering[0] is asked:
            self._answering[1].reschedule(self._loop.time())
        elif asked in self._messages:
            self._messages.remove(asked)
            asked.answer(Raised(closed()))

    async def _next(self) -> Message:
        while not self._messages:
            self._waiter = self._loop.create_future()
            await self._waiter
        return self._messages.popleft()

    async def converse(self, cancel: Callable[[], None]) -> Entered | Last:
        """Do what is asked until it was entered or has ended.

        Args:
            cancel: cancels in Trio; the last message comes all the same.

        Cancellation: waits for the last message.
        """
        try:
            message = await self._next()
            while isinstance(message, Asked):
                message.answer(await self._answer(message))
                message = await self._next()
        except GeneratorExit:  # the coroutine is thrown away, and its task waits no more
            cancel()
            raise
        except BaseException as error:
            cancel()
            # Shielded, and bounded by the limits of the clean-up in Trio.
            latest = await self.settle(error)  # noqa: ASYNC102
            if latest is not error:
                raise latest from None  # noqa: ASYNC104 - a later cancellation
            raise
        return message

    async def _answer(self, asked: Asked) -> Returned | Raised:
        """Call what is to be called, and await what it gives, as long as somebody waits for that."""
        # It has no limit, but can be given one: this cancels once, as asyncio's functions expect it, where anyio's scopes go on.
        timeout = asyncio.timeout(None)
        try:
            async with timeout:
                self._answering = asked, timeout
                try:
                    return await _answer(asked)
                finally:
                    self._answering = None
        except TimeoutError:
            return Raised(closed())

    async def settle(self, error: BaseException) -> BaseException:
        """Wait for the last message, however often the task is cancelled meanwhile; give the latest cancellation."""
        with anyio.CancelScope(shield=True):  # from anyio's cancellation, which comes again and again
            while self.unheard is None:
                try:
                    message = await self._next()
                    if not isinstance(message, (Entered, Asked)):
                        self.unheard = message
                except asyncio.CancelledError as again:  # noqa: ASYNC103 - it is raised by our caller
                    error = again
        return error


async def _answer(asked: Asked) -> Returned | Raised:
    try:
        found = asked.function(*asked.args)
        return Returned(await found if inspect.isawaitable(found) else found)
    except Exception as error:  # noqa: BLE001 - it is raised where the answer is awaited
        return Raised(error)


async def call(
    portal: Portal, function: Callable[[], Awaitable[Any]], *, undo: Callable[[Any], Awaitable[object]] | None = None
) -> Any:
    """Call an async function of Trio's and wait for what comes of it.

    Args:
        portal: the way into its gateway's block.
        function: the function, with its arguments.
        undo: an async function of Trio's that takes back what it gave, where the caller was cancelled before it could be had.

    Raises:
        Exception: what the function raised.
        trio.ClosedResourceError: the gateway's block has ended.
        ForkedProcessError: this process was forked off inside the gateway's block.

    Cancellation: cancels in Trio, and waits for the clean-up there.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    caller = LoopCaller()
    crossing = Call(portal, function, caller)
    crossing.start()
    try:
        return value_of(await caller.converse(crossing.cancel))
    except BaseException as error:
        if undo is not None and isinstance(caller.unheard, Returned):
            undoing = LoopCaller()
            Call(portal, partial(undo, caller.unheard.value), undoing).start()
            latest = await undoing.settle(error)  # noqa: ASYNC102, ASYNC120 - shielded, and bounded by the limits of the clean-up in Trio
            if latest is not error:
                raise latest from None  # noqa: ASYNC104 - a later cancellation
        raise


async def take(portal: Portal, reading: Reading[T]) -> T:
    """Take the next item of a reading, and cross into Trio only if none was handed over.

    Raises:
        Exception: why there is none.

    Cancellation: no item is lost.
    """
    await anyio.lowlevel.checkpoint_if_cancelled()
    while True:
        portal.thread.check_process()  # what was handed over is the parent's too
        try:
            return reading.pop()
        except IndexError:
            pass
        try:
            await call(portal, reading.fill)
        except BaseException:
            reading.give_up(portal)
            raise


class Crossing(OnlyAsyncWith, AbstractAsyncContextManager[T]):
    """A context manager of Trio's, for an asyncio task. Can be entered once.

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
        self._given: T | None = None

    async def __aenter__(self) -> T:
        if self._block is not None:
            raise RuntimeError("this block was entered before")
        await anyio.lowlevel.checkpoint_if_cancelled()
        caller = LoopCaller()
        try:
            self._block = block = self._open(caller)
            block.enter()
        except BaseException:  # a signal that the event loop does not take for itself
            self._abandon()
            raise
        message = await caller.converse(lambda: block.leave(caller, asyncio.CancelledError()))
        if not isinstance(message, Entered):
            self._ended()
        self._given = self._translate(self._portal, value_of(message))
        have_readers_answer(self._given, block.questions)
        return self._given

    def _open(self, caller: LoopCaller) -> Block:
        return Block(self._portal, self._manager, caller, helper=_LoopHelper(asyncio.get_running_loop()))

    def _abandon(self) -> None:
        """Leave the block without waiting for anything, if it was begun."""
        if self._block is not None:
            self._block.leave(NOBODY, asyncio.CancelledError())

    def _ended(self) -> None:
        """Take note that the block has ended."""
        forget(self._given)

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> bool:
        assert self._block is not None
        if self._block.foreign(error):
            return False
        if isinstance(error, GeneratorExit):  # nothing can be awaited; it ends by itself
            self._block.leave(NOBODY, error)
            return False
        caller = LoopCaller()
        self._block.leave(caller, error)
        try:
            message = await caller.converse(self._block.cancel)  # noqa: ASYNC102 - bounded in Trio
        finally:
            self._ended()
        return swallowed(message, error, traceback)


@final
class PortalCrossing(Crossing[T]):
    """The block of a gateway, for an asyncio task: entering it opens a portal.

    Args:
        opener: opens the gateway.
        translate: what to give for the gateway.
    """

    def __init__(
        self, opener: Callable[[Portal], AbstractAsyncContextManager[Any]], translate: Callable[[Portal, Any], T]
    ) -> None:
        self._portal = Portal()
        self._opener = opener
        self._translate = translate
        self._block = None
        self._given = None

    def _open(self, caller: LoopCaller) -> Block:
        loop = asyncio.get_running_loop()
        check_loop(loop)
        portal = self._portal
        portal.open()
        return Block(portal, self._opener(portal), caller, outermost=True, gone=loop.is_closed)

    def _abandon(self) -> None:
        if self._block is None:
            self._portal.close()
        super()._abandon()

    def _ended(self) -> None:
        self._portal.thread.join()


async def run_in_loop(
    loop: asyncio.AbstractEventLoop, function: Callable[..., object], *args: object, waits_for_end: bool = False
) -> object:
    """Call a function in an event loop, and await what it gives, in a task of its own. In Trio.

    Args:
        loop: the event loop.
        function: the function.
        args: its arguments.
        waits_for_end: whether it is waited for when it was cancelled.

    Raises:
        RuntimeError: the loop was closed.
        Exception: what the function raised.
        asyncio.CancelledError: its task was cancelled in the loop.

    Cancellation: cancels the task.
    """
    answers: list[Returned | Raised] = []
    answered = trio.Event()
    token = trio.lowlevel.current_trio_token()
    tasks: list[asyncio.Task[Returned | Raised]] = []

    def take(answer: Returned | Raised) -> None:
        answers.append(answer)
        answered.set()

    def ended(task: asyncio.Task[Returned | Raised]) -> None:
        stopped = task.cancelled() or task.exception() is not None  # the latter is a signal's, which the loop has raised
        with suppress(trio.RunFinishedError):
            token.run_sync_soon(take, Raised(asyncio.CancelledError()) if stopped else task.result())

    def begin() -> None:
        tasks.append(loop.create_task(_answer(Asked("", function, args, take))))
        tasks[0].add_done_callback(ended)  # it comes also of a task that was cancelled before it had begun

    loop.call_soon_threadsafe(begin)  # in a copy of this task's context
    try:
        await answered.wait()
    except trio.Cancelled:
        with suppress(RuntimeError):
            loop.call_soon_threadsafe(lambda: [task.cancel() for task in tasks])
        if waits_for_end:
            with trio.CancelScope(shield=True):
                while not (answered.is_set() or loop.is_closed()):
                    with trio.move_on_after(LOOK_AFTER):
                        await answered.wait()
        raise
    answer = answers[0]
    if isinstance(answer, Raised):
        raise answer.error
    return answer.value


@final
class _LoopHelper:
    """Has functions called in tasks of their own, in the event loop in which a block was entered.

    Args:
        loop: the event loop.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop

    async def call(self, name: str, function: Callable[[], object]) -> Any:
        """Call a function, and await what it gives. In Trio.

        Cancellation: cancels the task, and waits for its end.
        """
        del name
        try:
            return await run_in_loop(self._loop, function, waits_for_end=True)
        except asyncio.CancelledError:
            raise RuntimeError("the function was cancelled") from None  # noqa: ASYNC104 - it is no cancellation of this task
