"""A call and a block in Trio's thread, with a caller that only keeps its messages."""

from __future__ import annotations

import contextvars
import threading
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import asynccontextmanager
from typing import Any

import pytest
import trio

from trio_gateway._portal import calls
from trio_gateway._portal.calls import Block, Call, asking
from trio_gateway._portal.messages import Asked, Entered, Message, Raised, Returned, Stopped, Withdrawn
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.thread_side import BlockingPortalCrossing

HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")


class Listener:
    """A caller that keeps each message."""

    def __init__(self, answer: Callable[[Asked], Returned | Raised | None] = lambda asked: None, *, there: bool = True) -> None:
        self.messages: list[Message] = []
        self.withdrawn: list[Asked] = []
        self._answer = answer
        self._there = there
        self._came = threading.Condition()

    def deliver(self, message: Message | Withdrawn) -> bool:
        if isinstance(message, Withdrawn):
            self.withdrawn.append(message.asked)
            return self._there
        if isinstance(message, Asked) and (answer := self._answer(message)) is not None:
            message.answer(answer)
        with self._came:
            self.messages.append(message)
            self._came.notify_all()
        return self._there

    def wait(self, count: int = 1) -> list[Message]:
        """Block until so many messages have come."""
        with self._came:
            assert self._came.wait_for(lambda: len(self.messages) >= count, 100)
            return self.messages


@asynccontextmanager
async def nothing() -> AsyncGenerator[str]:
    """Stand in for a gateway."""
    await trio.lowlevel.checkpoint()
    yield "value"


@pytest.fixture
def portal() -> Iterator[Portal]:
    with BlockingPortalCrossing(nothing(), lambda portal, value: portal) as portal:
        yield portal


async def answer_seven() -> int:
    await trio.lowlevel.checkpoint()
    return 7


def test_a_call_ends_with_one_message(portal: Portal) -> None:
    caller = Listener()
    Call(portal, answer_seven, caller).start()
    assert caller.wait() == [Returned(7)]

    async def fail() -> None:
        raise KeyboardInterrupt("no Exception")

    caller = Listener()
    Call(portal, fail, caller).start()
    (message,) = caller.wait()
    assert isinstance(message, Raised)
    assert isinstance(message.error, KeyboardInterrupt)


def test_a_call_has_its_callers_context(portal: Portal) -> None:
    async def look() -> str:
        await trio.lowlevel.checkpoint()
        return HERE.get()

    caller = Listener()
    context = contextvars.copy_context()
    context.run(HERE.set, "here")
    context.run(Call(portal, look, caller).start)
    assert caller.wait() == [Returned("here")]


def test_a_cancelled_call_ends_after_its_clean_up(portal: Portal) -> None:
    done: list[str] = []
    begun = threading.Event()

    async def work() -> None:
        try:
            begun.set()
            await trio.sleep_forever()
        finally:
            done.append("clean-up")

    caller = Listener()
    call = Call(portal, work, caller)
    call.start()
    assert begun.wait(100)
    call.cancel()
    assert (caller.wait(), done) == ([Stopped()], ["clean-up"])


def test_a_call_that_is_cancelled_from_the_first_comes_to_its_first_checkpoint(portal: Portal) -> None:
    begun: list[str] = []

    async def work() -> None:
        begun.append("before")
        await trio.lowlevel.checkpoint()
        begun.append("after")

    caller = Listener()
    Call(portal, work, caller, cancelled=True).start()
    assert (caller.wait(), begun) == ([Stopped()], ["before"])


def test_a_call_that_was_cancelled_before_its_start_ends_all_the_same(portal: Portal) -> None:
    caller = Listener()
    Call(portal, answer_seven, caller).cancel()
    assert caller.wait() == [Stopped()]


def test_a_call_asks_its_caller(portal: Portal) -> None:
    """What the caller answers is given, and what it raises is raised."""
    ask = asking("stdin", lambda prompt: prompt)
    heard: list[Any] = []

    async def work() -> Any:
        heard.append(await ask("who?"))
        return await ask("really?")

    def answer(asked: Asked) -> Returned | Raised:
        prompt = asked.args[0]
        return Returned(f"{prompt} me") if prompt == "who?" else Raised(LookupError("no"))

    caller = Listener(answer)
    Call(portal, work, caller).start()
    *_, last = caller.wait(3)
    assert heard == ["who? me"]
    assert isinstance(last, Raised)
    assert isinstance(last.error, LookupError)


