"""`trio_gateway.anyio`: on asyncio, on uvloop, with eager tasks, and on Trio."""

from __future__ import annotations

import asyncio
import contextvars
import copy
import functools
import gc
import inspect
import logging
import subprocess
import sys
import threading
import traceback
import uuid
from contextlib import AsyncExitStack, asynccontextmanager
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio
import uvloop

import trio_gateway
import trio_gateway.anyio as tg
from tools.face_tools import ASYNCIO, BACKENDS, ListeningFake, kernel_ids, run, trio_threads
from trio_gateway._portal import asyncio_faces as twins
from trio_gateway._portal import callbacks
from trio_gateway._portal.asyncio_side import LoopCaller
from trio_gateway._protocol.codec import encode_v1
from trio_gateway._protocol.messages import MessageFactory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from conftest import RunningGateway

HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")
UNKNOWN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def opened(fake_gateway: ListeningFake) -> Callable[..., Any]:
    """Open the fake, on whatever runs."""
    return functools.partial(tg.open_gateway, fake_gateway.url, auth_token=fake_gateway.token)


@pytest.fixture
def attached(opened: Callable[..., Any], kernel_id: str) -> Callable[..., Any]:
    """Attach to the module's kernel on the fake, on whatever runs."""
    return functools.partial(attach, opened, kernel_id)


@pytest.fixture
def really_opened(real_gateway: RunningGateway) -> Callable[..., Any]:
    """Open the real gateway, on whatever runs."""
    return functools.partial(tg.open_gateway, real_gateway.url, auth_token=real_gateway.token)


@asynccontextmanager
async def attach(opened: Callable[..., Any], kernel_id: str, **settings: Any) -> AsyncGenerator[tg.Kernel]:
    """Attach to a kernel."""
    async with opened(**settings) as gateway, gateway.attach_kernel(kernel_id) as kernel:
        yield kernel


# ------------------------------------------------------------------------------------------------------ the same, everywhere


