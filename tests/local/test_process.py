"""A Kernel Gateway of our own: it serves, hides nothing from its kernels, and is gone afterwards, seen from the system's side."""

from __future__ import annotations

import ctypes
import json
import math
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import uuid
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import httpx
import psutil
import pytest
import trio
import trio.testing
from trio_websocket import WebSocketConnection, open_websocket_url

from tools.gateway_tools import PATIENCE
from trio_gateway import GatewayConnectionError, GatewayTimeoutError
from trio_gateway._errors import InvalidInputError
from trio_gateway._local import process as local
from trio_gateway._local.process import LocalGatewayProcess, local_kernel_path, run_local_gateway

pytestmark = pytest.mark.gateway
posix_only = pytest.mark.skipif(os.name != "posix", reason="signals, sessions and shell scripts")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="looks into /proc, or uses Linux system calls")


# ------------------------------------------------------------------------------------------------------------ small tools


@pytest.fixture
def private_tmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Make tempfile use a directory of the test's own, so that what is left behind can be seen."""
    directory = tmp_path / "tmp"
    directory.mkdir()
    monkeypatch.setattr("tempfile.tempdir", str(directory))
    return directory


@pytest.fixture
def nothing_left(private_tmp: Path) -> Iterator[None]:
    """Assert that a test leaves no child process, no open file and no directory."""
    me = psutil.Process()
    before = _open_files()
    others = set(me.children(recursive=True))  # the session's shared gateway
    yield
    assert set(me.children(recursive=True)) <= others
    assert list(private_tmp.iterdir()) == []
    if before is not None:
        assert _open_files() == before


def _open_files() -> set[str] | None:
    if sys.platform != "linux":
        return None
    found = set()
    for fd in Path("/proc/self/fd").iterdir():
        try:
            name = str(fd.readlink())
        except FileNotFoundError:  # the listing's own
            continue
        if name.startswith(("pipe:", "socket:", "anon_inode:[pidfd]", "pidfd")) or "trio-gateway" in name:
            found.add(f"{fd.name} {name}")
    return found


def left_in(directory: Path) -> int:
    return len(list(directory.iterdir()))


def client(gateway: LocalGatewayProcess, token: str | None = None) -> httpx.AsyncClient:
    headers = {"Authorization": f"token {gateway.token if token is None else token}"}
    return httpx.AsyncClient(base_url=gateway.url, headers=headers, timeout=PATIENCE, trust_env=False)


async def start_kernel(gateway: LocalGatewayProcess, **request: object) -> str:
    async with client(gateway) as http:
        answer = await http.post("/api/kernels", json={"name": "python3", "env": {}, **request})
    assert answer.status_code == 201, answer.text
    kernel_id: str = answer.json()["id"]
    return kernel_id


def kernels_of(gateway: LocalGatewayProcess) -> list[psutil.Process]:
    return [child for child in psutil.Process(gateway.pid).children() if any("kernel-" in part for part in child.cmdline())]


@asynccontextmanager
async def kernel_socket(gateway: LocalGatewayProcess, kernel_id: str) -> AsyncGenerator[WebSocketConnection]:
    url = f"{gateway.url.replace('http', 'ws', 1)}/api/kernels/{kernel_id}/channels?session_id={uuid.uuid4().hex}"
    headers = [(b"Authorization", f"token {gateway.token}".encode())]
    async with open_websocket_url(
        url, extra_headers=headers, max_message_size=1 << 28, receive_buffer_size=1 << 16, message_queue_size=100
    ) as ws:
        yield ws


