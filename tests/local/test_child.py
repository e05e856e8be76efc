"""The program inside a local gateway's process: what it is told, what it says, and how it ends with its owner."""

from __future__ import annotations

import ast
import json
import os
import socket
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from trio_gateway._local import child
from trio_gateway._local.child import end_kernels, hold_port, runtime_directory

SCRIPT = Path(child.__file__)
PATIENCE = 200
"""For what comes at once, or never."""
LIFELINE = f"""
import importlib.util, json, sys, time
spec = importlib.util.spec_from_file_location("child", {str(SCRIPT)!r})
child = importlib.util.module_from_spec(spec)
spec.loader.exec_module(child)
lifeline = child._Lifeline(child._read_settings())
class App:
    class io_loop:
        @staticmethod
        def add_callback(function):
            print("stopped", flush=True)
    stop = None
if sys.argv[1] == "guarded":
    lifeline.guard(App())
print("there", flush=True)
time.sleep({PATIENCE})
"""


def settings(directory: Path, **more: Any) -> bytes:
    """Write what the owner says."""
    fields = {
        "token": "t",
        "directory": str(directory),
        "owner": os.getpid(),
        "grace": 0.05,
        "max_message_size": 1000,
        "arguments": [],
    }
    return json.dumps({**fields, **more}).encode() + b"\n"


def run(*arguments: str, said: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run the program to its end."""
    return subprocess.run([sys.executable, *arguments], input=said, check=False, capture_output=True, timeout=PATIENCE)


# ---------------------------------------------------------------------------------------------------------- on its own


def test_it_needs_nothing_but_a_python() -> None:
    """Another Python runs it, which need not have this package: at its top is only the standard library."""
    for node in ast.parse(SCRIPT.read_text("utf-8")).body:
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            names = [node.module or ""]
        assert {name.partition(".")[0] for name in names} <= sys.stdlib_module_names
    for node in ast.walk(ast.parse(SCRIPT.read_text("utf-8"))):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0
            assert not (node.module or "").startswith("trio_gateway")


def test_a_python_without_a_kernel_gateway_says_so(tmp_path: Path) -> None:
    command = [sys.executable, "-S", "-W", "ignore", str(SCRIPT)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        process.stdin.write(settings(tmp_path))
        process.stdin.flush()
        # The owner stays until it has read what is missing: a process whose owner is gone may end before it says it.
        assert json.loads(process.stdout.readline()) == {"missing": "jupyter_kernel_gateway", "python": sys.executable}
        assert process.communicate(timeout=PATIENCE)[0] == b""
    assert process.returncode == 0


def test_an_owner_that_goes_before_it_says_what_to_do() -> None:
    done = run("-S", "-W", "ignore", str(SCRIPT), said=b'{"token": ')
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"the owner went away before it said what to do" in done.stderr


# ------------------------------------------------------------------------------------------------------------ the lifeline


def start_lifeline(how: str, directory: Path) -> subprocess.Popen[bytes]:
    """Start a process that only hangs on its lifeline, and wait until it does."""
    process = subprocess.Popen([sys.executable, "-c", LIFELINE, how], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(settings(directory))
    process.stdin.flush()
    assert process.stdout.readline() == b"there\n"
    return process


@pytest.mark.parametrize("asked", [True, False])
def test_it_ends_when_it_is_asked_to_and_when_its_owner_is_gone(tmp_path: Path, asked: bool) -> None:  # G1
    directory = tmp_path / "private"
    directory.mkdir()
    with start_lifeline("bare", directory) as process:
        process.communicate(b"end\n" if asked else None, timeout=PATIENCE)
    assert process.returncode == 0
    assert directory.exists() is asked, "an orphan removes its directory, which nobody else will"


def test_a_gateway_is_stopped_first_and_for_no_longer_than_the_grace(tmp_path: Path) -> None:
    with start_lifeline("guarded", tmp_path) as process:
        out, _ = process.communicate(b"end\n", timeout=PATIENCE)
    assert (out, process.returncode) == (b"stopped\n", 1)


# --------------------------------------------------------------------------------------------------------- kernels and ports


def test_kernels_are_known_by_their_connection_files(tmp_path: Path) -> None:  # G2
    mine, theirs = (tmp_path / name for name in ("mine", "theirs"))
    code = "import time; print('there', flush=True); time.sleep(1000)"
    processes = []
    for directory in (mine, theirs):
        file = str(Path(runtime_directory(str(directory))) / "kernel-x.json")
        process = subprocess.Popen([sys.executable, "-c", code, file], stdout=subprocess.PIPE, start_new_session=True)
        assert process.stdout is not None
        assert process.stdout.readline() == b"there\n"
        processes.append(process)
    try:
        assert end_kernels(str(mine)) == 1
        processes[0].wait(PATIENCE)
        assert processes[1].poll() is None
        assert end_kernels(str(mine)) == 0
    finally:
        for process in processes:
            process.kill()
            process.communicate()


def test_without_psutil_kernels_are_left_to_notice_by_themselves(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with monkeypatch.context() as patch:
        patch.setitem(sys.modules, "psutil", None)
        assert end_kernels(str(tmp_path)) == 0


def test_a_port_is_held_and_can_be_listened_on() -> None:
    port, holder = hold_port("127.0.0.1")
    with holder, socket.socket() as listener, socket.socket() as other:
        assert holder.getsockname() == ("127.0.0.1", port)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listener.bind(("127.0.0.1", port))
        listener.listen()
