"""The one thread of this process in which Trio runs for all callers that are not on Trio.

The one idea: gateways share it, the first one that is opened starts it and the last one that is closed ends it. Work is posted
into it and answers are posted back: no call waits in a worker thread. Measured on one machine, a round trip from asyncio and back
takes 54 µs so, and 105 µs by `asyncio.to_thread` and `trio.from_thread`. With Trio as a guest of the asyncio loop it takes 58 µs,
but then code that blocks the loop stops the heartbeats of every kernel.

`_shared` is the library's only mutable state of a module. It has to be one: gateways that know nothing of each other are to share
a thread, and they have nothing else in common. It holds the thread and its users, and is empty when there are none; and it
counts forks, for what was made before one is of no use after it: also the event loops that have used the thread.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from typing import Any, TypeVarTuple, final
from weakref import WeakKeyDictionary

import attrs
import trio

from .._errors import ForkedProcessError, GatewayInternalError
from .messages import closed

__all__ = ["TrioThread", "check_loop", "join_shared_thread", "leave_shared_thread"]

Args = TypeVarTuple("Args")


@final
class TrioThread:
    """A thread that runs Trio until it is stopped."""

    def __init__(self) -> None:
        self._forks = _shared.forks
        self._lock = threading.Lock()
        self._early: list[tuple[Callable[..., object], tuple[object, ...]]] = []
        self._token: trio.lowlevel.TrioToken | None = None
        self._nursery: trio.Nursery | None = None
        self._stop = False
        self._at_end: list[Callable[[], object]] = []
        self._begun = False
        self._over = False
        self._waiting: dict[object, Callable[[Exception], object]] = {}
        # A daemon, so that a program that forgot to leave a block can end; `atexit` then leaves it.
        self._thread = threading.Thread(target=self._run, name="trio_gateway", daemon=True)

    def start(self) -> None:
        """Start it, unless it was.

        Raises:
            RuntimeError: the interpreter ends, and starts no thread any more.
        """
        if self._begun:
            return
        if sys.is_finalizing():  # until Python 3.12 it would seem to start, and never run
            raise RuntimeError("the interpreter ends: no gateway can be opened any more")
        self._begun = True
        atexit.register(self._exit)
        self._thread.start()

    def watch(self, waiting: object, lost: Callable[[Exception], object]) -> None:
        """Have a function called if Trio ends as it never should, with the reason: nothing else would wake its callers.

        Args:
            waiting: what waits; the key for `unwatch`.
            lost: the function. It is called in the thread.
        """
        self._waiting[waiting] = lost

    def unwatch(self, waiting: object) -> None:
        """Have it not called any more."""
        self._waiting.pop(waiting, None)

    @property
    def nursery(self) -> trio.Nursery:
        """What holds the blocks that are open. Only for functions that were posted."""
        assert self._nursery is not None
        return self._nursery

    def post(self, function: Callable[[*Args], object], *args: *Args) -> None:
        """Have a function called soon in the thread; functions are called in the order in which they were posted.

        Raises:
            ForkedProcessError: the thread is one of this process's parent.
            trio.RunFinishedError: the thread was stopped, and Trio has ended.
        """
        self.check_process()
        with self._lock:
            if self._over:
                raise trio.RunFinishedError
            if self._token is None:
                self._early.append((function, args))
                return
        self._token.run_sync_soon(function, *args)

    @property
    def here(self) -> bool:
        """Whether the thread is one of this process; not in one that was forked off: threads stay behind."""
        return _shared.forks == self._forks

    def check_process(self) -> None:
        """Raise ForkedProcessError if the thread is one of this process's parent: no answer would ever come here."""
        if not self.here:
            raise ForkedProcessError

    def inside(self) -> bool:
        """Whether the caller runs in this very thread."""
        return threading.current_thread() is self._thread

    def stop(self, at_end: Callable[[], object]) -> None:
        """End Trio. From any thread.

        Args:
            at_end: called as the last thing, when Trio has ended.
        """
        self._at_end.append(at_end)
        self._stop = True
        with suppress(trio.RunFinishedError):
            self.post(lambda: self.nursery.cancel_scope.cancel(reason="the last gateway was closed"))

    def join(self) -> None:
        """Wait until the thread is gone, if it was stopped. By then there are microseconds left to wait."""
        if self._stop and self.here and self._thread.ident is not None:
            self._thread.join()

    def _run(self) -> None:
        why: Exception = closed()
        try:
            trio.run(self._main)
        except BaseException as error:
            why = GatewayInternalError(f"Trio's thread has failed: {error!r}")
            raise
        finally:
            with self._lock:
                self._over = True
            atexit.unregister(self._exit)
            _forget_thread(self)
            for function in self._at_end:
                function()
            for lost in list(self._waiting.values()):  # none, as a rule
                lost(why)

    async def _main(self) -> None:
        async with trio.open_nursery() as self._nursery:
            with self._lock:
                self._token = token = trio.lowlevel.current_trio_token()
                for function, args in self._early:
                    token.run_sync_soon(function, *args)
                self._early.clear()
            await trio.sleep_forever()

    def _exit(self) -> None:
        """Leave what the program left open. Each block's clean-up is bounded."""
        if not self.here or self._thread.ident is None:
            return  # the blocks are the parent's, or there are none
        try:
            self.post(lambda: self.nursery.cancel_scope.cancel(reason="the program ends"))
        except trio.RunFinishedError:
            return
        self._thread.join()


