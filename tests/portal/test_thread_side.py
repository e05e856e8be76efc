"""Calls and blocks of plain threads, under Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from contextlib import asynccontextmanager
from functools import partial
from queue import Empty
from typing import Any

import pytest
import trio
import trio.testing

from tools.face_tools import ListeningFake, kernel_ids, trio_threads
from trio_gateway import InvalidInputError
from trio_gateway._portal.calls import Call, asking, beside
from trio_gateway._portal.deadlines import move_on_after
from trio_gateway._portal.messages import Entered, Returned, Stopped
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.prefetch import Reading
from trio_gateway._portal.thread_side import (
    SIGNAL_SECONDS,
    BlockingCrossing,
    BlockingPortalCrossing,
    ThreadCaller,
    block_on,
    take_blocking,
)

INTERRUPTED = """
import sys
import trio_gateway.blocking as tg
UNTIL = '''
import time
interrupted = False
try:
    print("running", end="", flush=True)
    while True: time.sleep(0.01)
except KeyboardInterrupt:
    interrupted = True
'''
with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]) as gateway, gateway.start_kernel() as kernel:
    print(kernel.id, flush=True)
    try:
        if sys.argv[3] == "execute":
            with kernel.iopub.subscribe() as messages:
                import threading
                def watch():
                    for message in messages:
                        if message.msg_type == "stream":
                            print("running", flush=True)
                thread = threading.Thread(target=watch)
                thread.start()
                kernel.execute(UNTIL)
        elif sys.argv[3] == "stream":
            with kernel.stream(UNTIL) as outputs:
                for output in outputs:
                    print("running", flush=True)
        else:
            print("running", flush=True)
            kernel.execute("input()", stdin=lambda prompt, password: sys.stdin.read())
    except KeyboardInterrupt:
        print("KeyboardInterrupt", kernel.state.value, flush=True)
    else:
        print("no KeyboardInterrupt")
    print(kernel.execute("globals().get('interrupted')").text)
    if sys.argv[3] == "stdin":
        raise SystemExit(0)
    try:
        print("body", flush=True)
        sys.stdin.read()
    finally:
        print("left", flush=True)