def test_a_call_whose_caller_is_gone_when_it_asks_ends(portal: Portal) -> None:
    caller = Listener(there=False)
    Call(portal, asking("stdin", lambda: None), caller).start()
    asked, last = caller.wait(2)
    assert isinstance(asked, Asked)
    assert last == Stopped()


@pytest.mark.parametrize("answers", [False, True])
def test_a_question_of_a_call_is_taken_back_where_its_task_is_cancelled(answers: bool, portal: Portal) -> None:
    """Its caller is told before the last message; one that is answered is not taken back."""
    ask = asking("stdin", lambda: None)

    async def work() -> None:
        with trio.move_on_after(1e6 if answers else 0.01):
            await ask()

    caller = Listener(lambda asked: Returned("me") if answers else None)
    Call(portal, work, caller).start()
    asked, last = caller.wait(2)
    assert last == Returned(None)
    assert caller.withdrawn == ([] if answers else [asked])


@asynccontextmanager
async def asks(*prompts: str, early: bool = False) -> AsyncGenerator[list[Any]]:
    """A block whose tasks ask; give what they heard, in the end with None."""
    heard: list[Any] = []
    ask = asking("stdin", lambda prompt: prompt)

    async def work() -> None:
        for prompt in prompts:
            try:
                heard.append(await ask(prompt))
            except LookupError as error:
                heard.append(error)
        heard.append(None)

    if early:
        await work()
    async with trio.open_nursery() as nursery:
        nursery.start_soon(work)
        yield heard
        nursery.cancel_scope.cancel()


def answer_prompt(asked: Asked) -> Returned | Raised:
    prompt = asked.args[0]
    return Raised(LookupError(prompt)) if prompt == "no" else Returned(f"{prompt} me")


def entered(portal: Portal, manager: Any, *answers: Callable[[Asked], Returned | Raised | None]) -> tuple[Block, Any, Listener]:
    entering = Listener(*answers)
    block = Block(portal, manager, entering)
    block.enter()
    entering.wait()
    while not isinstance(message := entering.messages[-1], Entered):
        pass
    return block, message.value, entering


def leave(block: Block) -> Message:
    leaving = Listener()
    block.leave(leaving)
    return leaving.wait()[0]


def test_a_block_asks_the_caller_that_enters_it(portal: Portal) -> None:
    block, heard, entering = entered(portal, asks("who?", early=True), answer_prompt)
    assert heard[:2] == ["who? me", None]
    assert sum(isinstance(message, Asked) for message in entering.messages) == 1
    assert leave(block) == Returned(None)


def test_an_entered_blocks_tasks_ask_the_calls_that_read_from_it(portal: Portal) -> None:
    """One after the other, each by the call that has them answered; what a caller raises is raised where it was asked."""
    block, heard, entering = entered(portal, asks("who?", "no", "why?"))
    for _ in range(3):
        while not portal.run_sync(lambda: bool(block.questions)):
            pass
        caller = Listener(answer_prompt)
        Call(portal, block.questions.have_answered, caller).start()
        asked, last = caller.wait(2)
        assert isinstance(asked, Asked)
        assert last == Returned(None)
        assert len(entering.messages) == 1
    while len(heard) < 4:
        pass
    assert (heard[0], type(heard[1]), heard[2], heard[3]) == ("who? me", LookupError, "why? me", None)
    assert leave(block) == Returned(None)


def test_a_question_waits_for_another_call_where_one_is_cancelled(portal: Portal) -> None:
    block, heard, _ = entered(portal, asks("who?"))
    while not portal.run_sync(lambda: bool(block.questions)):
        pass
    silent = Listener()
    call = Call(portal, block.questions.have_answered, silent)
    call.start()
    silent.wait()
    assert not portal.run_sync(lambda: bool(block.questions))
    call.cancel()
    assert silent.wait(2)[1] == Stopped()
    caller = Listener(answer_prompt)
    Call(portal, block.questions.have_answered, caller).start()
    caller.wait(2)
    while len(heard) < 2:
        pass
    assert heard == ["who? me", None]
    leave(block)


