"""How outputs and messages are handed over in bulk: all that is ready at once, in order, each once, whatever is cancelled."""

from __future__ import annotations

import asyncio
import functools
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager
from typing import Any

import pytest
import trio
import trio.testing
import uvloop

from trio_gateway import InvalidInputError, SlowConsumerError, Stream
from trio_gateway._kernel.channels import Subscription
from trio_gateway._kernel.executor import OutputStream
from trio_gateway._kernel.inbox import Inbox
from trio_gateway._kernel.spool import Spool
from trio_gateway._portal import calls as calls_module
from trio_gateway._portal import prefetch as reading_module
from trio_gateway._portal.asyncio_side import PortalCrossing, call, take
from trio_gateway._portal.calls import Questions, asking
from trio_gateway._portal.portal import Portal
from trio_gateway._portal.prefetch import Reading, forget, read
from trio_gateway._portal.thread_side import BlockingPortalCrossing, block_on, take_blocking
from trio_gateway._protocol.messages import Message, MessageFactory

factory = MessageFactory("session", "someone")
LOOPS = [asyncio.new_event_loop, uvloop.new_event_loop]


def make(text: object, kind: str = "stream") -> Message:
    """Make what a kernel prints."""
    content = {"name": "stdout", "text": str(text)} if kind == "stream" else {"prompt": text, "password": False}
    return factory.make("iopub", kind, content, date="2026-01-01T00:00:00Z")


class Counted(Subscription):
    """A subscription that counts how often it was waited for."""

    def __init__(self, *, limit_messages: float = 1000, when_full: Any = "spool") -> None:
        self.inbox = Inbox(limit_messages=limit_messages, limit_bytes=10**9, when_full=when_full)
        self.waits = 0
        super().__init__(self.inbox)

    async def receive(self) -> Message:
        self.waits += 1
        return await super().receive()

    def put(self, *texts: object) -> None:
        """Have them come together."""
        for text in texts:
            self.inbox.put(make(text))


class Asking:
    """As much of a session's pending execution as a stream of outputs asks for."""

    settled = False

    def __init__(self, inbox: Inbox) -> None:
        self._inbox = inbox

    def is_whole_before(self, question: Message, *, since: int) -> bool:
        return True

    async def next_output(self) -> Message:
        return await self._inbox.get()


class Answering:
    """As much of a block as its tasks ask of."""

    def __init__(self, questions: Questions) -> None:
        self.ask = questions.ask


def text_of(message: Message) -> str:
    """Return what was printed."""
    return str(message.content["text"])


# ------------------------------------------------------------------------------------------------------------ in Trio alone