"""


@pytest.mark.parametrize("how", ["execute", "stream", "stdin"])
def test_ctrl_c(how: str, fake_gateway: ListeningFake) -> None:
    """Ctrl-C while a call waits interrupts the kernel, then raises KeyboardInterrupt; in the body, it leaves the blocks."""
    before = kernel_ids(fake_gateway)
    program = [sys.executable, "-c", INTERRUPTED, fake_gateway.url, fake_gateway.token, how]
    with subprocess.Popen(program, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            kernel_id = process.stdout.readline().strip()
            assert kernel_ids(fake_gateway) - before == {kernel_id}
            assert process.stdout.readline() == "running\n"
            os.kill(process.pid, signal.SIGINT)
            assert process.stdout.readline() == "KeyboardInterrupt idle\n"
            if how == "stdin":
                assert process.wait(250) == 0
            else:
                assert process.stdout.readline() == "True\n"
                assert process.stdout.readline() == "body\n"
                os.kill(process.pid, signal.SIGINT)
                assert process.wait(250) == -signal.SIGINT
                assert process.stdout.read() == "left\n"
        finally:
            process.kill()
    assert kernel_ids(fake_gateway) == before


def test_a_blocks_tasks_call_functions_in_a_thread_that_waits() -> None:
    """In that which has entered the block, in whichever call it waits; after the end of its block none is called."""
    called: list[Any] = []
    answers: list[Any] = []
    again: list[trio.Event] = []
    late: list[str] = []

    def note(word: str) -> str:
        if word == "fail":
            raise LookupError
        called.append((word, threading.current_thread()))
        return word * 2

    @asynccontextmanager
    async def calling(function: Any) -> Any:
        async def work() -> None:
            try:
                answers.append(await function("a"))
            except RuntimeError as error:
                answers.append(str(error))
                return
            with pytest.raises(LookupError):
                await function("fail")
            again[0].set()
            try:
                await function("late")
            except RuntimeError as error:
                late.append(str(error))

        async with trio.open_nursery() as nursery:
            again.append(trio.Event())
            nursery.start_soon(work)
            yield
            nursery.cancel_scope.cancel()

    with BlockingPortalCrossing(_nothing(), lambda portal, value: portal) as portal:
        with BlockingCrossing(portal, calling(beside("note", note)), lambda portal, value: value):
            block_on(portal, again[0].wait)
        with BlockingCrossing(portal, calling(beside("note", _limited)), lambda portal, value: value):
            with pytest.raises(Limited):
                block_on(portal, trio.sleep_forever)
    assert called[0] == ("a", threading.current_thread())
    # It was asked for while the block was left: it was called before that, or was refused, or nobody waited for it any more.
    assert called[1:] in ([], [("late", threading.current_thread())])
    assert late in ([], ["the client leaves the block"])
    assert answers == ["aa", "the client was interrupted while it ran this function"]


class Limited(BaseException):
    """As a signal raises it."""


def _limited(word: str) -> None:
    raise Limited


def test_a_signal_at_any_moment_loses_nothing() -> None:
    """Interrupted before the start, while it waits, and at its end, a caller waits for the last message each time."""

    with BlockingPortalCrossing(_nothing(), lambda portal, value: portal) as portal:
        assert isinstance(portal, Portal)

        async def wait() -> None:
            await trio.sleep_forever()

        # Before the start was posted.
        caller = ThreadCaller()
        call = Call(portal, wait, caller)
        with pytest.raises(KeyboardInterrupt):
            caller.converse(_interrupt, call.cancel)
        assert caller._arrived == [Stopped()]

        # After it.
        caller = ThreadCaller()
        call = Call(portal, wait, caller)

        def start_then_interrupt() -> None:
            call.start()
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            caller.converse(start_then_interrupt, call.cancel)
        assert caller._arrived == [Stopped()]

        # When it had ended.
        caller = ThreadCaller()

        def end_then_interrupt() -> None:
            caller.deliver(Entered(1))
            caller.deliver(Returned(7))
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            caller.converse(end_then_interrupt, lambda: None)

    # A gateway's block that was never begun gives its place in the thread back.
    crossing = BlockingPortalCrossing(_nothing(), lambda portal, value: portal)
    caller = ThreadCaller()
    block = crossing._open(caller)
    with pytest.raises(KeyboardInterrupt):
        caller.converse(_interrupt, lambda: block.leave(caller, KeyboardInterrupt()))
    crossing._portal.thread.join()
    assert trio_threads() == []


def give_portal(portal: Portal, value: object) -> Portal:
    """Give the portal, in place of what is reached by it."""
    return portal


async def answer(value: Any) -> Any:
    await trio.lowlevel.checkpoint()
    if isinstance(value, Exception):
        raise value
    return value


def test_a_call_blocks_until_there_is_an_answer() -> None:
    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        assert block_on(portal, partial(answer, 7)) == 7
        with pytest.raises(LookupError, match="mine"):
            block_on(portal, partial(answer, LookupError("mine")))
        with pytest.raises(RuntimeError, match="would wait for itself"):
            portal.run_sync(lambda: block_on(portal, partial(answer, 7)))
    with pytest.raises(trio.ClosedResourceError):
        block_on(portal, partial(answer, 7))


def test_what_a_call_asks_is_done_in_the_calling_thread() -> None:
    """An async function can't be: nothing would await it."""

    async def too_modern() -> str:
        return "never"

    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        assert block_on(portal, asking("stdin", threading.current_thread)) is threading.current_thread()
        with pytest.raises(InvalidInputError, match="a plain function"):
            block_on(portal, asking("stdin", too_modern))


def test_a_question_that_is_taken_back_before_its_turn_is_not_asked() -> None:
    asked: list[str] = []
    taken_back = threading.Event()
    first = asking("stdin", lambda: asked.append("first") or taken_back.wait(100))
    second = asking("stdin", lambda: asked.append("second"))

    async def work() -> None:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(first)
            await trio.testing.wait_all_tasks_blocked()
            with trio.move_on_after(0):
                await second()
            taken_back.set()
        await asking("stdin", lambda: asked.append("third"))()

    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        block_on(portal, work)
    assert asked == ["first", "third"]


def test_g3_a_call_that_takes_too_long_is_cancelled() -> None:
    cancelled: list[bool] = []

    async def wait() -> None:
        try:
            await trio.sleep_forever()
        finally:
            cancelled.append(True)

    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        with move_on_after(0.05) as scope:
            block_on(portal, wait)
        assert (scope.cancelled_caught, cancelled) == (True, [True])
        with move_on_after(0) as scope, BlockingCrossing(portal, _nothing(), give_portal):
            pytest.fail("it was entered")
        assert scope.cancelled_caught


