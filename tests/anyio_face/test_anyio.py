"""`trio_gateway.anyio`: on asyncio, on uvloop, with eager tasks, and on Trio."""

from __future__ import annotations

import asyncio
import functools
import inspect
import logging
import os
import signal
import traceback
import uuid
from typing import TYPE_CHECKING, Any

import anyio
import anyio.lowlevel
import pytest
import trio

import trio_gateway
import trio_gateway.anyio as tg
from tools.anyio_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_fixtures import *  # noqa: F403
from tools.face_tools import BACKENDS, ListeningFake, ends_code, run, trio_threads
from trio_gateway._protocol.codec import encode_v1
from trio_gateway._protocol.messages import MessageFactory

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Callable

    from conftest import RunningGateway


UNKNOWN = "11111111-1111-4111-8111-111111111111"


def test_the_names_are_the_librarys() -> None:
    """Whatever the library's front door shows is here too, and is the same but for what opens a gateway."""
    names = {name for name, value in vars(trio_gateway).items() if not name.startswith("_") and not inspect.ismodule(value)}
    assert {"Gateway", "open_gateway", "GatewayError"} <= names
    assert {name for name in names if getattr(tg, name, None) is not getattr(trio_gateway, name)} == {
        "open_fleet",
        "open_gateway",
        "open_hub",
        "open_local_gateway",
    }
    for name in ("open_fleet", "open_gateway", "open_hub", "open_local_gateway"):
        assert inspect.signature(getattr(tg, name)) == inspect.signature(getattr(trio_gateway, name))
        assert getattr(tg, name).__doc__ == getattr(trio_gateway, name).__doc__


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
                while not ends_code(await messages.receive()):
                    pass
                found = [await anext(outputs), *outputs.receive_ready(2), *outputs.receive_ready()]
                assert (found, outputs.receive_ready()) == ([tg.Stream("stdout", f"{i}\n") for i in range(5)], [])
            async with kernel.iopub.subscribe() as messages:
                await kernel.execute("1")
                first = await messages.receive()
                ready = messages.receive_ready(1) + messages.receive_ready(limit=64, limit_bytes=10_000)
                kinds = [message.msg_type for message in [first, *ready] if message.parent_type == "execute_request"]
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
                while not ends_code(await messages.receive()):
                    pass
                assert messages.statistics().blocked_seconds > 0

    run(backend, main)


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


@pytest.mark.gateway
@pytest.mark.full
def test_a_kernel_that_answers_nobody(really_opened: Callable[..., Any]) -> None:  # G3
    async def main() -> None:
        async with really_opened(ping_interval=2.0, unresponsive_timeout=4.0) as gateway, gateway.start_kernel() as kernel:
            pid = int((await kernel.execute("import os; os.getpid()")).text)
            while not kernel.hb.evidence.answers_at_work:
                await kernel.execute("import time; time.sleep(5)")
            os.kill(pid, signal.SIGSTOP)
            try:
                with pytest.raises(tg.KernelUnresponsiveError) as caught:
                    await kernel.execute("1")
                assert (caught.value.kernel_id, caught.value.limit) == (kernel.id, 4.0)
                assert kernel.verdict is kernel.hb.verdict is tg.Verdict.UNRESPONSIVE
            finally:
                os.kill(pid, signal.SIGCONT)
            assert (await kernel.execute("6 * 7")).text == "42"

    run("asyncio", main)
