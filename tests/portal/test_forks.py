"""A process that was forked off inside a block: whatever it does with that gets a typed error at once, and the parent goes on."""

from __future__ import annotations

import asyncio
import multiprocessing
import os
import signal
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from typing import TYPE_CHECKING, Any

import jupyter_core.utils
import nbclient
import nbformat
import pytest
from traitlets.config import Config

import trio_gateway.anyio
import trio_gateway.blocking as tg
from trio_gateway import GatewayConfig
from trio_gateway.jupyter import BlockingGatewayKernelManager, GatewayKernelManager

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="there is no fork here")

HANG_SECONDS = 20
"""A child that takes longer hangs, and is ended by its alarm: so no parent waits for it for ever."""


def in_child(act: Callable[[], object]) -> str:
    """Do something in a process that is forked off here; return what came of it, as text, or the exception's type."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # since 3.12 of a fork beside threads: that is what this is about
        child = os.fork()
    if child == 0:
        signal.signal(signal.SIGALRM, signal.SIG_DFL)
        signal.alarm(HANG_SECONDS)
        said = "nothing"
        try:
            said = str(act())
        except BaseException as error:  # noqa: ASYNC103, BLE001 - nothing of the parent's tests goes on in here
            said = type(error).__name__
        finally:
            os.write(writing, said.encode())
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        said = pipe.read().decode()
    _, status = os.waitpid(child, 0)
    assert os.waitstatus_to_exitcode(status) == 0, "the child hung"
    return said


@pytest.fixture
def blocks(fake_gateway_server: GatewayConfig) -> Iterator[tuple[Any, Any, Any, Any]]:
    """A gateway, a kernel, an output stream with outputs that were handed over and not read, and a subscription."""
    with tg.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:
        with kernel.iopub.subscribe() as messages, kernel.stream("for i in range(9):\n    print(i, flush=True)") as outputs:
            next(outputs)
            yield gateway, kernel, outputs, messages
            assert "".join(output.text for output in outputs) == "".join(f"{i}\n" for i in range(1, 9))
        assert kernel.execute("6 * 7").text == "42", "the parent's kernel was touched"


USES: dict[str, Callable[[Any, Any, Any, Any], object]] = {
    "execute": lambda gateway, kernel, outputs, messages: kernel.execute("1"),
    "complete": lambda gateway, kernel, outputs, messages: kernel.complete("impo"),
    "interrupt": lambda gateway, kernel, outputs, messages: kernel.interrupt(),
    "evidence": lambda gateway, kernel, outputs, messages: kernel.hb.evidence,
    "next": lambda gateway, kernel, outputs, messages: next(outputs),
    "statistics": lambda gateway, kernel, outputs, messages: outputs.statistics(),
    "result": lambda gateway, kernel, outputs, messages: outputs.result,
    "receive": lambda gateway, kernel, outputs, messages: messages.receive(),
    "receive_nowait": lambda gateway, kernel, outputs, messages: messages.receive_nowait(),
    "close": lambda gateway, kernel, outputs, messages: messages.close(),
    "list": lambda gateway, kernel, outputs, messages: gateway.kernels.list(),
    "start": lambda gateway, kernel, outputs, messages: gateway.start_kernel().__enter__(),
    "stream": lambda gateway, kernel, outputs, messages: kernel.stream("1").__enter__(),
    "subscribe": lambda gateway, kernel, outputs, messages: kernel.shell.subscribe().__enter__(),
}


@pytest.mark.parametrize("use", USES)
def test_a_child_that_uses_what_is_its_parents(blocks: tuple[Any, Any, Any, Any], use: str) -> None:
    assert in_child(lambda: USES[use](*blocks)) == "ForkedProcessError"


def test_a_child_that_leaves_its_parents_blocks(fake_gateway_server: GatewayConfig) -> None:
    """With an exception of its own on the way that goes on; and nothing is done to the kernel."""
    opened = tg.open_gateway(fake_gateway_server)
    with opened as gateway:
        started = gateway.start_kernel()
        with started as kernel:
            for block in (started, opened):
                assert in_child(lambda block=block: block.__exit__(None, None, None)) == "ForkedProcessError"
                for error in (ValueError(), SystemExit(3), KeyboardInterrupt()):
                    assert in_child(lambda block=block, error=error: block.__exit__(type(error), error, None)) == "False"
            assert kernel.execute("6 * 7").text == "42"


def test_a_child_that_ends_inside_its_parents_blocks(fake_gateway_server: GatewayConfig) -> None:
    """As `os.fork` in a script does it: the body goes on in both processes, and the child's end is no clean-up."""
    with tg.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:

        def go_on() -> None:
            import atexit

            atexit._run_exitfuncs()

        assert in_child(go_on) == "None"
        assert kernel.execute("6 * 7").text == "42"