def test_what_comes_together_is_handed_over_together() -> None:
    """One wait for all, up to the bounds in number and in bytes; the rest waits in Trio."""

    async def main() -> None:
        messages = Counted()
        found: Reading[Message] = read(messages)
        messages.put(*range(reading_module.LIMIT_ITEMS + 10))
        await found.fill()
        assert (messages.waits, messages.statistics().messages) == (1, 10)
        assert found.count_in(messages.statistics()).messages == reading_module.LIMIT_ITEMS + 10
        popped = []
        while found:
            popped.append(text_of(found.pop()))
        await found.fill()
        while found:
            popped.append(text_of(found.pop()))
        assert (messages.waits, popped) == (2, [str(number) for number in range(reading_module.LIMIT_ITEMS + 10)])

        large = "x" * (reading_module.LIMIT_BYTES // 2)
        messages.put(large, large, large, large, large)
        await found.fill()
        assert messages.statistics().messages == 5 - 1 - 2
        assert found.count_in(messages.statistics()).memory_bytes > 4 * len(large)
        with pytest.raises(IndexError):
            while True:
                found.pop()

    trio.run(main)


def test_what_is_ready_begins_with_what_was_handed_over() -> None:
    """Within the same limits, of number and of bytes, and never later than what still waits in Trio."""

    async def main() -> None:
        messages = Counted()
        found: Reading[Message] = read(messages)
        messages.put(*range(100))
        await found.fill()
        assert text_of(found.pop()) == "0"
        taken = [text_of(message) for message in found.receive_ready(3) + found.receive_ready(80)]
        assert taken == [str(number) for number in range(1, 84)]
        size = make(84).size
        assert [text_of(message) for message in found.receive_ready(limit_bytes=1.5 * size)] == ["84", "85"]
        messages.put("last")
        await found.fill()
        assert [text_of(message) for message in found.receive_ready(limit_bytes=1)] == ["86"]
        assert [text_of(message) for message in found.receive_ready()][-2:] == ["99", "last"]
        assert found.receive_ready() == []
        with pytest.raises(InvalidInputError, match="limit"):
            found.receive_ready(0)

    trio.run(main)


def test_each_of_several_readers_has_its_own(autojump_clock: trio.testing.MockClock) -> None:
    """Two wait, two come: neither takes both. One that is cancelled before it pops its own leaves it to one that waits."""

    async def main() -> None:
        messages = Counted()
        found: Reading[Message] = read(messages)
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.fill)
            nursery.start_soon(found.fill)
            await trio.testing.wait_all_tasks_blocked()
            messages.put(1, 2)
        assert [text_of(found.pop()), text_of(found.pop())] == ["1", "2"]

        filled = trio.Event()

        async def reader() -> None:
            await found.fill()
            filled.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.fill)
            await trio.testing.wait_all_tasks_blocked()
            nursery.start_soon(reader)
            await trio.testing.wait_all_tasks_blocked()
            messages.put(3)
            await trio.testing.wait_all_tasks_blocked()
            assert not filled.is_set()  # the first one has it, and is cancelled before it claims it:
            found._wake()
            await filled.wait()
        assert text_of(found.pop()) == "3"
        # A reader that looks without waiting leaves what it looked at to those that wait.
        async with trio.open_nursery() as nursery:
            nursery.start_soon(found.fill)
            await trio.testing.wait_all_tasks_blocked()
            messages.put(4)
            found.collect()
        assert text_of(found.pop()) == "4"
        # A wake for nothing wakes no reader.
        with trio.move_on_after(1) as scope:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(found.fill)
                await trio.testing.wait_all_tasks_blocked()
                found._wake()
        assert scope.cancelled_caught

    trio.run(main, clock=autojump_clock)


def test_what_goes_wrong_comes_after_what_went_before(monkeypatch: pytest.MonkeyPatch) -> None:
    """An error while more is added is raised in its turn, once; closing forgets it with the rest."""

    async def main() -> None:
        def ready(limit: int, /, *, limit_bytes: float) -> Any:
            yield "second"
            raise LookupError("third")

        async def first() -> str:
            await trio.lowlevel.checkpoint()
            return "first"

        found: Reading[str] = Reading(first, ready)
        await found.fill()
        assert (found.pop(), found.pop()) == ("first", "second")
        with pytest.raises(LookupError, match="third"):
            await found.fill()
        await found.fill()
        found.clear()
        assert not found
        await found.fill()
        assert found.pop() == "first"

        # A temporary file that can't be read back, for instance.
        messages = Counted(limit_messages=1)
        spooled: Reading[Message] = read(messages)
        messages.put(1, 2, 3)

        def broken(spool: Spool) -> bytes:
            raise OSError("the disk is gone")

        monkeypatch.setattr(Spool, "popleft", broken)
        await spooled.fill()
        assert text_of(spooled.pop()) == "1"
        with pytest.raises(SlowConsumerError, match="the disk is gone"):
            await spooled.fill()
        await messages.aclose()

    trio.run(main)


def test_g7_a_reader_that_pauses_the_session_still_does() -> None:
    """What was handed over makes room; what is not popped is bounded, and then the session stands still."""

    async def main() -> None:
        messages = Counted(limit_messages=3, when_full="pause")
        found: Reading[Message] = read(messages)
        messages.put(1, 2, 3)
        assert messages.inbox.full
        await found.fill()
        assert not messages.inbox.full
        messages.put(4, 5, 6)
        await found.fill()  # there is enough to claim: nothing more is taken
        assert messages.inbox.full
        assert messages.statistics().peak_messages == 3

    trio.run(main)