async def run_code(ws: WebSocketConnection, code: str, **metadata: object) -> str:
    """Execute code and return all it printed, or fail with its traceback."""
    msg_id = uuid.uuid4().hex
    header = {
        "msg_id": msg_id,
        "msg_type": "execute_request",
        "session": "s",
        "username": "u",
        "version": "5.3",
        "date": "2026-01-01T00:00:00Z",
    }
    content = {"code": code, "silent": False, "store_history": False, "user_expressions": {}, "allow_stdin": False}
    await ws.send_message(
        json.dumps({"channel": "shell", "header": header, "parent_header": {}, "metadata": metadata, "content": content})
    )
    text, ends = [], 0
    while ends < 2:
        message: dict[str, Any] = json.loads(await ws.get_message())
        if message["parent_header"].get("msg_id") != msg_id:
            continue
        kind, body = message["msg_type"], message["content"]
        assert kind != "error", "\n".join(body["traceback"])
        if kind == "stream":
            text.append(body["text"])
        ends += kind == "execute_reply" or body.get("execution_state") == "idle"
    return "".join(text)


async def gone(*processes: psutil.Process) -> None:
    """Wait until processes that are not our children are gone."""
    _, alive = await trio.to_thread.run_sync(lambda: psutil.wait_procs(processes, timeout=PATIENCE))
    assert alive == []


def port_of(gateway: LocalGatewayProcess) -> int:
    return int(gateway.url.rpartition(":")[2])


def assert_not_listening(port: int) -> None:
    with socket.socket() as probe:
        assert probe.connect_ex(("127.0.0.1", port)) != 0


# --------------------------------------------------------------------------------------------------------------- it serves


async def test_it_serves_who_has_the_token(nothing_left: None) -> None:
    async with run_local_gateway() as gateway:
        async with client(gateway, token="wrong") as http:
            assert (await http.get("/api/kernels")).status_code == 401
        async with client(gateway) as http:
            assert (await http.get("/api/kernels")).json() == []  # listing is allowed
            assert "python3" in (await http.get("/api/kernelspecs")).json()["kernelspecs"]
        connections = psutil.Process(gateway.pid).net_connections("inet")
        assert {c.laddr.ip for c in connections if c.status == psutil.CONN_LISTEN} == {"127.0.0.1"}
        assert gateway.token not in repr(gateway)


@posix_only
@pytest.mark.full
async def test_other_users_see_no_secret(nothing_left: None, private_tmp: Path) -> None:
    async with run_local_gateway(extra_args=["--KernelGatewayApp.max_age=12345"]) as gateway:
        await start_kernel(gateway)
        directory = gateway.log_path.parent
        assert directory.parent == private_tmp
        assert directory.stat().st_mode & 0o077 == 0
        for process in [psutil.Process(gateway.pid), *kernels_of(gateway)]:
            assert not any(gateway.token in part or "12345" in part for part in process.cmdline())
            assert not any(gateway.token in value for value in process.environ().values())
        for file in directory.rglob("*"):
            assert not file.is_file() or gateway.token.encode() not in file.read_bytes()


@pytest.mark.full
async def test_arguments_for_the_gateway(nothing_left: None) -> None:
    async with run_local_gateway(extra_args=["--KernelGatewayApp.base_url=/below/here"]) as gateway:
        assert gateway.url.endswith("/below/here")
        async with client(gateway) as http:
            assert (await http.get("/api")).status_code == 200


