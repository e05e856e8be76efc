"""What a client must offer to be measured, and what it can say of itself.

The one idea: cases are written once, as async functions; a client brings the kind of loop that they run on. A client that blocks
does so inside functions that are async in name only, and does things at once in threads.

To add a client: one class here below, one line in `registry`.
"""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from importlib import import_module
from typing import Any


class UnsupportedError(Exception):
    """The client can't do this; the table says so."""


@dataclass
class Outcome:
    """What an execution gave, as its reader saw it."""

    messages: int = 0
    """How many outputs; -1 where the client does not look into messages."""
    characters: int = 0
    """Characters of text in them."""
    binary: int = 0
    """Bytes in their buffers."""
    text: str = ""
    """The last text: the value, for an expression."""


class BenchKernel(ABC):
    """A kernel as the cases use it."""

    @abstractmethod
    async def execute(self, code: str, *, each: bool = False) -> Outcome:
        """Run code, wait for its end, and look at every output.

        Args:
            code: the code.
            each: look at each output as it comes, where the client can also give them together.
        """

    async def send_binary(self, data: bytes) -> int:  # noqa: ARG002 - for those that can
        """Send a binary buffer in a comm's message, and return the request's size as the kernel tells it."""
        raise UnsupportedError("can't send binary buffers")

    async def get_model(self) -> str:
        """Ask the gateway for the kernel's model, and return the id in it."""
        raise UnsupportedError("has no control plane")


class Client(ABC):
    """A library that reaches kernels; one object for one process and one server.

    Args:
        url: the gateway's URL.
        token: its token; may be empty.
        options: the client's own, from the registry.
    """

    closing: bool = True
    """Whether kernels must be closed when their blocks end; if not, the process ends at once and the harness ends the kernels."""

    def __init__(self, url: str, token: str = "", **options: Any) -> None:
        self.url = url
        self.token = token
        self.options = options

    @classmethod
    def missing(cls, **options: Any) -> str | None:  # noqa: ARG003 - for those that look at them
        """Return what is missing in this environment for these options; None if nothing is."""
        return None

    @abstractmethod
    def open(self) -> AbstractAsyncContextManager[None]:
        """Open what all kernels share."""

    @abstractmethod
    def start_kernel(self, name: str = "python3") -> AbstractAsyncContextManager[BenchKernel]:
        """Start a kernel, connect to it, and shut it down at the end."""

    def attach(self, kernel: BenchKernel) -> AbstractAsyncContextManager[BenchKernel]:  # noqa: ARG002 - for those that can
        """Open one more session with a kernel that `start_kernel` gave."""
        raise UnsupportedError("has one session for a kernel")

    @abstractmethod
    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Run an async function on this client's kind of loop."""

    @abstractmethod
    async def gather(self, functions: Sequence[Callable[[], Awaitable[None]]]) -> None:
        """Run async functions at once, and wait for all."""

    @abstractmethod
    async def sleep(self, seconds: float) -> None:
        """Let the time go by."""

    @abstractmethod
    def event(self) -> Any:
        """Return an event with `set()` and `await wait()`."""


class TrioClient(Client):
    """A client on Trio."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        import trio

        trio.run(main)

    async def gather(self, functions: Sequence[Callable[[], Awaitable[None]]]) -> None:
        import trio

        async with trio.open_nursery() as nursery:
            for function in functions:
                nursery.start_soon(function)

    async def sleep(self, seconds: float) -> None:
        import trio

        await trio.sleep(seconds)

    def event(self) -> Any:
        import trio

        return trio.Event()


class AsyncioClient(Client):
    """A client on asyncio."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        asyncio.run(main())

    async def gather(self, functions: Sequence[Callable[[], Awaitable[None]]]) -> None:
        await asyncio.gather(*[function() for function in functions])

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)

    def event(self) -> Any:
        return asyncio.Event()


def run_blocking(awaitable: Any) -> None:
    """Run what is async in name only: it must never wait for a loop."""
    try:
        awaitable.send(None)
    except StopIteration:
        return
    raise RuntimeError("a blocking client waited for a loop that is not there")


class _BlockingEvent:
    def __init__(self) -> None:
        self._event = threading.Event()

    def set(self) -> None:
        self._event.set()

    async def wait(self) -> None:
        self._event.wait()


class BlockingClient(Client):
    """A client that blocks; at once means in threads."""

    def run(self, main: Callable[[], Coroutine[Any, Any, None]]) -> None:
        run_blocking(main())

    async def gather(self, functions: Sequence[Callable[[], Awaitable[None]]]) -> None:
        errors: list[BaseException] = []

        def run(function: Callable[[], Awaitable[None]]) -> None:
            try:
                run_blocking(function())
            except BaseException as error:  # noqa: ASYNC103, BLE001 - raised below
                errors.append(error)

        threads = [threading.Thread(target=run, args=(function,)) for function in functions]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        if errors:
            raise errors[0]

    async def sleep(self, seconds: float) -> None:
        threading.Event().wait(seconds)

    def event(self) -> Any:
        return _BlockingEvent()


def load(name: str) -> Any:
    """Import a module that is not in every environment, so that no type checker looks for it."""
    return import_module(name)


@asynccontextmanager
async def nothing() -> AsyncGenerator[None]:
    """Open nothing: for clients whose kernels share nothing."""
    yield
