"""`trio_gateway.blocking`: from plain threads, and while an event loop runs."""

from __future__ import annotations

import asyncio
import contextvars
import functools
import inspect
import os
import signal
import threading
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
import sniffio
import trio

import trio_gateway
import trio_gateway.blocking as tg
from tools.face_fixtures import *  # noqa: F403 - pytest looks for fixtures in this module
from tools.face_tools import ListeningFake, ends_code, kernel_ids, trio_threads
from trio_gateway._portal.members import MEMBERS
from trio_gateway._protocol.codec import encode_v1
from trio_gateway._protocol.messages import MessageFactory

if TYPE_CHECKING:
    from collections.abc import Callable

    from conftest import RunningGateway


HERE: contextvars.ContextVar[str] = contextvars.ContextVar("HERE", default="nowhere")


UNKNOWN = "11111111-1111-4111-8111-111111111111"


@pytest.fixture
def opened(fake_gateway: ListeningFake) -> Callable[..., Any]:
    """Open the fake."""
    return functools.partial(tg.open_gateway, fake_gateway.url, auth_token=fake_gateway.token)


@pytest.fixture
def really_opened(real_gateway: RunningGateway) -> Callable[..., Any]:
    """Open the real gateway."""
    return functools.partial(tg.open_gateway, real_gateway.url, auth_token=real_gateway.token)


def no_library() -> None:
    """See that no event loop runs here."""
    with pytest.raises(sniffio.AsyncLibraryNotFoundError):
        sniffio.current_async_library()


def test_a_kernel_is_dead_when_its_block_has_shut_it_down(opened: Callable[..., Any]) -> None:
    """As `is_alive()` of jupyter_client's managers is false then."""
    with opened() as gateway:
        with gateway.start_kernel() as kernel:
            assert kernel.verdict is tg.Verdict.ALIVE
        assert (kernel.verdict, kernel.state) == (tg.Verdict.DEAD, tg.KernelState.DEAD)
    assert (kernel.verdict, kernel.hb.is_beating()) == (tg.Verdict.DEAD, False), "when Trio's thread has ended, too"


def test_the_names_are_the_librarys() -> None:
    """Whatever the library's front door shows is here too, and what has no `async` in it is the same."""
    names = {name for name, value in vars(trio_gateway).items() if not name.startswith("_") and not inspect.ismodule(value)}
    faces = {original.__name__ for original in MEMBERS}
    different = {name for name in names if getattr(tg, name, None) is not getattr(trio_gateway, name)}
    assert different == (faces & names) | {"open_fleet", "open_gateway", "open_hub", "open_local_gateway"}
    for name in ("open_fleet", "open_gateway", "open_hub", "open_local_gateway"):
        there, here = getattr(trio_gateway, name), getattr(tg, name)
        assert inspect.signature(here).parameters == inspect.signature(there).parameters
        assert inspect.getdoc(here) == inspect.getdoc(there)


