"""One call, and one block, that cross into Trio: what happens of them in Trio's thread.

The one idea: each has a task in Trio with a cancel scope, and a caller outside of Trio who waits for messages. A caller that is
cancelled cancels the scope here and goes on waiting for the last message: so clean-up is waited for, as it is in Trio.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, contextmanager, suppress
from contextvars import ContextVar, copy_context
from functools import partial, wraps
from typing import Any, Final, Protocol, final

import attrs
import trio

from .messages import Asked, Caller, Entered, Last, Raised, Returned, Stopped, Withdrawn, closed
from .portal import Portal
from .thread import leave_shared_thread

__all__ = ["LOOK_AFTER", "Block", "Call", "Helper", "Questions", "asking", "beside"]

LOOK_AFTER: Final = 1.0
"""How often to look whether a caller's event loop was closed under it, in seconds: nothing tells of that."""


@final
class Call:
    """A call of an async function.

    Args:
        portal: the way into its gateway's block.
        function: the function, with its arguments.
        caller: waits for what comes of it.
        cancelled: whether it is cancelled from the first: it comes as far as its first checkpoint.
    """

    def __init__(
        self, portal: Portal, function: Callable[[], Awaitable[object]], caller: Caller, *, cancelled: bool = False
    ) -> None:
        self._cancelled = cancelled
        self._portal = portal
        self._function = function
        self._caller = caller
        self._scope = trio.CancelScope()
        self._begun = False

    def start(self) -> None:
        """Start it, with the context variables of here and now."""
        context = copy_context()

        def begin() -> None:
            nursery = self._portal.nursery
            self._begun = True
            if nursery is None:
                self._end(Raised(closed()))
            else:
                if self._cancelled:
                    self._scope.cancel(reason="its caller was cancelled before")
                context.run(nursery.start_soon, self._run)

        self._portal.thread.watch(self, lambda why: self._end(Raised(why)))
        try:
            self._portal.thread.post(begin)
        except trio.RunFinishedError:
            self._end(Raised(closed()))

    def _end(self, last: Last) -> None:
        self._portal.thread.unwatch(self)
        self._caller.deliver(last)

    def cancel(self) -> None:
        """Cancel it. Its last message still comes, also if a signal was faster than its start."""

        def cancel() -> None:
            self._scope.cancel(reason="its caller was cancelled")
            if not self._begun:
                self._end(Stopped())

        with suppress(trio.RunFinishedError):  # then it has ended
            self._portal.thread.post(cancel)

    async def ask(self, question: _Question) -> None:
        """Have the caller answer a question. In the call's own task, or one that it has started.

        Cancellation: the caller stops answering it, if it can, and what it answers is ignored.
        """
        if not question.put_to(self._caller, self._portal):
            self._scope.cancel(reason="its caller is gone")
        await question.wait_answered()

    async def _run(self) -> None:
        last: Last = Raised(closed())  # unless it comes to an end of its own
        _current.set(self)
        try:
            with self._scope:
                last = Returned(await self._function())
            if self._scope.cancelled_caught:
                last = Stopped()
        except BaseException as error:  # noqa: ASYNC103 - it is raised for the caller
            if _is_cancellation(error):
                raise
            last = Raised(error)
        finally:
            self._end(last)


def _is_cancellation(error: BaseException) -> bool:
    """Whether it is Trio's cancellation and nothing else: of what a nursery holds, a group of them."""
    return isinstance(error, trio.Cancelled) or (isinstance(error, BaseExceptionGroup) and error.split(trio.Cancelled)[1] is None)


@attrs.define(eq=False)
class _Question:
    """A function of the caller's that a task in Trio wants called."""

    name: str
    function: Callable[..., object]
    args: tuple[object, ...]
    answer: Returned | Raised | None = None
    answered: trio.Event = attrs.field(factory=trio.Event)
    withdrawn: bool = False
    _put: tuple[Caller, Asked] | None = None

    def put_to(self, caller: Caller, portal: Portal) -> bool:
        """Have a caller call it, and await what it gives; say whether the caller is there."""

        def take(answer: Returned | Raised) -> None:
            self.answer = answer
            self.answered.set()

        def answer(answer: Returned | Raised) -> None:
            with suppress(trio.RunFinishedError):  # then nobody waits for it
                portal.thread.post(take, answer)

        asked = Asked(self.name, self.function, self.args, answer)
        self._put = caller, asked
        return caller.deliver(asked)

    async def wait_answered(self) -> None:
        """Wait for the answer of the caller that it was put to.

        Cancellation: that caller stops answering it, if it can.
        """
        try:
            await self.answered.wait()
        finally:
            self.take_back()

    def take_back(self) -> None:
        """Have the caller that it was put to stop answering it, if it can and has not answered."""
        if self._put is not None and not self.answered.is_set():
            caller, asked = self._put
            caller.deliver(Withdrawn(asked))
        self._put = None


