"""G1 on a real gateway: nothing is left behind, looked for from the operating system's side (`os_view.Held`)."""

from __future__ import annotations

import os
import secrets
import signal
import subprocess
import sys
import tempfile
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

from tools.gateway_tools import PATIENCE, Wire
from tools.guarantee_tools import (
    end,
    expecting,
    kernels_of,
    no_kernel_left,
    ways_to_end,
)
from tools.os_view import Held, nothing_left_behind
from tools.tcp_proxy import Link, open_tcp_proxy
from trio_gateway import (
    Kernel,
    open_gateway,
    open_local_gateway,
)

if TYPE_CHECKING:
    from conftest import RunningGateway


pytestmark = pytest.mark.gateway


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