def test_nothing_is_asked_before_what_was_printed_is_read() -> None:
    """Outputs are handed over as far as the next request for input; without a handler here, that is no output."""

    async def main() -> None:
        inbox = Inbox(limit_messages=1000, limit_bytes=10**9)
        for message in (make(1), make(2), make("who?", "input_request"), make(3)):
            inbox.put(message)
        asked: list[str] = []

        async def never(prompt: str, password: bool) -> str:
            asked.append(prompt)
            raise InvalidInputError("stdin", prompt, "nothing")

        pending: Any = Asking(inbox)
        session: Any = None
        stream = OutputStream(session, pending, inbox, never)
        found = read(stream)
        await found.fill()
        there, counted = stream.statistics(), found.count_in(stream.statistics())
        assert (counted.messages - there.messages, counted.memory_bytes > there.memory_bytes) == (2, True)
        assert [found.pop(), found.pop()] == [Stream("stdout", "1"), Stream("stdout", "2")]
        assert (bool(found), asked) == (False, [])
        await found.fill()
        assert [found.pop(), bool(found), asked] == [Stream("stdout", "3"), False, []], "it was there before the question's turn"
        with pytest.raises(InvalidInputError):
            await found.fill()
        assert asked == ["who?"]
        found = read(OutputStream(session, pending, inbox))
        for message in (make(4), make("who?", "input_request"), make(5)):
            inbox.put(message)
        await found.fill()
        assert [found.pop(), found.pop()] == [Stream("stdout", "4"), Stream("stdout", "5")]

    trio.run(main)


# ---------------------------------------------------------------------------------------------------- from outside of Trio


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    """Stand in for a gateway."""
    await trio.lowlevel.checkpoint()
    yield None


def give_portal(portal: Portal, value: object) -> Portal:
    """Give the portal, in place of what lives in it."""
    del value
    return portal


@contextmanager
def in_thread() -> Generator[tuple[Portal, Counted, Reading[Message]]]:
    """A portal for a plain thread, and what it reads."""
    with BlockingPortalCrossing(nothing(), give_portal) as portal:
        messages = portal.run_sync(Counted)
        yield portal, messages, read(messages)


def in_loop(loop: Callable[[], asyncio.AbstractEventLoop], main: Callable[..., Awaitable[None]]) -> None:
    """Run with a portal in an event loop, and what it reads there."""

    async def inside() -> None:
        async with PortalCrossing(lambda portal: nothing(), give_portal) as portal:
            messages = portal.run_sync(Counted)
            await asyncio.wait_for(main(portal, messages, read(messages)), 30)

    with asyncio.Runner(loop_factory=loop) as runner:
        runner.run(inside())


def until_waiting(portal: Portal, messages: Counted, tasks: int) -> None:
    """Block until so many wait in Trio."""
    while portal.run_sync(messages.inbox._waiting.statistics).tasks_waiting < tasks:
        pass


def test_a_thread_crosses_once_for_many() -> None:
    """In order, each once; and many threads have each message once between them."""
    with in_thread() as (portal, messages, found):
        portal.run_sync(lambda: messages.put(*range(50)))
        assert [text_of(take_blocking(portal, found)) for _ in range(50)] == [str(number) for number in range(50)]
        assert messages.waits == 1

        seen: list[str] = []

        def use() -> None:
            while True:
                try:
                    seen.append(text_of(take_blocking(portal, found)))
                except trio.EndOfChannel:
                    return

        threads = [threading.Thread(target=use) for _ in range(4)]
        for thread in threads:
            thread.start()
        for start in range(0, 1000, 100):
            portal.run_sync(functools.partial(messages.put, *range(start, start + 100)))
        portal.run_sync(messages.inbox.close)
        for thread in threads:
            thread.join(30)
        assert sorted(map(int, seen)) == list(range(1000))
        portal.run_sync(messages.put)