def test_a_child_that_is_asked_for_input_by_a_call_of_its_parents(fake_gateway_server: GatewayConfig) -> None:
    """The fork comes while the call waits: what goes on in the child is the same call, and it ends there."""
    said: list[str] = []

    def answer(prompt: str, password: bool) -> str:
        del prompt, password
        reading, writing = os.pipe()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)
            child = os.fork()
        if child == 0:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(HANG_SECONDS)
            said.append(str(writing))
            return "from the child"
        os.close(writing)
        with os.fdopen(reading, "rb") as pipe:
            said.append(pipe.read().decode())
        os.waitpid(child, 0)
        return "from the parent"

    parent = os.getpid()
    with tg.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:
        outcome = "nothing"
        try:
            outcome = kernel.execute("input()", stdin=answer).text
        except BaseException as error:  # noqa: ASYNC103
            outcome = type(error).__name__
            if os.getpid() == parent:
                raise
        finally:
            if os.getpid() != parent:
                os.write(int(said[0]), outcome.encode())
                os._exit(0)
        assert said == ["ForkedProcessError"]
        assert outcome == "'from the parent'"


def test_a_child_opens_a_gateway_of_its_own(fake_gateway_server: GatewayConfig) -> None:
    with tg.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:

        def use_own() -> str:
            with tg.open_gateway(fake_gateway_server) as own, own.attach_kernel(kernel.id) as same:
                return same.execute("x = 6 * 7\nx").text

        assert in_child(use_own) == "42"
        assert kernel.execute("x").text == "42"


def test_the_asyncio_face(fake_gateway_server: GatewayConfig) -> None:
    """In a worker that runs an event loop of its own, which it must: its parent's is not there."""

    async def main() -> None:
        async with trio_gateway.anyio.open_gateway(fake_gateway_server) as gateway:
            started = gateway.start_kernel()
            async with started as kernel:

                async def leave() -> object:
                    return await started.__aexit__(None, None, None)

                async def leave_with_error() -> object:
                    return await started.__aexit__(ValueError, ValueError(), None)

                async def read() -> object:
                    async with kernel.stream("1") as outputs:
                        return await anext(outputs)

                async def execute() -> object:
                    return await kernel.execute("1")

                for use in (execute, read, leave):
                    assert in_child(lambda use=use: asyncio.run(use())) == "ForkedProcessError"
                assert in_child(lambda: asyncio.run(leave_with_error())) == "False"
                assert (await kernel.execute("6 * 7")).text == "42"

    asyncio.run(main())


def run_notebook(gateway: GatewayConfig) -> str:
    """Run a notebook of one cell as a synchronous program does."""
    return run_notebook_on(gateway.url, str(gateway.auth_token), 6)


def run_notebook_on(url: str, token: str, number: int) -> str:
    """The same, for a worker."""
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(f"{number} * 7")])
    config = Config(GatewayKernelManager={"url": url, "auth_token": token})
    nbclient.NotebookClient(notebook, kernel_manager_class=GatewayKernelManager, kernel_name="python3", config=config).execute()
    return str(notebook.cells[0].outputs[0].data["text/plain"])


def run_code(gateway: GatewayConfig) -> str:
    """Run code with the blocking manager."""
    manager = BlockingGatewayKernelManager(url=gateway.url, auth_token=str(gateway.auth_token))
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    client.wait_for_ready(timeout=60)
    shown: list[Any] = []
    client.execute_interactive("6 * 7", output_hook=shown.append)
    client.stop_channels()
    manager.shutdown_kernel()
    return str(next(message for message in shown if message["msg_type"] == "execute_result")["content"]["data"]["text/plain"])


def own_loop() -> Any:
    """The event loop that jupyter_core keeps for synchronous calls; its wake-up pipe is the process's own."""
    return jupyter_core.utils.ensure_event_loop()


