"""A stage for the test kit's scenarios on which every call goes over another face: from the scenario, which is a Trio program,
into an event loop or a plain thread, and from there through the face under test.

So the scenarios need not be written three times, and a cancellation of theirs is one of an asyncio task.
"""

from __future__ import annotations

import asyncio
import contextvars
import inspect
import threading
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import AbstractAsyncContextManager, AbstractContextManager, asynccontextmanager, contextmanager
from functools import partial
from typing import Any

import httpx
import outcome
import sniffio
import trio

import trio_gateway
import trio_gateway.anyio
import trio_gateway.blocking
from trio_gateway._portal.blocking_faces import Face
from trio_gateway.testing.scenarios import Stage

__all__ = ["FaceStage", "open_loop_stage", "open_thread_stage"]


class LoopWorld:
    """An event loop in a thread of its own."""

    face = trio_gateway.anyio

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self.calls = 0

    async def run(self, function: Callable[[], Awaitable[Any]]) -> Any:
        """Await a function in a task of the loop's; whoever cancels this cancels the task, and waits for it."""
        done = trio.Event()
        ended: list[outcome.Outcome[Any]] = []
        tasks: list[asyncio.Task[None]] = []
        token = trio.lowlevel.current_trio_token()

        async def main() -> None:
            assert sniffio.current_async_library() == "asyncio"
            self.calls += 1
            try:
                ended.append(outcome.Value(await function()))
            except BaseException as error:  # noqa: BLE001, ASYNC103
                ended.append(outcome.Error(error))
            token.run_sync_soon(done.set)

        self._loop.call_soon_threadsafe(lambda: tasks.append(self._loop.create_task(main())), context=contextvars.Context())
        try:
            await done.wait()
        except trio.Cancelled:
            self._loop.call_soon_threadsafe(lambda: tasks[0].cancel())  # noqa: PLW0108 - it is made over there
            with trio.CancelScope(shield=True):
                await done.wait()
            if isinstance(ended[0], outcome.Error) and isinstance(ended[0].error, Exception):
                raise ended[0].error from None  # noqa: ASYNC104
            raise
        return ended[0].unwrap()

    def enter(self, manager: Any) -> Awaitable[Any]:
        return self.run(manager.__aenter__)

    def leave(self, manager: Any, error: BaseException | None) -> Awaitable[Any]:
        # What is no Exception is Trio's: over there it is a cancellation.
        theirs = asyncio.CancelledError() if error is not None and not isinstance(error, Exception) else error
        return self.run(partial(manager.__aexit__, type(theirs) if theirs else None, theirs, None))

    def method(self, bound: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
        """Call a method: in the loop if it is to be awaited, else here."""
        if inspect.iscoroutinefunction(bound):
            return self.run(partial(bound, *args, **arguments))
        return Elsewhere.of(self, bound(*args, **arguments))

    async def next(self, iterator: Any) -> Any:
        return await self.run(iterator.__anext__)


class ThreadWorld:
    """Plain threads, without an event loop."""

    face = trio_gateway.blocking

    def __init__(self) -> None:
        self.calls = 0

    async def run(self, function: Callable[[], Any]) -> Any:
        """Call a function in a thread; it can't be cancelled."""

        def call() -> Any:
            try:
                sniffio.current_async_library()
            except sniffio.AsyncLibraryNotFoundError:
                self.calls += 1
            return function()

        # In a context of its own, in which Trio has left no trace.
        return await trio.to_thread.run_sync(partial(contextvars.Context().run, call))

    def enter(self, manager: Any) -> Awaitable[Any]:
        return self.run(manager.__enter__)

    def leave(self, manager: Any, error: BaseException | None) -> Awaitable[Any]:
        theirs = KeyboardInterrupt() if error is not None and not isinstance(error, Exception) else error
        return self.run(partial(manager.__exit__, type(theirs) if theirs else None, theirs, None))

    def method(self, bound: Callable[..., Any], *args: Any, **arguments: Any) -> Any:
        """Call a method: in a thread, unless it gives a block, which is given at once."""
        if "AbstractContextManager" in str(inspect.signature(bound).return_annotation):
            return Elsewhere.of(self, bound(*args, **arguments))
        return self.run(partial(bound, *args, **arguments))

    async def next(self, iterator: Any) -> Any:
        def call() -> Any:
            try:
                return next(iterator)
            except StopIteration:
                return END

        found = await self.run(call)
        if found is END:
            raise StopAsyncIteration
        return found


END = object()


class Elsewhere:
    """An object of a face, as a Trio program holds it."""

    def __init__(self, world: LoopWorld | ThreadWorld, face: Any) -> None:
        self._world = world
        self._face = face

    @classmethod
    def of(cls, world: LoopWorld | ThreadWorld, value: Any) -> Any:
        """Give what stands for a value: itself, if it is only a value."""
        lives = hasattr(value, "_original") or isinstance(value, (Face, httpx.AsyncClient, httpx.Client))
        if lives:
            return cls(world, value)
        if isinstance(value, (AbstractAsyncContextManager, AbstractContextManager)):
            return _block(world, value)
        return value

    def __getattr__(self, name: str) -> Any:
        value = getattr(self._face, name)
        if not inspect.ismethod(value) and not inspect.isfunction(value):
            return Elsewhere.of(self._world, value)

        def method(*args: Any, **arguments: Any) -> Any:
            found = self._world.method(value, *args, **arguments)
            return _translated(self._world, found) if inspect.isawaitable(found) else found

        method.__name__ = name
        return method

    def __aiter__(self) -> Elsewhere:
        return self

    async def __anext__(self) -> Any:
        return Elsewhere.of(self._world, await self._world.next(self._face))


async def _translated(world: LoopWorld | ThreadWorld, found: Awaitable[Any]) -> Any:
    return Elsewhere.of(world, await found)


@asynccontextmanager
async def _block(world: LoopWorld | ThreadWorld, manager: Any) -> AsyncGenerator[Any]:
    value = await world.enter(manager)
    error: BaseException | None = None
    try:
        yield Elsewhere.of(world, value)
    except BaseException as caught:
        error = caught
        raise
    finally:
        with trio.CancelScope(shield=True):  # the face's own business is how long this takes
            await world.leave(manager, error)  # noqa: ASYNC102


class FaceStage(Stage):
    """The test kit's stage, with the gateway opened on a face.

    Args:
        world: where the face is used.
        config: the gateway's configuration.
    """

    def __init__(self, world: LoopWorld | ThreadWorld, config: trio_gateway.GatewayConfig) -> None:
        super().__init__(config)
        self.world = world
        self._portals: list[Any] = []

    @asynccontextmanager
    async def open(self, **settings: Any) -> AsyncGenerator[Any]:
        """Open the gateway on the face."""
        config = self.config.replace(**settings) if settings else self.config
        async with _block(self.world, self.world.face.open_gateway(config, connector=self._connector)) as gateway:
            self._portals.append(gateway._face._portal)
            yield gateway

    def cut(self) -> None:
        """Break every connection; they live in the library's thread."""
        self._portals[-1].run_sync(super().cut)


@contextmanager
def open_loop_stage(new_loop: Callable[[], asyncio.AbstractEventLoop], config: trio_gateway.GatewayConfig) -> Iterator[FaceStage]:
    """Run an event loop in a thread, and give a stage on it."""
    loop = new_loop()
    problems: list[str] = []
    loop.set_exception_handler(lambda _, context: problems.append(str(context)))
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    try:
        yield FaceStage(LoopWorld(loop), config)
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
    assert problems == []


@contextmanager
def open_thread_stage(config: trio_gateway.GatewayConfig) -> Iterator[FaceStage]:
    """Give a stage on plain threads."""
    yield FaceStage(ThreadWorld(), config)
