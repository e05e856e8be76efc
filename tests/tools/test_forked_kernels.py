"""Kernels that are forked from a template are the ones that a gateway starts itself."""

from __future__ import annotations

import json
import os
import re
from typing import TYPE_CHECKING, Any

import psutil
import pytest
import trio

import trio_gateway
from conftest import FORKED_KERNELS
from trio_gateway._local.process import LocalGatewayProcess, run_local_gateway

if TYPE_CHECKING:
    from pathlib import Path

    from conftest import RunningGateway

pytestmark = [pytest.mark.gateway, pytest.mark.full]

LOOK = """
def look():
    import gc, json, os, pathlib, resource, signal, socket, sys, threading, warnings

    def strings(name):  # strings in /proc/self: what psutil reads
        return pathlib.Path("/proc/self", name).read_bytes().rstrip(b"\\0").decode().split("\\0")

    descriptors = [f"/proc/self/fd/{number}" for number in range(256)]
    signals = {name: str(signal.getsignal(getattr(signal, name))) for name in dir(signal) if name[:3] == "SIG" and name[3] != "_"}
    status = dict(line.split(":", 1) for line in pathlib.Path("/proc/self/status").read_text().splitlines())
    print(json.dumps({
        "arguments": sys.argv, "original arguments": sys.orig_argv, "path": sys.path, "flags": str(sys.flags),
        "warnings": [sys.warnoptions, str(warnings.filters)], "executable": sys.executable, "prefix": sys.prefix,
        "main": [__name__, sys.modules["__main__"].__dict__ is globals(), "__file__" in globals()],
        "working directory": os.getcwd(), "environment": dict(os.environ), "of the system": strings("environ"),
        "command": strings("cmdline"), "leads": [os.getsid(0) == os.getpid(), os.getpgid(0) == os.getpid()],
        "child of": str(os.getppid()), "signals": signals, "blocked": [status[name] for name in ("SigBlk", "SigIgn")],
        "threads": sorted(thread.name.partition("-")[0] for thread in threading.enumerate()),
        "streams": [sys.stdin.encoding, sys.__stdout__.encoding, sys.__stdout__.line_buffering, sys.__stderr__.errors],
        "standard input": os.read(0, 1).decode(), "standard error": os.readlink("/proc/self/fd/2"),
        "limits": [resource.getrlimit(kind) for kind in range(16)], "umask": status["Umask"],
        "collects": [gc.isenabled(), gc.get_threshold(), gc.get_freeze_count()],
        "pipes": sum(os.readlink(place)[:5] == "pipe:" for place in descriptors if os.path.lexists(place)),
        "debugger": get_ipython().kernel.debugger is not None,
    }, sort_keys=True))

look()
"""


async def said_by(kernel: trio_gateway.Kernel, code: str) -> str:
    result = await kernel.execute(code)
    assert result.status == "ok", result
    return result.stdout.strip()


async def look(running: LocalGatewayProcess) -> dict[str, Any]:
    """Let a kernel say what it is, without what each has of its own."""
    async with trio_gateway.open_gateway(running.url, auth_token=running.token) as gateway:
        async with gateway.start_kernel(env={"KERNEL_COLOUR": "green", "KERNEL_EMPTY": ""}) as kernel:
            said = (await said_by(kernel, LOOK)).replace(kernel.id, "ID").replace(str(running.pid), "GATEWAY")
    seen: dict[str, Any] = json.loads(re.sub(r"/trio-gateway-\w+/", "/FOLDER/", said))
    return seen


async def test_a_forked_kernel_is_what_the_gateway_starts_itself() -> None:
    async with run_local_gateway(extra_args=FORKED_KERNELS) as forking, run_local_gateway() as other:
        forked, ordinary = await look(forking), await look(other)
    assert {name: (value, forked[name]) for name, value in ordinary.items() if forked[name] != value} == {}
    assert forked["environment"]["KERNEL_COLOUR"] == "green"