@pytest.mark.parametrize("run", [run_notebook, run_code])
def test_a_worker_of_jupyters_tools_has_an_event_loop_of_its_own(fake_gateway_server: GatewayConfig, run: Any) -> None:
    """It took its parent's, with the pipe by which that is woken: whoever of the family is faster takes the wake-up."""
    assert run(fake_gateway_server) == "42"
    parents = own_loop()

    def in_worker() -> object:
        found = run(fake_gateway_server)
        return found, own_loop() is parents

    assert in_child(in_worker) == "('42', False)"
    assert own_loop() is parents
    assert run(fake_gateway_server) == "42"


def test_a_worker_whose_parent_called_synchronously_in_a_running_loop(fake_gateway_server: GatewayConfig) -> None:
    """There jupyter_core has a thread for it, which is not there in the child; and the child may do the same."""

    async def main() -> str:
        return run_notebook(fake_gateway_server)

    assert asyncio.run(main()) == "42"
    assert in_child(lambda: asyncio.run(main())) == "42"
    assert in_child(lambda: run_notebook(fake_gateway_server)) == "42"
    assert asyncio.run(main()) == "42"


def test_a_loop_that_was_made_before_the_fork(fake_gateway_server: GatewayConfig) -> None:
    """Who goes on with one of their own is told, before anything waits for a wake-up that another may get."""

    async def main() -> str:
        async with trio_gateway.anyio.open_gateway(fake_gateway_server) as gateway, gateway.start_kernel() as kernel:
            return (await kernel.execute("6 * 7")).text

    loop = asyncio.new_event_loop()
    try:
        assert loop.run_until_complete(main()) == "42"
        assert in_child(lambda: loop.run_until_complete(main())) == "ForkedProcessError"
        assert in_child(lambda: asyncio.run(main())) == "42"
        assert loop.run_until_complete(main()) == "42"
    finally:
        loop.close()


def run_in_workers(url: str, token: str) -> None:
    """Run a notebook here, then twelve in three workers."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        assert run_notebook_on(url, token, 1) == "7"
        with ProcessPoolExecutor(3, mp_context=multiprocessing.get_context("fork")) as pool:
            workers = [pool.submit(run_notebook_on, url, token, number) for number in range(12)]
            try:
                assert [worker.result(timeout=200) for worker in workers] == [str(number * 7) for number in range(12)]
            except TimeoutError:
                for process in pool._processes.values():
                    process.kill()
                raise


@pytest.mark.full
def test_a_pool_of_workers_after_a_notebook_in_the_parent(fake_gateway_server: GatewayConfig) -> None:
    """Five times, for wake-ups that went to a sibling made one in two of these hang."""
    for _ in range(5):
        run_in_workers(fake_gateway_server.url, str(fake_gateway_server.auth_token))


@pytest.mark.full
@pytest.mark.gateway
def test_a_pool_of_workers_on_a_real_gateway(real_gateway: RunningGateway) -> None:
    run_in_workers(real_gateway.url, real_gateway.token)


JUPYTER: dict[str, Callable[[Any, Any], object]] = {
    "execute": lambda manager, client: client.execute("1"),
    "execute_interactive": lambda manager, client: client.execute_interactive("1"),
    "get_shell_msg": lambda manager, client: client.get_shell_msg(timeout=HANG_SECONDS * 2),
    "get_iopub_msg": lambda manager, client: client.get_iopub_msg(),
    "is_alive": lambda manager, client: manager.is_alive(),
    "client_is_alive": lambda manager, client: client.is_alive(),
    "interrupt": lambda manager, client: manager.interrupt_kernel(),
    "restart": lambda manager, client: manager.restart_kernel(),
    "shutdown": lambda manager, client: manager.shutdown_kernel(),
    "stop_channels": lambda manager, client: client.stop_channels(),
    "another client": lambda manager, client: manager.client().start_channels(),
}


@pytest.mark.parametrize("use", JUPYTER)
def test_jupyters_client_in_a_worker(fake_gateway_server: GatewayConfig, use: str) -> None:
    manager = BlockingGatewayKernelManager(url=fake_gateway_server.url, auth_token=fake_gateway_server.auth_token)
    manager.start_kernel()
    client = manager.client()
    client.start_channels()
    try:
        client.wait_for_ready(timeout=60)
        assert in_child(lambda: JUPYTER[use](manager, client)) == "ForkedProcessError"
        assert client.execute_interactive("6 * 7", output_hook=print)["content"]["status"] == "ok"
    finally:
        client.stop_channels()
        manager.shutdown_kernel()