def test_a_signal_loses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ctrl-C at the end of a crossing: what it brought is there for the next call."""
    with in_thread() as (portal, messages, found):
        portal.run_sync(lambda: messages.put(1, 2))

        def interrupted(portal: Portal, function: Callable[[], Awaitable[Any]]) -> None:
            block_on(portal, function)
            raise KeyboardInterrupt

        with monkeypatch.context() as patch:
            patch.setattr("trio_gateway._portal.thread_side.block_on", interrupted)
            with pytest.raises(KeyboardInterrupt):
                take_blocking(portal, found)
        assert [text_of(take_blocking(portal, found)) for _ in range(2)] == ["1", "2"]


@pytest.mark.parametrize("loop", LOOPS)
def test_a_cancelled_tasks_message_wakes_one_that_waits(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """It is not left lying there until another one comes."""

    async def main(portal: Portal, messages: Counted, found: Reading[Message]) -> None:
        first = asyncio.create_task(take(portal, found))
        await asyncio.sleep(0)
        until_waiting(portal, messages, 1)
        second = asyncio.create_task(take(portal, found))
        await asyncio.sleep(0)
        until_waiting(portal, messages, 2)
        # The loop stands still from here, until the first one's is on its way.
        portal.run_sync(lambda: messages.put("only"))
        while not found:
            pass
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        assert text_of(await second) == "only"

    in_loop(loop, main)


@pytest.mark.parametrize("loop", LOOPS)
def test_a_task_crosses_once_for_many(loop: Callable[[], asyncio.AbstractEventLoop]) -> None:
    """In order, each once; closing it forgets what was not popped."""

    async def main(portal: Portal, messages: Counted, found: Reading[Message]) -> None:
        portal.run_sync(lambda: messages.put(*range(50)))
        assert [text_of(await take(portal, found)) for _ in range(40)] == [str(number) for number in range(40)]
        assert messages.waits == 1

        class Face:
            _reading = found

        await call(portal, messages.aclose)
        forget(Face())
        forget(None)
        with pytest.raises(trio.EndOfChannel):
            await take(portal, found)

    in_loop(loop, main)


def test_a_reader_answers_what_is_asked_while_it_waits() -> None:
    """Whether it waits already or comes later; it reads on afterwards, and other readers too."""
    with in_thread() as (portal, messages, found):
        questions = Questions()
        found.have_answered(questions)
        heard: list[Any] = []

        async def ask(prompt: str) -> None:
            heard.append(await asking("stdin", lambda prompt: f"{prompt} {threading.current_thread().name}")(prompt))
            messages.put(prompt)

        def start(prompt: str) -> None:
            async def asker() -> None:
                calls_module._current.set(Answering(questions))
                await ask(prompt)

            portal.nursery.start_soon(asker)

        portal.run_sync(functools.partial(start, "early?"))
        assert text_of(take_blocking(portal, found)) == "early?"
        me = threading.current_thread().name
        assert heard.pop() == f"early? {me}"

        readers: list[str] = []
        threads = [threading.Thread(target=lambda: readers.append(text_of(take_blocking(portal, found)))) for _ in range(2)]
        for thread in threads:
            thread.start()
        until_waiting(portal, messages, 2)
        portal.run_sync(functools.partial(start, "late?"))
        portal.run_sync(functools.partial(start, "later?"))
        for thread in threads:
            thread.join(30)
        assert sorted(readers) == ["late?", "later?"]
        assert {text.partition(" ")[2] for text in heard} <= {thread.name for thread in threads}


def test_what_is_ready_is_read_before_something_is_answered() -> None:
    """However much is asked, no item waits for an end of it; and what was printed before a question is read before."""
    with in_thread() as (portal, messages, found):
        questions = Questions()
        found.have_answered(questions)
        asked: list[str] = []

        def start() -> None:
            async def asker() -> None:
                calls_module._current.set(Answering(questions))
                while len(asked) < 3:
                    await asking("stdin", asked.append)("now")
                messages.put("last")

            portal.nursery.start_soon(asker)

        portal.run_sync(start)
        while not portal.run_sync(lambda: bool(questions)):
            pass
        portal.run_sync(lambda: messages.put("first"))
        assert (text_of(take_blocking(portal, found)), asked) == ("first", [])
        assert (text_of(take_blocking(portal, found)), asked) == ("last", ["now"] * 3)