@pytest.mark.gateway
def test_a_tour(really_opened: Callable[..., Any], real_gateway: RunningGateway) -> None:
    """Everything there is, without a word of `async`."""
    no_library()
    events: list[tg.GatewayEvent] = []
    with really_opened(on_event=events.append) as gateway:
        assert isinstance(gateway, tg.Gateway)
        assert repr(gateway) == f"<Gateway {real_gateway.url}>"
        assert len(trio_threads()) == 1
        assert gateway.config.url == gateway.url == real_gateway.url
        assert "python3" in gateway.kernelspecs.list().kernelspecs
        with gateway.start_kernel("python3") as kernel:
            assert (kernel.name, len(kernel.id), len(kernel.session_id) > 8) == ("python3", 36, True)
            assert kernel.execute("6 * 7").text == "42"
            with kernel.stream("for i in range(3): print(i)") as outputs:
                assert "".join(output.text for output in outputs) == "0\n1\n2\n"
            assert outputs.result.status == "ok"
            assert outputs.statistics().messages == 0
            assert kernel.id in [model.id for model in gateway.kernels.list()]

            with kernel.iopub.subscribe() as messages:
                kernel.execute("print('seen', end='')")
                for message in messages:
                    if message.msg_type == "stream":
                        break
                assert messages.receive().msg_type == "status"
                with pytest.raises(trio.WouldBlock):
                    messages.receive_nowait()
                messages.close()
                with pytest.raises(trio.EndOfChannel):
                    messages.receive()
            assert kernel.iopub is kernel.iopub
            assert kernel.shell.send("kernel_info_request", {}).msg_type == "kernel_info_request"
            assert kernel.shell.statistics().sent == 1

            with kernel.subshell() as subshell:
                assert subshell.execute("1 + 1").text == "2"

            echo = (
                "def opened(comm, message):\n"
                "    comm.on_msg(lambda message: comm.send({}, buffers=message['buffers']))\n"
                "get_ipython().kernel.comm_manager.register_target('echo', opened)"
            )
            kernel.execute(echo).raise_for_error()
            with kernel.comms.open("echo") as comm:
                comm.send({}, buffers=[b"\x00\xff"])
                assert bytes(next(comm).buffers[0]) == b"\x00\xff"
            with kernel.comms.accept("mine") as incoming:
                kernel.execute("from comm import create_comm; create_comm('mine', data={'a': 1})")
                with next(incoming) as comm:
                    assert (comm.opening.data, comm.target_name, comm.closed) == ({"a": 1}, "mine", False)
                assert comm.closed
            kernel.execute("1")  # the kernel is busy with the comm's end first

            kernel.wait_for(tg.KernelState.IDLE)
            assert next(kernel.changes()).kernel is kernel.state is tg.KernelState.IDLE
            assert kernel.connection_state is tg.ConnectionState.CONNECTED
            assert (kernel.hb.is_beating(), kernel.hb.check(), kernel.hb.verdict) == (True, tg.Verdict.ALIVE, tg.Verdict.ALIVE)
            assert kernel.hb.silence >= 0
            assert kernel.hb.evidence.restarts == 0
            with pytest.raises(tg.ExecutionError, match="division"):
                kernel.execute("1 / 0").raise_for_error()
            with gateway.open_channels(kernel.id) as channels:
                channels.wait_opened()
                request = MessageFactory("asking", "me").make("control", "kernel_info_request", {}, date="2026-01-01T00:00:00Z")
                channels.send(encode_v1(request))
                while not any(b"kernel_info_reply" in frame for frame in channels.receive() if isinstance(frame, bytes)):
                    pass
                assert (channels.resumed, channels.kernel_state) == (0, tg.KernelState.STARTING)
            session = gateway.sessions.create("a.ipynb", kernel_id=kernel.id)
            assert gateway.sessions.get(path="a.ipynb").id == session.id
            with gateway.http_client() as client:
                answer = client.post("api/kernels", json={"name": "python3"})
                assert str(answer.url) == f"{gateway.url}/api/kernels"
                assert client.post("api/kernels", content=iter([b'{"name": ', b'"no such kernel"}'])).status_code == 500
            gateway.kernels.shutdown(answer.json()["id"])
        with pytest.raises(tg.KernelNotFoundError) as caught:
            gateway.kernels.get(kernel.id)
        assert caught.value.status_code == 404
        assert gateway.dropped_events == 0
    assert "start" in [event.action for event in events]
    with pytest.raises(trio.ClosedResourceError):
        gateway.kernels.list()
    assert gateway.url == real_gateway.url


@pytest.mark.full
@pytest.mark.gateway
def test_a_local_gateway() -> None:
    """`open_local_gateway` is there too."""
    with tg.open_local_gateway() as gateway, gateway.start_kernel() as kernel:
        assert kernel.execute("1 + 1").text == "2"


def test_what_is_ready_is_given_without_waiting(opened: Callable[..., Any], kernel_id: str) -> None:
    """In order, each once, whether it was handed over or still waits in Trio; comms are the face's own."""
    with opened() as gateway, gateway.attach_kernel(kernel_id) as kernel:
        code = "for i in range(5): print(i, flush=True)"
        with kernel.iopub.subscribe() as messages, kernel.stream(code) as outputs:
            while not ends_code(messages.receive()):
                pass
            found = [next(outputs), *outputs.receive_ready(2), *outputs.receive_ready()]
            assert (found, outputs.receive_ready()) == ([tg.Stream("stdout", f"{i}\n") for i in range(5)], [])
        with kernel.iopub.subscribe() as messages:
            kernel.execute("1")
            heard = [messages.receive(), *messages.receive_ready()]
            kinds = [message.msg_type for message in heard if message.parent_type == "execute_request"]
            assert kinds == ["status", "execute_input", "execute_result", "status"]
        with kernel.comms.accept("mine") as incoming:
            opening = {"comm_id": uuid.uuid4().hex, "target_name": "mine", "data": {"a": 1}}
            message = MessageFactory("a", "b").make("iopub", "comm_open", opening, date="2026-01-01T00:00:00Z")
            kernel._portal.run_sync(lambda: kernel.comms._original.observe(message))
            (comm,) = incoming.receive_ready()
            assert isinstance(comm, tg.Comm)
            assert (comm.opening.data, comm.receive_ready()) == ({"a": 1}, [])
            comm.close()


def test_exceptions_and_blocks(opened: Callable[..., Any], fake_gateway: ListeningFake) -> None:
    """What the body raises comes out as the same object, and the kernel is gone (G2, G9); wrong arguments are named (G10)."""
    before = kernel_ids(fake_gateway)
    mine = LookupError("mine")
    with pytest.raises(LookupError) as caught, opened() as gateway, gateway.start_kernel() as kernel:
        assert kernel_ids(fake_gateway) - before == {kernel.id}
        raise mine
    assert caught.value is mine
    assert kernel_ids(fake_gateway) == before
    with opened() as gateway:
        with pytest.raises(tg.InvalidInputError):
            gateway.start_kernel(path="a", cwd="b")
        with pytest.raises(tg.KernelNotFoundError), gateway.attach_kernel(UNKNOWN):
            pytest.fail("there is none")
        block = gateway.start_kernel()
        with block:
            pass
        with pytest.raises(RuntimeError, match="entered before"):
            block.__enter__()
    with pytest.raises(tg.ConfigError):
        tg.open_gateway("gopher://127.0.0.1").__enter__()


