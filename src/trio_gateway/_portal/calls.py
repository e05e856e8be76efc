"""One call, and one block, that cross into Trio: what happens of them in Trio's thread.

The one idea: each has a task in Trio with a cancel scope, and a caller outside of Trio who waits for messages. A caller that is
cancelled cancels the scope here and goes on waiting for the last message: so clean-up is waited for, as it is in Trio.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager, suppress
from contextvars import ContextVar, copy_context
from typing import Any, Final, final

import trio

from .messages import Asked, Caller, Entered, Last, Raised, Returned, Stopped, closed
from .portal import Portal
from .thread import leave_shared_thread

__all__ = ["Block", "Call", "asking"]

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

    async def ask(self, function: Callable[..., object], *args: object) -> object:
        """Have the caller call a function, and await what it gives. In the call's own task.

        Cancellation: the answer is ignored.
        """
        answers: list[Returned | Raised] = []
        answered = trio.Event()

        def take(answer: Returned | Raised) -> None:
            answers.append(answer)
            answered.set()

        if not self._caller.deliver(Asked(function, args, lambda answer: self._portal.thread.post(take, answer))):
            self._scope.cancel(reason="its caller is gone")
        await answered.wait()
        answer = answers[0]
        if isinstance(answer, Raised):
            raise answer.error
        return answer.value

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


_current: ContextVar[Call] = ContextVar("trio_gateway.call")


def asking(function: Callable[..., object]) -> Callable[..., Awaitable[Any]]:
    """Make a function for a call's task in Trio that is called, and awaited, by the call's caller."""

    async def ask(*args: object) -> object:
        return await _current.get().ask(function, *args)

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
    """

    def __init__(
        self,
        portal: Portal,
        manager: AbstractAsyncContextManager[Any],
        caller: Caller,
        *,
        outermost: bool = False,
        gone: Callable[[], bool] | None = None,
    ) -> None:
        self._portal = portal
        self._manager = manager
        self._outermost = outermost
        self._gone = gone
        self._scope = trio.CancelScope()
        self._listener = caller
        self._left = False
        self._wake: trio.Event | None = None
        self._begun = False
        self._entered = False
        self._dismissed = False
        self._error: Exception | None = None
        self._last: Last | None = None

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

    def cancel(self) -> None:
        """Cancel it while it is left. Its last message still comes."""
        with suppress(trio.RunFinishedError):  # then it has ended
            self._portal.thread.post(lambda: self._scope.cancel(reason="its caller was cancelled"))

    async def _run(self) -> None:
        last: Last = Stopped()
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