def test_the_names_are_the_librarys() -> None:
    """Whatever the library's front door shows is here too, and is the same but for what opens a gateway."""
    names = {name for name, value in vars(trio_gateway).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert {"Gateway", "open_gateway", "GatewayError"} <= names
    assert {name for name in names if getattr(tg, name, None) is not getattr(trio_gateway, name)} == {
        "open_gateway",
        "open_local_gateway",
    }
    for name in ("open_gateway", "open_local_gateway"):
        assert inspect.signature(getattr(tg, name)) == inspect.signature(getattr(trio_gateway, name))
        assert getattr(tg, name).__doc__ == getattr(trio_gateway, name).__doc__


@pytest.mark.parametrize("original", twins._TWINS, ids=lambda original: original.__name__)
def test_every_public_member_has_a_twin(original: type) -> None:
    """No method or property is left that would touch Trio's objects from another thread; signatures and docstrings agree."""
    twin = twins._TWINS[original]
    assert issubclass(twin, original)
    for name in dir(original):
        if name.startswith("_") and name not in ("__anext__", "__aiter__", "__repr__"):
            continue
        assert name in vars(twin), name
        there, here = inspect.getattr_static(original, name), inspect.getattr_static(twin, name)
        if not name.startswith("_"):
            assert inspect.getdoc(here) == inspect.getdoc(there), name
            assert isinstance(here, property) == isinstance(there, property)
        if not isinstance(there, property) and name not in ("__aiter__", "__repr__"):
            assert inspect.signature(here) == inspect.signature(there), name
            assert inspect.iscoroutinefunction(here) == inspect.iscoroutinefunction(there)


def public_classes_of(value: object) -> set[type]:
    """Follow properties, and return the classes of the library's objects that live in Trio."""
    found: set[type] = set()
    waiting = [value]
    while waiting:
        value = waiting.pop()
        original = getattr(value, "_original", value)
        if type(original) in found:
            continue
        module = type(original).__module__
        if module.startswith(("trio_gateway._gateway", "trio_gateway._kernel")) and not hasattr(original, "__attrs_attrs__"):
            found.add(type(original))
            names = [name for name in dir(type(original)) if isinstance(inspect.getattr_static(type(original), name), property)]
            waiting += [getattr(value, name) for name in names if not name.startswith("_") and name != "result"]
    return found


def test_every_property_can_be_read(attached: Callable[..., Any], opened: Callable[..., Any]) -> None:
    """Whatever a property gives that lives in Trio is given as a twin, and each can be read from asyncio."""

    async def main() -> None:
        async with opened() as gateway, attached() as kernel:
            found = public_classes_of(gateway) | public_classes_of(kernel)
            assert {trio_gateway.Gateway, trio_gateway.Kernel, trio_gateway.Channel, trio_gateway.HeartbeatChannel} <= found
            assert found <= twins._TWINS.keys()
            for value in (gateway, gateway.kernels, gateway.sessions, kernel, kernel.iopub, kernel.hb, kernel.comms):
                assert hasattr(value, "_original"), value
            assert kernel.iopub is kernel.iopub

    run("asyncio", main)


@pytest.mark.gateway
@pytest.mark.parametrize("backend", BACKENDS)
def test_a_tour(backend: str, really_opened: Callable[..., Any], real_gateway: RunningGateway) -> None:
    """Everything there is can be used in the same words on each backend."""

    async def main() -> None:
        events: list[trio_gateway.GatewayEvent] = []
        async with really_opened(on_event=events.append) as gateway:
            assert isinstance(gateway, tg.Gateway)
            assert (type(gateway) is trio_gateway.Gateway) == (backend == "trio")
            assert len(trio_threads()) == (backend != "trio")
            assert gateway.url == real_gateway.url
            assert "python3" in (await gateway.kernelspecs.list()).kernelspecs
            async with gateway.start_kernel("python3") as kernel:
                assert isinstance(kernel, tg.Kernel)
                assert repr(kernel).startswith("<Kernel python3 ")
                assert (await kernel.execute("6 * 7")).text == "42"
                async with kernel.stream("for i in range(3): print(i)") as outputs:
                    text = "".join([output.text async for output in outputs])
                assert text == "0\n1\n2\n"
                assert outputs.result.status == "ok"
                assert kernel.id in [model.id for model in await gateway.kernels.list()]

                async with kernel.iopub.subscribe() as messages:
                    await kernel.execute("print('seen', end='')")
                    async for message in messages:
                        if message.msg_type == "stream":
                            break
                    assert messages.receive_nowait().msg_type == "status"
                    assert messages.statistics().messages == 0
                    with pytest.raises(trio.WouldBlock):
                        messages.receive_nowait()

                async with kernel.subshell() as subshell:
                    assert (await subshell.execute("1 + 1")).text == "2"

                echo = (
                    "def opened(comm, message):\n"
                    "    comm.on_msg(lambda message: comm.send({}, buffers=message['buffers']))\n"
                    "get_ipython().kernel.comm_manager.register_target('echo', opened)"
                )
                (await kernel.execute(echo)).raise_for_error()
                async with kernel.comms.open("echo") as comm:
                    await comm.send({}, buffers=[b"\x00\xff"])
                    assert bytes((await comm.receive()).buffers[0]) == b"\x00\xff"

                async with kernel.comms.accept("mine") as incoming:
                    await kernel.execute("from comm import create_comm; create_comm('mine', data={'a': 1})")
                    comm = await incoming.receive()
                    assert isinstance(comm, tg.Comm)
                    assert comm.opening.data == {"a": 1}
                    await comm.aclose()
                await kernel.execute("1")  # the kernel is busy with the comm's end first

                await kernel.wait_for(tg.KernelState.IDLE)
                async for status in kernel.changes():
                    assert status.kernel is tg.KernelState.IDLE
                    break
                assert kernel.hb.is_beating()
                assert await kernel.hb.check() is tg.Verdict.ALIVE
                assert kernel.hb.verdict is tg.Verdict.ALIVE
                assert kernel.hb.silence < 60

                result = await kernel.execute("1 / 0")
                with pytest.raises(tg.ExecutionError, match="division"):
                    result.raise_for_error()

                async with gateway.open_channels(kernel.id) as channels:
                    assert isinstance(channels, tg.KernelChannels)
                    await channels.wait_opened()
                    request = MessageFactory("asking", "me").make(
                        "control", "kernel_info_request", {}, date="2026-01-01T00:00:00Z"
                    )
                    await channels.send(encode_v1(request))
                    while not any(
                        b"kernel_info_reply" in frame for frame in await channels.receive() if isinstance(frame, bytes)
                    ):
                        pass
                    assert channels.resumed == 0

                session = await gateway.sessions.create("a.ipynb", kernel_id=kernel.id)
                assert (await gateway.sessions.get(path="a.ipynb")).id == session.id

                async with gateway.http_client() as client:
                    answer = await client.post("api/kernels", json={"name": "python3"})
                    other = answer.json()["id"]
                    assert str(answer.url) == f"{gateway.url}/api/kernels"

                    async def body() -> AsyncGenerator[bytes]:
                        yield b'{"name": '
                        await anyio.lowlevel.checkpoint()
                        yield b'"no such kernel"}'

                    assert (await client.post("api/kernels", content=body())).status_code == 500
                await gateway.kernels.shutdown(other)
            with pytest.raises(tg.KernelNotFoundError):
                await gateway.kernels.get(kernel.id)
            assert gateway.dropped_events == 0
        assert [event.action for event in events if event.kind == "kernel"].count("start") >= 1
        assert trio_threads() == []

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_what_is_ready_is_given_without_waiting(backend: str, attached: Callable[..., Any]) -> None:
    """In order, each once, whether it was handed over or still waits in Trio; comms are the face's own."""

    async def main() -> None:
        async with attached() as kernel:
            code = "for i in range(5): print(i, flush=True)"
            async with kernel.iopub.subscribe() as messages, kernel.stream(code) as outputs:
                while (await messages.receive()).content.get("execution_state") != "idle":
                    pass
                found = [await anext(outputs), *outputs.receive_ready(2), *outputs.receive_ready()]
                assert (found, outputs.receive_ready()) == ([tg.Stream("stdout", f"{i}\n") for i in range(5)], [])
            async with kernel.iopub.subscribe() as messages:
                await kernel.execute("1")
                first = await messages.receive()
                ready = messages.receive_ready(1) + messages.receive_ready(limit=64, limit_bytes=10_000)
                kinds = [message.msg_type for message in [first, *ready]]
                assert kinds == ["status", "execute_input", "execute_result", "status"]
                with pytest.raises(tg.InvalidInputError, match="limit"):
                    messages.receive_ready(0)
            async with kernel.comms.accept("mine") as incoming:
                assert incoming.receive_ready() == []
                observe = getattr(kernel, "_original", kernel).comms.observe
                opening = {"comm_id": uuid.uuid4().hex, "target_name": "mine", "data": {"a": 1}}
                observe(MessageFactory("a", "b").make("iopub", "comm_open", opening, date="2026-01-01T00:00:00Z"))
                (comm,) = incoming.receive_ready()
                assert (comm.opening.data, comm.receive_ready()) == ({"a": 1}, [])
                await comm.aclose()

    run(backend, main)


@pytest.mark.gateway
@pytest.mark.parametrize(
    "backend", [backend if backend == "asyncio" else pytest.param(backend, marks=pytest.mark.full) for backend in BACKENDS]
)
def test_a_local_gateway(backend: str) -> None:
    """`open_local_gateway` is there too, and its process ends with the block."""

    async def main() -> None:
        async with tg.open_local_gateway() as gateway, gateway.start_kernel() as kernel:
            assert (await kernel.execute("1 + 1")).text == "2"
        with pytest.raises(trio.ClosedResourceError):
            await gateway.kernels.list()

    run(backend, main)


# ------------------------------------------------------------------------------------------------------------- cancelling


UNTIL_INTERRUPTED = """
import time
interrupted = False
try:
    while True:
        print("runs", flush=True)
        time.sleep(0.01)
except KeyboardInterrupt:
    interrupted = True
"""


class Running:
    """Code that runs in the kernel until it is interrupted, and says so."""

    def __init__(self, kernel: tg.Kernel) -> None:
        self.kernel = kernel

    async def execute(self) -> None:
        """Run it; it ends by an interrupt only."""
        await self.kernel.execute(UNTIL_INTERRUPTED)

    async def check(self) -> None:
        """See that it was interrupted, and is over."""
        assert self.kernel.state is tg.KernelState.IDLE, "the clean-up in Trio was not waited for"
        result = await self.kernel.execute("interrupted")
        assert (result.status, result.text, result.output_gaps) == ("ok", "True", ())


async def until_it_runs(kernel: tg.Kernel) -> None:
    """Wait until the code prints: a kernel says that it is busy before the first line, where an interrupt ends the whole."""
    async with kernel.iopub.subscribe() as messages:
        async for message in messages:
            if message.msg_type == "stream":
                return


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
    """A call whose coroutine is closed while it waits is cancelled in Trio, though nobody waits for that."""

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
@pytest.mark.parametrize("kind", ["new", "named", "running"])
def test_g2_a_start_whose_answer_comes_with_the_cancellation(
    backend: str, kind: str, opened: Callable[..., Any], fake_gateway: ListeningFake, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nobody has heard of that kernel, so it is shut down, whoever chose its id. One that ran before is left."""

    async def main() -> None:
        async with opened() as other, opened() as gateway:
            kernel_id = None if kind == "new" else str(uuid.uuid4())
            if kind == "running":
                await other.kernels.start(kernel_id=kernel_id)
            before = kernel_ids(fake_gateway)
            start = asyncio.create_task(gateway.kernels.start(kernel_id=kernel_id))
            told = LoopCaller._take

            def take(self: LoopCaller, message: Any) -> None:
                told(self, message)
                if isinstance(getattr(message, "value", None), trio_gateway.KernelModel):
                    start.cancel()

            monkeypatch.setattr(LoopCaller, "_take", take)
            with pytest.raises(asyncio.CancelledError):
                await start
            assert kernel_ids(fake_gateway) == before
            monkeypatch.undo()
            if kernel_id is not None:
                await gateway.kernels.shutdown(kernel_id)

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
            inbox, realm = there._original._inbox, there._realm

            reader = asyncio.create_task(messages.receive())
            while not realm.run_sync(inbox._waiting.statistics).tasks_waiting:
                await asyncio.sleep(0)
            # The loop stands still from here: the message is on its way to a task that is cancelled before it looks.
            realm.run_sync(lambda: inbox.put(message))
            while not there._reading:
                pass
            assert messages.statistics().messages == 1
            reader.cancel()
            with pytest.raises(asyncio.CancelledError):
                await reader
            later = copy.copy(message)
            realm.run_sync(lambda: inbox.put(later))
            assert await messages.receive() is message
            assert await messages.receive() is later

    run(backend, main)


# ------------------------------------------------------------------------------------------------- what crosses, and comes back


@pytest.mark.parametrize("backend", BACKENDS)
def test_exceptions_are_the_same_with_their_causes(backend: str, opened: Callable[..., Any]) -> None:
    """Types, fields, causes; what a body raises is the same object, and is in no group (G9)."""

    async def main() -> None:
        async with opened() as gateway:
            with pytest.raises(trio_gateway.KernelNotFoundError) as not_found:
                await gateway.kernels.get(UNKNOWN)
            assert not_found.value.status_code == 404
            with pytest.raises(trio_gateway.KernelNotFoundError):
                async with gateway.attach_kernel(UNKNOWN):
                    pytest.fail("there is none")
            with pytest.raises(trio_gateway.InvalidInputError):
                gateway.start_kernel(path="a", cwd="b")
        async with tg.open_gateway("http://127.0.0.1:1", gateway_retry_max=0) as gateway:
            with pytest.raises(trio_gateway.GatewayConnectionError) as refused:
                await gateway.kernels.list()
            assert isinstance(refused.value.__cause__, OSError)
        with pytest.raises(trio_gateway.ConfigError):
            async with tg.open_gateway("gopher://127.0.0.1"):
                pytest.fail("no such scheme")
        mine = LookupError("mine")
        with pytest.raises(LookupError) as caught:
            async with opened() as gateway, gateway.start_kernel():
                raise mine
        assert caught.value is mine
        frames = traceback_functions(caught.value)
        assert backend == "trio" or "_run" not in frames

    run(backend, main)


def traceback_functions(error: BaseException) -> list[str]:
    """Return the names of the functions that an exception came through."""
    return [frame.name for frame in traceback.extract_tb(error.__traceback__)]


@pytest.mark.gateway
@pytest.mark.parametrize("backend", BACKENDS)
def test_callbacks_run_where_their_program_does(
    backend: str, really_opened: Callable[..., Any], real_kernel_id: str, real_gateway: RunningGateway
) -> None:
    """`stdin` in the calling task, events and tokens in the loop's thread; all of them see context variables."""

    async def main() -> None:
        thread = threading.get_ident()
        seen: list[tuple[str, str, int]] = []

        class Renewer(tg.TokenRenewer):
            async def get_token(self, *args: Any, **kwargs: Any) -> str:
                await anyio.lowlevel.checkpoint()
                seen.append(("token", HERE.get(), threading.get_ident()))
                return real_gateway.token

        def told(event: tg.GatewayEvent) -> None:
            seen.append(("event", HERE.get(), threading.get_ident()))

        async def ask(prompt: str, password: bool) -> str:
            seen.append(("stdin", HERE.get(), threading.get_ident()))
            await anyio.lowlevel.checkpoint()
            HERE.set("answered")
            return prompt + str(password)

        HERE.set("opened")
        arguments: dict[str, Any] = {"on_event": [told], "auth_token": "wrong", "token_renewer": Renewer()}
        async with attach(really_opened, real_kernel_id, **arguments) as kernel:
            HERE.set("used")
            await kernel.interrupt()
            assert {("event", "used", thread), ("token", "used", thread)} <= set(seen)
            assert (await kernel.execute("input('who? ')", stdin=ask)).text == "'who? False'"
            assert ("stdin", "used", thread) in seen
            assert HERE.get() == "answered"
            async with kernel.stream("import getpass; getpass.getpass('x ')", stdin=ask) as outputs:
                assert [output.data["text/plain"] async for output in outputs] == ["'x True'"]

            def fail(prompt: str, password: bool) -> str:
                raise LookupError(prompt)

            with pytest.raises(LookupError, match="sure"):
                await kernel.execute("input('sure? ')", stdin=fail)

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_handler_that_is_cancelled(backend: str, attached: Callable[..., Any]) -> None:
    """A task that is cancelled while it answers the kernel: the answer is dropped, the kernel interrupted (G6)."""

    async def main() -> None:
        async with attached() as kernel:
            asked = asyncio.Event()

            async def ask(prompt: str, password: bool) -> str:
                asked.set()
                await asyncio.sleep(3600)
                return ""

            task = asyncio.create_task(kernel.execute("input()", stdin=ask))
            await asked.wait()
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task
            assert (await kernel.execute("1")).text == "1"

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_plain_renewer_stays_in_a_worker_thread(backend: str, fake_gateway: ListeningFake) -> None:
    """Where it may block; one that gives an awaitable has it awaited in the loop."""

    async def main() -> None:
        loop_thread = threading.get_ident()
        seen: list[bool] = []

        class Renewer(tg.TokenRenewer):
            def get_token(self, *args: Any, **kwargs: Any) -> Any:
                seen.append(threading.get_ident() == loop_thread)
                return self.later()

            async def later(self) -> str:
                await asyncio.sleep(0)
                seen.append(threading.get_ident() == loop_thread)
                return fake_gateway.token

        config = tg.GatewayConfig(url=fake_gateway.url, token_renewer=Renewer())
        async with tg.open_gateway(config) as gateway:
            await gateway.kernelspecs.list()
        assert seen == [False, True]

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_g7_events_for_a_loop_that_is_busy_are_bounded(
    backend: str, opened: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    """What does not fit is counted in `dropped_events`."""
    monkeypatch.setattr(callbacks, "EVENTS_WAITING", 3)

    async def main() -> None:
        told: list[tg.GatewayEvent] = []
        async with opened(on_event=told.append) as gateway:
            fan_out = gateway._original._fan_out
            event = tg.GatewayEvent(kind="kernel", action="start", status="success")
            for _ in range(5):
                gateway._realm.run_sync(lambda: fan_out(event))
            assert (len(told), gateway.dropped_events) == (0, 2)
            await asyncio.sleep(0)
            assert told == [event] * 3
            gateway._realm.run_sync(lambda: fan_out(event))
            await asyncio.sleep(0)
            assert len(told) == 4

    run(backend, main)


@pytest.mark.parametrize("backend", BACKENDS)
def test_g7_back_pressure_crosses(backend: str, attached: Callable[..., Any]) -> None:
    """A reader that chose to hold up the session does so, wherever it reads."""

    async def main() -> None:
        async with attached() as kernel:
            code = "for i in range(300): print(i, flush=True)"
            async with kernel.stream(code, when_full="pause") as outputs:
                first = await anext(outputs)
            assert first.text.startswith("0")
            async with kernel.iopub.subscribe(when_full="pause", limit_messages=5) as messages:
                async with anyio.create_task_group() as group:
                    group.start_soon(functools.partial(kernel.execute, code, on_cancel="abandon"))
                    while messages.statistics().messages < 5:
                        await anyio.sleep(0.01)  # nothing tells that a session stands still
                    group.cancel_scope.cancel()
                assert messages.statistics().peak_messages <= 5
                while (await messages.receive()).content.get("execution_state") != "idle":
                    pass
                assert messages.statistics().blocked_seconds > 0

    run(backend, main)


@pytest.mark.parametrize("backend", ASYNCIO)
def test_a_blocked_loop_stops_no_heartbeat(backend: str, attached: Callable[..., Any]) -> None:
    """While nothing runs in the loop, pings go out, pongs come in, and the kernel is known to be alive."""

    async def main() -> None:
        async with attached(ping_interval=0.1) as kernel:
            liveness = kernel._original._session.liveness
            heard = liveness._heard
            for _ in range(3):
                while liveness._heard == heard:
                    pass  # the loop is blocked: by this very line
                heard = liveness._heard
            assert kernel.hb.is_beating()

    run(backend, main)


# --------------------------------------------------------------------------------------------------------------- life times


@pytest.mark.parametrize("backend", ASYNCIO)
def test_all_gateways_share_one_thread(backend: str, opened: Callable[..., Any]) -> None:
    """Also those of other threads' loops; it ends with the last one, wherever that is, and starts anew for the next."""

    async def one() -> int | None:
        async with opened() as gateway:
            await gateway.kernelspecs.list()
            (thread,) = trio_threads()
            return thread.ident

    async def main() -> None:
        async with opened() as first:
            mine = trio_threads()[0].ident
            async with opened():
                assert await one() == mine
            assert await asyncio.to_thread(run, backend, one) == mine
            await first.kernelspecs.list()
        assert trio_threads() == []
        assert await one() is not None

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


@pytest.mark.parametrize("how", ["closed", "thrown away"])
@pytest.mark.parametrize("loop_of", [asyncio.new_event_loop, uvloop.new_event_loop])
def test_g1_a_loop_that_is_closed_under_it(
    how: str, loop_of: Callable[[], asyncio.AbstractEventLoop], opened: Callable[..., Any], fake_gateway: ListeningFake
) -> None:
    """Nobody leaves the blocks: the kernel is shut down, and the thread ends, all the same."""
    before = kernel_ids(fake_gateway)
    entered: list[str] = []
    running: list[Any] = []

    async def use() -> None:
        async with opened() as gateway, gateway.start_kernel() as kernel:
            entered.append(kernel.id)
            await kernel.execute("while True: pass")

    async def until_running() -> None:
        running.append(asyncio.ensure_future(use()) if how == "closed" else None)
        coroutine = use()
        if how == "thrown away":
            running.append(coroutine)
            # Driven by hand, so that no task of the loop's holds it.
            future = coroutine.send(None)
            while not entered:
                await asyncio.sleep(0.01)
                if future is None or future.done():
                    future = coroutine.send(None)
        else:
            coroutine.close()
            while not entered:
                await asyncio.sleep(0.01)

    loop = loop_of()
    loop.run_until_complete(until_running())
    (thread,) = trio_threads()
    assert kernel_ids(fake_gateway) - before == set(entered)
    if how == "thrown away":
        running.pop().close()
    else:
        running[0]._log_destroy_pending = False  # as the loop that is closed here should have said, but need not
        loop.close()
    thread.join(250)
    assert not thread.is_alive()
    assert kernel_ids(fake_gateway) == before
    if how == "thrown away":
        loop.close()
    running.clear()
    gc.collect()


PROGRAM_THAT_FORGETS = """
import asyncio, sys
import trio_gateway.anyio as tg
stack = []
async def main():
    gateway = tg.open_gateway(sys.argv[1], auth_token=sys.argv[2])
    stack.append(gateway)
    stack.append((await gateway.__aenter__()).start_kernel())
    kernel = await stack[-1].__aenter__()
    print(kernel.id)
loop = asyncio.new_event_loop()
loop.run_until_complete(main())
"""


def test_g2_a_program_that_forgets_to_leave(fake_gateway: ListeningFake) -> None:
    """The interpreter ends, and the kernel before it."""
    before = kernel_ids(fake_gateway)
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_THAT_FORGETS, fake_gateway.url, fake_gateway.token],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert len(done.stdout.strip()) == 36
    assert kernel_ids(fake_gateway) == before
    assert "Traceback" not in done.stderr


PROGRAM_THAT_FORKS = """
import asyncio, os, sys, warnings
import trio_gateway.anyio as tg
warnings.simplefilter("ignore", DeprecationWarning)  # of forking with threads
async def use():
    async with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]) as gateway:
        return (await gateway.kernelspecs.list()).default
async def main():
    async with tg.open_gateway(sys.argv[1], auth_token=sys.argv[2]):
        if not os.fork():
            asyncio.set_event_loop(None)
            asyncio._set_running_loop(None)
            print("child", asyncio.run(use()), flush=True)
            os._exit(0)
        os.wait()
        print("parent", await use(), flush=True)
asyncio.run(main())
"""


@pytest.mark.full
def test_a_forked_process_starts_anew(fake_gateway: ListeningFake) -> None:
    """The child has a thread of its own."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM_THAT_FORKS, fake_gateway.url, fake_gateway.token],
        check=True, capture_output=True, text=True, timeout=250,
    )  # fmt: skip
    assert done.stdout.split() == ["child", "python3", "parent", "python3"]


CELL = """
import asyncio, os
import trio_gateway.anyio as tg
async with tg.open_gateway(os.environ["KERNEL_INNER_URL"], auth_token=os.environ["KERNEL_INNER_TOKEN"]) as gateway:
    async with gateway.start_kernel() as kernel:
        print(type(asyncio.get_running_loop()).__module__.partition(".")[0], (await kernel.execute("6 * 7")).text)
"""


@pytest.mark.full
@pytest.mark.gateway
def test_in_a_running_notebook(really_opened: Callable[..., Any], fake_gateway: ListeningFake) -> None:
    """A cell with a top-level `await`, in a kernel whose loop runs."""

    async def main() -> None:
        env = {"KERNEL_INNER_URL": fake_gateway.url, "KERNEL_INNER_TOKEN": fake_gateway.token}
        async with really_opened() as gateway, gateway.start_kernel(env=env) as kernel:
            result = await kernel.execute(CELL)
            result.raise_for_error()
            assert "".join(output.text for output in result.outputs) == "asyncio 42\n"

    run("asyncio", main)


def test_the_log_has_nothing_to_say(attached: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    """Asyncio's debug mode finds nothing that was never awaited, and no callback from a wrong thread."""

    async def main() -> None:
        asyncio.get_running_loop().set_debug(True)
        async with attached() as kernel:
            await kernel.execute("1")

    with caplog.at_level(logging.WARNING):
        run("asyncio", main)
    assert [record.getMessage() for record in caplog.records if "took" not in record.getMessage()] == []