@final
class Questions:
    """What a block's tasks ask of the block's user: answered while that enters the block, or reads from what it gave.

    In between nothing waits for them outside of Trio, so they wait for the next reading.
    """

    def __init__(self) -> None:
        self._waiting: deque[_Question] = deque()
        self.wake: Callable[[], object] = lambda: None
        """Called when there is something to answer."""

    def __bool__(self) -> bool:
        """Whether there is something to answer."""
        return bool(self._waiting)

    async def ask(self, question: _Question) -> None:
        """Wait for the answer to a question.

        Cancellation: the question is withdrawn: who answers it stops, if that can be, and what it answers is ignored.
        """
        self._waiting.append(question)
        self.wake()
        try:
            await question.answered.wait()
        finally:
            question.withdrawn = True
            question.take_back()
            with suppress(ValueError):  # it was taken
                self._waiting.remove(question)

    @contextmanager
    def asked_here(self) -> Generator[None]:
        """Have what is started meanwhile ask these questions, and not the call or the block in which it is started."""
        before = _current.set(self)
        try:
            yield
        finally:
            _current.reset(before)

    async def have_answered(self) -> None:
        """Have the call in whose task this is answer the question that has waited longest, in its caller.

        Cancellation: the question waits for another call, unless its asker has gone.
        """
        question = self._waiting.popleft()
        try:
            await _current.get().ask(question)
        finally:
            if not (question.answered.is_set() or question.withdrawn):
                self._waiting.appendleft(question)


_current: ContextVar[Call | Block | Questions] = ContextVar("trio_gateway.call")
"""The call or the block in whose tasks something is done, or what their questions wait in."""


def asking(name: str, function: Callable[..., object]) -> Callable[..., Awaitable[Any]]:
    """Make a function for a call's or a block's tasks in Trio that is called, and awaited, by the caller.

    Args:
        name: the argument that the function was given as, or is a part of.
        function: the caller's function.
    """

    async def ask(*args: object) -> object:
        question = _Question(name, function, args)
        await _current.get().ask(question)
        answer = question.answer
        assert answer is not None
        if isinstance(answer, Raised):
            raise answer.error
        return answer.value

    return ask


class Helper(Protocol):
    """Calls functions where the user of a block is, beside what that does."""

    async def call(self, name: str, function: Callable[[], object]) -> Any:
        """Call a function, await what it gives where that can be, and wait for what comes of it. In Trio.

        Args:
            name: the argument that the function was given as.
            function: the function, with its arguments.

        Raises:
            Exception: what it raised.

        Cancellation: it is cancelled, if that can be.
        """
        ...


def beside(name: str, function: Callable[..., object]) -> Callable[..., Awaitable[Any]]:
    """Make a function for a block's tasks in Trio that is called where the block's user is, at any time while the block lasts.

    It says of itself what the user's function says: which arguments it takes, and its docstring.

    Args:
        name: the argument that the function was given as.
        function: the function of the block's user.
    """

    @wraps(function, updated=())
    async def ask(*args: Any, **arguments: Any) -> Any:
        block = _current.get()
        assert isinstance(block, Block)
        assert block.helper is not None
        return await block.helper.call(name, partial(function, *args, **arguments))

    return ask