class NoticesWaits:
    """Stands for a caller's queue: its first wait ends without anything, and the answer is there then."""

    def __init__(self, caller: ThreadCaller) -> None:
        self.caller = caller
        self.limits: list[float | None] = []

    def put(self, item: None) -> None:
        pass

    def get(self, timeout: float | None = None) -> None:
        self.limits.append(timeout)
        self.caller.deliver(Returned(7))
        raise Empty


def limits_of_waits() -> list[float | None]:
    caller = ThreadCaller()
    caller._wake = queue = NoticesWaits(caller)  # type: ignore[assignment]
    assert caller.converse(lambda: None, lambda: None) == Returned(7)
    return queue.limits


def test_g3_no_wait_of_the_main_thread_lasts_for_ever() -> None:
    """A signal that comes between Python's look for signals and the sleep interrupts nothing (seen once: Ctrl-C in a stream)."""
    assert limits_of_waits() == [SIGNAL_SECONDS]
    with move_on_after(SIGNAL_SECONDS / 2):
        (limit,) = limits_of_waits()
        assert limit is not None
        assert 0 < limit <= SIGNAL_SECONDS / 2
    with move_on_after(60):
        assert limits_of_waits() == [SIGNAL_SECONDS]


def test_other_threads_get_no_signals_and_wait_as_long_as_it_takes() -> None:
    found: list[list[float | None]] = []
    thread = threading.Thread(target=lambda: found.append(limits_of_waits()))
    thread.start()
    thread.join()
    assert found == [[None]]


def test_an_answer_that_comes_with_a_signal_is_taken_back(monkeypatch: pytest.MonkeyPatch) -> None:
    """The caller never has it; the taking back is waited for."""
    undone: list[Any] = []

    async def undo(value: Any) -> None:
        await trio.lowlevel.checkpoint()
        undone.append(value)

    waits = threading.Event()

    async def late() -> int:
        await trio.to_thread.run_sync(waits.wait)  # an answer that is there at once is not waited for
        return 7

    def wait(self: ThreadCaller) -> None:
        waits.set()
        waited(self)
        monkeypatch.undo()
        raise KeyboardInterrupt

    waited = ThreadCaller._wait
    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        monkeypatch.setattr(ThreadCaller, "_wait", wait)
        with pytest.raises(KeyboardInterrupt):
            block_on(portal, late, undo=undo)
        assert undone == [7]


def test_a_block_is_entered_once_and_ends_as_in_trio() -> None:
    ended: list[BaseException | None] = []

    @asynccontextmanager
    async def swallow(kind: type[BaseException]) -> Any:
        try:
            yield "value"
        except kind as error:
            ended.append(error)
        else:
            ended.append(None)

    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        block = BlockingCrossing(portal, swallow(LookupError), lambda _, value: value)
        mine = LookupError("mine")
        with block as value:
            assert value == "value"
            raise mine
        assert ended == [mine]
        with pytest.raises(RuntimeError, match="entered before"):
            block.__enter__()
        other = OSError("other")
        with pytest.raises(OSError, match="other") as caught:
            with BlockingCrossing(portal, swallow(LookupError), lambda _, value: value):
                raise other
        assert caught.value is other
        with BlockingCrossing(portal, swallow(LookupError), lambda _, value: value):
            pass
        assert ended == [mine, None]


def test_a_block_that_cant_be_entered_says_why() -> None:
    @asynccontextmanager
    async def fail() -> Any:
        raise LookupError("no")
        yield

    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        with pytest.raises(LookupError, match="no"), BlockingCrossing(portal, fail(), give_portal):
            pytest.fail("it was entered")
    with pytest.raises(LookupError, match="no"), BlockingPortalCrossing(fail(), give_portal):
        pytest.fail("it was entered")
    assert trio_threads() == []


def test_items_are_taken_as_they_come() -> None:
    waits: list[int] = []

    async def take() -> int:
        await trio.lowlevel.checkpoint()
        waits.append(1)
        if len(waits) > 1:
            raise trio.EndOfChannel
        return 0

    with BlockingPortalCrossing(_nothing(), give_portal) as portal:
        reading: Reading[int] = Reading(take, lambda limit, *, limit_bytes: [1, 2] if len(waits) == 1 else [])
        assert [take_blocking(portal, reading) for _ in range(3)] == [0, 1, 2]
        assert waits == [1]
        with pytest.raises(trio.EndOfChannel):
            take_blocking(portal, reading)


def _interrupt() -> None:
    raise KeyboardInterrupt


@asynccontextmanager
async def _nothing() -> Any:
    await trio.lowlevel.checkpoint()
    yield None
