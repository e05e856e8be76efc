"""The guarantees G1, G2, G6, G8 and G9 on a real gateway; each test's name begins with the number of the one it is about.

What is left behind is looked for from the operating system's side: sockets, file descriptors, processes (`os_view.Held`).
"""

from __future__ import annotations

import logging
import os
import pickle
import re
import secrets
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import AsyncGenerator, Callable, Iterator
from contextlib import ExitStack, asynccontextmanager, contextmanager
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

import trio_gateway
from tools.gateway_tools import PATIENCE, Wire, rest
from tools.guarantee_tools import kernels_of, no_kernel_left, usable_at_once
from tools.os_view import Held, nothing_left_behind
from tools.tcp_proxy import Link, TcpProxy, open_tcp_proxy
from trio_gateway import (
    AuthenticationError,
    ConnectionLostError,
    Gateway,
    GatewayConnectionError,
    GatewayEvent,
    GatewayTimeoutError,
    Kernel,
    Stream,
    open_gateway,
    open_local_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway

pytestmark = pytest.mark.gateway

POST_KERNELS = "POST /api/kernels"


@asynccontextmanager
async def through_proxy(real_gateway: RunningGateway, **settings: Any) -> AsyncGenerator[tuple[TcpProxy, Gateway]]:
    """Open the real gateway through a proxy; nothing may be left behind at the end."""
    with no_kernel_left(real_gateway):
        async with (
            open_tcp_proxy(real_gateway.url) as proxy,
            open_gateway(proxy.url, auth_token=real_gateway.token, **settings) as gateway,
        ):
            yield proxy, gateway


# ----------------------------------------------------------------------------------------------- G1: nothing left behind


async def test_what_is_left_behind_is_seen(tmp_path: Path) -> None:
    """The check itself can fail."""
    async with trio.open_nursery() as nursery:
        with pytest.raises(AssertionError, match=r"tasks.*sleep_forever"), nothing_left_behind():
            nursery.start_soon(trio.sleep_forever)
        nursery.cancel_scope.cancel()
    with pytest.raises(AssertionError, match="sockets"), nothing_left_behind():
        (listener,) = await trio.open_tcp_listeners(0, host="127.0.0.1")
    await listener.aclose()
    with pytest.raises(AssertionError, match="files"), nothing_left_behind():
        file = (tmp_path / "file").open("w")
    file.close()
    with pytest.raises(AssertionError, match="children"), nothing_left_behind():
        process = await trio.lowlevel.open_process([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    assert process.stdin is not None
    await process.stdin.aclose()
    await process.wait()


class Boom(Exception):
    """What a test's body raises."""


def ways_to_end(*marks: pytest.MarkDecorator) -> list[Any]:
    """All of them; the marks are for all but the last one, cancellation."""
    return [
        pytest.param(None, id="success", marks=marks),
        *(pytest.param(way, id=way.__name__, marks=marks) for way in (Boom, KeyboardInterrupt)),
        pytest.param(trio.Cancelled, id="Cancelled"),
    ]


@contextmanager
def expecting(way: type[BaseException] | None) -> Iterator[trio.CancelScope]:
    """Check that a body ends in this way; the scope is there for the one that is cancelled."""
    with ExitStack() as stack:
        if way is not None and way is not trio.Cancelled:
            stack.enter_context(pytest.raises(way))
        scope = stack.enter_context(trio.CancelScope())
        yield scope
    assert scope.cancelled_caught == (way is trio.Cancelled)


async def end(way: type[BaseException] | None, scope: trio.CancelScope) -> None:
    """Let a body end in one of the ways."""
    if way is trio.Cancelled:
        scope.cancel()
        await trio.sleep_forever()
    elif way is not None:
        raise way


@pytest.mark.parametrize("way", ways_to_end(pytest.mark.full))
async def test_G1_G2_however_a_block_ends(real_gateway: RunningGateway, wire: Wire, way: type[BaseException] | None) -> None:
    """With an idle kernel, and with one that is at work."""
    for busy in (False, True):
        with no_kernel_left(real_gateway), expecting(way) as scope:
            async with (
                open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
                gateway.start_kernel("python3") as kernel,
            ):
                await kernel.execute(wire.code)
                if busy:
                    async with kernel.stream("wire('working')\nwhile True: pass"):
                        await (await wire.hears("working")).answer()
                        await end(way, scope)
                else:
                    await end(way, scope)


@pytest.mark.parametrize("way", ways_to_end())
async def test_G1_attached_kernels_are_left_running(
    real_gateway: RunningGateway, kernel: Kernel, way: type[BaseException] | None
) -> None:
    before = kernels_of(real_gateway)
    assert len(before[0]) == len(before[1])
    with nothing_left_behind(), expecting(way) as scope:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as other,
            other.attach_kernel(kernel.id) as attached,
        ):
            await attached.execute("x = 5")
            await end(way, scope)
    assert kernels_of(real_gateway) == before
    assert (await kernel.execute("x")).text == "5"


async def test_G1_outputs_that_nobody_read_leave_no_file(
    real_gateway: RunningGateway, shared_kernel_id: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Outputs beyond the bounds lie in a temporary file; leaving the stream removes it."""
    make = tempfile.TemporaryFile
    made = trio.Event()

    def note_and_make(*args: Any, **kwargs: Any) -> Any:
        made.set()
        return make(*args, **kwargs)

    monkeypatch.setattr(tempfile, "TemporaryFile", note_and_make)
    with no_kernel_left(real_gateway):
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token, buffer_messages=10) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
        ):
            before = Held.now()
            async with kernel.stream("for i in range(100):\n    print(i, flush=True)\nwhile True: pass") as outputs:
                await made.wait()
                assert Held.now().files - before.files
                assert outputs.statistics().spooled > 0
            await kernel.execute("")
            assert Held.now() == before


async def test_G1_a_cancelled_connect_leaves_nothing(real_gateway: RunningGateway) -> None:
    """Nobody answers: the proxy takes connections and swallows what comes."""
    async with open_tcp_proxy(real_gateway.url) as proxy:
        proxy.on_link = Link.swallow
        with nothing_left_behind():
            async with trio.open_nursery() as nursery:

                async def start() -> None:
                    async with open_gateway(proxy.url, auth_token=real_gateway.token) as gateway:
                        async with gateway.start_kernel("python3"):
                            pytest.fail("not reached")

                nursery.start_soon(start)
                link = await proxy.wait_request("GET /api/kernelspecs")
                nursery.cancel_scope.cancel()
            link.end()
            await link.ended.wait()


@pytest.mark.parametrize("way", ways_to_end(pytest.mark.full))
async def test_G1_a_local_gateway_ends_with_its_block(way: type[BaseException] | None) -> None:
    pid = 0
    with nothing_left_behind(), expecting(way) as scope:
        async with open_local_gateway() as gateway, gateway.start_kernel() as kernel:
            pid = int((await kernel.execute("import os; os.getpid()")).text)
            assert psutil.pid_exists(pid)
            await end(way, scope)
    assert not psutil.pid_exists(pid)


PROGRAM = """
import trio, trio_gateway
async def main():
    async with trio_gateway.open_local_gateway() as gateway, gateway.start_kernel() as kernel:
        async with kernel.stream("print('running', flush=True)\\nwhile True: pass") as outputs:
            await anext(outputs)  # a part of the line, or all of it
            print("running", flush=True)
            await trio.sleep_forever()
trio.run(main)
"""


@pytest.mark.full
async def test_G1_control_c_leaves_no_process(tmp_path: Path) -> None:
    """The program, its gateway and its kernel carry a mark in their environment: after SIGINT no process has it any more."""
    mark = secrets.token_hex(8)

    def marked() -> list[str]:
        found = []
        for process in psutil.process_iter():
            try:
                if process.environ().get("TRIO_GATEWAY_MARK") == mark and process.status() != psutil.STATUS_ZOMBIE:
                    found.append(" ".join(process.cmdline()))
            except psutil.Error:
                continue
        return found

    environment = {**os.environ, "TRIO_GATEWAY_MARK": mark}
    printed = b""
    with (tmp_path / "errors").open("w+") as log:
        async with trio.open_nursery() as nursery:
            run = partial(
                trio.run_process,
                [sys.executable, "-X", "faulthandler", "-c", PROGRAM],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=log,
                check=False,
            )
            program: trio.Process = await nursery.start(run)
            assert program.stdout is not None
            with trio.move_on_after(PATIENCE) as scope:
                while not printed.endswith(b"running\n"):
                    data = await program.stdout.receive_some()
                    assert data, (tmp_path / "errors").read_text()
                    printed += data
                assert len(marked()) == 3
                program.send_signal(signal.SIGINT)
                await program.wait()
            if scope.cancelled_caught:
                program.send_signal(signal.SIGABRT)  # tells where it hangs
                await program.wait()
            assert not scope.cancelled_caught, f"{printed!r}; {marked()}\n{(tmp_path / 'errors').read_text()}"
        assert marked() == []
        assert program.returncode == -signal.SIGINT
        errors = (tmp_path / "errors").read_text()
    assert errors.rstrip().endswith("KeyboardInterrupt")
    assert "ExceptionGroup" not in errors


# ---------------------------------------------------------------------------------------------------- G2: no orphan kernel


def on_start(proxy: TcpProxy, act: Callable[[Link], object]) -> None:
    """Do something with the link that carries the start request, before a byte of it is forwarded."""

    def look(link: Link, request: str) -> None:
        if request.startswith(POST_KERNELS) and "/" not in request.removeprefix(POST_KERNELS):
            act(link)

    proxy.on_request = look


async def start_and_wait(gateway: Gateway, **arguments: Any) -> None:
    async with gateway.start_kernel("python3", **arguments):
        pytest.fail("the start should have failed")


async def test_G2_cancelled_while_the_answer_is_under_way(real_gateway: RunningGateway) -> None:
    """The kernel runs, its owner does not know yet: it waits for the answer, and then shuts the kernel down."""
    async with through_proxy(real_gateway) as (proxy, gateway), trio.open_nursery() as nursery:
        on_start(proxy, lambda link: link.to_client.hold())
        before = real_gateway.kernel_processes()
        nursery.start_soon(start_and_wait, gateway)
        link = await proxy.wait_request(POST_KERNELS)
        await link.to_client.held.wait()
        assert len(real_gateway.kernel_processes()) == len(before) + 1
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await trio.testing.wait_all_tasks_blocked()
            link.release()


@pytest.mark.full
async def test_G2_cancelled_and_the_answer_never_comes(real_gateway: RunningGateway) -> None:
    """The kernel's id was ours: it is found and shut down all the same, before `cleanup_timeout` runs out."""
    async with through_proxy(real_gateway, cleanup_timeout=12) as (proxy, gateway), trio.open_nursery() as nursery:
        on_start(proxy, lambda link: link.to_client.hold())
        nursery.start_soon(start_and_wait, gateway)
        link = await proxy.wait_request(POST_KERNELS)
        await link.to_client.held.wait()
        nursery.cancel_scope.cancel()


LOSSES: dict[str, Callable[[Link], object]] = {
    "closed in place of the answer": lambda link: link.to_client.cut_after(0),
    "reset in place of the answer": lambda link: link.to_client.cut_after(0, reset=True),
    "closed in the answer's head": lambda link: link.to_client.cut_after(20),
    "closed in the answer's body": lambda link: link.to_client.cut_after(500),
}


@pytest.mark.parametrize(
    "loss", [pytest.param(loss, marks=pytest.mark.full if number else ()) for number, loss in enumerate(LOSSES)]
)
async def test_G2_the_answer_is_lost(real_gateway: RunningGateway, loss: str) -> None:
    async with through_proxy(real_gateway) as (proxy, gateway):
        on_start(proxy, LOSSES[loss])
        with pytest.raises(GatewayConnectionError, match="before its answer was complete"):
            await start_and_wait(gateway)
        assert len([request for request in proxy.requests if request == POST_KERNELS]) == 1


@pytest.mark.full
async def test_G2_cancelled_while_the_lost_kernel_is_looked_for(real_gateway: RunningGateway) -> None:
    """The start has failed and cleans up after itself: the caller's cancellation waits for that."""
    async with through_proxy(real_gateway) as (proxy, gateway), trio.open_nursery() as nursery:

        def lose_the_answer_and_hold_the_shutdown(link: Link, request: str) -> None:
            if request == POST_KERNELS:
                link.to_client.cut_after(0)
            elif request.startswith("DELETE "):
                link.to_server.hold()

        async def start() -> None:
            with pytest.raises(GatewayConnectionError, match="before its answer was complete"):  # it came first
                await start_and_wait(gateway)

        proxy.on_request = lose_the_answer_and_hold_the_shutdown
        nursery.start_soon(start)
        link = await proxy.wait_request("DELETE ")
        await link.to_server.held.wait()
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await trio.testing.wait_all_tasks_blocked()
            link.release()


@pytest.mark.full
async def test_G2_the_connection_breaks_while_the_gateway_starts_the_kernel(real_gateway: RunningGateway) -> None:
    """The answer was not even written; the kernel appears after the look for it has begun."""
    async with through_proxy(real_gateway) as (proxy, gateway):

        def break_when_sent(link: Link) -> None:
            link.to_server.forwarded = lambda data: link.reset() if data.endswith(b"}") else None

        on_start(proxy, break_when_sent)
        with pytest.raises(GatewayConnectionError):
            await start_and_wait(gateway)


@pytest.mark.full
async def test_G2_the_start_takes_too_long(real_gateway: RunningGateway) -> None:
    async with through_proxy(real_gateway, request_timeout=2, launch_timeout_pad=0.5) as (proxy, gateway):
        on_start(proxy, lambda link: link.to_client.hold())
        with pytest.raises(GatewayTimeoutError, match="launch_timeout") as caught:
            await start_and_wait(gateway, launch_timeout=1.5)
        assert (caught.value.phase, caught.value.setting, caught.value.limit) == ("kernel start", "launch_timeout", 2.0)


@pytest.mark.full
async def test_G2_the_kernel_never_answers_the_handshake(real_gateway: RunningGateway) -> None:
    async with through_proxy(real_gateway, handshake_timeout=1) as (proxy, gateway):
        proxy.on_request = lambda link, request: link.swallow() if "/channels" in request else None
        with pytest.raises(GatewayTimeoutError, match="handshake_timeout") as caught:
            await start_and_wait(gateway)
        assert caught.value.phase == "WebSocket handshake"


@pytest.mark.full
async def test_G2_the_gateway_chooses_another_id(real_gateway: RunningGateway) -> None:
    """Older servers ignore the id we wish for: what they answer counts."""
    async with through_proxy(real_gateway) as (proxy, gateway):

        def unsay_the_id(link: Link) -> None:
            link.to_server.rewrite = lambda data: data.replace(b'"kernel_id"', b'"unknown_1"')

        on_start(proxy, unsay_the_id)
        async with gateway.start_kernel("python3") as kernel:
            assert kernel.id in {model["id"] for model in rest(real_gateway, "GET", "/api/kernels")}
            assert (await kernel.execute("import os; os.environ['KERNEL_ID']")).text != repr(kernel.id)

    async with through_proxy(real_gateway) as (proxy, gateway), trio.open_nursery() as nursery:

        def unsay_and_hold(link: Link) -> None:
            unsay_the_id(link)
            link.to_client.hold()

        on_start(proxy, unsay_and_hold)
        nursery.start_soon(start_and_wait, gateway)
        link = await proxy.wait_request(POST_KERNELS)
        await link.to_client.held.wait()
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await trio.testing.wait_all_tasks_blocked()
            link.release()


@pytest.mark.full
async def test_G2_the_answer_to_the_shutdown_is_lost(real_gateway: RunningGateway) -> None:
    """It is asked for again; that the kernel is not there any more is what was wanted."""
    cut: list[Link] = []

    def cut_once(link: Link, request: str) -> None:
        if request.startswith("DELETE ") and not cut:
            cut.append(link)
            link.to_client.cut_after(0)

    async with through_proxy(real_gateway) as (proxy, gateway):
        proxy.on_request = cut_once
        async with gateway.start_kernel("python3"):
            pass
        assert cut


@pytest.mark.full
async def test_G2_a_shutdown_that_fails_is_told(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Whoever left the block well learns that the kernel may be left; who raised keeps their exception, and the log tells."""
    for way in (None, Boom):
        async with (
            open_tcp_proxy(real_gateway.url) as proxy,
            open_gateway(proxy.url, auth_token=real_gateway.token, cleanup_timeout=0.5) as gateway,
        ):
            with pytest.raises(GatewayTimeoutError if way is None else way) as caught:
                async with gateway.start_kernel("python3") as kernel:
                    proxy.on_request = lambda link, request: link.swallow() if request.startswith("DELETE ") else None
                    if way is not None:
                        raise way
            if way is None:
                assert isinstance(caught.value, GatewayTimeoutError)
                assert caught.value.setting == "cleanup_timeout"
                assert kernel.id in str(caught.value)
        assert f"kernel_may_be_left: {kernel.id}" in caplog.text
        caplog.clear()
        rest(real_gateway, "DELETE", f"/api/kernels/{kernel.id}")


# ------------------------------------------------------------------------------------------------ G6: cancelling interrupts


def interrupts(events: list[GatewayEvent]) -> list[GatewayEvent]:
    """The requests to interrupt a kernel among these events."""
    return [event for event in events if event.path is not None and event.path.endswith("/interrupt")]


async def test_G6_cancelled_execute_interrupts(kernel: Kernel, wire: Wire) -> None:
    """Code that computes, code that waits in a system call, and code that has only just begun."""
    await kernel.execute(f"{wire.code}\nkept = 'state'")
    codes = {
        "computes": "wire('computes')\nwhile True: pass",
        "waits": "wire('waits')",
        "sleeps": "import time\nwire('sleeps')\ntime.sleep(1e6)",
    }
    for word, code in codes.items():
        async with trio.open_nursery() as nursery:
            nursery.start_soon(kernel.execute, code)
            call = await wire.hears(word)
            if word == "waits":
                nursery.cancel_scope.cancel()
                with trio.fail_after(PATIENCE, shield=True):
                    await call.hung_up()
            else:
                await call.answer()
                nursery.cancel_scope.cancel()
        await usable_at_once(kernel)


async def test_G6_the_callers_deadline(kernel: Kernel) -> None:
    """As in the README: the scope's deadline ends it, and is not turned into another error."""
    await kernel.execute("kept = 'state'")
    with trio.move_on_after(0.1) as scope:
        await kernel.execute("while True: pass")
    assert scope.cancelled_caught
    await usable_at_once(kernel)
    with pytest.raises(trio.TooSlowError):
        with trio.fail_after(0.1):
            await kernel.execute("while True: pass")
    await usable_at_once(kernel)


async def test_G6_leaving_a_stream_interrupts(kernel: Kernel) -> None:
    await kernel.execute("kept = 'state'")
    endless = "i = 0\nwhile True:\n    print(i, flush=True)\n    i += 1"
    with nothing_left_behind():
        async with kernel.stream(endless) as outputs:
            async for output in outputs:
                assert isinstance(output, Stream)
                break
        await usable_at_once(kernel)

        with pytest.raises(Boom):
            async with kernel.stream(endless) as outputs:
                await anext(outputs)
                raise Boom
        await usable_at_once(kernel)

        with trio.CancelScope() as scope:
            async with kernel.stream(endless) as outputs:
                await anext(outputs)
                scope.cancel()
                await trio.sleep_forever()
        await usable_at_once(kernel)

        async with kernel.stream(endless):
            pass
        await usable_at_once(kernel)


async def test_G6_a_stream_read_to_its_end_is_not_interrupted(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    events: list[GatewayEvent] = []
    async with (
        open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        async with kernel.stream("print(1)") as outputs:
            async for _ in outputs:
                pass
        await kernel.execute("1 / 0")
    assert interrupts(events) == []


async def test_G6_abandon(real_gateway: RunningGateway, shared_kernel_id: str, wire: Wire) -> None:
    """The code runs on, and the next execution waits for it."""
    events: list[GatewayEvent] = []
    async with (
        open_gateway(real_gateway.url, auth_token=real_gateway.token, on_event=events.append) as gateway,
        gateway.attach_kernel(shared_kernel_id) as kernel,
    ):
        await kernel.execute(f"{wire.code}\ndone = []")
        async with trio.open_nursery() as nursery:

            async def execute() -> None:
                await kernel.execute("done.append(wire('first'))", on_cancel="abandon")

            nursery.start_soon(execute)
            first = await wire.hears("first")
            nursery.cancel_scope.cancel()
        async with kernel.stream("done.append(wire('second'))", on_cancel="abandon"):
            await first.answer("one")
            second = await wire.hears("second")
        await second.answer("two")
        assert (await kernel.execute("done")).text == "['one', 'two']"
    assert interrupts(events) == []


@pytest.mark.full
async def test_G6_code_that_refuses_to_be_interrupted_does_not_keep_its_caller(
    real_gateway: RunningGateway, wire: Wire, caplog: pytest.LogCaptureFixture
) -> None:
    """Waiting for the end of the interrupted code is bounded by `interrupt_timeout`; its kernel can still be shut down."""
    stubborn = "while True:\n    try:\n        wire('again')\n    except KeyboardInterrupt:\n        pass"
    with no_kernel_left(real_gateway):
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token, interrupt_timeout=0.5) as gateway,
            gateway.start_kernel("python3") as kernel,
        ):
            await kernel.execute(wire.code)
            async with trio.open_nursery() as nursery:
                nursery.start_soon(kernel.execute, stubborn)
                first = await wire.hears("again")
                nursery.cancel_scope.cancel()
                with trio.fail_after(PATIENCE, shield=True):
                    await first.hung_up()
            assert "still_busy" in caplog.text
            (await wire.hears("again")).over.set()
        while not wire.heard_nothing():
            (await wire.hears("again")).over.set()
        await trio.testing.wait_all_tasks_blocked()


async def test_G6_code_that_needs_two_interrupts(kernel: Kernel, wire: Wire) -> None:
    await kernel.execute(f"{wire.code}\nkept = 'state'")
    async with trio.open_nursery() as nursery:
        nursery.start_soon(kernel.execute, "try:\n    wire('first')\nexcept KeyboardInterrupt:\n    wire('second')")
        first = await wire.hears("first")
        nursery.cancel_scope.cancel()
        with trio.fail_after(PATIENCE, shield=True):
            await first.hung_up()
            await (await wire.hears("second")).hung_up()
    await usable_at_once(kernel)


# --------------------------------------------------------------------------------------------------------- G8: secrets


def everything_said(error: BaseException | None) -> Iterator[str]:
    """All that an exception could show of itself, and of what caused it."""
    while error is not None:
        yield from (str(error), repr(error), repr(error.args), repr(vars(error)), repr(pickle.dumps(error)))
        yield "".join(traceback.format_exception(error))
        error = error.__cause__ or error.__context__


SECRET_HEADER = "header-that-is-secret"
SECRET_COOKIE = "cookie-that-is-secret"


async def test_G8_no_secret_is_said(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Not in a log of any library, not in an event, not in a repr, not in an error; though all of them were sent."""
    caplog.set_level(logging.DEBUG)
    said: list[str] = []
    events: list[GatewayEvent] = []
    sent: list[bytes] = []

    def listen(link: Link) -> None:
        def note(data: bytes) -> None:
            sent.append(data)

        link.to_server.forwarded = note
        link.to_client.rewrite = lambda data: re.sub(
            rb"^(HTTP/1.1 20\d [^\r]*\r\n)", rb"\1Set-Cookie: session=" + SECRET_COOKIE.encode() + rb"; Path=/\r\n", data
        )

    async with (
        open_tcp_proxy(real_gateway.url) as proxy,
        open_gateway(
            proxy.url,
            auth_token=real_gateway.token,
            headers={"X-Secret": SECRET_HEADER},
            accept_cookies=True,
            on_event=events.append,
            gateway_retry_interval=0,
        ) as gateway,
    ):
        proxy.on_link = listen
        async with gateway.start_kernel("python3") as kernel:
            result = await kernel.execute("1 / 0")
            said += [repr(result), repr(kernel), repr(gateway), repr(gateway.config), str(gateway.config), repr(vars(kernel))]
            said += [repr(gateway.config.describe()), gateway.url, repr(gateway.kernels), repr(gateway.kernelspecs)]
            # What is sent next breaks the connection, and is lost with it.
            link = await proxy.wait_request("GET /api/kernels/")
            link.to_server.cut_after(1, reset=True)
            with pytest.raises(ConnectionLostError) as broken:
                await kernel.execute("2")
            said += everything_said(broken.value)
        for failing in (gateway.kernels.get(kernel.id), gateway.kernelspecs.get("none"), gateway.kernels.interrupt(kernel.id)):
            with pytest.raises(trio_gateway.GatewayError) as caught:
                await failing
            said += everything_said(caught.value)
        await proxy.refuse()
        proxy.reset_all()
        with pytest.raises(GatewayConnectionError) as lost:
            await gateway.kernels.list()
        said += everything_said(lost.value)

    everything = b"".join(sent)
    for secret in (real_gateway.token, SECRET_HEADER, SECRET_COOKIE):
        assert secret.encode() in everything, "it was not sent, so that it is not said proves nothing"
        assert [text for text in said if secret in text] == []
        assert secret not in caplog.text
        assert secret not in repr([vars(record) for record in caplog.records])
        assert secret not in repr(events)
    assert {record.name.partition(".")[0] for record in caplog.records} >= {"trio_gateway"}
    assert events


@pytest.mark.full
async def test_G8_a_refused_token_is_not_said(real_gateway: RunningGateway, caplog: pytest.LogCaptureFixture) -> None:
    """Over HTTP and in the WebSocket's handshake."""
    caplog.set_level(logging.DEBUG)
    wrong = "wrong-and-yet-secret"
    events: list[GatewayEvent] = []
    said: list[str] = []
    async with open_gateway(real_gateway.url, auth_token=wrong, on_event=events.append) as gateway:
        with pytest.raises(AuthenticationError) as caught:
            await start_and_wait(gateway)
        assert caught.value.status_code == 401
        said += everything_said(caught.value)

    async with open_tcp_proxy(real_gateway.url) as proxy:

        def garble_handshake(link: Link) -> None:
            def garble(data: bytes) -> bytes:
                return data.replace(real_gateway.token.encode(), wrong.encode()) if b"/channels" in data else data

            link.to_server.rewrite = garble

        proxy.on_link = garble_handshake
        async with open_gateway(proxy.url, auth_token=real_gateway.token, on_event=events.append) as gateway:
            with pytest.raises(AuthenticationError) as caught:
                await start_and_wait(gateway)
            assert caught.value.status_code in (401, 403)
            said += everything_said(caught.value)

    for secret in (real_gateway.token, wrong):
        assert [text for text in said if secret in text] == []
        assert secret not in caplog.text
        assert secret not in repr(events)


@pytest.mark.full
async def test_G8_a_local_gateways_token_is_not_said(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    events: list[GatewayEvent] = []
    async with open_local_gateway(on_event=events.append) as gateway, gateway.start_kernel() as kernel:
        token = gateway.config.auth_token
        assert token
        processes = psutil.Process().children(recursive=True)
        said = [repr(gateway), repr(gateway.config), repr(kernel), *(repr(process.cmdline()) for process in processes)]
        seen = await kernel.execute(f"import os\n[name for name, value in os.environ.items() if {token!r} in value]")
        assert seen.text == "[]"
    assert [text for text in [*said, caplog.text, repr(events)] if token in text] == []


# --------------------------------------------------------------------------------------- G9: your exceptions stay yours


def exceptions() -> list[Any]:
    group = ExceptionGroup("the user's", [ValueError("one"), BaseExceptionGroup("inner", [KeyError("two")])])
    return [
        pytest.param(ValueError("the body's own"), id="ValueError"),
        pytest.param(KeyboardInterrupt(), id="KeyboardInterrupt"),
        pytest.param(SystemExit(3), id="SystemExit"),
        pytest.param(group, id="ExceptionGroup"),
        pytest.param(BaseExceptionGroup("base", [KeyboardInterrupt(), ValueError()]), id="BaseExceptionGroup"),
        pytest.param(trio.TooSlowError(), id="TooSlowError"),
        pytest.param(trio_gateway.ExecutionError("E", "of the user"), id="GatewayError"),
        pytest.param(StopAsyncIteration(), id="StopAsyncIteration"),
        pytest.param(GeneratorExit(), id="GeneratorExit"),
    ]


def shape(error: BaseException) -> object:
    return [shape(inner) for inner in error.exceptions] if isinstance(error, BaseExceptionGroup) else id(error)


@pytest.mark.parametrize("error", exceptions())
async def test_G9_what_a_body_raises_comes_out(real_gateway: RunningGateway, shared_kernel_id: str, error: BaseException) -> None:
    """Out of each block the same object, its cause and context untouched, a group in its shape."""
    before = shape(error)

    async def in_open_gateway() -> None:
        async with open_gateway(real_gateway.url, auth_token=real_gateway.token):
            raise error

    async def in_attach_kernel() -> None:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id),
        ):
            raise error

    async def in_stream() -> None:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
            kernel.stream("while True: print(1, flush=True)") as outputs,
        ):
            await anext(outputs)
            raise error

    for body in (in_open_gateway, in_attach_kernel, in_stream):
        with pytest.raises(BaseException) as caught:
            await body()
        assert caught.value is error, body
        assert shape(error) == before
        assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.parametrize(
    "error",
    [
        ValueError("own"),
        *(pytest.param(own, marks=pytest.mark.full) for own in (KeyboardInterrupt(), ExceptionGroup("", [KeyError()]))),
    ],
)
async def test_G9_what_a_body_raises_comes_out_of_a_kernels_start_too(gateway: Gateway, error: BaseException) -> None:
    before = shape(error)
    with pytest.raises(BaseException) as caught:
        async with gateway.start_kernel():
            raise error
    assert caught.value is error
    assert shape(error) == before
    assert (error.__cause__, error.__context__) == (None, None)


@pytest.mark.full
async def test_G9_open_local_gateway() -> None:
    error = ValueError("the body's own")
    with pytest.raises(ValueError, match="the body's own") as caught:
        async with open_local_gateway(), trio.open_nursery():
            pass
        async with open_local_gateway():
            raise error
    assert caught.value is error
    assert caught.value.__context__ is None


async def test_G9_a_nursery_of_the_users(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """What a strict nursery of the user's makes a group of is a group outside too, with nothing of ours in it."""
    error = ValueError("in a task")

    async def fail() -> None:
        raise error

    with pytest.RaisesGroup(pytest.RaisesExc(ValueError, check=lambda caught: caught is error)):
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
            trio.open_nursery() as nursery,
        ):
            nursery.start_soon(kernel.execute, "while True: pass")
            nursery.start_soon(fail)


async def test_G9_a_scope_of_the_users_stays_theirs(real_gateway: RunningGateway, shared_kernel_id: str) -> None:
    """Cancelling from inside the block ends in the scope that was cancelled, outside of it."""
    with trio.CancelScope() as outer:
        async with (
            open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
            gateway.attach_kernel(shared_kernel_id) as kernel,
        ):
            with trio.CancelScope() as inner:
                async with kernel.stream("while True: pass"):
                    inner.cancel()
                    await trio.sleep_forever()
            assert inner.cancelled_caught
            assert (await kernel.execute("1")).text == "1"
            outer.cancel()
            await trio.lowlevel.checkpoint()
            pytest.fail("not reached")
    assert outer.cancelled_caught