async def test_kernels_of_one_template_share_hashes_and_no_chance(real_gateway: RunningGateway) -> None:
    drawn = "import random, tempfile, uuid; print(random.random(), uuid.uuid4(), next(tempfile._get_candidate_names()))"
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.start_kernel() as first,
        gateway.start_kernel() as second,
    ):
        alike = await said_by(first, "print(hash('a'))") == await said_by(second, "print(hash('a'))")
        assert alike == bool(FORKED_KERNELS) or "PYTHONHASHSEED" in os.environ
        words = [(await said_by(kernel, drawn)).split() for kernel in (first, second)]
    assert all(one != other for one, other in zip(*words, strict=True))


async def test_what_an_interpreter_reads_at_its_start_is_obeyed(real_gateway: RunningGateway) -> None:
    async with (
        trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway,
        gateway.start_kernel(env={"PYTHONUTF8": "1"}) as kernel,
    ):
        assert await said_by(kernel, "import sys; print(sys.flags.utf8_mode)") == "1"


async def test_a_forked_kernel_is_interrupted_killed_restarted_and_its_end_is_noticed(real_gateway: RunningGateway) -> None:
    before = real_gateway.kernel_processes()
    async with trio_gateway.open_gateway(real_gateway.url, auth_token=real_gateway.token) as gateway:
        async with gateway.start_kernel() as kernel:
            (process,) = [process for process in real_gateway.kernel_processes() if process not in before]
            assert process.pid == int(await said_by(kernel, "import os; print(os.getpid())"))
            failures: list[str] = []
            async with kernel.stream("print('runs', flush=True)\nwhile True: pass") as outputs:
                async for output in outputs:
                    if getattr(output, "text", "").startswith("runs"):
                        await kernel.interrupt()
                    failures.append(getattr(output, "ename", ""))
            assert failures[-1] == "KeyboardInterrupt"
            await kernel.restart()
            assert not process.is_running()  # the gateway has waited for it
            with pytest.raises(trio_gateway.KernelRestartedError):
                await kernel.execute("import os, signal; os.kill(os.getpid(), signal.SIGKILL)")
            assert await said_by(kernel, "print('again')") == "again"
    assert real_gateway.kernel_processes() == before


LAST_WORDS = """
import atexit, threading

def note(what, place=place):
    with open(place, "a") as file:
        print(what, file=file)

class Kept:
    def __del__(self, note=note):
        note("let go")

def wait(note=note):
    threading.main_thread().join()
    note("thread")

kept = Kept()
unclosed = open(place + ".unclosed", "w")
unclosed.write("flushed")
atexit.register(note, "at exit")
threading.Thread(target=wait).start()
"""


async def test_a_forked_kernel_ends_as_others_do(
    real_gateway: RunningGateway, ordinary_gateway: RunningGateway, tmp_path: Path
) -> None:
    said: list[str] = []
    for number, running in enumerate((real_gateway, ordinary_gateway)):
        place = tmp_path / str(number)
        async with trio_gateway.open_gateway(running.url, auth_token=running.token) as gateway:
            async with gateway.start_kernel() as kernel:
                await said_by(kernel, f"place = {str(place)!r}\n" + LAST_WORDS)
        said.append(place.read_text() + place.with_suffix(".unclosed").read_text())
    assert said == ["thread\nat exit\nlet go\nflushed"] * 2


async def test_a_gateway_that_is_killed_leaves_neither_kernels_nor_their_template() -> None:
    async with run_local_gateway(extra_args=FORKED_KERNELS) as process:
        with pytest.raises(trio_gateway.GatewayConnectionError):  # the kernel's shutdown can't be asked for
            async with trio_gateway.open_gateway(process.url, auth_token=process.token, gateway_retry_max=0) as gateway:
                async with gateway.start_kernel() as kernel:
                    await said_by(kernel, "")
                    processes = psutil.Process(process.pid).children(recursive=True)
                    assert any("kernel_template.py" in part for child in processes for part in child.cmdline()) == bool(
                        FORKED_KERNELS
                    )
                    psutil.Process(process.pid).kill()
                    await process.wait()
        with trio.fail_after(60):
            await trio.to_thread.run_sync(psutil.wait_procs, processes)