@pytest.mark.full
async def test_a_hostile_environment(nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A gateway's settings, modules in the working directory, odd Jupyter paths: nothing of it may touch ours."""
    home, work, config = tmp_path / "home", tmp_path / "work", tmp_path / "config"
    for directory in (home, work, config):
        directory.mkdir()
    for name in ("tornado", "json", "kernel_gateway"):
        (work / f"{name}.py").write_text("raise SystemExit('imported from the working directory')")
    for name in ("jupyter_config.py", "jupyter_kernel_gateway_config.py"):
        (config / name).write_text("raise SystemExit('read the configuration')")
    for name, value in {
        "HOME": str(home),
        "JUPYTER_CONFIG_DIR": str(config),
        "JUPYTER_PATH": "/nonexistent:relative:",
        "PYTHONWARNINGS": "error",
        "KG_AUTH_TOKEN": "another",
        "KG_BASE_URL": "/elsewhere",
        "KG_IP": "192.0.2.1",
        "KG_PORT": "not a number",
        "KG_CERTFILE": "/nonexistent",
        "KG_SEED_URI": "/nonexistent.ipynb",
        "KG_MAX_KERNELS": "0",
    }.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("JUPYTER_DATA_DIR", raising=False)
    monkeypatch.delenv("JUPYTER_RUNTIME_DIR", raising=False)
    async with run_local_gateway(cwd=work) as gateway:
        async with client(gateway) as http:
            assert "python3" in (await http.get("/api/kernelspecs")).json()["kernelspecs"]
            assert (await http.post("/api/kernels", json={"name": "python3", "env": {}, "path": "/"})).status_code == 201
            (kernel,) = kernels_of(gateway)
            assert kernel.environ()["KG_BASE_URL"] == "/elsewhere"  # not for us, but the kernel's by right
            kernel_id = (await http.get("/api/kernels")).json()[0]["id"]
            assert (await http.delete(f"/api/kernels/{kernel_id}")).status_code == 204
    assert [path.name for path in home.iterdir() if path.name != ".ipython"] == []  # that one is the kernel's


# ------------------------------------------------------------------------------------------- what its kernels see and may do


@pytest.mark.full
async def test_kernels_get_the_callers_environment(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TG_CALLER", "from the caller: é $HOME `x` \n two lines")
    monkeypatch.setenv("JUPYTER_RUNTIME_DIR", "/nonexistent/but/the/callers")
    async with run_local_gateway(env={"TG_EXTRA": "added", "PATH": os.environ["PATH"] + os.pathsep + "/added"}) as gateway:
        await start_kernel(gateway, env={"TG_REQUEST": "sent", "TG_EXTRA": "replaced"})
        (kernel,) = kernels_of(gateway)
        seen = kernel.environ()
    jupyters_own = {"JPY_PARENT_PID", "KERNEL_GATEWAY"}
    assert {name: value for name, value in seen.items() if name not in jupyters_own} == {
        **{name: value for name, value in os.environ.items() if name not in jupyters_own},
        "PATH": os.environ["PATH"] + os.pathsep + "/added",
        "TG_EXTRA": "replaced",
        "TG_REQUEST": "sent",
    }


@pytest.mark.full
async def test_overlapping_starts_keep_their_variables_apart(nothing_left: None) -> None:
    """Kernel Gateway leaves one request's variables to all later ones when requests overlap."""
    async with run_local_gateway() as gateway:

        async def start(number: int) -> None:
            await start_kernel(gateway, env={"TG_NUMBER": str(number)})

        async with trio.open_nursery() as nursery:
            for number in range(3):
                nursery.start_soon(start, number)
        first = kernels_of(gateway)
        assert sorted(kernel.environ()["TG_NUMBER"] for kernel in first) == ["0", "1", "2"]
        async with client(gateway) as http:
            await http.post("/api/kernels", json={"name": "python3"})
        (last,) = [kernel for kernel in kernels_of(gateway) if kernel not in first]
        assert "TG_NUMBER" not in last.environ()


@pytest.mark.full
async def test_kernels_run_where_they_are_told(nothing_left: None, tmp_path: Path) -> None:
    work, other = tmp_path / "work here", tmp_path / "é  and.. spaces"
    (work / "sub").mkdir(parents=True)
    other.mkdir()
    async with run_local_gateway(cwd=work) as gateway:
        for path, expected in [
            (None, work),
            (local_kernel_path(other), other),
            (local_kernel_path("/"), Path("/")),
            ("sub", work / "sub"),  # a front end's API path
            ("notebook.ipynb", work),
        ]:
            before = kernels_of(gateway)
            await start_kernel(gateway, path=path)
            (kernel,) = [kernel for kernel in kernels_of(gateway) if kernel not in before]
            assert Path(kernel.cwd()) == expected


def given_away(port: int) -> bool:
    """Whether the system gives this port to a listener that wants any."""
    with socket.socket() as taker:
        taker.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as those of asyncio and Trio do
        try:
            taker.setsockopt(socket.IPPROTO_IP, 51, struct.pack("=I", port << 16 | port))  # IP_LOCAL_PORT_RANGE: from, to
        except OSError:
            pytest.skip("the system can't be asked which port it would give away: Linux 6.3 or newer can")
        try:
            taker.bind(("127.0.0.1", 0))
        except OSError:
            return False
        return True


def ports_in(connection_file: str) -> list[int]:
    told = json.loads(Path(connection_file).read_text())
    return [told[f"{channel}_port"] for channel in ("shell", "iopub", "stdin", "control", "hb")]


@linux_only
@pytest.mark.full
async def test_a_kernels_ports_are_nobody_elses_before_it_listens(nothing_left: None, tmp_path: Path) -> None:
    """Nor ever, until it has ended. (Two of them at once on the same ports is how a gateway came to wait for ever.)"""
    folder = tmp_path / "kernels" / "deaf"
    folder.mkdir(parents=True)
    argv = [sys.executable, "-c", "import time; time.sleep(3600)", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": "Deaf", "language": "none"}))
    at_once = ("--KernelManager.shutdown_wait_time=0.1",)
    async with run_local_gateway(env={"JUPYTER_PATH": str(tmp_path)}, extra_args=at_once) as gateway:
        kernel_id = await start_kernel(gateway, name="deaf")
        (kernel,) = kernels_of(gateway)
        ports = ports_in(kernel.cmdline()[-1])
        assert [port for port in ports if given_away(port)] == []
        async with client(gateway) as http:
            assert (await http.delete(f"/api/kernels/{kernel_id}")).status_code == 204
        assert [port for port in ports if given_away(port)] == ports


def test_the_path_of_a_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "sub").mkdir()
    (tmp_path / "file").touch()
    assert local_kernel_path("sub") == str(tmp_path / "sub")
    assert local_kernel_path(tmp_path / "sub" / "..") == str(tmp_path)
    for wrong in ("missing", "file", "", "a\0b", b"sub", None, 3):
        with pytest.raises(InvalidInputError, match=r"^cwd: .*expected"):
            local_kernel_path(wrong)  # type: ignore[arg-type]


@pytest.mark.full
async def test_the_gateway_receives_without_a_mark(nothing_left: None, tmp_path: Path) -> None:
    """Asked of the sockets it subscribes with: whether a burst loses something depends on the machine (see `test_execute`)."""
    config = tmp_path / "config.py"
    config.write_text("""
import zmq
make = zmq.Context.socket
def socket(self, *args, **options):
    made = make(self, *args, **options)
    if made.type == zmq.SUB:
        print("receives up to", made.getsockopt(zmq.RCVHWM), flush=True)
    return made
zmq.Context.socket = socket
""")
    async with run_local_gateway(extra_args=[f"--config={config}"]) as gateway:
        async with kernel_socket(gateway, await start_kernel(gateway)) as ws:
            await run_code(ws, "1")
        marks = {line for line in gateway.log_tail(200).splitlines() if line.startswith("receives up to")}
    assert marks == {"receives up to 0"}


@pytest.mark.full
async def test_messages_above_tornados_limits(nothing_left: None) -> None:
    size = 12 << 20  # its limit for WebSockets: 10 MiB
    async with run_local_gateway() as gateway, kernel_socket(gateway, await start_kernel(gateway)) as ws:
        # (Not as code, which would take the kernel seconds to look at.)
        taken = "text = get_ipython().kernel.get_parent()['metadata']['text']; print(len(text))"
        assert await run_code(ws, taken, text="x" * size) == f"{size}\n"
        assert await run_code(ws, "print(text)") == "x" * size + "\n"


@linux_only
@pytest.mark.full
async def test_small_frames_are_not_delayed(nothing_left: None) -> None:
    """Nagle's algorithm is off on the gateway's side of a kernel's WebSocket: asked of its socket, not of a clock."""
    async with run_local_gateway() as gateway:
        kernel_id = await start_kernel(gateway)
        async with kernel_socket(gateway, kernel_id) as ws:
            await run_code(ws, "1")
            (fd,) = [
                connection.fd
                for connection in psutil.Process(gateway.pid).net_connections("tcp")
                if connection.laddr.port == port_of(gateway) and connection.status == psutil.CONN_ESTABLISHED
            ]
            pidfd = os.pidfd_open(gateway.pid)
            try:
                copy = ctypes.CDLL(None, use_errno=True).syscall(438, pidfd, fd, 0)  # pidfd_getfd
            finally:
                os.close(pidfd)
            if copy < 0:
                pytest.skip(f"pidfd_getfd: {os.strerror(ctypes.get_errno())}")
            with socket.socket(fileno=copy) as theirs:
                assert theirs.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) != 0


# -------------------------------------------------------------------------------------------------------------- how it ends


async def test_the_blocks_end_ends_everything(nothing_left: None) -> None:
    files = _open_files()
    async with run_local_gateway() as gateway:
        await start_kernel(gateway)
        await start_kernel(gateway)
        # A kernel's own child, in the kernel's process group.
        async with kernel_socket(gateway, await start_kernel(gateway)) as ws:
            code = "import subprocess; print(subprocess.Popen(['sleep', '600']).pid)"
            grandchild = psutil.Process(int(await run_code(ws, code)))
        processes = [psutil.Process(gateway.pid), *kernels_of(gateway), grandchild]
        assert len(processes) == 5
    assert not any(process.is_running() and process.status() != psutil.STATUS_ZOMBIE for process in processes)
    assert_not_listening(port_of(gateway))
    assert _open_files() == files  # closed by the block, not by the garbage collector
    assert await gateway.wait() == 0
    assert "Kernel started" in gateway.log_tail()  # kept for error messages
    assert len(gateway.log_tail(1).splitlines()) == 1
    assert gateway.log_tail(0) == ""


@pytest.mark.full
async def test_the_bodys_error_comes_out_as_it_is(nothing_left: None) -> None:
    with pytest.raises(ValueError, match=r"^mine$") as caught:
        async with run_local_gateway() as gateway:
            await start_kernel(gateway)
            raise ValueError("mine")
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


@pytest.mark.full
async def test_cancelled_in_the_block(nothing_left: None) -> None:
    with trio.CancelScope() as scope:
        async with run_local_gateway() as gateway:
            await start_kernel(gateway)
            processes = [psutil.Process(gateway.pid), *kernels_of(gateway)]
            scope.cancel()
            await trio.sleep_forever()
    assert scope.cancelled_caught
    await gone(*processes)


async def test_cancelled_while_it_starts(nothing_left: None, private_tmp: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    others = set(psutil.Process().children())
    spawned = trio.Event()
    open_process = trio.lowlevel.open_process

    async def open_and_tell(*args: Any, **arguments: Any) -> trio.Process:
        process = await open_process(*args, **arguments)
        spawned.set()
        return process

    monkeypatch.setattr(trio.lowlevel, "open_process", open_and_tell)
    async with trio.open_nursery() as nursery:

        async def start() -> None:
            async with run_local_gateway():
                raise AssertionError("it was cancelled")

        nursery.start_soon(start)
        # The child is told what to do, imports, and has not answered.
        await spawned.wait()
        await trio.testing.wait_all_tasks_blocked()
        assert len(set(psutil.Process().children()) - others) == 1
        assert left_in(private_tmp) == 1
        nursery.cancel_scope.cancel()


async def test_cancelled_before_it_starts(nothing_left: None) -> None:
    with trio.CancelScope() as scope:
        scope.cancel()
        async with run_local_gateway():
            raise AssertionError("it was cancelled")
    assert scope.cancelled_caught


@pytest.mark.full
async def test_a_gateway_that_dies_is_noticed(nothing_left: None) -> None:
    """Its kernels end with the block even if they can't notice by themselves."""
    async with run_local_gateway() as gateway:
        kernel_id = await start_kernel(gateway)
        (kernel,) = kernels_of(gateway)
        async with kernel_socket(gateway, kernel_id) as ws:
            # No child of the kernel any more, but in its process group.
            code = "import subprocess; print(subprocess.check_output('sleep 600 >&- 2>&- & echo $!', shell=True, text=True))"
            orphan = psutil.Process(int(await run_code(ws, code)))
        kernel.suspend()
        statuses: list[int] = []

        async def wait() -> None:
            statuses.append(await gateway.wait())

        async with trio.open_nursery() as nursery:
            nursery.start_soon(wait)
            nursery.start_soon(wait)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(gateway.pid, signal.SIGKILL)
        assert statuses == [-signal.SIGKILL] * 2
        assert kernel.is_running()
    await gone(kernel, orphan)


@posix_only
@pytest.mark.full
async def test_a_gateway_that_was_told_to_end_by_someone(nothing_left: None) -> None:
    async with run_local_gateway() as gateway:
        await start_kernel(gateway)
        kernels = kernels_of(gateway)
        os.kill(gateway.pid, signal.SIGTERM)
        assert await gateway.wait() == 0
        assert not any(kernel.is_running() for kernel in kernels)


@posix_only
@pytest.mark.full
async def test_a_gateway_that_hangs_is_killed(nothing_left: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_PATIENCE", 0.2)
    async with run_local_gateway() as gateway:
        await start_kernel(gateway)
        (kernel,) = kernels_of(gateway)
        kernel.suspend()
        psutil.Process(gateway.pid).suspend()
    assert await gateway.wait() == -signal.SIGKILL
    await gone(kernel)


@posix_only
@pytest.mark.full
async def test_only_our_kernels_are_ended(nothing_left: None, private_tmp: Path) -> None:
    """The search for kernels by their command line spares another gateway's, and who merely looks at ours."""
    async with run_local_gateway() as gateway, run_local_gateway() as other:
        await start_kernel(other)
        (spared,) = kernels_of(other)
        file = gateway.log_path.parent / "runtime" / "kernel-console.json"
        async with trio.open_nursery() as nursery:
            console = await nursery.start(
                partial(trio.run_process, [sys.executable, "-c", "input()", str(file)], stdin=subprocess.PIPE, check=False)
            )
            await start_kernel(gateway)
            (ours,) = kernels_of(gateway)
            ours.suspend()  # else it may notice by itself that its gateway is gone
            os.kill(gateway.pid, signal.SIGKILL)
            await gateway.wait()
            assert local.end_kernels(str(gateway.log_path.parent)) == 1
            assert console.returncode is None
            await console.stdin.aclose()
        assert spared.is_running()


OWNER = """
import os, sys, trio
from trio_gateway._local.process import run_local_gateway
sys.path[:0] = {folders!r}
from {module} import kernels_of, start_kernel

async def main():
    async with run_local_gateway() as gateway:
        await start_kernel(gateway)
        {fork}
        print(gateway.pid, gateway.log_path.parent, kernels_of(gateway)[0].pid, flush=True)
        await trio.sleep_forever()

trio.run(main)
"""


@asynccontextmanager
async def owner(fork: str = "") -> AsyncGenerator[tuple[subprocess.Popen[str], psutil.Process, Path, psutil.Process]]:
    """Run a process that owns a gateway with a kernel; yield it, the gateway, its directory and the kernel.

    A test that fails leaves none of them either.
    """
    here = Path(__file__)
    code = OWNER.format(folders=[str(here.parents[1])], module=f"local.{here.stem}", fork=fork)
    pipe = subprocess.PIPE
    process = await trio.to_thread.run_sync(
        lambda: subprocess.Popen([sys.executable, "-c", code], stdin=pipe, stdout=pipe, stderr=pipe, text=True)
    )
    left: list[psutil.Process] = []
    directory: Path | None = None
    try:
        assert process.stdout is not None
        line = await trio.to_thread.run_sync(process.stdout.readline)
        assert line, process.communicate()[1]
        pid, name, kernel = line.split()
        directory = Path(name)
        left = [psutil.Process(int(pid)), psutil.Process(int(kernel))]
        yield process, left[0], directory, left[1]
    finally:
        all_of_them: list[psutil.Process | subprocess.Popen[str]] = [process, *left]
        for each in all_of_them:
            with suppress(psutil.NoSuchProcess):
                each.kill()
        process.communicate()  # closes a fork's standard input, which ends it
        if directory is not None:
            shutil.rmtree(directory, ignore_errors=True)


@posix_only
async def test_our_own_death_ends_everything() -> None:
    async with owner() as (process, gateway, directory, kernel):
        process.kill()
        await gone(gateway, kernel)
        assert not directory.exists()


@linux_only
@pytest.mark.full
async def test_our_own_death_ends_everything_though_a_fork_holds_the_pipe() -> None:
    fork = "if os.fork() == 0: os.close(1), os.close(2), os.read(0, 1), os._exit(0)"
    async with owner(fork) as (process, gateway, directory, kernel):
        process.kill()
        await gone(gateway, kernel)
        assert not directory.exists()


@posix_only
@pytest.mark.full
async def test_ctrl_c_ends_everything() -> None:
    async with owner() as (process, gateway, directory, kernel):
        assert os.getpgid(gateway.pid) != os.getpgid(process.pid)  # the terminal's Ctrl-C reaches us only
        assert os.getsid(gateway.pid) != os.getsid(process.pid)
        process.send_signal(signal.SIGINT)
        _, errors = await trio.to_thread.run_sync(process.communicate)
        assert process.returncode == -signal.SIGINT
        assert errors.rstrip().endswith("KeyboardInterrupt")
        await gone(gateway, kernel)
        assert not directory.exists()


# ----------------------------------------------------------------------------------------------------- when it does not start


def script(path: Path, text: str) -> Path:
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


@posix_only
async def test_it_is_not_installed(nothing_left: None, tmp_path: Path) -> None:
    bare = script(tmp_path / "bare", f'exec "{sys.executable}" -S "$@"')  # -S: without site-packages
    with pytest.raises(
        GatewayConnectionError, match=r"jupyter_kernel_gateway is not installed for .*pip install 'trio-gateway\[local\]'"
    ):
        async with run_local_gateway(python=bare):
            raise AssertionError("it can't start")


@posix_only
async def test_it_is_too_old(nothing_left: None, tmp_path: Path) -> None:
    """What it is built on may warn when it is imported, and the caller may want warnings as errors: that is no reason to end."""
    (tmp_path / "kernel_gateway.py").write_text(
        "import warnings; warnings.warn('old', DeprecationWarning); __version__ = '2.5.2'"
    )
    with pytest.raises(GatewayConnectionError, match=r"jupyter_kernel_gateway 2\.5\.2 is installed, and version 3 is needed"):
        async with run_local_gateway(env={"PYTHONPATH": str(tmp_path), "PYTHONWARNINGS": "error"}):
            raise AssertionError("it can't start")


@posix_only
async def test_it_ends_while_it_starts(nothing_left: None, tmp_path: Path) -> None:
    """The log's last lines come along: without the token, and no more than a screen of them."""
    fake = script(
        tmp_path / "fake", "read line; yes old line | head -1000 >&2; printf '%1000d\\n' 7 >&2; echo \"told: $line\" >&2; exit 3"
    )
    with pytest.raises(GatewayConnectionError, match="ended with status 3 while it started; its log ends:") as caught:
        async with run_local_gateway(python=fake):
            raise AssertionError("it can't start")
    lines = str(caught.value).splitlines()
    assert len(lines) == 41
    assert '"token": "[masked]"' in lines[-1]
    assert max(map(len, lines)) < 500


@posix_only
async def test_it_ends_before_it_is_told(nothing_left: None, tmp_path: Path) -> None:
    fake = script(tmp_path / "fake", "exit 0")
    with pytest.raises(GatewayConnectionError, match=r"ended with status 0 .*\n\(nothing\)"):
        async with run_local_gateway(python=fake):
            raise AssertionError("it can't start")


@posix_only
async def test_a_bad_argument_shows_in_the_error(nothing_left: None) -> None:
    with pytest.raises(GatewayConnectionError, match=r"status 1.*(?s:.*)max_kernels"):
        async with run_local_gateway(extra_args=["--KernelGatewayApp.max_kernels=many"]):
            raise AssertionError("it can't start")


@posix_only
async def test_it_does_not_become_ready(nothing_left: None, tmp_path: Path) -> None:
    fake = script(tmp_path / "fake", "echo still thinking >&2; exec sleep 600")
    with pytest.raises(
        GatewayTimeoutError, match=r"^local gateway start took longer than 0.5 s(?s:.*)startup_timeout$"
    ) as caught:
        async with run_local_gateway(python=fake, startup_timeout=0.5):
            raise AssertionError("it can't start")
    assert (caught.value.phase, caught.value.limit, caught.value.setting) == ("local gateway start", 0.5, "startup_timeout")


@posix_only
async def test_it_resists_its_end(nothing_left: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(local, "_PATIENCE", 0.2)
    fake = script(tmp_path / "fake", "trap '' TERM; while :; do sleep 1; done")
    with pytest.raises(GatewayTimeoutError):
        async with run_local_gateway(python=fake, startup_timeout=0.5):
            raise AssertionError("it can't start")


@posix_only
async def test_it_can_not_be_executed(nothing_left: None, tmp_path: Path) -> None:
    fake = tmp_path / "fake"
    fake.write_bytes(b"\x7fELF nonsense")
    fake.chmod(0o755)
    with pytest.raises(GatewayConnectionError, match=r"can't be started with .*fake") as caught:
        async with run_local_gateway(python=fake):
            raise AssertionError("it can't start")
    assert isinstance(caught.value.__cause__, OSError)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"python": "/nonexistent/python"}, "^python: '/nonexistent/python'"),
        ({"python": ""}, "^python: ''"),
        ({"python": None}, "^python: None"),
        ({"cwd": "/nonexistent"}, "^cwd: '/nonexistent'.*existing directory"),
        ({"cwd": 3}, "^cwd: 3"),
        ({"env": {"A=B": "x"}}, "^env: 'A=B'"),
        ({"env": {"": "x"}}, "^env: ''"),
        ({"env": {"A": "secret\0"}}, r"^env\['A'\]: '<str>'.*without NUL"),
        ({"env": {"A": 3}}, r"^env\['A'\]: '<int>'"),
        ({"env": ["A=B"]}, "^env: 'list'"),
        ({"startup_timeout": 0}, "^startup_timeout: 0"),
        ({"startup_timeout": math.nan}, "^startup_timeout: nan"),
        ({"startup_timeout": "60"}, "^startup_timeout: '60'"),
        ({"startup_timeout": True}, "^startup_timeout: True"),
        ({"extra_args": "--debug"}, "^extra_args: '--debug'"),
        ({"extra_args": ["a\0b"]}, "^extra_args: 'a"),
        ({"extra_args": [3]}, "^extra_args: 3"),
    ],
)
async def test_bad_arguments_are_named(nothing_left: None, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InvalidInputError, match=message) as caught:
        async with run_local_gateway(**arguments):
            raise AssertionError("it can't start")
    assert "secret" not in str(caught.value)
