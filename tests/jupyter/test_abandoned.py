"""Whoever waits for a message when this side ends: the wait ends too, and no exception is left that nobody retrieves."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
from collections.abc import Awaitable, Callable, Iterator
from typing import TYPE_CHECKING, Any

import nbclient
import pytest
import trio
from jupyter_core.utils import ensure_event_loop
from nbclient.exceptions import CellTimeoutError, DeadKernelError

from trio_gateway.jupyter import BlockingGatewayKernelManager, GatewayKernelManager

from .jupyter_tools import cell

if TYPE_CHECKING:
    from tools.face_tools import ListeningFake

pytestmark = pytest.mark.usefixtures("configured_fake")

PATIENCE = 250
"""For what comes at once, or never."""
SLOW = "import time\nwhile True: time.sleep(0.01)"
FLOOD = "import time\nwhile True:\n    print('x' * 100, flush=True)\n    time.sleep(0.0005)"
KILLED = "import os, signal; os.kill(os.getpid(), signal.SIGKILL)"


@pytest.fixture
def configured_fake(fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch) -> None:
    """The line of configuration names the fake."""
    monkeypatch.setenv("JUPYTER_GATEWAY_URL", fake_gateway.url)
    monkeypatch.setenv("JUPYTER_GATEWAY_AUTH_TOKEN", fake_gateway.token)


@pytest.fixture
def left(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """What was told of exceptions that nobody retrieved; none in the end."""
    gc.collect()
    told: list[Any] = []

    def hook(unraisable: Any) -> None:
        if unraisable.exc_type is not ResourceWarning:  # of event loops that jupyter_core makes for threads, and closes never
            told.append(repr(unraisable))

    monkeypatch.setattr(sys, "unraisablehook", hook)
    yield told
    gc.collect()
    assert told == []


def run(main: Callable[[], Awaitable[None]], left: list[Any]) -> None:
    """Run a coroutine in a loop of its own, and then all tasks that it leaves to their own ends."""

    async def bounded() -> None:
        asyncio.get_running_loop().set_exception_handler(lambda _, context: left.append(context))
        async with asyncio.timeout(PATIENCE):
            await main()
            others = asyncio.all_tasks() - {asyncio.current_task()}
            while any(not task.done() for task in others):
                await asyncio.sleep(0)
        del others
        gc.collect()

    asyncio.run(bounded())


@pytest.mark.parametrize(
    ("code", "timeout", "error"),
    [(SLOW, 1, CellTimeoutError), (FLOOD, 1, CellTimeoutError), (KILLED, None, DeadKernelError)],
    ids=["slow", "flood", "killed"],
)
def test_a_notebook_that_ends_early(code: str, timeout: int | None, error: type[Exception], left: list[Any]) -> None:
    """nbclient leaves a task that awaits the next output, and asks for no exception of its."""

    async def main() -> None:
        client = nbclient.NotebookClient(cell(code), kernel_manager_class=GatewayKernelManager, timeout=timeout)
        with pytest.raises(error):
            await client.async_execute()

    run(main, left)


@pytest.mark.parametrize("manager_class", [GatewayKernelManager, BlockingGatewayKernelManager])
def test_a_notebook_that_ends_early_in_synchronous_code(manager_class: type, left: list[Any]) -> None:
    """There, a thread's event loop stands still between nbclient's calls."""
    loop = ensure_event_loop()
    loop.set_exception_handler(lambda _, context: left.append(context))
    client = nbclient.NotebookClient(cell(SLOW), kernel_manager_class=manager_class, timeout=1)
    with pytest.raises(CellTimeoutError):
        client.execute()
    tasks = asyncio.all_tasks(loop)
    if tasks:
        loop.run_until_complete(asyncio.wait(tasks, timeout=PATIENCE))
    del tasks, client  # which holds them
    gc.collect()
    loop.set_exception_handler(None)


def test_a_notebook_that_is_cancelled(left: list[Any]) -> None:
    """The task that executes it is cancelled, which nbclient takes for the kernel's death."""

    async def main() -> None:
        started = asyncio.Event()
        client = nbclient.NotebookClient(
            cell(SLOW), kernel_manager_class=GatewayKernelManager, timeout=None, on_cell_complete=lambda **_: started.set()
        )
        task = asyncio.ensure_future(client.async_execute())
        await started.wait()
        await asyncio.sleep(0)
        task.cancel()
        with pytest.raises((DeadKernelError, asyncio.CancelledError)):
            await task

    run(main, left)
    # nbclient's own: its look at the kernel comes once more when it has forgotten its client.
    left[:] = [context for context in left if not isinstance(context["exception"], AssertionError)]


@pytest.mark.parametrize("end", ["stop", "shutdown"])
def test_a_wait_is_cancelled_where_this_side_ends_it(end: str, left: list[Any]) -> None:
    """On each channel; and whoever comes after that has an exception."""

    async def main() -> None:
        manager = GatewayKernelManager(kernel_name="python3")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=PATIENCE)

            async def wait(channel: Any, limit: float | None) -> None:
                while True:  # there is more to read while a kernel ends
                    await channel.get_msg(timeout=limit)

            channels = [client.shell_channel, client.iopub_channel, client.stdin_channel, client.control_channel]
            waits = [asyncio.ensure_future(wait(channel, limit)) for channel in channels for limit in (None, PATIENCE)]
            await asyncio.sleep(0)
            if end == "stop":
                client.stop_channels()
            else:
                await manager.shutdown_kernel()
            await asyncio.wait(waits)
            assert [wait.cancelled() for wait in waits] == [True] * 8
            with pytest.raises((RuntimeError, trio.ClosedResourceError)):
                await client.get_iopub_msg()
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()  # noqa: ASYNC102 - asyncio, and bounded by the manager

    run(main, left)


def test_a_thread_that_waits_has_an_exception(left: list[Any]) -> None:
    """Nothing cancels a thread."""
    manager = BlockingGatewayKernelManager(kernel_name="python3")
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    raised: list[BaseException] = []
    waits = threading.Event()

    def wait() -> None:
        waits.set()
        try:
            while True:
                client.get_iopub_msg()
        except BaseException as error:  # noqa: ASYNC103, BLE001 - it is looked at
            raised.append(error)
        finally:
            ensure_event_loop().close()  # jupyter_core has made it for this thread

    try:
        client.wait_for_ready(timeout=PATIENCE)
        thread = threading.Thread(target=wait)
        thread.start()
        waits.wait()
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
    thread.join(PATIENCE)
    # Where the thread was not waiting yet, it is told that the channels are not started.
    assert [type(error) for error in raised] in ([trio.ClosedResourceError], [RuntimeError])
    assert left == []


def test_a_hook_for_input_that_fails(left: list[Any]) -> None:
    """Its exception is the caller's: without an answer, the kernel would wait for ever."""

    def fails(message: dict[str, Any]) -> None:
        raise LookupError(message["content"]["prompt"])

    async def main() -> None:
        manager = GatewayKernelManager(kernel_name="python3")
        await manager.start_kernel()
        client = manager.client()
        client.start_channels()
        try:
            await client.wait_for_ready(timeout=PATIENCE)
            with pytest.raises(LookupError, match="name"):
                await client.execute_interactive("input('name? ')", stdin_hook=fails)
        finally:
            client.stop_channels()
            await manager.shutdown_kernel()  # noqa: ASYNC102 - asyncio, and bounded by the manager

    run(main, left)