@attrs.define
class _Shared:
    lock: threading.RLock = attrs.field(factory=threading.RLock)
    """Can be taken twice by a thread: what a failed Trio has left is thrown away by the garbage collector, whenever that runs."""
    thread: TrioThread | None = None
    users: set[object] = attrs.field(factory=set)
    forks: int = 0
    """How many forks lie between this process and the one that the program began as."""
    loops: WeakKeyDictionary[Any, int] = attrs.field(factory=WeakKeyDictionary)
    """The event loops that have opened a gateway, and how many forks there had been."""

    def forget(self) -> None:
        """Start anew in a process that was forked off: its parent's thread is not there."""
        self.forks += 1
        self.lock, self.thread, self.users = threading.RLock(), None, set()


_shared = _Shared()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_shared.forget)


def check_loop(loop: object) -> None:
    """See that an event loop is one of this process, before it waits for anything.

    Args:
        loop: the running event loop, of which note is taken.

    Raises:
        ForkedProcessError: it was used by this process's parent: both share the pipe by which it is woken, and take each other's
            wake-ups.
    """
    if _shared.loops.setdefault(loop, _shared.forks) != _shared.forks:
        raise ForkedProcessError(
            "this event loop was made before this process was forked off, and its wake-ups go to the parent as well; "
            "run one of this process's own, by asyncio.run() for instance"
        )


def join_shared_thread(user: object) -> TrioThread:
    """Become one more user of the thread; it is started if there was none.

    A signal may end this anywhere: `leave_shared_thread` is right after it in any case, also where it was not even called.

    Args:
        user: what uses it.

    Raises:
        RuntimeError: the interpreter ends, and starts no thread any more.
    """
    with _shared.lock:
        if _shared.thread is None:
            _shared.thread = TrioThread()
        _shared.users.add(user)
        _shared.thread.start()
        return _shared.thread


def leave_shared_thread(user: object, then: Callable[[], object] = lambda: None) -> None:
    """Be a user no more, if it was one; the last user ends the thread. From any thread.

    Args:
        user: what used it.
        then: called when the thread has ended, if this was its last user, else at once.
    """
    ending: TrioThread | None = None
    with _shared.lock:
        if user in _shared.users:
            _shared.users.remove(user)
            if not _shared.users:
                ending, _shared.thread = _shared.thread, None
    if ending is None:
        then()
    else:
        ending.stop(then)


def _forget_thread(thread: TrioThread) -> None:
    """Take note that a thread runs no more: the next gateway has another one."""
    with _shared.lock:
        if _shared.thread is thread:
            _shared.thread = None
            _shared.users.clear()