def test_a_question_whose_asker_has_gone_is_asked_no_more(portal: Portal) -> None:
    """Whether it waits, or was taken by a call that is cancelled."""
    block, _, _ = entered(portal, asks("who?"))
    while not portal.run_sync(lambda: bool(block.questions)):
        pass
    leave(block)
    assert not portal.run_sync(lambda: bool(block.questions))

    block, _, _ = entered(portal, asks("who?"))
    while not portal.run_sync(lambda: bool(block.questions)):
        pass
    silent = Listener()
    call = Call(portal, block.questions.have_answered, silent)
    call.start()
    silent.wait()
    leave(block)
    assert silent.withdrawn == silent.messages, "it may stop answering"
    call.cancel()
    assert silent.wait(2)[1] == Stopped()
    assert not portal.run_sync(lambda: bool(block.questions))


def test_a_block_whose_caller_is_gone_when_it_asks_ends(portal: Portal) -> None:
    entering = Listener(there=False)
    Block(portal, asks("who?", early=True), entering).enter()
    asked, last = entering.wait(2)
    assert isinstance(asked, Asked)
    assert last == Stopped()


def test_after_the_gateways_block_a_call_is_refused() -> None:
    """Also where other gateways keep Trio running."""
    with BlockingPortalCrossing(nothing(), lambda portal, value: portal):
        with BlockingPortalCrossing(nothing(), lambda portal, value: portal) as ended:
            pass
        caller = Listener()
        Call(ended, answer_seven, caller).start()
        (message,) = caller.wait()
        assert isinstance(message, Raised)
        assert isinstance(message.error, trio.ClosedResourceError)
        entering = Listener()
        Block(ended, nothing(), entering).enter()
        (message,) = entering.wait()
        assert isinstance(message, Raised)
    caller = Listener()
    call = Call(ended, answer_seven, caller)
    call.start()
    call.cancel()
    (message,) = caller.wait()
    assert isinstance(message, Raised)


def test_a_block_says_that_it_was_entered_and_how_it_ended(portal: Portal) -> None:
    entering, leaving = Listener(), Listener()
    block = Block(portal, nothing(), entering)
    block.enter()
    assert entering.wait() == [Entered("value")]
    block.leave(leaving)
    assert leaving.wait() == [Returned(None)]
    assert len(entering.messages) == 1
    again = Listener()
    block.leave(again)  # its last message is kept
    assert again.wait() == [Returned(None)]


def test_a_block_sees_what_its_body_raised(portal: Portal) -> None:
    mine = LookupError("mine")
    seen: list[BaseException] = []

    @asynccontextmanager
    async def look() -> AsyncGenerator[None]:
        try:
            yield
        except BaseException as error:
            seen.append(error)
            raise

    for error, kind in ((mine, LookupError), (KeyboardInterrupt(), trio.Cancelled)):
        entering, leaving = Listener(), Listener()
        block = Block(portal, look(), entering)
        block.enter()
        entering.wait()
        block.leave(leaving, error)
        (message,) = leaving.wait()
        assert isinstance(seen.pop(), kind)
        assert message == (Raised(mine) if error is mine else Stopped())


def test_a_block_that_is_left_before_it_was_entered_ends(portal: Portal) -> None:
    """A signal was faster than its start."""
    leaving = Listener()
    Block(portal, nothing(), Listener()).leave(leaving)
    assert leaving.wait() == [Stopped()]


def test_a_block_that_cant_be_entered_says_why(portal: Portal) -> None:
    @asynccontextmanager
    async def fail() -> AsyncGenerator[None]:
        raise LookupError("no")
        yield

    entering = Listener()
    Block(portal, fail(), entering).enter()
    (message,) = entering.wait()
    assert isinstance(message, Raised)
    assert isinstance(message.error, LookupError)


def test_g1_an_outermost_block_that_no_caller_can_leave_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """As when an event loop is closed under it; the thread ends with it."""
    monkeypatch.setattr(calls, "LOOK_AFTER", 0.01)
    gone = threading.Event()
    portal = Portal()
    portal.open()
    entering = Listener()
    block = Block(portal, nothing(), entering, outermost=True, gone=gone.is_set)
    block.enter()
    assert entering.wait() == [Entered("value")]
    gone.set()
    thread = portal.thread._thread
    thread.join(100)
    assert not thread.is_alive()
