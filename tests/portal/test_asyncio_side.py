"""Calls and blocks of asyncio tasks: one that is cancelled interrupts the kernel, waits for that, and loses nothing."""

from __future__ import annotations

import asyncio
import copy
import functools
import inspect
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
import trio.testing
import uvloop

import trio_gateway
import trio_gateway.anyio as tg
from tools.anyio_fixtures import UNTIL_INTERRUPTED, Running, until_it_runs
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, kernel_ids, run
from trio_gateway._portal.asyncio_side import Crossing, PortalCrossing, call, run_in_loop
from trio_gateway._portal.calls import asking, beside

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g6_cancelling_a_task_interrupts(backend: str, attached: Callable[..., Any]) -> None:
    """`task.cancel()`, also when it comes again during the clean-up, interrupts the kernel; the task is cancelled after that."""

    async def main() -> None:
        async with attached() as kernel:
            running = Running(kernel)
            task = asyncio.create_task(running.execute())
            await until_it_runs(kernel)
            task.cancel("first")
            await asyncio.sleep(0)
            task.cancel("second")
            with pytest.raises(asyncio.CancelledError):
                await task
            assert task.cancelled()
            await running.check()

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_g6_anyios_scopes_interrupt(backend: str, attached: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    """A cancelled scope of anyio's ends there, and what runs inside of it is interrupted; nothing spins meanwhile."""
    turns: list[None] = []

    def count(loop_class: Any) -> None:
        real = loop_class.call_soon

        def call_soon(loop: Any, *args: Any, **arguments: Any) -> Any:
            turns.append(None)
            return real(loop, *args, **arguments)

        monkeypatch.setattr(loop_class, "call_soon", call_soon)

    count(uvloop.Loop)
    count(asyncio.BaseEventLoop)

    async def main() -> None:
        async with attached() as kernel:
            running = Running(kernel)
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(running.execute)
                    await until_it_runs(kernel)
                    scope.cancel()
            assert scope.cancelled_caught
            await running.check()

            slow = UNTIL_INTERRUPTED.replace("interrupted = True", "time.sleep(0.5)")
            with anyio.CancelScope() as scope:
                async with anyio.create_task_group() as group:
                    group.start_soon(kernel.execute, slow)
                    await until_it_runs(kernel)
                    before = len(turns)
                    scope.cancel()
            assert len(turns) - before < 500  # a loop that delivers the cancellation again and again takes many thousand

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g6_a_coroutine_that_is_thrown_away(backend: str, attached: Callable[..., Any]) -> None:
    """A call whose coroutine is closed while it waits is cancelled in Trio, though no task waits for that."""

    async def main() -> None:
        async with attached() as kernel:
            running = Running(kernel)
            coroutine = running.execute()
            coroutine.send(None)
            await until_it_runs(kernel)
            coroutine.close()
            await kernel.wait_for(tg.KernelState.IDLE)
            await running.check()

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g6_asyncios_timeouts_and_groups(backend: str, attached: Callable[..., Any]) -> None:
    """`asyncio.timeout`, `wait_for` and a TaskGroup whose other task fails each end as they do with any other call."""

    async def main() -> None:
        async with attached() as kernel:
            running = Running(kernel)
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(None) as limit, asyncio.TaskGroup() as group:

                    async def set_limit() -> None:
                        await until_it_runs(kernel)
                        limit.reschedule(asyncio.get_running_loop().time() + 0.1)

                    setting = group.create_task(set_limit())
                    await running.execute()
            assert setting.done()
            await running.check()
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(running.execute(), 0.5)
            await running.check()

            current = asyncio.current_task()
            assert current is not None
            assert current.cancelling() == 0

            async def fail() -> None:
                await until_it_runs(kernel)
                raise LookupError

            with pytest.RaisesGroup(LookupError):
                async with asyncio.TaskGroup() as group:
                    tasks = [group.create_task(running.execute()), group.create_task(fail())]
            assert tasks[0].cancelled()
            await running.check()

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g2_a_cancelled_start_leaves_no_kernel(backend: str, opened: Callable[..., Any], fake_gateway: ListeningFake) -> None:
    """Cancelled in the middle of the start, or in the block: the kernel is gone when the cancellation is delivered."""

    async def main() -> None:
        before = kernel_ids(fake_gateway)
        started = asyncio.Event()

        def watch(event: trio_gateway.GatewayEvent) -> None:
            del event
            started.set()

        async with opened(on_event=watch) as gateway:
            inside = asyncio.Event()

            async def use() -> None:
                async with gateway.start_kernel():
                    inside.set()
                    await asyncio.sleep(3600)

            task = asyncio.create_task(use())
            await started.wait()  # the kernelspecs were asked for: the start is next
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert kernel_ids(fake_gateway) == before
            task = asyncio.create_task(use())
            await inside.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert kernel_ids(fake_gateway) == before

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g5_a_message_that_comes_with_the_cancellation_is_not_lost(backend: str, attached: Callable[..., Any]) -> None:
    """What came over in the moment in which its reader was cancelled goes to the next reader, in its order."""

    async def main() -> None:
        async with attached() as kernel, kernel.iopub.subscribe() as messages:
            await kernel.execute("1")
            message = await messages.receive()
            while messages.statistics().messages:
                await messages.receive()
            there: Any = messages
            inbox, portal = there._original._inbox, there._portal

            reader = asyncio.create_task(messages.receive())
            while not portal.run_sync(inbox._waiting.statistics).tasks_waiting:
                await asyncio.sleep(0)
            # The loop stands still from here: the message is on its way to a task that is cancelled before it looks.
            portal.run_sync(lambda: inbox.put(message))
            while not there._reading:
                pass
            assert messages.statistics().messages == 1
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            later = copy.copy(message)
            portal.run_sync(lambda: inbox.put(later))
            assert await messages.receive() is message
            assert await messages.receive() is later

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_block_may_be_left_by_another_task(backend: str, opened: Callable[..., Any]) -> None:
    """As fixtures and lifespans do: one task enters, others use, a third leaves."""

    async def main() -> None:
        stack = AsyncExitStack()
        gateway = await asyncio.create_task(stack.enter_async_context(opened()))
        kernel = await asyncio.create_task(stack.enter_async_context(gateway.start_kernel()))
        results = await asyncio.gather(*[kernel.execute(f"{number}") for number in range(5)])
        assert [result.text for result in results] == ["0", "1", "2", "3", "4"]
        leaving = asyncio.create_task(stack.aclose())
        await leaving
        with pytest.raises(trio.ClosedResourceError):
            await kernel.execute("1")

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_gateway_that_is_left_first_ends_what_is_in_it(
    backend: str, opened: Callable[..., Any], fake_gateway: ListeningFake
) -> None:
    """Blocks left in the wrong order hang nothing and leave nothing."""

    async def main() -> None:
        before = kernel_ids(fake_gateway)
        outer, inner = AsyncExitStack(), AsyncExitStack()
        gateway = await outer.enter_async_context(opened())
        kernel = await inner.enter_async_context(gateway.start_kernel())
        task = asyncio.create_task(kernel.execute(UNTIL_INTERRUPTED))
        await until_it_runs(kernel)
        await outer.aclose()
        assert kernel_ids(fake_gateway) == before
        with pytest.raises((trio.ClosedResourceError, trio_gateway.GatewayError)):
            await task
        await inner.aclose()

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_block_is_entered_once(backend: str, opened: Callable[..., Any]) -> None:
    async def main() -> None:
        async with opened() as gateway:
            block = gateway.start_kernel()
            async with block:
                pass
            with pytest.raises(RuntimeError, match="entered before"):
                await block.__aenter__()

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_trio_calls_a_function_in_the_loop(backend: str, opened: Callable[..., Any]) -> None:
    """And awaits what it gives; a task that is cancelled in Trio cancels the one in the loop."""

    async def main() -> None:
        loop, cancelled, begun = asyncio.get_running_loop(), asyncio.Event(), asyncio.Event()

        async def add(a: int, b: int) -> int:
            await asyncio.sleep(0)
            assert asyncio.get_running_loop() is loop
            return a + b

        def fail() -> None:
            raise LookupError("mine")

        async def hang() -> None:
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                cancelled.set()

        async with PortalCrossing(lambda portal: nothing(), lambda portal, value: portal) as portal:
            assert await call(portal, functools.partial(run_in_loop, loop, add, 3, 4)) == 7
            assert await call(portal, functools.partial(run_in_loop, loop, max, 3, 4)) == 4
            with pytest.raises(LookupError, match="mine"):
                await call(portal, functools.partial(run_in_loop, loop, fail))
            task = asyncio.create_task(call(portal, functools.partial(run_in_loop, loop, hang)))
            await begun.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            await cancelled.wait()

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
@pytest.mark.parametrize("begins", [True, False])
def test_a_blocks_tasks_call_functions_beside_its_user(backend: str, begins: bool) -> None:
    """Leaving the block cancels them, and waits for them, also where a task had not begun; the user waits for nothing else."""
    steps: list[str] = []

    @asynccontextmanager
    async def calling(function: Callable[..., Any]) -> AsyncGenerator[None]:
        async with trio.open_nursery() as nursery:
            nursery.start_soon(function, "word")
            try:
                yield
            finally:
                nursery.cancel_scope.cancel()

    async def main() -> None:
        begun = asyncio.Event()

        async def hang(word: str) -> None:
            """Hang."""
            steps.append(word)
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                await asyncio.sleep(0)  # noqa: ASYNC102
                steps.append("ended")

        asked = beside("hang", hang)
        assert (asked.__doc__, list(inspect.signature(asked).parameters)) == ("Hang.", ["word"])
        async with PortalCrossing(lambda portal: nothing(), lambda portal, value: portal) as portal:
            async with Crossing(portal, calling(asked), lambda portal, value: value):
                if begins:
                    await begun.wait()
            steps.append("left")

    run(backend, main)
    assert steps in (["word", "ended", "left"], ["left"][begins:])


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    """Stand in for a gateway."""
    await trio.lowlevel.checkpoint()
    yield None


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_question_that_is_taken_back_is_answered_no_more(backend: str) -> None:
    """Where it is being answered its function is cancelled, and nothing else; where it waits it is not asked."""
    asked: list[str] = []

    async def waits(begin: Callable[[], None]) -> None:
        asked.append("first")
        begin()
        try:
            await asyncio.Event().wait()
        finally:
            await asyncio.sleep(0)  # noqa: ASYNC102 - it is not waited for long
            asked.append("first has left")

    async def work() -> str:
        async with trio.open_nursery() as nursery:
            begun, token = trio.Event(), trio.lowlevel.current_trio_token()
            nursery.start_soon(asking("stdin", lambda: waits(lambda: token.run_sync_soon(begun.set))))
            await begun.wait()
            with trio.move_on_after(0):
                await asking("stdin", lambda: asked.append("second"))()
            nursery.cancel_scope.cancel()
        await asking("stdin", lambda: asked.append("third"))()
        return "done"

    async def main() -> None:
        async with PortalCrossing(lambda portal: nothing(), lambda portal, _value: portal) as portal:
            assert await call(portal, work) == "done"
        assert asked == ["first", "first has left", "third"]
        task = asyncio.current_task()
        assert task is not None
        assert task.cancelling() == 0

    run(backend, main)