def test_callbacks(opened: Callable[..., Any], kernel_id: str, caplog: pytest.LogCaptureFixture) -> None:
    """`stdin` is called in the calling thread with its context variables; a sink that calls back gets an error."""
    seen: list[tuple[str, str]] = []

    def ask(prompt: str, password: bool) -> str:
        seen.append((threading.current_thread().name, HERE.get()))
        kernel.wait_for(tg.KernelState.BUSY)  # a call of its own meanwhile; the kernel may ask before it says that it is busy
        return prompt

    def told(event: tg.GatewayEvent) -> None:
        if event.action == "interrupt":
            gateway.kernels.list()

    HERE.set("here")
    with opened(on_event=told) as gateway, gateway.attach_kernel(kernel_id) as kernel:
        assert kernel.execute("input('who? ')", stdin=ask).text == "'who? '"
        with kernel.stream("input('again? ')", stdin=ask) as outputs:
            assert [output.data["text/plain"] for output in outputs] == ["'again? '"]
        assert seen == [(threading.current_thread().name, "here")] * 2

        async def too_modern(prompt: str, password: bool) -> str:
            return prompt

        with pytest.raises(tg.InvalidInputError, match="plain function"):
            kernel.execute("input()", stdin=too_modern)
        kernel.interrupt()
    assert "would wait for itself" in caplog.text


def test_many_threads(opened: Callable[..., Any]) -> None:
    """Any number of threads use one kernel, or gateways of their own, all through one thread of Trio's."""
    with opened() as gateway, gateway.start_kernel() as kernel, ThreadPoolExecutor(8) as pool:
        assert [result.text for result in pool.map(kernel.execute, map(str, range(20)))] == [str(n) for n in range(20)]

        def own(number: int) -> int:
            with opened() as mine, mine.attach_kernel(kernel.id) as again:
                assert again.execute(str(number)).text == str(number)
                return len(trio_threads())

        assert set(pool.map(own, range(8))) == {1}


def test_while_an_event_loop_runs(opened: Callable[..., Any], kernel_id: str) -> None:
    """As in a notebook's cell: the loop stands still meanwhile, Trio does not."""

    async def main() -> str | None:
        assert sniffio.current_async_library() == "asyncio"
        with opened() as gateway, gateway.attach_kernel(kernel_id) as kernel:
            text: str | None = kernel.execute("6 * 7").text
            return text

    assert asyncio.run(main()) == "42"
    assert trio.run(main_in_trio, opened, kernel_id) == "42"


async def main_in_trio(opened: Callable[..., Any], kernel_id: str) -> str | None:
    """In a Trio program, too, if it must be."""
    await trio.lowlevel.checkpoint()
    with opened() as gateway, gateway.attach_kernel(kernel_id) as kernel:
        text: str | None = kernel.execute("6 * 7").text
        return text


@pytest.mark.full
@pytest.mark.gateway
def test_in_a_running_notebook(really_opened: Callable[..., Any], fake_gateway: ListeningFake) -> None:
    """A cell of a real kernel."""
    cell = (
        "import os\n"
        "import trio_gateway.blocking as tg\n"
        "with tg.open_gateway(os.environ['KERNEL_INNER_URL'], auth_token=os.environ['KERNEL_INNER_TOKEN']) as gateway:\n"
        "    with gateway.start_kernel() as kernel:\n"
        "        print(kernel.execute('6 * 7').text)\n"
    )
    env = {"KERNEL_INNER_URL": fake_gateway.url, "KERNEL_INNER_TOKEN": fake_gateway.token}
    with really_opened() as gateway, gateway.start_kernel(env=env) as kernel:
        result = kernel.execute(cell)
        result.raise_for_error()
        assert "".join(output.text for output in result.outputs) == "42\n"


@pytest.mark.gateway
@pytest.mark.full
def test_a_kernel_that_answers_nobody(really_opened: Callable[..., Any]) -> None:  # G3
    with really_opened(ping_interval=2.0, unresponsive_timeout=4.0) as gateway, gateway.start_kernel() as kernel:
        pid = int(kernel.execute("import os; os.getpid()").text)
        while not kernel.hb.evidence.answers_at_work:
            kernel.execute("import time; time.sleep(5)")
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(tg.KernelUnresponsiveError) as caught:
                kernel.execute("1")
            assert (caught.value.kernel_id, caught.value.limit) == (kernel.id, 4.0)
            assert kernel.verdict is kernel.hb.verdict is tg.Verdict.UNRESPONSIVE
        finally:
            os.kill(pid, signal.SIGCONT)
        assert kernel.execute("6 * 7").text == "42"