@final
class Block:
    """A context manager that is held open for a caller outside of Trio.

    Args:
        portal: the way into its gateway's block.
        manager: the context manager.
        caller: waits for it to be entered.
        outermost: whether this is the gateway's own block.
        gone: for the outermost block, says whether no caller can leave it any more; asked every `LOOK_AFTER` seconds.
        helper: calls functions where the caller is, for a block whose tasks want that.
    """

    def __init__(
        self,
        portal: Portal,
        manager: AbstractAsyncContextManager[Any],
        caller: Caller,
        *,
        outermost: bool = False,
        gone: Callable[[], bool] | None = None,
        helper: Helper | None = None,
    ) -> None:
        self._portal = portal
        self._manager = manager
        self._outermost = outermost
        self._gone = gone
        self.helper: Final = helper
        self._scope = trio.CancelScope()
        self._listener = caller
        self._left = False
        self._wake: trio.Event | None = None
        self._begun = False
        self._entered = False
        self._dismissed = False
        self._error: Exception | None = None
        self._last: Last | None = None
        self.questions = Questions()
        """What its tasks ask once it was entered."""

    def enter(self) -> None:
        """Start entering it, with the context variables of here and now."""
        context = copy_context()

        def begin() -> None:
            nursery = self._portal.thread.nursery if self._outermost else self._portal.nursery
            self._begun = True
            if nursery is None:
                self._end(Raised(closed()))
            else:
                context.run(nursery.start_soon, self._run)

        self._portal.thread.watch(self, lambda why: self._end(Raised(why)))
        try:
            self._portal.thread.post(begin)
        except trio.RunFinishedError:
            self._end(Raised(closed()))

    def leave(self, caller: Caller, error: BaseException | None = None) -> None:
        """Start leaving it; the last message comes to this caller.

        Args:
            caller: waits for that.
            error: what the body raised. What is no `Exception` cancels the block: a cancellation of another kind, or a signal.
        """

        def dismiss() -> None:
            self._listener = caller
            self._dismissed = True
            if self._last is not None:
                caller.deliver(self._last)
                return
            if isinstance(error, Exception):
                self._error = error
            elif error is not None:
                self._scope.cancel(reason="its body was cancelled")
            self._left = True
            if self._wake is not None:
                self._wake.set()
            if not self._begun:  # a signal was faster
                self._begun = True
                self._finish(Stopped())

        try:
            self._portal.thread.post(dismiss)
        except trio.RunFinishedError:
            caller.deliver(self._last or Stopped())

    def foreign(self, error: BaseException | None) -> bool:
        """Say whether it is a block of this process's parent, with which nothing is done here.

        Args:
            error: what the body raised: that goes on.

        Raises:
            ForkedProcessError: it is, and the body raised nothing.
        """
        if error is None:
            self._portal.thread.check_process()
        return not self._portal.thread.here

    async def ask(self, question: _Question) -> None:
        """Have the caller that enters it answer a question, or the next one that reads from what it gave. In a task of it.

        Cancellation: the caller stops answering it, if it can, and what it answers is ignored.
        """
        if self._entered:
            await self.questions.ask(question)
            return
        if not question.put_to(self._listener, self._portal):
            self._scope.cancel(reason="its caller is gone")
        await question.wait_answered()

    def cancel(self) -> None:
        """Cancel it while it is left. Its last message still comes."""
        with suppress(trio.RunFinishedError):  # then it has ended
            self._portal.thread.post(lambda: self._scope.cancel(reason="its caller was cancelled"))

    async def _run(self) -> None:
        last: Last = Stopped()
        _current.set(self)
        self._wake = wake = trio.Event()
        if self._left:
            wake.set()
        try:
            with self._scope:
                async with self._manager as value:
                    await (self._hold_gateway(value, wake) if self._outermost else self._hold(value, wake))
                    if self._error is not None:
                        raise self._error
                last = Returned(None)
        except BaseException as error:  # noqa: ASYNC103 - it is raised for the caller
            if _is_cancellation(error):
                raise
            last = Raised(error)
        finally:
            self._finish(last)

    def _finish(self, last: Last) -> None:
        if self._outermost:
            leave_shared_thread(self._portal, lambda: self._end(last))
        else:
            self._end(last)

    async def _hold(self, value: object, wake: trio.Event) -> None:
        self._say_entered(value)
        await wake.wait()

    async def _hold_gateway(self, value: object, wake: trio.Event) -> None:
        async with trio.open_nursery() as nursery:
            self._portal.nursery = nursery
            try:
                self._say_entered(value)
                while not wake.is_set():
                    with trio.move_on_after(LOOK_AFTER if self._gone else float("inf")):
                        await wake.wait()
                    if self._gone and self._gone():
                        self._scope.cancel(reason="its caller's event loop was closed")
            finally:
                self._portal.nursery = None
                nursery.cancel_scope.cancel(reason="the gateway is closed")

    def _say_entered(self, value: object) -> None:
        self._entered = True
        self._listener.deliver(Entered(value))

    def _end(self, last: Last) -> None:
        self._portal.thread.unwatch(self)
        self._last = last
        if self._dismissed or not self._entered:
            self._listener.deliver(last)
